"""What must hold in every run: one invariant per function.

Safety is asked after every change of the truth, liveness once everything is healed and time has passed.
A check returns a sentence about what is wrong, or None.
"""

from __future__ import annotations

from hbd.config.model import AddressResource, GroupSpec, ResourceSpec
from hbd.core.effects import (
    Announce,
    Effect,
    Log,
    Permit,
    ProbeResource,
    StartJob,
    StartResource,
    StoreHeld,
    Transmit,
)
from hbd.sim.machines import Machine

Machines = tuple[Machine, Machine]

BOTH_MS = 15
"""Two nodes that take the same address off within this time did so for the same reason."""
ADDRESS_GRACE_MS = 60
"""Waking or healing until the address is off: one round trip, probing, one job."""


def addresses_on_both(machines: Machines) -> list[str]:
    """Service addresses that two machines have at this moment, both by hbd."""
    first, second = machines
    return [
        identity
        for identity in first.running.keys() & second.running.keys()
        if isinstance(first.running[identity], AddressResource)
        and identity not in first.by_hand
        and identity not in second.by_hand
    ]


def truth_is_claimed(machine: Machine) -> str | None:
    """What runs here under this daemon is claimed by it."""
    core = machine.core
    if core is None or machine.frozen or not machine.running:
        return None
    custody = core._custody
    if custody.probing:
        return None
    for key, group in custody.groups.items():
        if group.claims:
            continue
        for member in group.members:
            identity = member.spec.identity
            if identity in machine.running and identity not in machine.by_hand:
                return f"{machine.name} runs {identity} of {key} and claims nothing"
    return None


def starts_are_allowed(machine: Machine, other: Machine, started: ResourceSpec) -> str | None:
    """Nobody starts what the other, not known to be dead, may be running (claims and their echoes)."""
    if machine.core is None or other.core is None:
        return None
    peer = machine.core._membership.peer
    if peer is None or peer.dead:
        return None
    for key, group in other.core._custody.groups.items():
        if group.may_run and started in group.spec.resources:
            return f"{machine.name} starts {started.identity} while {other.name} may be running {key}"
    return None


def effects_are_in_order(machine: Machine, effects: list[Effect]) -> str | None:
    """Words and records go ahead of jobs, nothing starts unrecorded, who is muted announces nothing."""
    jobs = False
    for effect in effects:
        match effect:
            case Log():
                pass
            case StartJob(_, Announce() | ProbeResource(), _):
                pass
            case StartJob(_, action, _):
                jobs = True
                recorded = any(getattr(action, "resource", None) in held.resources for held in machine.held)
                if isinstance(action, StartResource) and not recorded:
                    return f"{machine.name} starts {action.resource.identity}, which is not on record"
            case StoreHeld() | Transmit() if jobs:
                return f"{machine.name}: a job goes ahead of what announces it"
            case Permit(until_ms) if until_ms and machine.core is not None and machine.core._custody.muted:
                return f"{machine.name} may announce while it is muted"
            case _:
                pass
    return None


def a_goodbye_is_true(machine: Machine) -> str | None:
    """Who has quit in order holds nothing and has no job in flight, unless it was frozen."""
    frozen = machine.freeze_record.mark & 1 == 1
    if machine.quit and not frozen and (machine.running or any(machine.in_flight.values())):
        busy = {identity for identity, jobs in machine.in_flight.items() if jobs}
        ours = (machine.running.keys() | busy) - machine.by_hand
        if ours:
            return f"{machine.name} said goodbye and still runs {sorted(ours)}"
    return None


def every_group_runs_once(machines: Machines, groups: tuple[GroupSpec, ...]) -> str | None:
    """After the healing: each group runs, whole, on one node, unless no node is able."""
    for group in groups:
        able = [m for m in machines if not any(r.identity in m.troubles.start_fails for r in group.resources)]
        owners = [m.name for m in machines if any(r.identity in m.running for r in group.resources)]
        whole = [m.name for m in machines if all(r.identity in m.running for r in group.resources)]
        if len(owners) > 1:
            return f"{group.key} runs on both nodes after everything is healed"
        if able and (len(owners) != 1 or owners != whole):
            return f"{group.key} runs on {owners}, whole on {whole}, although {[m.name for m in able]} could"
        if not able and owners != whole:
            return f"{group.key} runs in part on {owners}"
    return None


def the_views_agree(machines: Machines) -> str | None:
    """After the healing both nodes name the same owner, nobody is in motion, and no transition is open."""
    views = [m.core.view() for m in machines if m.core is not None]
    for view in views:
        if view.transition:
            return f"{view.local_node}: transition {view.transition} never ended"
    owners = {tuple((group.name, group.owner) for group in view.groups) for view in views}
    return None if len(owners) == 1 else f"the nodes disagree about the owners: {sorted(owners)}"


def moves_are_bounded(machines: Machines, groups: tuple[GroupSpec, ...], faults: int) -> str | None:
    """A group does not wander: a few starts for each fault at the most."""
    for group in groups:
        starts = sum(m.starts.get(group.resources[-1].identity, 0) for m in machines)
        if starts > 3 + 4 * faults:
            return f"{group.key} was started {starts} times for {faults} faults"
    return None
