"""What the peer goes by when it waits for this node, around a reload or a restart that changes the timing.

The peer waits for as long as our last heartbeat said (`dt`). One that has not had a heartbeat with a new
deadtime yet goes by the old one: so after a reload or a restart that makes it longer, whatever has to be
over in time goes by the shorter until an hbd peer has echoed a heartbeat with the longer, or until the old
deadtime has passed, in which each peer, also a 3.0.6 one that echoes nothing, has heard one or has buried us
already. One that becomes shorter is told only when what still takes the longer is out of the way (`hold`).

For as long as either lasts, heartbeats leave at the quicker of both paces.
"""

from __future__ import annotations

from dataclasses import replace

from hbd.config.model import Timing
from hbd.core.events import Promise


class Patience:
    """The timing of hbd.cf as the peer knows it."""

    def __init__(self, timing: Timing) -> None:
        self._timing = timing
        self._floor: Timing | None = None
        """A former timing, shorter, by which the peer may still go."""
        self._until_ms = 0
        """No peer goes by the floor later than this."""
        self._first: tuple[int, int] | None = None
        """(generation, seq) of our first heartbeat with the present deadtime."""
        self._held: Timing | None = None
        """A former timing, longer, that heartbeats still tell."""
        self._former = timing
        """What was told before the last reload."""
        self.sure = timing
        """What this node may rely on: the peer waits for that long at least."""
        self.keepalive_ms = timing.keepalive_ms
        """The pace of heartbeats."""

    @property
    def told(self) -> Timing:
        """What heartbeats say now."""
        return self._held or self._timing

    @property
    def floor(self) -> Timing | None:
        """What the peer may still go by, if it is shorter than what it is told."""
        return self._floor

    def _make_sure(self) -> None:
        """Called whenever something changes that these are made of: they are asked for in every step."""
        self.keepalive_ms = min(
            (self._floor or self._timing).keepalive_ms, (self._held or self._timing).keepalive_ms
        )
        self.sure = self._timing if self._floor is None else replace(
            self._timing, deadtime_ms=self._floor.deadtime_ms, keepalive_ms=self.keepalive_ms
        )  # fmt: skip

    def reconfigure(self, timing: Timing, now_ms: int) -> None:
        """A reload. Heartbeats with its deadtime follow."""
        told = self._former = self.told
        self._timing, self._held = timing, None
        if timing.deadtime_ms > told.deadtime_ms:
            self._floor, self._first = self._floor or told, None
            # The first heartbeat of the new leaves within a keepalive, and is on its way for no longer.
            due_ms = now_ms + told.deadtime_ms + 2 * told.keepalive_ms
            self._until_ms = max(self._until_ms, due_ms)
        elif self._floor is not None and self._floor.deadtime_ms >= timing.deadtime_ms:
            self._floor = None
        self._make_sure()

    def resume(self, promise: Promise, now_ms: int) -> None:
        """After a restart: an earlier life of this boot may have told a shorter deadtime than ours."""
        if 0 < promise.deadtime_ms < self._timing.deadtime_ms:
            self._floor = replace(
                self._timing, deadtime_ms=promise.deadtime_ms, keepalive_ms=promise.keepalive_ms
            )
            self._until_ms = now_ms + promise.deadtime_ms + 2 * promise.keepalive_ms
            self._make_sure()

    @property
    def promise(self) -> Promise:
        """For the next life."""
        timing = self.sure
        return Promise(timing.deadtime_ms, timing.keepalive_ms)

    def hold(self) -> None:
        """Until `release`, go on telling what was told before the last reload, unless that was shorter."""
        if self._former.deadtime_ms >= self._timing.deadtime_ms:
            self._held = self._former
            self._make_sure()

    def release(self) -> None:
        """Tell the present timing."""
        self._held = None
        self._make_sure()

    def said(self, at: tuple[int, int]) -> None:
        """A heartbeat left, with this generation and number."""
        if self._first is None and self._held is None:
            self._first = at

    def echoed(self, echo: tuple[int, int]) -> bool:
        """An hbd peer knows this heartbeat of ours. Whether the floor is gone with that."""
        return self._first is not None and echo >= self._first and self._rise()

    def passes(self, now_ms: int) -> bool:
        """Whether the floor is gone by now, and was not."""
        return now_ms >= self._until_ms and self._rise()

    def _rise(self) -> bool:
        if self._floor is None:
            return False
        self._floor = None
        self._make_sure()
        return True
