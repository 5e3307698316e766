"""What an operator can move, what is refused and with which words, and what happens without an answer."""

from __future__ import annotations

import pytest

from hbd.config.model import AutoFailback
from hbd.core.events import Reload, Scope
from hbd.core.report import Entry, Posture
from tests.scenarios.pair import (
    FILES,
    FILES_KEY,
    GROUPS,
    SHOP,
    SHOP_KEY,
    Pair,
    all_on,
    at_home,
    group,
    reconfigured,
    unit,
)
from tests.scenarios.puppet import Puppet

RUNS = Entry(Posture.RUNNING, epoch=1)
BOTH_ON_BETA = all_on("beta")


@pytest.mark.parametrize(
    ("scope", "then"),
    [
        (Scope.ALL, {SHOP_KEY: "beta", FILES_KEY: "beta"}),
        (Scope.LOCAL, {SHOP_KEY: "beta", FILES_KEY: "alpha"}),
        (Scope.FOREIGN, {SHOP_KEY: "alpha", FILES_KEY: "beta"}),
        (Scope.FAILBACK, {SHOP_KEY: "alpha", FILES_KEY: "beta"}),
    ],
)
def test_standby_hands_over_what_the_scope_means_at_this_node(scope: Scope, then: dict[str, str]) -> None:
    pair = Pair()
    pair.alpha.start_daemon()
    pair.until(lambda: pair.owners() == all_on("alpha"), 11_000)
    pair.beta.start_daemon()
    pair.run(2000)
    answer = pair.standby(pair.alpha, scope)
    assert answer.refused is None
    assert answer.transition == pair.view(pair.alpha).transition == 1
    pair.until(lambda: pair.owners() == then, 1000)
    pair.run(1000)
    assert pair.view(pair.alpha).last_finished == (1, "done")
    assert pair.view(pair.alpha).transition == 0


@pytest.mark.parametrize(
    ("scope", "then"),
    [
        (Scope.ALL, {SHOP_KEY: "beta", FILES_KEY: "beta"}),
        (Scope.LOCAL, {SHOP_KEY: "alpha", FILES_KEY: "beta"}),
        (Scope.FOREIGN, {SHOP_KEY: "beta", FILES_KEY: "alpha"}),
    ],
)
def test_takeover_fetches_what_the_scope_means_at_the_node_that_asks(
    scope: Scope, then: dict[str, str]
) -> None:
    pair = Pair()
    pair.alpha.start_daemon()
    pair.until(lambda: pair.owners() == all_on("alpha"), 11_000)
    pair.beta.start_daemon()
    pair.run(2000)
    answer = pair.takeover(pair.beta, scope)
    assert answer.transition == 1
    pair.until(lambda: pair.owners() == then, 1000)
    pair.run(1000)
    assert pair.view(pair.beta).last_finished == (1, "done")


def test_an_address_is_never_on_both_nodes_while_a_group_moves_and_the_taker_starts_last() -> None:
    pair = Pair().started()
    asked_ms = pair.now_ms
    pair.standby(pair.alpha)
    pair.until(lambda: pair.owners() == BOTH_ON_BETA, 1000)
    assert pair.twice == []
    off_ms = pair.job_ms(pair.alpha, "stop 10.0.0.1", asked_ms)
    assert off_ms < pair.job_ms(pair.beta, "start 10.0.0.1", asked_ms)


def test_what_an_operator_moved_is_not_failed_back() -> None:
    pair = Pair(AutoFailback.ON).started()
    pair.standby(pair.alpha)
    pair.until(lambda: pair.owners() == BOTH_ON_BETA, 1000)
    pair.run(10_000)
    assert pair.owners() == BOTH_ON_BETA
    pair.takeover(pair.alpha, Scope.LOCAL)
    pair.until(lambda: pair.owners() == at_home(GROUPS), 1000)


def test_standby_without_anything_to_give_is_done_at_once() -> None:
    pair = Pair().started()
    pair.standby(pair.alpha)
    pair.until(lambda: pair.owners() == BOTH_ON_BETA, 1000)
    pair.run(1000)
    assert pair.standby(pair.alpha).transition == 0


def test_standby_is_refused_before_communication_is_up() -> None:
    pair = Pair()
    pair.alpha.start_daemon()
    pair.run(100)
    assert pair.standby(pair.alpha).refused == "communication with the other node is not up yet"


def test_standby_is_refused_without_another_node() -> None:
    pair = Pair().started()
    pair.beta.power_off()
    pair.until(lambda: pair.owners() == all_on("alpha"), 3000)
    assert pair.standby(pair.alpha).refused == "no other node is active"


def test_standby_is_refused_with_auto_failback_legacy() -> None:
    pair = Pair(AutoFailback.LEGACY).started()
    text = "standby and takeover need auto_failback on or off in ha.cf; it is legacy here"
    assert pair.standby(pair.alpha).refused == text
    assert pair.takeover(pair.alpha).refused == text


def test_a_second_standby_is_refused_while_the_first_runs() -> None:
    pair = Pair().started()
    pair.alpha.troubles.slow["db.service"] = 1000
    pair.standby(pair.alpha)
    pair.run(300)
    assert pair.standby(pair.alpha).refused == "resources in transition 1"
    assert pair.standby(pair.beta).refused == "resources are in flux"


def test_standby_is_refused_while_haresources_differ() -> None:
    pair = Pair().started()
    extended = (*GROUPS, group("beta", unit("print")))
    assert pair.ask(pair.beta, Reload(reconfigured(pair.beta, extended))).refused is None
    pair.run(1000)
    assert pair.standby(pair.alpha).refused == "haresources differs between this node and beta"


def test_without_an_answer_in_ten_seconds_standby_is_cancelled_and_nothing_was_stopped() -> None:
    pair = Pair()
    beta = Puppet(pair, "beta")
    pair.alpha.start_daemon()
    beta.lives(st="active", report=beta.obliging(active=True, settled=True, groups={FILES_KEY: RUNS}))
    pair.until(lambda: pair.owners()[SHOP_KEY] == "alpha", 2000)
    pair.run(1000)
    asked_ms = pair.now_ms
    assert pair.standby(pair.alpha).transition == 1
    pair.run(9_900)
    assert pair.view(pair.alpha).transition == 1
    pair.run(300)
    assert pair.view(pair.alpha).last_finished == (1, "cancelled")
    assert pair.jobs(pair.alpha, asked_ms) == []
    assert pair.logged(pair.alpha, "No reply to standby request.  Standby request cancelled.")
    assert pair.owners()[SHOP_KEY] == "alpha"


def test_the_taker_dying_in_the_middle_gives_the_group_back_to_its_holder() -> None:
    pair = Pair().started()
    pair.alpha.troubles.slow["10.0.0.1"] = 1000
    pair.standby(pair.alpha)
    pair.run(500)
    pair.beta.power_off()
    pair.until(lambda: pair.owners() == all_on("alpha"), 6000)
    pair.run(1000)
    number, result = pair.view(pair.alpha).last_finished
    assert (number, result) in ((1, "cancelled"), (1, "failed"))


def test_the_giver_dying_in_the_middle_leaves_the_group_to_the_taker() -> None:
    pair = Pair().started()
    pair.alpha.troubles.slow["10.0.0.1"] = 1000
    pair.standby(pair.alpha)
    pair.run(500)
    pair.alpha.power_off()
    pair.until(lambda: pair.owners() == BOTH_ON_BETA, 3500)


def test_a_taker_that_fails_to_start_gives_the_group_back_and_the_transition_failed() -> None:
    pair = Pair().started()
    pair.beta.troubles.start_fails.add("web.service")
    pair.standby(pair.alpha)
    pair.run(4000)
    assert pair.owners() == at_home(GROUPS)
    assert pair.view(pair.alpha).last_finished == (1, "failed")
    assert pair.standby(pair.alpha).refused == "beta could not start 10.0.0.1; see its journal"


def test_takeover_of_what_could_not_be_started_here_tries_again() -> None:
    pair = Pair().started()
    pair.beta.troubles.start_fails.add("web.service")
    pair.standby(pair.alpha)
    pair.run(4000)
    pair.beta.troubles.start_fails.clear()
    assert pair.takeover(pair.beta, Scope.FOREIGN).refused is None
    pair.until(lambda: pair.owners() == BOTH_ON_BETA, 2000)


def test_two_standbys_that_cross_swap_the_groups() -> None:
    pair = Pair().started()
    assert pair.standby(pair.alpha).transition == pair.standby(pair.beta).transition == 1
    pair.until(lambda: pair.owners() == {SHOP_KEY: "beta", FILES_KEY: "alpha"}, 2000)
    pair.run(1000)
    assert pair.view(pair.alpha).last_finished == pair.view(pair.beta).last_finished == (1, "done")


def test_nothing_else_can_be_moved_while_a_failback_is_under_way() -> None:
    pair = Pair(AutoFailback.ON).started()
    pair.alpha.power_off()
    pair.until(lambda: pair.owners() == BOTH_ON_BETA, 3000)
    pair.alpha.troubles.slow["web.service"] = 2000
    pair.alpha.power_on()
    pair.run(600)
    assert pair.standby(pair.beta).refused == "resources in transition 1"
    assert pair.takeover(pair.alpha).refused == "resources are in flux"
    pair.until(lambda: pair.owners() == at_home(GROUPS), 5000)


def test_takeovers_that_cross_do_what_they_report() -> None:
    pair = Pair().started()
    pair.takeover(pair.alpha, Scope.FOREIGN)
    pair.takeover(pair.beta, Scope.FOREIGN)
    pair.run(25_000)
    moved = pair.owners() == {SHOP_KEY: "beta", FILES_KEY: "alpha"}
    assert moved or pair.owners() == at_home(GROUPS)
    for node in (pair.alpha, pair.beta):
        assert pair.view(node).transition == 0
        cancelled = not pair.never_logged(node, "takeover of [foreign] ended: cancelled")
        assert cancelled is not moved


def transition_log(pair: Pair, node: str, number: int) -> list[str]:
    """What `journalctl HBD_TRANSITION=` shows there."""
    return [line.text for name, line in pair.numbered if name == node and line.transition == number]


def test_every_line_about_a_group_that_a_transition_moves_away_carries_its_number() -> None:
    pair = Pair().started()
    pair.alpha.troubles.stop_fails["web.service"] = 1
    number = pair.standby(pair.alpha).transition
    pair.run(5000)
    assert transition_log(pair, "alpha", number) == [
        "alpha wants to go standby [all]",
        "Releasing resource group: alpha 10.0.0.1 web db",
        "Running db stop",
        "Running web stop",
        "web did not stop: it does not end",
        "Retrying failed stop operation [web]",
        "Running web stop",
        "Running 10.0.0.1 stop",
        "group 10.0.0.1 is released: handed over to beta",
        "remote resource transition completed.",
        "standby of [all] ended: done",
        "Local Resource acquisition completed. (none)",
        "local resource transition completed.",
    ]


def test_every_line_about_a_group_that_a_transition_fetches_carries_its_number() -> None:
    pair = Pair().started()
    number = pair.takeover(pair.beta).transition
    pair.run(5000)
    assert transition_log(pair, "beta", number) == [
        "Acquiring resource group: alpha 10.0.0.1 web db",
        "Running 10.0.0.1 start",
        "Running web start",
        "Running db start",
        "Resource acquisition completed. group 10.0.0.1 runs",
        "takeover of [all] ended: done",
        "Local Resource acquisition completed. (all)",
        "local resource transition completed.",
    ]


def test_what_becomes_of_other_groups_meanwhile_and_of_this_one_later_is_no_part_of_it() -> None:
    pair = Pair().started()
    pair.alpha.troubles.slow["db.service"] = 3000
    asked_ms, number = pair.now_ms, pair.takeover(pair.beta).transition
    pair.run(1000)
    pair.beta.lose(FILES.resources[1])
    pair.run(9000)
    assert pair.times_logged(pair.beta, "ftp has ended here", asked_ms) == 1
    assert {line.group for _, line in pair.numbered} == {"", SHOP.name}
    before = transition_log(pair, "beta", number)
    pair.alpha.power_off()
    pair.beta.lose(SHOP.resources[1])
    lost_ms = pair.now_ms
    pair.run(9000)
    assert pair.times_logged(pair.beta, "web has ended here", lost_ms) == 1
    assert transition_log(pair, "beta", number) == before
