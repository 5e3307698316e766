"""Handovers between two living nodes: who may ask, how each group moves, and how the whole ends.

`exchange.py` draws one group's way; here are all groups of a node, and the transition that an operator, the
peer or auto_failback opened for some of them. One transition at a time.
"""

from __future__ import annotations

from collections.abc import Callable

from hbd.config.model import AutoFailback, Config
from hbd.core import claims, placement
from hbd.core.claims import Peer, PeerKind
from hbd.core.desk import Desk
from hbd.core.effects import Kind
from hbd.core.events import Scope
from hbd.core.exchange import REPLY_MS, TRANSITION_MS, Cause, Exchange, Stage, Transition
from hbd.core.groups import Group
from hbd.core.groupstate import Phase
from hbd.core.handover import Handover
from hbd.core.report import Posture
from hbd.core.standby import Role
from hbd.errors import Refused


class Transitions:
    """The handovers of one node's groups. `settled`, where it is asked for: nothing of ours is in motion."""

    def __init__(
        self, config: Config, digest: str, desk: Desk, talk: Handover, groups: dict[str, Group]
    ) -> None:
        self._config, self._digest = config, digest
        self._desk, self._talk, self._groups = desk, talk, groups
        self._me = config.local_node
        self.exchanges: dict[str, Exchange] = {}
        """By group; one for each."""
        self.current: Transition | None = None
        self.last_finished: tuple[int, str] = (0, "")
        self._count = 0

    def reconfigure(self, config: Config, digest: str) -> None:
        self._config, self._digest = config, digest

    @property
    def in_motion(self) -> bool:
        """Some group is on its way to the peer; one that is only asked for is not."""
        for exchange in self.exchanges.values():  # noqa: SIM110 — asked in every step
            if exchange.stage is not Stage.NONE:
                return True
        return False

    def deadline_ms(self) -> int | None:
        """When an answer is overdue."""
        if self.current is None:
            return None
        waiting = [e for e in self.exchanges.values() if e.stage in (Stage.OFFERED, Stage.CEDED) or e.asking]
        return min((exchange.since_ms + REPLY_MS for exchange in waiting), default=None)

    def advance(self, group: Group, peer: Peer | None) -> None:
        """Move one group's handover on by what the peer says of it."""
        exchange = self.exchanges[group.key]
        if exchange.stage is Stage.NONE:
            return
        if exchange.stage is Stage.RESUMED:
            self._go_on(group, exchange, peer)
            return
        assert peer is not None
        now_ms = self._desk.now.ms
        theirs = peer.entry(group.key)
        unavailable = peer.dead or peer.gone or group.key in peer.unable
        overdue = now_ms - exchange.since_ms >= REPLY_MS
        match exchange.stage:
            case Stage.OFFERED:
                answered = exchange.offered_at is not None and claims.echoed(peer, *exchange.offered_at)
                # What it said before it knew another haresources of ours, it would not do now.
                differs = peer.report is not None and peer.report.digest != self._digest
                if unavailable or overdue or differs or group.phase is not Phase.STARTED:
                    exchange.withdraw()
                elif theirs.accepted and answered:
                    exchange.stage, exchange.given = Stage.CEDING, True
                    exchange.partner = peer.generation
                    self._desk.emit_all(group.release(f"handed over to {peer.name}"))
            case Stage.CEDING:
                if group.phase is Phase.IDLE:
                    exchange.stage, exchange.since_ms = Stage.CEDED, now_ms
            case Stage.CEDED:
                if theirs.claims or unavailable or overdue:
                    exchange.withdraw()

    def _go_on(self, group: Group, exchange: Exchange, peer: Peer | None) -> None:
        """After a restart: give it to the life of the peer that has accepted it, and to no other (rule 3)."""
        lost = peer is None or peer.dead or peer.gone or group.phase not in (Phase.STARTING, Phase.STARTED)
        if lost or (peer is not None and peer.lives and peer.generation != exchange.partner):
            exchange.withdraw()
        elif peer is not None and peer.kind is PeerKind.HBD and peer.report is not None:
            if peer.report.digest != self._digest or peer.report.leaving or group.key in peer.unable:
                exchange.withdraw()  # It would not take it.
                return
            exchange.stage = Stage.CEDING
            self._desk.emit_all(group.release(f"handed over to {peer.name}"))

    def answer_ask(self, group: Group, peer: Peer | None) -> None:
        """The peer's operator asked for what runs here."""
        if peer is None or peer.dead or not peer.entry(group.key).asked:
            return
        transition, exchange = self.current, self.exchanges[group.key]
        if exchange.stage is not Stage.NONE or (transition is not None and not transition.inbound):
            return
        if group.phase is not Phase.STARTED or group.provisional:
            return
        if transition is not None:
            # Two takeovers cross: both get what they asked for.
            exchange.offer(self._desk.now.ms, pinned=True)
            return
        asked = [g for g in self._groups.values() if peer.entry(g.key).asked and g.phase is Phase.STARTED]
        self._open(Cause.STANDBY, "asked", asked, peer, pinned=True)

    def fail_back(self, peer: Peer, settled: Callable[[], bool]) -> None:
        """Give the returned home node what it lost by dying, if auto_failback says so."""
        report = peer.report
        if self._config.auto_failback is AutoFailback.OFF or peer.dead:
            return
        if report is None or not report.active or not report.settled or report.leaving:
            return
        if report.digest != self._digest:
            return
        home = [
            group
            for group in self._groups.values()
            if group.spec.home == peer.name and group.runs and not group.pinned and group.failback
            and group.key not in peer.unable
        ]  # fmt: skip
        if home and settled():
            self._open(Cause.FAILBACK, Scope.FOREIGN.value, home, peer, pinned=False)

    def standby(self, scope: Scope, peer: Peer | None, settled: bool, pinned: bool = True) -> int:
        """Begin to hand groups over; the transition's number, 0 if we hold none of them. Raises Refused.

        `pinned`: an operator asks, so it is all or nothing, and the peer must not fail them back by itself.
        Otherwise what the peer cannot start stays, if there is anything else.
        """
        chosen = [
            group
            for group in self._groups.values()
            if group.phase is Phase.STARTED and placement.in_scope(group.spec, self._me, scope)
        ]
        if peer is not None and peer.speaks_classic:
            word = Scope.FOREIGN if scope is Scope.FAILBACK else scope
            self._talk.standby(word.value, not settled, self._count + 1)
            return self._begin(Cause.STANDBY, scope.value, chosen, inbound=False, commanded=pinned)
        if peer is None and not self._groups:
            return 0  # Membership only.
        peer = self._willing(peer, settled)
        unable = [group.name for group in chosen if group.key in peer.unable]
        able = [group for group in chosen if group.key not in peer.unable]
        if unable and (pinned or not able):
            raise Refused(f"{peer.name} could not start {', '.join(unable)}; see its journal")
        return self._open(Cause.STANDBY, scope.value, able, peer, pinned) if able else 0

    def ask_back_later(self) -> None:
        """With auto_failback, ask a 3.0.6 peer for what it was given because something is missing here."""
        self._talk.ask_back_later()

    def takeover(self, scope: Scope, peer: Peer | None, settled: bool) -> int:
        """Ask the peer for groups; the transition's number, 0 if it holds none of them. Raises Refused."""
        wide = Scope.ALL if scope is Scope.FAILBACK else scope
        chosen = [
            group
            for group in self._groups.values()
            if placement.in_scope(group.spec, self._me, wide) and not group.claims
        ]
        for group in chosen:
            group.unable = False  # An operator who wants it here says that it can run here.
        if peer is None or peer.dead or peer.gone:
            return 0
        if peer.speaks_classic:
            self._talk.ask_takeover(scope)
            return self._begin(Cause.TAKEOVER, scope.value, chosen, inbound=True)
        peer = self._willing(peer, settled)
        chosen = [group for group in chosen if peer.entry(group.key).claims]
        if not chosen:
            return 0
        for group in chosen:
            exchange = self.exchanges[group.key]
            exchange.asking, exchange.since_ms = True, self._desk.now.ms
        return self._begin(Cause.TAKEOVER, scope.value, chosen, inbound=True)

    def _willing(self, peer: Peer | None, settled: bool) -> Peer:
        if self._config.auto_failback is AutoFailback.LEGACY:
            raise Refused("standby and takeover need auto_failback on or off in ha.cf; it is legacy here")
        if self.current is not None:
            raise Refused(f"resources in transition {self.current.number}")
        if peer is None or peer.dead or peer.gone or not peer.alive:
            raise Refused("no other node is active")
        report = peer.report
        if peer.kind is not PeerKind.HBD or report is None or not report.active or report.leaving:
            raise Refused(f"{peer.name} is not ready: other side is in flux")
        if report.digest != self._digest:
            raise Refused(f"haresources differs between this node and {peer.name}")
        if not settled or not report.settled:
            raise Refused("resources are in flux")
        return peer

    def _open(self, cause: Cause, scope: str, groups: list[Group], peer: Peer, pinned: bool) -> int:
        for group in groups:
            self.exchanges[group.key].offer(self._desk.now.ms, pinned)
        number = self._begin(cause, scope, groups, inbound=False, commanded=pinned)
        self._desk.info(Kind.STANDBY, f"{self._me} wants to go standby [{scope}]")
        return number

    def _begin(
        self, cause: Cause, scope: str, groups: list[Group], inbound: bool, commanded: bool = True
    ) -> int:
        self._count += 1
        keys = tuple(group.key for group in groups)
        self.current = Transition(
            self._count, cause, scope, inbound, keys, self._desk.now.ms, commanded=commanded
        )
        self._desk.moving(self._count, [group.name for group in groups])
        return self._count

    def follow(self, peer: Peer | None) -> None:
        """The results of the present transition, and its end."""
        transition = self.current
        if transition is None:
            return
        for name in transition.groups:
            if name not in transition.results:
                result = self._result_of(transition, name, peer)
                if result is not None:
                    transition.results[name] = result
        if self._desk.now.ms - transition.opened_ms >= TRANSITION_MS:
            for name in transition.groups:
                transition.results.setdefault(name, "cancelled")
        if transition.finished:
            self._finish(transition)

    def _result_of(self, transition: Transition, name: str, peer: Peer | None) -> str | None:
        group, exchange = self._groups.get(name), self.exchanges.get(name)
        if group is None or exchange is None or peer is None:
            return "cancelled"
        if peer.speaks_classic:
            exchange.asking = False
            return self._result_classic(transition, group)
        theirs = peer.entry(name)
        if transition.inbound:
            return self._result_inbound(group, exchange, peer)
        if exchange.stage is not Stage.NONE:
            return None
        if group.claims:
            return "failed" if exchange.given else "cancelled"
        if peer.dead or peer.gone:
            return "cancelled"
        if theirs.posture is Posture.RUNNING:
            return "done"
        return "failed" if name in peer.unable else None

    def _result_classic(self, transition: Transition, group: Group) -> str | None:
        overdue = self._desk.now.ms - transition.opened_ms >= REPLY_MS
        if transition.inbound:
            if group.runs:
                return "done"
            return "cancelled" if overdue and self._talk.role is Role.NONE and not group.claims else None
        if self._talk.role is not Role.NONE:
            return None
        if group.claims:
            return "cancelled"
        return "done" if self._talk.was_taken else "failed"

    def _result_inbound(self, group: Group, exchange: Exchange, peer: Peer) -> str | None:
        theirs = peer.entry(group.key)
        if group.claims or group.unable:
            exchange.asking = False
        if group.runs:
            return "done"
        if group.unable:
            return "failed"
        if peer.dead or peer.gone:
            exchange.asking = False
            return "cancelled"
        if theirs.offered or not theirs.claims:
            exchange.since_ms = self._desk.now.ms
            return None
        if self._desk.now.ms - exchange.since_ms >= REPLY_MS:
            exchange.asking = False
            return "cancelled"
        return None

    def _finish(self, transition: Transition) -> None:
        self.current, self.last_finished = None, (transition.number, transition.result)
        took_ms = self._desk.now.ms - transition.opened_ms
        self._desk.tally.moved(transition.cause.value, transition.result, took_ms)
        if transition.result == "cancelled":
            self._desk.warn(Kind.STANDBY, "No reply to standby request.  Standby request cancelled.")
        text = f"{transition.cause.value} of [{transition.scope}] ended: {transition.result}"
        self._desk.info(Kind.TRANSITION, text)
        self._desk.moved()
