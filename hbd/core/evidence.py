"""What is known of a node at this moment, as evidence for a decision. Pure; made only when one is taken."""

from __future__ import annotations

from hbd.core.claims import Peer, PeerKind
from hbd.core.groups import Group
from hbd.core.membership import Membership
from hbd.core.records import Evidence
from hbd.core.report import Posture

_SAYS = {
    Posture.NONE: "reports that it has nothing of the group",
    Posture.CLAIMED: "reports that it wants the group",
    Posture.STARTING: "reports that it starts the group",
    Posture.RUNNING: "reports that it runs the group",
    Posture.STOPPING: "reports that it stops the group",
    Posture.BLOCKED: "reports that the group does not stop there",
}


def heard(membership: Membership, node: str, now_ms: int, keepalive_ms: int) -> tuple[Evidence, ...]:
    """When this node was heard last: its heartbeats, then each of its links."""
    found = [_heartbeats(membership, node, now_ms, keepalive_ms)]
    for link, (heard_ms, up) in membership.links_heard(node):
        text = "link is up" if up else "link is dead"
        found.append(Evidence(text, node, link, now_ms - heard_ms))
    return tuple(found)


def _heartbeats(membership: Membership, node: str, now_ms: int, keepalive_ms: int) -> Evidence:
    heard_ms = membership.last_heartbeat_ms(node)
    if heard_ms is None:
        return Evidence("no heartbeat since this node began", node)
    silent_ms = now_ms - heard_ms
    missed = silent_ms // keepalive_ms
    text = f"last heartbeat, {missed} missed since" if missed else "last heartbeat"
    return Evidence(text, node, "", silent_ms)


def of_group(peer: Peer | None, group: Group) -> tuple[Evidence, ...]:
    """What the other node has said of this group."""
    if peer is None or peer.dead or peer.kind is PeerKind.UNKNOWN:
        return ()
    if peer.gone:
        return (Evidence("has said goodbye, and holds nothing", peer.name),)
    if peer.kind is PeerKind.CLASSIC:
        return (Evidence("speaks heartbeat 3.0.6's protocol", peer.name),)
    theirs = peer.entry(group.key)
    found = [Evidence(_SAYS[theirs.posture], peer.name)]
    if theirs.offered:
        found.append(Evidence("hands the group over", peer.name))
    if theirs.provisional:
        found.append(Evidence("has not served it without a break", peer.name))
    if group.key in peer.unable:
        found.append(Evidence("could not start the group", peer.name))
    return tuple(found)
