"""Commands on the computer that carries the lab, and what they need there."""

import os
import shutil
import subprocess
import time
from collections.abc import Callable, Sequence
from pathlib import Path

# Proxies, tokens and language settings of whoever runs the lab must not leak into the machines.
CLEAN_ENV = {
    "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    "HOME": "/root",
    "LANG": "C.UTF-8",
    "TERM": "dumb",
}

# Tool and the Debian package that brings it.
TOOLS = {
    "systemd-nspawn": "systemd-container",
    "journalctl": "systemd",
    "mmdebstrap": "mmdebstrap",
    "ip": "iproute2",
    "nft": "nftables",
    "nsenter": "util-linux",
    "mount": "mount",
}


PATIENCE = 3
"""How many times the time that a thing may take is waited for it: the computer may be busy with more."""


class LabError(Exception):
    """The lab cannot do what it was asked; the text says why and what helps."""


def require_tools() -> None:
    """Raise LabError, naming the packages, unless we are root and have all tools."""
    if os.geteuid() != 0:
        raise LabError("the lab makes namespaces and mounts: run it as root")
    missing = sorted(
        {package for tool, package in TOOLS.items() if not shutil.which(tool, path=CLEAN_ENV["PATH"])}
    )
    if missing:
        raise LabError(f"missing tools; on Debian: apt-get install {' '.join(missing)}")


def call(*argv: str | Path, stdin: str = "", check: bool = True) -> str:
    """Run a command of the host in a clean environment; returns its output.

    Raises LabError with the command's own words when it fails and `check` is set.
    """
    words = [str(word) for word in argv]
    done = subprocess.run(words, input=stdin, capture_output=True, text=True, env=CLEAN_ENV, check=False)
    if check and done.returncode != 0:
        raise LabError(f"{' '.join(words)}: exit {done.returncode}: {(done.stderr or done.stdout).strip()}")
    return done.stdout


def run_there(
    where: str, command: object, words: Sequence[str], *, check: bool, timeout: float, stdin: str
) -> subprocess.CompletedProcess[str]:
    """Run the words that lead into a machine; errors name it, and the command as it was given.

    Raises LabError when it fails and `check` is set, or is not done in time; it is killed then.
    """
    try:
        done = subprocess.run(
            words, input=stdin, capture_output=True, text=True, env=CLEAN_ENV, timeout=timeout, check=False
        )
    except subprocess.TimeoutExpired:
        raise LabError(f"{where}: not done after {timeout:g} s: {command}") from None
    if check and done.returncode != 0:
        raise LabError(f"{where}: exit {done.returncode}: {command}\n{done.stdout}{done.stderr}")
    return done


def wait_until(reached: Callable[[], bool], timeout_s: float, wanted: str, step_s: float = 0.002) -> None:
    """Poll until `reached`; raises LabError naming what was `wanted` after PATIENCE times `timeout_s`.

    It rests as long as the look took, or what is looked at would be starved by looking.
    """
    end = time.monotonic() + PATIENCE * timeout_s
    while True:
        began = time.monotonic()
        if reached():
            return
        ended = time.monotonic()
        if ended > end:
            raise LabError(f"not within {timeout_s:g} s: {wanted}")
        time.sleep(max(step_s, min(ended - began, 0.2)))


def mount_overlay(place: Path, lowers: Sequence[Path]) -> Path:
    """Mount a fresh writable copy of `lowers` (topmost first) below `place`; returns its root.

    What is written lives in a tmpfs, so it costs no disk and no sync, and is gone with `unmount`.
    """
    upper = place / "up"
    root = place / "root"
    upper.mkdir(parents=True)
    root.mkdir()
    call("mount", "-t", "tmpfs", "-o", "mode=755", "hbd-lab", upper)
    (upper / "u").mkdir()
    (upper / "w").mkdir()
    stack = ":".join(str(lower) for lower in lowers)
    options = f"lowerdir={stack},upperdir={upper / 'u'},workdir={upper / 'w'}"
    call("mount", "-t", "overlay", "hbd-lab", "-o", options, root)
    return root


def mounts_below(place: Path) -> list[str]:
    """Mount points at or below `place`, innermost last."""
    with open("/proc/self/mounts", encoding="utf-8") as table:
        points = [line.split()[1] for line in table]
    return [point for point in points if point == str(place) or point.startswith(f"{place}/")]


def unmount_below(place: Path) -> None:
    """Unmount everything at or below `place`, newest first."""
    for point in reversed(mounts_below(place)):
        call("umount", point)
