"""Unit files under a root directory: which names exist, and what each name stands for.

Reads systemd's load path itself, without D-Bus, so that a configuration can be
checked in an image or where systemd is not running. Facts: systemd.unit(5),
"Unit File Load Path" and the rules on aliases, templates and masking.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from hbd.config.lookup import is_unit_name
from hbd.config.rootfs import inside

LOAD_PATH = (
    "/etc/systemd/system.control",
    "/run/systemd/system.control",
    "/run/systemd/transient",
    "/run/systemd/generator.early",
    "/etc/systemd/system",
    "/etc/systemd/system.attached",
    "/run/systemd/system",
    "/run/systemd/system.attached",
    "/run/systemd/generator",
    "/usr/local/lib/systemd/system",
    "/lib/systemd/system",
    "/usr/lib/systemd/system",
    "/run/systemd/generator.late",
)
"""Highest priority first."""

_MOST_ALIASES = 16


@dataclass(frozen=True, slots=True)
class UnitFile:
    """What a unit name stands for."""

    name: str
    """Its own name: aliases followed, the instance of a template kept."""
    path: Path
    masked: bool


class LoadPath:
    """The unit files of one machine or image, as they were when this was made."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self.directories = _directories(root)
        self._files: dict[str, Path] = {}
        self.subdirectories: list[Path] = []
        """The `.wants`, `.requires`, `.upholds` and `.d` directories, highest priority first."""
        for directory in self.directories:
            self._read(directory)

    def names(self) -> Iterator[str]:
        """Every name that has a file or link of its own."""
        return iter(self._files)

    def resolve(self, name: str) -> UnitFile | None:
        """The unit behind a name; None if there is none, or only a broken or circular link."""
        for _ in range(_MOST_ALIASES):
            path = self._files.get(name) or self._files.get(template_of(name))
            if path is None:
                return None
            alias = self._alias(name, path)
            if alias is None:
                return self._final(name, path)
            name = alias
        return None

    def link_is_null(self, path: Path) -> bool:
        """Whether the path is a link to /dev/null, by which systemd masks."""
        try:
            return os.readlink(path) == "/dev/null"
        except OSError:
            return False

    def _read(self, directory: Path) -> None:
        try:
            entries = sorted(os.scandir(directory), key=lambda entry: entry.name)
        except OSError:
            return
        for entry in entries:
            if is_unit_name(entry.name):
                self._files.setdefault(entry.name, Path(entry.path))
            elif entry.name.endswith((".wants", ".requires", ".upholds", ".d")):
                self.subdirectories.append(Path(entry.path))

    def _alias(self, name: str, path: Path) -> str | None:
        """The name the link points to, if it is an alias: a link to another name in the load path."""
        try:
            target = os.readlink(path)
        except OSError:
            return None
        other = PurePosixPath(target).name
        if not is_unit_name(other) or PurePosixPath(other).suffix != PurePosixPath(name).suffix:
            return None
        where = self._inside(path.parent, str(PurePosixPath(target).parent))
        if where not in self.directories:
            return None  # `systemctl link`: the file is elsewhere, the unit is this name.
        if is_template(other):
            other = instance_of(other, name)
        return None if other == name else other

    def _final(self, name: str, path: Path) -> UnitFile | None:
        target = self._inside(path.parent, path.name)
        if target is None:
            return None
        if target == self._root / "dev/null":
            return UnitFile(name, path, masked=True)
        try:
            empty = target.stat().st_size == 0
        except OSError:
            return None
        return UnitFile(name, target, masked=empty)

    def _inside(self, directory: Path, relative: str) -> Path | None:
        return inside(self._root, PurePosixPath("/") / directory.relative_to(self._root) / relative)


def is_template(name: str) -> bool:
    """`app@.service`."""
    return "@." in name


def template_of(name: str) -> str:
    """`app@.service` for `app@1.service`; the empty string for a name without instance."""
    prefix, at, rest = name.partition("@")
    return f"{prefix}@.{rest.rpartition('.')[2]}" if at else ""


def instance_of(template: str, name: str) -> str:
    """`bar@1.service` for the template `bar@.service` and the instance of `foo@1.service`."""
    instance = name.partition("@")[2].rpartition(".")[0]
    return template.replace("@.", f"@{instance}.", 1)


def _directories(root: Path) -> tuple[Path, ...]:
    """The load path inside root; /lib is often a link to /usr/lib, so each directory counts once."""
    found = (inside(root, directory) for directory in LOAD_PATH)
    return tuple(dict.fromkeys(directory for directory in found if directory is not None))
