"""The conversation with the ipfail of a heartbeat 3.0.6 node, played by a puppet."""

from __future__ import annotations

from dataclasses import replace

from hbd.config.model import AutoFailback
from hbd.core import message as f
from hbd.core import protocol
from tests.scenarios.beside_306 import START_SHOP, STOP_SHOP, start_beside_beta
from tests.scenarios.pair import ETH0, Pair
from tests.scenarios.pinged import DEADPING_MS, ROUTER, SWITCH, find, lose
from tests.scenarios.puppet import Puppet

GIVEUP_MS = 1200
"""Twice keepalive, or a keepalive and the lag of 3.0.6."""


def both_at_home(failback: AutoFailback = AutoFailback.OFF) -> tuple[Pair, Puppet]:
    """As beside_306's, with ping nodes and ipfail here; the peer's ipfail has not come yet."""
    pair = Pair(failback)
    pair.alpha.config = replace(pair.alpha.config, media=(ETH0, ROUTER, SWITCH), ipfail=True)
    beta = start_beside_beta(pair)
    beta.resource("local", 1)
    pair.run(1000)
    assert pair.jobs(pair.alpha) == START_SHOP
    return pair, beta


def heard(beta: Puppet, kind: str, since_ms: int = 0) -> list[str | None]:
    """What came of that kind: the count, or its addressee."""
    messages = [m for ms, m in beta.heard if ms >= since_ms and m.text(f.T) == kind]
    return [m.text(f.NUM_PING) or m.text(f.DEST) for m in messages]


def test_our_ipfail_signs_on_and_tells_its_count_once_ours_and_when_theirs_comes() -> None:
    pair, beta = both_at_home()
    (joined,) = [m for _, m in beta.heard if m.text(f.T) == protocol.CLIENT_STATUS]
    assert [joined.text(name) for name in (f.ST, f.FROM_ID, f.TO_ID, f.INFO)] == [
        "join", "ipfail", "ipfail", "signon",
    ]  # fmt: skip
    assert heard(beta, protocol.NUM_PING_NODES) == ["2"]
    came_ms = pair.now_ms
    beta.say(protocol.client_status("ipfail", "join", "signon"))
    pair.run(300)
    assert heard(beta, protocol.NUM_PING_NODES, came_ms) == ["2"]


def test_equal_counts_are_answered_with_abort_giveup() -> None:
    pair, beta = both_at_home()
    asked_ms = pair.now_ms
    beta.say(protocol.num_ping_nodes("alpha", 2))
    pair.run(2000)
    assert heard(beta, protocol.ABORT_GIVEUP) == ["beta"]
    assert heard(beta, protocol.YOU_ARE_DEAD) == []
    assert pair.jobs(pair.alpha, asked_ms) == []


def test_a_peer_that_reaches_fewer_is_told_so_when_our_ping_nodes_have_answered_since() -> None:
    pair, beta = both_at_home()
    asked_ms = pair.now_ms
    beta.say(protocol.num_ping_nodes("alpha", 1))
    pair.run(400)
    assert heard(beta, protocol.YOU_ARE_DEAD) == []
    pair.run(600)
    assert heard(beta, protocol.YOU_ARE_DEAD) == ["beta"]
    assert pair.logged(pair.alpha, "Telling other node that we have more visible ping nodes.", asked_ms)


def test_a_peer_that_merely_misses_what_we_are_about_to_miss_is_told_nothing() -> None:
    pair, beta = both_at_home()
    lose(ROUTER, pair.alpha)
    pair.run(DEADPING_MS - 600)
    beta.say(protocol.num_ping_nodes("alpha", 1))
    pair.run(3000)
    assert heard(beta, protocol.YOU_ARE_DEAD) == []
    assert heard(beta, protocol.NUM_PING_NODES)[-1] == "1"


def test_fewer_here_and_said_so_hands_everything_over_by_a_standby() -> None:
    pair, beta = both_at_home()
    beta.say(protocol.num_ping_nodes("alpha", 2))
    lost_ms = pair.now_ms
    lose(ROUTER, pair.alpha)
    pair.until(lambda: heard(beta, protocol.NUM_PING_NODES)[-1] == "1", DEADPING_MS + 500)
    said_ms = pair.logged(pair.alpha, "Giving up because we have less visible ping nodes.", lost_ms)
    pair.run(1000)
    assert "ask_resources all me" not in beta.heard_since(lost_ms)
    pair.run(400)
    assert "ask_resources all me" in beta.heard_since(lost_ms)
    assert pair.logged(pair.alpha, "giveup() called (timeout worked)", lost_ms) - said_ms == GIVEUP_MS
    beta.say(protocol.ask_resources("all", "other"))
    pair.run(500)
    assert pair.jobs(pair.alpha, lost_ms) == STOP_SHOP


def test_you_are_dead_hands_over_and_abort_giveup_in_time_does_not() -> None:
    for aborted in (False, True):
        pair, beta = both_at_home()
        lose(ROUTER, pair.alpha)
        pair.run(DEADPING_MS + 500)
        told_ms = pair.now_ms
        beta.say(protocol.you_are_dead("alpha"))
        pair.run(GIVEUP_MS - 400)
        if aborted:
            beta.say(protocol.abort_giveup("alpha"))
        pair.run(2000)
        assert ("ask_resources all me" in beta.heard_since(told_ms)) is not aborted
        if aborted:
            assert pair.logged(pair.alpha, "Aborted delayed giveup", told_ms)


def test_a_count_that_recovers_in_time_calls_the_giveup_off() -> None:
    pair, beta = both_at_home()
    beta.say(protocol.num_ping_nodes("alpha", 2))
    lose(ROUTER, pair.alpha)
    pair.until(lambda: heard(beta, protocol.NUM_PING_NODES)[-1] == "1", DEADPING_MS + 500)
    find(ROUTER, pair.alpha)
    pair.run(5000)
    assert heard(beta, protocol.NUM_PING_NODES)[-1] == "2"
    assert "ask_resources all me" not in beta.heard_since()


def test_what_the_peer_gave_up_goes_home_after_half_a_minute_of_balance_with_auto_failback() -> None:
    for failback in (AutoFailback.ON, AutoFailback.OFF):
        pair, beta = both_at_home(failback)
        beta.say(protocol.num_ping_nodes("alpha", 1))
        pair.run(1000)
        beta.say((*protocol.ask_resources("all", "me"), (f.FROM_ID, "ipfail"), (f.TO_ID, "ipfail")))
        pair.run(50)
        beta.resource("none", 0, "standby")
        beta.say(protocol.ask_resources("all", "done"))
        pair.run(500)
        assert len(pair.alpha.running) == 5
        beta.resource("none", 1)
        pair.run(60_000)
        assert "ask_resources foreign me" not in beta.heard_since(), "it is still worse off"
        beta.say(protocol.num_ping_nodes("alpha", 2))
        pair.run(29_000)
        assert "ask_resources foreign me" not in beta.heard_since()
        pair.run(3000)
        assert ("ask_resources foreign me" in beta.heard_since()) is (failback is AutoFailback.ON)


def test_you_are_dead_that_comes_after_the_abort_said_later_moves_nothing() -> None:
    pair, beta = both_at_home()
    beta.say(protocol.num_ping_nodes("alpha", 2))
    lose(ROUTER, pair.alpha)
    pair.until(lambda: heard(beta, protocol.NUM_PING_NODES)[-1] == "1", DEADPING_MS + 500)
    beta.seq += 1
    lost_seq = beta.seq
    find(ROUTER, pair.alpha)
    pair.run(300)
    beta.say(protocol.abort_giveup("alpha"))
    pair.run(50)
    beta.say(protocol.you_are_dead("alpha"), seq=lost_seq)
    pair.run(5000)
    assert "ask_resources all me" not in beta.heard_since()


def test_a_higher_count_that_comes_after_the_lower_one_said_later_moves_nothing() -> None:
    pair, beta = both_at_home()
    beta.say(protocol.num_ping_nodes("alpha", 2))
    lose(ROUTER, pair.alpha)
    pair.run(DEADPING_MS - 200)
    beta.seq += 1
    lost_seq = beta.seq
    beta.say(protocol.num_ping_nodes("alpha", 1))
    pair.run(1500)
    assert heard(beta, protocol.NUM_PING_NODES)[-1] == "1"
    beta.say(protocol.num_ping_nodes("alpha", 2), seq=lost_seq)
    pair.run(6000)
    assert "ask_resources all me" not in beta.heard_since()


def test_a_lower_count_that_comes_after_the_higher_one_said_later_is_not_told_that_it_is_dead() -> None:
    pair, beta = both_at_home()
    beta.seq += 1
    lost_seq = beta.seq
    beta.say(protocol.num_ping_nodes("alpha", 2))
    pair.run(50)
    beta.say(protocol.num_ping_nodes("alpha", 1), seq=lost_seq)
    pair.run(5000)
    assert heard(beta, protocol.YOU_ARE_DEAD) == []


def test_who_stood_still_reads_what_waited_before_it_gives_up() -> None:
    pair, beta = both_at_home()
    beta.say(protocol.you_are_dead("alpha"))
    pair.run(300)
    assert pair.logged(pair.alpha, "Delayed giveup in")
    pair.alpha.freeze()
    pair.run(400)
    beta.say(protocol.abort_giveup("alpha"))
    pair.run(GIVEUP_MS - 650)
    pair.alpha.thaw()
    pair.run(5000)
    assert "ask_resources all me" not in beta.heard_since()


def test_a_new_life_of_the_same_generation_is_met_anew_and_not_judged_by_the_count_of_the_former() -> None:
    pair, beta = both_at_home()
    beta.say(protocol.num_ping_nodes("alpha", 2))
    pair.run(500)
    again_ms = pair.now_ms
    beta.becomes("up")
    pair.run(100)
    beta.becomes("active")
    beta.say(protocol.starting())
    pair.run(100)
    beta.resource("local", 1)
    pair.run(3000)
    assert heard(beta, protocol.NUM_PING_NODES, again_ms) == ["2"]
    assert beta.heard_since(again_ms).count(protocol.CLIENT_STATUS) == 1
    lose(ROUTER, pair.alpha)
    pair.run(8000)
    assert heard(beta, protocol.NUM_PING_NODES)[-1] == "1"
    assert "ask_resources all me" not in beta.heard_since(again_ms)


def test_counts_that_make_no_sense_change_nothing() -> None:
    pair, beta = both_at_home()
    asked_ms = pair.now_ms
    for count in ("-1", "x", "99999999999999999999999"):
        beta.say(((f.T, protocol.NUM_PING_NODES), (f.NUM_PING, count), (f.FROM_ID, "ipfail")))
    beta.say(((f.T, protocol.NUM_PING_NODES), (f.FROM_ID, "ipfail")))
    beta.say(((f.T, protocol.YOU_ARE_DEAD), (f.DEST, "somebody"), (f.FROM_ID, "ipfail")))
    pair.run(5000)
    assert pair.jobs(pair.alpha, asked_ms) == []
    assert "ask_resources all me" not in beta.heard_since(asked_ms)


def test_without_ipfail_here_nothing_is_said_and_nothing_follows() -> None:
    pair = Pair(AutoFailback.OFF)
    beta = Puppet(pair, "beta").lives(st="active")
    pair.alpha.start_daemon()
    pair.run(1000)
    beta.say(protocol.num_ping_nodes("alpha", 5))
    beta.say(protocol.you_are_dead("alpha"))
    pair.run(5000)
    assert heard(beta, protocol.NUM_PING_NODES) == heard(beta, protocol.CLIENT_STATUS) == []
    assert "ask_resources all me" not in beta.heard_since()
