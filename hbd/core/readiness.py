"""Why a node could not take over what another one holds, for whoever looks. Pure; decides nothing.

Each obstacle completes a sentence that begins with the node's name.
"""

from __future__ import annotations

from hbd.core.claims import Peer, PeerKind
from hbd.core.custody import Custody

DEAD, LEAVING, FROZEN, UNSURE = "is dead", "is shutting down", "is frozen", "does not know yet what it holds"


def of_peer(peer: Peer, status: str, custody: Custody, frozen: bool) -> tuple[str, ...]:
    """What stands in the way of a peer, as far as this node knows; empty if nothing does."""
    report = peer.report
    if peer.dead or status == "dead":
        return (DEAD,)
    if peer.gone or (report is not None and report.leaving):
        return (LEAVING,)
    if status != "active":
        return ("is starting",)
    if frozen:
        return (FROZEN,)
    if peer.kind is not PeerKind.HBD or report is None:
        return ()  # heartbeat 3.0.6 says nothing of the kind.
    if report.groups is None:
        return (UNSURE,)
    cut = 0 if report.reach is None else report.reach.cut
    return (
        *(
            f"could not start {group.spec.name}"
            for key, group in custody.groups.items()
            if key in peer.unable and not peer.entry(key).claims
        ),
        *((_cut(cut),) if cut else ()),
    )


def of_this(status: str, custody: Custody, leaving: bool, frozen: bool, cut: int) -> tuple[str, ...]:
    """What stands in the way of this node; empty if nothing does."""
    if leaving:
        return (LEAVING,)
    if status != "active":
        return ("is starting",)
    if frozen:
        return (FROZEN,)
    if not custody.placed:
        return (UNSURE,)
    unable = (group.spec.name for group in custody.groups.values() if group.unable)
    return (*(f"could not start {name}" for name in unable), *((_cut(cut),) if cut else ()))


def _cut(groups: int) -> str:
    return f"has no carrier for an address of {groups} group{'' if groups == 1 else 's'}"
