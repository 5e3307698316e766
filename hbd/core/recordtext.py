"""Records of decisions as JSON, a line for each: on disk, and told to the other node. Pure."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterable
from dataclasses import asdict
from typing import Any

from hbd.core.records import Decision, Evidence, Record, Step

LONGEST_TEXT = 2000
"""Characters of one text; other people's error messages may be of any length."""
UNREADABLE = (ValueError, TypeError, KeyError, AttributeError, OverflowError, RecursionError)
"""What JSON that is no record may raise: wrong names and types, no finite number, too many brackets."""

_UINT32, _INT53 = 2**32 - 1, 2**53 - 1
"""Numbers of the bus; and of whatever reads JSON, so that sums of times fit the bus, too."""

Name = tuple[int, int]


def encode(record: Record) -> bytes:
    """One line."""
    value = asdict(record) | {"decision": record.decision.value}
    for text in ("cause", "action", "result"):
        value[text] = value[text][:LONGEST_TEXT]
    for part in (*value["steps"], *value["evidence"]):
        part["text"] = part["text"][:LONGEST_TEXT]
    return json.dumps(value, separators=(",", ":")).encode() + b"\n"


def decode(lines: Iterable[bytes]) -> dict[Name, Record]:
    """By name, the first mention giving the order and the last one the content."""
    found: dict[Name, Record] = {}
    for line in lines:
        with contextlib.suppress(*UNREADABLE):
            record = _record(json.loads(line))
            found[record.name] = record
    return found


_TEXTS = ("node", "cause", "action", "group", "peer", "result", "boot")


def _record(value: dict[str, Any]) -> Record:
    """Raises what is UNREADABLE."""
    generation, seq = value.pop("heard")
    given: dict[str, Any] = {
        "decision": Decision(value.pop("decision")),
        "heard": (int(generation), int(seq)),
        "evidence": tuple(_evidence(**each) for each in value.pop("evidence")),
        "steps": tuple(Step(int(step["after_ms"]), str(step["text"])) for step in value.pop("steps")),
        **{name: str(value.pop(name)) for name in _TEXTS},
    }
    record = Record(**(given | {name: int(number) for name, number in value.items()}))
    if not _can_be_carried(record):
        raise ValueError("a number out of range")
    return record


def _can_be_carried(record: Record) -> bool:
    """Whether its numbers are such that a message, and D-Bus, can carry."""
    small = (
        record.life, record.number, record.generation, record.under, record.transition, record.heard[0],
    )  # fmt: skip
    large = (record.at_ms, record.wall_s, record.seq, record.took_ms, record.heard[1])
    times = [step.after_ms for step in record.steps]
    times += [each.ago_ms for each in record.evidence if each.ago_ms is not None]
    return all(0 <= number <= _UINT32 for number in small) and all(
        0 <= number <= _INT53 for number in (*large, *times)
    )


def _evidence(text: str, node: str, link: str, ago_ms: int | None) -> Evidence:
    return Evidence(str(text), str(node), str(link), None if ago_ms is None else int(ago_ms))
