"""What every medium offers, and who makes which."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from hbd.core.effects import Transmit
from hbd.core.events import Event

Post = Callable[[Event], None]
"""Hands the core an event; called from the event loop only."""


class Medium(Protocol):
    """One link's transport."""

    def open(self, post: Post) -> None:
        """Begin; then post LinkOpened once and DatagramReceived ever after, or LinkFailed when it breaks.
        CarrierSeen comes where there is such a sign: when there is none at first, and at each change.

        Raises OSError if it cannot be opened now.
        """

    def send(self, message: Transmit) -> None:
        """Send one message, in the form carried here, or drop it. Never blocks or raises for a lost one."""

    def close(self) -> None:
        """End it; nothing is posted afterwards."""
