"""Takes addresses off their interfaces, and never another address with them.

The kernel drops the secondary addresses of an IPv4 subnet with its first one, unless promote_secondaries is
set (ip-sysctl). It is set for the interface before others would go along; where that is forbidden, what went
along is put back at once.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from hbd.netlink import BATCH, Netlink
from hbd.rtnetlink import Address

log = logging.getLogger(__name__)

SYSCTL = Path("/proc/sys/net/ipv4/conf")


async def take_off(netlink: Netlink, doomed: Sequence[Address]) -> None:
    """Delete these. Other work gets its turn between batches of many. Raises EdgeError, NoAnswer."""
    endangered = _endangered(netlink, doomed)
    if len(doomed) > BATCH:
        await asyncio.sleep(0)
    # To remove the first address of a subnet before the others costs the kernel a look at each of those.
    await netlink.delete(sorted(doomed, key=lambda address: not address.secondary))
    if not endangered:
        return
    tables = netlink.tables()
    for address in endangered:
        if address.place not in {left.place for left in tables.having(address.ip)}:
            log.warning("%s went away with another address of its subnet; put back", address.ip)
            netlink.add(replace(address, flags=0))


def _endangered(netlink: Netlink, doomed: Sequence[Address]) -> list[Address]:
    """The others that the kernel would drop along: secondaries behind a first address."""
    first = [each for each in doomed if each.version == 4 and not each.secondary]
    if not first:
        return []
    tables = netlink.tables()
    names = {each.index: tables.links[each.index].name for each in first if each.index in tables.links}
    bare = {index for index, name in names.items() if not _promotes(name)}
    if not bare:
        return []
    leaders, meant = {(each.index, each.network) for each in first}, {each.place for each in doomed}
    endangered = [
        address
        for address in tables.addresses(4)
        if address.secondary
        and address.index in bare
        and (address.index, address.network) in leaders
        and address.place not in meant
    ]
    for index in dict.fromkeys(address.index for address in endangered):
        try:
            (SYSCTL / names[index] / "promote_secondaries").write_text("1\n")
        except OSError as why:
            log.warning("promote_secondaries cannot be set (%s); what goes along is put back", why)
    return endangered


def _promotes(interface: str) -> bool:
    """Whether the kernel keeps an interface's other addresses."""
    try:
        return "1" in (_switch(interface), _switch("all"))
    except OSError:
        return False


def _switch(interface: str) -> str:
    return (SYSCTL / interface / "promote_secondaries").read_text().strip()
