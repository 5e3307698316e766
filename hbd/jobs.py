"""Runs actions as tasks under their ids, and keeps the watches.

A job ends with exactly one JobDone: the agent's outcome, or UNKNOWN when its time is up. Then nobody
waits for the agent any more, whatever it still does to clean up: a time limit that can be stretched by
what it limits is none. An abandoned job ends with nothing.

    running ──agent returned──▶ JobDone(its outcome)
       ├──────limit_ms──────▶ JobDone(UNKNOWN), task cancelled
       └──────abandon───────▶ task cancelled

An agent's EdgeError is an outcome: FAILED for a start, UNKNOWN for a stop (a failed stop may still have
stopped half of it) and for a probe. Any other exception is our bug and goes to `failed`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol, assert_never

from hbd.config.model import AddressResource, ResourceSpec
from hbd.core.effects import (
    Action,
    Announce,
    DropAddresses,
    ProbeResource,
    StartJob,
    StartResource,
    StopResource,
    Watch,
)
from hbd.core.events import Condition, Event, JobDone, JobId, Outcome, Result
from hbd.errors import EdgeError

Post = Callable[[Event], None]


class Watching(Protocol):
    """As in `hbd.agents.base`."""

    def hold(self) -> None:
        """Look no more until `resume`."""

    def resume(self, left: Condition | None) -> None:
        """Look again, and post what is not as it was left."""

    def cancel(self) -> None:
        """Post nothing more."""


class Agent(Protocol):
    """As in `hbd.agents.base`; each takes its own kind of resource only."""

    async def start(self, resource: Any) -> Outcome:
        """OK once it runs."""

    async def stop(self, resource: Any, leaving: bool) -> Outcome:
        """OK once it is known to be stopped."""

    async def probe(self, resource: Any) -> Condition:
        """What is so now."""

    def watch(self, resource: Any, known: Condition, post: Post) -> Watching:
        """Post ResourceSeen when it changes, and at once if it is not what is known."""


class Addresses(Protocol):
    """What the agent of addresses can do besides."""

    async def drop(self, addresses: tuple[AddressResource, ...]) -> Outcome:
        """All of them off at once, announcements cancelled before."""

    async def announce(self, address: AddressResource) -> Outcome:
        """Tell the neighbours again."""

    def permit(self, until_ms: int) -> None:
        """Announcements may be sent until this time of CLOCK_BOOTTIME."""


@dataclass(frozen=True, slots=True)
class _Running:
    action: Action
    post: Post
    task: asyncio.Task[Outcome]
    limit: asyncio.TimerHandle


class Jobs:
    """The agents at work. To be used inside the event loop only."""

    def __init__(self, agents: Mapping[type[ResourceSpec], Agent], addresses: Addresses) -> None:
        self._agents = agents
        self._addresses = addresses
        self._loop = asyncio.get_running_loop()
        self._running: dict[JobId, _Running] = {}
        self._leftover: set[asyncio.Task[Outcome]] = set()
        self._watches: dict[ResourceSpec, Watching] = {}
        self.failed: asyncio.Future[None] = self._loop.create_future()
        """Gets an agent's unexpected exception; never a result."""

    @property
    def in_flight(self) -> int:
        """How many jobs have not ended."""
        return len(self._running)

    def start(self, effect: StartJob, post: Post) -> None:
        """Begin a job; JobDone is posted later, never from within this call."""
        assert effect.job not in self._running, f"job {effect.job} is already running"
        task = self._loop.create_task(self._act(effect.action), name=f"job {effect.job}: {effect.action}")
        limit = self._loop.call_later(effect.limit_ms / 1000, self._expire, effect.job, effect.limit_ms)
        self._running[effect.job] = _Running(effect.action, post, task, limit)
        # What our own job does is told by its end; to look meanwhile would only take time from it.
        for watching in self._watches_of(effect.action):
            watching.hold()
        task.add_done_callback(partial(self._done, effect.job))

    def abandon(self, job: JobId) -> None:
        """Cancel it and post nothing. A job that has ended meanwhile is fine."""
        running = self._running.pop(job, None)
        if running is not None:
            running.limit.cancel()
            self._let_go(running.task)
            self._resume(running.action, None)

    def watch(self, effect: Watch, post: Post) -> None:
        """Post ResourceSeen when it changes; a second watch replaces the first."""
        resource = effect.resource
        self.unwatch(resource)
        self._watches[resource] = self._agents[type(resource)].watch(resource, effect.known, post)

    def unwatch(self, resource: ResourceSpec) -> None:
        """Post nothing more about it."""
        watching = self._watches.pop(resource, None)
        if watching is not None:
            watching.cancel()

    def permit(self, until_ms: int) -> None:
        """Passed on to the agent of addresses."""
        self._addresses.permit(until_ms)

    def close(self) -> None:
        """Abandon everything; what was started stays as it is."""
        for job in tuple(self._running):
            self.abandon(job)
        for resource in tuple(self._watches):
            self.unwatch(resource)

    async def _act(self, action: Action) -> Outcome:
        match action:
            case StartResource(resource):
                return await self._agents[type(resource)].start(resource)
            case StopResource(resource, leaving):
                return await self._agents[type(resource)].stop(resource, leaving)
            case ProbeResource(resource):
                condition = await self._agents[type(resource)].probe(resource)
                return Outcome(Result.OK, condition=condition)
            case DropAddresses(addresses):
                return await self._addresses.drop(addresses)
            case Announce(address):
                return await self._addresses.announce(address)
            case _:
                assert_never(action)

    def _done(self, job: JobId, task: asyncio.Task[Outcome]) -> None:
        running = self._running.get(job)
        if running is None or running.task is not task:
            return  # Expired or abandoned; `_forget` looks after it.
        running.limit.cancel()
        outcome = self._outcome(running.action, task)
        if outcome is not None:
            del self._running[job]
            running.post(JobDone(job, outcome))
            self._resume(running.action, outcome)

    def _watches_of(self, action: Action) -> list[Watching]:
        """Of the resources that an action changes."""
        match action:
            case StartResource(resource) | StopResource(resource, _):
                resources: tuple[ResourceSpec, ...] = (resource,)
            case DropAddresses(addresses):
                resources = addresses
            case _:
                return []
        return [self._watches[each] for each in resources if each in self._watches]

    def _resume(self, action: Action, outcome: Outcome | None) -> None:
        left = None
        if outcome is not None and outcome.result is Result.OK:
            left = Condition.RUNNING if isinstance(action, StartResource) else Condition.STOPPED
        for watching in self._watches_of(action):
            watching.resume(left)

    def _outcome(self, action: Action, task: asyncio.Task[Outcome]) -> Outcome | None:
        if task.cancelled():
            return _unanswered(action, Result.UNKNOWN, "it was broken off")
        match task.exception():
            case None:
                return task.result()
            case EdgeError() as error:
                result = Result.FAILED if isinstance(action, StartResource | Announce) else Result.UNKNOWN
                return _unanswered(action, result, str(error))
            case bug:
                self._fail(bug)
                return None

    def _expire(self, job: JobId, limit_ms: int) -> None:
        running = self._running.pop(job)
        self._let_go(running.task)
        reason = f"no answer within {limit_ms / 1000:g} s"
        running.post(JobDone(job, _unanswered(running.action, Result.UNKNOWN, reason)))
        self._resume(running.action, None)

    def _let_go(self, task: asyncio.Task[Outcome]) -> None:
        """Nobody waits for it, but a bug in it is still a bug."""
        self._leftover.add(task)
        task.add_done_callback(self._forget)
        task.cancel()

    def _forget(self, task: asyncio.Task[Outcome]) -> None:
        self._leftover.discard(task)
        if not task.cancelled():
            bug = task.exception()
            if bug is not None and not isinstance(bug, EdgeError):
                self._fail(bug)

    def _fail(self, bug: BaseException) -> None:
        if not self.failed.done():
            self.failed.set_exception(bug)


def _unanswered(action: Action, result: Result, reason: str) -> Outcome:
    condition = Condition.UNKNOWN if isinstance(action, ProbeResource) else None
    return Outcome(result, reason, condition)
