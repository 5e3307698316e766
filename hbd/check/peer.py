"""What the running daemon knows: of the other node's configuration and clock, and of itself. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hbd.check.facts import Known, Section
from hbd.check.places import Places
from hbd.config.model import Place
from hbd.ctl.snapshot import Node, Snapshot

FILES = ("ha.cf", "hbd.cf", "haresources", "authkeys")
CLOCK_S = 5
"""Clocks further apart make two journals hard to read side by side. What is compared is whole seconds."""


def judge(shown: Snapshot, places: Places, known: Known) -> None:
    """Each other node, and the daemon."""
    for node in shown.nodes:
        if node.kind == "normal" and not node.local:
            _judge_node(node, shown, places, known)
    for sentence in shown.cluster.degraded:
        known.warn(Section.DAEMON, "degraded", places.directive(), sentence)
    known.good(Section.DAEMON, "hbd", f"{shown.cluster.version} runs, {shown.cluster.state}")


def _judge_node(node: Node, shown: Snapshot, places: Places, known: Known) -> None:
    section, name = Section.PEER, node.name
    if node.protocol == "heartbeat":
        known.unknown(section, name, "runs heartbeat 3.0.6, which does not tell what its haresources means")
    elif node.protocol != "hbd" or node.status == "dead":
        known.unknown(section, name, f"is {node.status}: nothing can be compared with it")
        return
    else:
        _compare(node, places, known, any(one.kind == "ping" for one in shown.nodes))
    ahead_s = _of(shown.statistics, "clock_ahead_s", name)
    if ahead_s is None:
        return
    far = f"its clock is {abs(ahead_s)} s {'ahead of' if ahead_s > 0 else 'behind'} this node's"
    if abs(ahead_s) >= CLOCK_S:
        text = f"{far}: hbd does not mind, but whoever compares two journals does; use chrony or timesyncd"
        known.warn(section, name, places.directive("node"), text)
    else:
        known.good(section, name, "its clock agrees with this node's" if abs(ahead_s) < 2 else far)


def _compare(node: Node, places: Places, known: Known, pings: bool) -> None:
    section, name = Section.PEER, node.name
    match node.haresources:
        case "same":
            known.good(section, name, "its haresources means the same as here")
        case "different":
            text = "its haresources means other resources than this one: copy it to both nodes, and reload"
            known.warn(section, name, places.haresources, text)
        case _:
            known.unknown(section, name, "has not told yet what its haresources means")
    if node.ping_nodes == "different":
        text = "its ha.cf has other ping nodes than this one: what the two reach cannot be compared"
        known.warn(section, name, places.directive("ping", "ping6", "ping_group"), text)
    elif node.ping_nodes == "same" and pings:
        known.good(section, name, "its ping nodes are the same as here")


def _of(statistics: Mapping[str, Any], figure: str, name: str) -> int | None:
    found = statistics.get(figure)
    return found.get(name) if isinstance(found, dict) else None


def judge_files(directory: Path, used: Path, known: Known) -> None:
    """Files that were changed after the daemon read them; it keeps a copy of those for root alone."""
    for name in FILES:
        try:
            old = (used / name).read_bytes()
        except FileNotFoundError:
            old = b""
        except OSError:
            return
        try:
            new = (directory / name).read_bytes()
        except OSError:
            new = b""
        if used.is_dir() and old != new:
            text = f"{name} is not what hbd runs with: it was changed since; hbctl reload"
            known.warn(Section.DAEMON, "files", Place(str(directory / name), 1, 1), text)
