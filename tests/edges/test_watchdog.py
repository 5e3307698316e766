"""The watchdog device's edge, on a real FIFO and on devices that every machine has."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from hbd import watchdog
from hbd.core.effects import Device, Kind, Log
from hbd.watchdog import Watchdog

FOOD, MAGIC_CLOSE = watchdog.FOOD, watchdog.MAGIC_CLOSE


@dataclass
class Desk:
    """A watchdog with its note, and everything that it said."""

    directory: Path
    said: list[Log] = field(default_factory=list)
    armed: list[int | None] = field(default_factory=list)

    @property
    def note(self) -> Path:
        return self.directory / "note"

    @property
    def fifo(self) -> Path:
        return self.directory / "fifo"

    @property
    def texts(self) -> list[str]:
        return [f"{entry.level.value}: {entry.text}" for entry in self.said]

    def watchdog(self, device: Path | None = None, timeout_s: int = 7) -> Watchdog:
        made = Watchdog(self.note, self.said.append, self.armed.append)
        made.use(str(device or self.fifo), timeout_s)
        return made


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    os.mkfifo(tmp_path / "fifo")
    return Desk(tmp_path)


@pytest.fixture
def recorded(desk: Desk) -> Iterator[Callable[[], bytes]]:
    """What was written to the FIFO since the last call."""
    reader = os.open(desk.fifo, os.O_RDONLY | os.O_NONBLOCK)

    def read() -> bytes:
        try:
            return os.read(reader, 1 << 20)
        except BlockingIOError:
            return b""

    yield read
    os.close(reader)


def test_the_device_is_opened_by_the_first_food_that_is_meant_for_it(
    desk: Desk, recorded: Callable[[], bytes]
) -> None:
    dog = desk.watchdog()
    dog.feed(Device.SPARED)
    assert (recorded(), desk.said, desk.note.exists()) == (b"", [], False)
    dog.feed(Device.FED)
    dog.feed(Device.SPARED)
    assert recorded() == FOOD * 2
    assert desk.texts == [
        f"info: Using watchdog device: {desk.fifo}",
        f"info: watchdog device {desk.fifo} resets this machine when it is not fed for 7 s",
    ]
    assert {entry.kind for entry in desk.said} == {Kind.WATCHDOG}
    assert desk.armed == [7]
    assert desk.note.read_text() == f"{desk.fifo}\n"


def test_a_starved_device_gets_nothing_and_stays_open(desk: Desk, recorded: Callable[[], bytes]) -> None:
    dog = desk.watchdog()
    dog.feed(Device.FED)
    recorded()
    dog.feed(Device.STARVED)
    assert recorded() == b""
    assert desk.armed == [7]


def test_release_is_the_magic_close_and_the_device_is_noted_no_more(
    desk: Desk, recorded: Callable[[], bytes]
) -> None:
    dog = desk.watchdog()
    dog.feed(Device.FED)
    dog.release()
    assert recorded() == FOOD + MAGIC_CLOSE
    assert desk.armed == [7, None]
    assert not desk.note.exists()
    assert desk.texts[-1] == f"info: watchdog device {desk.fifo} is stopped"
    dog.release()
    assert recorded() == b""


def test_a_device_is_disarmed_for_a_freeze_and_armed_again_by_the_next_food(
    desk: Desk, recorded: Callable[[], bytes]
) -> None:
    dog = desk.watchdog()
    dog.feed(Device.DISARMED)
    assert (recorded(), desk.said) == (b"", [])
    for meant in (Device.FED, Device.DISARMED, Device.DISARMED):
        dog.feed(meant)
    assert recorded() == FOOD * 2 + MAGIC_CLOSE
    assert desk.texts[-1] == f"info: watchdog device {desk.fifo} is stopped"
    dog.feed(Device.FED)
    assert recorded() == FOOD
    assert desk.armed == [7, None, 7]


def test_a_device_that_an_earlier_hbd_left_running_is_disarmed_for_a_freeze_too(
    desk: Desk, recorded: Callable[[], bytes]
) -> None:
    desk.note.write_text(f"{desk.fifo}\n")
    desk.watchdog().feed(Device.DISARMED)
    assert recorded() == FOOD + MAGIC_CLOSE
    assert not desk.note.exists()


def test_what_was_never_opened_is_not_closed_either(desk: Desk, recorded: Callable[[], bytes]) -> None:
    dog = desk.watchdog()
    dog.feed(Device.SPARED)
    dog.release()
    assert (recorded(), desk.said) == (b"", [])


def test_a_device_that_an_earlier_hbd_left_running_is_fed_at_once(
    desk: Desk, recorded: Callable[[], bytes]
) -> None:
    desk.note.write_text(f"{desk.fifo}\n")
    desk.watchdog().feed(Device.SPARED)
    assert recorded() == FOOD


def test_a_device_that_is_no_longer_named_is_stopped(desk: Desk, recorded: Callable[[], bytes]) -> None:
    dog = desk.watchdog()
    dog.feed(Device.FED)
    dog.use(None, 7)
    dog.feed(Device.FED)
    assert recorded() == FOOD + MAGIC_CLOSE
    # So is one that an earlier hbd had, before its line was taken out.
    desk.note.write_text(f"{desk.fifo}\n")
    Watchdog(desk.note, desk.said.append, desk.armed.append).use(None, 7)
    assert recorded() == MAGIC_CLOSE
    assert not desk.note.exists()


def test_one_that_is_not_there_is_said_once_and_tried_again(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watchdog, "RETRY_S", 0.0)
    device = desk.directory / "later"
    dog = desk.watchdog(device)
    for _ in range(3):
        dog.feed(Device.FED)
    missing = f"ERROR: Cannot open watchdog device: {device}: No such file or directory; trying again"
    assert desk.texts == [missing]
    assert not desk.note.exists()
    os.mkfifo(device)
    reader = os.open(device, os.O_RDONLY | os.O_NONBLOCK)
    dog.feed(Device.FED)
    assert os.read(reader, 10) == FOOD
    os.close(reader)


def test_between_two_attempts_there_is_time(desk: Desk) -> None:
    dog = desk.watchdog()
    dog.feed(Device.FED)
    reader = os.open(desk.fifo, os.O_RDONLY | os.O_NONBLOCK)
    dog.feed(Device.FED)
    assert desk.texts == [
        f"ERROR: Cannot open watchdog device: {desk.fifo}: No such device or address; trying again"
    ]
    assert os.read(reader, 10) == b""
    os.close(reader)


def test_one_that_an_earlier_hbd_left_running_is_tried_again_at_each_feeding(desk: Desk) -> None:
    desk.note.write_text(f"{desk.fifo}\n")
    dog = desk.watchdog()
    for _ in range(2):
        dog.feed(Device.FED)
    assert desk.texts == [
        f"ERROR: Cannot open watchdog device: {desk.fifo}: No such device or address; trying again"
    ]
    reader = os.open(desk.fifo, os.O_RDONLY | os.O_NONBLOCK)
    dog.feed(Device.FED)
    assert os.read(reader, 10) == FOOD
    os.close(reader)


@pytest.mark.parametrize("device", ["/dev/null", "file"])
def test_what_is_no_watchdog_is_not_written_to(desk: Desk, device: str) -> None:
    path = desk.directory / device
    if device == "file":
        path.write_text("precious")
    dog = desk.watchdog(path)
    dog.feed(Device.FED)
    assert desk.texts == [f"ERROR: Cannot open watchdog device: {path}: it is not a watchdog; trying again"]
    assert device != "file" or path.read_text() == "precious"


def test_a_device_that_takes_no_food_holds_nothing_up(desk: Desk) -> None:
    reader = os.open(desk.fifo, os.O_RDONLY | os.O_NONBLOCK)
    dog = desk.watchdog()
    for _ in range(70_000):  # More than a FIFO holds.
        dog.feed(Device.FED)
    os.close(reader)
    dog.feed(Device.FED)
    assert desk.texts[-1] == f"ERROR: watchdog device {desk.fifo} takes no food: Broken pipe; trying again"
    assert desk.armed == [7, None]


def test_a_device_that_took_no_food_is_stopped_all_the_same(desk: Desk) -> None:
    reader = os.open(desk.fifo, os.O_RDONLY | os.O_NONBLOCK)
    dog = desk.watchdog()
    dog.feed(Device.FED)
    os.close(reader)
    dog.feed(Device.FED)
    reader = os.open(desk.fifo, os.O_RDONLY | os.O_NONBLOCK)
    dog.release()
    assert os.read(reader, 10) == MAGIC_CLOSE
    assert not desk.note.exists()
    os.close(reader)


def test_another_timeout_is_told_to_whoever_has_to_be_earlier(
    desk: Desk, recorded: Callable[[], bytes]
) -> None:
    dog = desk.watchdog()
    dog.feed(Device.FED)
    dog.use(str(desk.fifo), 9)
    assert dog.timeout_s == 9


def test_the_calls_have_the_numbers_of_the_kernels_header() -> None:
    assert (watchdog.GETSUPPORT, watchdog.SETTIMEOUT, watchdog.GETTIMEOUT) == (
        0x80285700,
        0xC0045706,
        0x80045707,
    )


def test_a_device_that_is_taken_is_said_to_be_systemds_if_systemd_says_so() -> None:
    taken = OSError(errno.EBUSY, "Device or resource busy")
    assert watchdog.explained(taken, None) == "Device or resource busy: another program feeds it"
    assert watchdog.explained(taken, 20.0).startswith(
        "Device or resource busy: systemd feeds it (RuntimeWatchdogSec=20s)"
    )
    assert watchdog.explained(OSError(errno.EIO, "Input/output error"), 20.0) == "Input/output error"


def test_a_driver_that_cannot_be_stopped_again_is_told_of_before_and_after(
    desk: Desk, recorded: Callable[[], bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    entry = tmp_path / "sysfs" / "watchdog3"
    entry.mkdir(parents=True)
    (entry / "dev").write_text("0:0\n")  # The device number of a FIFO.
    (entry / "nowayout").write_text("1\n")
    monkeypatch.setattr(watchdog, "SYSFS", tmp_path / "sysfs")
    dog = desk.watchdog()
    dog.feed(Device.FED)
    assert desk.texts[-1] == (
        f"WARN: watchdog device {desk.fifo} cannot be stopped again (nowayout): "
        "this machine is reset 7 s after hbd ends, also in order"
    )
    dog.release()
    assert recorded() == FOOD + MAGIC_CLOSE
    assert desk.texts[-1] == (
        f"ERROR: watchdog device {desk.fifo} runs on, and resets this machine unless it is fed"
    )
