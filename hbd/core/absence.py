"""Whether this node was away, or goes unheard, so long that its peer may have taken over (rules 12 to 15).

A stopped, frozen or starved process finds at its next event that time has passed. A node whose own heartbeats
are lost hears a peer that no longer echoes them. Either way the peer may be about to serve what runs here.
"""

from __future__ import annotations

from hbd.config.model import Config
from hbd.core.claims import Peer
from hbd.core.desk import Desk
from hbd.core.effects import Device, FeedWatchdog, Kind, Level, StoreStall
from hbd.core.events import Stall
from hbd.core.health import Health
from hbd.core.membership import Membership
from hbd.core.patience import Patience


class Absence:
    """Finds out; what follows from it is the cluster's."""

    def __init__(
        self, config: Config, desk: Desk, membership: Membership, patience: Patience, health: Health
    ) -> None:
        self._timing, self._desk, self._membership = config.timing, desk, membership
        self._patience, self._health = patience, health
        self._counters = {"stalls": 0, "late_ticks": 0}
        self._was_late = False
        """No Tick was on time since the last gap."""
        self.longest = Stall()
        """The longest stall of this boot."""

    def reconfigure(self, config: Config) -> None:
        self._timing = config.timing

    @property
    def figures(self) -> dict[str, int]:
        """Counters for whoever shows them."""
        longest = {"longest_stall_ms": self.longest.ms, "longest_stall_at": self.longest.wall_s}
        return {**self._counters, **longest}

    # ------------------------------------------------------------ our own gap

    def gap_ms(self, last_ms: int) -> int:
        """For how long this node did not run before the event at hand; 0 if it is on time."""
        gap_ms = self._desk.now.ms - last_ms
        if gap_ms <= 2 * self._timing.keepalive_ms:
            return 0
        self._counters["stalls"] += 1
        if not self._was_late and not self._health.is_sick:
            # systemd may have stood still as well, and would kill us for a silence that is over. Said once:
            # a node that is late again and again is sick. The device has to wait for a Tick on time.
            self._desk.emit_job(FeedWatchdog(Device.STARVED))
            self._was_late = True
        if gap_ms > self.longest.ms:
            self.longest = Stall(gap_ms, self._desk.now.wall_s)
            self._desk.emit_job(StoreStall(self.longest))
        self._membership.excuse(gap_ms - self._timing.keepalive_ms)
        return gap_ms

    def forgotten_by(self, gap_ms: int, last_ms: int, *, serving: bool, agreed: bool) -> Peer | None:
        """The peer, if it may have buried us in such a gap and taken over.

        While a freeze is `agreed` it takes nothing over that runs here, however long we are away.
        """
        peer = self._membership.peer
        silent_ms = self._membership.echoes.silence_of_ours_ms(last_ms)
        self._desk.log(Level.WARN, Kind.ABSENCE, f"this node did not run for {gap_ms} ms")
        if peer is not None and (peer.dead or peer.gone) and gap_ms > self.restart_patience_ms:
            self._membership.exhume(peer)
        # Whether the peer hears us again takes two keepalives to find out, and it may bury us meanwhile.
        limit_ms = self.patience_ms - 2 * self._timing.keepalive_ms
        if peer is None or peer.dead or peer.gone or silent_ms <= limit_ms or agreed:
            return None
        if serving:
            self._desk.log(
                Level.CRIT, Kind.ABSENCE,
                f"{peer.name} has not heard this node for {silent_ms} ms and may have taken over: "
                "addresses off until it was asked", node=peer.name,
            )  # fmt: skip
        return peer

    def ticked(self, on_time: bool) -> None:
        """A Tick came, on time or late."""
        self._was_late = self._was_late and not on_time
        if not on_time:
            self._counters["late_ticks"] += 1

    # ------------------------------------------------------------ a peer that does not hear us

    def deaf_peer(self) -> Peer | None:
        """A peer that is heard and does not echo us: it will bury us; give way before it does (rule 12)."""
        peer, due_ms, now_ms = self._membership.peer, self.deaf_at_ms(self._desk.now.ms), self._desk.now.ms
        if peer is None or due_ms is None or now_ms < due_ms:
            return None
        if now_ms - self._membership.heard_ms(peer.name) > 2 * self._timing.keepalive_ms:
            return None
        silent_ms = now_ms - self._membership.echoes.unechoed_since_ms()
        self._desk.log(
            Level.CRIT, Kind.ABSENCE,
            f"{peer.name} is heard but has not heard this node for {silent_ms} ms: "
            "addresses off until it answers", node=peer.name,
        )  # fmt: skip
        return peer

    def deaf_at_ms(self, until_ms: int) -> int | None:
        """When the peer has to be taken for deaf, if that is not later than `until_ms`."""
        # An echo may be two keepalives old; where deadtime leaves no more than that, nothing can be told.
        limit_ms = max(self.patience_ms, 5 * self._patience.keepalive_ms // 2)
        if self._membership.echoes.unechoed_since_ms() + limit_ms >= until_ms:
            return None
        return self._membership.echoes.deaf_at_ms(limit_ms, self._patience.keepalive_ms)

    # ------------------------------------------------------------ how long is too long

    @property
    def patience_ms(self) -> int:
        """How long we may go unheard before the peer may take over, less what an echo may age."""
        timing = self._patience.sure
        return timing.deadtime_ms - timing.keepalive_ms - timing.keepalive_ms // 2

    @property
    def restart_patience_ms(self) -> int:
        """How long hbd may be gone before somebody may have taken over what runs here.

        A peer that is dead has to boot first, and then waits for initdead. (If it is not dead but cut off,
        it has taken over already, and this changes nothing.)
        """
        peer, timing = self._membership.peer, self._patience.sure
        if peer is None or peer.dead or peer.gone:
            return self.patience_ms + timing.initdead_ms - timing.deadtime_ms
        return self.patience_ms
