"""Where in the files something stands that a parsed configuration no longer knows the place of."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

from hbd.config.findings import Findings, Word
from hbd.config.model import Place
from hbd.config.words import lines, values, without_comment, words


class Places:
    """The words of ha.cf and haresources of one directory. Files that cannot be read have none."""

    def __init__(self, directory: Path) -> None:
        self._ha_cf = directory / "ha.cf"
        self._haresources = directory / "haresources"
        self._directives = list(_read(self._ha_cf, values))
        self._groups = list(_read(self._haresources, words))

    def value(self, directive: str, value: str) -> Place:
        """Where that value of the directive stands; else where the directive does, else the file's top."""
        rows = [row for row in self._directives if row[0].text == directive]
        for row in rows:
            for word in row[1:]:
                if word.text.lower() == value.lower():
                    return word.place
        return rows[-1][0].place if rows else Place(str(self._ha_cf), 1, 1)

    def directive(self, *names: str) -> Place:
        """Where the last of these directives stands, else the file's top."""
        rows = [row for row in self._directives if row[0].text in names]
        return rows[-1][0].place if rows else Place(str(self._ha_cf), 1, 1)

    def resource(self, name: str) -> Place:
        """Where that resource stands, else the top of haresources."""
        for row in self._groups:
            for word in row:
                if word.text == name:
                    return word.place
        return self.haresources

    @property
    def haresources(self) -> Place:
        """The top of the file."""
        return Place(str(self._haresources), 1, 1)


def _read(path: Path, split: Callable[[Word], list[Word]]) -> Iterator[list[Word]]:
    try:
        text = path.read_text(encoding="utf-8", errors="surrogateescape")
    except OSError:
        return
    for line in lines(text, str(path), Findings()):
        row = split(without_comment(line))
        if row:
            yield row
