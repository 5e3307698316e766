"""Two nodes' stories in one order, without trust in either's clock. Pure.

Each record names the newest message that its node had sent before it, and the newest report of the other node
that it knew. One that knew more than the other had said then is the later of the two: these are the bounds
within which a story of the other node may stand among ours. Within them its place is by time since boot,
which no operator sets; how far apart the two clocks are is measured by the message that brought the records
(`LocalMs`), and for earlier boots estimated by the bounds themselves.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from itertools import accumulate

from hbd.ctl.story import Story, Told

Boots = tuple[str, str]
"""One of ours, one of the other node's."""


def merged(ours: Sequence[Story], theirs: Sequence[Story]) -> list[Story]:
    """All stories in one order; each node's own is kept."""
    heads, others = [story[0] for story in ours], [story[0] for story in theirs]
    low = list(accumulate((_first_place(heads, other) for other in others), max))
    high = list(accumulate((_last_place(heads, other) for other in reversed(others)), min))[::-1]
    behind = _clocks(heads, others)
    shown: list[Story] = []
    place = 0
    for number, story in enumerate(theirs):
        wanted = _place_by_time(heads, others[number], behind)
        at = max(place, low[number], min(high[number], low[number] if wanted is None else wanted))
        shown += [*ours[place:at], story]
        place = at
    return [*shown, *ours[place:]]


def is_before(record: Told, other: Told) -> bool:
    """Whether the other one's node had heard something that was said after the record."""
    return (record["Generation"], record["Seq"]) < (other["HeardGeneration"], other["HeardSeq"])


def _first_place(heads: Sequence[Told], other: Told) -> int:
    """Behind the last of ours that is known to be before it."""
    return next((n for n in range(len(heads), 0, -1) if is_before(heads[n - 1], other)), 0)


def _last_place(heads: Sequence[Told], other: Told) -> int:
    """Before the first of ours that is known to be after it."""
    return next((n for n, head in enumerate(heads) if is_before(other, head)), len(heads))


# ---------------------------------------------------------------- clocks


def _clocks(heads: Sequence[Told], others: Sequence[Told]) -> dict[Boots, int]:
    """For boots that knew of each other: our clock less theirs, in milliseconds."""
    least: dict[Boots, int] = {}
    most: dict[Boots, int] = {}
    for other in others:
        for head in heads:
            boots, behind = (head["Boot"], other["Boot"]), head["AtMs"] - other["AtMs"]
            if is_before(head, other):
                least[boots] = max(behind, least.get(boots, behind))
            elif is_before(other, head):
                most[boots] = min(behind, most.get(boots, behind))
    found = {
        boots: (least.get(boots, most.get(boots, 0)) + most.get(boots, least.get(boots, 0))) // 2
        for boots in {**least, **most}
    }
    if heads:
        now = heads[-1]["Boot"]
        found |= {(now, o["Boot"]): o["LocalMs"] - o["AtMs"] for o in others if "LocalMs" in o}
    return found


def _place_by_time(heads: Sequence[Told], other: Told, behind: dict[Boots, int]) -> int | None:
    """Behind the last of ours that was decided earlier, by the newest clock that tells; None if none does."""
    for boot in dict.fromkeys(head["Boot"] for head in reversed(heads)):
        if (boot, other["Boot"]) not in behind:
            continue
        at_ms = other["AtMs"] + behind[boot, other["Boot"]]
        numbers = [n for n, head in enumerate(heads) if head["Boot"] == boot]
        return numbers[0] + bisect_right([heads[n]["AtMs"] for n in numbers], at_ms)
    return None


def by_our_clock(stories: Sequence[Story], ours: Told) -> list[Story]:
    """The heads with the wall time at which this node's clock would have stood, as far as that is known.

    `ours`: a record of the present boot of this node.
    """
    began_s = ours["WallTime"] - ours["AtMs"] / 1000
    return [
        ({**story[0], "WallTime": int(began_s + story[0]["LocalMs"] / 1000)}, *story[1:])
        if "LocalMs" in story[0]
        else story
        for story in stories
    ]
