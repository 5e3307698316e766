"""The core: events in, effects out.

Small machines keep facts: `membership` who lives, `channel` what is new, `claims` who may hold what, `groups`
how far each group is here. After every event `custody.reconcile` recomputes what should be and emits only the
next jobs towards it; nothing remembers "takeover in progress" in one place and forgets it in another.

Order in a step: our own gap first (a stalled node may have been buried meanwhile), then the event, then what
is due, then reconcile, then speak. The report that carries a claim leaves before the first job under it.
"""

from __future__ import annotations

from dataclasses import replace
from random import Random
from typing import assert_never

from hbd.config.digest import resource_digest
from hbd.config.model import Config, Ping
from hbd.core import figures, picture, protocol
from hbd.core import report as reports
from hbd.core.absence import Absence
from hbd.core.chronicle import Chronicle
from hbd.core.claims import Peer, PeerKind
from hbd.core.classic_peer import ClassicPeer
from hbd.core.clients import Clients
from hbd.core.connectivity import Connectivity
from hbd.core.custody import Custody
from hbd.core.desk import Desk
from hbd.core.effects import (
    Answer,
    Device,
    Effect,
    FeedWatchdog,
    Kind,
    Level,
    Permit,
    Quit,
    Reboot,
    StoreHeld,
    Transmit,
)
from hbd.core.events import (
    Asked,
    AskPeer,
    CarrierSeen,
    ClientEnded,
    ClientGone,
    ClientRefused,
    ClientStarted,
    Command,
    ConfirmDead,
    DatagramReceived,
    Event,
    HeldGroup,
    Instant,
    JobDone,
    LeaseArmed,
    LeaseRefused,
    LinkFailed,
    LinkOpened,
    PathSeen,
    PingAnswered,
    Promise,
    Recalled,
    Reload,
    RequestId,
    ResourceSeen,
    SeenTogether,
    Standby,
    Started,
    Stop,
    Takeover,
    Thaw,
    Tick,
)
from hbd.core.events import Freeze as FreezeIt
from hbd.core.fencing import unfenced
from hbd.core.freeze import FROZEN, Freeze, still_sealed
from hbd.core.groups import Group
from hbd.core.handover import Handover
from hbd.core.health import Health, doomed
from hbd.core.isolation import Isolation
from hbd.core.lease import Lease
from hbd.core.links import Links
from hbd.core.membership import Died, Identity, Membership, Reported, Said
from hbd.core.patience import Patience
from hbd.core.progress import Progress
from hbd.core.records import Explanation
from hbd.core.report import Report
from hbd.core.retelling import Retelling
from hbd.core.views import ClusterView
from hbd.core.vital import Vital
from hbd.core.why import Why
from hbd.errors import Refused

__all__ = ["Cluster", "Identity"]

SOONEST_MS = 2
"""No Tick is wanted sooner than this: a deadline that does not go away must not take the processor."""
FAREWELL_MS = 2000
"""How long a leaving node goes on with heartbeats if nobody confirms its goodbye (heartbeat 3.0.6)."""


class Cluster:
    """One node's view of the cluster, and all its decisions. Deterministic: time and seed are given."""

    def __init__(self, config: Config, identity: Identity, seed: int) -> None:
        self._config, self._identity = config, identity
        self._desk = Desk()
        self._links = Links(config, self._desk)
        self._isolation = Isolation(self._desk)
        self._membership = Membership(config, identity, self._desk, Random(seed))
        self._talk = Handover(config, self._desk, self._membership.say)
        self._custody = Custody(config, resource_digest(config.groups), self._desk, self._talk)
        self._clients = Clients(config.clients, self._desk)
        self._health = Health(self._desk)
        self._patience = Patience(config.timing)
        self._lease = Lease(config, self._desk, self._patience, lambda: self._custody.addresses)
        self._vital = Vital(self._desk)
        self._freeze = Freeze(identity.freeze, self._desk)
        self._was_frozen = False
        self._keeps = False
        """hbd is being stopped while frozen: what runs goes on running."""
        self._connectivity = Connectivity(config, self._desk, self._membership.say)
        self._absence = Absence(config, self._desk, self._membership, self._patience, self._health)
        self._retelling = Retelling(config, self._desk, self._membership)
        self._progress = Progress(self._desk, self._membership, self._custody)
        self._classic = ClassicPeer(self._talk, self._custody, self._connectivity)
        self._chronicle = Chronicle(
            self._desk, self._membership, self._custody, config.timing.keepalive_ms
        )
        self._started = self._leaving = self._done = False
        self._last_ms = self._next_status_ms = self._next_deadline_ms = 0
        self._said: Report | None = None
        self._stored: tuple[HeldGroup, ...] = ()
        self._answer_was_routine = False
        self._farewell_ms: int | None = None
        self._farewell_at: tuple[int, int] = (0, 0)

    # ------------------------------------------------------------ the outside

    def step(self, now: Instant, event: Event) -> list[Effect]:
        """Take in one event. Never raises for what came from outside."""
        self._desk.open(now)
        if self._done:
            return []
        on_time = True
        if self._started:
            on_time = self._notice_gap()
        self._take(event)
        if self._changed_nothing(now, event):
            self._last_ms = now.ms
            return self._desk.close()
        if self._started:
            if not self._isolation.over:
                self._look_out()
            for fact in self._membership.expire() if self._isolation.reachable else ():
                self._take_fact(fact)
            self._notice_deaf_peer()
            self._proceed()
            if self._retelling.open:
                self._retelling.proceed()
            if self._freeze.mark:
                self._freeze.follow(self._membership.peers.values())
                self._note_word()
                self._lease.rest(self._freeze.agreed)
            if self._custody.has_replaced:
                self._custody.has_replaced = False
                self._lease.reconfigure(self._config)
            self._lease.follow(self._custody.may_answer)
            if self._is_news(event):
                self._progress.note(parted=self._farewell_ms is not None)
                self._chronicle.follow(leaving=self._leaving)
                self._speak()
                self._store()
            self._end()
            self._chronicle.tell()
            if isinstance(event, Tick):
                self._pulse(on_time)
            if isinstance(event, Tick) or self._desk.has_jobs:
                self._permit()
            if not self._only_postponed(event):
                self._next_deadline_ms = self._find_deadline_ms()
        self._last_ms = now.ms
        return self._effects()

    def _effects(self) -> list[Effect]:
        """The step's effects; what is sent has its form for serial lines too, if there are any."""
        effects, channel = self._desk.close(), self._membership.channel
        if not self._links.has_serial:
            return effects
        return [
            channel.with_line(effect) if isinstance(effect, Transmit) else effect for effect in effects
        ]

    def _changed_nothing(self, now: Instant, event: Event) -> bool:
        """A dropped or doubled datagram costs no more than reading it: strangers can send many.

        Nor does the answer of a ping node that was known to live.
        """
        match event:
            case DatagramReceived():
                idle = self._membership.last_was_idle
            case PingAnswered():
                idle = self._answer_was_routine
            case _:
                return False
        return self._started and idle and now.ms < self._next_deadline_ms

    def _only_postponed(self, event: Event) -> bool:
        """A heartbeat like the one before it makes no deadline come sooner: the old one will do."""
        routine = isinstance(event, DatagramReceived) and self._membership.last_was_routine
        return routine and not self._desk.has_effects and self._desk.now.ms < self._next_deadline_ms

    @property
    def deadline_ms(self) -> int | None:
        """When the next Tick is wanted, in milliseconds of CLOCK_BOOTTIME."""
        return None if not self._started or self._done else self._next_deadline_ms

    def _find_deadline_ms(self) -> int:
        times = [self._next_status_ms, *self._links.deadlines_ms]
        if self._farewell_ms is not None and self._clients.are_gone:
            times.append(self._farewell_ms + FAREWELL_MS)
        peer = self._membership.peer
        talk_ms = self._talk.deadline_ms() if peer is not None and peer.speaks_classic else None
        peers_ms = self._membership.deadline_ms() if self._isolation.reachable else None
        for deadline_ms in (
            peers_ms, self._custody.deadline_ms(), talk_ms, self._clients.deadline_ms(),
            self._connectivity.deadline_ms(),
        ):  # fmt: skip
            if deadline_ms is not None:
                times.append(deadline_ms)
        if self._retelling.open:
            times.append(self._retelling.deadline_ms)
        now_ms = self._desk.now.ms
        deaf_ms = self._absence.deaf_at_ms(self._next_status_ms)
        if deaf_ms is not None and deaf_ms > now_ms:
            times.append(deaf_ms)
        # What is due now was looked at in this step, or comes up again in the next.
        return max(min(times), now_ms + SOONEST_MS)

    def view(self) -> ClusterView:
        """The whole picture, for everybody who shows it."""
        return picture.of(
            self._config, self._membership, self._custody, self._connectivity,
            leaving=self._leaving, degraded=self._degraded(), counters=self._figures(),
            frozen=self._freeze.frozen, freeze_agreed=self._freeze.shown(self._membership.peers.values())[0],
        )  # fmt: skip

    def explain(self, group: str) -> Explanation | None:
        """Why the group with this name is where it is, and what would move it; None if there is none."""
        peer, waits = self._membership.peer, ""
        if peer is not None and self._connectivity.holds_back(peer):
            waits = "when it has reached as much as this node for a while"
        why = Why(
            self._config, self._membership, self._custody, self._desk.now.ms, leaving=self._leaving,
            waits=waits, isolated=self._isolation.degraded,
        )  # fmt: skip
        return why.of(group)

    def _figures(self) -> dict[str, figures.Figure]:
        return {
            **figures.of(self._membership, self._desk.tally, self._desk.now.ms),
            **self._absence.figures,
            "patience_ms": max(self.patience_ms, 0),
            "lease_ms": self._lease.shown_ms,
        }

    def _degraded(self) -> tuple[str, ...]:
        _, unheard = self._freeze.shown(self._membership.peers.values())
        links = self._isolation.degraded + self._links.degraded
        return unheard + links + self._lease.degraded + self._connectivity.pings.failures

    # ------------------------------------------------------------ our own absence (rules 12 to 15)

    def _notice_gap(self) -> bool:
        """Whether we are on time. A node that did not run for too long has to ask before it serves again."""
        gap_ms = self._absence.gap_ms(self._last_ms)
        if not gap_ms:
            return True
        self._connectivity.stalled(gap_ms - self._config.timing.keepalive_ms)
        peer = self._absence.forgotten_by(
            gap_ms, self._last_ms, serving=self._custody.may_run_anything, agreed=self._freeze.agreed
        )
        if peer is not None:
            self._membership.wait_for(peer)
            self._mute(peer, f"this node did not run for {gap_ms} ms, and {peer.name} may have taken over")
        return False

    def _notice_deaf_peer(self) -> None:
        peer = self._absence.deaf_peer() if self._custody.serving and not self._freeze.agreed else None
        if peer is not None:
            silent_ms = self._desk.now.ms - self._membership.echoes.unechoed_since_ms()
            self._mute(peer, f"{peer.name} is heard, but has not heard this node for {silent_ms} ms")

    def _mute(self, peer: Peer, cause: str) -> None:
        """Addresses off, and nothing announced, before the peer has answered."""
        self._lease.end()
        self._chronicle.muted(peer, cause)
        self._custody.mute()
        self._desk.emit(Permit(0))
        if peer.speaks_classic:
            self._talk.ask_again()

    @property
    def patience_ms(self) -> int:
        """How long we may go unheard before the peer may take over, less what an echo may age."""
        return self._absence.patience_ms

    @property
    def heard_ms(self) -> int:
        """When the peer last heard us, as far as we know; now, where nobody is there to hear."""
        return self._membership.echoes.heard_by_peer_ms()

    @property
    def restart_patience_ms(self) -> int:
        """How long hbd may be gone before somebody may have taken over what runs here."""
        return self._absence.restart_patience_ms

    @property
    def promise(self) -> Promise:
        """What the peer goes by, as far as it is known: the least of what it may."""
        return self._patience.promise

    # ------------------------------------------------------------ events

    def _take(self, event: Event) -> None:
        match event:
            case DatagramReceived(medium, payload):
                if not self._isolation.reachable:
                    self._membership.begin()
                for fact in self._membership.datagram(medium, payload):
                    self._take_fact(fact)
            case Tick(load):
                self._membership.channel.load = load
                self._links.reopen()
            case Started(held, late, silent_ms, stall, promise):
                self._absence.longest = stall
                self._patience.resume(promise, self._desk.now.ms)
                self._begin(held, late)
                if held:
                    self._membership.echoes.was_silent(silent_ms)
            case LinkOpened(Ping() as ping) | LinkFailed(Ping() as ping):
                self._connectivity.link(event, ping)
            case PingAnswered() | PathSeen():
                self._answer_was_routine = not self._connectivity.take(event)
            case LinkOpened(medium):
                self._links.opened(medium)
            case CarrierSeen(medium, present):
                self._links.carrier(medium, present)
            case LinkFailed(medium, reason):
                self._links.failed(medium, reason)
            case JobDone(job, outcome):
                self._chronicle.job_done(job, outcome)
                self._custody.job_done(job, outcome)
            case ResourceSeen():
                self._custody.guard.seen(event)
            case SeenTogether(seen):
                self._custody.guard.seen_together(seen)
            case Asked(request, command):
                self._asked(request, command)
            case ClientStarted():
                self._clients.started(event)
            case ClientRefused():
                self._clients.refused(event)
            case ClientEnded():
                if self._clients.ended(event, frozen=self._is_still):
                    self._vital.lost = True
                    self._leave(f"{event.client.program} is failfast, and has failed")
            case ClientGone():
                self._clients.gone(event)
            case LeaseArmed() | LeaseRefused():
                self._lease.told(event)
            case AskPeer(request, skip):
                self._retelling.ask(request, skip)
            case Recalled():
                self._retelling.recalled(event)
            case _:
                assert_never(event)

    def _begin(self, held: tuple[HeldGroup, ...], late: bool) -> None:
        self._started = True
        self._isolation.forgives_darkness = bool(held)
        self._membership.begin()
        self._links.begin()
        self._connectivity.begin(overruled=any(each.overruled for each in held))
        self._stored = held
        self._chronicle.started(bool(held))
        self._custody.probe(held, late)
        self._lease.rest(self._freeze.agreed)
        self._lease.begin()
        self._desk.info(Kind.CORE_STARTED, f"Heartbeat generation: {self._identity.generation}")
        self._freeze.begin()
        self._say_status()
        self._membership.become("up")

    def _look_out(self) -> None:
        """Whether the others could be heard at all: only then their silence counts, and initdead begins."""
        membership, links, isolation = self._membership, self._links, self._isolation
        if membership.status == "active" or membership.live:
            isolation.end()
            return
        pinged = self._connectivity.pings.any_configured and self._connectivity.pings.alive > 0
        if isolation.look(is_open=links.any_open, is_usable=links.any_usable, pinged=pinged):
            membership.begin()

    def _take_fact(self, fact: Reported | Died | Said) -> None:
        match fact:
            case Reported(peer, first):
                if peer.report is not None and self._patience.echoed(peer.report.echo):
                    self._lease.grow()
                self._freeze.heard(peer)
                self._custody.heard(peer)
                if first:
                    self._custody.first_report(peer)
                self._progress.heard(peer)
            case Died(peer):
                patience_ms = self._membership.patience_with(peer.name)
                self._chronicle.died(peer, patience_ms, self._freeze.frozen)
                self._mourn(peer)
            case Said(peer, protocol.SHUTDONE, _) if peer.speaks_classic and self._talk.hears_old_words:
                pass  # It may have begun a new life since; if not, its silence will tell.
            case Said(peer, protocol.SHUTDONE, _):
                text = f"Received shutdown notice from '{peer.name}'."
                self._desk.info(Kind.SHUTDOWN_NOTICE, text, node=peer.name)
                if peer.kind is PeerKind.CLASSIC:
                    peer.gone = True
                    self._talk.peer_left(silently=False)
                    text = f"Resources being acquired from {peer.name}."
                    self._desk.info(Kind.TAKEOVER, text, node=peer.name)
            case Said(peer, protocol.HBD_ASK | protocol.HBD_TELL as kind, message):
                # Nothing of our state follows from a question, nor from what is dropped.
                followed = self._retelling.said(peer, kind, message)
                self._membership.last_was_idle = kind == protocol.HBD_ASK or not followed
            case Said(peer, kind, message):
                if peer.kind is PeerKind.CLASSIC:
                    busy = self._custody.may_run_anything if self._leaving else self._custody.in_motion
                    self._talk.said(peer.name, kind, message, busy)
                    self._connectivity.said(peer.name, kind, message)
            case _:
                assert_never(fact)

    def _mourn(self, peer: Peer) -> None:
        self._talk.peer_left(silently=not peer.gone)
        self._custody.try_again()
        if peer.gone:
            self._desk.info(Kind.NODE_DEAD, f"Dead node {peer.name} gave up resources.", node=peer.name)
            return
        if self._leaving:
            text = "Resource takeover cancelled - shutdown in progress."
            self._desk.info(Kind.TAKEOVER, text, node=peer.name)
            return
        if not self._config.groups:
            return  # Membership only: there is nothing to take over.
        if self._freeze.frozen:
            text = f"The cluster is frozen: nothing is taken over from {peer.name}."
            self._desk.warn(Kind.FREEZE, text, node=peer.name)
            return
        if peer.sealed:
            self._desk.warn(Kind.FREEZE, still_sealed(peer), node=peer.name)
            return
        for text in unfenced(self._config, peer.name, peer.sworn):
            self._desk.warn(Kind.NO_FENCING, text, node=peer.name)
        self._desk.info(Kind.TAKEOVER, f"Resources being acquired from {peer.name}.", node=peer.name)
        self._progress.takes_over(peer)

    # ------------------------------------------------------------ requests

    def _asked(self, request: RequestId, command: Command) -> None:
        try:
            self._desk.emit(Answer(request, self._obey(command)))
        except Refused as refused:
            what = type(command).__name__.lower()
            self._desk.info(Kind.REFUSED, f"{what} is refused: {refused}")
            self._chronicle.refused(what, str(refused))
            self._desk.emit(Answer(request, refused=str(refused)))

    def _obey(self, command: Command) -> int:
        if self._leaving and not isinstance(command, Stop):
            raise Refused("hbd is being stopped")
        match command:
            case Standby(scope) | Takeover(scope):
                self._must_be_active()
                if self._freeze.frozen:
                    raise Refused(FROZEN)
                transitions = self._custody.transitions
                move = transitions.standby if isinstance(command, Standby) else transitions.takeover
                number = move(scope, self._membership.peer, self._custody.settled)
                self._connectivity.commanded()
                return number
            case Reload(config):
                self._reload(config)
            case Stop():
                self._leave("an operator, or systemd, stops hbd")
            case FreezeIt():
                self._freeze.freeze(self._membership.peers.values())
            case Thaw():
                self._thaw()
            case ConfirmDead(node):
                for fact in self._membership.swear(node):
                    self._take_fact(fact)
            case _:
                assert_never(command)
        return 0

    def _thaw(self) -> None:
        peer = self._membership.peer
        was_frozen = self._freeze.frozen
        self._freeze.thaw()
        if was_frozen and peer is not None and peer.dead and not peer.gone:
            self._mourn(peer)

    def _leave(self, cause: str) -> None:
        """Begin to stop, for an operator or for a client without which this node must not serve."""
        if not self._leaving:
            self._leaving = True
            self._keeps = self._freeze.frozen
            self._chronicle.leaving(cause, self._keeps)
            self._talk.leave()
            self._desk.info(Kind.SHUTDOWN, "Heartbeat shutdown in progress.")
            if self._keeps:
                self._note_what_stays()
            else:
                self._desk.info(Kind.SHUTDOWN, "Giving up all HA resources.")

    def _note_word(self) -> None:
        """A freeze or a thaw is a decision like any other."""
        if self._freeze.frozen is not self._was_frozen:
            self._was_frozen = self._freeze.frozen
            self._chronicle.word(self._was_frozen, self._freeze.cause)

    def _note_what_stays(self) -> None:
        text = "The cluster is frozen: what runs here goes on running without hbd."
        if not self._freeze.agreed:
            text += " The other node does not know, and may take over what runs here."
        level = Level.WARN if self._freeze.agreed else Level.CRIT
        self._desk.log(level, Kind.FREEZE, text)

    @property
    def _is_still(self) -> bool:
        """Frozen; but the stop of hbd that began before goes on."""
        return self._freeze.frozen and (self._keeps or not self._leaving)

    def _must_be_active(self) -> None:
        if self._membership.status != "active":
            raise Refused("communication with the other node is not up yet")

    def _reload(self, config: Config) -> None:
        if self._custody.probing:
            raise Refused("hbd is still finding out what runs here; reload again in a moment")
        if config.nodes != self._config.nodes or config.local_node != self._config.local_node:
            raise Refused("other nodes in ha.cf take effect only when hbd is restarted")
        self._config = config
        self._links.reconfigure(config)
        self._absence.reconfigure(config)
        self._membership.reconfigure(config)
        self._talk.reconfigure(config)
        self._custody.reconfigure(config, resource_digest(config.groups))
        self._clients.reconfigure(config.clients)
        self._patience.reconfigure(config.timing, self._desk.now.ms)
        self._chronicle.keepalive_ms = config.timing.keepalive_ms
        self._lease.reconfigure(config)
        self._connectivity.reconfigure(config)
        self._retelling.reconfigure(config)
        self._desk.info(Kind.RELOAD, "the new configuration is in effect")

    # ------------------------------------------------------------ proceeding

    def _proceed(self) -> None:
        membership, custody = self._membership, self._custody
        if membership.generation_jumped:
            membership.generation_jumped = False
            custody.forget_reports()
            self._freeze.forget_reports()
            self._connectivity.forget_reports()
        if membership.status == "up" and not custody.probing and membership.communication_up():
            self._activate()
        self._clients.tick()
        peer = membership.peer
        active = membership.status == "active"
        self._classic.follow(peer)
        fresh = self._fresh(peer)
        still = custody.frozen = self._is_still
        if self._keeps and not still:
            self._leave_after_all()
        custody.reconcile(peer, active=active, leaving=self._leaving, fresh=fresh)
        acts = active and not self._leaving and not still
        self._connectivity.proceed(peer, custody, acts=acts, fresh=fresh)
        if acts and peer is not None and peer.alive and not self._connectivity.holds_back(peer):
            custody.transitions.fail_back(peer, lambda: custody.settled)
        self._classic.finish(peer)

    def _leave_after_all(self) -> None:
        """Thawed in the last moment: what runs here is released, as at any other stop."""
        self._keeps, self._farewell_ms = False, None
        self._desk.info(Kind.SHUTDOWN, "Giving up all HA resources.")

    def _is_news(self, event: Event) -> bool:
        """Whether our state may be news: a heartbeat like the one before it changes nothing without a job."""
        if self._membership.answer_due or self._desk.has_jobs or self._desk.now.ms >= self._next_status_ms:
            return True
        return not (isinstance(event, DatagramReceived) and self._membership.last_was_routine)

    def _end(self) -> None:
        peer = self._membership.peer
        farewell_ms = self._farewell_ms
        if farewell_ms is not None and self._clients.are_gone and self._may_quit(peer, farewell_ms):
            self._done = True
            self._desk.info(Kind.SHUTDOWN, f"{self._identity.name} Heartbeat shutdown complete.")
            self._lease.disarm()
            self._chronicle.left(self._keeps)
            self._desk.emit_job(Quit(reboot=self._vital.reboot))
            return
        # A device had its time when the peer has taken over: then it is not there, or does not bite.
        bite_ms = 0 if self._config.watchdog is None else self._config.timing.deadtime_ms
        if self._vital.lost and self._vital.must_reboot_now(self._custody.groups.values(), bite_ms):
            self._done = True
            self._vital.give_up()
            self._chronicle.left()
            self._desk.emit_job(Quit(reboot=Reboot.AT_ONCE))

    def _activate(self) -> None:
        self._desk.info(Kind.LOCAL_STATUS, "Comm_now_up(): updating status to active")
        self._membership.become("active")
        self._say_status()
        self._talk.communication_up()
        if not self._leaving:
            self._clients.begin()

    def _fresh(self, peer: Peer | None) -> bool:
        if peer is None or peer.dead or peer.gone:
            return True
        silence_ms = self._desk.now.ms - self._membership.heard_ms(peer.name)
        return silence_ms <= 2 * self._config.timing.keepalive_ms

    def _say_goodbye(self, peer: Peer | None) -> None:
        """Once the last stop is confirmed, and not before, say that we hold nothing (rule 5)."""
        if self._farewell_ms is not None or self._custody.probing:
            return
        if self._keeps:
            self._farewell_ms = self._desk.now.ms
            self._say_status()
            self._farewell_at = (self._membership.channel.generation, self._membership.channel.seq)
            self._clients.leave()
            return
        if self._custody.claims_anything:
            return
        self._desk.info(Kind.SHUTDOWN, "All HA resources relinquished.")
        self._farewell_ms = self._desk.now.ms
        self._say_status()
        self._farewell_at = (self._membership.channel.generation, self._membership.channel.seq)
        self._membership.say(protocol.resource("none", False, "shutdown"))
        self._membership.say(protocol.shutdone())
        self._clients.leave()

    def _may_quit(self, peer: Peer | None, farewell_ms: int) -> bool:
        if self._desk.now.ms - farewell_ms >= FAREWELL_MS or not self._membership.live:
            return True
        return peer is not None and peer.report is not None and peer.report.echo >= self._farewell_at

    # ------------------------------------------------------------ speaking

    def _report(self) -> Report:
        peer, custody = self._membership.peer, self._custody
        probing = custody.probing
        return Report(
            incarnation=self._identity.incarnation,
            echo=(0, 0) if peer is None else peer.report_at if peer.report is not None else (0, 0),
            known_generation=0 if peer is None else self._membership.channel.generation_of(peer.name),
            auto_failback=self._config.auto_failback,
            digest=custody.digest,
            active=self._membership.status == "active",
            settled=custody.placed and custody.settled,
            leaving=self._leaving,
            shedding=custody.shedding,
            groups=None if probing else custody.entries(peer),
            reach=self._connectivity.reach,
            ping_list=self._connectivity.ping_list,
            freeze=self._freeze.mark,
            set_back=self._membership.set_back,
        )

    def _speak(self) -> None:
        """A heartbeat when it is due, and at once when our state changed or the peer waits for an echo."""
        if self._leaving:
            self._say_goodbye(self._membership.peer)
        report = self._report()
        due = self._desk.now.ms >= self._next_status_ms or self._membership.answer_due
        if due or not report.says_the_same_as(self._said):
            self._send_report(report)

    def _say_status(self) -> None:
        self._send_report(self._report())

    def _send_report(self, report: Report) -> None:
        patience, now_ms = self._patience, self._desk.now.ms
        if patience.passes(now_ms):
            self._lease.grow()
        # Before the heartbeat: a machine that is frozen between the two has told the peer the less.
        self._lease.keep(self._custody.may_answer)
        self._membership.say_status(reports.encode(report), patience.told.deadtime_ms)
        patience.said((self._membership.channel.generation, self._membership.channel.seq))
        if self._freeze.mark:
            self._freeze.reported((self._membership.channel.generation, self._membership.channel.seq))
        self._said = report
        if report.groups is not None:
            channel = self._membership.channel
            self._custody.reported((channel.generation, channel.seq), self._membership.peer)
            self._connectivity.reported((channel.generation, channel.seq), report.reach)
        if now_ms >= self._next_status_ms:
            self._connectivity.pings.ask()
            next_ms = self._next_status_ms + patience.keepalive_ms
            self._next_status_ms = next_ms if next_ms > now_ms else now_ms + patience.keepalive_ms

    def _pulse(self, on_time: bool) -> None:
        """What a healthy node does at each Tick: retry, feed the watchdogs."""
        custody = self._custody
        custody.drop_muted()
        self._absence.ticked(on_time)
        needed = self._membership.status == "active" or custody.may_run_anything
        groups, why = self._doomed()
        pulse = self._health.pulse(
            custody.groups.values(), on_time=on_time, needed=needed, doomed=groups, why=why
        )
        if pulse is not None:
            # Nobody is to be protected from what runs here while the peer starts nothing.
            self._desk.emit_job(FeedWatchdog(Device.DISARMED) if self._freeze.agreed else pulse)

    def _doomed(self) -> tuple[list[Group], str]:
        """The blocked groups for whose sake the watchdog device is to reset this machine, and why."""
        custody, peer = self._custody, self._membership.peer
        if self._config.watchdog is None or self._is_still:
            return [], ""
        stuck = self._vital.blocked(custody.groups.values())
        if stuck:
            return stuck, "a failfast client has failed"
        critical = self._config.critical if self._fresh(peer) else ()
        able = doomed(
            custody.groups.values(), critical, peer, custody.digest, classic_able=self._classic_able(peer)
        )
        return able, "critical, and the other node can serve it"

    def _classic_able(self, peer: Peer | None) -> bool:
        """A 3.0.6 node that starts serves nothing yet, and one that leaves takes nothing any more."""
        active = peer is not None and self._membership.node_status[peer.name] == "active"
        return active and not self._talk.peer_is_leaving

    def _permit(self) -> None:
        """Announcements are allowed for as long as we may go unheard, renewed while all is well (rule 14)."""
        if self._custody.muted:
            self._desk.emit(Permit(0))
            return
        permit_ms = max(self.patience_ms, self._config.timing.keepalive_ms)
        self._desk.emit(Permit(self._desk.now.ms + permit_ms))

    def _store(self) -> None:
        held = self._custody.held
        if held and self._connectivity.overruled:
            held = tuple(replace(each, overruled=True) for each in held)
        if held != self._stored:
            self._stored = held
            self._desk.emit(StoreHeld(held))
