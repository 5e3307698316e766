"""A digest of what is to run where, by which two nodes see that they mean the same.

Resources count by identity, so `192.168.85.3` and `192.168.85.3/24` are equal,
as are `smb` and `smbd.service` where one is the other's alias. The order of
resources in a group counts, the order of groups does not.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

from hbd.config.model import GroupSpec, Ping

_HEX_DIGITS = 16


def ping_list_number(pings: Iterable[Ping]) -> int:
    """A number of up to nine digits that stands for these ping nodes; their order does not count."""
    texts = sorted(" ".join((ping.name.lower(), *sorted(ping.hosts))) for ping in pings)
    whole = "\n".join(texts).encode("utf-8", "surrogateescape")
    return int.from_bytes(hashlib.sha256(whole).digest()[:8]) % 1_000_000_000


def resource_digest(groups: Iterable[GroupSpec]) -> str:
    """Sixteen hex digits over home node and ordered identities of every group."""
    # Neither a node name nor an identity contains white space: no two
    # configurations give the same text.
    texts = sorted(" ".join((group.home, *(r.identity for r in group.resources))) for group in groups)
    whole = "\n".join(texts).encode("utf-8", "surrogateescape")
    return hashlib.sha256(whole).hexdigest()[:_HEX_DIGITS]
