"""The hardware watchdog: `watchdog /dev/watchdog` of ha.cf.

    closed ──first food──▶ open ──fed──▶ open ──release──▶ closed, disarmed
                             │ the process ends otherwise
                             ▼
                          the device runs on, and resets the machine unless the next hbd feeds it in time

The device is fed from the same call that feeds systemd's watchdog, from the event loop itself: a thread has
no real-time priority, and could starve while hbd is healthy. Nothing here waits: the device is opened
non-blocking, which matters for a FIFO in its place only. One that is missing, or that somebody else has, is
tried again, at each feeding if it runs already. That a device runs is noted in the run directory, for the
next hbd and for `hbd.orphan`.

Facts: watchdog-api and watchdog-parameters of the kernel's documentation; heartbeat 3.0.6 writes one NUL
byte as food.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import stat
import struct
import time
from collections.abc import Callable
from pathlib import Path

from hbd.core.effects import Device, Kind, Level, Log

FOOD, MAGIC_CLOSE = b"\0", b"V"
RETRY_S = 10.0
"""A device that does not run is tried again so long after it could not be opened."""
SYSFS = Path("/sys/class/watchdog")
MISC_WATCHDOG = (10, 130)
"""Numbers of /dev/watchdog, which is the first of /dev/watchdogN under its old name."""

INFO = struct.Struct("II32s")
"""struct watchdog_info: options, firmware version, identity."""
NUMBER = struct.Struct("i")
GETSUPPORT = 2 << 30 | INFO.size << 16 | ord("W") << 8 | 0
SETTIMEOUT = 3 << 30 | NUMBER.size << 16 | ord("W") << 8 | 6
GETTIMEOUT = 2 << 30 | NUMBER.size << 16 | ord("W") << 8 | 7
OPTION_SETTIMEOUT, OPTION_MAGICCLOSE = 0x0080, 0x0100

Say = Callable[[Log], None]


class Watchdog:
    """At most one device, its timeout, and whether it runs. Never blocks and never raises."""

    def __init__(self, note: Path, say: Say, armed: Callable[[int | None], None]) -> None:
        """`note` is the file that tells of a running device. `armed` is called when a device
        begins to run, with its timeout in seconds, and with None when it no longer does."""
        self._note = note
        self._say = say
        self._armed = armed
        self._device: str | None = None
        self._wanted_s = 0
        self.timeout_s: int | None = None
        """Of the device that runs, in seconds."""
        self._fd: int | None = None
        self._inherited = _read(note)
        self._reason = ""
        self._again_s = 0.0
        self._nowayout = False
        self.systemd_feeds_s: float | None = None
        """RuntimeWatchdogSec= of systemd, if it is set: it has a device open then."""

    def use(self, device: str | None, timeout_s: int) -> None:
        """From now on this device, set to this; None for none. One that is no longer used is disarmed."""
        before = self._inherited or (self._device if self._fd is not None else None)
        if before is not None and before != device:
            self._disarm(before)
        changed = timeout_s != self._wanted_s
        self._device, self._wanted_s = device, timeout_s
        if self._fd is not None and changed:
            self.timeout_s = self._set_timeout(self._fd)

    def feed(self, device: Device) -> None:
        """hbd is healthy. STARVED lets the device run out, SPARED does not open it for the first time, and
        DISARMED stops it until it is fed again."""
        if self._device is None or device is Device.STARVED:
            return
        if device is Device.DISARMED and self._fd is None and self._inherited is None:
            return
        if self._fd is None:
            if device is Device.SPARED and self._inherited is None:
                return
            self._open()
        if self._fd is not None:
            self._write(self._fd, FOOD)
            if device is Device.DISARMED and not self._nowayout:
                self._disarm(self._device)
                self._again_s = 0.0

    def release(self) -> None:
        """Everything is released, and hbd ends: stop the device, as far as it can be stopped."""
        running = self._inherited or (self._device if self._fd is not None else None)
        if running is not None:
            self._disarm(running)

    # ------------------------------------------------------------ open

    def _open(self) -> None:
        now_s = time.monotonic()
        if now_s < self._again_s and self._inherited is None:
            return
        self._again_s = now_s + RETRY_S
        assert self._device is not None
        try:
            self._fd = _opened(self._device)
        except OSError as error:
            why = explained(error, self.systemd_feeds_s)
            self._lost(f"Cannot open watchdog device: {self._device}: {why}")
            return
        self._reason = ""
        self._inherited = None
        _write_note(self._note, self._device)
        self._log(Level.INFO, f"Using watchdog device: {self._device}")
        self._introduce(self._fd, self._set_timeout(self._fd))

    def _introduce(self, fd: int, timeout_s: int | None) -> None:
        options, identity = _support(fd)
        self._nowayout = _nowayout(fd)
        name = f"{self._device} ({identity})" if identity else str(self._device)
        limit = f"{timeout_s} s" if timeout_s is not None else "a time that it does not tell"
        self._log(Level.INFO, f"watchdog device {name} resets this machine when it is not fed for {limit}")
        if self._nowayout or (options is not None and not options & OPTION_MAGICCLOSE):
            why = "nowayout" if self._nowayout else "no magic close"
            self._nowayout = True
            self._log(
                Level.WARN,
                f"watchdog device {name} cannot be stopped again ({why}): this machine is reset {limit} "
                "after hbd ends, also in order",
            )
        self._run_for(timeout_s)

    def _run_for(self, timeout_s: int | None) -> None:
        self.timeout_s = timeout_s
        self._armed(timeout_s)

    def _set_timeout(self, fd: int) -> int | None:
        """Set it and read it back: the seconds that count; None from something that takes no orders."""
        wanted = NUMBER.pack(self._wanted_s)
        try:
            answer = fcntl.ioctl(fd, SETTIMEOUT, wanted)
        except OSError as refusal:
            if not stat.S_ISCHR(os.fstat(fd).st_mode):
                return self._wanted_s  # A stand-in, which somebody else times.
            self._log(
                Level.ERROR,
                f"watchdog device {self._device} cannot be set to {self._wanted_s} s: {refusal.strerror}",
            )
            answer = wanted
            with contextlib.suppress(OSError):
                return int(NUMBER.unpack(fcntl.ioctl(fd, GETTIMEOUT, wanted))[0])
            return None
        with contextlib.suppress(OSError):
            answer = fcntl.ioctl(fd, GETTIMEOUT, answer)
        return int(NUMBER.unpack(answer)[0])

    # ------------------------------------------------------------ write

    def _write(self, fd: int, what: bytes) -> bool:
        try:
            os.write(fd, what)
        except BlockingIOError:
            return False  # A FIFO that nobody empties.
        except OSError as error:
            os.close(fd)
            self._fd, self._inherited = None, self._device  # As far as we know it runs.
            self._lost(f"watchdog device {self._device} takes no food: {error.strerror or error}")
            self._run_for(None)
            return False
        return True

    def _disarm(self, device: str) -> None:
        """The magic close: the only place that writes it."""
        if self._fd is None:
            try:
                self._fd = _opened(device)
            except OSError as error:
                self._log(
                    Level.ERROR, f"watchdog device {device} cannot be stopped: {error.strerror or error}"
                )
                return
            self._nowayout = _nowayout(self._fd)
        written = self._write(self._fd, MAGIC_CLOSE)
        if self._fd is not None:
            os.close(self._fd)
        self._fd = self._inherited = None
        with contextlib.suppress(OSError):
            self._note.unlink(missing_ok=True)
        self._run_for(None)
        if self._nowayout or not written:
            text = f"watchdog device {device} runs on, and resets this machine unless it is fed"
            self._log(Level.ERROR, text)
        else:
            self._log(Level.INFO, f"watchdog device {device} is stopped")

    # ------------------------------------------------------------ say

    def _lost(self, reason: str) -> None:
        if reason != self._reason:
            self._reason = reason
            self._log(Level.ERROR, f"{reason}; trying again")

    def _log(self, level: Level, text: str) -> None:
        self._say(Log(level, Kind.WATCHDOG, text))


def explained(error: OSError, systemd_feeds_s: float | None) -> str:
    """Why a device cannot be opened, for the operator. `systemd_feeds_s`: systemd has one itself."""
    reason = error.strerror or str(error)
    if error.errno != errno.EBUSY:
        return reason
    if systemd_feeds_s is None:
        return f"{reason}: another program feeds it"
    return (
        f"{reason}: systemd feeds it (RuntimeWatchdogSec={systemd_feeds_s:g}s) for as long as systemd "
        "itself works; an hbd that hangs is restarted (WatchdogSec=), and the machine not reset"
    )


def _opened(device: str) -> int:
    """Raises OSError, also for what cannot be a watchdog: food in a plain file would spoil it."""
    fd = os.open(device, os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY)
    mode = os.fstat(fd).st_mode
    if stat.S_ISFIFO(mode) or (stat.S_ISCHR(mode) and _support(fd)[0] is not None):
        return fd
    os.close(fd)
    raise OSError(errno.ENOTTY, "it is not a watchdog")


def _support(fd: int) -> tuple[int | None, str]:
    """Options and name; None from something that is not asked in vain only if it is a watchdog."""
    try:
        options, _, identity = INFO.unpack(fcntl.ioctl(fd, GETSUPPORT, bytes(INFO.size)))
    except OSError:
        return None, ""
    return options, identity.partition(b"\0")[0].decode("ascii", "replace")


def _nowayout(fd: int) -> bool:
    """Whether the driver is not to be stopped, as sysfs tells of all but the oldest."""
    number = os.fstat(fd).st_rdev
    numbers = (os.major(number), os.minor(number))
    name = "watchdog0" if numbers == MISC_WATCHDOG else _named(f"{numbers[0]}:{numbers[1]}")
    return _read(SYSFS / name / "nowayout") == "1"


def _named(numbers: str) -> str:
    found = (entry.parent.name for entry in SYSFS.glob("watchdog*/dev") if _read(entry) == numbers)
    return next(found, "none")


def _read(path: Path) -> str | None:
    try:
        return path.read_text(encoding="utf-8", errors="surrogateescape").strip() or None
    except OSError:
        return None


def _write_note(note: Path, device: str) -> None:
    with contextlib.suppress(OSError):
        note.write_text(f"{device}\n", encoding="utf-8", errors="surrogateescape")
