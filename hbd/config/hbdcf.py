"""hbd.cf: what heartbeat 3.0.6 does not know, in the grammar of ha.cf.

It is a file of its own so that ha.cf stays valid for both daemons. It may be
missing.
"""

from __future__ import annotations

from collections.abc import Container
from dataclasses import dataclass, field
from pathlib import PurePosixPath

from hbd.config.directives import Directive, Draft, Takes, choice, duration, read, switch
from hbd.config.findings import Findings, Word, suggestion
from hbd.config.hacf import OUT_OF_REACH
from hbd.config.model import GroupSpec, Limits


@dataclass(slots=True)
class HbdCfDraft(Draft):
    """hbd.cf while it is read."""

    critical: list[Word] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class HbdCf:
    """hbd.cf, read; what it leaves out has its default. Meaningful only if no error was found."""

    limits: Limits = field(default_factory=Limits)
    critical: tuple[Word, ...] = ()
    """Groups, as they were written."""
    unfenced: bool = False
    """`fencing none`: run although ha.cf asks for fencing."""
    lease: bool = True
    """The kernel is to fall silent for our addresses when we are not heard of."""
    ipfail: bool | None = None
    """None: as ha.cf has it."""
    ipfail_said: Word | None = None
    """Where that stands."""
    metrics: str | None = None
    """The file for Prometheus."""

    def critical_keys(
        self, groups: tuple[GroupSpec, ...], watchdog: str | None, found: Findings
    ) -> tuple[str, ...]:
        """The keys of the critical groups; a name that is no group's is an error."""
        keys: list[str] = []
        if self.critical and watchdog is None:
            found.warning(self.critical[0], "critical has no effect without a watchdog line in ha.cf")
        for word in self.critical:
            group = next((one for one in groups if word.text in (one.name, one.key)), None)
            if group is None:
                hint = suggestion(word.text, [one.name for one in groups])
                found.error(word, f"no group of haresources begins with '{word.text}'{hint}")
            elif group.key not in keys:
                keys.append(group.key)
        return tuple(keys)


def _critical(draft: HbdCfDraft, name: str, word: Word) -> None:
    draft.critical.append(word)


def _metrics(draft: HbdCfDraft, name: str, word: Word) -> None:
    draft.texts.pop(name, None)
    if not word.text.startswith("/"):
        example = "/var/lib/prometheus/node-exporter/hbd.prom"
        draft.found.error(word, f"{name} needs an absolute path, as in {example}")
        return
    if PurePosixPath(word.text).name in ("", ".."):
        draft.found.error(word, f"{name} needs the name of a file, and {word.text} is none")
        return
    draft.texts[name] = word.text
    if word.text.startswith(OUT_OF_REACH):
        draft.found.warning(word, f"{word.text} is out of reach: hbd.service has ProtectHome=yes")
    elif not word.text.endswith(".prom"):
        draft.found.warning(word, "node_exporter reads only files whose names end in .prom")


ROWS: tuple[Directive[HbdCfDraft], ...] = (
    Directive("start-timeout", Takes.ONE, duration(minimum_ms=1), default="120"),
    Directive("stop-timeout", Takes.ONE, duration(minimum_ms=1), default="120"),
    Directive("probe-timeout", Takes.ONE, duration(minimum_ms=1), default="10"),
    Directive("fencing", Takes.ONE, choice("none")),
    Directive("critical", Takes.MANY, _critical),
    Directive("lease", Takes.ONE, switch, default="on"),
    Directive("ipfail", Takes.ONE, switch),
    Directive("metrics", Takes.LINE, _metrics),
)
TABLE = {row.name: row for row in ROWS}


def parse(text: str, path: str, found: Findings, ha_cf_names: Container[str] = ()) -> HbdCf:
    """What the file says; what it leaves out has its default."""

    def unknown(name: Word) -> str:
        if name.text in ha_cf_names:
            return f"{name.text} belongs in ha.cf; hbd.cf is for what only hbd knows"
        return f"Illegal directive [{name.text}]{suggestion(name.text, TABLE)}"

    draft = HbdCfDraft(path, found)
    read(text, draft, TABLE, unknown)
    limits = Limits()
    return HbdCf(
        limits=Limits(
            start_ms=draft.numbers.get("start-timeout", limits.start_ms),
            stop_ms=draft.numbers.get("stop-timeout", limits.stop_ms),
            probe_ms=draft.numbers.get("probe-timeout", limits.probe_ms),
        ),
        unfenced=draft.texts.get("fencing") == "none",
        critical=tuple(draft.critical),
        lease=draft.switches.get("lease", True),
        ipfail=draft.switches.get("ipfail"),
        ipfail_said=draft.said.get("ipfail"),
        metrics=draft.texts.get("metrics"),
    )
