"""The order of the time limits, for the timings that people have."""

from __future__ import annotations

import pytest

from hbd.config import timeline
from hbd.config.model import Timing


def timing(keepalive_ms: int, deadtime_ms: int) -> Timing:
    return Timing(keepalive_ms, deadtime_ms // 2, deadtime_ms)


@pytest.mark.parametrize(
    ("keepalive_ms", "deadtime_ms", "device_s", "with_device_ms", "alone_ms"),
    [
        (2000, 30_000, 27, 18_000, 26_000),  # The guide's.
        (1000, 30_000, 28, 18_667, 27_000),  # 3.0.6's own.
        (1000, 10_000, 8, 5334, 7000),
        (1000, 5000, 3, 2500, 3000),
        (500, 3000, 2, 1500, 1500),
        (200, 2000, 1, 750, 1000),
        (20, 60, 1, 750, 1000),
        (1000, 3000, 2, 1500, 3000),
    ],
)
def test_the_limits_of_usual_timings(
    keepalive_ms: int, deadtime_ms: int, device_s: int, with_device_ms: int, alone_ms: int
) -> None:
    times = timing(keepalive_ms, deadtime_ms)
    assert timeline.device_timeout_s(times) == device_s
    assert timeline.restart_limit_ms(times, device_s) == with_device_ms
    assert timeline.restart_limit_ms(times, None) == alone_ms


def test_with_any_timing_systemd_comes_before_the_device_and_the_device_before_the_peer_or_it_is_said() -> (
    None
):
    said = 0
    for keepalive_ms in (10, 100, 250, 333, 500, 900, 1000, 1500, 2000, 5000):
        for deadtime_ms in range(2 * keepalive_ms + 1, 60_000, 397):
            times = timing(keepalive_ms, deadtime_ms)
            device_s = timeline.device_timeout_s(times)
            limit_ms = timeline.restart_limit_ms(times, device_s)
            assert keepalive_ms < limit_ms < device_s * 1000
            assert device_s * 1000 >= 2 * keepalive_ms
            in_time = device_s * 1000 + keepalive_ms < deadtime_ms
            assert (timeline.complaint(times) is None) == in_time
            said += not in_time
            # As late as that: one second more, and the peer would be first.
            assert not timeline.fences_in_time(times, device_s + 1) or not in_time
    assert said


def test_the_complaint_has_the_arithmetic() -> None:
    complaint = timeline.complaint(timing(500, 1500))
    assert complaint is not None
    assert complaint.startswith("nobody fences this node")
    assert "1 s is the least here, and with keepalive that is 1500 ms" in complaint
    assert timeline.complaint(timing(500, 1501)) is None


def test_the_time_line_is_in_the_order_of_what_happens() -> None:
    line = timeline.marks(timing(2000, 30_000), "/dev/watchdog")
    assert [(mark.name, mark.ms) for mark in line] == [
        ("keepalive", 2000),
        ("warntime", 15_000),
        ("systemd watchdog", 18_000),
        ("device watchdog", 27_000),
        ("deadtime", 30_000),
        ("takeover", 30_000),
    ]
    assert "device watchdog" not in [mark.name for mark in timeline.marks(timing(2000, 30_000), None)]
