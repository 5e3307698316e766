"""When the peer last heard us, by what it echoes: its reports name the last of our heartbeats that it knows.

A node that is not heard may be taken for dead, and has to know that before the other acts (rules 12 to 15).
What follows is absence.py's business.
"""

from __future__ import annotations

from hbd.config.model import Timing
from hbd.core.claims import Peer, PeerKind
from hbd.core.desk import Desk

KEPT = 256
"""Of so many heartbeats it is known when they left; an echo is never that old."""


class Echoes:
    """Of the other node of a two-node cluster; elsewhere there are none."""

    def __init__(self, timing: Timing, desk: Desk, peer: Peer | None) -> None:
        self.timing, self._desk, self.peer = timing, desk, peer
        self._sent_ms: dict[int, int] = {}
        self._echoed_ms: int | None = None
        self._hearing_since_ms = 0
        """Since when the peer's heartbeats come without a hole."""

    # ------------------------------------------------------------ told

    def sent(self, seq: int) -> None:
        """A heartbeat of ours leaves with this number."""
        self._sent_ms[seq] = self._desk.now.ms
        if len(self._sent_ms) > KEPT:
            del self._sent_ms[next(iter(self._sent_ms))]

    def came(self, seq: int) -> None:
        """The peer knows this number of our present generation."""
        if seq in self._sent_ms:
            self._echoed_ms = self._sent_ms[seq]

    def forget(self) -> None:
        """A new generation of ours: nothing of it was echoed yet."""
        self._sent_ms.clear()
        self._echoed_ms, self._hearing_since_ms = None, self._desk.now.ms

    def hears_anew(self) -> None:
        """There was a hole in its heartbeats, or we did not run."""
        self._hearing_since_ms = self._desk.now.ms

    def peer_restarted(self) -> None:
        """A new life of the peer: one that has never echoed us begins to be heard."""
        if self._echoed_ms is None:
            self._hearing_since_ms = self._desk.now.ms

    def was_silent(self, silent_ms: int) -> None:
        """We come back to what an earlier life started: since then at the latest the peer hears nothing."""
        self._echoed_ms = self._desk.now.ms - silent_ms
        self._hearing_since_ms = self._desk.now.ms

    # ------------------------------------------------------------ asked

    def silence_of_ours_ms(self, last_step_ms: int) -> int:
        """How long the peer may not have heard us: since our last heartbeat that it echoed."""
        peer = self.peer
        since_ms = last_step_ms
        if peer is not None and peer.kind is PeerKind.HBD and self._echoed_ms is not None:
            since_ms = min(since_ms, self._echoed_ms)
        return self._desk.now.ms - since_ms

    def heard_by_peer_ms(self) -> int:
        """When our last heartbeat left that the peer echoed; now, if no peer could echo."""
        peer = self.peer
        if peer is None or not peer.alive or peer.kind is not PeerKind.HBD or self._echoed_ms is None:
            return self._desk.now.ms
        return self._echoed_ms

    def unechoed_since_ms(self) -> int:
        """Since when the peer has not heard us, as far as its echoes tell."""
        return self._hearing_since_ms if self._echoed_ms is None else self._echoed_ms

    def deaf_at_ms(self, limit_ms: int, keepalive_ms: int) -> int | None:
        """From when on a peer that we hear counts as deaf to us, if it goes on like this; None without one.

        After a hole in its heartbeats (a healed cut) it needs a heartbeat of ours and another of its own
        before it can echo anything, which takes two keepalives and the way. One that has never echoed us has
        been deaf for as long as we hear it; while it starts, it takes nothing before initdead.
        """
        peer, timing = self.peer, self.timing
        if peer is None or not peer.alive or peer.kind is not PeerKind.HBD:
            return None
        learnt_ms = self._hearing_since_ms + 2 * keepalive_ms + keepalive_ms // 8
        starts = self._echoed_ms is None and (peer.report is None or not peer.report.active)
        borne_ms = limit_ms + (timing.initdead_ms - timing.deadtime_ms if starts else 0)
        return max(learnt_ms, self.unechoed_since_ms() + borne_ms) + 1
