"""What ha.cf has said so far: the draft its readers fill, and the value that comes of it."""

from __future__ import annotations

from dataclasses import dataclass, field

from hbd.config.directives import Draft
from hbd.config.findings import Word
from hbd.config.model import (
    AutoFailback,
    Client,
    Compression,
    Logging,
    MediumSpec,
    MsgFormat,
    Serial,
    Stonith,
    Timing,
)

DEFAULT_PORT = 694
"""IANA's ha-cluster; 3.0.6 uses it where /etc/services does not know `ha-cluster`."""
DEFAULT_BAUD = 19200
DEFAULT_CORE_ROOT = "/var/lib/heartbeat/cores"
BAUD_RATES = ("9600", "19200", "38400", "57600", "115200", "230400", "460800")

MAX_NODES = 100
"""3.0.6's table of nodes and ping nodes together."""
MAX_MEDIA = 64


@dataclass(slots=True)
class HaCfDraft(Draft):
    """ha.cf while it is read."""

    port: int = DEFAULT_PORT
    nodes: dict[str, Word] = field(default_factory=dict)
    ping_nodes: dict[str, Word] = field(default_factory=dict)
    media: list[tuple[MediumSpec, Word]] = field(default_factory=list)
    ports: dict[str, int] = field(default_factory=dict)
    """The port each kind of medium latched with its first medium."""
    auto_failback: AutoFailback | None = None
    clients: list[Client] = field(default_factory=list)
    api_clients: dict[str, Word] = field(default_factory=dict)
    environment: dict[str, str] = field(default_factory=dict)
    stonith: list[tuple[str, Word, Stonith]] = field(default_factory=list)
    """The node whose peer is to be reset (or `*`), the line, and by what."""


@dataclass(frozen=True, slots=True)
class HaCf:
    """ha.cf, read. Meaningful only if no error was found."""

    nodes: tuple[Word, ...]
    """Lower case, in file order, each with its place."""
    media: tuple[MediumSpec, ...]
    """Those that carry heartbeats, and ping nodes."""
    serial_lines: tuple[tuple[Serial, Word], ...]
    """Which of them are slow, and where they stand."""
    ping_nodes: tuple[str, ...]
    timing: Timing
    auto_failback: AutoFailback
    msgfmt: MsgFormat
    hopfudge: int
    realtime: bool
    rtprio: int | None
    log_badpack: bool
    clients: tuple[Client, ...]
    watchdog: str | None
    hbgenmethod: str
    uuidfrom: str
    logging: Logging
    environment: tuple[tuple[str, str], ...]
    coredumps: bool | None
    coreroot: str
    compression: Compression | None
    stonith: Stonith | None
    stonith_lines: tuple[Word, ...]
    """All of them, also those for other nodes."""
    parameters: tuple[tuple[str, str], ...]
