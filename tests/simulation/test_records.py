"""Every change of a group has a record with a cause, under every fault there is."""

import os

from hbd.core.effects import Effect, Note, StartJob, StartResource, StopResource
from hbd.core.events import Event
from hbd.core.records import Decision, Record
from hbd.sim.machines import Machine
from hbd.sim.world import World

SEEDS = int(os.environ.get("HBD_SEEDS", "20000")) // 50


class Recorded(World):
    """Looks at the records of each life of each node."""

    def __init__(self, seed: int) -> None:
        super().__init__(seed)
        self.kept: dict[str, dict[tuple[int, int], Record]] = {"alpha": {}, "beta": {}}
        self.untold: list[str] = []

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


def test_whatever_is_started_or_stopped_has_an_open_record_with_its_cause() -> None:
    for seed in range(SEEDS):
        Recorded(seed).run()


def test_records_are_closed_once_everything_is_in_place() -> None:
    for seed in range(SEEDS):
        world = Recorded(seed)
        world.run()
        for machine in world.machines:
            if machine.core is None:
                continue
            left = [r for r in machine.core._chronicle.open_records() if r.decision is not Decision.INSIST]
            assert left == [], seed


def test_an_address_that_moved_was_claimed_by_its_new_owner_for_a_reason() -> None:
    reasons = set()
    for seed in range(SEEDS):
        world = Recorded(seed)
        world.run()
        for record in (r for kept in world.kept.values() for r in kept.values()):
            if record.decision is Decision.TAKE:
                reasons.add(record.cause.replace("alpha", "NODE").replace("beta", "NODE"))
    assert {"NODE is dead", "NODE has left", "handed over by NODE", "this is its home node"} <= reasons
