"""Managed units at the machine's boot and shutdown.

At boot nobody but hbd may start them, or both machines would: systemd refuses to (`systemd/hbd-generator`),
and whatever else would do it is reported. At shutdown hbd has to release before systemd stops anything:
hbd.service is ordered after hbd-units.target, which a run-time drop-in orders after every unit that hbd
manages, and systemd stops in the reverse order. Not hbd.service itself: a start of a unit that is under way
would hold up the restart of a killed hbd.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Callable, Sequence
from pathlib import Path

from hbd.errors import HbdError
from hbd.systemd1 import Systemd, UnitState

log = logging.getLogger("hbd")

DROP_IN = Path("/run/systemd/system/hbd-units.target.d/50-managed-units.conf")

_PULLED_BY = {
    "WantedBy": "is wanted by",
    "RequiredBy": "is required by",
    "UpheldBy": "is upheld by",
    "BoundBy": "is needed by",
    "TriggeredBy": "is triggered by",
}
"""Properties of org.freedesktop.systemd1.Unit that name units which have this one started, in words."""

_BOTH = "so that both machines would start it at boot"

QUIET_EVERY_S = 0.5
QUIET_ENOUGH = 4
QUIET_LOOKS = 60
"""Half seconds without a job before systemd is asked to reload, and how often that is looked at."""
RETRY_S = 5.0
ANSWER_S = 30.0

_MOST_UNITS = 200
"""As many are looked at above one managed unit: more than lie between any service and its target."""


class BootOrder:
    """Keeps systemd's knowledge of the managed units up to date, when it costs nobody anything.

    `list_units` stores them for systemd's generators and tells whether they were others before; `is_busy`
    tells whether jobs are under way.
    """

    def __init__(
        self, systemd: Systemd, list_units: Callable[[Sequence[str]], bool], is_busy: Callable[[], bool]
    ) -> None:
        self._systemd = systemd
        self._list_units = list_units
        self._is_busy = is_busy

    async def settle(self, units: Sequence[str]) -> None:
        """Have systemd know which units hbd manages, and warn of those that it would start itself."""
        if _read(DROP_IN) is not None:
            await self._a_quiet_moment()  # Ordered already, as it was: no hurry.
        told = False
        while True:
            try:
                anew = await asyncio.to_thread(self._list_units, units)
                async with asyncio.timeout(ANSWER_S):
                    await order_after(self._systemd, units, anew=anew)
                await self._a_quiet_moment()
                async with asyncio.timeout(ANSWER_S):
                    for warning in await boot_warnings(self._systemd, units):
                        log.warning("%s", warning)
                return
            except (HbdError, OSError, TimeoutError) as error:
                if not told:
                    log.warning("hbd cannot be ordered after its units yet: %s", error or "no answer")
                    told = True
            await asyncio.sleep(RETRY_S)

    async def _a_quiet_moment(self) -> None:
        """Systemd starts nothing while it reloads: let a takeover or a failback come first."""
        quiet = 0
        for _ in range(QUIET_LOOKS):
            quiet = 0 if self._is_busy() else quiet + 1
            if quiet == QUIET_ENOUGH:
                return
            await asyncio.sleep(QUIET_EVERY_S)


async def order_after(
    systemd: Systemd, units: Sequence[str], drop_in: Path = DROP_IN, *, anew: bool = False
) -> bool:
    """Have hbd ordered after these units; whether systemd had to reload.

    `anew`: it has to in any case, for the sake of its generators.

    Raises BusError if systemd does not take it in, OSError if the file cannot be written.
    """
    text = _drop_in(units)
    if _read(drop_in) == text and not anew:
        return False
    _write(drop_in, text)
    try:
        await systemd.reload()
    except BaseException:
        # Not known to be in force: the next attempt must not take it for done.
        _remove(drop_in)
        raise
    return True


def _drop_in(units: Sequence[str]) -> str:
    names = "".join(f"After={unit}\n" for unit in dict.fromkeys(units))
    return f"# Written by hbd from its configuration.\n[Unit]\n{names}"


def _read(path: Path) -> str | None:
    try:
        return path.read_text()
    except FileNotFoundError:
        return None


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    # systemd reads only names that end in .conf, so it cannot meet half a file.
    new = path.with_suffix(".new")
    new.write_text(text)
    os.replace(new, path)


def _remove(path: Path) -> None:
    path.unlink(missing_ok=True)


async def boot_warnings(systemd: Systemd, units: Sequence[str]) -> list[str]:
    """A sentence for each managed unit that systemd itself would start at boot. Raises BusError."""
    target = await systemd.unit(await systemd.default_target())
    warnings = []
    for unit in dict.fromkeys(units):
        state = await systemd.unit(unit)
        if state.load == "loaded":
            found = await _boot_warning(systemd, unit, state, target.name)
            if found:
                warnings.append(found)
    return warnings


async def _boot_warning(systemd: Systemd, unit: str, state: UnitState, target: str) -> str:
    file_state = await systemd.unit_property(state, "UnitFileState")
    if file_state in ("enabled", "enabled-runtime"):
        return f"{unit} is enabled, {_BOTH}; run 'systemctl disable {state.name}'"
    chain = await _chain(systemd, state, target)
    if not chain:
        return ""
    if file_state == "generated" and state.name.endswith(".service"):
        remedy = f"run 'systemctl disable {state.name}'"
    elif state.name.endswith(".mount"):
        remedy = "write 'noauto' in its line of /etc/fstab"
    else:
        remedy = f"disable what wants it ('systemctl list-dependencies --reverse {state.name}')"
    return f"{unit} {', which '.join(chain)}, {_BOTH}; {remedy}"


async def _chain(systemd: Systemd, state: UnitState, target: str) -> list[str]:
    """How the unit hangs on the boot's target: ["is wanted by x", "is required by y", ...], or nothing.

    Breadth first: the shortest chain is the one to show.
    """
    reached = {state.name}
    queue: list[tuple[UnitState, list[str]]] = [(state, [])]
    while queue and len(reached) < _MOST_UNITS:
        below, chain = queue.pop(0)
        for name, words in _PULLED_BY.items():
            for above in await systemd.unit_property(below, name):
                longer = [*chain, f"{words} {above}"]
                if above == target:
                    return longer
                if above not in reached:
                    reached.add(above)
                    queue.append((await systemd.unit(above), longer))
    return []
