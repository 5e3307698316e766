"""A pair with short timings on a computer that has more to do than it can."""

import os
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.lab.cluster import ONE, Timings, is_settled, owner, running_pair, said, serves
from tests.lab.host import CLEAN_ENV
from tests.lab.journal import now_us

pytestmark = pytest.mark.alone

SHORT = Timings(keepalive_ms=100, warntime_ms=300, deadtime_ms=500, initdead_ms=6000)
HOLDS_S = 60
LOOPS_PER_PROCESSOR = 2


@contextmanager
def busy_loops(processors: int) -> Iterator[list[subprocess.Popen[bytes]]]:
    """Two for each processor, each in a session of its own: else they share one session's weight."""
    loop = ["timeout", f"{HOLDS_S + 60}", "sh", "-c", "while :; do :; done"]
    loops = [
        subprocess.Popen(loop, stdin=subprocess.DEVNULL, env=CLEAN_ENV, start_new_session=True)
        for _ in range(processors * LOOPS_PER_PROCESSOR)
    ]
    try:
        yield loops
    finally:
        for each in loops:
            # `timeout` passes it on to the loop.
            each.terminate()
            each.wait()


def test_the_pair_holds_for_a_minute_under_busy_loops_without_a_false_death(hbd_layer: Path) -> None:
    with running_pair(hbd_layer, timings=SHORT) as lab:
        nodes = list(lab.nodes.values())
        began_us = now_us()
        with busy_loops(os.cpu_count() or 1) as loops, lab.observer.arp_probe() as arp:
            time.sleep(HOLDS_S)
            assert [each.poll() for each in loops] == [None] * len(loops)
            arp.wait_for_rounds_until(now_us())
        assert now_us() - began_us >= HOLDS_S * 1_000_000
        for node in nodes:
            # Nobody was declared dead, or restarted, or gave anything away.
            for text in ("is dead", "restart on node", "returning after partition", "addresses off"):
                assert [entry.message for entry in said(node, text)] == [], node.name
            assert is_settled(node)
            assert owner(node) == ONE
        assert serves(lab[ONE])
        assert {holder for each in arp.rounds() for holder in each.holders} == {ONE}
        late = [entry.message for node in nodes for entry in said(node, "Late heartbeat", began_us)]
        print(f"{len(late)} late heartbeats", *late, sep="\n")
