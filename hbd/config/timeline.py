"""Who acts when a node falls silent, and in which order: the arithmetic of the time limits.

    keepalive < systemd restarts hbd in place < the watchdog device resets the machine < the peer takes over

The peer counts its deadtime from the last heartbeat that it heard. The watchdogs were last fed at most one
keepalive after that heartbeat left, so a device whose timeout is below deadtime - keepalive has reset this
machine before the peer serves in its place. Devices count whole seconds (the kernel's watchdog-api). All
times are milliseconds, but for those of the device.
"""

from __future__ import annotations

from dataclasses import dataclass

from hbd.config.model import Timing

RESTART_MS = 2000
"""What systemd and a new hbd need until its first heartbeat, with room: on an idle machine half a second."""
LEAST_LIMIT_MS = 1000
"""A limit for systemd below this would restart an hbd that is only short of processor time."""
DEVICE_LEAD_MS = 500
"""What systemd's limit stays below the device's, at least, where there is room for no more."""
FEWEST_PULSES = 2
"""So many keepalives must fit into the device's timeout: it is fed once in each."""


@dataclass(frozen=True, slots=True)
class Mark:
    """One point of the time line."""

    name: str
    ms: int
    text: str
    """What happens then."""


def device_timeout_s(timing: Timing) -> int:
    """What the watchdog device is to be set to: late, but before the peer takes over.

    Where no such number of seconds exists, the first that does not reset a healthy machine.
    """
    longest_s = (timing.deadtime_ms - timing.keepalive_ms - 1) // 1000
    shortest_s = max(1, -(-FEWEST_PULSES * timing.keepalive_ms // 1000))
    return max(longest_s, shortest_s)


def fences_in_time(timing: Timing, timeout_s: int) -> bool:
    """Whether a machine that is not fed for so long is reset before its peer takes over."""
    return timeout_s * 1000 + timing.keepalive_ms < timing.deadtime_ms


def restart_limit_ms(timing: Timing, device_s: int | None) -> int:
    """After how long without food systemd restarts hbd; `device_s` is the timeout of an armed device.

    Without a device as late as is safe: a machine that was merely paused is better not restarted. With one
    there must be time for the restart before the reset, also on a slow machine.
    """
    least_ms = max(LEAST_LIMIT_MS, 3 * timing.keepalive_ms)
    if device_s is None:
        return max(least_ms, timing.deadtime_ms - timing.keepalive_ms - RESTART_MS)
    device_ms = device_s * 1000
    early_ms = device_ms - max(RESTART_MS, device_ms // 3)
    return min(max(least_ms, early_ms), device_ms - min(device_ms // 4, DEVICE_LEAD_MS))


def marks(timing: Timing, watchdog: str | None) -> list[Mark]:
    """The time line of a node that has this device, or none, in the order in which things happen."""
    device_s = None if watchdog is None else device_timeout_s(timing)
    line = [
        Mark("keepalive", timing.keepalive_ms, "a heartbeat is sent this often, and the watchdogs are fed"),
        Mark("warntime", timing.warntime_ms, "the peer says that a heartbeat is late"),
        Mark(
            "systemd watchdog", restart_limit_ms(timing, device_s),
            "systemd restarts hbd in place, and nothing moves",
        ),
    ]  # fmt: skip
    if device_s is not None:
        line.append(Mark("device watchdog", device_s * 1000, f"{watchdog} resets this machine"))
    line.append(Mark("deadtime", timing.deadtime_ms, "the peer declares this node dead"))
    line.append(Mark("takeover", timing.deadtime_ms, "the peer begins to start what ran here"))
    return sorted(line, key=lambda mark: mark.ms)


def complaint(timing: Timing) -> str | None:
    """Why a device is of no help with these times; None if it resets the machine in time."""
    timeout_s = device_timeout_s(timing)
    if fences_in_time(timing, timeout_s):
        return None
    needed_ms = timeout_s * 1000 + timing.keepalive_ms
    return (
        "nobody fences this node before its peer takes over: the device counts whole seconds, "
        f"{timeout_s} s is the least here, and with keepalive that is {needed_ms} ms, not below deadtime, "
        f"{timing.deadtime_ms} ms; make deadtime more than {needed_ms} ms"
    )
