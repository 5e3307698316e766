"""D-Bus connections, against a dbus-daemon of our own and against sockets that misbehave."""

from __future__ import annotations

import asyncio
import os
import signal
import struct
import subprocess
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from hbd import dbusio_stream, reconnecting
from hbd.dbusio import Bus, BusError, Message, NoAnswer, Variant
from hbd.reconnecting import Reconnecting

PATH = "/org/example/Thing"
INTERFACE = "org.example.Thing1"
NAME = "org.example.Thing1"

CONFIG = """<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN"
 "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig><listen>unix:path={path}</listen><auth>EXTERNAL</auth>
<policy context="default"><allow user="*"/><allow own="*"/><allow send_type="method_call"/>
<allow send_type="signal"/><allow send_type="method_return"/><allow send_type="error"/>
<allow receive_type="method_call"/><allow receive_type="signal"/><allow receive_type="method_return"/>
<allow receive_type="error"/></policy></busconfig>
"""


class Broker:
    """A dbus-daemon that can be stopped and started again at the same address."""

    def __init__(self, folder: Path) -> None:
        self._socket = folder / "bus"
        self._config = folder / "bus.conf"
        self._config.write_text(CONFIG.format(path=self._socket))
        self.address = f"unix:path={self._socket}"
        self.start()

    def start(self) -> None:
        self._socket.unlink(missing_ok=True)
        self.process = subprocess.Popen(
            ["dbus-daemon", f"--config-file={self._config}", "--nofork", "--print-address"],
            stdout=subprocess.PIPE,
        )
        assert self.process.stdout is not None
        assert self.process.stdout.readline(), "dbus-daemon did not start"

    def stop(self) -> None:
        self.process.send_signal(signal.SIGCONT)
        self.process.kill()
        self.process.wait()
        assert self.process.stdout is not None
        self.process.stdout.close()


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Broker]:
    broker = Broker(tmp_path)
    yield broker
    broker.stop()


def run(coroutine: Coroutine[Any, Any, None]) -> None:
    """Run a test; whatever reached the loop's exception handler fails it."""
    bugs: list[dict[str, Any]] = []

    async def watched() -> None:
        asyncio.get_running_loop().set_exception_handler(lambda _, context: bugs.append(context))
        async with asyncio.timeout(90):
            await coroutine

    asyncio.run(watched())
    assert bugs == []


@asynccontextmanager
async def two(broker: Broker) -> AsyncIterator[tuple[Bus, Bus]]:
    server, client = await Bus.connect(broker.address), await Bus.connect(broker.address)
    try:
        yield server, client
    finally:
        server.close()
        client.close()


async def until(condition: Callable[[], bool]) -> None:
    while not condition():  # noqa: ASYNC110 — what is waited for happens in another process
        await asyncio.sleep(0.005)


def test_messages_that_wait_are_handed_on_a_few_in_each_turn_of_the_loop_and_in_order(broker: Broker) -> None:
    async def test() -> None:
        async with two(broker) as (server, client):
            handed: list[int] = []
            await server.subscribe(lambda heard: handed.append(heard.body[0]), interface=INTERFACE)
            for number in range(1000):
                client.emit(PATH, INTERFACE, "Counted", "u", [number])
            await client.flush()
            time.sleep(0.1)  # noqa: ASYNC251 — the loop shall find all that are left waiting
            largest, before = 0, len(handed)
            while len(handed) < 1000:
                await asyncio.sleep(0)
                largest, before = max(largest, len(handed) - before), len(handed)
            assert largest == dbusio_stream.MESSAGES_PER_TURN
            assert handed == list(range(1000))

    run(test())


def test_a_call_is_answered_later_by_the_handler_that_saw_its_sender(broker: Broker) -> None:
    async def test() -> None:
        async with two(broker) as (server, client):
            seen: list[Message] = []
            server.on_method_call(seen.append)
            assert await server.request_name(NAME)
            call = asyncio.create_task(client.call(NAME, PATH, INTERFACE, "Double", "u", [21]))
            await until(lambda: bool(seen))
            assert seen[0].sender == client.unique_name
            assert await server.uid_of(seen[0].sender) == os.getuid()
            assert not call.done()
            server.reply(seen[0], "u", [seen[0].body[0] * 2])
            assert await call == [42]

    run(test())


def test_a_refusal_carries_its_error_name_and_text(broker: Broker) -> None:
    async def test() -> None:
        async with two(broker) as (server, client):
            server.on_method_call(lambda call: server.refuse(call, "org.example.No", "not now"))
            with pytest.raises(BusError, match=r"^not now$") as error:
                await client.call(server.unique_name, PATH, INTERFACE, "Do")
            assert error.value.name == "org.example.No"
            assert not isinstance(error.value, NoAnswer)

    run(test())


def test_a_call_nobody_answers_ends_at_its_time_limit_as_no_answer(broker: Broker) -> None:
    async def test() -> None:
        async with two(broker) as (server, client):
            server.on_method_call(lambda call: None)
            with pytest.raises(NoAnswer, match=r"did not answer Do within 0\.1 s"):
                await client.call(server.unique_name, PATH, INTERFACE, "Do", timeout_s=0.1)

    run(test())


def test_a_call_under_way_when_the_connection_is_lost_has_no_answer(broker: Broker) -> None:
    async def test() -> None:
        async with two(broker) as (server, client):
            seen: list[Message] = []
            server.on_method_call(seen.append)
            call = asyncio.create_task(client.call(server.unique_name, PATH, INTERFACE, "Do"))
            await until(lambda: bool(seen))
            broker.stop()
            with pytest.raises(NoAnswer, match="the connection was lost"):
                await call
            assert await client.closed
            with pytest.raises(NoAnswer):
                await client.call(server.unique_name, PATH, INTERFACE, "Do")
            client.emit(PATH, INTERFACE, "Unheard")

    run(test())


def test_a_peer_that_vanishes_during_a_call_leaves_no_answer(broker: Broker) -> None:
    async def test() -> None:
        async with two(broker) as (server, client):
            server.on_method_call(lambda call: server.close())
            with pytest.raises(NoAnswer):
                await client.call(server.unique_name, PATH, INTERFACE, "Do")
            assert not client.closed.done()

    run(test())


def test_a_name_that_is_taken_is_not_queued_for(broker: Broker) -> None:
    async def test() -> None:
        async with two(broker) as (server, client):
            assert await server.request_name(NAME)
            assert not await client.request_name(NAME)
            await server.release_name(NAME)
            assert await client.request_name(NAME)

    run(test())


def test_properties_are_read_without_their_variants(broker: Broker) -> None:
    async def test() -> None:
        async with two(broker) as (server, client):

            def serve(call: Message) -> None:
                if call.member == "Get":
                    server.reply(call, "v", [Variant("as", ["a", "b"])])
                else:
                    deep = Variant("v", Variant("a{sv}", {"x": Variant("u", 3)}))
                    server.reply(call, "a{sv}", [{"Deep": deep}])

            server.on_method_call(serve)
            assert await client.get(server.unique_name, PATH, INTERFACE, "Names") == ["a", "b"]
            assert await client.get_all(server.unique_name, PATH, INTERFACE) == {"Deep": {"x": 3}}

    run(test())


def test_signals_reach_only_those_who_asked_until_they_cancel(broker: Broker) -> None:
    async def test() -> None:
        async with two(broker) as (server, client):
            heard: list[str] = []

            def note(signal: Message) -> None:
                heard.append(f"{signal.path} {signal.member} {signal.body[0]}")

            subscription = await client.subscribe(
                note, path_namespace="/org/example", member="Changed", arg0="a"
            )
            server.emit(PATH, INTERFACE, "Changed", "s", ["a"])
            server.emit(PATH, INTERFACE, "Changed", "s", ["b"])
            server.emit(PATH, INTERFACE, "Other", "s", ["a"])
            server.emit("/org/examples", INTERFACE, "Changed", "s", ["a"])
            await server.flush()
            await client.flush()
            assert heard == [f"{PATH} Changed a"]
            subscription.cancel()
            subscription.cancel()
            server.emit(PATH, INTERFACE, "Changed", "s", ["a"])
            await server.flush()
            await client.flush()
            assert heard == [f"{PATH} Changed a"]

    run(test())


def test_a_signal_forged_by_somebody_else_is_not_taken_for_the_name_owners(broker: Broker) -> None:
    async def test() -> None:
        async with two(broker) as (server, client):
            heard: list[str] = []
            await client.subscribe(lambda signal: heard.append(signal.body[0]), sender=NAME, member="Changed")
            forger = await Bus.connect(broker.address)
            # Sent to the victim itself, past every match rule.
            forged = Message.new_signal(PATH, INTERFACE, "Changed", "s", ["forged, nobody owns the name"])
            assert client.unique_name is not None
            forged.destination = client.unique_name
            forger._send(forged)
            await forger.flush()
            assert await server.request_name(NAME)
            forged.body = ["forged"]
            forger._send(forged)
            await forger.flush()
            server.emit(PATH, INTERFACE, "Changed", "s", ["true"])
            await until(lambda: bool(heard))
            await client.flush()
            assert heard == ["true"]
            forger.close()

    run(test())


def test_a_burst_of_signals_to_a_bus_that_does_not_read_arrives_whole_when_it_reads(broker: Broker) -> None:
    async def test() -> None:
        async with two(broker) as (server, client):
            heard: list[int] = []
            await client.subscribe(lambda signal: heard.append(signal.body[0]), member="Counted")
            broker.process.send_signal(signal.SIGSTOP)
            for number in range(5000):
                server.emit(PATH, INTERFACE, "Counted", "us", [number, "x" * 200])
            await asyncio.sleep(0.1)
            assert heard == []
            assert not server.closed.done()
            broker.process.send_signal(signal.SIGCONT)
            await until(lambda: len(heard) == 5000)
            assert heard == list(range(5000))

    run(test())


def test_a_bus_that_never_reads_again_costs_bounded_memory_and_then_the_connection(
    broker: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dbusio_stream, "MAX_UNSENT_BYTES", 1 << 20)

    async def test() -> None:
        async with two(broker) as (server, _):
            broker.process.send_signal(signal.SIGSTOP)
            for number in range(20000):
                server.emit(PATH, INTERFACE, "Counted", "us", [number, "x" * 200])
            assert "1 MiB unread" in await server.closed

    run(test())


def test_ping_is_answered_and_an_unserved_method_is_unknown(broker: Broker) -> None:
    async def test() -> None:
        async with two(broker) as (server, client):
            assert await client.call(server.unique_name, "/", "org.freedesktop.DBus.Peer", "Ping") == []
            with pytest.raises(BusError) as error:
                await client.call(server.unique_name, "/", INTERFACE, "Ping")
            assert error.value.name == "org.freedesktop.DBus.Error.UnknownMethod"

    run(test())


def test_a_second_connection_comes_after_the_bus_was_restarted(broker: Broker) -> None:
    async def test() -> None:
        story: list[str] = []

        async def up(bus: Bus) -> None:
            story.append("up" if await bus.request_name(NAME) else "name taken")

        link = Reconnecting(
            broker.address, on_up=up, on_down=lambda reason: story.append("down"), shortest_pause_s=0.02
        )
        task = asyncio.create_task(link.run())
        await until(lambda: link.bus is not None)
        broker.stop()
        await until(lambda: len(story) == 2)
        assert link.bus is None
        await asyncio.sleep(0.2)
        broker.start()
        await until(lambda: link.bus is not None)
        assert story == ["up", "down", "up"]
        bus = link.bus
        assert bus is not None
        task.cancel()
        await asyncio.wait([task])
        assert bus.closed.done()
        assert link.bus is None

    run(test())


def test_no_bus_is_told_once_and_tried_again(tmp_path: Path) -> None:
    async def test() -> None:
        reasons: list[str] = []

        async def up(bus: Bus) -> None:
            raise AssertionError

        link = Reconnecting(
            f"unix:path={tmp_path}/none", on_up=up, on_down=reasons.append, shortest_pause_s=0.01
        )
        task = asyncio.create_task(link.run())
        await asyncio.sleep(0.15)
        task.cancel()
        await asyncio.wait([task])
        assert len(reasons) == 1
        assert "No such file" in reasons[0]

    run(test())


def test_the_second_best_bus_is_left_as_soon_as_the_best_answers_again(
    broker: Broker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reconnecting, "LOOK_FOR_BETTER_S", 0.05)
    folder = tmp_path / "best"
    folder.mkdir()

    async def test() -> None:
        story: list[str] = []

        async def up(bus: Bus) -> None:
            story.append("up")

        best = Broker(folder)
        best.stop()
        link = Reconnecting(
            best.address, otherwise=broker.address, on_up=up, on_down=story.append, shortest_pause_s=0.02
        )
        task = asyncio.create_task(link.run())
        await until(lambda: link.bus is not None)
        second = link.bus
        await asyncio.sleep(0.2)
        assert link.bus is second
        best.start()
        await until(lambda: link.bus is not None and link.bus is not second)
        broker.stop()
        await asyncio.sleep(0.2)
        assert link.bus is not None
        assert story[1:] == ["up", "up"]
        task.cancel()
        await asyncio.wait([task])
        best.stop()
        broker.start()

    run(test())


# ---------------------------------------------------------------- a socket that is no bus


class Odd:
    """Listens on a socket, greets as it was told, and sends what it was given once told to `speak`."""

    def __init__(self, folder: Path, greeting: bytes | None, sends: bytes = b"") -> None:
        self.path = folder / "odd"
        self.address = f"unix:path={self.path}"
        self._greeting = greeting
        self._sends = sends
        self.speak = asyncio.Event()

    async def __aenter__(self) -> Odd:
        self._server = await asyncio.start_unix_server(self._serve, self.path)
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        first = await reader.readline()
        assert first.startswith(b"\0AUTH EXTERNAL ")
        # Before our answer: systemd mislays a call that comes together with BEGIN.
        assert await reader.readline() == b"BEGIN\r\n"
        if self._greeting is not None:
            writer.write(self._greeting)
            await self.speak.wait()
            writer.write(self._sends)
        await reader.read()
        writer.close()


def test_a_socket_that_never_answers_is_given_up_at_the_limit(tmp_path: Path) -> None:
    async def test() -> None:
        async with Odd(tmp_path, None) as odd:
            with pytest.raises(BusError, match=r"cannot connect to .*: no answer"):
                await Bus.connect(odd.address, timeout_s=0.1)

    run(test())


def test_being_turned_away_is_an_error_with_the_reason(tmp_path: Path) -> None:
    async def test() -> None:
        async with Odd(tmp_path, b"REJECTED EXTERNAL\r\n") as odd:
            with pytest.raises(BusError, match="REJECTED"):
                await Bus.connect(odd.address)

    run(test())


def test_a_direct_connection_greets_nobody_and_takes_signals_without_a_sender(tmp_path: Path) -> None:
    signal_bytes = _signal(1, "Ready")

    async def test() -> None:
        async with Odd(tmp_path, b"OK 1234\r\n", signal_bytes) as odd:
            bus = await Bus.connect(odd.address, peer=True)
            heard: list[str] = []
            await bus.subscribe(lambda signal: heard.append(signal.member), sender="org.freedesktop.systemd1")
            odd.speak.set()
            await until(lambda: bool(heard))
            assert bus.unique_name is None
            assert heard == ["Ready"]
            bus.close()

    run(test())


def test_an_unreadable_message_is_dropped_and_counted_and_the_next_one_is_heard(tmp_path: Path) -> None:
    # A header field of a kind that does not exist, and a path that is none.
    unknown_field = bytearray(_signal(1, "Bad"))
    unknown_field[16] = 200
    bad_path = _signal(2, "Bad").replace(PATH.encode(), b"?" * len(PATH))

    async def test() -> None:
        async with Odd(tmp_path, b"OK 1234\r\n", bytes(unknown_field) + bad_path + _signal(3, "Good")) as odd:
            bus = await Bus.connect(odd.address, peer=True)
            heard: list[str] = []
            await bus.subscribe(lambda signal: heard.append(signal.member))
            odd.speak.set()
            await until(lambda: bool(heard))
            assert heard == ["Good"]
            assert bus.unreadable == 2
            bus.close()

    run(test())


@pytest.mark.parametrize(
    ("sends", "reason"),
    [
        (b"HTTP/1.1 400 Bad Request\r\n", "does not speak D-Bus"),
        (b"l\4\0\1" + struct.pack("<III", 1 << 30, 1, 0), "longer than D-Bus allows"),
    ],
)
def test_a_stream_that_is_not_d_bus_ends_the_connection(tmp_path: Path, sends: bytes, reason: str) -> None:
    async def test() -> None:
        async with Odd(tmp_path, b"OK 1234\r\n", sends) as odd:
            bus = await Bus.connect(odd.address, peer=True)
            odd.speak.set()
            assert reason in await bus.closed

    run(test())


def _signal(serial: int, member: str) -> bytes:
    message = Message.new_signal(PATH, INTERFACE, member, "s", ["x"])
    message.serial = serial
    return bytes(message._marshall())  # type: ignore[no-untyped-call]
