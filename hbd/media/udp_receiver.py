"""The receiving sockets of UDP media, shared by those of one interface, port and IP version.

The kernel gives a datagram to only one of several sockets with the same port; so each reaches the core once.
It is posted under the medium whose target sent it; else under the first opened there.
Facts: heartbeat 3.0.6's media, as seen in `ss`; ip(7), ipv6(7).
"""

from __future__ import annotations

import asyncio
import errno
import socket
from typing import Protocol

from hbd.media.interface import bound_socket

DRAIN = 256
"""Datagrams read per wake-up. Enough that after a stall waiting heartbeats are heard before a timer
declares their sender dead, and bounded so that a flood cannot keep the loop for itself."""
BUFFER_BYTES = 65536
"""Above the largest UDP payload over IPv4: nothing can arrive cut off. Too long is for the core to judge."""
LINK_IS_GONE = frozenset(
    {errno.ENETDOWN, errno.ENODEV, errno.ENXIO, errno.ENETUNREACH, errno.EADDRNOTAVAIL, errno.EBADF}
)
"""Errors of a send after which a retry on the same socket is no use; others lose this datagram only."""
IP_MULTICAST_ALL, IPV6_MULTICAST_ALL = 49, 29
"""linux/in.h, linux/in6.h: whether groups that another socket has joined are heard as well."""

Key = tuple[str, int, socket.AddressFamily]
"""Interface, port and IP version."""


class Receiving(Protocol):
    """A medium with a share in a receiving socket: `hbd.media.udp.UdpMedium`."""

    @property
    def key(self) -> Key:
        """Which receiving socket it shares."""

    @property
    def destination(self) -> str:
        """The address it sends to."""

    def tune(self, receiver: socket.socket) -> None:
        """Have the shared socket hear what this medium wants to hear. Raises OSError."""

    def receive(self, payload: bytes) -> None:
        """Hand a datagram to the core."""

    def fail(self, why: OSError) -> None:
        """Close, and tell the core once."""


class Receivers:
    """The receiving sockets of one daemon, shared by interface, port and IP version."""

    def __init__(self) -> None:
        self._open: dict[Key, _Receiver] = {}

    def join(self, medium: Receiving) -> None:
        """Have what arrives for this medium posted. Raises OSError."""
        receiver = self._open.get(medium.key)
        if receiver is None:
            receiver = self._open[medium.key] = _Receiver(*medium.key)
        receiver.media.append(medium)
        try:
            medium.tune(receiver.socket)
        except OSError:
            self.leave(medium)
            raise

    def leave(self, medium: Receiving) -> None:
        """Post nothing more for it; the last one closes the socket."""
        receiver = self._open.get(medium.key)
        if receiver is None or medium not in receiver.media:
            return
        receiver.media.remove(medium)
        if not receiver.media:
            receiver.close()
            del self._open[medium.key]


class _Receiver:
    """One socket on any address and one port of one interface.

    SO_REUSEADDR, and not 3.0.6's SO_REUSEPORT: with the latter, a predecessor that hangs would still get
    its share of our heartbeats; with the former the newest socket gets all of them.
    """

    def __init__(self, interface: str, port: int, family: socket.AddressFamily) -> None:
        self.media: list[Receiving] = []
        self._buffer = bytearray(BUFFER_BYTES)
        self._view = memoryview(self._buffer)
        self.socket = bound_socket(interface, family)
        try:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family is socket.AF_INET6:
                # IPv4's media have a socket of their own at this port.
                self.socket.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
                self.socket.setsockopt(socket.IPPROTO_IPV6, IPV6_MULTICAST_ALL, 0)
            else:
                self.socket.setsockopt(socket.IPPROTO_IP, IP_MULTICAST_ALL, 0)
            self.socket.bind(("", port))
        except OSError as why:
            self.socket.close()
            text = f"cannot receive on UDP port {port} of {interface}: {why.strerror}"
            raise OSError(why.errno, text) from why
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(self.socket, self._drain)

    def close(self) -> None:
        self._loop.remove_reader(self.socket)
        self.socket.close()

    def _drain(self) -> None:
        receive, buffer, view = self.socket.recvfrom_into, self._buffer, self._view
        for _ in range(DRAIN):
            if not self.media:  # A posted datagram had the last one closed.
                return
            try:
                length, sender = receive(buffer)
            except BlockingIOError:
                return
            except OSError as why:
                if why.errno in LINK_IS_GONE:
                    for medium in tuple(self.media):
                        medium.fail(why)
                    return
                continue  # An error report for an earlier datagram; reading it has cleared it.
            self._medium_for(sender[0]).receive(bytes(view[:length]))

    def _medium_for(self, sender: str) -> Receiving:
        for medium in self.media:
            if medium.destination == sender:
                return medium
        return self.media[0]
