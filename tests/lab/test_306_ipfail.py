"""hbd's ipfail and the real one of heartbeat 3.0.6 on the other machine: each gives way to the other."""

from collections.abc import Iterator

import pytest

from tests.lab import Lab, classic, cluster
from tests.lab.cluster import ADDRESS, ONE, TWO, holds
from tests.lab.host import wait_until
from tests.lab.journal import now_us
from tests.lab.lab import CHECKOUT
from tests.lab.mixed import TIMINGS, Mixed
from tests.lab.pinging import LINES, ROUTER, let_deadping_pass, lost, wait_until_all_answer

IPFAIL = "respawn hacluster /usr/libexec/heartbeat/ipfail"
PATIENCE_S = 40.0


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    """3.0.6 on linuxha1 and hbd on linuxha2; each answered by every ping node, everything on linuxha1."""
    with Lab(layers=classic.layers(CHECKOUT)) as made:
        made.network.join_router()
        classic.configure(made, timings=TIMINGS, auto_failback="off", extra=(*LINES, IPFAIL))
        made.boot()
        pair = Mixed(made, real=made[ONE], ours=made[TWO])

        def settled() -> None:
            pair.start()
            wait_until(lambda: holds(pair.real) and cluster.owner(pair.ours) == ONE, PATIENCE_S, "a start")

        pair.unless_spoilt(settled, pair.end)
        made[ONE].wait_for_journal("Starting child client .*ipfail")
        wait_until_all_answer(made, TWO)
        classic.wait_for_holding(made[ONE], "local")
        yield made


def moves_to(lab: Lab, name: str, other: str) -> None:
    wait_until(lambda: holds(lab[name]) and not holds(lab[other]), PATIENCE_S, f"{ADDRESS} on {name}")


def test_the_real_one_gives_up_when_hbd_reaches_more_and_hbd_when_the_real_one_does(lab: Lab) -> None:
    began_us = now_us()
    with cluster.never_on_both(lab), lost(lab, (ROUTER,), ONE):
        moves_to(lab, TWO, ONE)
    assert cluster.said(lab[TWO], "Telling other node that we have more visible ping nodes.", began_us)
    wait_until(lambda: cluster.is_settled(lab[TWO]), PATIENCE_S, "rest")
    back_us = now_us()
    with cluster.never_on_both(lab), lost(lab, (ROUTER,), TWO):
        moves_to(lab, ONE, TWO)
    assert cluster.said(lab[TWO], "giveup() called (timeout worked)", back_us)
    wait_until(lambda: cluster.is_settled(lab[TWO]), PATIENCE_S, "rest")


def test_what_both_lose_moves_nothing(lab: Lab) -> None:
    wait_until_all_answer(lab, TWO)
    at = ONE if holds(lab[ONE]) else TWO
    began_us = now_us()
    with lost(lab, (ROUTER,), ONE, TWO):
        for name in (ONE, TWO):
            lab[name].wait_for_journal(f"node {ROUTER}: is dead", since_us=began_us)
        let_deadping_pass()
        assert holds(lab[at])
    assert not cluster.said(lab[TWO], "wants to go standby", began_us)


def test_a_carrier_lost_by_hbd_moves_everything_to_the_real_one_before_a_ping_is_missed(lab: Lab) -> None:
    wait_until_all_answer(lab, TWO)
    if holds(lab[ONE]):
        wait_until(lambda: cluster.is_settled(lab[TWO]), PATIENCE_S, "rest")
        lab[TWO].run("hbctl takeover --wait")
    moves_to(lab, TWO, ONE)
    wait_until(lambda: cluster.is_settled(lab[TWO]), PATIENCE_S, "rest")
    cut_us = now_us()
    try:
        lab.network.cut(TWO, "eth0")
        wait_until(lambda: holds(lab[ONE]) and not holds(lab[TWO]), PATIENCE_S, f"{ADDRESS} on {ONE}")
        (given,) = cluster.said(lab[TWO], "giveup() called (timeout worked)", cut_us)
        missed = cluster.said(lab[TWO], f"node {ROUTER}: is dead", cut_us)
        assert cluster.said(lab[TWO], "Giving up because an address has no carrier here.", cut_us)
        assert all(given.monotonic_us < entry.monotonic_us for entry in missed)
    finally:
        lab.network.restore(TWO)
