"""hbctl on a terminal: colours, a screen that is shown anew, and progress. The only importer of rich.

Colours are those of the terminal's own sixteen which can be read on dark and on light ground, so no yellow,
blue or grey. NO_COLOR leaves bold type, TERM=dumb nothing.
"""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, TextIO

from hbd.ctl import story
from hbd.ctl.render import Line, Tone

if TYPE_CHECKING:
    from rich.console import Console
    from rich.text import Text

STYLES = {
    Tone.PLAIN: "",
    Tone.TITLE: "bold",
    Tone.HEAD: "bold",
    Tone.GOOD: "green",
    Tone.BAD: "bold red",
    Tone.WEAK: "magenta",
    Tone.FAINT: "",
}


def is_one(stream: TextIO) -> bool:
    """Whether a stream goes to a terminal that can do more than print."""
    return stream.isatty() and os.environ.get("TERM", "dumb") != "dumb"


def columns() -> int:
    """Of the terminal that standard output goes to."""
    return shutil.get_terminal_size().columns


def width_of_text() -> int:
    """For sentences: no wider than the terminal, nor than is easy to read."""
    return min(columns(), story.WIDTH) if is_one(sys.stdout) else story.WIDTH


def folded(text: str, indent: str = "    ") -> str:
    """Lines for standard output, each on as many as a terminal needs; a program gets them as they are."""
    if not is_one(sys.stdout):
        return text
    lines = [story.wrapped(line.lstrip(), columns(), _blanks(line), indent) for line in text.splitlines()]
    return "\n".join("\n".join(parts) for parts in lines)


def _blanks(line: str) -> str:
    return line[: len(line) - len(line.lstrip())]


class Screen:
    """Standard output as a terminal."""

    def __init__(self) -> None:
        self._console = _console(sys.stdout)

    @property
    def width(self) -> int:
        """In columns, as of now."""
        return self._console.width

    def show(self, lines: Sequence[Line]) -> None:
        """Below what is there."""
        self._console.print(_text(lines), soft_wrap=True)

    @contextmanager
    def replaced(self) -> Iterator[Callable[[Sequence[Line]], None]]:
        """The whole screen for one page after another: what shows them. At the end it is as it was."""
        from rich.live import Live

        with Live(console=self._console, screen=True, auto_refresh=False) as live:
            yield lambda lines: live.update(_text(lines), refresh=True)


@contextmanager
def progress(text: str) -> Iterator[Callable[[str], None]]:
    """A line on standard error, with the time, while something is waited for: what changes its text.

    Nothing where that is no terminal.
    """
    if not is_one(sys.stderr):
        yield lambda text: None
        return
    from rich import progress as bars

    console = _console(sys.stderr)
    columns = (
        bars.SpinnerColumn("dots" if "utf" in console.encoding else "line", style=""),
        bars.TextColumn("{task.description}", style="", markup=False),
        bars.TimeElapsedColumn(),
    )
    with bars.Progress(*columns, console=console, transient=True) as line:
        task = line.add_task(text)
        yield lambda text: line.update(task, description=text)


def _console(stream: TextIO) -> Console:
    from rich.console import Console

    return Console(file=stream, highlight=False, markup=False, emoji=False)


def _text(lines: Sequence[Line]) -> Text:
    from rich.text import Text

    text = Text(no_wrap=True, overflow="ignore")
    for number, line in enumerate(lines):
        text.append("\n" if number else "")
        for word, tone in line:
            text.append(word, STYLES[tone])
    return text
