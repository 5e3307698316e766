"""Reads the two clocks into an Instant, and the load average that a status message carries.

The deciding clock is CLOCK_BOOTTIME: it goes on while the machine is suspended, so a node that slept
knows that it was absent (clock_gettime(2)).
"""

from __future__ import annotations

import os
import time

from hbd.core.events import Instant

LOADAVG = "/proc/loadavg"


def boot_ms() -> int:
    """Milliseconds of CLOCK_BOOTTIME."""
    return time.clock_gettime_ns(time.CLOCK_BOOTTIME) // 1_000_000


def now() -> Instant:
    """This moment, on both clocks."""
    return Instant(boot_ms(), int(time.time()))


def boot_id() -> str:
    """The machine's present boot; only within one boot can times of CLOCK_BOOTTIME be compared."""
    try:
        with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
            return file.read().strip()
    except OSError:
        return ""


class LoadAverage:
    """The first line of /proc/loadavg as it was at the last `refresh`; `n/a` where it cannot be read.

    Kept apart from the moment it is needed: a heartbeat must not wait for a file.
    """

    def __init__(self, path: str = LOADAVG) -> None:
        self._path = path
        self.line = "n/a"

    def refresh(self) -> None:
        """Read it again."""
        try:
            descriptor = os.open(self._path, os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            self.line = "n/a"
            return
        try:
            self.line = os.read(descriptor, 256).decode("ascii", "replace").partition("\n")[0] or "n/a"
        finally:
            os.close(descriptor)
