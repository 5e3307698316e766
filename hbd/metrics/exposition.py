"""A view and the counters as Prometheus' text format. Pure.

Names and units follow its conventions: `hbd_` in front, `_total` behind what only grows, seconds for times.
A closed set of states is a gauge for each, 1 for the present one. What the core counts and this module does
not know is a counter under its own name. Facts: prometheus.io, "Exposition formats" and "Metric and
label naming".
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from enum import Enum

from hbd.core.views import ClusterState, ClusterView, GroupState, LinkStatus, NodeStatus

Labels = tuple[tuple[str, str], ...]

GAUGES = {
    "longest_stall_ms": ("longest_stall_seconds", "Longest time in this boot that hbd did not run."),
    "longest_stall_at": ("longest_stall_timestamp_seconds", "When that ended; 0 if there was none."),
    "patience_ms": ("patience_seconds", "How long this node may go unheard before the other may take over."),
    "lease_ms": ("lease_seconds", "How long the kernel answers after a heartbeat; 0 without a kernel lease."),
    "heartbeat_longest_ms": ("heartbeat_interval_longest_seconds", "Longest time between two heartbeats."),
    "clock_ahead_s": ("clock_ahead_seconds", "How far the node's clock is ahead of this one's."),
    "link_lost": ("link_lost_recently", "Of the node's last messages, those that did not come by the link."),
    "link_silent_ms": ("link_silent_seconds", "How long nothing was heard on the link."),
}
"""Figures that may fall, or are no counts."""
COUNTERS = {
    "heartbeats_received": "Heartbeats of the node.",
    "heartbeats_late": "Heartbeats that came more than warntime after the one before.",
    "messages_missed": "Messages that were missing when a later one came.",
    "deaths": "How often the node was declared dead.",
    "link_messages": "Messages on the link.",
    "link_late": "Silences on the link of more than warntime and less than deadtime.",
    "conflicts": "Groups found on both nodes.",
    "resource_failures": "Jobs on resources that failed.",
    "resources_lost": "Resources that vanished.",
    "groups_unable": "Groups that could not be started here.",
    "groups_blocked": "Groups that could not be stopped here.",
    "stalls": "How often hbd did not run for more than two keepalives.",
    "late_ticks": "How often hbd was late to feed the watchdogs.",
    "journal_lost": "Log lines that the journal did not take.",
}
SUMMARIES = {
    "transitions": (
        "transition_duration_seconds",
        ("cause", "result"),
        "Handovers and takeovers that ended.",
    ),
    "group_jobs": ("group_job_duration_seconds", ("job", "group"), "Starts and stops of whole groups."),
}
"""Counts with a total of their times under the name with `_ms`."""
DROPPED = "dropped_"


@dataclass(slots=True)
class _Family:
    """One metric and its samples."""

    name: str
    kind: str
    about: str
    samples: list[tuple[str, Labels, float]] = field(default_factory=list)

    def lines(self) -> Iterator[str]:
        yield f"# HELP {self.name} {self.about}"
        yield f"# TYPE {self.name} {self.kind}"
        for suffix, labels, value in self.samples:
            inside = ",".join(f'{key}="{_escaped(text)}"' for key, text in labels)
            braced = f"{{{inside}}}" if inside else ""
            yield f"{self.name}{suffix}{braced} {_number(value)}"


def text(view: ClusterView, figures: Mapping[str, int], version: str) -> str:
    """The whole file. `figures`: what edges count, by name."""
    families = [*_cluster(view, version), *_nodes(view), *_groups(view)]
    families += _figures({**dict(view.statistics), **figures})
    return "".join(f"{line}\n" for family in families for line in family.lines())


def _cluster(view: ClusterView, version: str) -> Iterator[_Family]:
    info = _gauge("info", "The version that runs, and the node's name.")
    info.samples.append(("", (("node", view.local_node), ("version", version)), 1))
    yield info
    yield _states("state", "The cluster's state, as this node sees it.", ClusterState, [((), view.state)])
    yield _one("generation", "Number of this life of the node.", view.generation)
    yield _one("frozen", "Whether groups are kept from moving.", view.frozen)
    yield _one("degraded", "How many things are missing and being retried.", len(view.degraded))
    yield _one("transition", "Number of the transition under way; 0 without one.", view.transition)


def _nodes(view: ClusterView) -> Iterator[_Family]:
    rows = [((("node", node.name), ("kind", node.kind)), node) for node in view.nodes]
    yield _states(
        "node_status", "Status of the node.", NodeStatus, [(key, node.status) for key, node in rows]
    )
    up = _gauge("node_up", "Whether the node is active, or the ping node answers.")
    up.samples += [("", key, node.status in (NodeStatus.ACTIVE, NodeStatus.PING)) for key, node in rows]
    yield up
    links = _gauge("link_up", "Whether the node is heard on the link.")
    links.samples += [
        (
            "",
            (("node", link.node), ("link", link.name), ("medium", link.medium)),
            link.status is LinkStatus.UP,
        )
        for link in view.links
    ]
    yield links


def _groups(view: ClusterView) -> Iterator[_Family]:
    rows = [((("group", group.name),), group.state) for group in view.groups]
    yield _states("group_state", "State of the group at its owner.", GroupState, rows)
    owner = _gauge("group_owner", "Whether the node owns the group.")
    owner.samples += [
        ("", (("group", group.name), ("node", node.name)), group.owner == node.name)
        for group in view.groups
        for node in view.nodes
        if node.kind == "normal"
    ]
    yield owner


def _figures(figures: dict[str, int | tuple[tuple[str, int], ...]]) -> Iterator[_Family]:
    for name, (metric, keys, about) in SUMMARIES.items():
        family = _Family(f"hbd_{metric}", "summary", about)
        counts, times = dict(_pairs(figures.pop(name, ()))), dict(_pairs(figures.pop(f"{name}_ms", ())))
        for key in sorted(counts):
            labels = tuple(zip(keys, key.split(":", 1), strict=True))
            family.samples.append(("_sum", labels, times.get(key, 0) / 1000))
            family.samples.append(("_count", labels, counts[key]))
        yield family
    dropped = _counter("datagrams_dropped", "Datagrams that were not taken.")
    for name in sorted(figures):
        if name.startswith(DROPPED):
            for _, count in _pairs(figures[name]):
                dropped.samples.append(("", (("reason", name.removeprefix(DROPPED)),), count))
        else:
            yield _figure(name, figures[name])
    yield dropped


def _figure(name: str, figure: int | tuple[tuple[str, int], ...]) -> _Family:
    if name in GAUGES:
        metric, about = GAUGES[name]
        family, scale = _gauge(metric, about), 1000 if name.endswith("_ms") else 1
    else:
        family = _counter(_safe(name), COUNTERS.get(name, f"{name.replace('_', ' ').capitalize()}."))
        scale = 1
    for key, value in _pairs(figure):
        keys: Iterable[str] = ("node", "link") if name.startswith("link_") else ("node",)
        labels = tuple(zip(keys, key.split(":", 1), strict=False)) if key else ()
        family.samples.append(("", labels, value / scale))
    return family


def _pairs(figure: int | tuple[tuple[str, int], ...]) -> tuple[tuple[str, int], ...]:
    return (("", figure),) if isinstance(figure, int) else figure


def _gauge(name: str, about: str) -> _Family:
    return _Family(f"hbd_{name}", "gauge", about)


def _counter(name: str, about: str) -> _Family:
    return _Family(f"hbd_{name}_total", "counter", about)


def _one(name: str, about: str, value: float) -> _Family:
    family = _gauge(name, about)
    family.samples.append(("", (), value))
    return family


def _states(name: str, about: str, states: type[Enum], rows: Iterable[tuple[Labels, Enum]]) -> _Family:
    family = _gauge(name, about)
    family.samples += [
        ("", (*labels, ("state", state.value)), state is now) for labels, now in rows for state in states
    ]
    return family


def _safe(name: str) -> str:
    return re.sub(r"[^a-zA-Z0-9_]", "_", name)


def _escaped(text: str) -> str:
    clean = text.encode(errors="replace").decode()
    return clean.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


def _number(value: float) -> str:
    return str(int(value)) if value == int(value) else repr(float(value))
