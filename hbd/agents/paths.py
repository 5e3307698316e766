"""Whether the interfaces that carry the service addresses, or would carry them, have a carrier.

An address that is on no interface has the one that a start would choose. One that could not be started, for
want of a route, has none. Looked at again after every notice of the kernel about a link or an address: a lost
carrier is known within milliseconds. Facts: rtnetlink(7); IFF_LOWER_UP, netdevice(7).
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from hbd.agents.base import Post
from hbd.agents.findif import Tables, find
from hbd.config.model import AddressResource
from hbd.core.effects import WatchPaths
from hbd.core.events import PathSeen
from hbd.errors import EdgeError
from hbd.netlink import Link, LinkSeen, Netlink, Notice, report_bug

LOOK_EVERY_S = 30.0
"""Routes change without a notice to us."""
RETRY_S = 1.0
GATHER_S = 0.005
"""What happens to several addresses or links at once is looked at once."""


class PathWatch:
    """Posts PathSeen for one set of addresses at a time."""

    def __init__(self, netlink: Netlink) -> None:
        self._netlink = netlink
        self._noticed = asyncio.Event()
        self._end = netlink.listen(self._hear)
        self._looking: asyncio.Task[None] | None = None
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

    def _hear(self, notice: Notice) -> None:
        if isinstance(notice, LinkSeen):
            now = (notice.present, notice.link.carrier)
            if self._links.get(notice.link.index) == now:
                return  # Its statistics, or a name of its: nothing that matters here.
            self._links[notice.link.index] = now
        self._noticed.set()

    async def _look(self, addresses: Sequence[AddressResource], post: Post) -> None:
        last: dict[AddressResource, bool] = {}
        while True:
            wait_s = LOOK_EVERY_S
            self._noticed.clear()
            try:
                tables = await self._tables()
            except EdgeError:
                wait_s = RETRY_S  # What is known stays.
            else:
                for address in addresses:
                    now = _is_usable(address, tables[address.ip.find(":") >= 0])
                    if last.get(address) is not now:
                        last[address] = now
                        post(PathSeen(address, now))
            try:
                async with asyncio.timeout(wait_s):
                    await self._noticed.wait()
                await asyncio.sleep(GATHER_S)
            except TimeoutError:
                pass

    async def _tables(self) -> tuple[Tables, Tables]:
        """Of IP version 4 and of 6."""
        netlink = self._netlink
        links, addresses = await netlink.links(), await netlink.addresses()
        return (
            Tables(links, addresses, await netlink.routes(4)),
            Tables(links, addresses, await netlink.routes(6)),
        )


def _is_usable(address: AddressResource, tables: Tables) -> bool:
    link = _link_of(address, tables)
    return link is not None and (link.carrier or link.loopback)


def _link_of(address: AddressResource, tables: Tables) -> Link | None:
    for there in tables.addresses:
        if there.ip == address.ip and not there.refused:
            return next((link for link in tables.links if link.index == there.index), None)
    try:
        return find(address, tables)[1]
    except EdgeError:
        return None
