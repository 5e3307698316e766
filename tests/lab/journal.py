"""A machine's journal, read from outside, also after the machine died.

All machines of the lab and the computer itself share CLOCK_MONOTONIC, so the
microseconds here compare across machines and with `now_us()`.
"""

import json
import os
import re
import selectors
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.lab.host import CLEAN_ENV, PATIENCE, LabError, call


def now_us() -> int:
    """Monotonic microseconds, the journal's `__MONOTONIC_TIMESTAMP`."""
    return time.monotonic_ns() // 1000


@dataclass(frozen=True, slots=True)
class Entry:
    """One entry; `fields` has all of journald's and the sender's, as text."""

    monotonic_us: int
    message: str
    fields: dict[str, str]

    @classmethod
    def parse(cls, line: str) -> "Entry":
        fields = {name: _text(value) for name, value in json.loads(line).items()}
        return cls(int(fields["__MONOTONIC_TIMESTAMP"]), fields.get("MESSAGE", ""), fields)

    @property
    def unit(self) -> str:
        """The unit that logged it, or that systemd says something about."""
        return self.fields.get("UNIT") or self.fields.get("_SYSTEMD_UNIT", "")


def read(directory: Path, unit: str | None, since_us: int) -> list[Entry]:
    """Entries from `since_us` on, in the order they were written."""
    output = call(*_journalctl(directory, unit), check=False)
    return [entry for entry in map(Entry.parse, output.splitlines()) if entry.monotonic_us >= since_us]


def wait_for(directory: Path, pattern: str, unit: str | None, since_us: int, timeout_s: float) -> Entry:
    """The first entry from `since_us` on whose message `pattern` (a regex) is found in.

    Raises LabError with the last lines of the journal when there is none in time.
    """
    wanted = re.compile(pattern)
    last: list[str] = []
    for entry in _follow(directory, unit, timeout_s):
        if entry.monotonic_us >= since_us:
            if wanted.search(entry.message):
                return entry
            last = [*last[-19:], entry.message]
    raise LabError(
        f"no '{pattern}' in the journal within {timeout_s:g} s; its last lines:\n" + "\n".join(last)
    )


def _journalctl(directory: Path, unit: str | None) -> list[str]:
    words = ["journalctl", f"--directory={directory}", "--output=json", "--all", "--quiet", "--no-pager"]
    return words if unit is None else [*words, f"--unit={unit}"]


def _follow(directory: Path, unit: str | None, timeout_s: float) -> Iterator[Entry]:
    """Entries from the oldest on, then new ones as they come, until PATIENCE times `timeout_s` is over."""
    end = time.monotonic() + PATIENCE * timeout_s
    words = [*_journalctl(directory, unit), "--follow", "--lines=all"]
    with subprocess.Popen(words, stdout=subprocess.PIPE, env=CLEAN_ENV) as following:
        assert following.stdout is not None
        try:
            with selectors.DefaultSelector() as ready:
                ready.register(following.stdout, selectors.EVENT_READ)
                rest = b""
                while ready.select(max(0.0, end - time.monotonic())):
                    piece = os.read(following.stdout.fileno(), 1 << 16)
                    if not piece:
                        return
                    *lines, rest = (rest + piece).split(b"\n")
                    yield from (Entry.parse(line.decode()) for line in lines)
        finally:
            following.kill()


def _text(value: object) -> str:
    """A field as text: JSON has bytes as a list of numbers, and repeated fields as a list."""
    match value:
        case str():
            return value
        case [int(), *_]:
            return bytes(int(str(each)) for each in value).decode(errors="replace")
        case [*several]:
            return "\n".join(_text(each) for each in several)
        case _:
            return ""
