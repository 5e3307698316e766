"""Names of the transient units in which a resource script runs.

Derived from the resource's identity alone, so that a daemon that was killed and
started again finds what still runs. The identity is escaped as systemd-escape(1)
does, which leaves no `@`: what stands behind one cannot be part of an identity.
"""

from __future__ import annotations

import hashlib
import string

PREFIX = "hbd-resource-"
START, STOP, STATUS = "start", "stop", "status"

_PLAIN = frozenset((string.ascii_letters + string.digits + ":_.").encode())
_MOST_BYTES = 200
"""Of the escaped identity; a unit's name has 255 at most."""


def stem(identity: str) -> str:
    """`hbd-resource-datadisk::drbd0` for `datadisk::drbd0`."""
    name = escaped(identity)
    if len(name) > _MOST_BYTES:
        name = f"{name[:_MOST_BYTES]}:{hashlib.sha256(_octets(identity)).hexdigest()[:16]}"
    return PREFIX + name


def unit(identity: str, verb: str) -> str:
    """The unit in which `SCRIPT ARGUMENTS VERB` runs. That of `start` stays until the resource is stopped."""
    return f"{stem(identity)}@{verb}.service"


def escaped(name: str) -> str:
    """As systemd-escape(1) writes it."""
    return "".join(_escaped(byte, first=not place) for place, byte in enumerate(_octets(name)))


def _octets(identity: str) -> bytes:
    return identity.encode("utf-8", "surrogateescape")


def _escaped(byte: int, first: bool) -> str:
    if byte == ord("/"):
        return "-"
    if byte in _PLAIN and not (first and byte == ord(".")):
        return chr(byte)
    return f"\\x{byte:02x}"
