"""When a node or a link counts as silent."""

from __future__ import annotations

import pytest

from hbd.core.liveness import LinkDead, Liveness, NodeDead, NodeLate

WARN, DEAD, INITDEAD = 800, 2000, 10_000


def started(*nodes: str) -> Liveness:
    return Liveness(0, nodes or ("beta",), WARN, DEAD, INITDEAD)


def up(*nodes: str) -> Liveness:
    """Communication is up, and everybody was heard at 0."""
    liveness = started(*nodes)
    for node in nodes or ("beta",):
        liveness.status_heard(0, node, DEAD, False)
        liveness.link_heard(0, node, "eth0")
    liveness.communication_is_up()
    return liveness


def test_a_node_is_dead_when_its_own_deadtime_is_over_and_this_is_told_once() -> None:
    liveness = up()
    assert liveness.deadline_ms() == 2000
    assert liveness.expire(1999) == []
    assert liveness.expire(2000) == [NodeDead("beta", 2000), LinkDead("beta", "eth0")]
    assert liveness.expire(9000) == []
    assert liveness.deadline_ms() is None


def test_how_long_a_silence_may_last_is_what_the_node_itself_says() -> None:
    liveness = up()
    liveness.status_heard(100, "beta", 4000, False)
    assert not any(isinstance(fact, NodeDead) for fact in liveness.expire(4099))
    assert NodeDead("beta", 4000) in liveness.expire(4100)


def test_before_communication_is_up_initdead_holds_for_everybody() -> None:
    liveness = started()
    liveness.status_heard(0, "beta", DEAD, False)
    assert liveness.expire(9_999) == []
    assert liveness.expire(10_000) == [NodeDead("beta", 10_000)]


def test_a_longer_deadtime_of_the_node_outlasts_initdead() -> None:
    liveness = started()
    liveness.status_heard(0, "beta", 12_000, False)
    assert liveness.expire(11_999) == []


def test_everybody_is_known_when_each_was_heard_or_is_dead() -> None:
    liveness = started("beta", "gamma")
    assert not liveness.everybody_is_known()
    liveness.status_heard(10, "beta", DEAD, False)
    assert not liveness.everybody_is_known()
    liveness.expire(10_000)
    assert liveness.everybody_is_known()
    assert liveness.ever_heard("beta")
    assert not liveness.ever_heard("gamma")


def test_a_late_status_is_told_when_it_comes() -> None:
    liveness = up()
    assert liveness.status_heard(800, "beta", DEAD, False) is None
    assert liveness.status_heard(1601, "beta", DEAD, False) == NodeLate("beta", 801, False)


def test_a_status_after_more_than_our_deadtime_is_later_still() -> None:
    liveness = up()
    liveness.status_heard(0, "beta", 60_000, False)
    assert liveness.status_heard(2001, "beta", 60_000, False) == NodeLate("beta", 2001, True)


def test_a_restart_is_not_late() -> None:
    assert up().status_heard(1900, "beta", DEAD, True) is None


def test_the_first_status_of_all_is_not_late() -> None:
    assert started().status_heard(5000, "beta", DEAD, False) is None


def test_two_nodes_that_die_together_are_told_in_the_order_of_the_configuration() -> None:
    facts = up("gamma", "beta").expire(2000)
    assert [fact.node for fact in facts if isinstance(fact, NodeDead)] == ["gamma", "beta"]


def test_a_dead_node_that_is_heard_lives_again_and_can_die_again() -> None:
    liveness = up()
    liveness.expire(2000)
    liveness.status_heard(5000, "beta", DEAD, True)
    assert liveness.expire(6999) == []
    assert NodeDead("beta", 2000) in liveness.expire(7000)


def test_a_link_lives_by_whatever_comes_on_it_and_the_node_by_its_status_only() -> None:
    liveness = up()
    assert not liveness.link_heard(1900, "beta", "eth0")
    assert liveness.expire(2000) == [NodeDead("beta", 2000)]
    assert liveness.links() == {("beta", "eth0"): True}


def test_one_link_of_two_dies_alone_and_comes_back() -> None:
    liveness = up()
    assert liveness.link_heard(0, "beta", "eth1")
    for ms in range(200, 2200, 200):
        liveness.status_heard(ms, "beta", DEAD, False)
        liveness.link_heard(ms, "beta", "eth0")
    assert liveness.expire(2000) == [LinkDead("beta", "eth1")]
    assert liveness.links() == {("beta", "eth0"): True, ("beta", "eth1"): False}
    assert liveness.link_heard(2100, "beta", "eth1")


def test_time_in_which_we_did_not_run_is_no_silence_of_the_others() -> None:
    liveness = up()
    liveness.excuse(1500)
    assert liveness.expire(3499) == []
    assert NodeDead("beta", 2000) in liveness.expire(3500)


@pytest.mark.parametrize("timing", [(100, 500, 5000), (5000, 9000, 20_000)])
def test_new_timings_do_not_change_what_a_node_said_of_itself(timing: tuple[int, int, int]) -> None:
    liveness = up()
    liveness.retime(*timing)
    assert liveness.deadline_ms() == 2000
