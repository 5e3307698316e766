"""Service addresses: on an interface, confirmed by the kernel and announced to the neighbours; or off it.

An address is told by its IP alone: a stop takes it off wherever it is, with whatever prefix, and a start
that finds it anywhere is done. All changes go through one lock, so that two starts do not choose one
label, and a forced release comes after a start that was already under way and undoes it.

Removing one address never removes another. The kernel drops the secondary addresses of a subnet with
its first one, unless promote_secondaries is set (ip-sysctl); it is set for the interface before a
removal, and where that is forbidden, what went along is put back at once.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Iterable, Sequence
from dataclasses import replace
from ipaddress import ip_address
from pathlib import Path

from hbd.agents.announce import Announcer
from hbd.agents.base import Pause, Post
from hbd.agents.findif import Tables, find
from hbd.config.model import AddressResource
from hbd.core.events import OK, Condition, Outcome, ResourceSeen, Result
from hbd.errors import EdgeError
from hbd.netlink import Address, AddressSeen, Link, LinkSeen, Netlink, NoAnswer, Notice, report_bug

log = logging.getLogger(__name__)

LOOK_AGAIN_S = 0.5
"""After a question to the kernel that got no answer."""
SYSCTL = Path("/proc/sys/net/ipv4/conf")


class AddressAgent:
    """Starts, stops, probes and watches addresses over netlink; announces them while permitted."""

    def __init__(self, netlink: Netlink) -> None:
        self._netlink = netlink
        self._announcer = Announcer()
        self._changing = asyncio.Lock()
        self._started: dict[str, Address] = {}
        """What was started or announced, by IP: announced again when its link comes back."""
        self._links: dict[int, Link] = {}
        """As last seen, by index."""
        self._end = netlink.listen(self._follow_links)

    def permit(self, until_ms: int) -> None:
        """Announcements may be sent until then (CLOCK_BOOTTIME); 0 forbids at once."""
        self._announcer.permit(until_ms)

    def close(self) -> None:
        """Stop announcing; addresses stay as they are."""
        self._end()
        self._announcer.close()

    # ------------------------------------------------------------ the Agent protocol

    async def start(self, resource: AddressResource) -> Outcome:
        """Put it on its interface and announce it. OK only when the kernel shows it there."""
        try:
            async with self._changing:
                address, link = await self._put_on(resource)
                # What is put back is told once, by the core.
                self._announce(address, link, quietly=resource.ip in self._started)
        except EdgeError as why:
            return _failed(why)
        if not link.carrier:
            log.warning("%s is on %s, which is down: nobody can reach it there", resource.ip, link.name)
        return OK

    async def stop(self, resource: AddressResource, leaving: bool) -> Outcome:
        """Take it off every interface. OK only when the kernel no longer shows it."""
        return await self.drop((resource,))

    async def probe(self, resource: AddressResource) -> Condition:
        """Whether the kernel shows it on any interface."""
        try:
            found = _having({resource.ip}, await self._netlink.addresses(_version(resource)))
        except EdgeError:
            return Condition.UNKNOWN
        return Condition.RUNNING if any(not address.refused for address in found) else Condition.STOPPED

    def watch(self, resource: AddressResource, known: Condition, post: Post) -> AddressWatch:
        """Post its condition whenever the kernel's notices show that it is not what is known."""
        return AddressWatch(self, self._netlink, resource, known, post)

    async def look(self, resource: AddressResource) -> ResourceSeen:
        """What `probe` finds, and where. Raises EdgeError."""
        found = _having({resource.ip}, await self._netlink.addresses(_version(resource)))
        used = [address for address in found if not address.refused]
        if not used:
            return ResourceSeen(resource, Condition.STOPPED)
        links = {link.index: link for link in await self._netlink.links()}
        places = [links[address.index] for address in used if address.index in links]
        where = "on " + ", ".join(link.name for link in places)
        aside = bool(places) and all(link.loopback for link in places)
        return ResourceSeen(resource, Condition.RUNNING, where, aside)

    # ------------------------------------------------------------ addresses only

    async def drop(self, resources: Sequence[AddressResource]) -> Outcome:
        """Forced release: announcements end before anything else, then all are taken off in one batch."""
        ips = {resource.ip for resource in resources}
        self._hush(ips)
        try:
            async with self._changing:
                self._hush(ips)  # A start that held the lock has begun to announce meanwhile.
                try:
                    await self._take_off(ips)
                except NoAnswer:
                    await self._take_off(ips)  # On a new socket, and from what is so now.
        except EdgeError as why:
            return _failed(why)
        return OK

    async def announce(self, resource: AddressResource) -> Outcome:
        """Announce a started address from the beginning."""
        try:
            async with self._changing:
                found = _having({resource.ip}, await self._netlink.addresses(_version(resource)))
                links = {link.index: link for link in await self._netlink.links()}
                for address in found:
                    if (link := links.get(address.index)) is not None and not link.loopback:
                        self._announce(address, link)
                        return OK
        except EdgeError as why:
            return _failed(why)
        return Outcome(Result.FAILED, f"{resource.ip} is on no interface, so it was not announced")

    def _announce(self, address: Address, link: Link, *, quietly: bool = False) -> None:
        self._started[address.ip] = address
        self._links[link.index] = link
        self._announcer.begin(address.ip, link, address.label, quietly=quietly)

    def _hush(self, ips: Iterable[str]) -> None:
        for ip in ips:
            self._announcer.forget(ip)
            self._started.pop(ip, None)

    async def places(self, resources: Iterable[AddressResource]) -> list[Link]:
        """The interfaces where these are now, and where a start would put them; loopback left out.

        Raises EdgeError if the kernel does not say.
        """
        wanted = tuple(resources)
        links = await self._netlink.links()
        found: dict[int, Link] = {}
        for version in sorted({_version(resource) for resource in wanted}):
            ours = [resource for resource in wanted if _version(resource) == version]
            addresses = await self._netlink.addresses(version)
            tables = Tables(links, addresses, await self._netlink.routes(version))
            indexes = {address.index for address in _having({each.ip for each in ours}, addresses)}
            for resource in ours:
                with contextlib.suppress(EdgeError):  # It has no place now; a notice will tell of one.
                    indexes.add(find(resource, tables)[1].index)
            found |= {link.index: link for link in links if link.index in indexes and not link.loopback}
        return [found[index] for index in sorted(found)]

    # ------------------------------------------------------------ inside the lock

    async def _put_on(self, resource: AddressResource) -> tuple[Address, Link]:
        netlink = self._netlink
        version = _version(resource)
        links, addresses = await netlink.links(), await netlink.addresses(version)
        there = _having({resource.ip}, addresses)
        # A copy that lost duplicate address detection is shown for ever and never used.
        await netlink.delete([address for address in there if address.refused])
        for address in there:
            link = next((link for link in links if link.index == address.index), None)
            if link is not None and not address.refused:
                return address, link
        try:
            wish, link = find(resource, Tables(links, addresses, await netlink.routes(version)))
        except EdgeError:
            before = self._where_it_was(resource, links)
            if before is None:
                raise
            wish, link = before
        return await netlink.add(wish), link

    def _where_it_was(self, resource: AddressResource, links: Sequence[Link]) -> tuple[Address, Link] | None:
        """Where we started it, if that link works: whoever configures an interface anew takes all addresses
        off, and the route with them, and may need a while to put his own back."""
        address = self._started.get(resource.ip)
        link = next((link for link in links if address is not None and link.index == address.index), None)
        if address is None or link is None or not link.carrier:
            return None
        return replace(address, flags=0), link

    async def _take_off(self, ips: set[str]) -> None:
        before = await self._netlink.addresses()
        ours = _having(ips, before)
        if not ours:
            return
        endangered = _endangered(ours, before)
        if endangered:
            await self._promote(endangered)
        await self._netlink.delete(ours)
        after = await self._netlink.addresses()
        if left := sorted({address.ip for address in _having(ips, after)}):
            raise EdgeError(f"Still there after its removal: {', '.join(left)}; see `ip address`")
        lost = {address.place for address in endangered} - {address.place for address in after}
        for address in endangered:
            if address.place in lost:
                log.warning("%s went away with another address of its subnet; put back", address.ip)
                await self._netlink.add(replace(address, flags=0))

    async def _promote(self, endangered: Sequence[Address]) -> None:
        names = {link.index: link.name for link in await self._netlink.links()}
        for index in dict.fromkeys(address.index for address in endangered):
            try:
                _set_promotion(names[index])
            except (KeyError, OSError) as why:
                log.warning("promote_secondaries cannot be set (%s); what goes along is put back", why)

    # ------------------------------------------------------------ links

    def _follow_links(self, notice: Notice) -> None:
        """Announce again what we started on a link that comes back or changes its hardware address.

        It may end at another switch now, which knows nothing yet.
        """
        if not isinstance(notice, LinkSeen):
            return
        link = notice.link
        before = self._links.pop(link.index, None)
        if not notice.present:
            return
        self._links[link.index] = link
        if before is not None and link.carrier and (not before.carrier or before.mac != link.mac):
            for ip, address in self._started.items():
                if address.index == link.index:
                    self._announcer.begin(ip, link, address.label)


class AddressWatch:
    """Looks at the kernel's table after each notice about an address, and posts what is so *then*.

    A notice may be older than our own last change, and an address may be gone for the moment between
    its loss and its return (see the module's text), so the notices themselves decide nothing.
    """

    def __init__(
        self, agent: AddressAgent, netlink: Netlink, resource: AddressResource, known: Condition, post: Post
    ) -> None:
        self._agent = agent
        self._resource = resource
        self._post = post
        self._last: ResourceSeen | None = None
        self._known: Condition | None = known
        """What the core has from elsewhere; None once it was told by us."""
        self._pause = Pause(self._look_anew)
        self._noticed = asyncio.Event()
        self._noticed.set()
        self._end = netlink.listen(self._hear)
        self._looking = asyncio.create_task(self._look(), name=f"watch {resource.ip}")
        self._looking.add_done_callback(report_bug)

    def hold(self) -> None:
        """Look no more until `resume`."""
        self._pause.begin()

    def resume(self, left: Condition | None) -> None:
        """Look again soon, and post what is not as it was left."""
        self._pause.end(left)

    def _look_anew(self, left: Condition | None) -> None:
        self._known, self._last = left, None
        self._noticed.set()

    def cancel(self) -> None:
        """Post nothing more."""
        self._pause.cancel()
        self._end()
        self._looking.cancel()

    def _hear(self, notice: Notice) -> None:
        if isinstance(notice, AddressSeen) and notice.address.ip == self._resource.ip and not self._pause.on:
            self._noticed.set()

    async def _look(self) -> None:
        while True:
            await self._noticed.wait()
            self._noticed.clear()
            try:
                now = await self._agent.look(self._resource)
            except EdgeError:
                await asyncio.sleep(LOOK_AGAIN_S)
                self._noticed.set()
                continue
            if self._pause.on or self._noticed.is_set():
                continue  # Out of date already.
            if now.condition is self._known and not now.aside:
                self._last = now
            elif now != self._last:
                self._last, self._known = now, None
                self._post(now)


def _failed(why: EdgeError) -> Outcome:
    """What got no answer may have happened, so it is not called failed."""
    return Outcome(Result.UNKNOWN if isinstance(why, NoAnswer) else Result.FAILED, str(why))


def _version(resource: AddressResource) -> int:
    return ip_address(resource.ip).version


def _having(ips: set[str], addresses: Iterable[Address]) -> list[Address]:
    return [address for address in addresses if address.ip in ips]


def _endangered(ours: Sequence[Address], present: Sequence[Address]) -> list[Address]:
    """The others that the kernel would drop along: secondaries behind a first address of ours."""
    leaders = {(address.index, address.network) for address in ours if not address.secondary}
    return [
        address
        for address in present
        if address.secondary and (address.index, address.network) in leaders and address not in ours
    ]


def _set_promotion(interface: str) -> None:
    """Have the kernel keep an interface's other addresses. Raises OSError."""
    switch = SYSCTL / interface / "promote_secondaries"
    if "1" not in (switch.read_text().strip(), (SYSCTL / "all/promote_secondaries").read_text().strip()):
        switch.write_text("1\n")
