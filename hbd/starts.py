"""Who may start the managed units: marks in the run directory that systemd itself looks at.

`systemd/hbd-generator` gives each managed unit an assertion, so that systemd refuses to start it unless one
of the first two is there. What runs already is no concern of an assertion.

    /run/hbd/owned/UNIT    its group is started here, or being started
    /run/hbd/unguarded     anybody may start anything: hbd was stopped in order, or the cluster is frozen
    /run/hbd/guarded       the same file under another name while it is not so

Empty files in memory (tmpfs), made and removed in place. To lift the guard is to rename a file, which needs
no space; so a node that can write no more still serves, and only its guard is gone.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable

OWNED, GUARDED, UNGUARDED = "owned", "guarded", "unguarded"


def lift(directory: str) -> None:
    """From here on anybody may start the units. Raises OSError."""
    _rename(f"{directory}/{GUARDED}", f"{directory}/{UNGUARDED}")


def disown(directory: str) -> None:
    """What ran here is being released without a daemon: its units may not be started again meanwhile."""
    with contextlib.suppress(FileNotFoundError):
        for unit in os.listdir(f"{directory}/{OWNED}"):
            os.unlink(f"{directory}/{OWNED}/{unit}")


def was_at_work(directory: str) -> bool:
    """Whether a daemon of this boot came so far as to say who may start what."""
    return any(os.path.exists(f"{directory}/{mark}") for mark in (GUARDED, UNGUARDED))


def _rename(old: str, new: str) -> None:
    try:
        os.rename(old, new)
    except FileNotFoundError:
        _make(new)


def _make(path: str) -> None:
    os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o644))


class Starts:
    """The marks of one run directory. What others remove of them is made again before it is missed."""

    def __init__(self, directory: str) -> None:
        self._directory = directory
        self._wanted: set[str] | None = None
        """The marks that there are to be, once that was said and done."""
        self._guarding = False

    def guard(self, wanted: bool) -> None:
        """Whether only units with a mark may be started from now on. Raises OSError."""
        self._guarding = wanted
        self._show(wanted)

    def own(self, units: Iterable[str]) -> None:
        """These may be started, and no others. Raises OSError, and lifts the guard then."""
        wanted = set(units)
        if wanted != self._wanted:
            self._bring(wanted)

    def confirm(self, unit: str) -> None:
        """It is about to be started by us: its mark is there, if it is to be. Raises OSError, as `own`."""
        if self._wanted is None or unit not in self._wanted or os.path.exists(self._mark(unit)):
            return
        self._bring(self._wanted)

    def _bring(self, wanted: set[str]) -> None:
        try:
            self._set(wanted)
        except OSError:
            # Better a stray start, which is seen and undone, than no start of our own.
            self._wanted = None
            self._show(False)
            raise
        self._wanted = wanted
        if self._guarding:
            self._show(True)

    def _set(self, wanted: set[str]) -> None:
        place = f"{self._directory}/{OWNED}"
        os.makedirs(place, mode=0o755, exist_ok=True)
        there = set(os.listdir(place))
        for unit in wanted - there:
            _make(self._mark(unit))
        for unit in there - wanted:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(self._mark(unit))

    def _mark(self, unit: str) -> str:
        return f"{self._directory}/{OWNED}/{unit}"

    def _show(self, guarded: bool) -> None:
        if guarded:
            _rename(f"{self._directory}/{UNGUARDED}", f"{self._directory}/{GUARDED}")
        else:
            lift(self._directory)
