"""The order of the time limits, for the timings that people have."""

from __future__ import annotations

import pytest

from hbd.config import timeline
from hbd.config.model import Timing
from hbd.ctl.main import main
from tests.config.conftest import HA_CF, Machine


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


def test_hbctl_check_prints_the_findings_and_at_the_end_the_time_line(
    machine: Machine, capsys: pytest.CaptureFixture[str]
) -> None:
    times = "watchdog /dev/null\nkeepalive 2\nwarntime 10\ndeadtime 30\ninitdead 120\n"
    machine.configure(f"{times}node linuxha1 linuxha2\nbcast lo\n", "linuxha1 127.0.0.3\n")
    machine.write("nodeinfo", "linuxha1\n")
    # Of units and names there is nothing here to ask for; the lines about the machine come in between.
    assert main(["check", str(machine.ha_d)]) == 1
    told = capsys.readouterr().out.splitlines()
    assert "Deprecated 'legacy' auto_failback option selected" in told[0]
    rows = [row.split() for row in told[told.index("If this node falls silent") + 1 :]]
    assert [(row[0], " ".join(row[2:]).partition(":")[0]) for row in rows] == [
        ("2000", "keepalive"), ("10000", "warntime"), ("18000", "systemd watchdog"),
        ("27000", "device watchdog"), ("30000", "deadtime"), ("30000", "takeover"),
    ]  # fmt: skip


def test_a_device_that_comes_too_late_is_a_warning_at_its_line(machine: Machine) -> None:
    machine.configure("keepalive 500ms\ndeadtime 1500ms\nwatchdog /dev/watchdog\n" + HA_CF)
    (warning,) = [line for line in machine.check() if "watchdog" in line or "fences" in line]
    assert warning.startswith("ha.cf:3:10: warning: nobody fences this node before its peer takes over")


def test_critical_groups_are_named_by_their_first_resource(machine: Machine) -> None:
    machine.write("hbd.cf", "critical 192.168.85.3\n")
    assert machine.load().critical == ("192.168.85.3",)
    assert machine.check() == [
        "hbd.cf:1:10: warning: critical has no effect without a watchdog line in ha.cf"
    ]
    machine.configure(HA_CF + "watchdog /dev/watchdog\n")
    assert machine.check() == []
    machine.write("hbd.cf", "critical 192.168.85.4\n")
    assert machine.check() == [
        "hbd.cf:1:10: error: no group of haresources begins with '192.168.85.4'; did you mean '192.168.85.3'?"
    ]
