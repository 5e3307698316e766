"""Whether this node may be left running: what the watchdogs are told at each Tick.

Two watchdogs look after a node. systemd's restarts hbd in place, the hardware's resets the machine. A Tick
that comes late, or a stop that goes on beyond its time limit, starves both: hbd itself is sick. A group
that is *blocked* is no sickness of hbd, and a restart must not forget it; it starves the hardware's only,
only where hbd.cf calls the group critical, and only while the peer is able to serve it (rule 23).
Losing every link is a partition, and starves nothing.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable

from hbd.core.claims import Peer
from hbd.core.desk import Desk
from hbd.core.effects import Device, FeedWatchdog, Kind, Level
from hbd.core.groups import Group
from hbd.core.groupstate import Phase


class Health:
    """Judges at each Tick; says once what it starves for."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._overrun: tuple[str, ...] = ()
        self._doomed: tuple[str, ...] = ()

    @property
    def is_sick(self) -> bool:
        """A stop goes on beyond its time limit: nothing may feed the watchdogs before it has ended."""
        return bool(self._overrun)

    def pulse(
        self, groups: Collection[Group], *, on_time: bool, needed: bool, doomed: Iterable[Group], why: str
    ) -> FeedWatchdog | None:
        """The watchdogs' food, or none. `needed`: something is to be protected here. `doomed`: blocked
        groups for whose sake the machine is to be reset, and why."""
        overrun = tuple(group.name for group in groups if group.overruns(self._desk.now.ms))
        if overrun != self._overrun:
            self._overrun = overrun
            for name in overrun:
                text = f"group {name}: a stop goes on beyond its time limit; the watchdogs are fed no more"
                self._desk.log(Level.CRIT, Kind.WATCHDOG, text, group=name)
        self._note_doomed(tuple(group.name for group in doomed), why)
        if not on_time or overrun:
            return None
        if self._doomed:
            return FeedWatchdog(Device.STARVED)
        return FeedWatchdog(Device.FED if needed else Device.SPARED)

    def _note_doomed(self, doomed: tuple[str, ...], why: str) -> None:
        for name in doomed:
            if name not in self._doomed:
                text = (
                    f"group {name} is blocked, and {why}: "
                    "the watchdog device is fed no more, so that it resets this machine"
                )
                self._desk.log(Level.CRIT, Kind.WATCHDOG, text, group=name)
        if self._doomed and not doomed:
            self._desk.log(Level.WARN, Kind.WATCHDOG, "the watchdog device is fed again")
        self._doomed = doomed


def doomed(
    groups: Iterable[Group], critical: Collection[str], peer: Peer | None, digest: str, *, classic_able: bool
) -> list[Group]:
    """The blocked groups whose machine had better be reset: critical, and the peer is able to serve them.

    `classic_able`: if the peer is a 3.0.6 node, which says so in no report, it is active and does not leave.
    """
    if not critical or peer is None or not peer.alive or peer.dead or peer.gone:
        return []
    return [
        group
        for group in groups
        if group.phase is Phase.BLOCKED
        and group.key in critical
        and (classic_able if peer.speaks_classic else _can_serve(peer, group.key, digest))
    ]


def _can_serve(peer: Peer, key: str, digest: str) -> bool:
    report = peer.report
    if report is None or report.groups is None or not report.active or report.leaving:
        return False
    return report.digest == digest and key not in peer.unable
