"""The kernel lease: for how long the kernel may answer for our addresses without us (rule 29).

A machine whose hbd is frozen, starved or dead still answers ARP and TCP for the addresses of its groups,
beside the peer that takes them over. So the kernel is told to let nothing out from them unless we said so a
short while ago. Each heartbeat says so, in the same step and just before it leaves; whatever keeps us from
sending heartbeats keeps us from that too. The lease is over a keepalive before the peer's deadtime, so that
one heartbeat may be lost on its way. Around a reload that is the deadtime that the peer goes by
(`patience.py`): a longer lease waits for it to know the longer, and it is told a shorter one only when the
kernel has the shorter lease.

States: not wanted (`lease off`, no address, no peer, an agreed freeze), refused (wanted, and it cannot be
had), kept (every heartbeat renews it), ended (a muted node waits for its peer: nothing is let out, whatever
it had left).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from hbd.config.model import AddressResource, Config, Timing
from hbd.core.desk import Desk
from hbd.core.effects import ArmLease, DisarmLease, EndLease, KeepLease, Kind, Level
from hbd.core.events import LeaseArmed, LeaseRefused
from hbd.core.patience import Patience

MOST_DELAY_MS = 100
"""How late a renewal may reach the kernel, where a tenth of deadtime is not less."""


def delay_ms(timing: Timing) -> int:
    """A renewal that comes to be performed later than this after its step is void."""
    return min(MOST_DELAY_MS, timing.deadtime_ms // 10)


def lease_ms(timing: Timing) -> int:
    """How long a renewal counts: over before a peer that missed one heartbeat can declare us dead."""
    return timing.deadtime_ms - timing.keepalive_ms - delay_ms(timing)


class Lease:
    """Arms, renews and ends the lease of one node. `held`: addresses of groups, also of former ones."""

    def __init__(
        self, config: Config, desk: Desk, patience: Patience, held: Callable[[], Iterable[AddressResource]]
    ) -> None:
        self._config, self._desk, self._patience, self._held = config, desk, patience, held
        self._wish: ArmLease | None = None
        self._armed = self._kept = self._resting = False
        self._reason = ""

    @property
    def degraded(self) -> tuple[str, ...]:
        """What an operator should know while it is wanted and not there."""
        return (f"kernel lease: {self._reason}",) if self._reason else ()

    @property
    def shown_ms(self) -> int:
        """How long it is; 0 while there is none."""
        return self._wish.lease_ms if self._wish is not None and self._armed else 0

    def begin(self) -> None:
        """At the start: have it, or have what an earlier life left of it removed."""
        self._wish = self._find_wish()
        self._desk.emit(self._wish or DisarmLease())

    def reconfigure(self, config: Config) -> None:
        """Also when a former group is released. Tries again what was refused. The peer's patience has the new
        timing already."""
        before, self._config = self._wish, config
        self._wish = self._find_wish()
        shown_ms = before.lease_ms if before is not None and self._armed else 0
        if self._wish is not None and self._wish.lease_ms < shown_ms:
            self._patience.hold()
        if self._wish is not None and (self._wish != before or not self._armed):
            self._desk.emit(self._wish)
        elif self._wish is None and before is not None:
            self.disarm()

    def grow(self) -> None:
        """The peer goes by a shorter deadtime no more."""
        before, self._wish = self._wish, self._find_wish()
        if self._wish is not None and self._wish != before:
            self._desk.emit(self._wish)

    def rest(self, on: bool) -> None:
        """While a freeze is agreed the kernel answers with or without us: nobody else does."""
        if on is not self._resting:
            self._resting = on
            self.reconfigure(self._config)

    def disarm(self) -> None:
        """Nothing is held, or nothing is wanted: the kernel forgets all about it."""
        self._wish, self._armed, self._kept = None, False, False
        self._patience.release()
        self._desk.emit(DisarmLease())

    def told(self, event: LeaseArmed | LeaseRefused) -> None:
        """What the kernel made of our wish."""
        self._patience.release()
        if self._wish is None:
            return
        match event:
            case LeaseArmed():
                if not self._armed:
                    self._desk.info(
                        Kind.LEASE,
                        f"kernel lease: {_names(self._wish.addresses)} will fall silent "
                        f"{self._wish.lease_ms} ms after the last heartbeat of this node",
                    )
                self._armed, self._reason = True, ""
            case LeaseRefused(reason):
                self._refuse(reason)

    # ------------------------------------------------------------ renewal

    def keep(self, may_answer: bool) -> None:
        """A heartbeat is about to leave: so long as this node serves, the kernel may answer as long as it."""
        if self._wish is None:
            return
        if not may_answer:
            self.end()
            return
        self._kept = True
        self._desk.emit(KeepLease(self._desk.now.ms + delay_ms(self._config.timing)))

    def follow(self, may_answer: bool) -> None:
        """After what else was decided: silence, and its end, wait for no heartbeat."""
        if may_answer and not self._kept:
            self.keep(may_answer)
        elif not may_answer:
            self.end()

    def end(self) -> None:
        """Nothing is let out from now on, whatever the lease had left (rule 14)."""
        if self._wish is not None and self._kept:
            self._kept = False
            self._desk.emit(EndLease())

    # ------------------------------------------------------------ what is wanted

    def _find_wish(self) -> ArmLease | None:
        """None where it is not wanted (yet), and where the timing leaves no room for it, which is said."""
        config, timing = self._config, self._config.timing
        configured = (
            resource
            for group in config.groups
            for resource in group.resources
            if isinstance(resource, AddressResource)
        )
        addresses = tuple(dict.fromkeys((*configured, *self._held())))
        if not config.lease or not addresses or not config.peers or self._resting:
            self._reason = ""
            return None
        if lease_ms(timing) < 2 * timing.keepalive_ms:
            self._refuse(
                f"deadtime {timing.deadtime_ms} ms is too short for it: make it at least "
                f"{3 * timing.keepalive_ms + delay_ms(timing)} ms, or keepalive shorter"
            )
            return None
        length_ms, floor = lease_ms(timing), self._patience.floor
        if floor is not None:
            length_ms = min(length_ms, lease_ms(floor))
            if length_ms < 2 * self._patience.keepalive_ms:
                return None
        return ArmLease(addresses, length_ms)

    def _refuse(self, reason: str) -> None:
        if reason != self._reason:
            self._desk.log(
                Level.WARN, Kind.LEASE,
                f"no kernel lease: {reason}. If hbd is frozen or killed, this machine goes on answering for "
                "its addresses",
            )  # fmt: skip
        self._armed, self._reason = False, reason


def _names(addresses: tuple[AddressResource, ...]) -> str:
    return ", ".join(address.ip for address in addresses)
