"""The other nodes: heard, late, dead, back, restarted; links; retransmission; and communication up.

Turns datagrams and the passing of time into facts about peers. What follows for the groups is custody's
business.
"""

from __future__ import annotations

from dataclasses import dataclass
from random import Random

from hbd.config.model import Config, MediumSpec
from hbd.core import message as f
from hbd.core import oath, protocol
from hbd.core import report as reports
from hbd.core.channel import Channel, Dropped, Own, Received
from hbd.core.claims import Peer, PeerKind
from hbd.core.desk import Desk
from hbd.core.echoes import Echoes
from hbd.core.effects import (
    THAWED,
    Forward,
    FreezeRecord,
    Kind,
    Level,
    PeerRecord,
    StoreGeneration,
    StorePeers,
    Transmit,
)
from hbd.core.forward import Forwarder
from hbd.core.liveness import LinkDead, Liveness, NodeDead
from hbd.core.losses import Losses
from hbd.core.message import BadField, Message
from hbd.core.rejects import Rejects
from hbd.core.sequence import GapClosed, GapSeen, TooManyLost
from hbd.errors import WireError

REQNODES_MS = 1000


@dataclass(frozen=True, slots=True)
class Identity:
    """Who this node is, as kept across restarts."""

    name: str
    uuid: bytes
    generation: int
    incarnation: int = 0
    """Drawn at random at each start."""
    peers: tuple[PeerRecord, ...] = ()
    freeze: FreezeRecord = THAWED


@dataclass(frozen=True, slots=True)
class Reported:
    """A newer report of an hbd peer was applied."""

    peer: Peer
    first: bool
    """The first in our life or in its."""


@dataclass(frozen=True, slots=True)
class Died:
    """A peer was declared dead by silence."""

    peer: Peer


@dataclass(frozen=True, slots=True)
class Said:
    """A peer said something of 3.0.6's resource conversation, or about decisions."""

    peer: Peer
    kind: str
    message: Message


Fact = Reported | Died | Said

_CONVERSATION = (
    protocol.STARTING, protocol.RESOURCE, protocol.ASK_RESOURCES, protocol.HB_TAKEOVER, protocol.SHUTDONE,
    protocol.IP_REQUEST, protocol.IP_REQUEST_RESP, protocol.STONITH,
    protocol.CLIENT_STATUS, protocol.NUM_PING_NODES, protocol.YOU_ARE_DEAD, protocol.ABORT_GIVEUP,
    protocol.HBD_ASK, protocol.HBD_TELL,
)  # fmt: skip


class Membership:
    """All nodes but us."""

    def __init__(self, config: Config, identity: Identity, desk: Desk, rng: Random) -> None:
        self._config, self._desk, self._identity = config, desk, identity
        self.channel = Channel(config, identity.name, identity.uuid, identity.generation, rng)
        self.channel.remember(identity.peers)
        self._forwarder = Forwarder(config)
        self.peers = {name: Peer(name, fresh_from=(identity.generation, 1)) for name in config.peers}
        for peer in self.peers.values():
            # Who starts frozen has to assume the same of a node that it has not heard yet.
            peer.sealed = identity.freeze.mark & 1 == 1 or peer.name in identity.freeze.sealed
        self.peer = next(iter(self.peers.values())) if len(self.peers) == 1 else None
        """The other node of a two-node cluster."""
        self.status = "init"
        self.node_status = dict.fromkeys(config.peers, "init")
        timing = config.timing
        self._liveness = Liveness(
            0, config.peers, timing.warntime_ms, timing.deadtime_ms, timing.initdead_ms
        )
        self.last_was_idle = False
        """The last datagram was dropped, our own or a duplicate: nothing follows from it."""
        self.last_was_routine = False
        """The last datagram was a status that says what the one before it said."""
        self.answer_due = False
        """A peer's state changed: it waits for our echo."""
        self.generation_jumped = False
        self.echoes = Echoes(config.timing, desk, self.peer)
        self._unhurried = dict.fromkeys(config.peers, False)
        """No `protocol` in its status: it answers no reqnodes, and needs no acks."""
        self.set_back: tuple[tuple[str, int], ...] = ()
        """Where there are more than two nodes: those of which only an earlier generation is heard, and the
        highest that is known of each. They are told so, and jump (rule 18)."""
        self._untold: set[str] = set()
        """Nodes that had no heartbeat of ours yet in their present life: nothing else is to come first. A
        starting 3.0.6 node that hears an ack before a status finds us heard of and not active; it is up
        at once then, and in legacy takes its groups without asking us."""
        self._asked_ms: int | None = None
        self._answered = False
        self._due_ms = 0
        """Before this nobody is dead and nothing is to be asked for again."""
        self._rejects = Rejects(desk, config.log_badpack)
        self._own_links: set[str] = set()
        self.lost = dict.fromkeys(config.peers, 0)
        """Messages that were missing when a later one came; most come again on request."""
        self.clock_ahead_s: dict[str, int] = {}
        """How far each node's clock is ahead of ours by its last heartbeat, to a second. Decides nothing."""
        self.losses = Losses()

    # ------------------------------------------------------------ for others

    @property
    def name(self) -> str:
        """Ours."""
        return self._identity.name

    @property
    def life(self) -> int:
        """Ours: no other has this number."""
        return self._identity.incarnation

    @property
    def live(self) -> list[Peer]:
        return [peer for peer in self.peers.values() if peer.alive]

    def links(self) -> dict[tuple[str, str], bool]:
        """(node, link) -> up."""
        return self._liveness.links()

    @property
    def liveness(self) -> Liveness:
        """For its figures."""
        return self._liveness

    def heard_ms(self, node: str) -> int:
        return self._liveness.heard_ms(node)

    def last_heartbeat_ms(self, node: str) -> int | None:
        """When its last heartbeat came; None if there was none in our life."""
        return self._liveness.heard_ms(node) if self._liveness.ever_heard(node) else None

    def patience_with(self, node: str) -> int:
        """How long this node may be silent."""
        return self._liveness.limit_ms(node)

    def links_heard(self, node: str) -> list[tuple[str, tuple[int, bool]]]:
        """Each of its links: when it was last heard, and whether it is up."""
        return self._liveness.links_heard(node)

    def begin(self) -> None:
        """Time starts to count."""
        timing = self._config.timing
        self._liveness = Liveness(
            self._desk.now.ms, self._config.peers, timing.warntime_ms, timing.deadtime_ms, timing.initdead_ms
        )
        for peer in self.peers.values():
            if peer.sworn:
                self._liveness.bury(peer.name)

    def reconfigure(self, config: Config) -> None:
        """Timings, keys and formats of a reload. The set of nodes needs a restart."""
        self._config = config
        self.channel.reconfigure(config)
        self._forwarder.reconfigure(config)
        self._rejects.log_strangers = config.log_badpack
        timing = config.timing
        self.echoes.timing = timing
        self._liveness.retime(timing.warntime_ms, timing.deadtime_ms, timing.initdead_ms)

    def deadline_ms(self) -> int | None:
        due_ms, request_ms = self._liveness.deadline_ms(), self.channel.next_request_ms()
        if due_ms is None or (request_ms is not None and request_ms < due_ms):
            due_ms = request_ms
        if self.status == "up" and self._asked_ms is not None and not self._answered:
            again_ms = self._asked_ms + REQNODES_MS
            due_ms = again_ms if due_ms is None else min(due_ms, again_ms)
        self._due_ms = 0 if due_ms is None else due_ms
        return due_ms

    # ------------------------------------------------------------ out

    def say(self, fields: protocol.Fields) -> None:
        """Send a message on every link."""
        self._desk.emit(Transmit(self.channel.send(self._desk.now, fields)))

    def say_status(self, report: str, deadtime_ms: int) -> None:
        """Send a heartbeat, and remember when, to know later how old an echo is."""
        self.say(protocol.status(self.status, deadtime_ms, report))
        self.echoes.sent(self.channel.seq)
        self._untold.clear()
        self.answer_due = False

    # ------------------------------------------------------------ communication up

    def communication_up(self) -> bool:
        """Everybody was heard or is dead, and a 3.0.6 peer has agreed on the nodes."""
        if not self._liveness.everybody_is_known():
            return False
        if any(peer.alive and peer.kind is PeerKind.UNKNOWN for peer in self.peers.values()):
            return False
        classic = [
            peer for peer in self.live if peer.kind is PeerKind.CLASSIC and not self._unhurried[peer.name]
        ]
        if classic and not self._answered:
            now_ms = self._desk.now.ms
            if self._asked_ms is None or now_ms - self._asked_ms >= REQNODES_MS:
                self._asked_ms = now_ms
                self.say(protocol.reqnodes(classic[0].name))
            return False
        return True

    def become(self, status: str) -> None:
        """Set our own status."""
        self.status = status
        self._desk.info(Kind.LOCAL_STATUS, f"Local status now set to: '{status}'", node=self._identity.name)
        if status == "active":
            self._liveness.communication_is_up()

    # ------------------------------------------------------------ time

    def excuse(self, lateness_ms: int) -> None:
        """We did not run: no silence of theirs."""
        self._liveness.excuse(lateness_ms)
        self.echoes.hears_anew()
        for peer in self.peers.values():
            peer.fresh_from = (self.channel.generation, self.channel.seq + 1)

    def exhume(self, peer: Peer) -> None:
        """We stood still for so long that a peer that was gone may have come back and taken over."""
        peer.dead = peer.gone = peer.sworn = False
        self._liveness.exhume(self._desk.now.ms, peer.name)

    def swear(self, name: str) -> list[Fact]:
        """An operator swears that it is dead. Raises Refused."""
        oath.check(name, self._identity.name, self._config.peers, self.links())
        peer = self.peers[name]
        text = f"an operator confirms that {name} is dead: whatever it held may be taken over"
        self._desk.warn(Kind.CONFIRMED_DEAD, text, node=name)
        peer.sworn, peer.sealed = True, False
        self._liveness.bury(name)
        return [Died(peer) if peer.dead else self._bury(peer)]

    def wait_for(self, peer: Peer) -> None:
        """We were absent, and ask: it is not dead before it had the time to answer."""
        self._liveness.wait_for(self._desk.now.ms, peer.name)

    def expire(self) -> list[Fact]:
        """Who is dead by now, and what is to be asked for again."""
        facts: list[Fact] = []
        now = self._desk.now
        if now.ms < self._due_ms:
            return facts
        for fact in self._liveness.expire(now.ms):
            match fact:
                case LinkDead(node, link):
                    self._desk.log(
                        Level.INFO, Kind.LINK_DEAD, f"Link {node}:{link} dead.", node=node, link=link
                    )
                case NodeDead(node, _):
                    facts.append(self._bury(self.peers[node]))
        next_ms = self.channel.next_request_ms()
        if next_ms is not None and next_ms <= now.ms:
            for peer in self.peers.values():
                if not peer.alive:
                    self.channel.forget(peer.name, entirely=False)
                    continue
                for datagram in self.channel.ask_again(now, peer.name):
                    self._desk.emit(Transmit(datagram))
        return facts

    def _bury(self, peer: Peer) -> Died:
        self._desk.warn(Kind.NODE_DEAD, f"node {peer.name}: is dead", node=peer.name)
        peer.alive, peer.dead = False, True
        self._desk.tally.deaths[peer.name] += 1
        self.node_status[peer.name] = "dead"
        self.channel.forget(peer.name, entirely=False)
        return Died(peer)

    # ------------------------------------------------------------ in

    def datagram(self, medium: MediumSpec, payload: bytes) -> list[Fact]:
        """Take in one datagram; whatever it holds, nothing is raised."""
        self.last_was_idle, self.last_was_routine = True, False
        match self.channel.receive(self._desk.now, payload):
            case Dropped(reason, node, detail, known_generation, message):
                self._rejects.tell(reason, node, detail)
                if message is not None:
                    self._pass_on(medium, message, for_us=False)
                if self.peer is None and node in self.peers:
                    self._note_set_back(self.peers[node], reason, message)
                if known_generation > self.channel.generation:
                    self.last_was_idle = False
                    self._jump(self.peers[node], known_generation + 1)
                return []
            case Own():
                if medium.link not in self._own_links:
                    self._own_links.add(medium.link)
                    self._link_up(self._identity.name, medium.link)
                return []
            case Received() as received:
                self._pass_on(medium, received.message, received.for_us)
                return self._received(medium, received)

    def _note_set_back(self, peer: Peer, reason: str, message: Message | None) -> None:
        """What it said was dropped: because its generation is an old one, or was that of its last life."""
        highest = self.channel.generation_of(peer.name)
        if reason == "old duplicate":
            text = None if message is None else message.text(protocol.HBD)
            if text is None or peer.report is None:
                return
            try:
                if reports.decode(text).incarnation == peer.report.incarnation:
                    return
            except WireError:
                return
            highest += 1  # It has used this number twice.
        elif reason != "replay":
            return
        others = (each for each in self.set_back if each[0] != peer.name)
        self.set_back = tuple(sorted((*others, (peer.name, highest))))

    def _renounce(self, peer: Peer) -> None:
        peer.sworn = False
        text = f"{peer.name} was confirmed dead by an operator and is heard: the confirmation is void"
        self._desk.log(Level.CRIT, Kind.CONFIRMED_DEAD, text, node=peer.name)

    def _pass_on(self, medium: MediumSpec, message: Message, for_us: bool) -> None:
        """In a ring, say again on the other lines what came in on one."""
        try:
            onward = self._forwarder.take(medium, message, for_us=for_us)
            if onward is None:
                return
            line = self.channel.as_line(onward.message)
        except (BadField, WireError) as bad:
            self._rejects.tell("bad field", message.text(f.SRC) or "", str(bad))
            return
        self.channel.passed_on += 1
        self._desk.emit(
            Forward(Transmit(b"", line, onward.heartbeat, onward.origin), onward.lines)
        )

    def _received(self, medium: MediumSpec, received: Received) -> list[Fact]:
        if self.peers[received.node].sworn:
            self._renounce(self.peers[received.node])
        came_up = self._liveness.link_heard(self._desk.now.ms, received.node, medium.link)
        if came_up:
            self._link_up(received.node, medium.link)
        if received.seq:
            self.losses.came(received.node, medium.link, received.generation, received.seq, came_up)
        if not received.fresh:
            return []
        if self.set_back:
            self.set_back = tuple(each for each in self.set_back if each[0] != received.node)
        self.last_was_idle = False
        self._note_gaps(received)
        facts: list[Fact] = []
        peer = self.peers[received.node]
        try:
            if received.kind == protocol.STATUS:
                facts += self._status(peer, received)
            elif received.for_us:
                facts += self._other(peer, received)
        except (BadField, WireError) as bad:
            self._rejects.tell("bad field", received.node, str(bad))
        if received.seq == 0 or received.node in self._untold:
            return facts
        ack = self.channel.acknowledge(self._desk.now, received.node)
        if ack is not None:
            self._desk.emit(Transmit(ack))
        return facts

    def _status(self, peer: Peer, received: Received) -> list[Fact]:
        message = received.message
        st, dt_ms = message.text(f.ST), message.hex(f.DT)
        if not st:
            raise BadField("status without st")
        restarted = received.generation != peer.generation
        if restarted:
            self._restarted(peer, received)
        text = message.text(protocol.HBD)
        report = None if text is None else reports.decode(text)
        if not received.newest_status:
            return []
        self.clock_ahead_s[peer.name] = (message.hex(f.TS) or 0) - self._desk.now.wall_s
        begins = report is None and self.node_status[peer.name] == "active" and st.lower() in ("init", "up")
        if begins and not restarted:
            self._restarted(peer, received)  # Its stored generation was set back, to that of its last life.
            restarted = True
        self._lives(peer, dt_ms or self._config.timing.deadtime_ms, restarted)
        self._unhurried[peer.name] = f.PROTOCOL not in message
        self._status_changed(peer, st)
        if report is None:
            if peer.kind is not PeerKind.CLASSIC:
                peer.kind = PeerKind.CLASSIC
                peer.sealed = False  # What ran hbd there was frozen; this cannot be.
                text = f"node {peer.name} speaks heartbeat 3.0.6's protocol"
                self._desk.info(Kind.PEER_KIND, text, node=peer.name)
            return []
        return self._report(peer, report, received)

    def _report(self, peer: Peer, report: reports.Report, received: Received) -> list[Fact]:
        before = peer.report
        known = before is not None and before.groups is not None
        if before is not None and before.incarnation != report.incarnation:
            self._restarted(peer, received)  # Its stored generation was set back to that of its last life.
            known = False
        if not peer.apply(report, received.generation, received.seq):
            return []
        self.last_was_routine = report.says_the_same_as(before)
        if not self.last_was_routine:
            self.answer_due = True
        generation, seq = report.echo
        if generation == self.channel.generation:
            self.echoes.came(seq)
        known_generation = report.known_of(self._identity.name)
        if known_generation > self.channel.generation:
            self._jump(peer, known_generation + 1)
        elif generation == self.channel.generation and seq > self.channel.seq:
            # It heard more of this generation than we have said: a former life of ours had the same number,
            # and what it echoes of that life must prove nothing in this one.
            self._jump(peer, generation + 1)
        return [Reported(peer, first=not known and report.groups is not None)]

    def _jump(self, peer: Peer, generation: int) -> None:
        """The peer knew a later life of ours, and believes nothing that an earlier one says (rule 18)."""
        if generation > reports.GENERATION_MAX:
            return  # No life of ours ever had such a number, and none could follow it.
        self._desk.warn(
            Kind.REPLAY, f"{peer.name} knows a later generation of this node: going on as {generation}"
        )
        self.channel.restart(generation)
        peer.fresh_from = (generation, 1)
        self.echoes.forget()
        self.generation_jumped = True
        self._desk.emit(StoreGeneration(generation))

    def _restarted(self, peer: Peer, received: Received) -> None:
        if peer.generation or received.previous_generation not in (0, received.generation):
            self._desk.info(Kind.NODE_RESTARTED, f"Heartbeat restart on node {peer.name}", node=peer.name)
        self.channel.forget(peer.name, entirely=True)
        peer.restarted(received.generation)
        self._untold.add(peer.name)
        self.echoes.peer_restarted()
        self._asked_ms, self._answered = None, False
        self._desk.emit(StorePeers(self.channel.records()))

    def _lives(self, peer: Peer, timeout_ms: int, restarted: bool) -> None:
        if peer.dead and not restarted:
            self._desk.log(
                Level.CRIT, Kind.NODE_RETURNED, f"Cluster node {peer.name} returning after partition.",
                node=peer.name,
            )  # fmt: skip
        if peer.dead:
            peer.gone = False
        if peer.dead or self._desk.now.ms - self.heard_ms(peer.name) > 2 * self._config.timing.keepalive_ms:
            self.echoes.hears_anew()
        late = self._liveness.status_heard(
            self._desk.now.ms, peer.name, timeout_ms, skip_late_check=restarted or peer.dead
        )
        if late is not None:
            text = f"Late heartbeat: Node {peer.name}: interval {late.silence_ms} ms"
            level = Level.CRIT if late.beyond_deadtime else Level.WARN
            text += " (> deadtime)" if late.beyond_deadtime else ""
            self._desk.log(level, Kind.LATE_HEARTBEAT, text, node=peer.name)
        peer.alive, peer.dead = True, False

    def _status_changed(self, peer: Peer, st: str) -> None:
        st = st.lower()
        if st != self.node_status[peer.name]:
            self.node_status[peer.name] = st
            self._desk.info(
                Kind.NODE_STATUS, f"Status update for node {peer.name}: status {st}", node=peer.name
            )

    def _other(self, peer: Peer, received: Received) -> list[Fact]:
        now, message = self._desk.now, received.message
        match received.kind:
            case protocol.REXMIT:
                datagrams, problems = self.channel.requested(now, peer.name, message)
                for datagram in datagrams:
                    self._desk.emit(Transmit(datagram))
                for problem in problems:
                    self._rejects.tell("rexmit", peer.name, problem)
                return [Said(peer, received.kind, message)]
            case protocol.NAK:
                seq = self.channel.refused(peer.name, message)
                if seq is not None:
                    text = f"Irretrievably lost packet: node {peer.name} seq {seq}"
                    self._desk.log(Level.ERROR, Kind.LOST_PACKETS, text, node=peer.name)
            case protocol.ACK:
                self.channel.acked(peer.name, message)
            case protocol.REQNODES:
                self.say(protocol.repnodes(peer.name, self._config.nodes))
            case protocol.REPNODES:
                self._answered = True
            case kind if kind in _CONVERSATION:
                return [Said(peer, kind, message)]
            case _:
                pass  # Unknown types are never an error in 3.0.6; their numbers were counted.
        return []

    # ------------------------------------------------------------ log

    def _link_up(self, node: str, link: str) -> None:
        self._desk.log(Level.INFO, Kind.LINK_UP, f"Link {node}:{link} up.", node=node, link=link)

    def _note_gaps(self, received: Received) -> None:
        for fact in received.facts:
            match fact:
                case GapSeen(first, last):
                    self.lost[received.node] += fact.count
                    text = f"{fact.count} lost packet(s) for [{received.node}] [{first - 1}:{last + 1}]"
                    self._desk.warn(Kind.LOST_PACKETS, text, node=received.node)
                case GapClosed():
                    text = f"No pkts missing from {received.node}!"
                    self._desk.info(Kind.LOST_PACKETS, text, node=received.node)
                case TooManyLost():
                    text = "lost a lot of packets!"
                    self._desk.log(Level.ERROR, Kind.LOST_PACKETS, text, node=received.node)
                case _:
                    pass

    def drop(self, reason: str, node: str, detail: str) -> None:
        """Count a message whose contents somebody else found wrong."""
        self.channel.drops[reason] += 1
        self._rejects.tell(reason, node, detail)
