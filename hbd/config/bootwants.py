"""Why systemd would start a unit at boot: who wants it, and who wants those.

A unit that hbd manages must not be started by systemd too. Wanted by are units
through `*.wants/`, `*.requires/` and `*.upholds/` links, through the same
settings inside unit files and drop-ins, through sockets, timers and paths that
trigger them, and through the S links of init scripts. Facts: systemd.unit(5).
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from hbd.config.lookup import BootStart
from hbd.config.unitfiles import LoadPath

_BOOT_TARGETS = frozenset(
    f"{name}.target"
    for name in (
        *("default", "graphical", "multi-user", "basic", "sysinit"),
        *("local-fs", "remote-fs", "sockets", "timers", "paths"),
    )
)
_SETTING = re.compile(
    r"^[ \t]*(Wants|Requires|BindsTo|Upholds|Sockets|Alias|Service|Unit)[ \t]*=(.*)$", re.MULTILINE
)
_PULLS = ("Wants", "Requires", "BindsTo", "Upholds", "Sockets")
_TRIGGERS = {".socket": "Service", ".timer": "Unit", ".path": "Unit"}


@dataclass(frozen=True, slots=True)
class _Link:
    parent: str
    verb: str


class BootWants:
    """The graph of who wants whom, built once from the unit files."""

    def __init__(self, load_path: LoadPath) -> None:
        self._load_path = load_path
        self._parents: dict[str, dict[str, _Link]] = {}
        self.install_aliases: dict[str, str] = {}
        """`Alias=` of units that are disabled: systemd makes those links only on enable."""
        for name in load_path.names():
            file = load_path.resolve(name)
            if file is not None and not file.masked and file.name == name:
                self._read_settings(name, file.path)
        self._read_subdirectories()
        default = load_path.resolve("default.target")
        self._boot = _BOOT_TARGETS | ({default.name} if default else set())

    def start_of(self, unit: str) -> BootStart | None:
        """How the unit comes to be started at boot, by the shortest chain; None if it is not."""
        queue: deque[tuple[str, str]] = deque([(unit, "")])
        visited = {unit}
        while queue:
            name, reason = queue.popleft()
            for parent, link in sorted(self._parents.get(name, {}).items()):
                if parent in visited:
                    continue
                visited.add(parent)
                step = f"{reason}, itself " if reason else ""
                step += f"{link.verb} by {parent}"
                if parent in self._boot:
                    return BootStart(step, name)
                queue.append((parent, step))
        return None

    def add(self, child: str, parent: str, verb: str) -> None:
        """Note that the parent starts the child."""
        own = self._load_path.resolve(child)
        of = self._load_path.resolve(parent)
        if of is not None and of.masked:
            return
        names = own.name if own else child, of.name if of else parent
        self._parents.setdefault(names[0], {}).setdefault(names[1], _Link(names[1], verb))

    def _read_settings(self, name: str, path: Path) -> None:
        triggered = []
        for key, values in _settings(path):
            for value in values:
                if key in _PULLS and "%" not in value:
                    self.add(value, name, "wanted" if key == "Wants" else "required")
                elif key == "Alias" and "%" not in value:
                    self.install_aliases.setdefault(value, name)
                elif key == _TRIGGERS.get(path.suffix):
                    triggered.append(value)
        if path.suffix in _TRIGGERS:
            for service in triggered or [name.removesuffix(path.suffix) + ".service"]:
                self.add(service, name, "triggered")

    def _read_subdirectories(self) -> None:
        seen: set[tuple[str, str]] = set()
        for directory in self._load_path.subdirectories:
            owner, _, kind = directory.name.rpartition(".")
            for entry in _listing(directory):
                if (directory.name, entry.name) in seen:
                    continue  # Hidden by one of higher priority.
                seen.add((directory.name, entry.name))
                if kind == "d":
                    if entry.suffix == ".conf":
                        self._read_drop_in(owner, entry)
                elif not self._load_path.link_is_null(entry):
                    self.add(entry.name, owner, "wanted" if kind == "wants" else "required")

    def _read_drop_in(self, owner: str, path: Path) -> None:
        for key, values in _settings(path):
            for value in values:
                if key in _PULLS and "%" not in value:
                    self.add(value, owner, "wanted" if key == "Wants" else "required")


def _settings(path: Path) -> Iterator[tuple[str, list[str]]]:
    try:
        text = path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return
    for match in _SETTING.finditer(text.replace("\\\n", " ")):
        yield match[1], match[2].split()


def _listing(directory: Path) -> list[Path]:
    try:
        return sorted(directory.iterdir())
    except OSError:
        return []
