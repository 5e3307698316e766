"""What a check has found out about a machine: facts to be read at a glance, and findings.

A fact is one line of one section. Whatever is doubtful is a `Finding`, too, with its place in a file, so
that a script sees everything in one form. Facts decide nothing.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum

from hbd.config.findings import Finding, Severity
from hbd.config.model import Place


class Mark(Enum):
    """How a fact is shown."""

    GOOD = "ok"
    PLAIN = "note"
    """Worth knowing, neither good nor bad."""
    BAD = "warning"
    UNKNOWN = "unknown"


class Section(Enum):
    """The headings, in their order."""

    LINKS = "Links"
    ADDRESSES = "Addresses"
    UNITS = "Units"
    PINGS = "Ping nodes"
    NETWORK = "Who else changes the network"
    PEER = "The other node"
    DAEMON = "This daemon"
    TIMES = "If this node falls silent"


@dataclass(frozen=True, slots=True)
class Fact:
    """One line."""

    section: Section
    name: str
    text: str
    mark: Mark = Mark.GOOD


@dataclass(slots=True)
class Known:
    """What is known so far."""

    facts: list[Fact] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)

    def good(self, section: Section, name: str, text: str) -> None:
        self.facts.append(Fact(section, name, text))

    def note(self, section: Section, name: str, text: str) -> None:
        self.facts.append(Fact(section, name, text, Mark.PLAIN))

    def unknown(self, section: Section, name: str, text: str) -> None:
        self.facts.append(Fact(section, name, text, Mark.UNKNOWN))

    def warn(self, section: Section, name: str, place: Place, text: str) -> None:
        """Something to be put right: a fact, and a finding with a place."""
        self.facts.append(Fact(section, name, text, Mark.BAD))
        self.findings.append(Finding(place, Severity.WARNING, f"{name}: {text}"))
