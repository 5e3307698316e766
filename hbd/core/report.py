"""The state that hbd puts into every status message, in one extra field that heartbeat 3.0.6 ignores.

One-shot messages get lost, come late and come twice. So a node repeats its whole state with each
heartbeat, together with the number of the last report it has applied from the peer (the *echo*).
A report that echoes number n was made by somebody who knew what we said in number n: that, and
nothing else, is how a node learns that its claim was seen.

Text of the field: `1 INCARNATION ECHOGEN:ECHOSEQ KNOWNGEN DIGEST FLAGS [POSTURE,EPOCH,GROUP]…`,
numbers in hex. FLAGS may hold `fMARK` (`freeze.py`). It ends with `,ANSWERING,CUT,PINGLIST` where ipfail is
on, and with `,PINGLIST` where it is off but ha.cf has ping nodes. All these are in decimal, since letters of
FLAGS are looked for one by one. A group is called by its key: two nodes may spell it differently. Groups
without anything to say are left out. While the members are still being probed there is no digest and no
group: `?` stands in their place, and nothing may be concluded.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from functools import lru_cache

from hbd.config.model import AutoFailback
from hbd.core.effects import FREEZE_MAX
from hbd.errors import WireError

GENERATION_MAX = 0xFFFF0000
EPOCH_MAX = 1 << 48
"""Beyond any real life; above it, our answer would be a number that no message of ours can carry."""


class Posture(Enum):
    """What a node has to do with a group. Everything but NONE is a claim."""

    __hash__ = object.__hash__  # By identity, as members are compared: an Enum's own is a call into Python.

    NONE = "-"
    CLAIMED = "c"
    """Wants it and waits until the peer has seen that; nothing runs."""
    STARTING = "s"
    RUNNING = "r"
    """Every member confirmed by its job."""
    STOPPING = "p"
    BLOCKED = "b"
    """A stop failed: it may still run here, and nobody may assume that it is free."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One group in a report."""

    posture: Posture = Posture.NONE
    epoch: int = 0
    """Grows with every acquisition anywhere; the older acquisition wins a conflict."""
    provisional: bool = False
    """Found after a crash or an absence; loses to a peer that claimed meanwhile."""
    offered: bool = False
    """To be handed over to the peer; with NONE: released to it."""
    accepted: bool = False
    """Ready to take what the peer offers."""
    asked: bool = False
    """An operator wants it here: the holder is asked to offer it."""
    unable: bool = False
    """Failed to start here."""
    peer_unable: bool = False
    """Known to have failed to start at the peer."""
    pinned: bool = False
    """Moved by an operator: no automatic failback."""
    ailing: bool = False
    """It runs but for a member that was lost and does not come back."""
    strayed: bool = False
    """Somebody else has started something of it here; that is stopped as soon as the peer claims it."""
    served: bool = False
    """All of it ran here under this claim; what is being started now was lost, or given by a reload."""

    @property
    def claims(self) -> bool:
        return self.posture is not Posture.NONE


# Every step makes entries, mostly such as there were: equal ones are one object, so that comparing is quick.
same_entry = lru_cache(maxsize=1024)(Entry)

NOTHING = same_entry()

# In the order of the fields.
_FLAGS = (
    ("x", "provisional"), ("o", "offered"), ("a", "accepted"), ("t", "asked"),
    ("u", "unable"), ("v", "peer_unable"), ("n", "pinned"),
    ("w", "ailing"), ("y", "strayed"), ("h", "served"),
)  # fmt: skip
_FAILBACK = {AutoFailback.ON: "1", AutoFailback.OFF: "0", AutoFailback.LEGACY: "L"}
_POSTURES = {posture.value: posture for posture in Posture}
_FAILBACKS = {text: value for value, text in _FAILBACK.items()}


@dataclass(frozen=True, slots=True)
class Reach:
    """What a node with ipfail on reaches."""

    answering: int
    """Ping nodes that have answered within the last few keepalives."""
    cut: int
    """Groups with an address whose interface has no carrier."""
    ping_list: int
    """Stands for the list of ping nodes: counts of different lists cannot be compared."""


@dataclass(frozen=True, slots=True)
class Report:
    """One node's state. `groups` is None while it does not know itself what it holds."""

    incarnation: int
    echo: tuple[int, int]
    """(generation, seq) of the last report applied from the peer; (0, 0) if none."""
    known_generation: int
    """The highest generation of the peer ever seen, so that a node set back in time can jump."""
    auto_failback: AutoFailback
    digest: str = ""
    active: bool = False
    settled: bool = False
    """Nothing in motion here: initial placement done, no job running."""
    leaving: bool = False
    shedding: bool = False
    """Members that a reload took out of a group may still run here."""
    groups: dict[str, Entry] | None = field(default=None)
    reach: Reach | None = None
    """None where ipfail is off."""
    ping_list: int | None = None
    """As in `reach`, where ipfail is off; None without ping nodes. Only shown."""
    freeze: int = 0
    """The mark of `freeze.py`; odd means frozen."""
    set_back: tuple[tuple[str, int], ...] = ()
    """Where there are more than two nodes: those of which only an earlier generation is heard, and the
    highest that is known of each."""

    def entry(self, group: str) -> Entry:
        """What it says of this group; NOTHING if it says nothing."""
        return NOTHING if self.groups is None else self.groups.get(group, NOTHING)

    def known_of(self, node: str) -> int:
        """The generation of that node below which nothing is believed, as far as this says."""
        for name, generation in self.set_back:
            if name == node:
                return generation
        return self.known_generation

    @property
    def _cut(self) -> int | None:
        # What answers changes with every lost ping; the next heartbeat is soon enough for that.
        return None if self.reach is None else self.reach.cut

    def says_the_same_as(self, other: Report | None) -> bool:
        """All but the echo is equal: a peer answers at once when it is not."""
        return (
            other is not None
            and self.groups == other.groups
            and self.settled is other.settled
            and self.active is other.active
            and self.leaving is other.leaving
            and self.shedding is other.shedding
            and self.freeze == other.freeze
            and self.digest == other.digest
            and self._cut == other._cut
            and self.incarnation == other.incarnation
        )


def encode(report: Report) -> str:
    """The field's text."""
    flags = _FAILBACK[report.auto_failback]
    flags += "a" if report.active else ""
    flags += "s" if report.settled else ""
    flags += "l" if report.leaving else ""
    flags += "d" if report.shedding else ""
    flags += f"f{report.freeze}" if report.freeze else ""
    if report.reach is not None:
        flags += f",{report.reach.answering},{report.reach.cut},{report.reach.ping_list}"
    elif report.ping_list is not None:
        flags += f",{report.ping_list}"
    generation, seq = report.echo
    known = f"{report.known_generation:x}"
    if report.set_back:
        known = ",".join((known, *(f"{node}={highest:x}" for node, highest in report.set_back)))
    head = (
        f"1 {report.incarnation:x} {generation:x}:{seq:x} {known} "
        f"{'?' if report.groups is None else report.digest} {flags}"
    )
    if not report.groups:
        return head
    parts = [head]
    for name in sorted(report.groups):
        entry = report.groups[name]
        word = _word(name, entry)
        if word:
            parts.append(word)
    return " ".join(parts)


# The same few words go to and fro with every heartbeat.
@lru_cache(maxsize=1024)
def _word(name: str, entry: Entry) -> str:
    """Empty if there is nothing to say."""
    if entry == NOTHING:
        return ""
    letters = "".join(letter for letter, attribute in _FLAGS if getattr(entry, attribute))
    return f"{entry.posture.value}{letters},{entry.epoch:x},{name}"


def decode(text: str) -> Report:
    """Read the field. Raises WireError for anything that is not exactly of this form."""
    words = text.split(" ")
    if len(words) < 6 or words[0] != "1":
        raise WireError("hbd field of an unknown form")
    try:
        generation, _, seq = words[2].partition(":")
        groups = None if words[4] == "?" else dict(_entry(word) for word in words[6:])
        reach, ping_list = _pings(words[5])
        known, *set_back = words[3].split(",")
        return Report(
            incarnation=_number(words[1]),
            echo=(_number(generation), _number(seq)),
            known_generation=_generation(known),
            auto_failback=_FAILBACKS[words[5][:1]],
            digest="" if groups is None else words[4],
            active="a" in words[5],
            settled="s" in words[5],
            leaving="l" in words[5],
            shedding="d" in words[5],
            groups=groups,
            reach=reach,
            ping_list=ping_list,
            freeze=_freeze(words[5]) if "f" in words[5] else 0,
            set_back=tuple(_set_back(word) for word in set_back) if set_back else (),
        )
    except (ValueError, KeyError) as error:
        raise WireError("hbd field is malformed") from error


def _pings(flags: str) -> tuple[Reach | None, int | None]:
    _, *numbers = flags.split(",")
    if not all(len(n) <= 10 and n.isascii() and n.isdigit() for n in numbers):
        raise ValueError(flags)
    match [int(n) for n in numbers]:
        case []:
            return None, None
        case [ping_list]:
            return None, ping_list
        case [answering, cut, ping_list]:
            return Reach(answering, cut, ping_list), None
        case _:
            raise ValueError(flags)


def _set_back(word: str) -> tuple[str, int]:
    node, _, generation = word.rpartition("=")
    if not node:
        raise ValueError(word)
    return node, _generation(generation)


def _freeze(flags: str) -> int:
    text = flags.partition(",")[0].partition("f")[2]
    if not 1 <= len(text) <= 10 or not text.isascii() or not text.isdigit() or int(text) > FREEZE_MAX:
        raise ValueError(text)
    return int(text)


def _number(text: str) -> int:
    if not 1 <= len(text) <= 16 or text.strip("0123456789abcdef"):
        raise ValueError(text)
    return int(text, 16)


def _generation(text: str) -> int:
    generation = _number(text)
    if generation > GENERATION_MAX:
        raise ValueError(text)
    return generation


def _epoch(text: str) -> int:
    epoch = _number(text)
    if epoch > EPOCH_MAX:
        raise ValueError(text)
    return epoch


@lru_cache(maxsize=1024)
def _entry(word: str) -> tuple[str, Entry]:
    letters, epoch, name = word.split(",", 2)
    if not name or len(letters) > 16:
        raise ValueError(word)
    flags = [letter in letters[1:] for letter, _ in _FLAGS]
    return name, same_entry(_POSTURES[letters[:1]], _epoch(epoch), *flags)
