"""The freeze: an operator's word that nothing is to be started, stopped or moved, shared by both nodes.

One number stands for it, the *mark*: odd means frozen, even means not. Who freezes or thaws takes the next
number of that kind; every report carries the mark, and the higher one wins. So a node that was dead,
restarted or cut off learns what it missed from the first report that it hears, and of two commands given
without knowledge of each other, the later number wins, and of a freeze and a thaw of the same state the thaw.

A freeze is *agreed* once the peer has sent a report with this mark that echoes a report of ours with it: then
the peer knows that we are frozen, and will remember it. From then on what we hold is not taken over, however
long we are silent (`Peer.keeps`), and for that we take nothing off after an absence. Before, the ordinary
rules of absence hold: the peer does not know, and may take over.

    thawed ──freeze, or a higher odd mark──▶ frozen ──the peer's echo──▶ agreed
       ▲                                        │                          │
       └────────────thaw, or a higher even mark─┴──────────────────────────┘
"""

from __future__ import annotations

from collections.abc import Collection

from hbd.core import claims
from hbd.core.claims import Peer, PeerKind
from hbd.core.desk import Desk
from hbd.core.effects import FREEZE_MAX, THAWED, FreezeRecord, Kind, Level, StoreFreeze
from hbd.errors import Refused

RULE = "nothing is started, stopped or moved before it is thawed (hbctl thaw)"
FROZEN = f"the cluster is frozen: {RULE}"


class Freeze:
    """One node's knowledge of it."""

    def __init__(self, record: FreezeRecord, desk: Desk) -> None:
        self._desk = desk
        self._stored = THAWED
        """Of what this life knows; what the disk has may be older."""
        self.mark = record.mark
        self._agreed_mark = record.mark if record.agreed else 0
        self.cause = "it was so before hbd started"
        """Whose word the present mark is."""
        self._said_at: tuple[int, int] | None = None
        """(generation, seq) of our first report with this mark."""

    @property
    def frozen(self) -> bool:
        return self.mark & 1 == 1

    @property
    def agreed(self) -> bool:
        """Frozen, and the other node knows that we are."""
        return self.mark & 1 == 1 and self._agreed_mark == self.mark

    # ------------------------------------------------------------ commands

    def freeze(self, peers: Collection[Peer]) -> None:
        """An operator's wish; a second one counts anew. Raises Refused beside heartbeat 3.0.6."""
        for peer in peers:
            if peer.kind is PeerKind.CLASSIC:
                raise Refused(
                    f"{peer.name} runs heartbeat 3.0.6, which cannot be frozen: it would go on taking over"
                )
        self._become(self.mark + (2 if self.frozen else 1), "an operator on this node says so")
        self._desk.warn(Kind.FREEZE, f"an operator froze the cluster here: {RULE}")

    def thaw(self) -> None:
        """An operator's wish. Where nothing is frozen, nothing changes."""
        if self.frozen:
            self._become(self.mark + 1, "an operator on this node says so")
            self._desk.warn(Kind.FREEZE, "an operator thawed the cluster here: the ordinary rules hold again")

    # ------------------------------------------------------------ facts

    def begin(self) -> None:
        """hbd starts: what was frozen is frozen, after a reboot too."""
        if self.frozen:
            self._desk.warn(Kind.FREEZE, f"the cluster is frozen since before this start: {RULE}")

    def heard(self, peer: Peer) -> None:
        """A report of the peer was applied."""
        assert peer.report is not None
        theirs = peer.report.freeze
        if theirs > self.mark:
            was_frozen = self.frozen
            self._become(theirs, f"{peer.name} says so")
            if self.frozen:
                self._desk.warn(Kind.FREEZE, f"{peer.name} says that {FROZEN}", node=peer.name)
            elif was_frozen:
                text = f"{peer.name} says that the cluster is thawed: the ordinary rules hold again"
                self._desk.warn(Kind.FREEZE, text, node=peer.name)
        elif theirs < self.mark:
            self._agreed_mark = 0

    def reported(self, at: tuple[int, int]) -> None:
        """A report with the present mark left as (generation, seq)."""
        if self._said_at is None:
            self._said_at = at

    def forget_reports(self) -> None:
        """A new generation of ours: what the peer echoed of the old one proves nothing now."""
        self._said_at = None

    def follow(self, peers: Collection[Peer]) -> None:
        """Once a step, where a freeze has ever been: what becomes of it by what the peers are now."""
        for peer in peers:
            if self.frozen and peer.speaks_classic:
                self._become(self.mark + 1, f"{peer.name} runs heartbeat 3.0.6")
                self._desk.log(
                    Level.CRIT, Kind.FREEZE,
                    f"{peer.name} runs heartbeat 3.0.6 and cannot be frozen: the cluster is thawed",
                    node=peer.name,
                )  # fmt: skip
        if self.frozen and not self.agreed and all(self._is_known_to(peer) for peer in peers):
            self._agreed_mark = self.mark
            for peer in peers:
                text = f"{peer.name} knows of the freeze: no silence of this node frees what it has"
                self._desk.info(Kind.FREEZE, text, node=peer.name)
        sealed = tuple(peer.name for peer in peers if peer.sealed)
        record = FreezeRecord(self.mark, self.agreed, sealed)
        if record != self._stored:
            self._stored = record
            self._desk.emit(StoreFreeze(record))

    def _is_known_to(self, peer: Peer) -> bool:
        report, said_at = peer.report, self._said_at
        return (
            report is not None and report.freeze == self.mark
            and said_at is not None and claims.echoed(peer, *said_at)
        )  # fmt: skip

    def _become(self, mark: int, cause: str) -> None:
        if mark > FREEZE_MAX:
            raise Refused("the cluster was frozen too often")
        self.mark, self.cause, self._said_at = mark, cause, None

    # ------------------------------------------------------------ to be shown

    def shown(self, peers: Collection[Peer]) -> tuple[bool, tuple[str, ...]]:
        """Whether the others are known to have the same in mind, and sentences about those who are not."""
        if self.mark == 0 and not any(peer.sealed for peer in peers):
            return True, ()
        texts = []
        if self.frozen and not self.agreed:
            texts += [
                f"frozen, but {peer.name} has not confirmed that it knows: it may take over what runs here"
                for peer in peers
                if not self._is_known_to(peer)
            ]
        elif not self.frozen:
            texts += [still_sealed(peer) for peer in peers if peer.sealed]
        return not texts, tuple(texts)


def still_sealed(peer: Peer) -> str:
    """What a node whose last word was that it is frozen stands for after a thaw that it has not heard of."""
    if not (peer.dead or peer.gone) and peer.alive:
        return f"{peer.name} has not confirmed yet that it knows of the thaw"
    held = ", ".join(peer.last_held) if peer.described else "anything"
    return (
        f"{peer.name} was frozen when it fell silent and may still run {held or 'nothing'}: that is taken "
        f"over only when {peer.name} is heard again, or after hbctl confirm-dead {peer.name}"
    )
