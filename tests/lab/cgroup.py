"""A machine as one cgroup, so that freezing and killing it are single, atomic acts.

`cgroup.freeze` and `cgroup.kill` exist only in cgroup2. It is mounted at
/sys/fs/cgroup, or, where the v1 controllers are in use (hybrid), at
/sys/fs/cgroup/unified; there nspawn wants the same path in v1's `systemd`
tree too. No controller is switched on for the machines: a `cpu` controller
could deny them real-time scheduling. Fact: cgroup-v2.rst of the kernel.
"""

import os
import signal
from pathlib import Path

from tests.lab.host import LabError, wait_until

_TOP = Path("/sys/fs/cgroup")


def unified_tree() -> Path:
    """Where cgroup2 is mounted; raises LabError if it is nowhere."""
    for tree in (_TOP, _TOP / "unified"):
        if (tree / "cgroup.controllers").exists():
            return tree
    raise LabError(
        "no cgroup2 at /sys/fs/cgroup or /sys/fs/cgroup/unified; the lab freezes and kills with it"
    )


def _named_tree() -> Path | None:
    tree = _TOP / "systemd"
    return tree if (tree / "cgroup.procs").exists() else None


class Cgroup:
    """One cgroup by its path below the trees' tops, e.g. `hbd-lab.lab/linuxha1`."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.unified = unified_tree() / path
        named = _named_tree()
        self._trees = [self.unified] if named is None else [self.unified, named / path]

    def create(self) -> None:
        for tree in self._trees:
            tree.mkdir(parents=True, exist_ok=True)

    def entry(self) -> list[str]:
        """Words to put before a command so that it runs inside."""
        files = [str(tree / "cgroup.procs") for tree in self._trees]
        into = " && ".join(f"echo $$ >'{file}'" for file in files)
        return ["/bin/sh", "-c", f'{into} && exec "$@"', "sh"]

    @property
    def exists(self) -> bool:
        return self.unified.exists()

    def _event(self, name: str) -> bool:
        try:
            lines = (self.unified / "cgroup.events").read_text().splitlines()
        except FileNotFoundError:
            return False
        return f"{name} 1" in lines

    @property
    def populated(self) -> bool:
        return self._event("populated")

    @property
    def frozen(self) -> bool:
        return self._event("frozen")

    def freeze(self) -> None:
        """Stop every process inside; returns when all stand still."""
        (self.unified / "cgroup.freeze").write_text("1")
        wait_until(lambda: self.frozen, 5, f"{self.path} frozen", step_s=0.0005)

    def thaw(self) -> None:
        (self.unified / "cgroup.freeze").write_text("0")
        wait_until(lambda: not self.frozen, 5, f"{self.path} thawed", step_s=0.0005)

    def kill(self) -> None:
        """SIGKILL everything inside at once, frozen or not; returns when nothing is left."""
        if not self.exists:
            return
        kill = self.unified / "cgroup.kill"
        if kill.exists():
            kill.write_text("1")
        else:  # before Linux 5.14
            self._kill_one_by_one()
        wait_until(lambda: not self.populated, 10, f"{self.path} empty", step_s=0.001)

    def _kill_one_by_one(self) -> None:
        for file in sorted(self.unified.rglob("cgroup.procs")):
            for pid in file.read_text().split():
                try:
                    os.kill(int(pid), signal.SIGKILL)
                except ProcessLookupError:
                    pass  # It ended by itself.
        (self.unified / "cgroup.freeze").write_text("0")

    def remove(self) -> None:
        """Remove the empty cgroup with its children from every tree."""
        for tree in self._trees:
            if tree.exists():
                inner = sorted((path for path in tree.rglob("*") if path.is_dir()), reverse=True)
                for path in [*inner, tree]:
                    path.rmdir()
