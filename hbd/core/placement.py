"""Which of two nodes should have a group that nobody claims, and which groups a scope means.

Pure functions of what both nodes know, so that both come to the same answer. Whether a group *may* be
started is another question: see claims.py.
"""

from __future__ import annotations

from hbd.config.model import GroupSpec
from hbd.core.claims import Peer, PeerKind
from hbd.core.events import Scope
from hbd.core.handover import Handover


def belongs_here(
    group: GroupSpec, local_node: str, unable: bool, peer: Peer | None, digest: str, talk: Handover
) -> bool:
    """Whether this node should claim a group that it does not hold and has not just ceded."""
    if unable:
        return False
    if peer is None:
        return True
    if peer.speaks_classic:
        return talk.leaves(group)
    if peer.dead and not peer.gone and peer.keeps(group.key):
        return False
    if peer.sworn or peer.gone:
        return True  # Nothing runs there, whatever it was called there.
    if peer.dead:
        # With a different configuration only what the dead node is known to have held is ours to take.
        differs = peer.report is not None and peer.report.digest not in ("", digest)
        return not differs or group.key in peer.last_held
    report = peer.report
    if peer.kind is not PeerKind.HBD or report is None or report.groups is None or report.digest != digest:
        return False
    theirs = report.entry(group.key)
    if theirs.claims:
        return False
    return theirs.offered or report.leaving or group.key in peer.unable or group.home == local_node


def waits_for_files(peer: Peer | None, digest: str) -> bool:
    """Whether nothing new may be started here, since the haresources of the peer is another, or unknown."""
    if peer is None or peer.speaks_classic or peer.sworn or peer.gone:
        return False
    if peer.dead:
        return peer.report is not None and peer.report.digest not in ("", digest)
    return peer.report is None or peer.report.digest != digest


def in_scope(group: GroupSpec, node: str, scope: Scope) -> bool:
    """Whether a scope, in the terms of this node, means the group."""
    match scope:
        case Scope.ALL:
            return True
        case Scope.LOCAL:
            return group.home == node
        case Scope.FOREIGN | Scope.FAILBACK:
            return group.home != node
