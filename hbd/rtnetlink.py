"""Messages of the kernel's rtnetlink: requests to bytes, answers and notices to values. Pure.

Of pyroute2 the codec is used, and not the sockets, which wait for answers that are already there.
Facts: rtnetlink(7), netlink(7), linux/if_addr.h, linux/if_link.h, linux/rtnetlink.h.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from ipaddress import IPv4Network, IPv6Network, ip_network
from socket import AF_INET, AF_INET6
from typing import Any

from pyroute2.netlink import NLM_F_REQUEST, NLMSG_DONE, NLMSG_ERROR
from pyroute2.netlink.rtnl import RTM_DELADDR, RTM_DELLINK, RTM_NEWADDR, RTM_NEWLINK
from pyroute2.netlink.rtnl.ifaddrmsg import ifaddrmsg
from pyroute2.netlink.rtnl.ifinfmsg import ifinfmsg
from pyroute2.netlink.rtnl.marshal import MarshalRtnl
from pyroute2.netlink.rtnl.rtmsg import rtmsg

IFF_UP, IFF_LOOPBACK, IFF_NOARP, IFF_LOWER_UP = 0x1, 0x8, 0x80, 0x10000
IFA_F_SECONDARY, IFA_F_NODAD, IFA_F_DADFAILED, IFA_F_DEPRECATED, IFA_F_TENTATIVE = 0x1, 0x2, 0x8, 0x20, 0x40
RTN_UNICAST, RT_TABLE_MAIN, RTM_F_CLONED = 1, 254, 0x200

_SKIP_STATISTICS = 8
_CODE = struct.Struct("=i")
_HEADER_SIZE = 16
_CODEC = MarshalRtnl()

Body = Any  # pyroute2 carries no types; netlink.py hands it from here to here.
Network = IPv4Network | IPv6Network


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
        return _network(self.peer or self.ip, self.prefix)

    @property
    def secondary(self) -> bool:
        """IPv4: goes away with the first address of its subnet, unless promote_secondaries is set."""
        return self.version == 4 and bool(self.flags & IFA_F_SECONDARY)

    @property
    def refused(self) -> bool:
        """IPv6: duplicate address detection failed; the kernel shows it and does not use it."""
        return self.version == 6 and bool(self.flags & IFA_F_DADFAILED)

    @property
    def tentative(self) -> bool:
        """IPv6: duplicate address detection has not ended; the kernel does not use it yet."""
        return self.version == 6 and bool(self.flags & IFA_F_TENTATIVE) and not self.refused

    @property
    def usable(self) -> bool:
        return not self.refused and not self.tentative

    @property
    def deprecated(self) -> bool:
        """It answers, but new connections do not start from it."""
        return bool(self.flags & IFA_F_DEPRECATED)

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


@lru_cache(maxsize=4096)
def _network(ip: str, prefix: int) -> Network:
    return ip_network(f"{ip}/{prefix}", strict=False)


# ---------------------------------------------------------------- messages


@dataclass(frozen=True, slots=True)
class Message:
    """One message of the kernel."""

    kind: int
    flags: int
    body: Body

    @property
    def code(self) -> int:
        """Of NLMSG_ERROR and NLMSG_DONE: the errno, or 0."""
        return -int(_CODE.unpack_from(self.body.data, self.body.offset + _HEADER_SIZE)[0])

    @property
    def ends(self) -> bool:
        """The answer to a request is complete with it."""
        return self.kind in (NLMSG_ERROR, NLMSG_DONE)


def messages(datagram: bytes) -> Iterator[Message]:
    """All messages in what one recv(2) returned."""
    for body in _CODEC.parse(datagram):
        yield Message(body["header"]["type"], body["header"]["flags"], body)


def request(kind: int, flags: int, body: Body, sequence: int) -> bytes:
    """A message to the kernel; several make one datagram."""
    body.reset()
    body["header"].update(type=kind, flags=NLM_F_REQUEST | flags, sequence_number=sequence, pid=0)
    body.encode()
    return bytes(body.data)


def notice(message: Message) -> Notice | None:
    """What a message says of an address or a link; None for others."""
    if message.kind in (RTM_NEWADDR, RTM_DELADDR):
        address = parse_address(message.body)
        return None if address is None else AddressSeen(address, message.kind == RTM_NEWADDR)
    if message.kind in (RTM_NEWLINK, RTM_DELLINK):
        link = parse_link(message.body)
        return None if link is None else LinkSeen(link, message.kind == RTM_NEWLINK)
    return None


# ---------------------------------------------------------------- links


def ask_links() -> Body:
    """The body of an RTM_GETLINK for all of them, without their statistics."""
    body = ifinfmsg()
    body["attrs"] = [("IFLA_EXT_MASK", _SKIP_STATISTICS)]
    return body


def parse_link(body: Body) -> Link | None:
    """None for what only a bridge says of its ports."""
    if body["family"] != 0:
        return None
    mac = body.get_attr("IFLA_ADDRESS") or ""
    name = body.get_attr("IFLA_IFNAME") or ""
    return Link(body["index"], name, bytes.fromhex(mac.replace(":", "")), body["flags"])


# ---------------------------------------------------------------- addresses


def ask_addresses() -> Body:
    """The body of an RTM_GETADDR for all of them."""
    return ifaddrmsg()


def ask_address(address: Address) -> Body:
    """The body of an RTM_GETADDR for this one, which the kernel answers for IPv6 only."""
    body = ifaddrmsg()
    body["family"], body["index"] = int(AF_INET6), address.index
    body["attrs"] = [("IFA_ADDRESS", address.ip)]
    return body


def address_body(address: Address, flags: int = 0) -> Body:
    """The body that adds or deletes it."""
    body = ifaddrmsg()
    body["family"], body["prefixlen"] = _family(address.version), address.prefix
    body["scope"], body["index"] = address.scope, address.index
    attributes: list[tuple[str, object]] = [
        ("IFA_LOCAL", address.ip),
        ("IFA_ADDRESS", address.peer or address.ip),
    ]
    if address.label is not None:
        attributes.append(("IFA_LABEL", address.label))
    if address.broadcast is not None:
        attributes.append(("IFA_BROADCAST", address.broadcast))
    if flags:
        attributes.append(("IFA_FLAGS", flags))
    body["attrs"] = attributes
    return body


def parse_address(body: Body) -> Address | None:
    """None for those of other families than IP."""
    if body["family"] not in (AF_INET, AF_INET6):
        return None
    shown = body.get_attr("IFA_ADDRESS")
    local = body.get_attr("IFA_LOCAL") or shown
    if local is None:
        return None
    flags = body.get_attr("IFA_FLAGS")
    return Address(
        ip=str(local),
        prefix=body["prefixlen"],
        index=body["index"],
        label=body.get_attr("IFA_LABEL"),
        broadcast=body.get_attr("IFA_BROADCAST"),
        peer=None if shown is None or shown == local else str(shown),
        scope=body["scope"],
        flags=body["flags"] if flags is None else flags,
    )


# ---------------------------------------------------------------- routes


def ask_routes(version: int) -> Body:
    """The body of an RTM_GETROUTE for the main table. Before Linux 4.20 the kernel tells of all tables."""
    body = rtmsg()
    body["family"], body["table"] = _family(version), RT_TABLE_MAIN
    return body


def parse_route(body: Body, version: int) -> Route | None:
    """None for all but unicast routes of the main table."""
    if body["family"] != _family(version) or body["type"] != RTN_UNICAST or body["flags"] & RTM_F_CLONED:
        return None
    if (body.get_attr("RTA_TABLE") or body["table"]) != RT_TABLE_MAIN:
        return None
    index = body.get_attr("RTA_OIF")
    if index is None and (hops := body.get_attr("RTA_MULTIPATH")):
        index = hops[0]["oif"]
    if not index:
        return None
    target = body.get_attr("RTA_DST") or ("::" if version == 6 else "0.0.0.0")
    network = _network(str(target), body["dst_len"])
    return Route(network, int(index), int(body.get_attr("RTA_PRIORITY") or 0))


def _family(version: int) -> int:
    return int(AF_INET6 if version == 6 else AF_INET)
