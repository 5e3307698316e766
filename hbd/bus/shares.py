"""Calls under way that wait for something: polkit, the core, the other node. Shares of them, by user.

Every local user may connect as often as he likes, so what counts is the user and not the connection. Root's
calls have seats of their own: whoever is not root can keep out nobody but himself and others like him.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from contextlib import AbstractAsyncContextManager, nullcontext

MOST_OF_ONE = 8
"""Of one user; of root, who has many programs, of one connection."""
MOST_OF_ALL = 64
"""Of root, and as many of all others together."""
MOST_QUESTIONS = 2
"""To the other node, of those who are not root; the core takes a few more of them at a time."""


class Shares:
    """Who has how many."""

    def __init__(self) -> None:
        self._of_one: Counter[tuple[int, str]] = Counter()
        self._of_all: Counter[bool] = Counter()
        self._questions = asyncio.Semaphore(MOST_QUESTIONS)

    def take(self, uid: int, caller: str) -> bool:
        """One more, to be given back; False if there are too many already."""
        one, is_root = _one(uid, caller), uid == 0
        if self._of_one[one] >= MOST_OF_ONE or self._of_all[is_root] >= MOST_OF_ALL:
            return False
        self._of_one[one] += 1
        self._of_all[is_root] += 1
        return True

    def give(self, uid: int, caller: str) -> None:
        """Back."""
        one = _one(uid, caller)
        self._of_all[uid == 0] -= 1
        self._of_one[one] -= 1
        if not self._of_one[one]:
            del self._of_one[one]

    def question(self, uid: int) -> AbstractAsyncContextManager[None]:
        """To be held while the other node is asked: who is not root waits here for his turn."""
        return nullcontext() if uid == 0 else self._questions


def _one(uid: int, caller: str) -> tuple[int, str]:
    return uid, caller if uid == 0 else ""
