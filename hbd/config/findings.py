"""What is wrong or doubtful in the operator's files, each with its place.

Parsers report here and go on, so that one run shows everything. The texts of
heartbeat 3.0.6 are kept where it has one; hbd adds the place and a remedy.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum

from hbd.config.model import Place
from hbd.errors import HbdError


@dataclass(frozen=True, slots=True)
class Word:
    """A piece of a line, and where its first character stands."""

    text: str
    place: Place

    def part(self, start: int, end: int | None = None) -> Word:
        """The piece text[start:end], with its own column."""
        place = Place(self.place.path, self.place.line, self.place.column + start)
        return Word(self.text[start:end], place)


class Severity(Enum):
    """An error forbids the start; a warning does not."""

    ERROR = "error"
    WARNING = "warning"


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of `hbd --check`: `path:line:column: error|warning: text`."""

    place: Place
    severity: Severity
    text: str

    def __str__(self) -> str:
        return shown(f"{self.place}: {self.severity.value}: {self.text}")


class Findings:
    """Collects findings of all files of one configuration."""

    def __init__(self) -> None:
        self._all: list[Finding] = []

    def error(self, where: Word | Place, text: str) -> None:
        self._add(where, Severity.ERROR, text)

    def warning(self, where: Word | Place, text: str) -> None:
        self._add(where, Severity.WARNING, text)

    @property
    def failed(self) -> bool:
        """Whether any finding is an error."""
        return any(finding.severity is Severity.ERROR for finding in self._all)

    def sorted(self) -> tuple[Finding, ...]:
        """By file, line and column; what was found at one place stays in the order found."""
        return tuple(sorted(self._all, key=lambda finding: finding.place))

    def _add(self, where: Word | Place, severity: Severity, text: str) -> None:
        place = where.place if isinstance(where, Word) else where
        self._all.append(Finding(place, severity, text))


class ConfigError(HbdError):
    """The configuration cannot be used. Carries every finding, warnings too."""

    def __init__(self, findings: Iterable[Finding]) -> None:
        self.findings = tuple(findings)
        super().__init__(format_findings(self.findings))


def format_findings(findings: Iterable[Finding]) -> str:
    """The findings, one to a line, without a final newline."""
    return "\n".join(str(finding) for finding in findings)


def suggestion(text: str, names: Iterable[str]) -> str:
    """`; did you mean 'keepalive'?`, or nothing if no name is close."""
    by_lower = {name.lower(): name for name in names}
    close = difflib.get_close_matches(text.lower(), by_lower, n=1, cutoff=0.7)
    return f"; did you mean '{by_lower[close[0]]}'?" if close else ""


def node_suggestion(name: str, nodes: Iterable[str]) -> str:
    """As `suggestion`, but a node that differs only by its domain is the first guess."""
    known = tuple(nodes)
    host = name.partition(".")[0]
    for node in known:
        if node != name and node.partition(".")[0] == host:
            return f"; did you mean '{node}'?"
    return suggestion(name, known)


def shown(text: str) -> str:
    """The text with what a terminal or the journal could trip over written as escapes."""
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() else _escape(char) for char in text)


def _escape(char: str) -> str:
    # Bytes that are not UTF-8 arrive as lone surrogates (surrogateescape).
    if "\udc80" <= char <= "\udcff":
        return f"\\x{ord(char) - 0xDC00:02x}"
    return char.encode("unicode_escape").decode("ascii")
