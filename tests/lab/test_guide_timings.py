"""The guide's own ha.cf: keepalive 2, warntime 10, deadtime 30, initdead 120, and eth1 alone."""

import time

from tests.lab import Lab
from tests.lab.cluster import (
    GUIDE,
    ONE,
    PRIVATE_ONLY,
    TWO,
    UNITS,
    configure,
    is_idle,
    logged_us,
    never_on_both,
    said,
    serves,
    settle,
    share_answers,
    start,
    starts,
    watch_heartbeats,
)
from tests.lab.journal import now_us

# Longer than deadtime, so that a start-up which went by deadtime would be seen.
ETH1_LATE_S = GUIDE.deadtime_ms / 1000 + 3
# Longer than warntime, and much shorter than what the watchdog allows: after a longer one systemd restarts
# hbd before it can speak.
PAUSE_S = 11


def test_the_guides_timings(lab: Lab) -> None:
    """One run, since each of its waits is long: a late link, a pause, a death, a return."""
    configure(lab, timings=GUIDE, media=PRIVATE_ONLY)
    lab.boot(ONE, held=("eth1",))
    lab.boot(TWO)
    one, two = lab[ONE], lab[TWO]

    began_us = now_us()
    start(lab)
    time.sleep(ETH1_LATE_S)
    assert is_idle(one)
    assert is_idle(two)
    lab.network.release(ONE, "eth1")
    settle(lab, owned_by=ONE)
    assert now_us() < began_us + GUIDE.initdead_ms * 1000
    expect_served_by_one_that_started_once(lab, began_us)

    paused_us = one.freeze()
    time.sleep(PAUSE_S)
    one.thaw()
    late = two.wait_for_journal(f"Late heartbeat: Node {ONE}: interval", since_us=paused_us)
    time.sleep(2 * GUIDE.keepalive_ms / 1000)
    assert [entry.message for entry in said(two, "Late heartbeat", paused_us)] == [late.message]
    settle(lab, owned_by=ONE)
    expect_served_by_one_that_started_once(lab, began_us)
    assert share_answers(lab) == ONE

    with (
        watch_heartbeats(lab, TWO, of=ONE) as heartbeats,
        lab.client.http_probe() as http,
        lab.observer.arp_probe() as arp,
    ):
        heartbeats.wait_for("heartbeat")
        killed_us = one.power_kill()
        dead = two.wait_for_journal(f"node {ONE}: is dead", since_us=killed_us, timeout=40)
        http.wait_for(TWO, since_us=killed_us)
        settle(lab, TWO, owned_by=TWO)
        arp.wait_for_rounds_until(now_us())
        assert arp.dual_held() == []
        silence_ms = (logged_us(dead) - heartbeats.seen()[-1].at_us) / 1000
    assert GUIDE.deadtime_ms <= silence_ms <= GUIDE.deadtime_ms + GUIDE.keepalive_ms + 100
    assert serves(two)

    lab.boot(ONE)
    back_us = now_us()
    with never_on_both(lab), lab.client.http_probe() as http:
        start(lab, ONE)
        settle(lab, owned_by=ONE)
        http.wait_for(ONE, since_us=back_us)
    assert serves(one)
    assert is_idle(two)


def expect_served_by_one_that_started_once(lab: Lab, since_us: int) -> None:
    one, two = lab[ONE], lab[TWO]
    assert serves(one)
    assert is_idle(two)
    for unit in UNITS:
        assert len(starts(one, unit, since_us)) == 1
        assert starts(two, unit, since_us) == []
    assert said(one, "is dead", since_us) + said(two, "is dead", since_us) == []
