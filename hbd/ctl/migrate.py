"""`hbctl migrate --check`: heartbeat 3.0.6's configuration on its way to hbd.

Gathers the files and what there is on the machine, and puts the parsers' errors
and what `differences` has to say into one list. Changes nothing, and asks no
daemon.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TypeVar

from hbd.config import load
from hbd.config.findings import Finding, Severity
from hbd.config.rootfs import inside
from hbd.config.units import UnitFiles
from hbd.ctl.differences import (
    MOVED,
    OLD_COMMAND,
    SHIPPED_RC_D,
    Kind,
    Machine,
    Remark,
    differences,
    directives,
    group_words,
    key_words,
)

READY, FIRST = 0, 1
_UUID_BYTES = 16

T = TypeVar("T")


def check(directory: Path, node: str, root: Path = Path("/")) -> list[Remark]:
    """Everything to be said, by place. Units and the old state are looked for below root."""
    findings, _ = load.check(directory, node, unit_root=root)
    refused = {finding.place for finding in findings if finding.severity is Severity.ERROR}
    remarks = differences(
        _words(directory / "ha.cf", directives),
        _words(directory / "haresources", group_words),
        _words(directory / "authkeys", key_words),
        observe(directory, root),
        refused,
    )
    # What is said with its consequences need not be said twice.
    covered = {remark.place for remark in remarks} - refused
    remarks += [_remark(finding) for finding in findings if finding.place not in covered]
    return sorted(remarks, key=lambda remark: remark.place)


def status(remarks: Iterable[Remark]) -> int:
    """The exit status: 0 ready, 1 something has to be done first, 78 hbd would not start."""
    kinds = {remark.kind for remark in remarks}
    if Kind.ERROR in kinds:
        return os.EX_CONFIG
    return FIRST if Kind.ACTION in kinds else READY


def summary(remarks: Sequence[Remark]) -> str:
    """The last line."""
    errors = sum(remark.kind is Kind.ERROR for remark in remarks)
    actions = sum(remark.kind is Kind.ACTION for remark in remarks)
    if errors:
        return f"hbd would not start with these files: errors {errors}, to be done first {actions}"
    return f"not ready: to be done first {actions}" if actions else "ready"


def observe(directory: Path, root: Path) -> Machine:
    """What there is on the machine below root."""
    lookup = UnitFiles(root, directory / "resource.d")
    heartbeat, hbd = lookup.unit("heartbeat.service"), lookup.unit("hbd.service")
    old = root / "var/lib/heartbeat"
    return Machine(
        lookup=lookup,
        init_scripts=frozenset(name for name in _names(root / "etc/init.d") if _runs(root, name)),
        heartbeat_boot=heartbeat.boot if heartbeat else None,
        hbd_boot=hbd.boot if hbd else None,
        generation=_generation(_bytes(old / "hb_generation")),
        uuid=_uuid(_bytes(old / "hb_uuid")),
        hbd_uuid=_uuid(_bytes(root / "var/lib/hbd/uuid")),
        remembered=tuple(_first_words(_bytes(old / "hostcache"))),
        present=frozenset(path for path in MOVED if _exists(root, path) and not _is_ours(root, path)),
        own_rc_d=tuple(
            str(directory / "rc.d" / name)
            for name in _names(directory / "rc.d")
            if name not in SHIPPED_RC_D and os.access(directory / "rc.d" / name, os.X_OK)
        ),
    )


def _words(path: Path, split: Callable[[str, str], Iterable[T]]) -> list[T]:
    """Nothing of a file that cannot be read: the parsers have an error for it."""
    content = _bytes(path)
    return [] if content is None else list(split(content.decode("utf-8", "surrogateescape"), str(path)))


def _remark(finding: Finding) -> Remark:
    kind = Kind.ERROR if finding.severity is Severity.ERROR else Kind.NOTE
    return Remark(finding.place, kind, finding.text)


def _is_ours(root: Path, path: str) -> bool:
    """A link that ./install has laid in the place of an old command."""
    place = root / path.lstrip("/")
    return place.is_symlink() and os.readlink(place) == OLD_COMMAND


def _exists(root: Path, path: str) -> bool:
    there = inside(root, path)
    return there is not None and there.exists()


def _runs(root: Path, script: str) -> bool:
    path = inside(root, f"/etc/init.d/{script}")
    return path is not None and path.is_file() and os.access(path, os.X_OK)


def _names(directory: Path) -> list[str]:
    try:
        return sorted(os.listdir(directory))
    except OSError:
        return []


def _bytes(path: Path) -> bytes | None:
    """A regular file's content; None also where we may not look, e.g. as another user than root."""
    try:
        return path.read_bytes() if path.is_file() else None
    except OSError:
        return None


def _generation(content: bytes | None) -> int | None:
    text = (content or b"").strip()
    return int(text) if text.isdigit() else None


def _uuid(content: bytes | None) -> bytes | None:
    return content if content is not None and len(content) == _UUID_BYTES and any(content) else None


def _first_words(content: bytes | None) -> list[str]:
    lines = (content or b"").decode("utf-8", "replace").splitlines()
    return [line.split()[0] for line in lines if line.split()]
