"""hbctl freeze and thaw against a real bus: they wait by signals, for so long, and can be interrupted."""

import asyncio
import os
import signal
import sys
from dataclasses import replace

import pytest

from hbd.bus.service import Service
from hbd.core.events import Freeze, Thaw
from hbd.ctl import freeze
from hbd.ctl.client import Daemon
from tests.edges.test_bus_service import (
    ROOT_FOLDER,
    WHOLE,
    Asker,
    PrivateBus,
    bus,
    can_be_interrupted,
    hbctl,
    on_the_bus,
    until,
)

__all__ = ["bus"]
UNHEARD = "frozen, but linuxha2.example.org has not confirmed that it knows: it may take over what runs here"
HALF_FROZEN = replace(WHOLE, frozen=True, freeze_agreed=False, degraded=(UNHEARD,))
FROZEN = replace(WHOLE, frozen=True, freeze_agreed=True)
STILL_SEALED = "linuxha2.example.org has not confirmed yet that it knows of the thaw"
HALF_THAWED = replace(WHOLE, frozen=False, freeze_agreed=False, degraded=(STILL_SEALED,))


def test_freeze_is_done_when_the_other_node_knows_and_until_then_nobody_is_asked_again_and_again(
    bus: PrivateBus,
) -> None:
    async def body(service: Service, asker: Asker) -> None:
        asker.then = lambda: service.publish(HALF_FROZEN)
        freezing = asyncio.create_task(hbctl(bus, "freeze"))
        await until(lambda: bool(asker.commands) and asker.times_read > 0)
        await asyncio.sleep(1)
        assert asker.times_read <= 6, "once for each signal, which are few"
        assert not freezing.done()
        service.publish(FROZEN)
        known = "the cluster is frozen: this node and linuxha2.example.org know it\n"
        assert await freezing == (0, known, "")
        assert asker.commands == [Freeze()]

    on_the_bus(bus, body, WHOLE)


@pytest.mark.parametrize(
    ("word", "before", "half", "sentence"),
    [("freeze", WHOLE, HALF_FROZEN, UNHEARD), ("thaw", FROZEN, HALF_THAWED, STILL_SEALED)],
)
def test_a_node_that_does_not_confirm_in_time_is_named_with_what_that_means_and_the_status_is_1(
    bus: PrivateBus, word: str, before: object, half: object, sentence: str,
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.setattr(freeze, "AGREE_S", 0.3)

    async def body(service: Service, asker: Asker) -> None:
        asker.then = lambda: service.publish(half)  # type: ignore[arg-type]
        assert await freeze.change(await Daemon.find(bus.address), word == "freeze") == 1

    on_the_bus(bus, body, before)  # type: ignore[arg-type]
    assert capsys.readouterr().err.splitlines() == [
        f"this node is {'frozen' if word == 'freeze' else 'thawed'}, "
        "but linuxha2.example.org has not said within 0.3 s that it knows:",
        f"  {sentence}",
        "  it is told with every heartbeat; hbctl status says when it knows",
    ]


@pytest.mark.parametrize(("word", "command"), [("freeze", Freeze()), ("thaw", Thaw())])
def test_an_interruption_leaves_what_was_said_and_says_so(
    bus: PrivateBus, word: str, command: Freeze | Thaw
) -> None:
    async def body(service: Service, asker: Asker) -> None:
        asker.then = lambda: service.publish(HALF_FROZEN if word == "freeze" else HALF_THAWED)
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "hbd.ctl.main", word, stderr=asyncio.subprocess.PIPE, cwd=ROOT_FOLDER,
            env={**os.environ, "DBUS_SYSTEM_BUS_ADDRESS": bus.address}, preexec_fn=can_be_interrupted,
        )  # fmt: skip
        read_before = 1 if word == "thaw" else 0
        await until(lambda: bool(asker.commands) and asker.times_read > read_before)
        process.send_signal(signal.SIGINT)
        _, err = await process.communicate()
        done = "frozen" if word == "freeze" else "thawed"
        assert err.decode() == f"this node is {done}; hbctl status tells whether the other one knows it\n"
        assert process.returncode == 130
        assert asker.commands == [command]

    on_the_bus(bus, body, WHOLE if word == "freeze" else FROZEN)


def test_a_daemon_that_leaves_meanwhile_is_3(bus: PrivateBus) -> None:
    async def body(service: Service, asker: Asker) -> None:
        asker.then = lambda: service.publish(HALF_FROZEN)
        freezing = asyncio.create_task(hbctl(bus, "freeze"))
        await until(lambda: bool(asker.commands) and asker.times_read > 0)
        bus.stop()
        status, out, err = await freezing
        bus.start()
        assert (status, out) == (3, "")
        assert err.startswith("this node is frozen, and stays so when hbd starts again; ")

    on_the_bus(bus, body, WHOLE)
