"""While the cluster is frozen nothing is started, stopped or moved, whatever dies; the thaw serves all again.

See ARCHITECTURE.md, "Freeze".
"""

from __future__ import annotations

from dataclasses import replace

import pytest

from hbd.config.model import AutoFailback, Client, Place
from hbd.core.effects import ArmLease, Device, DisarmLease, Effect, Note, Reboot
from hbd.core.events import ClientEnded, ConfirmDead, Event, Freeze, Reload, Scope, Stop, Thaw, Tick
from hbd.core.records import Decision, Record
from hbd.sim.machines import Machine
from tests.scenarios.pair import (
    FILES,
    FILES_KEY,
    GROUPS,
    SHOP,
    SHOP_KEY,
    Pair,
    address,
    all_on,
    at_home,
    reconfigured,
    unit,
)
from tests.scenarios.puppet import Puppet


def frozen(pair: Pair) -> Pair:
    """Frozen at alpha, and both know it."""
    assert pair.ask(pair.alpha, Freeze()).refused is None
    pair.until(lambda: agreed(pair.alpha, pair.beta), 1000)
    return pair


def agreed(*machines: Machine) -> bool:
    views = [machine.core.view() for machine in machines if machine.core is not None]
    return len(views) == len(machines) and all(view.frozen and view.freeze_agreed for view in views)


def all_thawed(*machines: Machine) -> bool:
    views = [machine.core.view() for machine in machines if machine.core is not None]
    return len(views) == len(machines) and all(not view.frozen and view.freeze_agreed for view in views)


def nothing_began(pair: Pair, since_ms: int) -> bool:
    return not pair.jobs(pair.alpha, since_ms) and not pair.jobs(pair.beta, since_ms)


# ---------------------------------------------------------------- both nodes, either way


def test_a_freeze_on_one_node_is_known_to_both_within_round_trips() -> None:
    pair = Pair().started()
    pair.ask(pair.alpha, Freeze())
    assert pair.view(pair.alpha).frozen
    assert not pair.view(pair.alpha).freeze_agreed
    assert pair.until(lambda: agreed(pair.alpha, pair.beta), 1000) <= 10


def test_either_node_may_thaw_what_the_other_froze() -> None:
    pair = frozen(Pair().started())
    pair.ask(pair.beta, Thaw())
    pair.until(lambda: all_thawed(pair.alpha, pair.beta), 1000)
    pair.logged(pair.alpha, "beta says that the cluster is thawed")


def test_a_thaw_where_nothing_is_frozen_changes_nothing() -> None:
    pair = Pair().started()
    assert pair.ask(pair.alpha, Thaw()).refused is None
    pair.run(1000)
    assert all_thawed(pair.alpha, pair.beta)
    assert pair.never_logged(pair.alpha, "an operator thawed")


def test_a_freeze_that_the_peer_does_not_know_of_is_shown_as_such() -> None:
    pair = Pair().started()
    pair.beta.power_off()
    pair.until(lambda: pair.owners() == all_on("alpha"), 4000)
    pair.ask(pair.alpha, Freeze())
    pair.run(1000)
    view = pair.view(pair.alpha)
    assert (view.frozen, view.freeze_agreed) == (True, False)
    assert view.degraded == (
        "frozen, but beta has not confirmed that it knows: it may take over what runs here",
    )
    pair.beta.power_on()
    pair.until(lambda: agreed(pair.alpha, pair.beta), 2000)
    assert pair.view(pair.alpha).degraded == ()


def test_a_node_that_was_cut_off_learns_of_the_freeze_when_it_is_heard_again() -> None:
    pair = Pair().started()
    pair.cut()
    pair.run(500)
    pair.ask(pair.alpha, Freeze())
    pair.run(500)
    assert not pair.view(pair.beta).frozen
    pair.heal()
    pair.until(lambda: agreed(pair.alpha, pair.beta), 1000)


def test_of_a_freeze_and_a_thaw_the_later_one_wins_also_over_a_cut() -> None:
    pair = frozen(Pair().started())
    pair.cut()
    pair.run(300)
    pair.ask(pair.beta, Thaw())
    pair.ask(pair.alpha, Freeze())  # Counts anew: what beta's operator undid was another freeze.
    pair.run(100)
    pair.heal()
    pair.until(lambda: agreed(pair.alpha, pair.beta), 1000)


def test_a_thaw_reaches_a_node_that_was_restarted_meanwhile() -> None:
    pair = frozen(Pair().started())
    pair.beta.kill_daemon()
    pair.run(100)
    pair.ask(pair.alpha, Thaw())
    pair.run(100)
    pair.beta.start_daemon()
    pair.until(lambda: all_thawed(pair.alpha, pair.beta), 3000)
    assert pair.owners() == at_home(GROUPS)


# ---------------------------------------------------------------- nothing begins


def test_a_dead_node_is_not_taken_over_from_and_after_an_oath_and_the_thaw_it_is() -> None:
    pair = frozen(Pair().started())
    died_ms = pair.now_ms
    pair.beta.power_off()
    pair.run(30_000)
    pair.logged(pair.alpha, "The cluster is frozen: nothing is taken over from beta.", died_ms)
    assert nothing_began(pair, died_ms)
    assert pair.ask(pair.alpha, ConfirmDead("beta")).refused is None
    pair.run(1000)
    assert nothing_began(pair, died_ms)
    pair.ask(pair.alpha, Thaw())
    assert pair.until(lambda: pair.owners() == all_on("alpha"), 500) < 200
    assert pair.view(pair.alpha).degraded == ()


def test_a_node_that_boots_while_the_cluster_is_frozen_starts_nothing() -> None:
    pair = frozen(Pair().started())
    pair.beta.power_off()
    pair.run(5000)
    booted_ms = pair.now_ms
    pair.beta.power_on()
    pair.run(20_000)
    pair.logged(pair.beta, "the cluster is frozen since before this start", booted_ms)
    assert nothing_began(pair, booted_ms)
    pair.ask(pair.beta, Thaw())
    pair.until(lambda: pair.owners() == at_home(GROUPS), 1000)


def test_two_nodes_that_both_boot_frozen_start_nothing_until_one_is_thawed() -> None:
    pair = frozen(Pair().started())
    for machine in (pair.alpha, pair.beta):
        machine.power_off()
    pair.run(100)
    booted_ms = pair.now_ms
    for machine in (pair.alpha, pair.beta):
        machine.power_on()
    pair.run(20_000)
    assert nothing_began(pair, booted_ms)
    pair.ask(pair.alpha, Thaw())
    pair.until(lambda: pair.owners() == at_home(GROUPS), 1000)


def test_the_home_node_that_returns_gets_nothing_back_before_the_thaw() -> None:
    pair = Pair(AutoFailback.ON).started()
    pair.alpha.power_off()
    pair.until(lambda: pair.owners() == all_on("beta"), 4000)
    pair.ask(pair.beta, Freeze())
    pair.alpha.power_on()
    pair.run(15_000)
    assert pair.owners() == all_on("beta")
    pair.ask(pair.alpha, Thaw())
    pair.until(lambda: pair.owners() == at_home(GROUPS), 1000)


def test_standby_and_takeover_are_refused_and_the_sentence_says_what_ends_that() -> None:
    pair = frozen(Pair().started())
    for answer in (pair.standby(pair.alpha), pair.takeover(pair.beta, Scope.LOCAL)):
        assert answer.refused == (
            "the cluster is frozen: nothing is started, stopped or moved before it is thawed (hbctl thaw)"
        )


def test_a_lost_address_is_put_back_only_after_the_thaw() -> None:
    pair = frozen(Pair().started())
    since_ms = pair.now_ms
    pair.alpha.lose(SHOP.resources[0])
    pair.run(10_000)
    assert nothing_began(pair, since_ms)
    pair.ask(pair.alpha, Thaw())
    pair.until(lambda: pair.owners() == at_home(GROUPS), 500)


def test_a_group_that_is_caught_halfway_stays_so_and_arrives_after_the_thaw() -> None:
    pair = Pair().started()
    pair.standby(pair.alpha)
    pair.until(lambda: "stop db.service" in pair.jobs(pair.alpha, pair.now_ms - 100), 100)
    pair.ask(pair.beta, Freeze())
    pair.until(lambda: agreed(pair.alpha, pair.beta), 100)
    since_ms = pair.now_ms
    pair.run(20_000)
    assert nothing_began(pair, since_ms)
    pair.ask(pair.alpha, Thaw())
    pair.until(lambda: "+" not in pair.owners()[SHOP_KEY] and pair.owners()[SHOP_KEY] != "", 15_000)


def test_a_failed_start_is_not_followed_by_stops_before_the_thaw() -> None:
    pair = Pair().started()
    pair.alpha.troubles.start_fails.add("db.service")
    pair.takeover(pair.beta)
    pair.until(lambda: pair.owners() == all_on("beta"), 1000)
    pair.run(1000)
    pair.takeover(pair.alpha, Scope.LOCAL)
    pair.until(lambda: "start db.service" in pair.jobs(pair.alpha, pair.now_ms - 5), 2000)
    pair.ask(pair.alpha, Freeze())
    since_ms = pair.now_ms
    pair.run(5000)
    assert nothing_began(pair, since_ms + 1)
    pair.ask(pair.alpha, Thaw())
    pair.until(lambda: pair.owners() == all_on("beta"), 15_000)


def test_a_reload_while_frozen_changes_what_runs_only_after_the_thaw() -> None:
    pair = frozen(Pair().started())
    since_ms = pair.now_ms
    smaller = (replace(SHOP, resources=SHOP.resources[:2]), GROUPS[1])
    for machine in (pair.alpha, pair.beta):
        machine.config = replace(machine.config, groups=smaller)
        assert pair.ask(machine, Reload(machine.config)).refused is None
    pair.run(3000)
    assert nothing_began(pair, since_ms)
    pair.ask(pair.beta, Thaw())
    pair.until(lambda: "stop db.service" in pair.jobs(pair.alpha, since_ms), 1000)


# ---------------------------------------------------------------- stopping and restarting hbd


def test_stopping_hbd_leaves_everything_running_and_the_next_hbd_takes_it_up() -> None:
    pair = frozen(Pair().started())
    since_ms = pair.now_ms
    pair.alpha.ask(Stop())
    pair.until(lambda: pair.alpha.quit, 3000)
    pair.run(60_000)
    assert nothing_began(pair, since_ms)
    assert pair.owners() == at_home(GROUPS)
    pair.alpha.start_daemon()
    pair.until(lambda: agreed(pair.alpha, pair.beta), 3000)
    pair.run(3000)
    assert nothing_began(pair, since_ms)
    pair.ask(pair.beta, Thaw())
    pair.run(5000)
    assert pair.owners() == at_home(GROUPS)
    assert nothing_began(pair, since_ms)


def test_what_a_frozen_node_left_running_is_not_taken_over_after_a_lonely_thaw() -> None:
    pair = frozen(Pair().started())
    pair.alpha.ask(Stop())
    pair.until(lambda: pair.alpha.quit, 3000)
    pair.run(5000)
    pair.ask(pair.beta, Thaw())
    pair.run(30_000)
    assert pair.owners() == at_home(GROUPS)
    (sentence,) = pair.view(pair.beta).degraded
    assert sentence.startswith("alpha was frozen when it fell silent and may still run ip:10.0.0.1") or (
        SHOP_KEY in sentence
    )
    assert not pair.view(pair.beta).freeze_agreed
    pair.alpha.start_daemon()
    pair.until(lambda: all_thawed(pair.alpha, pair.beta), 3000)
    pair.run(3000)
    assert pair.owners() == at_home(GROUPS)


def test_also_a_restart_of_the_thawed_node_does_not_forget_what_the_frozen_one_holds() -> None:
    pair = frozen(Pair().started())
    pair.alpha.ask(Stop())
    pair.until(lambda: pair.alpha.quit, 3000)
    pair.ask(pair.beta, Thaw())
    pair.run(5000)
    pair.beta.kill_daemon()
    pair.run(100)
    pair.beta.start_daemon()
    pair.run(30_000)
    assert pair.owners() == at_home(GROUPS)
    pair.ask(pair.beta, ConfirmDead("alpha"))
    pair.twice_allowed = True  # The oath is false, and that is what it costs.
    pair.until(lambda: "beta" in pair.owners()[SHOP_KEY], 1000)


def test_a_thaw_in_the_last_moment_of_a_stop_has_everything_released() -> None:
    pair = frozen(Pair().started())
    pair.alpha.ask(Stop())
    pair.ask(pair.beta, Thaw())
    pair.until(lambda: pair.alpha.quit, 5000)
    pair.until(lambda: pair.owners() == all_on("beta"), 5000)


def test_a_kill_while_frozen_ends_nothing_and_the_next_hbd_takes_nothing_off() -> None:
    pair = frozen(Pair().started())
    since_ms = pair.now_ms
    pair.alpha.kill_daemon()
    pair.run(60_000)
    pair.alpha.start_daemon()
    pair.run(5000)
    assert nothing_began(pair, since_ms)
    assert pair.owners() == at_home(GROUPS)


def test_a_unit_that_died_meanwhile_is_started_after_the_thaw_by_a_restarted_hbd_too() -> None:
    pair = frozen(Pair().started())
    since_ms = pair.now_ms
    pair.alpha.take_away(SHOP.resources[2])
    pair.alpha.kill_daemon()
    pair.run(500)
    pair.alpha.start_daemon()
    pair.run(5000)
    assert nothing_began(pair, since_ms)
    pair.ask(pair.alpha, Thaw())
    pair.until(lambda: pair.owners() == at_home(GROUPS), 2000)


# ---------------------------------------------------------------- absence


def test_a_node_that_stood_still_in_an_agreed_freeze_keeps_its_addresses() -> None:
    pair = frozen(Pair().started())
    since_ms = pair.now_ms
    pair.alpha.freeze()
    pair.run(20_000)
    pair.alpha.thaw()
    pair.run(3000)
    assert nothing_began(pair, since_ms)
    assert pair.owners() == at_home(GROUPS)


def test_after_a_thaw_that_a_standing_node_missed_nothing_is_served_twice() -> None:
    pair = frozen(Pair().started())
    pair.alpha.freeze()
    pair.run(5000)
    pair.ask(pair.beta, Thaw())
    pair.run(20_000)
    pair.alpha.thaw()
    pair.until(lambda: all_thawed(pair.alpha, pair.beta), 3000)
    pair.run(3000)
    assert pair.owners() == at_home(GROUPS)
    assert pair.twice == []


def test_before_the_freeze_is_agreed_the_rules_of_absence_hold_and_the_addresses_come_back() -> None:
    pair = Pair().started()
    pair.alpha.freeze()
    pair.run(1500)
    pair.ask(pair.beta, Freeze())
    pair.run(300)
    pair.alpha.thaw()
    woke_ms = pair.now_ms
    pair.until(lambda: "drop 10.0.0.1" in pair.jobs(pair.alpha, woke_ms), 100)
    pair.until(lambda: pair.owners() == at_home(GROUPS), 1000)
    pair.until(lambda: agreed(pair.alpha, pair.beta), 1000)
    assert pair.jobs(pair.alpha, woke_ms) == ["drop 10.0.0.1", "start 10.0.0.1"]


def test_a_node_that_is_not_heard_keeps_its_addresses_in_an_agreed_freeze() -> None:
    pair = frozen(Pair().started())
    since_ms = pair.now_ms
    pair.cut_from("alpha")
    pair.run(10_000)
    pair.heal()
    pair.run(3000)
    assert nothing_began(pair, since_ms)


# ---------------------------------------------------------------- conflicts


def test_a_group_that_both_run_goes_on_and_is_said_loudly_and_is_settled_by_the_thaw() -> None:
    pair = Pair().started()
    pair.twice_allowed = True
    pair.cut()
    pair.until(lambda: pair.owners()[SHOP_KEY] == "alpha+beta", 4000)
    pair.run(500)
    pair.ask(pair.alpha, Freeze())
    pair.ask(pair.beta, Freeze())
    since_ms = pair.now_ms
    pair.heal()
    pair.run(10_000)
    assert pair.times_logged(pair.alpha, "group 10.0.0.1 is held by beta too. The cluster is frozen") == 1
    assert pair.times_logged(pair.beta, "group 10.0.0.1 is held by alpha too. The cluster is frozen") == 1
    assert nothing_began(pair, since_ms)
    pair.ask(pair.beta, Thaw())
    pair.until(lambda: all("+" not in owner and owner for owner in pair.owners().values()), 1000)


# ---------------------------------------------------------------- watchdogs, lease, clients


def test_the_kernel_lease_rests_while_a_freeze_is_agreed_and_comes_back_with_the_thaw() -> None:
    pair = Pair().started()
    before_ms = pair.now_ms
    frozen(pair)
    assert [e for ms, who, e in pair.leases if ms >= before_ms and who == "alpha"][-1] == DisarmLease()
    thawed_ms = pair.now_ms + 1
    pair.run(10)
    pair.ask(pair.alpha, Thaw())
    pair.run(500)
    since = [effect for ms, who, effect in pair.leases if ms >= thawed_ms and who == "alpha"]
    assert sum(isinstance(effect, ArmLease) for effect in since) == 1


def test_the_watchdog_device_is_disarmed_while_a_freeze_is_agreed() -> None:
    pair = Pair().started()
    meant: list[Device | None] = [pair.alpha.device]
    for command in (Freeze(), Thaw()):
        pair.ask(pair.alpha, command)
        pair.run(1000)
        meant.append(pair.alpha.device)
    assert meant == [Device.FED, Device.DISARMED, Device.FED]


def test_a_critical_group_that_is_blocked_starves_no_device_while_frozen() -> None:
    pair = Pair()
    pair.alpha.config = replace(pair.alpha.config, critical=(SHOP_KEY,), watchdog="/dev/watchdog")
    pair.started()
    pair.alpha.troubles.stop_fails["web.service"] = 1000
    pair.standby(pair.alpha)
    pair.until(lambda: pair.alpha.device is Device.STARVED, 30_000)
    frozen(pair).run(1000)
    assert pair.alpha.device is Device.DISARMED


def test_a_failfast_client_that_fails_while_frozen_reboots_nothing_and_is_started_again() -> None:
    pair = Pair()
    client = Client("root", "/usr/bin/vital", True, Place("ha.cf", 1, 1))
    pair.alpha.config = replace(pair.alpha.config, clients=(client,))
    frozen(pair.started())
    since_ms = pair.now_ms
    pair.alpha.post(ClientEnded(client, 1, 1, 0, 60_000))
    pair.run(5000)
    assert not pair.alpha.quit
    assert pair.alpha.reboot is Reboot.NO
    pair.logged(pair.alpha, "failfast client /usr/bin/vital has failed; frozen", since_ms)
    assert pair.alpha.clients[client.unit] == 2


# ---------------------------------------------------------------- heartbeat 3.0.6


def test_a_freeze_is_refused_beside_a_306_node() -> None:
    pair = Pair(groups=GROUPS)
    pair.alpha.start_daemon()
    puppet = Puppet(pair, "beta")
    puppet.joins()
    answer = pair.ask(pair.alpha, Freeze())
    text = "beta runs heartbeat 3.0.6, which cannot be frozen: it would go on taking over"
    assert answer.refused == text


def test_what_ran_there_frozen_is_forgotten_when_heartbeat_306_runs_there_instead() -> None:
    pair = frozen(Pair().started())
    pair.beta.ask(Stop())
    pair.until(lambda: pair.beta.quit, 3000)
    pair.beta.power_off()
    puppet = Puppet(pair, "beta").joins()
    pair.run(15_000)
    assert not pair.view(pair.alpha).frozen
    assert pair.view(pair.alpha).degraded == ()
    puppet.falls_silent()
    pair.until(lambda: pair.owners() == all_on("alpha"), 5000)


# ---------------------------------------------------------------- the word of an operator


def test_an_oath_ends_the_wait_for_initdead() -> None:
    pair = Pair()
    pair.alpha.start_daemon()
    pair.run(1000)
    assert pair.ask(pair.alpha, ConfirmDead("beta")).refused is None
    assert pair.until(lambda: pair.owners() == all_on("alpha"), 500) < 200


@pytest.mark.parametrize(
    ("node", "refusal"),
    [
        ("beta", "beta is not dead: link beta:eth0 is up"),
        ("alpha", "alpha is this node, which is not dead"),
        ("gamma", "ha.cf has no other node gamma, only beta"),
    ],
)
def test_an_oath_is_refused_with_a_reason(node: str, refusal: str) -> None:
    pair = Pair().started()
    assert pair.ask(pair.alpha, ConfirmDead(node)).refused == refusal


def test_an_oath_frees_what_a_node_with_other_haresources_may_have_held() -> None:
    pair = Pair().started()
    pair.beta.config = replace(pair.beta.config, groups=(GROUPS[1],))
    pair.ask(pair.beta, Reload(pair.beta.config))
    pair.ask(pair.beta, Freeze())
    pair.run(500)
    pair.alpha.power_off()
    pair.beta.power_off()
    pair.run(5000)
    pair.alpha.power_on()
    pair.run(100)
    pair.ask(pair.alpha, Thaw())
    pair.run(15_000)
    assert pair.owners() == {SHOP_KEY: "", FILES_KEY: ""}
    pair.ask(pair.alpha, ConfirmDead("beta"))
    pair.until(lambda: pair.owners() == all_on("alpha"), 500)


def test_an_oath_is_void_once_anything_is_heard() -> None:
    pair = frozen(Pair().started())
    pair.alpha.freeze()
    pair.run(5000)
    pair.ask(pair.beta, ConfirmDead("alpha"))
    pair.run(100)
    pair.alpha.thaw()
    pair.run(1000)
    pair.logged(pair.beta, "alpha was confirmed dead by an operator and is heard: the confirmation is void")
    pair.alpha.freeze()
    pair.run(5000)
    pair.ask(pair.beta, Thaw())
    pair.run(10_000)
    assert pair.owners() == at_home(GROUPS)


def test_an_oath_frees_what_a_frozen_node_held_and_says_nothing_of_missing_fences() -> None:
    pair = frozen(Pair().started())
    pair.alpha.power_off()
    pair.run(5000)
    pair.ask(pair.beta, Thaw())
    pair.run(10_000)
    assert pair.owners() == {SHOP_KEY: "", FILES_KEY: "beta"}
    sworn_ms = pair.now_ms
    pair.ask(pair.beta, ConfirmDead("alpha"))
    assert pair.until(lambda: pair.owners() == all_on("beta"), 500) < 200
    assert pair.never_logged(pair.beta, "No STONITH device configured.", sworn_ms)
    pair.logged(pair.beta, "Resources being acquired from alpha.", sworn_ms)


def test_a_long_freeze_asks_for_no_ticks_beyond_its_heartbeats() -> None:
    pair = Pair().started()
    pair.alpha.troubles.stop_fails["db.service"] = 5
    pair.standby(pair.alpha)
    pair.run(200)
    frozen(pair)
    ticks = 0
    post = pair.alpha.post

    def counted(event: Event) -> None:
        nonlocal ticks
        ticks += isinstance(event, Tick)
        post(event)

    pair.alpha.post = counted  # type: ignore[method-assign]
    pair.run(20_000)
    assert ticks <= 20_000 / 200 + 5


# ---------------------------------------------------------------- why


def test_why_says_what_the_freeze_keeps_and_what_would_move_it() -> None:
    pair = frozen(Pair().started())
    assert pair.alpha.core is not None
    assert pair.beta.core is not None
    told = pair.alpha.core.explain("10.0.0.1")
    assert told is not None
    assert told.would_move == ("Nothing, before `hbctl thaw`: the cluster is frozen.",)
    pair.alpha.power_off()
    pair.run(5000)
    pair.ask(pair.beta, Thaw())
    told = pair.beta.core.explain("10.0.0.1")
    assert told is not None
    assert told.because[-1] == "alpha was frozen when it fell silent, and may still run it."
    assert told.would_move == ("A heartbeat of alpha, or, if it is off, `hbctl confirm-dead alpha`.",)


def test_a_freeze_and_what_it_holds_up_are_decisions_on_record() -> None:
    pair = Pair().started()
    told: list[Record] = []
    post = pair.stepped

    def noted(machine: Machine, event: Event, effects: list[Effect]) -> None:
        told.extend(e.record for e in effects if isinstance(e, Note) and machine is pair.beta)
        post(machine, event, effects)

    pair.stepped = noted  # type: ignore[method-assign]
    frozen(pair)
    pair.alpha.power_off()
    pair.run(5000)
    pair.ask(pair.beta, Thaw())
    pair.run(1000)
    said = [(record.decision, record.cause, record.action) for record in told]
    assert (Decision.FREEZE, "alpha says so", "starts, stops and moves nothing") in said
    assert (Decision.THAW, "an operator on this node says so", "acts by its rules again") in said
    (dead, *_) = [action for decision, _, action in said if decision is Decision.DEAD]
    assert dead == "takes over nothing, since the cluster is frozen"


def test_an_address_that_waits_for_an_answer_comes_back_in_a_freeze_whatever_hands_have_started() -> None:
    pair = Pair().started()
    address, _, database = SHOP.resources
    pair.beta.troubles.stop_fails[database.identity] = 10**6
    pair.beta.appear(database)
    pair.run(9000)
    pair.cut_from("alpha")
    pair.run(1750)
    assert address.identity not in pair.alpha.running
    assert pair.ask(pair.beta, Freeze()).refused is None
    pair.run(5)
    pair.heal()
    pair.run(2000)
    assert address.identity in pair.alpha.running


def test_of_a_group_that_a_reload_gave_more_only_what_ran_comes_back_in_a_freeze() -> None:
    """The node that does not know the reload yet may have the rest, under another group's name."""
    first, second, third = (address(f"10.0.0.{number}") for number in (1, 3, 4))
    files = replace(FILES, resources=(*FILES.resources, second))
    pair = Pair(groups=(replace(SHOP, resources=(first, third)), files)).started()
    more = (replace(SHOP, resources=(first, second, third)), FILES)
    pair.ask(pair.alpha, Reload(reconfigured(pair.alpha, more)))
    pair.run(2000)
    pair.alpha.freeze()
    pair.run(1700)
    pair.ask(pair.beta, Freeze())
    pair.run(100)
    pair.alpha.thaw()
    pair.until(lambda: third.identity in pair.alpha.running and agreed(pair.alpha, pair.beta), 2000)
    pair.run(2000)
    assert sorted(pair.alpha.running) == [first.identity, third.identity]


def test_what_a_node_has_that_fell_silent_in_a_freeze_is_not_started_under_another_groups_name() -> None:
    mail = unit("mail")
    pair = frozen(Pair(groups=(SHOP, replace(FILES, resources=(*FILES.resources, mail)))).started())
    pair.cut()
    pair.run(3000)
    pair.ask(pair.alpha, Thaw())
    more = (replace(SHOP, resources=(*SHOP.resources, mail)), FILES)
    pair.ask(pair.alpha, Reload(reconfigured(pair.alpha, more)))
    pair.run(5000)
    assert mail.identity not in pair.alpha.running
    pair.beta.power_off()
    assert pair.ask(pair.alpha, ConfirmDead("beta")).refused is None
    pair.until(lambda: mail.identity in pair.alpha.running, 1000)
