"""Others take resources away where they belong, or start them where they do not (rules 19 and 20)."""

from __future__ import annotations

from itertools import pairwise

import pytest

from hbd.core.events import Condition, Freeze, ResourceSeen, SeenTogether, Stop, Thaw
from hbd.core.views import GroupState, GroupView
from hbd.sim.machines import Machine
from tests.scenarios.pair import SHOP, Pair, address, all_on, at_home, group, unit

ADDRESS, WEB, DB = SHOP.resources
STRAY = "Resource {} is active, and should not be!"


def shop(pair: Pair, node: Machine) -> GroupView:
    return next(group for group in pair.view(node).groups if group.name == SHOP.name)


# ---------------------------------------------------------------- taken away where it belongs


def test_an_address_that_was_taken_away_is_put_back_at_once_with_one_line() -> None:
    pair = Pair().started()
    lost_ms = pair.now_ms
    pair.alpha.lose(ADDRESS)
    assert pair.until(lambda: ADDRESS.identity in pair.alpha.running, 100) <= 5
    pair.run(1000)
    assert pair.jobs(pair.alpha, lost_ms) == ["start 10.0.0.1"]
    assert pair.log(pair.alpha, lost_ms)[1:] == [
        "10.0.0.1 was taken away from here: putting it back", "10.0.0.1 runs",
    ]  # fmt: skip
    assert pair.said("alpha", lost_ms) == [], "the peer is not troubled with it"


def test_many_addresses_that_were_taken_away_at_once_are_put_back_with_one_line() -> None:
    addresses = [address(f"10.0.1.{last}") for last in range(1, 101)]
    groups = (group("alpha", *addresses[:99], unit("web")), group("alpha", addresses[99]))
    pair = Pair(groups=groups).started()
    lost_ms = pair.now_ms
    for each in addresses:
        pair.alpha.take_away(each)
    pair.alpha.post(SeenTogether(tuple(ResourceSeen(each, Condition.STOPPED) for each in addresses)))
    pair.until(lambda: pair.owners() == dict.fromkeys(pair.owners(), "alpha"), 3000)
    pair.run(1000)
    assert all(each.identity in pair.alpha.running for each in addresses)
    lost = [line for line in pair.log(pair.alpha, lost_ms) if "taken away" in line]
    assert lost == [
        "10.0.1.1, 10.0.1.2, 10.0.1.3 and 97 others, each was taken away from here: putting it back"
    ]
    assert len(pair.jobs(pair.alpha, lost_ms)) == 100


def test_an_address_that_is_not_as_it_was_put_on_is_put_right_and_the_line_says_what_was_wrong() -> None:
    pair = Pair().started()
    lost_ms = pair.now_ms
    pair.alpha.take_away(ADDRESS)
    wrong = "has the prefix length 32 here now, and not 24"
    pair.alpha.post(ResourceSeen(ADDRESS, Condition.STOPPED, wrong))
    pair.run(1000)
    assert pair.jobs(pair.alpha, lost_ms) == ["start 10.0.0.1"]
    assert f"10.0.0.1 {wrong}: putting it right" in pair.log(pair.alpha, lost_ms)


def test_a_unit_that_ended_is_started_again_in_place_and_nothing_else_is_touched() -> None:
    pair = Pair().started()
    lost_ms = pair.now_ms
    pair.alpha.lose(WEB)
    pair.until(lambda: WEB.identity in pair.alpha.running, 100)
    pair.run(1000)
    assert pair.jobs(pair.alpha, lost_ms) == ["start web.service"]
    assert pair.times_logged(pair.alpha, "web has ended here", lost_ms) == 1
    assert pair.owners() == at_home(pair.groups)
    view = shop(pair, pair.alpha)
    assert view.state is GroupState.STARTED
    assert "web has ended here" in view.resources[1].last_error, "what was can still be read"


def test_what_is_taken_away_again_and_again_is_put_back_ever_more_slowly_and_never_given_up() -> None:
    pair = Pair().started()
    began_ms = pair.now_ms
    for _ in range(9):
        pair.until(lambda: ADDRESS.identity in pair.alpha.running, 61_000)
        pair.run(300)
        pair.alpha.lose(ADDRESS)
    pair.until(lambda: ADDRESS.identity in pair.alpha.running, 61_000)
    starts = [line.ms for line in pair.lines if line.ms >= began_ms and line.what == "> start 10.0.0.1"]
    waits = [round((after - before) / 1000) for before, after in pairwise(starts)]
    assert waits == [0, 0, 10, 20, 40, 60, 60, 60]
    assert pair.times_logged(pair.alpha, "10.0.0.1 was taken away from here: putting it back", began_ms) == 3
    assert pair.logged(pair.alpha, "10.0.0.1 was taken away from here, for the 4th time in a short while: ")
    assert pair.owners() == at_home(pair.groups)


def test_while_it_waits_the_group_is_shown_as_failed_on_both_nodes_and_can_be_moved() -> None:
    pair = Pair().started()
    for _ in range(4):
        pair.until(lambda: WEB.identity in pair.alpha.running, 100)
        pair.run(500)
        pair.alpha.lose(WEB)
    pair.run(1000)
    for node in pair.machines.values():
        assert (shop(pair, node).state, shop(pair, node).owner) == (GroupState.FAILED, "alpha")
    ours = shop(pair, pair.alpha)
    assert [r.state for r in ours.resources] == [GroupState.STARTED, GroupState.FAILED, GroupState.STARTED]
    assert "for the 4th time" in ours.resources[1].last_error
    # A standby needs nobody's repair.
    pair.standby(pair.alpha)
    pair.until(lambda: pair.owners() == all_on("beta"), 3000)
    pair.run(500)
    assert shop(pair, pair.alpha).state is GroupState.STARTED


def test_after_a_calm_time_the_pace_begins_anew() -> None:
    pair = Pair().started()
    for _ in range(3):
        pair.alpha.lose(WEB)
        pair.run(500)
    pair.run(200_000)
    lost_ms = pair.now_ms
    pair.alpha.lose(WEB)
    pair.until(lambda: WEB.identity in pair.alpha.running, 100)
    assert pair.never_logged(pair.alpha, "web has ended here, for the", lost_ms)


def test_a_unit_that_does_not_start_again_leaves_the_rest_running_and_is_tried_again() -> None:
    pair = Pair().started()
    pair.alpha.troubles.start_fails.add(WEB.identity)
    lost_ms = pair.now_ms
    pair.alpha.lose(WEB)
    pair.run(5000)
    assert pair.jobs(pair.alpha, lost_ms) == ["start web.service"]
    assert {ADDRESS.identity, DB.identity} <= set(pair.alpha.running)
    assert pair.logged(pair.alpha, "web could not be put back; group 10.0.0.1 goes on without it, and it is")
    assert shop(pair, pair.beta).state is GroupState.FAILED
    pair.alpha.troubles.start_fails.clear()
    pair.until(lambda: pair.owners() == at_home(pair.groups), 10_000)
    pair.run(1000)
    assert shop(pair, pair.beta).state is GroupState.STARTED


def test_an_address_that_cannot_be_put_back_moves_the_group_to_a_node_that_can_serve_it() -> None:
    pair = Pair().started()
    pair.alpha.troubles.start_fails.add(ADDRESS.identity)
    pair.alpha.lose(ADDRESS)
    pair.until(lambda: pair.owners()[SHOP.key] == "beta", 3000)


def test_an_address_that_cannot_be_put_back_is_tried_again_where_nobody_else_can_serve_it() -> None:
    pair = Pair().started()
    pair.ask(pair.beta, Stop())
    pair.until(lambda: pair.owners() == all_on("alpha"), 3000)
    pair.run(3000)
    pair.alpha.troubles.start_fails.add(ADDRESS.identity)
    pair.alpha.lose(ADDRESS)
    pair.run(5000)
    assert {WEB.identity, DB.identity} <= set(pair.alpha.running)
    pair.alpha.troubles.start_fails.clear()
    pair.until(lambda: pair.owners() == all_on("alpha"), 10_000)


def test_a_unit_lost_while_another_is_being_put_back_comes_back_too() -> None:
    pair = Pair().started()
    pair.alpha.troubles.slow[WEB.identity] = 2000
    pair.alpha.lose(WEB)
    pair.run(100)
    pair.alpha.lose(ADDRESS)
    pair.alpha.lose(DB)
    pair.until(lambda: pair.owners() == at_home(pair.groups), 5000)


def test_who_puts_it_back_before_us_spares_us_the_work() -> None:
    pair = Pair().started()
    for _ in range(4):
        pair.until(lambda: WEB.identity in pair.alpha.running, 100)
        pair.run(500)
        pair.alpha.lose(WEB)
    pair.run(100)
    assert shop(pair, pair.alpha).state is GroupState.FAILED
    back_ms = pair.now_ms
    pair.alpha.appear(WEB)
    pair.run(15_000)
    assert shop(pair, pair.beta).state is GroupState.STARTED
    assert pair.jobs(pair.alpha, back_ms) == []


def test_what_waited_is_not_put_back_while_nobody_knows_what_the_other_node_does() -> None:
    pair = Pair().started()
    for _ in range(4):
        pair.until(lambda: ADDRESS.identity in pair.alpha.running, 100)
        pair.run(500)
        pair.alpha.lose(ADDRESS)
    lost_ms = pair.now_ms
    pair.run(9000)
    pair.cut()
    pair.run(1500)
    assert pair.jobs(pair.alpha, lost_ms) == [], "it was due in the silence"
    pair.twice_allowed = True
    pair.until(lambda: ADDRESS.identity in pair.alpha.running, 1000)
    assert pair.logged(pair.alpha, "node beta: is dead") > lost_ms


def test_nothing_is_put_back_after_the_release_has_begun() -> None:
    pair = Pair().started()
    pair.alpha.troubles.slow[DB.identity] = 1000
    pair.standby(pair.alpha)
    pair.run(300)
    asked_ms = pair.now_ms
    pair.alpha.lose(WEB)
    pair.until(lambda: pair.owners() == all_on("beta"), 5000)
    assert not any(job.startswith("start") for job in pair.jobs(pair.alpha, asked_ms))


# ---------------------------------------------------------------- started where it does not belong


@pytest.mark.parametrize("resource", [WEB, ADDRESS])
def test_what_somebody_starts_on_the_node_that_does_not_own_it_is_stopped_again_and_said(
    resource: object,
) -> None:
    pair = Pair().started()
    pair.twice_allowed = True
    assert resource in (WEB, ADDRESS)
    stray = WEB if resource == WEB else ADDRESS
    began_ms = pair.now_ms
    pair.beta.appear(stray)
    pair.until(lambda: stray.identity not in pair.beta.running, 100)
    pair.run(1000)
    said = f"{STRAY.format(stray.name)} alpha holds its group: stopping it"
    assert pair.times_logged(pair.beta, said, began_ms) == 1
    assert len(pair.jobs(pair.beta, began_ms)) == 1
    assert pair.owners() == at_home(pair.groups)
    assert pair.jobs(pair.alpha, began_ms) == []


def test_an_address_on_the_loopback_interface_answers_nobody_and_is_left_there() -> None:
    pair = Pair().started()
    began_ms = pair.now_ms
    pair.beta.see(ADDRESS, running=True, aside=True)
    pair.run(2000)
    assert (pair.jobs(pair.beta, began_ms), pair.log(pair.beta, began_ms)) == ([], [])


def test_what_runs_when_hbd_starts_and_the_peer_owns_is_said_never_claimed_and_then_stopped() -> None:
    pair = Pair().started()
    pair.ask(pair.beta, Stop())
    pair.run(5000)
    pair.beta.appear(DB)
    pair.beta.start_daemon()
    began_ms = pair.now_ms
    pair.until(lambda: DB.identity not in pair.beta.running, 12_000)
    assert pair.logged(pair.beta, STRAY.format("db"), began_ms)
    assert pair.owners()[SHOP.key] == "alpha"


def test_what_runs_while_nobody_is_known_to_own_it_is_said_once_and_left_alone() -> None:
    pair = Pair().started()
    for node in pair.machines.values():
        node.troubles.start_fails.add(ADDRESS.identity)
    pair.standby(pair.alpha)
    pair.until(lambda: shop(pair, pair.alpha).state is GroupState.FAILED, 10_000)
    pair.run(1000)
    began_ms = pair.now_ms
    pair.alpha.appear(WEB)
    pair.run(5000)
    assert WEB.identity in pair.alpha.running
    assert pair.times_logged(pair.alpha, STRAY.format("web"), began_ms) == 1
    assert pair.jobs(pair.alpha, began_ms) == []


def test_a_stray_is_not_stopped_while_the_owner_is_not_heard_and_is_ours_once_the_owner_is_dead() -> None:
    pair = Pair().started()
    pair.twice_allowed = True
    pair.cut()
    pair.run(600)
    began_ms = pair.now_ms
    pair.beta.appear(WEB)
    pair.run(800)
    assert pair.jobs(pair.beta, began_ms) == []
    pair.alpha.power_off()
    pair.until(lambda: pair.owners() == all_on("beta"), 5000)
    assert "stop web.service" not in pair.jobs(pair.beta, began_ms)


def test_the_stop_of_a_stray_never_ends_what_we_start_ourselves_meanwhile() -> None:
    pair = Pair().started()
    pair.twice_allowed = True
    pair.beta.troubles.slow[WEB.identity] = 2500
    pair.beta.appear(WEB)
    pair.run(50)
    pair.alpha.power_off()
    pair.until(lambda: pair.owners() == all_on("beta"), 10_000)
    pair.run(10_000)
    assert pair.owners() == all_on("beta")


def test_a_stray_that_comes_again_and_again_is_stopped_ever_more_slowly() -> None:
    pair = Pair().started()
    began_ms = pair.now_ms
    for _ in range(5):
        pair.beta.appear(WEB)
        pair.until(lambda: WEB.identity not in pair.beta.running, 61_000)
        pair.run(100)
    said = f"{STRAY.format('web')} alpha holds its group: stopping it"
    assert pair.times_logged(pair.beta, said, began_ms) == 5
    assert pair.times_logged(pair.beta, f"{said} in 10 s, for somebody starts it again", began_ms) == 1
    assert 29_000 < pair.now_ms - began_ms < 33_000


def test_a_stray_that_does_not_stop_is_said_and_tried_again() -> None:
    pair = Pair().started()
    pair.beta.troubles.stop_fails[WEB.identity] = 1
    pair.beta.appear(WEB)
    pair.run(5000)
    assert pair.logged(pair.beta, "web should not run here and did not stop: it does not end; trying again")
    pair.until(lambda: WEB.identity not in pair.beta.running, 20_000)


# ---------------------------------------------------------------- while the cluster is frozen


def test_while_frozen_it_is_said_and_shown_and_put_right_only_after_the_thaw() -> None:
    pair = Pair().started()
    pair.ask(pair.alpha, Freeze())
    pair.run(1000)
    pair.twice_allowed = True
    began_ms = pair.now_ms
    pair.alpha.lose(WEB)
    pair.beta.appear(DB)
    pair.run(5000)
    assert (pair.jobs(pair.alpha, began_ms), pair.jobs(pair.beta, began_ms)) == ([], [])
    assert pair.times_logged(pair.alpha, "web has ended or was taken away here; the cl", began_ms) == 1
    assert pair.times_logged(pair.beta, "db was started, and does not belong, here; the clus", began_ms) == 1
    view = shop(pair, pair.alpha)
    assert (view.state, view.resources[1].state) == (GroupState.FAILED, GroupState.STOPPED)
    pair.ask(pair.alpha, Thaw())
    pair.until(lambda: pair.owners() == at_home(pair.groups) and DB.identity not in pair.beta.running, 3000)
    assert pair.jobs(pair.alpha, began_ms) == ["start web.service"]
    assert pair.jobs(pair.beta, began_ms) == ["stop db.service"]


def overlap(pair: Pair, within_ms: int) -> set[str]:
    """What both nodes run at the same time, by whosever doing."""
    twice: set[str] = set()
    for _ in range(within_ms):
        pair.run(1)
        twice |= pair.alpha.running.keys() & pair.beta.running.keys()
    return twice


@pytest.mark.parametrize("word_of", ["alpha", "beta"])
def test_what_hands_have_moved_in_a_freeze_is_stopped_there_before_it_is_started_here_after_the_thaw(
    word_of: str,
) -> None:
    pair = Pair().started()
    pair.ask(pair.alpha, Freeze())
    pair.run(1000)
    for resource in reversed(SHOP.resources):
        pair.alpha.lose(resource)
    for resource in SHOP.resources:
        pair.beta.appear(resource)
    pair.run(1000)
    pair.beta.troubles.slow[DB.identity] = 700
    pair.ask(pair.machines[word_of], Thaw())
    assert overlap(pair, 2000) == set()
    assert pair.owners() == at_home(pair.groups)


def test_what_somebody_runs_elsewhere_is_stopped_there_before_a_lost_one_is_put_back() -> None:
    pair = Pair().started()
    pair.alpha.lose(DB)
    pair.run(100)
    pair.beta.troubles.slow[DB.identity] = 500
    pair.beta.appear(DB)
    pair.run(100)
    pair.alpha.lose(DB)
    pair.run(1)
    assert overlap(pair, 1500) == set()
    assert pair.owners() == at_home(pair.groups)


def test_a_lost_one_is_put_back_all_the_same_when_the_stray_elsewhere_does_not_stop() -> None:
    pair = Pair().started()
    pair.beta.troubles.stop_fails[DB.identity] = 2
    pair.beta.appear(DB)
    pair.run(5)
    pair.alpha.lose(DB)
    pair.until(lambda: DB.identity in pair.alpha.running, 1000)
    pair.until(lambda: DB.identity not in pair.beta.running, 61_000)


def test_a_stop_of_a_stray_whose_end_is_never_told_keeps_the_owner_waiting_for_so_long_only() -> None:
    pair = Pair().started()
    pair.beta.troubles.slow[DB.identity] = 500
    pair.beta.appear(DB)
    pair.run(50)
    pair.beta.forget_jobs()
    pair.run(1000)
    assert DB.identity not in pair.beta.running
    lost_ms = pair.now_ms
    pair.alpha.lose(ADDRESS)
    pair.run(30_000)
    assert ADDRESS.identity not in pair.alpha.running
    pair.until(lambda: ADDRESS.identity in pair.alpha.running, 5000)
    text = "db should not run here and did not stop: the end of its stop was not told; trying again in 10 s"
    assert pair.logged(pair.beta, text, lost_ms)
