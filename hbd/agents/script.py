"""Resource scripts of heartbeat 3.0.6: `/etc/ha.d/resource.d/NAME` with its arguments, and a verb.

A resource runs if, and only if, the *text* that its `status` prints says so; exit statuses of `status`
count for nothing, and those of `start` and `stop` are what they came to. Each verb runs in a transient
unit of its own, found again by name:

    probe    start or stop under way? BUSY.   Else by `status`.
    start    wait for a stop under way; join a start under way; running by `status`? done; else `start`.
    stop     let a start under way end, for a while; join a stop under way; else `stop`, asked or not.

Facts: how the ResourceManager of heartbeat 3.0.6 calls scripts and reads their status.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from hbd.agents.base import Post
from hbd.agents.scriptrun import Ended, Order, Runs
from hbd.config.model import Limits, ScriptResource
from hbd.core.events import OK, Condition, Outcome, ResourceSeen, Result
from hbd.dbusio import BusError
from hbd.netlink import report_bug
from hbd.systemd1 import Systemd

START, STOP, STATUS = "start", "stop", "status"

ENVIRONMENT_FILE = "script-environment"
"""In the run directory: a JSON object, for `hbd.orphan`."""

MOST_CHARACTERS = 1 << 20
"""Of what `status` prints; the rest is not looked at."""

_STOPPED = re.compile(r"[Nn][Oo][Tt] .*[Rr]unning", re.DOTALL)
_RUNNING = re.compile(r"[Rr]unning|OK")

_CAUSES = {
    "exit-code": "Return code {status} from {path}",
    "signal": "{path} was killed by signal {status}",
    "core-dump": "{path} dumped core (signal {status})",
    "timeout": "{path} {verb} took longer than its time limit and was killed",
    "oom-kill": "{path} was killed because memory ran out",
    "canceled": "somebody stopped {unit} and with it {path}",
}
"""Results of services (systemd.exec(5), $SERVICE_RESULT). The first is the text of 3.0.6."""


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What scripts are run with, as of now."""

    environment: Mapping[str, str]
    limits: Limits


def running_by(text: str) -> bool:
    """What the output of `status` means."""
    return _STOPPED.search(text) is None and _RUNNING.search(text) is not None


class ScriptAgent:
    """Starts, stops and probes scripts."""

    def __init__(self, systemd: Systemd, directory: Path, surroundings: Callable[[], Surroundings]) -> None:
        """`directory`: where scripts may write what `status` prints; the same path for systemd."""
        self._runs = Runs(systemd)
        self._directory = directory
        self._surroundings = surroundings

    async def start(self, resource: ScriptResource) -> Outcome:
        """OK if it runs already, or once its start has ended with 0."""
        try:
            await self._runs.join(resource.unit_for(STOP))
            ended = await self._runs.join(resource.unit_for(START))
            if ended is None:
                found = await self._status(resource)
                if found is Condition.RUNNING:
                    return OK
                if found is Condition.UNKNOWN:
                    text = f"{resource.path} status came to no end; {_remedy(resource, STATUS)}"
                    return Outcome(Result.FAILED, text)
                self._leave_environment()
                ended = await self._runs.run(self._order(resource, START))
        except BusError as refusal:
            return Outcome(Result.FAILED, f"{resource.path} was not run: {refusal}")
        return _outcome(resource, START, ended)

    async def stop(self, resource: ScriptResource, leaving: bool) -> Outcome:
        """OK once its stop has ended with 0, which it must even if it does not run."""
        try:
            await self._end_start(resource)
            ended = await self._runs.join(resource.unit_for(STOP))
            if ended is None:
                ended = await self._runs.run(self._order(resource, STOP))
            if ended.is_good:
                await self._forget(resource)
        except BusError as refusal:
            return Outcome(Result.FAILED, f"{resource.path} was not run: {refusal}")
        return _outcome(resource, STOP, ended)

    async def probe(self, resource: ScriptResource) -> Condition:
        """BUSY while it is being started or stopped; UNKNOWN if systemd or the script does not tell."""
        try:
            for verb in (START, STOP):
                if await self._runs.is_under_way(resource.unit_for(verb)):
                    return Condition.BUSY
            return await self._status(resource)
        except BusError:
            return Condition.UNKNOWN

    def watch(self, resource: ScriptResource, known: Condition, post: Post) -> ScriptWatch:
        """Post its condition once: a script tells nothing unless it is asked."""
        return ScriptWatch(self, resource, post)

    # ------------------------------------------------------------ the verbs

    def _order(self, resource: ScriptResource, verb: str, output: Path | None = None) -> Order:
        now = self._surroundings()
        limits = {START: now.limits.start_ms, STOP: now.limits.stop_ms, STATUS: now.limits.probe_ms}
        # The job's own limit comes first: it makes the outcome unknown, and what then still runs may end
        # well after all. Systemd's is for a script that hbd has left alone.
        limit_ms = limits[verb] if verb == STATUS else 2 * limits[verb]
        return Order(resource, verb, now.environment, limit_ms, output)

    async def _status(self, resource: ScriptResource) -> Condition:
        unit = resource.unit_for(STATUS)
        output = self._directory / unit.removesuffix(".service")
        ended = await self._runs.run(self._order(resource, STATUS, output))
        try:
            with output.open(errors="replace") as file:
                text = file.read(MOST_CHARACTERS)
            output.unlink()
        except OSError:
            return Condition.UNKNOWN
        if not ended.is_good:
            return Condition.UNKNOWN
        await self._runs.clear(unit)
        return Condition.RUNNING if running_by(text) else Condition.STOPPED

    async def _end_start(self, resource: ScriptResource) -> None:
        """A start under way may use the rest of its time, but not more than half of the stop's."""
        unit = resource.unit_for(START)
        if not await self._runs.is_under_way(unit):
            return
        limits = self._surroundings().limits
        began_us = await self._runs.began_us(unit)
        age_ms = (time.monotonic_ns() // 1000 - began_us) // 1000 if began_us else 0
        patience_ms = min(max(0, limits.start_ms - age_ms), limits.stop_ms // 2)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(patience_ms / 1000):
                await self._runs.join(unit)
        await self._runs.kill(unit)

    async def _forget(self, resource: ScriptResource) -> None:
        """Let go of the units; that of a failed start stays for the administrator to look at."""
        await self._runs.clear(resource.unit_for(STOP))
        if await self._runs.has_succeeded(resource.unit_for(START)):
            await self._runs.clear(resource.unit_for(START))

    def _leave_environment(self) -> None:
        """For whoever has to stop the script when hbd is no more."""
        new = self._directory / f"{ENVIRONMENT_FILE}.new"
        new.write_text(json.dumps(dict(self._surroundings().environment)))
        os.replace(new, self._directory / ENVIRONMENT_FILE)


class ScriptWatch:
    """Posts the condition as it is when the watch begins."""

    def __init__(self, agent: ScriptAgent, resource: ScriptResource, post: Post) -> None:
        self._agent = agent
        self._resource = resource
        self._post = post
        self._looking = asyncio.create_task(self._look(), name=f"watch {resource.identity}")
        self._looking.add_done_callback(report_bug)

    def hold(self) -> None:
        """It looks only once."""

    def resume(self, left: Condition | None) -> None:
        """It looks only once."""

    def cancel(self) -> None:
        """Post nothing more."""
        self._looking.cancel()

    async def _look(self) -> None:
        self._post(ResourceSeen(self._resource, await self._agent.probe(self._resource)))


def _outcome(resource: ScriptResource, verb: str, ended: Ended) -> Outcome:
    if ended.is_good:
        return OK
    cause = _CAUSES.get(ended.result, "{path} ended with '{result}'").format(
        path=resource.path, verb=verb, unit=resource.unit_for(verb), result=ended.result, status=ended.status
    )
    # A time limit tells nothing about what has come of it.
    result = Result.UNKNOWN if ended.result == "timeout" else Result.FAILED
    return Outcome(result, f"{cause}; {_remedy(resource, verb)}")


def _remedy(resource: ScriptResource, verb: str) -> str:
    return f"see journalctl -u '{resource.unit_for(verb)}'"
