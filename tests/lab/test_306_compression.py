"""heartbeat 3.0.6 and hbd with `traditional_compression yes`: each understands what the other compressed.

Heartbeats of hbd are long when it has many groups. Of what the real one sends, only its list of nodes is. A
node asks for that until it has read it, and is not active before. (Forms of it: `tests/core/test_wire.py`.)
"""

import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

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
STRANGERS = [f"never-there-{number:02}-{'x' * 45}" for number in range(20)]
"""Nodes of the real one's ha.cf, for a long list; HOST_NAME_MAX is 64."""
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


def test_each_reads_what_the_other_has_compressed() -> None:
    with Lab(layers=classic.layers(CHECKOUT)) as lab:
        one, two = lab[ONE], lab[TWO]
        groups = "".join(f"{TWO} {address}\n" for address in ADDRESSES)
        # Given a real one with many nodes, which it does not bury meanwhile,
        classic.configure(lab, haresources=groups, timings=TIMINGS, extra=COMPRESSED)
        patient = replace(TIMINGS, initdead_ms=120_000)
        classic.configure(lab, ONE, timings=patient, extra=(*COMPRESSED, f"node {' '.join(STRANGERS)}"))
        lab.boot()
        classic.start(lab, ONE)
        # when hbd joins, then it is answered with a compressed list, and is active.
        joined_us = now_us()
        with incoming(two) as heard:
            cluster.start(lab, TWO)
            two.wait_for_journal("Local status now set to: 'active'", since_us=joined_us)
        assert "packed" in [kind for kind, _ in heard]
        assert max(size for _, size in heard) <= LONGEST
        assert cluster.said(two, "dropped a datagram") == []

        # Given an hbd with so many groups that its heartbeats are long,
        two.run("systemctl stop hbd")
        one.run("systemctl kill --signal=KILL heartbeat; systemctl stop heartbeat", check=False)
        classic.configure(lab, ONE, haresources=groups, timings=TIMINGS, extra=COMPRESSED)
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
        assert classic.complaints(one, began_us) == []
