"""The units of haresources, as systemd has them now.

That a unit is missing, masked or started at boot is found in its files already, by the parser. Here is what
only the running systemd knows.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable

from hbd.check.facts import Known, Section
from hbd.check.places import Places
from hbd.config.model import Config, Place, UnitResource
from hbd.systemd1 import Systemd, UnitState
from hbd.units_boot import boot_warnings


def resources(config: Config) -> tuple[UnitResource, ...]:
    """In the order of haresources."""
    return tuple(one for group in config.groups for one in group.resources if isinstance(one, UnitResource))


async def states(systemd: Systemd, units: Iterable[str]) -> dict[str, tuple[UnitState, str]]:
    """Each unit, and its UnitFileState. Raises BusError."""
    found = {}
    for unit in units:
        state = await systemd.unit(unit)
        file = str(await systemd.unit_property(state, "UnitFileState")) if state.load == "loaded" else ""
        found[unit] = state, file
    return found


def judge(
    config: Config, found: dict[str, tuple[UnitState, str]], places: Places, known: Known
) -> None:
    """One line each."""
    for resource in resources(config):
        state, file = found[resource.unit]
        place = places.resource(resource.name)
        if state.load not in ("loaded", "masked"):
            text = f"systemd has not loaded it ({state.load}); is a systemctl daemon-reload missing?"
            known.warn(Section.UNITS, resource.unit, place, text)
        else:
            words = [word for word in (file, state.active) if word]
            known.good(Section.UNITS, resource.unit, ", ".join(words))


async def judge_boot(
    systemd: Systemd, config: Config, said: Collection[Place], places: Places, known: Known
) -> None:
    """Units that systemd starts at boot by what it has loaded, unless the files said so. Raises BusError."""
    for resource in resources(config):
        place = places.resource(resource.name)
        if place not in said:
            for warning in await boot_warnings(systemd, [resource.unit]):
                known.warn(Section.UNITS, resource.unit, place, warning)
