"""Nodes in a ring of serial lines: who hears whom with all of it, with one cut, with two; and no storm."""

from __future__ import annotations

from collections import Counter

import pytest

from hbd.core import message as f
from hbd.core.effects import Answer
from hbd.core.events import Asked, Command, DatagramReceived, RequestId, Scope, Standby, Takeover
from hbd.core.views import NodeStatus
from hbd.core.wire import Framing, encode
from tests.scenarios.ring import KEYS, LEFT, LINE_MS, NAMES, RIGHT, TIMING, Ring, Said

DEADTIME_MS = TIMING.deadtime_ms
UP = "up"


def by_message(said: list[Said]) -> Counter[tuple[str, str, str | None, str | None, str | None]]:
    """How often each message went from one node to the next; `NS_` messages left out."""
    return Counter(
        (each.sender, each.to, each.message.text(f.SRC), each.message.text(f.HG), each.message.text(f.SEQ))
        for each in said
        if f.SEQ in each.message
    )


def test_all_hear_all_on_both_lines() -> None:
    ring = Ring().started()
    ring.run(2 * DEADTIME_MS)
    for station in ring.stations.values():
        assert set(station.links().values()) == {UP}
        assert len(station.links()) == 4
    assert ring.deaths() == []


@pytest.mark.parametrize("cut", [("alpha", "beta"), ("beta", "gamma"), ("gamma", "alpha")])
def test_one_cut_is_survived_and_shown_as_links_that_are_dead(cut: tuple[str, str]) -> None:
    ring = Ring().started()
    ring.cut(*cut)
    ring.run(4 * DEADTIME_MS)
    assert ring.deaths() == []
    for name in cut:
        assert Counter(ring[name].links().values()) == {"up": 2, "dead": 2}


def test_with_two_cuts_the_one_between_them_is_alone_and_comes_back() -> None:
    ring = Ring().started()
    ring.cut("alpha", "beta")
    ring.cut("gamma", "alpha")
    ring.run(2 * DEADTIME_MS)
    assert sorted(ring.deaths()) == [
        "alpha: node beta: is dead", "alpha: node gamma: is dead",
        "beta: node alpha: is dead", "gamma: node alpha: is dead",
    ]  # fmt: skip
    assert not any(station.said("Resources being acquired") for station in ring.stations.values())
    ring.cuts.clear()
    ring.run(DEADTIME_MS)
    for station in ring.stations.values():
        assert set(station.sees().values()) == {"active"}
        assert len(station.said("returning after partition")) == (2 if station.name == "alpha" else 1)


def test_a_node_that_starts_behind_a_cut_is_heard_by_all() -> None:
    ring = Ring()
    ring.cut("alpha", "beta")
    ring.started()


def test_a_node_that_leaves_in_order_is_said_goodbye_to_by_both() -> None:
    ring = Ring().started()
    ring.cut("alpha", "gamma")
    ring["gamma"].stop()
    ring.run(2 * DEADTIME_MS)
    assert ring["gamma"].core is None
    assert ring.deaths() == ["alpha: node gamma: is dead", "beta: node gamma: is dead"]
    for name in ("alpha", "beta"):
        assert ring[name].said("Received shutdown notice from 'gamma'.")


def test_a_node_that_restarts_behind_a_cut_is_heard_in_its_new_life() -> None:
    ring = Ring().started()
    ring.cut("alpha", "gamma")
    began_ms = ring.now_ms
    ring["gamma"].core = None
    ring["gamma"].start()
    ring.run(DEADTIME_MS)
    assert ring["alpha"].said("Heartbeat restart on node gamma", began_ms)
    assert ring["alpha"].sees()["gamma"] == "active"
    assert ring.deaths() == []


def test_each_node_says_a_message_once_on_a_line_and_never_back_where_it_came_from() -> None:
    ring = Ring()
    ring.started()
    ring.run(60_000)
    assert set(by_message(ring.said).values()) == {1}
    came_from: dict[tuple[str, str | None, str | None, str | None], str] = {}
    for said in ring.said:
        message = said.message
        name = message.text(f.SRC), message.text(f.HG), message.text(f.SEQ)
        if f.SEQ in message and message.text(f.SRC) != said.sender:
            assert came_from[said.sender, *name] != said.to
        came_from.setdefault((said.to, *name), said.sender)


@pytest.mark.parametrize("count", [3, 5])
@pytest.mark.parametrize("cut", [False, True])
def test_a_storm_is_impossible(count: int, cut: bool) -> None:
    """On a line goes at most what its sender says, and each message of the others once."""
    names = tuple(f"node{number}" for number in range(count))
    ring = Ring(*names, hopfudge=255).started()
    if cut:
        ring.cut(names[0], names[1])
    ring.run(1000)
    began_ms = ring.now_ms
    ring.run(60_000)
    own = [said for said in ring.on_lines(began_ms) if said.message.text(f.SRC) == said.sender]
    # Each goes out on two lines, and each of the other nodes says it again on one.
    assert len(ring.on_lines(began_ms)) <= len(own) + len(own) // 2 * (count - 1) + 2 * count
    own_a_second = len(own) / 60 / count / 2
    assert own_a_second <= 1000 / TIMING.keepalive_ms * 1.6


def test_a_flood_of_one_message_over_and_over_goes_no_further_than_the_first_node() -> None:
    ring = Ring().started()
    said = next(each for each in reversed(ring.said) if each.sender == "gamma" and each.to == "beta")
    assert said.message.text(f.SRC) == "gamma"
    ring.run(LINE_MS)
    before = ring.forwarded
    for _ in range(1000):
        ring["beta"].step(DatagramReceived(LEFT, said.line))
    assert ring.forwarded == before


def test_a_message_lost_on_the_far_line_is_asked_for_and_sent_again_through_the_node_between() -> None:
    ring = Ring().started()
    ring.cut("alpha", "gamma")
    ring.run(DEADTIME_MS)
    lost: list[Said] = []

    def lose_one(said: Said) -> bool:
        """The first heartbeat of gamma that beta passes on to alpha, once."""
        first = not lost and (said.sender, said.to, said.message.text(f.SRC)) == ("beta", "alpha", "gamma")
        if first:
            lost.append(said)
        return first

    ring.lost = lose_one
    began_ms = ring.now_ms
    ring.run(DEADTIME_MS)
    assert len(lost) == 1
    seq = lost[0].message.text(f.SEQ)
    copies = [
        said for said in ring.on_lines(began_ms)
        if (said.to, said.message.text(f.SRC), said.message.text(f.SEQ)) == ("alpha", "gamma", seq)
        and said.sender == "beta"
    ]  # fmt: skip
    assert len(copies) == 2
    assert ring["alpha"].said("No pkts missing from gamma!", began_ms)
    requests = [s for s in ring.on_lines(began_ms) if s.message.text(f.T) == "NS_rexmit" and s.to == "gamma"]
    assert len({s.message.text(f.FIRSTSEQ) for s in requests}) == 1


def test_a_message_of_a_life_that_never_was_ends_no_passing_on() -> None:
    ring = Ring().started()
    said = next(each for each in reversed(ring.said) if each.message.text(f.SRC) == "beta")
    strange = said.message.with_fields((f.T, "resource"), (f.HG, "ffffff"), (f.SEQ, "5"), (f.TTL, "3"))
    ring["alpha"].step(DatagramReceived(RIGHT, encode(strange, KEYS, framing=Framing.CLASSIC)))
    ring.cut("beta", "gamma")
    ring.run(3 * DEADTIME_MS)
    assert ring.deaths() == []


def test_what_does_not_verify_or_comes_from_a_stranger_is_not_passed_on() -> None:
    ring = Ring().started()
    said = next(each for each in reversed(ring.said) if each.message.text(f.SRC) == "gamma")
    stranger = said.message.with_fields((f.SRC, "delta"), (f.SRCUUID, b"d" * 16), (f.SEQ, "7fff"))
    forged = encode(stranger.with_field(f.SRC, "gamma"), KEYS, framing=Framing.CLASSIC)
    before = ring.forwarded
    for line in (
        said.line.replace(b"ttl=", b"ttl=1"),
        encode(stranger, KEYS, framing=Framing.CLASSIC),
        forged.replace(b"seq=7fff", b"seq=7ffe"),
    ):
        ring["beta"].step(DatagramReceived(LEFT, line))
    assert ring.forwarded == before


@pytest.mark.parametrize("command", [Standby(Scope.ALL), Takeover(Scope.ALL)])
def test_where_there_are_no_groups_there_is_nothing_to_hand_over(command: Command) -> None:
    ring = Ring().started()
    ring["alpha"].step(Asked(RequestId(7), command))
    assert ring["alpha"].answers == [Answer(RequestId(7), 0)]


def test_two_nodes_with_two_lines_pass_nothing_on() -> None:
    ring = Ring("alpha", "beta").started()
    ring.run(10_000)
    assert ring.forwarded == 0


def test_the_state_of_others_is_said_once_and_not_at_each_heartbeat() -> None:
    ring = Ring().started()
    ring.run(30_000)
    for name in NAMES:
        assert len(ring[name].said("remote resource transition completed.")) == 2


@pytest.mark.parametrize("by", [1, 2, 500])
def test_a_node_that_was_set_back_jumps_above_what_the_others_knew_of_it(by: int) -> None:
    ring = Ring().started()
    ring.run(60_000)  # Longer than the numbers of a new life take to be as high.
    ring["beta"].core = None
    ring.run(1000)
    ring["beta"].generation -= by
    began_ms = ring.now_ms
    ring["beta"].start()
    ring.run(10_000)
    everybody = dict.fromkeys(NAMES, NodeStatus.ACTIVE.value)
    assert all(station.sees() == everybody for station in ring.stations.values())
    assert ring.deaths(began_ms) == []
    assert ring["beta"].said("knows a later generation of this node: going on as")


def test_two_nodes_that_were_set_back_find_one_another() -> None:
    ring = Ring().started()
    ring.run(60_000)
    for name in ("beta", "gamma"):
        ring[name].core = None
        ring[name].generation -= 100
    for name in ("beta", "gamma"):
        ring[name].start()
    ring.run(10_000)
    everybody = dict.fromkeys(NAMES, NodeStatus.ACTIVE.value)
    assert all(station.sees() == everybody for station in ring.stations.values())


def test_datagrams_of_an_earlier_life_move_nobody_to_a_new_generation() -> None:
    ring = Ring().started()
    ring.run(5000)
    old = [said for said in ring.said if said.sender == "gamma" and said.message.text(f.SRC) == "gamma"]
    ring["gamma"].core = None
    ring.run(1000)
    ring["gamma"].start()
    ring.run(5000)
    before = ring["gamma"].generation
    for said in old:
        ring["beta"].step(DatagramReceived(LEFT, said.line))
        ring.run(300)
    core = ring["gamma"].core
    assert core is not None
    assert core._membership.channel.generation == before
