"""What is known of one resource group on this node: its phase, its members, what is at work on them.

Questions only; what moves a group is in groups.py, and with it the drawing of the phases.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum

from hbd.config.model import AddressResource, GroupSpec, Limits, ResourceSpec, ScriptResource
from hbd.core.effects import Action, StopResource
from hbd.core.events import Direction, HeldGroup, JobId
from hbd.core.report import Posture

OVERRUN_MS = 5000
"""A job whose end is not told so long after its time limit: whoever was to tell it does not work."""


class Phase(Enum):
    """See the drawing in groups.py."""

    __hash__ = object.__hash__  # By identity, as members are compared: an Enum's own is a call into Python.

    IDLE = "idle"
    CLAIMED = "claimed"
    STARTING = "starting"
    STARTED = "started"
    STOPPING = "stopping"
    BLOCKED = "blocked"


class MemberState(Enum):
    """What is known of one resource here."""

    STOPPED = "stopped"
    STARTED = "started"
    UNKNOWN = "unknown"


# What every step asks is asked of names: to find a member of an Enum takes four times as long.
_IDLE = Phase.IDLE
_STARTED = Phase.STARTED
_RUNS_NOTHING = (Phase.IDLE, Phase.CLAIMED)
_MOVES = (Phase.CLAIMED, Phase.STARTING, Phase.STOPPING)


@dataclass(slots=True, eq=False)
class Member:
    """One resource of the group."""

    spec: ResourceSpec
    state: MemberState = MemberState.STOPPED
    last_error: str = ""
    retry_ms: int = 0
    """For one that was lost: when it is to be put back."""
    ran: bool = False
    """It was started under the present claim, by this life of hbd or by an earlier one."""
    given: bool = False
    """A reload added it while the rest ran, and they have not all run together yet."""

    @property
    def command(self) -> str:
        """What is run, in the log: a script as 3.0.6 writes it, else the resource's name."""
        return self.spec.command if isinstance(self.spec, ScriptResource) else self.spec.name

    @property
    def is_address(self) -> bool:
        return isinstance(self.spec, AddressResource)


_POSTURE = {
    Phase.IDLE: Posture.NONE,
    Phase.CLAIMED: Posture.CLAIMED,
    Phase.STARTING: Posture.STARTING,
    Phase.STARTED: Posture.RUNNING,
    Phase.STOPPING: Posture.STOPPING,
    Phase.BLOCKED: Posture.BLOCKED,
}
_DIRECTION = {
    Phase.STARTING: Direction.STARTING,
    Phase.STARTED: Direction.STARTED,
    Phase.STOPPING: Direction.STOPPING,
    Phase.BLOCKED: Direction.STOPPING,
}


class GroupState:
    """What one group is like here, and what follows from that."""

    def __init__(self, spec: GroupSpec, limits: Limits, new_job: Callable[[], JobId]) -> None:
        self.spec = spec
        self.key = spec.key
        self.members = [Member(resource) for resource in spec.resources]
        self._by_identity = {member.spec.identity: member for member in self.members}
        self.phase = Phase.IDLE
        self.epoch = 0
        self.pinned = False
        self.failback = True
        self.provisional = False
        self.muted = False
        self.unable = False
        self.reason = ""
        self.claimed_at: tuple[int, int] | None = None
        """(generation, seq) of our first report that carried the present claim."""
        self.served = False
        """All of it ran under the present claim: what is missing was lost, or given by a reload since."""
        self.restoring = False
        """The addresses that a mute took off are to come back, frozen or not."""
        self.changing = False
        """The configuration no longer wants it: once idle it is forgotten."""
        self._limits = limits
        self._new_job = new_job
        self._job: JobId | None = None
        self._job_member: Member | None = None
        self._action: Action | None = None
        self._stop_due_ms = 0
        """When a stop is over at the latest."""
        self.dropping: JobId | None = None
        """The job that takes the addresses off out of order."""
        self.drop_due_ms = 0
        self._retries = 0
        self._retry_ms: int | None = None
        self._leaving = False
        self.hurt: list[Member] = []
        """Members that somebody or something took away, on their way back while the rest serves."""
        self._yields = False
        """If one of them does not come back, the group is given up: another node can serve it."""
        self._retired: list[Member] = []
        """Members that a reload removed and that may still run."""
        self._culprit: Member | None = None
        self._blocked_in = Phase.STOPPING
        self.gained = True
        """It never ran here as configured: members may still run elsewhere, under another group's name."""
        self.muted_ms = 0
        self._held: HeldGroup | None = None

    @property
    def name(self) -> str:
        return self.spec.name

    @property
    def claims(self) -> bool:
        return self.phase is not _IDLE

    @property
    def may_run(self) -> bool:
        """A start may have been asked for, and not every stop is confirmed."""
        return self.phase not in _RUNS_NOTHING

    @property
    def job(self) -> JobId | None:
        """What is at work on one of its members."""
        return self._job

    @property
    def runs(self) -> bool:
        return self.phase is Phase.STARTED and not self.muted and self.is_whole

    @property
    def is_whole(self) -> bool:
        return all(member.state is MemberState.STARTED for member in self.members)

    @property
    def next_to_start(self) -> Member | None:
        """What ran under this claim before comes first: it waits for less than what a reload gave."""
        hurt = frozenset(self.hurt)
        missing = [m for m in self.members if m.state is not MemberState.STARTED and m not in hurt]
        return next((m for m in missing if m.ran), missing[0] if missing else None)

    @property
    def only_resumes(self) -> bool:
        """What is to be started next ran under this claim before: what a reload gave it did not."""
        member = self.next_to_start
        return member is None or member.ran

    @property
    def is_serving(self) -> bool:
        """All of it ran here, and nobody has said that it is to be stopped."""
        return self.phase is _STARTED or (self.served and self.phase is Phase.STARTING)

    @property
    def is_first_start(self) -> bool:
        """It has begun to start, and did not run as a whole under the present claim."""
        return self.phase is Phase.STARTING and not self.served

    @property
    def is_ailing(self) -> bool:
        """A member could not be put back, or is lost too often: it has to wait."""
        return bool(self.hurt) and any(member.retry_ms for member in self.hurt)

    @property
    def sheds(self) -> bool:
        """Members that a reload removed may still run."""
        return bool(self._retired) and any(m.state is not MemberState.STOPPED for m in self._retired)

    @property
    def may_be_running(self) -> set[str]:
        """Identities of everything that this group may have running here."""
        if not self.may_run:
            return set()
        return {
            member.spec.identity
            for member in (*self.members, *self._retired)
            if self.may_have_running(member)
        }

    def may_have_running(self, member: Member) -> bool:
        """Whether this group may have this member of it running here."""
        return self.may_run and (member.state is not MemberState.STOPPED or member is self._job_member)

    @property
    def at_rest(self) -> bool:
        """It serves, be it with less than a reload gave it, and no job is on it."""
        return self.is_serving and self._job is None and self.dropping is None

    @property
    def has_arrived(self) -> bool:
        """Nothing has to be done any more to end the present phase."""
        if self._job is not None or self.dropping is not None or self._retired:
            return False
        if self.phase is Phase.STOPPING:
            return not self.running_somehow
        return self.phase is Phase.STARTING and self.is_whole and not (self.provisional or self.muted)

    @property
    def running_somehow(self) -> bool:
        """Some member runs, or nobody can say that it does not."""
        return any(member.state is not MemberState.STOPPED for member in self.members)

    @property
    def busy(self) -> bool:
        """In motion: a job runs, or the next one is due."""
        return self.dropping is not None or self.phase in _MOVES

    @property
    def posture(self) -> Posture:
        if self.phase is _STARTED and not self.is_whole and self._lacks_more_than_hurt:
            return Posture.STARTING
        return _POSTURE[self.phase]

    @property
    def held(self) -> HeldGroup | None:
        """Its line in /run/hbd/held."""
        if not self.may_run:
            return None
        held = self._held
        direction, failback = _DIRECTION[self.phase], self.failback and not self.pinned
        if self.is_serving:
            direction = Direction.STARTED
        resources = tuple([member.spec for member in (*self.members, *self._retired)])
        given = tuple([member.spec.identity for member in self.members if member.given])
        # The same object for as long as it is the same: it is asked for in most steps, and compared.
        if held is None or (
            held.direction, held.epoch, held.failback, held.resources, held.given
        ) != (direction, self.epoch, failback, resources, given):  # fmt: skip
            held = HeldGroup(self.key, direction, self.epoch, failback, resources, given=given)
            self._held = held
        return held

    @property
    def addresses(self) -> tuple[AddressResource, ...]:
        """All that it has, and what a reload removed and may still be here."""
        members = (*self.members, *self._retired)
        return tuple([m.spec for m in members if isinstance(m.spec, AddressResource)])

    @property
    def addresses_up(self) -> tuple[AddressResource, ...]:
        """Addresses that may be on an interface here."""
        return tuple(
            member.spec
            for member in (*self.members, *self._retired)
            if isinstance(member.spec, AddressResource) and member.state is not MemberState.STOPPED
        )

    @property
    def _lacks_more_than_hurt(self) -> bool:
        """Some member does not run that was not just lost."""
        hurt = frozenset(self.hurt)
        return any(m.state is not MemberState.STARTED and m not in hurt for m in self.members)

    def deadline_ms(self, now_ms: int) -> int | None:
        """When something of it is due; what is overdue waits for something else."""
        if not self.hurt or not self.is_serving:
            return self._retry_ms
        return min((m.retry_ms for m in self.hurt if m.retry_ms > now_ms), default=self._retry_ms)

    def overruns(self, now_ms: int) -> bool:
        """Whether a stop has outlasted its time limit without a word."""
        if self.dropping is not None and now_ms > self.drop_due_ms + OVERRUN_MS:
            return True
        stopping = self._job is not None and isinstance(self._action, StopResource)
        return stopping and now_ms > self._stop_due_ms + OVERRUN_MS

    def has(self, resource: ResourceSpec) -> bool:
        return self._member(resource) is not None

    def _member(self, resource: ResourceSpec) -> Member | None:
        """The member that is configured so."""
        member = self._by_identity.get(resource.identity)
        return member if member is not None and member.spec == resource else None

    def should_have(self, resource: ResourceSpec) -> bool:
        """Whether this member is started, and nothing of ours is at work on it."""
        if self.muted or self.dropping is not None or self.phase not in (Phase.STARTING, Phase.STARTED):
            return False
        member = self._member(resource)
        if member is None or member is self._job_member:
            return False
        return member.state is MemberState.STARTED

    def runs_job(self, job: JobId) -> bool:
        """Whether this is the job at work on a member."""
        return job == self._job

    @property
    def at_work_on(self) -> ResourceSpec | None:
        """What the running job is about."""
        return None if self._job_member is None else self._job_member.spec
