"""When a node or a link counts as silent.

A node lives by its *status* messages only; any kept message keeps the link alive that it came on
(heartbeat 3.0.6, process_status_message). How long its silence may last is what the node itself
advertised (`dt`); until communication is up, initdead holds for everybody.

Time in which *we* did not run is no silence of theirs: `excuse` forgives it whole, however long it was. But
only until one deadtime was forgiven in one silence: a node that is always late is itself the sick one.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class NodeDead:
    """No status for longer than the node's own deadtime."""

    node: str
    silence_ms: int


@dataclass(frozen=True, slots=True)
class NodeLate:
    """No status for longer than warntime, and then one. Told when it comes, as 3.0.6 does."""

    node: str
    silence_ms: int
    beyond_deadtime: bool


@dataclass(frozen=True, slots=True)
class LinkDead:
    """Nothing kept from this node on this link for the dead interval."""

    node: str
    link: str


@dataclass(slots=True)
class _Node:
    heard_ms: int
    timeout_ms: int
    ever_heard: bool = False
    dead: bool = False
    excused_ms: int = 0
    statuses: int = 0
    late: int = 0
    longest_ms: int = 0


@dataclass(slots=True)
class _Link:
    heard_ms: int
    up: bool
    messages: int = 1
    late: int = 0


@dataclass(frozen=True, slots=True)
class NodeFigures:
    """What one node's heartbeats were like since our start."""

    heartbeats: int
    late: int
    """Came more than warntime after the one before."""
    longest_ms: int
    """The longest time between two of them; deaths and restarts do not count."""


@dataclass(frozen=True, slots=True)
class LinkFigures:
    """What came from one node on one link since our start, doubles included."""

    messages: int
    late: int
    """Ends of a silence of more than warntime, and less than deadtime, on this link."""
    silent_ms: int
    """Since the last one."""


class Liveness:
    """Deadlines of nodes and links, in milliseconds of the clock of `Instant`."""

    def __init__(
        self, now_ms: int, nodes: tuple[str, ...], warntime_ms: int, deadtime_ms: int, initdead_ms: int
    ) -> None:
        self._warntime_ms = warntime_ms
        self._deadtime_ms = deadtime_ms
        self._initdead_ms = initdead_ms
        self._starting = True
        self._nodes = {name: _Node(now_ms, deadtime_ms) for name in nodes}
        self._links: dict[tuple[str, str], _Link] = {}

    def retime(self, warntime_ms: int, deadtime_ms: int, initdead_ms: int) -> None:
        """New timings after a reload; what a node advertised of itself stays."""
        self._warntime_ms, self._deadtime_ms, self._initdead_ms = warntime_ms, deadtime_ms, initdead_ms

    def communication_is_up(self) -> None:
        """From now on a node's own deadtime counts instead of initdead."""
        self._starting = False

    def status_heard(self, now_ms: int, node: str, timeout_ms: int, skip_late_check: bool) -> NodeLate | None:
        """A status came: the node lives, and says how long its next silence may last."""
        state = self._nodes[node]
        silence_ms = now_ms - state.heard_ms
        late = None
        state.statuses += 1
        if state.ever_heard and not skip_late_check and silence_ms > state.longest_ms:
            state.longest_ms = silence_ms
        if state.ever_heard and not skip_late_check and silence_ms > self._warntime_ms:
            late = NodeLate(node, silence_ms, silence_ms > self._deadtime_ms)
            state.late += 1
        state.heard_ms, state.timeout_ms = now_ms, timeout_ms
        state.ever_heard, state.dead, state.excused_ms = True, False, 0
        return late

    def link_heard(self, now_ms: int, node: str, link: str) -> bool:
        """Something kept came on this link. True if that brought the link up."""
        state = self._links.get((node, link))
        if state is None:
            self._links[node, link] = _Link(now_ms, True)
            return True
        was_up = state.up
        if was_up and now_ms - state.heard_ms > self._warntime_ms:
            state.late += 1
        state.up, state.heard_ms = True, now_ms
        state.messages += 1
        return not was_up

    def excuse(self, lateness_ms: int) -> None:
        """We did not run for so long: that is not the others' silence."""
        for state in self._nodes.values():
            if state.excused_ms < self._deadtime_ms:
                state.heard_ms += lateness_ms
                state.excused_ms += lateness_ms
        for link in self._links.values():
            link.heard_ms += lateness_ms

    def exhume(self, now_ms: int, node: str) -> None:
        """Nobody knows any more whether this node is dead: its silence begins anew."""
        state = self._nodes[node]
        state.dead, state.heard_ms, state.excused_ms = False, now_ms, 0

    def wait_for(self, now_ms: int, node: str) -> None:
        """We slept for so long that this node has to be asked: it gets its whole time for the answer.

        Once in a silence, and no more: else a node that sleeps again and again would never see a death.
        """
        state = self._nodes[node]
        if state.excused_ms < 2 * self._deadtime_ms:
            state.excused_ms += now_ms - state.heard_ms + 2 * self._deadtime_ms
            state.heard_ms = now_ms

    def bury(self, node: str) -> None:
        """It is dead, whatever its silence says."""
        self._nodes[node].dead = True

    def expire(self, now_ms: int) -> list[NodeDead | LinkDead]:
        """Who is dead by now; each is told once."""
        facts: list[NodeDead | LinkDead] = []
        for name, state in self._nodes.items():
            if not state.dead and now_ms - state.heard_ms >= self._limit_ms(state):
                state.dead = True
                facts.append(NodeDead(name, now_ms - state.heard_ms))
        for (node, link), line in self._links.items():
            if line.up and now_ms - line.heard_ms >= self._limit_ms(self._nodes[node]):
                line.up = False
                facts.append(LinkDead(node, link))
        return facts

    def deadline_ms(self) -> int | None:
        """When `expire` may next have something to tell."""
        deadlines = [s.heard_ms + self._limit_ms(s) for s in self._nodes.values() if not s.dead]
        deadlines += [
            line.heard_ms + self._limit_ms(self._nodes[node])
            for (node, _), line in self._links.items()
            if line.up
        ]
        return min(deadlines, default=None)

    def everybody_is_known(self) -> bool:
        """Every node was heard, or has been declared dead: 3.0.6's condition for communication up."""
        return all(state.ever_heard or state.dead for state in self._nodes.values())

    def ever_heard(self, node: str) -> bool:
        return self._nodes[node].ever_heard

    def limit_ms(self, node: str) -> int:
        """How long its silence may last now."""
        return self._limit_ms(self._nodes[node])

    def heard_ms(self, node: str) -> int:
        return self._nodes[node].heard_ms

    def links_heard(self, node: str) -> list[tuple[str, tuple[int, bool]]]:
        """Each link of this node: when it was last heard, and whether it is up."""
        return [(link, (line.heard_ms, line.up)) for (of, link), line in self._links.items() if of == node]

    def links(self) -> dict[tuple[str, str], bool]:
        """(node, link) -> up, for all that were ever heard."""
        return {key: line.up for key, line in self._links.items()}

    def node_figures(self) -> dict[str, NodeFigures]:
        """Of every node, whether heard or not."""
        return {
            name: NodeFigures(state.statuses, state.late, state.longest_ms)
            for name, state in self._nodes.items()
        }

    def link_figures(self, now_ms: int) -> dict[tuple[str, str], LinkFigures]:
        """By (node, link), of all that were ever heard."""
        return {
            key: LinkFigures(line.messages, line.late, now_ms - line.heard_ms)
            for key, line in self._links.items()
        }

    def _limit_ms(self, state: _Node) -> int:
        return max(self._initdead_ms, state.timeout_ms) if self._starting else state.timeout_ms
