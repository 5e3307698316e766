"""Whole clusters with ping nodes and ipfail, in which these come and go beside every other fault."""

from dataclasses import replace
from functools import partial
from random import Random

from hbd.config.model import AutoFailback, Ping
from hbd.sim.faults import Fault, Planned
from hbd.sim.machines import Machine
from hbd.sim.world import FAULTS_FROM_MS, World

SEEDS = 250
PINGS = (Ping("router", ("10.9.9.254",), "ping"), Ping("switch", ("10.9.9.253",), "ping"))


def _reach(machine: Machine, ping: Ping, answers: bool) -> None:
    if answers:
        machine.unreachable.discard(ping.name)
    else:
        machine.unreachable.add(ping.name)


def world(seed: int) -> World:
    """The seed's cluster and faults, and up to four losses of ping nodes and carriers, all of which end."""
    made, rng = World(seed), Random(seed)
    deadtime_ms = made.setting.deadtime_ms
    for machine in made.machines:
        machine.config = replace(machine.config, media=(*machine.config.media, *PINGS), ipfail=True)
    for _ in range(rng.randint(1, 4)):
        machine, ping, cable = rng.choice(made.machines), rng.choice(PINGS), rng.random() < 0.4
        from_ms, for_ms = FAULTS_FROM_MS + rng.randint(0, 5000), rng.randint(100, 3 * deadtime_ms)
        for answers, at_ms in ((False, from_ms), (True, from_ms + for_ms)):
            action = partial(machine.plug, answers) if cable else partial(_reach, machine, ping, answers)
            made.at(at_ms, action)
        # A fault without effect, for the count: groups may move there and back for what happens here.
        made.plan.append(Planned(from_ms + for_ms - FAULTS_FROM_MS, Fault.SLOW, 0, 0))
    return made


def test_no_seed_breaks_an_invariant_with_ipfail() -> None:
    for seed in range(SEEDS):
        world(seed).run()


def test_the_seeds_do_move_groups_by_ipfail() -> None:
    moved = 0
    for seed in range(0, SEEDS, 8):
        made = world(seed)
        if AutoFailback.LEGACY not in made.setting.failback:
            made.run()
            moved += any("giveup() called" in line for line in made._lines)
    assert moved
