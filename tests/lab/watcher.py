"""Runs in a machine's network namespace and writes down, as lines of JSON, what its kernel does.

    watcher.py address ADDRESS       the address comes and goes, as netlink tells
    watcher.py heartbeats ADDRESS…   heartbeats from these addresses arrive: `t=status` to
                                     port 694, each once, when the first copy of it comes

A process of the computer, not of the machine: it is neither frozen nor killed
with it. Times are monotonic microseconds; a heartbeat's is the kernel's own.
"""

import json
import re
import select
import socket
import struct
import sys
import time
from collections.abc import Iterator

_NEWADDR, _DELADDR = 20, 21
_RTMGRP_IPV4_IFADDR = 0x10
_IFA_LOCAL = 2
_SO_TIMESTAMPNS = 35
_PACKET_OUTGOING = 4
_ETHERTYPE_IP = 0x0800
_PORT = 694
_STATUS = b"(0)t=status,"
_NUMBER = re.compile(rb"\(0\)(?:seq|hg)=([0-9a-f]+),")


def now_us() -> int:
    return time.monotonic_ns() // 1000


def write(record: object) -> None:
    print(json.dumps(record), flush=True)


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


def watch_address(address: str) -> None:
    wanted = socket.inet_aton(address)
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0) as kernel:
        kernel.bind((0, _RTMGRP_IPV4_IFADDR))
        write({"at_us": now_us(), "what": "watching"})
        while True:
            message = kernel.recv(1 << 16)
            at_us = now_us()
            for what, changed in address_changes(message):
                if changed == wanted:
                    write({"at_us": at_us, "what": what})


def watch_heartbeats(sources: list[str]) -> None:
    wanted = {socket.inet_aton(source) for source in sources}
    known: set[tuple[bytes, ...]] = set()
    with socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(_ETHERTYPE_IP)) as wire:
        wire.setsockopt(socket.SOL_SOCKET, _SO_TIMESTAMPNS, 1)
        write({"at_us": now_us(), "what": "watching"})
        while True:
            select.select([wire], [], [])
            packet, extra, _, where = wire.recvmsg(1 << 16, 128)
            if where[2] == _PACKET_OUTGOING or packet[9] != socket.IPPROTO_UDP or packet[12:16] not in wanted:
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
                write({"at_us": (time.monotonic_ns() - age_ns) // 1000, "what": "heartbeat"})


def main() -> None:
    match sys.argv[1:]:
        case ["address", address]:
            watch_address(address)
        case ["heartbeats", *sources]:
            watch_heartbeats(sources)
        case _:
            sys.exit(__doc__)


if __name__ == "__main__":
    main()
