"""What every kind of resource offers."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Protocol, TypeVar

from hbd.core.events import Condition, Event, Outcome

Post = Callable[[Event], None]
"""Hands the core an event; called from the event loop only."""

R_contra = TypeVar("R_contra", contravariant=True)


SETTLE_S = 0.1
"""So long after a job of ours its watch looks again: whoever takes over has no time for it sooner."""


class Pause:
    """When a watch does not look: while a job is at work on its resource, and for a moment after."""

    def __init__(self, over: Callable[[Condition | None], None]) -> None:
        """`over` is called at the end of each, with what the job left."""
        self._over = over
        self._timer: asyncio.TimerHandle | None = None
        self.on = False

    def begin(self) -> None:
        """A job begins."""
        self.cancel()
        self.on = True

    def end(self, left: Condition | None) -> None:
        """It has ended."""
        self.cancel()
        self._timer = asyncio.get_running_loop().call_later(SETTLE_S, self._end, left)

    def cancel(self) -> None:
        """Call nobody."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _end(self, left: Condition | None) -> None:
        self.on = False
        self._over(left)


class Watching(Protocol):
    """A watch that runs until it is cancelled."""

    def hold(self) -> None:
        """A job of ours is at work on it: look no more until `resume`."""

    def resume(self, left: Condition | None) -> None:
        """The job has ended and left it so, as far as it knows: look, and post what is otherwise."""

    def cancel(self) -> None:
        """Post nothing more."""


class Agent(Protocol[R_contra]):
    """Acts on one kind of resource. Already so is success; time limits are the caller's (cancellation)."""

    async def start(self, resource: R_contra) -> Outcome:
        """OK once it runs."""

    async def stop(self, resource: R_contra, leaving: bool) -> Outcome:
        """OK once it is known to be stopped."""

    async def probe(self, resource: R_contra) -> Condition:
        """What is so now."""

    def watch(self, resource: R_contra, known: Condition, post: Post) -> Watching:
        """Post ResourceSeen whenever its condition changes, and at once if it is not what is known."""
