"""`python -m hbd.orphan`: releases what a daemon left behind that will not come back.

For hbd-orphan.service, `OnFailure=` of hbd.service: systemd's start limit was hit, or the configuration is
wrong (exit status 78). Whatever /run/hbd/held records is released: all addresses first, then the units of
each group right to left, each awaited. What is released is struck from the record, so that it can be run
again after a failure, or for nothing. While a daemon holds the lock nothing is touched.

Standard library only: what stops a daemon from starting must not stop this.
"""

from __future__ import annotations

import fcntl
import json
import os
import subprocess
import sys
from typing import Any

from hbd.stale import held_addresses, run_dir, take_off

ERROR, WARNING, INFO = 3, 4, 6
NOT_LOADED = 5
"""Exit status of `systemctl stop` (LSB: program is not installed)."""


def main() -> int:
    """0: nothing is left; 1: something is (the journal says what)."""
    directory = run_dir(sys.argv[1:])
    if not os.path.exists(f"{directory}/held"):
        return 0
    lock = os.open(f"{directory}/lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        say(INFO, "hbd is running: its resources are left to it")
        return 0
    try:
        return 0 if release(directory) else 1
    finally:
        os.close(lock)


def release(directory: str) -> bool:
    """Whether nothing is left of what was held."""
    with open(f"{directory}/held", "rb") as file:
        groups: list[dict[str, Any]] = json.load(file)["groups"]
    if not groups:
        return True
    say(WARNING, "hbd is gone for good: releasing " + ", ".join(group["group"] for group in groups))
    try:
        gone = take_off(held_addresses(directory))
    except OSError as error:
        say(ERROR, f"cannot take the addresses off: {error}")
        addresses_left = True
    else:
        say(INFO, f"addresses off: {', '.join(gone) or 'none was up'}")
        addresses_left = False
    left = [group for group in reversed(groups) if not stop_units(group, addresses_left)]
    record(directory, left[::-1])
    if not left:
        say(INFO, "everything is released")
    return not left


def stop_units(group: dict[str, Any], addresses_left: bool) -> bool:
    """Stop the group's units right to left and strike what is released from it; whether nothing is left."""
    left = []
    for resource in reversed(group["resources"]):
        if resource["kind"] == "address":
            if addresses_left:
                left.append(resource)
        elif not stop(resource["unit"]):
            left.append(resource)
    group["resources"] = left[::-1]
    return not left


def stop(unit: str) -> bool:
    """Stop a unit and wait for it. A unit that is not loaded does not run."""
    done = subprocess.run(["systemctl", "stop", "--", unit], capture_output=True, text=True, check=False)
    if done.returncode not in (0, NOT_LOADED):
        say(ERROR, f"cannot stop {unit}: {done.stderr.strip() or f'systemctl ended with {done.returncode}'}")
        return False
    say(INFO, f"{unit} stopped")
    return True


def record(directory: str, groups: list[dict[str, Any]]) -> None:
    """Replace `held` by what is left."""
    with open(f"{directory}/held.new", "w", encoding="utf-8") as file:
        json.dump({"groups": groups}, file, separators=(",", ":"))
        file.write("\n")
    os.rename(f"{directory}/held.new", f"{directory}/held")


def say(priority: int, text: str) -> None:
    """A line for the journal, with its priority in front (sd-daemon(3))."""
    print(f"<{priority}>{text}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
