"""Groups that a 3.0.6 peer has taken over, or holds too, and that still stop here.

Each is claimed until its last stop is confirmed (rule 5); before, nothing of its set starts again.
"""

from __future__ import annotations

from hbd.config.model import GroupSpec
from hbd.core.classic_sets import NONE, Sets


class Yielding:
    """What is being given up to the peer without a handshake, and when more has to be."""

    def __init__(self) -> None:
        self._sets: dict[str, Sets] = {}
        self._lost: set[str] = set()
        self.due_ms: int | None = None
        """When to give way to what the peer holds too, unless it leaves by then."""
        self.contested: Sets = NONE
        """What both hold, in our terms."""

    def __bool__(self) -> bool:
        return bool(self._sets)

    def __contains__(self, key: str) -> bool:
        return key in self._sets

    def touches(self, sets: Sets) -> bool:
        """Some group of this set is still stopping."""
        return sets in self._sets.values()

    def give(self, group: GroupSpec, sets: Sets) -> None:
        """The peer has taken it over, or asked for it."""
        self._sets[group.key] = sets
        self._lost.discard(group.key)

    def lose(self, key: str) -> None:
        """What is being given up is given up because the peer holds it too, and never gives way."""
        self._lost.add(key)

    def has_lost(self, key: str) -> bool:
        """It is being given up because the peer holds it too, not because anybody agreed on it."""
        return key in self._lost and key in self._sets

    def finish(self, held: set[str]) -> Sets | None:
        """Strike what has stopped; returns the sets that are all gone by that, None if nothing stopped."""
        done = [key for key in self._sets if key not in held]
        if not done:
            return None
        gone = frozenset[str]().union(*(self._sets.pop(key) for key in done))
        return gone - frozenset[str]().union(*self._sets.values())

    def clear(self) -> None:
        """The peer is gone: nothing has to be given to it."""
        self._sets.clear()
