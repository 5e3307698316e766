"""How a node of an hbd pair leaves, in order or not, and what it finds when it returns."""

from __future__ import annotations

from dataclasses import replace

import pytest

from hbd.core.events import Stop
from hbd.core.views import ClusterState, NodeStatus
from tests.scenarios.pair import SHOP_KEY, TIMING, Pair, all_on, at_home


def test_a_clean_stop_hands_over_long_before_deadtime() -> None:
    pair = Pair().started()
    asked_ms = pair.now_ms
    pair.ask(pair.alpha, Stop())
    took_ms = pair.until(lambda: pair.owners() == all_on("beta"), 1000)
    assert took_ms < 300
    assert pair.jobs(pair.alpha, asked_ms) == ["stop db.service", "stop web.service", "stop 10.0.0.1"]
    assert pair.jobs(pair.beta, asked_ms) == ["start 10.0.0.1", "start web.service", "start db.service"]
    pair.until(lambda: pair.alpha.quit, 3000)
    pair.run(4000)
    assert pair.logged(pair.beta, "Dead node alpha gave up resources.")
    assert pair.never_logged(pair.beta, "Resources being acquired from alpha.")


def test_goodbye_is_said_only_after_the_last_stop_is_confirmed() -> None:
    pair = Pair().started()
    pair.alpha.troubles.slow["10.0.0.1"] = 2500
    asked_ms = pair.now_ms
    pair.ask(pair.alpha, Stop())
    pair.run(2000)
    assert "shutdone" not in pair.said("alpha", asked_ms)
    assert not any("none" in said for said in pair.said("alpha", asked_ms))
    assert pair.jobs(pair.beta, asked_ms) == []
    assert pair.view(pair.alpha).state is ClusterState.STOPPING
    pair.until(lambda: pair.owners() == all_on("beta"), 2000)
    stopped_ms = pair.job_ms(pair.alpha, "stop 10.0.0.1", asked_ms) + 2501
    assert pair.said_ms("alpha", "shutdone", asked_ms) >= stopped_ms
    assert pair.said("alpha", asked_ms)[-2:] == ["resource none 0 shutdown", "shutdone"]


def test_a_second_stop_and_any_other_wish_change_nothing_while_leaving() -> None:
    pair = Pair().started()
    asked_ms = pair.now_ms
    assert pair.ask(pair.alpha, Stop()).refused is None
    assert pair.ask(pair.alpha, Stop()).refused is None
    assert pair.standby(pair.alpha).refused == "hbd is being stopped"
    assert pair.takeover(pair.alpha).refused == "hbd is being stopped"
    pair.until(lambda: pair.alpha.quit, 3000)
    assert pair.jobs(pair.alpha, asked_ms) == ["stop db.service", "stop web.service", "stop 10.0.0.1"]


def test_a_node_stopped_before_communication_is_up_leaves_at_once() -> None:
    pair = Pair()
    pair.alpha.start_daemon()
    pair.run(500)
    pair.ask(pair.alpha, Stop())
    pair.until(lambda: pair.alpha.quit, 100)
    assert pair.jobs(pair.alpha) == []


def test_both_nodes_can_be_stopped_at_once() -> None:
    pair = Pair().started()
    pair.ask(pair.alpha, Stop())
    pair.ask(pair.beta, Stop())
    pair.until(lambda: pair.alpha.quit and pair.beta.quit, 5000)
    assert pair.alpha.running == pair.beta.running == {}


def test_killed_and_restarted_within_the_peers_patience_it_adopts_what_runs_and_nobody_notices() -> None:
    pair = Pair().started()
    killed_ms = pair.now_ms
    pair.alpha.kill_daemon()
    pair.run(900)
    pair.alpha.start_daemon()
    pair.run(4000)
    assert pair.owners() == at_home(pair.groups)
    assert pair.jobs(pair.alpha, killed_ms) == pair.jobs(pair.beta, killed_ms) == []
    assert pair.logged(pair.beta, "Heartbeat restart on node alpha", killed_ms)
    assert pair.never_logged(pair.beta, "node alpha: is dead")
    assert pair.logged(pair.alpha, "group 10.0.0.1 was started by an earlier hbd and runs", killed_ms)
    assert pair.view(pair.alpha).state is ClusterState.STABLE


def test_a_restarted_node_says_nothing_of_its_groups_before_every_member_was_probed() -> None:
    pair = Pair().started()
    pair.alpha.kill_daemon()
    pair.run(100)
    pair.alpha.start_daemon()
    reports = [(message.text("hbd") or "").split(" ") for _, message in pair.statuses("alpha", pair.now_ms)]
    assert reports
    assert all(report[4:] == ["?", report[5]] for report in reports)
    assert "a" not in reports[-1][5]
    pair.run(100)
    report = (pair.statuses("alpha")[-1][1].text("hbd") or "").split(" ")
    assert [word.rpartition(",")[2] for word in report[6:]] == ["10.0.0.1", "10.0.0.2"][: len(report) - 6]


def test_restarted_too_late_it_takes_its_addresses_off_and_loses_to_the_peer_that_took_over() -> None:
    pair = Pair().started()
    pair.twice_allowed = True
    pair.alpha.kill_daemon()
    pair.until(lambda: pair.owners()[SHOP_KEY] == "alpha+beta", 3000)
    back_ms = pair.now_ms
    pair.alpha.start_daemon()
    pair.until(lambda: "10.0.0.1" not in pair.alpha.running, 50)
    assert pair.jobs(pair.alpha, back_ms)[0] == "drop 10.0.0.1"
    pair.run(3000)
    assert pair.owners() == all_on("beta")
    assert pair.jobs(pair.beta, back_ms) == ["announce 10.0.0.1"]
    assert pair.jobs(pair.alpha, back_ms) == ["drop 10.0.0.1", "stop db.service", "stop web.service"]


def test_restarted_late_while_nobody_took_over_it_gets_its_addresses_back_when_it_has_asked() -> None:
    pair = Pair().started()
    pair.alpha.kill_daemon()
    pair.run(1790)  # longer than a heartbeat may be late, but beta has not yet buried it
    back_ms = pair.now_ms
    pair.alpha.start_daemon()
    pair.run(2000)
    assert pair.owners() == at_home(pair.groups)
    assert pair.never_logged(pair.beta, "node alpha: is dead")
    assert pair.jobs(pair.alpha, back_ms) == ["drop 10.0.0.1", "start 10.0.0.1"]
    kept = "group 10.0.0.1 was started by an earlier hbd and runs: kept unless the peer claims it"
    away = "no hbd was healthy here for longer than the peer waits"
    off = "its addresses are off until the peer was asked"
    assert pair.logged(pair.alpha, f"{kept}; {away}: {off}", back_ms)


@pytest.mark.parametrize("keepalive_ms", [200, 1000])
def test_restarted_with_a_longer_deadtime_it_goes_by_the_old_one_until_the_peer_knows(
    keepalive_ms: int,
) -> None:
    pair = Pair().started()
    pair.alpha.kill_daemon()
    patient = replace(TIMING, keepalive_ms=keepalive_ms, deadtime_ms=10_000, initdead_ms=20_000)
    pair.alpha.config = replace(pair.alpha.config, timing=patient)
    pair.cut_from("alpha")
    pair.run(500)
    back_ms = pair.now_ms
    pair.alpha.start_daemon()
    # Nobody may have an address twice: it hears its peer, which does not hear it.
    pair.until(lambda: pair.owners()[SHOP_KEY] == "beta", 3000)
    assert pair.logged(pair.alpha, "beta is heard but has not heard this node for", back_ms)
    pair.heal()
    pair.run(3000)
    assert pair.owners() == all_on("beta")


def test_killed_once_more_before_the_peer_knows_the_longer_deadtime_it_is_late_by_the_old_one() -> None:
    pair = Pair().started()
    pair.alpha.kill_daemon()
    patient = replace(TIMING, deadtime_ms=10_000, initdead_ms=20_000)
    pair.alpha.config = replace(pair.alpha.config, timing=patient)
    pair.cut_from("alpha")
    pair.run(500)
    pair.alpha.start_daemon()
    pair.run(500)
    pair.alpha.kill_daemon()
    pair.twice_allowed = True
    pair.until(lambda: pair.view(pair.beta).nodes[0].status is NodeStatus.DEAD, 2000)
    pair.run(500)
    back_ms = pair.now_ms
    pair.alpha.start_daemon()
    pair.run(10)
    assert pair.jobs(pair.alpha, back_ms)[0] == "drop 10.0.0.1"


def test_what_was_being_stopped_when_the_daemon_was_killed_is_stopped_further() -> None:
    pair = Pair().started()
    pair.alpha.troubles.slow["web.service"] = 1000
    pair.standby(pair.alpha)
    pair.until(lambda: "stop web.service" in pair.jobs(pair.alpha), 500)
    pair.alpha.kill_daemon()
    pair.run(200)
    pair.alpha.start_daemon()
    pair.until(lambda: not pair.alpha.running, 4000)
    assert "start 10.0.0.1" not in pair.jobs(pair.alpha)[3:]
    pair.run(3000)
    assert all(owner in ("alpha", "beta") for owner in pair.owners().values())


def test_what_runs_unrecorded_is_reported_and_never_claimed() -> None:
    pair = Pair()
    for resource in pair.groups[0].resources[:2]:
        pair.alpha.running[resource.identity] = resource
    pair.alpha.start_daemon()
    pair.run(50)
    assert pair.logged(pair.alpha, "Resource 10.0.0.1 is active, and should not be!") < 50
    assert pair.logged(pair.alpha, "Resource web is active, and should not be!") < 50
    assert not any("r,0,10.0.0.1" in (m.text("hbd") or "") for _, m in pair.statuses("alpha"))


def test_a_node_that_stood_still_takes_its_addresses_off_before_anything_else() -> None:
    pair = Pair().started()
    pair.twice_allowed = True
    pair.alpha.freeze()
    pair.until(lambda: pair.owners()[SHOP_KEY] == "alpha+beta", 3000)
    woke_ms = pair.now_ms
    pair.alpha.thaw()
    pair.until(lambda: "10.0.0.1" not in pair.alpha.running, 20)
    assert pair.jobs(pair.alpha, woke_ms)[0] == "drop 10.0.0.1"
    pair.run(3000)
    assert pair.owners() == all_on("beta")


def test_a_late_tick_within_patience_costs_nothing() -> None:
    pair = Pair().started()
    pair.alpha.freeze()
    pair.run(1000)
    froze_ms = pair.now_ms
    pair.alpha.thaw()
    pair.run(3000)
    assert pair.jobs(pair.alpha, froze_ms) == []
    assert pair.jobs(pair.beta, froze_ms) == []
    assert pair.logged(pair.beta, "Late heartbeat: Node alpha")


def test_a_node_that_was_away_too_long_but_not_buried_serves_again_after_one_round_trip() -> None:
    pair = Pair().started()
    pair.alpha.freeze()
    pair.run(1850)  # beta would bury it a moment later
    woke_ms = pair.now_ms
    pair.alpha.thaw()
    pair.until(lambda: pair.jobs(pair.alpha, woke_ms) == ["drop 10.0.0.1", "start 10.0.0.1"], 100)
    pair.run(2000)
    assert pair.owners() == at_home(pair.groups)
    assert pair.never_logged(pair.beta, "node alpha: is dead")


@pytest.mark.parametrize("lost_ms", [0, 250, 700])
def test_goodbye_is_heard_although_the_first_copies_are_lost(lost_ms: int) -> None:
    pair = Pair().started()
    asked_ms = pair.now_ms
    pair.ask(pair.alpha, Stop())
    pair.lost = lambda sender, message: sender == "alpha" and pair.now_ms < asked_ms + 60 + lost_ms
    took_ms = pair.until(lambda: pair.owners() == all_on("beta"), 2500)
    assert took_ms < 400 + lost_ms + 400
