"""Records that are still open: begun with what is known then, added to, and let out when they end."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from hbd.core import evidence
from hbd.core.desk import Desk
from hbd.core.effects import Note
from hbd.core.membership import Membership
from hbd.core.records import MOST_STEPS, Decision, Evidence, Record, Step


@dataclass(slots=True)
class Draft:
    """A record that is still open."""

    record: Record
    steps: list[Step]
    more: int = 0
    ended: bool = False

    def step(self, now_ms: int, text: str) -> None:
        """Something was done under it, or has ended."""
        if len(self.steps) < MOST_STEPS:
            self.steps.append(Step(now_ms - self.record.at_ms, text))
        else:
            self.more += 1

    @property
    def so_far(self) -> Record:
        """As it stands."""
        return replace(self.record, steps=tuple(self.steps))


class Drafts:
    """Numbers the records of one life of hbd, and keeps those that are open."""

    def __init__(self, desk: Desk, membership: Membership, keepalive_ms: int) -> None:
        self._desk, self._membership = desk, membership
        self.keepalive_ms = keepalive_ms
        self._count = 0
        self.open: dict[int, Draft] = {}
        """By number, oldest first."""
        self.fresh: list[Draft] = []
        """Opened in this step."""

    def begin(
        self, decision: Decision, cause: str, action: str, *, under: int = 0, group: str = "",
        peer: str = "", transition: int = 0, evidence: tuple[Evidence, ...] = (),
    ) -> Draft:  # fmt: skip
        """Open one. What was heard of the peer is evidence in any case."""
        now, channel, other = self._desk.now, self._membership.channel, self._membership.peer
        self._count += 1
        record = Record(
            node=self._membership.name, life=self._membership.life, number=self._count,
            generation=channel.generation, seq=channel.seq, at_ms=now.ms, wall_s=now.wall_s,
            heard=(0, 0) if other is None else other.report_at, decision=decision, cause=cause,
            action=action, under=under, group=group, peer=peer, transition=transition,
            evidence=evidence + self._heard(peer),
        )  # fmt: skip
        draft = self.open[self._count] = Draft(record, [])
        self.fresh.append(draft)
        return draft

    def _heard(self, peer: str) -> tuple[Evidence, ...]:
        if not peer:
            return ()
        return evidence.heard(self._membership, peer, self._desk.now.ms, self.keepalive_ms)

    def end(self, draft: Draft, result: str) -> Record:
        """Close it, and let it out."""
        more = f" ({draft.more} more steps)" if draft.more else ""
        took_ms = self._desk.now.ms - draft.record.at_ms
        ended = replace(draft.so_far, result=result + more, took_ms=took_ms)
        draft.ended = True
        del self.open[ended.number]
        self._desk.emit(Note(ended))
        return ended

    def find(self, decision: Decision) -> Draft | None:
        """The one of that kind that is open, if any."""
        return next((d for d in self.open.values() if d.record.decision is decision), None)

    def tell(self) -> None:
        """Let out what was opened in this step and is still open."""
        if self.fresh:
            for draft in self.fresh:
                if not draft.ended:
                    self._desk.emit(Note(draft.so_far))
            self.fresh.clear()

    def records(self) -> Iterator[Record]:
        """What is not decided to its end yet."""
        return (draft.so_far for draft in self.open.values())
