"""Clusters in which operators, timers and sockets of systemd have their hands on what hbd manages.

Units are stopped and fail where they belong and are started where they do not, addresses are removed and
added, and words of a watch come late. In between operators freeze, thaw and move groups, and hbd is
restarted; most seeds have faults besides. What follows from safety rules 19 and 20 is asked after each step:

    what was taken away comes back in time, as long as rule 20 lets it, and not before it does
    what does not belong is stopped in time, as long as another node is known to have it
    two nodes have the same only because of what hands did, and for no longer than that takes
    a mark lets systemd start a unit before hbd asks for the start, and is gone before it asks for the stop
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from enum import Enum
from functools import partial
from random import Random

from hbd.config.model import ResourceSpec, UnitResource
from hbd.core import claims
from hbd.core.claims import Peer
from hbd.core.cluster import Cluster
from hbd.core.effects import (
    AbandonJob,
    Announce,
    DropAddresses,
    Effect,
    StartJob,
    StartResource,
    StopResource,
)
from hbd.core.events import Event, Freeze, JobDone, JobId, Scope, Standby, Started, Takeover, Thaw
from hbd.core.groups import Group
from hbd.core.groupstate import Phase
from hbd.core.guard import WAITS_MS
from hbd.sim.faults import Fault, Planned
from hbd.sim.machines import Machine
from hbd.sim.world import FAULTS_FROM_MS, GROUPS
from tests.simulation.test_freeze import FrozenWorld

REACTION_MS = 20
"""From what a watch tells to the job that follows, where nothing is in the way."""
WATCH_MS = 3
"""So long at the most a watch takes to tell."""
STOP_MS = 450
"""The longest stop of a resource that is not slow."""


class Act(Enum):
    """What hands can do."""

    TAKE_AWAY = "takes away what runs where it belongs"
    START = "starts what runs elsewhere, or nowhere"
    LATE_WORD = "is quicker than a watch, whose word is about what was before hbd's job"
    FREEZE = "freezes"
    THAW = "thaws"
    STANDBY = "says standby"
    TAKEOVER = "says takeover"
    KILL = "kills hbd, and systemd starts it again"
    RESTART = "restarts hbd in order"


_LIKELY = {
    Act.TAKE_AWAY: 8, Act.START: 8, Act.LATE_WORD: 3, Act.FREEZE: 1, Act.THAW: 1, Act.STANDBY: 1,
    Act.TAKEOVER: 1, Act.KILL: 2, Act.RESTART: 1,
}  # fmt: skip
_RESOURCES = [resource for group in GROUPS for resource in group.resources]
Place = tuple[str, str]
"""A machine's name, and a resource's identity."""


@dataclass(slots=True)
class Seen:
    """What came of it, over a run: for tests that want to know whether seeds do anything."""

    put_back: int = 0
    stopped: int = 0
    refused: int = 0

    def __add__(self, other: Seen) -> Seen:
        return Seen(
            self.put_back + other.put_back, self.stopped + other.stopped, self.refused + other.refused
        )


class HandledWorld(FrozenWorld):
    """A seed's cluster, faults and hands."""

    def __init__(self, seed: int) -> None:
        rng = Random(-seed - 1)
        super().__init__(seed, [] if rng.random() < 0.3 else None)
        self.plan = [planned for planned in self.plan if planned.fault is not Fault.START_FAILS]
        self.healing_ms = 90_000  # The seventh repair of a resource waits a minute.
        self.seen = Seen()
        self._touched: dict[Place, int] = {}
        """When hands were last on it."""
        self._times: Counter[Place] = Counter()
        self._wrong_since: dict[Place, int] = {}
        self._late_word: Machine | None = None
        self._jobs: dict[str, dict[JobId, tuple[str, ...]]] = {m.name: {} for m in self.machines}
        """What is at work on which resources."""
        guards = rng.random() < 0.5
        for machine in self.machines:
            machine.guards = guards
        self._draw_acts(rng)

    def _draw_words(self, rng: Random) -> None:
        """Operators' words are acts among others here."""

    def _draw_acts(self, rng: Random) -> None:
        if rng.random() < 0.2:
            self._insist(rng)
        at_ms = 0
        for _ in range(rng.randint(2, 8)):
            at_ms += rng.choice((rng.randint(0, 30), rng.randint(0, 600), rng.randint(0, 3000)))
            act = rng.choices(list(_LIKELY), list(_LIKELY.values()))[0]
            self._plan_act(at_ms, act, rng)

    def _insist(self, rng: Random) -> None:
        """Somebody takes the same away so often that it has to wait; when it is due, the wire is cut."""
        resource = rng.choice(_RESOURCES)
        for number in range(4):
            self._plan_act(700 * number, Act.TAKE_AWAY, rng, resource)
        due_ms = 2100 + WAITS_MS[3]
        fault = rng.choice((Fault.CUT, Fault.ONE_WAY, Fault.FLAP))
        cut = Planned(due_ms - rng.randint(0, 4000), fault, rng.randrange(2), rng.randint(1000, 6000))
        self.plan = [*self.plan, cut]

    def _plan_act(self, at_ms: int, act: Act, rng: Random, resource: ResourceSpec | None = None) -> None:
        self.at(FAULTS_FROM_MS + at_ms, partial(self._act, act, rng, resource))
        self.besides_ms.append(at_ms)

    def _comes_back(self, machine: Machine) -> None:
        super()._comes_back(machine)
        for place in self._touched:
            if place[0] == machine.name:
                self._wrong_since.pop(place, None)

    def _look(self, end_ms: int, in_place: bool) -> None:
        for machine in self.machines:  # One that was being stopped when all was healed.
            self._revive(machine)
        super()._look(end_ms, in_place)

    # ------------------------------------------------------------ acts

    def _act(self, act: Act, rng: Random, resource: ResourceSpec | None) -> None:
        machine = rng.choice(self.machines)
        resource = resource or rng.choice(_RESOURCES)
        if not machine.powered or machine.frozen:
            return
        self._struck_ms = self.now_ms
        self._lines.append(f"{self.now_ms:>7} somebody on {machine.name} {act.value}: {resource.identity}")
        match act:
            case Act.TAKE_AWAY:
                for each in self.machines:
                    if resource.identity in each.running and not each.frozen:
                        self._take_away(each, resource, rng)
            case Act.START:
                self._start(machine, resource, rng)
            case Act.LATE_WORD:
                self._late_word = machine
            case Act.FREEZE | Act.THAW:
                machine.ask(Freeze() if act is Act.FREEZE else Thaw())
            case Act.STANDBY | Act.TAKEOVER:
                scope = rng.choice(list(Scope))
                machine.ask(Standby(scope) if act is Act.STANDBY else Takeover(scope))
            case Act.KILL:
                self._kill(machine, rng.randint(100, self.setting.deadtime_ms))
            case Act.RESTART:
                self._stop(machine, rng.randint(100, self.setting.deadtime_ms))

    def _lost(self, machine: Machine, for_ms: int) -> None:
        for group in GROUPS:
            if group.resources[0].identity in machine.running:
                self._take_away(machine, group.resources[0], Random(for_ms))

    def _take_away(self, machine: Machine, resource: ResourceSpec, rng: Random) -> None:
        self._touch(machine, resource)
        machine.take_away(resource)
        self.at(rng.randint(0, WATCH_MS), partial(machine._tell, resource))

    def _start(self, machine: Machine, resource: ResourceSpec, rng: Random) -> None:
        if resource.identity in machine.running:
            return
        if not machine.lets_start(resource):
            self.seen.refused += 1
            return
        self._touch(machine, resource)
        machine.by_hand.add(resource.identity)
        machine._run(resource)
        self.at(rng.randint(0, WATCH_MS), partial(machine._tell, resource))

    def _touch(self, machine: Machine, resource: ResourceSpec) -> None:
        place = (machine.name, resource.identity)
        self._touched[place] = self.now_ms
        self._times[place] += 1

    # ------------------------------------------------------------ what is asked

    def stepped(self, machine: Machine, event: Event, effects: list[Effect]) -> None:
        core, jobs = machine.core, self._jobs[machine.name]
        match event:
            case Started():
                jobs.clear()
            case JobDone(job):
                jobs.pop(job, None)
            case _:
                pass
        for effect in effects:
            if isinstance(effect, AbandonJob):
                jobs.pop(effect.job, None)
            elif isinstance(effect, StartJob) and not isinstance(effect.action, Announce):
                if core is not None:
                    self._judge(machine, core, effect)
                jobs[effect.job] = _about(effect)
        if core is not None and self._touched:
            self._own_what_is_claimed(machine, core)
            self._watch_the_clocks(machine, core)
        super().stepped(machine, event, effects)

    def _judge(self, machine: Machine, core: Cluster, job: StartJob) -> None:
        """Whether that may begin now, if it undoes what hands did."""
        action, custody = job.action, core._custody
        match action:
            case StartResource(UnitResource() as unit) if not machine.is_marked(unit):
                self._require(f"{machine.name} starts {unit.identity}, and systemd's assertion refuses it")
            case StopResource(UnitResource() as unit) if machine.is_marked(unit):
                self._require(f"{machine.name} stops {unit.identity}, and anybody may start it again")
            case _:
                pass
        if isinstance(action, StartResource | StopResource):
            self._speak_late(machine, action)
        for group in custody.groups.values():
            for resource in group.spec.resources:
                if resource.identity not in _about(job):
                    continue
                if isinstance(action, StartResource) and group.phase is Phase.STARTED:
                    self._require(self._wrongly_put_back(machine, core, group, resource))
                elif isinstance(action, StopResource | DropAddresses) and group.phase is Phase.IDLE:
                    self._require(self._wrongly_stopped(machine, core, group, resource))

    def _wrongly_put_back(
        self, machine: Machine, core: Cluster, group: Group, resource: ResourceSpec
    ) -> str | None:
        """Rule 20."""
        self.seen.put_back += 1
        what = f"{machine.name} puts {resource.identity} back"
        if group.muted or group.provisional:
            return f"{what} while it has to ask first"
        others = {identity for about in self._jobs[machine.name].values() for identity in about}
        if others & {member.identity for member in group.spec.resources}:
            return f"{what} while a job is on its group"
        if not self._is_fresh(core):
            return f"{what} and does not know what the other node does"
        if resource.identity in machine.running and self._is_long_ago(machine, resource):
            return f"{what}, and it was not away"
        return None

    def _wrongly_stopped(
        self, machine: Machine, core: Cluster, group: Group, resource: ResourceSpec
    ) -> str | None:
        """Rule 19: what the other node is known to have."""
        self.seen.stopped += 1
        what = f"{machine.name} stops {resource.identity}, which it did not start,"
        if not self._is_fresh(core) or not _has(core._membership.peer, group):
            return f"{what} and does not know that the other node has it"
        if resource.identity not in machine.running and self._is_long_ago(machine, resource):
            return f"{what} and it does not run"
        return None

    def _speak_late(self, machine: Machine, action: StartResource | StopResource) -> None:
        """What was so before this job is told while it is under way."""
        if machine is self._late_word:
            self._late_word = None
            was = isinstance(action, StopResource)
            self.at(0, lambda: machine.see(action.resource, running=was))

    def _is_long_ago(self, machine: Machine, resource: ResourceSpec) -> bool:
        """No word of a watch about what hands did can still be under way."""
        touched_ms = self._touched.get((machine.name, resource.identity), -REACTION_MS)
        return self.now_ms - touched_ms >= REACTION_MS

    def _is_fresh(self, core: Cluster) -> bool:
        peer = core._membership.peer
        if peer is None or peer.dead or peer.gone:
            return True
        return self.now_ms - core._membership.heard_ms(peer.name) <= 2 * self.setting.keepalive_ms

    def _own_what_is_claimed(self, machine: Machine, core: Cluster) -> None:
        """Whatever runs under a claim is hbd's, whoever started it."""
        if not machine.by_hand or machine.frozen:
            return
        for group in core._custody.groups.values():
            if group.phase in (Phase.STARTING, Phase.STARTED):
                machine.by_hand -= group.may_be_running

    # ------------------------------------------------------------ in time

    def _watch_the_clocks(self, machine: Machine, core: Cluster) -> None:
        """What hands did is undone in time, counted while nothing forbids it."""
        for group in core._custody.groups.values():
            for resource in group.spec.resources:
                place = (machine.name, resource.identity)
                if place not in self._touched:
                    continue
                wrong, limit_ms = self._is_wrong(machine, core, group, resource)
                if not wrong:
                    self._wrong_since.pop(place, None)
                elif self.now_ms - self._wrong_since.setdefault(place, self.now_ms) > limit_ms:
                    self._require(f"{wrong} since {self._wrong_since[place]} ms")

    def _is_wrong(
        self, machine: Machine, core: Cluster, group: Group, resource: ResourceSpec
    ) -> tuple[str, int]:
        """What is wrong with it now, and how long that may last; nothing while hbd has to wait."""
        place, runs = (machine.name, resource.identity), resource.identity in machine.running
        limit_ms = WATCH_MS + REACTION_MS + WAITS_MS[min(self._times[place], len(WAITS_MS) - 1)]
        if any(planned.fault is Fault.STOP_FAILS for planned in self.plan):
            limit_ms += WAITS_MS[3]
        frozen = machine.frozen or core._freeze.frozen
        if frozen or core._custody.probing or core._leaving or not self._is_fresh(core):
            return "", 0
        if group.phase is Phase.STARTED and not runs and self._may_be_put_back(machine, core, group):
            return f"{machine.name} does not put {resource.identity} back", limit_ms
        stray = runs and group.phase is Phase.IDLE and core._membership.status == "active"
        if stray and _has(core._membership.peer, group):
            limit_ms += STOP_MS + machine.troubles.slow.get(resource.identity, 0)
            return f"{machine.name} lets {resource.identity} run, which is not its own,", limit_ms
        return "", 0

    def _may_be_put_back(self, machine: Machine, core: Cluster, group: Group) -> bool:
        busy = {identity for about in self._jobs[machine.name].values() for identity in about}
        if group.muted or group.provisional or busy & {each.identity for each in group.spec.resources}:
            return False
        peer = core._membership.peer
        if peer is None or peer.dead or peer.gone:
            return True
        echoed = group.claimed_at is not None and claims.echoed(peer, *group.claimed_at)
        theirs = peer.entry(group.key)
        return echoed and not theirs.claims and not theirs.strayed


def _has(peer: Peer | None, group: Group) -> bool:
    """Whether that node says that it has the group."""
    return peer is not None and not peer.dead and not peer.gone and peer.entry(group.key).claims


def _about(job: StartJob) -> tuple[str, ...]:
    match job.action:
        case DropAddresses(addresses):
            return tuple(address.identity for address in addresses)
        case StartResource(resource) | StopResource(resource):
            return (resource.identity,)
        case _:
            return ()
