"""Heartbeats to a multicast group: `mcast` and `mcast6`.

The group is joined on the receiving socket that all media of the interface and port share, so that a line
with the same port as udpport is not heard twice. It is left when that socket is closed; until then it does
no harm. Facts: heartbeat 3.0.6's mcast (its port is its own, not udpport); ip(7), ipv6(7).
"""

from __future__ import annotations

import errno
import socket
import struct

from hbd.config.model import Mcast
from hbd.media.udp import UdpMedium
from hbd.media.udp_receiver import Receivers


class McastMedium(UdpMedium):
    """`mcast eth0 225.0.0.1 694 1 0`, and `mcast6 eth0 ff02::694 694 1 0`."""

    def __init__(self, spec: Mcast, receivers: Receivers) -> None:
        super().__init__(receivers, socket.AF_INET if spec.version == 4 else socket.AF_INET6)
        self.spec: Mcast = spec

    def tune(self, receiver: socket.socket) -> None:
        """Join the group. Raises OSError."""
        index = socket.if_nametoindex(self.spec.interface)
        group = socket.inet_pton(self._family, self.spec.group)
        try:
            if self._family is socket.AF_INET:
                request = struct.pack("=4s4si", group, b"", index)
                receiver.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, request)
            else:
                request = struct.pack("=16si", group, index)
                receiver.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_JOIN_GROUP, request)
        except OSError as why:
            if why.errno == errno.EADDRINUSE:
                return  # Joined by another line, which differs in ttl or loop.
            text = f"cannot join group {self.spec.group} on {self.spec.interface}: {why.strerror}"
            raise OSError(why.errno, text) from why

    def _destination(self) -> str:
        return self.spec.group

    def _prepare(self, sender: socket.socket) -> None:
        index, ttl, loop = socket.if_nametoindex(self.spec.interface), self.spec.ttl, int(self.spec.loop)
        if self._family is socket.AF_INET:
            request = struct.pack("=4s4si", b"", b"", index)
            sender.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, request)
            sender.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_TTL, ttl)
            sender.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_LOOP, loop)
        else:
            sender.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_IF, index)
            sender.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_HOPS, ttl)
            sender.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_LOOP, loop)
