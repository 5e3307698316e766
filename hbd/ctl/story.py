"""Records of decisions and explanations as text and JSON. Pure.

A record is what GetHistory gives: names of the contract to plain values. A *story* is a record that belongs
to no other, with those that follow from it, in the order in which they were decided.
"""

from __future__ import annotations

import json
import textwrap
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from hbd.ctl.snapshot import Group, snake_case

Told = Mapping[str, Any]
Life = tuple[str, int]
Story = tuple[Told, ...]
"""The head first."""

WIDTH = 100
"""Of text that no terminal limits; longer lines are hard to read."""
MOST_RECORDS = 1000
"""Taken from the other node, which keeps half of that: whoever tells without end is broken."""

_TITLES = {
    "start": "hbd begins",
    "declared dead": "{Peer} is declared dead",
    "left": "{Peer} has left",
    "standby": "standby",
    "takeover": "takeover",
    "failback": "failback to {Peer}",
    "ipfail": "ipfail moves everything to {Peer}",
    "refuse": "refused",
    "addresses off": "addresses off until {Peer} has answered",
    "shutdown": "hbd is stopped",
    "take": "takes {Group}",
    "keep": "keeps {Group}, which runs",
    "restore": "restores {Group}",
    "release": "releases {Group}",
    "give way": "gives way with {Group}",
    "insist": "keeps {Group}, which {Peer} has too",
    "give up": "gives {Group} up",
    "freeze": "the cluster is frozen",
    "thaw": "the cluster is thawed",
    "blocked": "{Group} is blocked",
}


def title(record: Told) -> str:
    """What was decided, in a few words."""
    decision = str(record["Decision"])
    return _TITLES.get(decision, decision).format_map(record)


def stories(records: Iterable[Told]) -> list[Story]:
    """Records of one node with those that follow from them, the oldest story first.

    The node keeps its lives in their order, and numbers what it decides in each. No clock is asked: dates are
    shown, and whoever sets the clock back must not shuffle the night.
    """
    records = list(records)
    lives = {life: place for place, life in reversed(list(enumerate(map(_life, records))))}
    heads: dict[tuple[Life, int], list[Told]] = {}
    for record in sorted(records, key=lambda record: (lives[_life(record)], record["Number"])):
        life = _life(record)
        above = heads.get((life, record["Under"]))
        if above is None:
            heads[life, record["Number"]] = [record]
        else:
            above.append(record)
    return [tuple(told) for told in heads.values()]


def suffice(records: Sequence[Told], most: int) -> bool:
    """Whether these are enough for so many stories, the first of which may lack its beginning; or more than
    any node keeps."""
    return len(records) >= MOST_RECORDS or len(stories(records)) > most + 1


def _life(record: Told) -> Life:
    return record["Node"], record["Life"]


# ---------------------------------------------------------------- history


def as_json(records: Sequence[Told], **more: Any) -> str:
    """`hbctl history --json`."""
    shown = [{snake_case(name): value for name, value in record.items()} for record in records]
    for record in shown:
        record["evidence"] = [
            {"node": node, "link": link, "ago_ms": None if ago_ms < 0 else ago_ms, "text": text}
            for node, link, ago_ms, text in record["evidence"]
        ]
        record["steps"] = [{"after_ms": after_ms, "text": text} for after_ms, text in record["steps"]]
    return json.dumps({**more, "records": shown}, indent=2, ensure_ascii=False)


def as_text(told: Sequence[Story], width: int = WIDTH) -> str:
    """`hbctl history`: each story with its time line."""
    return "\n\n".join("\n".join(_lines(story, width)) for story in told) or "Nothing was decided yet."


def _lines(story: Story, width: int) -> list[str]:
    head = story[0]
    moment = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(head["WallTime"]))
    lines = [f"{moment}  {head['Node']}: {title(head)}"]
    lines += _labelled("because", head["Cause"], width)
    for number, text in enumerate(_evidence(head)):
        lines += _labelled("known" if number == 0 else "", text, width)
    lines += _labelled("does", head["Action"], width)
    for ms, text in _timeline(story):
        lines += wrapped(text.lstrip(), width, f"  {ms:>7} ms  {_indent(text)}", " " * 14 + _indent(text))
    lines += _labelled("result", outcome(head), width)
    return lines


def _labelled(label: str, text: str, width: int) -> list[str]:
    return wrapped(text, width, f"  {label:<10}  ", " " * 14)


def wrapped(text: str, width: int, first: str = "", others: str = "") -> list[str]:
    """A sentence on as many lines as it needs; a word that is too long for one is left whole."""
    return textwrap.wrap(
        text, width, initial_indent=first, subsequent_indent=others,
        break_long_words=False, break_on_hyphens=False,
    )  # fmt: skip


def _indent(text: str) -> str:
    return " " * (len(text) - len(text.lstrip()))


def _evidence(record: Told) -> list[str]:
    return [evidence(node, link, ago_ms, text) for node, link, ago_ms, text in record["Evidence"]]


def evidence(node: str, link: str, ago_ms: int, text: str) -> str:
    """`linuxha2 on eth1: link is dead (2003 ms before)`."""
    where = f"{node} on {link}" if link else node
    return f"{where}: {text}" + (f" ({ago_ms} ms before)" if ago_ms >= 0 else "")


def outcome(record: Told) -> str:
    """The result, and how long it took."""
    if not record["Result"]:
        return "still under way"
    return f"{record['Result']}, after {record['TookMs']} ms" if record["TookMs"] else str(record["Result"])


def _timeline(story: Story) -> list[tuple[int, str]]:
    """What was done, in milliseconds since the head's decision."""
    head = story[0]
    line: list[tuple[int, int, str]] = [(ms, 1, text) for ms, text in head["Steps"]]
    for record in story[1:]:
        begun_ms = record["AtMs"] - head["AtMs"]
        line.append((begun_ms, 0, f"{title(record)}: {record['Cause']}"))
        line += [(begun_ms + ms, 1, f"  {text}") for ms, text in record["Steps"]]
        if record["Result"]:
            line.append((begun_ms + record["TookMs"], 2, f"{record['Group']}: {record['Result']}"))
    return [(ms, text) for ms, _, text in sorted(line, key=lambda entry: entry[0])]


# ---------------------------------------------------------------- events


def event(record: Told) -> str:
    """One line for a decision, or for its result."""
    if not record["Result"]:
        return f"{title(record)}, because: {record['Cause']}"
    if not record["TookMs"]:
        return f"{title(record)}, because: {record['Cause']}; {record['Result']}"
    return f"{title(record)}: {outcome(record)}"


# ---------------------------------------------------------------- why


def find(groups: Sequence[Group], wanted: str) -> Group | None:
    """The group that is meant: by its name, by any of its resources as written, by an address or a unit."""
    for same in (_is_name, _is_resource):
        for group in groups:
            if same(group, wanted):
                return group
    return None


def _is_name(group: Group, wanted: str) -> bool:
    return group.name == wanted


def _is_resource(group: Group, wanted: str) -> bool:
    for resource in group.resources:
        known = {resource.name, resource.unit, resource.unit.removesuffix(".service")}
        if resource.kind == "address":
            known |= {part for word in resource.name.split("::") for part in (word, word.split("/")[0])}
        if wanted in known - {""}:
            return True
    return False


def why(entries: Sequence[Told], records: Sequence[Told], here: str, width: int = WIDTH) -> str:
    """`hbctl why`: the answer of Group.Why, and what was decided last about the group."""
    group, *others = entries
    owner = f"on {group['Owner']}" if group["Owner"] else "on no node"
    first = f"{group['Name']} is {group['State']} {owner}. Its home is {group['PreferredNode']}."
    lines = wrapped(first, width)
    lines += _of("because", others, lambda entry: str(entry["Reason"]), width)
    last = _latest(records, group["Name"])
    if last is not None:
        moment = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(last["WallTime"]))
        text = f"{moment}: {title(last)}, because {last['Cause']}. Result: {outcome(last)}."
        lines += ["", f"Last decided by {here}:", *_bullet(text, width)]
        head = next((r for r in records if _same(r, last, last["Under"])), None)
        if head is not None:
            lines += _bullet(f"It followed from this: {title(head)}, because {head['Cause']}.", width)
        for text in _evidence(last):
            lines += wrapped(text, width, " " * 4, " " * 6)
    move = _of("would-move", others, lambda entry: str(entry["Reason"]), width)
    if move:
        lines += ["", "What would move it:", *move]
    known = _of("evidence", others, _known, width)
    if known:
        lines += ["", "Known of the other node:", *known]
    rows = [entry for entry in others if entry["What"] == "resource"]
    lines += ["", "Resources, as this node sees them:"]
    for entry in rows:
        reason = f" ({entry['Reason']})" if entry["Reason"] else ""
        lines += _bullet(f"{entry['Name']}: {entry['State']}{reason}", width)
    return "\n".join(lines)


def _known(entry: Told) -> str:
    text = evidence(entry["Node"], entry["Link"], entry["AgoMs"], entry["Reason"])
    return text.replace(" before)", " ago)")


def _same(record: Told, other: Told, number: int) -> bool:
    """The record with this number in the same life as the other."""
    return (record["Node"], record["Life"], record["Number"]) == (other["Node"], other["Life"], number)


def _of(what: str, entries: Sequence[Told], text: Callable[[Told], str], width: int) -> list[str]:
    return [line for entry in entries if entry["What"] == what for line in _bullet(text(entry), width)]


def _bullet(text: str, width: int) -> list[str]:
    return wrapped(text, width, "  ", "    ")


def _latest(records: Sequence[Told], group: str) -> Told | None:
    """The last decision about the group."""
    return next((record for record in reversed(records) if record["Group"] == group), None)
