"""haresources: groups of resources, each with its home node.

One logical line is one group. A line that ends in exactly `\\` goes on in the
next, with no blank put between. heartbeat 3.0.6 removes comments from the first
physical line only; hbd from every one, and warns where the two differ.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from hbd.config.findings import Findings, Word, node_suggestion
from hbd.config.lookup import Lookup
from hbd.config.model import GroupSpec, Place, ResourceSpec
from hbd.config.resources import parse_resource
from hbd.config.words import lines, without_comment

_WORD = re.compile(r"[^ \t\r\f]+")

REPORT_BYTES = 60_000
"""Every heartbeat carries the state of all groups in one UDP datagram of at most 65,507 bytes."""
STATE_BYTES = 24
"""What one group takes of it at the most, besides its key."""


@dataclass(frozen=True, slots=True)
class _Logical:
    """Physical lines put together; knows where each character came from."""

    pieces: tuple[Word, ...]

    def words(self) -> list[Word]:
        text = "".join(piece.text for piece in self.pieces)
        return [Word(match.group(), self._place(match.start())) for match in _WORD.finditer(text)]

    def _place(self, offset: int) -> Place:
        for piece in self.pieces:
            if offset < len(piece.text):
                return piece.part(offset).place
            offset -= len(piece.text)
        raise AssertionError("a word starts inside one of the pieces")


def parse(
    text: str,
    path: str,
    nodes: Sequence[str],
    ping_nodes: Sequence[str],
    lookup: Lookup,
    found: Findings,
) -> tuple[GroupSpec, ...]:
    """The groups in file order. With no nodes (ha.cf was wrong) home nodes are not judged."""
    groups: list[GroupSpec] = []
    seen: dict[str, Word] = {}
    room = REPORT_BYTES
    for given in logical_words(text, path, found):
        home, *names = given
        node = home.text.lower()
        if nodes and node not in nodes:
            _bad_node(home, path, nodes, ping_nodes, found)
        resources = _resources(names, lookup, seen, found)
        if not names:
            found.warning(home, f"{home.text} has no resource on this line, which is ignored")
        elif resources:
            groups.append(GroupSpec(names[0].text, node, resources))
            needed = len(groups[-1].key.encode()) + STATE_BYTES
            if room >= 0 > room - needed:
                found.error(home, f"too many groups: the state of {len(groups)} does not fit a heartbeat")
            room -= needed
    return tuple(groups)


def logical_words(text: str, path: str, found: Findings) -> Iterator[list[Word]]:
    """The words of each logical line that has any: the home node, then the resources."""
    return (given for logical in _logical_lines(text, path, found) if (given := logical.words()))


def _bad_node(
    home: Word, path: str, nodes: Sequence[str], ping_nodes: Sequence[str], found: Findings
) -> None:
    bad = f"Bad nodename in {path} [{home.text}]"
    name = home.text.lower()
    if name in ping_nodes:
        found.error(home, f"{bad}: a ping node holds no resources")
        return
    hint = node_suggestion(name, nodes) or f"; the nodes of ha.cf are {', '.join(nodes)}"
    found.error(home, bad + hint)


def _resources(
    names: Sequence[Word], lookup: Lookup, seen: dict[str, Word], found: Findings
) -> tuple[ResourceSpec, ...]:
    resources = []
    for word in names:
        resource = parse_resource(word, lookup, found)
        if resource is None:
            continue
        # By identity: the same address or unit under another spelling is the same thing twice.
        first = seen.setdefault(resource.identity, word)
        if first is not word:
            spelt = "" if word.text == resource.identity else f" ({word.text})"
            found.error(word, f"{resource.identity}{spelt} is already a resource at {first.place}")
            continue
        resources.append(resource)
    return tuple(resources)


def _logical_lines(text: str, path: str, found: Findings) -> Iterator[_Logical]:
    pieces: list[Word] = []
    carriage_return_warned = False
    for physical in lines(text, path, found):
        raw = physical
        if raw.text.endswith("\r"):
            raw = raw.part(0, len(raw.text) - 1)
            if not carriage_return_warned:
                found.warning(
                    raw.part(len(raw.text)), "CR LF line ends: 3.0.6 takes the CR for part of the last name"
                )
                carriage_return_warned = True
        line = without_comment(raw)
        if pieces and line is not raw:
            found.warning(
                raw.part(len(line.text)), "3.0.6 does not see this comment and takes its words for resources"
            )
        if line.text.endswith("\\"):
            pieces.append(line.part(0, len(line.text) - 1))
            continue
        pieces.append(_without_stray_backslash(line, found))
        yield _Logical(tuple(pieces))
        pieces = []
    if pieces:
        yield _Logical(tuple(pieces))


def _without_stray_backslash(line: Word, found: Findings) -> Word:
    match = re.search(r"(?:^|(?<=[ \t\f]))\\[ \t\f]+$", line.text)
    if match is None:
        return line
    found.warning(
        line.part(match.start()),
        "the \\ does not continue the line, as a blank follows; left out here, a resource of 3.0.6",
    )
    return line.part(0, match.start())
