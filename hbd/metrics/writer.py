"""The file for node_exporter's textfile collector, written by a thread: a heartbeat never waits for a disk.

Written anew as a whole every ten seconds, and soon after a change of state. An orderly end removes it; after
any other its time of change tells its age (node_textfile_mtime_seconds). The directory may belong to
somebody else, so the new file is made under a name that nobody can have put a link at.
"""

from __future__ import annotations

import contextlib
import logging
import os
import threading
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

from hbd import __version__
from hbd.core.views import ClusterView
from hbd.metrics.exposition import text

EVERY_S = 10.0
PAUSE_S = 1.0
"""At least so long between two writings."""
END_S = 1.0
"""What an orderly end waits for a disk that hangs."""

log = logging.getLogger(__name__)


class Metrics:
    """Writes what `show` was given last. No method blocks but `close`, and none raises."""

    def __init__(self, figures: Callable[[], Mapping[str, int]]) -> None:
        """`figures`: what edges count; called from the thread."""
        self._figures = figures
        self._view: ClusterView | None = None
        self._path: Path | None = None
        self._changed = threading.Event()
        self._ended = threading.Event()
        self._thread: threading.Thread | None = None
        self._complaint = ""

    def use(self, path: str | None) -> None:
        """Write there from now on, or nowhere."""
        self._path = None if path is None else Path(path)
        if self._path is not None and self._thread is None:
            self._thread = threading.Thread(target=self._run, name="metrics", daemon=True)
            self._thread.start()
        self._changed.set()

    def show(self, view: ClusterView) -> None:
        """This is how it is now."""
        before, self._view = self._view, view
        if before is None or (before is not view and replace(before, statistics=view.statistics) != view):
            self._changed.set()

    def close(self) -> None:
        """Remove the file, unless that takes too long."""
        if self._thread is not None:
            self._ended.set()
            self._changed.set()
            self._thread.join(END_S)

    # ------------------------------------------------------------ the thread

    def _run(self) -> None:
        written: Path | None = None
        while not self._ended.is_set():
            self._changed.wait(EVERY_S)
            self._changed.clear()
            path, view = self._path, self._view
            if written is not None and written != path:
                self._remove(written)
                written = None
            if path is not None and view is not None and not self._ended.is_set():
                self._write(path, text(view, self._figures(), __version__).encode())
                written = path
            self._ended.wait(PAUSE_S)
        if written is not None:
            self._remove(written)

    def _write(self, path: Path, content: bytes) -> None:
        new = path.with_name(f"{path.name}.new")
        try:
            new.unlink(missing_ok=True)
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
            with open(os.open(new, flags, 0o644), "wb") as file:
                file.write(content)
            os.replace(new, path)
            self._complaint = ""
        except OSError as error:
            with contextlib.suppress(OSError):
                new.unlink()
            self._complain(f"the metrics cannot be written to {path}: {error.strerror or error}")

    def _remove(self, path: Path) -> None:
        try:
            path.unlink(missing_ok=True)
        except OSError as error:
            self._complain(f"{path} cannot be removed: {error.strerror or error}")

    def _complain(self, complaint: str) -> None:
        """Once, until it works again."""
        if complaint != self._complaint:
            self._complaint = complaint
            log.warning("%s", complaint)
