"""heartbeat 3.0.6 on the wire, as a model: numbers, generations, gaps, retransmission, acks.

Written from the facts about the protocol (what two daemons were seen to send and to accept), and apart from
`hbd.core.channel`, which it is to be played against: only the codec is shared. The original's traits are
kept: a lower generation is dropped as a replay and only a status raises it; a peer that was dead and comes
back in the same generation is a healed partition; a gap is asked for after 50 to 250 ms, one number at a
time; a reaction to an own message leaves before that message (the sender handles its own messages first).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum, auto

from hbd.config.model import Keys, MsgFormat
from hbd.core import message as f
from hbd.core import protocol
from hbd.core.message import Message, Value
from hbd.core.wire import BadDatagram, decode, encode

KEPT = 500
"""Messages kept for retransmission."""
MOST_MISSING = 250
"""A wider gap is not asked for: the sender is taken up afresh."""
ASK_AGAIN_MS = 250
RESEND_MS = 240
"""The same number is not sent again sooner than this."""


class Sort(Enum):
    """What an accepted message is, beside what it says."""

    PLAIN = auto()
    RESTART = auto()
    """The first status of a new life of the peer."""
    HEALED = auto()
    """A status of a peer that was dead, in the same life: the partition is over."""


@dataclass(frozen=True, slots=True)
class Taken:
    """A message that is to be acted on."""

    kind: str
    message: Message
    sort: Sort


class ClassicWire:
    """One life of a 3.0.6 daemon on the wire, towards one peer."""

    def __init__(
        self, me: str, peer: str, generation: int, keys: Keys, msgfmt: MsgFormat,
        draw: Callable[[int, int], int],
    ) -> None:  # fmt: skip
        self.me, self.peer, self.generation = me, peer, generation
        self.seq = 0
        self.acked = 0
        """The highest number of ours that the peer acknowledged."""
        self.replays = 0
        """Datagrams of the peer that were dropped as replays."""
        self.peer_generation = 0
        self._keys, self._msgfmt, self._draw = keys, msgfmt, draw
        self._kept: dict[int, Message] = {}
        self._resent_ms: dict[int, int] = {}
        self._last: int | None = None
        self._status_seq = 0
        self._missing: dict[int, int] = {}
        self.asked: set[int] = set()
        """Numbers of the peer's present life that it was asked to send again."""
        self._digit = draw(0, 9)

    # ------------------------------------------------------------ out

    def made(self, fields: protocol.Fields, wall_s: int) -> Message:
        """A message with everything that each message carries; a numbered one is kept."""
        pairs: list[tuple[str, Value]] = [*fields, (f.SRC, self.me), (f.SRCUUID, self.me[:1].encode() * 16)]
        numbered = not str(dict(fields)[f.T]).startswith("NS_")
        if numbered:
            self.seq += 1
            pairs.append((f.SEQ, f"{self.seq:x}"))
        message = Message.of(*pairs, (f.HG, f"{self.generation:x}"), (f.TS, f"{wall_s:x}"), (f.TTL, "3"))
        if numbered:
            self._kept[self.seq] = message
            self._kept.pop(self.seq - KEPT, None)
        return message

    def bytes_of(self, message: Message) -> bytes:
        return encode(message, self._keys, self._msgfmt)

    # ------------------------------------------------------------ in

    def take(self, now_ms: int, payload: bytes, peer_is_dead: bool) -> Taken | None:
        """Judge a datagram; None if nothing follows from it."""
        try:
            message = decode(payload, self._keys).message
        except BadDatagram:
            return None
        kind = message.text(f.T) or ""
        if message.text(f.SRC) != self.peer or not kind:
            return None
        if kind.startswith("NS_"):
            return Taken(kind, message, Sort.PLAIN) if message.text(f.DEST) in (None, self.me) else None
        generation, seq = message.hex(f.HG) or 0, message.hex(f.SEQ) or 0
        if generation < self.peer_generation:
            self.replays += 1
            return None
        sort = Sort.PLAIN
        if kind == protocol.STATUS:
            if generation > self.peer_generation:
                sort = Sort.RESTART
                self.peer_generation = generation
                self.forget()
                self.asked.clear()
                self._status_seq = 0
            elif peer_is_dead:
                if seq <= self._status_seq:
                    return None
                sort = Sort.HEALED
        if not self._is_new(now_ms, seq):
            return None
        if kind == protocol.STATUS:
            if seq < self._status_seq:
                return None
            self._status_seq = seq
        if message.text(f.DEST) not in (None, self.me):
            return None
        return Taken(kind, message, sort)

    def _is_new(self, now_ms: int, seq: int) -> bool:
        if self._last is None or seq == self._last + 1:
            self._last = seq
            return True
        if seq <= self._last:
            return self._missing.pop(seq, None) is not None
        if seq - self._last > MOST_MISSING:
            self._missing.clear()
        else:
            for number in range(self._last + 1, seq):
                self._missing[number] = now_ms + self._draw(50, 250)
        self._last = seq
        return True

    def forget(self) -> None:
        """The peer is dead, or begins anew: its numbers count no more."""
        self._last = None
        self._missing.clear()

    def acks(self) -> protocol.Fields | None:
        """The ack that is due after an accepted message."""
        if self._last is None or self._missing or self._last % 10 != self._digit:
            return None
        return protocol.ack(self.peer, self._last)

    # ------------------------------------------------------------ retransmission

    def due(self, now_ms: int) -> list[protocol.Fields]:
        """Requests for missing numbers, one each."""
        numbers = [number for number, at_ms in self._missing.items() if at_ms <= now_ms]
        for number in numbers:
            self._missing[number] = now_ms + ASK_AGAIN_MS
        self.asked.update(numbers)
        return [protocol.rexmit(self.peer, number) for number in numbers]

    def control(
        self, now_ms: int, kind: str, message: Message
    ) -> tuple[list[Message], list[protocol.Fields]]:
        """Obey a message without number: kept messages to send again, and refusals."""
        match kind:
            case protocol.ACK:
                acked = message.hex(f.ACKSEQ) or 0
                if acked <= self.seq:
                    self.acked = max(self.acked, acked)
            case protocol.NAK:
                self._missing.pop(message.hex(f.FIRSTSEQ) or 0, None)
            case protocol.REXMIT:
                return self._again(now_ms, message.decimal(f.FIRSTSEQ) or 0, message.decimal(f.LASTSEQ) or 0)
            case _:
                pass
        return [], []

    def _again(self, now_ms: int, first: int, last: int) -> tuple[list[Message], list[protocol.Fields]]:
        again: list[Message] = []
        refused: list[protocol.Fields] = []
        for number in range(first, min(last, first + 49) + 1):
            if number <= self.acked or number > self.seq:
                continue
            if number not in self._kept:
                refused.append(protocol.nak(self.peer, number, "seqno not found"))
            elif now_ms - self._resent_ms.get(number, -RESEND_MS) >= RESEND_MS:
                self._resent_ms[number] = now_ms
                again.append(self._kept[number])
        return again, refused
