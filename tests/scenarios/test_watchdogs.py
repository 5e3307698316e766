"""When the watchdogs are fed, and what becomes of a machine whose failfast client has failed."""

from __future__ import annotations

from dataclasses import replace

import pytest

from hbd.config.model import Client, Place
from hbd.core.effects import Device, Reboot
from hbd.core.events import ClientEnded, Reload, Stop
from hbd.sim.machines import Machine
from tests.scenarios.beside_306 import both_at_home
from tests.scenarios.pair import SHOP_KEY, TIMING, Pair, all_on
from tests.scenarios.puppet import Puppet

KEEPALIVE_MS = TIMING.keepalive_ms
VITAL = Client("root", "/bin/vital", True, Place("ha.cf", 1, 1))


def pair_with(**changes: object) -> Pair:
    """A pair at rest, alpha's configuration with these changes."""
    pair = Pair().started()
    pair.alpha.config = replace(pair.alpha.config, **changes)  # type: ignore[arg-type]
    pair.ask(pair.alpha, Reload(pair.alpha.config))
    pair.run(500)
    return pair


def block(pair: Pair) -> int:
    """A stop fails on alpha for good; returns when its group is blocked."""
    pair.alpha.troubles.stop_fails["web.service"] = 1000
    pair.standby(pair.alpha)
    pair.run(15_000)
    return pair.logged(pair.alpha, "group 10.0.0.1 is blocked: web did not stop")


def is_fed(pair: Pair, node: Machine) -> bool:
    """Within the last keepalive, by systemd's watchdog at least."""
    return pair.now_ms - node.fed_ms <= KEEPALIVE_MS


def test_the_device_is_spared_until_there_is_something_to_protect() -> None:
    pair = Pair()
    pair.alpha.start_daemon()
    meant: list[Device | None] = []
    for _ in range(2):
        pair.run(3 * KEEPALIVE_MS)
        meant.append(pair.alpha.device)
        pair.beta.start_daemon()
    assert meant == [Device.SPARED, Device.FED]


def test_after_a_crash_what_is_held_is_protected_at_once() -> None:
    pair = Pair().started()
    pair.beta.power_off()
    pair.alpha.kill_daemon()
    pair.alpha.start_daemon()
    pair.run(2 * KEEPALIVE_MS)
    assert pair.alpha.device is Device.FED
    assert is_fed(pair, pair.alpha)


def test_a_cut_of_every_link_starves_nobody() -> None:
    pair = Pair().started()
    pair.twice_allowed = True
    pair.cut()
    pair.run(3 * TIMING.deadtime_ms)
    assert (pair.alpha.device, pair.beta.device) == (Device.FED, Device.FED)
    assert is_fed(pair, pair.alpha)


def test_a_blocked_group_starves_nothing_unless_it_is_critical() -> None:
    pair = pair_with(watchdog="/dev/watchdog")
    block(pair)
    assert pair.alpha.device is Device.FED
    assert is_fed(pair, pair.alpha)


def test_a_critical_group_that_is_blocked_starves_the_device_and_not_systemd() -> None:
    pair = pair_with(critical=(SHOP_KEY,), watchdog="/dev/watchdog")
    blocked_ms = block(pair)
    assert pair.alpha.device is Device.STARVED
    assert is_fed(pair, pair.alpha)
    text = "group 10.0.0.1 is blocked, and critical, and the other node can serve it: the watchdog device"
    assert pair.logged(pair.alpha, text) - blocked_ms <= KEEPALIVE_MS
    # It is not forgotten by a restart of hbd.
    pair.alpha.kill_daemon()
    pair.alpha.start_daemon()
    pair.run(15_000)
    assert pair.alpha.device is Device.STARVED


def test_it_starves_only_while_an_able_peer_lives() -> None:
    pair = pair_with(critical=(SHOP_KEY,), watchdog="/dev/watchdog")
    block(pair)
    pair.beta.power_off()
    pair.run(3 * KEEPALIVE_MS)
    # Not even for as long as the peer might be dead.
    assert pair.alpha.device is Device.FED
    assert pair.logged(pair.alpha, "the watchdog device is fed again")


def test_a_peer_that_could_not_start_the_group_does_not_count() -> None:
    pair = Pair()
    pair.beta.troubles.start_fails.add("web.service")
    pair.started()
    pair.alpha.config = replace(pair.alpha.config, critical=(SHOP_KEY,), watchdog="/dev/watchdog")
    pair.ask(pair.alpha, Reload(pair.alpha.config))
    pair.run(500)
    pair.standby(pair.alpha)
    pair.run(5000)
    assert pair.owners()[SHOP_KEY] == "alpha"
    pair.alpha.troubles.stop_fails["web.service"] = 1000
    pair.ask(pair.alpha, Stop())
    pair.run(15_000)
    assert pair.logged(pair.alpha, "group 10.0.0.1 is blocked: web did not stop")
    assert pair.alpha.device is Device.FED


def blocked_beside_306() -> tuple[Pair, Puppet]:
    """A critical group of alpha does not stop for a 3.0.6 node that could serve it."""
    pair, beta = both_at_home()
    pair.alpha.config = replace(pair.alpha.config, critical=(SHOP_KEY,), watchdog="/dev/watchdog")
    pair.ask(pair.alpha, Reload(pair.alpha.config))
    pair.run(500)
    pair.alpha.troubles.stop_fails["web.service"] = 1000
    pair.standby(pair.alpha)
    pair.run(50)
    beta.ask_resources("all", "other")
    pair.run(15_000)
    assert pair.alpha.device is Device.STARVED
    return pair, beta


def test_a_heartbeat_that_leaves_is_not_able_and_its_next_life_is_once_it_is_active() -> None:
    pair, beta = blocked_beside_306()
    meant: list[Device | None] = []
    beta.resource("none", 0, "shutdown")
    pair.run(3 * KEEPALIVE_MS)
    meant.append(pair.alpha.device)
    beta.restarts()
    beta.joins()
    pair.run(3 * KEEPALIVE_MS)
    meant.append(pair.alpha.device)
    assert meant == [Device.FED, Device.STARVED]


def test_a_heartbeat_that_starts_is_not_able_yet() -> None:
    pair, beta = blocked_beside_306()
    beta.restarts()
    beta.lives(st="up")
    pair.run(1000)
    assert pair.alpha.device is Device.FED


def test_once_it_is_seen_stopped_the_device_is_fed_again() -> None:
    pair = pair_with(critical=(SHOP_KEY,), watchdog="/dev/watchdog")
    block(pair)
    pair.alpha.troubles.stop_fails.clear()
    pair.alpha.take_away(pair.groups[0].resources[1])
    pair.until(lambda: pair.owners() == all_on("beta"), 7000)
    pair.run(2 * KEEPALIVE_MS)
    assert pair.alpha.device is Device.FED


def test_a_stop_whose_end_is_never_told_starves_both() -> None:
    pair = Pair().started()
    pair.alpha.troubles.slow["web.service"] = 1000
    asked_ms = pair.now_ms
    pair.standby(pair.alpha)
    pair.until(lambda: "stop web.service" in pair.jobs(pair.alpha, asked_ms), 3000)
    pair.alpha.forget_jobs()
    limit_ms = pair.alpha.config.limits.stop_ms
    pair.run(limit_ms)
    assert is_fed(pair, pair.alpha)
    pair.run(5000 + 2 * KEEPALIVE_MS)
    assert not is_fed(pair, pair.alpha)
    assert pair.logged(pair.alpha, "group 10.0.0.1: a stop goes on beyond its time limit")


# ---------------------------------------------------------------- failfast


def fail(pair: Pair, status: int = 3, ran_ms: int = 60_000) -> int:
    """alpha's vital client ends; returns when."""
    pair.alpha.clients.clear()
    pair.alpha.post(ClientEnded(VITAL, 1, status, 0, ran_ms))
    return pair.now_ms


def test_a_failfast_client_that_fails_has_its_machine_rebooted_once_everything_is_released() -> None:
    pair = pair_with(clients=(VITAL,))
    failed_ms = fail(pair)
    assert pair.until(lambda: pair.owners() == all_on("beta"), 1000) < 300
    pair.until(lambda: pair.alpha.quit, 3000)
    assert pair.alpha.reboot is Reboot.IN_ORDER
    assert pair.logged(pair.beta, "Received shutdown notice from 'alpha'.", failed_ms)


@pytest.mark.parametrize(("watchdog", "waits_ms"), [(None, 0), ("/dev/watchdog", TIMING.deadtime_ms)])
def test_if_a_resource_does_not_stop_the_device_resets_it_or_else_it_is_rebooted_at_once(
    watchdog: str | None, waits_ms: int
) -> None:
    pair = pair_with(clients=(VITAL,), watchdog=watchdog)
    pair.alpha.troubles.stop_fails["web.service"] = 1000
    failed_ms = fail(pair)
    pair.until(lambda: pair.alpha.quit, 20_000)
    assert pair.alpha.reboot is Reboot.AT_ONCE
    blocked_ms = pair.logged(pair.alpha, "group 10.0.0.1 is blocked: web did not stop", failed_ms)
    assert waits_ms <= pair.now_ms - blocked_ms <= waits_ms + 2 * KEEPALIVE_MS
    assert (pair.alpha.device is Device.STARVED) == (watchdog is not None)
    # The other node is not told a goodbye that would be a lie.
    assert "shutdone" not in pair.said("alpha", failed_ms)


def test_a_failfast_program_that_is_not_there_does_not_reboot_the_machine_over_and_over() -> None:
    pair = pair_with(clients=(VITAL,))
    fail(pair, status=127, ran_ms=20)
    pair.run(5000)
    assert not pair.alpha.quit
    assert pair.logged(pair.alpha, "Client child command [/bin/vital] is not executable")


def test_a_stop_that_overruns_starves_systemds_watchdog_where_the_node_stands_still_now_and_then() -> None:
    pair = Pair().started()
    pair.standby(pair.alpha)
    pair.run(30)
    pair.alpha.forget_jobs()
    pair.run(40_000)
    starved_ms = pair.logged(pair.alpha, "group 10.0.0.1: a stop goes on beyond its time limit")
    for _ in range(5):
        pair.alpha.freeze()
        pair.run(600)
        pair.alpha.thaw()
        pair.run(1500)
    assert pair.alpha.fed_ms <= starved_ms
