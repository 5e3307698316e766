"""The other node, played by the test: it sends real messages, and says nothing that it is not told to say.

Without a report it is a heartbeat 3.0.6 node; with one it speaks as hbd does. It sends a status every
keepalive and answers `reqnodes`, unless told otherwise. Everything it hears is kept.
"""

from __future__ import annotations

from collections.abc import Callable

from hbd.config.digest import resource_digest
from hbd.config.model import AutoFailback
from hbd.core import message as f
from hbd.core import protocol
from hbd.core import report as reports
from hbd.core.message import Message, Value
from hbd.core.report import Entry, Report
from hbd.core.wire import decode, encode
from tests.scenarios.pair import KEYS, TIMING, Pair, sentence

ReportNow = Callable[[], Report]


class Puppet:
    """A node of the pair in place of the real one of that name."""

    def __init__(self, pair: Pair, name: str, generation: int = 0x6B029D18) -> None:
        self.pair, self.name, self.generation = pair, name, generation
        self.other = "alpha" if name == "beta" else "beta"
        self.seq = 0
        self.st = "init"
        self.dt_ms = TIMING.deadtime_ms
        self.answers_reqnodes = True
        self.speaks_protocol = True
        """Whether its status says that it understands acks and reqnodes."""
        self.report: ReportNow | None = None
        self.heard: list[tuple[int, Message]] = []
        self.last_heard = (0, 0)
        """(generation, seq) of the other's last status, for echoes."""
        self._beating = 0
        pair.stations[name] = self

    # ------------------------------------------------------------ living

    def lives(self, st: str = "up", report: ReportNow | None = None) -> Puppet:
        """Begin with heartbeats; a 3.0.6 node starts with init and up."""
        self._beating += 1
        self.report = report
        for status in ("init", "up") if report is None else ():
            self.st = status
            self.say_status()
        self.st = st
        self._beat(self._beating)
        return self

    def becomes(self, st: str) -> None:
        self.st = st
        self.say_status()

    def joins(self) -> Puppet:
        """A 3.0.6 node that finds everybody there: up, then active and `starting`."""
        self.lives()
        self.pair.run(100)
        self.becomes("active")
        self.say(protocol.starting())
        return self

    def falls_silent(self) -> None:
        self._beating += 1

    def restarts(self) -> None:
        """A new life: a higher generation, and numbers from 1."""
        self.falls_silent()
        self.generation += 1
        self.seq = 0

    def _beat(self, life: int) -> None:
        if life == self._beating:
            self.say_status()
            self.pair.at(TIMING.keepalive_ms, lambda: self._beat(life))

    # ------------------------------------------------------------ speaking

    def say_status(self) -> None:
        fields: protocol.Fields = (
            (f.T, protocol.STATUS), (f.ST, self.st), (f.DT, f"{self.dt_ms:x}"),
        )  # fmt: skip
        if self.speaks_protocol:
            fields = (*fields, (f.PROTOCOL, "1"))
        if self.report is not None:
            fields = (*fields, (protocol.HBD, reports.encode(self.report())))
        self.say(fields)

    def say(self, fields: protocol.Fields, seq: int | None = None) -> Message:
        """Send a message; with the next number, unless one is given."""
        message = self.made(fields, seq)
        self.pair.carry(self.name, encode(message, KEYS))
        return message

    def made(self, fields: protocol.Fields, seq: int | None = None) -> Message:
        """The message, not sent."""
        uuid = self.name[:1].encode() * 16
        pairs: list[tuple[str, Value]] = [*fields, (f.SRC, self.name), (f.SRCUUID, uuid)]
        if not str(dict(fields)[f.T]).startswith("NS_"):
            if seq is None:
                self.seq += 1
            pairs.append((f.SEQ, f"{self.seq if seq is None else seq:x}"))
        pairs += [(f.HG, f"{self.generation:x}"), (f.TS, f"{1_700_000_000 + self.pair.now_ms // 1000:x}")]
        return Message.of(*pairs, (f.TTL, "3"))

    def resource(self, hold: str, stable: int, info: str = "") -> None:
        self.say(protocol.resource(hold, bool(stable), info))

    def ask_resources(self, hold: str, info: str) -> None:
        self.say(protocol.ask_resources(hold, info))

    def obliging(
        self, *, active: bool, settled: bool = False, groups: dict[str, Entry] | None = None,
        failback: AutoFailback = AutoFailback.OFF, leaving: bool = False,
    ) -> ReportNow:  # fmt: skip
        """A report that always echoes the newest status heard."""
        digest = resource_digest(self.pair.groups)

        def now() -> Report:
            return Report(
                incarnation=7, echo=self.last_heard, known_generation=self.last_heard[0],
                auto_failback=failback, digest=digest, active=active, settled=settled, leaving=leaving,
                groups={} if groups is None else dict(groups),
            )  # fmt: skip

        return now

    # ------------------------------------------------------------ hearing

    def receive(self, payload: bytes) -> None:
        message = decode(payload, KEYS).message
        self.heard.append((self.pair.now_ms, message))
        kind = message.text(f.T)
        if kind == protocol.STATUS:
            self.last_heard = (message.hex(f.HG) or 0, message.hex(f.SEQ) or 0)
        elif kind == protocol.REQNODES and self.answers_reqnodes:
            self.say(protocol.repnodes(self.other, ("alpha", "beta")))

    def heard_since(self, since_ms: int = 0) -> list[str]:
        """The conversation as it reached this node, without heartbeats and acks."""
        return [
            sentence(m)
            for ms, m in self.heard
            if ms >= since_ms and m.text(f.T) not in (protocol.STATUS, protocol.ACK)
        ]
