"""How far this node and the other are with what they have to do, for the log: settled, taken over, agreed.

What is held here is also said as 3.0.6 says it, to whoever listens. Nothing between hbd nodes goes by it.
"""

from __future__ import annotations

from hbd.core import protocol
from hbd.core.claims import Peer
from hbd.core.custody import Custody
from hbd.core.desk import Desk
from hbd.core.effects import Kind, Level
from hbd.core.membership import Membership
from hbd.core.views import Holding


class Progress:
    """Of one life of this node."""

    def __init__(self, desk: Desk, membership: Membership, custody: Custody) -> None:
        self._desk, self._membership, self._custody = desk, membership, custody
        self._claimed_before: tuple[Holding, bool] | None = None
        self._digest_differs: set[str] = set()
        self._settled_peers: set[str] = set()
        self._taking_over, self._bereft_ms = "", 0

    # ------------------------------------------------------------ of this node

    def takes_over(self, peer: Peer) -> None:
        """It died, and what it had is taken."""
        self._taking_over, self._bereft_ms = peer.name, self._desk.now.ms

    def note(self, *, parted: bool) -> None:
        """Once a step that may have moved something. `parted`: our goodbye was said."""
        custody = self._custody
        if self._membership.status != "active":
            return
        holding, stable = custody.holding, custody.placed and custody.settled
        if (holding, stable) == self._claimed_before:
            if stable:
                self._taking_over, self._bereft_ms = "", 0  # There was nothing to take over.
            return
        hold = holding.value
        if stable and (self._claimed_before is None or not self._claimed_before[1]):
            self._desk.info(Kind.TRANSITION, f"Local Resource acquisition completed. ({hold})")
            self._desk.info(Kind.TRANSITION, "local resource transition completed.")
            if self._taking_over and hold != "none":
                text = f"mach_down takeover complete for node {self._taking_over}."
                self._desk.info(Kind.TAKEOVER_COMPLETE, text, node=self._taking_over)
                if self._bereft_ms:
                    self._desk.tally.moved("death", "done", self._desk.now.ms - self._bereft_ms)
                self._taking_over, self._bereft_ms = "", 0
        self._claimed_before = (holding, stable)
        peer = self._membership.peer
        if not parted and not (peer is not None and peer.speaks_classic):
            self._membership.say(protocol.resource(hold, stable))

    # ------------------------------------------------------------ of the other

    def heard(self, peer: Peer) -> None:
        """A report of it was applied."""
        self._compare_digests(peer)
        self._note_settled(peer)

    def _compare_digests(self, peer: Peer) -> None:
        report = peer.report
        assert report is not None
        differs = report.groups is not None and report.digest != self._custody.digest
        if differs and peer.name not in self._digest_differs:
            self._digest_differs.add(peer.name)
            self._desk.log(
                Level.ERROR, Kind.DIGEST_DIFFERS,
                f"haresources on {peer.name} means other resources than here: nothing new is started "
                "until both are equal", node=peer.name,
            )  # fmt: skip
        elif not differs and peer.name in self._digest_differs:
            self._digest_differs.discard(peer.name)
            text = f"haresources on {peer.name} means the same as here again"
            self._desk.info(Kind.DIGEST_DIFFERS, text, node=peer.name)

    def _note_settled(self, peer: Peer) -> None:
        settled = peer.report is not None and peer.report.active and peer.report.settled
        if not settled:
            self._settled_peers.discard(peer.name)
        elif peer.name not in self._settled_peers:
            self._settled_peers.add(peer.name)
            self._desk.info(Kind.TRANSITION, "remote resource transition completed.", node=peer.name)
