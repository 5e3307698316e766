"""Who may hold what: the heart of safety.

A *claim* is a node's word that it has, or is about to have, something to do with a group. It is
announced before the first start and stays until the last stop is confirmed (rule 2 of the safety
rules). A group may be started here only when the peer cannot hold it: it is dead, has said goodbye,
or has reported, knowing of our claim, that it claims nothing against it (rules 1 and 3).

When two claims meet, whatever the history, both nodes compute the same loser from what they told
each other (rules 8 and 9).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum

from hbd.config.model import AutoFailback
from hbd.core.report import NOTHING, Entry, Posture, Report


class PeerKind(Enum):
    """How the peer talks."""

    UNKNOWN = "unknown"
    """Not one status heard from this generation."""
    HBD = "hbd"
    CLASSIC = "classic"
    """heartbeat 3.0.6."""


_CLASSIC = PeerKind.CLASSIC  # Asked for again and again in every step.


@dataclass(slots=True)
class Peer:
    """What the peer has let us know in its present generation."""

    name: str
    kind: PeerKind = PeerKind.UNKNOWN
    alive: bool = False
    dead: bool = False
    """Declared dead by silence: counts as proof that it holds nothing, until it is heard again."""
    gone: bool = False
    """It said goodbye in this generation and holds nothing."""
    generation: int = 0
    lives: int = 0
    """How many of its lives we have heard: a life may have the generation of the one before it."""
    fresh_from: tuple[int, int] = (0, 0)
    """(generation, seq) of our first message since we started or last woke: what does not echo that may have
    waited in a queue while we stood still."""
    report: Report | None = None
    report_at: tuple[int, int] = (0, 0)
    """(generation, seq) of the status that carried `report`."""
    last_held: tuple[str, ...] = ()
    """Groups it claimed in the last report of any generation, for a peer with a different configuration."""
    unable: set[str] = field(default_factory=set)
    """Groups that failed to start there; remembered across its restarts (rule 22)."""
    unable_told: tuple[int, int] | None = None
    """(generation, seq) of our first report that repeats the present set."""
    sealed: bool = False
    """Its last word was that it is frozen: what it held then is not taken off there when it falls silent."""
    described: bool = False
    """It has said in our life what it holds."""
    sworn: bool = False
    """An operator has sworn that it is dead, and nothing was heard of it since (`oath.py`)."""

    @property
    def speaks_classic(self) -> bool:
        """A living heartbeat 3.0.6: what it lets us have is said in handover.py's conversation."""
        return self.kind is _CLASSIC and not self.dead and not self.gone

    def keeps(self, group: str) -> bool:
        """Whether its silence does not free this group: it was frozen when last heard, and held it.

        Of what it holds that has never said so in our life, nobody knows.
        """
        return self.sealed and (group in self.last_held or not self.described)

    def restarted(self, generation: int) -> None:
        """A new life: nothing said before holds, and it may hold anything until it reports."""
        self.generation = generation
        self.lives += 1
        self.report = None
        self.report_at = (generation, 0)
        self.gone = False
        self.kind = PeerKind.UNKNOWN

    def apply(self, report: Report, generation: int, seq: int) -> bool:
        """Take in a report unless a newer one is known (rule 4). True if it was taken."""
        if (generation, seq) <= self.report_at:
            return False
        self.report = report
        self.report_at = (generation, seq)
        self.kind = PeerKind.HBD
        self.sealed = report.freeze & 1 == 1
        if report.groups is not None:
            self.last_held = tuple(sorted(name for name, entry in report.groups.items() if entry.claims))
            self.described = True
            self._learn_unable(report)
        holds_nothing = report.groups is not None and not self.last_held
        self.gone = report.leaving and holds_nothing and report.echo >= self.fresh_from
        return True

    def _learn_unable(self, report: Report) -> None:
        assert report.groups is not None
        for name in report.groups:
            if report.groups[name].unable and name not in self.unable:
                self.unable.add(name)
                self.unable_told = None
        # Able again only if it says so knowing what we remember: after a restart it may just not know yet.
        if self.unable_told is not None and report.echo >= self.unable_told:
            self.unable = {name for name in self.unable if report.entry(name).unable}

    def entry(self, group: str) -> Entry:
        """What its last report says of this group."""
        return NOTHING if self.report is None else self.report.entry(group)


def echoed(peer: Peer, generation: int, seq: int) -> bool:
    """Whether the peer's report was made by somebody who knew our report (generation, seq)."""
    return peer.report is not None and peer.report.echo >= (generation, seq)


def may_hold(peer: Peer, group: str, digest: str, claim: tuple[int, int] | None) -> bool:
    """Whether the peer may hold this group now, or start it without asking us (rules 1, 3 and 6).

    `claim` is (generation, seq) of our first report that claimed the group in its present tenure;
    None if no report of ours has done so yet.
    """
    if peer.dead or peer.gone:
        return not peer.gone and peer.keeps(group)
    if peer.kind is not PeerKind.HBD or peer.report is None or peer.report.groups is None:
        return True
    if peer.report.digest != digest or peer.entry(group).claims:
        return True
    return claim is None or not echoed(peer, *claim)


def objects(peer: Peer, group: str, claim: tuple[int, int] | None) -> bool:
    """Whether the peer may stand against what ran here already (rule 6: what runs is kept).

    As `may_hold`, but a different configuration of the peer does not count: it claims it or it does not.
    """
    if peer.dead or peer.gone:
        return not peer.gone and peer.described and peer.keeps(group)
    if peer.report is None or peer.report.groups is None or peer.entry(group).claims:
        return True
    return claim is None or not echoed(peer, *claim)


def has_nothing(peer: Peer, claim: tuple[int, int] | None) -> bool:
    """Whether the peer, knowing of our claim, has nothing at all, whatever it would call it (rule 6).

    With a different configuration it starts nothing either, so what its death had us begin can be finished.
    """
    report = peer.report
    if peer.dead or peer.gone or report is None or report.groups is None or report.shedding:
        return False
    held = any(entry.claims or entry.strayed for entry in report.groups.values())
    return not held and claim is not None and echoed(peer, *claim)


Rank = tuple[bool, bool, bool, int, bool, str]


def rank(entry: Entry, node: str, home: str, failback_counts: bool) -> Rank:
    """Where a claim stands in a conflict; the larger loses (rule 9)."""
    return (
        entry.posture in (Posture.BLOCKED, Posture.STOPPING),
        entry.posture is Posture.CLAIMED,
        entry.provisional,
        entry.epoch,
        failback_counts and node != home,
        node,
    )


def loses(ours: Entry, our_name: str, theirs: Entry, their_name: str, home: str, both_on: bool) -> bool:
    """Whether we are the one who gives way. Both nodes get opposite answers from the same two entries."""
    return rank(ours, our_name, home, both_on) > rank(theirs, their_name, home, both_on)


def both_fail_back(ours: AutoFailback, report: Report) -> bool:
    """auto_failback counts only if both nodes say on."""
    return ours is AutoFailback.ON and report.auto_failback is AutoFailback.ON
