"""Whole clusters whose operators freeze and thaw, and swear to deaths, beside every other fault."""

from collections.abc import Callable
from functools import partial
from random import Random
from typing import Any

import pytest

from hbd.core import custody, freeze
from hbd.core.claims import Peer
from hbd.core.effects import DropAddresses, Effect, StartJob, StartResource, StopResource
from hbd.core.events import Command, ConfirmDead, Event, Freeze, Thaw
from hbd.sim import checks
from hbd.sim.faults import Fault, Planned
from hbd.sim.machines import Machine
from hbd.sim.world import FAULTS_FROM_MS, Violation, World

SEEDS = 100
SEEDS_OF_A_MUTANT = 60
LONELY_SEEDS = 12


class FrozenWorld(World):
    """A seed's cluster and faults, with up to five words of operators in between. At last somebody thaws."""

    def __init__(self, seed: int, faults: list[Planned] | None = None) -> None:
        super().__init__(seed, faults)
        self.frozen_steps = self.oaths = 0
        self._condoned: set[str] = set()
        self._still_ms = 0
        if faults is None:
            self._draw_words(Random(seed))

    def _draw_words(self, rng: Random) -> None:
        at_ms = 0
        for _ in range(rng.randint(1, 5)):
            at_ms += rng.randint(0, 2500)
            wish: Callable[[Machine], None] = partial(self._say, Thaw() if rng.random() < 0.4 else Freeze())
            if rng.random() < 0.2:
                wish = self._swear
            self.at(FAULTS_FROM_MS + at_ms, partial(wish, rng.choice(self.machines)))
            # A fault without effect, for the count: what a freeze held up comes later.
            self.plan.append(Planned(at_ms, Fault.SLOW, 0, 0))

    def _say(self, command: Command, machine: Machine) -> None:
        self._lines.append(f"{self.now_ms:>7} {machine.name}: an operator says {command}")
        machine.ask(command)

    def _swear(self, machine: Machine) -> None:
        """Operators do not lie here."""
        other = self.machines[2 - machine.number]
        if not other.powered:
            self.oaths += 1
            self._say(ConfirmDead(other.name), machine)

    def _heal(self) -> None:
        super()._heal()
        self.at(self.draw(0, 2000), self._thaw)

    def _thaw(self) -> None:
        """At one node, or at the other if hbd is just being stopped there."""
        for machine in self._rng.sample(self.machines, 2):
            self._say(Thaw(), machine)

    def _is_excused(self) -> bool:
        """What was on both nodes when they agreed on a freeze stays until the thaw, and is settled then."""
        twice = set(checks.addresses_on_both(self.machines))
        if super()._is_excused():
            self._condoned = twice
            return True
        if any(machine.core is not None and machine.core._freeze.frozen for machine in self.machines):
            self._still_ms = self.now_ms
        return twice <= self._condoned and self.now_ms - self._still_ms <= checks.ADDRESS_GRACE_MS

    def stepped(self, machine: Machine, event: Event, effects: list[Effect]) -> None:
        jobs = [effect.action for effect in effects if isinstance(effect, StartJob)]
        self._require(_breaks_the_freeze(machine, jobs))
        self._require(_robs_the_frozen(machine, self.machines[2 - machine.number], jobs))
        self.frozen_steps += machine.freeze_record.agreed
        super().stepped(machine, event, effects)


def _breaks_the_freeze(machine: Machine, jobs: list[Any]) -> str | None:
    """Nothing begins while frozen, but that a node takes off what it has not agreed on, and puts it back."""
    core = machine.core
    if core is None or not core._freeze.frozen or (core._leaving and not core._keeps):
        return None
    groups = core._custody.groups.values()
    restoring = {r.identity for g in groups if g.restoring for r in g.addresses_up} | {
        member.spec.identity for g in groups if g.restoring for member in g.members if member.is_address
    }
    for job in jobs:
        match job:
            case StartResource(resource) if resource.identity in restoring:
                pass
            case DropAddresses() if not core._freeze.agreed or any(group.muted for group in groups):
                pass
            case StartResource() | StopResource() | DropAddresses():
                return f"{machine.name} is frozen and begins {job}"
            case _:
                pass
    return None


def _robs_the_frozen(machine: Machine, other: Machine, jobs: list[Any]) -> str | None:
    """What a node runs that relies on an agreed freeze is started by nobody else, whatever became of it."""
    for job in jobs:
        runs_there = isinstance(job, StartResource) and job.resource.identity in other.running
        if runs_there and other.freeze_record.agreed and job.resource.identity not in other.by_hand:
            return f"{machine.name} starts {job.resource.identity}, which {other.name} runs, frozen"
    return None


def _lonely(seed: int) -> FrozenWorld:
    """Both agree on a freeze, one of them falls silent with all that it holds, and the other is thawed."""
    rng = Random(seed)
    silence = rng.choice((Fault.STALL, Fault.STOP, Fault.KILL))
    world = FrozenWorld(seed, [Planned(500, silence, 0, 12_000)])
    _, second = world.machines
    world.at(FAULTS_FROM_MS + 100, partial(world._say, Freeze(), rng.choice(world.machines)))
    world.at(FAULTS_FROM_MS + rng.randint(600, 9000), partial(world._say, Thaw(), second))
    return world


def test_what_a_silent_node_holds_in_a_freeze_is_started_by_nobody_after_a_lonely_thaw() -> None:
    for seed in range(LONELY_SEEDS):
        _lonely(seed).run()


def test_no_seed_breaks_an_invariant_with_freezes_and_all_is_served_after_the_thaw() -> None:
    steps = oaths = 0
    for seed in range(SEEDS):
        world = FrozenWorld(seed)
        world.run()
        steps, oaths = steps + world.frozen_steps, oaths + world.oaths
    assert steps > 20 * SEEDS
    assert oaths


def _first_violation(made: Callable[[int], FrozenWorld] = FrozenWorld) -> str:
    for seed in range(SEEDS_OF_A_MUTANT):
        try:
            made(seed).run()
        except Violation as violation:
            return str(violation)
    raise AssertionError(f"{SEEDS_OF_A_MUTANT} seeds do not miss it")


def test_a_node_that_knows_of_the_freeze_and_goes_on_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    never = property(lambda self: False, lambda self, value: None)
    monkeypatch.setattr(custody.Custody, "frozen", never, raising=False)
    assert " is frozen and begins " in _first_violation()


def test_a_node_that_takes_silence_in_a_freeze_for_death_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Peer, "keeps", lambda self, group: False)
    assert ", frozen" in _first_violation(_lonely)


def test_a_freeze_that_counts_as_agreed_too_early_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(freeze.Freeze, "_is_known_to", lambda self, peer: True)
    assert _first_violation()
