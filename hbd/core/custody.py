"""The groups of this node: which it claims, starts, gives away and gives up.

`reconcile` is level-triggered: it looks at what is known of the peer and of our own groups and moves each
group one step. The rules it obeys are numbered as in ARCHITECTURE.md, "Safety".
"""

from __future__ import annotations

from collections.abc import Iterable

from hbd.config.model import AddressResource, Config, GroupSpec
from hbd.core import claims, placement
from hbd.core.claims import Peer
from hbd.core.custodystate import CustodyState
from hbd.core.effects import Announce, DropAddresses, Effect, Kind, Level, ProbeResource, StartJob
from hbd.core.events import Condition, Direction, HeldGroup, JobId, Outcome, Role
from hbd.core.exchange import Exchange, Stage
from hbd.core.groups import Fact, Group, GroupReleased, GroupStarted, PutBackFailed, StartFailed
from hbd.core.groupstate import Phase
from hbd.core.report import EPOCH_MAX, Entry, Posture

DROP_LIMIT_MS = 10_000
ANNOUNCE_LIMIT_MS = 10_000

# What every step asks is asked of names: to find a member of an Enum takes four times as long.
_IDLE, _CLAIMED, _STARTING = Phase.IDLE, Phase.CLAIMED, Phase.STARTING
_SERVING = (Phase.STARTING, Phase.STARTED)


class Custody(CustodyState):
    """All groups of one node, and what is done about them."""

    # ------------------------------------------------------------ start

    def probe(self, held: tuple[HeldGroup, ...], late: bool) -> None:
        """Find out what runs, before anything is said (rule 16). `late`: the peer may have taken over."""
        for record in held:
            group = self.groups.get(record.group)
            if group is None or tuple(m.spec.identity for m in group.members) != tuple(
                resource.identity for resource in record.resources
            ):
                # Configured differently meanwhile: what we started is still ours, to be changed or to stop.
                home, known = (self._me, False) if group is None else (group.spec.home, True)
                group = self._add(GroupSpec(record.group, home, record.resources))
                group.changing = not known
            self._recorded[record.group] = (record, late or record.muted)
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
            # What is on record as another group's is no stray.
            for each in sorted(self.groups.values(), key=lambda each: each.key not in self._recorded):
                self._judge_probes(each)
            self._recorded.clear()
            self._fit(self._config.groups)
            self.guard.watch()
            self.drop_muted()

    def _judge_probes(self, group: Group) -> None:
        recorded = self._recorded.get(group.key)
        if recorded is None:
            self.guard.found(group)
            return
        held, late = recorded
        exchange = self._exchanges[group.key]
        if held.role is Role.TAKER and not group.changing:
            exchange.partner, exchange.resumed = held.partner, True
        group.leave(
            {
                resource.identity
                for other, _ in self._recorded.values()
                if other is not held
                for resource in other.resources
                if resource.identity in held.given and resource.identity not in other.given
            }
        )
        if exchange.resumed and not group.running_somehow:
            # Claimed before the first report: the peer may want it back as soon as nobody has it.
            self._claim(group, not held.failback, "handed over before hbd was restarted")
        if group.claims or not (group.running_somehow or held.direction is Direction.STARTED):
            return
        what = "runs" if group.running_somehow else "is to be started again"
        group.adopt(held, late)
        if held.role is Role.GIVER:
            exchange.resume(held)
        self._epochs[group.key] = max(held.epoch, self._epochs.get(group.key, 0))
        text = f"group {group.name} was started by an earlier hbd and {what}: kept unless the peer claims it"
        if group.muted:
            self._desk.warn(
                Kind.GROUP_ADOPTED,
                f"{text}; no hbd was healthy here for longer than the peer waits: "
                "its addresses are off until the peer was asked",
                group=group.name,
            )
        else:
            self._desk.info(Kind.GROUP_ADOPTED, text, group=group.name)

    # ------------------------------------------------------------ events

    def job_done(self, job: JobId, outcome: Outcome) -> None:
        """A job of some group ended; unknown ids are jobs that were given up."""
        if job in self._probes:
            self._probed(job, outcome)
            return
        if self.guard.job_done(job, outcome):
            return
        for group in self.groups.values():
            self.guard.settle(group, job)
            ended = group.ended(self._desk.now.ms, job, outcome)
            if ended is not None:
                self._take(group, *ended)

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
                group.reason = f"{peer.name} remembers that"

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
            self._desk.emit_all(group.abandon_start(addresses_only=True))
            if group.dropping is None and group.addresses_up:
                todo.append(group)
        addresses = tuple(address for group in todo for address in group.addresses_up)
        if not addresses:
            return
        job = self._desk.new_job()
        for group in todo:
            group.dropping, group.drop_due_ms = job, self._desk.now.ms + DROP_LIMIT_MS
        self._desk.emit_job(StartJob(job, DropAddresses(addresses), DROP_LIMIT_MS))

    # ------------------------------------------------------------ reconcile

    def reconcile(self, peer: Peer | None, *, active: bool, leaving: bool, fresh: bool) -> None:
        """Move every group one step. `fresh`: the peer was heard within the last heartbeats, or is dead."""
        if self._probes:
            return
        if self.frozen:
            self._standstill.step(
                self.groups.values(), peer, active, lambda group: self._clear(group, peer), self._take
            )
            if self.guard.alarmed:
                self.guard.look_on()
            return
        now_ms = self._desk.now.ms
        for group in list(self.groups.values()):
            self._decide(group, peer, active, leaving)
            if fresh and self.guard.alarmed:
                theirs = None if peer is None or peer.dead or peer.gone else self.entry_of(peer, group)
                same = peer is None or peer.speaks_classic or self._same_digest(peer)
                owner = peer.name if peer and theirs and theirs.claims and same else ""
                self.guard.proceed(group, owner, acts=active and not leaving)
            clear = group.phase is _STARTING and self._clear(group, peer)
            # What was lost and had to wait comes back by what is known now, and not when it was lost.
            back = fresh and bool(group.hurt) and self._clear(group, peer, back=True)
            effects, facts = group.advance(now_ms, clear, back, back and self._can_serve(peer, group))
            if effects or facts:
                self._take(group, effects, facts)
            if group.changing and group.phase is _IDLE:
                self._replace(group)
        self.guard.tell()
        self.transitions.follow(peer)
        if active and not self.placed and self._knows(peer) and self.settled:
            self.placed = True

    def _decide(self, group: Group, peer: Peer | None, active: bool, leaving: bool) -> None:
        exchange = self._exchanges[group.key]
        if group.claims and peer is not None and self._in_conflict(group, peer):
            if exchange.stage is Stage.OFFERED:
                exchange.withdraw()
            return
        if leaving or (group.changing and not self._keeps(group, peer)):
            exchange.asking = False
            if exchange.stage is Stage.OFFERED:
                exchange.withdraw()
            reason = "hbd is being stopped" if leaving else "no longer configured"
            self._desk.emit_all(group.release(reason, leaving))
            return
        classic = peer is not None and peer.speaks_classic
        if classic and peer is not None:
            self._note_other_owner(group)
            if self._yields_to_classic(group, peer):
                return
        asked = not classic or self._talk.knows
        resumed = exchange.stage is Stage.RESUMED
        if group.provisional and active and asked and not resumed and self._clear(group, peer):
            group.confirm()
        self.transitions.advance(group, peer)
        self.transitions.answer_ask(group, peer)
        if exchange.resumed and group.phase is _CLAIMED and peer is not None:
            self._doubt_resumed_claim(group, exchange, peer)
        if group.phase is _IDLE and active and exchange.stage is Stage.NONE:
            self._consider_claim(group, peer)
        if group.phase is _CLAIMED and active and self._clear(group, peer):
            self._desk.emit_all(group.begin())

    def _keeps(self, group: Group, peer: Peer | None) -> bool:
        """Whether a group that is to have another name or home goes on until both nodes know that (rule 6).

        Given up before, it could not be started again.
        """
        if group.phase not in _SERVING or not placement.waits_for_files(peer, self.digest):
            return False
        wanted = {resource.identity for spec in self._config.groups for resource in spec.resources}
        return any(member.spec.identity in wanted for member in group.members)

    def _consider_claim(self, group: Group, peer: Peer | None) -> None:
        unable, talk = group.unable, self._talk
        if not placement.belongs_here(group.spec, self._me, unable, peer, self.digest, talk):
            return
        theirs = None if peer is None else peer.entry(group.key)
        offered = theirs is not None and peer is not None and not peer.dead and theirs.offered
        pinned = offered and theirs is not None and theirs.pinned and group.spec.home != self._me
        self._exchanges[group.key].partner = peer.generation if offered and peer is not None else 0
        reason = _why(
            group, peer, offered, self._talk.receives, group.spec.home == self._me
        )  # fmt: skip
        self._claim(group, pinned, reason)

    def _claim(self, group: Group, pinned: bool, reason: str) -> None:
        epoch = min(max(group.epoch, self._epochs.get(group.key, 0)) + 1, EPOCH_MAX)
        self._epochs[group.key] = epoch
        group.claim(epoch, failback=not pinned, pinned=pinned, reason=reason)

    def _doubt_resumed_claim(self, group: Group, exchange: Exchange, peer: Peer) -> None:
        """What an earlier life of ours was taking goes by the ordinary rules if the peer has a new one."""
        if peer.lives and peer.generation != exchange.partner:
            exchange.withdraw()
            group.retract(f"{peer.name} was restarted since it gave it")

    def _note_other_owner(self, group: Group) -> None:
        """A 3.0.6 node that took it too told the neighbours so; they must know when it lets go of it."""
        if self._talk.peer_has(group.spec):
            self._contested.add(group.key)
        elif group.key in self._contested:
            self._contested.discard(group.key)
            self._reannounce(group)

    def _yields_to_classic(self, group: Group, peer: Peer) -> bool:
        """Whether the conversation with a 3.0.6 peer takes the group away from us."""
        if group.provisional and self._talk.peer_has(group.spec):
            self._talk.yield_to_peer(group.spec)
            self._release_at_once(group, f"{peer.name} holds it")
            return True
        serving = group.phase in _SERVING and not group.provisional
        if not serving or self._talk.lets(group.spec):
            return False
        if self._talk.has_lost(group.spec):
            self._release_at_once(group, f"{peer.name} holds it and this node gave way")
        else:
            self._desk.emit_all(group.release(f"handed over to {peer.name}"))
        return True

    # ------------------------------------------------------------ conflicts (rules 8, 9, 11)

    def _in_conflict(self, group: Group, peer: Peer) -> bool:
        """Whether both claim the group. The trigger is the overlap itself, at every report."""
        if peer.dead or peer.report is None or not peer.entry(group.key).claims:
            if group.key in self._contested and not peer.speaks_classic:
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
            if self._exchanges[group.key].stage is Stage.OFFERED:
                self._exchanges[group.key].withdraw()
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
            self._exchanges[group.key].withdraw()
            self._release_at_once(group, f"{peer.name} holds it and this node gave way")
        elif group.addresses_up and not group.muted:
            group.mute(self._desk.now.ms)
            self._drop([group])

    def _release_at_once(self, group: Group, reason: str) -> None:
        """The addresses first, then the units (rule 11)."""
        self._desk.emit_all(group.release(reason))
        group.mute(self._desk.now.ms)
        self._drop([group])

    def _reannounce(self, group: Group) -> None:
        if group.phase is not Phase.STARTED or group.muted:
            return
        for member in group.members:
            if isinstance(member.spec, AddressResource):
                action = Announce(member.spec)
                self._desk.emit_job(StartJob(self._desk.new_job(), action, ANNOUNCE_LIMIT_MS))

    # ------------------------------------------------------------ reload

    def reconfigure(self, config: Config, digest: str) -> None:
        """A new configuration: groups that are gone are released, changed ones change in place."""
        self._config, self.digest = config, digest
        self.transitions.reconfigure(config, digest)
        for group in self.groups.values():
            group.unable = False
        self._fit(config.groups)
        self.guard.watch()

    def _fit(self, specs: Iterable[GroupSpec]) -> None:
        """Make the groups as they are configured now; those that have to be released first wait for that."""
        wanted = {spec.key: spec for spec in specs}
        for name, group in self.groups.items():
            spec = wanted.get(name)
            if spec is None or spec.home != group.spec.home:
                group.changing = group.spec != spec
            else:
                group.changing = False
                group.reconfigure(spec, self._config.limits)
        for name, spec in wanted.items():
            if name not in self.groups:
                self._add(spec)

    def _replace(self, group: Group) -> None:
        """A released group that was configured away: gone, or made anew as it is configured now."""
        self.has_replaced = True
        del self.groups[group.key]
        del self._exchanges[group.key]
        for spec in self._config.groups:
            if spec.key == group.key:
                self._add(spec)
        self.guard.watch()

    # ------------------------------------------------------------ small things

    def _take(self, group: Group, effects: Iterable[Effect], facts: list[Fact]) -> None:
        self._desk.emit_all(effects)
        for fact in facts:
            match fact:
                case GroupStarted():
                    self._exchanges[group.key].arrived()
                    text = f"Resource acquisition completed. group {group.name} runs"
                    self._desk.info(Kind.GROUP_STARTED, text, group=group.name)
                case GroupReleased():
                    text = f"group {group.name} is released: {group.reason}"
                    self._desk.info(Kind.GROUP_RELEASED, text, group=group.name)
                case StartFailed():
                    self._exchanges[group.key].withdraw()
                case PutBackFailed(resource):
                    self.guard.put_off(group, resource)


def _why(group: Group, peer: Peer | None, offered: bool, handed_over: bool, is_home: bool) -> str:
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
    if handed_over:
        return f"handed over by {peer.name}"
    return "this is its home node" if is_home else f"{peer.name} does not have it"
