"""Our core beside a heartbeat 3.0.6 node, on virtual time, under faults drawn from a seed.

A run has cycles: a phase of faults, in which only safety is asked for; then everything is healed, and within
a bounded time every group has to run exactly once. Bytes travel. The same seed gives the same run.
"""

from __future__ import annotations

import hashlib
import heapq
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from functools import partial
from random import Random

from hbd.config.model import (
    AddressResource,
    AutoFailback,
    Bcast,
    Config,
    GroupSpec,
    Limits,
    MsgFormat,
    ResourceSpec,
    Timing,
    UnitResource,
)
from hbd.core.effects import Effect, Log, StartJob, StartResource
from hbd.core.events import Event, Scope, Standby, Stop, Takeover, Tick
from hbd.sim import checks
from hbd.sim.machines import Machine
from hbd.sim.network import Network
from tests.simulation import mixed_checks
from tests.simulation.classic_machine import ClassicMachine
from tests.simulation.classic_model import Healing, Traits
from tests.simulation.mixed_checks import KEYS, Claims, Wire

HEALING_MS = 100_000
"""After the last fault, everything has to be in place again within this time: 3.0.6 heals by itself in
about 16 s, a group that did not start is offered after 30 s, and one of the two may follow the other."""
REST_MS = 900
FORGOTTEN_MS = 20_000
"""A heartbeat that did not come back by itself is started by its operator after this time."""
STARTS_PER_FAULT = 4
MOST_TICKS = 400
"""More Ticks than this in a second, and a core does not move its deadline on."""


class Violation(AssertionError):  # noqa: N818 — it is a finding
    """An invariant does not hold; the text has seed, plan and the lines before it."""


class Fault(Enum):
    """What can happen; what befalls a machine befalls either."""

    CUT = "both directions of the wire are cut"
    ONE_WAY = "what this machine sends is lost"
    LOSS = "datagrams are lost, doubled, damaged and late"
    LATE = "datagrams are up to two seconds late, and doubled"
    FLAP = "the wire is cut again and again"
    STALL = "the machine stands still"
    KILL = "the daemon is killed, and started again"
    POWER = "the machine loses its power, and boots again"
    SET_BACK = "the machine loses its power, and its stored generation is an old one"
    STOP = "the daemon is stopped in order, and started again"
    STANDBY = "the operator says standby"
    TAKEOVER = "the operator says takeover"
    START_FAILS = "a resource does not start"
    STOP_FAILS = "a resource does not stop at first"
    SLOW = "jobs on a resource take long"
    RELOAD = "heartbeat -r, a quick restart that keeps the resources; ours: somebody takes addresses away"


@dataclass(frozen=True, slots=True)
class Planned:
    """One fault of a cycle: when after its beginning, whom, for how long."""

    at_ms: int
    fault: Fault
    ours: bool
    for_ms: int

    @property
    def until_ms(self) -> int:
        return self.at_ms + self.for_ms

    def __str__(self) -> str:
        whom = "ours" if self.ours else "3.0.6"
        return f"{self.at_ms} ms, {whom}, for {self.for_ms} ms: {self.fault.value}"


Plan = tuple[tuple[Planned, ...], ...]
"""The faults of each cycle."""


def plan(rng: Random, deadtime_ms: int) -> Plan:
    """A seed's faults."""
    return tuple(_cycle(rng, deadtime_ms) for _ in range(rng.randint(1, 3)))


def _cycle(rng: Random, deadtime_ms: int) -> tuple[Planned, ...]:
    # The first faults come into the conversation at the start, or find the pair at rest.
    from_ms = rng.choice((1200, 4000, 14_000))
    faults = []
    for _ in range(rng.randint(1, 3)):
        for_ms = rng.randint(50, rng.choice((1, 1, 2, 3, 6)) * deadtime_ms)
        at_ms = from_ms + rng.randint(0, rng.choice((2000, 12_000)))
        faults.append(Planned(at_ms, rng.choice(list(Fault)), rng.random() < 0.5, for_ms))
    return tuple(sorted(faults, key=lambda planned: planned.at_ms))


@dataclass(frozen=True, slots=True)
class Setting:
    """What a seed's pair looks like."""

    ours: str
    keepalive_ms: int
    deadtime_ms: int
    failback: tuple[AutoFailback, AutoFailback]
    """Ours, theirs; both of one family."""
    msgfmt: MsgFormat
    traits: Traits

    @property
    def timing(self) -> Timing:
        return Timing(
            self.keepalive_ms, self.deadtime_ms // 2, self.deadtime_ms, 2 * self.deadtime_ms, self.deadtime_ms
        )


def draw_setting(rng: Random) -> Setting:
    keepalive_ms = rng.choice((600, 1000, 1000))
    failback = rng.choice(list(AutoFailback))
    both = (failback, failback)
    if failback is not AutoFailback.LEGACY and rng.random() < 0.2:
        both = rng.choice(((AutoFailback.ON, AutoFailback.OFF), (AutoFailback.OFF, AutoFailback.ON)))
    healing = rng.choice((*[Healing.RESTARTS] * 5, Healing.LATE, Healing.STAYS_DOWN, Healing.NEVER))
    healing_ms = rng.randint(2500, 8000) if healing is Healing.LATE else 2000
    return Setting(
        rng.choice(("alpha", "beta")), keepalive_ms, keepalive_ms * rng.choice((4, 5)), both,
        rng.choice((MsgFormat.NETSTRING, MsgFormat.CLASSIC)),
        Traits(rng.choice((0, 30, keepalive_ms)), healing, healing_ms),
    )  # fmt: skip


def _group(home: str, address: str, *units: str) -> GroupSpec:
    resources: list[ResourceSpec] = [AddressResource(address, address)]
    resources += [UnitResource(unit, f"{unit}.service") for unit in units]
    return GroupSpec(address, home, tuple(resources))


GROUPS = (
    _group("alpha", "10.9.9.1", "web", "db"), _group("beta", "10.9.9.2", "ftp"), _group("alpha", "10.9.9.3"),
)  # fmt: skip
LIMITS = Limits(start_ms=8000, stop_ms=3000, probe_ms=1000)


class MixedWorld:
    """One run."""

    def __init__(self, seed: int, faults: Plan | None = None, keep_trace: bool = False) -> None:
        self.seed, self.now_ms = seed, 0
        self._rng = Random(seed)
        self._heap: list[tuple[int, int, Callable[[], None]]] = []
        self._count = 0
        self.setting = draw_setting(self._rng)
        self.plan = plan(self._rng, self.setting.deadtime_ms) if faults is None else faults
        self.network = Network(Random(seed + 1))
        name, other = self.setting.ours, "beta" if self.setting.ours == "alpha" else "alpha"
        ours, theirs = self.setting.failback
        self.ours = Machine(self, self._config(name, ours), 1, self._rng.randint(-100_000, 100_000))
        self.theirs = ClassicMachine(self, self._config(other, theirs), 2, self.setting.traits)
        self.wire = Wire(
            self.setting.deadtime_ms, self.setting.keepalive_ms, self.setting.traits.lag_ms
        )
        self.said = Claims(other)
        self.promised = Claims(name)
        self.woke_ms = 0
        """When ours last woke, or its daemon began."""
        self.theirs_gone_ms: int | None = None
        self._lines: deque[str] = deque(maxlen=160)
        self._cycle = 0
        self._highest = {1: 0, 2: 0}
        """The highest generation that was ever set back."""
        self._over = False
        self._ticks = (0, 0)
        self._digest = hashlib.sha256() if keep_trace else None

    def _config(self, name: str, failback: AutoFailback) -> Config:
        return Config(
            local_node=name, nodes=("alpha", "beta"), media=(Bcast("eth0", 694),), keys=KEYS, groups=GROUPS,
            msgfmt=self.setting.msgfmt, timing=self.setting.timing, auto_failback=failback, limits=LIMITS,
        )  # fmt: skip

    # ------------------------------------------------------------ what the machines need

    def at(self, delay_ms: int, action: Callable[[], None]) -> None:
        self._count += 1
        heapq.heappush(self._heap, (self.now_ms + delay_ms, self._count, action))

    def draw(self, low: int, high: int) -> int:
        return self._rng.randint(low, high)

    def chance(self, probability: float) -> bool:
        return self._rng.random() < probability

    def note(self, text: str) -> None:
        self._lines.append(f"{self.now_ms:>7} {text}")

    def transmit(self, sender: Machine, payload: bytes) -> None:
        """What our core sends."""
        self._trace(payload)
        self._require(mixed_checks.our_words_are_true(self.ours, self.promised, payload))
        for delay_ms, copy in self.network.fate(1, payload):
            self.at(delay_ms, partial(self._arrive_there, copy, copy == payload))

    def _arrive_there(self, payload: bytes, intact: bool) -> None:
        if intact and self.theirs.daemon is not None and not self.theirs.frozen:
            self.wire.delivered(1, self.now_ms, payload)
        self.theirs.receive(payload)

    def classic_sends(self, payload: bytes) -> None:
        """What the 3.0.6 node sends."""
        self._trace(payload)
        for delay_ms, copy in self.network.fate(2, payload):
            self.at(delay_ms, partial(self._arrive_here, copy, copy == payload))

    def _arrive_here(self, payload: bytes, intact: bool) -> None:
        if not self.ours.powered:
            return
        if intact and self.ours.core is not None and not self.ours.frozen:
            self.wire.delivered(2, self.now_ms, payload)
            self.said.take(payload)
        self.ours.receive(payload)

    def changed(self, machine: Machine, resource: ResourceSpec) -> None:
        """The truth on our machine changed."""
        self._note_truth(machine.name, resource, resource.identity in machine.running)

    def classic_changed(self, resource: ResourceSpec) -> None:
        """The truth on the 3.0.6 node changed."""
        self._note_truth(self.theirs.name, resource, resource.identity in self.theirs.running)

    def _note_truth(self, name: str, resource: ResourceSpec, runs: bool) -> None:
        self.note(f"{name}: {resource.identity} {'runs' if runs else 'is off'}")
        self._check_safety()

    def stepped(self, machine: Machine, event: Event, effects: list[Effect]) -> None:
        """Our core took a step."""
        if isinstance(event, Tick):
            self._count_ticks()
        self._require(checks.effects_are_in_order(machine, effects))
        for effect in effects:
            if isinstance(effect, Log):
                self.note(f"{machine.name}: {effect.text}")
            elif isinstance(effect, StartJob) and isinstance(effect.action, StartResource):
                self._require(mixed_checks.start_is_allowed(self, effect.action.resource))
        self._require(checks.truth_is_claimed(machine))
        self._check_safety()

    def _count_ticks(self) -> None:
        second, count = self._ticks
        self._ticks = (self.now_ms // 1000, count + 1 if second == self.now_ms // 1000 else 1)
        if self._ticks[1] > MOST_TICKS:
            self._require(f"{self.ours.name} asks for a Tick again and again")

    # ------------------------------------------------------------ a run

    def run(self) -> None:
        """Every cycle of faults and healing, with its checks. Raises Violation."""
        self.at(self.draw(0, 400), self._begin_ours)
        self.at(self.draw(0, 400) if self.chance(0.7) else self.draw(0, 15_000), self.theirs.start_daemon)
        self._begin_cycle()
        while self._heap and not self._over:
            self.now_ms, _, action = heapq.heappop(self._heap)
            action()
        faults = sum(len(cycle) for cycle in self.plan)
        self._require(mixed_checks.moves_are_bounded(self, GROUPS, 4 + STARTS_PER_FAULT * faults))

    def _begin_ours(self) -> None:
        self.woke_ms = self.now_ms
        self.ours.start_daemon()

    def _begin_cycle(self) -> None:
        faults = self.plan[self._cycle]
        for planned in faults:
            self.at(planned.at_ms, partial(self._strike, planned))
        last_ms = max((planned.until_ms for planned in faults), default=0)
        # Some runs let the pair come to rest under its faults; others heal it in full motion.
        self.at(last_ms + self.draw(0, self.draw(0, 15_000)), self._heal)

    def _strike(self, planned: Planned) -> None:
        self.note(f"fault: {planned}")
        _STRIKES[planned.fault](self, planned.ours, planned.for_ms)

    def _heal(self) -> None:
        self.note("everything is healed")
        self.network.calm()
        for machine in (self.ours, self.theirs):
            machine.troubles.start_fails.clear()
            machine.troubles.stop_fails.clear()
            machine.troubles.slow.clear()
            self._wake(machine)
            if machine.generation < self._highest[machine.number]:
                # Its operator finds the replay attacks in the other's log, and mends the generation.
                machine.power_off()
                machine.generation = self._highest[machine.number]
        self._revive_ours()
        self.theirs.power_on()
        self._look(self.now_ms + HEALING_MS, 0)

    def _look(self, end_ms: int, in_place: int) -> None:
        self._care_for_theirs()
        self._revive_ours()
        wrong = mixed_checks.everything_is_in_place(self, GROUPS)
        if self.now_ms >= end_ms:
            self._require(wrong)
        in_place = in_place + 1 if wrong is None else 0
        if in_place < 3:
            self.at(REST_MS, lambda: self._look(end_ms, in_place))
            return
        self._cycle += 1
        if self._cycle < len(self.plan):
            self.note(f"cycle {self._cycle + 1}")
            self._begin_cycle()
        else:
            self._over = True

    def _care_for_theirs(self) -> None:
        """The other operator: starts a heartbeat that stays away, and obeys its CRITICAL lines."""
        if self.theirs.daemon is not None:
            self.theirs_gone_ms = None
            self.theirs.tidy()
            return
        if self.theirs_gone_ms is None:
            self.theirs_gone_ms = self.now_ms
        elif self.now_ms - self.theirs_gone_ms > FORGOTTEN_MS:
            self.theirs.start_daemon()

    # ------------------------------------------------------------ faults

    def _machine(self, ours: bool) -> Machine | ClassicMachine:
        return self.ours if ours else self.theirs

    def _wake(self, machine: Machine | ClassicMachine) -> None:
        if machine.frozen:
            if machine is self.ours:
                self._ours_comes_back()
            machine.thaw()

    def _revive_ours(self) -> None:
        if self.ours.core is None:
            self._ours_comes_back()
            self.ours.power_on()

    def _ours_comes_back(self) -> None:
        self.woke_ms = self.now_ms
        self.wire.forgive(self.now_ms, self.now_ms - self.ours.absent_since_ms)

    def _cut(self, ours: bool, for_ms: int) -> None:
        self.network.cut |= {1, 2}
        self.at(for_ms, self.network.cut.clear)

    def _one_way(self, ours: bool, for_ms: int) -> None:
        number = 1 if ours else 2
        self.network.cut.add(number)
        self.at(for_ms, lambda: self.network.cut.discard(number))

    def _loss(self, ours: bool, for_ms: int) -> None:
        network = self.network
        network.loss = {1: self._rng.uniform(0, 0.3), 2: self._rng.uniform(0, 0.3)}
        network.duplication, network.corruption, network.jitter_ms = 0.1, 0.02, self.draw(2, 120)
        self.at(for_ms, self._calm_but_for_cuts)

    def _late(self, ours: bool, for_ms: int) -> None:
        self.network.jitter_ms, self.network.duplication = 2000, 0.3
        self.at(for_ms, self._calm_but_for_cuts)

    def _calm_but_for_cuts(self) -> None:
        cut = set(self.network.cut)
        self.network.calm()
        self.network.cut |= cut

    def _flap(self, ours: bool, for_ms: int) -> None:
        at_ms = 0
        while at_ms < for_ms:
            cut_ms = self.draw(10, 900)
            self.at(at_ms, lambda: self.network.cut.update({1, 2}))
            self.at(at_ms + cut_ms, self.network.cut.clear)
            at_ms += cut_ms + self.draw(5, 900)

    def _stall(self, ours: bool, for_ms: int) -> None:
        machine = self._machine(ours)
        if machine.powered:
            machine.freeze()
            self.at(for_ms, lambda: self._wake(machine))

    def _kill(self, ours: bool, for_ms: int) -> None:
        machine = self._machine(ours)
        if not machine.frozen:
            machine.kill_daemon()
            self.at(for_ms, lambda: self._restart(ours))

    def _restart(self, ours: bool) -> None:
        machine = self._machine(ours)
        if not machine.powered or machine.frozen:
            return
        if ours and self.ours.core is None:
            self._ours_comes_back()
        machine.start_daemon()

    def _power(self, ours: bool, for_ms: int) -> None:
        self._machine(ours).power_off()
        self.at(for_ms, self._revive_ours if ours else self.theirs.power_on)

    def _set_back(self, ours: bool, for_ms: int) -> None:
        machine = self._machine(ours)
        self._highest[machine.number] = max(self._highest[machine.number], machine.generation)
        machine.generation -= self.draw(1, 5)
        if not ours:
            self.at(for_ms, self._forget_what_theirs_said)
        self._power(ours, for_ms)

    def _forget_what_theirs_said(self) -> None:
        """What the next life says counts, however low its generation."""
        self.said = Claims(self.theirs.name)

    def _stop(self, ours: bool, for_ms: int) -> None:
        if ours:
            self.ours.ask(Stop())
        elif self.theirs.daemon is not None and not self.theirs.frozen:
            self.theirs.daemon.stop(restart=False)
        self.at(for_ms, lambda: self._restart(ours))

    def _standby(self, ours: bool, for_ms: int) -> None:
        scope = self._rng.choice(list(Scope))
        if ours:
            self.ours.ask(Standby(scope))
        elif self.theirs.daemon is not None and not self.theirs.frozen and self.theirs.daemon.active:
            self.theirs.daemon.hb_standby(scope.value)

    def _takeover(self, ours: bool, for_ms: int) -> None:
        scope = self._rng.choice(list(Scope))
        if ours:
            self.ours.ask(Takeover(scope))
        elif self.theirs.daemon is not None and not self.theirs.frozen and self.theirs.daemon.active:
            self.theirs.daemon.hb_takeover(scope.value)

    def _member(self) -> ResourceSpec:
        return self._rng.choice([resource for group in GROUPS for resource in group.resources])

    def _start_fails(self, ours: bool, for_ms: int) -> None:
        self._machine(ours).troubles.start_fails.add(self._member().identity)

    def _stop_fails(self, ours: bool, for_ms: int) -> None:
        self._machine(ours).troubles.stop_fails[self._member().identity] = self.draw(1, 3)

    def _slow(self, ours: bool, for_ms: int) -> None:
        # An address is taken off by ours itself, at once; 3.0.6 has a script for it.
        members = [r for g in GROUPS for r in g.resources if not ours or isinstance(r, UnitResource)]
        slow, identity = self._machine(ours).troubles.slow, self._rng.choice(members).identity
        slow[identity] = self.draw(100, 4000)

        def over() -> None:
            slow.pop(identity, None)

        self.at(for_ms, over)

    def _reload(self, ours: bool, for_ms: int) -> None:
        if ours:
            for group in GROUPS:
                self.ours.lose(group.resources[0])
        elif self.theirs.daemon is not None and not self.theirs.frozen:
            self.theirs.daemon.reload()

    # ------------------------------------------------------------ checks

    def _check_safety(self) -> None:
        for address in mixed_checks.addresses_on_both(self):
            if not mixed_checks.is_excused(self, address):
                self._require(f"{address} is on both nodes without an excuse")
        self._require(checks.a_goodbye_is_true(self.ours))

    def _require(self, wrong: str | None) -> None:
        if wrong is None:
            return
        story = "\n".join(self._lines)
        planned = "\n".join(f"  cycle {n + 1}: {line}" for n, cycle in enumerate(self.plan) for line in cycle)
        where = f"seed {self.seed}, {self.now_ms} ms, cycle {self._cycle + 1}"
        raise Violation(f"{where}: {wrong}\n{self.setting}\nplan:\n{planned}\n{story}")

    def _trace(self, payload: bytes) -> None:
        if self._digest is not None:
            self._digest.update(b"%d " % self.now_ms + payload)

    def trace(self) -> str:
        """A digest of everything that was sent, for comparing two runs."""
        assert self._digest is not None
        return self._digest.hexdigest()


_STRIKES: dict[Fault, Callable[[MixedWorld, bool, int], None]] = {
    Fault.CUT: MixedWorld._cut,
    Fault.ONE_WAY: MixedWorld._one_way,
    Fault.LOSS: MixedWorld._loss,
    Fault.LATE: MixedWorld._late,
    Fault.FLAP: MixedWorld._flap,
    Fault.STALL: MixedWorld._stall,
    Fault.KILL: MixedWorld._kill,
    Fault.POWER: MixedWorld._power,
    Fault.SET_BACK: MixedWorld._set_back,
    Fault.STOP: MixedWorld._stop,
    Fault.STANDBY: MixedWorld._standby,
    Fault.TAKEOVER: MixedWorld._takeover,
    Fault.START_FAILS: MixedWorld._start_fails,
    Fault.STOP_FAILS: MixedWorld._stop_fails,
    Fault.SLOW: MixedWorld._slow,
    Fault.RELOAD: MixedWorld._reload,
}
