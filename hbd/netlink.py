"""Addresses, links and routes of this machine's kernel, and what becomes of them.

The only importer of pyroute2. Two sockets are kept open: one asks, the other listens. On a socket that
does both, the kernel's notice of our own change carries the sequence number of our request, and would
be taken for its answer.

Both sockets belong to the network namespace in which `open` was called. Facts: rtnetlink(7).
"""

from __future__ import annotations

import asyncio
import errno
import logging
import os
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from socket import AF_INET, AF_INET6, AF_UNSPEC
from typing import Any

from pyroute2.netlink import NLM_F_ACK, NLM_F_CREATE, NLM_F_DUMP, NLM_F_DUMP_INTR, NLM_F_EXCL, NLM_F_REQUEST
from pyroute2.netlink.exceptions import NetlinkError
from pyroute2.netlink.nlsocket import NetlinkRequest
from pyroute2.netlink.rtnl import (
    RTM_DELADDR,
    RTM_DELLINK,
    RTM_GETADDR,
    RTM_GETLINK,
    RTM_GETROUTE,
    RTM_NEWADDR,
    RTM_NEWLINK,
    RTMGRP_IPV4_IFADDR,
    RTMGRP_IPV6_IFADDR,
    RTMGRP_LINK,
)
from pyroute2.netlink.rtnl.ifaddrmsg import ifaddrmsg
from pyroute2.netlink.rtnl.ifinfmsg import ifinfmsg
from pyroute2.netlink.rtnl.iprsocket import AsyncIPRSocket
from pyroute2.netlink.rtnl.rtmsg import rtmsg

from hbd.errors import EdgeError

log = logging.getLogger(__name__)

EVENT_GROUPS = RTMGRP_LINK | RTMGRP_IPV4_IFADDR | RTMGRP_IPV6_IFADDR
BATCH = 64
"""Deletions in one send: under 25 ms of the loop's time, so that heartbeats get in between."""
ANSWER_S = 5.0
"""The kernel answers at once, or when somebody's long change of its tables is done. An answer that got
lost must not hold up the next release for ever."""
BUSY_S = 0.02
"""Pause before a table is asked for again while the socket still has a cancelled question's answer."""
REOPEN_S = 0.2
"""Pause before the listening socket is opened again after it broke."""

IFF_UP, IFF_LOOPBACK, IFF_NOARP, IFF_LOWER_UP = 0x1, 0x8, 0x80, 0x10000
IFA_F_SECONDARY, IFA_F_NODAD, IFA_F_DADFAILED, IFA_F_TENTATIVE = 0x1, 0x2, 0x8, 0x40
RTN_UNICAST, RT_TABLE_MAIN, RTM_F_CLONED = 1, 254, 0x200
SCOPE_HOST = 254

DumpMessage = Any  # pyroute2 carries no types; nothing of this kind leaves the module.
Network = IPv4Network | IPv6Network


class NoAnswer(EdgeError):  # noqa: N818 — nothing is known to be wrong
    """The kernel's answer did not come: whether it did as asked is not known. The socket is a new one now."""


@dataclass(frozen=True, slots=True)
class Link:
    """A network interface."""

    index: int
    name: str
    mac: bytes
    """Six bytes on anything like Ethernet, fewer or none elsewhere."""
    flags: int

    @property
    def up(self) -> bool:
        return bool(self.flags & IFF_UP)

    @property
    def carrier(self) -> bool:
        """Up, and with somebody at the other end of the cable."""
        return self.up and bool(self.flags & IFF_LOWER_UP)

    @property
    def loopback(self) -> bool:
        return bool(self.flags & IFF_LOOPBACK)

    @property
    def announces(self) -> bool:
        """Whether neighbours on it resolve addresses by ARP or neighbour discovery."""
        return len(self.mac) == 6 and not self.flags & (IFF_LOOPBACK | IFF_NOARP)


@dataclass(frozen=True, slots=True)
class Address:
    """An address on an interface, as the kernel has it or shall have it."""

    ip: str
    prefix: int
    index: int
    label: str | None = None
    broadcast: str | None = None
    peer: str | None = None
    """The other end of a point-to-point address."""
    scope: int = 0
    flags: int = 0

    @property
    def version(self) -> int:
        return 6 if ":" in self.ip else 4

    @property
    def network(self) -> Network:
        return ip_network(f"{self.peer or self.ip}/{self.prefix}", strict=False)

    @property
    def secondary(self) -> bool:
        """IPv4: goes away with the first address of its subnet, unless promote_secondaries is set."""
        return self.version == 4 and bool(self.flags & IFA_F_SECONDARY)

    @property
    def refused(self) -> bool:
        """IPv6: duplicate address detection failed; the kernel shows it and does not use it."""
        return self.version == 6 and bool(self.flags & IFA_F_DADFAILED)

    @property
    def place(self) -> tuple[str, int, int]:
        """What the kernel tells addresses apart by."""
        return (self.ip, self.prefix, self.index)


@dataclass(frozen=True, slots=True)
class Route:
    """A unicast route of the main table."""

    network: Network
    index: int
    metric: int


@dataclass(frozen=True, slots=True)
class AddressSeen:
    """An address appeared, changed or vanished."""

    address: Address
    present: bool


@dataclass(frozen=True, slots=True)
class LinkSeen:
    """A link appeared, changed or vanished."""

    link: Link
    present: bool


Notice = AddressSeen | LinkSeen
Listener = Callable[[Notice], None]


class Netlink:
    """The kernel's rtnetlink in the namespace where `open` is called. Used from one event loop."""

    def __init__(self) -> None:
        self._ask: Any = None
        self._dumping = asyncio.Lock()
        self._listeners: list[Listener] = []
        self._places: dict[tuple[str, int, int], Address] = {}
        self._monitor: asyncio.Task[None] | None = None

    async def open(self) -> None:
        """Open both sockets and begin to listen. Raises OSError."""
        self._open_ask()
        sock = await self._listening_socket()
        await self._look_again()
        self._monitor = asyncio.create_task(self._listen(sock), name="netlink")
        self._monitor.add_done_callback(report_bug)

    def _open_ask(self) -> None:
        self._ask = AsyncIPRSocket(groups=0)
        _ = self._ask.socket  # Made on first use; the namespace of *now* is meant.

    def close(self) -> None:
        """Close both sockets; no listener is called any more."""
        self._listeners.clear()
        if self._monitor is not None:
            self._monitor.cancel()
            self._monitor = None
        if self._ask is not None:
            self._ask.close()
            self._ask = None

    # ------------------------------------------------------------ questions

    async def links(self) -> list[Link]:
        """All interfaces. Raises EdgeError (as all questions and changes), NoAnswer among them."""
        return [_link(message) for message in await self._dump(ifinfmsg(), RTM_GETLINK)]

    async def addresses(self, version: int | None = None) -> list[Address]:
        """All addresses, or those of IP version 4 or 6, in the kernel's order. Raises EdgeError."""
        message = ifaddrmsg()
        message["family"] = AF_UNSPEC if version is None else _family(version)
        return [_address(found) for found in await self._dump(message, RTM_GETADDR)]

    async def routes(self, version: int) -> list[Route]:
        """The unicast routes of the main table, in the kernel's order. Raises EdgeError."""
        message = rtmsg()
        message["family"] = _family(version)
        found = await self._dump(message, RTM_GETROUTE)
        return [route for entry in found if (route := _route(entry, version)) is not None]

    # ------------------------------------------------------------ changes

    async def add(self, wish: Address) -> Address:
        """Put an address on an interface and return it as the kernel shows it afterwards.

        Already on that interface is success. Raises EdgeError.
        """
        message = _address_message(wish)
        [code] = await self._change([(message, RTM_NEWADDR, NLM_F_CREATE | NLM_F_EXCL)])
        if code not in (0, errno.EEXIST):
            raise EdgeError(f"The kernel refused {wish.ip}/{wish.prefix}: {os.strerror(code)}")
        for address in await self.addresses(wish.version):
            if (address.ip, address.index) == (wish.ip, wish.index):
                return address
        raise EdgeError(f"The kernel accepted {wish.ip}/{wish.prefix} but does not show it; see `ip address`")

    async def delete(self, addresses: Sequence[Address]) -> None:
        """Take addresses off, all those of a batch with one system call. Already gone is success.

        The kernel has done it when the call returns; the answers are read to know of refusals.
        Raises EdgeError naming the addresses that were refused, after trying all; NoAnswer at once.
        """
        refused: list[str] = []
        for first in range(0, len(addresses), BATCH):
            batch = addresses[first : first + BATCH]
            codes = await self._change([(_address_message(address), RTM_DELADDR, 0) for address in batch])
            refused += [
                f"{address.ip}: {os.strerror(code)}"
                for address, code in zip(batch, codes, strict=True)
                if code not in (0, errno.EADDRNOTAVAIL, errno.ENODEV)
            ]
        if refused:
            raise EdgeError(f"The kernel refused to remove {', '.join(refused)}")

    # ------------------------------------------------------------ notices

    def listen(self, listener: Listener) -> Callable[[], None]:
        """Have every notice; the returned function ends it."""
        self._listeners.append(listener)

        def end() -> None:
            if listener in self._listeners:
                self._listeners.remove(listener)

        return end

    def _tell(self, notice: Notice) -> None:
        for listener in tuple(self._listeners):
            listener(notice)

    async def _listening_socket(self) -> Any:
        sock = AsyncIPRSocket(groups=EVENT_GROUPS)
        try:
            await sock.bind(EVENT_GROUPS)
        except OSError:
            sock.close()
            raise
        return sock

    async def _listen(self, sock: Any) -> None:
        try:
            while True:
                try:
                    if sock is None:
                        sock = await self._listening_socket()
                        await self._look_again()
                    async for message in sock.get():  # Ends after each batch.
                        self._take(message)
                except (NetlinkError, OSError, EdgeError) as broken:
                    # Notices came faster than we read (ENOBUFS). pyroute2's socket is useless then.
                    log.warning("Lost notices of the kernel (%s); looking at all addresses again", broken)
                    if sock is not None:
                        sock.close()
                        sock = None
                    await asyncio.sleep(REOPEN_S)
        finally:
            if sock is not None:
                sock.close()

    def _take(self, message: DumpMessage) -> None:
        kind = message["header"]["type"]
        if kind in (RTM_NEWADDR, RTM_DELADDR):
            self._note(_address(message), kind == RTM_NEWADDR)
        elif kind in (RTM_NEWLINK, RTM_DELLINK) and message["family"] == AF_UNSPEC:
            self._tell(LinkSeen(_link(message), kind == RTM_NEWLINK))

    def _note(self, address: Address, present: bool) -> None:
        if present:
            self._places[address.place] = address
        else:
            self._places.pop(address.place, None)
        self._tell(AddressSeen(address, present))

    async def _look_again(self) -> None:
        """Tell what changed while nobody listened."""
        now = {address.place: address for address in await self.addresses()}
        for place, address in tuple(self._places.items()):
            if place not in now:
                self._note(address, False)
        for place, address in now.items():
            if place not in self._places:
                self._note(address, True)
        for link in await self.links():
            self._tell(LinkSeen(link, True))

    # ------------------------------------------------------------ requests

    async def _dump(self, message: DumpMessage, kind: int) -> list[DumpMessage]:
        """All entries of a table. One question at a time: the kernel refuses a socket's second (EBUSY)."""
        async with self._dumping:
            for _ in range(5):
                try:
                    async with asyncio.timeout(ANSWER_S):
                        answer = await self._ask.nlm_request(message, kind, NLM_F_REQUEST | NLM_F_DUMP)
                        found = [entry async for entry in answer]
                except NetlinkError as refused:
                    if abs(int(refused.code)) != errno.EBUSY:
                        raise EdgeError(f"Netlink: {refused}") from refused
                    await asyncio.sleep(BUSY_S)  # The rest of an answer that nobody waits for any more.
                    continue
                except OSError as broken:
                    raise self._broken(broken) from broken
                if not any(entry["header"]["flags"] & NLM_F_DUMP_INTR for entry in found):
                    return found
        raise EdgeError("The kernel's tables of addresses and routes change too fast to be read")

    async def _change(self, requests: Iterable[tuple[DumpMessage, int, int]]) -> list[int]:
        """Send requests in one call; the error code of each, 0 for done."""
        unanswered: deque[Any] = deque()
        codes: list[int] = []
        try:
            for message, kind, flags in requests:
                request = NetlinkRequest(
                    self._ask, message, msg_type=kind, msg_flags=NLM_F_REQUEST | NLM_F_ACK | flags
                )
                await request.prepare()
                unanswered.append(request)
            self._ask.send(b"".join(request.msg.data for request in unanswered))
            async with asyncio.timeout(ANSWER_S):
                while unanswered:
                    codes.append(await _code(unanswered.popleft()))
        except OSError as broken:
            raise self._broken(broken) from broken
        finally:
            # Cancelled or broken half way: nobody will take the other answers.
            for request in unanswered:
                request.cleanup()
        return codes

    def _broken(self, why: OSError) -> NoAnswer:
        self._ask.close()
        self._open_ask()
        return NoAnswer(f"The kernel did not answer over netlink: {why.strerror or 'no answer in time'}")


def report_bug(task: asyncio.Task[None]) -> None:
    """Done-callback of a task that nobody awaits: the loop's exception handler has its exception at once."""
    if not task.cancelled() and (bug := task.exception()) is not None:
        task.get_loop().call_exception_handler(
            {"message": f"{task.get_name()} ended", "exception": bug, "task": task}
        )


async def _code(request: Any) -> int:
    try:
        async for _ in request.response():
            pass
    except NetlinkError as refused:
        return abs(int(refused.code))
    return 0


def _family(version: int) -> int:
    return int(AF_INET6 if version == 6 else AF_INET)


def _link(message: DumpMessage) -> Link:
    mac = message.get_attr("IFLA_ADDRESS") or ""
    return Link(
        index=message["index"],
        name=message.get_attr("IFLA_IFNAME") or "",
        mac=bytes.fromhex(mac.replace(":", "")),
        flags=message["flags"],
    )


def _address(message: DumpMessage) -> Address:
    shown = str(message.get_attr("IFA_ADDRESS") or "")
    local = str(message.get_attr("IFA_LOCAL") or shown)
    flags = message.get_attr("IFA_FLAGS")
    return Address(
        ip=local,
        prefix=message["prefixlen"],
        index=message["index"],
        label=message.get_attr("IFA_LABEL"),
        broadcast=message.get_attr("IFA_BROADCAST"),
        peer=shown if shown != local else None,
        scope=message["scope"],
        flags=message["flags"] if flags is None else flags,
    )


def _address_message(address: Address) -> DumpMessage:
    message = ifaddrmsg()
    message["family"] = _family(address.version)
    message["prefixlen"] = address.prefix
    message["index"] = address.index
    message["scope"] = address.scope
    attributes: list[tuple[str, object]] = [
        ("IFA_LOCAL", address.ip),
        ("IFA_ADDRESS", address.peer or address.ip),
    ]
    if address.label is not None:
        attributes.append(("IFA_LABEL", address.label))
    if address.broadcast is not None:
        attributes.append(("IFA_BROADCAST", address.broadcast))
    if address.version == 6:
        # Duplicate address detection would keep it unusable for a second, and against the peer's
        # dying copy for ever.
        attributes.append(("IFA_FLAGS", IFA_F_NODAD))
    message["attrs"] = attributes
    return message


def _route(message: DumpMessage, version: int) -> Route | None:
    table = message.get_attr("RTA_TABLE") or message["table"]
    if table != RT_TABLE_MAIN or message["type"] != RTN_UNICAST or message["flags"] & RTM_F_CLONED:
        return None
    index = message.get_attr("RTA_OIF")
    if index is None:
        hops = message.get_attr("RTA_MULTIPATH")
        if not hops:
            return None
        index = hops[0]["oif"]
    anywhere = "::" if version == 6 else "0.0.0.0"
    target = message.get_attr("RTA_DST") or anywhere
    network = ip_network(f"{ip_address(target)}/{message['dst_len']}", strict=False)
    return Route(network, int(index), int(message.get_attr("RTA_PRIORITY") or 0))
