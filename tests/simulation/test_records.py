"""Every change of a group has a record with a cause, under every fault there is."""

import os

import pytest

from hbd.core.effects import Effect, Note, StartJob, StartResource, StopResource
from hbd.core.events import Event
from hbd.core.records import HEADS, Decision, Record
from hbd.sim.machines import Machine
from hbd.sim.world import World

SEEDS = max(int(os.environ.get("HBD_SEEDS", "20000")) // 66, 300)
"""Fewer do not show every kind of decision."""


class Recorded(World):
    """Looks at the records of each life of each node."""

    def __init__(self, seed: int) -> None:
        super().__init__(seed)
        self.kept: dict[str, dict[tuple[int, int], Record]] = {"alpha": {}, "beta": {}}
        self.looked = 0

    def stepped(self, machine: Machine, event: Event, effects: list[Effect]) -> None:
        kept = self.kept[machine.name]
        for effect in effects:
            if isinstance(effect, Note):
                record = effect.record
                before = kept.get(record.name)
                assert before is None or not before.result, f"{before} was over"
                assert record.node == machine.name
                assert record.cause
                assert record.action
                kept[record.name] = record
        for effect in effects:
            if isinstance(effect, StartJob) and isinstance(effect.action, StartResource | StopResource):
                self._look_for(machine, effect.action)
        super().stepped(machine, event, effects)

    def _look_for(self, machine: Machine, action: StartResource | StopResource) -> None:
        """What is started or stopped is part of a decision that is open, or whose end is known by now."""
        self.looked += 1
        core = machine.core
        assert core is not None
        started = isinstance(action, StartResource)
        wanted = {Decision.TAKE, Decision.ADOPT, Decision.RESTORE} if started else {
            Decision.RELEASE, Decision.GIVE_UP, Decision.GIVE_WAY, Decision.BLOCKED
        }  # fmt: skip
        for group in core._custody.groups.values():
            if action.resource in group.spec.resources:
                under = [r for r in core._chronicle.open_records() if r.group == group.name]
                assert [r for r in under if r.decision in wanted], (self.seed, self.now_ms, action, under)


@pytest.fixture(scope="module")
def worlds() -> list[Recorded]:
    """Runs of some seeds; what is started or stopped was looked for in the records meanwhile."""
    ran = [Recorded(seed) for seed in range(SEEDS)]
    for world in ran:
        world.run()
    return ran


def test_whatever_is_started_or_stopped_has_an_open_record(worlds: list[Recorded]) -> None:
    looked = sum(world.looked for world in worlds)
    assert looked > 5 * SEEDS


def test_records_are_closed_once_everything_is_in_place(worlds: list[Recorded]) -> None:
    for world in worlds:
        for machine in world.machines:
            if machine.core is not None:
                left = {record.decision for record in machine.core._chronicle.open_records()}
                assert left <= {Decision.INSIST}, world.seed


def test_groups_are_claimed_for_every_reason_there_is(worlds: list[Recorded]) -> None:
    records = [record for world in worlds for kept in world.kept.values() for record in kept.values()]
    reasons = {
        record.cause.replace("alpha", "NODE").replace("beta", "NODE")
        for record in records
        if record.decision is Decision.TAKE
    }
    assert {"NODE is dead", "NODE has left", "handed over by NODE", "this is its home node"} <= reasons
    elsewhere = {Decision.IPFAIL, Decision.BLOCKED, Decision.FREEZE, Decision.THAW}
    assert {record.decision for record in records} == set(Decision) - elsewhere


def test_what_follows_from_another_decision_names_it(worlds: list[Recorded]) -> None:
    for world in worlds:
        for kept in world.kept.values():
            for record in kept.values():
                head = kept.get((record.life, record.under))
                assert not record.under or (head is not None and head.decision in HEADS), record
