"""What a node in a ring passes on: each message once, to the serial lines it did not come from.

    alpha ─ ttyS1 ──── ttyS0 ─ beta        A line has two ends. For three nodes to hear one another over
       └ ttyS0 ─ gamma ─ ttyS1 ┘           lines, each says again what it hears; then one cut does no harm.

Only between serial lines: whoever shares a network hears everybody there, and what is sent goes out on every
medium of its sender anyway. Only with more than two nodes: of two, both ends of each line have heard it.

No message goes round for ever. Each passing takes one from its `ttl`, which is the number of nodes and
hopfudge at first, and what has none left stays. Besides, a node passes a message on once: known by sender,
generation and number, or, without a number (`NS_` messages), by digest. The exception is one that somebody
has asked for again: having passed that request on, we let what it names pass once more. What is remembered is
bounded, for each node of ha.cf.

A new `ttl` needs a new signature; what is passed on therefore was verified, and comes from a node of ha.cf.
heartbeat 3.0.6 sends `ttl` and never looks at it, and passes nothing on; it drops what it has heard before.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import Final

from hbd.config.model import Config, MediumSpec, Serial
from hbd.core import message as f
from hbd.core import protocol
from hbd.core.message import Message

KEPT_NUMBERS: Final = 512
"""Per node, from its newest number down; a sender keeps no more than its last 500 for those who ask."""
KEPT_DIGESTS: Final = 256


@dataclass(frozen=True, slots=True)
class Onward:
    """A message to be signed and sent again, on these lines."""

    message: Message
    lines: tuple[Serial, ...]
    origin: str
    heartbeat: bool
    """Its sender's newest status."""


@dataclass(slots=True)
class _Passed:
    """What was passed on of one node."""

    generation: int = 0
    newest: int = 0
    newest_status: int = 0
    numbers: set[int] = field(default_factory=set)

    def take(self, generation: int, seq: int, *, is_status: bool) -> bool:
        """Whether this number is to be passed on now. Only a status begins a later life of the sender."""
        if generation > self.generation and is_status:
            self.generation, self.newest, self.newest_status = generation, 0, 0
            self.numbers.clear()
        if generation != self.generation or seq <= self.newest - KEPT_NUMBERS or seq in self.numbers:
            return False
        if seq - self.newest >= KEPT_NUMBERS:
            self.numbers.clear()
        elif seq > self.newest:
            self.numbers.difference_update(range(self.newest - KEPT_NUMBERS, seq - KEPT_NUMBERS + 1))
        self.newest = max(self.newest, seq)
        self.numbers.add(seq)
        return True

    def permit(self, first: int, last: int) -> None:
        """Somebody asks for these again: each may pass once more."""
        lowest = self.newest - KEPT_NUMBERS + 1
        self.numbers.difference_update(range(max(first, lowest), min(last, self.newest) + 1))


class Forwarder:
    """What this node passes on for others."""

    def __init__(self, config: Config) -> None:
        self._passed: dict[str, _Passed] = {}
        self._digests: dict[bytes, None] = {}
        self.reconfigure(config)

    def reconfigure(self, config: Config) -> None:
        """Other lines, or another hopfudge, after a reload."""
        lines = tuple(medium for medium in config.media if isinstance(medium, Serial))
        self._lines = lines if len(config.nodes) > 2 else ()
        self._most_hops = config.hopfudge + len(config.nodes) + len(config.ping_nodes)
        self._local = config.local_node
        self._passed = {node: self._passed.get(node, _Passed()) for node in config.peers}

    def take(self, medium: MediumSpec, message: Message, *, for_us: bool) -> Onward | None:
        """What becomes of a verified message of another node. `for_us` if it may be for us alone.

        Raises BadField for a `ttl` or number that is none.
        """
        if medium not in self._lines or len(self._lines) < 2:
            return None
        hops = min(message.decimal(f.TTL) or 0, self._most_hops) - 1
        origin, kind = message.text(f.SRC) or "", message.text(f.T) or ""
        if hops < 1 or origin not in self._passed:
            return None
        heartbeat = False
        if kind.startswith("NS_"):
            if (for_us and f.DEST in message) or not self._is_new(message):
                return None
            if kind == protocol.REXMIT:
                self._permit(message)
        else:
            passed, seq = self._passed[origin], message.hex(f.SEQ) or 0
            is_status = kind == protocol.STATUS
            if not passed.take(message.hex(f.HG) or 0, seq, is_status=is_status):
                return None
            heartbeat = is_status and seq > passed.newest_status
            passed.newest_status = max(passed.newest_status, seq if heartbeat else 0)
        lines = tuple(line for line in self._lines if line != medium)
        return Onward(message.with_field(f.TTL, str(hops)), lines, origin, heartbeat)

    def _is_new(self, message: Message) -> bool:
        """By digest of all but `ttl`, in which copies differ. `ts` lets it be said again each second."""
        digest = hashlib.sha256()
        for kind, name, value in message.without(f.TTL).fields:
            digest.update(b"%d %d %b=%d:" % (kind, len(name), name.encode(), len(value)) + value)
        key = digest.digest()
        if key in self._digests:
            return False
        self._digests[key] = None
        if len(self._digests) > KEPT_DIGESTS:
            del self._digests[next(iter(self._digests))]
        return True

    def _permit(self, request: Message) -> None:
        asked = self._passed.get(request.text(f.DEST) or "")
        first, last = request.decimal(f.FIRSTSEQ), request.decimal(f.LASTSEQ)
        if asked is not None and first is not None and last is not None:
            asked.permit(first, last)

