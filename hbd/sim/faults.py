"""Which faults a seed uses, and when. A plan is a list of sentences, so that a failure can be read."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from random import Random


class Fault(Enum):
    """What can happen."""

    CUT = "both directions of the wire are cut"
    ONE_WAY = "one direction of the wire is cut"
    LOSS = "datagrams are lost, doubled, damaged and late"
    STALL = "the machine stands still"
    KILL = "hbd is killed and started again"
    POWER = "the machine loses its power and boots again"
    STOP = "hbd is stopped in order and started again"
    STANDBY = "the operator says standby"
    TAKEOVER = "the operator says takeover"
    START_FAILS = "a resource does not start any more"
    STOP_FAILS = "a resource does not stop at first"
    SLOW = "jobs on a resource take long"
    LOST = "somebody takes a service address away"
    SET_BACK = "the machine loses its power and its stored generation is an old one"
    LATE = "datagrams are up to two seconds late, and doubled"
    FLAP = "the wire is cut again and again"
    BOTH_KILLED = "both daemons are killed"
    BOTH_OFF = "both machines lose their power"
    BOTH_STALL = "both machines stand still"
    KILL_IN_START = "hbd is killed right after it asked for a start"
    OFF_IN_START = "the power goes right after hbd asked for a start"
    STALL_IN_START = "the machine stands still right after hbd asked for a start"
    CUT_IN_START = "the wire is cut right after hbd asked for a start"
    KILL_IN_STOP = "hbd is killed right after it asked for a stop"
    OFF_IN_STOP = "the power goes right after hbd asked for a stop"
    STALL_IN_STOP = "the machine stands still right after hbd asked for a stop"
    CUT_IN_STOP = "the wire is cut right after hbd asked for a stop"


@dataclass(frozen=True, slots=True)
class Planned:
    """One fault: when, on which machine, for how long."""

    at_ms: int
    fault: Fault
    machine: int
    for_ms: int

    @property
    def until_ms(self) -> int:
        return self.at_ms + self.for_ms

    def __str__(self) -> str:
        return f"{self.at_ms} ms, machine {self.machine}, for {self.for_ms} ms: {self.fault.value}"


def plan(rng: Random, deadtime_ms: int, fault_phase_ms: int) -> list[Planned]:
    """A seed's faults, in the order of time."""
    faults = []
    for _ in range(rng.randint(1, 3)):
        fault = rng.choice(list(Fault))
        for_ms = rng.randint(50, rng.choice((1, 1, 2, 3, 5)) * deadtime_ms)
        at_ms = rng.randint(0, max(1, fault_phase_ms - 2 * for_ms // 3))
        faults.append(Planned(at_ms, fault, rng.randrange(2), for_ms))
    return sorted(faults, key=lambda planned: planned.at_ms)
