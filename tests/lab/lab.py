"""The lab as a whole: made by `with Lab() as lab`, gone without a trace after it.

What exists on the computer while a lab named `lab` runs: mounts and files in
/run/hbd-lab/lab, network namespaces `hbd-lab-*`, the cgroup `hbd-lab.lab`.
Labs with different names do not meet. If the process that made a lab dies,
the next one of that name clears away what it left.
"""

import fcntl
import json
import os
import re
import shutil
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import IO, Self

from tests.lab import helpers, rootfs
from tests.lab.cgroup import Cgroup
from tests.lab.helpers import Helper
from tests.lab.host import LabError, require_tools, unmount_below
from tests.lab.network import LAN, PRIVATE_LINK, Network, Seat
from tests.lab.node import Node, forget_nspawn_lock

_RUN = Path("/run/hbd-lab")
CHECKOUT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True, slots=True)
class _State:
    """What another process must know to use or end a lab: in the lab's directory."""

    base: str
    layers: list[str]
    binds: dict[str, str]
    nodes: list[str]
    kept: bool = False

    @classmethod
    def load(cls, place: Path) -> "_State | None":
        file = place / "state.json"
        return cls(**json.loads(file.read_text())) if file.exists() else None

    def store(self, place: Path) -> None:
        (place / "state.json").write_text(json.dumps(asdict(self)))


class Lab:
    """Two machines, their wires, a client, an observer and a router.

    `layers` go over the root file system, topmost first (`rootfs.hbd_layer`
    makes one with hbd in it); `binds` are directories shown read-only in the
    machines, by mount point: by default the checkout at /mnt/hbd. `name` is
    HBD_LAB_NAME or `lab`. `force` ends a lab of that name that `keep` left.
    """

    def __init__(
        self,
        layers: Sequence[Path] = (),
        binds: dict[str, Path] | None = None,
        name: str | None = None,
        nodes: Sequence[str] = ("linuxha1", "linuxha2"),
        *,
        force: bool = False,
    ) -> None:
        self.name = name or os.environ.get("HBD_LAB_NAME", "lab")
        if not re.fullmatch("[a-z0-9]{1,16}", self.name):
            raise LabError(f"a lab's name is up to 16 small letters and digits, not '{self.name}'")
        self._layers = list(layers)
        self._binds = {"/mnt/hbd": CHECKOUT} if binds is None else binds
        self._node_names = list(nodes)
        self._force = force
        self._place = _RUN / self.name
        self._lock: IO[str] | None = None
        self._kept = False
        require_tools()

    @classmethod
    def attach(cls, name: str | None = None) -> "Lab":
        """The lab of that name which is running; raises LabError if there is none."""
        lab = cls(name=name)
        state = _State.load(lab._place)
        if state is None:
            raise LabError(f"no lab named {lab.name} is running; `python -m tests.lab up` starts one")
        lab._layers = [Path(layer) for layer in state.layers]
        lab._binds = {point: Path(directory) for point, directory in state.binds.items()}
        lab._node_names = state.nodes
        lab._assemble([*lab._layers, Path(state.base)])
        return lab

    def __enter__(self) -> Self:
        base = rootfs.base(say=print)
        self._take_lock()
        self._refuse_a_kept_one()
        try:
            self._clear()
            self._place.mkdir(parents=True)
            binds = {point: str(directory) for point, directory in self._binds.items()}
            _State(str(base), [str(layer) for layer in self._layers], binds, self._node_names).store(
                self._place
            )
            lowers = [*self._layers, base]
            self._assemble(lowers)
            self._cgroup.create()
            Cgroup(f"{self._cgroup.path}/helpers").create()
            helpers.make_root(self._place / "helpers", lowers)
            self.network.up()
        except BaseException:
            self.destroy()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        if self._kept:
            self._release_lock()
        else:
            self.destroy()

    def __getitem__(self, node: str) -> Node:
        return self.nodes[node]

    def boot(self, *nodes: str, timeout_s: float = 30, held: tuple[str, ...] = ()) -> None:
        """Boot these machines, all by default, at the same time; `held` is as in Node.boot."""
        chosen = [self.nodes[name] for name in nodes or self._node_names]
        for node in chosen:
            node.start(held)
        for node in chosen:
            node.wait_ready(timeout_s)

    def keep(self) -> None:
        """Leave the lab running when this process ends; `Lab.attach` finds it, `down` ends it."""
        self._kept = True
        state = _State.load(self._place)
        assert state is not None
        replace(state, kept=True).store(self._place)

    def destroy(self) -> None:
        """Take the power from everything, and remove every trace."""
        if self._lock is None:
            self._take_lock()
        self._clear()
        self._release_lock()

    # -- inside ------------------------------------------------------------

    def _assemble(self, lowers: Sequence[Path]) -> None:
        seats = {name: Seat(number) for number, name in enumerate(self._node_names, start=1)}
        prefix = f"hbd-{self.name}"
        self._cgroup = Cgroup(f"hbd-lab.{self.name}")
        self.network = Network(prefix, seats, self._place / "faults.json")
        self.nodes = {
            name: Node(name, self.name, self._place / name, self.network, lowers, self._binds)
            for name in seats
        }
        macs = {
            seat.mac(interface): name for name, seat in seats.items() for interface in (LAN, PRIVATE_LINK)
        }
        cgroup = Cgroup(f"{self._cgroup.path}/helpers")
        self.client, self.observer, self.router = (
            Helper(name, self.network.namespace_path(name), self._place / "helpers", cgroup, macs)
            for name in ("client", "observer", "router")
        )

    def _take_lock(self) -> None:
        """Become the owner of this name, or raise LabError naming the process that is."""
        path = _RUN / f"{self.name}.lock"
        while self._lock is None:
            _RUN.mkdir(parents=True, exist_ok=True)
            lock = open(path, "a+", encoding="utf-8")  # noqa: SIM115 - held until _release_lock
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                lock.seek(0)
                owner = lock.read().strip()
                lock.close()
                raise LabError(f"the lab named {self.name} is in use by process {owner}") from None
            if path.exists() and os.fstat(lock.fileno()).st_ino == path.stat().st_ino:
                lock.truncate(0)
                lock.write(f"{os.getpid()}\n")
                lock.flush()
                self._lock = lock
            else:  # Its owner removed the file just before we locked it.
                lock.close()

    def _release_lock(self) -> None:
        assert self._lock is not None
        Path(self._lock.name).unlink()
        self._lock.close()
        self._lock = None
        if not any(_RUN.iterdir()):
            _RUN.rmdir()

    def _refuse_a_kept_one(self) -> None:
        """Raise LabError, and leave it as it is, if a lab of this name was kept and may not be ended."""
        state = _State.load(self._place)
        if state is not None and state.kept and not self._force:
            self._release_lock()
            raise LabError(
                f"the lab named {self.name} was left running for a look round; "
                "end it with `python -m tests.lab down`"
            )

    def _clear(self) -> None:
        """Remove what there is of a lab of this name, in whatever state it is."""
        cgroup = Cgroup(f"hbd-lab.{self.name}")
        cgroup.kill()
        cgroup.remove()
        Network(f"hbd-{self.name}", {}, self._place / "faults.json").down()
        for root in self._place.glob("*/root"):
            forget_nspawn_lock(root)
        unmount_below(self._place)
        if self._place.exists():
            shutil.rmtree(self._place)
        for left in Path("/run/systemd/nspawn/propagate").glob(f"{self.name}-*"):
            left.rmdir()
