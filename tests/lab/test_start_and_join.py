"""How a pair begins: both at once, or one alone and the other later."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.lab import Lab
from tests.lab.cluster import (
    ADDRESS,
    GUIDE,
    ONE,
    TWO,
    UNITS,
    Timings,
    active_units,
    configure,
    holds,
    is_idle,
    logged_us,
    never_on_both,
    owners,
    said,
    serves,
    settle,
    share_answers,
    start,
    starts,
    stop,
    watch_address,
)
from tests.lab.journal import now_us

TIMINGS = Timings(500, 1000, 2000, 5000)
OTHER_ADDRESS = "192.168.85.4"
TWO_GROUPS = f"{ONE} {ADDRESS} httpd smb\n{TWO} {OTHER_ADDRESS}\n"


@pytest.fixture(scope="module")
def booted(hbd_layer: Path) -> Iterator[Lab]:
    with Lab(layers=[hbd_layer]) as lab:
        configure(lab, timings=TIMINGS)
        lab.boot()
        yield lab


@pytest.fixture
def silent(booted: Lab) -> Lab:
    """Two machines on which hbd does not run, and nothing that it starts."""
    stop(booted)
    assert is_idle(booted[ONE])
    assert is_idle(booted[TWO])
    return booted


def test_both_start_together_and_the_group_comes_up_once_on_linuxha1(silent: Lab) -> None:
    one, two = silent[ONE], silent[TWO]
    configure(silent, timings=TIMINGS)
    began_us = now_us()
    with (
        watch_address(silent, ONE) as on_one,
        watch_address(silent, TWO) as on_two,
        silent.client.http_probe() as http,
    ):
        start(silent)
        settle(silent, owned_by=ONE)
        http.wait_for(ONE)
        assert share_answers(silent) == ONE
        assert on_one.seen("up")
        assert on_one.seen("gone") == []
        assert on_two.seen() == []
        assert http.first(TWO) is None
    assert serves(one)
    assert is_idle(two)
    for unit in UNITS:
        assert len(starts(one, unit, began_us)) == 1
        assert starts(two, unit, began_us) == []
    assert said(one, "is dead", began_us) + said(two, "is dead", began_us) == []


def test_the_address_is_announced_when_it_is_up_and_not_a_heartbeat_later(silent: Lab) -> None:
    configure(silent, timings=GUIDE)
    began_us = now_us()
    with watch_address(silent, ONE) as address:
        start(silent)
        settle(silent, owned_by=ONE)
        up = address.wait_for("up")
    told = silent[ONE].wait_for_journal(f"Sending Gratuitous Arp for {ADDRESS} ", since_us=began_us)
    assert logged_us(told) - up.at_us < GUIDE.keepalive_ms * 1000 / 4


@pytest.mark.parametrize("auto_failback", ["off", "on"])
def test_linuxha1_alone_starts_everything_after_initdead_and_linuxha2_joins(
    silent: Lab, auto_failback: str
) -> None:
    one, two = silent[ONE], silent[TWO]
    configure(silent, timings=TIMINGS, auto_failback=auto_failback, haresources=TWO_GROUPS)

    began_us = now_us()
    with watch_address(silent, ONE) as own, watch_address(silent, ONE, OTHER_ADDRESS) as other:
        start(silent, ONE)
        settle(silent, ONE, owned_by=ONE)
        # initdead runs from hbd's start, which is not before the first line it logs.
        hbd_began_us = min(logged_us(entry) for entry in said(one, "", began_us))
        for watch in (own, other):
            assert watch.seen("up")[0].at_us >= hbd_began_us + TIMINGS.initdead_ms * 1000
    assert serves(one)
    assert holds(one, OTHER_ADDRESS)
    assert said(one, f"node {TWO}: is dead", began_us)

    joined_us = now_us()
    with never_on_both(silent), never_on_both(silent, OTHER_ADDRESS), watch_address(silent, ONE) as own:
        start(silent, TWO)
        if auto_failback == "on":
            settled = {ADDRESS: ONE, OTHER_ADDRESS: TWO}
        else:
            settled = {ADDRESS: ONE, OTHER_ADDRESS: ONE}
        settle(silent, owned_by=settled)
        assert own.seen("gone") == []
    for node in (ONE, TWO):
        assert owners(silent[node]) == settled
        assert holds(silent[node], OTHER_ADDRESS) == (settled[OTHER_ADDRESS] == node)
    assert serves(one)
    assert not holds(two)
    assert active_units(two) == []
    for unit in UNITS:
        assert starts(one, unit, joined_us) + starts(two, unit, began_us) == []
