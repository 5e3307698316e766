"""What others do to the resources: taken away where they belong, started where they do not.

All members of all groups are watched, on both nodes, from the first probe on (rules 19 and 20). What is told
and does not fit what we know is kept here until it is dealt with:

    ours, and gone       ──at rest, unmuted, peer's view fresh──▶ put back in place
    not ours, and there  ──the peer claims it, its view fresh───▶ stopped again
                         ──nobody claims it─────────────────────▶ said, and left alone

A stray is in our reports, so that who owns its group starts nothing of it before it is stopped.

A job of ours settles whatever was told of its resource before (rule 20: newer than our last job). Nothing is
given up: what has to be done again and again is done ever more slowly. Scripts tell nothing by themselves.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from hbd.config.model import AddressResource, ResourceSpec, ScriptResource
from hbd.core.desk import Desk
from hbd.core.effects import (
    AbandonJob,
    DropAddresses,
    Kind,
    Level,
    StartJob,
    StopResource,
    Unwatch,
    Watch,
)
from hbd.core.events import Condition, JobId, Outcome, ResourceSeen, Result
from hbd.core.groups import Group
from hbd.core.groupstate import OVERRUN_MS, Member, MemberState, Phase

WAITS_MS = (0, 0, 0, 10_000, 20_000, 40_000, 60_000)
"""How long the first, second, ... repair waits; the last for all that follow."""
CALM_MS = 180_000
"""After this long without one they begin anew. More than the longest wait."""
STOP_LIMIT_MS = 30_000
SINGLY = 3
"""Of more that are lost at once, so many are named."""

_KNOWN = {MemberState.STARTED: Condition.RUNNING, MemberState.STOPPED: Condition.STOPPED}
_FROZEN = " frozen"
"""No node is called so."""
_MAINTAIN = "to work on it, 'hbctl freeze' first"


@dataclass(slots=True)
class Pace:
    """Three repairs at once, and then ever more slowly."""

    count: int = 0
    last_ms: int = 0

    def next(self, now_ms: int) -> int:
        """How long the repair that is wanted now has to wait."""
        if now_ms - self.last_ms > CALM_MS:
            self.count = 0
        wait_ms = WAITS_MS[min(self.count, len(WAITS_MS) - 1)]
        self.count += 1
        self.last_ms = now_ms + wait_ms
        return wait_ms


class Guard:
    """The watches, and what came of them. `groups` is the custody's own table."""

    def __init__(self, desk: Desk, groups: Mapping[str, Group]) -> None:
        self._desk = desk
        self._groups = groups
        self._watched: dict[ResourceSpec, None] = {}
        self._seen: dict[ResourceSpec, ResourceSeen] = {}
        """What does not fit: the last word about each."""
        self._told: dict[ResourceSpec, str] = {}
        """Strays that were said, and whose they were then."""
        self._paces: dict[ResourceSpec, Pace] = {}
        self._due_ms: dict[ResourceSpec, int] = {}
        """When a stray is to be stopped."""
        self._stops: dict[JobId, tuple[Group, ResourceSpec, int]] = {}
        """Of strays, and when each is over at the latest."""
        self._lost: dict[tuple[Level, Kind, str], list[tuple[Group, ResourceSpec]]] = {}
        """What is to be said of those that are put back in this step."""

    @property
    def alarmed(self) -> bool:
        """Something does not fit, or is being stopped."""
        return bool(self._seen or self._stops)

    def deadline_ms(self, now_ms: int) -> int | None:
        """When the next stray is due; what is overdue waits for something else."""
        if not self._due_ms:
            return None
        return min((due_ms for due_ms in self._due_ms.values() if due_ms > now_ms), default=None)

    # ------------------------------------------------------------ what is told

    def watch(self) -> None:
        """Watch all members of all groups, and nothing else."""
        wanted = {
            resource: _KNOWN.get(member.state, Condition.UNKNOWN)
            for resource, (_, member) in self._places().items()
            if not isinstance(resource, ScriptResource)
        }
        for resource in [resource for resource in self._watched if resource not in wanted]:
            del self._watched[resource]
            self._forget(resource)
            self._desk.emit_job(Unwatch(resource))
        for resource, known in wanted.items():
            if resource not in self._watched:
                self._watched[resource] = None
                self._desk.emit_job(Watch(resource, known))

    def seen(self, event: ResourceSeen) -> None:
        """A watch's word. It decides nothing before `proceed` looks at it."""
        place = self._places().get(event.resource)
        if place is not None:
            self._note(*place, event)

    def seen_together(self, events: Iterable[ResourceSeen]) -> None:
        """Many words at once."""
        places = self._places()
        for event in events:
            if event.resource in places:
                self._note(*places[event.resource], event)

    def _places(self) -> dict[ResourceSpec, tuple[Group, Member]]:
        """Whose each resource is. Two groups may have it, if one is about to go: whose it is now counts."""
        places: dict[ResourceSpec, tuple[Group, Member]] = {}
        for group in self._groups.values():
            for member in group.members:
                if group.may_have_running(member) or member.spec not in places:
                    places[member.spec] = group, member
        return places

    def _note(self, group: Group, member: Member, event: ResourceSeen) -> None:
        if event.condition is Condition.RUNNING:
            group.came_back(event.resource)
        if _KNOWN.get(member.state) is event.condition:
            self._forget(event.resource)
        else:
            self._seen[event.resource] = event

    def knows_stray_of(self, group: Group) -> bool:
        """Whether something of it runs here that does not belong, and is stopped once the peer claims it.

        What did not stop, or is started again and again, has had its time: nobody waits for it for ever.
        """
        if group.phase is not Phase.IDLE:
            return False
        now_ms = self._desk.now.ms
        if any(each is group and now_ms <= due_ms for each, _, due_ms in self._stops.values()):
            return True
        return any(
            event.condition is not Condition.STOPPED and not event.aside and group.has(resource)
            and self._due_ms.get(resource, now_ms) <= now_ms and self._is_stray(resource)
            for resource, event in self._seen.items()
        )  # fmt: skip

    def found(self, group: Group) -> None:
        """After the first probes: members that run and are not on record as started by us."""
        for member in group.strays():
            if not self._is_stray(member.spec):
                continue
            self._tell(group, member.spec, "")
            self._seen[member.spec] = ResourceSeen(member.spec, Condition.RUNNING)

    def settle(self, group: Group, job: JobId) -> None:
        """A job is about to end: what was told of its resource before is out of date."""
        if not self._seen:
            return
        if job == group.dropping:
            for member in group.members:
                if member.is_address:
                    self._forget(member.spec)
        elif group.runs_job(job) and group.at_work_on is not None:
            self._forget(group.at_work_on)

    def _forget(self, resource: ResourceSpec) -> None:
        self._seen.pop(resource, None)
        self._told.pop(resource, None)
        self._due_ms.pop(resource, None)

    # ------------------------------------------------------------ what is done

    def proceed(self, group: Group, owner: str, *, acts: bool) -> None:
        """Deal with what does not fit. The peer's view is fresh; `owner` is its name if it claims the group
        in the same configuration, and `acts` whether this node takes part in serving."""
        for job, (each, _, due_ms) in list(self._stops.items()):
            if each is not group:
                continue
            if group.phase is not Phase.IDLE:
                # It is about to be ours: the stop must not come after our start.
                del self._stops[job]
                self._desk.emit_job(AbandonJob(job))
            elif self._desk.now.ms > due_ms:
                self._desk.emit_job(AbandonJob(job))
                self.job_done(job, Outcome(Result.UNKNOWN, "the end of its stop was not told"))
        for member in group.members:
            event = self._seen.get(member.spec)
            if event is None:
                continue
            if event.condition is Condition.STOPPED:
                if group.at_rest and group.should_have(member.spec):
                    self._put_back(group, event)
            elif group.phase is Phase.IDLE and acts and not event.aside and self._is_stray(member.spec):
                self._stop(group, event.resource, owner)

    def look_on(self) -> None:
        """Frozen: say what does not fit, and do nothing about it before the thaw."""
        for resource, event in self._seen.items():
            for group in self._groups.values():
                gone = event.condition is Condition.STOPPED and group.should_have(resource)
                stray = event.condition is Condition.RUNNING and group.phase is Phase.IDLE and not event.aside
                if not (gone or stray) or not group.has(resource) or self._told.get(resource) == _FROZEN:
                    continue
                self._told[resource] = _FROZEN
                what = "has ended or was taken away" if gone else "was started, and does not belong,"
                self._desk.log(
                    Level.WARN, Kind.RESOURCE_LOST if gone else Kind.RESOURCE_STRAY,
                    f"{resource.name} {what} here; the cluster is frozen, so nothing is done about it",
                    group=group.name, resource=resource.name,
                )  # fmt: skip

    def gone_from(self, group: Group) -> tuple[ResourceSpec, ...]:
        """Started members that do not run, and cannot be put back yet."""
        if not self._seen:
            return ()
        return tuple(
            resource
            for resource, event in self._seen.items()
            if event.condition is Condition.STOPPED and group.should_have(resource)
        )

    def _put_back(self, group: Group, event: ResourceSeen) -> None:
        resource, now_ms = event.resource, self._desk.now.ms
        wait_ms = self._pace(resource).next(now_ms)
        self._forget(resource)
        if isinstance(resource, AddressResource):
            kind, what, verb = Kind.RESOURCE_LOST, "was taken away from here", "putting it back"
            if event.detail:
                what, verb = event.detail, "putting it right"
            hint = ""
        else:
            detail = f": it is {event.detail}" if event.detail else ""
            kind, what, verb = Kind.RESOURCE_ENDED, f"has ended here{detail}", "starting it again"
            hint = "" if event.detail.startswith("failed") else f" ({_MAINTAIN})"
        if wait_ms:
            kind = Kind.RESOURCE_UNSTEADY
            what += f", for the {_ordinal(self._pace(resource).count)} time in a short while"
            verb += f" in {wait_ms // 1000} s"
        group.vanished(resource, now_ms + wait_ms if wait_ms else 0, f"{resource.name} {what}")
        level = Level.ERROR if wait_ms else Level.WARN
        self._lost.setdefault((level, kind, f"{what}: {verb}{hint}"), []).append((group, resource))

    def tell(self) -> None:
        """Say what is being put back: a line for each, but only one where somebody took many away at once."""
        for (level, kind, what), lost in self._lost.items():
            if len(lost) <= SINGLY:
                for group, resource in lost:
                    self._desk.log(
                        level, kind, f"{resource.name} {what}", group=group.name, resource=resource.name
                    )
                continue
            names = ", ".join(resource.name for _, resource in lost[:SINGLY])
            groups = {group.name: None for group, _ in lost}
            text = f"{names} and {len(lost) - SINGLY} others, each {what}"
            self._desk.log(level, kind, text, group=next(iter(groups)) if len(groups) == 1 else "")
            if kind is Kind.RESOURCE_LOST:
                self._desk.tally.more(kind, len(lost) - 1)
        self._lost.clear()

    def put_off(self, group: Group, resource: ResourceSpec) -> None:
        """It did not start again: later, once more."""
        pace = self._pace(resource)
        pace.count = max(pace.count, 3)
        wait_ms = pace.next(self._desk.now.ms)
        group.put_off(resource, self._desk.now.ms + wait_ms)
        text = f"{resource.name} could not be put back; group {group.name} goes on without it"
        self._desk.log(
            Level.ERROR, Kind.RESOURCE_UNSTEADY, f"{text}, and it is tried again in {wait_ms // 1000} s",
            group=group.name, resource=resource.name,
        )  # fmt: skip

    def _is_stray(self, resource: ResourceSpec) -> bool:
        """No group here may have it running."""
        return not any(resource.identity in group.may_be_running for group in self._groups.values())

    def _stop(self, group: Group, resource: ResourceSpec, owner: str) -> None:
        if any(stopped == resource for _, stopped, _ in self._stops.values()):
            return
        now_ms = self._desk.now.ms
        if self._told.get(resource) != owner:
            if owner:
                wait_ms = self._pace(resource).next(now_ms)
                self._due_ms[resource] = now_ms + wait_ms
                self._tell(group, resource, owner, wait_ms)
            elif resource not in self._told:
                self._tell(group, resource, "")
        if not owner or self._due_ms.get(resource, now_ms) > now_ms:
            return
        job = self._desk.new_job()
        self._stops[job] = (group, resource, now_ms + STOP_LIMIT_MS + OVERRUN_MS)
        if isinstance(resource, AddressResource):
            self._desk.emit_job(StartJob(job, DropAddresses((resource,)), STOP_LIMIT_MS))
        else:
            self._desk.emit_job(StartJob(job, StopResource(resource), STOP_LIMIT_MS))

    def job_done(self, job: JobId, outcome: Outcome) -> bool:
        """Whether the job was a stray's stop."""
        if job not in self._stops:
            return False
        group, resource, _ = self._stops.pop(job)
        if outcome.result is Result.OK:
            self._forget(resource)
            return True
        wait_ms = max(self._pace(resource).next(self._desk.now.ms), WAITS_MS[3])
        self._due_ms[resource] = self._desk.now.ms + wait_ms
        text = f"{resource.name} should not run here and did not stop: {outcome.reason}"
        self._desk.log(
            Level.ERROR, Kind.RESOURCE_STRAY, f"{text}; trying again in {wait_ms // 1000} s",
            group=group.name, resource=resource.name,
        )  # fmt: skip
        return True

    def _tell(self, group: Group, resource: ResourceSpec, owner: str, wait_ms: int = 0) -> None:
        self._told[resource] = owner
        text = f"Resource {resource.name} is active, and should not be!"
        if owner:
            when = f" in {wait_ms // 1000} s, for somebody starts it again and again" if wait_ms else ""
            text += f" {owner} holds its group: stopping it{when}"
        self._desk.log(
            Level.CRIT, Kind.RESOURCE_STRAY, text, node=owner, group=group.name, resource=resource.name
        )

    def _pace(self, resource: ResourceSpec) -> Pace:
        return self._paces.setdefault(resource, Pace())


def _ordinal(number: int) -> str:
    return f"{number}{'th' if number > 3 else ('st', 'nd', 'rd')[number - 1]}"
