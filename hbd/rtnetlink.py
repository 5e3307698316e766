"""Messages of the kernel's rtnetlink: requests to bytes, answers and notices to values. Pure.

Written out here, since a library took 0.4 s of every restart to import and a tenth of a millisecond for each
notice: a thousand addresses that come or go at once would have held up the heartbeats.
Facts: rtnetlink(7), netlink(7), linux/if_addr.h, linux/if_link.h, linux/rtnetlink.h.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from ipaddress import IPv4Network, IPv6Network, ip_network
from socket import AF_INET, AF_INET6, inet_ntop, inet_pton

NLMSG_ERROR, NLMSG_DONE = 2, 3
RTM_NEWLINK, RTM_DELLINK, RTM_GETLINK = 16, 17, 18
RTM_NEWADDR, RTM_DELADDR, RTM_GETADDR = 20, 21, 22
RTM_NEWROUTE, RTM_GETROUTE = 24, 26
NLM_F_REQUEST, NLM_F_ACK, NLM_F_DUMP_INTR, NLM_F_DUMP = 0x1, 0x4, 0x10, 0x300
NLM_F_EXCL, NLM_F_CREATE = 0x200, 0x400

IFF_UP, IFF_LOOPBACK, IFF_NOARP, IFF_LOWER_UP = 0x1, 0x8, 0x80, 0x10000
IFA_F_SECONDARY, IFA_F_NODAD, IFA_F_DADFAILED, IFA_F_DEPRECATED, IFA_F_TENTATIVE = 0x1, 0x2, 0x8, 0x20, 0x40
RTN_UNICAST, RT_TABLE_MAIN, RTM_F_CLONED = 1, 254, 0x200

_IFLA_ADDRESS, _IFLA_IFNAME, _IFLA_EXT_MASK = 1, 3, 29
_SKIP_STATISTICS = 8
_IFA_ADDRESS, _IFA_LOCAL, _IFA_LABEL, _IFA_BROADCAST, _IFA_FLAGS = 1, 2, 3, 4, 8
_TYPE = 0x3FFF
_RTA_DST, _RTA_OIF, _RTA_PRIORITY, _RTA_MULTIPATH, _RTA_TABLE = 1, 4, 6, 9, 15

_HEADER = struct.Struct("=IHHII")
_ATTRIBUTE = struct.Struct("=HH")
_NUMBER = struct.Struct("=I")
_CODE = struct.Struct("=i")
_LINK = struct.Struct("=BxHiII")
_ADDRESS = struct.Struct("=BBBBI")
_ROUTE = struct.Struct("=BBBBBBBBI")
_NEXT_HOP = struct.Struct("=HBBi")

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
    sequence: int
    body: bytes

    @property
    def code(self) -> int:
        """Of NLMSG_ERROR and NLMSG_DONE: the errno, or 0."""
        return -int(_CODE.unpack_from(self.body)[0])


def messages(datagram: bytes) -> Iterator[Message]:
    """All messages in what one recv(2) returned."""
    start = 0
    while start + _HEADER.size <= len(datagram):
        length, kind, flags, sequence, _ = _HEADER.unpack_from(datagram, start)
        yield Message(kind, flags, sequence, datagram[start + _HEADER.size : start + length])
        start += _padded(length)


def request(kind: int, flags: int, body: bytes, sequence: int) -> bytes:
    """A message to the kernel; several make one datagram."""
    length = _HEADER.size + len(body)
    head = _HEADER.pack(length, kind, NLM_F_REQUEST | flags, sequence, 0)
    return head + body + bytes(_padded(length) - length)


def notice(message: Message) -> Notice | None:
    """What a message says of an address or a link; None for others."""
    if message.kind in (RTM_NEWADDR, RTM_DELADDR):
        address = parse_address(message.body)
        return None if address is None else AddressSeen(address, message.kind == RTM_NEWADDR)
    if message.kind in (RTM_NEWLINK, RTM_DELLINK):
        link = parse_link(message.body)
        return None if link is None else LinkSeen(link, message.kind == RTM_NEWLINK)
    return None


def _padded(length: int) -> int:
    return (length + 3) & ~3


def _attributes(body: bytes, start: int) -> dict[int, bytes]:
    found = {}
    while start + _ATTRIBUTE.size <= len(body):
        length, kind = _ATTRIBUTE.unpack_from(body, start)
        if length < _ATTRIBUTE.size:
            break
        found[kind & _TYPE] = body[start + _ATTRIBUTE.size : start + length]
        start += _padded(length)
    return found


def _attribute(kind: int, value: bytes) -> bytes:
    length = _ATTRIBUTE.size + len(value)
    return _ATTRIBUTE.pack(length, kind) + value + bytes(_padded(length) - length)


def _text(value: bytes | None) -> str | None:
    return None if value is None else value.rstrip(b"\0").decode(errors="surrogateescape")


# ---------------------------------------------------------------- links


def ask_links() -> bytes:
    """The body of an RTM_GETLINK for all of them, without their statistics."""
    return _LINK.pack(0, 0, 0, 0, 0) + _attribute(_IFLA_EXT_MASK, _NUMBER.pack(_SKIP_STATISTICS))


def parse_link(body: bytes) -> Link | None:
    """None for what only a bridge says of its ports."""
    family, _, index, flags, _ = _LINK.unpack_from(body)
    if family != 0:
        return None
    attributes = _attributes(body, _LINK.size)
    return Link(index, _text(attributes.get(_IFLA_IFNAME)) or "", attributes.get(_IFLA_ADDRESS, b""), flags)


# ---------------------------------------------------------------- addresses


def ask_addresses() -> bytes:
    """The body of an RTM_GETADDR for all of them."""
    return _ADDRESS.pack(0, 0, 0, 0, 0)


def ask_address(address: Address) -> bytes:
    """The body of an RTM_GETADDR for this one, which the kernel answers for IPv6 only."""
    return _ADDRESS.pack(AF_INET6, 0, 0, 0, address.index) + _attribute(_IFA_ADDRESS, _packed(address.ip))


def address_body(address: Address, flags: int = 0) -> bytes:
    """The body that adds or deletes it."""
    local = _packed(address.ip)
    family = AF_INET6 if len(local) == 16 else AF_INET
    peer = local if address.peer is None else _packed(address.peer)
    body = _ADDRESS.pack(family, address.prefix, 0, address.scope, address.index)
    body += _attribute(_IFA_LOCAL, local) + _attribute(_IFA_ADDRESS, peer)
    if address.label is not None:
        body += _attribute(_IFA_LABEL, address.label.encode(errors="surrogateescape") + b"\0")
    if address.broadcast is not None:
        body += _attribute(_IFA_BROADCAST, _packed(address.broadcast))
    if flags:
        body += _attribute(_IFA_FLAGS, _NUMBER.pack(flags))
    return body


def parse_address(body: bytes) -> Address | None:
    """None for those of other families than IP."""
    family, prefix, flags, scope, index = _ADDRESS.unpack_from(body)
    if family not in (AF_INET, AF_INET6):
        return None
    attributes = _attributes(body, _ADDRESS.size)
    shown = attributes.get(_IFA_ADDRESS)
    local = attributes.get(_IFA_LOCAL, shown)
    if local is None:
        return None
    broadcast = attributes.get(_IFA_BROADCAST)
    if _IFA_FLAGS in attributes:
        [flags] = _NUMBER.unpack_from(attributes[_IFA_FLAGS])
    return Address(
        ip=inet_ntop(family, local),
        prefix=prefix,
        index=index,
        label=_text(attributes.get(_IFA_LABEL)),
        broadcast=None if broadcast is None else inet_ntop(family, broadcast),
        peer=None if shown is None or shown == local else inet_ntop(family, shown),
        scope=scope,
        flags=flags,
    )


def _packed(ip: str) -> bytes:
    return inet_pton(AF_INET6 if ":" in ip else AF_INET, ip)


# ---------------------------------------------------------------- routes


def ask_routes(version: int) -> bytes:
    """The body of an RTM_GETROUTE for the main table. Before Linux 4.20 the kernel tells of all tables."""
    return _ROUTE.pack(_family(version), 0, 0, 0, RT_TABLE_MAIN, 0, 0, 0, 0)


def parse_route(body: bytes, version: int) -> Route | None:
    """None for all but unicast routes of the main table."""
    family, length, _, _, table, _, _, kind, flags = _ROUTE.unpack_from(body)
    if family != _family(version) or kind != RTN_UNICAST or flags & RTM_F_CLONED:
        return None
    attributes = _attributes(body, _ROUTE.size)
    if _number(attributes.get(_RTA_TABLE), table) != RT_TABLE_MAIN:
        return None
    index = _number(attributes.get(_RTA_OIF), 0)
    if not index and (hops := attributes.get(_RTA_MULTIPATH)):
        index = _NEXT_HOP.unpack_from(hops)[3]
    if not index:
        return None
    target = attributes.get(_RTA_DST, bytes(16 if version == 6 else 4))
    network = _network(inet_ntop(family, target), length)
    return Route(network, index, _number(attributes.get(_RTA_PRIORITY), 0))


def _number(value: bytes | None, otherwise: int) -> int:
    return otherwise if value is None else int(_NUMBER.unpack_from(value)[0])


def _family(version: int) -> int:
    return int(AF_INET6 if version == 6 else AF_INET)
