"""How a pair of the real heartbeat 3.0.6 and hbd begins, ends and begins again: as two 3.0.6 nodes would.

In every story 3.0.6 is on linuxha1 in one lab and on linuxha2 in another, at the same time.
"""

from collections.abc import Callable
from contextlib import ExitStack
from functools import partial

import pytest

from tests.lab import classic
from tests.lab.cluster import ONE, TWO, said, watch_address
from tests.lab.journal import now_us
from tests.lab.mixed import HOMES, TIMINGS, Mixed, at_once, configure, never_answered_by_two
from tests.lab.node import Node

LEGACY = "legacy"
SETTINGS = pytest.mark.parametrize("auto_failback", ["on", "off", LEGACY])
HANDED_ON_US = 500_000
"""How soon hbd has what 3.0.6 let go of; deadtime is four times that."""


@pytest.fixture
def silent(pairs: list[Mixed], auto_failback: str) -> list[Mixed]:
    """Neither daemon runs, and both are configured for this auto_failback."""
    for pair in pairs:
        configure(pair.lab, auto_failback)
    return pairs


def after_a_return(pair: Mixed, survivor: Node, auto_failback: str) -> dict[str, str]:
    """Who owns what when one node had everything and the other has come."""
    return dict(pair.everything_on(survivor) if auto_failback == "off" else HOMES)


@SETTINGS
def test_both_start_together_and_each_can_stop_and_return(silent: list[Mixed], auto_failback: str) -> None:
    def days(pair: Mixed) -> None:
        start_together(pair, auto_failback)
        for leaver, survivor in ((pair.ours, pair.real), (pair.real, pair.ours)):
            leave_and_return(pair, leaver, survivor, auto_failback)

    def story(pair: Mixed) -> None:
        began_us = now_us()
        with never_answered_by_two(pair.lab):
            pair.unless_spoilt(partial(days, pair), pair.end)
        assert classic.complaints(pair.real, began_us) == []
        pair.stop()

    at_once(silent, story)


def start_together(pair: Mixed, auto_failback: str) -> None:
    """Each starts its own, once; but for legacy, not before both have waited as 3.0.6 does."""
    with ExitStack() as watched:
        watches = {
            (node, address): watched.enter_context(watch_address(pair.lab, node, address))
            for node in (ONE, TWO)
            for address in HOMES
        }
        began_us = now_us()
        pair.start()
        pair.settle(HOMES, legacy=auto_failback == LEGACY)
        for (node, address), watch in watches.items():
            assert len(watch.seen("up")) == (HOMES[address] == node), (node, address)
            assert watch.seen("gone") == []
            for up in watch.seen("up"):
                waited_ms = (up.at_us - began_us) / 1000
                assert (waited_ms < classic.START_DELAY_MS) == (auto_failback == LEGACY), (node, address)
    assert said(pair.ours, "is dead", began_us) + classic.said(pair.real, "is dead", began_us) == []


def leave_and_return(pair: Mixed, leaver: Node, survivor: Node, auto_failback: str) -> None:
    """A clean stop hands everything on; what comes back with the leaver is for auto_failback to say."""
    began_us = now_us()
    with ExitStack() as watched:
        taken = [watched.enter_context(watch_address(pair.lab, survivor.name, each)) for each in HOMES]
        if leaver is pair.real:
            pair.stop_real()
            [relinquished] = classic.said(leaver, "All HA resources relinquished", began_us)
        else:
            pair.stop_ours()
            [relinquished] = said(leaver, "All HA resources relinquished", began_us)
        pair.settle(pair.everything_on(survivor), alone=survivor, legacy=auto_failback == LEGACY)
        for up in (up for watch in taken for up in watch.seen("up")):
            waited_us = up.at_us - relinquished.monotonic_us
            assert waited_us < HANDED_ON_US or survivor is pair.real
    if leaver is pair.real:
        pair.start_real()
    else:
        pair.start_ours()
    pair.settle(after_a_return(pair, survivor, auto_failback), legacy=auto_failback == LEGACY)


@SETTINGS
def test_one_starts_alone_and_has_everything_after_initdead_and_the_other_joins(
    silent: list[Mixed], auto_failback: str
) -> None:
    def story(pair: Mixed) -> None:
        with never_answered_by_two(pair.lab):
            for first, start_first, start_joiner in (
                (pair.real, pair.start_real, pair.start_ours),
                (pair.ours, pair.start_ours, pair.start_real),
            ):
                began_us = now_us()
                # 3.0.6 that starts alone runs several of its scripts at once, and often spoils what they say.
                day = partial(one_after_the_other, pair, first, start_first, start_joiner, auto_failback)
                pair.unless_spoilt(day, pair.end)
                assert classic.complaints(pair.real, began_us) == []
                pair.stop()

    at_once(silent, story)


def one_after_the_other(
    pair: Mixed,
    first: Node,
    start_first: Callable[[], None],
    start_joiner: Callable[[], None],
    auto_failback: str,
) -> None:
    start_alone(pair, first, start_first)
    # 3.0.6 calls itself in transition for ten seconds more; the other may come meanwhile.
    start_joiner()
    pair.settle(after_a_return(pair, first, auto_failback), legacy=auto_failback == LEGACY)


def start_alone(pair: Mixed, first: Node, start: Callable[[], None]) -> None:
    """It has everything when initdead is over, and not before."""
    began_us = now_us()
    with ExitStack() as watched:
        watches = [watched.enter_context(watch_address(pair.lab, first.name, address)) for address in HOMES]
        start()
        pair.wait_until_true(pair.everything_on(first), timeout=15)
        for watch in watches:
            [up] = watch.seen("up")
            assert up.at_us - began_us >= TIMINGS.initdead_ms * 1000
