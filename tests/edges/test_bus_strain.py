"""The service under strain: a bus that stops reading, callers without end, a polkit that does not answer."""

from __future__ import annotations

import asyncio
import shutil
import signal
import tempfile
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from hbd import dbusio_stream
from hbd.bus import names, rights
from hbd.bus.announcer import MOST_FINISHED
from hbd.bus.faults import LIMITS_EXCEEDED
from hbd.bus.service import Service
from hbd.bus.shares import MOST_OF_ALL as MOST_SLOW
from hbd.bus.shares import MOST_OF_ONE as MOST_OF_ONE_USER
from hbd.bus.shares import MOST_QUESTIONS, Shares
from hbd.bus.turns import MOST_OF_ALL, MOST_OF_ONE, Turns
from hbd.dbusio import Bus, BusError, Message, unwrap
from tests.core.test_projection import VIEW
from tests.edges.test_bus_service import (
    NOBODY,
    Asker,
    PrivateBus,
    busctl,
    cluster_call,
    listen,
    on_the_bus,
    until,
)

POLKITS_POLICY = f"""
  <policy user="root">
    <allow own="{rights.POLKIT}"/>
    <allow send_destination="{rights.POLKIT}"/>
  </policy>
</busconfig>
"""
CHANGES = 10_000


class Strained(PrivateBus):
    """A bus that may be stopped, and has a polkit."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self._config.write_text(self._config.read_text().replace("</busconfig>", POLKITS_POLICY))

    def signal(self, number: signal.Signals) -> None:
        assert self._process is not None
        self._process.send_signal(number)


@pytest.fixture
def bus() -> Iterator[Strained]:
    # Not tmp_path: other users must get in.
    folder = Path(tempfile.mkdtemp(prefix="hbd-bus-"))
    folder.chmod(0o755)
    private = Strained(folder)
    private.start()
    yield private
    private.stop()
    shutil.rmtree(folder)


# ---------------------------------------------------------------- a bus that stops reading


def test_ten_thousand_changes_on_a_stopped_bus_pile_up_nowhere_and_the_last_is_told(bus: Strained) -> None:
    async def body(service: Service, asker: Asker) -> None:
        client, heard = await listen(bus)
        connection = service._bus
        assert connection is not None
        assert connection._transport is not None
        bus.signal(signal.SIGSTOP)
        try:
            most = number = 0
            # A busy machine pauses between announcements, and takes more changes to fill what there is.
            while number < CHANGES or (not connection.is_congested and number < 50 * CHANGES):
                number += 1
                service.publish(replace(VIEW, generation=number))
                await asyncio.sleep(0)
                most = max(most, connection._transport.get_write_buffer_size())
            assert dbusio_stream.CONGESTED_BYTES < most < dbusio_stream.CONGESTED_BYTES + (16 << 10)
        finally:
            bus.signal(signal.SIGCONT)
        service.publish(replace(VIEW, generation=number, last_finished=(3, "done")))
        await until(lambda: bool(heard) and heard[-1].member == "TransitionFinished")
        assert unwrap(heard[-2].body) == [names.CLUSTER, {"Generation": number}, []]
        told = service.statistics()
        assert len(heard) + told["bus_announcements_merged"] >= number
        assert (told["bus_outages"], told["bus_signals_dropped"]) == (0, 0)
        client.close()

    on_the_bus(bus, body)


def test_ends_of_transitions_that_a_stopped_bus_cannot_take_are_bounded_and_counted(bus: Strained) -> None:
    async def body(service: Service, asker: Asker) -> None:
        client, heard = await listen(bus)
        connection = service._bus
        assert connection is not None
        bus.signal(signal.SIGSTOP)
        try:
            while not connection.is_congested:
                service.publish(replace(VIEW, generation=9 if service._view is VIEW else 7))
                await asyncio.sleep(0)
                service.publish(VIEW)
                await asyncio.sleep(0)
            for transition in range(1, MOST_FINISHED + 11):
                service.publish(replace(VIEW, last_finished=(transition, "done")))
        finally:
            bus.signal(signal.SIGCONT)
        await until(lambda: bool(heard) and heard[-1].member == "TransitionFinished")
        await until(lambda: heard[-1].body[0] == MOST_FINISHED + 10)
        ends = [one.body[0] for one in heard if one.member == "TransitionFinished"]
        assert ends == list(range(11, MOST_FINISHED + 11))
        assert service.statistics()["bus_signals_dropped"] == 10
        client.close()

    on_the_bus(bus, body)


def test_a_bus_that_never_reads_again_is_left_for_a_new_connection(
    bus: Strained, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dbusio_stream, "STUCK_S", 0.3)

    async def body(service: Service, asker: Asker) -> None:
        bus.signal(signal.SIGSTOP)
        try:
            number = 0
            async with asyncio.timeout(30):
                while service.connected:
                    number += 1
                    service.publish(replace(VIEW, generation=number))
                    await asyncio.sleep(0)
        finally:
            bus.signal(signal.SIGCONT)
        await until(lambda: service.connected)
        assert service.statistics()["bus_outages"] == 1
        client = await Bus.connect(bus.address)
        assert await client.get(names.BUS_NAME, names.ROOT, names.CLUSTER, "Generation") == number
        client.close()

    on_the_bus(bus, body)


# ---------------------------------------------------------------- callers without end


def call_of(caller: str, number: int) -> Message:
    call = Message(path=f"/n{number}", interface="a.b", member="Ask")
    call.sender = caller
    return call


def test_callers_take_turns_and_nobody_fills_the_queue_for_others() -> None:
    async def scene() -> None:
        turns, connection = Turns(), Bus()
        taken = [turns.put(connection, call_of(":1.1", number)) for number in range(MOST_OF_ONE + 5)]
        assert taken == [True] * MOST_OF_ONE + [False] * 5
        assert turns.put(connection, call_of(":1.2", 1))
        assert turns.put(connection, call_of(":1.2", 2))
        order = [(await turns.next())[1] for _ in range(5)]
        assert [(call.sender, call.path) for call in order] == [
            (":1.1", "/n0"), (":1.2", "/n1"), (":1.1", "/n1"), (":1.2", "/n2"), (":1.1", "/n2")
        ]  # fmt: skip
        others = [turns.put(connection, call_of(f":2.{number}", 0)) for number in range(MOST_OF_ALL)]
        assert len(turns) == MOST_OF_ALL
        assert not others[-1]
        while len(turns):
            await turns.next()
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.01):
                await turns.next()

    asyncio.run(scene())


def test_one_caller_may_have_only_so_many_changes_under_way(bus: Strained) -> None:
    async def scene(service: Service, asker: Asker) -> None:
        client, asker.hold = await Bus.connect(bus.address), asyncio.Event()
        call = (names.BUS_NAME, names.ROOT, names.CLUSTER, "Standby", "s", ["all"])
        first = [asyncio.create_task(client.call(*call)) for _ in range(MOST_OF_ONE_USER)]
        await until(lambda: len(asker.commands) == MOST_OF_ONE_USER)
        with pytest.raises(BusError, match="too many calls") as refused:
            await client.call(*call)
        assert refused.value.name == LIMITS_EXCEEDED
        assert (await cluster_call(bus, "GetStatistics"))[0] == 0
        asker.hold.set()
        assert await asyncio.gather(*first) == [[3]] * MOST_OF_ONE_USER
        assert await client.call(*call) == [3]
        assert service.statistics()["bus_calls_refused"] == 1
        client.close()

    on_the_bus(bus, scene)


def test_no_user_keeps_root_from_the_other_nodes_decisions(bus: Strained) -> None:
    async def scene(service: Service, asker: Asker) -> None:
        asker.hold = asyncio.Event()
        ask = ("GetPeerHistory", "uu", "0", "0")
        theirs = [asyncio.create_task(cluster_call(bus, *ask, uid=NOBODY)) for _ in range(MOST_OF_ONE_USER)]
        await until(lambda: service._shares._of_all[False] == MOST_OF_ONE_USER)
        assert asker.questions == MOST_QUESTIONS
        status, _, err = await cluster_call(bus, *ask, uid=NOBODY)
        assert (status, err) == (1, "Call failed: too many calls are waiting\n")
        ours = asyncio.create_task(cluster_call(bus, *ask))
        await until(lambda: asker.questions == MOST_QUESTIONS + 1)
        asker.hold.set()
        assert {status for status, _, _ in await asyncio.gather(ours, *theirs)} == {0}
        assert asker.questions == MOST_OF_ONE_USER + 1
        assert not service._shares._of_one

    on_the_bus(bus, scene)


def test_seats_are_counted_by_user_and_root_has_his_own() -> None:
    shares = Shares()
    for number in range(MOST_SLOW):
        assert shares.take(1000 + number // MOST_OF_ONE_USER, f":1.{number}")
    assert not shares.take(2000, ":1.99")
    for number in range(MOST_OF_ONE_USER):
        assert shares.take(0, ":1.100"), number
    assert not shares.take(0, ":1.100")
    assert shares.take(0, ":1.101")
    shares.give(1000, ":1.7")
    assert not shares.take(1001, ":1.99")
    assert shares.take(1000, ":1.99")


# ---------------------------------------------------------------- polkit


class StandIn:
    """Has polkit's name, and answers as it was told: (is_authorized, is_challenge), or nothing."""

    def __init__(self, answer: tuple[bool, bool] | None) -> None:
        self.answer = answer
        self.asked: list[list[object]] = []
        self.withdrawn: list[str] = []

    async def serve(self, address: str) -> Bus:
        bus = await Bus.connect(address)
        assert await bus.request_name(rights.POLKIT)

        def called(call: Message) -> None:
            if call.member == "CancelCheckAuthorization":
                self.withdrawn.append(call.body[0])
                bus.reply(call)
                return
            self.asked.append(unwrap(call.body))
            if self.answer is not None:
                bus.reply(call, "(bba{ss})", [[*self.answer, {}]])

        bus.on_method_call(called)
        return bus


def with_polkit(
    bus: Strained, answer: tuple[bool, bool] | None, body: Callable[[StandIn, Asker], Awaitable[None]]
) -> None:
    async def scene(service: Service, asker: Asker) -> None:
        polkit = StandIn(answer)
        connection = await polkit.serve(bus.address)
        await body(polkit, asker)
        connection.close()

    on_the_bus(bus, scene)


def test_whom_polkit_allows_is_let_in_and_polkit_learns_what_was_called(bus: Strained) -> None:
    async def body(polkit: StandIn, asker: Asker) -> None:
        assert await cluster_call(bus, "Standby", "s", "all", uid=NOBODY) == (0, "u 3\n", "")
        subject, action, details, flags, _ = polkit.asked[0]
        assert isinstance(subject, list)
        assert subject[0] == "system-bus-name"
        assert subject[1]["name"].startswith(":1.")
        assert (action, details, flags) == (rights.ACTION, {"method": "Standby"}, 1)
        assert len(asker.commands) == 1

    with_polkit(bus, (True, False), body)


@pytest.mark.parametrize(
    ("answer", "flag", "said"),
    [
        ((False, False), "no", "Access denied"),
        ((False, True), "yes", "Access denied"),
        ((False, True), "no", "polkit would ask for a password, and the call does not allow it to"),
    ],
)
def test_whom_polkit_does_not_allow_is_told_so_and_the_core_is_not_asked(
    bus: Strained, answer: tuple[bool, bool], flag: str, said: str
) -> None:
    async def body(polkit: StandIn, asker: Asker) -> None:
        interactive = f"--allow-interactive-authorization={flag}"
        call = (names.BUS_NAME, names.ROOT, names.CLUSTER, "Standby", "s", "all")
        status, _, err = await busctl(bus, interactive, "call", *call, uid=NOBODY)
        assert status == 1
        assert said in err
        assert [asked[3] for asked in polkit.asked] == [int(flag == "yes")]
        assert asker.commands == []

    with_polkit(bus, answer, body)


def test_the_connections_of_one_user_count_together(bus: Strained) -> None:
    async def body(polkit: StandIn, asker: Asker) -> None:
        call = ("Standby", "s", "all")
        waiting = [asyncio.create_task(cluster_call(bus, *call, uid=NOBODY)) for _ in range(MOST_OF_ONE_USER)]
        await until(lambda: len(polkit.asked) == MOST_OF_ONE_USER)
        status, _, err = await cluster_call(bus, *call, uid=NOBODY)
        assert (status, err) == (1, "Call failed: too many calls are waiting\n")
        assert await cluster_call(bus, *call) == (0, "u 3\n", "")
        for one in waiting:
            one.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)

    with_polkit(bus, None, body)


def test_a_polkit_that_hangs_holds_up_its_own_question_only(
    bus: Strained, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rights, "TYPING_PATIENCE_S", 3.0)

    async def body(polkit: StandIn, asker: Asker) -> None:
        waiting = asyncio.create_task(cluster_call(bus, "Standby", "s", "all", uid=NOBODY))
        await until(lambda: bool(polkit.asked))
        assert await cluster_call(bus, "Takeover", "s", "all") == (0, "u 3\n", "")
        assert (await cluster_call(bus, "GetStatistics", uid=NOBODY))[0] == 0
        assert not waiting.done()
        status, _, err = await waiting
        assert (status, err) == (1, "Call failed: Access denied\n")
        assert len(asker.commands) == 1
        await until(lambda: polkit.withdrawn == [polkit.asked[0][4]])

    with_polkit(bus, None, body)
