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

import os
from collections.abc import Iterable

OWNED, GUARDED, UNGUARDED = "owned", "guarded", "unguarded"


def lift(directory: str) -> None:
    """From here on anybody may start the units. Raises OSError."""
    _rename(f"{directory}/{GUARDED}", f"{directory}/{UNGUARDED}")


def _rename(old: str, new: str) -> None:
    try:
        os.rename(old, new)
    except FileNotFoundError:
        _make(new)


def _make(path: str) -> None:
    os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o644))


class Starts:
    """The marks of one run directory, which must be there."""

    def __init__(self, directory: str) -> None:
        self._directory = directory
        self._owned: set[str] | None = None
        """The marks that are there, once that was looked at."""
        self._guarding = False

    def guard(self, wanted: bool) -> None:
        """Whether only units with a mark may be started from now on. Raises OSError."""
        self._guarding = wanted
        self._show(wanted)

    def own(self, units: Iterable[str]) -> None:
        """These may be started, and no others. Raises OSError, and lifts the guard then."""
        wanted = set(units)
        if wanted == self._owned:
            return
        try:
            self._set(wanted)
        except OSError:
            # Better a stray start, which is seen and undone, than no start of our own.
            self._owned = None
            self._show(False)
            raise
        if self._guarding:
            self._show(True)

    def _set(self, wanted: set[str]) -> None:
        place = f"{self._directory}/{OWNED}"
        if self._owned is None:
            os.makedirs(place, mode=0o755, exist_ok=True)
            self._owned = set(os.listdir(place))
        for unit in wanted - self._owned:
            _make(f"{place}/{unit}")
        for unit in self._owned - wanted:
            os.unlink(f"{place}/{unit}")
        self._owned = wanted

    def _show(self, guarded: bool) -> None:
        if guarded:
            _rename(f"{self._directory}/{UNGUARDED}", f"{self._directory}/{GUARDED}")
        else:
            lift(self._directory)
