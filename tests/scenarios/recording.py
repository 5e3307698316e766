"""A recorded heartbeat 3.0.6 node as the peer of our core.

The messages of one of two real daemons are sent again at their recorded times; our core plays the other, and
whatever was done to that one by hand is done to ours. Runs of unchanged statuses that the recordings leave
out are filled in, since their numbers would be missing. Captures: tests/core/captures.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

from hbd.config.model import AutoFailback, GroupSpec, UnitResource
from hbd.core import message as f
from hbd.core.events import Scope, Standby, Stop, Takeover
from hbd.core.message import Message
from hbd.core.views import Holding
from hbd.core.wire import decode, encode
from tests.scenarios.pair import KEYS, Pair, sentence

CAPTURES = Path(__file__).parents[1] / "core" / "captures"
ORIGIN_MS = 100
"""Pair time of the recording's first datagram."""
QUIET_MS = 1500


def fakersc(home: str, *names: str) -> GroupSpec:
    resources = tuple(UnitResource(f"fakersc::{name}", f"{name.lower()}.service") for name in names)
    return GroupSpec(resources[0].name, home, resources)


HARESOURCES = (fakersc("alpha", "A1", "A2"), fakersc("beta", "B1"))


@dataclass(frozen=True, slots=True)
class Sent:
    """One recorded message; milliseconds of pair time."""

    ms: int
    node: str
    message: Message

    @property
    def says(self) -> str:
        return sentence(self.message)


class Recording:
    """What two real daemons said to each other, and what was done to them."""

    def __init__(self, name: str) -> None:
        lines: list[dict[str, Any]] = [
            json.loads(line) for line in (CAPTURES / f"{name}.jsonl").read_text().splitlines()
        ]
        self.marks: list[tuple[int, str]] = [
            (round(mark["t_ms"]) + ORIGIN_MS, mark["event"]) for mark in lines[0]["marks"]
        ]
        self.sent = [
            Sent(round(line["t_ms"]) + ORIGIN_MS, message.text(f.SRC) or "", message)
            for line in lines[1:]
            if "payload" in line
            for message in [decode(line["payload"].encode("latin-1"), KEYS).message]
        ]
        self.end_ms = self.sent[-1].ms

    def of(self, node: str) -> list[Sent]:
        """All that this node said, with what the recording leaves out."""
        mine = [sent for sent in self.sent if sent.node == node]
        lives: dict[int, list[Sent]] = {}
        for sent in mine:
            lives.setdefault(sent.message.hex(f.HG) or 0, []).append(sent)
        filled = [each for life in lives.values() for each in _left_out(life)]
        return sorted([*mine, *filled], key=lambda sent: sent.ms)

    def talk(self, node: str) -> list[Sent]:
        """Its part in the conversation: no heartbeats, no acks, no requests of the transport."""
        return [
            sent for sent in self.sent
            if sent.node == node and sent.message.text(f.T) != "status"
            and not (sent.message.text(f.T) or "").startswith("NS_")
        ]  # fmt: skip

    def quiet_times(self) -> list[int]:
        """Moments at which both had been silent for a while, and had come to rest."""
        times = [sent.ms for node in ("alpha", "beta") for sent in self.talk(node)]
        times = sorted([*times, *(ms for ms, _ in self.marks), self.end_ms + QUIET_MS])
        return [
            later - 300 for earlier, later in pairwise(times)
            if later - earlier >= QUIET_MS
        ]  # fmt: skip

    def held(self, node: str, at_ms: int) -> Holding:
        """What the real node said it holds, the last time before this moment that it was sure."""
        said = [(sent.ms, sent.message) for sent in self.talk(node) if sent.ms <= at_ms]
        kills = [ms for ms, mark in self.marks if mark == f"kill -9 {node}" and ms <= at_ms]
        killed_ms = max(kills, default=0)
        holding = Holding.NONE
        for ms, message in said:
            sure = message.text(f.ISSTABLE) == "1" or message.text(f.INFO) == "shutdown"
            if message.text(f.T) == "resource" and sure and ms >= killed_ms:
                holding = Holding(message.text(f.RSC_HOLD))
        return holding


def _left_out(life: list[Sent]) -> list[Sent]:
    """Statuses for the missing numbers, evenly between their neighbours."""
    numbered = sorted(
        ((sent.message.hex(f.SEQ) or 0, sent) for sent in life if f.SEQ in sent.message),
        key=lambda pair: pair[0],
    )
    found: list[Sent] = []
    for (low, before), (high, after) in pairwise(numbered):
        for seq in range(low + 1, high):
            ms = before.ms + (after.ms - before.ms) * (seq - low) // (high - low)
            status = [s for s in life if s.message.text(f.T) == "status" and s.ms <= ms][-1]
            found.append(Sent(ms, before.node, status.message.with_field(f.SEQ, f"{seq:x}")))
    return found


class Replay:
    """Our core in the place of one of the two real daemons."""

    def __init__(self, name: str, ours: str, failback: AutoFailback) -> None:
        self.recording = Recording(name)
        self.pair = Pair(failback, HARESOURCES)
        self.ours = self.pair.machines[ours]
        self.theirs = "beta" if ours == "alpha" else "alpha"
        self.pair.stations = {ours: self.ours}
        for sent in self.recording.of(self.theirs):
            # Who is meant says `dest`: the uuid was that of the daemon whose place we take.
            payload = encode(sent.message.without(f.DESTUUID), KEYS)
            self.pair.at(sent.ms, lambda payload=payload: self.pair.carry(self.theirs, payload))  # type: ignore[misc]
        for ms, mark in self.recording.marks:
            if ours in mark or "both" in mark:
                self.pair.at(max(0, ms), lambda mark=mark: self._do(mark))  # type: ignore[misc]

    def _do(self, mark: str) -> None:
        words = mark.split()
        match words[0]:
            case "start" | "restart":
                self.ours.start_daemon()
            case "kill-TERM" | "clean":
                self.ours.ask(Stop())
            case "kill":
                self.ours.kill_daemon()
            case "hb_standby":
                self.ours.ask(Standby(Scope(words[1])))
            case "hb_takeover":
                self.ours.ask(Takeover(Scope(words[1])))

    def holding(self) -> Holding:
        """What runs here, really, in our own terms; a dead daemon holds nothing, as 3.0.6 sees it."""
        if self.ours.core is None:
            return Holding.NONE
        local, foreign = (
            all(r.identity in self.ours.running for g in HARESOURCES if (g.home == self.ours.name) is own
                for r in g.resources)
            for own in (True, False)
        )  # fmt: skip
        if local and foreign:
            return Holding.ALL
        return Holding.LOCAL if local else Holding.FOREIGN if foreign else Holding.NONE

    def history(self) -> tuple[list[tuple[int, Holding]], list[tuple[int, Holding]]]:
        """At every quiet moment: what ours held, and what the real one did."""
        ours, real = [], []
        for ms in self.recording.quiet_times():
            self.pair.run(ms - self.pair.now_ms)
            ours.append((ms, self.holding()))
            real.append((ms, self.recording.held(self.ours.name, ms)))
        return ours, real

    def steps(self) -> tuple[list[str], list[str]]:
        """Every step of the conversation that moves something, in order: ours, and the real one's."""
        kinds = ("starting", "ask_resources", "hb_takeover", "shutdone", "ip-request")
        real = [s for s in self.recording.talk(self.ours.name) if s.message.text(f.T) in kinds]
        ours = [said for said in self.pair.said(self.ours.name) if said.split()[0] in kinds]
        return ours, [sent.says for sent in real if not self._is_echo_of_a_goodbye(sent)]

    def _is_echo_of_a_goodbye(self, sent: Sent) -> bool:
        """3.0.6 ends its takeover after a `shutdone` with a `done` that belongs to no handshake."""
        goodbyes = [s.ms for s in self.recording.talk(self.theirs) if s.says == "shutdone"]
        return sent.says.endswith(" done") and any(0 <= sent.ms - ms < 1000 for ms in goodbyes)

    def stable_reports(self) -> tuple[list[str], list[str]]:
        """What each said it holds when it said that it is stable, repetitions left out."""
        real = [s.says for s in self.recording.talk(self.ours.name)]
        return _stable(self.pair.said(self.ours.name)), _stable(real)


def _stable(said: list[str]) -> list[str]:
    found: list[str] = []
    for words in (each.split() for each in said):
        if words[0] == "resource" and words[2:3] == ["1"] and found[-1:] != [words[1]]:
            found.append(words[1])
    return found
