"""Ping nodes: `ping`, `ping6` and `ping_group`. ICMP echo as evidence; nothing is transported.

Each host has a raw socket of its own. The request carries a secret of this daemon's life, so that only an
answer to a request of ours, from the host that was asked, is one; it may come late. A name is looked up in a
thread when the ping node is opened. A group is open when any of its members is; the others are tried again
while it is asked. That no request can be sent (no route, the interface down) is no failure: it is silence,
and that is what the core judges. Facts: icmp(7), RFC 792, RFC 4443; heartbeat 3.0.6's ping media.
"""

from __future__ import annotations

import asyncio
import errno
import os
import secrets
import socket
import struct
import threading
from collections.abc import Callable

from hbd.config.model import Ping
from hbd.core.effects import Transmit
from hbd.core.events import LinkFailed, LinkOpened, PingAnswered
from hbd.media.base import Post

DRAIN = 64
"""Packets read per wake-up: a raw socket hears every echo reply that this machine gets."""
LOOK_UP_AGAIN_S = 10.0
"""So often a group looks for members that it could not find."""
SECRET_BYTES = 16
BUFFER_BYTES = 2048
SOL_RAW, ICMP_FILTER = 255, 1  # linux/socket.h, linux/icmp.h
ICMP6_FILTER = 1  # linux/icmpv6.h
ECHO, ECHO_REPLY, ECHO6, ECHO6_REPLY = 8, 0, 128, 129

_HEADER = struct.Struct("!BBHHH")
_Address = tuple[str, int] | tuple[str, int, int, int]


class Host:
    """One host that is asked: its socket, and what an answer of it looks like."""

    def __init__(self, family: socket.AddressFamily, address: _Address, answered: Callable[[], None]) -> None:
        self._six = family is socket.AF_INET6
        self._address, self._answered = address, answered
        self._secret = secrets.token_bytes(SECRET_BYTES)
        self._number, self._sequence = os.getpid() & 0xFFFF, 0
        protocol = socket.IPPROTO_ICMPV6 if self._six else socket.IPPROTO_ICMP
        self._socket = socket.socket(family, socket.SOCK_RAW | socket.SOCK_NONBLOCK, protocol)
        try:
            self._hear_replies_only()
        except OSError:
            self._socket.close()
            raise
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(self._socket, self._drain)

    def close(self) -> None:
        self._loop.remove_reader(self._socket)
        self._socket.close()

    def ask(self) -> None:
        """One echo request; one that cannot be sent is one without an answer."""
        self._sequence = (self._sequence + 1) & 0xFFFF
        kind = ECHO6 if self._six else ECHO
        packet = _HEADER.pack(kind, 0, 0, self._number, self._sequence) + self._secret
        if not self._six:  # The kernel does it for ICMPv6.
            packet = _HEADER.pack(kind, 0, checksum(packet), self._number, self._sequence) + self._secret
        try:
            self._socket.sendto(packet, self._address)
        except OSError:
            return

    def _hear_replies_only(self) -> None:
        if self._six:
            words = [0xFFFFFFFF] * 8  # A set bit blocks its type.
            words[ECHO6_REPLY // 32] &= ~(1 << ECHO6_REPLY % 32)
            self._socket.setsockopt(socket.IPPROTO_ICMPV6, ICMP6_FILTER, struct.pack("=8I", *words))
        else:
            only = 0xFFFFFFFF & ~(1 << ECHO_REPLY)
            self._socket.setsockopt(SOL_RAW, ICMP_FILTER, struct.pack("=I", only))

    def _drain(self) -> None:
        for _ in range(DRAIN):
            try:
                packet, sender = self._socket.recvfrom(BUFFER_BYTES)
            except BlockingIOError:
                return
            except OSError:
                continue  # An error report for an earlier request; reading it has cleared it.
            if self._is_answer(packet, sender):
                self._answered()
                return  # One is as good as many; the others are read at once afterwards.

    def _is_answer(self, packet: bytes, sender: _Address) -> bool:
        if not self._six:
            packet = packet[(packet[0] & 0xF) * 4 :] if packet else packet
        if len(packet) < _HEADER.size or sender[0].partition("%")[0] != self._address[0].partition("%")[0]:
            return False
        kind, _, _, number, _ = _HEADER.unpack_from(packet)
        expected = ECHO6_REPLY if self._six else ECHO_REPLY
        ours = number == self._number and packet[_HEADER.size :] == self._secret
        return ours and kind == expected


class PingMedium:
    """`ping 10.0.0.254`, `ping6 2001:db8::1`, `ping_group routers 10.0.0.253 10.0.0.254`."""

    def __init__(self, spec: Ping) -> None:
        self.spec = spec
        self._post: Post | None = None
        self._hosts: dict[str, Host] = {}
        self._lookup = 0
        self._looking = False
        self._look_at_s = 0.0

    def open(self, post: Post) -> None:
        """Begin; post LinkOpened once any host can be asked, LinkFailed if none can be found.

        Raises OSError where no socket for it can be made.
        """
        assert self._post is None, "opened twice"
        self._post = post
        numeric = [_numeric(self.spec, host) for host in self.spec.hosts]
        if all(address is None for address in numeric):
            self._look_up()
            return
        try:
            for host, address in zip(self.spec.hosts, numeric, strict=True):
                if address is not None:
                    self._add(host, address)
        except OSError:
            self.close()
            raise
        self._look_at_s = 0.0
        post(LinkOpened(self.spec))

    def ask(self) -> None:
        """One request to each host. Never blocks."""
        for host in tuple(self._hosts.values()):
            host.ask()
        some_are_missing = len(self._hosts) < len(self.spec.hosts) and not self._looking
        if some_are_missing and asyncio.get_running_loop().time() >= self._look_at_s:
            self._look_up()

    def send(self, message: Transmit) -> None:
        """Heartbeats are not for ping nodes."""

    def close(self) -> None:
        """End it; nothing is posted afterwards."""
        self._post = None
        self._lookup += 1  # An answer under way belongs to nobody now.
        self._looking = False
        for host in self._hosts.values():
            host.close()
        self._hosts.clear()

    def _answered(self) -> None:
        if self._post is not None:
            self._post(PingAnswered(self.spec))

    def _add(self, name: str, address: tuple[socket.AddressFamily, _Address]) -> None:
        self._hosts[name] = Host(*address, self._answered)

    def _look_up(self) -> None:
        """In a thread of its own: a silent name server may take a minute, and must not hold up our end."""
        self._lookup += 1
        self._looking = True
        lookup, loop = self._lookup, asyncio.get_running_loop()
        wanted = [host for host in self.spec.hosts if host not in self._hosts]

        def look_up() -> None:
            found = {host: _resolve(self.spec, host) for host in wanted}
            try:
                loop.call_soon_threadsafe(self._found, lookup, found)
            except RuntimeError:
                pass  # The loop has ended: nobody waits for the answer.

        threading.Thread(target=look_up, name=f"resolve {self.spec.name}", daemon=True).start()

    def _found(
        self, lookup: int, found: dict[str, tuple[socket.AddressFamily, _Address] | OSError]
    ) -> None:
        if lookup != self._lookup or self._post is None:
            return
        self._looking = False
        self._look_at_s = asyncio.get_running_loop().time() + LOOK_UP_AGAIN_S
        were_open = bool(self._hosts)
        problem: OSError | None = None
        for host, address in found.items():
            try:
                if isinstance(address, OSError):
                    raise address
                self._add(host, address)
            except OSError as why:
                problem = why
        post = self._post
        if self._hosts and not were_open:
            post(LinkOpened(self.spec))
        elif problem is not None and not self._hosts:
            self.close()
            post(LinkFailed(self.spec, f"{problem.strerror or problem}"))


def checksum(packet: bytes) -> int:
    """RFC 1071, over an even number of bytes."""
    total: int = sum(struct.unpack(f"!{len(packet) // 2}H", packet))
    total = (total & 0xFFFF) + (total >> 16)
    return ~(total + (total >> 16)) & 0xFFFF


def _family(spec: Ping, host: str) -> socket.AddressFamily:
    return socket.AF_INET6 if spec.kind == "ping6" or ":" in host else socket.AF_INET


def _numeric(spec: Ping, host: str) -> tuple[socket.AddressFamily, _Address] | None:
    """The address, if it is written as one and its interface, if it names one, is there."""
    found = _resolve(spec, host, socket.AI_NUMERICHOST)
    return None if isinstance(found, OSError) else found


def _resolve(spec: Ping, host: str, flags: int = 0) -> tuple[socket.AddressFamily, _Address] | OSError:
    family = _family(spec, host)
    try:
        address = socket.getaddrinfo(host, None, family, socket.SOCK_RAW, 0, flags)[0][4]
    except socket.gaierror as why:
        return OSError(errno.EADDRNOTAVAIL, f"{host}: {why.strerror}")
    except (OSError, UnicodeError) as why:
        return OSError(errno.EADDRNOTAVAIL, f"{host}: {why}")
    if len(address) == 4:
        return family, (str(address[0]), 0, int(address[2]), int(address[3]))
    return family, (str(address[0]), 0)
