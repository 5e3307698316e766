"""Whether the interfaces that carry the service addresses, or would carry them, have a carrier.

An address that is on no interface has the one that a start would choose. One that could not be started, for
want of a route, has none. Looked at again after every notice of the kernel about a link or an address: a lost
carrier is known within milliseconds. Facts: rtnetlink(7); IFF_LOWER_UP, netdevice(7).
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from ipaddress import ip_address

from hbd.agents.base import Post
from hbd.agents.findif import Tables, find
from hbd.config.model import AddressResource
from hbd.core.effects import WatchPaths
from hbd.core.events import PathSeen
from hbd.errors import EdgeError
from hbd.netlink import Netlink, report_bug
from hbd.rtnetlink import Link, LinkSeen, Notice

LOOK_EVERY_S = 30.0
"""Routes change without a notice to us."""
RETRY_S = 1.0
GATHER_S = 0.005
"""What happens to several links at once is looked at once."""
ADDRESSES_S = 0.1
"""An address that comes or goes changes little, and often comes with many."""
SOME = 64
"""Addresses that are looked at in one turn of the loop."""


class PathWatch:
    """Posts PathSeen for one set of addresses at a time."""

    def __init__(self, netlink: Netlink) -> None:
        self._netlink = netlink
        self._noticed = asyncio.Event()
        self._end = netlink.listen(self._hear)
        self._looking: asyncio.Task[None] | None = None
        self._later: asyncio.TimerHandle | None = None
        self._links: dict[int, tuple[bool, bool]] = {}

    def watch(self, effect: WatchPaths, post: Post) -> None:
        """These addresses instead of those before; none of them ends it."""
        self._cancel()
        if effect.addresses:
            self._noticed.set()
            self._looking = asyncio.create_task(self._look(effect.addresses, post), name="paths")
            self._looking.add_done_callback(report_bug)

    def close(self) -> None:
        """Post nothing more."""
        self._end()
        self._cancel()

    def _cancel(self) -> None:
        if self._looking is not None:
            self._looking.cancel()
            self._looking = None
        if self._later is not None:
            self._later.cancel()
            self._later = None

    def _hear(self, notice: Notice) -> None:
        if isinstance(notice, LinkSeen):
            now = (notice.present, notice.link.carrier)
            if self._links.get(notice.link.index) == now:
                return  # Its statistics, or a name of its: nothing that matters here.
            self._links[notice.link.index] = now
            self._noticed.set()
        elif self._later is None and self._looking is not None:
            self._later = asyncio.get_running_loop().call_later(ADDRESSES_S, self._look_soon)

    def _look_soon(self) -> None:
        self._later = None
        self._noticed.set()

    async def _look(self, addresses: Sequence[AddressResource], post: Post) -> None:
        last: dict[AddressResource, bool] = {}
        while True:
            wait_s = LOOK_EVERY_S
            self._noticed.clear()
            try:
                for number, address in enumerate(addresses):
                    if number % SOME == SOME - 1:
                        await asyncio.sleep(0)
                    now = self._is_usable(address)
                    if last.get(address) is not now:
                        last[address] = now
                        post(PathSeen(address, now))
            except EdgeError:
                wait_s = RETRY_S  # What is known stays.
            try:
                async with asyncio.timeout(wait_s):
                    await self._noticed.wait()
                await asyncio.sleep(GATHER_S)
            except TimeoutError:
                pass

    def _is_usable(self, address: AddressResource) -> bool:
        link = self._link_of(address)
        return link is not None and (link.carrier or link.loopback)

    def _link_of(self, address: AddressResource) -> Link | None:
        tables = self._netlink.tables()
        for there in tables.having(address.ip):
            if not there.refused:
                return tables.links.get(there.index)
        routes = self._netlink.routes(ip_address(address.ip).version)
        try:
            return find(address, Tables(tables, routes))[1]
        except EdgeError:
            return None
