"""A node that starts and can hear nobody is isolated, and not alone (rule 25)."""

from __future__ import annotations

from dataclasses import replace

from hbd.config.model import MediumSpec, Ping, Serial
from hbd.core.events import ConfirmDead
from hbd.core.views import ClusterState
from tests.scenarios.pair import ETH0, GROUPS, TIMING, Pair
from tests.scenarios.pinged import ROUTER, find, lose

INITDEAD_MS = TIMING.initdead_ms
TTY = Serial("/dev/ttyS0", 19200)
WHOLE = len([resource for group in GROUPS for resource in group.resources])


def dark(*more: MediumSpec) -> Pair:
    """Alpha has no carrier, and beta is cut off by that; nothing is started yet."""
    pair = Pair()
    for machine in pair.machines.values():
        machine.config = replace(machine.config, media=(ETH0, *more))
    pair.alpha.dark = True
    pair.cut()
    return pair


def isolated(pair: Pair) -> bool:
    return any(text.startswith("isolated: ") for text in pair.view(pair.alpha).degraded)


def test_without_a_carrier_initdead_does_not_run_out_and_nothing_is_started() -> None:
    pair = dark()
    pair.alpha.start_daemon()
    pair.run(20 * INITDEAD_MS)
    assert not pair.alpha.running
    assert pair.view(pair.alpha).state is ClusterState.STARTING
    assert isolated(pair)
    assert pair.logged(pair.alpha, "isolated: ") == 2000
    assert "node beta: is dead" not in pair.log(pair.alpha)


def test_who_serves_is_not_joined_by_a_second_that_was_booted_with_its_cable_pulled() -> None:
    pair = Pair().started()
    pair.alpha.power_off()
    pair.cut()
    pair.until(lambda: len(pair.beta.running) == WHOLE, 5000)
    pair.alpha.dark = True
    pair.alpha.power_on()
    pair.run(20 * INITDEAD_MS)
    assert not pair.alpha.running
    pair.heal()
    pair.alpha.darken(False)
    pair.run(5000)
    assert pair.view(pair.alpha).state is ClusterState.STABLE
    assert not isolated(pair)
    assert len(pair.beta.running) == WHOLE


def test_initdead_counts_from_the_moment_at_which_there_is_a_carrier() -> None:
    pair = dark()
    pair.alpha.start_daemon()
    pair.run(60_000)
    pair.alpha.darken(False)
    pair.run(INITDEAD_MS - 200)
    assert not pair.alpha.running
    assert not isolated(pair)
    pair.until(lambda: len(pair.alpha.running) == WHOLE, 1000)


def test_a_carrier_lost_while_initdead_runs_begins_it_anew() -> None:
    pair = dark()
    pair.alpha.dark = False
    pair.alpha.start_daemon()
    pair.run(INITDEAD_MS - 1000)
    pair.alpha.darken(True)
    pair.run(INITDEAD_MS)
    assert not pair.alpha.running
    assert isolated(pair)
    pair.alpha.darken(False)
    pair.run(INITDEAD_MS - 200)
    assert not pair.alpha.running
    pair.until(lambda: len(pair.alpha.running) == WHOLE, 1000)


def test_a_dark_crossover_with_a_ping_node_that_answers_is_that_of_a_node_alone() -> None:
    pair = dark(ROUTER)
    pair.alpha.start_daemon()
    pair.until(lambda: len(pair.alpha.running) == WHOLE, INITDEAD_MS + 500)
    assert not isolated(pair)


def test_a_dark_crossover_and_a_ping_node_that_does_not_answer_leave_it_isolated_until_it_does() -> None:
    pair = dark(ROUTER)
    lose(ROUTER, pair.alpha)
    pair.alpha.start_daemon()
    pair.run(5 * INITDEAD_MS)
    assert not pair.alpha.running
    assert isolated(pair)
    find(ROUTER, pair.alpha)
    pair.run(INITDEAD_MS - 200)
    assert not pair.alpha.running
    pair.until(lambda: len(pair.alpha.running) == WHOLE, 2000)


def test_a_serial_port_that_is_open_will_do_although_the_crossover_is_dark() -> None:
    pair = dark(TTY)
    pair.alpha.start_daemon()
    pair.until(lambda: len(pair.alpha.running) == WHOLE, INITDEAD_MS + 500)


def test_an_operators_oath_ends_the_isolation() -> None:
    pair = dark()
    pair.alpha.start_daemon()
    pair.run(5 * INITDEAD_MS)
    assert pair.ask(pair.alpha, ConfirmDead("beta")).refused is None
    pair.until(lambda: len(pair.alpha.running) == WHOLE, 1000)
    pair.run(1000)
    assert not isolated(pair)


def test_whoever_is_heard_ends_the_isolation_whatever_the_carrier_says() -> None:
    pair = dark()
    pair.heal()
    pair.alpha.start_daemon()
    pair.beta.start_daemon()
    pair.run(3000)
    assert pair.view(pair.alpha).state is ClusterState.STABLE
    assert pair.view(pair.alpha).degraded == ("eth0: no carrier",)


def test_a_survivor_goes_on_when_the_cable_is_dark_and_hbd_is_killed_and_comes_back() -> None:
    pair = Pair().started()
    pair.beta.power_off()
    pair.alpha.darken(True)
    pair.until(lambda: len(pair.alpha.running) == WHOLE, 5000)
    pair.run(1000)
    pair.alpha.kill_daemon()
    pair.run(500)
    pair.alpha.start_daemon()
    pair.run(2 * INITDEAD_MS)
    assert len(pair.alpha.running) == WHOLE
    assert pair.view(pair.alpha).state is ClusterState.STABLE
    assert not isolated(pair)


def test_a_lost_carrier_is_said_and_shown_and_alone_moves_nothing() -> None:
    pair = Pair().started()
    at_home = pair.owners()
    pair.cut()
    lost_ms = pair.now_ms
    pair.alpha.darken(True)
    pair.run(500)
    assert pair.logged(pair.alpha, "eth0: no carrier: its cable is pulled", lost_ms) == lost_ms
    assert pair.view(pair.alpha).degraded == ("eth0: no carrier",)
    pair.alpha.darken(False)
    pair.heal()
    pair.run(1000)
    assert pair.view(pair.alpha).degraded == ()
    assert pair.owners() == at_home


def test_ping_nodes_do_not_replace_a_medium() -> None:
    pair = Pair()
    router = Ping("router", ("192.168.85.254",), "ping")
    pair.alpha.config = replace(pair.alpha.config, media=(router,))
    pair.alpha.start_daemon()
    pair.run(5 * INITDEAD_MS)
    assert not pair.alpha.running
    assert isolated(pair)
