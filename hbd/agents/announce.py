"""Tells the neighbours where an address lives now: gratuitous ARP, unsolicited neighbour advertisement.

The first pair of frames goes out at once, the rest follows in the background, as from 3.0.6's IPaddr:
ten rounds of an ARP request and a reply, half a second apart (IPv6: ten advertisements). A lost frame
would leave a neighbour with the dead node's hardware address.

Each frame needs a permit that is valid at the moment of sending. A sender without one waits for the
next and goes on where it was: after a stall the old owner must not draw the traffic back to itself
before it has asked its peer.
"""

from __future__ import annotations

import asyncio
import heapq
import logging
import socket
import struct
import time
from collections.abc import Callable
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address
from itertools import count
from pathlib import Path

from hbd.rtnetlink import Link

log = logging.getLogger(__name__)

ROUNDS = 10
INTERVAL_S = 0.5
PORTION = 32
"""Addresses that are announced in one turn of the loop: two milliseconds of it."""
ETH_P_ARP, ETH_P_IPV6 = 0x0806, 0x86DD
EVERYONE = b"\xff" * 6
ALL_NODES = IPv6Address("ff02::1")
ALL_NODES_MAC = bytes.fromhex("333300000001")
ADVERTISEMENT, ROUTER, OVERRIDE, TARGET_LINK_ADDRESS = 136, 0x80000000, 0x20000000, 2
NO_CHECKSUM_YET = 0


def boottime_ms() -> int:
    """Milliseconds of CLOCK_BOOTTIME, which goes on while the machine sleeps."""
    return int(time.clock_gettime_ns(time.CLOCK_BOOTTIME)) // 1_000_000


def arp_frames(ip: IPv4Address, mac: bytes) -> tuple[bytes, bytes]:
    """A gratuitous request and reply, 42 bytes each.

    The reply's target is our own hardware address (observed from heartbeat 3.0.6's send_arp).
    """

    def frame(operation: int, target_mac: bytes) -> bytes:
        arp = struct.pack("!HHBBH", 1, 0x0800, 6, 4, operation)
        return EVERYONE + mac + struct.pack("!H", ETH_P_ARP) + arp + mac + ip.packed + target_mac + ip.packed

    return frame(1, bytes(6)), frame(2, mac)


def advertisement_frame(ip: IPv6Address, mac: bytes, router: bool) -> bytes:
    """An unsolicited neighbour advertisement that overrides what the neighbours remember (RFC 4861, 4.4)."""
    flags = OVERRIDE | (ROUTER if router else 0)
    option = struct.pack("!BB", TARGET_LINK_ADDRESS, 1) + mac
    rest = struct.pack("!I", flags) + ip.packed + option
    pseudo = ip.packed + ALL_NODES.packed + struct.pack("!II", 4 + len(rest), socket.IPPROTO_ICMPV6)
    head = struct.pack("!BBH", ADVERTISEMENT, 0, NO_CHECKSUM_YET)
    icmp = struct.pack("!BBH", ADVERTISEMENT, 0, _checksum(pseudo + head + rest)) + rest
    header = struct.pack("!IHBB", 6 << 28, len(icmp), socket.IPPROTO_ICMPV6, 255)
    return ALL_NODES_MAC + mac + struct.pack("!H", ETH_P_IPV6) + header + ip.packed + ALL_NODES.packed + icmp


def _checksum(octets: bytes) -> int:
    total: int = sum(struct.unpack(f"!{len(octets) // 2}H", octets))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


@dataclass(slots=True)
class _Sender:
    """One address being announced: what is left to send, and when."""

    link: Link
    notice: str
    protocol: int
    frames: list[bytes]
    gap_s: float
    at_once: int
    """How many frames go out together the first time."""
    next: int = 0
    level: int = logging.INFO


class Announcer:
    """Sends announcements in the background while the core permits it.

    All senders share one timer: what is due of a thousand goes out in small portions, with a turn of the
    event loop for others between them."""

    def __init__(self, clock_ms: Callable[[], int] = boottime_ms) -> None:
        self._clock_ms = clock_ms
        self._until_ms = 0
        self._senders: dict[str, _Sender] = {}
        self._due: list[tuple[float, int, str, _Sender]] = []
        """A heap, by loop time. One whose sender was forgotten or replaced is passed over."""
        self._numbers = count()
        self._timer: asyncio.TimerHandle | None = None
        # Protocol 0: it only sends, nothing is queued for it.
        self._socket = socket.socket(socket.AF_PACKET, socket.SOCK_RAW | socket.SOCK_NONBLOCK, 0)
        self.unsent = 0
        """Frames the kernel did not take: interface down, queue full."""

    def permit(self, until_ms: int) -> None:
        """Frames may be sent until then (CLOCK_BOOTTIME); 0 forbids at once. Wakes the muted."""
        self._until_ms = until_ms
        self._arm()

    def begin(self, ip: str, link: Link, label: str | None, *, quietly: bool = False) -> None:
        """Announce it, from the first frame on; a sender already running for it is replaced.

        `quietly`: no line for the log, since there is another one about it."""
        self.forget(ip)
        if not link.announces:
            return
        sender = self._senders[ip] = _sender(ip, link, label)
        sender.level = logging.DEBUG if quietly else logging.INFO
        self._plan(asyncio.get_running_loop().time(), ip, sender)
        if len(self._due) <= PORTION:
            self._send_due()  # Before anything else is started: neighbours are to know at once.
        else:
            self._arm()

    def forget(self, ip: str) -> None:
        """Send nothing more for it."""
        self._senders.pop(ip, None)

    def close(self) -> None:
        """Forget all and close the socket."""
        self._senders.clear()
        self._due.clear()
        if self._timer is not None:
            self._timer.cancel()
        self._socket.close()

    def _permitted(self) -> bool:
        return self._clock_ms() < self._until_ms

    def _plan(self, due_s: float, ip: str, sender: _Sender) -> None:
        heapq.heappush(self._due, (due_s, next(self._numbers), ip, sender))

    def _arm(self) -> None:
        """The timer for the first that is due, while there is a permit."""
        if not self._due or not self._permitted():
            return
        due_s = self._due[0][0]
        if self._timer is not None:
            if self._timer.when() <= due_s:
                return
            self._timer.cancel()
        self._timer = asyncio.get_running_loop().call_at(due_s, self._send_due)

    def _send_due(self) -> None:
        """Send what is due, but not more than a portion."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        now_s, portion = asyncio.get_running_loop().time(), PORTION
        while self._due and self._due[0][0] <= now_s and portion and self._permitted():
            due_s, _, ip, sender = heapq.heappop(self._due)
            if self._senders.get(ip) is not sender:
                continue
            portion -= 1
            gap_s = self._send(sender)
            if sender.next < len(sender.frames):
                self._plan(due_s if gap_s is None else now_s + gap_s, ip, sender)
            else:
                del self._senders[ip]
        self._arm()

    def _send(self, sender: _Sender) -> float | None:
        """Send the next frame, or the first ones; how long until the next, None if there was no permit."""
        together = sender.at_once if sender.next == 0 else 1
        for frame in sender.frames[sender.next : sender.next + together]:
            if not self._permitted():
                return None  # Muted, until permit() comes by.
            if sender.next == 0:
                log.log(sender.level, "%s", sender.notice)
            try:
                self._socket.sendto(frame, (sender.link.name, sender.protocol))
            except OSError:
                self.unsent += 1
            sender.next += 1
        # The first frames went together; the next keeps the place it would have had.
        return sender.gap_s * together


def _sender(ip: str, link: Link, label: str | None) -> _Sender:
    place = f"for {ip} on {label or link.name} [{link.name}]"
    address = ip_address(ip)
    if isinstance(address, IPv4Address):
        notice = f"Sending Gratuitous Arp {place}"
        frames = list(arp_frames(address, link.mac)) * ROUNDS
        return _Sender(link, notice, ETH_P_ARP, frames, INTERVAL_S / 2, at_once=2)
    notice = f"Sending unsolicited neighbour advertisements {place}"
    frame = advertisement_frame(address, link.mac, _forwards(link.name))
    return _Sender(link, notice, ETH_P_IPV6, [frame] * ROUNDS, INTERVAL_S, at_once=1)


def _forwards(interface: str) -> bool:
    """Whether it is an IPv6 router there: without the flag its neighbours would drop their route by it."""
    try:
        return Path("/proc/sys/net/ipv6/conf", interface, "forwarding").read_text().strip() != "0"
    except OSError:
        return False
