"""A check's result as text and as JSON. Pure."""

from __future__ import annotations

import json
from itertools import groupby

from hbd.check.facts import Mark
from hbd.check.run import Result
from hbd.config.findings import Severity, shown

SIGNS = {Mark.GOOD: " ", Mark.PLAIN: "-", Mark.BAD: "!", Mark.UNKNOWN: "?"}


def as_text(result: Result) -> str:
    """First the findings, one a line; then the facts by section."""
    parts = ["\n".join(map(str, result.findings))]
    width = max((len(fact.name) for fact in result.facts), default=0)
    for section, facts in groupby(result.facts, key=lambda fact: fact.section):
        rows = [f"{SIGNS[one.mark]} {one.name.ljust(width)}  {one.text}" for one in facts]
        parts.append("\n".join([section.value, *(shown(row) for row in rows)]))
    return "\n\n".join(part for part in parts if part)


def as_json(result: Result) -> str:
    """Both, for programs."""
    return json.dumps(
        {
            "findings": [
                {
                    "path": finding.place.path,
                    "line": finding.place.line,
                    "column": finding.place.column,
                    "severity": finding.severity.value,
                    "text": shown(finding.text),
                }
                for finding in result.findings
            ],
            "facts": [
                {
                    "section": fact.section.name.lower(),
                    "name": fact.name,
                    "text": shown(fact.text),
                    "mark": fact.mark.value,
                }
                for fact in result.facts
            ],
        },
        indent=2,
        ensure_ascii=False,
    )


def summary(result: Result) -> str:
    """One line."""
    errors = sum(finding.severity is Severity.ERROR for finding in result.findings)
    warnings = len(result.findings) - errors
    if errors:
        return f"{_count(errors, 'error')}, {_count(warnings, 'warning')}: hbd would not start with this"
    return _count(warnings, "warning") if warnings else "nothing found"


def _count(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number or 'no'} {what}s"
