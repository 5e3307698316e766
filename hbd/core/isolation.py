"""Whether a node that starts reaches anything at all (rule 25): isolated is not alone.

A node that hears nobody for initdead takes the other for dead, and everything over. That silence proves
something only where words could have come through. So initdead counts from the moment at which a medium is
*usable*: it is open, and its interface has a carrier; a serial port has no such sign, and counts when it is
open. A dark medium will do if a ping node answers: then the other machine is off, and not ours cut off.

    isolated ──a usable medium, or an open one and a ping node──▶ initdead runs ──▶ communication is up,
       ▲ └───────────somebody is heard, or an operator's oath─────────│───────────▶ for good
       └─────────────the last of these is lost────────────────────────┘

Once communication is up, and where something of ours has outlived hbd, the loss of all media is a cut like
any other: whoever serves goes on.
"""

from __future__ import annotations

from hbd.core.desk import Desk
from hbd.core.effects import Kind, Level

SAID_MS = 2000
"""Media and ping nodes take a moment to be there; what lasts no longer is not worth a word."""
TEXT = (
    "isolated: no medium of this node works and has a carrier, and no ping node answers, so nobody's "
    "silence says anything; nothing is started before that changes (or, if the other machine is off, before "
    "hbctl confirm-dead)"
)


class Isolation:
    """One node's, from its start to its first communication."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self.reachable = False
        """Silence may be counted."""
        self.over = False
        """It is not asked any more."""
        self.forgives_darkness = False
        """Something runs here since before our start: an open medium will do."""
        self._since_ms: int | None = None
        self._said = False

    def look(self, *, is_open: bool, is_usable: bool, pinged: bool) -> bool:
        """How things are now. True if initdead begins to count with this."""
        enough = is_usable or (is_open and (pinged or self.forgives_darkness))
        began, self.reachable = enough and not self.reachable, enough
        if enough:
            if self._said:
                text = "no longer isolated: from now on the other node is listened for until initdead"
                self._desk.info(Kind.ISOLATED, text)
            self._since_ms, self._said = None, False
            return began
        if self._since_ms is None:
            self._since_ms = self._desk.now.ms
        elif not self._said and self._desk.now.ms - self._since_ms >= SAID_MS:
            self._said = True
            self._desk.log(Level.CRIT, Kind.ISOLATED, TEXT)
        return False

    def end(self) -> None:
        """The other node was heard, or is known to be dead."""
        self.reachable = self.over = True
        self._said = False

    @property
    def degraded(self) -> tuple[str, ...]:
        """What to tell of it."""
        return (TEXT,) if self._said else ()
