"""Whether a service address is still as it was put on: pure.

What keeps clients from reaching it, or would, is put right: gone, with another prefix length, only on another
interface, refused by the kernel. What does not is said once and left so, since to put it right would take the
address away for a moment: another label, another broadcast address. An address that somebody deprecated
(preferred_lft 0) answers as before and only starts no new connections, which may be just what is wanted.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from hbd.config.model import AddressResource
from hbd.core.events import Condition, ResourceSeen
from hbd.kerneltables import KernelTables
from hbd.rtnetlink import Address

Name = Callable[[int], str]
"""Of an interface by its index, also after it has vanished."""


@dataclass(frozen=True, slots=True)
class Held:
    """An address that runs here."""

    resource: AddressResource
    """As it was configured then."""
    address: Address
    """As the kernel showed it."""


def alike(one: Address, other: Address) -> bool:
    """Whether both are the same address at the same place."""
    return one.place == other.place


def judge(
    resource: AddressResource, held: Held | None, tables: KernelTables, name: Name
) -> ResourceSeen | None:
    """What is to be told of it. None while the kernel is still testing it."""
    there = tables.having(resource.ip)
    used = [address for address in there if address.usable]
    if held is not None and held.address.index in tables.links:
        if not any(alike(address, held.address) for address in used):
            if any(address.tentative for address in there):
                return None
            return ResourceSeen(resource, Condition.STOPPED, _wrong(held.address, there, tables, name))
    elif not used:
        if any(address.tentative for address in there):
            return None
        gone = "" if held is None else f"went away with its interface {name(held.address.index)}"
        return ResourceSeen(resource, Condition.STOPPED, gone)
    places = [tables.links[address.index] for address in used if address.index in tables.links]
    where = "on " + ", ".join(link.name for link in places)
    aside = bool(places) and all(link.loopback for link in places)
    return ResourceSeen(resource, Condition.RUNNING, where, aside)


def _wrong(held: Address, there: list[Address], tables: KernelTables, name: Name) -> str:
    """Why it is as good as gone; empty where it just is not there."""
    link = tables.links[held.index]
    for address in there:
        if address.refused:
            return (
                f"is not used by the kernel here, since another machine on {name(address.index)} has it "
                "(duplicate address detection failed)"
            )
    for address in there:
        if address.index == held.index:
            return f"has the prefix length {address.prefix} here now, and not {held.prefix}"
    if there:
        return f"is on {name(there[0].index)} now, and not on {link.name}"
    if held.version == 6 and not link.up:
        return f"was taken away by the kernel, since {link.name} is down"
    return ""


def strangeness(before: Address, now: Address) -> list[str]:
    """What somebody changed of it that is left so."""
    found = []
    # An interface that is renamed gives its addresses labels of its new name.
    if _suffix(before.label) != _suffix(now.label):
        found.append(f"{now.ip} is labelled {now.label or 'nothing'} now, and not {before.label}: left so")
    if before.broadcast != now.broadcast:
        new, old = now.broadcast or "none", before.broadcast or "none"
        found.append(f"{now.ip} has the broadcast address {new} now, and not {old}: left so")
    if now.deprecated and not before.deprecated:
        found.append(f"{now.ip} is deprecated now: it answers, and new connections do not start from it")
    return found


def _suffix(label: str | None) -> str:
    return "" if label is None else label.partition(":")[2]
