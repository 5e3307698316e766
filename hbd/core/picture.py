"""The core's knowledge as one immutable view. Pure; nothing in the core reads it."""

from __future__ import annotations

from hbd.config.model import AddressResource, Config, Mcast, MediumSpec, Ping, ResourceSpec, UnitResource
from hbd.core import readiness
from hbd.core.claims import Peer, PeerKind
from hbd.core.connectivity import Connectivity
from hbd.core.custody import Custody
from hbd.core.figures import Figure
from hbd.core.groups import Group
from hbd.core.groupstate import Member, MemberState, Phase
from hbd.core.membership import Membership
from hbd.core.report import Posture
from hbd.core.views import (
    Agreement,
    ClusterState,
    ClusterView,
    GroupState,
    GroupView,
    Holding,
    LinkStatus,
    LinkView,
    NodeStatus,
    NodeView,
    ResourceView,
)

_STATE = {
    Posture.NONE: GroupState.STOPPED,
    Posture.CLAIMED: GroupState.STOPPED,
    Posture.STARTING: GroupState.STARTING,
    Posture.RUNNING: GroupState.STARTED,
    Posture.STOPPING: GroupState.STOPPING,
    Posture.BLOCKED: GroupState.BLOCKED,
}
_PROTOCOL = {PeerKind.UNKNOWN: "", PeerKind.HBD: "hbd", PeerKind.CLASSIC: "heartbeat"}
_STATUS = {status.value: status for status in NodeStatus}


def of(
    config: Config, membership: Membership, custody: Custody, connectivity: Connectivity, *,
    leaving: bool, degraded: tuple[str, ...], counters: dict[str, Figure],
    frozen: bool = False, freeze_agreed: bool = True,
) -> ClusterView:  # fmt: skip
    """The view after a step."""
    peer = membership.peer
    channel = membership.channel
    pings = connectivity.pings
    statistics: dict[str, Figure] = {
        "datagrams_sent": channel.sent,
        "datagrams_received": channel.received,
        "datagrams_forwarded": channel.passed_on,
        "retransmissions_requested": channel.requested_again,
        "retransmissions_sent": channel.sent_again,
        **{f"dropped_{reason.replace(' ', '_').replace(',', '')}": n for reason, n in channel.drops.items()},
        **counters,
    }
    transition = custody.transitions.current
    return ClusterView(
        local_node=config.local_node,
        state=_cluster_state(membership, custody, leaving),
        holding=custody.holding,
        auto_failback=config.auto_failback,
        generation=channel.generation,
        transition=0 if transition is None else transition.number,
        last_finished=custody.transitions.last_finished,
        nodes=(
            *(
                _node(config, membership, custody, connectivity, leaving, frozen, name)
                for name in config.nodes
            ),
            *(NodeView(p.name, "ping", _STATUS[st], Holding.NONE, False) for p, st in pings.states()),
        ),
        links=(*_links(config, membership), *(_ping_link(ping, status) for ping, status in pings.states())),
        groups=tuple(_group(config, custody, custody.groups[key], peer) for key in custody.groups),
        frozen=frozen,
        freeze_agreed=freeze_agreed,
        degraded=degraded,
        statistics=tuple(sorted(statistics.items())),
    )


def _cluster_state(membership: Membership, custody: Custody, leaving: bool) -> ClusterState:
    if leaving:
        return ClusterState.STOPPING
    if membership.status != "active":
        return ClusterState.STARTING
    if not custody.placed:
        return ClusterState.JOINING
    return ClusterState.STABLE if custody.settled else ClusterState.TRANSITION


def _node(
    config: Config, membership: Membership, custody: Custody, connectivity: Connectivity,
    leaving: bool, frozen: bool, name: str,
) -> NodeView:  # fmt: skip
    if name == config.local_node:
        status = _STATUS[membership.status]
        obstacles = readiness.of_this(membership.status, custody, leaving, frozen, connectivity.cut)
        return NodeView(
            name, "normal", status, custody.holding, True, "hbd", Agreement.SAME, Agreement.SAME, obstacles
        )
    status = _STATUS.get(membership.node_status[name], NodeStatus.UP)
    peer = membership.peers[name]
    report = peer.report
    groups = pings = Agreement.UNKNOWN
    if report is not None and not peer.dead:
        pings = Agreement.of(connectivity.pings_agree_with(report))
        if report.groups is not None:
            groups = Agreement.of(report.digest == custody.digest)
    obstacles = readiness.of_peer(peer, membership.node_status[name], custody, frozen)
    protocol, holding = _PROTOCOL[peer.kind], _holding_of(peer, custody)
    return NodeView(name, "normal", status, holding, False, protocol, groups, pings, obstacles)


def _holding_of(peer: Peer, custody: Custody) -> Holding:
    if peer.dead:
        return Holding.NONE
    held = [
        group.spec.home == peer.name
        for group in custody.groups.values()
        if custody.entry_of(peer, group).posture not in (Posture.NONE, Posture.CLAIMED)
    ]
    if any(held) and not all(held):
        return Holding.ALL
    return Holding.NONE if not held else Holding.LOCAL if held[0] else Holding.FOREIGN


def _links(config: Config, membership: Membership) -> tuple[LinkView, ...]:
    known = membership.links()
    views: dict[tuple[str, str], LinkView] = {}
    for node in config.peers:
        for medium in config.media:
            if not isinstance(medium, Ping):
                up = bool(known.get((node, medium.link)))
                status = LinkStatus.UP if up else LinkStatus.DEAD
                weak = up and membership.losses.is_weak(node, medium.link)
                views.setdefault(
                    (node, medium.link), LinkView(node, medium.link, _directive(medium), status, weak)
                )
    return tuple(views.values())


def _ping_link(ping: Ping, status: str) -> LinkView:
    return LinkView(
        ping.name, ping.link, ping.kind, LinkStatus.UP if status == "ping" else LinkStatus.DEAD
    )


def _directive(medium: MediumSpec) -> str:
    """What ha.cf calls it."""
    if isinstance(medium, Mcast):
        return "mcast" if medium.version == 4 else "mcast6"
    return type(medium).__name__.lower()


def _group(config: Config, custody: Custody, group: Group, peer: Peer | None) -> GroupView:
    theirs = None if peer is None or peer.dead else custody.entry_of(peer, group)
    if group.claims or theirs is None or not theirs.claims:
        # Nobody is called the owner before its jobs have confirmed it.
        owns = group.is_serving or group.phase in (Phase.STOPPING, Phase.BLOCKED)
        state = _STATE[group.posture]
        gone = custody.guard.gone_from(group)
        if (group.phase is Phase.IDLE and group.unable) or group.is_ailing or gone:
            state = GroupState.FAILED
        return GroupView(
            group.spec.name, group.spec.home, config.local_node if owns else "", state,
            _resources(group, gone=gone), group.reason,
        )  # fmt: skip
    assert peer is not None
    owns = theirs.served or theirs.posture in (Posture.RUNNING, Posture.STOPPING, Posture.BLOCKED)
    state = _STATE[theirs.posture]
    if theirs.served and not theirs.provisional and peer.report and peer.report.digest != custody.digest:
        state = GroupState.STARTED  # What a reload gave it there is nothing that this node knows of.
    reason = f"{peer.name} reports it as {state.value}"
    if group.unable:
        reason += f"; it did not start here: {group.reason}"
    return GroupView(
        group.spec.name, group.spec.home, peer.name if owns else "",
        GroupState.FAILED if theirs.ailing else state, _resources(group, state), reason,
    )  # fmt: skip


def _resources(
    group: Group, peers_state: GroupState | None = None, gone: tuple[ResourceSpec, ...] = ()
) -> tuple[ResourceView, ...]:  # fmt: skip
    return tuple(
        ResourceView(
            spec=member.spec,
            kind=_kind(member.spec),
            group=group.spec.name,
            position=position,
            state=_resource_state(group, member, gone) if peers_state is None else peers_state,
            last_error=member.last_error,
        )
        for position, member in enumerate(group.members)
    )


def _kind(spec: ResourceSpec) -> str:
    """Resource.Kind."""
    if isinstance(spec, AddressResource):
        return "address"
    return "unit" if isinstance(spec, UnitResource) else "script"


def _resource_state(group: Group, member: Member, gone: tuple[ResourceSpec, ...]) -> GroupState:
    if member.spec in gone:
        return GroupState.STOPPED
    if member.state is MemberState.STARTED:
        return GroupState.STOPPING if group.phase is Phase.STOPPING else GroupState.STARTED
    if group.phase is Phase.BLOCKED and member.state is MemberState.UNKNOWN:
        return GroupState.BLOCKED
    if member.last_error:
        return GroupState.FAILED
    return GroupState.STARTING if group.phase is Phase.STARTING else GroupState.STOPPED
