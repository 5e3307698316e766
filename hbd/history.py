"""The records of decisions, as they outlast the daemon: the newest in memory, and more of them on disk.

    /var/lib/hbd/history/records      JSON, a line for each version of a record; the last of a name counts
    /var/lib/hbd/history/records.1    the same, before that file had grown to LONGEST_FILE_BYTES

Whatever the disk does, nothing waits for it: a thread of its own reads what there is, and writes what is new.
What it does not take is said once, and tried again. A line that was torn by a loss of power, or that another
version of hbd wrote, is passed over.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import queue
import threading
from collections.abc import Callable
from dataclasses import replace
from itertools import islice
from pathlib import Path

from hbd.core.effects import Kind, Level, Log, Recall
from hbd.core.events import Recalled
from hbd.core.records import Record
from hbd.core.recordtext import decode, encode

MOST_RECORDS = 500
"""In memory, and offered."""
MOST_TOLD = 20
"""Records, to the other node at a time; its message may have room for less."""
LONGEST_FILE_BYTES = 512 * 1024
RETRY_S = 10.0
"""After a write that failed."""
UNFINISHED = "not known: hbd ended before"


Name = tuple[int, int]


class History:
    """To be made, and called, in the event loop; `log` is called from its thread too."""

    def __init__(self, directory: Path, boot: str, log: Callable[[Log], None]) -> None:
        self._directory, self._boot, self._log = directory, boot, log
        self._loop = asyncio.get_running_loop()
        self._kept: dict[Name, Record] = {}
        self._shows: list[Callable[[Record], None]] = []
        self._queue: queue.SimpleQueue[Record | None] = queue.SimpleQueue()
        self.loaded = asyncio.Event()
        """What earlier lives left is known."""
        self._thread = threading.Thread(target=self._work, name="history", daemon=True)
        self._thread.start()

    def note(self, record: Record) -> None:
        """Keep it, in place of an earlier version. Called by the driver."""
        kept = self._kept[record.name] = replace(record, boot=self._boot)
        self._bound()
        self._queue.put(kept)
        for show in self._shows:
            show(kept)

    def subscribe(self, show: Callable[[Record], None]) -> None:
        """Call `show` with each new version of a record."""
        self._shows.append(show)

    def recent(self, limit: int) -> list[Record]:
        """The newest so many, the oldest of them first; 0 means all that are in memory."""
        return list(self._kept.values())[-limit:]

    def recall(self, wanted: Recall) -> Recalled:
        """The newest MOST_TOLD but for the newest `skip`."""
        end = max(len(self._kept) - wanted.skip, 0)
        told = tuple(islice(self._kept.values(), max(end - MOST_TOLD, 0), end))
        return Recalled(wanted.node, wanted.token, told, self._boot)

    def close(self, wait_s: float = 5.0) -> None:
        """Write what is left, unless the disk takes longer than this."""
        self._queue.put(None)
        self._thread.join(wait_s)

    def _bound(self) -> None:
        while len(self._kept) > MOST_RECORDS:
            del self._kept[next(iter(self._kept))]

    def _take_over(self, found: dict[Name, Record]) -> None:
        self._kept = {**found, **self._kept}
        self._bound()
        self.loaded.set()

    # ------------------------------------------------------------ the thread

    def _work(self) -> None:
        found, complaints = load(self._directory)
        for level, text in complaints:
            self._log(Log(level, Kind.GENERIC, text))
        with contextlib.suppress(RuntimeError):  # The loop has ended meanwhile.
            self._loop.call_soon_threadsafe(self._take_over, found)
        waiting: dict[Name, Record] = {}
        told = False
        while self._gather(waiting):
            told = not self._attempt(waiting, told)
        self._attempt(waiting, told)

    def _gather(self, waiting: dict[Name, Record]) -> bool:
        """Wait for something new, or for the time to try again; False at the end."""
        with contextlib.suppress(queue.Empty):
            kept = self._queue.get(timeout=RETRY_S if waiting else None)
            while kept is not None:
                waiting[kept.name] = kept
                kept = self._queue.get_nowait()
            return False
        while len(waiting) > MOST_RECORDS:
            del waiting[next(iter(waiting))]
        return True

    def _attempt(self, waiting: dict[Name, Record], told: bool) -> bool:
        """Whether all of it is on the disk now."""
        try:
            self._write([encode(kept) for kept in waiting.values()])
        except OSError as error:
            if not told:
                text = f"Decisions cannot be kept in {self._directory}: {error.strerror}; trying again"
                self._log(Log(Level.ERROR, Kind.GENERIC, text))
            return False
        waiting.clear()
        return True

    def _write(self, lines: list[bytes]) -> None:
        """Append, on a line of their own, and have the disk take them. Raises OSError."""
        if not lines:
            return
        self._directory.mkdir(mode=0o755, exist_ok=True)
        path = self._directory / "records"
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o644)
        try:
            size = os.fstat(descriptor).st_size
            torn = size and os.pread(descriptor, 1, size - 1) != b"\n"
            left = (b"\n" if torn else b"") + b"".join(lines)
            while left:  # A disk that is nearly full takes a part.
                left = left[os.write(descriptor, left) :]
            os.fdatasync(descriptor)
        finally:
            os.close(descriptor)
        if size > LONGEST_FILE_BYTES:
            path.replace(self._directory / "records.1")


def load(directory: Path) -> tuple[dict[Name, Record], list[tuple[Level, str]]]:
    """What the files hold, in the order in which it was decided, and what is to be said of the rest."""
    found: dict[Name, Record] = {}
    complaints = []
    for path in (directory / "records.1", directory / "records"):
        try:
            lines = path.read_bytes().splitlines()
        except (FileNotFoundError, NotADirectoryError):  # The first write tells of the latter.
            continue
        except OSError as error:
            text = f"Earlier decisions in {path} are not known: {error.strerror}"
            complaints.append((Level.WARN, text))
            continue
        strange = 0
        for line in lines:
            one = decode((line,))
            found |= one
            strange += not one and bool(line)
        if strange:
            text = f"{strange} line(s) of {path} are no record of a decision and are passed over"
            complaints.append((Level.INFO, text))
    return {name: _finished(kept) for name, kept in list(found.items())[-MOST_RECORDS:]}, complaints


def _finished(record: Record) -> Record:
    """What a former life left open stays without a result."""
    return record if record.result else replace(record, result=UNFINISHED)
