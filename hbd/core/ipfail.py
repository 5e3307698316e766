"""The policy of ipfail: what runs here belongs on the node that reaches more.

Both nodes say in every report how many ping nodes answer them and how many groups have an address without a
carrier. A node that is worse off gives everything away; the better one does nothing. From what is exchanged:

    EQUAL ◀──▶ WORSE ──for as long as it takes──▶ standby
      ▲                                          (our own ping nodes *live*, the peer's must *answer*)
      └──────▶ BETTER   no automatic failback to the peer

We judge ourselves by a measure that is slow to fall, and the peer by one that is quick to fall: a ping node
that dies, flaps or is slow is first missed where it would draw resources, so a loss that both share moves
nothing. After a move the next one needs a long time of being worse, and an automatic failback a long time of
not being; both grow when it happens again. An operator who wants resources on the worse node has them there.
Facts: heartbeat 3.0.6's ipfail, which gives up after twice keepalive.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from hbd.config.model import Timing
from hbd.core.report import Reach

CARRIER_MS = 250
"""So long a carrier is missed here before the groups move: both ends of one switch lose it in this time."""
CALM_MS = 30_000
"""How long the peer has not been worse before it gets its groups back; also rule 24's first time."""
LONGEST_CALM_MS = 3_600_000
INSISTENT_MS = 10_000
"""How long a node is worse before what has just moved moves again."""


class Standing(Enum):
    """How well we reach others, compared with the peer."""

    UNKNOWN = "unknown"
    EQUAL = "equal"
    WORSE = "worse"
    BETTER = "better"


@dataclass(frozen=True, slots=True)
class Own:
    """What we know of ourselves."""

    alive: int
    reach: Reach
    undecided: bool = False
    """Of some ping node it is not known yet whether it answers."""


def compare(own: Own, theirs: Reach | None) -> Standing:
    """Carriers first: without one nobody reaches the address, whatever ping nodes say."""
    ours = own.reach
    if theirs is None or own.undecided or theirs.ping_list != ours.ping_list:
        return Standing.UNKNOWN
    if ours.cut != theirs.cut:
        return Standing.WORSE if ours.cut > theirs.cut else Standing.BETTER
    if own.alive < theirs.answering:
        return Standing.WORSE
    return Standing.BETTER if ours.answering > theirs.answering else Standing.EQUAL


class Ipfail:
    """When to give everything away, and when not to give anything back. Times are milliseconds."""

    def __init__(self, timing: Timing) -> None:
        self.standing = Standing.UNKNOWN
        self._timing = timing
        self._worse_ms: int | None = None
        self._cut_ms: int | None = None
        self._level_ms: int | None = None
        """Since when we are known not to be better."""
        self._moved_ms: int | None = None
        self.calm_ms = CALM_MS
        """How long a difference has to be gone before something comes back."""
        self.overruled = False
        """An operator has groups here although we are worse."""
        self._low: Own | None = None
        """What we were worse with."""
        self._gone_ms: int | None = None
        """Since when the difference is known to be gone."""

    def retime(self, timing: Timing) -> None:
        self._timing = timing

    @property
    def delay_ms(self) -> int:
        """Twice keepalive, as 3.0.6; more where deadping leaves the peer no time to miss what we miss."""
        timing = self._timing
        return max(2 * timing.keepalive_ms, 5 * timing.keepalive_ms - timing.deadping_ms)

    def look(self, now_ms: int, own: Own, theirs: Reach | None, cut_is_known: bool) -> Standing:
        """Take in how things are. `cut_is_known`: the peer has answered knowing of our missing carriers."""
        self.standing = compare(own, theirs)
        worse = self.standing is Standing.WORSE
        self._worse_ms = (now_ms if self._worse_ms is None else self._worse_ms) if worse else None
        cut = worse and cut_is_known and theirs is not None and own.reach.cut > theirs.cut
        self._cut_ms = (now_ms if self._cut_ms is None else self._cut_ms) if cut else None
        level = self.standing in (Standing.EQUAL, Standing.WORSE)
        self._level_ms = (now_ms if self._level_ms is None else self._level_ms) if level else None
        self._remember(now_ms, own)
        return self.standing

    def _remember(self, now_ms: int, own: Own) -> None:
        """An operator's word holds until we recover, or the peer has lost as much for as long as deadping."""
        if self.standing is Standing.UNKNOWN:
            # A stall, lost heartbeats, a new life of the peer: that is no word on what anybody reaches.
            self._gone_ms = None
            return
        if self.standing is Standing.WORSE:
            self._low, self._gone_ms = own, None
            return
        self._gone_ms = now_ms if self._gone_ms is None else self._gone_ms
        low = self._low
        recovered = low is None or own.alive > low.alive or own.reach.cut < low.reach.cut
        if recovered or now_ms - self._gone_ms >= self._timing.deadping_ms:
            self.overruled = False

    def due_ms(self, now_ms: int) -> int | None:
        """When everything is to be given away, if nothing changes; None if it is not."""
        if self._worse_ms is None or self.overruled:
            return None
        if self._moved_ms is not None and now_ms < self._moved_ms + 2 * self.calm_ms:
            return min(self._worse_ms + INSISTENT_MS, self._moved_ms + 2 * self.calm_ms)
        due_ms = self._worse_ms + self.delay_ms
        return due_ms if self._cut_ms is None else min(due_ms, self._cut_ms + CARRIER_MS)

    def moved(self, now_ms: int) -> None:
        """Groups move because of the difference, from here or to here."""
        again = self._moved_ms is not None and now_ms < self._moved_ms + 4 * self.calm_ms
        self.calm_ms = min(2 * self.calm_ms, LONGEST_CALM_MS) if again else CALM_MS
        self._moved_ms = now_ms

    @property
    def has_moved(self) -> bool:
        """Groups have moved because of a difference, and no operator has moved them since."""
        return self._moved_ms is not None

    def overrule(self) -> None:
        """An operator moves groups: that stays as it is until the difference is gone, and starts anew."""
        self._moved_ms, self.overruled = None, self.standing is Standing.WORSE

    def adopted(self) -> None:
        """An operator's word of before our start: if we are worse, that is as it was."""
        self.overruled = True

    def failback_ms(self) -> int | None:
        """From when on the peer may have its groups back, if nothing changes; None: not now."""
        if self._level_ms is None:
            return None
        return self._level_ms if self._moved_ms is None else self._level_ms + self.calm_ms
