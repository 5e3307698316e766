"""What we sent lately, requests to send it again, and who acknowledged what.

The last 500 sequenced messages are kept as messages, not as datagrams: sent again they have the fields they
had, under the signature of today's key. Older ones are refused with a nak. The same number goes out once per
max_rexmit_delay however many ask, less a little for their clocks. Facts: heartbeat 3.0.6.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, TypeAlias

from hbd.core.message import Message

KEPT_MESSAGES: Final = 500
MAX_PER_REQUEST: Final = 50
CLOCK_SLACK_MS: Final = 10


@dataclass(frozen=True, slots=True)
class Resend:
    """Send this message again, to all media."""

    seq: int
    message: Message


@dataclass(frozen=True, slots=True)
class Nak:
    """Refuse this number; the reason is for the nak's `info`."""

    seq: int
    reason: str


@dataclass(frozen=True, slots=True)
class AboveMax:
    """A number was asked for that was never sent; `seq` is the first such."""

    seq: int
    highest: int


@dataclass(frozen=True, slots=True)
class CorruptedAck:
    """A node acknowledged a number that was never sent."""

    node: str
    seq: int
    highest: int


Answer: TypeAlias = Resend | Nak | AboveMax


@dataclass(slots=True)
class _Sent:
    message: Message
    resent_ms: int | None = None


class History:
    """The ring of sent messages. Times are monotonic milliseconds."""

    def __init__(self, max_rexmit_delay_ms: int = 250) -> None:
        self.max_rexmit_delay_ms = max_rexmit_delay_ms
        self.highest = 0
        """The last number sent; 0 before the first."""
        self._sent: dict[int, _Sent] = {}
        self._acked: dict[str, int] = {}

    def __len__(self) -> int:
        return len(self._sent)

    @property
    def lowest(self) -> int:
        """The lowest number still kept, once anything was sent."""
        return self.highest - len(self._sent) + 1

    def record(self, seq: int, message: Message) -> None:
        """Keep a message that is being sent for the first time. Numbers start at 1 and leave none out."""
        assert seq == self.highest + 1, "sequence numbers are given out one by one"
        self._sent[seq] = _Sent(message)
        self.highest = seq
        if len(self._sent) > KEPT_MESSAGES:
            del self._sent[seq - KEPT_MESSAGES]

    def request(self, first: int, last: int, requester_acked: int, now_ms: int) -> list[Answer]:
        """Answer a request for the numbers `first` to `last`, from a node that acknowledged so far.

        At most 50 answers, lowest numbers first. Nothing for what the node has acknowledged, nor for what was
        sent again less than max_rexmit_delay ago. The requested range may be arbitrarily wrong and large.
        """
        answers: list[Answer] = []
        for seq in range(max(first, requester_acked + 1), min(last, self.highest) + 1):
            if len(answers) == MAX_PER_REQUEST:
                return answers
            answer = self._answer(seq, now_ms)
            if answer is not None:
                answers.append(answer)
        if first <= last and last > self.highest and len(answers) < MAX_PER_REQUEST:
            answers.append(AboveMax(max(first, self.highest + 1), self.highest))
        return answers

    def _answer(self, seq: int, now_ms: int) -> Answer | None:
        if seq < self.lowest:
            return Nak(seq, "seqno too low")
        sent = self._sent[seq]
        quiet_ms = self.max_rexmit_delay_ms - CLOCK_SLACK_MS
        if sent.resent_ms is not None and now_ms - sent.resent_ms < quiet_ms:
            return None
        sent.resent_ms = now_ms
        return Resend(seq, sent.message)

    def acked(self, node: str, seq: int) -> CorruptedAck | None:
        """Note an acknowledgement of all numbers up to this one. An older one than known changes nothing."""
        if seq > self.highest:
            return CorruptedAck(node, seq, self.highest)
        if seq > self._acked.get(node, 0):
            self._acked[node] = seq
        return None

    def acked_by(self, node: str) -> int:
        """The highest number this node has acknowledged; 0 for none."""
        return self._acked.get(node, 0)

    def forget(self, node: str) -> None:
        """A node restarted or left: what it acknowledged in its previous life counts no more."""
        self._acked.pop(node, None)

    def unacknowledged(self, nodes: Iterable[str]) -> int:
        """How many messages at least one of these nodes has not acknowledged; 0 without nodes."""
        return self.highest - min((self.acked_by(node) for node in nodes), default=self.highest)
