"""The wire between two simulated machines: delay, loss, duplication, reordering, corruption, cuts."""

from __future__ import annotations

from dataclasses import dataclass, field
from random import Random


@dataclass(slots=True)
class Network:
    """Draws what becomes of each datagram, per direction (sender's number)."""

    rng: Random
    loss: dict[int, float] = field(default_factory=dict)
    duplication: float = 0.0
    corruption: float = 0.0
    jitter_ms: int = 1
    cut: set[int] = field(default_factory=set)
    """Senders whose datagrams do not arrive."""

    def fate(self, sender: int, payload: bytes) -> list[tuple[int, bytes]]:
        """(delay, bytes) of every copy that arrives."""
        if sender in self.cut or self.rng.random() < self.loss.get(sender, 0.0):
            return []
        copies = 2 if self.duplication and self.rng.random() < self.duplication else 1
        return [(1 + self.rng.randrange(self.jitter_ms), self._damaged(payload)) for _ in range(copies)]

    def _damaged(self, payload: bytes) -> bytes:
        if not self.corruption or self.rng.random() >= self.corruption:
            return payload
        at = self.rng.randrange(len(payload))
        return payload[:at] + bytes([payload[at] ^ (1 << self.rng.randrange(8))]) + payload[at + 1 :]

    @property
    def is_calm(self) -> bool:
        """Nothing is lost, doubled, damaged or late; the wire may still be cut."""
        return not self.loss and not self.duplication and not self.corruption and self.jitter_ms == 1

    def calm(self) -> None:
        """No more faults."""
        self.loss.clear()
        self.cut.clear()
        self.duplication = self.corruption = 0.0
        self.jitter_ms = 1
