"""What one step works with: the moment, and the effects collected so far."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from hbd.core.effects import Effect, Kind, Level, Log
from hbd.core.events import Instant, JobId
from hbd.core.tally import Tally

_OF_ITS_OWN = (Kind.STANDBY, Kind.TRANSITION)
"""Lines about no group that belong to a transition all the same."""


class Desk:
    """Collects the effects of one step. Jobs come last, after the report that announces them."""

    def __init__(self) -> None:
        self.now = Instant(0, 0)
        self._effects: list[Effect] = []
        self._jobs: list[Effect] = []
        self._next_job = 0
        self.tally = Tally()
        self._transition = 0
        self._moving: frozenset[str] = frozenset()
        self._moved = False

    def open(self, now: Instant) -> None:
        """Begin a step."""
        self.now, self._effects, self._jobs = now, [], []
        if self._moved:
            self._transition, self._moved = 0, False

    def moving(self, transition: int, groups: Iterable[str]) -> None:
        """From now on what is logged about these groups, or about moving as such, carries this number."""
        self._transition, self._moving, self._moved = transition, frozenset(groups), False

    def moved(self) -> None:
        """That transition is over: so it is until the end of this step."""
        self._moved = True

    def close(self) -> list[Effect]:
        """The step's effects in the order in which they have to be performed."""
        return self._effects + self._jobs

    @property
    def has_jobs(self) -> bool:
        """Something is begun in this step."""
        return bool(self._jobs)

    @property
    def jobs(self) -> list[Effect]:
        """What is begun in this step."""
        return self._jobs

    @property
    def has_effects(self) -> bool:
        """Anything at all is to be done after this step."""
        return bool(self._effects or self._jobs)

    def new_job(self) -> JobId:
        self._next_job += 1
        return JobId(self._next_job)

    def emit(self, effect: Effect) -> None:
        self._effects.append(effect)

    def emit_job(self, effect: Effect) -> None:
        self._jobs.append(effect)

    def emit_all(self, effects: Iterable[Effect]) -> None:
        """What a group wants done: its log lines at once, its jobs after the report that announces them."""
        for effect in effects:
            if isinstance(effect, Log):
                self._write(effect)
            else:
                self._jobs.append(effect)

    def log(
        self, level: Level, kind: Kind, text: str, *, node: str = "", link: str = "", group: str = "",
        resource: str = "", transition: int = 0,
    ) -> None:  # fmt: skip
        self._write(Log(level, kind, text, node, link, group, resource, transition))

    def info(self, kind: Kind, text: str, *, node: str = "", group: str = "", transition: int = 0) -> None:
        self.log(Level.INFO, kind, text, node=node, group=group, transition=transition)

    def warn(self, kind: Kind, text: str, *, node: str = "", group: str = "") -> None:
        self.log(Level.WARN, kind, text, node=node, group=group)

    def _write(self, line: Log) -> None:
        if self._transition and not line.transition and self._is_of_transition(line):
            line = replace(line, transition=self._transition)
        self._effects.append(line)
        self.tally.logged(self.now.ms, line)

    def _is_of_transition(self, line: Log) -> bool:
        return line.group in self._moving if line.group else line.kind in _OF_ITS_OWN
