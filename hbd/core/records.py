"""Decisions as records: what this node decided, why, by what evidence, what it did and how that ended.

A record is opened with the decision and closed with its result. One that other decisions follow from (a node
declared dead, a handover, a stop) is the *head* of theirs: `under` in theirs is its number. What was done
under a decision, and when, are its steps: together they are the time line that `hbctl history` shows.

Clocks of two machines cannot be compared. So each record says at which message of ours it was decided
(`generation`, `seq`: the newest that was sent before) and which report of the peer was the newest then
(`heard`). A record of the peer that has heard more than this node had said is the later one of the two.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


class Decision(Enum):
    """What was decided; the value is the word on D-Bus and in the files."""

    START = "start"
    """hbd begins: it finds out who serves what."""
    DEAD = "declared dead"
    LEFT = "left"
    """The other node has said goodbye."""
    STANDBY = "standby"
    """An operator has groups handed over to the other node."""
    TAKEOVER = "takeover"
    """An operator has groups handed over to this node."""
    FAILBACK = "failback"
    """The returned home node gets its groups back."""
    IPFAIL = "ipfail"
    """Everything goes to the other node, which reaches more."""
    REFUSE = "refuse"
    """What an operator asked for is not done."""
    MUTE = "addresses off"
    """The other node may have taken over: no address before it has answered."""
    SHUTDOWN = "shutdown"
    TAKE = "take"
    """A group is claimed and started here."""
    ADOPT = "keep"
    """A group that an earlier life of hbd started runs: it stays if the other node does not object."""
    RESTORE = "restore"
    """A member that is missing is started again."""
    RELEASE = "release"
    """A group is stopped here."""
    GIVE_WAY = "give way"
    """Both nodes have it, and this one releases it."""
    INSIST = "insist"
    """Both nodes have it, and this one keeps it."""
    GIVE_UP = "give up"
    """A group did not start here: it is released for the other node."""
    FREEZE = "freeze"
    """Nothing is started, stopped or moved before the thaw."""
    THAW = "thaw"
    BLOCKED = "blocked"
    """A group does not stop: it stays claimed here until it is seen stopped."""


HEADS = frozenset({
    Decision.START, Decision.DEAD, Decision.LEFT, Decision.STANDBY, Decision.TAKEOVER, Decision.FAILBACK,
    Decision.IPFAIL, Decision.MUTE, Decision.SHUTDOWN,
})  # fmt: skip
"""Other decisions follow from these."""

MOST_STEPS = 64
"""Of one record; what comes after these is counted only."""


@dataclass(frozen=True, slots=True)
class Evidence:
    """What was known when it was decided."""

    text: str
    node: str = ""
    link: str = ""
    """Empty: not a matter of one link."""
    ago_ms: int | None = None
    """When it was heard last, in milliseconds before the decision; None if never, or no matter of time."""


@dataclass(frozen=True, slots=True)
class Step:
    """Something done under a decision."""

    after_ms: int
    """Since the decision."""
    text: str


@dataclass(frozen=True, slots=True)
class Record:
    """One decision. `life` and `number` name it; the later of two with the same name is more complete."""

    node: str
    life: int
    """Drawn at random at each start of hbd (Identity.incarnation)."""
    number: int
    """Counts in that life, from 1."""
    generation: int
    at_ms: int
    """CLOCK_BOOTTIME of the node."""
    wall_s: int
    """To be shown; decides nothing."""
    seq: int
    heard: tuple[int, int]
    """(generation, seq) of the peer's newest report then; (0, 0) if there was none."""
    decision: Decision
    cause: str
    action: str
    under: int = 0
    """The number of its head; 0 if it has none."""
    group: str = ""
    peer: str = ""
    transition: int = 0
    evidence: tuple[Evidence, ...] = ()
    steps: tuple[Step, ...] = ()
    result: str = ""
    """Empty while it is not known."""
    took_ms: int = 0
    """From the decision to its result."""
    boot: str = ""
    """In which boot of the machine `at_ms` counts. Whoever keeps the record knows it."""

    @property
    def name(self) -> tuple[int, int]:
        return self.life, self.number


@dataclass(frozen=True, slots=True)
class Explanation:
    """Why a group is where it is: sentences."""

    because: tuple[str, ...]
    would_move: tuple[str, ...]
    evidence: tuple[Evidence, ...]
