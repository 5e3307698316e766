"""Where a daemon finds its files, by its command line or its environment; and that it is alone there."""

from __future__ import annotations

import argparse
import contextlib
import errno
import fcntl
import logging
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from hbd import __version__

LOCK_WAIT_S = 20.0
"""hbd-orphan.service may be releasing what the last daemon held."""

log = logging.getLogger("hbd")


@dataclass(frozen=True, slots=True)
class Places:
    """Where this daemon finds its files."""

    config: Path
    state: Path
    run: Path

    @property
    def last_good(self) -> Path:
        """A copy of the last configuration that was valid in this boot."""
        return self.run / "config"


def parser() -> argparse.ArgumentParser:
    """Of the daemon's command line."""
    made = argparse.ArgumentParser(prog="hbd", description="A node of a high-availability cluster.")
    environment = os.environ.get
    made.add_argument("--config-dir", default=environment("HBD_CONFIG_DIR") or "/etc/ha.d", metavar="D")
    made.add_argument("--state-dir", default=environment("HBD_STATE_DIR") or "/var/lib/hbd", metavar="D")
    made.add_argument("--run-dir", default=environment("HBD_RUN_DIR") or "/run/hbd", metavar="D")
    made.add_argument("--check", action="store_true", help="validate the configuration and exit (0 or 78)")
    made.add_argument("--version", action="version", version=f"hbd {__version__}")
    return made


@contextlib.contextmanager
def locked(run: Path) -> Iterator[None]:
    """One daemon for one run directory. Raises OSError if there is another."""
    lock = os.open(run / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    deadline_s = time.monotonic() + LOCK_WAIT_S
    told = False
    try:
        while True:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > deadline_s:
                    raise OSError(errno.EBUSY, "another hbd is running, or hbd-orphan.service") from None
            if not told:
                log.warning("another hbd, or hbd-orphan.service, is at work: waiting for it")
                told = True
            time.sleep(0.1)
        yield
    finally:
        os.close(lock)
