"""What every kind of resource offers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol, TypeVar

from hbd.core.events import Condition, Event, Outcome

Post = Callable[[Event], None]
"""Hands the core an event; called from the event loop only."""

R_contra = TypeVar("R_contra", contravariant=True)


class Watching(Protocol):
    """A watch that runs until it is cancelled."""

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

    def watch(self, resource: R_contra, post: Post) -> Watching:
        """Post ResourceSeen whenever its condition changes."""
