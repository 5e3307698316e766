"""A pair running hbd in the lab: configured, started, looked at.

    configure(lab, timings=QUICK, auto_failback="off")
    lab.boot()
    start(lab)
    settle(lab)
    assert owner(lab["linuxha1"]) == "linuxha1"

All of it as an administrator would do and see it: files in /etc/ha.d,
`systemctl`, `hbctl status --json`, `ip addr`, the journal. Times are
monotonic microseconds unless a name says otherwise.
"""

import itertools
import json
import subprocess
import sys
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from tests.lab.furniture import CLUSTER_ADDRESS
from tests.lab.host import CLEAN_ENV, LabError, wait_until
from tests.lab.journal import Entry
from tests.lab.lab import Lab
from tests.lab.node import Node

ONE, TWO = "linuxha1", "linuxha2"
ADDRESS = CLUSTER_ADDRESS
GROUP = ADDRESS
UNITS = ("httpd.service", "smb.service")
HARESOURCES = f"{ONE} {ADDRESS} httpd smb\n"
SOURCES = {ONE: ("192.168.85.1", "10.0.0.1"), TWO: ("192.168.85.2", "10.0.0.2")}
"""The addresses a machine's heartbeats come from."""

BOTH_LINKS = ("bcast eth1", "ucast eth0 192.168.85.1", "ucast eth0 192.168.85.2")
PRIVATE_ONLY = ("bcast eth1",)

_WATCHER = Path(__file__).with_name("watcher.py")
BUS_NAME, BUS_ROOT = "org.linux_ha.Heartbeat1", "/org/linux_ha/Heartbeat1"
_ASK = f"busctl --json=short call {BUS_NAME} {BUS_ROOT}"
GLANCE = (
    f"{_ASK} org.freedesktop.DBus.Properties GetAll s {BUS_NAME}.Cluster && "
    f"{_ASK} org.freedesktop.DBus.ObjectManager GetManagedObjects"
)
"""Command of a machine; see `parse_glance`."""
STANDBY_CALL = f"busctl call {BUS_NAME} {BUS_ROOT} {BUS_NAME}.Cluster Standby s all"


@dataclass(frozen=True, slots=True)
class Timings:
    """Milliseconds, as in ha.cf."""

    keepalive_ms: int
    warntime_ms: int
    deadtime_ms: int
    initdead_ms: int

    def lines(self) -> list[str]:
        return [
            f"{name} {value}ms"
            for name, value in (
                ("keepalive", self.keepalive_ms),
                ("warntime", self.warntime_ms),
                ("deadtime", self.deadtime_ms),
                ("initdead", self.initdead_ms),
            )
        ]


QUICK = Timings(500, 1500, 3000, 6000)
GUIDE = Timings(2000, 10_000, 30_000, 120_000)


def configure(
    lab: Lab,
    *nodes: str,
    timings: Timings = QUICK,
    auto_failback: str = "on",
    media: Iterable[str] = BOTH_LINKS,
    haresources: str = HARESOURCES,
    extra: Iterable[str] = (),
) -> None:
    """Write /etc/ha.d of these machines, all by default, running or off."""
    lines = [*timings.lines(), *media, f"auto_failback {auto_failback}", *extra, f"node {ONE} {TWO}"]
    for node in (lab[name] for name in nodes or lab.nodes):
        node.write("/etc/ha.d/ha.cf", "".join(f"{line}\n" for line in lines))
        node.write("/etc/ha.d/haresources", haresources)
        node.write("/etc/ha.d/authkeys", "auth 1\n1 sha1 key-for-sha1-any-text-you-want\n", mode=0o600)


@contextmanager
def running_pair(
    layer: Path,
    *,
    timings: Timings = QUICK,
    auto_failback: str = "on",
    media: Iterable[str] = BOTH_LINKS,
    haresources: str = HARESOURCES,
    extra: Iterable[str] = (),
) -> Iterator[Lab]:
    """A lab with both machines booted, hbd running on both, and everything on linuxha1."""
    with Lab(layers=[layer]) as lab:
        configure(
            lab,
            timings=timings,
            auto_failback=auto_failback,
            media=media,
            haresources=haresources,
            extra=extra,
        )
        lab.boot()
        start(lab)
        settle(lab, owned_by=ONE)
        yield lab


def start(lab: Lab, *nodes: str) -> None:
    """`systemctl start hbd` on these machines, all by default, at the same time."""
    on_each(lab, nodes, "systemctl start hbd")


def stop(lab: Lab, *nodes: str) -> None:
    """`systemctl stop hbd` on these machines, all by default, at the same time."""
    on_each(lab, nodes, "systemctl stop hbd")


def status(node: Node) -> dict[str, Any] | None:
    """`hbctl status --json`; None when it does not answer, e.g. because hbd does not run."""
    done = node.run("hbctl status --json", check=False)
    if done.returncode not in (0, 1):
        return None
    shown: dict[str, Any] = json.loads(done.stdout)
    return shown


def glance(node: Node) -> dict[str, Any] | None:
    """The `cluster` and `groups` of `status`, by busctl: a look that costs nothing, for whoever waits."""
    done = node.run(GLANCE, check=False)
    return parse_glance(done.stdout) if done.returncode == 0 else None


def parse_glance(output: str) -> dict[str, Any]:
    """What `GLANCE` printed, in the form of `hbctl status --json`."""
    cluster, managed = (json.loads(line)["data"][0] for line in output.splitlines())
    objects = [held[f"{BUS_NAME}.Group"] for held in managed.values() if f"{BUS_NAME}.Group" in held]
    return {"cluster": _plain(cluster), "groups": [_plain(group) for group in objects]}


def _plain(properties: dict[str, dict[str, Any]]) -> dict[str, Any]:
    return {name.lower(): value["data"] for name, value in properties.items()}


def owner(node: Node, group: str = GROUP) -> str:
    """Who owns the group, as this machine sees it; empty when nobody it knows of does."""
    return owners(node).get(group, "")


def owners(node: Node) -> dict[str, str]:
    """Who owns each group, as this machine sees it; nothing when hbd does not answer."""
    return _owners(glance(node))


def _owners(shown: dict[str, Any] | None) -> dict[str, str]:
    return {} if shown is None else {group["name"]: group["owner"] for group in shown["groups"]}


def is_settled(node: Node) -> bool:
    """Whether this machine sees every group served, and nothing on its way."""
    return _at_rest(glance(node))


def _at_rest(shown: dict[str, Any] | None) -> bool:
    return (
        shown is not None
        and shown["cluster"]["state"] == "stable"
        and shown["cluster"]["transition"] == 0
        and all(group["state"] == "started" and group["owner"] for group in shown["groups"])
    )


def settle(lab: Lab, *nodes: str, timeout: float = 20, owned_by: str | dict[str, str] | None = None) -> None:
    """Wait until these machines, all by default, are settled and say the same of who owns what.

    With `owned_by`, until that is who owns everything, or each group. Raises
    LabError with what they say when that is not so in time.
    """
    chosen = [lab[name] for name in nodes or lab.nodes]

    def settled() -> bool:
        shown = [glance(node) for node in chosen]
        if not all(_at_rest(each) for each in shown):
            return False
        seen = [_owners(each) for each in shown]
        wanted = dict.fromkeys(seen[0], owned_by) if isinstance(owned_by, str) else owned_by or seen[0]
        return all(each == wanted for each in seen)

    try:
        wait_until(settled, timeout, "a settled cluster", 0.1)
    except LabError:
        said = "\n".join(
            f"{node.name}: {node.run('hbctl status', check=False).stdout if node.is_running else 'off'}"
            for node in chosen
        )
        raise LabError(f"not settled within {timeout:g} s:\n{said}") from None


def holds(node: Node, address: str = ADDRESS) -> bool:
    """Whether `ip addr` of the machine shows the address."""
    return f" {address}/" in node.run("ip -4 -oneline addr").stdout


def active_units(node: Node, units: Sequence[str] = UNITS) -> list[str]:
    """Those of the units that systemd calls active."""
    states = node.run(["systemctl", "is-active", *units], check=False).stdout.split()
    return [unit for unit, state in zip(units, states, strict=True) if state == "active"]


def serves(node: Node) -> bool:
    """Whether the whole of the guide's group runs on the machine."""
    return holds(node) and active_units(node) == list(UNITS)


def is_idle(node: Node) -> bool:
    """Whether nothing of the guide's group is on the machine."""
    return not holds(node) and active_units(node) == []


def share_answers(lab: Lab) -> str:
    """The node that the client finds behind the share `test`: the content of its file `node`."""
    return lab.client.run(["smbclient", "-N", f"//{ADDRESS}/test", "-c", "get node -"]).stdout.split()[0]


def said(node: Node, text: str, since_us: int = 0) -> list[Entry]:
    """What hbd on this machine has logged that contains `text`."""
    return node.entries(lambda entry: _is_hbds(entry) and text in entry.message, since_us)


def log(node: Node, since_us: int = 0) -> list[Entry]:
    """What hbd on this machine has logged."""
    return node.entries(_is_hbds, since_us)


def _is_hbds(entry: Entry) -> bool:
    return entry.fields.get("SYSLOG_IDENTIFIER") == "hbd"


def logged_us(entry: Entry) -> int:
    """When the sender handed the entry to journald, which is earlier than when journald wrote it."""
    waited_us = int(entry.fields["__REALTIME_TIMESTAMP"]) - int(entry.fields["_SOURCE_REALTIME_TIMESTAMP"])
    return entry.monotonic_us - waited_us


def starts(node: Node, unit: str, since_us: int = 0) -> list[Entry]:
    """Each time systemd on this machine finished starting the unit."""
    return jobs_done(node, unit, "start", since_us)


def jobs_done(node: Node, unit: str, kind: str, since_us: int = 0) -> list[Entry]:
    """Each time systemd on this machine did a job of that kind, e.g. `stop`, for the unit."""
    job = {"UNIT": unit, "JOB_TYPE": kind, "JOB_RESULT": "done"}
    return node.entries(lambda entry: job.items() <= entry.fields.items(), since_us)


@dataclass(frozen=True, slots=True)
class Happening:
    """One thing a watcher saw: the address `up` or `gone`, a `carrier` or `no carrier`, or a `heartbeat`."""

    at_us: int
    where: str
    what: str


class Watch:
    """What machines' kernels do, written down from outside; use it in a `with` block."""

    def __init__(self, *words: str) -> None:
        self._seen: list[Happening] = []
        self._process = subprocess.Popen(
            [sys.executable, "-S", str(_WATCHER), *words],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            text=True,
            env=CLEAN_ENV,
        )
        self._ready = threading.Event()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        if not self._ready.wait(10):
            raise LabError(f"the watcher does not begin: {words}")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        self._process.terminate()
        self._process.wait()
        self._reader.join()

    def seen(self, what: str | None = None, since_us: int = 0) -> list[Happening]:
        """Everything so far, or what is called `what`, from `since_us` on."""
        return [each for each in self._seen if each.at_us >= since_us and what in (None, each.what)]

    def wait_for(self, what: str, since_us: int = 0, timeout: float = 10) -> Happening:
        """The first one; raises LabError when there is none in time."""
        wait_until(lambda: bool(self.seen(what, since_us)), timeout, f"'{what}' from the kernel", 0.01)
        return self.seen(what, since_us)[0]

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            happening = Happening(**json.loads(line))
            if self._ready.is_set():
                self._seen.append(happening)
            self._ready.set()


def watch_address(lab: Lab, node: str, address: str = ADDRESS) -> Watch:
    """See the address come (`up`) and go (`gone`) in the machine's kernel."""
    return Watch("address", address, _place(lab, node))


def watch_carrier(lab: Lab, node: str, interface: str) -> Watch:
    """See the machine's interface lose its carrier (`no carrier`) and have one again (`carrier`)."""
    return Watch("carrier", interface, _place(lab, node))


def watch_heartbeats(lab: Lab, node: str, of: str) -> Watch:
    """See the heartbeats of `of` reach the machine `node`: each once, at its first copy on any link."""
    return Watch("heartbeats", _place(lab, node), *SOURCES[of])


@contextmanager
def never_on_both(lab: Lab, address: str = ADDRESS) -> Iterator[Watch]:
    """What is done inside must at no moment leave the address on both machines. Gives both kernels' watch.

    Judged by what both kernels tell over netlink, and by who answers ARP on the
    LAN. Both machines run, and one holds the address, when it begins.
    """
    held = {name: holds(lab[name], address) for name in (ONE, TWO)}
    assert sorted(held.values()) == [False, True], f"one is to hold the address at first: {held}"
    with (
        Watch("address", address, _place(lab, ONE), _place(lab, TWO)) as kernels,
        lab.observer.arp_probe(address) as arp,
    ):
        yield kernels
        arp.wait_for_rounds_until(time.monotonic_ns() // 1000)
        changes = kernels.seen()
        for at_us, at_once in itertools.groupby(changes, lambda change: change.at_us):
            for change in at_once:
                held[change.where] = change.what == "up"
            assert not all(held.values()), f"on both at {at_us}: {changes}"
        assert arp.dual_held() == []


def _place(lab: Lab, node: str) -> str:
    return f"{node}={lab.network.namespace_path(node)}"


def on_each(lab: Lab, nodes: tuple[str, ...], command: str) -> None:
    """Run it on all at the same time; raises the first error after all have ended."""
    errors: list[LabError] = []

    def run(node: Node) -> None:
        try:
            node.run(command, timeout=60)
        except LabError as error:
            errors.append(error)

    threads = [threading.Thread(target=run, args=(lab[name],)) for name in nodes or lab.nodes]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]
