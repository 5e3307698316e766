"""Messages out with all that each carries, datagrams in as far as they are ours and new."""

from __future__ import annotations

from dataclasses import replace
from random import Random

import pytest

from hbd.config.model import AutoFailback, Bcast, Compression, Config, Key, Keys, MsgFormat
from hbd.core import message as f
from hbd.core import protocol
from hbd.core.channel import Channel, Dropped, Own, Received
from hbd.core.effects import PeerRecord, Transmit
from hbd.core.events import Instant
from hbd.core.message import Message
from hbd.core.packing import packed
from hbd.core.report import Report, encode
from hbd.core.wire import decode

OLD, NEW = Key(1, "sha1", b"old"), Key(2, "md5", b"new")
CONFIG = Config("alpha", ("alpha", "beta"), (Bcast("eth0", 694),), Keys(1, (OLD,)), hopfudge=2)
NOW = Instant(1000, 0x6B029D40)
ALPHA, BETA = b"a" * 16, b"b" * 16
ALIVE = protocol.status("active", 2000, "1 1 0:0 0 d 1a")


def channel(name: str = "alpha", generation: int = 10, config: Config = CONFIG) -> Channel:
    uuid = ALPHA if name == "alpha" else BETA
    return Channel(replace(config, local_node=name), name, uuid, generation, Random(1))


def heard(ours: Channel, payload: bytes) -> Received:
    received = ours.receive(NOW, payload)
    assert isinstance(received, Received), received
    return received


def dropped(ours: Channel, payload: bytes) -> str:
    found = ours.receive(NOW, payload)
    assert isinstance(found, Dropped), found
    return found.reason


def read(payload: bytes) -> Message:
    return decode(payload, CONFIG.keys).message


def test_every_message_is_stamped_and_numbered() -> None:
    ours = channel()
    first, second = read(ours.send(NOW, ALIVE)), read(ours.send(NOW, protocol.starting()))
    assert [name for _, name, _ in first.fields] == [
        "t", "st", "dt", "protocol", "hbd", "src", "srcuuid", "seq", "hg", "ts", "ld", "ttl"
    ]  # fmt: skip
    assert (first.text(f.SRC), first.raw(f.SRCUUID), first.text(f.TTL)) == ("alpha", ALPHA, "4")
    assert (first.text(f.SEQ), second.text(f.SEQ)) == ("1", "2")
    assert (first.text(f.HG), first.text(f.TS)) == ("a", "6b029d40")


@pytest.mark.parametrize("msgfmt", MsgFormat)
@pytest.mark.parametrize("algorithm", ["zlib", "bz2"])
def test_what_is_longer_than_the_threshold_is_sent_compressed_and_heard_as_it_is(
    algorithm: str, msgfmt: MsgFormat
) -> None:
    compressing = replace(CONFIG, compression=Compression(algorithm, 1024), msgfmt=msgfmt)
    ours, plain, theirs = channel(config=compressing), channel(), channel("beta")
    long = protocol.status("active", 2000, "1 1 0:0 0 d 1a" + " rn,1,10.0.0.1" * 100)
    payload = ours.send(NOW, long)
    assert payload.count(b"_compressed_payload=") == 1
    assert f"(0)_compression_algorithm={algorithm},%%%\n".encode() in payload
    assert len(payload) < len(plain.send(NOW, long)) / 2
    assert read(payload) == heard(theirs, payload).message
    assert read(payload).text(protocol.HBD) == long[-1][1]
    # What is sent again is, too; and what is short is not.
    first, _ = ours.requested(NOW, "beta", Message.of((f.FIRSTSEQ, "1"), (f.LASTSEQ, "1")))
    assert all(b"_compressed_payload" in again for again in first)
    assert b"_compressed_payload" not in ours.send(NOW, ALIVE)
    # On a serial line it is the text that the arithmetic of the line is about.
    line = ours.with_line(Transmit(payload)).line
    assert b"_compressed_payload" not in line
    assert decode(line, CONFIG.keys).message == read(payload)


def test_what_is_none_the_shorter_for_it_is_sent_as_it_is() -> None:
    assert packed(Random(1).randbytes(400), Compression()) is None
    assert packed(Random(1).randbytes(400), Compression("bz2")) is None


def test_messages_of_the_transport_have_no_number_and_no_load() -> None:
    ours = channel()
    message = read(ours.send(NOW, protocol.ack("beta", 10)))
    assert f.SEQ not in message
    assert f.LD not in message
    assert ours.seq == 0


def test_a_message_for_one_node_names_its_uuid_as_soon_as_it_is_known() -> None:
    ours, theirs = channel(), channel("beta")
    assert read(ours.send(NOW, protocol.reqnodes("beta"))).raw(f.DESTUUID) == bytes(16)
    heard(ours, theirs.send(NOW, ALIVE))
    assert read(ours.send(NOW, protocol.reqnodes("beta"))).raw(f.DESTUUID) == BETA


def test_the_first_status_of_a_node_is_a_restart_and_the_next_are_not() -> None:
    ours, theirs = channel(), channel("beta")
    first, second = (heard(ours, theirs.send(NOW, ALIVE)) for _ in range(2))
    assert (first.restarted, first.previous_generation, first.generation, first.seq) == (True, 0, 10, 1)
    assert (second.restarted, second.fresh, second.newest_status, second.seq) == (False, True, True, 2)


def test_a_copy_of_the_newest_is_a_sign_of_its_link_only_and_an_older_one_of_nothing() -> None:
    ours, theirs = channel(), channel("beta")
    first, second = theirs.send(NOW, ALIVE), theirs.send(NOW, ALIVE)
    heard(ours, first)
    heard(ours, second)
    assert not heard(ours, second).fresh
    assert dropped(ours, first) == "old duplicate"


def test_a_status_that_was_missing_and_comes_late_is_not_the_newest() -> None:
    ours, theirs = channel(), channel("beta")
    heard(ours, theirs.send(NOW, ALIVE))
    missing, newest = theirs.send(NOW, ALIVE), theirs.send(NOW, ALIVE)
    assert heard(ours, newest).newest_status
    late = heard(ours, missing)
    assert (late.fresh, late.newest_status) == (True, False)


def test_an_earlier_generation_is_a_replay_even_after_our_own_restart() -> None:
    ours = channel()
    ours.remember((PeerRecord("beta", BETA, 20),))
    assert dropped(ours, channel("beta", 19).send(NOW, ALIVE)) == "replay"
    assert heard(ours, channel("beta", 21).send(NOW, ALIVE)).restarted
    assert ours.records() == (PeerRecord("beta", BETA, 21),)


def test_a_replayed_status_of_hbd_still_tells_how_far_our_own_generation_was() -> None:
    ours = channel()
    ours.remember((PeerRecord("beta", BETA, 20),))
    report = Report(1, (0, 0), 77, AutoFailback.ON, "d", groups={})
    payload = channel("beta", 19).send(NOW, protocol.status("up", 2000, encode(report)))
    found = ours.receive(NOW, payload)
    assert isinstance(found, Dropped)
    assert found.known_generation == 77


def test_a_new_generation_is_believed_from_a_status_only() -> None:
    ours = channel()
    heard(ours, channel("beta", 20).send(NOW, ALIVE))
    restarted = channel("beta", 21)
    assert not heard(ours, restarted.send(NOW, protocol.starting())).restarted
    assert ours.generation_of("beta") == 20


@pytest.mark.parametrize(
    ("name", "uuid", "reason"),
    [
        ("gamma", BETA, "unknown node"),
        ("beta", ALPHA, "own uuid, other name"),
        ("alpha", BETA, "own name, other uuid"),
    ],
)
def test_a_sender_that_cannot_be_is_dropped_and_counted(name: str, uuid: bytes, reason: str) -> None:
    nodes = replace(CONFIG, nodes=("alpha", "beta", "gamma"))
    stranger = Channel(replace(nodes, local_node=name), name, uuid, 5, Random(1))
    ours = channel()
    assert dropped(ours, stranger.send(NOW, ALIVE)) == reason
    assert ours.drops == {reason: 1}


def test_our_own_datagrams_are_known_as_such() -> None:
    ours = channel()
    assert ours.receive(NOW, ours.send(NOW, ALIVE)) == Own()


def test_a_name_decides_who_is_meant_unless_the_uuid_is_known() -> None:
    ours, theirs = channel(), channel("beta")
    assert heard(ours, theirs.send(NOW, protocol.repnodes("alpha", ("alpha", "beta")))).for_us
    assert not heard(ours, theirs.send(NOW, protocol.repnodes("beta", ("alpha", "beta")))).for_us
    heard(theirs, ours.send(NOW, ALIVE))
    assert heard(ours, theirs.send(NOW, protocol.reqnodes("alpha"))).for_us
    ours_reinstalled = Channel(CONFIG, "alpha", b"z" * 16, 11, Random(1))
    assert not heard(ours_reinstalled, theirs.send(NOW, protocol.reqnodes("alpha"))).for_us


def test_a_message_for_somebody_else_still_counts_its_number() -> None:
    ours, theirs = channel(), channel("beta")
    heard(ours, theirs.send(NOW, ALIVE))
    heard(ours, theirs.send(NOW, protocol.ip_request_resp("beta", "x")))
    assert heard(ours, theirs.send(NOW, ALIVE)).facts == ()


def test_it_signs_with_the_key_that_a_heartbeat_306_signs_with_and_accepts_all() -> None:
    both = replace(CONFIG, keys=Keys(2, (OLD, NEW)))
    ours, theirs = channel(config=both), channel("beta")
    fields = tuple(field for field in ALIVE if field[0] != protocol.HBD)
    assert decode(ours.send(NOW, ALIVE), both.keys).key_number == 2
    heard(ours, theirs.send(NOW, fields))
    assert decode(ours.send(NOW, ALIVE), both.keys).key_number == 1


def test_an_hbd_peers_key_is_not_followed() -> None:
    both = replace(CONFIG, keys=Keys(2, (OLD, NEW)))
    ours = channel(config=both)
    heard(ours, channel("beta").send(NOW, ALIVE))
    assert decode(ours.send(NOW, ALIVE), both.keys).key_number == 2


def test_after_a_reload_what_was_sent_before_is_sent_again_under_the_new_key() -> None:
    ours = channel()
    before = read(ours.send(NOW, protocol.starting()))
    renewed = replace(CONFIG, keys=Keys(2, (NEW,)), msgfmt=MsgFormat.NETSTRING)
    ours.reconfigure(renewed)
    request = Message.of((f.T, protocol.REXMIT), (f.FIRSTSEQ, "1"), (f.LASTSEQ, "1"))
    (again,), problems = ours.requested(NOW, "beta", request)
    decoded = decode(again, renewed.keys)
    assert (decoded.message, decoded.key_number, problems) == (before, 2, [])
    assert ours.sent_again == 1
    assert ours.requested(NOW, "beta", request) == ([], [])  # So soon it is not sent a third time.
    assert ours.sent_again == 1


def test_each_request_for_what_is_missing_is_counted() -> None:
    ours, theirs = channel(), channel("beta")
    heard(ours, theirs.send(NOW, ALIVE))
    for _ in range(2):
        theirs.send(NOW, ALIVE)
    heard(ours, theirs.send(NOW, ALIVE))
    assert (ours.ask_again(NOW, "beta"), ours.requested_again) == ([], 0)
    for turn in (1, 2):
        later = Instant(NOW.ms + turn * 250, NOW.wall_s)
        asked = [read(payload).text(f.FIRSTSEQ) for payload in ours.ask_again(later, "beta")]
        assert (asked, ours.requested_again) == (["2", "3"], 2 * turn)


def test_a_request_without_numbers_is_no_request() -> None:
    assert channel().requested(NOW, "beta", Message.of((f.T, protocol.REXMIT))) == ([], [])


def test_a_new_generation_of_ours_begins_with_number_one_and_forgets_what_it_said() -> None:
    ours = channel()
    for _ in range(5):
        ours.send(NOW, ALIVE)
    ours.restart(30)
    again = read(ours.send(NOW, ALIVE))
    assert (again.text(f.SEQ), again.text(f.HG)) == ("1", "1e")
    request = Message.of((f.T, protocol.REXMIT), (f.FIRSTSEQ, "4"), (f.LASTSEQ, "4"))
    datagrams, problems = ours.requested(NOW, "beta", request)
    assert datagrams == []
    assert problems == ["Rexmit of seq 4 requested. 1 is max."]


def test_what_is_dropped_is_counted_by_its_reason() -> None:
    ours = channel()
    good = channel("beta").send(NOW, ALIVE)
    for payload in (b"", b"x" * 100, good[:-4], good.replace(b"active", b"attive")):
        ours.receive(NOW, payload)
    assert sum(ours.drops.values()) == 4
    assert ours.drops["bad signature"] == 1
    assert ours.received == 4
