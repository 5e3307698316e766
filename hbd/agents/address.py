"""Service addresses: on an interface, confirmed by the kernel and announced to the neighbours; or off it.

An address is told by its IP alone: a stop takes it off wherever it is, with whatever prefix, and a start
that finds it anywhere is done. Once it runs here, it is to stay as it was found or put on (`_held`): with
another prefix length, or on another interface, it is as good as gone, and put right.

IPv6 addresses are put on without duplicate address detection. That would keep an address unusable for a
second or two of every takeover, and against the dying copy of a peer for ever. Nobody else has a service
address: that is what the cluster is for, and IPv4 has no such test either. But where the kernel has found
somebody who has the address (an administrator put it on by hand, with the test), a start has it tested again,
and fails if somebody is still there.

A start is one act without a pause: nothing comes between its look and its change. Many at once have one turn
of the event loop each, so that heartbeats get in between; a forced release waits for none of them.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Iterable, Sequence
from dataclasses import replace
from ipaddress import ip_address

from hbd.agents.addresslinks import LinkFollower
from hbd.agents.addresswatch import AddressWatch, Watches
from hbd.agents.announce import Announcer
from hbd.agents.base import Post
from hbd.agents.findif import Tables, find
from hbd.agents.heldaddress import Held, alike, judge, strangeness
from hbd.agents.removal import take_off
from hbd.config.model import AddressResource
from hbd.core.events import OK, Condition, Outcome, ResourceSeen, Result
from hbd.errors import EdgeError
from hbd.kerneltables import KernelTables
from hbd.netlink import Netlink, NoAnswer
from hbd.rtnetlink import Address, AddressSeen, Link, LinkSeen, Notice

log = logging.getLogger(__name__)

DETECTION_S = 5.0
"""Duplicate address detection takes one or two seconds where there is a carrier, and for ever elsewhere."""
DETECTION_LOOK_S = 0.05
TELL_S, SINGLY = 0.05, 3
"""Changes are told so long after the first, and of many not more than a few."""
SOME = 64
"""Addresses that are looked up in one turn of the loop."""


class AddressAgent:
    """Starts, stops, probes and watches addresses over netlink; announces them while permitted."""

    def __init__(self, netlink: Netlink) -> None:
        self._netlink = netlink
        self._announcer = Announcer()
        self._held: dict[str, Held] = {}
        """What runs here, by IP."""
        self._releases: dict[str, int] = {}
        """How often each IP was to be taken off."""
        self._turnstile = asyncio.Lock()
        self._strange: list[str] = []
        """What somebody changed and nothing is done about: to be told."""
        self._telling: asyncio.TimerHandle | None = None
        self._watches = Watches(self.look)
        self._follower = LinkFollower(netlink, self._announcer, self._held)
        self._end = netlink.listen(self._hear)

    def permit(self, until_ms: int) -> None:
        """Announcements may be sent until then (CLOCK_BOOTTIME); 0 forbids at once."""
        self._announcer.permit(until_ms)

    def close(self) -> None:
        """Stop announcing; addresses stay as they are."""
        self._end()
        if self._telling is not None:
            self._telling.cancel()
        self._follower.close()
        self._watches.close()
        self._announcer.close()

    # ------------------------------------------------------------ the Agent protocol

    async def start(self, resource: AddressResource) -> Outcome:
        """Put it on its interface and announce it. OK only when the kernel shows it there."""
        try:
            address, link = await self._put_on(resource)
        except EdgeError as why:
            return _failed(why)
        # What is put back is told once, by the core.
        self._announce(resource, address, link, quietly=resource.ip in self._held)
        if not link.carrier:
            log.warning("%s is on %s, which is down: nobody can reach it there", resource.ip, link.name)
        return OK

    async def stop(self, resource: AddressResource, leaving: bool) -> Outcome:
        """Take it off every interface. OK only when the kernel no longer shows it."""
        await self._turn()
        return await self.drop((resource,))

    async def probe(self, resource: AddressResource) -> Condition:
        """Whether the kernel shows it on any interface."""
        try:
            found = self._netlink.tables().having(resource.ip)
        except EdgeError:
            return Condition.UNKNOWN
        return Condition.RUNNING if any(not address.refused for address in found) else Condition.STOPPED

    def watch(self, resource: AddressResource, known: Condition, post: Post) -> AddressWatch:
        """Post its condition whenever the kernel's notices show that it is not what is known.

        What is known to run is taken to be as it should be."""
        if known is Condition.RUNNING and resource.ip not in self._held:
            with contextlib.suppress(EdgeError):  # The first look tells.
                for address in self._netlink.tables().having(resource.ip):
                    if address.usable:
                        self._held[resource.ip] = Held(resource, address)
        return self._watches.add(resource, known, post)

    def look(self, resource: AddressResource) -> ResourceSeen | None:
        """What is so now; None while the kernel is still testing it. Raises EdgeError."""
        tables = self._netlink.tables()
        held = self._held.get(resource.ip)
        seen = judge(resource, held, tables, self._follower.name)
        if held is not None and seen is not None and seen.condition is Condition.RUNNING:
            self._accept(held, tables)
        return seen

    def _accept(self, held: Held, tables: KernelTables) -> None:
        """Have told, once, what somebody changed and nothing is done about."""
        for address in tables.having(held.address.ip):
            if alike(address, held.address):
                self._strange += strangeness(held.address, address)
                if self._strange and self._telling is None:
                    self._telling = asyncio.get_running_loop().call_later(TELL_S, self._tell_strange)
                self._held[address.ip] = replace(held, address=address)
                return

    def _tell_strange(self) -> None:
        self._telling = None
        for text in self._strange[:SINGLY]:
            log.warning("%s", text)
        if len(self._strange) > SINGLY:
            more = len(self._strange) - SINGLY
            log.warning("%d more changes of this kind to service addresses here; see `ip address`", more)
        self._strange.clear()

    # ------------------------------------------------------------ addresses only

    async def drop(self, resources: Sequence[AddressResource]) -> Outcome:
        """Forced release: announcements end before anything else, then all are taken off in one batch."""
        ips = {resource.ip: None for resource in resources}
        for ip in ips:
            self._announcer.forget(ip)
            self._held.pop(ip, None)
            self._releases[ip] = self._releases.get(ip, 0) + 1
        try:
            try:
                await take_off(self._netlink, self._places_of(ips))
            except NoAnswer:
                await take_off(self._netlink, self._places_of(ips))  # On a new socket, from what is so now.
            left = sorted({address.ip for address in self._places_of(ips)})
        except EdgeError as why:
            return _failed(why)
        if left:
            text = f"Still there after its removal: {', '.join(left)}; see `ip address`"
            return Outcome(Result.FAILED, text)
        return OK

    async def announce(self, resource: AddressResource) -> Outcome:
        """Announce a started address from the beginning."""
        try:
            tables = self._netlink.tables()
        except EdgeError as why:
            return _failed(why)
        for address in tables.having(resource.ip):
            link = tables.links.get(address.index)
            if link is not None and not link.loopback and address.usable:
                self._announce(resource, address, link)
                return OK
        return Outcome(Result.FAILED, f"{resource.ip} is on no interface, so it was not announced")

    def _announce(
        self, resource: AddressResource, address: Address, link: Link, *, quietly: bool = False
    ) -> None:
        self._held[address.ip] = Held(resource, address)
        self._announcer.begin(address.ip, link, address.label, quietly=quietly)

    async def places(self, resources: Iterable[AddressResource]) -> list[Link]:
        """The interfaces where these are now, and where a start would put them; loopback left out.

        Raises EdgeError if the kernel does not say.
        """
        found: dict[int, Link] = {}
        for number, resource in enumerate(resources):
            if number % SOME == SOME - 1:
                await asyncio.sleep(0)
            tables = self._netlink.tables()
            indexes = {address.index for address in tables.having(resource.ip)}
            with contextlib.suppress(EdgeError):  # It has no place now; a notice will tell of one.
                indexes.add(find(resource, self._ways(resource))[1].index)
            found |= {index: tables.links[index] for index in indexes if index in tables.links}
        return [found[index] for index in sorted(found) if not found[index].loopback]

    # ------------------------------------------------------------ inside

    async def _turn(self) -> None:
        """Whoever waits here is let through one in each turn of the loop, first come, first served."""
        async with self._turnstile:
            await asyncio.sleep(0)

    def _places_of(self, ips: Iterable[str]) -> list[Address]:
        tables = self._netlink.tables()
        return [address for ip in ips for address in tables.having(ip)]

    def _ways(self, resource: AddressResource) -> Tables:
        return Tables(self._netlink.tables(), self._netlink.routes(_version(resource)))

    async def _put_on(self, resource: AddressResource) -> tuple[Address, Link]:
        """Raises EdgeError."""
        releases = self._releases.get(resource.ip, 0)
        await self._turn()
        self._still_wanted(resource, releases)
        tables = self._netlink.tables()
        held = self._held.get(resource.ip)
        if held is not None and held.address.index not in tables.links:
            held = None  # Its interface has gone: wherever it is now, it is.
        there = tables.having(resource.ip)
        for address in there:
            link = tables.links.get(address.index)
            if link is not None and address.usable and (held is None or alike(address, held.address)):
                return address, link
        wish, link = self._wish(resource, held)
        # IPv6 knows an address once on each interface, whatever its prefix length. Of IPv4 the right one
        # comes first, so that nothing is interrupted.
        in_the_way = wish.version == 6
        before = [each for each in there if not each.usable or (in_the_way and each.index == wish.index)]
        await take_off(self._netlink, before)
        doubtful = any(each.refused for each in before)
        shown = self._netlink.add(wish, tested=doubtful)
        if doubtful:
            shown = await self._detected(shown, link)
            self._still_wanted(resource, releases)
        wrong = [each for each in there if each not in before and not alike(each, shown)]
        await take_off(self._netlink, [each for each in wrong if not self._is_on_loopback(each)])
        return shown, link

    def _still_wanted(self, resource: AddressResource, releases: int) -> None:
        if self._releases.get(resource.ip, 0) != releases:
            raise EdgeError(f"{resource.ip} was to be taken off before it was put on")

    def _wish(self, resource: AddressResource, held: Held | None) -> tuple[Address, Link]:
        """As it was if it is to be put back there, else as the routes say. Raises EdgeError.

        Whoever configures an interface anew takes all addresses off, and the route with them, and may need a
        while to put his own back. And an interface that is set down loses its IPv6 addresses, as it does not
        its IPv4 addresses; whether the group moves for that is not decided here.
        """
        if held is not None and held.resource == resource:
            link = self._netlink.tables().links[held.address.index]
            if link.carrier or (held.address.version == 6 and not link.up):
                return replace(held.address, flags=0), link
        return find(resource, self._ways(resource))

    def _is_on_loopback(self, address: Address) -> bool:
        link = self._netlink.tables().links.get(address.index)
        return link is not None and link.loopback

    async def _detected(self, address: Address, link: Link) -> Address:
        """An address that passed duplicate address detection. Else it is off again: raises EdgeError."""
        try:
            async with asyncio.timeout(DETECTION_S):
                while True:
                    now = [each for each in self._places_of((address.ip,)) if alike(each, address)]
                    if not now:
                        raise EdgeError(f"{address.ip} was taken off {link.name} while it was tested")
                    if now[0].refused:
                        raise EdgeError(
                            f"another machine on {link.name} has {address.ip} (duplicate address detection "
                            f"failed), so it is not put on here; see `ip -6 neighbour`"
                        )
                    if now[0].usable:
                        return now[0]
                    await asyncio.sleep(DETECTION_LOOK_S)
        except TimeoutError:
            await take_off(self._netlink, [address])
            text = f"duplicate address detection of {address.ip} on {link.name} does not end"
            raise EdgeError(f"{text}; see `ip address`") from None
        except (EdgeError, asyncio.CancelledError):
            await take_off(self._netlink, [address])
            raise

    def _hear(self, notice: Notice) -> None:
        match notice:
            case AddressSeen(address, _):
                self._watches.notice(address.ip)
            case LinkSeen():
                self._follower.hear(notice)


def _failed(why: EdgeError) -> Outcome:
    """What got no answer may have happened, so it is not called failed."""
    return Outcome(Result.UNKNOWN if isinstance(why, NoAnswer) else Result.FAILED, str(why))


def _version(resource: AddressResource) -> int:
    return ip_address(resource.ip).version
