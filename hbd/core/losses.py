"""How much of what a node says is lost on each of its links: which link is weak before it is dead.

Every message goes out on every link, so those that came on none and those that came only elsewhere are told
by the sender's numbers. They are counted in windows of WINDOW messages. A link is weak when it has lost
MANY or more in each of two windows, and well again after a window with fewer than FEW; a burst that a slow
serial line drops makes it neither. Decides nothing.
"""

from __future__ import annotations

from dataclasses import dataclass, field

WINDOW = 20
MANY = 3
FEW = 2


@dataclass(slots=True)
class _Line:
    """One link from one node."""

    newest: tuple[int, int]
    came: int = 0
    """In the window that is open."""
    void: bool = True
    """The open window began before the link came up: nothing follows from it."""
    lost: int = 0
    """In the last window that counted."""
    bad: bool = False
    """That one had MANY."""
    weak: bool = False


@dataclass(slots=True)
class _Sender:
    """One node."""

    generation: int
    first: int
    """Number of the last message before the window that is open."""
    lines: dict[str, _Line] = field(default_factory=dict)


class Losses:
    """Of all links from all nodes."""

    def __init__(self) -> None:
        self._senders: dict[str, _Sender] = {}

    def came(self, node: str, link: str, generation: int, seq: int, up: bool) -> None:
        """A message with a number came. `up`: it brought the link up."""
        sender = self._senders.get(node)
        if sender is None or generation > sender.generation:
            sender = self._senders[node] = _Sender(generation, seq - 1)
        if seq - sender.first > WINDOW:
            self._close(sender, seq - 1)
        line = sender.lines.get(link)
        if line is None or up:
            line = sender.lines[link] = _Line((generation, seq), came=1)
        elif (generation, seq) > line.newest:
            line.newest = (generation, seq)
            line.came += 1

    def lost(self, node: str, link: str) -> int:
        """Of the last WINDOW messages."""
        line = self._line(node, link)
        return 0 if line is None else line.lost

    def is_weak(self, node: str, link: str) -> bool:
        line = self._line(node, link)
        return line is not None and line.weak

    def _line(self, node: str, link: str) -> _Line | None:
        sender = self._senders.get(node)
        return None if sender is None else sender.lines.get(link)

    def _close(self, sender: _Sender, last: int) -> None:
        said = last - sender.first
        sender.first = last
        for line in sender.lines.values():
            if not line.void:
                self._judge(line, max(said - line.came, 0) * WINDOW // said)
            line.came, line.void = 0, False

    def _judge(self, line: _Line, lost: int) -> None:
        line.weak = lost >= FEW if line.weak else lost >= MANY and line.bad
        line.lost, line.bad = lost, lost >= MANY
