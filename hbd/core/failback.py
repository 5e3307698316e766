"""auto_failback on beside heartbeat 3.0.6: when the peer's groups are offered to it, and ours asked for."""

from __future__ import annotations

from collections.abc import Callable

from hbd.config.model import AutoFailback, Config
from hbd.core import protocol
from hbd.core.classic_sets import FOREIGN, Holdings, Sets
from hbd.core.desk import Desk
from hbd.core.events import Scope
from hbd.errors import Refused

RETRY_MS = 1000
OFFER_MS = 10_000
"""How long an offer of the peer waits for our answer; so long it takes no other request."""


class Failback:
    """Groups on their way home, each offer made by the node that has them."""

    def __init__(
        self, config: Config, desk: Desk, say: Callable[[protocol.Fields], None], sets: Holdings
    ) -> None:
        self._config, self._desk, self._say, self._sets = config, desk, say, sets
        self.needed = False
        """We took the peer's groups because it was away, and not because somebody asked for that."""
        self.stays_away = False
        """Our own is better where it is: here nobody would reach it."""
        self._due_ms: int | None = None
        self._remind_ms: int | None = None
        """When to ask for our own, which it offered while we could not take it; it offers that only once."""

    def reconfigure(self, config: Config) -> None:
        self._config = config

    def deadlines_ms(self) -> tuple[int | None, ...]:
        return self._due_ms, self._remind_ms

    @property
    def _on(self) -> bool:
        return self._config.auto_failback is AutoFailback.ON

    def schedule(self) -> None:
        """Both are stable: offer the peer what is at home there."""
        if self._on and self.needed and "foreign" in self._sets.mine and self._due_ms is None:
            self._due_ms = self._desk.now.ms

    def rest(self) -> None:
        """We are being stopped."""
        self._due_ms = self._remind_ms = None

    def forget_our_own(self) -> None:
        """It is gone, or talks of it again by itself."""
        self._remind_ms = None

    def declines(self, offered: Sets) -> bool:
        """Whether what the peer offers is our own, coming home by itself, and is not wanted now."""
        return self._on and self.stays_away and offered == FOREIGN

    def missed_our_own(self) -> None:
        """It offered us our own, and we could not take it; or it has our own because it had better."""
        if self._on:
            self._remind_ms = self._desk.now.ms + OFFER_MS + RETRY_MS

    def remind(self, quiet: bool) -> None:
        """Have our own back, which it meant to give and we could not take. `quiet`: nothing is in motion."""
        if self._remind_ms is None or self._desk.now.ms < self._remind_ms:
            return
        self._remind_ms = None
        if "local" in self._sets.mine:
            return
        if quiet and not self.stays_away and self._sets.peer_stable and "foreign" in self._sets.theirs:
            self._say(protocol.hb_takeover(Scope.LOCAL.value))
        else:
            self._remind_ms = self._desk.now.ms + RETRY_MS

    def offer(self, crossing: bool, standby: Callable[[str], object]) -> None:
        """What is due, by a standby. `crossing`: each buried the other, and the peer may offer too."""
        if self._due_ms is None or self._desk.now.ms < self._due_ms:
            return
        self._due_ms = None
        if "foreign" not in self._sets.mine or not self.needed:
            return
        if crossing:
            # It is about to release everything; two offers that cross hold that up.
            self._due_ms = self._desk.now.ms + RETRY_MS
            return
        try:
            standby("foreign")
            self.needed = False
        except Refused:
            self._due_ms = self._desk.now.ms + RETRY_MS
