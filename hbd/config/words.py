"""Lines into words that know path, line and column.

White space is space, tab, CR and FF, so CRLF files read as others do. Only LF
ends a line: str.splitlines() would also split at characters that 3.0.6 takes
as text. Columns count characters from 1; a tab is one.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from hbd.config.findings import Findings, Word
from hbd.config.model import Place

LINE_BYTES = 5119
"""The longest line 3.0.6 reads whole; it silently makes two of a longer one."""

_BLANKS = " \t\r\f"
_WORD = re.compile(r"[^ \t\r\f]+")
_VALUE = re.compile(r"[^ \t\r\f,]+")


def lines(text: str, path: str, found: Findings) -> Iterator[Word]:
    """Every line as a Word at column 1, the line end not included."""
    for number, content in enumerate(text.split("\n"), start=1):
        line = Word(content, Place(path, number, 1))
        if "\0" in content:
            found.error(line.part(content.index("\0")), "a NUL byte; this is not a text file")
        if len(content.encode("utf-8", "surrogateescape")) > LINE_BYTES:
            found.warning(line, f"longer than {LINE_BYTES} bytes; heartbeat 3.0.6 would read it as two lines")
        yield line


def without_comment(line: Word) -> Word:
    """The line up to its first `#`, which 3.0.6 honours even inside a word."""
    return line.part(0, line.text.find("#")) if "#" in line.text else line


def words(line: Word) -> list[Word]:
    """What white space separates."""
    return [line.part(match.start(), match.end()) for match in _WORD.finditer(line.text)]


def values(line: Word) -> list[Word]:
    """What white space or commas separate."""
    return [line.part(match.start(), match.end()) for match in _VALUE.finditer(line.text)]


def stripped(line: Word) -> Word:
    """The line without white space around it."""
    start = len(line.text) - len(line.text.lstrip(_BLANKS))
    return line.part(start, max(start, len(line.text.rstrip(_BLANKS))))
