"""The machine that serves loses its power, and comes back."""

import statistics
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.lab import Lab
from tests.lab.cluster import (
    ADDRESS,
    ONE,
    TWO,
    UNITS,
    Timings,
    configure,
    is_idle,
    logged_us,
    never_on_both,
    running_pair,
    said,
    serves,
    settle,
    share_answers,
    start,
    starts,
    stop,
    watch_address,
    watch_heartbeats,
)
from tests.lab.journal import now_us

pytestmark = pytest.mark.alone

TIMINGS = Timings(500, 1000, 2000, 4000)
KILLS = 5
TO_DECLARE_MS = TIMINGS.deadtime_ms + TIMINGS.keepalive_ms + 100
TO_ADDRESS_MS = 50


@pytest.fixture(scope="module")
def pair(hbd_layer: Path) -> Iterator[Lab]:
    with running_pair(hbd_layer, timings=TIMINGS) as lab:
        yield lab


def kill_and_wait(lab: Lab) -> tuple[float, float]:
    """Take the power of linuxha1; linuxha2 serves afterwards.

    Returns how long after the last heartbeat the death was declared, and how
    long after that the kernel had the address, in milliseconds. The last
    heartbeat is the last that linuxha1 sent before the kill; its time is when
    linuxha2's kernel got the first copy of it, some microseconds later. Declared
    is when hbd says so to the journal, before it sets the address.
    """
    two = lab[TWO]
    with (
        watch_heartbeats(lab, TWO, of=ONE) as heartbeats,
        watch_address(lab, TWO) as address,
        lab.client.http_probe() as http,
        lab.observer.arp_probe() as arp,
    ):
        http.wait_for(ONE)
        heartbeats.wait_for("heartbeat")
        killed_us = lab[ONE].power_kill()
        dead = two.wait_for_journal(f"node {ONE}: is dead", since_us=killed_us)
        two.wait_for_journal(f"Resources being acquired from {ONE}\\.", since_us=killed_us)
        up = address.wait_for("up", since_us=killed_us)
        http.wait_for(TWO, since_us=killed_us)
        settle(lab, TWO, owned_by=TWO)
        arp.wait_for_rounds_until(now_us())
        assert arp.dual_held() == []
        last_us = heartbeats.seen()[-1].at_us
    assert serves(two)
    assert share_answers(lab) == TWO
    return (logged_us(dead) - last_us) / 1000, (up.at_us - logged_us(dead)) / 1000


def bring_back(lab: Lab) -> int:
    """Boot linuxha1 and start hbd there; returns when."""
    lab.boot(ONE)
    back_us = now_us()
    start(lab, ONE)
    return back_us


def test_power_kills_of_linuxha1_are_declared_in_time_and_the_address_follows_at_once(
    pair: Lab, capsys: pytest.CaptureFixture[str]
) -> None:
    declared_ms, address_ms = [], []
    for _ in range(KILLS):
        declared, address = kill_and_wait(pair)
        declared_ms.append(declared)
        address_ms.append(address)
        bring_back(pair)
        settle(pair, owned_by=ONE)
    with capsys.disabled():
        print(f"\ndeclared dead after {declared_ms} ms, the address up {address_ms} ms later")
    assert min(declared_ms) >= TIMINGS.deadtime_ms
    assert max(declared_ms) <= TO_DECLARE_MS
    assert statistics.median(address_ms) <= TO_ADDRESS_MS


def test_linuxha1_gets_everything_back_when_it_returns_with_auto_failback_on(pair: Lab) -> None:
    kill_and_wait(pair)
    pair.boot(ONE)
    back_us = now_us()
    with never_on_both(pair), pair.client.http_probe() as http:
        start(pair, ONE)
        settle(pair, owned_by=ONE)
        http.wait_for(ONE, since_us=back_us)
    assert serves(pair[ONE])
    assert is_idle(pair[TWO])
    assert share_answers(pair) == ONE
    for unit in UNITS:
        assert len(starts(pair[ONE], unit, back_us)) == 1
        assert starts(pair[TWO], unit, back_us) == []


def test_nothing_moves_when_linuxha1_returns_with_auto_failback_off(pair: Lab) -> None:
    stop(pair)
    configure(pair, timings=TIMINGS, auto_failback="off")
    start(pair)
    settle(pair, owned_by=ONE)
    kill_and_wait(pair)

    pair.boot(ONE)
    back_us = now_us()
    with never_on_both(pair), watch_address(pair, TWO) as address, pair.client.http_probe() as http:
        start(pair, ONE)
        settle(pair, owned_by=TWO)
        # Whatever moved late would move once both are known to be stable.
        pair[ONE].wait_for_journal("remote resource transition completed", since_us=back_us)
        http.wait_for(TWO, since_us=now_us())
        assert http.first(ONE) is None
        assert address.seen("gone") == []
    assert is_idle(pair[ONE])
    assert serves(pair[TWO])
    for node in (ONE, TWO):
        for unit in UNITS:
            assert starts(pair[node], unit, back_us) == []
    assert ADDRESS not in "".join(entry.message for entry in said(pair[ONE], "Running", back_us))
