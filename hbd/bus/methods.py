"""The methods of org.linux_ha.Heartbeat1: arguments into a command, its answer into a reply.

A method that changes something returns as soon as the core has answered, as a systemd job
does: a stop may take minutes, a D-Bus call may not. Progress is Cluster.Transition, its end
the signal TransitionFinished.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping

from hbd.bus.faults import InvalidArgument, NoSuchNode
from hbd.bus.projection import Property
from hbd.core.events import Command, ConfirmDead, Freeze, Scope, Standby, Takeover, Thaw
from hbd.core.views import ClusterView, GroupView, ResourceView

Ask = Callable[[Command], Awaitable[int]]
"""Puts a command to the core; the transition to watch, 0 if there was nothing to do. Raises Refused."""
Reload = Callable[[], Awaitable[None]]
"""Does what SIGHUP does; raises HbdError with every finding if the new configuration is wrong."""


_STEERING: dict[str, Callable[..., Command]] = {"Freeze": Freeze, "Thaw": Thaw, "ConfirmDead": ConfirmDead}
"""Methods whose arguments are the command's, and that answer nothing."""


def steering(view: ClusterView, member: str, *arguments: str) -> Command:
    """The command of such a method. Raises NoSuchNode."""
    known = [node.name for node in view.nodes]
    if member == "ConfirmDead" and arguments[0] not in known:
        raise NoSuchNode(f"there is no node {arguments[0]}; there are {', '.join(known)}")
    return _STEERING[member](*arguments)


def parse_scope(which: str) -> Scope:
    """`all`, `local`, `foreign` or `failback`. Raises InvalidArgument."""
    for scope in Scope:
        if scope.value == which:
            return scope
    known = ", ".join(scope.value for scope in Scope)
    raise InvalidArgument(f"'{which}' names no groups; write one of {known}")


async def standby(ask: Ask, which: str) -> int:
    """Begin to hand groups over; the transition. Raises InvalidArgument, Refused."""
    return await ask(Standby(parse_scope(which)))


async def takeover(ask: Ask, which: str) -> int:
    """Begin to ask the peer for groups; the transition. Raises InvalidArgument, Refused."""
    return await ask(Takeover(parse_scope(which)))


def statistics(view: ClusterView, bus: Mapping[str, int]) -> dict[str, Property]:
    """GetStatistics: the core's numbers, or one for each node, link or group; and those of the bus."""
    return {
        name: ("t", figure) if isinstance(figure, int) else ("a{sx}", dict(figure))
        for name, figure in (*view.statistics, *bus.items())
    }


def why(group: GroupView) -> list[dict[str, Property]]:
    """Group.Why: first the group with the reason for its state, then its resources in order."""
    return [
        {
            "What": ("s", "group"),
            "Name": ("s", group.name),
            "State": ("s", group.state.value),
            "Owner": ("s", group.owner),
            "PreferredNode": ("s", group.preferred_node),
            "Reason": ("s", group.reason),
        },
        *(_why_resource(resource) for resource in group.resources),
    ]


def _why_resource(resource: ResourceView) -> dict[str, Property]:
    return {
        "What": ("s", "resource"),
        "Name": ("s", resource.spec.name),
        "State": ("s", resource.state.value),
        "Reason": ("s", resource.last_error),
    }
