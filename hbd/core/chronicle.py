"""Keeps the records of one node's decisions: opens them, collects what is done under them, closes them.

It looks at the groups after each step that may have moved one, so that no way of moving a group can forget
to leave a record. What no group shows (a death, a refusal, an absence) it is told. Nothing in the core goes
by it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator

from hbd.core import evidence
from hbd.core.claims import Peer
from hbd.core.custody import Custody
from hbd.core.desk import Desk
from hbd.core.drafts import Draft, Drafts
from hbd.core.effects import AbandonJob, DropAddresses, Effect, StartJob, StartResource, StopResource
from hbd.core.events import JobId, Outcome, Result
from hbd.core.exchange import Cause, Transition
from hbd.core.groups import Group
from hbd.core.groupstate import Phase
from hbd.core.membership import Membership
from hbd.core.records import HEADS, Decision, Record

_MOVE = {
    Cause.STANDBY: Decision.STANDBY, Cause.TAKEOVER: Decision.TAKEOVER, Cause.FAILBACK: Decision.FAILBACK,
}  # fmt: skip
_Seen = tuple[Phase, bool, bool]
_LEFT = {
    (False, False): "released, and said goodbye", (False, True): "something does not stop",
    (True, False): "said goodbye, and left running what ran",
}  # fmt: skip
"""What became of a stop, by whether the cluster was frozen and whether something is stuck."""
_NEW: _Seen = (Phase.IDLE, False, False)


class Chronicle:
    """The records of one life of hbd."""

    def __init__(self, desk: Desk, membership: Membership, custody: Custody, keepalive_ms: int) -> None:
        self._desk, self._membership, self._custody = desk, membership, custody
        self._drafts = Drafts(desk, membership, keepalive_ms)
        self._of_group: dict[str, Draft] = {}
        """The open record of each group that is between two states."""
        self._insisting: dict[str, Draft] = {}
        self._seen: dict[str, _Seen] = {}
        self._jobs: dict[JobId, tuple[Draft, str]] = {}
        self._alone: dict[JobId, Draft] = {}
        """Records of a single job that moves no group."""
        self._transition: Transition | None = None
        self._gone = False
        self._starting = False
        self.latest: dict[str, Record] = {}
        """By group: the last decision about it, with its result if it has one."""

    # ------------------------------------------------------------ told

    def started(self, found: bool) -> None:
        """The first event."""
        self._starting = True
        cause = "hbd was started" + (" and finds what an earlier life of it held" if found else "")
        self._drafts.begin(Decision.START, cause, "finds out who serves what")

    def word(self, frozen: bool, cause: str) -> None:
        """The cluster was frozen, or thawed."""
        action = "starts, stops and moves nothing" if frozen else "acts by its rules again"
        draft = self._drafts.begin(Decision.FREEZE if frozen else Decision.THAW, cause, action)
        self._drafts.end(draft, "done")

    def died(self, peer: Peer, deadtime_ms: int, frozen: bool) -> None:
        """A peer was declared dead, by silence or an oath. One that has said goodbye has a record of that."""
        if peer.gone:
            return
        action = f"takes over what {peer.name} had"
        if frozen:
            action = "takes over nothing, since the cluster is frozen"
        silent_ms = self._desk.now.ms - self._membership.heard_ms(peer.name)
        known = self._membership.last_heartbeat_ms(peer.name) is not None
        cause = f"no heartbeat of {peer.name} for {silent_ms} ms"
        cause += f"; its deadtime is {deadtime_ms} ms" if known else ", which is initdead"
        cause = f"an operator confirms that {peer.name} is dead" if peer.sworn else cause
        self._drafts.begin(Decision.DEAD, cause, action, peer=peer.name)

    def muted(self, peer: Peer, cause: str) -> None:
        """The addresses go off until the peer was asked."""
        if self._drafts.find(Decision.MUTE) is None and self._custody.may_run_anything:
            action = f"takes its addresses off and asks {peer.name}"
            self._drafts.begin(Decision.MUTE, cause, action, peer=peer.name)

    def refused(self, what: str, reason: str) -> None:
        """An operator does not get what was asked for."""
        draft = self._drafts.begin(Decision.REFUSE, f"{what} was asked for", "does nothing")
        self._drafts.end(draft, f"refused: {reason}")

    def leaving(self, cause: str, frozen: bool) -> None:
        """hbd is being stopped."""
        action = "leaves everything running" if frozen else "releases everything and says goodbye"
        self._drafts.begin(Decision.SHUTDOWN, cause, action)

    def left(self, frozen: bool = False) -> None:
        """This life is over."""
        self.follow(leaving=True)
        draft = self._drafts.find(Decision.SHUTDOWN)
        if draft is not None:
            stuck = self._custody.claims_anything and not frozen
            self._drafts.end(draft, _LEFT[frozen, stuck])

    def job_done(self, job: JobId, outcome: Outcome) -> None:
        """What came of a step."""
        draft, what = self._jobs.pop(job, (None, ""))
        if draft is not None:
            ended = "done" if outcome.result is Result.OK else f"{outcome.result.value}: {outcome.reason}"
            draft.step(self._desk.now.ms, f"{what}: {ended}")
            if self._alone.pop(job, None) is not None:
                self._drafts.end(draft, ended)

    # ------------------------------------------------------------ after a step

    def follow(self, *, leaving: bool) -> None:
        """See which groups moved, and what that ends."""
        custody, seen, peer = self._custody, self._seen, self._membership.peer
        moved = False
        for key, group in custody.groups.items():
            now = (group.phase, group.muted, group.provisional)
            before = seen.get(key, _NEW)
            if now != before:
                seen[key], moved = now, True
                self._moved(group, before, leaving)
        if moved or len(seen) > len(custody.groups):
            self._forget_groups()
        if self._transition is not custody.transitions.current:
            self._follow_transition()
        if self._insisting or custody.contested:
            self._follow_conflicts()
        if peer is not None and peer.gone is not self._gone:
            self._gone = peer.gone
            if peer.gone:
                self._drafts.begin(
                    Decision.LEFT, f"{peer.name} has said goodbye", f"takes over what {peer.name} had",
                    peer=peer.name,
                )  # fmt: skip
        if self._desk.has_jobs:
            self._note_jobs(self._desk.jobs)
        if moved or self._drafts.fresh or (self._starting and custody.placed):
            self._close_heads()

    def _forget_groups(self) -> None:
        """What a reload took out of the configuration."""
        for key in [key for key in self._seen if key not in self._custody.groups]:
            del self._seen[key]
            draft = self._of_group.pop(key, None)
            if draft is not None:
                self.latest[key] = self._drafts.end(draft, "released: no longer configured")

    def _moved(self, group: Group, before: _Seen, leaving: bool) -> None:
        """From one phase to another; phases that were passed within the step are not seen."""
        (old, was_muted, _), new = before, group.phase
        draft = self._of_group.get(group.key)
        match new:
            case Phase.IDLE if old is Phase.CLAIMED:
                self._close_group(group, f"not started: {group.reason}")
            case Phase.IDLE:
                if old in (Phase.STARTING, Phase.STARTED):  # Nothing of it was running any more.
                    self._break_off(group, old, leaving)
                self._close_group(group, "released")
            case Phase.CLAIMED | Phase.STARTING if old is Phase.IDLE:
                if group.provisional:
                    self._about(group, Decision.ADOPT, group.reason, "leaves it as it is, and asks")
                else:
                    self._about(group, Decision.TAKE, group.reason, "claims it and starts it")
            case Phase.STARTING if old in (Phase.STARTED, Phase.BLOCKED):
                self._close_group(group, "seen stopped")
                if not group.muted and not group.provisional:
                    cause = "its addresses may come back" if was_muted else "something of it is missing here"
                    self._about(group, Decision.RESTORE, cause, "starts what is missing")
            case Phase.STARTED if old is Phase.IDLE and group.provisional:
                self._about(group, Decision.ADOPT, group.reason, "leaves it as it is, and asks")
            case Phase.STARTED if draft is not None and not group.provisional:
                self._close_group(group, "kept" if draft.record.decision is Decision.ADOPT else "started")
            case Phase.STOPPING if old is Phase.IDLE:
                self._about(group, Decision.RELEASE, group.reason, "stops it, or goes on stopping it")
            case Phase.STOPPING if old is Phase.BLOCKED:
                self._close_group(group, "seen stopped")
                self._about(group, Decision.RELEASE, group.reason, "stops the rest of it")
            case Phase.STOPPING if old is not Phase.STOPPING:
                self._break_off(group, old, leaving)
            case Phase.BLOCKED:
                self._close_group(group, f"failed: {group.reason}")
                action = "keeps its claim, and looks again every 5 s"
                self._about(group, Decision.BLOCKED, group.reason, action)
            case _:
                pass

    def _break_off(self, group: Group, old: Phase, leaving: bool) -> None:
        """What ran, or was on its way to, is stopped."""
        failed = group.unable and old is Phase.STARTING
        self._close_group(group, f"{'failed' if failed else 'broken off'}: {group.reason}")
        decision, action = Decision.RELEASE, "stops it"
        if not leaving and not group.changing:
            if failed:
                decision, action = Decision.GIVE_UP, "stops what was started of it"
            elif group.muted:
                decision, action = Decision.GIVE_WAY, "takes its addresses off and stops it"
        self._about(group, decision, group.reason, action)

    def _follow_transition(self) -> None:
        """A handover was opened, or has ended."""
        before, self._transition = self._transition, self._custody.transitions.current
        now = self._transition
        for draft in list(self._drafts.open.values()):
            if before is not None and draft.record.transition == before.number and not draft.record.group:
                self._drafts.end(draft, before.result)
        if now is None:
            return
        peer = self._membership.peer
        name = "" if peer is None else peer.name
        decision = _MOVE[now.cause]
        cause = f"an operator asked for {now.cause.value} of [{now.scope}]"
        if now.cause is Cause.FAILBACK:
            cause = f"{name} is back, and auto_failback is on"
        elif not now.commanded:
            decision, cause = Decision.IPFAIL, f"{name} reaches more than this node"
        elif now.scope == "asked":
            cause = f"an operator on {name} asked for a takeover"
        names = [self._custody.groups[key].name for key in now.groups if key in self._custody.groups]
        where = "here" if now.inbound else f"to {name}"
        action = f"hands {', '.join(names)} over {where}" if names else f"hands over {where} what is meant"
        self._drafts.begin(decision, cause, action, peer=name, transition=now.number)

    def _follow_conflicts(self) -> None:
        """Both nodes have a group, and this one keeps it."""
        groups, contested = self._custody.groups, self._custody.contested
        peer = self._membership.peer
        for key in sorted(contested - self._insisting.keys()):
            group = groups.get(key)
            if group is not None and group.phase is Phase.STARTED and peer is not None:
                self._insisting[key] = self._drafts.begin(
                    Decision.INSIST, f"{peer.name} has {group.name} too, and gives way by the rule",
                    "keeps it", group=group.name, peer=peer.name,
                    evidence=evidence.of_group(peer, group),
                )  # fmt: skip
        for key in [key for key in self._insisting if key not in contested]:
            self._drafts.end(self._insisting.pop(key), "the other node let go of it")

    def _note_jobs(self, jobs: Collection[Effect]) -> None:
        for effect in jobs:
            if isinstance(effect, AbandonJob):
                self._jobs.pop(effect.job, None)
                draft = self._alone.pop(effect.job, None)
                if draft is not None:
                    self._drafts.end(draft, "given up")
            if not isinstance(effect, StartJob):
                continue
            match effect.action:
                case StartResource(resource):
                    what = f"{resource.name} start"
                case StopResource(resource):
                    what = f"{resource.name} stop"
                case DropAddresses(addresses):
                    what = f"{', '.join(address.ip for address in addresses)} off at once"
                case _:
                    continue
            draft = self._doing(effect.job) or self._in_place(effect)
            if draft is not None:
                self._jobs[effect.job] = (draft, what)
                draft.step(self._desk.now.ms, what)

    def _doing(self, job: JobId) -> Draft | None:
        """Under which decision this is done."""
        for key, group in self._custody.groups.items():
            if job in (group.job, group.dropping):
                return self._of_group.get(key) or self._drafts.find(Decision.MUTE)
        return None

    def _in_place(self, effect: StartJob) -> Draft | None:
        """What others stopped is started again, or what they started is stopped; no group moves."""
        match effect.action:
            case StartResource(resource):
                decision, cause = Decision.RESTORE, f"{resource.name} was taken away from here"
                action = "puts it back in place"
            case StopResource(resource):
                decision, cause = Decision.RELEASE, f"somebody started {resource.name} on this node"
                action = "stops it again"
            case _:
                return None
        group = next((g for g in self._custody.groups.values() if g.has(resource)), None)
        if group is None:
            return None
        draft = self._drafts.begin(decision, cause, action, group=group.name)
        self._alone[effect.job] = draft
        return draft

    # ------------------------------------------------------------ heads

    def _close_heads(self) -> None:
        for draft in list(self._drafts.open.values()):
            number, decision = draft.record.number, draft.record.decision
            if decision not in HEADS or any(d.record.under == number for d in self._of_group.values()):
                continue
            match decision:
                case Decision.DEAD | Decision.LEFT:
                    self._drafts.end(draft, self._gain(number))
                case Decision.START if self._custody.placed:
                    self._starting = False
                    self._drafts.end(draft, f"holds {self._custody.holding.value}")
                case Decision.MUTE if not self._custody.muted:
                    serves = self._custody.serving
                    self._drafts.end(draft, "addresses are back" if serves else "released to the other node")
                case _:
                    pass

    def _gain(self, head: int) -> str:
        ours = [r for r in self.latest.values() if r.under == head and r.decision is Decision.TAKE]
        started = [record.group for record in ours if record.result == "started"]
        return f"took {', '.join(started)}" if started else "took nothing over"

    def _head_of(self, group: Group, decision: Decision) -> int:
        transition = self._custody.transitions.current
        for draft in reversed(self._drafts.open.values()):
            head = draft.record
            match head.decision:
                case Decision.SHUTDOWN if decision is Decision.RELEASE:
                    return head.number
                case Decision.DEAD | Decision.LEFT if decision is Decision.TAKE:
                    return head.number
                case Decision.STANDBY | Decision.TAKEOVER | Decision.FAILBACK | Decision.IPFAIL:
                    if transition is not None and group.key in transition.groups:
                        return head.number
                case Decision.MUTE if decision in (Decision.RESTORE, Decision.GIVE_WAY):
                    return head.number
                case Decision.START if decision in (Decision.TAKE, Decision.ADOPT):
                    return head.number
                case _:
                    pass
        return 0

    # ------------------------------------------------------------ records

    def _about(self, group: Group, decision: Decision, cause: str, action: str) -> None:
        peer = self._membership.peer
        transition = self._custody.transitions.current
        number = transition.number if transition is not None and group.key in transition.groups else 0
        self._of_group[group.key] = self._drafts.begin(
            decision, cause, action, group=group.name, peer="" if peer is None else peer.name,
            under=self._head_of(group, decision), transition=number,
            evidence=evidence.of_group(peer, group),
        )  # fmt: skip

    def _close_group(self, group: Group, result: str) -> None:
        draft = self._of_group.pop(group.key, None)
        if draft is not None:
            self.latest[group.key] = self._drafts.end(draft, result)

    @property
    def keepalive_ms(self) -> int:
        """By which late heartbeats are told from those in time; a reload may change it."""
        return self._drafts.keepalive_ms

    @keepalive_ms.setter
    def keepalive_ms(self, keepalive_ms: int) -> None:
        self._drafts.keepalive_ms = keepalive_ms

    def tell(self) -> None:
        """Let out what was opened in this step and is still open."""
        if self._drafts.fresh:
            self._drafts.tell()

    def open_records(self) -> Iterator[Record]:
        """What is not decided to its end yet."""
        return self._drafts.records()
