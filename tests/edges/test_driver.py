"""The driver, with cores that are written down: what goes in, what comes out, in which order."""

import asyncio
import socket
from collections.abc import Callable
from dataclasses import dataclass, field, replace

import pytest

from hbd import clock
from hbd.config.model import AutoFailback, MediumSpec, ResourceSpec, Ucast
from hbd.core.effects import (
    Answer,
    CloseLink,
    Effect,
    FeedWatchdog,
    Forward,
    Kind,
    LeaseEffect,
    Level,
    Log,
    OpenLink,
    Quit,
    Recall,
    Retold,
    StartClient,
    StartJob,
    StopClient,
    StoreFreeze,
    StoreGeneration,
    StoreHeld,
    StorePeers,
    StoreStall,
    Transmit,
    Watch,
    WatchPaths,
)
from hbd.core.events import (
    Asked,
    AskPeer,
    DatagramReceived,
    Event,
    Instant,
    JobId,
    LinkFailed,
    LinkOpened,
    Recalled,
    RequestId,
    Scope,
    Standby,
    Started,
    Tick,
)
from hbd.core.views import ClusterState, ClusterView, Holding
from hbd.driver import SHOW_EVERY_S, Driver
from hbd.edges import Edges, Post
from hbd.errors import Refused

ETH0 = Ucast("eth0", "10.0.0.2", 694)
ETH1 = Ucast("eth1", "10.1.0.2", 694)
VIEW = ClusterView(
    "alpha", ClusterState.STABLE, Holding.NONE, AutoFailback.ON, 1, 0, (0, ""), nodes=(), links=(), groups=()
)


@dataclass
class WrittenCore:
    """Answers each event as `says` tells it, and wants a Tick at `deadline_ms`."""

    says: Callable[[Event], list[Effect]]
    deadline_ms: int | None = None
    seen: list[Event] = field(default_factory=list)

    def step(self, now: Instant, event: Event) -> list[Effect]:
        self.seen.append(event)
        return self.says(event)

    def view(self) -> ClusterView:
        return VIEW


class PairMedium:
    """One end of a real socket pair; the test reads the other."""

    def __init__(self, broken: bool = False) -> None:
        self.ours, self.theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.theirs.setblocking(False)
        self.broken = broken
        self.post: Post | None = None

    def open(self, post: Post) -> None:
        if self.broken:
            raise OSError(19, "No such device")
        self.post = post

    def send(self, message: Transmit) -> None:
        self.ours.send(message.payload)

    def close(self) -> None:
        self.ours.close()

    def received(self) -> list[bytes]:
        arrived = []
        try:
            while datagram := self.theirs.recv(2000):
                arrived.append(datagram)
        except BlockingIOError:
            pass
        return arrived


@dataclass
class PairedClients:
    """Writes down what is asked for clients."""

    told: list[object]

    def start(self, effect: StartClient, post: Post) -> None:
        self.told.append(effect)

    def stop(self, effect: StopClient, post: Post) -> None:
        self.told.append(effect)


@dataclass
class WrittenLease:
    """Writes down what is asked for the lease."""

    told: list[object]

    def perform(self, effect: LeaseEffect, post: Post) -> None:
        self.told.append(effect)


@dataclass
class PairedPaths:
    """Writes down which addresses are to be watched."""

    told: list[object]

    def watch(self, effect: WatchPaths, post: Post) -> None:
        self.told.append(effect)


@dataclass
class World:
    """What the edges were told, in order."""

    media: dict[MediumSpec, PairMedium] = field(default_factory=dict)
    told: list[object] = field(default_factory=list)

    def edges(self) -> Edges:
        return Edges(
            now=clock.now,
            load=lambda: "0.10 0.20 0.30 1/100 77",
            medium=lambda spec: self.media[spec],
            work=self,
            clients=PairedClients(self.told),
            lease=WrittenLease(self.told),
            paths=PairedPaths(self.told),
            store=self._store,
            log=self.told.append,
            note=self.told.append,
            recall=lambda wanted: Recalled(wanted.node, wanted.token, (), "boot"),
            feed=lambda ms, device: self.told.append("fed"),
        )

    def _store(self, effect: StoreHeld | StoreGeneration | StorePeers | StoreStall | StoreFreeze) -> None:
        self.told.append(effect)

    def start(self, effect: StartJob, post: Post) -> None:
        self.told.append(effect)

    def abandon(self, job: JobId) -> None:
        self.told.append(("abandon", job))

    def watch(self, effect: Watch, post: Post) -> None:
        self.told.append(("watch", effect.resource))

    def unwatch(self, resource: ResourceSpec) -> None:
        self.told.append(("unwatch", resource))

    def permit(self, until_ms: int) -> None:
        self.told.append(("permit", until_ms))


def log(text: str) -> Log:
    return Log(Level.INFO, Kind.GENERIC, text)


def test_effects_are_performed_in_order_and_the_watchdog_is_fed_last() -> None:
    async def body() -> None:
        world = World()
        driver = Driver(WrittenCore(lambda _: [FeedWatchdog(), StoreHeld(()), log("one")]), world.edges())
        driver.post(Started())
        assert world.told == [StoreHeld(()), log("one"), "fed"]

    asyncio.run(body())


def test_an_event_that_an_effect_posts_waits_until_the_step_is_performed() -> None:
    async def body() -> None:
        world = World({ETH0: PairMedium(broken=True)})

        def says(event: Event) -> list[Effect]:
            match event:
                case Started():
                    return [OpenLink(ETH0), log("after open")]
                case LinkFailed(_, reason):
                    return [log(reason)]
            return []

        core = WrittenCore(says)
        Driver(core, world.edges()).post(Started())
        assert core.seen == [Started(), LinkFailed(ETH0, "No such device")]
        assert world.told == [log("after open"), log("No such device")]

    asyncio.run(body())


def test_what_is_passed_on_goes_out_on_the_media_it_names_as_far_as_they_are_open() -> None:
    async def body() -> None:
        world = World({ETH0: PairMedium(), ETH1: PairMedium()})

        def says(event: Event) -> list[Effect]:
            match event:
                case Started():
                    gone = replace(ETH1, interface="eth9")
                    passed = Forward(Transmit(b"for those behind us"), (ETH1, gone))
                    return [OpenLink(ETH0), OpenLink(ETH1), passed]
            return []

        Driver(WrittenCore(says), world.edges()).post(Started())
        assert world.media[ETH0].received() == []
        assert world.media[ETH1].received() == [b"for those behind us"]

    asyncio.run(body())


def test_a_datagram_goes_out_on_every_open_medium_and_on_none_that_was_closed() -> None:
    async def body() -> None:
        world = World({ETH0: PairMedium(), ETH1: PairMedium()})

        def says(event: Event) -> list[Effect]:
            match event:
                case Started():
                    both: list[Effect] = [OpenLink(ETH0), OpenLink(ETH1), Transmit(b"both")]
                    return [*both, CloseLink(ETH0), Transmit(b"one")]
            return []

        Driver(WrittenCore(says), world.edges()).post(Started())
        assert world.media[ETH0].received() == [b"both"]
        assert world.media[ETH1].received() == [b"both", b"one"]

    asyncio.run(body())


def test_a_medium_that_breaks_is_closed_and_the_core_told() -> None:
    async def body() -> None:
        world = World({ETH0: PairMedium()})

        def says(event: Event) -> list[Effect]:
            return [OpenLink(ETH0)] if isinstance(event, Started) else [Transmit(b"lost")]

        core = WrittenCore(says)
        driver = Driver(core, world.edges())
        driver.post(Started())
        post = world.media[ETH0].post
        assert post is not None
        post(LinkOpened(ETH0))
        assert world.media[ETH0].received() == [b"lost"]
        post(LinkFailed(ETH0, "the interface is gone"))
        assert core.seen[-1] == LinkFailed(ETH0, "the interface is gone")
        assert world.media[ETH0].received() == []
        assert not driver.failed.done()

    asyncio.run(body())


def test_a_core_that_raises_ends_the_driver_and_is_never_stepped_or_fed_again() -> None:
    async def body() -> None:
        world = World()

        def says(event: Event) -> list[Effect]:
            if isinstance(event, DatagramReceived):
                raise AssertionError("two owners")
            return [FeedWatchdog()]

        core = WrittenCore(says)
        driver = Driver(core, world.edges())
        driver.post(Started())
        driver.post(DatagramReceived(ETH0, b"x"))
        driver.post(Tick())
        with pytest.raises(AssertionError, match="two owners"):
            await driver.failed
        assert core.seen == [Started(), DatagramReceived(ETH0, b"x")]
        assert world.told == ["fed"]

    asyncio.run(body())


def test_the_tick_comes_at_the_deadline_with_the_load_and_not_before() -> None:
    async def body() -> None:
        ticked = asyncio.get_running_loop().create_future()

        def says(event: Event) -> list[Effect]:
            if isinstance(event, Tick):
                core.deadline_ms = None
                ticked.set_result(clock.boot_ms())
            return []

        core = WrittenCore(says, deadline_ms=clock.boot_ms() + 60)
        wanted_ms = core.deadline_ms
        assert wanted_ms is not None
        Driver(core, World().edges()).post(Started())
        async with asyncio.timeout(30):
            assert await ticked >= wanted_ms
        assert core.seen[-1] == Tick("0.10 0.20 0.30 1/100 77")

    asyncio.run(body())


def test_a_deadline_that_moves_forward_or_back_moves_the_one_timer() -> None:
    async def body() -> None:
        core = WrittenCore(lambda _: [], deadline_ms=clock.boot_ms() + 10_000)
        driver = Driver(core, World().edges())
        driver.post(Started())
        core.deadline_ms = clock.boot_ms() + 20
        driver.post(LinkOpened(ETH0))
        core.deadline_ms = None
        driver.post(LinkOpened(ETH0))
        await asyncio.sleep(0.05)
        assert Tick("0.10 0.20 0.30 1/100 77") not in core.seen

    asyncio.run(body())


def test_a_deadline_that_is_never_moved_on_does_not_take_the_processor() -> None:
    async def body() -> None:
        core = WrittenCore(lambda _: [], deadline_ms=1)
        driver = Driver(core, World().edges())
        driver.post(Started())
        await asyncio.sleep(0.1)
        driver.close()
        assert 2 <= len(core.seen) <= 101

    asyncio.run(body())


def test_a_question_gets_its_own_answer_or_refusal() -> None:
    async def body() -> None:
        def says(event: Event) -> list[Effect]:
            match event:
                case Asked(request, Standby(Scope.ALL)):
                    return [Answer(request, 7)]
                case Asked(request, Standby()):
                    return [Answer(request, refused="resources in transition 7")]
            return []

        driver = Driver(WrittenCore(says), World().edges())
        refused = driver.ask(Standby(Scope.LOCAL))
        assert await driver.ask(Standby(Scope.ALL)) == 7
        with pytest.raises(Refused, match="transition 7"):
            await refused

    asyncio.run(body())


def test_a_question_to_the_other_node_gets_its_records_or_a_refusal_and_ours_are_fetched_for_its() -> None:
    async def body() -> None:
        world, told = World(), Retold(RequestId(1), (), "theirs", 5)

        def step(event: Event) -> list[Effect]:
            match event:
                case AskPeer(request, 0):
                    return [replace(told, request=request)]
                case AskPeer(request, _):
                    return [Answer(request, refused="linuxha2 is dead")]
                case Tick():
                    return [Recall("linuxha2", "7.1", 3)]
            return []

        core = WrittenCore(step)
        driver = Driver(core, world.edges())
        assert (await driver.ask_peer(0)).behind_ms == 5
        with pytest.raises(Refused, match="linuxha2 is dead"):
            await driver.ask_peer(1)
        driver.post(Tick())
        assert core.seen[-1] == Recalled("linuxha2", "7.1", (), "boot")
        driver.ask_peer(0).cancel()
        assert not driver.failed.done()
        driver.close()

    asyncio.run(body())


def test_an_answer_to_somebody_who_has_gone_is_dropped() -> None:
    async def body() -> None:
        asked: list[Asked] = []

        def says(event: Event) -> list[Effect]:
            if isinstance(event, Asked):
                asked.append(event)
                return []
            return [Answer(asked[0].request, 7)]

        driver = Driver(WrittenCore(says), World().edges())
        driver.ask(Standby(Scope.ALL)).cancel()
        driver.post(Tick())
        assert not driver.failed.done()

    asyncio.run(body())


def test_many_events_in_one_turn_of_the_loop_show_one_view() -> None:
    async def body() -> None:
        shown: list[ClusterView] = []
        driver = Driver(WrittenCore(lambda _: []), World().edges())
        driver.subscribe(shown.append)
        for _ in range(5):
            driver.post(DatagramReceived(ETH0, b"x"))
        assert shown == []
        await asyncio.sleep(0)
        assert shown == [VIEW]

    asyncio.run(body())


def test_a_flood_of_datagrams_keeps_no_tick_away() -> None:
    async def body() -> None:
        loop = asyncio.get_running_loop()

        def says(event: Event) -> list[Effect]:
            # Whatever event comes first after the deadline does what is due, as in the real core.
            if clock.boot_ms() >= (core.deadline_ms or 0):
                core.deadline_ms = clock.boot_ms() + 10
            return []

        core = WrittenCore(says)
        driver = Driver(core, World().edges())
        begun_s = loop.time()
        while (ticks := sum(isinstance(event, Tick) for event in core.seen)) < 5:
            # Before the timers in every turn of the loop, as a socket that is always readable.
            loop.call_soon(driver.post, DatagramReceived(ETH0, b"x"))
            await asyncio.sleep(0)
            assert loop.time() < begun_s + 30
        assert ticks <= (loop.time() - begun_s) / 0.01 + 1
        driver.close()

    asyncio.run(body())


def test_a_flood_of_datagrams_is_shown_now_and_then_and_anything_else_at_once() -> None:
    async def body() -> None:
        shown: list[float] = []
        loop = asyncio.get_running_loop()
        driver = Driver(WrittenCore(lambda _: []), World().edges())
        driver.subscribe(lambda _: shown.append(loop.time()))
        begun_s = loop.time()
        while loop.time() < begun_s + 0.1:
            driver.post(DatagramReceived(ETH0, b"x"))
            await asyncio.sleep(0)
        # The last ones are shown too, though nothing follows them.
        driver.post(DatagramReceived(ETH0, b"x"))
        posted_s = loop.time()
        await asyncio.sleep(2 * SHOW_EVERY_S)
        assert shown[-1] >= posted_s
        assert 2 <= len(shown) <= (shown[-1] - begun_s) / SHOW_EVERY_S + 2

        driver.post(DatagramReceived(ETH0, b"x"))
        await asyncio.sleep(0)
        shown.clear()
        driver.post(DatagramReceived(ETH0, b"x"))
        driver.post(Tick())
        await asyncio.sleep(0)
        assert len(shown) == 1
        await asyncio.sleep(2 * SHOW_EVERY_S)
        assert len(shown) == 1

    asyncio.run(body())


def test_quit_tells_how_to_end_and_a_closed_driver_steps_no_more() -> None:
    async def body() -> None:
        core = WrittenCore(lambda _: [Quit(3)], deadline_ms=clock.boot_ms() + 5)
        driver = Driver(core, World().edges())
        driver.post(Started())
        assert await driver.ended == Quit(3)
        driver.close()
        driver.post(Tick())
        await asyncio.sleep(0.02)
        assert core.seen == [Started()]

    asyncio.run(body())
