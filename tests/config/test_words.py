"""Lines into words with places, and findings as text."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from hbd.config.findings import ConfigError, Findings, Word, node_suggestion, suggestion
from hbd.config.model import Place
from hbd.config.words import lines, stripped, values, without_comment, words
from hbd.errors import HbdError


def line(text: str) -> Word:
    return Word(text, Place("f", 1, 1))


def columns(found: list[Word]) -> list[tuple[str, int]]:
    return [(word.text, word.place.column) for word in found]


def test_words_know_their_columns_with_tabs_and_blanks_before_them() -> None:
    assert columns(words(line(" \tnode  a\tb"))) == [("node", 3), ("a", 9), ("b", 11)]


def test_values_are_separated_by_commas_too() -> None:
    assert columns(values(line("eth0,eth1, eth2"))) == [("eth0", 1), ("eth1", 6), ("eth2", 12)]


def test_a_carriage_return_is_white_space() -> None:
    assert columns(words(line("node a\r"))) == [("node", 1), ("a", 6)]


def test_a_comment_begins_even_inside_a_word() -> None:
    assert without_comment(line("node a#b c")).text == "node a"
    assert without_comment(line("# all")).text == ""
    assert without_comment(line("none")).text == "none"


def test_stripping_keeps_the_column() -> None:
    assert stripped(line("  a b \t")) == Word("a b", Place("f", 1, 3))
    assert stripped(line(" \t")).text == ""


def test_only_a_line_feed_ends_a_line() -> None:
    found = Findings()
    text = "one\u2028still\x85one\x0bhere\ntwo"
    assert [(word.text, word.place.line) for word in lines(text, "f", found)] == [
        ("one\u2028still\x85one\x0bhere", 1),
        ("two", 2),
    ]


def test_a_line_that_3_0_6_would_split_gets_a_warning() -> None:
    found = Findings()
    list(lines("a" * 5119 + "\n" + "a" * 5120, "f", found))
    assert [str(finding) for finding in found.sorted()] == [
        "f:2:1: warning: longer than 5119 bytes; heartbeat 3.0.6 would read it as two lines"
    ]


def test_a_nul_byte_is_an_error_at_its_place() -> None:
    found = Findings()
    list(lines("ab\0c", "f", found))
    assert [str(finding) for finding in found.sorted()] == [
        "f:1:3: error: a NUL byte; this is not a text file"
    ]


def test_findings_are_sorted_by_place_and_errors_are_told_from_warnings() -> None:
    found = Findings()
    found.warning(Place("b", 1, 1), "three")
    found.warning(Place("a", 2, 10), "two")
    found.warning(Place("a", 2, 9), "one")
    assert [finding.text for finding in found.sorted()] == ["one", "two", "three"]
    assert not found.failed
    found.error(Word("x", Place("a", 1, 1)), "zero")
    assert found.failed
    assert str(found.sorted()[0]) == "a:1:1: error: zero"


def test_the_exception_carries_and_shows_every_finding() -> None:
    found = Findings()
    found.error(Place("a", 1, 1), "one")
    found.warning(Place("a", 2, 1), "two")
    error = ConfigError(found.sorted())
    assert isinstance(error, HbdError)
    assert str(error) == "a:1:1: error: one\na:2:1: warning: two"
    assert len(error.findings) == 2


def test_control_characters_and_stray_bytes_are_shown_as_escapes() -> None:
    found = Findings()
    text = b"\xff\x1b[31m\xc3\xa9".decode("utf-8", "surrogateescape")
    found.error(Place("a", 1, 1), text)
    assert str(found.sorted()[0]) == "a:1:1: error: \\xff\\x1b[31mé"


def test_suggestions_are_made_for_near_misses_only() -> None:
    assert suggestion("keepalvie", ["keepalive", "deadtime"]) == "; did you mean 'keepalive'?"
    assert suggestion("KEEPALIVE", ["keepalive", "deadtime"]) == "; did you mean 'keepalive'?"
    assert suggestion("qwerty", ["keepalive", "deadtime"]) == ""


def test_a_node_is_suggested_with_or_without_its_domain() -> None:
    full = ("linuxha2.linux-ha.org", "linuxha1.linux-ha.org")
    assert node_suggestion("linuxha1", full) == "; did you mean 'linuxha1.linux-ha.org'?"
    assert node_suggestion("linuxha1.linux-ha.org", ("linuxha2", "linuxha1")) == "; did you mean 'linuxha1'?"
    assert node_suggestion("linuxha3", ("linuxha1",)) == "; did you mean 'linuxha1'?"


@given(st.text())
def test_every_word_stands_where_it_says(text: str) -> None:
    found = Findings()
    physical = text.split("\n")
    for whole in lines(text, "f", found):
        for word in (*words(whole), *values(whole)):
            start = word.place.column - 1
            assert physical[word.place.line - 1][start : start + len(word.text)] == word.text
