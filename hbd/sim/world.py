"""Two real cores on virtual time, under faults drawn from a seed, and the truth about what runs where.

A run has two phases: faults, in which only safety is asked for; then everything is healed, and after a
bounded time every group has to run exactly once. Bytes travel, so codec and authentication are exercised
too. The same seed gives the same run, to the last effect.
"""

from __future__ import annotations

import hashlib
import heapq
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from random import Random

from hbd.config.model import (
    AddressResource,
    AutoFailback,
    Bcast,
    Config,
    GroupSpec,
    Key,
    Keys,
    Limits,
    MsgFormat,
    ResourceSpec,
    Timing,
    UnitResource,
)
from hbd.core.effects import (
    Effect,
    Log,
    StartJob,
    StartResource,
    StopResource,
)
from hbd.core.events import DatagramReceived, Event, Scope, Standby, Stop, Takeover, Tick
from hbd.sim import checks
from hbd.sim.faults import Fault, Planned, plan
from hbd.sim.machines import Machine
from hbd.sim.network import Network
from hbd.sim.silence import Silences

FAULTS_FROM_MS = 1_200
FAULTS_FOR_MS = 5_000
MOST_TICKS = 200
"""More Ticks than this in one millisecond, and a core does not move its deadline on."""
HEALING_MS = 22_000
"""After the last fault, everything has to be in place again within this time."""
REST_MS = 800
"""In place means: found in place twice, so far apart."""


class Violation(AssertionError):  # noqa: N818 — it is a finding
    """An invariant does not hold; the text has seed, plan and the lines before it."""


@dataclass(frozen=True, slots=True)
class Setting:
    """What a seed's cluster looks like."""

    keepalive_ms: int
    deadtime_ms: int
    failback: tuple[AutoFailback, AutoFailback]
    msgfmt: MsgFormat

    @property
    def timing(self) -> Timing:
        initdead_ms = 5 * self.deadtime_ms // 4
        return Timing(
            self.keepalive_ms, self.deadtime_ms // 2, self.deadtime_ms, initdead_ms, self.deadtime_ms
        )


def _group(home: str, address: str, *units: str) -> GroupSpec:
    resources: list[ResourceSpec] = [AddressResource(address, address)]
    resources += [UnitResource(unit, f"{unit}.service") for unit in units]
    return GroupSpec(address, home, tuple(resources))


GROUPS = (_group("alpha", "10.9.9.1", "web", "db"), _group("beta", "10.9.9.2", "ftp"))
LIMITS = Limits(start_ms=8000, stop_ms=3000, probe_ms=1000)
KEYS = Keys(1, (Key(1, "crc", b""),))


class World:
    """One run."""

    def __init__(self, seed: int, faults: list[Planned] | None = None, keep_trace: bool = False) -> None:
        self.seed = seed
        self.now_ms = 0
        self._rng = Random(seed)
        self._heap: list[tuple[int, int, Callable[[], None]]] = []
        self._count = 0
        self.setting = self._draw_setting()
        self.plan = plan(self._rng, self.setting.deadtime_ms, FAULTS_FOR_MS) if faults is None else faults
        self.network = Network(Random(seed + 1))
        self.machines = (self._machine(0, "alpha"), self._machine(1, "beta"))
        self._by_name = {machine.name: machine for machine in self.machines}
        self._silences = Silences(9 * self.setting.keepalive_ms // 5)
        self._woke_ms = {machine.name: 0 for machine in self.machines}
        self._lines: deque[str] = deque(maxlen=120)
        self._over = False
        self.healing_ms = HEALING_MS
        self.besides_ms: list[int] = []
        """When something happens that is not in the plan; it counts as a fault."""
        self._let_go_ms: dict[str, int] = {}
        self._struck_ms = 0
        self._ill_since_ms = self._ill_until_ms = -FAULTS_FROM_MS
        self._ailments = 0
        self._ambush: list[tuple[Machine, type[StartResource | StopResource], Fault, int]] = []
        self._ticks = (0, 0)
        self._digest = hashlib.sha256() if keep_trace else None

    def _draw_setting(self) -> Setting:
        keepalive_ms = self._rng.choice((700, 800, 1000))
        deadtime_ms = keepalive_ms * self._rng.choice((4, 5))
        failback = self._rng.choice(list(AutoFailback))
        both = (failback, failback)
        if failback is not AutoFailback.LEGACY and self._rng.random() < 0.2:
            both = (AutoFailback.ON, AutoFailback.OFF)
        msgfmt = self._rng.choice((MsgFormat.NETSTRING, MsgFormat.NETSTRING, MsgFormat.CLASSIC))
        return Setting(keepalive_ms, deadtime_ms, both, msgfmt)

    def _machine(self, number: int, name: str) -> Machine:
        config = Config(
            local_node=name, nodes=("alpha", "beta"), media=(Bcast("eth0", 694),), keys=KEYS, groups=GROUPS,
            msgfmt=self.setting.msgfmt, timing=self.setting.timing,
            auto_failback=self.setting.failback[number], limits=LIMITS,
        )  # fmt: skip
        return Machine(self, config, number + 1, wall_offset_s=self._rng.randint(-100_000, 100_000))

    # ------------------------------------------------------------ what machines need

    def at(self, delay_ms: int, action: Callable[[], None]) -> None:
        """Do something later."""
        self._count += 1
        heapq.heappush(self._heap, (self.now_ms + delay_ms, self._count, action))

    def draw(self, low: int, high: int) -> int:
        return self._rng.randint(low, high)

    def chance(self, probability: float) -> bool:
        return self._rng.random() < probability

    def transmit(self, sender: Machine, payload: bytes) -> None:
        """Send to the other machine, as far as the network lets it through."""
        receiver = self.machines[2 - sender.number]
        for delay_ms, copy in self.network.fate(sender.number, payload):
            self.at(delay_ms, partial(receiver.receive, copy))

    def changed(self, machine: Machine, resource: ResourceSpec) -> None:
        """The truth changed."""
        what = "runs" if resource.identity in machine.running else "is off"
        self._lines.append(f"{self.now_ms:>7} {machine.name}: {resource.identity} {what}")
        if isinstance(resource, AddressResource):
            self._check_somebody_keeps(machine, resource.identity)
        self._check_safety()

    def _check_somebody_keeps(self, machine: Machine, address: str) -> None:
        """When two healthy nodes have the same address, one of them keeps it (rules 8 and 9)."""
        other = self.machines[2 - machine.number]
        if address in machine.running:
            return
        if address in other.running:
            self._let_go_ms[address] = self.now_ms
            return
        healthy = all(m.core is not None and not m.frozen for m in self.machines)
        let_go_ms = self._let_go_ms.get(address, 0)
        quiet = max(self._struck_ms, *self._woke_ms.values()) < let_go_ms - 1000
        at_once = self.now_ms - let_go_ms <= checks.BOTH_MS
        if healthy and quiet and at_once:
            self._require(f"{address} was on both nodes, and both gave way")

    def stepped(self, machine: Machine, event: Event, effects: list[Effect]) -> None:
        """A core took a step."""
        if isinstance(event, Tick):
            self._count_ticks(machine)
        elif isinstance(event, DatagramReceived) and machine.heard_ms == self.now_ms:
            self._silences.heard(self.now_ms, machine.number - 1)
        if effects:
            self._require(checks.effects_are_in_order(machine, effects))
            self._spring(machine, effects)
        for effect in effects:
            if isinstance(effect, Log):
                self._lines.append(f"{self.now_ms:>7} {machine.name}: {effect.text}")
            elif isinstance(effect, StartJob) and isinstance(effect.action, StartResource):
                other = self.machines[2 - machine.number]
                self._require(checks.starts_are_allowed(machine, other, effect.action.resource))
        if self._digest is not None:
            self._digest.update(repr((self.now_ms, machine.name, event, effects)).encode())
        if machine.running:
            self._require(checks.truth_is_claimed(machine))
        self._check_safety()

    def _count_ticks(self, machine: Machine) -> None:
        """A deadline that no Tick moves on would keep a processor busy for ever."""
        at_ms, count = self._ticks
        self._ticks = (self.now_ms, count + 1 if at_ms == self.now_ms else 1)
        if self._ticks[1] > MOST_TICKS:
            self._require(f"{machine.name} asks for a Tick again and again at {self.now_ms} ms")

    def _spring(self, machine: Machine, effects: list[Effect]) -> None:
        """Faults that wait for a moment: the next start or stop of their machine."""
        if not self._ambush:
            return
        jobs = [effect.action for effect in effects if isinstance(effect, StartJob)]
        for trap in list(self._ambush):
            prey, kind, fault, for_ms = trap
            if prey is machine and any(isinstance(action, kind) for action in jobs):
                self._ambush.remove(trap)
                self.at(self.draw(0, 3), partial(_STRIKES[fault], self, machine, for_ms))

    # ------------------------------------------------------------ a run

    def run(self) -> None:
        """Faults, healing, and the checks. Raises Violation."""
        for machine in self.machines:
            self.at(self.draw(0, 400), machine.start_daemon)
        for planned in self.plan:
            self.at(FAULTS_FROM_MS + planned.at_ms, partial(self._strike, planned))
        last_ms = max((*self.besides_ms, *(planned.until_ms for planned in self.plan)), default=0)
        # Some runs let the pair come to rest under its faults; others heal it in full motion.
        pause_ms = self.draw(0, self.setting.deadtime_ms // 2)
        self.at(FAULTS_FROM_MS + last_ms + pause_ms, self._heal)
        while self._heap and not self._over:
            self.now_ms, _, action = heapq.heappop(self._heap)
            action()
        faults = len(self.plan) + len(self.besides_ms)
        self._require(checks.moves_are_bounded(self.machines, GROUPS, faults))

    def _look(self, end_ms: int, in_place: bool) -> None:
        wrong = checks.every_group_runs_once(self.machines, GROUPS) or checks.the_views_agree(self.machines)
        if self.now_ms >= end_ms:
            self._require(wrong)
        self._over = wrong is None and in_place
        self.at(REST_MS, lambda: self._look(end_ms, wrong is None))

    def trace(self) -> str:
        """A digest of every step, for comparing two runs."""
        assert self._digest is not None
        return self._digest.hexdigest()

    def _heal(self) -> None:
        self._lines.append(f"{self.now_ms:>7} everything is healed")
        self.network.calm()
        self._ambush.clear()
        for machine in self.machines:
            machine.troubles.stop_fails.clear()
            machine.troubles.slow.clear()
            if machine.frozen:
                self._wake(machine)
            self._revive(machine)
        end_ms = self.now_ms + self.healing_ms
        self.at(REST_MS, lambda: self._look(end_ms, False))

    def _wake(self, machine: Machine) -> None:
        self._comes_back(machine)
        machine.thaw()

    def _comes_back(self, machine: Machine) -> None:
        self._woke_ms[machine.name] = self.now_ms
        self._silences.forgive(self.now_ms, self.now_ms - machine.absent_since_ms)

    def _revive(self, machine: Machine) -> None:
        if machine.core is None:
            self._comes_back(machine)
            machine.power_on()

    def _strike(self, planned: Planned) -> None:
        machine = self.machines[planned.machine]
        self._struck_ms = self.now_ms
        self._lines.append(f"{self.now_ms:>7} fault: {planned}")
        _STRIKES[planned.fault](self, machine, planned.for_ms)

    # ------------------------------------------------------------ faults

    def _cut(self, machine: Machine, for_ms: int) -> None:
        self._sicken(for_ms, 1)
        self.network.cut |= {1, 2}
        self.at(for_ms, self.network.cut.clear)

    def _one_way(self, machine: Machine, for_ms: int) -> None:
        self._sicken(for_ms, 1)
        self.network.cut.add(machine.number)
        self.at(for_ms, lambda: self.network.cut.discard(machine.number))

    def _loss(self, machine: Machine, for_ms: int) -> None:
        self._sicken(for_ms, 2)
        network = self.network
        network.loss = {1: self._rng.uniform(0, 0.2), 2: self._rng.uniform(0, 0.2)}
        network.duplication, network.corruption, network.jitter_ms = 0.1, 0.02, self.draw(2, 120)

        def over() -> None:
            network.loss.clear()
            network.duplication = network.corruption = 0.0
            network.jitter_ms = 1

        self.at(for_ms, over)

    def _stall(self, machine: Machine, for_ms: int) -> None:
        if machine.powered:
            machine.freeze()
            self.at(for_ms, lambda: self._wake(machine) if machine.frozen else None)

    def _kill(self, machine: Machine, for_ms: int) -> None:
        if not machine.frozen:
            machine.kill_daemon()
            self.at(for_ms, lambda: self._restart(machine))

    def _restart(self, machine: Machine) -> None:
        if machine.powered and machine.core is None and not machine.frozen:
            self._comes_back(machine)
            machine.start_daemon()

    def _power(self, machine: Machine, for_ms: int) -> None:
        machine.power_off()
        self.at(for_ms, lambda: self._revive(machine))

    def _set_back(self, machine: Machine, for_ms: int) -> None:
        machine.generation -= self.draw(1, 5)  # 1: the next life has the number of the last.
        self._power(machine, for_ms)

    def _stop(self, machine: Machine, for_ms: int) -> None:
        machine.ask(Stop())
        self.at(for_ms, lambda: self._restart(machine))

    def _standby(self, machine: Machine, for_ms: int) -> None:
        machine.ask(Standby(self._rng.choice(list(Scope))))

    def _takeover(self, machine: Machine, for_ms: int) -> None:
        machine.ask(Takeover(self._rng.choice(list(Scope))))

    def _member(self) -> ResourceSpec:
        return self._rng.choice([resource for group in GROUPS for resource in group.resources])

    def _start_fails(self, machine: Machine, for_ms: int) -> None:
        machine.troubles.start_fails.add(self._member().identity)

    def _stop_fails(self, machine: Machine, for_ms: int) -> None:
        machine.troubles.stop_fails[self._member().identity] = self.draw(1, 3)

    def _slow(self, machine: Machine, for_ms: int) -> None:
        identity = self._member().identity
        machine.troubles.slow[identity] = self.draw(100, 4000)

        def over() -> None:
            machine.troubles.slow.pop(identity, None)

        self.at(for_ms, over)

    def _late(self, machine: Machine, for_ms: int) -> None:
        self._sicken(for_ms, 2)
        network = self.network
        network.jitter_ms, network.duplication = 2000, 0.3

        def over() -> None:
            network.jitter_ms, network.duplication = 1, 0.0

        self.at(for_ms, over)

    def _flap(self, machine: Machine, for_ms: int) -> None:
        self._sicken(for_ms, 2)
        at_ms = 0
        while at_ms < for_ms:
            cut_ms = self.draw(10, 900)
            self.at(at_ms, lambda: self.network.cut.update({1, 2}))
            self.at(at_ms + cut_ms, self.network.cut.clear)
            at_ms += cut_ms + self.draw(5, 900)

    def _both(self, machine: Machine, for_ms: int, strike: Callable[[World, Machine, int], None]) -> None:
        for each in self.machines:
            strike(self, each, self.draw(20, for_ms + 20))

    def _trap(
        self, machine: Machine, for_ms: int, kind: type[StartResource | StopResource], fault: Fault
    ) -> None:
        self._ambush.append((machine, kind, fault, for_ms))

    def _lost(self, machine: Machine, for_ms: int) -> None:
        for group in GROUPS:
            machine.lose(group.resources[0])

    # ------------------------------------------------------------ checks

    def _check_safety(self) -> None:
        first, second = self.machines
        if first.running and second.running:
            twice = checks.addresses_on_both(self.machines)
            if twice and not self._is_excused():
                self._require(f"{twice[0]} is on both nodes at {self.now_ms} ms without an excuse")
        for machine in self.machines:
            if machine.quit:
                self._require(checks.a_goodbye_is_true(machine))

    def _is_excused(self) -> bool:
        """Whether an unfenced pair cannot help having an address twice now."""
        for machine in self.machines:
            if machine.frozen or machine.core is None:
                return True
            if self.now_ms - self._woke_ms[machine.name] <= checks.ADDRESS_GRACE_MS:
                return True
        now_ms, grace_ms = self.now_ms, checks.ADDRESS_GRACE_MS
        if self._silences.were_mutual(now_ms, now_ms - grace_ms):
            return True
        # On a wire that goes on losing, the word that would end the conflict may be lost itself.
        if self._ailments < 2 or now_ms > self._ill_until_ms + self.setting.keepalive_ms + grace_ms:
            return False
        return self._silences.were_mutual(now_ms, self._ill_since_ms)

    def _sicken(self, for_ms: int, ailments: int) -> None:
        """The wire is ill; less than a keepalive without a fault is no recovery."""
        if self.now_ms > self._ill_until_ms + self.setting.keepalive_ms + checks.ADDRESS_GRACE_MS:
            self._ill_since_ms, self._ailments = self.now_ms, 0
        self._ailments += ailments
        self._ill_until_ms = max(self._ill_until_ms, self.now_ms + for_ms)

    def _require(self, wrong: str | None) -> None:
        if wrong is None:
            return
        story = "\n".join(self._lines)
        planned = "\n".join(f"  {FAULTS_FROM_MS} + {line}" for line in self.plan)
        raise Violation(f"seed {self.seed}: {wrong}\n{self.setting}\nplan:\n{planned}\n{story}")


_STRIKES: dict[Fault, Callable[[World, Machine, int], None]] = {
    Fault.CUT: World._cut,
    Fault.ONE_WAY: World._one_way,
    Fault.LOSS: World._loss,
    Fault.STALL: World._stall,
    Fault.KILL: World._kill,
    Fault.POWER: World._power,
    Fault.STOP: World._stop,
    Fault.STANDBY: World._standby,
    Fault.TAKEOVER: World._takeover,
    Fault.START_FAILS: World._start_fails,
    Fault.STOP_FAILS: World._stop_fails,
    Fault.SLOW: World._slow,
    Fault.LOST: World._lost,
    Fault.SET_BACK: World._set_back,
    Fault.LATE: World._late,
    Fault.FLAP: World._flap,
    Fault.BOTH_KILLED: partial(World._both, strike=World._kill),
    Fault.BOTH_OFF: partial(World._both, strike=World._power),
    Fault.BOTH_STALL: partial(World._both, strike=World._stall),
    Fault.KILL_IN_START: partial(World._trap, kind=StartResource, fault=Fault.KILL),
    Fault.OFF_IN_START: partial(World._trap, kind=StartResource, fault=Fault.POWER),
    Fault.STALL_IN_START: partial(World._trap, kind=StartResource, fault=Fault.STALL),
    Fault.CUT_IN_START: partial(World._trap, kind=StartResource, fault=Fault.CUT),
    Fault.KILL_IN_STOP: partial(World._trap, kind=StopResource, fault=Fault.KILL),
    Fault.OFF_IN_STOP: partial(World._trap, kind=StopResource, fault=Fault.POWER),
    Fault.STALL_IN_STOP: partial(World._trap, kind=StopResource, fault=Fault.STALL),
    Fault.CUT_IN_STOP: partial(World._trap, kind=StopResource, fault=Fault.CUT),
}


def run(seed: int) -> None:
    """One seed. Raises Violation."""
    World(seed).run()


def trace_of(seed: int) -> str:
    """The digest of everything that happens under this seed."""
    world = World(seed, keep_trace=True)
    world.run()
    return world.trace()
