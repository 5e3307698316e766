"""Who may read and write the file with the keys. That others cannot read it the parser has seen to."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from hbd.check.facts import Known
from hbd.config.findings import Finding, Severity
from hbd.config.model import Key, Keys, Place

STAND_IN = Keys(1, (Key(1, "sha1", b"-"),))
"""For a check by somebody who may not read the real ones; nothing is signed with it."""


def are_hidden(path: Path) -> bool:
    """Whether the file is there, and this user, who is not root, may not read it."""
    return os.geteuid() != 0 and path.exists() and not os.access(path, os.R_OK)


def judge(path: Path, known: Known) -> None:
    """Whoever may write it, can sign heartbeats: 3.0.6 does not look at that."""
    status = path.stat()
    wrong = []
    if status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        wrong.append(f"others than its owner can write it; chmod 600 {path}")
    if status.st_uid != 0:
        wrong.append(f"its owner is not root (user {status.st_uid}); chown root {path}")
    place = Place(str(path), 1, 1)
    known.findings += [Finding(place, Severity.WARNING, text) for text in wrong]
