"""One run of a resource script in a transient unit, from its beginning to a known end.

    none ──StartTransientUnit──▶ activating ──exit 0──▶ active (exited) ──▶ Ended(success)
                                     └──else, limit──▶ failed ──────────▶ Ended(why)

RemainAfterExit= keeps the end of a run to be read by whoever asks next: a daemon that was killed and
started again, or one that lost its connection. So nothing is ever run twice for want of an answer.

Only the script is killed with its unit, not what it started, as with the services that systemd makes of
init scripts: a daemon that a start left behind is in its unit's cgroup. DefaultDependencies=no: at
shutdown hbd has to run scripts while every other unit is being stopped, and nobody else may stop these.
Facts: org.freedesktop.systemd1(5), systemd.service(5), systemd.exec(5); systemd-sysv-generator(8).
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from hbd.config.model import ScriptResource
from hbd.dbusio import BusError, NoAnswer, Variant
from hbd.systemd1 import TRACE_LOST, UNIT_EXISTS, JobPath, Systemd, UnitState

ASK_AGAIN_S = 0.1
KILL_PATIENCE_S = 5
UNLOAD_PATIENCE = 2
"""So often a unit that was cleared may still be there, ASK_AGAIN_S apart."""
_SYSTEMDS_OWN = range(200, 246)
"""Exit statuses by which systemd tells that it could not execute the script (systemd.exec(5))."""
_NOTICE = 5


@dataclass(frozen=True, slots=True)
class Ended:
    """How a run ended: systemd's Result= of the unit, and the exit status, or the signal's number."""

    result: str
    status: int = 0

    @property
    def is_good(self) -> bool:
        return self.result == "success"


@dataclass(frozen=True, slots=True)
class Order:
    """What is to be run, and in what surroundings."""

    resource: ScriptResource
    verb: str
    environment: Mapping[str, str]
    limit_ms: int
    """Until systemd kills it, if hbd is not there to do so earlier."""
    output: Path | None = None
    """Where what it prints is wanted. Its exit status does not count then, and systemd logs nothing of it."""

    @property
    def unit(self) -> str:
        return self.resource.unit_for(self.verb)

    def properties(self) -> dict[str, Variant]:
        """Of the transient unit."""
        resource = self.resource
        words = [resource.path, *resource.args, self.verb]
        found = {
            "Description": Variant("s", f"Resource script {resource.identity}, {self.verb}"),
            "DefaultDependencies": Variant("b", False),
            "Slice": Variant("s", "system.slice"),
            "Type": Variant("s", "oneshot"),
            "RemainAfterExit": Variant("b", True),
            "KillMode": Variant("s", "process" if self.output is None else "control-group"),
            "IgnoreSIGPIPE": Variant("b", False),
            "TimeoutStartUSec": Variant("t", self.limit_ms * 1000),
            "TimeoutStopUSec": Variant("t", KILL_PATIENCE_S * 1_000_000),
            "Environment": Variant("as", [f"{name}={value}" for name, value in self.environment.items()]),
            "ExecStartEx": Variant("a(sasas)", [[resource.path, words, ["no-env-expand"]]]),
            "SyslogIdentifier": Variant("s", resource.path.rpartition("/")[2]),
            "LogExtraFields": Variant("aay", [f"HBD_RESOURCE={resource.name}".encode()]),
        }
        if self.output is not None:
            counted = [status for status in range(1, 256) if status not in _SYSTEMDS_OWN]
            found |= {
                "StandardOutputFileToTruncate": Variant("s", str(self.output)),
                "StandardError": Variant("s", "journal"),
                "LogLevelMax": Variant("i", _NOTICE),
                "SuccessExitStatus": Variant("(aiai)", [counted, []]),
            }
        return found


def is_under_way(state: UnitState) -> bool:
    """The script runs, or something is about to happen to its unit."""
    return not (state.is_up or state.is_down) or state.job is not None


class Runs:
    """Runs scripts and waits for their ends. Callers limit their time, by cancelling."""

    def __init__(self, systemd: Systemd) -> None:
        self._systemd = systemd

    async def is_under_way(self, unit: str) -> bool:
        """Whether that script runs now. Raises BusError, but for NoAnswer."""
        return is_under_way(await self._state(unit))

    async def join(self, unit: str) -> Ended | None:
        """The end of a run that is under way; None if none is. Raises BusError, but for NoAnswer."""
        joined = False
        while True:
            try:
                state = await self._systemd.unit(unit)
                if not is_under_way(state):
                    return await self._ended(state) if joined else None
                joined = True
                await self._change(state)
            except NoAnswer:
                await asyncio.sleep(ASK_AGAIN_S)

    async def run(self, order: Order) -> Ended:
        """Run it anew, whatever earlier runs came to; none of this unit may be under way.

        Raises BusError, but for NoAnswer.
        """
        await self.clear(order.unit)
        job: JobPath | None = None
        refused = 0
        while True:
            try:
                state = await self._systemd.unit(order.unit)
                if is_under_way(state):
                    await self._change(state)
                elif job is not None or state.active != "inactive":
                    return await self._ended(state)
                else:
                    # Systemd keeps a unit whose cgroup is not empty, and makes no other of its name.
                    kept = refused > UNLOAD_PATIENCE
                    job = await (self._systemd.start(order.unit) if kept else self._begin(order))
                    await self._systemd.job_result(job)
            except NoAnswer:
                await asyncio.sleep(ASK_AGAIN_S)
            except BusError as error:
                if error.name != UNIT_EXISTS:
                    raise
                refused += 1
                await asyncio.sleep(ASK_AGAIN_S)

    async def _begin(self, order: Order) -> JobPath:
        return await self._systemd.start_transient(order.unit, order.properties())

    async def clear(self, unit: str) -> None:
        """Forget how the last run ended; what it left running goes on. Raises BusError, but for NoAnswer."""
        while True:
            try:
                state = await self._systemd.unit(unit)
                if state.active == "failed":
                    await self._systemd.reset_failed(unit)
                elif state.active == "inactive":
                    return
                else:
                    await self._systemd.job_result(await self._systemd.stop(unit))
            except NoAnswer:
                await asyncio.sleep(ASK_AGAIN_S)

    async def has_succeeded(self, unit: str) -> bool:
        """Whether the last run ended well and was not cleared since. Raises BusError, but for NoAnswer."""
        return (await self._state(unit)).is_up

    async def began_us(self, unit: str) -> int:
        """When the script began, of CLOCK_MONOTONIC; 0 if it has not. Raises BusError, but for NoAnswer."""
        while True:
            try:
                state = await self._systemd.unit(unit)
                return int(await self._systemd.service_property(state, "ExecMainStartTimestampMonotonic"))
            except NoAnswer:
                await asyncio.sleep(ASK_AGAIN_S)

    async def kill(self, unit: str) -> None:
        """End a run under way, the script and all it started, by force. Raises BusError, but for NoAnswer."""
        while True:
            if not is_under_way(await self._state(unit)):
                return
            # One that has ended meanwhile cannot be killed: then the next look shows it.
            with contextlib.suppress(BusError):
                await self._systemd.kill(unit, signal.SIGKILL)
            await asyncio.sleep(ASK_AGAIN_S)

    async def _state(self, unit: str) -> UnitState:
        while True:
            try:
                return await self._systemd.unit(unit)
            except NoAnswer:
                await asyncio.sleep(ASK_AGAIN_S)

    async def _change(self, state: UnitState) -> None:
        """Wait until it is worth looking again. Raises NoAnswer."""
        if state.job is None:
            raise NoAnswer(TRACE_LOST, "no job to wait for")
        await self._systemd.job_result(state.job)

    async def _ended(self, state: UnitState) -> Ended:
        if state.is_up:
            return Ended("success")
        if state.active == "inactive":
            return Ended("canceled")  # Somebody stopped the unit, and with it the script.
        result = await self._systemd.result(state)
        return Ended(result, int(await self._systemd.service_property(state, "ExecMainStatus")))
