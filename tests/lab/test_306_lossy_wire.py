"""The real heartbeat 3.0.6 and hbd over a wire that loses a fifth of all packets, each way, for a minute.

Both assignments of who is linuxha1 are played at the same time, over one link, or the other would make up
for most of what is lost.
"""

import re
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack

import pytest

from tests.lab import classic, cluster
from tests.lab.cluster import ONE, PRIVATE_ONLY, TWO, Timings, watch_address
from tests.lab.journal import Entry, now_us
from tests.lab.mixed import HARESOURCES, HOMES, Mixed, at_once
from tests.lab.network import PRIVATE_LINK
from tests.lab.service import statistics

TIMINGS = Timings(200, 800, 2000, 4000)
LOST_PERCENT = 20
LOSSY_S = 60
AFTERWARDS_S = 2
"""Enough for what was lost last to be asked for again."""

LOST = re.compile(r"(\d+) lost packet\(s\) for \[")
CLOSED = "No pkts missing from"
LATE = re.compile(r"Late heartbeat: Node \S+: interval \d+ ms$")


@pytest.fixture
def at_home(pairs: list[Mixed]) -> Iterator[list[Mixed]]:
    """Both daemons run, each with its own group, and hear one another on the private link alone."""

    def begin(pair: Mixed) -> None:
        classic.configure(pair.lab, timings=TIMINGS, haresources=HARESOURCES, media=PRIVATE_ONLY)
        pair.begin()

    at_once(pairs, begin)
    yield pairs
    at_once(pairs, Mixed.stop)


def test_a_fifth_of_all_packets_lost_is_asked_for_again_and_nobody_is_thought_dead(
    at_home: list[Mixed],
) -> None:
    def story(pair: Mixed) -> None:
        before = statistics(pair.ours)
        began_us = now_us()
        with ExitStack() as watched:
            watches = [
                watched.enter_context(watch_address(pair.lab, node, address))
                for node in (ONE, TWO)
                for address in HOMES
            ]
            pair.lab.network.loss(pair.ours.name, PRIVATE_LINK, LOST_PERCENT)
            time.sleep(LOSSY_S)
            pair.lab.network.restore(pair.ours.name)
            time.sleep(AFTERWARDS_S)
            assert [each for watch in watches for each in watch.seen()] == []
        pair.settle(HOMES)
        after = statistics(pair.ours)
        asked, served = (
            after[name] - before[name] for name in ("retransmissions_requested", "retransmissions_sent")
        )
        lost_here = lost_and_found(cluster.log(pair.ours, began_us))
        lost_there = lost_and_found(classic.log(pair.real, began_us))
        # Some requests and some answers are lost themselves.
        assert lost_here <= asked <= 4 * lost_here
        assert lost_there <= served <= 4 * lost_there

    at_once(at_home, story)


def lost_and_found(log: Sequence[Entry]) -> int:
    """How many messages were missed, when that and their return is all that was said in the time.

    That a heartbeat was late is, too: three lost in a row are above warntime.
    """
    texts = [entry.message for entry in log]
    gaps = [match for text in texts if (match := LOST.search(text))]
    rest = [text for text in texts if not LOST.search(text) and CLOSED not in text]
    assert [text for text in rest if not LATE.search(text)] == []
    lost = sum(int(gap[1]) for gap in gaps)
    sent = LOSSY_S * 1000 // TIMINGS.keepalive_ms
    assert sent * LOST_PERCENT // 200 < lost < sent * LOST_PERCENT // 50
    assert len(texts) - len(rest) <= 2 * len(gaps)
    assert CLOSED in next(text for text in reversed(texts) if text not in rest)
    return lost
