"""The grammar that ha.cf and hbd.cf share: lines of a directive and its values.

A file is described by a table of `Directive` rows; `read` walks the text and
calls each row's reader, which checks one value and puts it into the draft.
There is no quoting and no continuation; `#` ends a line anywhere. A directive
without value is ignored by 3.0.6 silently, by hbd with a warning.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Generic, TypeVar

from hbd.config.findings import Findings, Word
from hbd.config.scalars import parse_boolean, parse_choice, parse_duration, parse_number
from hbd.config.words import lines, stripped, values, without_comment, words


class Takes(Enum):
    """What follows a directive on its line."""

    ONE = "one value"
    """Several are read in order and the last one counts."""
    MANY = "values"
    """Separated by white space or commas; each adds to what is there."""
    LINE = "rest of line"
    """One value: the whole rest, commas included."""


@dataclass(slots=True)
class Draft:
    """What a file has said so far. A value that was wrong is in `said` and nowhere else."""

    path: str
    found: Findings
    said: dict[str, Word] = field(default_factory=dict)
    """The last value of each directive, as written."""
    numbers: dict[str, int] = field(default_factory=dict)
    switches: dict[str, bool] = field(default_factory=dict)
    texts: dict[str, str] = field(default_factory=dict)

    def broken(self, name: str) -> bool:
        """Whether the number or time of that name was said, and wrong."""
        return name in self.said and name not in self.numbers


D = TypeVar("D", bound=Draft)


@dataclass(frozen=True, slots=True)
class Directive(Generic[D]):
    """One row of a file's table."""

    name: str
    takes: Takes
    read: Callable[[D, str, Word], None]
    """Checks one value of the named directive and puts it into the draft."""
    default: str | None = None
    """As 3.0.6 documents it; None where there is none or it follows from others."""
    once: bool = False
    """A second value is an error, as in 3.0.6."""


def read(
    text: str,
    draft: D,
    table: Mapping[str, Directive[D]],
    unknown: Callable[[Word], str],
) -> None:
    """Read a whole file into the draft. `unknown` words the error for a directive not in the table."""
    for line in lines(text, draft.path, draft.found):
        content = without_comment(line)
        found_words = words(content)
        if not found_words:
            continue
        name = found_words[0]
        directive = table.get(name.text)
        if directive is None:
            draft.found.error(name, unknown(name))
            continue
        rest = stripped(content.part(name.place.column - 1 + len(name.text)))
        _read_values(draft, directive, name, _split(rest, directive.takes))


def _split(rest: Word, takes: Takes) -> list[Word]:
    if takes is Takes.LINE:
        return [rest] if rest.text else []
    return values(rest)


def _read_values(draft: D, directive: Directive[D], name: Word, given: list[Word]) -> None:
    if not given:
        draft.found.warning(name, f"{name.text} has no value and is ignored")
        return
    if directive.takes is Takes.ONE and not directive.once and len(given) > 1:
        draft.found.warning(given[-1], f"{name.text} takes one value; the last one counts")
    for value in given:
        if directive.once and name.text in draft.said:
            draft.found.error(value, f"{name.text} is given twice; first at {draft.said[name.text].place}")
            return
        draft.said[name.text] = value
        directive.read(draft, name.text, value)


# ---------------------------------------------------------------- readers that many rows share


def duration(minimum_ms: int = 0, complaint: str = "") -> Callable[[Draft, str, Word], None]:
    """Reads a time into `numbers`, in milliseconds. `complaint` may use {word}."""

    def read_duration(draft: Draft, name: str, word: Word) -> None:
        draft.numbers.pop(name, None)
        value = parse_duration(word, draft.found)
        if value is None:
            return
        if value < minimum_ms:
            default = f"{name} [{word.text}] must be at least {minimum_ms} ms"
            draft.found.error(word, complaint.format(word=word.text) if complaint else default)
            return
        draft.numbers[name] = value

    return read_duration


def number(low: int, high: int | None = None, complaint: str = "") -> Callable[[Draft, str, Word], None]:
    """Reads a number into `numbers`. `complaint` may use {word} and replaces the standard text."""

    def read_number(draft: Draft, name: str, word: Word) -> None:
        draft.numbers.pop(name, None)
        aside = Findings()
        value = parse_number(word, low, high, aside)
        if value is not None:
            draft.numbers[name] = value
            return
        for finding in aside.sorted():
            prefix = complaint.format(word=word.text) + ": " if complaint else ""
            draft.found.error(word, prefix + finding.text)

    return read_number


def switch(draft: Draft, name: str, word: Word) -> None:
    """Reads a boolean into `switches`."""
    value = parse_boolean(word, draft.found)
    if value is not None:
        draft.switches[name] = value


def text(draft: Draft, name: str, word: Word) -> None:
    """Takes the word as it is into `texts`."""
    draft.texts[name] = word.text


def choice(*choices: str) -> Callable[[Draft, str, Word], None]:
    """Reads one of the choices, spelt exactly so, into `texts`."""

    def read_choice(draft: Draft, name: str, word: Word) -> None:
        value = parse_choice(word, choices, draft.found)
        if value is not None:
            draft.texts[name] = value

    return read_choice
