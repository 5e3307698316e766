"""`python -m hbd.orphan`: releases what a daemon left behind that will not come back.

For hbd-orphan.service, `OnFailure=` of hbd.service: systemd's start limit was hit, or the configuration is
wrong (exit status 78). Whatever /run/hbd/held records is released: all addresses first, then the units and
scripts of each group right to left, each awaited. Then ha.cf's clients are stopped, last first. A watchdog
device that the daemon left running is stopped when nothing is left, and otherwise resets the machine, before
the peer serves beside it. When nothing is left, anybody may start the units (`hbd.starts`), unless no daemon
came up since boot: what is enabled by mistake would be started beside the peer. What is released
is struck from the record, so that this can be run again after a failure, or for nothing. While the cluster is
frozen, and the peer knows, resources are left alone, and nothing is to silence or reset this machine. While a
daemon holds the lock nothing is touched.

Standard library only: what stops a daemon from starting must not stop this.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import subprocess
import sys
import time
from typing import Any

from hbd.stale import FROZEN, LEASE_REMOVAL, held_addresses, run_dir, take_off
from hbd.starts import disown, lift, was_at_work

ERROR, WARNING, INFO = 3, 4, 6
NOT_LOADED = 5
"""Exit status of `systemctl stop` (LSB: program is not installed)."""
STOP_RETRIES, STOP_RETRY_S = 10, 1
"""As hbd does."""
LOOKS = 5
"""So many seconds a service is given to end whose stop command has failed: that is not run again."""
PATIENCE_S = 60
"""For a script that was running when hbd went."""
SURROUNDINGS = ("-p", "DefaultDependencies=no", "-p", "KillMode=process", "-p", "IgnoreSIGPIPE=no")
"""As hbd runs scripts."""


def main() -> int:
    """0: nothing is left; 1: something is (the journal says what)."""
    directory = run_dir(sys.argv[1:])
    if not os.path.exists(directory):
        return 0
    lock = os.open(f"{directory}/lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        say(INFO, "hbd is running: its resources are left to it")
        return 0
    try:
        frozen = os.path.exists(f"{directory}/{FROZEN}")
        if frozen:
            say(WARNING, "hbd is gone for good, and the cluster is frozen: what runs here goes on running")
        nothing_left = frozen or release(directory)
        stop_clients(directory)
        if nothing_left:
            end_lease()
            stop_watchdog(directory)
            # Where no daemon came up since boot, systemd may still be about to start what is enabled.
            if was_at_work(directory):
                lift(directory)
        return 0 if nothing_left else 1
    finally:
        os.close(lock)


def release(directory: str) -> bool:
    """Whether nothing is left of what was held."""
    try:
        with open(f"{directory}/held", "rb") as file:
            groups: list[dict[str, Any]] = json.load(file)["groups"]
    except FileNotFoundError:
        groups = []
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
    disown(directory)
    left = [group for group in reversed(groups) if not stop_group(group, addresses_left, directory)]
    record(directory, left[::-1])
    if not left:
        say(INFO, "everything is released")
    return not left


def end_lease() -> None:
    """Nothing is held, so the addresses are as any others again. One that is left had better stay silent."""
    with contextlib.suppress(FileNotFoundError):  # Without nft there never were rules.
        subprocess.run(("nft", "-f", "-"), input=LEASE_REMOVAL, capture_output=True, text=True, check=False)


def stop_group(group: dict[str, Any], addresses_left: bool, directory: str) -> bool:
    """Stop the group's members right to left and strike what is released from it; whether nothing is left."""
    left = []
    for resource in reversed(group["resources"]):
        match resource["kind"]:
            case "address":
                stopped = not addresses_left
            case "script":
                stopped = stop_script(resource, directory)
            case _:
                stopped = stop(resource["unit"])
        if not stopped:
            left.append(resource)
    group["resources"] = left[::-1]
    return not left


def stop(unit: str) -> bool:
    """Stop a unit and wait for it. A unit that is not loaded does not run."""
    done = call("systemctl", "stop", "--", unit)
    if done.returncode not in (0, NOT_LOADED):
        say(ERROR, f"cannot stop {unit}: {done.stderr.strip() or f'systemctl ended with {done.returncode}'}")
        return False
    for _ in range(LOOKS):
        left = left_behind(unit)
        if not left:
            say(INFO, f"{unit} stopped")
            return True
        time.sleep(STOP_RETRY_S)
    pids = ", ".join(map(str, left))
    say(ERROR, f"{unit} is not stopped: its stop command failed, and it goes on (pid {pids})")
    return False


def left_behind(unit: str) -> list[int]:
    """The pids of a service that systemd calls down after a stop command that failed, as `UnitAgent` sees it.

    Where systemd kills nobody (KillMode=process: every unit that it makes of an init script),
    `systemctl stop` succeeds all the same.
    """
    words = ("--property=ActiveState", "--property=ControlGroup", "--property=ExecStop")
    shown = call("systemctl", "show", *words, "--", unit).stdout.splitlines()
    found = dict(line.partition("=")[::2] for line in shown if not line.startswith("ExecStop="))
    commands = [line for line in shown if line.startswith("ExecStop=")]
    if found.get("ActiveState") != "failed" or not any(map(_has_failed, commands)):
        return []
    return processes(found.get("ControlGroup", ""))


def _has_failed(command: str) -> bool:
    """Whether this line of `systemctl show` tells of a command that was run and did not end well."""
    parts = dict(part.strip().partition("=")[::2] for part in command.strip("{} ").split(" ; "))
    return parts.get("pid", "0") != "0" and (parts.get("code"), parts.get("status")) != ("exited", "0")


def processes(cgroup: str) -> list[int]:
    """Who is in that cgroup or below it, by what each process says of itself (cgroups(7))."""
    if not cgroup:
        return []
    found = []
    for name in filter(str.isdecimal, os.listdir("/proc")):
        try:
            with open(f"/proc/{name}/cgroup", encoding="utf-8") as file:
                places = [line.rstrip("\n").split(":", 2)[2] for line in file]
        except (FileNotFoundError, ProcessLookupError):
            continue  # It has ended.
        if any(place == cgroup or place.startswith(f"{cgroup}/") for place in places):
            found.append(int(name))
    return sorted(found)


def stop_clients(directory: str) -> None:
    """Stop what hbd keeps running for ha.cf, the last of its lines first."""
    try:
        with open(f"{directory}/clients", encoding="utf-8") as file:
            units = file.read().split()
    except FileNotFoundError:
        return
    for unit in reversed(units):
        stop(unit)
        call("systemctl", "reset-failed", "--", unit)
    os.unlink(f"{directory}/clients")


def stop_watchdog(directory: str) -> None:
    """The magic close (watchdog-api), as `hbd.watchdog` does it."""
    try:
        with open(f"{directory}/watchdog", encoding="utf-8", errors="surrogateescape") as file:
            device = file.read().strip()
    except FileNotFoundError:
        return
    try:
        descriptor = os.open(device, os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            os.write(descriptor, b"V")
        finally:
            os.close(descriptor)
    except OSError as error:
        say(ERROR, f"watchdog device {device} cannot be stopped: {error.strerror}")
        return
    os.unlink(f"{directory}/watchdog")
    say(INFO, f"watchdog device {device} is stopped")


def stop_script(resource: dict[str, Any], directory: str) -> bool:
    """Run the script's stop, in its unit as hbd does, and again while it fails; whether it succeeded."""
    what = " ".join((resource["path"], *resource["args"], "stop"))
    start, stop_ = resource["units"]["start"], resource["units"]["stop"]
    wait_for(start)
    wait_for(stop_)
    words = ["systemd-run", "--quiet", "--wait", f"--unit={stop_}", "-p", "Type=oneshot", *SURROUNDINGS]
    words += [f"--setenv={name}={value}" for name, value in environment(directory).items()]
    for attempt in range(1 + STOP_RETRIES):
        if attempt:
            say(INFO, f"Retrying failed stop operation [{resource['name']}]")
            time.sleep(STOP_RETRY_S)
        # What an earlier run left of the name: ended well, or failed.
        call("systemctl", "stop", "--", stop_)
        call("systemctl", "reset-failed", "--", stop_)
        done = call(*words, "--", *literally(resource["path"], *resource["args"], "stop"))
        if done.returncode == 0:
            call("systemctl", "stop", "--", start)
            say(INFO, f"{what}: done")
            return True
        say(ERROR, f"{what}: {done.stderr.strip() or f'ended with {done.returncode}'}")
    return False


def wait_for(unit: str) -> None:
    """Let a script that still runs end, for a while; then by force, with all that it began."""
    for _ in range(PATIENCE_S):
        shown = call("systemctl", "show", "--property=ActiveState", "--value", "--", unit).stdout.strip()
        if shown not in ("activating", "deactivating"):
            return
        time.sleep(1)
    call("systemctl", "kill", "--signal=KILL", "--", unit)


def literally(*words: str) -> list[str]:
    """The words such that systemd expands no variables in them (systemd.service(5))."""
    return [word.replace("$", "$$") for word in words]


def environment(directory: str) -> dict[str, str]:
    """What hbd last gave to its scripts."""
    try:
        with open(f"{directory}/script-environment", encoding="utf-8") as file:
            found: dict[str, str] = json.load(file)
    except (OSError, ValueError) as error:
        say(WARNING, f"scripts are run without their environment: {error}")
        return {}
    return found


def call(*words: str) -> subprocess.CompletedProcess[str]:
    """Run a command and keep what it says."""
    return subprocess.run(words, capture_output=True, text=True, check=False)


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
