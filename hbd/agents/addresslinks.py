"""What becomes of the interfaces that service addresses are on.

Who comes back, or changes its hardware address, may be plugged into another switch, which knows nothing yet:
its addresses are announced again. Who is renamed keeps its addresses. Who vanishes, or is moved to another
namespace, takes them along, which their watches tell.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping

from hbd.agents.announce import Announcer
from hbd.agents.heldaddress import Held
from hbd.errors import EdgeError
from hbd.netlink import Netlink
from hbd.rtnetlink import Link, LinkSeen

log = logging.getLogger(__name__)


class LinkFollower:
    """Acts on the links of what is held: once per turn of the loop, however many notices there are."""

    def __init__(self, netlink: Netlink, announcer: Announcer, held: Mapping[str, Held]) -> None:
        self._netlink = netlink
        self._announcer = announcer
        self._held = held
        self._known = dict(netlink.tables().links)
        """As last seen, with those that have vanished and took something of ours along."""
        self._lost: set[int] = set()
        """Had no carrier when they were last seen."""
        self._soon: asyncio.Handle | None = None

    def close(self) -> None:
        """Follow no more."""
        if self._soon is not None:
            self._soon.cancel()

    def name(self, index: int) -> str:
        """Its last name."""
        return self._known[index].name if index in self._known else f"interface {index}"

    def hear(self, notice: LinkSeen) -> None:
        """Act on it soon."""
        if not notice.link.carrier or not notice.present:
            self._lost.add(notice.link.index)
        if self._soon is None:
            self._soon = asyncio.get_running_loop().call_soon(self._look)

    def _look(self) -> None:
        self._soon = None
        try:
            links = self._netlink.tables().links
        except EdgeError:
            return  # The lost notices are told again.
        if self._known.keys() - links.keys():
            needed = {held.address.index for held in self._held.values()}.union(links)
            self._known = {index: link for index, link in self._known.items() if index in needed}
        for index, link in links.items():
            before = self._known.get(index)
            self._known[index] = link
            if before is not None and before.name != link.name:
                self._renamed(before, link)
            back = link.carrier and (index in self._lost or (before is not None and not before.carrier))
            if link.carrier:
                self._lost.discard(index)
            if back or (before is not None and (before.mac, before.name) != (link.mac, link.name)):
                self._announce(link)

    def _renamed(self, before: Link, link: Link) -> None:
        there = [held for held in self._held.values() if held.address.index == link.index]
        if not there:
            return
        text = f"{before.name} is called {link.name} now, and keeps {_addresses(len(there))}"
        named = [held.resource.name for held in there if held.resource.interface == before.name]
        if named:
            text += f"; {named[0]} in haresources names {before.name}, so that it will not start here again"
        log.warning("%s", text)

    def _announce(self, link: Link) -> None:
        if not link.carrier:
            return
        tables = self._netlink.tables()
        for ip, held in tuple(self._held.items()):
            if held.address.index == link.index and any(
                address.index == link.index and address.usable for address in tables.having(ip)
            ):
                self._announcer.begin(ip, link, held.address.label)


def _addresses(count: int) -> str:
    return "the service address that is on it" if count == 1 else f"the {count} service addresses on it"
