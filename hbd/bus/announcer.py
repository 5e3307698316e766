"""Signals: what listeners on the bus have been told, and what they are to be told next.

Signals are made of the difference between both when the bus takes them, and not when something happens.
So nothing piles up here while the bus is slow, stopped or away: what has changed ten times meanwhile is
announced once, as it is then, and what is as it was is not announced at all. Only ends of transitions
and decisions cannot be made up later. They wait in queues that are bounded; what has no room there is
counted.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator

from hbd.bus import names, records
from hbd.bus.contract import OBJECT_MANAGER, PROPERTIES
from hbd.bus.projection import Objects, difference
from hbd.bus.values import interfaces, variants
from hbd.core.records import Record
from hbd.dbusio import Bus

SIGNALS_PER_TURN = 32
"""One costs up to 0.1 ms, and a takeover of many groups changes hundreds of objects: heartbeats go first."""
MOST_FINISHED = 64
MOST_DECIDED = 256

Signal = tuple[str, str, str, str, list[object]]
"""Path, interface, member, signature, body."""


class Announcer:
    """Brings listeners from what they were told to what is."""

    def __init__(self) -> None:
        self._told: Objects = {}
        self._wanted: Objects = {}
        self._finished: deque[tuple[int, str]] = deque()
        self._decided: deque[Record] = deque()
        self.dropped = 0
        """Ends of transitions, and decisions, that were not announced."""

    @property
    def is_behind(self) -> bool:
        """Listeners have not been told everything."""
        return self._told is not self._wanted or bool(self._finished or self._decided)

    def show(self, objects: Objects) -> None:
        """This is what is."""
        self._wanted = objects

    def finish(self, transition: int, result: str) -> None:
        """A transition has ended. It is announced after the changes that it made."""
        if len(self._finished) == MOST_FINISHED:
            self._finished.popleft()
            self.dropped += 1
        self._finished.append((transition, result))

    def decide(self, record: Record) -> None:
        """A decision was taken, or has its result."""
        if len(self._decided) == MOST_DECIDED:
            self._decided.popleft()
            self.dropped += 1
        self._decided.append(record)

    def restart(self) -> None:
        """Nobody listens yet: whoever comes reads everything first."""
        self._told = self._wanted
        self._finished.clear()
        self._decided.clear()

    def say(self, bus: Bus) -> None:
        """Announce a turn's worth, or nothing while the bus takes nothing; `is_behind` tells what is left."""
        left = SIGNALS_PER_TURN
        for signal in self._signals():
            if not left or bus.is_congested:
                return
            left -= 1
            bus.emit(*signal)

    def _signals(self) -> Iterator[Signal]:
        """What is to be announced. Each counts as told as soon as the next one is asked for."""
        if self._told is not self._wanted:
            yield from self._changes()
            self._told = self._wanted
        while self._finished:
            yield names.ROOT, names.CLUSTER, "TransitionFinished", "us", list(self._finished[0])
            self._finished.popleft()
        while self._decided:
            shown = variants(records.record(self._decided[0]))
            yield names.ROOT, names.CLUSTER, "Decided", "a{sv}", [shown]
            self._decided.popleft()

    def _changes(self) -> Iterator[Signal]:
        between = difference(self._told, self._wanted)
        told = self._told = dict(self._told)
        for path, gone in between.removed.items():
            yield names.ROOT, OBJECT_MANAGER, "InterfacesRemoved", "oas", [path, list(gone)]
            del told[path]
        for path, shown in between.added.items():
            yield names.ROOT, OBJECT_MANAGER, "InterfacesAdded", "oa{sa{sv}}", [path, interfaces(shown)]
            told[path] = shown
        for path, shown in between.changed.items():
            for interface, properties in shown.items():
                yield path, PROPERTIES, "PropertiesChanged", "sa{sv}as", [interface, variants(properties), []]
            told[path] = self._wanted[path]
