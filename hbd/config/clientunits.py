"""Names of the transient units in which ha.cf's clients run.

Derived from the line alone, so that a daemon that was killed and started again finds what
still runs; a line that says something else is another client with a unit of its own.
"""

from __future__ import annotations

import hashlib

from hbd.config.scriptunits import escaped

PREFIX = "hbd-client-"

_MOST_BYTES = 100
_DIGITS = 8


def unit(program: str, user: str, command: str, failfast: bool, repeated: int) -> str:
    """`hbd-client-watch-1f0c9a3e.service` for `respawn nobody /usr/local/bin/watch -n 5`."""
    line = "\0".join((user, command, str(failfast), str(repeated)))
    digest = hashlib.sha256(line.encode("utf-8", "surrogateescape")).hexdigest()[:_DIGITS]
    return f"{PREFIX}{escaped(program)[:_MOST_BYTES]}-{digest}.service"
