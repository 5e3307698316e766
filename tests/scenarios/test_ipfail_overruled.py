"""An operator moves everything to the node that reaches less: what ends that, and what does not."""

from __future__ import annotations

import pytest

from hbd.config.model import AutoFailback
from hbd.core.events import Scope
from hbd.sim.machines import Machine
from tests.scenarios.pair import Pair, all_on
from tests.scenarios.pinged import DEADPING_MS, HOME, QUICK_MS, ROUTER, at_rest, find, lose

LONG_MS = 30_000


def overruled(failback: AutoFailback = AutoFailback.OFF) -> Pair:
    """alpha misses the router and runs everything, because an operator wants it there."""
    pair = at_rest(failback)
    lose(ROUTER, pair.alpha)
    pair.until(lambda: pair.owners() == all_on("beta"), 4000)
    pair.run(1000)
    assert pair.takeover(pair.alpha).refused is None
    pair.until(lambda: pair.owners() == all_on("alpha"), 2000)
    pair.run(1000)
    return pair


def restart(pair: Pair, machine: Machine) -> None:
    """hbd is killed, and systemd starts it anew; what it ran goes on."""
    machine.kill_daemon()
    pair.run(500)
    machine.start_daemon()


@pytest.mark.parametrize("name", ["alpha", "beta"])
def test_it_outlasts_a_node_that_stood_still(name: str) -> None:
    pair = overruled()
    pair.machines[name].freeze()
    pair.run(700)
    pair.machines[name].thaw()
    pair.run(LONG_MS)
    assert pair.owners() == all_on("alpha")


def test_it_outlasts_lost_heartbeats() -> None:
    pair = overruled()
    pair.cut_from("beta")
    pair.run(600)
    pair.heal()
    pair.run(LONG_MS)
    assert pair.owners() == all_on("alpha")


@pytest.mark.parametrize("failback", [AutoFailback.OFF, AutoFailback.ON])
@pytest.mark.parametrize("name", ["alpha", "beta"])
def test_it_outlasts_a_restart_of_hbd(name: str, failback: AutoFailback) -> None:
    pair = overruled(failback)
    restart(pair, pair.machines[name])
    pair.run(LONG_MS)
    assert pair.owners() == all_on("alpha")


@pytest.mark.parametrize("name", ["alpha", "beta"])
def test_it_outlasts_a_restart_of_a_node_that_has_only_its_own_groups(name: str) -> None:
    pair = at_rest()
    lose(ROUTER, pair.alpha)
    pair.until(lambda: pair.owners() == all_on("beta"), 4000)
    pair.run(1000)
    assert pair.takeover(pair.alpha, Scope.LOCAL).refused is None
    pair.until(lambda: pair.owners() == HOME, 2000)
    pair.run(1000)
    restart(pair, pair.machines[name])
    pair.run(LONG_MS)
    assert pair.owners() == HOME


def test_a_loss_while_hbd_was_away_is_nobodys_word() -> None:
    pair = at_rest()
    assert pair.takeover(pair.alpha).refused is None
    pair.until(lambda: pair.owners() == all_on("alpha"), 2000)
    pair.run(1000)
    pair.alpha.kill_daemon()
    lose(ROUTER, pair.alpha)
    pair.run(500)
    pair.alpha.start_daemon()
    pair.until(lambda: pair.owners() == all_on("beta"), DEADPING_MS + QUICK_MS + 2000)


@pytest.mark.parametrize("missed_ms", [600, 1000, DEADPING_MS - 300])
def test_it_outlasts_pings_that_the_better_node_misses(missed_ms: int) -> None:
    pair = overruled()
    lose(ROUTER, pair.beta)
    pair.run(missed_ms)
    find(ROUTER, pair.beta)
    pair.run(LONG_MS)
    assert pair.owners() == all_on("alpha")


def test_it_ends_when_the_other_node_has_lost_as_much_for_as_long_as_a_ping_node_takes_to_die() -> None:
    pair = overruled()
    lose(ROUTER, pair.beta)
    pair.run(2 * DEADPING_MS)
    assert pair.owners() == all_on("alpha")
    find(ROUTER, pair.beta)
    pair.until(lambda: pair.owners() == all_on("beta"), QUICK_MS + 2000)


def test_after_a_restart_where_both_reach_as_much_a_new_loss_moves_as_ever() -> None:
    pair = overruled()
    find(ROUTER, pair.alpha)
    restart(pair, pair.alpha)
    pair.run(5000)
    lose(ROUTER, pair.alpha)
    pair.until(lambda: pair.owners() == all_on("beta"), DEADPING_MS + QUICK_MS + 1000)
