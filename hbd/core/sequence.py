"""Per sender: its generation, which messages are new, which are missing, what to ask again, what to ack.

    generation   lower: REPLAY      equal: go on      higher: RESTART if it is a status, else go on
    sequence     first or next: ACCEPT                      the last again: DUPLICATE_LATEST
                 higher: ACCEPT, the numbers between are missing
                 lower: ACCEPT if it was missing, else OLD_DUPLICATE

A sender restarts its numbers at 1 with a higher generation. Only a status message tells of one, for only a
status is repeated until it is heard. Messages whose type begins with `NS_` have no number and no place here.

Messages also leave 3.0.6 out of order, a reaction before its cause, so a gap is first given a random delay:
often it closes by itself. Facts: heartbeat 3.0.6, its retransmission as observed between two daemons.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, auto
from typing import TYPE_CHECKING, Final, TypeAlias

if TYPE_CHECKING:
    from random import Random  # Handed in; the core has no random source of its own.

MAX_MISSING: Final = 250
"""More missing numbers than this and the sender is taken up afresh, as by 3.0.6."""
ACK_EVERY: Final = 10
"""One number in ten is acknowledged."""
MIN_REXMIT_DELAY_MS: Final = 50


class Verdict(Enum):
    """What a message's generation and number make of it."""

    ACCEPT = auto()
    RESTART = auto()
    """Accept, and forget all about the sender's previous life."""
    DUPLICATE_LATEST = auto()
    """Drop, but it is as good a sign of life on its link as the first copy."""
    OLD_DUPLICATE = auto()
    REPLAY = auto()


@dataclass(frozen=True, slots=True)
class GapSeen:
    """The numbers `first` to `last` were passed over. 3.0.6 logs the numbers on either side of them."""

    first: int
    last: int

    @property
    def count(self) -> int:
        return self.last - self.first + 1


@dataclass(frozen=True, slots=True)
class GapClosed:
    """No number is missing any more."""


@dataclass(frozen=True, slots=True)
class TooManyLost:
    """So many are missing that none is asked for; the sender was taken up afresh at the newest."""


@dataclass(frozen=True, slots=True)
class NewGeneration:
    """The sender restarted. `old` is 0 if no generation of it was known, which 3.0.6 does not log."""

    old: int
    new: int


Fact: TypeAlias = GapSeen | GapClosed | TooManyLost | NewGeneration


@dataclass(frozen=True, slots=True)
class Sequenced:
    """What became of one message."""

    verdict: Verdict
    facts: tuple[Fact, ...] = ()
    newest_status: bool = False
    """An accepted status that was sent after every other accepted status of its generation."""

    @property
    def accepted(self) -> bool:
        return self.verdict is Verdict.ACCEPT or self.verdict is Verdict.RESTART


class SequenceTracker:
    """Tracks one sender. Times are monotonic milliseconds; random draws come from the Random given to it."""

    def __init__(self, rng: Random, max_rexmit_delay_ms: int = 250, known_generation: int = 0) -> None:
        """`known_generation` is the lowest still believed, as remembered from before our own restart."""
        self._rng = rng
        self.max_rexmit_delay_ms = max_rexmit_delay_ms
        self.generation = known_generation
        # Each node draws its digit, so that a cluster's acks do not all come at the same numbers.
        self._ack_digit = rng.randrange(ACK_EVERY)
        self._forget_sequence()

    def _forget_sequence(self) -> None:
        self.last_seq: int | None = None
        self.last_status_seq = 0
        self._due_ms: dict[int, int] = {}
        self._acked = 0

    # ------------------------------------------------------------ receiving

    def accept(self, now_ms: int, generation: int, seq: int, *, is_status: bool) -> Sequenced:
        """Judge a message; an absent generation is 0. Accepting changes what is expected next."""
        if generation < self.generation:
            return Sequenced(Verdict.REPLAY)
        if generation > self.generation and is_status:
            restart = NewGeneration(self.generation, generation)
            self.generation = generation
            self._forget_sequence()
            self._first(seq)
            self.last_status_seq = seq
            return Sequenced(Verdict.RESTART, (restart,), newest_status=True)
        verdict, facts = self._place(now_ms, seq)
        newest_status = is_status and verdict is Verdict.ACCEPT and seq > self.last_status_seq
        if newest_status:
            self.last_status_seq = seq
        return Sequenced(verdict, facts, newest_status)

    def _place(self, now_ms: int, seq: int) -> tuple[Verdict, tuple[Fact, ...]]:
        last = self.last_seq
        if last is None:
            self._first(seq)
            return Verdict.ACCEPT, ()
        if seq == last + 1:
            self.last_seq = seq
            return Verdict.ACCEPT, ()
        if seq == last:
            return Verdict.DUPLICATE_LATEST, ()
        if seq > last:
            return Verdict.ACCEPT, self._jump(now_ms, GapSeen(last + 1, seq - 1))
        if seq not in self._due_ms:
            return Verdict.OLD_DUPLICATE, ()
        del self._due_ms[seq]
        return Verdict.ACCEPT, () if self._due_ms else (GapClosed(),)

    def _jump(self, now_ms: int, gap: GapSeen) -> tuple[Fact, ...]:
        self.last_seq = gap.last + 1
        # All that is missing counts, not this gap alone: what a sender can make us remember must be bounded.
        if len(self._due_ms) + gap.count > MAX_MISSING:
            self._due_ms.clear()
            self._acked = gap.last
            return gap, TooManyLost()
        for seq in range(gap.first, gap.last + 1):
            self._due_ms[seq] = now_ms + self._first_delay_ms()
        return (gap,)

    def _first(self, seq: int) -> None:
        # What was sent before we listened is neither missing nor ours to acknowledge.
        self.last_seq = seq
        self._acked = seq - 1

    def _first_delay_ms(self) -> int:
        longest_ms = self.max_rexmit_delay_ms
        shortest_ms = MIN_REXMIT_DELAY_MS if longest_ms >= 2 * MIN_REXMIT_DELAY_MS else 0
        return self._rng.randint(shortest_ms, longest_ms)

    # ------------------------------------------------------------ asking again

    @property
    def missing(self) -> tuple[int, ...]:
        """The numbers passed over and not received since, in order."""
        return tuple(sorted(self._due_ms))

    @property
    def next_deadline_ms(self) -> int | None:
        """When `due` will next have something, or None if nothing is missing."""
        return min(self._due_ms.values()) if self._due_ms else None

    def due(self, now_ms: int) -> list[int]:
        """The missing numbers to ask for now, one request each. Each comes again after max_rexmit_delay.

        3.0.6 asks only while the sender's status is `up` or `active`; the caller sees to that.
        """
        due = sorted(seq for seq, due_ms in self._due_ms.items() if due_ms <= now_ms)
        for seq in due:
            self._due_ms[seq] = now_ms + max(1, self.max_rexmit_delay_ms)
        return due

    def nak(self, seq: int) -> bool:
        """The sender no longer has this number: stop asking. True if it was missing, so is lost for good."""
        return self._due_ms.pop(seq, None) is not None

    def forget_missing(self) -> None:
        """The sender is dead: stop asking, without acknowledging what never came."""
        if self._due_ms:
            self._due_ms.clear()
            assert self.last_seq is not None, "numbers are missing below a last one"
            self._acked = self.last_seq

    # ------------------------------------------------------------ acknowledging

    def ack_due(self) -> int | None:
        """The number to acknowledge now, once; None if there is nothing new to acknowledge.

        It is the highest with our digit below which nothing is missing. Ask after each accepted message.
        """
        if self.last_seq is None:
            return None
        whole = min(self._due_ms) - 1 if self._due_ms else self.last_seq
        eligible = whole - (whole - self._ack_digit) % ACK_EVERY
        if eligible <= self._acked:
            return None
        self._acked = eligible
        return eligible
