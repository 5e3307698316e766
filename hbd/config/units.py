"""Answers the parser's questions from the files of a machine or image.

Without D-Bus: systemd's unit files, resource scripts, and the init scripts of
which systemd makes units.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path

from hbd.config.bootwants import BootWants
from hbd.config.lookup import Unit
from hbd.config.rootfs import inside
from hbd.config.unitfiles import LoadPath

_GENERATED = (".mount", ".automount", ".swap")
_RUN_LEVELS = ("2", "3", "4", "5")


class UnitFiles:
    """A `Lookup` over the files below root. Reads them when first asked, and once."""

    def __init__(self, root: Path, resource_d: Path) -> None:
        self._root = root
        self._resource_d = resource_d

    def script(self, name: str) -> str | None:
        """The executable `resource.d/NAME`, if there is one."""
        path = self._resource_d.resolve() / name
        return str(path) if _plain(name) and _is_executable(path) else None

    def init_script(self, name: str) -> str | None:
        """The executable `/etc/init.d/NAME`, as the machine or image itself calls it."""
        path = inside(self._root, f"/etc/init.d/{name}") if _plain(name) else None
        return f"/etc/init.d/{name}" if path is not None and _is_executable(path) else None

    def unit(self, name: str) -> Unit | None:
        """The unit behind a full name; its `boot` covers all names that lead to it."""
        file = self._load_path.resolve(name)
        if file is None and name in self._boot.install_aliases:
            name = self._boot.install_aliases[name]
            file = self._load_path.resolve(name)
        if file is not None:
            return Unit(file.name, file.masked, None if file.masked else self._boot.start_of(file.name))
        if self._has_init_script(name) or self._generated_later(name):
            return Unit(name, boot=self._boot.start_of(name))
        return None

    def unit_names(self) -> Iterator[str]:
        yield from self._load_path.names()
        yield from self._boot.install_aliases

    @cached_property
    def _load_path(self) -> LoadPath:
        return LoadPath(self._root)

    @cached_property
    def _boot(self) -> BootWants:
        boot = BootWants(self._load_path)
        for service, directory in self._start_links():
            if self._load_path.resolve(service) is None:
                boot.add(service, "multi-user.target", f"through /etc/{directory} wanted")
        return boot

    def _has_init_script(self, name: str) -> bool:
        """Whether there is one of which systemd-sysv-generator makes that service."""
        base = name.removesuffix(".service")
        return base != name and any(self.init_script(script) for script in (base, f"{base}.sh"))

    def _start_links(self) -> Iterator[tuple[str, str]]:
        for level in _RUN_LEVELS:
            directory = f"rc{level}.d"
            try:
                links = sorted(os.listdir(self._root / "etc" / directory))
            except OSError:
                continue
            for link in links:
                if link[:1] == "S" and link[1:3].isdigit():
                    yield link[3:].removesuffix(".sh") + ".service", directory

    def _generated_later(self, name: str) -> bool:
        """Mounts and swaps are generated from fstab at boot: in an image nobody can say yet."""
        return name.endswith(_GENERATED) and not (self._root / "run/systemd/generator").is_dir()


def _plain(name: str) -> bool:
    """Whether it can be the name of a script, and is not a path."""
    return 0 < len(name) < 200 and not name.startswith(".") and not set(name) & {"/", "\0"}


def _is_executable(path: Path) -> bool:
    try:
        status = path.stat()
    except OSError:
        return False
    return stat.S_ISREG(status.st_mode) and bool(status.st_mode & 0o111)
