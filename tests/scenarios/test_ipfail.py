"""What moves, and what does not, when a node reaches less than the other one."""

from __future__ import annotations

from dataclasses import replace

import pytest

from hbd.config.model import AutoFailback, Ping
from hbd.core.events import Reload
from hbd.core.views import LinkStatus, NodeStatus
from tests.scenarios.pair import ETH0, GROUPS, Pair, address, all_on, at_home, group, unit
from tests.scenarios.pinged import (
    DEADPING_MS,
    HOME,
    QUICK_MS,
    ROUTER,
    SWITCH,
    at_rest,
    find,
    lose,
    moves,
    pinged,
)


def status(pair: Pair, name: str) -> NodeStatus:
    return next(node.status for node in pair.view(pair.alpha).nodes if node.name == name)


def test_a_ping_node_is_a_node_and_a_link_with_the_texts_of_3_0_6() -> None:
    pair = at_rest()
    view = pair.view(pair.alpha)
    assert [(n.name, n.kind, n.status) for n in view.nodes[2:]] == [
        ("router", "ping", NodeStatus.PING), ("switch", "ping", NodeStatus.PING),
    ]  # fmt: skip
    assert [(link.node, link.name, link.medium, link.status) for link in view.links[1:]] == [
        ("router", "router", "ping", LinkStatus.UP), ("switch", "switch", "ping_group", LinkStatus.UP),
    ]  # fmt: skip
    for text in (
        "ping heartbeat started.", "ping group heartbeat started.", "Link router:router up.",
        "Status update for node router: status ping",
    ):  # fmt: skip
        assert pair.logged(pair.alpha, text) < 1000
    lost_ms = pair.now_ms
    lose(ROUTER, pair.alpha, pair.beta)
    pair.until(lambda: status(pair, "router") is NodeStatus.DEAD, DEADPING_MS + 10)
    assert pair.now_ms - lost_ms > DEADPING_MS - 250
    assert pair.logged(pair.alpha, "node router: is dead", lost_ms) == pair.now_ms
    assert pair.logged(pair.alpha, "Link router:router dead.", lost_ms) == pair.now_ms
    find(ROUTER, pair.alpha)
    pair.until(lambda: status(pair, "router") is NodeStatus.PING, 300)


@pytest.mark.parametrize("answers", [True, False])
def test_ping_nodes_change_nothing_about_communication_and_the_start(answers: bool) -> None:
    pair, plain = pinged(ipfail=False), Pair()
    if not answers:
        lose(ROUTER, pair.alpha, pair.beta)
    for each in (pair, plain):
        each.alpha.start_daemon()
        each.beta.start_daemon()
        each.until(lambda each=each: each.owners() == HOME, 3000)  # type: ignore[misc]
    assert pair.now_ms == plain.now_ms


def test_the_node_that_loses_a_ping_node_gives_everything_to_the_other() -> None:
    pair = at_rest()
    lost_ms = pair.now_ms
    lose(ROUTER, pair.alpha)
    pair.until(lambda: pair.owners() == all_on("beta"), DEADPING_MS + QUICK_MS + 1000)
    said_ms = pair.logged(pair.alpha, "Giving up because we have less visible ping nodes.", lost_ms)
    assert pair.logged(pair.alpha, "Delayed giveup in 0.4 seconds.", lost_ms) == said_ms
    assert pair.logged(pair.alpha, "giveup() called (timeout worked)", lost_ms) - said_ms in range(
        QUICK_MS, QUICK_MS + 10
    )
    assert pair.logged(pair.alpha, "alpha wants to go standby [all]", lost_ms)
    find(ROUTER, pair.alpha)
    pair.run(200_000)
    assert pair.owners() == all_on("beta"), "auto_failback is off"


def test_nothing_moves_without_ipfail() -> None:
    pair = pinged(ipfail=False).started()
    lose(ROUTER, pair.alpha)
    pair.alpha.plug(False)
    pair.run(60_000)
    assert pair.owners() == HOME


@pytest.mark.parametrize("later_ms", [0, 50, 150, 190])
def test_a_ping_node_that_both_lose_moves_nothing(later_ms: int) -> None:
    pair = at_rest()
    pair.run(later_ms)
    lose(ROUTER, pair.alpha, pair.beta)
    pair.run(30_000)
    assert pair.owners() == HOME
    find(ROUTER, pair.alpha, pair.beta)
    pair.run(30_000)
    assert pair.owners() == HOME


def test_different_losses_of_equal_number_move_nothing() -> None:
    pair = at_rest()
    lose(ROUTER, pair.alpha)
    lose(SWITCH, pair.beta)
    pair.run(30_000)
    assert pair.owners() == HOME


def test_a_node_that_has_nothing_gives_nothing() -> None:
    pair = at_rest()
    pair.standby(pair.alpha)
    pair.until(lambda: pair.owners() == all_on("beta"), 2000)
    lose(ROUTER, pair.alpha)
    pair.run(10_000)
    assert pair.owners() == all_on("beta")
    assert pair.never_logged(pair.alpha, "Giving up because")


def test_with_auto_failback_it_comes_home_once_its_home_has_been_well_for_half_a_minute() -> None:
    pair = at_rest(AutoFailback.ON)
    lose(ROUTER, pair.alpha)
    pair.until(lambda: pair.owners() == all_on("beta"), DEADPING_MS + QUICK_MS + 1000)
    pair.run(60_000)
    assert pair.owners() == all_on("beta"), "its home is worse off"
    find(ROUTER, pair.alpha)
    took_ms = pair.until(lambda: pair.owners() == HOME, 40_000)
    assert took_ms > 30_000


def test_the_second_time_the_way_home_takes_twice_as_long() -> None:
    pair = at_rest(AutoFailback.ON)
    waited = []
    for _ in range(2):
        lose(ROUTER, pair.alpha)
        pair.until(lambda: pair.owners() == all_on("beta"), 15_000)
        find(ROUTER, pair.alpha)
        waited.append(pair.until(lambda: pair.owners() == HOME, 100_000))
        pair.run(30_000)
    assert waited[0] < 40_000 < 60_000 < waited[1]


def test_a_node_that_returns_from_the_dead_gets_its_own_back_only_when_it_reaches_as_much() -> None:
    pair = at_rest(AutoFailback.ON)
    pair.alpha.power_off()
    pair.until(lambda: pair.owners() == all_on("beta"), 4000)
    lose(ROUTER, pair.alpha)
    pair.alpha.power_on()
    pair.run(20_000)
    assert pair.owners() == all_on("beta")
    find(ROUTER, pair.alpha)
    pair.until(lambda: pair.owners() == HOME, 3000)


@pytest.mark.parametrize("failback", [AutoFailback.OFF, AutoFailback.ON])
@pytest.mark.parametrize("period_ms", [3000, 1500])
def test_a_ping_node_that_flaps_for_a_minute_moves_nothing(failback: AutoFailback, period_ms: int) -> None:
    pair = at_rest(failback)
    for _ in range(60_000 // (2 * period_ms)):
        lose(ROUTER, pair.alpha, pair.beta)
        pair.run(period_ms)
        find(ROUTER, pair.alpha, pair.beta)
        pair.run(period_ms)
    assert moves(pair) == 0
    assert pair.owners() == HOME


@pytest.mark.parametrize("failback", [AutoFailback.OFF, AutoFailback.ON])
def test_a_way_of_one_node_that_flaps_for_a_minute_moves_at_most_once(failback: AutoFailback) -> None:
    pair = at_rest(failback)
    for _ in range(10):
        lose(ROUTER, pair.alpha)
        pair.run(3000)
        find(ROUTER, pair.alpha)
        pair.run(3000)
    assert moves(pair) <= 1


@pytest.mark.parametrize("failback", [AutoFailback.OFF, AutoFailback.ON])
def test_ways_that_flap_in_turn_for_a_minute_move_at_most_once(failback: AutoFailback) -> None:
    pair = at_rest(failback)
    for _ in range(10):
        lose(ROUTER, pair.alpha)
        find(ROUTER, pair.beta)
        pair.run(3000)
        find(ROUTER, pair.alpha)
        lose(ROUTER, pair.beta)
        pair.run(3000)
    assert moves(pair) <= 1


def test_after_a_quick_move_the_other_node_can_still_hand_it_back_when_its_loss_lasts() -> None:
    pair = at_rest()
    lose(ROUTER, pair.alpha)
    pair.until(lambda: pair.owners() == all_on("beta"), 4000)
    find(ROUTER, pair.alpha)
    lose(ROUTER, pair.beta)
    pair.until(lambda: pair.owners() == all_on("alpha"), DEADPING_MS + 12_000)


def test_a_lost_carrier_moves_everything_within_a_second() -> None:
    pair = at_rest()
    pair.alpha.plug(False)
    pair.until(lambda: pair.owners() == all_on("beta"), 1000)
    assert pair.logged(pair.alpha, "Giving up because beta has a carrier where this node has none.")


@pytest.mark.parametrize("first_ms", [0, 1, 20, 200])
@pytest.mark.parametrize("order", [1, -1])
def test_carriers_that_both_lose_move_nothing_whoever_misses_his_first(first_ms: int, order: int) -> None:
    pair = at_rest()
    one, other = (pair.alpha, pair.beta)[::order]
    one.plug(False)
    pair.run(first_ms)
    other.plug(False)
    pair.run(20_000)
    assert pair.owners() == HOME
    other.plug(True)
    pair.until(lambda: pair.owners() == all_on(other.name), 1500)


def test_a_carrier_counts_more_than_ping_nodes() -> None:
    pair = at_rest()
    lose(SWITCH, pair.beta)
    pair.until(lambda: pair.owners() == all_on("alpha"), 4000)
    pair.run(120_000)
    pair.alpha.plug(False)
    pair.until(lambda: pair.owners() == all_on("beta"), 1000)


def test_a_cable_that_was_pulled_before_the_start_counts_too() -> None:
    pair = pinged()
    pair.alpha.carrier = False
    pair.alpha.start_daemon()
    pair.beta.start_daemon()
    pair.until(lambda: pair.owners() == all_on("beta"), 5000)


def test_what_an_operator_moves_to_the_worse_node_stays_there_until_it_recovers_and_fails_anew() -> None:
    pair = at_rest()
    lose(ROUTER, pair.alpha)
    pair.until(lambda: pair.owners() == all_on("beta"), 4000)
    pair.run(1000)
    assert pair.takeover(pair.alpha).refused is None
    pair.until(lambda: pair.owners() == all_on("alpha"), 2000)
    pair.run(200_000)
    assert pair.owners() == all_on("alpha")
    find(ROUTER, pair.alpha)
    pair.run(1000)
    lose(ROUTER, pair.alpha)
    pair.until(lambda: pair.owners() == all_on("beta"), DEADPING_MS + QUICK_MS + 1000)


def test_a_standby_to_the_worse_node_stays_too() -> None:
    pair = at_rest()
    lose(ROUTER, pair.alpha)
    pair.until(lambda: pair.owners() == all_on("beta"), 4000)
    pair.run(1000)
    assert pair.standby(pair.beta).refused is None
    pair.until(lambda: pair.owners() == all_on("alpha"), 2000)
    pair.run(60_000)
    assert pair.owners() == all_on("alpha")


def test_who_takes_over_from_a_dead_node_hands_it_to_the_better_one_that_returns() -> None:
    pair = at_rest()
    lose(ROUTER, pair.alpha)
    pair.until(lambda: pair.owners() == all_on("beta"), 4000)
    pair.run(120_000)
    pair.beta.power_off()
    pair.until(lambda: pair.owners() == all_on("alpha"), 4000)
    pair.beta.power_on()
    pair.until(lambda: pair.owners() == all_on("beta"), 5000)


def test_nothing_moves_to_a_node_that_cannot_start_it_and_the_reason_is_said_once() -> None:
    pair = at_rest()
    pair.beta.troubles.start_fails.add("web.service")
    lose(ROUTER, pair.alpha)
    pair.run(60_000)
    assert "+" not in "".join(pair.owners().values())
    assert pair.owners()[GROUPS[0].key] == "alpha"
    waits = [line for line in pair.log(pair.alpha) if line.startswith("giveup() has to wait: beta could not")]
    assert len(waits) == 1


def shop_fails_on_beta() -> Pair:
    """Both groups at home; it is known that beta cannot start the first."""
    shop = group("alpha", address("10.0.0.1"), unit("web"))
    groups = (shop, group("alpha", address("10.0.0.2"), unit("ftp")))
    pair = pinged(groups=groups)
    pair.beta.troubles.start_fails.add("web.service")
    pair.started()
    pair.standby(pair.alpha)
    pair.until(lambda: list(pair.owners().values()) == ["alpha", "beta"], 8000)
    pair.run(2000)
    assert pair.takeover(pair.alpha).refused is None
    pair.until(lambda: pair.owners() == at_home(groups), 3000)
    pair.run(3000)
    return pair


def test_a_group_that_the_peer_cannot_start_does_not_keep_the_others_on_a_dead_cable() -> None:
    pair = shop_fails_on_beta()
    pair.alpha.plug(False)
    pair.until(lambda: list(pair.owners().values()) == ["alpha", "beta"], 2000)
    pair.run(60_000)
    assert list(pair.owners().values()) == ["alpha", "beta"]


def test_an_operators_standby_is_all_or_nothing_where_the_peer_cannot_start_a_group() -> None:
    pair = shop_fails_on_beta()
    assert "beta could not start" in (pair.standby(pair.alpha).refused or "")
    pair.run(1000)
    assert pair.owners() == at_home(pair.groups)


def test_counts_of_different_lists_are_not_compared() -> None:
    pair = at_rest()
    fewer = replace(pair.alpha.config, media=(ETH0, ROUTER))
    assert pair.ask(pair.alpha, Reload(fewer)).refused is None
    pair.run(10_000)
    assert pair.owners() == HOME
    assert [node.name for node in pair.view(pair.alpha).nodes] == ["alpha", "beta", "router"]
    text = "the ping nodes of ha.cf differ here and on beta"
    assert len([line for line in pair.log(pair.alpha) if line.startswith(text)]) == 1
    pair.beta.config = replace(pair.beta.config, media=(ETH0, ROUTER))
    assert pair.ask(pair.beta, Reload(pair.beta.config)).refused is None
    pair.run(1000)
    lose(ROUTER, pair.alpha)
    pair.until(lambda: pair.owners() == all_on("beta"), 4000)


def test_a_peer_without_ipfail_is_named_and_nothing_moves_there() -> None:
    pair = pinged()
    pair.beta.config = replace(pair.beta.config, ipfail=False)
    pair.started()
    lose(ROUTER, pair.alpha)
    pair.run(20_000)
    assert pair.owners() == HOME
    assert pair.logged(pair.alpha, "ipfail is on here and off on beta")


def test_a_ping_node_that_a_reload_adds_moves_nothing_before_it_could_answer() -> None:
    pair = at_rest()
    third = Ping("third", ("10.9.9.9",), "ping")
    for machine in (pair.alpha, pair.beta):
        machine.config = replace(machine.config, media=(*machine.config.media, third))
        machine.ask(Reload(machine.config))
        pair.run(500)
    pair.run(20_000)
    assert pair.owners() == HOME
    assert pair.logged(pair.alpha, "Link third:third up.")


def test_a_node_that_stood_still_does_not_take_its_own_silence_for_that_of_ping_nodes() -> None:
    pair = at_rest()
    pair.alpha.freeze()
    pair.run(1200)
    since_ms = pair.now_ms
    pair.alpha.thaw()
    pair.run(1500)
    assert pair.never_logged(pair.alpha, "node router: is dead", since_ms)
    assert pair.owners() == at_home(GROUPS)


def test_legacy_moves_nothing() -> None:
    pair = at_rest(AutoFailback.LEGACY)
    lose(ROUTER, pair.alpha)
    pair.run(30_000)
    assert pair.owners() == HOME
