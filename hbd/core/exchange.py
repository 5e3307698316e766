"""Handing groups over between two hbd nodes: standby, takeover and failback are one mechanism.

    holder   OFFERED ──peer accepts──▶ CEDING ──last stop──▶ CEDED ──peer claims──▶ done
    taker    (asks) ─── accepts ───────────────────────────▶ claims, starts

    holder, hbd killed while CEDING   RESUMED ──the life that accepted is heard──▶ CEDING
                                              ──another life, or nobody──▶ what runs is kept
    taker, hbd killed while starting  claims it again, unless the holder has begun a new life

Every step is a flag in the reports of both, so a lost message costs one heartbeat and nothing else. An offer
that is not accepted in time is withdrawn and nothing was stopped; a ceded group that the peer does not
claim in time goes back to its holder by the ordinary rules of claims.py.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum

from hbd.core.events import HeldGroup

REPLY_MS = 10_000
"""How long the other side may take to answer (heartbeat 3.0.6, standby timer)."""
TRANSITION_MS = 3_600_000
"""How long a whole transition may take (heartbeat 3.0.6)."""


class Stage(Enum):
    """How far one group's handover is, at its holder."""

    NONE = "none"
    OFFERED = "offered"
    RESUMED = "resumed"
    CEDING = "ceding"
    CEDED = "ceded"


class Cause(Enum):
    """Why groups move between two living nodes; the value is the word for the log."""

    STANDBY = "standby"
    FAILBACK = "failback"
    TAKEOVER = "takeover"


@dataclass(slots=True)
class Exchange:
    """One group's part in a handover."""

    stage: Stage = Stage.NONE
    since_ms: int = 0
    offered_at: tuple[int, int] | None = None
    """(generation, seq) of our first report with the offer."""
    pinned: bool = False
    """An operator's wish: the taker does not fail it back by itself."""
    given: bool = False
    """The release for this handover began."""
    asking: bool = False
    """We want it from the peer."""
    partner: int = 0
    """The generation of the peer that takes it; or, while it is started here, of the one that gave it."""
    resumed: bool = False
    """An earlier life of ours was taking it."""

    def offer(self, now_ms: int, pinned: bool) -> None:
        """Ready to be taken; nothing is stopped before the peer accepts."""
        self.stage, self.since_ms, self.offered_at = Stage.OFFERED, now_ms, None
        self.pinned, self.given = pinned, False

    def withdraw(self) -> None:
        """The handover of this group is over, one way or the other."""
        self.stage, self.offered_at = Stage.NONE, None
        self.arrived()

    def arrived(self) -> None:
        """The group runs where it was to go: nothing of it is to be finished after a restart."""
        self.partner, self.resumed = 0, False

    def resume(self, held: HeldGroup) -> None:
        """An earlier life of ours was giving it."""
        self.stage, self.partner = Stage.RESUMED, held.partner
        self.given, self.pinned = True, not held.failback


@dataclass(slots=True)
class Transition:
    """A commanded or automatic handover of some groups, from its opening to its result."""

    number: int
    cause: Cause
    scope: str
    inbound: bool
    """Towards us."""
    groups: tuple[str, ...]
    opened_ms: int
    commanded: bool = True
    """An operator's wish."""
    results: dict[str, str] = field(default_factory=dict)

    @property
    def result(self) -> str:
        """`done` if every group arrived, else the worst that happened."""
        outcomes = set(self.results.values())
        for outcome in ("failed", "cancelled"):
            if outcome in outcomes:
                return outcome
        return "done"

    @property
    def finished(self) -> bool:
        return len(self.results) == len(self.groups)
