"""A bad wire: carries frames between two switch ports, late, out of order, twice or not at all.

    relay.py PORT PORT LONGEST_DELAY_MS LOST_PERCENT DOUBLED_PERCENT SEED

Runs in the switch's namespace, where the bridge itself is told to drop what goes between the two
(`Network.cut(silent=True)`): there is no netem in every kernel. Each frame waits for a time of its own.
Facts: packet(7); a packet socket sees a frame before the bridge does, and what it sends by-passes it.
"""

import heapq
import random
import select
import socket
import sys
import time

EVERYTHING = 3  # ETH_P_ALL
OUTGOING = 4  # PACKET_OUTGOING


def port(name: str) -> socket.socket:
    wire = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(EVERYTHING))
    wire.bind((name, EVERYTHING))
    return wire


def without_checksum(frame: bytes) -> bytes:
    """A UDP datagram's checksum is made by a network card that is not there: 0 means that there is none."""
    if frame[12:14] != b"\x08\x00" or frame[23] != socket.IPPROTO_UDP:
        return frame
    at = 14 + 4 * (frame[14] & 15) + 6
    return frame[:at] + b"\0\0" + frame[at + 2 :]


def main() -> None:
    one, two = port(sys.argv[1]), port(sys.argv[2])
    delay_ms, lost, doubled, seed = (float(word) for word in sys.argv[3:])
    draw = random.Random(seed)
    other = {one: two, two: one}
    waiting: list[tuple[float, int, socket.socket, bytes]] = []
    number = 0
    print("ready", flush=True)
    while True:
        left = max(0.0, waiting[0][0] - time.monotonic()) if waiting else None
        for wire in select.select([one, two], [], [], left)[0]:
            frame, source = wire.recvfrom(65536)
            if source[2] == OUTGOING or draw.random() * 100 < lost:
                continue
            for _ in range(2 if draw.random() * 100 < doubled else 1):
                number += 1
                due = time.monotonic() + draw.random() * delay_ms / 1000
                heapq.heappush(waiting, (due, number, other[wire], without_checksum(frame)))
        while waiting and waiting[0][0] <= time.monotonic():
            _, _, wire, frame = heapq.heappop(waiting)
            wire.send(frame)


if __name__ == "__main__":
    main()
