"""Starts that fail, stops that fail, and addresses that somebody takes away."""

from __future__ import annotations

from itertools import pairwise

from hbd.core.events import Stop
from hbd.core.views import GroupState
from tests.scenarios.pair import FILES_KEY, SHOP, SHOP_KEY, Pair, all_on, at_home


def test_a_group_that_does_not_start_is_stopped_again_and_goes_to_the_other_node_and_stays_there() -> None:
    pair = Pair()
    pair.alpha.troubles.start_fails.add("web.service")
    pair.alpha.start_daemon()
    pair.beta.start_daemon()
    pair.until(lambda: pair.owners() == all_on("beta"), 3000)
    assert pair.jobs(pair.alpha) == [
        "start 10.0.0.1", "start web.service", "stop web.service", "stop 10.0.0.1"
    ]  # fmt: skip
    assert pair.logged(pair.alpha, "Giving up resources due to failure of web")
    moved_ms = pair.now_ms
    pair.run(20_000)
    assert pair.owners() == all_on("beta")
    assert pair.jobs(pair.alpha, moved_ms) == []
    shop = pair.view(pair.alpha).groups[0]
    assert shop.owner == "beta"
    assert "it did not start here" in shop.reason


def test_a_node_that_could_not_start_a_group_does_not_try_again_after_a_restart() -> None:
    pair = Pair()
    pair.alpha.troubles.start_fails.add("web.service")
    pair.alpha.start_daemon()
    pair.beta.start_daemon()
    pair.until(lambda: pair.owners() == all_on("beta"), 3000)
    pair.run(1000)
    pair.alpha.power_off()
    pair.run(500)
    again_ms = pair.now_ms
    pair.alpha.power_on()
    pair.run(5000)
    assert pair.jobs(pair.alpha, again_ms) == []
    assert pair.owners() == all_on("beta")


def test_a_group_that_neither_node_can_start_is_given_up_after_one_try_each() -> None:
    pair = Pair()
    for machine in (pair.alpha, pair.beta):
        machine.troubles.start_fails.add("web.service")
    pair.alpha.start_daemon()
    pair.beta.start_daemon()
    pair.run(20_000)
    assert pair.owners() == {SHOP_KEY: "", FILES_KEY: "beta"}
    assert pair.jobs(pair.alpha).count("start web.service") == 1
    assert pair.jobs(pair.beta).count("start web.service") == 1
    assert "10.0.0.1" not in pair.alpha.running.keys() | pair.beta.running.keys()
    assert pair.view(pair.alpha).groups[0].state is GroupState.FAILED


def test_a_start_without_an_answer_is_stopped_and_not_taken_for_a_failure_that_left_nothing() -> None:
    pair = Pair()
    pair.alpha.troubles.slow["web.service"] = 60_000
    pair.alpha.start_daemon()
    pair.beta.start_daemon()
    pair.run(31_000)
    assert "stop web.service" in pair.jobs(pair.alpha)
    assert "start web.service" not in pair.jobs(pair.beta)


def test_a_failed_stop_is_repeated_ten_times_a_second_apart_and_then_the_group_is_blocked() -> None:
    pair = Pair().started()
    pair.alpha.troubles.stop_fails["web.service"] = 1000
    asked_ms = pair.now_ms
    pair.standby(pair.alpha)
    pair.run(15_000)
    stops = [line.ms for line in pair.lines if line.node == "alpha" and line.what == "> stop web.service"]
    assert len(stops) == 11
    assert all(1000 <= later - earlier <= 1100 for earlier, later in pairwise(stops))
    assert pair.logged(pair.alpha, "group 10.0.0.1 is blocked: web did not stop")
    for node in (pair.alpha, pair.beta):
        shop = pair.view(node).groups[0]
        assert (shop.owner, shop.state) == ("alpha", GroupState.BLOCKED)
    assert "start 10.0.0.1" not in pair.jobs(pair.beta, asked_ms)
    assert pair.owners()[FILES_KEY] == "beta"


def test_a_blocked_group_is_free_only_when_probes_have_seen_everything_stopped() -> None:
    pair = Pair().started()
    pair.alpha.troubles.stop_fails["web.service"] = 1000
    pair.standby(pair.alpha)
    pair.run(60_000)
    assert pair.owners()[SHOP_KEY] == ""
    assert not any(job.startswith("start") for job in pair.jobs(pair.beta, 2000))
    pair.alpha.troubles.stop_fails.clear()
    pair.alpha.take_away(SHOP.resources[1])
    freed_ms = pair.now_ms
    pair.until(lambda: pair.owners() == all_on("beta"), 7000)
    # What stood left of the culprit was stopped before the group was free.
    assert pair.jobs(pair.alpha, freed_ms) == ["stop 10.0.0.1"]


def test_a_node_with_a_blocked_group_does_not_say_goodbye() -> None:
    pair = Pair().started()
    pair.alpha.troubles.stop_fails["10.0.0.1"] = 1000
    asked_ms = pair.now_ms
    pair.ask(pair.alpha, Stop())
    pair.run(30_000)
    assert "shutdone" not in pair.said("alpha", asked_ms)
    assert not pair.alpha.quit
    assert "10.0.0.1" not in pair.beta.running


def test_a_blocked_group_stays_blocked_over_a_restart_of_the_daemon() -> None:
    pair = Pair().started()
    pair.alpha.troubles.stop_fails["web.service"] = 1000
    pair.standby(pair.alpha)
    pair.run(15_000)
    pair.alpha.kill_daemon()
    pair.run(300)
    pair.alpha.start_daemon()
    pair.run(20_000)
    assert "start 10.0.0.1" not in pair.jobs(pair.beta)
    assert pair.view(pair.beta).groups[0].owner == "alpha"


def test_an_address_that_was_taken_away_is_put_back() -> None:
    pair = Pair().started()
    lost_ms = pair.now_ms
    pair.alpha.lose(SHOP.resources[0])
    pair.until(lambda: "10.0.0.1" in pair.alpha.running, 100)
    assert pair.jobs(pair.alpha, lost_ms) == ["start 10.0.0.1"]
    assert pair.logged(pair.alpha, "10.0.0.1 was taken away from here: putting it back")


def test_an_address_taken_away_is_not_put_back_while_the_peer_is_silent() -> None:
    pair = Pair().started()
    pair.cut()
    pair.run(1000)
    lost_ms = pair.now_ms
    pair.alpha.lose(SHOP.resources[0])
    pair.run(700)
    assert pair.jobs(pair.alpha, lost_ms) == []
    pair.heal()
    pair.until(lambda: pair.owners() == at_home(pair.groups), 1000)


def test_an_address_taken_away_during_a_release_stays_away() -> None:
    pair = Pair().started()
    pair.alpha.troubles.slow["db.service"] = 1000
    pair.standby(pair.alpha)
    pair.run(300)
    asked_ms = pair.now_ms
    pair.alpha.lose(SHOP.resources[0])
    pair.until(lambda: pair.owners() == all_on("beta"), 3000)
    pair.run(1000)
    assert not any(job.startswith("start") for job in pair.jobs(pair.alpha, asked_ms))


def test_an_address_lost_while_muted_comes_back_only_after_the_peer_was_asked() -> None:
    pair = Pair().started()
    pair.alpha.freeze()
    pair.alpha.lose(SHOP.resources[0])
    pair.run(1850)
    woke_ms = pair.now_ms
    pair.cut()
    pair.alpha.thaw()
    pair.run(500)
    assert "start 10.0.0.1" not in pair.jobs(pair.alpha, woke_ms)


def test_the_reason_of_a_group_that_did_not_start_names_the_resource() -> None:
    pair = Pair()
    pair.alpha.troubles.start_fails.add("web.service")
    pair.alpha.start_daemon()
    pair.beta.start_daemon()
    pair.until(lambda: pair.owners() == all_on("beta"), 3000)
    pair.run(500)
    assert "it did not start here: web did not start" in pair.view(pair.alpha).groups[0].reason
