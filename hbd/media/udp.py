"""Heartbeats over UDP: `bcast`, `ucast` and `ucast6`, and what `mcast.py` builds on.

What comes in is heard on sockets that several media share (`udp_receiver.py`).

Sockets are bound to the device, the source port is ephemeral and not looked at. A socket stays bound to a
device that is renamed, and a broadcast address may change; so both are looked at again while sending.
Facts: heartbeat 3.0.6's media, as seen on the wire; socket(7), ip(7), ipv6(7).
"""

from __future__ import annotations

import asyncio
import errno
import socket
import threading
from abc import ABC, abstractmethod
from ipaddress import AddressValueError, IPv4Address, IPv6Address

from hbd.config.model import Bcast, Mcast, Ucast, Ucast6
from hbd.core.effects import Transmit
from hbd.core.events import CarrierSeen, DatagramReceived, LinkFailed, LinkOpened
from hbd.media.base import Post
from hbd.media.interface import IFF_RUNNING, bound_socket, broadcast_address, check_up, flags, index_of
from hbd.media.udp_receiver import LINK_IS_GONE, Key, Receivers

LOW_DELAY = 0x10
"""IP_TOS of ucast (3.0.6: IPTOS_LOWDELAY)."""
LOOK_EVERY_S = 1.0
"""So often a sending medium looks whether its interface is still the one it opened."""


class UdpMedium(ABC):
    """What all have in common: a sending socket, a share in a receiving one, and failing once."""

    spec: Bcast | Ucast | Ucast6 | Mcast

    def __init__(self, receivers: Receivers, family: socket.AddressFamily = socket.AF_INET) -> None:
        self._receivers = receivers
        self._family = family
        self._post: Post | None = None
        self._sender: socket.socket | None = None
        self._to: tuple[str, int] | tuple[str, int, int, int] = ("", 0)
        self._index = 0
        self._look_at_s = 0.0
        self._carrier = True
        self.dropped = 0
        """Datagrams the kernel did not take (queue full, no memory, too long, filtered)."""

    @property
    def destination(self) -> str:
        """The address sent to; empty while closed."""
        return self._to[0]

    @property
    def key(self) -> Key:
        """Which receiving socket it shares."""
        return self.spec.interface, self.spec.port, self._family

    def open(self, post: Post) -> None:
        """Begin; post LinkOpened. Raises OSError if the interface is missing, down or without an address."""
        assert self._post is None, "opened twice"
        check_up(self.spec.interface)
        self._open(post, self._destination())

    def send(self, message: Transmit) -> None:
        """Send one datagram now, or drop and count it. A link that is gone is posted once."""
        if self._sender is None:
            return
        try:
            self._look_again()
            self._sender.sendto(message.payload, self._to)
        except OSError as why:
            if why.errno in LINK_IS_GONE:
                self.fail(why)
            else:
                self.dropped += 1

    def close(self) -> None:
        """Close; nothing is posted afterwards."""
        self._post = None
        self._to = ("", 0)
        self._receivers.leave(self)
        if self._sender is not None:
            self._sender.close()
            self._sender = None

    def receive(self, payload: bytes) -> None:
        """Hand a datagram to the core."""
        if self._post is not None:
            self._post(DatagramReceived(self.spec, payload))

    def fail(self, why: OSError) -> None:
        """Close, and tell the core once."""
        post = self._post
        self.close()
        if post is not None:
            post(LinkFailed(self.spec, why.strerror or str(why)))

    def tune(self, receiver: socket.socket) -> None:  # noqa: B027 - only groups have to be joined
        """Have the shared socket hear what this medium wants to hear. Raises OSError."""

    def _open(self, post: Post, destination: str) -> None:
        interface = self.spec.interface
        sender = bound_socket(interface, self._family)
        try:
            self._index = socket.if_nametoindex(interface)
            self._prepare(sender)
            self._receivers.join(self)
        except OSError:
            sender.close()
            raise
        self._sender, self._post, self._to = sender, post, self._at(destination)
        self._look_at_s = asyncio.get_running_loop().time() + LOOK_EVERY_S
        self._carrier = True
        self._look_for_a_carrier()
        post(LinkOpened(self.spec))

    def _look_for_a_carrier(self) -> None:
        """Tell the core if that has changed. A lost one is no failure: it comes back by itself."""
        carrier = bool(flags(self.spec.interface) & IFF_RUNNING)
        if carrier is not self._carrier and self._post is not None:
            self._carrier = carrier
            self._post(CarrierSeen(self.spec, carrier))

    def _look_again(self) -> None:
        """Raises OSError if the name belongs to another interface now, or to none."""
        now_s = asyncio.get_running_loop().time()
        if now_s < self._look_at_s:
            return
        self._look_at_s = now_s + LOOK_EVERY_S
        if index_of(self.spec.interface) != self._index:
            raise OSError(errno.ENODEV, "the interface was renamed, or another took its place")
        self._look_for_a_carrier()
        self._follow()

    def _follow(self) -> None:  # noqa: B027 - most media have nothing to follow
        """Adapt to what may have changed on the interface. Raises OSError."""

    def _at(self, destination: str) -> tuple[str, int] | tuple[str, int, int, int]:
        """The socket address; on IPv6 with the interface, which a link-local address needs."""
        port = self.spec.port
        if self._family is socket.AF_INET6:
            address = IPv6Address(destination)
            scoped = address.is_link_local or address.is_multicast
            return str(address), port, 0, self._index if scoped else 0
        return destination, port

    @abstractmethod
    def _destination(self) -> str:
        """The address to send to, now. Raises OSError."""

    @abstractmethod
    def _prepare(self, sender: socket.socket) -> None:
        """Set what is special about the sending socket. Raises OSError."""


class BcastMedium(UdpMedium):
    """`bcast eth1`: to the broadcast address which the interface has when it is opened."""

    def __init__(self, spec: Bcast, receivers: Receivers) -> None:
        super().__init__(receivers)
        self.spec = spec

    def _destination(self) -> str:
        return broadcast_address(self.spec.interface)

    def _follow(self) -> None:
        destination = broadcast_address(self.spec.interface)
        if destination != self.destination:
            self._to = self._at(destination)
            if self._post is not None:
                self._post(LinkOpened(self.spec))

    def _prepare(self, sender: socket.socket) -> None:
        sender.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
        sender.setsockopt(socket.SOL_SOCKET, socket.SO_DONTROUTE, 1)


class UcastMedium(UdpMedium):
    """`ucast eth0 10.0.0.2`: to one address, or to a name that is looked up in a thread at each opening."""

    def __init__(self, spec: Ucast, receivers: Receivers) -> None:
        super().__init__(receivers)
        self.spec: Ucast = spec
        self._lookup = 0

    def open(self, post: Post) -> None:
        """Begin; post LinkOpened, or LinkFailed if a name cannot be resolved. Raises OSError."""
        try:
            IPv4Address(self.spec.target)
        except AddressValueError:
            check_up(self.spec.interface)
            self._resolve(post)
        else:
            super().open(post)

    def close(self) -> None:
        """Close; nothing is posted afterwards."""
        self._lookup += 1  # An answer under way belongs to nobody now.
        super().close()

    def _destination(self) -> str:
        return self.spec.target

    def _prepare(self, sender: socket.socket) -> None:
        sender.setsockopt(socket.IPPROTO_IP, socket.IP_TOS, LOW_DELAY)

    def _resolve(self, post: Post) -> None:
        """In a thread of its own: a silent name server may take a minute, and must not hold up our end."""
        self._lookup += 1
        lookup, loop, target = self._lookup, asyncio.get_running_loop(), self.spec.target

        def answer(destination: str | OSError) -> None:
            if lookup != self._lookup:
                return
            try:
                if isinstance(destination, OSError):
                    raise destination
                self._open(post, destination)
            except OSError as why:
                post(LinkFailed(self.spec, f"{target}: {why.strerror or why}"))

        def look_up() -> None:
            found: str | OSError
            try:
                found = str(socket.getaddrinfo(target, None, socket.AF_INET, socket.SOCK_DGRAM)[0][4][0])
            except OSError as why:
                found = why
            except UnicodeError as why:  # No name at all: Python's encoder looks at it first.
                found = OSError(errno.EADDRNOTAVAIL, str(why))
            try:
                loop.call_soon_threadsafe(answer, found)
            except RuntimeError:
                pass  # The loop has ended: nobody waits for the answer.

        threading.Thread(target=look_up, name=f"resolve {target}", daemon=True).start()


class Ucast6Medium(UdpMedium):
    """`ucast6 eth0 fe80::2`: to one IPv6 address; a link-local one is meant on this interface."""

    def __init__(self, spec: Ucast6, receivers: Receivers) -> None:
        super().__init__(receivers, socket.AF_INET6)
        self.spec: Ucast6 = spec

    def _destination(self) -> str:
        return self.spec.target

    def _prepare(self, sender: socket.socket) -> None:
        sender.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_TCLASS, LOW_DELAY)
