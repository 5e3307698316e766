"""What the bus shows of a view: objects, their interfaces, their properties. Pure.

Signals are the difference of two projections. What changes with every datagram is no
property; it is in GetStatistics.
"""

from __future__ import annotations

from dataclasses import dataclass

from hbd.bus import names
from hbd.config.model import AddressResource
from hbd.core.views import ClusterView, GroupView, LinkView, NodeView, ResourceView

Value = str | int | bool | list[str] | list[list[str | int]] | dict[str, int]
Property = tuple[str, Value]
"""D-Bus signature and value."""
Properties = dict[str, Property]
Interfaces = dict[str, Properties]
"""By name of the interface."""
Objects = dict[str, Interfaces]
"""By object path; a parent comes before its children."""


def objects(view: ClusterView, version: str) -> Objects:
    """Everything that is on the bus for this view."""
    shown: Objects = {names.ROOT: {names.CLUSTER: cluster(view, version)}}
    for node in view.nodes:
        shown[names.node_path(node.name)] = {names.NODE: _node(node)}
    for link in view.links:
        shown[names.link_path(link.node, link.name)] = {names.LINK: _link(link)}
    for group in view.groups:
        shown[names.group_path(group.name)] = {names.GROUP: _group(group)}
        for resource in group.resources:
            path = names.resource_path(group.name, resource.position)
            shown[path] = {names.RESOURCE: _resource(resource)}
    return shown


def cluster(view: ClusterView, version: str) -> Properties:
    """org.linux_ha.Heartbeat1.Cluster."""
    return {
        "LocalNode": ("s", view.local_node),
        "Version": ("s", version),
        "State": ("s", view.state.value),
        "Holding": ("s", view.holding.value),
        "AutoFailback": ("s", view.auto_failback.value),
        "Generation": ("u", view.generation),
        "Transition": ("u", view.transition),
        "Frozen": ("b", view.frozen),
        "FreezeAgreed": ("b", view.freeze_agreed),
        "Degraded": ("as", list(view.degraded)),
    }


def _node(node: NodeView) -> Properties:
    return {
        "Name": ("s", node.name),
        "Kind": ("s", node.kind),
        "Status": ("s", node.status.value),
        "Holding": ("s", node.holding.value),
        "Local": ("b", node.local),
        "Protocol": ("s", node.protocol),
        "Haresources": ("s", node.haresources.value),
        "PingNodes": ("s", node.ping_nodes.value),
        "Obstacles": ("as", list(node.obstacles)),
    }


def _link(link: LinkView) -> Properties:
    return {
        "Node": ("s", link.node),
        "Name": ("s", link.name),
        "Medium": ("s", link.medium),
        "Status": ("s", link.status.value),
        "Weak": ("b", link.weak),
    }


def _group(group: GroupView) -> Properties:
    return {
        "Name": ("s", group.name),
        "PreferredNode": ("s", group.preferred_node),
        "Owner": ("s", group.owner),
        "State": ("s", group.state.value),
    }


def _resource(resource: ResourceView) -> Properties:
    return {
        "Name": ("s", resource.spec.name),
        "Kind": ("s", resource.kind),
        "Unit": ("s", "" if isinstance(resource.spec, AddressResource) else resource.spec.unit),
        "Group": ("o", names.group_path(resource.group)),
        "State": ("s", resource.state.value),
        "LastError": ("s", resource.last_error),
    }


# ---------------------------------------------------------------- differences


@dataclass(frozen=True, slots=True)
class Difference:
    """What has to be announced to turn one projection into another."""

    removed: dict[str, tuple[str, ...]]
    """Path: interfaces that are gone."""
    added: Objects
    changed: Objects
    """Only the properties that are different."""


def difference(old: Objects, new: Objects) -> Difference:
    """From `old` to `new`. Children are removed before their parents."""
    removed = {path: tuple(old[path]) for path in reversed(old) if path not in new}
    added = {path: interfaces for path, interfaces in new.items() if path not in old}
    changed: Objects = {}
    for path, interfaces in new.items():
        before = old.get(path)
        if before is None or before == interfaces:
            continue
        # What a path is for never changes, so both have the same interfaces.
        changed[path] = {
            interface: _different(before[interface], properties)
            for interface, properties in interfaces.items()
        }
    return Difference(removed, added, changed)


def _different(before: Properties, after: Properties) -> Properties:
    return {name: value for name, value in after.items() if before.get(name) != value}
