"""The state that hbd puts into every status: text and back, and what is no report."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hbd.config.haresources import REPORT_BYTES, STATE_BYTES
from hbd.config.model import AutoFailback, Key, Keys, MsgFormat
from hbd.core import wire
from hbd.core.message import DEST, HG, LD, SEQ, SRC, TS, TTL, Message
from hbd.core.protocol import status
from hbd.core.report import EPOCH_MAX, GENERATION_MAX, NOTHING, Entry, Posture, Report, decode, encode
from hbd.errors import WireError

REPORT = Report(
    incarnation=0xABC, echo=(0x6B02, 0x2A), known_generation=0x6B02, auto_failback=AutoFailback.ON,
    digest="0123456789abcdef", active=True, settled=True,
    groups={"10.0.0.1": Entry(Posture.RUNNING, 3, pinned=True), "10.0.0.2": Entry(offered=True, epoch=2)},
)  # fmt: skip
TEXT = "1 abc 6b02:2a 6b02 0123456789abcdef 1as rn,3,10.0.0.1 -o,2,10.0.0.2"

numbers = st.integers(0, 2**63)
entries = st.builds(
    Entry, st.sampled_from(Posture), st.integers(0, 2**31), st.booleans(), st.booleans(), st.booleans(),
    st.booleans(), st.booleans(), st.booleans(), st.booleans(),
)  # fmt: skip
keys = st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1, max_size=30)
nodes = st.text("abcxyz-.09", min_size=1, max_size=12)
digests = st.text("0123456789abcdef", min_size=16, max_size=16)
reports = st.builds(
    Report, incarnation=numbers, echo=st.tuples(numbers, numbers),
    known_generation=st.integers(0, 0xFFFF0000), auto_failback=st.sampled_from(AutoFailback), digest=digests,
    active=st.booleans(), settled=st.booleans(), leaving=st.booleans(),
    groups=st.dictionaries(keys, entries, max_size=4), ping_list=st.none() | st.integers(0, 999_999_999),
    set_back=st.lists(st.tuples(nodes, st.integers(0, 0xFFFF0000)), max_size=3).map(tuple),
)  # fmt: skip


def test_the_largest_report_that_haresources_allows_fits_a_datagram() -> None:
    entry = Entry(Posture.BLOCKED, EPOCH_MAX, True, True, True, True, True, True, True)
    keys = [f"2001:db8:ffff:ffff:ffff:ffff:ffff:{number:x}" for number in range(4096, 8192)]
    fitting = keys[: REPORT_BYTES // (len(keys[0]) + STATE_BYTES)]
    report = Report(
        2**63, (GENERATION_MAX, 2**32), GENERATION_MAX, AutoFailback.LEGACY, "f" * 16, True, True, True, True,
        dict.fromkeys(fitting, entry),
    )  # fmt: skip
    channel_fields = status("active", 30_000, encode(report))
    message = Message.of(*channel_fields, *((name, "x" * 64) for name in (SRC, DEST, SEQ, HG, TS, LD, TTL)))
    secret = Keys(1, (Key(1, "sha1", b"x" * 255),))
    assert decode(encode(report)) == report
    for msgfmt in MsgFormat:
        wire.encode(message, secret, msgfmt)


def test_a_report_is_one_line_of_words() -> None:
    assert encode(REPORT) == TEXT
    assert decode(TEXT) == REPORT


@given(reports)
def test_what_is_written_is_read_and_groups_without_anything_to_say_are_left_out(report: Report) -> None:
    groups = {name: entry for name, entry in (report.groups or {}).items() if entry != NOTHING}
    assert decode(encode(report)) == replace(report, groups=groups)


def test_while_members_are_probed_neither_digest_nor_groups_are_told() -> None:
    probing = replace(REPORT, groups=None)
    assert encode(probing) == "1 abc 6b02:2a 6b02 ? 1as"
    assert decode(encode(probing)) == replace(probing, digest="")
    assert decode(encode(probing)).entry("10.0.0.1") == NOTHING


def test_nodes_that_were_set_back_are_named_with_what_is_known_of_them() -> None:
    report = replace(REPORT, known_generation=0, set_back=(("beta", 0x6B05), ("gamma", 7)))
    assert encode(report).split(" ")[3] == "0,beta=6b05,gamma=7"
    assert decode(encode(report)) == report
    assert [report.known_of(node) for node in ("alpha", "beta", "gamma")] == [0, 0x6B05, 7]
    for word in ("0,", "0,beta", "0,=7", "0,beta=", "0,beta=-7", ",beta=7"):
        with pytest.raises(WireError):
            decode(encode(report).replace("0,beta=6b05,gamma=7", word))


def test_the_echo_alone_is_no_news() -> None:
    assert replace(REPORT, echo=(1, 2)).says_the_same_as(REPORT)
    assert replace(REPORT, groups=dict(reversed((REPORT.groups or {}).items()))).says_the_same_as(REPORT)


@pytest.mark.parametrize(
    "change",
    [
        replace(REPORT, incarnation=1), replace(REPORT, digest="f"), replace(REPORT, active=False),
        replace(REPORT, settled=False), replace(REPORT, leaving=True), replace(REPORT, groups=None),
        replace(REPORT, groups={}),
    ],
)  # fmt: skip
def test_everything_else_is_news(change: Report) -> None:
    assert not change.says_the_same_as(REPORT)
    assert not REPORT.says_the_same_as(change)


@pytest.mark.parametrize("posture", list(Posture))
def test_everything_but_none_is_a_claim(posture: Posture) -> None:
    assert Entry(posture).claims is (posture is not Posture.NONE)


@pytest.mark.parametrize(
    "text",
    [
        "", "1", "2" + TEXT[1:], TEXT + " ",
        *(TEXT.replace(old, new) for old, new in (
            ("abc", "xyz"), ("abc", ""), ("abc", "f" * 17), ("abc", "a_c"), ("2a", "-1"), ("2a", " 2a"),
            ("2a", "0x2a"), ("2a", "\u0662"),
            ("6b02:2a", "6b02"), (" 1as", " 7as"), ("rn,3", "qn,3"), ("rn,3", "rn,"), ("rn", "r" + "n" * 20),
            ("rn,3,10.0.0.1", "rn,3"), ("rn,3,10.0.0.1", "rn"), ("rn,3,10.0.0.1", "rn,3,"),
            (" 6b02 ", " ffff0001 "),
        )),
    ],
)  # fmt: skip
def test_anything_else_is_refused(text: str) -> None:
    with pytest.raises(WireError):
        decode(text)


@given(st.text())
def test_no_text_whatever_raises_anything_but_wire_error(text: str) -> None:
    try:
        decode(text)
    except WireError:
        pass


@given(st.data())
def test_no_damage_to_a_report_raises_anything_but_wire_error(data: st.DataObject) -> None:
    at = data.draw(st.integers(0, len(TEXT)))
    text = TEXT[:at] + data.draw(st.text(max_size=3)) + TEXT[at + data.draw(st.integers(0, 3)) :]
    try:
        decode(text)
    except WireError:
        pass
