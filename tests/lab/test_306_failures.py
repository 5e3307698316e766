"""What fails on either side of a pair of the real heartbeat 3.0.6 and hbd, and what the other side does.

In every story 3.0.6 is on linuxha1 in one lab and on linuxha2 in another, at the same time.
"""

from collections.abc import Callable, Iterator

import pytest

from tests.lab import classic
from tests.lab.cluster import ADDRESS, Timings, logged_us, said, watch_address, watch_heartbeats
from tests.lab.host import wait_until
from tests.lab.mixed import HOMES, Mixed, at_once, configure, held, home_of, never_answered_by_two
from tests.lab.service import invocations, kill

pytestmark = pytest.mark.alone

TIMINGS = Timings(400, 1000, 3000, 5000)
"""An hbd that is killed has until 600 ms before deadtime to be back; a busy computer needs one second."""
TO_DECLARE_MS = TIMINGS.deadtime_ms + TIMINGS.keepalive_ms + 100
TO_ADDRESS_MS = 1000
"""And not a heartbeat later. Two pairs share the computer here; how fast it is, test_failover measures."""


@pytest.fixture
def at_home(pairs: list[Mixed]) -> Iterator[list[Mixed]]:
    """Both daemons run, each with its own group, to which it returns (auto_failback on)."""

    def begin(pair: Mixed) -> None:
        configure(pair.lab, "on", TIMINGS)
        for node in (each for each in pair.lab.nodes.values() if not each.is_running):
            node.boot()
        pair.begin()

    at_once(pairs, begin)
    yield pairs
    at_once(pairs, Mixed.stop)


def test_each_side_survives_the_death_of_the_other(at_home: list[Mixed]) -> None:
    def story(pair: Mixed) -> None:
        with never_answered_by_two(pair.lab):
            hbd_is_killed(pair)
            the_machine_with_306_loses_its_power(pair)
            bring_back_real(pair)
            the_machine_with_hbd_loses_its_power(pair)
        the_master_of_306_is_killed(pair)
        bring_back_real(pair)

    at_once(at_home, story)


def hbd_is_killed(pair: Mixed) -> None:
    """kill -9: systemd starts it anew; 3.0.6 sees a restart, and the client nothing at all."""
    running = invocations(pair.ours)
    address = home_of(pair.ours)
    # Patient, since two pairs share the computer here: a connection that is refused or cut is what counts.
    client = pair.lab.client.http_probe(limit_ms=1000)
    with watch_address(pair.lab, pair.ours.name, address) as watch, client as http:
        killed_us = kill(pair.ours)
        classic.wait_until_said(pair.real, f"Heartbeat restart on node {pair.ours.name}", killed_us)
        pair.ours.wait_for_journal("was started by an earlier hbd and runs: kept", since_us=killed_us)
        pair.settle(HOMES)
        assert watch.seen() == []
        if address == ADDRESS:
            assert http.failures() == []
    assert invocations(pair.ours) == running
    assert classic.said(pair.real, "is dead", killed_us) == []


def the_machine_with_306_loses_its_power(pair: Mixed) -> None:
    expect_taken_over(pair, pair.real.power_kill)
    pair.settle(pair.everything_on(pair.ours), alone=pair.ours)


def the_machine_with_hbd_loses_its_power(pair: Mixed) -> None:
    def lost_and_back() -> None:
        killed_us = pair.ours.power_kill()
        pair.settle(pair.everything_on(pair.real), alone=pair.real)
        assert len(classic.said(pair.real, f"node {pair.ours.name}: is dead", killed_us)) == 1
        pair.lab.boot(pair.ours.name)
        pair.start_ours()
        pair.settle(HOMES)

    pair.unless_spoilt(lost_and_back, pair.begin_anew)


def the_master_of_306_is_killed(pair: Mixed) -> None:
    """Its resources stay up and nobody restarts it: hbd cannot but take over, as if it were dead.

    Then the machine's power is taken, as its watchdog or its administrator would.
    """
    expect_taken_over(pair, lambda: classic.kill(pair.real))
    wait_until(lambda: all(pair.ours.name in at for at in held(pair.lab).values()), 10, "hbd has all", 0.1)
    assert held(pair.lab)[home_of(pair.real)] == sorted(pair.lab.nodes)
    pair.real.power_kill()
    pair.settle(pair.everything_on(pair.ours), alone=pair.ours)


def bring_back_real(pair: Mixed) -> None:
    def joins() -> None:
        pair.start_real()
        pair.settle(HOMES)

    pair.lab.boot(pair.real.name)
    with never_answered_by_two(pair.lab):
        pair.unless_spoilt(joins, pair.begin_anew)


def expect_taken_over(pair: Mixed, strike: Callable[[], int]) -> None:
    """hbd declares 3.0.6 dead when deadtime is over, and has the other's address in the same moment."""
    with (
        watch_heartbeats(pair.lab, pair.ours.name, of=pair.real.name) as heartbeats,
        watch_address(pair.lab, pair.ours.name, home_of(pair.real)) as address,
    ):
        heartbeats.wait_for("heartbeat")
        struck_us = strike()
        dead = pair.ours.wait_for_journal(f"node {pair.real.name}: is dead", since_us=struck_us)
        up = address.wait_for("up", since_us=struck_us)
        last_us = heartbeats.seen()[-1].at_us
    assert len(said(pair.ours, f"Resources being acquired from {pair.real.name}.", struck_us)) == 1
    silence_ms, address_ms = (logged_us(dead) - last_us) / 1000, (up.at_us - logged_us(dead)) / 1000
    assert TIMINGS.deadtime_ms <= silence_ms <= TO_DECLARE_MS
    assert address_ms <= TO_ADDRESS_MS
