"""systemd units as resources.

Start and stop are wishes about a state, not commands to be carried out once: each round looks at the unit
and either finds the wish fulfilled, or asks systemd for a job and follows it to its end. When the trace of
a job is lost (pid 1 was re-executed, the connection broke, a reply never came) the next round looks again.
So nothing but systemd's own word makes an outcome, and without it a round follows a round until the caller's
time limit cancels them.

What counts as running is systemd's ActiveState: `active`, or `reloading` out of it. What counts as stopped
is `inactive` or `failed`, but for one case. Where systemd kills nobody (KillMode=process: every unit that it
makes of an init script), `failed` may mean that the stop command failed and the service goes on.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from hbd.agents.base import Pause, Post
from hbd.config.model import UnitResource
from hbd.core.events import OK, Condition, Outcome, ResourceSeen, Result
from hbd.dbusio import BusError, NoAnswer, Subscription
from hbd.systemd1 import TRACE_LOST, JobPath, Systemd, UnitState

ASK_AGAIN_S = 0.2
"""Pause before a question is asked again that found no answer."""
PROBE_PATIENCE_S = 5.0

_EXITED = 1
"""CLD_EXITED, waitid(2)."""
_HARMLESS = ("reload", "verify-active", "nop")
"""Types of jobs that neither start nor stop a unit that is active."""

_ENDINGS = {
    "done": "its job was done, but it did not stay so",
    "failed": "it failed",
    "dependency": "a unit that it needs did not start",
    "timeout": "systemd's time limit for it ran out",
    "canceled": "somebody cancelled its job",
    "skipped": "systemd skipped its job",
    "assert": "one of its Assert…= conditions does not hold",
    "unsupported": "this kind of unit is not supported here",
    "invalid": "systemd found the job not applicable to it",
    "collected": "systemd dropped its job",
    "once": "it is started only once, and has been",
}
"""Results of jobs in words (org.freedesktop.systemd1(5), JobRemoved)."""


@dataclass(frozen=True, slots=True)
class Wish:
    """What a unit shall come to, how systemd is asked for it, and how to say that it did not."""

    fulfilled: Callable[[UnitState], Awaitable[bool]]
    ask: Callable[[str], Awaitable[JobPath]]
    failure: str


def is_running(state: UnitState) -> bool:
    """Up, and nothing is about to change that."""
    return state.is_up and (state.job is None or state.job_type in _HARMLESS)


def is_stopped(state: UnitState) -> bool:
    """Down, and nothing is about to change that."""
    return state.is_down and state.job is None


def condition_of(state: UnitState) -> Condition:
    """A unit that does not exist is stopped; one between two tries of Restart= is busy."""
    if is_running(state):
        return Condition.RUNNING
    if is_stopped(state):
        return Condition.STOPPED
    return Condition.BUSY


class UnitAgent:
    """Starts, stops, probes and watches units."""

    def __init__(self, systemd: Systemd, before_start: Callable[[str], None] = lambda _: None) -> None:
        """`before_start` is told the name of each unit that is to be started."""
        self._systemd = systemd
        self._before_start = before_start

    async def start(self, resource: UnitResource) -> Outcome:
        """OK once systemd says `active`."""

        async def runs(state: UnitState) -> bool:
            return is_running(state)

        self._before_start(resource.unit)
        return await self._bring(resource.unit, Wish(runs, self._systemd.start, "was not started"))

    async def stop(self, resource: UnitResource, leaving: bool) -> Outcome:
        """OK once systemd says `inactive` or `failed`, has no job for it, and nothing of it goes on.

        A stop command that failed cannot be tried again: for systemd the unit is down. The next try looks.

        `leaving`: hbd itself is being stopped. It is ordered after its units, so their stop jobs would wait
        for the end of ours, and ours for them: then systemd is told to leave the order alone.
        """
        mode = "ignore-dependencies" if leaving else "replace"

        def ask(name: str) -> Awaitable[JobPath]:
            return self._systemd.stop(name, mode)

        async def has_stopped(state: UnitState) -> bool:
            return is_stopped(state) and not await self._left_behind(state)

        return await self._bring(resource.unit, Wish(has_stopped, ask, "was not stopped"))

    async def probe(self, resource: UnitResource) -> Condition:
        """UNKNOWN if systemd cannot be reached or asked, or what it calls down goes on."""
        try:
            async with asyncio.timeout(PROBE_PATIENCE_S):
                state = await self._systemd.unit(resource.unit)
                return Condition.UNKNOWN if await self._left_behind(state) else condition_of(state)
        except (BusError, TimeoutError):
            return Condition.UNKNOWN

    def watch(self, resource: UnitResource, known: Condition, post: Post) -> UnitWatch:
        """Post its condition whenever it is not what is known."""
        return UnitWatch(self._systemd, resource, known, post)

    async def _bring(self, unit: str, wish: Wish) -> Outcome:
        while True:
            try:
                return await self._round(unit, wish)
            except NoAnswer:
                await asyncio.sleep(ASK_AGAIN_S)
            except BusError as refusal:
                text = str(refusal).rstrip(".")
                return Outcome(Result.FAILED, f"{unit} {wish.failure}: {text}; {_remedy(unit)}")

    async def _round(self, unit: str, wish: Wish) -> Outcome:
        """Look, ask, follow, look. Raises NoAnswer when the trace is lost: then it has to begin anew."""
        if await wish.fulfilled(await self._systemd.unit(unit)):
            return OK
        # Asked even if such a job is there already: systemd merges both, and answers the one that is there.
        ended = await self._follow(unit, await wish.ask(unit))
        state = await self._systemd.unit(unit)
        if await wish.fulfilled(state):
            return OK
        return Outcome(Result.FAILED, await self._explain(unit, wish, ended, state))

    async def _follow(self, unit: str, job: JobPath) -> str:
        while True:
            try:
                return await self._systemd.job_result(job)
            except NoAnswer:
                # Looking waits for a connection; signals sent before its answer have been taken in after it.
                state = await self._systemd.unit(unit)
                if state.job != job and not self._systemd.has_ended(job):
                    raise NoAnswer(TRACE_LOST, "the job ended unseen") from None

    async def _left_behind(self, state: UnitState) -> list[int]:
        """The pids of a service that is down after a stop command that failed."""
        if state.active != "failed" or not state.name.endswith(".service"):
            return []
        commands = await self._systemd.service_property(state, "ExecStop")
        if not any(pid and (code, status) != (_EXITED, 0) for *_, pid, code, status in commands):
            return []
        return await self._systemd.processes(state.name)

    async def _explain(self, unit: str, wish: Wish, ended: str, state: UnitState) -> str:
        left = await self._left_behind(state)
        if left:
            pids = ", ".join(map(str, left))
            why = f"its stop command failed, and it goes on (pid {pids})"
            return f"{unit} {wish.failure}: {why}; {_remedy(unit)}"
        why = _ENDINGS.get(ended, f"its job ended as '{ended}'")
        facts = [f"{state.active} ({state.sub})"]
        result = await self._systemd.result(state)
        if result not in ("", "success"):
            facts.append(f"result '{result}'")
        if ended == "done" and state.is_down and await self._systemd.unit_property(state, "Conditions"):
            # Which of both cannot be asked: systemd forgets ConditionResult along with a unit nobody uses.
            why = "one of its Condition…= settings does not hold, or it ended at once"
        return f"{unit} {wish.failure}: {why}; it is {', '.join(facts)}; {_remedy(unit)}"


class UnitWatch:
    """Follows one unit until it is cancelled, over lost connections and daemon-reloads.

    Every signal only means "look again": what is posted is what systemd says when asked, so that a lost or
    merged signal cannot leave a wrong picture.
    """

    def __init__(self, systemd: Systemd, resource: UnitResource, known: Condition, post: Post) -> None:
        self._systemd = systemd
        self._resource = resource
        self._post = post
        self._known: Condition | None = known
        self._pause = Pause(self._look_anew)
        self._name = resource.unit
        self._subscriptions: list[Subscription] = []
        self._anew = True
        self._wake = asyncio.Event()
        self._wake.set()
        self._forget = systemd.on_reset(self._reset)
        self._task = asyncio.get_running_loop().create_task(self._run())

    def hold(self) -> None:
        """Look no more until `resume`."""
        self._pause.begin()

    def resume(self, left: Condition | None) -> None:
        """Look again soon, and post what is not as it was left."""
        self._pause.end(left)

    def _look_anew(self, left: Condition | None) -> None:
        self._known = left
        self._wake.set()

    def cancel(self) -> None:
        """Post nothing more."""
        self._pause.cancel()
        self._forget()
        self._silence()
        self._task.cancel()

    def _reset(self) -> None:
        self._anew = True
        self._wake.set()

    async def _run(self) -> None:
        while True:
            await self._wake.wait()
            self._wake.clear()
            if self._pause.on:
                continue
            try:
                await self._look()
            except BusError:
                await asyncio.sleep(ASK_AGAIN_S)
                self._reset()

    async def _look(self) -> None:
        if self._anew:
            self._anew = False
            self._silence()
            # Listen first, look then: what changes in between is heard.
            state = await self._systemd.unit(self._resource.unit)
            await self._systemd.hear(state, self._wake.set, self._subscriptions)
            self._name = state.name
        now = await self._systemd.loaded_unit(self._name)
        condition = Condition.STOPPED if now is None else condition_of(now)
        if condition is self._known or self._pause.on:
            return
        if self._known is Condition.STOPPED and now is not None and now.is_down:
            return  # Its start is only asked for: systemd may refuse it, or other units come first.
        seen = ResourceSeen(self._resource, condition, await self._describe(now))
        if not self._pause.on:
            self._known = condition
            self._post(seen)

    async def _describe(self, state: UnitState | None) -> str:
        """As systemctl shows it: "failed, result 'exit-code'"."""
        if state is None:
            return "inactive"
        result = await self._systemd.result(state) if state.active == "failed" else ""
        return f"{state.active}, result '{result}'" if result else state.active

    def _silence(self) -> None:
        for subscription in self._subscriptions:
            subscription.cancel()
        self._subscriptions = []


def _remedy(unit: str) -> str:
    return f"see 'systemctl status {unit}'"
