"""The watchdog device of ha.cf on a real systemd; in its place a FIFO that the test reads."""

from __future__ import annotations

import os
import select
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Self

import pytest

from tests.lab.cluster import ONE, TWO, Timings, configure, holds, log, logged_us, settle, start, stop
from tests.lab.host import wait_until
from tests.lab.journal import now_us
from tests.lab.lab import Lab
from tests.lab.node import Node
from tests.lab.service import kill

WITHIN_S = 15
PATIENT = Timings(500, 5000, 15_000, 15_000)
"""Nobody is to be taken for dead, however slowly the test goes on."""
KEEPALIVE_S = PATIENT.keepalive_ms / 1000
NO_WATCHDOG = "/etc/systemd/system/hbd.service.d/no-watchdog.conf"


class Recorder:
    """Reads the FIFO; use it in a `with` block."""

    def __init__(self, path: Path) -> None:
        os.mkfifo(path, 0o600)
        # Open for writing too, so that it never shows as closed.
        self._fd = os.open(path, os.O_RDWR | os.O_NONBLOCK)
        self._end, self._ended = os.pipe()
        self._reader = threading.Thread(target=self._read)
        self.written: list[tuple[int, bytes]] = []
        """Monotonic microseconds, and what came then."""

    def __enter__(self) -> Self:
        self._reader.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        os.close(self._ended)
        self._reader.join()
        for fd in (self._fd, self._end):
            os.close(fd)

    def since(self, us: int) -> list[tuple[int, bytes]]:
        return [(at_us, what) for at_us, what in self.written if at_us >= us]

    def wait_for_food(self, since_us: int) -> None:
        wait_until(lambda: bool(self.since(since_us)), WITHIN_S, "the watchdog device to be fed")

    def _read(self) -> None:
        while True:
            ready, _, _ = select.select([self._fd, self._end], [], [])
            if self._end in ready:
                return
            self.written.append((now_us(), os.read(self._fd, 4096)))


@pytest.fixture
def recorder(tmp_path: Path) -> Iterator[Recorder]:
    with Recorder(tmp_path / "watchdog") as made:
        yield made


def test_it_is_fed_while_hbd_lives_and_stopped_only_after_an_orderly_release(
    lab: Lab, recorder: Recorder, tmp_path: Path
) -> None:
    one = lab[ONE]
    one.devices["/dev/watchdog"] = str(tmp_path / "watchdog")
    # Only the device looks after this hbd: systemd's watchdog would end its standstill.
    one.write(NO_WATCHDOG, "[Service]\nWatchdogSec=0\n")
    configure(lab, ONE, timings=PATIENT, extra=["watchdog /dev/watchdog"])
    configure(lab, TWO, timings=PATIENT)
    lab.boot()
    start(lab)
    settle(lab, owned_by=ONE)
    # While hbd is healthy, the device is fed.
    one.wait_for_journal("^Using watchdog device: /dev/watchdog$", WITHIN_S)
    recorder.wait_for_food(now_us())
    # When it stands still, the food ends within one keepalive.
    one.run(["systemctl", "kill", "--signal=STOP", "--kill-whom=main", "hbd"])
    wait_until(lambda: _state(one) == "T", WITHIN_S, "hbd to stand still")
    time.sleep(KEEPALIVE_S)
    fed = len(recorder.written)
    time.sleep(2 * KEEPALIVE_S)
    assert len(recorder.written) == fed
    # When it goes on, it feeds again; nothing has moved.
    one.run(["systemctl", "kill", "--signal=CONT", "--kill-whom=main", "hbd"])
    recorder.wait_for_food(now_us())
    # When it is killed, the device is left running, and the next hbd feeds it.
    killed_us = now_us()
    kill(one)
    one.wait_for_journal("^Using watchdog device: /dev/watchdog$", WITHIN_S, killed_us)
    recorder.wait_for_food(killed_us)
    settle(lab, owned_by=ONE)
    assert not any(b"V" in what for _, what in recorder.written)
    # When it is stopped, it releases first, and then stops the device.
    stopped_us = now_us()
    stop(lab, ONE)
    assert not holds(one)
    wait_until(
        lambda: any(b"V" in what for _, what in recorder.since(stopped_us)), WITHIN_S, "the magic close"
    )
    at_us, last = recorder.written[-1]
    assert last.endswith(b"V")
    (released,) = [e for e in log(one, stopped_us) if e.message == "All HA resources relinquished."]
    assert logged_us(released) < at_us
    assert b"".join(what for _, what in recorder.written).count(b"V") == 1


def _state(node: Node) -> str:
    pid = node.run("systemctl show --property=MainPID --value hbd").stdout.strip()
    return node.read(f"/proc/{pid}/stat").rpartition(")")[2].split()[0]
