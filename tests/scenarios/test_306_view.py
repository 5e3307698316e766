"""What hbd shows of a heartbeat 3.0.6 node, which says what it holds in sets and not in reports."""

from __future__ import annotations

from hbd.config.model import AutoFailback
from hbd.core.views import GroupState, Holding
from tests.scenarios.beside_306 import both_at_home, survivor_holds_all


def test_each_node_is_shown_with_its_own_group() -> None:
    pair, _ = both_at_home()
    view = pair.view(pair.alpha)
    assert {group.name: (group.owner, group.state) for group in view.groups} == {
        "10.0.0.1": ("alpha", GroupState.STARTED),
        "10.0.0.2": ("beta", GroupState.STARTED),
    }
    assert {node.name: node.holding for node in view.nodes} == {
        "alpha": Holding.LOCAL,
        "beta": Holding.LOCAL,
    }


def test_a_survivor_is_shown_with_everything() -> None:
    pair, beta, _ = survivor_holds_all(AutoFailback.OFF)
    beta.resource("all", 1)
    pair.run(100)
    view = pair.view(pair.alpha)
    assert [group.owner for group in view.groups] == ["beta", "beta"]
    assert [node.holding for node in view.nodes if node.name == "beta"] == [Holding.ALL]


def test_nobody_is_shown_as_the_owner_of_what_a_dead_heartbeat_held() -> None:
    pair, beta = both_at_home()
    beta.falls_silent()
    pair.until(lambda: len(pair.alpha.running) == 5, 5000)
    pair.run(200)
    view = pair.view(pair.alpha)
    assert [group.owner for group in view.groups] == ["alpha", "alpha"]
    assert [node.holding for node in view.nodes if node.name == "beta"] == [Holding.NONE]
