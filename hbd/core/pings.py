"""Ping nodes: machines that run no hbd and answer pings, as evidence of what a node can reach.

    init ──first answer──▶ ping ◀──answer── dead
      └────────no answer for deadping───────▶

Each is asked once a keepalive. Nothing here counts for the life of the other node or for communication being
up. Two measures are told apart. A ping node *lives* until deadping has passed without an answer: by that a
node judges itself. It *answers* if it did so within the last few keepalives: only that may draw resources to
a node, since what is known of a ping node that died a moment ago must not. Facts: heartbeat 3.0.6's ping
nodes, deadping and log texts.
"""

from __future__ import annotations

from dataclasses import dataclass

from hbd.config.model import Config, Ping, Timing
from hbd.core.desk import Desk
from hbd.core.effects import AskPing, CloseLink, Kind, Level, OpenLink

REOPEN_MS = 1000
"""One that cannot be asked now (its name cannot be resolved) is tried again so often."""
STARTED = {
    "ping": "ping heartbeat started.", "ping6": "ping6 heartbeat started.",
    "ping_group": "ping group heartbeat started.",
}  # fmt: skip


@dataclass(slots=True)
class _PingNode:
    """One pseudo node; `heard_ms` is when it was first waited for, until it has answered."""

    heard_ms: int
    status: str = "init"
    open: bool = False
    ever: bool = False
    excused_ms: int = 0
    reopen_ms: int | None = None
    failure: str = ""


class PingNodes:
    """All ping nodes of one node's ha.cf."""

    def __init__(self, config: Config, desk: Desk) -> None:
        self._desk, self._timing = desk, config.timing
        self._specs = _specs(config)
        self._nodes: dict[Ping, _PingNode] = {}
        self._begun = False
        self.changed = False
        """Some ping node or its link came up or went dead since this was last set to False."""

    # ------------------------------------------------------------ beginnings

    def begin(self) -> None:
        """Open them all; their time counts from now."""
        self._begun = True
        for spec in self._specs:
            self._add(spec)

    def reconfigure(self, config: Config) -> None:
        """A reload: those that are gone are closed, new ones opened."""
        self._timing, self._specs = config.timing, _specs(config)
        for spec in list(self._nodes):
            if spec not in self._specs:
                del self._nodes[spec]
                self._desk.emit(CloseLink(spec))
        for spec in self._specs if self._begun else ():
            if spec not in self._nodes:
                self._add(spec)

    def _add(self, spec: Ping) -> None:
        self._nodes[spec] = _PingNode(self._desk.now.ms)
        self._desk.emit(OpenLink(spec))

    # ------------------------------------------------------------ events

    def opened(self, spec: Ping) -> None:
        """It can be asked, and is at once."""
        node = self._nodes.get(spec)
        if node is None:
            self._desk.emit(CloseLink(spec))
            return
        node.open, node.reopen_ms, node.failure = True, None, ""
        self._desk.log(Level.INFO, Kind.LINK_OPENED, STARTED[spec.kind], node=spec.name, link=spec.link)
        self._desk.emit(AskPing(spec))

    def failed(self, spec: Ping, reason: str) -> None:
        """It cannot be asked now."""
        node = self._nodes.get(spec)
        if node is None:
            return
        node.open, node.reopen_ms = False, self._desk.now.ms + REOPEN_MS
        if node.failure != reason:
            node.failure = reason
            text = f"{spec.kind} {spec.name}: {reason}; trying again"
            self._desk.log(Level.WARN, Kind.LINK_FAILED, text, node=spec.name, link=spec.link)

    def answered(self, spec: Ping) -> bool:
        """An answer came. True if that is news."""
        node = self._nodes.get(spec)
        if node is None:
            return False
        silence_ms = self._desk.now.ms - node.heard_ms
        if node.status == "ping" and silence_ms > self._timing.warntime_ms:
            text = f"Late heartbeat: Node {spec.name}: interval {silence_ms} ms"
            self._desk.warn(Kind.LATE_HEARTBEAT, text, node=spec.name)
        node.heard_ms, node.ever, node.excused_ms = self._desk.now.ms, True, 0
        if node.status == "ping":
            return False
        node.status, self.changed = "ping", True
        text = f"Link {spec.name}:{spec.link} up."
        self._desk.log(Level.INFO, Kind.LINK_UP, text, node=spec.name, link=spec.link)
        self._desk.info(
            Kind.NODE_STATUS, f"Status update for node {spec.name}: status ping", node=spec.name
        )
        return True

    # ------------------------------------------------------------ time

    def ask(self) -> None:
        """One request to each; called once a keepalive."""
        for spec, node in self._nodes.items():
            if node.open:
                self._desk.emit(AskPing(spec))

    def tick(self) -> None:
        """Open again what could not be opened, and bury the silent."""
        now_ms = self._desk.now.ms
        for spec, node in self._nodes.items():
            if node.reopen_ms is not None and node.reopen_ms <= now_ms:
                node.reopen_ms = None
                self._desk.emit(OpenLink(spec))
            if node.status != "dead" and now_ms - node.heard_ms >= self._timing.deadping_ms:
                node.status, self.changed = "dead", True
                self._desk.warn(Kind.NODE_DEAD, f"node {spec.name}: is dead", node=spec.name)
                text = f"Link {spec.name}:{spec.link} dead."
                self._desk.log(Level.INFO, Kind.LINK_DEAD, text, node=spec.name, link=spec.link)

    def excuse(self, lateness_ms: int) -> None:
        """We did not run for so long: that is no silence of theirs, but for one deadping in all at most."""
        for node in self._nodes.values():
            if node.excused_ms < self._timing.deadping_ms:
                node.heard_ms += lateness_ms
                node.excused_ms += lateness_ms

    def deadline_ms(self) -> int | None:
        """When `tick` has something to do."""
        times = [node.reopen_ms for node in self._nodes.values() if node.reopen_ms is not None]
        times += [
            node.heard_ms + self._timing.deadping_ms for node in self._nodes.values() if node.status != "dead"
        ]
        return min(times, default=None)

    # ------------------------------------------------------------ what is known

    @property
    def any_configured(self) -> bool:
        return bool(self._specs)

    @property
    def alive(self) -> int:
        """How many live; 3.0.6's `num_ping_nodes`."""
        return sum(node.status == "ping" for node in self._nodes.values())

    @property
    def answering(self) -> int:
        """How many live and have just answered: never more than `alive`, and quicker to fall."""
        limit_ms = self._desk.now.ms - recent_ms(self._timing)
        return sum(node.status == "ping" and node.heard_ms > limit_ms for node in self._nodes.values())

    @property
    def undecided(self) -> bool:
        """Of some it is not known yet whether they answer."""
        return any(node.status == "init" for node in self._nodes.values())

    @property
    def failures(self) -> tuple[str, ...]:
        """What cannot be asked, as sentences."""
        return tuple(f"ping node {spec.name}: {n.failure}" for spec, n in self._nodes.items() if n.failure)

    def states(self) -> tuple[tuple[Ping, str], ...]:
        """Each ping node with its status, in the order of ha.cf."""
        return tuple(
            (spec, self._nodes[spec].status if spec in self._nodes else "init") for spec in self._specs
        )


def recent_ms(timing: Timing) -> int:
    """How old the last answer of a ping node that *answers* may be: two requests may go without one."""
    return 5 * timing.keepalive_ms // 2


def _specs(config: Config) -> tuple[Ping, ...]:
    return tuple(medium for medium in config.media if isinstance(medium, Ping))
