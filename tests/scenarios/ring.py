"""Real cores joined by serial lines, on hand-given time.

A line has two ends, takes 40 ms for a message and loses nothing, unless it is cut. Membership only: there are
no groups, so cores have no jobs.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable
from dataclasses import dataclass

from hbd.config.model import Config, Key, Keys, Serial, Timing
from hbd.core.cluster import Cluster, Identity
from hbd.core.effects import Answer, Forward, Log, OpenLink, Quit, Transmit
from hbd.core.events import (
    Asked,
    DatagramReceived,
    Event,
    Instant,
    LinkOpened,
    RequestId,
    Started,
    Stop,
    Tick,
)
from hbd.core.message import Message
from hbd.core.views import NodeStatus
from hbd.core.wire import decode

KEYS = Keys(1, (Key(1, "sha1", b"secretkey"),))
TIMING = Timing(keepalive_ms=500, warntime_ms=1500, deadtime_ms=3000, initdead_ms=6000, deadping_ms=3000)
LEFT, RIGHT = Serial("/dev/ttyS0", 19200), Serial("/dev/ttyS1", 19200)
LINE_MS = 40
NAMES = ("alpha", "beta", "gamma")


@dataclass(frozen=True, slots=True)
class Said:
    """One message on one line."""

    ms: int
    sender: str
    to: str
    line: bytes

    @property
    def message(self) -> Message:
        return decode(self.line, KEYS).message


class Station:
    """One core; its right-hand line is the left-hand one of the next in the ring."""

    def __init__(self, ring: Ring, name: str, names: tuple[str, ...], hopfudge: int) -> None:
        self.ring, self.name = ring, name
        self.config = Config(name, names, (LEFT, RIGHT), KEYS, timing=TIMING, hopfudge=hopfudge)
        self.generation = 1000
        self.lives = 0
        self.core: Cluster | None = None
        self.log: list[tuple[int, str]] = []
        self.answers: list[Answer] = []
        self._timer = 0

    def start(self) -> None:
        self.generation += 1
        self.lives += 1
        uuid = self.name.encode().ljust(16, b"-")
        self.core = Cluster(self.config, Identity(self.name, uuid, self.generation, self.lives), 1)
        self.step(Started())

    def stop(self) -> None:
        """An orderly stop; it goes on until it quits."""
        self.step(Asked(RequestId(1), Stop()))

    def step(self, event: Event) -> None:
        core = self.core
        if core is None:
            return
        now = Instant(self.ring.now_ms, 1_700_000_000 + self.ring.now_ms // 1000)
        for effect in core.step(now, event):
            match effect:
                case OpenLink(medium):
                    self.step(LinkOpened(medium))
                case Transmit():
                    for line in (LEFT, RIGHT):
                        self.ring.carry(self, line, effect.line)
                case Forward(message, media):
                    self.ring.forwarded += 1
                    for medium in media:
                        assert isinstance(medium, Serial)
                        self.ring.carry(self, medium, message.line)
                case Log():
                    self.log.append((self.ring.now_ms, effect.text))
                case Answer():
                    self.answers.append(effect)
                case Quit():
                    self.core = None
                case _:
                    pass
        self._arm()

    def _arm(self) -> None:
        if self.core is None or (deadline_ms := self.core.deadline_ms) is None:
            return
        self._timer += 1
        timer = self._timer
        self.ring.at(deadline_ms, lambda: self.step(Tick()) if timer == self._timer else None)

    def said(self, text: str, since_ms: int = 0) -> list[str]:
        return [line for ms, line in self.log if text in line and ms >= since_ms]

    def sees(self) -> dict[str, str]:
        """Every node and its status."""
        assert self.core is not None
        return {node.name: node.status.value for node in self.core.view().nodes}

    def links(self) -> dict[tuple[str, str], str]:
        assert self.core is not None
        return {(link.node, link.name): link.status.value for link in self.core.view().links}


class Ring:
    """The nodes, their lines, and what was said on them."""

    def __init__(self, *names: str, hopfudge: int = 1) -> None:
        self.now_ms = 0
        order = names or NAMES
        self.stations = {name: Station(self, name, order, hopfudge) for name in order}
        self._order = order
        self.cuts: set[frozenset[str]] = set()
        self.lost: Callable[[Said], bool] = lambda said: False
        self.said: list[Said] = []
        self.forwarded = 0
        self._heap: list[tuple[int, int, Callable[[], None]]] = []
        self._count = 0

    def __getitem__(self, name: str) -> Station:
        return self.stations[name]

    def at(self, at_ms: int, action: Callable[[], None]) -> None:
        self._count += 1
        heapq.heappush(self._heap, (max(at_ms, self.now_ms), self._count, action))

    def carry(self, sender: Station, line: Serial, raw: bytes) -> None:
        position = self._order.index(sender.name)
        step, end = (1, LEFT) if line == RIGHT else (-1, RIGHT)
        receiver = self.stations[self._order[(position + step) % len(self._order)]]
        said = Said(self.now_ms, sender.name, receiver.name, raw)
        self.said.append(said)
        if frozenset((sender.name, receiver.name)) not in self.cuts and not self.lost(said):
            self.at(self.now_ms + LINE_MS, lambda: receiver.step(DatagramReceived(end, raw)))

    def cut(self, one: str, other: str) -> None:
        self.cuts.add(frozenset((one, other)))

    def run(self, for_ms: int) -> None:
        end_ms = self.now_ms + for_ms
        while self._heap and self._heap[0][0] <= end_ms:
            self.now_ms, _, action = heapq.heappop(self._heap)
            action()
        self.now_ms = end_ms

    def started(self) -> Ring:
        """All up, and known to one another."""
        for station in self.stations.values():
            station.start()
        self.run(2000)
        everybody = dict.fromkeys(self._order, NodeStatus.ACTIVE.value)
        assert all(station.sees() == everybody for station in self.stations.values())
        return self

    def deaths(self, since_ms: int = 0) -> list[str]:
        """Who was declared dead, in everybody's words."""
        return [
            f"{station.name}: {text}"
            for station in self.stations.values()
            for text in station.said(": is dead", since_ms)
        ]

    def on_lines(self, since_ms: int) -> list[Said]:
        return [said for said in self.said if said.ms >= since_ms]
