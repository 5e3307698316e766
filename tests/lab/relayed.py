"""One machine of the lab, whose systemd and bus the test's own process talks to: agents on the real thing.

systemd answers its private socket only to processes of its own pid namespace, so a relay in the machine
passes the bytes on.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from hbd.agents.unit import UnitAgent
from hbd.config.model import UnitResource
from hbd.core.events import Outcome
from hbd.systemd1 import Systemd
from tests.lab.lab import Lab
from tests.lab.node import Node

RELAY = """
import asyncio, os, signal
open('/run/relay.pid', 'w').write(str(os.getpid()))
writers = set()
def drop():
    for writer in tuple(writers):
        writer.transport.abort()
async def pump(reader, writer):
    try:
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    except OSError:
        pass
    writer.close()
async def serve(reader, writer):
    try:
        inner = await asyncio.open_unix_connection('/run/systemd/private')
    except OSError:
        writer.close()
        return
    writers.add(writer)
    await asyncio.gather(pump(reader, inner[1]), pump(inner[0], writer))
    writers.discard(writer)
async def main():
    asyncio.get_running_loop().add_signal_handler(signal.SIGUSR1, drop)
    async with await asyncio.start_unix_server(serve, '/run/relay') as server:
        print('ready', flush=True)
        await server.serve_forever()
asyncio.run(main())
"""
UNITS = Path("/run/systemd/system")
GATE = "/run/gate"
HELD = f"until test -e {GATE}; do sleep 0.05; done"
"""In a shell of the machine: goes on when the test opens the gate, and not when a time is over."""


class Machine:
    """The machine with its relay, and units to write into it."""

    def __init__(self, node: Node) -> None:
        self.node = node
        self._written: list[str] = []

    def root(self, path: str) -> str:
        """The computer's path of the machine's file."""
        return f"/proc/{self.node.leader}/root{path}"

    @property
    def private(self) -> str:
        return f"unix:path={self.root('/run/relay')}"

    @property
    def bus(self) -> str:
        return f"unix:path={self.root('/run/dbus/system_bus_socket')}"

    @property
    def nowhere(self) -> str:
        return f"unix:path={self.root('/run/nowhere')}"

    def unit(self, name: str, *lines: str, unit: str = "", install: str = "") -> UnitResource:
        """Write a service; `lines` are its [Service] section."""
        text = f"[Unit]\n{unit}\n[Service]\n" + "\n".join(lines) + f"\n[Install]\n{install}\n"
        self.node.write(str(UNITS / name), text)
        self._written.append(name)
        self.ctl("daemon-reload")
        return UnitResource(name, name)

    def ctl(self, *words: str, check: bool = True) -> str:
        return self.node.run(["systemctl", *words], check=check).stdout.strip()

    def show(self, unit: str, name: str) -> str:
        return self.ctl("show", "--value", "-p", name, unit)

    async def open_gate(self) -> None:
        """Let what is HELD go on, and all that comes to it from now on."""
        await asyncio.to_thread(self.node.run, f"touch {GATE}")

    async def shut_gate(self) -> None:
        await asyncio.to_thread(self.node.run, f"rm {GATE}")

    def break_connections(self) -> None:
        self.node.run("kill -USR1 $(cat /run/relay.pid)")

    def clean(self) -> None:
        """Nothing of a test is left for the next."""
        if self._written:
            self.ctl("kill", "--signal=KILL", *self._written, check=False)
            self.ctl("stop", *self._written, check=False)
            for name in self._written:
                self.node.run(["rm", "-rf", str(UNITS / name), f"{UNITS / name}.d"])
        self.ctl("start", "dbus.socket", "dbus.service")
        self.ctl("daemon-reload")
        self.ctl("reset-failed")
        self.node.run(f"rm -f {GATE}")
        self._written.clear()


@pytest.fixture(scope="module")
def booted() -> Iterator[Machine]:
    with Lab(nodes=("linuxha1",)) as lab:
        lab.boot()
        node = lab["linuxha1"]
        relay = node.popen(["python3", "-c", RELAY])
        assert relay.stdout is not None
        assert relay.stdout.readline() == "ready\n"
        yield Machine(node)
        relay.kill()
        relay.wait()
        relay.stdout.close()


@pytest.fixture
def machine(booted: Machine) -> Iterator[Machine]:
    yield booted
    booted.clean()


@asynccontextmanager
async def systemd_of(private: str, bus: str) -> AsyncIterator[Systemd]:
    systemd = Systemd(private, bus)
    keeping = asyncio.create_task(systemd.run())
    try:
        yield systemd
    finally:
        keeping.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await keeping


Test = Callable[[UnitAgent], Coroutine[Any, Any, None]]
BareTest = Callable[[Systemd], Coroutine[Any, Any, None]]


def run(machine: Machine, test: Test, private: str | None = None, bus: str | None = None) -> None:
    """Run a test with an agent."""
    run_bare(machine, lambda systemd: test(UnitAgent(systemd)), private, bus)


def run_bare(machine: Machine, test: BareTest, private: str | None = None, bus: str | None = None) -> None:
    """Run a test with a connection to systemd; what reached the loop's exception handler fails it."""
    bugs: list[dict[str, Any]] = []

    async def body() -> None:
        asyncio.get_running_loop().set_exception_handler(lambda _, context: bugs.append(context))
        async with (
            asyncio.timeout(120),
            systemd_of(private or machine.private, bus or machine.bus) as systemd,
        ):
            await test(systemd)

    asyncio.run(body())
    assert bugs == []


async def until(reached: Callable[[], bool]) -> None:
    while not reached():  # noqa: ASYNC110 — what is waited for happens in the machine
        await asyncio.sleep(0.01)


async def aside(job: Coroutine[Any, Any, Outcome], seconds: float = 0.2) -> asyncio.Task[Outcome]:
    """Begin it, and see that it is still under way after a while."""
    task = asyncio.create_task(job)
    await asyncio.sleep(seconds)
    assert not task.done(), task.result()
    return task


async def inside(machine: Machine, *words: str) -> None:
    """systemctl in the machine, while the event loop goes on."""
    await asyncio.to_thread(machine.ctl, *words)
