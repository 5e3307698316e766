"""Jobs: one end each, whatever the agent does."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

import pytest

from hbd.config.model import AddressResource, UnitResource
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
from hbd.core.events import (
    OK,
    Condition,
    Event,
    JobDone,
    JobId,
    Outcome,
    ResourceSeen,
    Result,
)
from hbd.errors import EdgeError
from hbd.jobs import Jobs, Post, Watching
from tests.edges.namespaces import until

HTTPD = UnitResource("httpd", "httpd.service")
ADDRESS = AddressResource("192.0.2.3", "192.0.2.3")


class Watched:
    """Posts once, and notes what it is told."""

    def __init__(self, calls: list[str], post: Post, resource: UnitResource) -> None:
        self._calls = calls
        seen = ResourceSeen(resource, Condition.STOPPED)
        self._later = asyncio.get_running_loop().call_later(0.01, post, seen)

    def hold(self) -> None:
        self._calls.append("hold")

    def resume(self, left: Condition | None) -> None:
        self._calls.append(f"resume {None if left is None else left.value}")

    def cancel(self) -> None:
        self._later.cancel()


@dataclass
class Scripted:
    """An agent that does what the test says; it acts on nothing."""

    does: Callable[[str], Awaitable[Outcome]]
    calls: list[str] = field(default_factory=list)
    permitted_ms: int = 0

    async def start(self, resource: UnitResource) -> Outcome:
        self.calls.append(f"start {resource.name}")
        return await self.does("start")

    async def stop(self, resource: UnitResource, leaving: bool) -> Outcome:
        self.calls.append(f"stop {resource.name} leaving={leaving}")
        return await self.does("stop")

    async def probe(self, resource: UnitResource) -> Condition:
        self.calls.append(f"probe {resource.name}")
        await self.does("probe")
        return Condition.RUNNING

    def watch(self, resource: UnitResource, known: Condition, post: Post) -> Watching:
        return Watched(self.calls, post, resource)

    async def drop(self, addresses: tuple[AddressResource, ...]) -> Outcome:
        self.calls.append(f"drop {len(addresses)}")
        return await self.does("drop")

    async def announce(self, address: AddressResource) -> Outcome:
        self.calls.append(f"announce {address.name}")
        return await self.does("announce")

    def permit(self, until_ms: int) -> None:
        self.permitted_ms = until_ms


async def fine(_: str) -> Outcome:
    return OK


async def endless(_: str) -> Outcome:
    await asyncio.sleep(3600)
    return OK


async def refusing(_: str) -> Outcome:
    raise EdgeError("systemd said no")


def jobs_of(does: Callable[[str], Awaitable[Outcome]]) -> tuple[Jobs, Scripted, Scripted]:
    unit, address = Scripted(does), Scripted(does)
    return Jobs({UnitResource: unit, AddressResource: address}, address), unit, address


async def ends(jobs: Jobs, action: Action, limit_ms: int = 1000) -> Outcome:
    """The one event that ends this action."""
    events: list[Event] = []
    jobs.start(StartJob(JobId(1), action, limit_ms), events.append)
    assert events == []
    await until(lambda: bool(events))
    await asyncio.sleep(0.01)
    assert len(events) == 1
    done = events[0]
    assert isinstance(done, JobDone)
    assert done.job == 1
    assert jobs.in_flight == 0
    return done.outcome


def test_each_action_reaches_the_agent_of_its_kind() -> None:
    async def body() -> None:
        jobs, unit, address = jobs_of(fine)
        assert await ends(jobs, StartResource(HTTPD)) == OK
        assert await ends(jobs, StopResource(HTTPD, leaving=True)) == OK
        assert await ends(jobs, ProbeResource(HTTPD)) == Outcome(Result.OK, condition=Condition.RUNNING)
        assert await ends(jobs, StartResource(ADDRESS)) == OK
        assert await ends(jobs, DropAddresses((ADDRESS,))) == OK
        assert await ends(jobs, Announce(ADDRESS)) == OK
        assert unit.calls == ["start httpd", "stop httpd leaving=True", "probe httpd"]
        assert address.calls == ["start 192.0.2.3", "drop 1", "announce 192.0.2.3"]

    asyncio.run(body())


def test_a_job_whose_time_is_up_ends_unknown_and_its_agent_is_cancelled() -> None:
    async def body() -> None:
        broken_off = asyncio.Event()

        async def slow(_: str) -> Outcome:
            try:
                return await endless(_)
            finally:
                broken_off.set()

        jobs, _, _ = jobs_of(slow)
        assert await ends(jobs, StopResource(HTTPD), 20) == Outcome(Result.UNKNOWN, "no answer within 0.02 s")
        assert broken_off.is_set()

    asyncio.run(body())


def test_an_agent_that_will_not_be_cancelled_cannot_stretch_its_limit() -> None:
    async def body() -> None:
        persuaded = asyncio.Event()

        async def stubborn(_: str) -> Outcome:
            try:
                await asyncio.sleep(3600)
            except asyncio.CancelledError:
                await persuaded.wait()
            return OK

        jobs, _, _ = jobs_of(stubborn)
        outcome = await ends(jobs, StartResource(HTTPD), 20)
        assert outcome.result is Result.UNKNOWN
        persuaded.set()
        await asyncio.sleep(0.01)

    asyncio.run(body())


def test_a_probe_without_an_answer_is_an_unknown_condition() -> None:
    async def body() -> None:
        jobs, _, _ = jobs_of(endless)
        assert (await ends(jobs, ProbeResource(HTTPD), 10)).condition is Condition.UNKNOWN
        jobs, _, _ = jobs_of(refusing)
        outcome = await ends(jobs, ProbeResource(HTTPD))
        assert outcome == Outcome(Result.UNKNOWN, "systemd said no", Condition.UNKNOWN)

    asyncio.run(body())


def test_a_refused_start_failed_and_a_refused_stop_is_unknown() -> None:
    async def body() -> None:
        jobs, _, _ = jobs_of(refusing)
        assert await ends(jobs, StartResource(HTTPD)) == Outcome(Result.FAILED, "systemd said no")
        assert await ends(jobs, StopResource(HTTPD)) == Outcome(Result.UNKNOWN, "systemd said no")
        assert await ends(jobs, DropAddresses((ADDRESS,))) == Outcome(Result.UNKNOWN, "systemd said no")

    asyncio.run(body())


def test_an_abandoned_job_says_nothing_and_stops_working() -> None:
    async def body() -> None:
        jobs, _, _ = jobs_of(endless)
        events: list[Event] = []
        jobs.start(StartJob(JobId(1), StartResource(HTTPD), 20), events.append)
        await asyncio.sleep(0)
        jobs.abandon(JobId(1))
        jobs.abandon(JobId(1))
        await asyncio.sleep(0.05)
        assert events == []
        assert jobs.in_flight == 0

    asyncio.run(body())


def test_a_bug_in_an_agent_ends_the_process_and_not_the_job() -> None:
    async def body() -> None:
        async def buggy(_: str) -> Outcome:
            raise KeyError("eth7")

        jobs, _, _ = jobs_of(buggy)
        events: list[Event] = []
        jobs.start(StartJob(JobId(1), StartResource(HTTPD), 1000), events.append)
        with pytest.raises(KeyError):
            await jobs.failed
        assert events == []
        jobs.close()

    asyncio.run(body())


def test_a_bug_in_an_agent_that_nobody_waits_for_is_still_a_bug() -> None:
    async def body() -> None:
        async def buggy_cleanup(_: str) -> Outcome:
            try:
                return await endless(_)
            finally:
                raise KeyError("eth7")

        jobs, _, _ = jobs_of(buggy_cleanup)
        jobs.start(StartJob(JobId(1), StartResource(HTTPD), 1000), lambda event: None)
        await asyncio.sleep(0)
        jobs.abandon(JobId(1))
        with pytest.raises(KeyError):
            await jobs.failed

    asyncio.run(body())


def test_a_watch_posts_until_it_is_ended() -> None:
    async def body() -> None:
        jobs, _, _ = jobs_of(fine)
        events: list[Event] = []
        jobs.watch(Watch(HTTPD, Condition.RUNNING), events.append)
        await asyncio.sleep(0.03)
        assert events == [ResourceSeen(HTTPD, Condition.STOPPED)]
        jobs.watch(Watch(HTTPD, Condition.RUNNING), events.append)
        jobs.unwatch(HTTPD)
        jobs.unwatch(HTTPD)
        await asyncio.sleep(0.03)
        assert len(events) == 1

    asyncio.run(body())


@pytest.mark.parametrize(
    ("action", "left"), [(StartResource(HTTPD), "running"), (StopResource(HTTPD), "stopped")]
)
def test_a_watch_looks_away_while_a_job_is_at_work_and_is_told_what_it_left(
    action: StartResource | StopResource, left: str
) -> None:
    async def body() -> None:
        jobs, agent, _ = jobs_of(fine)
        jobs.watch(Watch(HTTPD, Condition.STOPPED), lambda event: None)
        done = asyncio.Event()
        jobs.start(StartJob(JobId(1), action, 1000), lambda event: done.set())
        await done.wait()
        await asyncio.sleep(0)
        assert agent.calls[0] == "hold"
        assert agent.calls[-1] == f"resume {left}"
        jobs.start(StartJob(JobId(2), action, 1000), lambda event: None)
        jobs.abandon(JobId(2))
        assert agent.calls[-1] == "resume None"

    asyncio.run(body())


def test_the_permit_reaches_the_addresses() -> None:
    async def body() -> None:
        jobs, _, address = jobs_of(fine)
        jobs.permit(12345)
        assert address.permitted_ms == 12345

    asyncio.run(body())
