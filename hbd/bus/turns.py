"""Calls that wait for their turn: each caller's own in order, and the callers one after the other.

Every local user may ask, and as often as he likes. Whoever asks without end waits behind himself, and
nobody else behind him.
"""

from __future__ import annotations

import asyncio
from collections import deque

from hbd.dbusio import Bus, Message

MOST_OF_ONE = 128
"""Calls of one caller that may wait. dbus-daemon lets one caller wait for so many answers."""
MOST_OF_ALL = 1024

Call = tuple[Bus, Message]
"""A call, and the connection that it came by."""


class Turns:
    """A queue that is fair to callers, and bounded."""

    def __init__(self) -> None:
        self._waiting: dict[str, deque[Call]] = {}
        self._count = 0
        self._some = asyncio.Event()

    def __len__(self) -> int:
        return self._count

    def put(self, bus: Bus, message: Message) -> bool:
        """Let it wait; False if there are too many already."""
        caller = message.sender or ""
        own = self._waiting.get(caller, ())
        if len(own) >= MOST_OF_ONE or self._count >= MOST_OF_ALL:
            return False
        self._waiting.setdefault(caller, deque()).append((bus, message))
        self._count += 1
        self._some.set()
        return True

    async def next(self) -> Call:
        """Wait for the next one. For a single task."""
        await self._some.wait()
        caller = next(iter(self._waiting))
        own = self._waiting.pop(caller)
        call = own.popleft()
        if own:
            self._waiting[caller] = own  # Again, but behind the others.
        self._count -= 1
        if not self._count:
            self._some.clear()
        return call
