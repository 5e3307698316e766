"""The daemon and its watchdog device: who is fed, and when it is stopped; the device is a FIFO."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.edges.namespaces import pair
from tests.edges.test_daemon import ALONE, Node, machine, until

KEEPALIVE_S = 0.1


@dataclass
class Recorder:
    """The FIFO's reader; everything that was written."""

    path: Path
    written: bytes = b""
    fd: int = field(init=False)

    def __post_init__(self) -> None:
        os.mkfifo(self.path)
        self.fd = os.open(self.path, os.O_RDONLY | os.O_NONBLOCK)

    def read(self) -> bytes:
        """What came since the last call."""
        try:
            new = os.read(self.fd, 1 << 20)
        except BlockingIOError:
            new = b""
        self.written += new
        return new

    def wait_for_food(self, node: Node) -> None:
        self.read()
        until(lambda: bool(self.read()), "food", 45, lambda: node.log)


@pytest.fixture
def alone(tmp_path: Path) -> Iterator[tuple[Node, Recorder]]:
    """alpha, whose peer is never there, and its watchdog."""
    with pair() as (one, _), machine(tmp_path / "a", one, "alpha", "192.0.2.1") as alpha:
        recorder = Recorder(tmp_path / "watchdog")
        alpha.configure(f"watchdog {recorder.path}\n{ALONE}", "192.0.2.2")
        yield alpha, recorder
        os.close(recorder.fd)


def test_a_stop_releases_and_then_stops_the_device_with_the_magic_close(
    alone: tuple[Node, Recorder],
) -> None:
    alpha, recorder = alone
    process = alpha.start()
    alpha.waits_for(f"Using watchdog device: {recorder.path}")
    until(lambda: alpha.serves, "alpha serves", 45, lambda: alpha.log)
    recorder.wait_for_food(alpha)
    process.send_signal(signal.SIGTERM)
    assert process.wait(45) == 0
    assert not alpha.serves
    recorder.read()
    assert recorder.written == b"\0" * (len(recorder.written) - 1) + b"V"
    log = alpha.log
    stopped = log.index(f"watchdog device {recorder.path} is stopped")
    assert log.index("Heartbeat shutdown complete") < stopped
    assert not (alpha.home / "run" / "watchdog").exists()


def test_a_killed_hbd_leaves_the_device_running_and_the_next_one_feeds_it(
    alone: tuple[Node, Recorder],
) -> None:
    alpha, recorder = alone
    alpha.start()
    until(lambda: alpha.serves, "alpha serves", 45, lambda: alpha.log)
    recorder.wait_for_food(alpha)
    alpha.end()
    recorder.read()
    assert b"V" not in recorder.written
    assert (alpha.home / "run" / "watchdog").read_text() == f"{recorder.path}\n"
    alpha.start()
    recorder.wait_for_food(alpha)
    assert b"V" not in recorder.written


def test_a_stopped_hbd_feeds_nothing_and_feeds_again_when_it_goes_on(alone: tuple[Node, Recorder]) -> None:
    alpha, recorder = alone
    process = alpha.start()
    recorder.wait_for_food(alpha)
    process.send_signal(signal.SIGSTOP)
    until(lambda: _state(process.pid) == "T", "the process to be stopped")
    recorder.read()
    time.sleep(3 * KEEPALIVE_S)
    assert recorder.read() == b""
    process.send_signal(signal.SIGCONT)
    recorder.wait_for_food(alpha)
    assert b"V" not in recorder.written


def _state(pid: int) -> str:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
