"""The table of docs/the-guides-log.md, read: what hbd logs where heartbeat logged something else."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

_TABLE = Path(__file__).parents[2] / "docs" / "the-guides-log.md"
_ROW = re.compile(
    r"\| `(?P<heartbeat>[^`]+)`(?: \(\d times\))? \| (?P<hbd>same|gone|`[^`]+`) \|\s*(?P<place>\w*)\s*\|"
)
_PLACEHOLDERS = {"N": r"\d+", "VERSION": r"[\w.]+"}


class Place(Enum):
    """Where hbd's line stands, compared with its row."""

    HERE = ""
    LATER = "later"
    ANY = "any"


@dataclass(frozen=True, slots=True)
class Row:
    """One line of heartbeat's log."""

    heartbeat: str
    hbd: str | None
    """hbd's text for it; None where there is none."""
    place: Place

    @property
    def pattern(self) -> str:
        """A regex for the whole of hbd's text."""
        assert self.hbd is not None
        parts = re.split(r"\b(N|VERSION)\b", self.hbd)
        return "".join(_PLACEHOLDERS.get(part) or re.escape(part) for part in parts)


def rows() -> list[Row]:
    """All of them, in order."""
    return list(_read(_TABLE.read_text().splitlines()))


def _read(lines: Sequence[str]) -> Iterator[Row]:
    for line in lines[lines.index("|---|---|---|---|") + 1 :]:
        if not line:
            return
        row = _ROW.match(line)
        assert row is not None, f"not a row: {line}"
        text = {"same": row["heartbeat"], "gone": None}.get(row["hbd"], row["hbd"].strip("`"))
        yield Row(row["heartbeat"], text, Place(row["place"]))


def missing(said: Sequence[str], table: Sequence[Row]) -> list[str]:
    """hbd's texts of the table that were not logged, or not where they should have been."""
    found: list[str] = []
    reached = 0
    for row in table:
        if row.hbd is None:
            continue
        begin = 0 if row.place is Place.ANY else reached
        at = next((n for n in range(begin, len(said)) if re.fullmatch(row.pattern, said[n])), None)
        if at is None:
            found.append(row.hbd)
        elif row.place is Place.HERE:
            reached = at + 1
    return found
