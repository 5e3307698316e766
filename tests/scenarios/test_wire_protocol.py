"""Sequence numbers, retransmission, acknowledgements and answers, as a heartbeat 3.0.6 node sees them."""

from __future__ import annotations

from itertools import pairwise

import pytest

from hbd.core import message as f
from hbd.core import protocol
from hbd.core.message import Message
from tests.scenarios.beside_306 import both_at_home
from tests.scenarios.pair import Pair
from tests.scenarios.puppet import Puppet


def heard(beta: Puppet, kind: str, since_ms: int = 0) -> list[tuple[int, Message]]:
    return [(ms, m) for ms, m in beta.heard if m.text(f.T) == kind and ms >= since_ms]


def test_our_numbers_begin_at_one_and_leave_none_out() -> None:
    _, beta = both_at_home()
    numbers = [m.hex(f.SEQ) for _, m in beta.heard if not (m.text(f.T) or "").startswith("NS_")]
    assert numbers == list(range(1, len(numbers) + 1))


def test_every_message_carries_what_heartbeat_demands() -> None:
    _, beta = both_at_home()
    for _, message in beta.heard:
        assert message.text(f.SRC) == "alpha"
        assert message.hex(f.TS)
        assert message.hex(f.HG)
        assert len(message.raw(f.SRCUUID) or b"") == 16
        assert message.text(f.TTL) == "3"
        if message.text(f.T) == "status":
            assert (message.hex(f.DT), message.text(f.PROTOCOL)) == (2000, "1")


def test_a_status_goes_out_every_keepalive() -> None:
    pair, beta = both_at_home()
    since_ms = pair.now_ms
    pair.run(5000)
    times = [ms for ms, _ in heard(beta, "status", since_ms)]
    assert {later - earlier for earlier, later in pairwise(times)} == {200}


def test_one_in_ten_of_the_peers_messages_is_acknowledged() -> None:
    pair, beta = both_at_home()
    since_ms, seq = pair.now_ms, beta.seq
    pair.run(20_000)
    acked = [m.hex(f.ACKSEQ) or 0 for _, m in heard(beta, "NS_ackmsg", since_ms)]
    assert len(acked) in (10, 11)
    assert all(later - earlier == 10 for earlier, later in pairwise(acked))
    assert seq < acked[0] <= seq + 11
    assert all(m.text(f.DEST) == "beta" and f.SEQ not in m for _, m in heard(beta, "NS_ackmsg"))


def test_a_gap_is_asked_for_not_before_50_ms_in_single_decimal_numbers_and_again_every_250_ms() -> None:
    pair, beta = both_at_home()
    missing = [beta.seq + 1, beta.seq + 2]
    beta.seq += 2
    gap_ms = pair.now_ms
    beta.say_status()
    pair.run(1200)
    asked = heard(beta, "NS_rexmit", gap_ms)
    for seq in missing:
        times = [ms for ms, m in asked if m.text(f.FIRSTSEQ) == str(seq)]
        assert 50 <= times[0] - gap_ms <= 255
        assert all(250 <= later - earlier <= 260 for earlier, later in pairwise(times))
        assert len(times) >= 4
    assert all(m.text(f.FIRSTSEQ) == m.text(f.LASTSEQ) and f.SEQ not in m for _, m in asked)
    assert pair.logged(pair.alpha, "2 lost packet(s) for [beta]")


def test_what_comes_late_closes_the_gap_and_is_not_asked_for() -> None:
    pair, beta = both_at_home()
    late = beta.seq + 1
    beta.seq += 1
    gap_ms = pair.now_ms
    beta.say_status()
    pair.run(20)
    beta.say(protocol.resource("local", True), seq=late)
    pair.run(2000)
    assert heard(beta, "NS_rexmit", gap_ms) == []
    assert pair.logged(pair.alpha, "No pkts missing from beta!")


def test_no_acknowledgement_goes_past_a_gap() -> None:
    pair, beta = both_at_home()
    missing = beta.seq + 1
    beta.seq += 1
    since_ms = pair.now_ms
    pair.run(5000)
    assert all((m.hex(f.ACKSEQ) or 0) < missing for _, m in heard(beta, "NS_ackmsg", since_ms))
    beta.say(protocol.resource("local", True), seq=missing)
    pair.run(10)
    assert heard(beta, "NS_ackmsg", pair.now_ms - 10)


def test_a_nak_ends_the_asking() -> None:
    pair, beta = both_at_home()
    missing = beta.seq + 1
    beta.seq += 1
    beta.say_status()
    pair.run(300)
    beta.say(protocol.nak("alpha", missing, "seqno too low"))
    pair.run(10)
    refused_ms = pair.now_ms
    pair.run(2000)
    assert heard(beta, "NS_rexmit", refused_ms) == []
    assert pair.logged(pair.alpha, f"Irretrievably lost packet: node beta seq {missing}")


def test_a_dead_node_is_asked_for_nothing() -> None:
    pair, beta = both_at_home()
    beta.seq += 3
    beta.say_status()
    beta.falls_silent()
    pair.run(2100)
    dead_ms = pair.now_ms
    pair.run(2000)
    assert heard(beta, "NS_rexmit", dead_ms) == []


def test_what_is_asked_for_comes_again_as_it_was_but_not_twice_within_the_rexmit_delay() -> None:
    pair, beta = both_at_home()
    original = next(m for _, m in beta.heard if m.text(f.T) == "starting")
    seq = original.hex(f.SEQ) or 0
    for _ in range(3):
        asked_ms = pair.now_ms
        beta.say(protocol.rexmit("alpha", seq))
        beta.say(protocol.rexmit("alpha", seq))
        pair.run(10)
        again = heard(beta, "starting", asked_ms)
        assert [m for _, m in again] == [original]
        pair.run(300)


def test_a_number_too_old_is_refused_and_one_never_sent_is_not_answered() -> None:
    pair, beta = both_at_home()
    pair.run(110_000)  # More than 500 messages.
    asked_ms = pair.now_ms
    beta.say(protocol.rexmit("alpha", 3))
    pair.run(5)
    naks = heard(beta, "NS_nak_rexmit", asked_ms)
    assert [(m.text(f.FIRSTSEQ), m.text(f.DEST), m.text(f.INFO)) for _, m in naks] == [
        ("3", "beta", "seqno too low")
    ]
    asked_ms = pair.now_ms
    beta.say(protocol.rexmit("alpha", 4_000_000_000))
    pair.run(5)
    assert {m.text(f.T) for ms, m in beta.heard if ms >= asked_ms} <= {"status"}


def test_a_lost_message_of_the_conversation_is_fetched_again_and_acted_on() -> None:
    pair, beta = both_at_home()
    pair.standby(pair.alpha)
    pair.run(10)
    lost_seq = beta.seq + 1
    pair.lost = lambda sender, message: (
        message.text(f.T) == "ask_resources" and pair.now_ms < 1200 and sender == "beta"
    )
    beta.ask_resources("all", "other")
    pair.run(2)
    pair.heal()
    pair.run(600)
    assert [m.text(f.FIRSTSEQ) for _, m in heard(beta, "NS_rexmit")][:1] == [str(lost_seq)]
    assert pair.alpha.running
    beta.say(protocol.ask_resources("all", "other"), seq=lost_seq)
    pair.until(lambda: not pair.alpha.running, 500)


@pytest.mark.parametrize("kind", ["stonith", "hbapi-clstat", "something-new", "ip-request-resp"])
def test_messages_that_mean_nothing_to_us_only_count_their_number(kind: str) -> None:
    pair, beta = both_at_home()
    since_ms = pair.now_ms
    beta.say(((f.T, kind), (f.DEST, "beta")))
    beta.say(((f.T, kind), (f.INFO, "x")))
    pair.run(2000)
    assert pair.jobs(pair.alpha, since_ms) == []
    assert heard(beta, "NS_rexmit", since_ms) == []


def test_other_messages_keep_the_link_alive_but_not_the_node() -> None:
    pair, beta = both_at_home()
    beta.falls_silent()
    silent_ms = pair.now_ms
    for _ in range(30):
        beta.say(((f.T, "something-new"), (f.INFO, "x")))
        pair.run(100)
    assert pair.logged(pair.alpha, "node beta: is dead") - silent_ms <= 2010
    assert pair.never_logged(pair.alpha, "Link beta:eth0 dead.")


def test_the_ack_of_a_number_never_sent_changes_nothing() -> None:
    pair, beta = both_at_home()
    beta.say(protocol.ack("alpha", 999_999))
    pair.run(10)
    asked_ms = pair.now_ms
    original = next(m for _, m in beta.heard if m.text(f.T) == "starting")
    beta.say(protocol.rexmit("alpha", original.hex(f.SEQ) or 0))
    pair.run(5)
    assert [m for _, m in heard(beta, "starting", asked_ms)] == [original]


def test_a_peer_without_protocol_in_its_status_is_not_waited_for() -> None:
    pair = Pair()
    beta = Puppet(pair, "beta")
    beta.answers_reqnodes = False
    beta.speaks_protocol = False
    beta.lives(st="active")
    pair.alpha.start_daemon()
    pair.run(3000)
    assert "starting" in beta.heard_since()
