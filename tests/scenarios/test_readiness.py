"""What a node knows of the other one's ability to take over: Node.Obstacles, and links that are weak."""

from __future__ import annotations

from hbd.core.events import Reload, Stop
from hbd.core.losses import WINDOW
from hbd.core.message import Message
from hbd.core.views import Agreement
from hbd.sim.machines import Machine
from tests.scenarios.pair import GROUPS, SHOP, TIMING, Pair, all_on, reconfigured
from tests.scenarios.pinged import at_rest


def obstacles(pair: Pair, of: Machine, seen_by: Machine) -> tuple[str, ...]:
    return next(node.obstacles for node in pair.view(seen_by).nodes if node.name == of.name)


def test_nothing_stands_in_the_way_of_two_nodes_that_serve() -> None:
    pair = Pair().started()

    for seen_by in (pair.alpha, pair.beta):
        assert obstacles(pair, pair.alpha, seen_by) == obstacles(pair, pair.beta, seen_by) == ()


def test_a_dead_node_cannot_take_over() -> None:
    pair = Pair().started()
    pair.beta.power_off()
    pair.run(2 * TIMING.deadtime_ms)

    assert obstacles(pair, pair.beta, pair.alpha) == ("is dead",)
    assert obstacles(pair, pair.alpha, pair.alpha) == ()


def test_a_node_that_starts_cannot_take_over_yet() -> None:
    pair = Pair()
    pair.alpha.start_daemon()
    pair.run(2 * TIMING.keepalive_ms)

    assert obstacles(pair, pair.alpha, pair.alpha) == ("is starting",)
    assert obstacles(pair, pair.beta, pair.alpha) == ("is starting",)


def test_a_node_that_leaves_cannot_take_over() -> None:
    pair = Pair().started()
    pair.beta.ask(Stop())
    pair.run(5)

    assert obstacles(pair, pair.beta, pair.alpha) == ("is shutting down",)


def test_a_node_where_a_group_did_not_start_says_so_and_the_other_knows_it() -> None:
    pair = Pair()
    pair.alpha.troubles.start_fails.add("web.service")
    pair.alpha.start_daemon()
    pair.beta.start_daemon()
    pair.until(lambda: pair.owners() == all_on("beta"), 3000)
    pair.run(1000)

    for seen_by in (pair.alpha, pair.beta):
        assert obstacles(pair, pair.alpha, seen_by) == (f"could not start {SHOP.name}",)
        assert obstacles(pair, pair.beta, seen_by) == ()


def test_a_node_with_another_haresources_can_take_over_and_is_known_to_have_it() -> None:
    """It takes what it has in its own."""
    pair = Pair().started()
    pair.ask(pair.beta, Reload(reconfigured(pair.beta, GROUPS[:1])))
    pair.run(2 * TIMING.keepalive_ms)

    for node, other in ((pair.alpha, pair.beta), (pair.beta, pair.alpha)):
        assert obstacles(pair, other, node) == ()
        seen = next(each for each in pair.view(node).nodes if each.name == other.name)
        assert seen.haresources is Agreement.DIFFERENT
    pair.alpha.power_off()
    pair.until(lambda: SHOP.resources[0].identity in pair.beta.running, 5000)


def test_a_link_that_loses_every_third_heartbeat_is_weak_until_it_does_not() -> None:
    pair = at_rest()
    heard = 0

    def every_third(sender: str, message: Message) -> bool:
        nonlocal heard
        heard += sender == "beta"
        return sender == "beta" and heard % 3 == 0

    pair.lost = every_third
    pair.run(4 * WINDOW * TIMING.keepalive_ms)
    (link,) = (link for link in pair.view(pair.alpha).links if link.node == "beta")
    assert link.weak
    assert not any(link.weak for link in pair.view(pair.beta).links)

    pair.heal()
    pair.run(3 * WINDOW * TIMING.keepalive_ms)
    assert not any(link.weak for link in pair.view(pair.alpha).links)
