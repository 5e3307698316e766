"""One resource group on this node: started left to right, stopped right to left, one job at a time.

    IDLE ──claim──▶ CLAIMED ──begin──▶ STARTING ──last start──▶ STARTED
      ▲                │retract           │start failed, release    │release
      │◀───────────────┘                  ▼                         ▼
      └──────last stop confirmed────── STOPPING ◀───────────────────┘
                                          │stop failed for good, or unknown
                                          ▼
                                       BLOCKED ──probes prove all stopped──▶ IDLE

Everything but IDLE is a claim. Two attributes lie across the phases. *Provisional*: found after a crash
or an absence, and not yet agreed with the peer; nothing is started meanwhile. *Muted*: the addresses were
taken off because the peer may have taken over; they come back with `restore`.

A job that ended UNKNOWN (time limit, lost answer) is never read as stopped.
"""

from __future__ import annotations

from dataclasses import dataclass

from hbd.config.model import GroupSpec, Limits, ResourceSpec
from hbd.core.effects import (
    AbandonJob,
    Action,
    Effect,
    Kind,
    Level,
    Log,
    ProbeResource,
    StartJob,
    StartResource,
    StopResource,
)
from hbd.core.events import Condition, Direction, HeldGroup, JobId, Outcome, Result, Role
from hbd.core.groupstate import GroupState, Member, MemberState, Phase

STOP_RETRIES = 10
"""As HA_STOPRETRYMAX of heartbeat 3.0.6: so many repetitions, one second apart."""
STOP_RETRY_MS = 1000
BLOCKED_PROBE_MS = 5000


@dataclass(frozen=True, slots=True)
class GroupStarted:
    """Every member is confirmed."""


@dataclass(frozen=True, slots=True)
class GroupReleased:
    """Every member is confirmed stopped."""


@dataclass(frozen=True, slots=True)
class StartFailed:
    """A member did not start; what was started is being stopped again."""

    reason: str


@dataclass(frozen=True, slots=True)
class PutBackFailed:
    """A member that was lost did not start again; the others run on."""

    resource: ResourceSpec


Fact = GroupStarted | GroupReleased | StartFailed | PutBackFailed

_FOUND = {
    Condition.RUNNING: MemberState.STARTED,
    Condition.STOPPED: MemberState.STOPPED,
    Condition.BUSY: MemberState.UNKNOWN,
    Condition.UNKNOWN: MemberState.UNKNOWN,
}


class Group(GroupState):
    """What this node does with one group. Makes effects; decides nothing about who should have it."""

    # ------------------------------------------------------------ what it is told

    def claim(self, epoch: int, failback: bool, pinned: bool, reason: str) -> None:
        """Want it. Nothing starts before `begin`."""
        assert self.phase is Phase.IDLE
        self.phase, self.epoch, self.failback, self.pinned = Phase.CLAIMED, epoch, failback, pinned
        self.claimed_at, self.reason = None, reason
        for member in self.members:
            member.ran = member.given = False
        self._retries, self._retry_ms = 0, None

    def retract(self, reason: str) -> None:
        """Give up a claim under which nothing was started."""
        assert self.phase is Phase.CLAIMED
        self.phase, self.reason = Phase.IDLE, reason

    def begin(self) -> list[Effect]:
        """The way is free: start the members."""
        assert self.phase is Phase.CLAIMED
        self.phase = Phase.STARTING
        text = " ".join([self.spec.home, *(member.spec.name for member in self.members)])
        return [self._log(Level.INFO, Kind.GROUP_ACQUIRING, f"Acquiring resource group: {text}")]

    def adopt(self, held: HeldGroup, muted: bool) -> None:
        """Recorded at our start, running or lost meanwhile: ours, until the peer says otherwise."""
        self.phase = Phase.STARTED if self.is_whole and not muted else Phase.STARTING
        if held.direction is Direction.STOPPING and held.role is not Role.GIVER:
            self.phase = Phase.STOPPING
        self.served = self.phase is Phase.STARTED or held.direction is not Direction.STARTING
        for member in self.members:
            member.given = self.served and member.spec.identity in held.given
            member.ran = member.state is MemberState.STARTED or (self.served and not member.given)
        self.epoch, self.failback, self.pinned = held.epoch, held.failback, not held.failback
        self.provisional, self.muted = True, muted
        found = "found running" if self.running_somehow else "found taken away"
        self.claimed_at, self.reason = None, f"{found} when hbd started"

    def release(self, reason: str, leaving: bool = False) -> list[Effect]:
        """Stop it in order, right to left."""
        self._leaving = self._leaving or leaving
        if self.phase is Phase.CLAIMED:
            self.retract(reason)
            return []
        if self.phase not in (Phase.STARTING, Phase.STARTED):
            return []
        self.phase, self.reason = Phase.STOPPING, reason
        self.hurt.clear()
        self._retries, self._retry_ms = 0, None
        text = " ".join([self.spec.home, *(member.spec.name for member in self.members)])
        log = self._log(Level.INFO, Kind.GROUP_RELEASING, f"Releasing resource group: {text}")
        return [log, *self.abandon_start()]

    def mute(self, now_ms: int) -> None:
        """The addresses have to be off until the peer was asked."""
        if self.may_run:
            self.muted_ms = self.muted_ms if self.muted else now_ms
            self.muted = self.provisional = True
            self.claimed_at = None

    def abandon_start(self, addresses_only: bool = False) -> list[Effect]:
        """Wait no longer for a start: it is about to be stopped, and an address must not come up later."""
        member, job = self._job_member, self._job
        if job is None or member is None or not isinstance(self._action, StartResource):
            return []
        if addresses_only and not member.is_address:
            return []
        self._job = self._job_member = self._action = None
        member.state = MemberState.UNKNOWN
        return [AbandonJob(job)]

    def confirm(self) -> None:
        """The peer does not object: it is ours, and muted addresses come back."""
        self.restoring = self.muted
        self.provisional = self.muted = False
        if self.phase is Phase.STARTED and self._lacks_more_than_hurt:
            self.phase = Phase.STARTING

    def found(self, position: int, condition: Condition) -> None:
        """A probe's result."""
        self.members[position].state = _FOUND[condition]

    def leave(self, identities: set[str]) -> None:
        """What runs of these is another group's, which is about to give them to this one."""
        for member in self.members:
            if member.spec.identity in identities:
                member.state = MemberState.STOPPED

    def strays(self) -> list[Member]:
        """Members that run although nobody here started them; they are not claimed, and forgotten again."""
        strays = [member for member in self.members if member.state is MemberState.STARTED]
        for member in self.members:
            member.state = MemberState.STOPPED
        return strays

    def reconfigure(self, spec: GroupSpec, limits: Limits) -> None:
        """The same group with other members: what is new is started, what is gone is stopped, in place."""
        known = {member.spec.identity: member for member in self.members}
        members = []
        for resource in spec.resources:
            member = known.pop(resource.identity, None)
            if member is None:
                member = Member(resource, given=self.served)
                self.claimed_at = None  # What the peer said to the claim so far, it did not say of this one.
            member.spec = resource
            members.append(member)
        gone = [m for m in known.values() if m.state is not MemberState.STOPPED or m is self._job_member]
        self._retired += gone
        self.gained = True
        self.members, self.spec, self._limits = members, spec, limits
        self._by_identity = {member.spec.identity: member for member in members}
        self.hurt = [member for member in self.hurt if member in members]
        if self.phase is Phase.STARTED and self._lacks_more_than_hurt:
            self.phase = Phase.STARTING

    def vanished(self, resource: ResourceSpec, due_ms: int = 0, why: str = "") -> bool:
        """A member was taken away by somebody else, or ended. True if it is to be put back, when it is due.

        The rest goes on: nothing else is stopped or started meanwhile. `why` is for the operator.
        """
        lost = self._member(resource)
        if lost is None or not self.should_have(resource):
            return False
        lost.state, lost.retry_ms, lost.last_error = MemberState.UNKNOWN, due_ms, why
        hurt = {lost, *self.hurt}
        self.hurt = [member for member in self.members if member in hurt]
        return True

    def put_off(self, resource: ResourceSpec, due_ms: int) -> None:
        """A lost member is tried again only then."""
        for member in self.hurt:
            if member.spec == resource:
                member.retry_ms = due_ms

    def came_back(self, resource: ResourceSpec) -> None:
        """A lost member runs again, by somebody else's doing."""
        for member in self.hurt:
            if member.spec == resource and member is not self._job_member:
                member.state, member.ran = MemberState.STARTED, True
        if self.hurt:
            self.hurt = [member for member in self.hurt if member.state is not MemberState.STARTED]

    # ------------------------------------------------------------ jobs

    def advance(
        self, now_ms: int, clear: bool, back: bool = False, yields: bool = False
    ) -> tuple[list[Effect], list[Fact]]:
        """The next job towards the phase's end. `clear`: nobody else may hold what is to be started. `back`:
        nor what was lost. `yields`: it is given up if an address does not come back, since another node can
        serve it."""
        if self._job is not None or self.dropping is not None:
            return [], []
        if self._retired:
            self._retired = [member for member in self._retired if member.state is not MemberState.STOPPED]
        if self._retired and self.phase in (Phase.STARTING, Phase.STARTED, Phase.STOPPING):
            return self._stop_job(self._retired[-1], now_ms), []
        if self.phase is Phase.STARTING and not self.provisional and not self.muted:
            effects, facts = self._advance_start(clear)
            if effects or facts:
                return effects, facts
        if self.phase is Phase.STOPPING:
            return self._advance_stop(now_ms)
        if self.hurt and back and self.is_serving and not self.provisional and not self.muted:
            return self._put_back(now_ms, yields), []
        if self.phase is Phase.BLOCKED and self._due(now_ms):
            return self._probe_culprit(), []
        return [], []

    def restore(self, clear: bool) -> list[Effect]:
        """While frozen, the next job towards what a mute took away, and no other: not what a reload gave."""
        if self.phase is not Phase.STARTING or self.provisional or self.muted or not clear:
            return []
        if self._job is not None or self.dropping is not None:
            return []
        for member in self.members:
            if member.is_address and member.ran and member.state is not MemberState.STARTED:
                text = f"Running {member.command} start"
                effects = self._start_job(member, StartResource(member.spec), self._limits.start_ms)
                return [self._log(Level.INFO, Kind.RESOURCE_START, text, member), *effects]
        self.restoring = False
        return []

    def _advance_start(self, clear: bool) -> tuple[list[Effect], list[Fact]]:
        member = self.next_to_start
        if member is not None:
            if not clear:
                return [], []
            effects = self._start_job(member, StartResource(member.spec), self._limits.start_ms)
            text = f"Running {member.command} start"
            return [self._log(Level.INFO, Kind.RESOURCE_START, text, member), *effects], []
        self.phase, self.served, self.gained, self.restoring = Phase.STARTED, True, False, False
        for each in self.members:
            each.given = False
        return [], [GroupStarted()]

    def _put_back(self, now_ms: int, yields: bool) -> list[Effect]:
        for member in self.hurt:
            if member.retry_ms <= now_ms:
                self._yields = yields and member.is_address
                return self._start_job(member, StartResource(member.spec), self._limits.start_ms)
        return []

    def _advance_stop(self, now_ms: int) -> tuple[list[Effect], list[Fact]]:
        for member in reversed(self.members):
            if member.state is not MemberState.STOPPED:
                return self._stop_job(member, now_ms), []
        self._idle()
        return [], [GroupReleased()]

    def _stop_job(self, member: Member, now_ms: int) -> list[Effect]:
        if self._retry_ms is not None and now_ms < self._retry_ms:
            return []
        self._retry_ms = None
        effects: list[Effect] = [
            self._log(Level.INFO, Kind.RESOURCE_STOP, f"Running {member.command} stop", member)
        ]
        action = StopResource(member.spec, self._leaving)
        self._stop_due_ms = now_ms + self._limits.stop_ms
        return effects + self._start_job(member, action, self._limits.stop_ms)

    def _probe_culprit(self) -> list[Effect]:
        assert self._culprit is not None, "a group is blocked by one of its members"
        self._retry_ms = None
        return self._start_job(self._culprit, ProbeResource(self._culprit.spec), self._limits.probe_ms)

    def _due(self, now_ms: int) -> bool:
        return self._retry_ms is None or now_ms >= self._retry_ms

    def _start_job(self, member: Member, action: Action, limit_ms: int) -> list[Effect]:
        self._job, self._job_member, self._action = self._new_job(), member, action
        return [StartJob(self._job, action, limit_ms)]

    def _idle(self) -> None:
        self.phase, self.provisional, self.muted, self.claimed_at = Phase.IDLE, False, False, None
        self._leaving = self.served = self.restoring = False
        self._retries, self._retry_ms = 0, None

    def ended(self, now_ms: int, job: JobId, outcome: Outcome) -> tuple[list[Effect], list[Fact]] | None:
        """A job ended; None if it is none of ours."""
        if job == self.dropping:
            self.dropping = None
            found = MemberState.STOPPED if outcome.result is Result.OK else MemberState.UNKNOWN
            for member in (*self.members, *self._retired):
                if member.is_address and member is not self._job_member:
                    member.state = found
            if self.phase is Phase.STARTED and not self.muted:
                self.phase = Phase.STARTING
            return [], []
        if job != self._job:
            return None
        ended, action = self._job_member, self._action
        assert ended is not None
        self._job = self._job_member = self._action = None
        match action:
            case StartResource():
                return self._start_ended(ended, outcome)
            case StopResource():
                return self._stop_ended(now_ms, ended, outcome)
            case _:
                return self._blocked_probe_ended(now_ms, ended, outcome)

    def _start_ended(self, member: Member, outcome: Outcome) -> tuple[list[Effect], list[Fact]]:
        if outcome.result is Result.OK:
            if member in self.hurt:
                self.hurt.remove(member)  # What ended it stays to be read.
            else:
                member.last_error = ""
            member.state, member.ran = MemberState.STARTED, True
            return [], []
        member.state, member.last_error = MemberState.UNKNOWN, outcome.reason
        text = f"{member.spec.name} did not start: {outcome.reason}"
        effects: list[Effect] = [self._log(Level.ERROR, Kind.RESOURCE_FAILED, text, member)]
        if self.phase not in (Phase.STARTING, Phase.STARTED) or member not in self.members:
            return effects, []
        if member in self.hurt and not self._yields:
            return effects, [PutBackFailed(member.spec)]
        text = f"Giving up resources due to failure of {member.spec.name}"
        effects.append(self._log(Level.CRIT, Kind.GROUP_UNABLE, text, member))
        self.unable = True
        effects += self.release(f"{member.spec.name} did not start: {outcome.reason}")
        return effects, [StartFailed(outcome.reason)]

    def _stop_ended(self, now_ms: int, member: Member, outcome: Outcome) -> tuple[list[Effect], list[Fact]]:
        if outcome.result is Result.OK:
            member.state, self._retries = MemberState.STOPPED, 0
            return [], []
        member.last_error = outcome.reason
        text = f"{member.spec.name} did not stop: {outcome.reason}"
        effects: list[Effect] = [self._log(Level.ERROR, Kind.RESOURCE_FAILED, text, member)]
        if outcome.result is Result.FAILED and self._retries < STOP_RETRIES:
            self._retries += 1
            self._retry_ms = now_ms + STOP_RETRY_MS
            text = f"Retrying failed stop operation [{member.spec.name}]"
            return [*effects, self._log(Level.INFO, Kind.RESOURCE_STOP, text, member)], []
        member.state = MemberState.UNKNOWN
        self._culprit, self._blocked_in = member, self.phase
        self.phase, self._retry_ms = Phase.BLOCKED, now_ms + BLOCKED_PROBE_MS
        self.reason = f"{member.spec.name} did not stop: {outcome.reason}"
        text = f"group {self.name} is blocked: {self.reason}; it stays claimed here until it is seen stopped"
        return [*effects, self._log(Level.CRIT, Kind.GROUP_BLOCKED, text, member)], []

    def _blocked_probe_ended(
        self, now_ms: int, member: Member, outcome: Outcome
    ) -> tuple[list[Effect], list[Fact]]:
        if outcome.condition is Condition.STOPPED:
            member.state, self._retries = MemberState.STOPPED, 0
            # What stood left of the culprit was never asked to stop; one that a reload removed kept nobody.
            self.phase = Phase.STOPPING if self._blocked_in is Phase.STOPPING else Phase.STARTING
            return [], []
        self._retry_ms = now_ms + BLOCKED_PROBE_MS
        return [], []

    def _log(self, level: Level, kind: Kind, text: str, member: Member | None = None) -> Log:
        return Log(level, kind, text, group=self.name, resource="" if member is None else member.spec.name)
