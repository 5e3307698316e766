"""haresources is edited on one node before the other: what runs goes on, and nothing new begins (rule 6)."""

from __future__ import annotations

from dataclasses import replace

import pytest

from hbd.config.model import GroupSpec, ResourceSpec, ScriptResource
from hbd.core.effects import ArmLease, DisarmLease
from hbd.core.events import Freeze, Reload, Thaw
from hbd.core.views import GroupState
from hbd.sim.machines import Machine
from tests.scenarios.pair import FILES, GROUPS, SHOP, Pair, address, at_home, group, reconfigured, unit

RENAMED = group("alpha", unit("disk"), *SHOP.resources)
AWAY = replace(SHOP, home="beta")


# ---------------------------------------------------------------- a group gets more


def given_more(pair: Pair) -> Pair:
    """alpha, and not beta, was told that SHOP has a further unit."""
    more = (replace(SHOP, resources=(*SHOP.resources, unit("mail"))), FILES)
    assert pair.ask(pair.alpha, Reload(reconfigured(pair.alpha, more))).refused is None
    pair.run(3000)
    return pair


def test_what_ran_before_an_edit_that_the_other_node_does_not_know_yet_comes_back_after_a_kill() -> None:
    pair = given_more(Pair().started())
    pair.alpha.kill_daemon()
    asked_ms = pair.now_ms
    pair.alpha.take_away(SHOP.resources[0])  # As hbd does itself when systemd kills it after a pause.
    pair.alpha.start_daemon()
    pair.run(3000)
    assert pair.jobs(pair.alpha, asked_ms) == ["start 10.0.0.1"]
    assert "mail.service" not in pair.alpha.running


@pytest.mark.parametrize("position", range(3))
def test_what_is_taken_away_comes_back_while_the_other_node_does_not_know_an_edit_yet(position: int) -> None:
    pair = given_more(Pair().started())
    asked_ms = pair.now_ms
    lost = SHOP.resources[position]
    pair.alpha.lose(lost)
    pair.run(3000)
    assert lost.identity in pair.alpha.running
    assert len(pair.jobs(pair.alpha, asked_ms)) == 1
    assert pair.owners() == at_home(GROUPS)


def test_a_group_that_gets_more_is_still_said_to_be_where_it_runs() -> None:
    pair = given_more(Pair().started())
    pair.alpha.troubles.slow["mail.service"] = 1000
    pair.ask(pair.beta, Reload(reconfigured(pair.beta, pair.alpha.config.groups)))
    pair.until(lambda: "start mail.service" in pair.jobs(pair.alpha), 1000)
    pair.run(500)
    for node in (pair.alpha, pair.beta):
        shop = next(each for each in pair.view(node).groups if each.name == "10.0.0.1")
        assert (shop.owner, shop.state) == ("alpha", GroupState.STARTING)


def test_what_a_reload_gave_is_no_business_of_a_node_that_does_not_know_it() -> None:
    pair = given_more(Pair().started())
    shop = next(each for each in pair.view(pair.beta).groups if each.name == "10.0.0.1")
    assert (shop.owner, shop.state) == ("alpha", GroupState.STARTED)
    assert {resource.state for resource in shop.resources} == {GroupState.STARTED}


def test_a_group_that_starts_for_the_first_time_is_nobodys_before_all_of_it_runs() -> None:
    pair = Pair()
    pair.alpha.troubles.slow["db.service"] = 5000
    pair.alpha.power_on()
    pair.beta.power_on()
    pair.until(lambda: "web.service" in pair.alpha.running, 20_000)
    pair.run(500)
    for node in (pair.alpha, pair.beta):
        shop = next(each for each in pair.view(node).groups if each.name == "10.0.0.1")
        assert (shop.owner, shop.state) == ("", GroupState.STARTING)


@pytest.mark.parametrize("position", [1, 3])
def test_what_ran_before_an_edit_that_the_other_node_does_not_know_yet_comes_back_after_a_stall(
    position: int,
) -> None:
    pair = Pair().started()
    members = list(SHOP.resources)
    members.insert(position, unit("mail"))
    more = (group("alpha", *members), FILES)
    assert pair.ask(pair.alpha, Reload(reconfigured(pair.alpha, more))).refused is None
    pair.run(3000)
    pair.alpha.freeze()
    pair.run(1800)
    pair.alpha.thaw()
    pair.run(3000)
    assert SHOP.resources[0].identity in pair.alpha.running
    assert "mail.service" not in pair.alpha.running


# ---------------------------------------------------------------- a group gets another name or home


def told(pair: Pair, *nodes: Machine, groups: tuple[GroupSpec, ...]) -> None:
    for node in nodes:
        assert pair.ask(node, Reload(reconfigured(node, groups))).refused is None
    pair.groups = groups


@pytest.mark.parametrize("first", ["alpha", "beta"])
@pytest.mark.parametrize("shop", [RENAMED, AWAY])
def test_what_another_group_or_node_is_to_have_runs_on_until_both_nodes_know_it(
    shop: GroupSpec, first: str
) -> None:
    pair = Pair().started()
    asked_ms = pair.now_ms
    groups = (shop, FILES)
    told(pair, pair.machines[first], groups=groups)
    pair.run(20_000)
    assert pair.jobs(pair.alpha, asked_ms) == pair.jobs(pair.beta, asked_ms) == []
    told(pair, *pair.machines.values(), groups=groups)
    pair.until(lambda: pair.owners()[shop.key] == shop.home, 3000)
    assert pair.twice == []


@pytest.mark.parametrize("shop", [RENAMED, AWAY])
def test_it_runs_on_when_the_other_node_dies_before_it_knows(shop: GroupSpec) -> None:
    pair = Pair().started()
    told(pair, pair.alpha, groups=(shop, FILES))
    asked_ms = pair.now_ms
    pair.beta.power_off()
    pair.run(10_000)
    assert [job for job in pair.jobs(pair.alpha, asked_ms) if job.startswith("stop")] == []
    assert {resource.identity for resource in SHOP.resources} <= pair.alpha.running.keys()
    reconfigured(pair.beta, (shop, FILES))
    pair.beta.power_on()
    pair.until(lambda: pair.owners()[shop.key] == shop.home, 10_000)


def test_the_kernel_lease_is_for_an_address_that_is_about_to_go_too() -> None:
    pair = Pair().started()
    shop = group("alpha", address("10.0.0.9"), *SHOP.resources[1:])

    def leased() -> set[str]:
        armed = [each for _, name, each in pair.leases if name == "alpha" and isinstance(each, ArmLease)]
        return {each.ip for each in armed[-1].addresses}

    told(pair, pair.alpha, groups=(shop, FILES))
    pair.run(1000)
    assert SHOP.resources[0].identity in pair.alpha.running
    assert leased() == {"10.0.0.1", "10.0.0.2", "10.0.0.9"}
    pair.alpha.kill_daemon()
    pair.alpha.start_daemon()
    pair.run(1000)
    assert leased() == {"10.0.0.1", "10.0.0.2", "10.0.0.9"}
    told(pair, *pair.machines.values(), groups=(shop, FILES))
    pair.until(lambda: pair.owners()[shop.key] == "alpha", 3000)
    assert leased() == {"10.0.0.2", "10.0.0.9"}


def test_the_kernel_lease_ends_with_the_last_address_that_is_released() -> None:
    pair = Pair(groups=(SHOP,)).started()
    shop = group("alpha", *SHOP.resources[1:])
    told(pair, pair.alpha, groups=(shop,))
    pair.run(1000)
    told(pair, *pair.machines.values(), groups=(shop,))
    pair.until(lambda: SHOP.resources[0].identity not in pair.alpha.running, 3000)
    pair.run(100)
    assert isinstance([each for _, name, each in pair.leases if name == "alpha"][-1], DisarmLease)


def test_it_is_known_why_it_runs_on() -> None:
    pair = Pair().started()
    told(pair, pair.alpha, groups=(RENAMED, FILES))
    pair.run(1000)
    assert pair.alpha.core is not None
    explained = pair.alpha.core.explain(SHOP.name)
    assert explained is not None
    assert explained.because == (
        "alpha has it: this is its home node.",
        "It is configured otherwise by now, and is released when haresources on beta means the same as here.",
    )
    views = {each.name: (each.owner, each.state) for each in pair.view(pair.alpha).groups}
    assert views == {
        SHOP.name: ("alpha", GroupState.STARTED),
        FILES.name: ("beta", GroupState.STARTED),
        RENAMED.name: ("", GroupState.STOPPED),
    }


def test_it_runs_on_when_the_edit_is_taken_back() -> None:
    pair = Pair().started()
    asked_ms = pair.now_ms
    for groups in ((RENAMED, FILES), GROUPS):
        told(pair, pair.alpha, groups=groups)
        pair.run(3000)
    assert pair.jobs(pair.alpha, asked_ms) == []
    assert pair.owners() == at_home(GROUPS)


def test_what_runs_under_a_name_that_is_about_to_go_is_put_back_if_it_is_lost() -> None:
    pair = Pair().started()
    told(pair, pair.alpha, groups=(RENAMED, FILES))
    pair.run(1000)
    asked_ms = pair.now_ms
    pair.alpha.lose(SHOP.resources[0])
    pair.run(500)
    assert pair.jobs(pair.alpha, asked_ms) == ["start 10.0.0.1"]


MAIL = group("alpha", address("10.0.0.3"), unit("mail"))


def given_away(lent: ResourceSpec) -> Pair:
    """alpha, and not beta, was told that SHOP has another name, and that this of it belongs to MAIL."""
    first, last = SHOP.resources[0], SHOP.resources[-1]
    pair = Pair(groups=(group("alpha", first, lent, last), MAIL)).started()
    groups = (group("alpha", *MAIL.resources, lent), group("alpha", last, first))
    told(pair, pair.alpha, groups=groups)
    pair.run(1000)
    return pair


def test_what_runs_under_a_name_that_is_about_to_go_is_put_back_if_another_group_is_to_have_it() -> None:
    pair = given_away(unit("web"))
    asked_ms = pair.now_ms
    pair.alpha.lose(unit("web"))
    pair.run(500)
    assert pair.jobs(pair.alpha, asked_ms) == ["start web.service"]


@pytest.mark.parametrize("shop", [RENAMED, group("alpha", SHOP.resources[0], unit("db"), unit("web"))])
def test_what_is_offered_when_haresources_is_edited_stays(shop: GroupSpec) -> None:
    pair = Pair().started()
    pair.standby(pair.alpha)
    asked_ms = pair.now_ms
    told(pair, pair.alpha, groups=(shop, FILES))
    pair.run(5000)
    assert pair.jobs(pair.alpha, asked_ms) == pair.jobs(pair.beta, asked_ms) == []


def test_what_another_group_here_is_to_have_is_not_started_for_it_behind_a_cut() -> None:
    pair = Pair().started()
    first, *rest = SHOP.resources
    told(pair, pair.beta, groups=(group("alpha", *rest), group("beta", *FILES.resources, first)))
    pair.run(1000)
    pair.twice_allowed = True
    pair.cut()
    pair.run(4000)
    pair.heal()
    pair.run(4000)
    everywhere = [name for name, machine in pair.machines.items() if first.identity in machine.running]
    assert everywhere == ["alpha"]


def test_what_is_no_longer_configured_at_all_is_stopped_at_once() -> None:
    pair = Pair().started()
    asked_ms = pair.now_ms
    told(pair, pair.alpha, groups=(FILES,))
    pair.run(1000)
    assert pair.jobs(pair.alpha, asked_ms) == ["stop db.service", "stop web.service", "stop 10.0.0.1"]


@pytest.mark.parametrize("resources", [
    (*SHOP.resources, unit("mail")), (SHOP.resources[0], unit("mail"), *SHOP.resources[1:]),
    SHOP.resources[:-1],
])  # fmt: skip
def test_an_edit_under_way_when_hbd_is_killed_stops_nothing_that_is_still_wanted(
    resources: tuple[ResourceSpec, ...],
) -> None:
    pair = Pair().started()
    pair.alpha.kill_daemon()
    asked_ms = pair.now_ms
    groups = (replace(SHOP, resources=resources), FILES)
    reconfigured(pair.alpha, groups)
    pair.alpha.start_daemon()
    pair.run(3000)
    gone = [f"stop {each.name}.service" for each in SHOP.resources if each not in resources]
    assert pair.jobs(pair.alpha, asked_ms) == gone
    told(pair, pair.beta, groups=groups)
    pair.until(lambda: pair.owners() == at_home(groups), 3000)
    new = [f"start {each.name}.service" for each in resources if each not in SHOP.resources]
    assert pair.jobs(pair.alpha, asked_ms) == gone + new
    assert pair.jobs(pair.beta, asked_ms) == []


def test_a_new_name_in_an_edit_under_way_when_hbd_is_killed_stops_nothing_either() -> None:
    pair = Pair().started()
    pair.alpha.kill_daemon()
    asked_ms = pair.now_ms
    reconfigured(pair.alpha, (RENAMED, FILES))
    pair.alpha.start_daemon()
    pair.run(5000)
    assert pair.jobs(pair.alpha, asked_ms) == pair.jobs(pair.beta, asked_ms) == []
    assert pair.never_logged(pair.alpha, "should not be")
    pair.alpha.lose(SHOP.resources[0])
    pair.run(500)
    assert pair.jobs(pair.alpha, asked_ms) == ["start 10.0.0.1"]
    told(pair, pair.beta, groups=(RENAMED, FILES))
    pair.until(lambda: pair.owners()[RENAMED.key] == "alpha", 5000)


def without(pair: Pair, *names: str) -> tuple[GroupSpec, ...]:
    """The pair's groups, but for these members."""
    return tuple(
        replace(spec, resources=tuple(each for each in spec.resources if each.name not in names))
        for spec in pair.groups
    )


def test_a_restart_does_not_start_what_a_reload_gave_while_something_else_did_not_stop() -> None:
    mail = unit("mail")
    pair = Pair(groups=(SHOP, replace(FILES, resources=(*FILES.resources, mail)))).started()
    pair.alpha.troubles.stop_fails["web.service"] = 10**6
    pair.ask(pair.alpha, Reload(reconfigured(pair.alpha, without(pair, "web"))))
    pair.until(lambda: not pair.never_logged(pair.alpha, "group 10.0.0.1 is blocked"), 20_000)
    shop, files = without(pair, "web", "mail")
    more = (replace(shop, resources=(*shop.resources, mail)), files)
    pair.ask(pair.alpha, Reload(reconfigured(pair.alpha, more)))
    pair.alpha.take_away(unit("web"))
    pair.run(10_000)
    pair.alpha.kill_daemon()
    pair.alpha.start_daemon()
    pair.run(3000)
    assert "mail.service" in pair.beta.running
    assert "mail.service" not in pair.alpha.running


@pytest.mark.parametrize("edited", ["alpha", "beta"])
def test_a_group_that_is_found_taken_away_after_a_kill_is_started_again(edited: str) -> None:
    """It has nothing but an address, which hbd takes off itself when systemd kills it after a pause."""
    alone = group("alpha", address("10.0.0.1"))
    pair = Pair(groups=(alone, FILES)).started()
    node = pair.machines[edited]
    more = (replace(alone, resources=(*alone.resources, unit("mail"))), FILES)
    pair.ask(node, Reload(reconfigured(node, more)))
    pair.run(1000)
    pair.alpha.kill_daemon()
    pair.alpha.take_away(alone.resources[0])
    pair.alpha.start_daemon()
    pair.until(lambda: pair.owners() == at_home(pair.groups), 3000)
    assert "mail.service" not in pair.alpha.running


def test_what_is_to_move_to_another_group_after_a_freeze_does_so_also_if_hbd_is_killed_in_it() -> None:
    """Nothing watches a script: that it was stopped for the other group, nobody would tell."""
    disk = ScriptResource("disk", "/etc/ha.d/resource.d/disk", ("data",))
    shop, files = replace(SHOP, resources=(*SHOP.resources, disk)), group("alpha", *FILES.resources)
    pair = Pair(groups=(shop, files)).started()
    pair.ask(pair.alpha, Freeze())
    pair.run(1000)
    pair.groups = (SHOP, replace(files, resources=(*files.resources, disk)))
    for node in (pair.alpha, pair.beta):
        pair.ask(node, Reload(reconfigured(node, pair.groups)))
    pair.alpha.kill_daemon()
    pair.alpha.start_daemon()
    pair.run(1000)
    asked_ms = pair.now_ms
    pair.ask(pair.alpha, Thaw())
    pair.run(5000)
    assert pair.owners() == at_home(pair.groups)
    assert pair.jobs(pair.alpha, asked_ms) == [f"stop {disk.identity}", f"start {disk.identity}"]
