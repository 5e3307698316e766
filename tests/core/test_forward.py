"""What a node in a ring passes on, message by message."""

from __future__ import annotations

from dataclasses import replace

import pytest

from hbd.config.model import Bcast, Config, Key, Keys, Ping, Serial
from hbd.core import message as f
from hbd.core.forward import KEPT_DIGESTS, KEPT_NUMBERS, Forwarder
from hbd.core.message import BadField, Message

ONE, TWO, THREE = (Serial(f"/dev/ttyS{number}", 19200) for number in range(3))
LAN = Bcast("eth0", 694)
KEYS = Keys(1, (Key(1, "sha1", b"secretkey"),))
CONFIG = Config("alpha", ("alpha", "beta", "gamma"), (LAN, ONE, TWO), KEYS)


def numbered(seq: int, kind: str = "status", src: str = "beta", hg: int = 16, ttl: str = "4") -> Message:
    return Message.of(
        (f.T, kind), (f.SRC, src), (f.SEQ, f"{seq:x}"), (f.HG, f"{hg:x}"), (f.TS, "6b029d40"), (f.TTL, ttl)
    )


def unnumbered(kind: str = "NS_ackmsg", ts: str = "6b029d40", **more: str) -> Message:
    return Message.of((f.T, kind), (f.SRC, "beta"), *more.items(), (f.TS, ts), (f.TTL, "4"))


def passes(forwarder: Forwarder, message: Message, for_us: bool = False) -> bool:
    return forwarder.take(ONE, message, for_us=for_us) is not None


def test_a_message_goes_on_with_one_hop_less_on_the_other_lines_only() -> None:
    forwarder = Forwarder(replace(CONFIG, media=(LAN, ONE, TWO, THREE)))
    message = numbered(7)
    onward = forwarder.take(TWO, message, for_us=False)
    assert onward is not None
    assert onward.lines == (ONE, THREE)
    assert onward.message == message.with_field(f.TTL, "3")
    assert (onward.origin, onward.heartbeat) == ("beta", True)


def test_once() -> None:
    forwarder = Forwarder(CONFIG)
    assert forwarder.take(ONE, numbered(7), for_us=False)
    assert forwarder.take(TWO, numbered(7, ttl="3"), for_us=False) is None
    assert forwarder.take(ONE, numbered(7), for_us=False) is None


def test_what_has_no_hop_left_stays_and_what_has_none_at_all() -> None:
    forwarder = Forwarder(CONFIG)
    assert not passes(forwarder, numbered(1, ttl="0"))
    assert not passes(forwarder, numbered(2, ttl="1"))
    assert passes(forwarder, numbered(3, ttl="2"))
    assert not passes(forwarder, numbered(4).without(f.TTL))


def test_nobody_makes_a_message_go_further_than_our_own() -> None:
    onward = Forwarder(CONFIG).take(ONE, numbered(1, ttl="4000000000"), for_us=False)
    assert onward is not None
    assert onward.message.text(f.TTL) == "3"


def test_ping_nodes_and_hopfudge_count_for_the_hops() -> None:
    media = (ONE, TWO, Ping("gw", ("10.0.0.254",), "ping"))
    forwarder = Forwarder(replace(CONFIG, media=media, hopfudge=5))
    onward = forwarder.take(ONE, numbered(1, ttl="99"), for_us=False)
    assert onward is not None
    assert onward.message.text(f.TTL) == "8"


@pytest.mark.parametrize(
    "config",
    [
        replace(CONFIG, nodes=("alpha", "beta")),
        replace(CONFIG, media=(LAN, ONE)),
    ],
    ids=["two nodes", "one line"],
)
def test_without_a_ring_nothing_is_passed_on(config: Config) -> None:
    assert not passes(Forwarder(config), numbered(1))


def test_what_came_over_a_network_was_heard_by_all_there() -> None:
    assert Forwarder(CONFIG).take(LAN, numbered(1), for_us=False) is None


def test_a_message_of_a_stranger_or_our_own_is_not_passed_on() -> None:
    forwarder = Forwarder(CONFIG)
    assert not passes(forwarder, numbered(1, src="alpha"))
    assert not passes(forwarder, numbered(1, src="delta"))


def test_a_new_life_of_its_sender_is_passed_on_and_the_old_one_no_more() -> None:
    forwarder = Forwarder(CONFIG)
    assert passes(forwarder, numbered(9))
    assert passes(forwarder, numbered(1, hg=17))
    assert not passes(forwarder, numbered(10))
    assert passes(forwarder, numbered(2, hg=17))


def test_only_a_status_begins_a_new_life_of_its_sender() -> None:
    forwarder = Forwarder(CONFIG)
    assert passes(forwarder, numbered(9))
    assert not passes(forwarder, numbered(1, "resource", hg=0xFFFFFF))
    assert passes(forwarder, numbered(10))
    assert passes(forwarder, numbered(11, "resource"))


def test_only_the_newest_status_counts_as_heartbeat() -> None:
    forwarder = Forwarder(CONFIG)
    kinds = [(5, "status"), (4, "status"), (6, "resource"), (7, "status")]
    taken = [forwarder.take(ONE, numbered(seq, kind), for_us=False) for seq, kind in kinds]
    assert [onward is not None and onward.heartbeat for onward in taken] == [True, False, False, True]


def test_what_is_remembered_is_bounded_and_what_is_older_stays() -> None:
    forwarder = Forwarder(CONFIG)
    for seq in range(1, 5000):
        assert passes(forwarder, numbered(seq))
    assert not any(passes(forwarder, numbered(seq)) for seq in range(1, 5000))
    assert passes(forwarder, numbered(100_000))
    assert passes(forwarder, numbered(100_000 - KEPT_NUMBERS + 1))
    assert not passes(forwarder, numbered(100_000 - KEPT_NUMBERS))
    assert len(forwarder._passed["beta"].numbers) == 2
    for number in range(3 * KEPT_DIGESTS):
        assert passes(forwarder, unnumbered(ackseq=f"{number:x}"))
    assert len(forwarder._digests) == KEPT_DIGESTS


def test_an_unnumbered_message_is_known_by_all_of_it_but_its_hops() -> None:
    forwarder = Forwarder(CONFIG)
    message = unnumbered(ackseq="a")
    assert passes(forwarder, message)
    assert not passes(forwarder, message.with_field(f.TTL, "3"))
    assert passes(forwarder, unnumbered(ackseq="b"))
    assert passes(forwarder, unnumbered(ackseq="a", ts="6b029d41"))


def test_an_unnumbered_message_for_us_ends_here_and_a_numbered_one_does_not() -> None:
    """Others would miss its number."""
    forwarder = Forwarder(CONFIG)
    assert not passes(forwarder, unnumbered(dest="alpha"), for_us=True)
    assert passes(forwarder, unnumbered(dest="gamma"))
    assert passes(forwarder, numbered(1))
    assert passes(forwarder, numbered(2, "reqnodes").with_field(f.DEST, "alpha"), for_us=True)


def test_what_is_asked_for_again_may_pass_once_more_for_each_request() -> None:
    forwarder = Forwarder(CONFIG)
    for seq in range(1, 11):
        assert passes(forwarder, numbered(seq, src="gamma"))
    request = unnumbered("NS_rexmit", dest="gamma", firstseq="10", lastseq="10")  # Decimal, unlike seq.
    assert passes(forwarder, request)
    assert not passes(forwarder, request)
    assert not passes(forwarder, numbered(9, src="gamma"))
    assert passes(forwarder, numbered(10, src="gamma"))
    assert not passes(forwarder, numbered(10, src="gamma"))


@pytest.mark.parametrize(("first", "last"), [("0", "4294967295"), ("9", "1"), ("5", "5")])
def test_a_request_for_anything_whatever_costs_little(first: str, last: str) -> None:
    forwarder = Forwarder(CONFIG)
    for dest in ("gamma", "delta"):
        assert passes(forwarder, unnumbered("NS_rexmit", dest=dest, firstseq=first, lastseq=last))


def test_a_number_that_is_none_is_the_senders_fault() -> None:
    with pytest.raises(BadField):
        passes(Forwarder(CONFIG), numbered(1, ttl="many"))


def test_a_reload_may_end_the_ring_and_what_was_passed_on_is_still_known() -> None:
    forwarder = Forwarder(CONFIG)
    assert passes(forwarder, numbered(1))
    forwarder.reconfigure(replace(CONFIG, media=(LAN, ONE)))
    assert not passes(forwarder, numbered(2))
    forwarder.reconfigure(CONFIG)
    assert not passes(forwarder, numbered(1))
    assert passes(forwarder, numbered(2))
