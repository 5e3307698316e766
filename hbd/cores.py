"""Core files of hbd itself: ha.cf's `coredumps` and `coreroot`.

Said by neither, the unit decides (LimitCORE= of hbd.service, systemd's default is none): while a dump is
written the daemon is not yet dead for systemd, and the peer waits only so long for the next one. Where a
dump goes is the kernel's decision (core(5)): only with a name without directory in kernel.core_pattern is
it the directory that we are in.
"""

from __future__ import annotations

import os
import resource
from pathlib import Path

PATTERN = Path("/proc/sys/kernel/core_pattern")


def arrange(wanted: bool | None, root: str) -> list[str]:
    """Allow or forbid core files and go where they are to be; what did not work, as sentences."""
    if wanted is None:
        return []
    _, most = resource.getrlimit(resource.RLIMIT_CORE)
    resource.setrlimit(resource.RLIMIT_CORE, (most if wanted else 0, most))
    if not wanted:
        return []
    refused = [] if most else ["coredumps: LimitCORE= of the unit allows none"]
    try:
        os.makedirs(root, mode=0o700, exist_ok=True)
        os.chdir(root)
    except OSError as error:
        return [*refused, f"coreroot {root}: {error.strerror}; the working directory stays {os.getcwd()}"]
    return refused


def describe(root: str) -> str:
    """One line for the start of the log: where a core file of hbd would be."""
    try:
        pattern = PATTERN.read_text().strip()
    except OSError:
        pattern = ""
    if pattern.startswith("|"):
        return f"Core dumps go to {pattern[1:].split()[0]} (kernel.core_pattern), and not to {root}"
    if "/" in pattern:
        return f"Core dumps go to {pattern} (kernel.core_pattern), and not to {root}"
    return f"Core dumps go to {root}"
