"""What a node counts, and what it knows of the other one's configuration."""

from __future__ import annotations

from dataclasses import replace

from hbd.core.events import Reload, Scope
from hbd.core.views import Agreement, NodeView
from hbd.sim.machines import Machine
from tests.scenarios.beside_306 import both_at_home
from tests.scenarios.pair import FILES, GROUPS, TIMING, Pair, all_on, config_for, reconfigured
from tests.scenarios.pinged import ROUTER, at_rest, pinged


def figures(pair: Pair) -> dict[str, int | tuple[tuple[str, int], ...]]:
    return dict(pair.view(pair.alpha).statistics)


def each(pair: Pair, name: str) -> dict[str, int]:
    """A figure that there is for each node, link or group."""
    found = figures(pair)[name]
    assert isinstance(found, tuple)
    return dict(found)


def peer(pair: Pair) -> NodeView:
    return next(node for node in pair.view(pair.alpha).nodes if not node.local and node.kind == "normal")


def test_a_late_heartbeat_a_missed_message_and_the_longest_silence_are_counted() -> None:
    pair = Pair().started()
    assert each(pair, "heartbeats_late") == {"beta": 0}
    assert each(pair, "messages_missed") == {"beta": 0}
    before = each(pair, "heartbeats_received")["beta"]
    pair.cut_from("beta")
    pair.run(TIMING.warntime_ms + TIMING.keepalive_ms)
    pair.heal()
    pair.run(TIMING.keepalive_ms + 10)
    assert each(pair, "heartbeats_received")["beta"] > before
    assert each(pair, "heartbeats_late") == {"beta": 1}
    assert each(pair, "link_late") == {"beta:eth0": 1}
    assert each(pair, "messages_missed")["beta"] >= 1
    assert TIMING.warntime_ms < each(pair, "heartbeat_longest_ms")["beta"] < TIMING.deadtime_ms
    assert each(pair, "deaths") == {"beta": 0}


def test_a_takeover_after_a_death_counts_with_the_time_it_took() -> None:
    pair = Pair().started()
    pair.beta.power_off()
    pair.until(lambda: pair.owners() == all_on("alpha"), 5000)
    pair.run(100)
    assert each(pair, "deaths") == {"beta": 1}
    assert each(pair, "transitions") == {"death:done": 1}
    starts = each(pair, "group_jobs")
    assert starts[f"start:{FILES.name}"] == 1
    took_ms = pair.logged(pair.alpha, "mach_down takeover") - pair.logged(pair.alpha, "node beta: is dead")
    assert each(pair, "transitions_ms") == {"death:done": took_ms}
    # Heartbeats, and times, of the dead one are no measure of the wire.
    assert each(pair, "heartbeats_late") == {"beta": 0}


def test_a_death_that_leaves_nothing_to_take_over_is_no_transition() -> None:
    pair = Pair().started()
    pair.standby(pair.beta)
    pair.until(lambda: pair.owners() == all_on("alpha"), 5000)
    pair.run(1000)
    pair.beta.power_off()
    pair.run(5000)
    assert each(pair, "deaths") == {"beta": 1}
    assert not [name for name in each(pair, "transitions") if name.startswith("death")]


def test_a_standby_counts_with_its_cause_and_its_result() -> None:
    pair = Pair().started()
    pair.standby(pair.alpha, Scope.LOCAL)
    pair.until(lambda: pair.owners() == all_on("beta"), 5000)
    pair.run(500)
    assert each(pair, "transitions") == {"standby:done": 1}
    assert 0 < each(pair, "transitions_ms")["standby:done"] < 5000
    assert set(each(pair, "group_jobs")) >= {f"stop:{GROUPS[0].name}"}


def test_a_node_sees_whether_the_other_ones_haresources_means_the_same() -> None:
    pair = Pair()
    pair.alpha.start_daemon()
    pair.run(100)
    assert (peer(pair).protocol, peer(pair).haresources) == ("", Agreement.UNKNOWN)
    pair.beta.start_daemon()
    pair.run(3000)
    assert (peer(pair).protocol, peer(pair).haresources) == ("hbd", Agreement.SAME)
    pair.ask(pair.beta, Reload(reconfigured(pair.beta, GROUPS[:1])))
    pair.run(1000)
    assert peer(pair).haresources is Agreement.DIFFERENT
    pair.beta.power_off()
    pair.run(5000)
    assert peer(pair).haresources is Agreement.UNKNOWN


def test_two_nodes_without_ping_nodes_ask_the_same() -> None:
    assert peer(Pair().started()).ping_nodes is Agreement.SAME


def test_a_node_sees_whether_the_other_one_asks_the_same_ping_nodes() -> None:
    for pair in (at_rest(), pinged(ipfail=False).started()):
        assert peer(pair).ping_nodes is Agreement.SAME
        config = pair.beta.config
        fewer = replace(config, media=tuple(medium for medium in config.media if medium != ROUTER))
        assert fewer != config
        pair.ask(pair.beta, Reload(fewer))
        pair.run(1000)
        assert peer(pair).ping_nodes is Agreement.DIFFERENT


def test_the_clock_of_the_other_node_is_shown_and_decides_nothing() -> None:
    pair = Pair()
    pair.beta = Machine(pair, config_for("beta"), 2, -300)
    pair.machines["beta"] = pair.stations["beta"] = pair.beta
    pair.started()
    assert each(pair, "clock_ahead_s")["beta"] in (-300, -301)
    assert pair.never_logged(pair.alpha, "Late heartbeat")


def test_of_a_heartbeat_3_0_6_nothing_is_known_but_what_it_is_and_its_clock() -> None:
    pair, _ = both_at_home()
    assert (peer(pair).protocol, peer(pair).haresources, peer(pair).ping_nodes) == (
        "heartbeat", Agreement.UNKNOWN, Agreement.UNKNOWN,
    )  # fmt: skip
    assert set(each(pair, "clock_ahead_s")) == {"beta"}


def test_a_death_that_left_nothing_to_take_over_is_no_takeover_when_groups_move_later() -> None:
    pair = Pair().started()
    pair.standby(pair.beta)
    pair.until(lambda: pair.owners() == all_on("alpha"), 5000)
    pair.run(1000)
    pair.beta.power_off()
    pair.until(lambda: not pair.never_logged(pair.alpha, "node beta: is dead"), 5000)
    pair.run(1000)
    pair.beta.power_on()
    pair.run(3000)
    pair.takeover(pair.beta, Scope.LOCAL)
    pair.until(lambda: pair.owners() != all_on("alpha"), 5000)
    pair.run(1000)
    assert pair.never_logged(pair.alpha, "mach_down takeover complete")
    assert "death:done" not in each(pair, "transitions")
