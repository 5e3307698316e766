"""heartbeat 3.0.6 and hbd with `traditional_compression yes`: the real one understands what hbd compressed.

The other way is in `tests/core/test_wire.py`, with datagrams that it sent.
"""

import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager

from tests.lab import Lab, classic, cluster
from tests.lab.cluster import ONE, TWO, Timings
from tests.lab.host import wait_until
from tests.lab.journal import now_us
from tests.lab.lab import CHECKOUT
from tests.lab.node import Node

TIMINGS = Timings(500, 2000, 4000, 6000)
COMPRESSED = ("traditional_compression yes", "compression_threshold 1")
LONGEST = 1024 + 100
"""The threshold, and what a signature may add."""
ADDRESSES = [f"192.168.85.{number}" for number in range(10, 80)]

SNIFFER = """\
import socket
wire = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(0x0800))
wire.bind(("eth1", 0))
while True:
    raw, where = wire.recvfrom(65535)
    if b"###\\n" in raw and where[2] != socket.PACKET_OUTGOING:
        print("packed" if b"_compressed_payload=" in raw else "plain", len(raw), flush=True)
"""


@contextmanager
def incoming(node: Node) -> Iterator[list[tuple[str, int]]]:
    """Afterwards, the messages that came in over eth1: `packed` or `plain`, and their length."""
    seen: list[tuple[str, int]] = []
    sniffing: subprocess.Popen[str] = node.popen(["python3", "-c", SNIFFER])
    try:
        yield seen
    finally:
        sniffing.kill()
        output, _ = sniffing.communicate()
        rows = [line.split() for line in output.splitlines()]
        seen += [(row[0], int(row[1])) for row in rows if len(row) == 2]


def test_the_real_one_lives_with_a_node_whose_heartbeats_are_compressed() -> None:
    with Lab(layers=classic.layers(CHECKOUT)) as lab:
        # Given an hbd with so many groups that its heartbeats are long,
        groups = "".join(f"{TWO} {address}\n" for address in ADDRESSES)
        classic.configure(lab, haresources=groups, timings=TIMINGS, extra=COMPRESSED)
        lab.boot()
        one, two = lab[ONE], lab[TWO]
        classic.start(lab, ONE)
        cluster.start(lab, TWO)
        shown = "ip -4 -oneline addr show dev eth0"
        wait_until(lambda: two.run(shown).stdout.count("\n") > len(ADDRESSES), 60, "everything at home", 0.5)
        began_us = now_us()
        with incoming(one) as heard:
            time.sleep(2 * TIMINGS.deadtime_ms / 1000)
        # then they are sent compressed, and the real one lives with them.
        assert len([kind for kind, _ in heard if kind == "packed"]) >= 4
        assert max(size for _, size in heard) <= LONGEST
        assert classic.node_status(one, TWO) == "active"
        assert classic.said(one, ": is dead", began_us) == []
        assert classic.complaints(one) == []
