"""What one node knows of its groups: what it has to do with them, and whether another may have them.

Questions only, for the report, the record of what is held, the deadline, and for custody.py, which decides.
"""

from __future__ import annotations

from dataclasses import replace

from hbd.config.model import AddressResource, Config, GroupSpec
from hbd.core import claims, placement
from hbd.core.claims import Peer
from hbd.core.desk import Desk
from hbd.core.events import Direction, HeldGroup, JobId, Role
from hbd.core.exchange import Exchange, Stage
from hbd.core.groups import Group
from hbd.core.groupstate import Phase
from hbd.core.guard import Guard
from hbd.core.handover import Handover
from hbd.core.report import Entry, Posture, same_entry
from hbd.core.standstill import Standstill
from hbd.core.transitions import Transitions
from hbd.core.views import Holding

# What every step asks is asked of names: to find a member of an Enum takes four times as long.
_SERVING = (Phase.STARTING, Phase.STARTED)


class CustodyState:
    """All groups of one node, as they are."""

    def __init__(self, config: Config, digest: str, desk: Desk, talk: Handover) -> None:
        self._config = config
        self._talk = talk
        self._desk = desk
        self._me = config.local_node
        self.digest = digest
        self.groups: dict[str, Group] = {}
        self.transitions = Transitions(config, digest, desk, talk, self.groups)
        self._exchanges = self.transitions.exchanges
        for spec in config.groups:
            self._add(spec)
        self._probes: dict[JobId, tuple[Group, int]] = {}
        self._recorded: dict[str, tuple[HeldGroup, bool]] = {}
        self._epochs: dict[str, int] = {}
        self._contested: set[str] = set()
        self.guard = Guard(desk, self.groups)
        self._standstill = Standstill(desk)
        self.frozen = False
        """Nothing begins here."""
        self.placed = False
        """The first placement after our start is complete."""
        self.has_replaced = False
        """A group that was configured before is gone, since this was last looked at."""

    def _add(self, spec: GroupSpec) -> Group:
        group = Group(spec, self._config.limits, self._desk.new_job)
        self.groups[spec.key] = group
        self._exchanges[spec.key] = Exchange()
        return group

    # ------------------------------------------------------------ of ourselves

    @property
    def probing(self) -> bool:
        """Members are still being probed: we do not know what we hold, and must not say anything."""
        return bool(self._probes)

    @property
    def muted(self) -> bool:
        """Some group waits, without its addresses, for what the peer says."""
        for group in self.groups.values():  # noqa: SIM110 — asked in every step
            if group.muted and group.phase in _SERVING:
                return True
        return False

    @property
    def shedding(self) -> bool:
        """What a reload removed may still run here: members, or the whole group as it was before."""
        for group in self.groups.values():  # noqa: SIM110 — asked in every step
            if group.sheds or (group.changing and group.may_run):
                return True
        return False

    @property
    def in_motion(self) -> bool:
        """Some group is between two states; an inbound takeover that only waits is not."""
        for group in self.groups.values():
            if group.provisional or group.busy:
                return True
        return self.transitions.in_motion

    @property
    def serving(self) -> bool:
        """Some group may run here with its addresses up."""
        for group in self.groups.values():  # noqa: SIM110 — asked in every step
            if group.may_run and not group.muted:
                return True
        return False

    @property
    def may_answer(self) -> bool:
        """The kernel may let our addresses out: some group serves, or none has to wait without its own."""
        if self._probes:
            return not any(late for _, late in self._recorded.values())
        muted = False
        for group in self.groups.values():
            if group.muted:
                # The kernel knows one lease for all: what has to be off first keeps silent what serves again.
                if group.addresses_up:
                    return False
                muted = True
        return not muted or self.serving

    @property
    def addresses(self) -> tuple[AddressResource, ...]:
        """Of all groups, those included that are about to be released because the configuration changed."""
        return tuple([a for group in self.groups.values() for a in group.addresses])

    @property
    def contested(self) -> set[str]:
        """Groups that the other node has too."""
        return self._contested

    @property
    def claims_anything(self) -> bool:
        return any(group.claims for group in self.groups.values())

    @property
    def may_run_anything(self) -> bool:
        return any(group.may_run for group in self.groups.values())

    @property
    def settled(self) -> bool:
        """Nothing of ours is in motion."""
        return self.transitions.current is None and not self.in_motion

    @property
    def holding(self) -> Holding:
        """What runs here, in our own terms (3.0.6's rsc_hold); everything in motion counts as held."""
        local = foreign = False
        for group in self.groups.values():
            if group.may_run:
                home = group.spec.home == self._me
                local, foreign = local or home, foreign or not home
        if local and foreign:
            return Holding.ALL
        return Holding.LOCAL if local else Holding.FOREIGN if foreign else Holding.NONE

    @property
    def held(self) -> tuple[HeldGroup, ...]:
        """What has to be on record in case we crash."""
        if self._probes:
            return tuple(held for held, _ in self._recorded.values())
        return tuple([held for group in self.groups.values() if (held := self._record(group)) is not None])

    def _record(self, group: Group) -> HeldGroup | None:
        held, exchange = group.held, self._exchanges[group.key]
        if held is not None and group.muted:
            held = replace(held, muted=True)
        if held is None or not exchange.partner:
            return held
        if exchange.stage in (Stage.RESUMED, Stage.CEDING):
            role, failback, direction = Role.GIVER, not exchange.pinned, Direction.STOPPING
            return replace(held, direction=direction, failback=failback, role=role, partner=exchange.partner)
        if group.phase is Phase.STARTING:
            return replace(held, role=Role.TAKER, partner=exchange.partner)
        return held

    def deadline_ms(self) -> int | None:
        """When something is due without any event."""
        if self.frozen:
            return None
        now_ms = self._desk.now.ms
        times = []
        for group in self.groups.values():
            group_ms = group.deadline_ms(now_ms)
            if group_ms is not None:
                times.append(group_ms)
        guard_ms = self.guard.deadline_ms(now_ms)
        if guard_ms is not None:
            times.append(guard_ms)
        answer_ms = self.transitions.deadline_ms()
        if answer_ms is not None:
            times.append(answer_ms)
        return min(times, default=None)

    def entries(self, peer: Peer | None) -> dict[str, Entry]:
        """What our report says of each group."""
        return {name: self._entry(group, peer) for name, group in self.groups.items()}

    def _entry(self, group: Group, peer: Peer | None) -> Entry:
        exchange = self._exchanges[group.key]
        theirs = None if peer is None or peer.report is None else peer.report.entry(group.key)
        epoch = group.epoch
        if not group.claims:
            epoch = max(epoch, self._epochs.get(group.key, 0))
        offered = exchange.stage is not Stage.NONE
        accepted = theirs is not None and theirs.offered and not group.unable and not self.frozen
        if accepted and peer is not None:  # What could not be started here had better stay there.
            accepted = self._same_digest(peer) and not self._may_run_elsewhere(group, peer)
        peer_unable = peer is not None and group.key in peer.unable
        return same_entry(
            group.posture, epoch, group.provisional, offered, accepted, exchange.asking, group.unable,
            peer_unable, exchange.pinned if offered else group.pinned, group.is_ailing,
            self.guard.alarmed and self.guard.knows_stray_of(group),
            group.served and group.posture is Posture.STARTING,
        )  # fmt: skip

    # ------------------------------------------------------------ of others

    def entry_of(self, peer: Peer, group: Group) -> Entry:
        """What the peer says of this group; a 3.0.6 node says it in sets, and runs what it holds."""
        if not peer.speaks_classic:
            return peer.entry(group.key)
        return Entry(Posture.RUNNING) if self._talk.peer_runs(group.spec) else Entry()

    def _knows(self, peer: Peer | None) -> bool:
        if peer is None or peer.dead or peer.gone:
            return True
        if peer.speaks_classic:
            return self._talk.settled
        return peer.report is not None and peer.report.groups is not None

    def _same_digest(self, peer: Peer) -> bool:
        return peer.report is not None and peer.report.digest == self.digest

    def _can_serve(self, peer: Peer | None, group: Group) -> bool:
        """Whether the peer would take it, if it were given up here."""
        if peer is None or peer.dead or peer.gone or peer.report is None:
            return False
        able = peer.report.active and not peer.report.leaving and group.key not in peer.unable
        return able and self._same_digest(peer)

    def _clear(self, group: Group, peer: Peer | None, back: bool = False) -> bool:
        """Whether nobody else, and no other group here, may have the group's resources. `back`: it is asked
        for those that were lost, and not for the next of those that are to be started."""
        return self.is_free_here(group) and self._is_free_there(group, peer, back)

    def is_free_here(self, group: Group) -> bool:
        """Whether no other group here may have anything of it running."""
        wanted = {resource.identity for resource in group.spec.resources}
        return not any(
            other is not group and not wanted.isdisjoint(other.may_be_running)
            for other in self.groups.values()
        )

    def _is_free_there(self, group: Group, peer: Peer | None, back: bool) -> bool:
        if peer is not None and peer.speaks_classic:
            return self._talk.leaves(group.spec)
        if peer is None:
            return True
        if not (group.provisional or group.restoring) and self._is_stopped_there(group, peer):
            return False
        if group.provisional or back or group.only_resumes:
            return not claims.objects(peer, group.key, group.claimed_at)
        if claims.may_hold(peer, group.key, self.digest, group.claimed_at):
            return group.is_first_start and claims.has_nothing(peer, group.claimed_at)
        if peer.dead or peer.gone:
            return not self._may_keep_elsewhere(group, peer)
        return not self._may_run_elsewhere(group, peer)

    def _is_stopped_there(self, group: Group, peer: Peer) -> bool:
        """Whether hands have started something of it there, of which the peer is about to be rid."""
        if not (peer.alive and peer.entry(group.key).strayed and self._same_digest(peer)):
            return False
        return peer.report is not None and peer.report.active and not peer.report.leaving

    def _may_run_elsewhere(self, group: Group, peer: Peer) -> bool:
        """After a reload, a resource may still run at the peer under a name that we do not know (rule 6)."""
        report = peer.report
        if not group.gained or report is None or report.groups is None:
            return False
        strange = any(entry.claims and key not in self.groups for key, entry in report.groups.items())
        return strange or report.shedding

    def _may_keep_elsewhere(self, group: Group, peer: Peer) -> bool:
        """The same of a peer that fell silent: for what a reload gave to a group that serves, and for all of
        one that was frozen when last heard, which frees nothing of what it has."""
        keeps = bool(peer.last_held) and (
            peer.sealed or (group.served and placement.waits_for_files(peer, self.digest))
        )
        return keeps and group.gained and not self._same_digest(peer)
