"""Snapshots as text and JSON. Pure.

The text is for somebody who was woken up: first one sentence, then whether the other node could serve, then
what is wrong, then everything. A page is lines of words with their tones; what has no colours joins them.
"""

from __future__ import annotations

import json
import textwrap
import time
from collections.abc import Sequence
from dataclasses import asdict
from enum import Enum

from hbd.ctl.snapshot import Group, Link, Node, Resource, Snapshot

WELL = ("active", "ping")
"""Status of a node that does its part, and of a ping node that answers."""
FROZEN = "the cluster is frozen: nothing is started, stopped or moved until hbctl thaw"
HOLDS = {"none": "holds nothing", "all": "holds everything"}
RECENT = 20
"""`link_lost` is of so many messages (core.losses.WINDOW)."""


class Tone(Enum):
    """How a word is meant; a terminal has colours for it."""

    PLAIN = "plain"
    TITLE = "title"
    HEAD = "head"
    GOOD = "good"
    BAD = "bad"
    WEAK = "weak"
    """On its way, or to be looked at when there is time."""
    FAINT = "faint"


TONES = {
    **dict.fromkeys(("active", "ping", "up", "started", "yes"), Tone.GOOD),
    **dict.fromkeys(("dead", "failed", "blocked", "no"), Tone.BAD),
    **dict.fromkeys(("init", "starting", "stopping", "weak", "stopped"), Tone.WEAK),
}
"""Of the words for states."""

Word = tuple[str, Tone]
Line = tuple[Word, ...]
Row = tuple[str, ...]
"""The first cell is a name, the last a note."""

ABSENT: Line = (("hbd is not running", Tone.BAD),)


def as_json(shown: Snapshot, indent: int | None = 2) -> str:
    """`hbctl status --json`. Without the statistics: what changes with every datagram is no state."""
    picture = asdict(shown)
    del picture["statistics"], picture["read_at"]
    return json.dumps(picture, indent=indent, ensure_ascii=False)


def as_text(shown: Snapshot, width: int | None = None) -> str:
    """`hbctl status` without colours."""
    return "\n".join("".join(text for text, _ in line) for line in page(shown, width))


def as_of(wall_s: float) -> Line:
    """The last line of a page that is shown anew at each change."""
    return _line(f"As of {_clock(wall_s)}. Ctrl-C ends this.", Tone.FAINT)


def page(shown: Snapshot, width: int | None = None) -> list[Line]:
    """`hbctl status`: no line longer than `width`, if there is one and the words allow it."""
    parts: list[list[Line]] = [
        [
            *_wrapped(summary(shown), Tone.TITLE, "", width),
            *(line for text, well in successors(shown) for line in _wrapped(text, _tone(well), "", width)),
        ],
        [line for each in problems(shown) for line in _wrapped(each, Tone.BAD, "  ! ", width)],
        [line for each in remarks(shown) for line in _wrapped(each, Tone.WEAK, "  ~ ", width)],
        _table(_group_rows(shown.groups), width) if shown.groups else [_line("No resource groups.")],
        _table([("NODE", "STATUS", "HOLDS", ""), *(_node(node) for node in shown.nodes)], width),
        _table(_link_rows(shown), width) if shown.links else [],
    ]
    return _parted(parts)


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


def successors(shown: Snapshot) -> list[tuple[str, bool]]:
    """For each node that has something what it serves and who takes over; and whether somebody does."""
    members = [node for node in shown.nodes if node.kind == "normal"]
    differing = _differing(shown)
    sentences = []
    for owner in dict.fromkeys(group.owner for group in shown.groups if group.owner):
        held = [group for group in shown.groups if group.owner == owner]
        served = [_as_served(group) for group in held if _is_served(group) or _lacking(group)]
        text = f"{owner} serves {_listed(served)}." if served else (
            f"{owner} has {_listed([group.name for group in held])}, not served now."
        )  # fmt: skip
        others = [node for node in members if node.name != owner]
        able = [node.name for node in others if not node.obstacles]
        if able and differing:
            text += f" If it fails, {' or '.join(able)} takes over what the haresources there has of it."
        elif able:
            text += f" If it fails, {' or '.join(able)} takes over."
        elif others:
            causes = "; ".join(f"{node.name} {' and '.join(node.obstacles)}" for node in others)
            text += f" If it fails, nobody takes over: {causes}."
        sentences.append((text, (bool(able) and not differing) or not others))
    return sentences


def _differing(shown: Snapshot) -> list[str]:
    """Nodes that are known to have another haresources than this one."""
    return [node.name for node in shown.nodes if node.haresources == "different"]


def _listed(names: Sequence[str]) -> str:
    """Some of many."""
    more = f" and {len(names) - 3} more" if len(names) > 4 else ""
    return ", ".join(names[:3] if more else names) + more


def is_whole(shown: Snapshot) -> bool:
    """Whether everything is served, and would be if one node failed."""
    return not problems(shown) and all(someone for _, someone in successors(shown))


def problems(shown: Snapshot) -> list[str]:
    """What keeps the cluster from being whole, worst first; empty if nothing does."""
    return [
        *([FROZEN] if shown.cluster.frozen else []),
        *stuck(shown),
        *(f"haresources on {name} is another: nothing new is started" for name in _differing(shown)),
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


def remarks(shown: Snapshot) -> list[str]:
    """What does no harm yet: links that lose messages, and a stall that came near to a takeover."""
    lost = shown.figures("link_lost")
    weak = [
        f"link {_key(link)} is weak: it lost {lost.get(_key(link), 0)} of the last {RECENT} messages"
        for link in shown.links
        if link.weak
    ]
    return [*weak, *filter(None, [stall(shown)])]


def stall(shown: Snapshot) -> str:
    """When this node stood still for so long that it came near to being taken for dead; else nothing."""
    longest_ms, patience_ms = shown.figure("longest_stall_ms"), shown.figure("patience_ms")
    if 2 * longest_ms <= patience_ms or not longest_ms:
        return ""
    when = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(shown.figure("longest_stall_at")))
    return (
        f"this node once did not run for {longest_ms} ms, until {when}; "
        f"after {patience_ms} ms the other node may take over"
    )


def _is_peer(node: Node) -> bool:
    return node.kind == "normal" and not node.local


def _is_served(group: Group) -> bool:
    return group.state == "started" and bool(group.owner)


def _lacking(group: Group) -> list[str]:
    """What does not run, of a group that serves all the same: its addresses are there."""
    if not group.owner or group.state not in ("starting", "failed"):
        return []
    missing = [resource for resource in group.resources if resource.state != "started"]
    if len(missing) == len(group.resources) or any(resource.kind == "address" for resource in missing):
        return []
    return [resource.name for resource in missing]


def _as_served(group: Group) -> str:
    lacking = _lacking(group)
    return f"{group.name} without {_listed(lacking)}" if lacking else group.name


def _group_problem(group: Group) -> str:
    lacking = _listed(_lacking(group))
    if group.state == "starting" and lacking:
        return f"group {group.name} runs on {group.owner} without {lacking}; see hbctl why {group.name}"
    if group.state in ("failed", "blocked"):
        return f"group {group.name} is {group.state}; see hbctl why {group.name}"
    if not group.owner:
        return f"group {group.name} is held by nobody; see hbctl why {group.name}"
    return f"group {group.name} is {group.state} on {group.owner}"


def _resource_problem(resource: Resource) -> str:
    return f"resource {resource.name} is {resource.state}" + (
        f": {resource.last_error}" if resource.last_error else ""
    )


def _node(node: Node) -> Row:
    if node.kind == "ping":
        return node.name, node.status, "", "ping node"
    return node.name, node.status, node.holding, "this node" if node.local else ""


def _link_rows(shown: Snapshot) -> list[Row]:
    return [
        ("LINK", "MEDIUM", "STATUS", ""),
        *((_key(link), link.medium, _link_status(link), _link_note(shown, link)) for link in shown.links),
    ]


def _link_status(link: Link) -> str:
    return "weak" if link.weak and link.status == "up" else link.status


def _link_note(shown: Snapshot, link: Link) -> str:
    silent_ms = shown.figures("link_silent_ms").get(_key(link))
    lost, late = (shown.figures(name).get(_key(link), 0) for name in ("link_lost", "link_late"))
    notes = []
    if link.status == "dead" and silent_ms is not None:
        notes.append(f"last heard {_clock(shown.read_at - silent_ms / 1000)}")
    if lost > 1 and link.status == "up":
        notes.append(f"lost {lost} of the last {RECENT} messages")
    if late:
        times = "once" if late == 1 else f"{late} times"
        notes.append(f"{times} silent for more than warntime")
    return ", ".join(notes)


def _clock(wall_s: float) -> str:
    return time.strftime("%H:%M:%S", time.localtime(wall_s))


def _key(link: Link) -> str:
    return f"{link.node}:{link.name}"


def _group_rows(groups: Sequence[Group]) -> list[Row]:
    rows: list[Row] = [("GROUP", "STATE", "OWNER", "HOME")]
    for group in groups:
        rows.append((group.name, group.state, group.owner or "-", group.preferred_node))
        for one in group.resources:
            what = one.unit if one.kind == "unit" else one.kind
            rows.append((f"  {one.name}", one.state, what, one.last_error))
    return rows


# ---------------------------------------------------------------- lines


def _tone(well: bool) -> Tone:
    return Tone.GOOD if well else Tone.BAD


def _line(text: str, tone: Tone = Tone.PLAIN) -> Line:
    return ((text, tone),)


def _wrapped(text: str, tone: Tone, mark: str, width: int | None) -> list[Line]:
    """A sentence on as many lines as it needs; what follows the mark is aligned."""
    if width is None:
        return [_line(mark + text, tone)]
    return [_line(line, tone) for line in _wrap(text, width, mark, " " * len(mark))]


def _wrap(text: str, width: int, first: str, others: str) -> list[str]:
    return textwrap.wrap(
        text, width, initial_indent=first, subsequent_indent=others,
        break_long_words=False, break_on_hyphens=False,
    )  # fmt: skip


def _parted(parts: Sequence[list[Line]]) -> list[Line]:
    """The parts that are not empty, with an empty line between two."""
    lines: list[Line] = []
    for part in parts:
        if part:
            lines += [(), *part] if lines else part
    return lines


def _table(rows: Sequence[Row], width: int | None) -> list[Line]:
    """Columns as wide as their widest cell. The last is a note and may be of any width: one that does not
    fit stands below its row. Where not even the columns fit, each row has its name on a line of its own."""
    widths = [max(map(len, column)) for column in list(zip(*rows, strict=True))[:-1]]
    if width is not None and sum(widths) + 2 * len(widths) > width:
        return [line for row in rows for line in _stacked(row, row is rows[0], width)]
    lines: list[Line] = []
    for row in rows:
        heads = row is rows[0]
        words = [_word(cell.ljust(size), heads) for cell, size in zip(row, widths, strict=False)]
        note = row[-1]
        used = sum(widths) + 2 * len(widths)
        fits = width is None or used + len(note) <= width
        lines.append(_joined([*words, _word(note, heads)] if fits else words))
        if not fits:
            indent = " " * (_indent(row[0]) + 4)
            lines += [_line(text, Tone.FAINT) for text in _wrap(note, width or 0, indent, indent)]
    return lines


def _stacked(row: Row, heads: bool, width: int) -> list[Line]:
    if heads:
        return [_joined([_word(cell, heads) for cell in row if cell])]
    indent = " " * (_indent(row[0]) + 4)
    words = [_word(cell, False) for cell in row[1:] if cell.strip()]
    fits = len(indent) + sum(len(text) + 2 for text, _ in words) - 2 <= width
    rest = _joined(words if fits else [_word(cell, False) for cell in row[1:-1] if cell.strip()])
    lines: list[Line] = [_line(row[0]), ((indent, Tone.PLAIN), *rest)]
    note = "" if fits else row[-1]
    return lines + [_line(text, Tone.FAINT) for text in _wrap(note, width, indent, indent)]


def _indent(name: str) -> int:
    return len(name) - len(name.lstrip())


def _word(cell: str, heads: bool) -> Word:
    return cell, Tone.HEAD if heads else TONES.get(cell.strip(), Tone.PLAIN)


def _joined(words: Sequence[Word]) -> Line:
    """Two blanks between words, and none at the end."""
    kept = list(words)
    while kept and not kept[-1][0].strip():
        kept.pop()
    if not kept:
        return ()
    kept[-1] = (kept[-1][0].rstrip(), kept[-1][1])
    spaced = [part for word in kept for part in (("  ", Tone.PLAIN), word)]
    return tuple(spaced[1:])
