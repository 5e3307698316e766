"""What has happened on this node since its start, counted for whoever draws curves of it. Decides nothing.

Most of it is read off the core's own log lines, each of which is one event; what has a beginning and an end
is a `Span`. Times are milliseconds of the steps' clock.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from hbd.core.effects import Kind, Log

COUNTED = {
    Kind.CONFLICT: "conflicts",
    Kind.RESOURCE_FAILED: "resource_failures",
    Kind.RESOURCE_LOST: "resources_lost",
    Kind.GROUP_UNABLE: "groups_unable",
    Kind.GROUP_BLOCKED: "groups_blocked",
}
"""Kinds of lines that are written once for each such event."""

BEGINS = {Kind.GROUP_ACQUIRING: "start", Kind.GROUP_RELEASING: "stop"}
ENDS = {Kind.GROUP_STARTED: "start", Kind.GROUP_RELEASED: "stop"}
"""Kinds of lines that say that a group's start or stop begins, or was done."""


@dataclass(slots=True)
class Span:
    """How long something of one kind has taken so far."""

    count: int = 0
    total_ms: int = 0

    def add(self, ms: int) -> None:
        self.count += 1
        self.total_ms += ms


@dataclass(slots=True)
class Tally:
    """One node's."""

    counts: Counter[str] = field(default_factory=Counter)
    """By the names of `COUNTED`."""
    deaths: Counter[str] = field(default_factory=Counter)
    """How often each node was declared dead."""
    groups: dict[tuple[str, str], Span] = field(default_factory=dict)
    """By what was done (`start` or `stop`) and the group's name; only what ended well."""
    transitions: dict[tuple[str, str], Span] = field(default_factory=dict)
    """By cause and result. A takeover after a death is `death`, `done`."""
    _begun: dict[tuple[str, str], int] = field(default_factory=dict)

    def logged(self, now_ms: int, line: Log) -> None:
        """The core wrote this line."""
        kind = line.kind
        if kind in COUNTED:
            self.counts[COUNTED[kind]] += 1
        elif kind in BEGINS:
            self._begun[BEGINS[kind], line.group] = now_ms
        elif kind in ENDS:
            begun_ms = self._begun.pop((ENDS[kind], line.group), None)
            if begun_ms is not None:
                self.groups.setdefault((ENDS[kind], line.group), Span()).add(now_ms - begun_ms)

    def more(self, kind: Kind, count: int) -> None:
        """The last line of this kind was about so many more."""
        self.counts[COUNTED[kind]] += count

    def moved(self, cause: str, result: str, ms: int) -> None:
        """A handover, or a takeover after a death, ended like this."""
        self.transitions.setdefault((cause, result), Span()).add(ms)
