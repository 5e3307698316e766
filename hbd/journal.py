"""Log effects and the standard library's log records, as structured entries of the journal.

The native protocol on a non-blocking datagram socket (systemd.io/JOURNAL_NATIVE_PROTOCOL): a heartbeat
never waits for a log line. What cannot be delivered is counted, and told once it can be again.
Where there is no journal, and on a terminal, lines go to standard error.

MESSAGE is the text alone; 3.0.6's level word (`WARN:`) is PRIORITY here, and stands in front only on
standard error.
"""

from __future__ import annotations

import logging
import os
import select
import socket
from collections.abc import Mapping
from typing import Final, Protocol

from hbd.core.effects import Kind, Level, Log

JOURNAL_SOCKET = "/run/systemd/journal/socket"
FLUSH_LIMIT_S = 0.1
"""A daemon that ends because of a bug waits no longer than this for its last lines to reach files."""
LONGEST_TEXT_BYTES = 16 * 1024
"""More than this of one text is cut off: larger datagrams would need a file of their own."""

PRIORITY: Final[Mapping[Level, int]] = {
    Level.CRIT: 2,
    Level.ERROR: 3,
    Level.WARN: 4,
    Level.INFO: 6,
    Level.DEBUG: 7,
}
"""syslog(3) priorities."""

MESSAGE_ID: Final[Mapping[Kind, str]] = {
    Kind.GENERIC: "f583813063e74471befa11d81dfe55eb",
    Kind.CORE_STARTED: "822713e2b1064871b2c88d781e1ed849",
    Kind.LOCAL_STATUS: "ce758e72bc2d42fb9327a91a161cae4d",
    Kind.NODE_STATUS: "0df4022cbd2e4765903c6c4141269f4e",
    Kind.NODE_DEAD: "1b076a74d7504d3a981436b0b98e00da",
    Kind.NODE_RESTARTED: "53dfe092aab74f0b86f59b927a8f9f03",
    Kind.NODE_RETURNED: "f251d841beea460e9138cf1910438b0e",
    Kind.LATE_HEARTBEAT: "3da02aa9d5c64b0296b87876070dcca1",
    Kind.LINK_UP: "06e49170852d465cb2211be9cc6c6ece",
    Kind.LINK_DEAD: "a42086955ab548218eb3a2f40cb4d51c",
    Kind.LINK_OPENED: "d8607efc9d4a409aae776c4f35dd57e3",
    Kind.LINK_FAILED: "14d0a4f9d2154dc2ad5b6840ba2491c0",
    Kind.ISOLATED: "db4465b5df3947f3a53948bf6d0aa509",
    Kind.LOST_PACKETS: "84fd95c432a14ca1b844f475ad75403a",
    Kind.BAD_PACKET: "711d2d3397f44b4483970ae3bbeee122",
    Kind.REPLAY: "94815ede8cd44a0aabfed542621a29e6",
    Kind.NO_FENCING: "d2e8bca9feef460ea8cc535cca0ebe60",
    Kind.TAKEOVER: "905c5f4383f74aedab3b69ad972b9603",
    Kind.TAKEOVER_COMPLETE: "dc87318443c04014aa2fdd40d4fafb98",
    Kind.TRANSITION: "0f4cfda1419b48bf9e4f8f384ea2cfef",
    Kind.STANDBY: "d72b65e51dbe4d2b926a82d4f5d32037",
    Kind.GROUP_ACQUIRING: "b04527278d2c4ce18a3130782d194c15",
    Kind.GROUP_STARTED: "814ba26b21ef47c4aa5eec5e2fa29f5a",
    Kind.GROUP_RELEASING: "adfb009a872046d1b1edcaf445e058ea",
    Kind.GROUP_RELEASED: "fb3625096c754a13b198f3d9d6d6c79b",
    Kind.RESOURCE_START: "37b99234a8034cf9a4e2dee1fb9854ec",
    Kind.RESOURCE_STOP: "c2ff650dcb82424fac32b9e3b7e7b829",
    Kind.RESOURCE_FAILED: "acdc2c1b23fb4aeea3c0c6b05866596a",
    Kind.RESOURCE_STRAY: "2c4827c3ea0f493db125308d3d6f3faa",
    Kind.RESOURCE_LOST: "6612b9ff3272416b9e6776c686ebd69e",
    Kind.RESOURCE_ENDED: "0d9ef97ab1e04b75a0df23b4385df240",
    Kind.RESOURCE_UNSTEADY: "45ea8c677de1441186e695569e53e450",
    Kind.GROUP_BLOCKED: "2bffed6205a047b7a50eaa5e8724417a",
    Kind.GROUP_UNABLE: "2eb72f7a5a5648abb5073e1b622681c6",
    Kind.GROUP_ADOPTED: "1565762eabf24ae4a0f30fa19bb9649a",
    Kind.CONFLICT: "57320b1a45dc40cc892a19af918b37ec",
    Kind.ABSENCE: "3aa41dfeb0c548b7a2ae9583ede73e26",
    Kind.DIGEST_DIFFERS: "35fb0770d1cc45eab6e29fefe84cf9f4",
    Kind.PEER_KIND: "8d2df10554714bfe9c9c253a3a8a5a28",
    Kind.SHUTDOWN: "a8c9cfb3ab384f50b84b780ae41c3f5e",
    Kind.SHUTDOWN_NOTICE: "7556f1461cc64321bdf17e33fa024544",
    Kind.RELOAD: "571e7e0db2fc421fb2bbd73e1a9e3f37",
    Kind.CLIENT: "6f7d670935e209fc1b618ba699ab78d4",
    Kind.WATCHDOG: "713a1c66c4aa4293b0e0b46c6e22faee",
    Kind.LEASE: "751da35c7fa541c887f3ca08445875fc",
    Kind.IPFAIL: "d90f6fc54c4b4c6f9d2ad2a1d3c36e0b",
    Kind.FREEZE: "d2958a47b40340919d933c0bbb23ad32",
    Kind.CONFIRMED_DEAD: "134256379d3540d486e8e07e7260c2ad",
    Kind.REFUSED: "de9d2b51ee024387b6b0b7d3bd8ee254",
}
"""Drawn once at random and never changed: systemd/hbd.catalog and users' scripts know them."""


class Beside(Protocol):
    """Where lines go beside the journal: `hbd.logs`."""

    def put(self, level: Level, text: str) -> None:
        """Take a line. Never blocks and never raises."""

    def flush(self, wait_s: float) -> None:
        """Return once it is written, at the latest after this."""


class Journal:
    """Writes to the journal of this machine. Never blocks and never raises."""

    def __init__(self, path: str = JOURNAL_SOCKET) -> None:
        self._path = path
        self.beside: Beside | None = None
        """Gets every line too."""
        self.facility: int | None = None
        """syslog(3)'s number, which entries carry; journald's default is daemon."""
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.setblocking(False)
        self._on_stderr = _stderr_is_read()
        self.lost = 0
        """Entries that reached nobody."""
        self._untold = 0

    def log(self, entry: Log) -> None:
        """One effect of the core."""
        fields = [
            ("MESSAGE_ID", MESSAGE_ID[entry.kind]),
            ("HBD_NODE", entry.node),
            ("HBD_LINK", entry.link),
            ("HBD_GROUP", entry.group),
            ("HBD_RESOURCE", entry.resource),
            ("HBD_TRANSITION", str(entry.transition) if entry.transition else ""),
        ]
        self.write(entry.level, entry.text, fields)

    def write(self, level: Level, text: str, fields: list[tuple[str, str]]) -> None:
        """An entry with these fields; empty ones are left out."""
        if self.beside is not None:
            self.beside.put(level, text)
        self._write(level, text, fields)

    def alone(self, level: Level, text: str) -> None:
        """A line about what is beside the journal, which does not get it."""
        self._write(level, text, [("MESSAGE_ID", MESSAGE_ID[Kind.GENERIC])])

    def flush(self, wait_s: float) -> None:
        """Let what is beside the journal finish, but not for longer than this."""
        if self.beside is not None:
            self.beside.flush(wait_s)

    def _write(self, level: Level, text: str, fields: list[tuple[str, str]]) -> None:
        if self._untold:
            untold, self._untold = self._untold, 0
            self._deliver(Level.WARN, f"{untold} log line(s) lost: the journal did not take them", [])
        self._deliver(level, text, fields)

    def _deliver(self, level: Level, text: str, fields: list[tuple[str, str]]) -> None:
        entry = _field("MESSAGE", text)
        entry += f"PRIORITY={PRIORITY[level]}\nSYSLOG_IDENTIFIER=hbd\nSYSLOG_PID={os.getpid()}\n".encode()
        if self.facility is not None:
            entry += f"SYSLOG_FACILITY={self.facility}\n".encode()
        for name, value in fields:
            if value:
                entry += _field(name, value)
        try:
            self._socket.sendto(entry, self._path)
            delivered = True
        except OSError:
            delivered = False
        if self._on_stderr and (not delivered or os.isatty(2)):
            delivered = _write_stderr(f"hbd: {level.value}: {text}\n".encode("utf-8", "replace")) or delivered
        if not delivered:
            self.lost += 1
            self._untold += 1


class JournalHandler(logging.Handler):
    """The way of logging records of libraries and edges into the journal.

    A record may carry fields: `log.info(text, extra={"fields": {"HBD_LINK": "eth1"}})`.
    """

    def __init__(self, journal: Journal) -> None:
        super().__init__()
        self._journal = journal

    def emit(self, record: logging.LogRecord) -> None:
        fields = [
            ("MESSAGE_ID", MESSAGE_ID[Kind.GENERIC]),
            ("LOGGER", record.name),
            ("CODE_FILE", record.pathname),
            ("CODE_LINE", str(record.lineno)),
            ("CODE_FUNC", record.funcName or ""),
            *((name, str(value)) for name, value in getattr(record, "fields", {}).items()),
        ]
        self._journal.write(_level(record.levelno), self.format(record), fields)

    def flush(self) -> None:
        self._journal.flush(FLUSH_LIMIT_S)


def route_logging(journal: Journal) -> None:
    """Everything that `logging` gets, from here on."""
    root = logging.getLogger()
    root.handlers[:] = [JournalHandler(journal)]
    root.setLevel(logging.INFO)


def _level(number: int) -> Level:
    if number >= logging.CRITICAL:
        return Level.CRIT
    if number >= logging.ERROR:
        return Level.ERROR
    if number >= logging.WARNING:
        return Level.WARN
    return Level.INFO if number >= logging.INFO else Level.DEBUG


def _field(name: str, text: str) -> bytes:
    """`NAME=text`, or the form with a length where the text has several lines."""
    value = text.encode("utf-8", "replace")[:LONGEST_TEXT_BYTES]
    if b"\n" not in value:
        return name.encode() + b"=" + value + b"\n"
    return name.encode() + b"\n" + len(value).to_bytes(8, "little") + value + b"\n"


def _stderr_is_read() -> bool:
    """Whether standard error leads elsewhere than to the journal ($JOURNAL_STREAM, systemd.exec(5))."""
    try:
        status = os.fstat(2)
    except OSError:
        return False
    return os.environ.get("JOURNAL_STREAM") != f"{status.st_dev}:{status.st_ino}"


def _write_stderr(line: bytes) -> bool:
    """Only if it takes it now: a terminal stopped with ^S must not stop heartbeats."""
    try:
        poll = select.poll()
        poll.register(2, select.POLLOUT)
        if not poll.poll(0):
            return False
        os.write(2, line[: select.PIPE_BUF])
    except OSError:
        return False
    return True
