"""Who did not hear whom, and when: the only thing that excuses two nodes without fencing.

What counts is a heartbeat that the other core took in as new. A datagram of two seconds ago, or one that is
thrown away as a replay, tells a node as little as none.
"""

from __future__ import annotations

from collections import deque

Span = tuple[int, int]


class Silences:
    """The spans without a heartbeat, for both ears of a pair; times in milliseconds."""

    def __init__(self, hole_ms: int) -> None:
        self._hole_ms = hole_ms
        """A silence that is longer than this has swallowed at least one heartbeat."""
        self._heard_ms = [0, 0]
        self._spans: tuple[deque[Span], deque[Span]] = (deque(maxlen=8), deque(maxlen=8))

    def heard(self, now_ms: int, ear: int) -> None:
        """This node took a heartbeat in."""
        if now_ms - self._heard_ms[ear] > self._hole_ms:
            self._spans[ear].append((self._heard_ms[ear], now_ms))
        self._heard_ms[ear] = now_ms

    def forgive(self, now_ms: int, absent_ms: int) -> None:
        """A node stood still or was gone for so long: that was no silence of the wire."""
        self._heard_ms = [min(heard_ms + absent_ms, now_ms) for heard_ms in self._heard_ms]

    def were_mutual(self, now_ms: int, since_ms: int) -> bool:
        """Whether at one moment neither heard the other, and at least one still did not at `since_ms`."""
        first, second = (self._all(now_ms, ear) for ear in (0, 1))
        return any(
            a0 < b1 and b0 < a1 and max(a1, b1) >= since_ms for a0, a1 in first for b0, b1 in second
        )

    def _all(self, now_ms: int, ear: int) -> list[Span]:
        lasting = (self._heard_ms[ear], now_ms)
        return [*self._spans[ear], lasting] if now_ms - lasting[0] > self._hole_ms else list(self._spans[ear])
