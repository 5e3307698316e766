"""The groups of this node: which it claims, starts, gives away and gives up.

`reconcile` is level-triggered: it looks at what is known of the peer and of our own groups and moves each
group one step. The rules it obeys are numbered as in ARCHITECTURE.md, "Safety".
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from hbd.config.model import AddressResource, AutoFailback, Config, GroupSpec, ResourceSpec
from hbd.core import claims, placement
from hbd.core.claims import Peer, PeerKind
from hbd.core.desk import Desk
from hbd.core.effects import Announce, DropAddresses, Effect, Kind, Level, Log, ProbeResource, StartJob
from hbd.core.events import Condition, Direction, HeldGroup, JobId, Outcome, ResourceSeen, Scope
from hbd.core.exchange import REPLY_MS, TRANSITION_MS, Cause, Exchange, Stage, Transition
from hbd.core.groups import Fact, Group, GroupReleased, GroupStarted, Phase, StartFailed
from hbd.core.handover import Handover, Role
from hbd.core.report import EPOCH_MAX, Entry, Posture
from hbd.core.views import Holding
from hbd.errors import Refused

DROP_LIMIT_MS = 10_000
ANNOUNCE_LIMIT_MS = 10_000


class Custody:
    """All groups of one node."""

    def __init__(self, config: Config, digest: str, desk: Desk, talk: Handover) -> None:
        self._config = config
        self._talk = talk
        self._desk = desk
        self._me = config.local_node
        self.digest = digest
        self.groups: dict[str, Group] = {}
        self._exchanges: dict[str, Exchange] = {}
        for spec in config.groups:
            self._add(spec)
        self._probes: dict[JobId, tuple[Group, int]] = {}
        self._recorded: dict[str, tuple[HeldGroup, bool]] = {}
        self._epochs: dict[str, int] = {}
        self._contested: set[str] = set()
        self._lost: dict[str, list[ResourceSpec]] = {}
        self._transitions = 0
        self.transition: Transition | None = None
        self.last_finished: tuple[int, str] = (0, "")
        self.placed = False
        """The first placement after our start is complete."""

    def _add(self, spec: GroupSpec) -> Group:
        group = Group(spec, self._config.limits, self._desk.new_job)
        self.groups[spec.key] = group
        self._exchanges[spec.key] = Exchange()
        return group

    # ------------------------------------------------------------ facts about ourselves

    @property
    def probing(self) -> bool:
        """Members are still being probed: we do not know what we hold, and must not say anything."""
        return bool(self._probes)

    @property
    def muted(self) -> bool:
        """Some group waits, without its addresses, for what the peer says."""
        serving = (Phase.STARTING, Phase.STARTED)
        return any(group.muted and group.phase in serving for group in self.groups.values())

    @property
    def shedding(self) -> bool:
        """Members that a reload removed may still run here."""
        return any(group.sheds for group in self.groups.values())

    @property
    def in_motion(self) -> bool:
        """Some group is between two states; an inbound takeover that only waits is not."""
        return any(
            group.busy or group.provisional or self._exchanges[key].stage is not Stage.NONE
            for key, group in self.groups.items()
        )

    @property
    def serving(self) -> bool:
        """Some group may run here with its addresses up."""
        return any(group.may_run and not group.muted for group in self.groups.values())

    @property
    def claims_anything(self) -> bool:
        return any(group.claims for group in self.groups.values())

    @property
    def may_run_anything(self) -> bool:
        return any(group.may_run for group in self.groups.values())

    @property
    def settled(self) -> bool:
        """Nothing of ours is in motion."""
        return self.transition is None and not self.in_motion

    @property
    def holding(self) -> Holding:
        """What runs here, in our own terms (3.0.6's rsc_hold); everything in motion counts as held."""
        local = any(g.may_run and g.spec.home == self._me for g in self.groups.values())
        foreign = any(g.may_run and g.spec.home != self._me for g in self.groups.values())
        if local and foreign:
            return Holding.ALL
        return Holding.LOCAL if local else Holding.FOREIGN if foreign else Holding.NONE

    @property
    def held(self) -> tuple[HeldGroup, ...]:
        """What has to be on record in case we crash."""
        if self._probes:
            return tuple(held for held, _ in self._recorded.values())
        return tuple(held for group in self.groups.values() if (held := self._record(group)) is not None)

    def _record(self, group: Group) -> HeldGroup | None:
        held, exchange = group.held, self._exchanges[group.key]
        if held is None or exchange.stage is not Stage.CEDING:
            return held
        return replace(held, direction=Direction.CEDING, failback=not exchange.pinned)

    def deadline_ms(self) -> int | None:
        """When something is due without any event."""
        times = [d for group in self.groups.values() if (d := group.deadline_ms()) is not None]
        if self.transition is not None:
            for exchange in self._exchanges.values():
                if exchange.stage in (Stage.OFFERED, Stage.CEDED) or exchange.asking:
                    times.append(exchange.since_ms + REPLY_MS)
        return min(times, default=None)

    def entries(self, peer: Peer | None) -> dict[str, Entry]:
        """What our report says of each group."""
        return {name: self._entry(group, peer) for name, group in self.groups.items()}

    def _entry(self, group: Group, peer: Peer | None) -> Entry:
        exchange = self._exchanges[group.key]
        theirs = None if peer is None or peer.report is None else peer.report.entry(group.key)
        return Entry(
            posture=group.posture,
            epoch=max(group.epoch, 0 if group.claims else self._epochs.get(group.key, 0)),
            provisional=group.provisional,
            offered=exchange.stage is not Stage.NONE,
            accepted=theirs is not None and theirs.offered and not group.unable,
            asked=exchange.asking,
            unable=group.unable,
            peer_unable=peer is not None and group.key in peer.unable,
            pinned=exchange.pinned if exchange.stage is not Stage.NONE else group.pinned,
        )

    def reported(self, at: tuple[int, int], peer: Peer | None) -> None:
        """A report with the present entries left as (generation, seq): from now on echoes of it count."""
        if peer is not None and peer.unable and peer.unable_told is None:
            peer.unable_told = at
        for name, group in self.groups.items():
            if group.claims and group.claimed_at is None:
                group.claimed_at = at
            exchange = self._exchanges[name]
            if exchange.stage is Stage.OFFERED and exchange.offered_at is None:
                exchange.offered_at = at

    def forget_reports(self) -> None:
        """A new generation of ours: what the peer echoed of the old one proves nothing now."""
        for name, group in self.groups.items():
            group.claimed_at = None
            self._exchanges[name].offered_at = None

    # ------------------------------------------------------------ start

    def probe(self, held: tuple[HeldGroup, ...], late: bool) -> None:
        """Find out what runs, before anything is said (rule 16). `late`: the peer may have taken over."""
        for record in held:
            group = self.groups.get(record.group)
            if group is None or tuple(m.spec.identity for m in group.members) != tuple(
                resource.identity for resource in record.resources
            ):
                # Configured differently meanwhile: what we started is still ours to stop.
                home = self._me if group is None else group.spec.home
                spec = GroupSpec(record.group, home, record.resources)
                group = self._add(spec)
                group.changing = True
            self._recorded[record.group] = (record, late)
        for group in self.groups.values():
            for position, member in enumerate(group.members):
                job = self._desk.new_job()
                self._probes[job] = (group, position)
                self._desk.emit_job(
                    StartJob(job, ProbeResource(member.spec), self._config.limits.probe_ms)
                )

    def _probed(self, job: JobId, outcome: Outcome) -> None:
        group, position = self._probes.pop(job)
        group.found(position, outcome.condition or Condition.UNKNOWN)
        if not self._probes:
            for each in self.groups.values():
                self._judge_probes(each)
            self._recorded.clear()
            self.drop_muted()

    def _judge_probes(self, group: Group) -> None:
        recorded = self._recorded.get(group.key)
        if recorded is None:
            self._report_strays(group)
            return
        held, late = recorded
        if not group.running_somehow:
            return
        group.adopt(held, late)
        if held.direction is Direction.CEDING:
            exchange = self._exchanges[group.key]
            exchange.stage, exchange.given, exchange.pinned = Stage.CEDING, True, not held.failback
        self._epochs[group.key] = max(held.epoch, self._epochs.get(group.key, 0))
        self._desk.info(
            Kind.GROUP_ADOPTED,
            f"group {group.name} was started by an earlier hbd and runs: kept unless the peer claims it",
            group=group.name,
        )

    def _report_strays(self, group: Group) -> None:
        for member in group.strays():
            self._desk.log(
                Level.CRIT, Kind.RESOURCE_STRAY, f"Resource {member.spec.name} is active, and should not be!",
                group=group.name, resource=member.spec.name,
            )  # fmt: skip

    # ------------------------------------------------------------ events

    def job_done(self, job: JobId, outcome: Outcome) -> None:
        """A job of some group ended; unknown ids are jobs that were given up."""
        if job in self._probes:
            self._probed(job, outcome)
            return
        for group in self.groups.values():
            ended = group.ended(self._desk.now.ms, job, outcome)
            if ended is not None:
                self._take(group, *ended)

    def resource_seen(self, seen: ResourceSeen) -> None:
        """A watched address vanished: put back by `reconcile` once the peer's view is fresh (rule 20)."""
        for group in self.groups.values():
            if not group.has(seen.resource):
                continue
            lost = self._lost.setdefault(group.key, [])
            if seen.resource in lost:
                lost.remove(seen.resource)
            if seen.condition is Condition.STOPPED and group.should_have(seen.resource):
                lost.append(seen.resource)

    def heard(self, peer: Peer) -> None:
        """A report of the peer was applied: keep what must outlast it."""
        report = peer.report
        if report is None or report.groups is None:
            return
        for name, entry in report.groups.items():
            self._epochs[name] = max(entry.epoch, self._epochs.get(name, 0))

    def first_report(self, peer: Peer) -> None:
        """The peer's first report in our life: it may remember that we are unable (rule 22)."""
        for name, group in self.groups.items():
            if peer.entry(name).peer_unable and not group.unable and not group.may_run:
                group.unable = True
                group.reason = "the peer remembers that it did not start here"

    def try_again(self) -> None:
        """We are alone: what did not start here before is tried once more, since nobody else can have it."""
        for group in self.groups.values():
            group.unable = False

    def mute(self) -> None:
        """Absent for too long: addresses off at once, units stay until the peer was asked (rule 14)."""
        self._recorded = {key: (held, True) for key, (held, _) in self._recorded.items()}
        for group in self.groups.values():
            if group.phase is Phase.CLAIMED:
                group.claimed_at = None
            group.mute(self._desk.now.ms)
        self.drop_muted()

    def drop_muted(self) -> None:
        """Take off every address of a muted group that may be up, in one batch."""
        self._drop([group for group in self.groups.values() if group.muted])

    def _drop(self, groups: Iterable[Group]) -> None:
        todo = []
        for group in groups:
            self._emit(group.abandon_start(addresses_only=True))
            if group.dropping is None and group.addresses_up:
                todo.append(group)
        addresses = tuple(address for group in todo for address in group.addresses_up)
        if not addresses:
            return
        job = self._desk.new_job()
        for group in todo:
            group.dropping = job
        self._desk.emit_job(StartJob(job, DropAddresses(addresses), DROP_LIMIT_MS))

    # ------------------------------------------------------------ reconcile

    def reconcile(self, peer: Peer | None, *, active: bool, leaving: bool, fresh: bool) -> None:
        """Move every group one step. `fresh`: the peer was heard within the last heartbeats, or is dead."""
        if self._probes:
            return
        for group in list(self.groups.values()):
            self._decide(group, peer, active, leaving)
            if fresh and group.at_rest and self._lost.get(group.key):
                self._put_back(group)
            clear = group.phase is Phase.STARTING and self._clear(group, peer)
            self._take(group, *group.advance(self._desk.now.ms, clear))
            if group.changing and group.phase is Phase.IDLE:
                self._replace(group)
        self._follow_transition(peer)
        if active and not self.placed and self._knows(peer) and self.settled:
            self.placed = True

    def _knows(self, peer: Peer | None) -> bool:
        if peer is None or peer.dead or peer.gone:
            return True
        if peer.speaks_classic:
            return self._talk.settled
        return peer.report is not None and peer.report.groups is not None

    def _clear(self, group: Group, peer: Peer | None) -> bool:
        """Whether nobody else, and no other group here, may have the group's resources."""
        return self._is_free_here(group) and self._is_free_there(group, peer)

    def _is_free_here(self, group: Group) -> bool:
        wanted = {resource.identity for resource in group.spec.resources}
        return not any(
            other is not group and not wanted.isdisjoint(other.may_be_running)
            for other in self.groups.values()
        )

    def _is_free_there(self, group: Group, peer: Peer | None) -> bool:
        if peer is not None and peer.speaks_classic:
            return self._talk.leaves(group.spec)
        if peer is None:
            return True
        if group.provisional or group.resuming:
            return not claims.objects(peer, group.key, group.claimed_at)
        if claims.may_hold(peer, group.key, self.digest, group.claimed_at):
            return False
        return peer.dead or peer.gone or not self._may_run_elsewhere(group, peer)

    def _may_run_elsewhere(self, group: Group, peer: Peer) -> bool:
        """After a reload, a resource may still run at the peer under a name that we do not know (rule 6)."""
        report = peer.report
        if not group.gained or report is None or report.groups is None:
            return False
        strange = any(entry.claims and key not in self.groups for key, entry in report.groups.items())
        return strange or report.shedding

    def _decide(self, group: Group, peer: Peer | None, active: bool, leaving: bool) -> None:
        exchange = self._exchanges[group.key]
        if group.claims and peer is not None and self._in_conflict(group, peer):
            if exchange.stage is Stage.OFFERED:
                exchange.withdraw()
            return
        if leaving or group.changing:
            exchange.asking = False
            if exchange.stage is Stage.OFFERED:
                exchange.withdraw()
            self._emit(group.release("hbd is being stopped" if leaving else "no longer configured", leaving))
            return
        if peer is not None and peer.speaks_classic and self._yields_to_classic(group, peer):
            return
        asked = peer is None or not peer.speaks_classic or self._talk.knows
        if group.provisional and active and asked and self._clear(group, peer):
            self._emit(group.confirm())
        self._follow_exchange(group, exchange, peer)
        self._answer_ask(group, exchange, peer)
        if group.phase is Phase.IDLE and active and exchange.stage is Stage.NONE:
            self._consider_claim(group, peer)
        if group.phase is Phase.CLAIMED and self._clear(group, peer):
            self._emit(group.begin())

    def _consider_claim(self, group: Group, peer: Peer | None) -> None:
        unable, talk = group.unable, self._talk
        if not placement.belongs_here(group.spec, self._me, unable, peer, self.digest, talk):
            return
        theirs = None if peer is None else peer.entry(group.key)
        offered = theirs is not None and peer is not None and not peer.dead and theirs.offered
        pinned = offered and theirs is not None and theirs.pinned and group.spec.home != self._me
        epoch = min(max(group.epoch, self._epochs.get(group.key, 0)) + 1, EPOCH_MAX)
        self._epochs[group.key] = epoch
        group.claim(epoch, failback=not pinned, pinned=pinned, reason=_why(group, peer, offered))

    def _yields_to_classic(self, group: Group, peer: Peer) -> bool:
        """Whether the conversation with a 3.0.6 peer takes the group away from us."""
        if group.provisional and self._talk.peer_has(group.spec):
            self._talk.yield_to_peer(group.spec)
            self._emit(group.release(f"{peer.name} holds it"))
            group.mute(self._desk.now.ms)
            self._drop([group])
            return True
        serving = group.phase in (Phase.STARTING, Phase.STARTED) and not group.provisional
        if serving and not self._talk.lets(group.spec):
            self._emit(group.release(f"handed over to {peer.name}"))
            return True
        return False

    # ------------------------------------------------------------ conflicts (rules 8, 9, 11)

    def _in_conflict(self, group: Group, peer: Peer) -> bool:
        """Whether both claim the group. The trigger is the overlap itself, at every report."""
        if peer.dead or peer.report is None or not peer.entry(group.key).claims:
            if group.key in self._contested:
                self._contested.discard(group.key)
                self._reannounce(group)
            return False
        theirs = peer.entry(group.key)
        if group.claimed_at is None or not claims.echoed(peer, *group.claimed_at):
            # What it said, it said without knowing our claim: it may be about to change its mind too.
            if self._is_lost(group, theirs):
                self._give_way(group, peer)
                return True
            return group.phase is Phase.CLAIMED or group.provisional
        ours = self._entry(group, peer)
        same = peer.report.digest == self.digest
        both_on = same and claims.both_fail_back(self._config.auto_failback, peer.report)
        if not claims.loses(ours, self._me, theirs, peer.name, group.spec.home, both_on):
            if theirs.posture not in (Posture.CLAIMED, Posture.STOPPING):
                self._contested.add(group.key)
            return group.phase is Phase.CLAIMED or group.provisional
        if group.phase is Phase.CLAIMED:
            group.retract(f"{peer.name} claims it")
        else:
            self._give_way(group, peer)
        return True

    def _is_lost(self, group: Group, theirs: Entry) -> bool:
        """The peer, deaf to us, has long taken over what we keep without its addresses (rule 14)."""
        long_muted = group.muted and self._desk.now.ms - group.muted_ms >= self._config.timing.deadtime_ms
        taken = theirs.posture in (Posture.STARTING, Posture.RUNNING) and not theirs.provisional
        return group.provisional and long_muted and taken

    def _give_way(self, group: Group, peer: Peer) -> None:
        if group.phase in (Phase.STARTING, Phase.STARTED):
            self._desk.log(
                Level.CRIT, Kind.CONFLICT,
                f"group {group.name} is held by {peer.name} too; this node gives way and releases it",
                node=peer.name, group=group.name,
            )  # fmt: skip
            self._emit(group.release(f"{peer.name} holds it and this node gave way"))
            group.mute(self._desk.now.ms)
            self._exchanges[group.key].withdraw()
            self._drop([group])

    def _reannounce(self, group: Group) -> None:
        if group.phase is not Phase.STARTED or group.muted:
            return
        for member in group.members:
            if isinstance(member.spec, AddressResource):
                action = Announce(member.spec)
                self._desk.emit_job(StartJob(self._desk.new_job(), action, ANNOUNCE_LIMIT_MS))

    def _put_back(self, group: Group) -> None:
        for resource in self._lost.pop(group.key):
            if group.vanished(resource):
                text = f"{resource.name} was taken away from here: putting it back"
                self._desk.log(
                    Level.WARN, Kind.RESOURCE_LOST, text, group=group.name, resource=resource.name
                )

    # ------------------------------------------------------------ handover

    def _follow_exchange(self, group: Group, exchange: Exchange, peer: Peer | None) -> None:
        now_ms = self._desk.now.ms
        if exchange.stage is Stage.NONE:
            return
        assert peer is not None
        theirs = peer.entry(group.key)
        unavailable = peer.dead or peer.gone or group.key in peer.unable
        overdue = now_ms - exchange.since_ms >= REPLY_MS
        match exchange.stage:
            case Stage.OFFERED:
                answered = exchange.offered_at is not None and claims.echoed(peer, *exchange.offered_at)
                if unavailable or overdue or group.phase is not Phase.STARTED:
                    exchange.withdraw()
                elif theirs.accepted and answered:
                    exchange.stage, exchange.given = Stage.CEDING, True
                    self._emit(group.release(f"handed over to {peer.name}"))
            case Stage.CEDING:
                if group.phase is Phase.IDLE:
                    exchange.stage, exchange.since_ms = Stage.CEDED, now_ms
            case Stage.CEDED:
                if theirs.claims or unavailable or overdue:
                    exchange.withdraw()

    def _answer_ask(self, group: Group, exchange: Exchange, peer: Peer | None) -> None:
        """The peer's operator asked for what runs here."""
        transition = self.transition
        if peer is None or peer.dead or exchange.stage is not Stage.NONE:
            return
        if transition is not None and not transition.inbound:
            return
        if not peer.entry(group.key).asked or group.phase is not Phase.STARTED or group.provisional:
            return
        if transition is not None:
            # Two takeovers cross: both get what they asked for.
            exchange.offer(self._desk.now.ms, pinned=True)
            return
        asked = [g for g in self.groups.values() if peer.entry(g.key).asked and g.phase is Phase.STARTED]
        self._open(Cause.STANDBY, "asked", asked, peer, pinned=True)

    def fail_back(self, peer: Peer) -> None:
        """Give the returned home node what it lost by dying, if auto_failback says so."""
        report = peer.report
        if self._config.auto_failback is AutoFailback.OFF or peer.dead:
            return
        if report is None or not report.active or not report.settled or report.leaving:
            return
        if report.digest != self.digest:
            return
        home = [
            group
            for group in self.groups.values()
            if group.spec.home == peer.name and group.runs and not group.pinned and group.failback
            and group.key not in peer.unable
        ]  # fmt: skip
        if home and self.settled:
            self._open(Cause.FAILBACK, Scope.FOREIGN.value, home, peer, pinned=False)

    def standby(self, scope: Scope, peer: Peer | None) -> int:
        """Begin to hand groups over; the transition's number, 0 if we hold none of them. Raises Refused."""
        chosen = [
            group
            for group in self.groups.values()
            if group.phase is Phase.STARTED and placement.in_scope(group.spec, self._me, scope)
        ]
        if peer is not None and peer.speaks_classic:
            word = Scope.FOREIGN if scope is Scope.FAILBACK else scope
            self._talk.standby(word.value, not self.settled)
            return self._begin(Cause.STANDBY, scope.value, chosen, inbound=False)
        peer = self._willing(peer)
        unable = [group.name for group in chosen if group.key in peer.unable]
        if unable:
            raise Refused(f"{peer.name} could not start {', '.join(unable)}; see its journal")
        return self._open(Cause.STANDBY, scope.value, chosen, peer, pinned=True) if chosen else 0

    def takeover(self, scope: Scope, peer: Peer | None) -> int:
        """Ask the peer for groups; the transition's number, 0 if it holds none of them. Raises Refused."""
        wide = Scope.ALL if scope is Scope.FAILBACK else scope
        chosen = [
            group
            for group in self.groups.values()
            if placement.in_scope(group.spec, self._me, wide) and not group.claims
        ]
        for group in chosen:
            group.unable = False  # An operator who wants it here says that it can run here.
        if peer is None or peer.dead or peer.gone:
            return 0
        if peer.speaks_classic:
            self._talk.ask_takeover(scope)
            return self._begin(Cause.TAKEOVER, scope.value, chosen, inbound=True)
        peer = self._willing(peer)
        chosen = [group for group in chosen if peer.entry(group.key).claims]
        if not chosen:
            return 0
        for group in chosen:
            exchange = self._exchanges[group.key]
            exchange.asking, exchange.since_ms = True, self._desk.now.ms
        return self._begin(Cause.TAKEOVER, scope.value, chosen, inbound=True)

    def _willing(self, peer: Peer | None) -> Peer:
        if self._config.auto_failback is AutoFailback.LEGACY:
            raise Refused("standby and takeover need auto_failback on or off in ha.cf; it is legacy here")
        if self.transition is not None:
            raise Refused(f"resources in transition {self.transition.number}")
        if peer is None or peer.dead or peer.gone or not peer.alive:
            raise Refused("no other node is active")
        report = peer.report
        if peer.kind is not PeerKind.HBD or report is None or not report.active or report.leaving:
            raise Refused(f"{peer.name} is not ready: other side is in flux")
        if report.digest != self.digest:
            raise Refused(f"haresources differs between this node and {peer.name}")
        if not self.settled or not report.settled:
            raise Refused("resources are in flux")
        return peer

    def _open(self, cause: Cause, scope: str, groups: list[Group], peer: Peer, pinned: bool) -> int:
        for group in groups:
            self._exchanges[group.key].offer(self._desk.now.ms, pinned)
        number = self._begin(cause, scope, groups, inbound=False)
        self._desk.info(Kind.STANDBY, f"{self._me} wants to go standby [{scope}]", transition=number)
        return number

    def _begin(self, cause: Cause, scope: str, groups: list[Group], inbound: bool) -> int:
        self._transitions += 1
        keys = tuple(group.key for group in groups)
        self.transition = Transition(
            self._transitions, cause, scope, inbound, keys, self._desk.now.ms
        )
        return self._transitions

    def _follow_transition(self, peer: Peer | None) -> None:
        transition = self.transition
        if transition is None:
            return
        for name in transition.groups:
            if name not in transition.results:
                result = self._result_of(transition, name, peer)
                if result is not None:
                    transition.results[name] = result
        if self._desk.now.ms - transition.opened_ms >= TRANSITION_MS:
            for name in transition.groups:
                transition.results.setdefault(name, "cancelled")
        if transition.finished:
            self._finish(transition)

    def _result_of(self, transition: Transition, name: str, peer: Peer | None) -> str | None:
        group, exchange = self.groups.get(name), self._exchanges.get(name)
        if group is None or exchange is None or peer is None:
            return "cancelled"
        if peer.speaks_classic:
            exchange.asking = False
            return self._result_classic(transition, group)
        theirs = peer.entry(name)
        if transition.inbound:
            return self._result_inbound(group, exchange, peer)
        if exchange.stage is not Stage.NONE:
            return None
        if group.claims:
            return "failed" if exchange.given else "cancelled"
        if peer.dead or peer.gone:
            return "cancelled"
        if theirs.posture is Posture.RUNNING:
            return "done"
        return "failed" if name in peer.unable else None

    def _result_classic(self, transition: Transition, group: Group) -> str | None:
        overdue = self._desk.now.ms - transition.opened_ms >= REPLY_MS
        if transition.inbound:
            if group.runs:
                return "done"
            return "cancelled" if overdue and self._talk.role is Role.NONE and not group.claims else None
        if self._talk.role is not Role.NONE:
            return None
        if group.claims:
            return "cancelled"
        return "done" if self._talk.was_taken else "failed"

    def _result_inbound(self, group: Group, exchange: Exchange, peer: Peer) -> str | None:
        theirs = peer.entry(group.key)
        if group.claims or group.unable:
            exchange.asking = False
        if group.runs:
            return "done"
        if group.unable:
            return "failed"
        if peer.dead or peer.gone:
            exchange.asking = False
            return "cancelled"
        if theirs.offered or not theirs.claims:
            exchange.since_ms = self._desk.now.ms
            return None
        if self._desk.now.ms - exchange.since_ms >= REPLY_MS:
            exchange.asking = False
            return "cancelled"
        return None

    def _finish(self, transition: Transition) -> None:
        self.transition, self.last_finished = None, (transition.number, transition.result)
        if transition.result == "cancelled":
            self._desk.warn(Kind.STANDBY, "No reply to standby request.  Standby request cancelled.")
        text = f"{transition.cause.value} of [{transition.scope}] ended: {transition.result}"
        self._desk.info(Kind.TRANSITION, text, transition=transition.number)

    # ------------------------------------------------------------ reload

    def reconfigure(self, config: Config, digest: str) -> None:
        """A new configuration: groups that are gone are released, changed ones change in place."""
        self._config, self.digest = config, digest
        wanted = {spec.key: spec for spec in config.groups}
        for name, group in self.groups.items():
            group.unable = False
            spec = wanted.get(name)
            if spec is None or spec.home != group.spec.home:
                group.changing = group.spec != spec
            else:
                group.changing = False
                group.reconfigure(spec, config.limits)
        for name, spec in wanted.items():
            if name not in self.groups:
                self._add(spec)

    def _replace(self, group: Group) -> None:
        """A released group that was configured away: gone, or made anew as it is configured now."""
        del self.groups[group.key]
        del self._exchanges[group.key]
        for spec in self._config.groups:
            if spec.key == group.key:
                self._add(spec)

    # ------------------------------------------------------------ small things

    def _take(self, group: Group, effects: Iterable[Effect], facts: list[Fact]) -> None:
        self._emit(effects)
        for fact in facts:
            match fact:
                case GroupStarted():
                    text = f"Resource acquisition completed. group {group.name} runs"
                    self._desk.info(Kind.GROUP_STARTED, text, group=group.name)
                case GroupReleased():
                    self._lost.pop(group.key, None)
                    text = f"group {group.name} is released: {group.reason}"
                    self._desk.info(Kind.GROUP_RELEASED, text, group=group.name)
                case StartFailed():
                    self._exchanges[group.key].withdraw()

    def _emit(self, effects: Iterable[Effect]) -> None:
        for effect in effects:
            if isinstance(effect, Log):
                self._desk.emit(effect)
            else:
                self._desk.emit_job(effect)


def _why(group: Group, peer: Peer | None, offered: bool) -> str:
    if peer is None:
        return "this is the only node"
    if offered:
        return f"handed over by {peer.name}"
    if peer.dead:
        return f"{peer.name} is dead"
    if peer.gone or (peer.report is not None and peer.report.leaving):
        return f"{peer.name} has left"
    if group.key in peer.unable:
        return f"{peer.name} could not start it"
    return "this is its home node"
