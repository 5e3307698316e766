"""Snapshots as text and JSON. Pure.

The text is for somebody who was woken up: first one sentence, then what is wrong, then everything.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from hbd.ctl.snapshot import Group, Link, Node, Resource, Snapshot

WELL = ("active", "ping")
"""Status of a node that does its part, and of a ping node that answers."""
FROZEN = "the cluster is frozen: nothing is started, stopped or moved until hbctl thaw"
HOLDS = {"none": "holds nothing", "all": "holds everything"}


def as_json(shown: Snapshot, indent: int | None = 2) -> str:
    """`hbctl status --json`. Without the statistics: what changes with every datagram is no state."""
    picture = asdict(shown)
    del picture["statistics"]
    return json.dumps(picture, indent=indent, ensure_ascii=False)


def as_text(shown: Snapshot) -> str:
    """`hbctl status`."""
    parts = [
        summary(shown),
        "\n".join(f"  ! {problem}" for problem in problems(shown)),
        _table([("NODE", "STATUS", "HOLDS", ""), *(_node(node) for node in shown.nodes)]),
        _table([("LINK", "MEDIUM", "STATUS"), *(_link(link) for link in shown.links)] if shown.links else []),
        _table(_group_rows(shown.groups)) if shown.groups else "No resource groups.",
        stall(shown),
    ]
    return "\n\n".join(part for part in parts if part)


def summary(shown: Snapshot) -> str:
    """One sentence, e.g. `linuxha1: stable, holds local; peer linuxha2 active`."""
    cluster = shown.cluster
    words = [cluster.state, HOLDS.get(cluster.holding, f"holds {cluster.holding}")]
    if cluster.transition:
        words[0] = f"{cluster.state} {cluster.transition}" if cluster.state == "transition" else cluster.state
    if cluster.frozen:
        words.append("frozen")
    peers = [f"peer {node.name} {node.status}" for node in shown.nodes if _is_peer(node)]
    return f"{cluster.local_node}: {', '.join(words)}; {', '.join(peers) or 'no peer'}"


def problems(shown: Snapshot) -> list[str]:
    """What keeps the cluster from being whole, worst first; empty if nothing does."""
    return [
        *([FROZEN] if shown.cluster.frozen else []),
        *stuck(shown),
        *(
            _resource_problem(resource)
            for group in shown.groups
            for resource in group.resources
            if resource.state in ("failed", "blocked") or (resource.last_error and not _is_served(group))
        ),
        *(f"node {node.name} is {node.status}" for node in shown.nodes if node.status not in WELL),
        *(f"link {link.node}:{link.name} is dead" for link in shown.links if link.status == "dead"),
        *shown.cluster.degraded,
    ]


def stuck(shown: Snapshot) -> list[str]:
    """Groups that are not served, in sentences."""
    return [_group_problem(group) for group in shown.groups if not _is_served(group)]


def stall(shown: Snapshot) -> str:
    """When this node stood still for so long that it came near to being taken for dead; else nothing."""
    told = shown.statistics
    longest_ms, patience_ms = told.get("longest_stall_ms", 0), told.get("patience_ms", 0)
    if 2 * longest_ms <= patience_ms or not longest_ms:
        return ""
    when = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(told.get("longest_stall_at", 0)))
    return (
        f"This node once did not run for {longest_ms} ms, until {when}. "
        f"After {patience_ms} ms the other node may take over."
    )


def reasons(entries: Sequence[Mapping[str, Any]]) -> str:
    """`hbctl why`: the answer of Group.Why."""
    group, *resources = entries
    owner = group["Owner"] or "nobody"
    lines = [f"{group['Name']} is {group['State']}, owned by {owner}; its home is {group['PreferredNode']}."]
    if group["Reason"]:
        lines.append(str(group["Reason"]))
    rows = [(f"  {one['Name']}", str(one["State"]), str(one["Reason"])) for one in resources]
    return "\n".join([*lines, _table(rows)])


def _is_peer(node: Node) -> bool:
    return node.kind == "normal" and not node.local


def _is_served(group: Group) -> bool:
    return group.state == "started" and bool(group.owner)


def _group_problem(group: Group) -> str:
    if group.state in ("failed", "blocked"):
        return f"group {group.name} is {group.state}; see hbctl why {group.name}"
    if not group.owner:
        return f"group {group.name} is held by nobody; see hbctl why {group.name}"
    return f"group {group.name} is {group.state} on {group.owner}"


def _resource_problem(resource: Resource) -> str:
    return f"resource {resource.name} is {resource.state}" + (
        f": {resource.last_error}" if resource.last_error else ""
    )


def _node(node: Node) -> tuple[str, ...]:
    if node.kind == "ping":
        return node.name, node.status, "", "ping node"
    return node.name, node.status, node.holding, "this node" if node.local else ""


def _link(link: Link) -> tuple[str, ...]:
    return f"{link.node}:{link.name}", link.medium, link.status


def _group_rows(groups: Sequence[Group]) -> list[tuple[str, ...]]:
    rows: list[tuple[str, ...]] = [("GROUP", "STATE", "OWNER", "HOME")]
    for group in groups:
        rows.append((group.name, group.state, group.owner or "-", group.preferred_node))
        for one in group.resources:
            what = one.unit if one.kind == "unit" else one.kind
            rows.append((f"  {one.name}", one.state, what, one.last_error))
    return rows


def _table(rows: Sequence[tuple[str, ...]]) -> str:
    """Columns as wide as their widest cell; the last may be of any width."""
    if not rows:
        return ""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in rows)
    return "\n".join(line.rstrip() for line in lines)
