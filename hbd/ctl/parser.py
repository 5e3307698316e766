"""What a command line is made of, and the argparse parser made from it.

`commands.py` holds hbctl's table. The parser, the manual page and the completions of the shells
come from that table, so they cannot contradict one another; the latter two are made by
`python -m tests.generated`.

Texts are paragraphs parted by an empty line. `literal` and *placeholder* are marked as here; a
paragraph whose lines begin with `- ` is a list of `- term: text`; an indented one is an example.
On a terminal the marks are taken off.
"""

from __future__ import annotations

import argparse
import re
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NoReturn

from hbd import __version__

MARKS = re.compile(r"`([^`]+)`|\*([^*\s][^*]*)\*")
"""Group 1 is a literal, group 2 a placeholder."""


@dataclass(frozen=True, slots=True)
class Argument:
    """One argument of a verb: `settings` are those of argparse's add_argument."""

    names: tuple[str, ...]
    text: str
    completed_by: str
    """`group`, `node`, `directory`, or nothing: what a shell offers here."""
    settings: dict[str, Any]


def argument(*names: str, text: str, completed_by: str = "", **settings: Any) -> Argument:
    """An option, or a positional argument if the only name has no dash."""
    return Argument(names, text, completed_by, settings)


@dataclass(frozen=True, slots=True)
class Verb:
    """One command of hbctl."""

    name: str
    summary: str
    """A few words for the list of commands; small letter, no full stop."""
    about: str = ""
    """What the manual says of it."""
    arguments: tuple[Argument, ...] = ()
    exits: tuple[tuple[int, str], ...] = ()
    """Exit statuses, where they mean something of its own: sentences without a full stop."""
    hidden: bool = False
    """For the shells' completions, and in no list."""


@dataclass(frozen=True, slots=True)
class Section:
    """One more section of the manual page: terms with texts, or a text alone."""

    title: str
    text: str = ""
    entries: tuple[tuple[str, str], ...] = ()


class Formatter(argparse.HelpFormatter):
    """Keeps paragraphs, lists and examples apart, and the commands in one column."""

    def add_argument(self, action: argparse.Action) -> None:
        super().add_argument(action)
        # argparse measures commands without the indentation under their heading.
        self._action_max_length += 2 if isinstance(action, argparse._SubParsersAction) else 0

    def _format_action(self, action: argparse.Action) -> str:
        if not isinstance(action, argparse._SubParsersAction):
            return super()._format_action(action)
        return "".join(self._format_action(one) for one in self._iter_indented_subactions(action))

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        return "\n\n".join(_fill(paragraph, width, indent) for paragraph in paragraphs(plain(text)))


class Parser(argparse.ArgumentParser):
    """argparse's, with a way to the manual."""

    def error(self, message: str) -> NoReturn:
        self.print_usage()
        self.exit(2, f"{self.prog}: {message}; see {self.prog} --help\n")

    def print_usage(self, file: Any = None) -> None:
        """On standard error, where argparse has it."""
        import sys

        super().print_usage(file or sys.stderr)


def build(
    prog: str, about: str, verbs: Sequence[Verb], exits: Sequence[tuple[int, str]]
) -> argparse.ArgumentParser:
    """The parser of a program with verbs; `verb` is the name of the one that was chosen."""
    parser = Parser(prog, description=about, epilog=_exit_text(exits), formatter_class=Formatter)
    version = f"{prog} {__version__}"
    parser.add_argument("--version", action="version", version=version, help="tell the version")
    commands = parser.add_subparsers(dest="verb", required=True, metavar="COMMAND", title="commands")
    for verb in verbs:
        shown: dict[str, Any] = {} if verb.hidden else {"help": plain(verb.summary)}
        one = commands.add_parser(
            verb.name,
            description=verb.about or None,
            epilog=_exit_text(verb.exits),
            formatter_class=Formatter,
            **shown,
        )
        for each in verb.arguments:
            action = one.add_argument(*each.names, help=plain(each.text).replace("%", "%%"), **each.settings)
            if each.completed_by:
                action.completed_by = each.completed_by  # type: ignore[attr-defined]
    return parser


def paragraphs(text: str) -> list[str]:
    """The paragraphs of a text; without the line ends within them, unless they are a list or an example."""
    parts = (part.strip("\n") for part in re.split(r"\n\s*\n", textwrap.dedent(text)))
    return [part if _has_lines(part) else " ".join(part.split()) for part in parts if part]


def items(paragraph: str) -> list[tuple[str, str]] | None:
    """The terms and texts of a list; None if the paragraph is none."""
    if not paragraph.startswith("- "):
        return None
    entries = (" ".join(entry.split()) for entry in re.split(r"\n?^- ", paragraph, flags=re.MULTILINE)[1:])
    return [(term, text) for term, _, text in (entry.partition(": ") for entry in entries)]


def is_example(paragraph: str) -> bool:
    """Whether it is to be shown as it is."""
    return paragraph.startswith("    ")


def plain(text: str) -> str:
    """Without the marks."""
    return MARKS.sub(lambda found: found[1] or found[2], text)


def _has_lines(paragraph: str) -> bool:
    return paragraph.startswith("- ") or is_example(paragraph)


def _fill(paragraph: str, width: int, indent: str) -> str:
    entries = items(paragraph)
    if entries is not None:
        lines = (f"{term}: {text}" if text else term for term, text in entries)
        return "\n".join(_wrap(line, width, f"{indent}- ", f"{indent}  ") for line in lines)
    if is_example(paragraph):
        return textwrap.indent(paragraph, indent)
    return _wrap(paragraph, width, indent, indent)


def _wrap(text: str, width: int, first: str, others: str) -> str:
    return textwrap.fill(
        text,
        width,
        initial_indent=first,
        subsequent_indent=others,
        break_on_hyphens=False,
        break_long_words=False,
    )


def _exit_text(exits: Sequence[tuple[int, str]]) -> str | None:
    if not exits:
        return None
    return "Exit status:\n\n" + "\n".join(f"- {code}: {text}" for code, text in exits)
