"""Keeps the conversation with a 3.0.6 peer (handover.py) up with its lives and with what runs here."""

from __future__ import annotations

from hbd.core.claims import Peer
from hbd.core.connectivity import Connectivity
from hbd.core.custody import Custody
from hbd.core.handover import Handover


class ClassicPeer:
    """Asked in every step; idle unless the peer speaks 3.0.6's protocol."""

    def __init__(self, talk: Handover, custody: Custody, connectivity: Connectivity) -> None:
        self._talk, self._custody, self._connectivity = talk, custody, connectivity
        self._life: int | None = None
        """Which of the peer's lives the conversation is with."""

    def follow(self, peer: Peer | None) -> None:
        """Keep the 3.0.6 conversation up with what the peer is by now."""
        if peer is None or not peer.speaks_classic or self._custody.probing:
            return
        if self._life is None:
            held = [group for group in self._custody.groups.values() if group.may_run]
            doubtful = tuple(group.spec for group in held if group.muted)
            self._talk.begin(tuple(group.spec for group in held), doubtful, self._custody.placed)
        elif self._life != peer.lives:
            self._talk.peer_restarted()
        self._life = peer.lives
        self._talk.tick(self._custody.in_motion)

    def finish(self, peer: Peer | None) -> None:
        """After the groups took their step: tell the conversation what came of it."""
        if peer is None or not peer.speaks_classic:
            return
        groups = self._custody.groups.values()
        self._talk.released(tuple([group.spec for group in groups if group.may_run]))
        if not any(group.busy for group in groups):
            self._talk.acquired()
        unable = tuple([group.spec for group in groups if group.unable and not group.claims])
        self._talk.offer_unable(unable, self._custody.in_motion)
        self._talk.keep_away(self._connectivity.stays_away)
