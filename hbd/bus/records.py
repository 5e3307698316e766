"""Records of decisions and explanations as D-Bus values. Pure."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Protocol

from hbd.bus.projection import Properties
from hbd.core.effects import Retold
from hbd.core.records import Evidence, Explanation, Record, Step

Explain = Callable[[str], Explanation | None]
"""Why the group with this name is where it is; None if there is no such group."""

MOST_AT_ONCE = 20
"""Records in one answer: one costs some 0.2 ms, and heartbeats wait for no more than an answer."""


AskPeer = Callable[[int], Awaitable[Retold]]
"""The other node's newest decisions but for so many. Raises Refused."""


class Decisions(Protocol):
    """Whoever keeps the records: `hbd.history.History`."""

    def recent(self, limit: int) -> list[Record]:
        """The newest so many, the oldest of them first; 0 means all."""


def page(kept: list[Record], skip: int, limit: int) -> list[Record]:
    """The newest so many but for the newest `skip`, the oldest first; limit 0: as many as there may be."""
    end = max(len(kept) - skip, 0)
    most = min(limit or MOST_AT_ONCE, MOST_AT_ONCE)
    return kept[max(end - most, 0) : end]


def record(shown: Record) -> Properties:
    """One record, as GetHistory and the signal Decided show it."""
    generation, seq = shown.heard
    return {
        "Node": ("s", shown.node),
        "Life": ("u", shown.life),
        "Number": ("u", shown.number),
        "Under": ("u", shown.under),
        "Decision": ("s", shown.decision.value),
        "Group": ("s", shown.group),
        "Peer": ("s", shown.peer),
        "Transition": ("u", shown.transition),
        "Cause": ("s", shown.cause),
        "Action": ("s", shown.action),
        "Result": ("s", shown.result),
        "TookMs": ("t", shown.took_ms),
        "Evidence": ("a(ssxs)", [_evidence(each) for each in shown.evidence]),
        "Steps": ("a(ts)", [_step(step) for step in shown.steps]),
        "AtMs": ("t", shown.at_ms),
        "Boot": ("s", shown.boot),
        "WallTime": ("t", shown.wall_s),
        "Generation": ("u", shown.generation),
        "Seq": ("t", shown.seq),
        "HeardGeneration": ("u", generation),
        "HeardSeq": ("t", seq),
    }


def retold(told: Retold) -> list[Properties]:
    """The other node's records; those of the boot in which it is tell when that was by this node's clock."""
    shown = []
    for each in told.records:
        properties = record(each)
        if each.boot == told.boot:
            properties["LocalMs"] = ("x", each.at_ms + told.behind_ms)
        shown.append(properties)
    return shown


def _evidence(shown: Evidence) -> list[str | int]:
    return [shown.node, shown.link, -1 if shown.ago_ms is None else shown.ago_ms, shown.text]


def _step(shown: Step) -> list[str | int]:
    return [shown.after_ms, shown.text]


def explanation(shown: Explanation) -> list[Properties]:
    """What Why adds to the states of the group and its resources."""
    return [
        *(_sentence("because", text) for text in shown.because),
        *(_sentence("would-move", text) for text in shown.would_move),
        *(_known(each) for each in shown.evidence),
    ]


def _sentence(what: str, text: str) -> Properties:
    return {"What": ("s", what), "Reason": ("s", text)}


def _known(shown: Evidence) -> Properties:
    node, link, ago_ms, text = _evidence(shown)
    return {
        "What": ("s", "evidence"),
        "Node": ("s", node),
        "Link": ("s", link),
        "AgoMs": ("x", ago_ms),
        "Reason": ("s", text),
    }
