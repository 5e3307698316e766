"""The kernel lease, as the core renews and ends it: when a kernel with these rules would still answer."""

from __future__ import annotations

import itertools
from dataclasses import replace

import pytest

from hbd.config.model import Timing
from hbd.core.effects import (
    ArmLease,
    Device,
    DisarmLease,
    EndLease,
    FeedWatchdog,
    KeepLease,
    LeaseEffect,
    Transmit,
)
from hbd.core.events import Instant, LeaseArmed, LeaseRefused, Reload, Stop, Tick
from hbd.sim.machines import Machine
from tests.scenarios.beside_306 import both_at_home
from tests.scenarios.pair import FILES_KEY, SHOP_KEY, TIMING, Pair, all_on, at_home

PATIENT = replace(TIMING, deadtime_ms=10_000, warntime_ms=5000)
LEASE_MS = TIMING.deadtime_ms - TIMING.keepalive_ms - 100


def lease_of(pair: Pair, node: Machine, since_ms: int = 0) -> list[tuple[int, LeaseEffect]]:
    """What the core wanted of the kernel, and when."""
    return [(ms, effect) for ms, name, effect in pair.leases if name == node.name and ms >= since_ms]


def kinds(pair: Pair, node: Machine, since_ms: int = 0) -> list[type]:
    return [type(effect) for _, effect in lease_of(pair, node, since_ms)]


def silent_from_ms(pair: Pair, node: Machine) -> int:
    """Until when the node's kernel answers, by what it was told so far."""
    ms, last = lease_of(pair, node)[-1]
    return ms + LEASE_MS if isinstance(last, KeepLease) else ms


def test_it_is_armed_at_the_start_for_every_address_and_renewed_ahead_of_every_heartbeat() -> None:
    pair = Pair().started()
    (armed,) = [effect for _, effect in lease_of(pair, pair.alpha) if isinstance(effect, ArmLease)]
    assert [address.ip for address in armed.addresses] == ["10.0.0.1", "10.0.0.2"]
    assert armed.lease_ms == LEASE_MS
    renewed_ms = [ms for ms, effect in lease_of(pair, pair.alpha) if isinstance(effect, KeepLease)]
    heartbeats_ms = [ms for ms, _ in pair.statuses("alpha")]
    assert set(heartbeats_ms) <= set(renewed_ms)
    for ms, effect in lease_of(pair, pair.alpha):
        if isinstance(effect, KeepLease):
            assert ms < effect.until_ms <= ms + 100
    core = pair.alpha.core
    assert core is not None
    assert core.deadline_ms is not None
    step = core.step(Instant(core.deadline_ms, 0), Tick())
    assert [type(effect) for effect in step if isinstance(effect, KeepLease | Transmit)] == [
        KeepLease, Transmit
    ]  # fmt: skip


@pytest.mark.parametrize("offset_ms", range(0, 200, 20))
def test_a_frozen_owners_kernel_is_silent_before_the_peer_starts_anything(offset_ms: int) -> None:
    pair = Pair().started()
    pair.twice_allowed = True
    pair.run(offset_ms)
    pair.alpha.freeze()
    pair.until(lambda: pair.owners()[SHOP_KEY].endswith("beta"), 6000)
    assert silent_from_ms(pair, pair.alpha) < pair.job_ms(pair.beta, "start 10.0.0.1")


@pytest.mark.parametrize("offset_ms", range(0, 200, 20))
def test_it_is_silent_in_time_also_if_the_last_heartbeat_was_lost(offset_ms: int) -> None:
    pair = Pair().started()
    pair.twice_allowed = True
    pair.run(offset_ms)
    last_ms = pair.statuses("alpha")[-1][0]
    pair.cut_from("alpha")
    pair.until(lambda: pair.statuses("alpha")[-1][0] > last_ms, 500)
    pair.alpha.freeze()
    pair.heal()
    pair.until(lambda: pair.owners()[SHOP_KEY].endswith("beta"), 6000)
    assert silent_from_ms(pair, pair.alpha) <= pair.job_ms(pair.beta, "start 10.0.0.1")


def test_on_waking_it_is_ended_before_the_first_heartbeat_and_comes_back_when_the_peer_has_answered() -> None:
    # Too long for certainty, and too short for the peer: it has not taken over.
    pair = Pair().started()
    pair.alpha.freeze()
    pair.run(1500)
    woken_ms = pair.now_ms
    pair.alpha.thaw()
    pair.run(1)
    assert kinds(pair, pair.alpha, woken_ms) == [EndLease]
    assert pair.statuses("alpha", woken_ms)
    pair.until(lambda: pair.owners() == at_home(pair.groups), 1000)
    put_back_ms = pair.job_ms(pair.alpha, "start 10.0.0.1", woken_ms)
    assert (put_back_ms, KeepLease) in [(ms, type(e)) for ms, e in lease_of(pair, pair.alpha, woken_ms)]


def test_a_node_whose_groups_were_taken_over_in_its_absence_renews_again_when_it_has_given_them_up() -> None:
    pair = Pair().started()
    pair.twice_allowed = True
    pair.alpha.freeze()
    pair.run(4000)
    woken_ms = pair.now_ms
    pair.alpha.thaw()
    pair.until(lambda: pair.owners() == all_on("beta"), 2000)
    pair.run(1000)
    assert kinds(pair, pair.alpha, woken_ms)[0] is EndLease
    assert kinds(pair, pair.alpha)[-1] is KeepLease  # It may have to take over any moment.


def reload(pair: Pair, node: Machine, timing: Timing) -> int:
    """Have the node take this timing; returns when."""
    node.config = replace(node.config, timing=timing)
    pair.ask(node, Reload(node.config))
    return pair.now_ms


def armed_ms(pair: Pair, node: Machine) -> list[int]:
    """The lengths that the kernel was told."""
    return [effect.lease_ms for _, effect in lease_of(pair, node) if isinstance(effect, ArmLease)]


def told_ms(pair: Pair, node: Machine, since_ms: int) -> list[int]:
    """The deadtimes of its heartbeats."""
    return [message.hex("dt") or 0 for _, message in pair.statuses(node.name, since_ms)]


@pytest.mark.parametrize("offset_ms", range(0, 200, 40))
def test_a_longer_deadtime_lengthens_it_only_when_the_peer_knows_of_it(offset_ms: int) -> None:
    pair = Pair().started()
    pair.twice_allowed = True
    pair.run(offset_ms)
    pair.cut_from("alpha")
    reloaded_ms = reload(pair, pair.alpha, PATIENT)
    pair.until(lambda: bool(pair.statuses("alpha", reloaded_ms)), 500)
    assert set(told_ms(pair, pair.alpha, reloaded_ms)) == {PATIENT.deadtime_ms}
    pair.alpha.freeze()
    pair.heal()
    pair.until(lambda: pair.owners()[SHOP_KEY].endswith("beta"), 6000)
    assert set(armed_ms(pair, pair.alpha)) == {LEASE_MS}
    assert silent_from_ms(pair, pair.alpha) <= pair.job_ms(pair.beta, "start 10.0.0.1")


def test_it_is_the_longer_one_as_soon_as_an_hbd_peer_has_echoed_the_longer_deadtime() -> None:
    pair = Pair().started()
    pair.alpha.post(LeaseArmed())
    reload(pair, pair.alpha, replace(PATIENT, keepalive_ms=1000))
    pair.run(3 * TIMING.keepalive_ms)
    assert armed_ms(pair, pair.alpha) == [LEASE_MS, PATIENT.deadtime_ms - 1000 - 100]


def test_beside_a_heartbeat_it_is_the_longer_one_when_the_old_deadtime_has_passed_at_the_old_pace() -> None:
    pair, _ = both_at_home()
    reloaded_ms = reload(pair, pair.alpha, replace(PATIENT, keepalive_ms=1000))
    pair.run(TIMING.deadtime_ms)
    assert set(armed_ms(pair, pair.alpha)) == {LEASE_MS}
    beats_ms = [ms for ms, _ in pair.statuses("alpha", reloaded_ms)]
    assert max(b - a for a, b in itertools.pairwise(beats_ms)) <= TIMING.keepalive_ms
    pair.run(4 * TIMING.keepalive_ms)
    assert armed_ms(pair, pair.alpha)[-1] == PATIENT.deadtime_ms - 1000 - 100


def test_a_node_that_wakes_reckons_with_the_deadtime_that_the_peer_may_still_go_by() -> None:
    pair, _ = both_at_home()
    reload(pair, pair.alpha, PATIENT)
    pair.run(TIMING.keepalive_ms)
    pair.alpha.freeze()
    pair.run(TIMING.deadtime_ms)
    woken_ms = pair.now_ms
    pair.alpha.thaw()
    pair.run(1)
    assert kinds(pair, pair.alpha, woken_ms) == [EndLease]


@pytest.mark.parametrize("answer", [LeaseArmed(), LeaseRefused("nft is not installed")])
def test_a_shorter_deadtime_is_told_only_when_the_kernel_has_the_shorter_lease(
    answer: LeaseArmed | LeaseRefused
) -> None:
    pair = Pair()
    for node in (pair.alpha, pair.beta):
        node.config = replace(node.config, timing=PATIENT)
    pair.started()
    pair.alpha.post(LeaseArmed())
    reloaded_ms = reload(pair, pair.alpha, TIMING)
    pair.run(3 * TIMING.keepalive_ms)
    assert armed_ms(pair, pair.alpha)[-1] == LEASE_MS
    assert set(told_ms(pair, pair.alpha, reloaded_ms)) == {PATIENT.deadtime_ms}
    pair.alpha.post(answer)
    armed_at_ms = pair.now_ms + 1
    pair.run(3 * TIMING.keepalive_ms)
    assert set(told_ms(pair, pair.alpha, armed_at_ms)) == {TIMING.deadtime_ms}


def test_a_deaf_peer_ends_it_too() -> None:
    pair = Pair().started()
    cut_ms = pair.now_ms
    pair.cut_from("alpha")
    pair.until(lambda: EndLease in kinds(pair, pair.alpha, cut_ms), 4000)
    assert pair.now_ms < cut_ms + TIMING.deadtime_ms


def test_a_killed_daemons_next_life_renews_it_with_its_first_heartbeat_unless_it_comes_too_late() -> None:
    pair = Pair().started()
    pair.alpha.kill_daemon()
    pair.run(500)
    begun_ms = pair.now_ms
    pair.alpha.start_daemon()
    assert kinds(pair, pair.alpha, begun_ms) == [ArmLease, KeepLease]
    pair.run(1000)
    pair.alpha.kill_daemon()
    pair.twice_allowed = True
    pair.run(1900)
    begun_ms = pair.now_ms
    pair.alpha.start_daemon()
    assert kinds(pair, pair.alpha, begun_ms) == [ArmLease]


def test_alone_it_is_renewed_all_the_same() -> None:
    pair = Pair().started()
    pair.beta.power_off()
    pair.until(lambda: pair.owners() == all_on("alpha"), 4000)
    pair.run(2000)
    assert silent_from_ms(pair, pair.alpha) > pair.now_ms


def test_an_orderly_end_disarms_it_after_everything_is_released() -> None:
    pair = Pair().started()
    asked_ms = pair.now_ms
    pair.ask(pair.alpha, Stop())
    pair.until(lambda: pair.alpha.quit, 5000)
    assert kinds(pair, pair.alpha, asked_ms)[-1] is DisarmLease
    assert lease_of(pair, pair.alpha)[-1][0] >= pair.job_ms(pair.alpha, "stop 10.0.0.1", asked_ms)


def test_a_refusal_is_said_once_and_shown_until_it_is_over() -> None:
    pair = Pair().started()
    for _ in range(2):
        pair.alpha.post(LeaseRefused("nft is not installed"))
    assert pair.view(pair.alpha).degraded == ("kernel lease: nft is not installed",)
    assert len([line for line in pair.log(pair.alpha) if line.startswith("no kernel lease: nft is")]) == 1
    assert dict(pair.view(pair.alpha).statistics)["lease_ms"] == 0
    before_ms = pair.now_ms
    pair.ask(pair.alpha, Reload(pair.alpha.config))
    assert ArmLease in kinds(pair, pair.alpha, before_ms)  # A reload tries again.
    pair.alpha.post(LeaseArmed())
    assert pair.view(pair.alpha).degraded == ()
    assert dict(pair.view(pair.alpha).statistics)["lease_ms"] == LEASE_MS


def test_switched_off_it_is_disarmed_and_not_renewed() -> None:
    pair = Pair()
    pair.alpha.config = replace(pair.alpha.config, lease=False)
    pair.started()
    assert kinds(pair, pair.alpha) == [DisarmLease]
    pair.ask(pair.beta, Reload(replace(pair.beta.config, lease=False)))
    before_ms = pair.now_ms
    pair.run(1000)
    assert kinds(pair, pair.beta, before_ms) == [DisarmLease]
    assert pair.view(pair.beta).degraded == ()


def test_where_deadtime_leaves_no_room_for_it_that_is_said() -> None:
    pair = Pair()
    tight = Timing(keepalive_ms=500, warntime_ms=800, deadtime_ms=1500, initdead_ms=10_000)
    pair.alpha.config = replace(pair.alpha.config, timing=tight)
    pair.alpha.start_daemon()
    assert kinds(pair, pair.alpha) == [DisarmLease]
    (text,) = pair.view(pair.alpha).degraded
    assert "make it at least 1600 ms" in text


def test_the_longest_stall_outlasts_the_daemon() -> None:
    pair = Pair().started()
    pair.alpha.freeze()
    pair.run(900)
    pair.alpha.thaw()
    pair.run(1000)
    stall = dict(pair.view(pair.alpha).statistics)["longest_stall_ms"]
    assert isinstance(stall, int)
    assert 900 <= stall <= 900 + TIMING.keepalive_ms
    assert pair.alpha.stall.ms == stall
    pair.alpha.kill_daemon()
    pair.run(100)
    pair.alpha.start_daemon()
    pair.run(500)
    shown = dict(pair.view(pair.alpha).statistics)
    assert (shown["longest_stall_ms"], shown["longest_stall_at"]) == (stall, pair.alpha.stall.wall_s)


def test_on_waking_systemd_is_told_at_once_and_the_device_only_by_a_tick_on_time() -> None:
    pair = Pair().started()
    core = pair.alpha.core
    assert core is not None
    assert core.deadline_ms is not None
    woken_ms = core.deadline_ms + 1500
    fed = [effect for effect in core.step(Instant(woken_ms, 0), Tick()) if isinstance(effect, FeedWatchdog)]
    assert fed == [FeedWatchdog(Device.STARVED)]
    # Late again: a node that is always late is itself the sick one.
    woken_ms += 1500
    assert FeedWatchdog not in [type(effect) for effect in core.step(Instant(woken_ms, 0), Tick())]
    fed = [e for e in core.step(Instant(woken_ms + 100, 0), Tick()) if isinstance(e, FeedWatchdog)]
    assert [pulse.device for pulse in fed] == [Device.FED]


def test_it_is_not_renewed_for_what_serves_again_while_the_rest_is_still_taken_off() -> None:
    # The kernel knows one lease for all addresses, and to take a thousand of them off takes a while.
    pair = Pair().started()
    pair.standby(pair.beta)
    pair.until(lambda: pair.owners() == all_on("alpha"), 2000)
    pair.run(1000)
    pair.beta.troubles.start_fails.add("web.service")
    pair.twice_allowed = True
    pair.alpha.freeze()
    pair.run(5000)
    assert pair.owners()[FILES_KEY] == "alpha+beta"
    pair.draw = lambda low, high: 150 if (low, high) == (1, 3) else low  # type: ignore[method-assign]
    pair.alpha.thaw()
    both_ms = 0
    for _ in range(400):
        pair.run(1)
        if "10.0.0.2" in pair.alpha.running:
            both_ms += 1
            assert silent_from_ms(pair, pair.alpha) <= pair.now_ms
    assert both_ms > 100
    assert isinstance(lease_of(pair, pair.alpha)[-1][1], KeepLease)
