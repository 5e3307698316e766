"""What of the groups runs here although it should not: started by hand, at boot, or left behind. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from hbd.check.facts import Known, Section
from hbd.check.places import Places
from hbd.config.model import Config
from hbd.ctl.snapshot import Snapshot

MOVING = ("starting", "stopping", "blocked")


@dataclass(frozen=True, slots=True)
class Running:
    """What is active here."""

    how: str
    end: str
    """The command that ends it."""


def judge(
    config: Config, shown: Snapshot | None, running: Mapping[str, Running], places: Places, known: Known
) -> None:
    """`shown`: what the daemon says; None if there is none. `running`: resources that are active here."""
    for group in config.groups:
        why = "hbd does not run here" if shown is None else _elsewhere(group.name, shown)
        if not why:
            continue
        for resource in group.resources:
            if resource.name in running:
                section = Section.ADDRESSES if resource.name == resource.identity else Section.UNITS
                one = running[resource.name]
                text = f"is {one.how} here, and should not be: {why}; {one.end}"
                known.warn(section, resource.name, places.resource(resource.name), text)


def _elsewhere(group: str, shown: Snapshot) -> str:
    """That the group is not this node's; empty if it is, may be soon, or is not known to the daemon."""
    seen = next((one for one in shown.groups if one.name == group), None)
    if seen is None or seen.owner == shown.cluster.local_node or seen.state in MOVING:
        return ""
    return f"its group is on {seen.owner}" if seen.owner else "its group is held by nobody"
