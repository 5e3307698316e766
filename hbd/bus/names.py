"""The names of org.linux_ha.Heartbeat1: bus name, interfaces, object paths.

Labels are escaped as systemd escapes them (sd_bus_path_encode(3)), so that an
administrator who can read a unit's object path can read ours.
"""

from __future__ import annotations

import re
from functools import lru_cache

BUS_NAME = "org.linux_ha.Heartbeat1"
ROOT = "/org/linux_ha/Heartbeat1"

CLUSTER = BUS_NAME + ".Cluster"
NODE = BUS_NAME + ".Node"
LINK = BUS_NAME + ".Link"
GROUP = BUS_NAME + ".Group"
RESOURCE = BUS_NAME + ".Resource"

ERROR_REFUSED = BUS_NAME + ".Error.Refused"
"""The cluster cannot do now what was asked; the text says why."""
ERROR_FAILED = BUS_NAME + ".Error.Failed"
"""It was tried and did not work, e.g. a reload with a wrong configuration."""
ERROR_INVALID_ARGUMENT = BUS_NAME + ".Error.InvalidArgument"
"""An argument has the right type and means nothing; the text lists what does."""
ERROR_NO_SUCH_NODE = BUS_NAME + ".Error.NoSuchNode"
"""The cluster has no node of that name; the text lists those it has."""

_LETTERS = frozenset(b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ")
_DIGITS = frozenset(b"0123456789")


@lru_cache(maxsize=8192)
def escape(label: str) -> str:
    """One element of an object path that stands for any text.

    Every byte of the UTF-8 that is no ASCII letter or digit becomes `_xx`, a digit in the
    first place too; the empty text is `_`. Fact: sd_bus_path_encode(3).
    """
    if not label:
        return "_"
    return "".join(
        chr(byte) if byte in _LETTERS or (index and byte in _DIGITS) else f"_{byte:02x}"
        for index, byte in enumerate(label.encode(errors="surrogateescape"))
    )


def unescape(element: str) -> str:
    """The text that `escape` was given."""
    if element == "_":
        return ""
    plain = re.sub(r"_([0-9a-f]{2})", lambda found: chr(int(found[1], 16)), element)
    return plain.encode("latin-1").decode(errors="replace")


def describe(path: str) -> str:
    """What an object of ours is, in words: `cluster`, `node linuxha2`, `link linuxha2:eth1`."""
    kind, _, rest = path.removeprefix(ROOT).lstrip("/").partition("/")
    if not rest:
        return kind or "cluster"
    if kind == "resource":
        group, _, position = rest.rpartition("_")
        return f"resource {position} of group {unescape(group)}"
    return f"{kind} {':'.join(unescape(element) for element in rest.split('/'))}"


def node_path(node: str) -> str:
    """By the name of the node."""
    return f"{ROOT}/node/{escape(node)}"


def link_path(node: str, link: str) -> str:
    """Two elements: the peer, and the interface or tty that leads to it."""
    return f"{ROOT}/link/{escape(node)}/{escape(link)}"


def group_path(group: str) -> str:
    """By the first resource as written."""
    return f"{ROOT}/group/{escape(group)}"


def resource_path(group: str, position: int) -> str:
    """Group and position, since the name of a resource may stand in more than one group.

    The last `_` parts them: a position has none.
    """
    return f"{ROOT}/resource/{escape(group)}_{position}"
