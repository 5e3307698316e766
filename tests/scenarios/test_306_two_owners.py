"""Beside a heartbeat 3.0.6 node: both own something, or nobody does, and 3.0.6 does nothing about it."""

from __future__ import annotations

from hbd.config.model import AutoFailback
from hbd.core import message as f
from hbd.core import protocol
from tests.scenarios.beside_306 import (
    START_SHOP,
    alone_with_all,
    both_at_home,
    healed_after_a_cut,
    start_beside_beta,
    survivor_restarts_quickly,
)
from tests.scenarios.pair import FILES, SHOP, Pair, address, group
from tests.scenarios.puppet import Puppet


def test_what_the_heartbeat_took_over_without_our_death_is_left_to_it_after_three_seconds() -> None:
    pair, beta = both_at_home()
    beta.resource("all", 1)
    claimed_ms = pair.now_ms
    pair.run(2900)
    assert pair.jobs(pair.alpha, claimed_ms) == []
    pair.run(1500)
    # Nobody agreed on this: the addresses are off before the services end.
    assert pair.jobs(pair.alpha, claimed_ms) == ["drop 10.0.0.1", "stop db.service", "stop web.service"]
    assert pair.alpha.running == {}
    assert beta.heard_since(claimed_ms)[-1] == "resource none 1"


def test_two_owners_wait_for_a_heartbeat_that_says_that_it_leaves() -> None:
    pair, beta = both_at_home()
    beta.resource("all", 1)
    claimed_ms = pair.now_ms
    pair.run(2000)
    beta.resource("none", 0, "shutdown")
    pair.run(5000)
    assert pair.jobs(pair.alpha, claimed_ms) == []
    beta.say(protocol.shutdone())
    pair.until(lambda: len(pair.alpha.running) == 5, 500)


def test_after_a_partition_that_the_heartbeat_did_not_notice_it_is_asked_and_keeps_what_it_says() -> None:
    pair, beta, healed_ms = healed_after_a_cut()
    beta.resource("local", 1)
    pair.run(5000)
    assert sorted(pair.alpha.running) == ["10.0.0.1", "db.service", "web.service"]
    assert "resource local 1" in beta.heard_since(healed_ms)


def test_after_a_partition_no_offer_of_ours_crosses_that_of_a_heartbeat_that_took_everything_too() -> None:
    # Both would wait ten seconds for an answer, and the heartbeat with its release and restart.
    pair, beta, healed_ms = healed_after_a_cut(AutoFailback.ON)
    beta.resource("all", 1)
    pair.run(100)
    beta.ask_resources("foreign", "me")
    pair.run(100)
    beta.resource("local", 0, "standby")
    beta.ask_resources("foreign", "done")
    pair.run(100)
    offers = [text for text in beta.heard_since(healed_ms) if text.startswith("ask_resources")]
    assert offers == ["ask_resources foreign other", "ask_resources foreign done"]
    beta.resource("local", 1)
    pair.until(lambda: "ask_resources foreign me" in beta.heard_since(healed_ms), 1100)
    assert pair.jobs(pair.alpha, healed_ms) == ["announce 10.0.0.1"]


def test_what_a_heartbeat_held_too_is_announced_again_when_it_lets_go() -> None:
    pair, beta, healed_ms = healed_after_a_cut()
    beta.resource("all", 1)
    pair.run(2000)
    beta.resource("none", 0, "shutdown")
    pair.run(500)
    assert pair.jobs(pair.alpha, healed_ms) == []
    beta.say(protocol.shutdone())
    pair.run(10)
    assert pair.jobs(pair.alpha, healed_ms) == ["announce 10.0.0.1", "announce 10.0.0.2"]


def test_after_a_partition_that_only_we_noticed_a_heartbeat_gets_its_own_at_once() -> None:
    pair, beta, healed_ms = healed_after_a_cut(AutoFailback.ON)
    beta.resource("local", 1)
    pair.run(100)
    assert "ask_resources foreign me" in beta.heard_since(healed_ms)


def test_a_heartbeat_that_restarted_with_everything_behind_a_cut_is_asked_as_soon_as_any_other() -> None:
    pair, beta = both_at_home()
    pair.cut()
    pair.until(lambda: len(pair.alpha.running) == 5, 4000)
    # `heartbeat -r`: it goes on with all that it has taken meanwhile, and says no more than `starting`.
    beta.restarts()
    pair.heal()
    beta.lives(st="active")
    beta.say(protocol.starting())
    back_ms = pair.now_ms
    pair.until(lambda: "starting" in beta.heard_since(back_ms), 3100)
    beta.resource("all", 1)
    pair.until(lambda: not {"10.0.0.1", "10.0.0.2"} & pair.alpha.running.keys(), 3100)


def test_what_nobody_owns_after_a_quick_restart_of_the_heartbeat_is_taken() -> None:
    pair, _, again_ms = survivor_restarts_quickly()
    pair.run(5000)
    assert pair.jobs(pair.alpha, again_ms) == START_SHOP


def test_an_older_report_that_comes_late_changes_nothing() -> None:
    pair, beta = both_at_home()
    beta.seq += 1
    late = beta.seq
    beta.resource("local", 1)
    late_ms = pair.now_ms
    beta.say(protocol.resource("all", True), seq=late)
    pair.run(8000)
    assert pair.jobs(pair.alpha, late_ms) == []


def test_a_full_report_that_comes_after_a_partial_one_still_counts() -> None:
    pair = alone_with_all()
    beta = Puppet(pair, "beta").joins()
    beta.resource("none", 0)
    pair.run(200)
    beta.resource("none", 1)
    pair.run(1000)
    assert len(pair.alpha.running) == 5
    # beta did not hear alpha for deadtime (one way); it takes all. The first word is lost, and sent again.
    beta.seq += 1
    lost = beta.seq
    beta.say(((f.T, protocol.RESOURCE), (f.RSC_HOLD, "foreign"), (f.INFO, "mach_down")))
    pair.run(300)
    beta.say(protocol.resource("all", True, "req_our_resources()"), seq=lost)
    pair.run(60_000)
    assert pair.alpha.running == {}


def test_none_is_not_said_of_a_set_of_which_a_group_runs_again() -> None:
    pair = Pair(groups=(SHOP, FILES, group("alpha", address("10.0.0.3"))))
    beta = start_beside_beta(pair)
    beta.resource("local", 1)
    pair.run(1000)
    assert len(pair.alpha.running) == 4
    pair.alpha.troubles.slow["web.service"] = 3000
    beta.resource("all", 1)
    pair.run(3500)
    assert "10.0.0.3" not in pair.alpha.running
    assert "web.service" in pair.alpha.running
    beta.restarts()
    beta.joins()
    beta.resource("none", 0)
    beta.resource("local", 1)
    again_ms = pair.now_ms
    for _ in range(400):
        pair.run(10)
        told = [s for s in beta.heard_since(again_ms) if s.startswith("resource none")]
        assert not (told and pair.alpha.running)
