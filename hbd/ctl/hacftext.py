"""What cl_status asks of ha.cf: the words as they stand there, and 3.0.6's defaults. Pure.

The daemon's own reading is config.hacf's; this is for `cl_status hbparameter`, which tells the text.
"""

from __future__ import annotations

from dataclasses import dataclass, field

DEFAULTS = {
    "autojoin": "none", "auto_failback": "legacy", "baud": "19200", "cluster": "linux-ha",
    "compression": "zlib", "compression_threshold": "2", "conn_logd_time": "60", "coredumps": "true",
    "crm": "false", "deadtime": "30000ms", "debug": "0", "hbgenmethod": "file", "hopfudge": "1",
    "keepalive": "1000ms", "log_badpack": "true", "max_rexmit_delay": "250", "memreserve": "6500",
    "msgfmt": "classic", "realtime": "true", "syslogmsgfmt": "true", "traditional_compression": "no",
    "udpport": "694", "uuidfrom": "file",
}  # fmt: skip
"""What 3.0.6 tells of directives that ha.cf does not have."""

SINGLE = {*DEFAULTS, "deadping", "debugfile", "initdead", "logfacility", "logfile", "warntime"}
"""Directives that hbparameter knows: those of one value."""


@dataclass(frozen=True, slots=True)
class Text:
    """The parts of ha.cf that are asked for."""

    parameters: dict[str, str] = field(default_factory=dict)
    nodes: tuple[str, ...] = ()
    """Nodes and ping nodes in their order."""
    clients: tuple[str, ...] = ()
    """File names of respawn and failfast programs."""


def read(text: str) -> Text:
    """ha.cf, however wrong it is."""
    parameters = dict(DEFAULTS)
    nodes: list[str] = []
    clients: list[str] = []
    for line in text.split("\n"):
        words = line.partition("#")[0].replace(",", " ").split()
        match words:
            case [("node" | "ping" | "ping6"), *names]:
                nodes += names
            case ["ping_group", name, *_]:
                nodes.append(name)
            case [("respawn" | "failfast"), _, program, *_]:
                clients.append(program.rpartition("/")[2])
            case [directive, value, *_] if directive in SINGLE:
                parameters[directive] = value
    parameters.setdefault("deadping", parameters["deadtime"])
    return Text(parameters, tuple(nodes), tuple(clients))
