"""The lock files by which programs tell each other that a serial line is in use: `/var/lock/LCK..ttyS0`.

UUCP's convention, in the form that HDB and the FHS gave it: ten columns of decimal process number and a
newline. Made under another name and linked, so that nobody ever reads half of one. A lock whose process is
gone is taken over. It is advice only: what really keeps others out is TIOCEXCL.
"""

from __future__ import annotations

import contextlib
import errno
import os
import struct
from pathlib import Path

DIRECTORY = Path("/var/lock")
"""Hierarchy standard: where lock files of devices are."""

_ours: set[Path] = set()
"""What this process holds: a lock with our number that is not in here is from a namesake that is gone."""


def name(device: str) -> str:
    """The name of a device's lock: that of the device itself, where it is given by a symbolic link."""
    real = os.path.realpath(device)
    return "LCK.." + real.removeprefix("/dev/").strip("/").replace("/", "_")


def take(device: str, directory: Path = DIRECTORY) -> Path | None:
    """Lock it; what to give to `release`, or None where there is no directory for locks that we may use.

    Raises OSError if a living process has it.
    """
    path = directory / name(device)
    draft = directory / f"LTMP.{os.getpid()}.{path.name}"
    try:
        draft.write_text(f"{os.getpid():10d}\n", encoding="ascii")
    except OSError:
        return None
    try:
        draft.chmod(0o644)
        for _ in range(3):  # Another program may take over the same stale lock at the same time.
            try:
                os.link(draft, path)
            except FileExistsError:
                _clear_stale(path)
            else:
                _ours.add(path)
                return path
        raise OSError(errno.EBUSY, f"its lock {path} comes back as often as it is cleared")
    finally:
        draft.unlink(missing_ok=True)


def release(path: Path | None) -> None:
    """Give it back. One that cannot be removed is no obstacle to ourselves, and stale once we have ended."""
    if path is not None:
        _ours.discard(path)
        with contextlib.suppress(OSError):
            path.unlink(missing_ok=True)


def _clear_stale(path: Path) -> None:
    """Raises OSError if the process in the lock lives."""
    try:
        pid = _holder(path.read_bytes())
    except FileNotFoundError:
        return
    if pid is not None and (path in _ours if pid == os.getpid() else _lives(pid)):
        raise OSError(errno.EBUSY, f"in use by process {pid} ({path})")
    path.unlink(missing_ok=True)


def _holder(content: bytes) -> int | None:
    """The process number in a lock, as text or as the four bytes of old programs; None if there is none."""
    if len(content) == 4 and not content.strip().isdigit():
        number: int = struct.unpack("=i", content)[0]
        return number if number > 0 else None
    words = content.split()
    return int(words[0]) if words and words[0].isdigit() and len(words[0]) < 10 else None


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True
