"""Every datagram recorded from two heartbeat 3.0.6 daemons, verified and reproduced byte by byte.

In captures/*.jsonl the first line describes the scenario and names its keys; each further line is one
datagram, its payload one code point per byte.
"""

import json
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from hbd.config.model import Key, Keys, MsgFormat
from hbd.core.message import Kind, Message
from hbd.core.wire import Decoded, Framing, decode, encode

CAPTURES = sorted((Path(__file__).parent / "captures").glob("*.jsonl"))
SCENARIOS = [path.stem for path in CAPTURES]


@cache
def scenario(name: str) -> tuple[Keys, tuple[bytes, ...]]:
    """The keys of a scenario and its datagrams, pings' payloads included."""
    path = next(path for path in CAPTURES if path.stem == name)
    lines = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    listed: dict[str, Any] = lines[0]["keys"]
    keys = tuple(Key(int(number), method, secret.encode()) for number, (method, secret) in listed.items())
    datagrams = tuple(line["payload"].encode("latin-1") for line in lines[1:] if "payload" in line)
    return Keys(keys[0].number, keys), datagrams


def decoded(name: str) -> list[Decoded]:
    keys, datagrams = scenario(name)
    return [decode(datagram, keys) for datagram in datagrams]


def test_all_captures_are_there() -> None:
    assert len(CAPTURES) == 23
    assert sum(len(scenario(name)[1]) for name in SCENARIOS) == 2475


@pytest.mark.parametrize("name", SCENARIOS)
def test_every_datagram_verifies_and_is_reproduced_byte_by_byte(name: str) -> None:
    keys, datagrams = scenario(name)
    for datagram in datagrams:
        was = decode(datagram, keys)
        assert "auth" not in was.message  # So that encode must make the inner signature anew.
        assert encode(was.message, keys, was.msgfmt, was.framing, was.key_number) == datagram


@pytest.mark.parametrize("name", SCENARIOS)
def test_every_message_survives_both_framings_and_both_formats(name: str) -> None:
    keys, _ = scenario(name)
    for was in decoded(name):
        for framing in Framing:
            for msgfmt in MsgFormat:
                again = decode(encode(was.message, keys, msgfmt, framing), keys)
                assert again.message == was.message
                assert again.framing is framing


@pytest.mark.parametrize("name", SCENARIOS)
def test_every_message_can_be_built_from_its_texts_and_uuids(name: str) -> None:
    for was in decoded(name):
        pairs = [
            (field, value.decode() if kind is Kind.STRING else value)
            for kind, field, value in was.message.fields
        ]
        assert Message.of(*pairs) == was.message


@pytest.mark.parametrize("name", SCENARIOS)
def test_every_number_of_3_0_6_reads_in_its_base(name: str) -> None:
    for message in (was.message for was in decoded(name)):
        for field in ("seq", "hg", "ts", "dt", "ackseq"):
            assert message.hex(field) is not None or field not in message
        for field in ("ttl", "protocol", "client_gen", "isstable"):
            assert message.decimal(field) is not None or field not in message
        assert message.text("t") is not None
        assert message.text("src") is not None


def test_the_captures_hold_all_three_methods_and_both_framings_and_formats() -> None:
    methods = {key.method for name in SCENARIOS for key in scenario(name)[0].keys}
    everything = [was for name in SCENARIOS for was in decoded(name)]
    assert methods == {"crc", "md5", "sha1"}
    assert {was.framing for was in everything} == set(Framing)
    assert {was.msgfmt for was in everything} == set(MsgFormat)
    assert {was.key_number for was in everything} == {1, 2}
