"""hbctl in a real terminal: tmux, at 80 and at 200 columns, with and without colours, and interrupted."""

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest

from hbd.bus.service import Service
from hbd.core.records import Explanation
from hbd.core.views import ClusterState
from hbd.ctl import render
from hbd.ctl.client import Daemon
from hbd.ctl.terminal import STYLES
from tests.core.test_projection import VIEW
from tests.core.test_story import TAKE
from tests.edges.test_bus_service import (
    WHOLE,
    Asker,
    PrivateBus,
    bus,
    on_the_bus,
    until,
)

__all__ = ["bus"]
CHECKOUT = Path(__file__).resolve().parents[2]


class Terminal:
    """One tmux window with a shell, on a server of its own."""

    def __init__(self, folder: Path, width: int, height: int = 40) -> None:
        self._socket = str(folder / "tmux")
        self._tmux("-f", "/dev/null", "new-session", "-d", "-x", str(width), "-y", str(height), "/bin/sh")

    def _tmux(self, *words: str) -> str:
        done = subprocess.run(
            ["tmux", "-S", self._socket, *words], capture_output=True, text=True, check=True,
            env={"PATH": os.environ["PATH"], "TERM": "xterm-256color", "LANG": "C.UTF-8", "PS1": "$ "},
        )  # fmt: skip
        return done.stdout

    def type(self, line: str) -> None:
        self._tmux("send-keys", "-l", line)
        self._tmux("send-keys", "Enter")

    def press(self, key: str) -> None:
        self._tmux("send-keys", key)

    def lines(self) -> list[str]:
        return [line.rstrip() for line in self._tmux("capture-pane", "-p").splitlines()]

    def raw(self) -> str:
        """With the escapes of colours and type."""
        return self._tmux("capture-pane", "-p", "-e")

    def close(self) -> None:
        with suppress(subprocess.CalledProcessError):
            self._tmux("kill-server")


@pytest.fixture(params=[80, 200])
def terminal(request: pytest.FixtureRequest) -> Iterator[Terminal]:
    with tempfile.TemporaryDirectory(prefix="hbd-tmux-") as folder:
        made = Terminal(Path(folder), request.param)
        yield made
        made.close()


def hbctl(bus: PrivateBus, *words: str, variables: str = "") -> str:
    """The command line, which says `ended STATUS` when it is through."""
    environment = f"env DBUS_SYSTEM_BUS_ADDRESS={bus.address} PYTHONPATH={CHECKOUT} {variables}"
    return f"clear; {environment} {sys.executable} -m hbd.ctl.main {' '.join(words)}; echo ended $?"


async def shows(terminal: Terminal, text: str) -> None:
    await until(lambda: any(text in line for line in terminal.lines()), 60)


def shown(terminal: Terminal) -> list[str]:
    """What the command has printed: without the shell's own lines."""
    lines = terminal.lines()
    return lines[: next(number for number, line in enumerate(lines) if line.startswith("ended "))]


def test_status_is_as_in_a_pipe_whatever_the_width_with_colours(
    bus: PrivateBus, terminal: Terminal, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DBUS_SYSTEM_BUS_ADDRESS", bus.address)

    async def body(service: Service, asker: Asker) -> None:
        terminal.type(hbctl(bus, "status"))
        await shows(terminal, "ended 0")
        expected = render.as_text(await (await Daemon.find()).read()).splitlines()
        assert [line for line in shown(terminal) if line] == [line for line in expected if line]
        assert "\x1b[32m" in terminal.raw(), "something is well, and green"

    on_the_bus(bus, body, WHOLE)


def test_the_colours_are_such_as_can_be_read_on_dark_and_on_light_ground() -> None:
    # No yellow, cyan, white, black or grey, nothing dim and nothing that sets the ground.
    words = {word for style in STYLES.values() for word in style.split()}
    assert words == {"bold", "green", "red", "magenta"}


def test_sentences_are_wrapped_between_words(bus: PrivateBus, terminal: Terminal) -> None:
    async def body(service: Service, asker: Asker) -> None:
        sentence = "linuxha1 has it, since an operator wanted it there at some time in the past, " * 2
        asker.explanation = Explanation((sentence,), (sentence,), ())
        asker.records = [replace(TAKE, cause=sentence, action=sentence, evidence=(), boot="b")]
        for words in (("why", VIEW.groups[0].name), ("history",)):
            terminal.type(hbctl(bus, *words))
            await shows(terminal, "ended 0")
            there = shown(terminal)
            assert max(map(len, there)) <= 100
            assert set(sentence.split()) <= {word for line in there for word in line.split()}
        terminal.type(hbctl(bus, "check", "/nowhere"))
        await shows(terminal, "ended 78")
        finding = "/nowhere/ha.cf:1:1: error: Cannot open config file [/nowhere/ha.cf]: No such file or"
        assert set(finding.split()) <= {word for line in shown(terminal) for word in line.split()}

    on_the_bus(bus, body)


def test_no_color_leaves_no_colour(bus: PrivateBus, terminal: Terminal) -> None:
    async def body(service: Service, asker: Asker) -> None:
        terminal.type(hbctl(bus, "status", variables="NO_COLOR=1"))
        await shows(terminal, "ended ")
        assert not [code for code in range(30, 38) if f"\x1b[{code}m" in terminal.raw()]

    on_the_bus(bus, body)


def test_watch_takes_the_screen_follows_what_changes_and_gives_it_back(
    bus: PrivateBus, terminal: Terminal
) -> None:
    async def body(service: Service, asker: Asker) -> None:
        terminal.type(hbctl(bus, "status", "--watch"))
        await shows(terminal, "Ctrl-C ends this.")
        service.publish(replace(VIEW, state=ClusterState.TRANSITION, transition=3))
        await shows(terminal, "transition 3")
        terminal.press("C-c")
        await shows(terminal, "ended 130")
        assert not any("Ctrl-C ends this." in line for line in terminal.lines())

    on_the_bus(bus, body)


def test_waiting_shows_progress_and_an_interruption_leaves_the_transition_alone(
    bus: PrivateBus, terminal: Terminal
) -> None:
    async def body(service: Service, asker: Asker) -> None:
        terminal.type(hbctl(bus, "standby", "--wait"))
        await shows(terminal, "transition 3 has begun")
        await until(lambda: any("0:00:0" in line for line in terminal.lines()))
        terminal.press("C-c")
        await shows(terminal, "ended 130")
        await shows(terminal, "transition 3 goes on; hbctl status tells how far it is")
        assert len(asker.commands) == 1

    on_the_bus(bus, body)
