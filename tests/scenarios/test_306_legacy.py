"""auto_failback legacy beside a heartbeat 3.0.6 node: groups are asked for by name, and always go home."""

from __future__ import annotations

import pytest

from hbd.config.model import AutoFailback
from hbd.core import protocol
from hbd.core.views import ClusterState
from tests.scenarios.beside_306 import START_FILES, START_SHOP, STOP_FILES, STOP_SHOP
from tests.scenarios.pair import SHOP_KEY, Pair
from tests.scenarios.puppet import Puppet

SHOP_NAME, FILES_NAME = "10.0.0.1", "10.0.0.2"


def joined(pair: Pair) -> Puppet:
    beta = Puppet(pair, "beta").lives()
    pair.run(100)
    beta.becomes("active")
    pair.run(10)
    return beta


def alone_with_all() -> Pair:
    pair = Pair(AutoFailback.LEGACY)
    pair.alpha.start_daemon()
    pair.until(lambda: len(pair.alpha.running) == 5, 11_000)
    pair.run(1000)
    return pair


def test_the_holder_releases_what_its_home_node_asks_for_and_says_so_when_it_is_done() -> None:
    pair = alone_with_all()
    pair.alpha.troubles.slow["ftp.service"] = 500
    beta = joined(pair)
    asked_ms = pair.now_ms
    beta.say(protocol.ip_request(FILES_NAME))
    pair.run(300)
    assert beta.heard_since(asked_ms) == []
    pair.run(500)
    assert pair.jobs(pair.alpha, asked_ms) == STOP_FILES
    assert beta.heard_since(asked_ms) == [f"ip-request-resp beta {FILES_NAME}"]
    pair.run(10_000)
    assert pair.jobs(pair.alpha, asked_ms) == STOP_FILES


def test_a_request_is_answered_although_the_group_does_not_run_here() -> None:
    pair = alone_with_all()
    beta = joined(pair)
    beta.say(protocol.ip_request(FILES_NAME))
    pair.run(500)
    asked_ms = pair.now_ms
    beta.say(protocol.ip_request(FILES_NAME))
    pair.run(300)
    assert beta.heard_since(asked_ms) == [f"ip-request-resp beta {FILES_NAME}"]


def test_a_joiner_asks_for_its_own_groups_and_starts_when_they_are_released() -> None:
    pair = Pair(AutoFailback.LEGACY)
    beta = Puppet(pair, "beta").lives(st="active")
    pair.alpha.start_daemon()
    pair.run(3000)
    assert beta.heard_since() == ["reqnodes beta", f"ip-request {SHOP_NAME}"]
    assert pair.jobs(pair.alpha) == []
    beta.say(protocol.ip_request_resp("alpha", SHOP_NAME))
    pair.run(200)
    assert pair.jobs(pair.alpha) == START_SHOP


def test_a_response_for_somebody_else_starts_nothing() -> None:
    pair = Pair(AutoFailback.LEGACY)
    beta = Puppet(pair, "beta").lives(st="active")
    pair.alpha.start_daemon()
    pair.run(1000)
    beta.say(protocol.ip_request_resp("beta", FILES_NAME))
    beta.say(protocol.ip_request_resp("beta", SHOP_NAME))
    pair.run(1000)
    assert pair.jobs(pair.alpha) == []


def test_neither_starting_nor_resource_is_said() -> None:
    pair = alone_with_all()
    beta = joined(pair)
    beta.say(protocol.ip_request(FILES_NAME))
    pair.run(15_000)
    spoken = {what.split()[0] for what in beta.heard_since()}
    assert spoken == {"ip-request-resp"}


def test_shutdone_takes_over_at_once_and_death_after_deadtime() -> None:
    pair = alone_with_all()
    beta = joined(pair)
    beta.say(protocol.ip_request(FILES_NAME))
    pair.run(500)
    left_ms = pair.now_ms
    beta.say(protocol.shutdone())
    pair.run(200)
    assert pair.jobs(pair.alpha, left_ms) == START_FILES
    beta.falls_silent()
    pair.run(5000)
    beta.restarts()
    beta.lives(st="active")
    beta.say(protocol.ip_request(FILES_NAME))
    pair.run(500)
    again_ms = pair.now_ms
    beta.falls_silent()
    pair.run(3000)
    assert pair.jobs(pair.alpha, again_ms) == START_FILES


def test_a_returning_home_node_of_ours_gets_its_groups_back_and_its_killed_daemon_keeps_them() -> None:
    pair, _ = legacy_at_home()
    pair.alpha.kill_daemon()
    pair.run(400)
    again_ms = pair.now_ms
    pair.alpha.start_daemon()
    pair.run(3000)
    assert pair.jobs(pair.alpha, again_ms) == []
    assert STOP_SHOP[0] not in pair.jobs(pair.alpha)


def test_late_after_its_death_it_releases_before_it_asks() -> None:
    pair, beta = legacy_at_home()
    pair.alpha.kill_daemon()
    pair.run(4000)
    again_ms = pair.now_ms
    pair.alpha.start_daemon()
    pair.run(500)
    assert "10.0.0.1" not in pair.alpha.running
    assert f"ip-request {SHOP_NAME}" in beta.heard_since(again_ms)
    beta.say(protocol.ip_request_resp("alpha", SHOP_NAME))
    pair.until(lambda: "10.0.0.1" in pair.alpha.running, 500)


def legacy_at_home() -> tuple[Pair, Puppet]:
    pair = Pair(AutoFailback.LEGACY)
    beta = Puppet(pair, "beta").lives(st="active")
    pair.alpha.start_daemon()
    pair.run(100)
    beta.say(protocol.ip_request_resp("alpha", SHOP_NAME))
    pair.run(4000)
    assert pair.jobs(pair.alpha) == START_SHOP
    return pair, beta


def test_in_legacy_a_node_at_home_is_stable() -> None:
    pair, _ = legacy_at_home()
    assert pair.view(pair.alpha).state is ClusterState.STABLE
    assert pair.logged(pair.alpha, "local resource transition completed.")


def test_in_legacy_a_node_that_was_away_asks_and_serves_again_when_it_is_answered() -> None:
    pair, beta = legacy_at_home()
    pair.alpha.freeze()
    pair.run(1850)
    woke_ms = pair.now_ms
    pair.alpha.thaw()
    pair.run(300)
    assert "10.0.0.1" not in pair.alpha.running
    assert beta.heard_since(woke_ms) == [f"ip-request {SHOP_NAME}"]
    beta.say(protocol.ip_request_resp("alpha", SHOP_NAME))
    pair.until(lambda: "10.0.0.1" in pair.alpha.running, 200)
    assert pair.jobs(pair.alpha, woke_ms) == ["drop 10.0.0.1", "start 10.0.0.1"]


def test_in_legacy_a_quickly_restarted_daemon_is_stable_again() -> None:
    pair, beta = legacy_at_home()
    pair.alpha.kill_daemon()
    pair.run(400)
    again_ms = pair.now_ms
    pair.alpha.start_daemon()
    pair.run(300)
    if f"ip-request {SHOP_NAME}" in beta.heard_since(again_ms):
        beta.say(protocol.ip_request_resp("alpha", SHOP_NAME))
    pair.run(1000)
    assert pair.jobs(pair.alpha, again_ms) == []
    assert pair.view(pair.alpha).state is ClusterState.STABLE


def test_in_legacy_a_node_that_was_away_goes_on_asking_when_the_other_restarts_before_it_answered() -> None:
    pair, beta = legacy_at_home()
    pair.alpha.freeze()
    pair.run(1850)
    pair.alpha.thaw()
    pair.run(300)
    beta.restarts()
    beta.lives(st="active")
    beta.say(protocol.ip_request(FILES_NAME))
    pair.run(4000)  # until it is settled who had what at the restart
    later_ms = pair.now_ms
    pair.until(lambda: f"ip-request {SHOP_NAME}" in beta.heard_since(later_ms), 6000)
    beta.say(protocol.ip_request_resp("alpha", SHOP_NAME))
    pair.until(lambda: "10.0.0.1" in pair.alpha.running, 200)


def test_a_request_of_a_former_life_is_not_answered_in_the_next() -> None:
    pair = alone_with_all()
    pair.alpha.troubles.slow["ftp.service"] = 4000
    beta = joined(pair)
    beta.say(protocol.ip_request(FILES_NAME))
    pair.run(500)
    beta.falls_silent()
    pair.run(2700)
    assert pair.logged(pair.alpha, "node beta: is dead")
    again_ms = pair.now_ms
    beta.restarts()
    beta.lives(st="up")
    pair.run(2000)
    answered = f"ip-request-resp beta {FILES_NAME}" in beta.heard_since(again_ms)
    started = "start 10.0.0.2" in pair.jobs(pair.alpha, again_ms)
    assert not (answered and started)


@pytest.mark.parametrize("gone_ms", [200, 900, 3000])
def test_what_a_killed_life_owed_is_answered_by_the_next(gone_ms: int) -> None:
    pair = alone_with_all()
    pair.alpha.troubles.slow["ftp.service"] = 500
    beta = joined(pair)
    beta.say(protocol.ip_request(FILES_NAME))
    pair.run(200)
    pair.alpha.kill_daemon()
    again_ms = pair.now_ms
    pair.run(gone_ms)
    pair.alpha.start_daemon()
    pair.run(60_000)
    served = "10.0.0.2" in pair.alpha.running
    told = f"ip-request-resp beta {FILES_NAME}" in beta.heard_since(again_ms)
    assert served or told


def test_in_legacy_what_a_heartbeat_took_in_a_partition_is_asked_for_although_it_asks_for_its_own() -> None:
    pair = Pair(AutoFailback.LEGACY)
    beta = Puppet(pair, "beta").lives(st="active")
    pair.alpha.start_daemon()
    pair.run(100)
    beta.say(protocol.ip_request_resp("alpha", SHOP_NAME))
    pair.run(1000)
    pair.cut()
    pair.until(lambda: len(pair.alpha.running) == 5, 5000)
    pair.heal()
    healed_ms = pair.now_ms
    pair.run(600)
    beta.say(protocol.ip_request(FILES_NAME))
    pair.run(3500)
    assert f"ip-request {SHOP_NAME}" in beta.heard_since(healed_ms)


def test_in_legacy_a_node_that_came_back_unnoticed_says_what_its_former_life_released() -> None:
    # The machine booted within deadtime. A heartbeat that had asked for its group waits for the answer.
    pair = Pair(AutoFailback.LEGACY)
    beta = Puppet(pair, "beta").lives(st="active")
    pair.alpha.start_daemon()
    pair.run(100)
    beta.say(protocol.ip_request_resp("alpha", SHOP_NAME))
    pair.run(5000)
    told = [text for text in beta.heard_since() if text.startswith("ip-request-resp")]
    assert told == [f"ip-request-resp beta {FILES_NAME}"]


def test_in_legacy_one_that_asks_is_answered_once() -> None:
    pair = Pair(AutoFailback.LEGACY)
    beta = Puppet(pair, "beta").lives(st="active")
    pair.alpha.start_daemon()
    pair.run(1000)
    beta.say(protocol.ip_request(FILES_NAME))
    pair.run(5000)
    told = [text for text in beta.heard_since() if text.startswith("ip-request-resp")]
    assert told == [f"ip-request-resp beta {FILES_NAME}"]


def test_killed_while_it_waits_without_its_addresses_its_next_life_waits_too() -> None:
    pair = Pair(AutoFailback.LEGACY)
    beta = Puppet(pair, "beta").lives(st="active")
    pair.alpha.start_daemon()
    pair.run(1000)
    beta.say(protocol.ip_request_resp("alpha", SHOP_NAME))
    pair.run(1000)
    pair.alpha.freeze()
    pair.run(3500)
    woke_ms = pair.now_ms
    pair.alpha.thaw()
    pair.until(lambda: "drop 10.0.0.1" in pair.jobs(pair.alpha, woke_ms), 200)
    pair.run(20)
    pair.alpha.kill_daemon()
    pair.run(200)
    pair.alpha.start_daemon()
    pair.run(1000)
    assert "start 10.0.0.1" not in pair.jobs(pair.alpha, woke_ms)
    beta.say(protocol.ip_request_resp("alpha", SHOP_NAME))
    pair.run(1000)
    assert pair.owners()[SHOP_KEY] == "alpha"


def test_a_response_that_waited_while_it_stood_still_is_no_leave_any_more() -> None:
    pair = Pair(AutoFailback.LEGACY)
    beta = Puppet(pair, "beta").lives(st="active")
    pair.alpha.start_daemon()
    pair.until(lambda: f"ip-request {SHOP_NAME}" in beta.heard_since(), 3000)
    pair.alpha.freeze()
    beta.say(protocol.ip_request_resp("alpha", SHOP_NAME))
    pair.run(6000)  # By now theirs has buried ours, and has the group again.
    woke_ms = pair.now_ms
    pair.alpha.thaw()
    pair.run(1000)
    assert pair.jobs(pair.alpha, woke_ms) == []
    assert f"ip-request {SHOP_NAME}" in beta.heard_since(woke_ms)
    beta.say(protocol.ip_request_resp("alpha", SHOP_NAME))
    pair.run(1000)
    assert pair.owners()[SHOP_KEY] == "alpha"
