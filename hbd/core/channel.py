"""Messages out with everything each message carries; datagrams in, as far as they are ours and new.

The order of the checks on receipt is heartbeat 3.0.6's: signature, mandatory fields, known node, generation,
sequence, addressee. Dropped datagrams are counted by reason and never change anything else.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from random import Random

from hbd.config.model import Config, Keys, MsgFormat
from hbd.core import message as f
from hbd.core import protocol, wire
from hbd.core.effects import PeerRecord, Transmit
from hbd.core.events import Instant
from hbd.core.message import BadField, Message, Value
from hbd.core.packing import packed
from hbd.core.report import decode
from hbd.core.rexmit import AboveMax, CorruptedAck, History, Nak, Resend
from hbd.core.sequence import Fact, Sequenced, SequenceTracker, Verdict
from hbd.errors import WireError

_NO_UUID = bytes(16)


@dataclass(frozen=True, slots=True)
class Dropped:
    """A datagram that changes nothing. `node` is empty unless the signature was good."""

    reason: str
    node: str = ""
    detail: str = ""
    known_generation: int = 0
    """A replayed status of an hbd peer may still tell, truly, how far our own generation once was."""
    message: Message | None = None
    """Of an old duplicate: the nodes behind us may be without it."""


@dataclass(frozen=True, slots=True)
class Own:
    """Our own datagram, heard on a broadcast medium."""


@dataclass(frozen=True, slots=True)
class Received:
    """An authentic message from a configured node."""

    node: str
    kind: str
    message: Message
    generation: int
    seq: int
    fresh: bool
    """New, in order or not: to be acted on. Otherwise only a sign that the link works."""
    restarted: bool
    previous_generation: int
    newest_status: bool
    for_us: bool
    facts: tuple[Fact, ...] = ()


class Channel:
    """Everything between typed messages and bytes, for one generation of this node."""

    def __init__(self, config: Config, name: str, uuid: bytes, generation: int, rng: Random) -> None:
        self.keys: Keys = config.keys
        self.seq = 0
        self._lined_seq = 0
        """The number of our newest heartbeat that has its form for lines."""
        self.generation = generation
        self.load = "n/a"
        self.signing_number: int | None = None
        """The key number a 3.0.6 peer signs with; it accepts no other."""
        self.drops: Counter[str] = Counter()
        self.sent = 0
        self.received = 0
        self.requested_again = 0
        """Requests for a missing message; the same one may be asked for more than once."""
        self.sent_again = 0
        self.passed_on = 0
        """Messages of others, sent again for those behind us in a ring."""
        self._rng = rng
        self._name, self._uuid = name, uuid
        self._nodes: tuple[str, ...] = ()
        self._uuids: dict[str, bytes] = {}
        self._trackers: dict[str, SequenceTracker] = {}
        self.reconfigure(config)

    def reconfigure(self, config: Config) -> None:
        """New keys, nodes and formats after a reload."""
        self.keys, self._msgfmt, self._compression = config.keys, config.msgfmt, config.compression
        self._nodes = config.nodes
        self._ttl = str(config.hopfudge + len(config.nodes) + len(config.ping_nodes))
        delay_ms = config.timing.max_rexmit_delay_ms
        self._history = getattr(self, "_history", None) or History(delay_ms)
        self._history.max_rexmit_delay_ms = delay_ms
        for node in config.peers:
            if node not in self._trackers:
                self._trackers[node] = SequenceTracker(self._rng, delay_ms)
            self._trackers[node].max_rexmit_delay_ms = delay_ms

    def remember(self, peers: tuple[PeerRecord, ...]) -> None:
        """What earlier lives knew of the peers: an older generation than this is a replay."""
        for peer in peers:
            if peer.name in self._trackers:
                self._trackers[peer.name].generation = peer.generation
                self._uuids[peer.name] = peer.uuid

    # ------------------------------------------------------------ out

    def send(self, now: Instant, fields: protocol.Fields) -> bytes:
        """The datagram of a message, stamped, numbered and kept for retransmission."""
        pairs: list[tuple[str, Value]] = list(fields)
        kind = fields[0][1] if fields[0][0] == f.T else fields[1][1]
        for name, value in fields:
            if name == f.DEST:
                assert isinstance(value, str)
                pairs.append((f.DESTUUID, self._uuids.get(value, _NO_UUID)))
        pairs += [(f.SRC, self._name), (f.SRCUUID, self._uuid)]
        numbered = not (isinstance(kind, str) and kind.startswith("NS_"))
        if numbered:
            self.seq += 1
            pairs.append((f.SEQ, f"{self.seq:x}"))
        pairs += [(f.HG, f"{self.generation:x}"), (f.TS, f"{now.wall_s:x}")]
        if numbered:
            pairs.append((f.LD, self.load))
        pairs.append((f.TTL, self._ttl))
        message = Message.of(*pairs)
        if numbered:
            self._history.record(self.seq, message)
        return self._encode(message)

    def _encode(self, message: Message) -> bytes:
        self.sent += 1
        plain = wire.encode(message, self.keys, self._msgfmt, signing_number=self.signing_number)
        if self._compression is None or len(plain) <= self._compression.threshold_bytes:
            return plain
        classic = self._msgfmt is MsgFormat.CLASSIC
        raw = self.as_line(message) + b"\0" if classic else wire.netstring_body(message)
        wrapper = packed(raw, self._compression)
        if wrapper is None:
            return plain
        return wire.encode(wrapper, self.keys, MsgFormat.NETSTRING, signing_number=self.signing_number)

    def with_line(self, transmit: Transmit) -> Transmit:
        """A datagram of ours and its form for serial lines: classic framing, with a signature of its own."""
        try:
            message = wire.decode(transmit.payload, self.keys).message
        except wire.BadDatagram:
            return transmit  # Signed in this step, before a reload in it took that key away.
        line = self.as_line(message)
        seq = message.hex(f.SEQ) or 0
        newest = message.text(f.T) == protocol.STATUS and seq > self._lined_seq
        if newest:
            self._lined_seq = seq  # What has no higher number is sent again, for somebody who lost it.
        return Transmit(transmit.payload, line, newest)

    def as_line(self, message: Message) -> bytes:
        """A message as serial lines carry it. Raises Unsendable for another node's that has no such form."""
        return wire.encode(
            message, self.keys, framing=wire.Framing.CLASSIC, signing_number=self.signing_number
        )

    def restart(self, generation: int) -> None:
        """Begin a new generation in place: numbers start again, nothing said before can be asked for."""
        self.generation, self.seq, self._lined_seq = generation, 0, 0
        self._history = History(self._history.max_rexmit_delay_ms)

    # ------------------------------------------------------------ in

    def receive(self, now: Instant, payload: bytes) -> Received | Own | Dropped:
        """Judge one datagram. Raises nothing, whatever the bytes are."""
        self.received += 1
        try:
            decoded = wire.decode(payload, self.keys)
        except wire.BadDatagram as bad:
            return self._drop(bad.reason.value, detail=str(bad))
        try:
            return self._judge(now, decoded)
        except BadField as bad:
            return self._drop("bad field", detail=str(bad))

    def _judge(self, now: Instant, decoded: wire.Decoded) -> Received | Own | Dropped:
        message = decoded.message
        node, kind = message.text(f.SRC), message.text(f.T)
        if not node or not kind or not message.hex(f.TS):
            return self._drop("missing field")
        if node == self._name:
            if message.raw(f.SRCUUID) not in (None, self._uuid):
                return self._drop("own name, other uuid", node)
            return Own()
        tracker = self._trackers.get(node)
        if tracker is None:
            return self._drop("unknown node", node)
        uuid = message.raw(f.SRCUUID)
        if uuid == self._uuid:
            return self._drop("own uuid, other name", node)
        generation = message.hex(f.HG) or 0
        if kind.startswith("NS_"):
            self._learn(node, uuid, decoded)
            for_us = self._dest_is_us(message)
            return Received(node, kind, message, generation, 0, True, False, 0, False, for_us)
        seq = message.hex(f.SEQ)
        if seq is None:
            return self._drop("missing field", node)
        known = tracker.generation
        verdict: Sequenced = tracker.accept(now.ms, generation, seq, is_status=kind == protocol.STATUS)
        if verdict.verdict is Verdict.REPLAY:
            self.drops["replay"] += 1
            detail = f"gen = {generation}, curgen = {known}"
            return Dropped("replay", node, detail, _known_generation(message, self._name))
        if verdict.verdict is Verdict.OLD_DUPLICATE:
            self.drops["old duplicate"] += 1
            return Dropped("old duplicate", node, message=message)
        self._learn(node, uuid, decoded)
        return Received(
            node, kind, message, generation, seq, verdict.accepted, verdict.verdict is Verdict.RESTART,
            known, verdict.newest_status, self._is_for_us(message), verdict.facts,
        )  # fmt: skip

    def _learn(self, node: str, uuid: bytes | None, decoded: wire.Decoded) -> None:
        if uuid and uuid != _NO_UUID:
            self._uuids[node] = uuid
        if protocol.HBD not in decoded.message and decoded.message.text(f.T) == protocol.STATUS:
            self.signing_number = decoded.key_number

    def _dest_is_us(self, message: Message) -> bool:
        dest = message.text(f.DEST)
        return dest is None or dest == self._name

    def _is_for_us(self, message: Message) -> bool:
        uuid = message.raw(f.DESTUUID)
        if uuid and uuid != _NO_UUID:
            return uuid == self._uuid
        return self._dest_is_us(message)

    def _drop(self, reason: str, node: str = "", detail: str = "") -> Dropped:
        self.drops[reason] += 1
        return Dropped(reason, node, detail)

    # ------------------------------------------------------------ retransmission and acks

    def acknowledge(self, now: Instant, node: str) -> bytes | None:
        """The ack that is due to this node after an accepted message."""
        seq = self._trackers[node].ack_due()
        return None if seq is None else self.send(now, protocol.ack(node, seq))

    def acked(self, node: str, message: Message) -> CorruptedAck | None:
        seq = message.hex(f.ACKSEQ)
        return None if seq is None else self._history.acked(node, seq)

    def requested(self, now: Instant, node: str, message: Message) -> tuple[list[bytes], list[str]]:
        """Serve a retransmission request: datagrams, and sentences about what cannot be served."""
        first, last = message.decimal(f.FIRSTSEQ), message.decimal(f.LASTSEQ)
        if first is None or last is None:
            return [], []
        datagrams, problems = [], []
        for answer in self._history.request(first, last, self._history.acked_by(node), now.ms):
            match answer:
                case Resend(_, again):
                    self.sent_again += 1
                    datagrams.append(self._encode(again))
                case Nak(seq, reason):
                    datagrams.append(self.send(now, protocol.nak(node, seq, reason)))
                    problems.append(f"Cannot rexmit pkt {seq} for {node}: {reason}")
                case AboveMax(seq, highest):
                    problems.append(f"Rexmit of seq {seq} requested. {highest} is max.")
        return datagrams, problems

    def refused(self, node: str, message: Message) -> int | None:
        """A nak: the number that is lost for good, if it was missing."""
        seq = message.hex(f.FIRSTSEQ)
        return seq if seq is not None and self._trackers[node].nak(seq) else None

    def ask_again(self, now: Instant, node: str) -> list[bytes]:
        """Requests for what is still missing and due."""
        due = self._trackers[node].due(now.ms)
        self.requested_again += len(due)
        return [self.send(now, protocol.rexmit(node, seq)) for seq in due]

    def forget(self, node: str, entirely: bool) -> None:
        """The node is dead (ask for nothing more) or restarted (its acks count no more)."""
        self._trackers[node].forget_missing()
        if entirely:
            self._history.forget(node)

    def next_request_ms(self) -> int | None:
        deadlines = [d for t in self._trackers.values() if (d := t.next_deadline_ms) is not None]
        return min(deadlines, default=None)

    def generation_of(self, node: str) -> int:
        """The highest generation of this node ever seen."""
        return self._trackers[node].generation

    def records(self) -> tuple[PeerRecord, ...]:
        """What to remember of the peers."""
        return tuple(
            PeerRecord(node, self._uuids.get(node, _NO_UUID), tracker.generation)
            for node, tracker in self._trackers.items()
            if tracker.generation
        )


def _known_generation(message: Message, node: str) -> int:
    text = message.text(protocol.HBD)
    try:
        return 0 if text is None else decode(text).known_of(node)
    except WireError:
        return 0
