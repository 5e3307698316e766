"""Single values of ha.cf and hbd.cf: times, numbers, booleans, names from a list.

Each function returns the value, or None after it has reported the error.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from decimal import ROUND_HALF_UP, Decimal

from hbd.config.findings import Findings, Word, suggestion

_DURATION = re.compile(r"(?P<number>[0-9]+\.?[0-9]*|\.[0-9]+)(?P<unit>(?:ms|us).*)?", re.IGNORECASE)
_MS_PER_UNIT = {"": Decimal(1000), "ms": Decimal(1), "us": Decimal("0.001")}
_LONGEST_NUMBER = 12  # digits; a time of 30,000 years is a slip of the pen

_TRUE = frozenset({"true", "on", "yes", "y", "1"})
_FALSE = frozenset({"false", "off", "no", "n", "0"})


def parse_duration(word: Word, found: Findings) -> int | None:
    """Milliseconds in '2', '0.5' or '500ms'; a bare number is seconds (3.0.6 knows no '2s').

    Only the first two letters of the unit count, in either case, and the result
    is rounded to the nearest millisecond, as in 3.0.6.
    """
    match = _DURATION.fullmatch(word.text)
    if match is None:
        found.error(word, f"'{word.text}' is not a duration; write 2, 0.5 or 500ms")
        return None
    if len(match["number"].partition(".")[0]) > _LONGEST_NUMBER:
        found.error(word, f"'{word.text}' is too long a duration")
        return None
    unit = (match["unit"] or "")[:2].lower()
    milliseconds = Decimal(match["number"][:60]) * _MS_PER_UNIT[unit]
    return int(milliseconds.quantize(Decimal(1), rounding=ROUND_HALF_UP))


def parse_number(word: Word, low: int, high: int | None, found: Findings) -> int | None:
    """A decimal number from low to high; high None is no limit."""
    if re.fullmatch(r"-?[0-9]{1,12}", word.text) is None:
        found.error(word, f"'{word.text}' is not a number")
        return None
    number = int(word.text)
    if number < low or (high is not None and number > high):
        bounds = f"at least {low}" if high is None else f"from {low} to {high}"
        found.error(word, f"{number} is out of range; it must be {bounds}")
        return None
    return number


def parse_boolean(word: Word, found: Findings) -> bool | None:
    """`true on yes y 1` or `false off no n 0`, in either case."""
    value = boolean(word.text)
    if value is None:
        found.error(word, f"'{word.text}' is not a boolean; write on or off")
    return value


def boolean(text: str) -> bool | None:
    """The truth of a 3.0.6 boolean word, None if it is none."""
    lower = text.lower()
    if lower in _TRUE:
        return True
    return False if lower in _FALSE else None


def parse_choice(word: Word, choices: Sequence[str], found: Findings) -> str | None:
    """One of the choices, spelt exactly so."""
    if word.text in choices:
        return word.text
    found.error(word, f"'{word.text}' is not one of {', '.join(choices)}{suggestion(word.text, choices)}")
    return None


def is_interface_name(text: str) -> bool:
    """Whether Linux could have an interface of that name (dev_valid_name: 1 to 15 bytes, no `/`)."""
    size = len(text.encode("utf-8", "surrogateescape"))
    return 0 < size <= 15 and text not in (".", "..") and not set(text) & set("/: \t")
