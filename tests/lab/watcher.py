"""Looks at machines' kernels from outside and writes down, as lines of JSON, what they do.

    watcher.py address ADDRESS MACHINE=NAMESPACE…
        the address comes (`up`) and goes (`gone`) in these network namespaces, as netlink tells
    watcher.py carrier INTERFACE MACHINE=NAMESPACE
        that interface has a carrier from now on (`carrier`), or none (`no carrier`), as netlink tells
    watcher.py heartbeats MACHINE=NAMESPACE ADDRESS…
        heartbeats from these addresses arrive there: `t=status` to port 694, each once,
        when the first copy of it comes

A process of the computer, not of a machine: it is neither frozen nor killed
with it. Times are monotonic microseconds; a heartbeat's is the kernel's own.
"""

import contextlib
import ctypes
import json
import os
import re
import select
import socket
import struct
import sys
import time
from collections.abc import Iterator

_NEWADDR, _DELADDR = 20, 21
_NEWLINK = 16
_RTMGRP_LINK, _RTMGRP_IPV4_IFADDR = 0x1, 0x10
_IFLA_IFNAME = 3
_IFF_LOWER_UP = 0x10000
_IFA_LOCAL = 2
_SO_TIMESTAMPNS = 35
_PACKET_OUTGOING = 4
_ETHERTYPE_IP = 0x0800
_PORT = 694
_STATUS = b"(0)t=status,"
_NUMBER = re.compile(rb"\(0\)(?:seq|hg)=([0-9a-f]+),")


def now_us() -> int:
    return time.monotonic_ns() // 1000


def write(at_us: int, where: str, what: str) -> None:
    print(json.dumps({"at_us": at_us, "where": where, "what": what}), flush=True)


def enter(namespace: str) -> None:
    """What this process opens from now on belongs to that network namespace."""
    with open(namespace, "rb") as place:
        if ctypes.CDLL(None, use_errno=True).setns(place.fileno(), 0) != 0:
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()), namespace)


def address_changes(message: bytes) -> Iterator[tuple[str, bytes]]:
    """`up` or `gone`, and the address, of each change in one read of the socket."""
    at = 0
    while at + 16 <= len(message):
        length, kind = struct.unpack_from("=IH", message, at)
        attribute = at + 24  # After the header, 16 bytes, and ifaddrmsg, 8.
        while kind in (_NEWADDR, _DELADDR) and attribute + 4 <= at + length:
            size, name = struct.unpack_from("=HH", message, attribute)
            if name == _IFA_LOCAL:
                yield ("up" if kind == _NEWADDR else "gone"), message[attribute + 4 : attribute + 8]
            attribute += (size + 3) & ~3
        at += (length + 3) & ~3


def carriers(message: bytes, interface: str) -> Iterator[bool]:
    """Whether the interface has a carrier, by each word on it in one read of the socket."""
    at = 0
    while at + 16 <= len(message):
        length, kind = struct.unpack_from("=IH", message, at)
        attribute = at + 32  # After the header, 16 bytes, and ifinfomsg, 16.
        while kind == _NEWLINK and attribute + 4 <= at + length:
            size, name = struct.unpack_from("=HH", message, attribute)
            text = message[attribute + 4 : attribute + size].rstrip(b"\0")
            if name == _IFLA_IFNAME and text == interface.encode():
                yield bool(struct.unpack_from("=I", message, at + 24)[0] & _IFF_LOWER_UP)
            attribute += (size + 3) & ~3
        at += (length + 3) & ~3


def watch_carrier(interface: str, where: str, namespace: str) -> None:
    """Every change, and how it is at the first word on it."""
    be_urgent()
    enter(namespace)
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0) as kernel:
        kernel.bind((0, _RTMGRP_LINK))
        write(now_us(), "", "watching")
        last: bool | None = None
        while True:
            message = kernel.recv(1 << 16)
            at_us = now_us()
            for has_one in carriers(message, interface):
                if has_one is not last:
                    write(at_us, where, "carrier" if has_one else "no carrier")
                last = has_one


def be_urgent() -> None:
    """Or hbd, which is of real-time priority, would keep us from reading for many milliseconds."""
    with contextlib.suppress(PermissionError):
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(90))


def watch_address(address: str, places: dict[str, str]) -> None:
    """Changes that bear the same time happened in an order that is not known.

    What netlink tells has no time of its own. But it is there to be read as soon
    as the kernel made the change: so when nothing is left to read in any
    namespace, what was read until then is how things are at that moment.
    """
    wanted = socket.inet_aton(address)
    be_urgent()
    kernels = {}
    for name, namespace in places.items():
        enter(namespace)
        kernel = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_NONBLOCK, 0)
        kernel.bind((0, _RTMGRP_IPV4_IFADDR))
        kernels[kernel] = name
    write(now_us(), "", "watching")
    while True:
        select.select(kernels, [], [])
        seen: list[tuple[str, str]] = []
        while ready := select.select(kernels, [], [], 0)[0]:
            for kernel in ready:
                changes = address_changes(kernel.recv(1 << 16))
                seen += [(kernels[kernel], what) for what, changed in changes if changed == wanted]
        at_us = now_us()
        for where, what in seen:
            write(at_us, where, what)


def watch_heartbeats(where: str, namespace: str, sources: list[str]) -> None:
    wanted = {socket.inet_aton(source) for source in sources}
    known: set[tuple[bytes, ...]] = set()
    enter(namespace)
    with socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(_ETHERTYPE_IP)) as wire:
        wire.setsockopt(socket.SOL_SOCKET, _SO_TIMESTAMPNS, 1)
        write(now_us(), "", "watching")
        while True:
            packet, extra, _, sender = wire.recvmsg(1 << 16, 128)
            if (
                sender[2] == _PACKET_OUTGOING
                or packet[9] != socket.IPPROTO_UDP
                or packet[12:16] not in wanted
            ):
                continue
            at = (packet[0] & 0x0F) * 4
            if struct.unpack_from("!H", packet, at + 2)[0] != _PORT or _STATUS not in packet:
                continue
            # One heartbeat is one sequence number of one generation, on however many links it comes.
            heartbeat = tuple(_NUMBER.findall(packet))
            if heartbeat not in known:
                known.add(heartbeat)
                seconds, nanoseconds = struct.unpack("@qq", extra[0][2][:16])
                age_ns = time.time_ns() - (seconds * 10**9 + nanoseconds)
                write((time.monotonic_ns() - age_ns) // 1000, where, "heartbeat")


def main() -> None:
    match sys.argv[1:]:
        case ["address", address, *places]:
            watch_address(address, dict(place.split("=", 1) for place in places))
        case ["carrier", interface, place]:
            where, _, namespace = place.partition("=")
            watch_carrier(interface, where, namespace)
        case ["heartbeats", place, *sources]:
            where, _, namespace = place.partition("=")
            watch_heartbeats(where, namespace, sources)
        case _:
            sys.exit(__doc__)


if __name__ == "__main__":
    main()
