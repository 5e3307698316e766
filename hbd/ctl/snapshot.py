"""What hbctl has read from the bus: typed, with the properties' names in snake_case."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any, TypeVar

from hbd.bus import names
from hbd.errors import HbdError


@dataclass(frozen=True, slots=True)
class Cluster:
    """org.linux_ha.Heartbeat1.Cluster."""

    local_node: str
    version: str
    state: str
    holding: str
    auto_failback: str
    generation: int
    transition: int
    frozen: bool
    degraded: list[str]
    freeze_agreed: bool = True


@dataclass(frozen=True, slots=True)
class Node:
    """org.linux_ha.Heartbeat1.Node."""

    name: str
    kind: str
    status: str
    holding: str
    local: bool
    protocol: str = ""
    haresources: str = "unknown"
    ping_nodes: str = "unknown"
    obstacles: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Link:
    """org.linux_ha.Heartbeat1.Link."""

    node: str
    name: str
    medium: str
    status: str
    weak: bool = False


@dataclass(frozen=True, slots=True)
class Resource:
    """org.linux_ha.Heartbeat1.Resource."""

    name: str
    kind: str
    unit: str
    group: str
    state: str
    last_error: str


@dataclass(frozen=True, slots=True)
class Group:
    """org.linux_ha.Heartbeat1.Group, and its resources in order."""

    name: str
    preferred_node: str
    owner: str
    state: str
    resources: list[Resource] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Everything, as of one moment. `hbctl status --json` has the first four of these fields."""

    cluster: Cluster
    nodes: list[Node]
    links: list[Link]
    groups: list[Group]
    statistics: dict[str, Any] = field(default_factory=dict)
    """What GetStatistics tells."""
    read_at: float = 0.0
    """Unix time."""

    def figure(self, name: str) -> int:
        """One number of the statistics; 0 if the daemon does not tell it."""
        return int(self.statistics.get(name, 0))

    def figures(self, name: str) -> dict[str, int]:
        """A number for each node, link or group; empty if the daemon does not tell it."""
        return dict(self.statistics.get(name, {}))


Managed = Mapping[str, Mapping[str, Mapping[str, Any]]]
"""Path, interface, property: as GetManagedObjects answers, without Variants."""

T = TypeVar("T", Cluster, Node, Link, Group, Resource)


def snapshot(
    cluster: Mapping[str, Any],
    managed: Managed,
    statistics: Mapping[str, Any] | None = None,
    read_at: float = 0.0,
) -> Snapshot:
    """From the answers of the daemon. Raises HbdError if they lack a property."""
    resources = _of(Resource, names.RESOURCE, dict(sorted(managed.items(), key=_position)))
    groups = [
        replace(group, resources=[one for one in resources.values() if one.group == path])
        for path, group in _of(Group, names.GROUP, managed).items()
    ]
    return Snapshot(
        _value(Cluster, cluster),
        list(_of(Node, names.NODE, managed).values()),
        list(_of(Link, names.LINK, managed).values()),
        groups,
        dict(statistics or {}),
        read_at,
    )


def snake_case(name: str) -> str:
    """`PreferredNode` is preferred_node."""
    return re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name).lower()


def _of(kind: type[T], interface: str, managed: Managed) -> dict[str, T]:
    return {path: _value(kind, held[interface]) for path, held in managed.items() if interface in held}


def _value(kind: type[T], properties: Mapping[str, Any]) -> T:
    known = {one.name for one in fields(kind)}
    given = {snake_case(name): value for name, value in properties.items()}
    try:
        return kind(**{name: value for name, value in given.items() if name in known})
    except TypeError:
        raise HbdError("hbd and hbctl are of different versions; restart hbd") from None


def _position(item: tuple[str, object]) -> int:
    """Resources in their order in the group: the number behind the path's last `_`."""
    number = item[0].rpartition("_")[2]
    return int(number) if number.isdecimal() else 0
