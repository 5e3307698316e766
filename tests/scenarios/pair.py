"""One or two real cores on hand-given time, and a transcript of what they do.

Nothing is drawn by lot: a datagram takes 1 ms, an address 1 ms, a unit 20 ms. Machines are the simulator's,
so resources outlive the daemon and `/run` outlives it too. Times are milliseconds since the pair was made.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable
from dataclasses import dataclass, replace
from random import Random
from typing import Protocol

from hbd.config.model import (
    AddressResource,
    AutoFailback,
    Bcast,
    Config,
    GroupSpec,
    Key,
    Keys,
    Limits,
    ResourceSpec,
    Timing,
    UnitResource,
)
from hbd.core.effects import (
    Announce,
    Answer,
    ArmLease,
    DisarmLease,
    DropAddresses,
    Effect,
    EndLease,
    KeepLease,
    LeaseEffect,
    Log,
    ProbeResource,
    StartJob,
    StartResource,
    StopResource,
)
from hbd.core.events import Command, Event, Scope, Standby, Takeover
from hbd.core.message import Message
from hbd.core.views import ClusterView
from hbd.core.wire import decode
from hbd.sim.machines import Machine

WIRE_MS = 1
ETH0 = Bcast("eth0", 694)
KEYS = Keys(1, (Key(1, "sha1", b"secretkey"),))
TIMING = Timing(keepalive_ms=200, warntime_ms=800, deadtime_ms=2000, initdead_ms=10_000, deadping_ms=2000)
"""Those of the recordings of heartbeat 3.0.6."""


def address(ip: str) -> AddressResource:
    return AddressResource(ip, ip)


def unit(name: str) -> UnitResource:
    return UnitResource(name, f"{name}.service")


def group(home: str, *resources: ResourceSpec) -> GroupSpec:
    return GroupSpec(resources[0].name, home, resources)


SHOP = group("alpha", address("10.0.0.1"), unit("web"), unit("db"))
FILES = group("beta", address("10.0.0.2"), unit("ftp"))
GROUPS = (SHOP, FILES)
SHOP_KEY, FILES_KEY = SHOP.key, FILES.key


def config_for(
    node: str, failback: AutoFailback = AutoFailback.OFF, groups: tuple[GroupSpec, ...] = GROUPS
) -> Config:
    return Config(
        local_node=node, nodes=("alpha", "beta"), media=(ETH0,), keys=KEYS, groups=groups, timing=TIMING,
        auto_failback=failback, limits=Limits(start_ms=30_000, stop_ms=20_000, probe_ms=1000),
    )  # fmt: skip


@dataclass(frozen=True, slots=True)
class Line:
    """One thing a node did."""

    ms: int
    node: str
    what: str

    def __str__(self) -> str:
        return f"{self.ms:>7} {self.node}: {self.what}"


class Station(Protocol):
    """Whoever hears what is sent."""

    name: str

    def receive(self, payload: bytes) -> None: ...


class Pair:
    """The clock, the wire, and what was seen. Tests assert on `starts`, `said`, `log` and `owners`."""

    def __init__(
        self, failback: AutoFailback | tuple[AutoFailback, AutoFailback] = AutoFailback.OFF,
        groups: tuple[GroupSpec, ...] = GROUPS,
    ) -> None:  # fmt: skip
        ours, theirs = failback if isinstance(failback, tuple) else (failback, failback)
        self.now_ms = 0
        self.groups = groups
        self.alpha = Machine(self, config_for("alpha", ours, groups), 1, 0)
        self.beta = Machine(self, config_for("beta", theirs, groups), 2, 0)
        self.machines = {"alpha": self.alpha, "beta": self.beta}
        self.stations: dict[str, Station] = dict(self.machines)
        self.lines: list[Line] = []
        self.numbered: list[tuple[str, Log]] = []
        """What was logged with the number of a transition, and by which node."""
        self.leases: list[tuple[int, str, LeaseEffect]] = []
        """What the kernels were told."""
        self.messages: list[tuple[int, str, Message]] = []
        self.lost: Callable[[str, Message], bool] = lambda sender, message: False
        """Which messages of which sender the wire loses."""
        self.twice_allowed = False
        self.twice: list[Line] = []
        self._heap: list[tuple[int, int, Callable[[], None]]] = []
        self._count = 0
        self._rng = Random(1)

    # ------------------------------------------------------------ what machines need

    def at(self, delay_ms: int, action: Callable[[], None]) -> None:
        self._count += 1
        heapq.heappush(self._heap, (self.now_ms + delay_ms, self._count, action))

    def draw(self, low: int, high: int) -> int:
        """The shortest delay; only seeds and incarnations are drawn."""
        return low if high < 1000 else self._rng.randint(low, high)

    def chance(self, probability: float) -> bool:
        return False

    def transmit(self, sender: Machine, payload: bytes) -> None:
        self.carry(sender.name, payload)

    def carry(self, sender: str, payload: bytes) -> None:
        """Put a datagram on the wire: every other station hears it 1 ms later."""
        message = decode(payload, KEYS).message
        self.messages.append((self.now_ms, sender, message))
        if self.lost(sender, message):
            return
        for name, station in self.stations.items():
            if name != sender:

                def arrive(station: Station = station) -> None:
                    if not isinstance(station, Machine) or station.powered:
                        station.receive(payload)

                self.at(WIRE_MS, arrive)

    def changed(self, machine: Machine, resource: ResourceSpec) -> None:
        state = "runs" if resource.identity in machine.running else "is off"
        self._note(machine.name, f"{resource.identity} {state}")
        everywhere = [m.name for m in self.machines.values() if resource.identity in m.running]
        if len(everywhere) > 1 and isinstance(resource, AddressResource):
            self.twice.append(Line(self.now_ms, machine.name, resource.identity))
            assert self.twice_allowed, f"{resource.identity} is on both nodes\n{self.story()}"

    def stepped(self, machine: Machine, event: Event, effects: list[Effect]) -> None:
        for effect in effects:
            match effect:
                case Log(_, _, text, transition=transition):
                    self._note(machine.name, text)
                    if transition:
                        self.numbered.append((machine.name, effect))
                case StartJob(_, action, _):
                    self._note(machine.name, f"> {_job(action)}")
                case ArmLease() | DisarmLease() | KeepLease() | EndLease():
                    self.leases.append((self.now_ms, machine.name, effect))
                case _:
                    pass

    def _note(self, node: str, what: str) -> None:
        self.lines.append(Line(self.now_ms, node, what))

    # ------------------------------------------------------------ time

    def run(self, for_ms: int) -> None:
        """Let time pass."""
        end_ms = self.now_ms + for_ms
        while self._heap and self._heap[0][0] <= end_ms:
            self.now_ms, _, action = heapq.heappop(self._heap)
            action()
        self.now_ms = end_ms

    def until(self, seen: Callable[[], bool], within_ms: int) -> int:
        """Let time pass until this is so; how long it took. Fails with the story when it takes too long."""
        began_ms = self.now_ms
        while not seen():
            assert self._heap, f"nothing will happen any more\n{self.story()}"
            assert self._heap[0][0] <= began_ms + within_ms, f"in vain\n{self.story()}"
            self.now_ms, _, action = heapq.heappop(self._heap)
            action()
        return self.now_ms - began_ms

    # ------------------------------------------------------------ deeds

    def started(self, *, owners: dict[str, str] | None = None) -> Pair:
        """Both nodes up, in their places and at rest."""
        self.alpha.start_daemon()
        self.beta.start_daemon()
        self.until(lambda: self.owners() == (owners or at_home(self.groups)), 3000)
        self.run(1000)
        return self

    def ask(self, node: Machine, command: Command) -> Answer:
        """An operator's request and its answer."""
        before = len(node.answers)
        node.ask(command)
        assert len(node.answers) == before + 1, "every request is answered in the same step"
        return node.answers[before + 1]

    def standby(self, node: Machine, scope: Scope = Scope.ALL) -> Answer:
        return self.ask(node, Standby(scope))

    def takeover(self, node: Machine, scope: Scope = Scope.ALL) -> Answer:
        return self.ask(node, Takeover(scope))

    def cut(self) -> None:
        """No datagram comes through any more."""
        self.lost = lambda sender, message: True

    def cut_from(self, sender: str) -> None:
        """What this node says is not heard."""
        self.lost = lambda who, message: who == sender

    def heal(self) -> None:
        self.lost = lambda sender, message: False

    # ------------------------------------------------------------ what is seen

    def owners(self) -> dict[str, str]:
        """Group key -> where all of it runs, really; several names with a plus, empty for nowhere whole."""
        return {
            g.key: "+".join(
                name
                for name, machine in self.machines.items()
                if all(r.identity in machine.running for r in g.resources)
            )
            for g in self.groups
        }

    def view(self, node: Machine) -> ClusterView:
        assert node.core is not None
        return node.core.view()

    def log(self, node: Machine, since_ms: int = 0) -> list[str]:
        return [line.what for line in self._of(node, since_ms) if not line.what.startswith("> ")]

    def logged(self, node: Machine, text: str, since_ms: int = 0) -> int:
        """When the node first logged a line that begins with this."""
        found = [line.ms for line in self._of(node, since_ms) if line.what.startswith(text)]
        assert found, f"{node.name} never said {text!r}\n{self.story()}"
        return found[0]

    def times_logged(self, node: Machine, text: str, since_ms: int = 0) -> int:
        return sum(line.what.startswith(text) for line in self._of(node, since_ms))

    def never_logged(self, node: Machine, text: str, since_ms: int = 0) -> bool:
        return self.times_logged(node, text, since_ms) == 0

    def jobs(self, node: Machine, since_ms: int = 0) -> list[str]:
        """What the node asked its agents for, probes left out: `start web.service`, `drop 10.0.0.1` …"""
        jobs = [line.what[2:] for line in self._of(node, since_ms) if line.what.startswith("> ")]
        return [job for job in jobs if not job.startswith("probe")]

    def job_ms(self, node: Machine, job: str, since_ms: int = 0) -> int:
        found = [line.ms for line in self._of(node, since_ms) if line.what == f"> {job}"]
        assert found, f"{node.name} never did {job!r}\n{self.story()}"
        return found[0]

    def _of(self, node: Machine, since_ms: int) -> list[Line]:
        return [line for line in self.lines if line.node == node.name and line.ms >= since_ms]

    def said(self, name: str, since_ms: int = 0) -> list[str]:
        """The one-shot messages of a node as short sentences: `resource local 1`, `shutdone` …"""
        mine = [m for ms, sender, m in self.messages if sender == name and ms >= since_ms]
        return [sentence(m) for m in mine if m.text("t") not in ("status", "NS_ackmsg")]

    def said_ms(self, name: str, what: str, since_ms: int = 0) -> int:
        for ms, sender, message in self.messages:
            if sender == name and ms >= since_ms and sentence(message) == what:
                return ms
        raise AssertionError(f"{name} never said {what!r}, but {self.said(name, since_ms)}")

    def statuses(self, name: str, since_ms: int = 0) -> list[tuple[int, Message]]:
        return [
            (ms, m) for ms, who, m in self.messages
            if who == name and ms >= since_ms and m.text("t") == "status"
        ]  # fmt: skip

    def story(self) -> str:
        return "\n".join(str(line) for line in self.lines[-60:]) + f"\n{self.now_ms:>7} now"


def at_home(groups: tuple[GroupSpec, ...]) -> dict[str, str]:
    return {g.key: g.home for g in groups}


def all_on(name: str, groups: tuple[GroupSpec, ...] = GROUPS) -> dict[str, str]:
    return {g.key: name for g in groups}


def reconfigured(node: Machine, groups: tuple[GroupSpec, ...]) -> Config:
    """The node's configuration with other groups, also for its next life."""
    node.config = replace(node.config, groups=groups)
    return node.config


def sentence(message: Message) -> str:
    """`ask_resources foreign me`, `resource local 1 req_our_resources()`, `ip-request fakersc::A1` …"""
    words = [message.text("t") or ""]
    if message.text("t") in ("resource", "ask_resources", "hb_takeover"):
        words += [message.text(name) or "" for name in ("rsc_hold", "isstable", "info")]
    else:
        words += [message.text(name) or "" for name in ("dest", "ipaddr", "firstseq")]
    return " ".join(word for word in words if word)


def _job(action: object) -> str:
    match action:
        case StartResource(resource):
            return f"start {resource.identity}"
        case StopResource(resource, _):
            return f"stop {resource.identity}"
        case ProbeResource(resource):
            return f"probe {resource.identity}"
        case DropAddresses(addresses):
            return "drop " + " ".join(each.identity for each in addresses)
        case Announce(resource):
            return f"announce {resource.identity}"
        case _:
            raise AssertionError(action)

