"""A machine with heartbeat 3.0.6 on it: the truth about its resources, its scripts, its power.

Scripts are processes of their own: one that runs goes on to its end when the master is killed, and what it
started stays; the next one of the queue is the master's, and lost with it. `takegroup` skips what runs
already, and gives the whole group up when a start fails; `givegroup` stops every resource of the group, also
those that do not run, and repeats a stop that fails after a second. Facts: ResourceManager, observed.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from hbd.config.model import AddressResource, Config, GroupSpec, ResourceSpec
from hbd.sim.machines import Troubles
from tests.simulation.classic_model import Daemon, Sets, Traits

INBOX = 64
STOP_RETRIES = 10
STOP_RETRY_MS = 1000
STANDBY_DELAY_MS = 30_000
"""From a failed start to `hb_standby foreign`."""


class Stage(Protocol):
    """What the machine needs of its world."""

    now_ms: int

    def at(self, delay_ms: int, action: Callable[[], None]) -> None: ...
    def draw(self, low: int, high: int) -> int: ...
    def chance(self, probability: float) -> bool: ...
    def classic_sends(self, payload: bytes) -> None: ...
    def classic_changed(self, resource: ResourceSpec) -> None: ...
    def note(self, text: str) -> None: ...


class ClassicMachine:
    """A node of the mixed pair."""

    def __init__(self, world: Stage, config: Config, number: int, traits: Traits) -> None:
        self.world, self.config, self.number, self.traits = world, config, number, traits
        self.name = config.local_node
        self.generation = 5000 + number
        self.daemon: Daemon | None = None
        self.powered, self.frozen = True, False
        self.running: dict[str, ResourceSpec] = {}
        """The truth: what really runs here, by identity."""
        self.wanted: dict[str, int] = {}
        """Group -> the last life of the daemon that started it, or found it running when it wanted it."""
        self.troubles = Troubles(set(), {}, {})
        self.failed: set[str] = set()
        """Keys of groups that were given up because a start failed, or never came to their start because the
        master was restarted: 3.0.6 goes on claiming them."""
        self.starts: dict[str, int] = {}
        self.life = 0
        self._boot = 0
        self._inbox: list[bytes] = []
        self._draining = False
        self._overdue: list[Callable[[], None]] = []

    # ------------------------------------------------------------ life and death

    def start_daemon(self, kept: Sets | None = None) -> None:
        """The init script starts heartbeat. `kept`: a quick restart that keeps its resources."""
        if not self.powered or self.daemon is not None:
            return
        self.generation += 1
        self.life += 1
        if kept is not None:
            self.wanted = dict.fromkeys(self.wanted, self.life)
        self.daemon = Daemon(self, self.config, self.generation, kept)
        self.daemon.start()

    def ends(self, daemon: Daemon) -> None:
        """The master exited by itself."""
        if self.daemon is daemon:
            self.kill_daemon()

    def kill_daemon(self) -> None:
        """kill -9 of the master: resources stay up, and nothing restarts heartbeat."""
        self.daemon = None
        self._inbox.clear()
        self._overdue.clear()

    def power_off(self) -> None:
        self.kill_daemon()
        self.powered = self.frozen = False
        self._boot += 1
        self.failed.clear()
        for resource in list(self.running.values()):
            self._off(resource)

    def power_on(self) -> None:
        self.powered = True
        self.start_daemon()

    def freeze(self) -> None:
        self.frozen = True

    def thaw(self) -> None:
        """Wake. Whether the queue or the timers come first is the event loop's business: either is seen."""
        self.frozen = False
        overdue, self._overdue = self._overdue, []
        if self.world.chance(0.5):
            self._drain()
        for action in overdue:
            action()
        self._drain()

    @property
    def leftovers(self) -> list[ResourceSpec]:
        """What runs here although the daemon's present life neither started nor wanted it."""
        wanted = [
            resource.identity
            for group in self.config.groups
            if self.daemon is not None and self.wanted.get(group.key) == self.life
            for resource in group.resources
        ]
        return [resource for identity, resource in self.running.items() if identity not in wanted]

    def wants(self, group: GroupSpec) -> None:
        """The present life of the daemon counts this group as its own."""
        self.wanted[group.key] = self.life

    def interrupt(self, claimed: list[GroupSpec]) -> None:
        """A quick restart kills the children of the master: what they have not come to is not started."""
        self.failed.update(group.key for group in claimed if self.wanted.get(group.key) != self.life)

    def tidy(self) -> None:
        """The operator obeys `CRITICAL: Resource X is active, and should not be!`."""
        for resource in self.leftovers:
            self._off(resource)

    # ------------------------------------------------------------ the daemon's world

    def receive(self, payload: bytes) -> None:
        """A datagram is on the socket; the master comes to it within its reaction time."""
        if self.daemon is None or len(self._inbox) >= INBOX:
            return
        self._inbox.append(payload)
        if not self.frozen and not self._draining:
            self._draining = True
            self.world.at(self.world.draw(0, self.traits.lag_ms), self._drain)

    def _drain(self) -> None:
        self._draining = False
        if self.frozen:
            return
        queued, self._inbox = self._inbox, []
        for payload in queued:
            if self.daemon is not None:
                self.daemon.receive(payload)

    def later(self, delay_ms: int, action: Callable[[], None]) -> None:
        """A timer of the daemon: gone with it, overdue after a standstill."""
        daemon = self.daemon

        def due() -> None:
            if self.daemon is not daemon or daemon is None:
                return
            if self.frozen:
                self._overdue.append(due)
                return
            action()

        self.world.at(delay_ms, due)

    def process(self, delay_ms: int, action: Callable[[], None]) -> None:
        """Goes on without the daemon, but not without the machine."""
        boot = self._boot

        def due() -> None:
            if boot != self._boot:
                return
            if self.frozen:
                self.world.at(10, due)
                return
            action()

        self.world.at(delay_ms, due)

    # ------------------------------------------------------------ scripts

    def takegroup(self, group: GroupSpec, done: Callable[[], None]) -> None:
        """Start left to right; calls `done` when the script ended, with or without success."""
        self.wants(group)
        self._take(group, 0, self.daemon, done)

    def _take(
        self, group: GroupSpec, position: int, daemon: Daemon | None, done: Callable[[], None]
    ) -> None:
        if position == len(group.resources):
            self.failed.discard(group.key)
            done()
            return
        resource = group.resources[position]
        identity = resource.identity

        def go_on() -> None:
            self._take(group, position + 1, daemon, done)

        def standby() -> None:
            if daemon is not None and daemon is self.daemon:
                daemon.hb_standby()

        def started() -> None:
            if identity not in self.troubles.start_fails:
                self._on(resource)
                go_on()
                return
            self.world.note(f"{self.name}: Giving up resources due to failure of {resource.name}")
            self.failed.add(group.key)
            self.process(STANDBY_DELAY_MS, standby)
            self.givegroup(group, done)

        if identity in self.running:
            self.process(1, go_on)
            return
        self.starts[identity] = self.starts.get(identity, 0) + 1
        self.process(self._takes_ms(resource), started)

    def givegroup(self, group: GroupSpec, done: Callable[[], None]) -> None:
        """Stop right to left."""
        self._give(group, len(group.resources) - 1, 0, done)

    def _give(self, group: GroupSpec, position: int, tries: int, done: Callable[[], None]) -> None:
        if position < 0:
            done()
            return
        resource = group.resources[position]

        def stopped() -> None:
            left = self.troubles.stop_fails.get(resource.identity, 0)
            if left and resource.identity in self.running and tries < STOP_RETRIES:
                self.troubles.stop_fails[resource.identity] = left - 1
                self.process(STOP_RETRY_MS, lambda: self._give(group, position, tries + 1, done))
                return
            self._off(resource)
            self._give(group, position - 1, 0, done)

        self.process(self._takes_ms(resource), stopped)

    def _takes_ms(self, resource: ResourceSpec) -> int:
        short = isinstance(resource, AddressResource)
        delay_ms = self.world.draw(5, 60) if short else self.world.draw(20, 400)
        return delay_ms + self.troubles.slow.get(resource.identity, 0)

    def _on(self, resource: ResourceSpec) -> None:
        if resource.identity not in self.running:
            self.running[resource.identity] = resource
            self.world.classic_changed(resource)

    def _off(self, resource: ResourceSpec) -> None:
        if self.running.pop(resource.identity, None) is not None:
            self.world.classic_changed(resource)
