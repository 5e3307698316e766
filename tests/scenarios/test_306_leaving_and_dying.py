"""Our node beside a heartbeat 3.0.6 node: one of them leaves, dies, or returns."""

from __future__ import annotations

import pytest

from hbd.core import protocol
from hbd.core.events import Stop
from tests.scenarios.beside_306 import (
    START_FILES,
    STOP_SHOP,
    both_at_home,
    both_start,
    survivor_holds_all,
)
from tests.scenarios.pair import SHOP


def test_none_before_the_release_frees_nothing_and_shutdone_frees_all_at_once() -> None:
    pair, beta = both_at_home()
    stop_ms = pair.now_ms
    beta.resource("none", 0, "shutdown")
    pair.run(1500)
    assert pair.jobs(pair.alpha, stop_ms) == []
    gone_ms = pair.now_ms
    beta.say(protocol.shutdone())
    pair.until(lambda: len(pair.alpha.running) == 5, 200)
    assert pair.job_ms(pair.alpha, "start 10.0.0.2") - gone_ms <= 2
    assert pair.logged(pair.alpha, "Received shutdown notice from 'beta'.") - gone_ms <= 2
    pair.run(1000)
    beta.falls_silent()
    pair.run(3000)
    assert pair.logged(pair.alpha, "Dead node beta gave up resources.")
    assert pair.jobs(pair.alpha, stop_ms) == START_FILES


@pytest.mark.parametrize("info", ["shutdown", "standby", ""])
def test_an_unstable_none_never_lets_us_take_what_the_peer_held(info: str) -> None:
    pair, beta, joined_ms = survivor_holds_all()
    beta.resource("all", 1)
    pair.run(100)
    beta.resource("none", 0, info)
    pair.run(15_000)
    assert pair.jobs(pair.alpha, joined_ms) == []


def test_heartbeats_after_shutdone_do_not_bring_the_peer_back() -> None:
    pair, beta = both_at_home()
    beta.resource("none", 0, "shutdown")
    beta.say(protocol.shutdone())
    pair.until(lambda: len(pair.alpha.running) == 5, 200)
    pair.run(1900)  # It goes on with `active` for two seconds.
    assert len(pair.alpha.running) == 5
    beta.restarts()
    back_ms = pair.now_ms
    beta.joins()
    pair.run(100)
    assert "resource all 1" in beta.heard_since(back_ms)


def test_a_silent_heartbeat_is_dead_after_its_own_deadtime_and_its_groups_are_taken_at_once() -> None:
    pair, beta = both_at_home()
    beta.dt_ms = 3000
    pair.run(300)
    beta.falls_silent()
    silent_ms = pair.now_ms
    pair.until(lambda: len(pair.alpha.running) == 5, 4000)
    dead_ms = pair.logged(pair.alpha, "node beta: is dead")
    assert 2800 <= dead_ms - silent_ms <= 3010
    assert pair.job_ms(pair.alpha, "start 10.0.0.2") == dead_ms


def test_a_restarted_heartbeat_is_told_what_we_hold_and_nothing_moves() -> None:
    pair, beta = both_at_home()
    beta.restarts()
    again_ms = pair.now_ms
    beta.joins()
    pair.run(3)
    assert "resource local 1" in beta.heard_since(again_ms)
    assert pair.times_logged(pair.alpha, "Heartbeat restart on node beta") == 1
    beta.resource("none", 0)
    beta.resource("local", 1)
    pair.run(15_000)
    assert pair.jobs(pair.alpha, again_ms) == []


def test_its_own_clean_stop_follows_heartbeats_order_but_tells_the_truth() -> None:
    pair, beta = both_at_home()
    pair.alpha.troubles.slow["db.service"] = 1500
    stop_ms = pair.now_ms
    pair.ask(pair.alpha, Stop())
    pair.run(1000)
    assert beta.heard_since(stop_ms) == []
    pair.run(1000)
    assert beta.heard_since(stop_ms) == ["resource none 0 shutdown", "shutdone"]
    assert pair.said_ms("alpha", "shutdone") >= pair.job_ms(pair.alpha, "stop 10.0.0.1", stop_ms) + 1
    pair.until(lambda: pair.alpha.quit, 2500)
    statuses = [m.text("st") for ms, m in beta.heard if m.text("t") == "status" and ms > stop_ms + 2000]
    assert set(statuses) == {"active"}
    assert pair.jobs(pair.alpha, stop_ms) == STOP_SHOP


def test_after_a_partition_it_keeps_what_it_has_and_takes_the_rest_when_heartbeat_restarts_itself() -> None:
    pair, beta = both_at_home()
    pair.cut()
    pair.until(lambda: len(pair.alpha.running) == 5, 3000)
    pair.run(2000)
    pair.heal()
    healed_ms = pair.now_ms
    pair.run(2000)
    assert pair.logged(pair.alpha, "Cluster node beta returning after partition.")
    # Two seconds after the healing a 3.0.6 node releases, says so, and restarts.
    beta.resource("none", 0, "shutdown")
    pair.run(200)
    beta.say(protocol.shutdone())
    pair.run(1000)
    beta.falls_silent()
    pair.run(3000)
    beta.restarts()
    beta.joins()
    pair.run(200)
    assert beta.heard_since(pair.now_ms - 250)[-1] == "resource all 1"
    assert pair.jobs(pair.alpha, healed_ms) in ([], ["announce 10.0.0.1", "announce 10.0.0.2"])
    assert len(pair.alpha.running) == 5


def test_after_being_away_too_long_its_addresses_are_off_until_the_heartbeat_has_answered() -> None:
    pair, beta = both_at_home()
    pair.alpha.freeze()
    pair.run(1850)
    woke_ms = pair.now_ms
    pair.alpha.thaw()
    pair.until(lambda: "10.0.0.1" not in pair.alpha.running, 20)
    pair.run(1000)
    assert "10.0.0.1" not in pair.alpha.running
    assert "starting" in beta.heard_since(woke_ms)
    beta.resource("local", 1)
    pair.until(lambda: "10.0.0.1" in pair.alpha.running, 50)
    assert pair.jobs(pair.alpha, woke_ms) == ["drop 10.0.0.1", "start 10.0.0.1"]


def test_a_lost_address_is_put_back_beside_a_heartbeat_too() -> None:
    pair, _ = both_at_home()
    pair.alpha.lose(SHOP.resources[0])
    pair.until(lambda: "10.0.0.1" in pair.alpha.running, 300)


def test_a_second_hbd_in_the_heartbeats_place_is_spoken_to_as_hbd() -> None:
    pair, beta = both_at_home()
    beta.resource("none", 0, "shutdown")
    beta.say(protocol.shutdone())
    pair.until(lambda: len(pair.alpha.running) == 5, 200)
    beta.falls_silent()
    pair.run(3000)
    pair.stations["beta"] = pair.beta
    pair.beta.generation = beta.generation + 1
    pair.beta.start_daemon()
    pair.run(3000)
    assert pair.standby(pair.alpha).refused is None
    pair.until(lambda: len(pair.beta.running) == 5, 1000)


def test_after_being_away_it_releases_what_the_heartbeat_has_taken_over() -> None:
    pair, beta = both_at_home()
    pair.alpha.freeze()
    pair.run(3000)
    woke_ms = pair.now_ms
    pair.alpha.thaw()
    pair.until(lambda: "starting" in beta.heard_since(woke_ms), 200)
    beta.resource("all", 1)
    pair.run(1000)
    assert pair.alpha.running == {}
    assert pair.jobs(pair.alpha, woke_ms) == ["drop 10.0.0.1", "stop db.service", "stop web.service"]


def test_a_goodbye_that_waited_while_it_was_away_may_be_that_of_an_earlier_life() -> None:
    pair, beta = both_at_home()
    pair.alpha.freeze()
    pair.run(500)
    beta.resource("none", 0, "shutdown")
    beta.say(protocol.shutdone())
    pair.run(1000)
    beta.restarts()
    beta.joins()
    pair.run(3000)
    woke_ms = pair.now_ms
    pair.alpha.thaw()
    pair.run(1000)
    assert pair.jobs(pair.alpha, woke_ms) == ["drop 10.0.0.1"]


def test_what_a_heartbeat_said_while_it_was_away_is_no_answer() -> None:
    pair, beta = both_at_home()
    pair.alpha.freeze()
    pair.run(500)
    beta.resource("local", 1)
    pair.run(3000)
    woke_ms = pair.now_ms
    pair.alpha.thaw()
    pair.run(1000)
    assert pair.jobs(pair.alpha, woke_ms) == ["drop 10.0.0.1"]


def test_killed_and_restarted_quickly_beside_a_heartbeat_it_keeps_what_runs() -> None:
    pair, beta = both_at_home()
    pair.alpha.kill_daemon()
    pair.run(500)
    again_ms = pair.now_ms
    pair.alpha.start_daemon()
    pair.until(lambda: "starting" in beta.heard_since(again_ms), 500)
    beta.resource("local", 1)
    pair.run(2000)
    assert pair.jobs(pair.alpha, again_ms) == []
    assert beta.heard_since(again_ms)[-1] == "resource local 1"


def test_killed_and_restarted_too_late_it_yields_to_the_heartbeat_that_took_over() -> None:
    pair, beta = both_at_home()
    pair.alpha.kill_daemon()
    pair.run(4000)
    again_ms = pair.now_ms
    pair.alpha.start_daemon()
    pair.until(lambda: "starting" in beta.heard_since(again_ms), 500)
    assert "10.0.0.1" not in pair.alpha.running
    beta.resource("all", 1)
    pair.run(1000)
    assert pair.alpha.running == {}
    assert beta.heard_since(again_ms)[-1] == "resource none 1"


def test_a_group_that_does_not_start_here_is_offered_to_the_heartbeat() -> None:
    pair, beta = both_start()
    pair.alpha.troubles.start_fails.add("web.service")
    beta.resource("local", 1)
    failed_ms = pair.now_ms
    pair.run(500)
    assert "10.0.0.1" not in pair.alpha.running
    pair.until(lambda: "ask_resources local me" in beta.heard_since(failed_ms), 35_000)
    beta.ask_resources("local", "other")
    pair.run(100)
    assert beta.heard_since(failed_ms)[-1] == "ask_resources local done"
    beta.resource("all", 1)
    beta.ask_resources("local", "done")
    pair.run(60_000)
    assert beta.heard_since(failed_ms)[-1] == "resource none 1"
    assert beta.heard_since(failed_ms).count("ask_resources local me") == 1
    assert pair.jobs(pair.alpha, failed_ms).count("start web.service") == 1


def test_a_group_that_could_not_be_taken_is_offered_back() -> None:
    pair, beta = both_at_home()
    pair.alpha.troubles.start_fails.add("ftp.service")
    beta.ask_resources("all", "me")
    pair.run(10)
    beta.resource("none", 0, "standby")
    beta.ask_resources("all", "done")
    pair.run(300)
    taken_ms = pair.now_ms
    beta.resource("none", 1)
    pair.until(lambda: "ask_resources foreign me" in beta.heard_since(taken_ms), 35_000)
    assert "10.0.0.1" in pair.alpha.running


def test_it_says_that_it_is_stable_with_nothing_only_when_what_it_lost_is_stopped() -> None:
    pair, beta = both_at_home()
    pair.alpha.troubles.slow["web.service"] = 3000
    pair.alpha.kill_daemon()
    pair.run(4000)
    again_ms = pair.now_ms
    pair.alpha.start_daemon()
    pair.until(lambda: "starting" in beta.heard_since(again_ms), 500)
    beta.resource("all", 1)
    pair.run(2000)
    assert "resource none 1" not in beta.heard_since(again_ms)
    pair.run(3000)
    assert pair.alpha.running == {}
    assert beta.heard_since(again_ms)[-1] == "resource none 1"


def test_a_classic_peer_that_left_and_comes_back_as_hbd_at_once_takes_no_addresses_off() -> None:
    pair, beta = both_at_home()
    beta.resource("none", 0, "shutdown")
    pair.run(50)
    beta.say(protocol.shutdone())
    pair.run(12_000)
    assert len(pair.alpha.running) == 5
    swap_ms = pair.now_ms
    beta.falls_silent()
    pair.run(250)
    # the real hbd on beta
    del pair.stations["beta"]
    pair.stations["beta"] = pair.beta
    pair.beta.generation = beta.generation
    pair.beta.start_daemon()
    pair.run(3000)
    assert not [j for j in pair.jobs(pair.alpha, swap_ms) if j.startswith("drop")]


def test_who_comes_back_after_goodbye_and_death_is_gone_no_more() -> None:
    pair, beta = both_at_home()
    beta.resource("none", 0, "shutdown")
    beta.say(protocol.shutdone())
    pair.run(500)
    beta.falls_silent()
    pair.run(4000)
    assert len(pair.alpha.running) == 5
    beta.lives(st="active")  # the same generation, further numbers
    beta.resource("all", 1)  # it has buried us meanwhile
    pair.run(20_000)
    assert pair.alpha.running == {}


def test_an_answer_that_came_too_soon_after_waking_to_be_told_from_an_old_one_is_asked_for_again() -> None:
    pair, beta = both_at_home()
    pair.alpha.freeze()
    pair.run(200)
    beta.restarts()
    pair.run(300)
    beta.lives()
    pair.run(2500)
    woke_ms = pair.now_ms
    pair.alpha.thaw()
    pair.run(20)
    beta.becomes("active")
    beta.say(protocol.starting())
    beta.resource("none", 0)
    pair.run(5)
    beta.resource("local", 1)
    pair.until(lambda: "starting" in beta.heard_since(woke_ms + 80), 400)
    beta.resource("local", 1)
    pair.until(lambda: SHOP.resources[0].identity in pair.alpha.running, 500)
