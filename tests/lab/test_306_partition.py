"""The real heartbeat 3.0.6 and hbd are cut off from one another, and meet again; and 3.0.6 is reconfigured.

In every story 3.0.6 is on linuxha1 in one lab and on linuxha2 in another, at the same time.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager

import pytest

from tests.lab import classic
from tests.lab.cluster import ADDRESS, ONE, TWO, Timings, Watch, said, watch_address
from tests.lab.host import wait_until
from tests.lab.journal import now_us
from tests.lab.mixed import HARESOURCES, HOMES, OTHER_ADDRESS, Mixed, at_once, held, home_of, page, truth_of
from tests.lab.node import Node
from tests.lab.service import invocations, kill

TIMINGS = Timings(200, 800, 2000, 4000)
GIVES_WAY_US = 5_000_000
"""3.0.6 waits twice as long for an answer."""

# Debian's unit takes the end of the first process for the daemon's end, and stops what went on in another.
RESTARTS_BY_ITSELF = "[Service]\nRemainAfterExit=yes\n"
DROP_IN = "/etc/systemd/system/heartbeat.service.d/remain.conf"

OLD_KEY, NEW_KEY = "1 sha1 key-for-sha1-any-text-you-want\n", "2 md5 quite-another-text\n"


@pytest.fixture(scope="module")
def running(pairs: list[Mixed]) -> Iterator[list[Mixed]]:
    """Both daemons run over both links."""

    def begin(pair: Mixed) -> None:
        classic.configure(pair.lab, timings=TIMINGS, haresources=HARESOURCES)
        pair.real.write(DROP_IN, RESTARTS_BY_ITSELF)
        pair.real.run("systemctl daemon-reload")
        pair.begin()

    at_once(pairs, begin)
    yield pairs
    at_once(pairs, Mixed.stop)


@pytest.fixture
def at_home(running: list[Mixed]) -> list[Mixed]:
    """Each has its own group, to which it returns (auto_failback on)."""
    at_once(running, lambda pair: pair.settle(HOMES))
    return running


@contextmanager
def nothing_moves(pair: Mixed) -> Iterator[None]:
    """No address comes or goes on either machine, no unit is started anew, and nobody is thought dead."""
    units = [invocations(node) for node in pair.lab.nodes.values()]
    began_us = now_us()
    with ExitStack() as watched:
        watches = [
            watched.enter_context(watch_address(pair.lab, node, address))
            for node in (ONE, TWO)
            for address in HOMES
        ]
        yield
        pair.settle(HOMES)
        assert [each for watch in watches for each in watch.seen()] == []
    assert [invocations(node) for node in pair.lab.nodes.values()] == units
    assert said(pair.ours, "is dead", began_us) + classic.said(pair.real, "is dead", began_us) == []
    assert said(pair.ours, "dropped a datagram", began_us) == []
    assert classic.said(pair.real, "failed authentication", began_us) == []


# ---------------------------------------------------------------- reload


def test_a_changed_ha_cf_restarts_the_heartbeat_and_nothing_moves(at_home: list[Mixed]) -> None:
    def story(pair: Mixed) -> None:
        with nothing_moves(pair):
            began_us = now_us()
            changed = pair.real.read("/etc/ha.d/ha.cf").replace("warntime 800ms", "warntime 900ms")
            pair.real.write("/etc/ha.d/ha.cf", changed)
            classic.reload(pair.real)
            classic.wait_until_said(pair.real, "Performing heartbeat restart exec", began_us)
            pair.ours.wait_for_journal(f"Heartbeat restart on node {pair.real.name}", 10, began_us)
            classic.wait_until_said(pair.real, "Local status now set to: 'active'", began_us)
            classic.wait_until_said(pair.real, "remote resource transition completed", began_us)
        assert len(said(pair.ours, "Heartbeat restart on node", began_us)) == 1

    at_once(at_home, story)


def test_the_key_is_changed_while_both_run_in_either_order(at_home: list[Mixed]) -> None:
    """Each step on both machines, one after the other: both know it, both sign with it, the old one goes.

    3.0.6 takes a netstring for good only under the number that it signs with itself; hbd takes every number
    that it knows, and signs with the one that it hears.
    """

    def story(pair: Mixed) -> None:
        changes = [reload_real, reload_ours]
        if pair.real.name == TWO:
            changes.reverse()
        with nothing_moves(pair):
            for keys in (
                f"auth 1\n{OLD_KEY}{NEW_KEY}",
                f"auth 2\n{OLD_KEY}{NEW_KEY}",
                f"auth 2\n{NEW_KEY}",
            ):
                for change in changes:
                    change(pair, keys)
                    # Who could no longer hear the other would think it dead by then.
                    time.sleep((TIMINGS.deadtime_ms + 2 * TIMINGS.keepalive_ms) / 1000)

    at_once(at_home, story)


def reload_real(pair: Mixed, keys: str) -> None:
    began_us = now_us()
    pair.real.write("/etc/ha.d/authkeys", keys, mode=0o600)
    classic.reload(pair.real)
    classic.wait_until_said(pair.real, "Rereading authentication file", began_us)


def reload_ours(pair: Mixed, keys: str) -> None:
    began_us = now_us()
    pair.ours.write("/etc/ha.d/authkeys", keys, mode=0o600)
    pair.ours.run("systemctl reload hbd")
    pair.ours.wait_for_journal("Configuration reloaded: keys changed", since_us=began_us)


# ---------------------------------------------------------------- partition


def test_after_a_cut_3_0_6_releases_and_restarts_and_hbd_serves_throughout(at_home: list[Mixed]) -> None:
    def story(pair: Mixed) -> None:
        with addresses_watched(pair, pair.ours) as ours, addresses_watched(pair, pair.real) as real:
            began_us = now_us()
            healed_us = cut_until_each_has_all(pair)
            classic.wait_until_said(pair.real, f"node {pair.ours.name} returning after partition", began_us)
            released = classic.wait_until_said(pair.real, "All HA resources relinquished", healed_us, 30)
            # hbd had everything when it heard of that, and has what it had.
            pair.wait_until_true(pair.everything_on(pair.ours), timeout=5)
            wait_until(lambda: page(pair.lab) == pair.ours.name, 5, "the client finds hbd's machine", 0.05)
            classic.wait_until_said(pair.real, "Performing heartbeat restart exec", healed_us)
            pair.ours.wait_for_journal(f"Heartbeat restart on node {pair.real.name}", 20, healed_us)
            pair.settle(HOMES)
        for address, watch in real.items():
            seen = watch.seen(since_us=healed_us)
            before = [each.what for each in seen if each.at_us <= released.monotonic_us]
            assert before[-1:] == ["gone"], address
        own = ours[home_of(pair.ours)]
        assert own.seen() == []

    at_once(at_home, unless_spoilt(story))


def test_hbd_that_is_killed_in_a_cut_gives_way_when_it_meets_3_0_6_again(at_home: list[Mixed]) -> None:
    """3.0.6 sees a restart and no healed partition: it keeps everything, and hbd releases at once.

    What is at home on hbd's machine 3.0.6 offers only once, while hbd still releases it, and waits ten
    seconds for the answer. Then hbd asks for it.
    """

    def story(pair: Mixed) -> None:
        with addresses_watched(pair, pair.ours) as ours:
            healed_us = cut_until_each_has_all(pair, in_the_cut=lambda: kill_hbd(pair))
            classic.wait_until_said(pair.real, f"Heartbeat restart on node {pair.ours.name}", healed_us)
            ends = [truth_of(owners) for owners in (HOMES, pair.everything_on(pair.real))]
            wait_until(lambda: held(pair.lab) in ends, 20, "every group on one machine", 0.1)
            for address, watch in ours.items():
                gone = watch.seen("gone", healed_us)[0]
                assert gone.at_us - healed_us < GIVES_WAY_US, address
        assert classic.said(pair.real, "returning after partition", healed_us) == []
        assert classic.said(pair.real, "Heartbeat shutdown in progress", healed_us) == []
        pair.settle(HOMES, timeout=45)

    at_once(at_home, unless_spoilt(story))


def unless_spoilt(story: Callable[[Mixed], None]) -> Callable[[Mixed], None]:
    """From the beginning once more where 3.0.6 has spoilt its own messages in it."""
    return lambda pair: pair.unless_spoilt(lambda: story(pair), pair.begin_anew)


@contextmanager
def addresses_watched(pair: Mixed, node: Node) -> Iterator[dict[str, Watch]]:
    """What that machine's kernel does with each address."""
    with ExitStack() as watched:
        yield {
            address: watched.enter_context(watch_address(pair.lab, node.name, address)) for address in HOMES
        }


def cut_until_each_has_all(pair: Mixed, in_the_cut: Callable[[], None] = lambda: None) -> int:
    """Both links are silent for longer than deadtime; returns when they are whole again, in monotonic µs."""
    cut_us = now_us()
    pair.lab.network.cut(pair.ours.name, silent=True)
    for node in (pair.ours, pair.real):
        other = pair.real if node is pair.ours else pair.ours
        node.wait_for_journal(f"node {other.name}: is dead", 10, cut_us)
    both = sorted(pair.lab.nodes)
    wait_until(lambda: all(sorted(at) == both for at in held(pair.lab).values()), 15, "each has all", 0.1)
    in_the_cut()
    healed_us = now_us()
    pair.lab.network.restore(pair.ours.name)
    return healed_us


def kill_hbd(pair: Mixed) -> None:
    killed_us = kill(pair.ours)
    for address in (ADDRESS, OTHER_ADDRESS):
        text = f"group {address} was started by an earlier hbd and runs: kept unless the peer claims it"
        pair.ours.wait_for_journal(text, since_us=killed_us)
