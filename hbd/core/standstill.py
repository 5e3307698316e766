"""What a frozen node does with its groups: nothing begins, and what has begun comes to its end.

No start, no stop, no release and no handover. What remains is to take note: of what a running job has
brought about, of a claim that the peer agrees to after a restart or an absence, and of a group that
both nodes hold, which is said and settled after the thaw. One thing is put back: addresses that were taken
off because the peer might have taken over, before it said that it is frozen too.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from hbd.core.claims import Peer
from hbd.core.desk import Desk
from hbd.core.effects import Effect, Kind, Level
from hbd.core.groups import Fact, Group
from hbd.core.report import Posture

Clear = Callable[[Group], bool]
"""Whether nobody else may hold the group."""
Take = Callable[[Group, Iterable[Effect], list[Fact]], None]
"""What a group's step came to."""

_RUNS = (Posture.STARTING, Posture.RUNNING)


class Standstill:
    """Steps the groups of a frozen node."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._contested: set[str] = set()

    def step(
        self, groups: Iterable[Group], peer: Peer | None, active: bool, clear: Clear, take: Take
    ) -> None:
        for group in groups:
            self._note_conflict(group, peer)
            if group.provisional and active and clear(group):
                group.confirm()
            if group.has_arrived:
                take(group, *group.advance(self._desk.now.ms, clear=False))
            elif group.restoring:
                self._desk.emit_all(group.restore(clear(group)))

    def _note_conflict(self, group: Group, peer: Peer | None) -> None:
        """Both nodes run it: loud, once."""
        theirs = None if peer is None or peer.dead or peer.report is None else peer.entry(group.key)
        both = theirs is not None and theirs.posture in _RUNS and group.posture in _RUNS
        if both and group.key not in self._contested:
            assert peer is not None
            self._contested.add(group.key)
            self._desk.log(
                Level.CRIT, Kind.CONFLICT,
                f"group {group.name} is held by {peer.name} too. The cluster is frozen, so neither node "
                "gives way before it is thawed", node=peer.name, group=group.name,
            )  # fmt: skip
        elif not both:
            self._contested.discard(group.key)
