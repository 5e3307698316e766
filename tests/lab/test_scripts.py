"""The group of the guide's log, with scripts that write down how they are called; and an init script.

linuxha1 192.168.85.3 datadisk::drbd0 datadisk::drbd1 mirror
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.lab import Lab
from tests.lab.cluster import (
    ADDRESS,
    ONE,
    TWO,
    Timings,
    active_units,
    configure,
    holds,
    owner,
    said,
    settle,
    start,
    status,
)
from tests.lab.furniture import CLUSTER_ADDRESS
from tests.lab.host import wait_until
from tests.lab.journal import now_us
from tests.lab.node import Node
from tests.lab.service import kill, shown

GROUP = f"{ONE} {ADDRESS} datadisk::drbd0 datadisk::drbd1 mirror\n"

SCRIPT = """\
#!/bin/sh
name=${0##*/}
for verb; do :; done
what=$(echo "$name $*" | sed "s| $verb\\$||")
[ $verb = status ] || echo "$what $verb" >>/root/calls
[ -e "/root/slow $what $verb" ] && sleep 4
[ -e "/root/fail $what $verb" ] && { echo "no, thanks"; exit 1; }
[ $verb = status ] || env >"/root/env $what $verb"
case $verb in
    start) touch "/root/up $what" ;;
    stop) rm -f "/root/up $what" ;;
    status) [ -e "/root/up $what" ] && echo "$what is running" || echo "$what is not running" ;;
esac
"""
STARTS = ["datadisk drbd0 start", "datadisk drbd1 start", "mirror start"]
STOPS = ["mirror stop", "datadisk drbd1 stop", "datadisk drbd0 stop"]

SAID = ("cluster orchard", "env SITE=one", "logfacility daemon")
"""Of ha.cf, for the scripts' environment."""
ENVIRONMENT = {
    "HA_CURHOST": ONE,
    "HA_DIR": "/etc/ha.d",
    "HA_FUNCS": "/etc/ha.d/shellfuncs",
    "HA_RESOURCEDIR": "/etc/ha.d/resource.d",
    "HA_DATEFMT": "%Y/%m/%d_%T\t",
    "HA_LOGFACILITY": "daemon",
    "HA_LOGFILE": "/dev/null",
    "HA_DEBUGLOG": "/dev/null",
    "HA_LOGD": "no",
    "HA_NICEFAILBACK": "yes",
    "HA_cluster": "orchard",
    "HA_deadtime": "3000ms",
    "HA_auto_failback": "off",
    "HA_SITE": "one",
    "OCF_ROOT": "/usr/lib/ocf",
    "LC_ALL": "C",
    "HOME": "/root",
    "USER": "root",
}

PATIENT = Timings(500, 3000, 8000, 10_000)
"""No restart of hbd is a death, on a busy computer either."""
INIT_SCRIPT = """\
#!/bin/sh
### BEGIN INIT INFO
# Provides:          httpd
# Required-Start:
# Required-Stop:
# Default-Start:
# Default-Stop:
# Short-Description: Web server on the cluster address
### END INIT INFO
[ $1 = status ] || echo "httpd $1" >>/root/calls
[ -e "/root/slow httpd $1" ] && sleep 5
[ -e "/root/fail httpd $1" ] && exit 1
case $1 in
    start) mkdir -p /run/httpd; exec /usr/sbin/httpd -f /etc/httpd/httpd.conf -k start ;;
    stop) exec /usr/sbin/httpd -f /etc/httpd/httpd.conf -k stop ;;
    status) [ -e /run/httpd/httpd.pid ] && echo running || { echo stopped; exit 3; } ;;
esac
"""


def calls(node: Node) -> list[str]:
    """What the scripts of the machine were called with, oldest first, but for status."""
    return node.run("cat /root/calls 2>/dev/null || true").stdout.splitlines()


def up(node: Node) -> list[str]:
    """The scripts that run there."""
    return sorted(node.run("cd /root; ls -d up* 2>/dev/null | cut -c4- || true").stdout.splitlines())


def found(node: Node, run: str, names: Iterable[str]) -> dict[str, str]:
    """What a run of a script found in its environment under these names."""
    lines = node.run(["cat", f"/root/env {run}"]).stdout.splitlines()
    variables = dict(line.split("=", 1) for line in lines if "=" in line)
    return {name: variables[name] for name in names if name in variables}


@contextmanager
def booted(layer: Path, haresources: str = GROUP, auto_failback: str = "off") -> Iterator[Lab]:
    """Both machines with the scripts and the group; hbd not started."""
    with Lab(layers=[layer]) as lab:
        configure(lab, auto_failback=auto_failback, haresources=haresources, extra=SAID)
        for node in (lab[ONE], lab[TWO]):
            for name in ("datadisk", "mirror"):
                node.write(f"/etc/ha.d/resource.d/{name}", SCRIPT, mode=0o755)
        lab.boot()
        yield lab


@contextmanager
def running(layer: Path) -> Iterator[Lab]:
    """The same with hbd running on both, and the group on linuxha1."""
    with booted(layer) as lab:
        start(lab)
        settle(lab, owned_by=ONE)
        yield lab


def test_scripts_are_started_in_order_skipped_where_they_run_and_stopped_in_reverse(hbd_layer: Path) -> None:
    with booted(hbd_layer) as lab:
        one, two = lab[ONE], lab[TWO]
        # Given files that hbd accepts, and one resource of the group that runs already.
        checked = one.run("hbd --check").stdout
        assert "haresources" not in checked
        one.run("touch '/root/up datadisk drbd1'")
        # When both start.
        start(lab)
        settle(lab, owned_by=ONE)
        # Then it is told, and not started again; the others are, with their arguments and in order.
        assert calls(one) == ["datadisk drbd0 start", "mirror start"]
        assert said(one, "Resource datadisk::drbd1 is active, and should not be!")
        assert calls(two) == []
        assert holds(one)
        assert up(one) == ["datadisk drbd0", "datadisk drbd1", "mirror"]
        # They found ha.cf in their environment, under heartbeat's names; and so does their stop, below.
        assert found(one, "mirror start", ENVIRONMENT) == ENVIRONMENT
        # An administrator sees units that carry their names, and the bus calls them scripts.
        shows = status(one)
        assert shows is not None
        (group,) = shows["groups"]
        assert [(each["name"], each["kind"], each["unit"]) for each in group["resources"][1:]] == [
            ("datadisk::drbd0", "script", "hbd-resource-datadisk::drbd0@start.service"),
            ("datadisk::drbd1", "script", "hbd-resource-datadisk::drbd1@start.service"),
            ("mirror", "script", "hbd-resource-mirror@start.service"),
        ]
        assert shown(one, "hbd-resource-mirror@start.service", "ActiveState") == ("active",)
        # When an operator hands over.
        since_us = now_us()
        one.run("hbctl standby --wait")
        settle(lab, owned_by=TWO)
        # Then the scripts are stopped right to left, each of them, and started there left to right,
        assert calls(one)[2:] == STOPS
        assert up(one) == []
        assert calls(two) == STARTS
        assert found(one, "mirror stop", ENVIRONMENT) == ENVIRONMENT
        # Of a peer that is there, nobody need be told that it is not.
        assert "HA_DONTASK" not in one.run("cat '/root/env mirror stop'").stdout
        # the first only after the last stop.
        stopped = one.wait_for_journal("Running /etc/ha.d/resource.d/datadisk drbd0 stop", since_us=since_us)
        started = two.wait_for_journal("Running /etc/ha.d/resource.d/datadisk drbd0 start", since_us=since_us)
        assert stopped.monotonic_us < started.monotonic_us
        assert one.run("systemctl list-units --plain --no-legend 'hbd-resource-*'").stdout == ""


def test_a_stop_that_fails_is_tried_eleven_times_then_the_group_is_blocked_and_nothing_is_rebooted(
    hbd_layer: Path,
) -> None:
    with running(hbd_layer) as lab:
        one, two = lab[ONE], lab[TWO]
        boot_id = one.read("/proc/sys/kernel/random/boot_id")
        one.run("touch '/root/fail mirror stop'")
        # When the group is to leave, and the first of its stops fails.
        one.run("hbctl standby")
        one.wait_for_journal("is blocked: mirror did not stop", timeout=40)
        # Then it was tried eleven times, a second apart, and nothing to the left was touched.
        assert calls(one)[len(STARTS) :] == ["mirror stop"] * 11
        tries = said(one, "Running /etc/ha.d/resource.d/mirror stop")
        gaps_s = [(b.monotonic_us - a.monotonic_us) / 1e6 for a, b in itertools.pairwise(tries)]
        assert all(0.9 < gap_s < 3 for gap_s in gaps_s)
        assert len(said(one, "Retrying failed stop operation [mirror]")) == 10
        # It stays claimed, seen as blocked on both, and the other node starts nothing.
        for node in (one, two):
            shows = status(node)
            assert shows is not None
            assert shows["groups"][0]["state"] == "blocked"
        assert calls(two) == []
        assert "Return code 1 from /etc/ha.d/resource.d/mirror" in one.run("hbctl why " + ADDRESS).stdout
        assert one.read("/proc/sys/kernel/random/boot_id") == boot_id
        # When an administrator has stopped it, it is seen, and the rest is stopped.
        one.run("rm '/root/up mirror'")
        wait_until(lambda: calls(one)[-2:] == STOPS[1:], 15, "the group goes on stopping", 0.2)
        settle(lab, timeout=30)
        assert len(up(one)) + len(up(two)) == 3


def test_hbd_killed_while_a_script_runs_waits_for_it_and_never_starts_it_twice(hbd_layer: Path) -> None:
    with booted(hbd_layer) as lab:
        one, two = lab[ONE], lab[TWO]
        one.run("touch '/root/slow mirror start' '/root/slow mirror stop'")
        # Given a start under way.
        start(lab)
        wait_until(lambda: "mirror start" in calls(one), 20, "mirror is being started", 0.05)
        kill(one)
        settle(lab, owned_by=ONE, timeout=30)
        assert calls(one) == STARTS
        assert up(one) == ["datadisk drbd0", "datadisk drbd1", "mirror"]
        # And a stop.
        one.run("hbctl standby")
        wait_until(lambda: "mirror stop" in calls(one), 10, "mirror is being stopped", 0.05)
        kill(one)
        wait_until(lambda: calls(one)[len(STARTS) :] == STOPS, 20, "everything is stopped once", 0.1)
        settle(lab, owned_by=TWO, timeout=30)
        assert calls(one) == STARTS + STOPS
        assert up(one) == []
        assert calls(two) == STARTS
        assert found(one, "mirror stop", ENVIRONMENT) == ENVIRONMENT
        # Of a peer that is there, nobody need be told that it is not.
        assert "HA_DONTASK" not in one.run("cat '/root/env mirror stop'").stdout
        assert not said(two, "is dead")


def test_a_start_that_fails_is_stopped_again_and_the_other_node_has_the_group(hbd_layer: Path) -> None:
    with booted(hbd_layer) as lab:
        one, two = lab[ONE], lab[TWO]
        one.run("touch '/root/fail datadisk drbd1 start'")
        start(lab)
        settle(lab, owned_by=TWO, timeout=30)
        assert calls(one) == [*STARTS[:2], "datadisk drbd1 stop", "datadisk drbd0 stop"]
        assert calls(two) == STARTS
        entry = said(one, "Return code 1 from /etc/ha.d/resource.d/datadisk")[0]
        assert "journalctl -u 'hbd-resource-datadisk::drbd1@start.service'" in entry.message
        written = one.journal("hbd-resource-datadisk::drbd1@start.service")
        assert "no, thanks" in [each.message for each in written]


def test_a_machine_that_is_shut_down_runs_the_stops_first_and_waits_for_them(hbd_layer: Path) -> None:
    with running(hbd_layer) as lab:
        one = lab[ONE]
        # Given a stop that takes longer than systemd would wait for hbd if nobody asked it to.
        one.run("touch '/root/slow mirror stop'")
        one.write("/etc/systemd/system/hbd.service.d/short.conf", "[Service]\nTimeoutStopSec=2s\n")
        one.run("systemctl daemon-reload")
        assert shown(one, "hbd.service", "TimeoutStopUSec") == ("2s",)
        began_us = now_us()
        one.poweroff()
        assert one.read("/root/calls").splitlines() == STARTS + STOPS
        assert said(one, "Heartbeat shutdown complete", began_us)
        settle(lab, TWO, owned_by=TWO)
        assert calls(lab[TWO]) == STARTS
        assert not said(lab[TWO], "is dead")


def test_scripts_of_a_daemon_that_is_gone_for_good_are_stopped(hbd_layer: Path) -> None:
    with running(hbd_layer) as lab:
        one = lab[ONE]
        began_us = now_us()
        one.run("touch '/root/fail datadisk drbd1 stop'")
        one.write("/etc/ha.d/ha.cf", "keepalive for ever\n")
        one.run("rm -r /run/hbd/config")
        kill(one)
        one.wait_for_journal("Retrying failed stop operation", since_us=began_us, unit="hbd-orphan.service")
        one.run("rm '/root/fail datadisk drbd1 stop'")
        one.wait_for_journal("everything is released", since_us=began_us, unit="hbd-orphan.service")
        assert calls(one)[3] == "mirror stop"
        assert calls(one)[-1] == "datadisk drbd0 stop"
        assert set(calls(one)[4:-1]) == {"datadisk drbd1 stop"}
        assert up(one) == []
        assert not holds(one)
        settle(lab, TWO, owned_by=TWO)


def test_an_init_script_alone_is_a_unit_that_systemd_makes(hbd_layer: Path) -> None:
    with Lab(layers=[hbd_layer]) as lab:
        # Given httpd as /etc/init.d/httpd and nothing else.
        configure(lab, haresources=f"{ONE} {ADDRESS} httpd\n", timings=PATIENT)
        for node in (lab[ONE], lab[TWO]):
            node.write("/etc/init.d/httpd", INIT_SCRIPT, mode=0o755)
        one, two = lab[ONE], lab[TWO]
        lab.boot()
        for node in (one, two):
            node.run("rm /usr/lib/systemd/system/httpd.service; systemctl daemon-reload")
        assert shown(one, "httpd.service", "SourcePath") == ("/etc/init.d/httpd",)
        assert "httpd" not in one.run("hbd --check").stdout
        # When both start, and hbd is killed while the script runs: it serves, and was started once.
        one.run("touch '/root/slow httpd start'")
        with lab.client.http_probe(CLUSTER_ADDRESS) as http:
            start(lab)
            wait_until(lambda: calls(one) == ["httpd start"], 20, "httpd is being started", 0.05)
            since_us = kill(one)
            # systemd starts hbd again while it still starts httpd, though hbd is to stop before httpd does.
            wait_until(lambda: shown(one, "hbd.service", "ActiveState") == ("active",), 10, "hbd again")
            assert shown(one, "httpd.service", "ActiveState") == ("activating",)
            settle(lab, owned_by=ONE, timeout=30)
            assert said(two, "is dead", since_us) == []
            http.wait_for(ONE)
            assert calls(one) == ["httpd start"]
            one.run("rm '/root/slow httpd start'")
            assert active_units(one, ["httpd.service"]) == ["httpd.service"]
            assert active_units(two, ["httpd.service"]) == []
            shows = status(one)
            assert shows is not None
            httpd = shows["groups"][0]["resources"][1]
            assert (httpd["kind"], httpd["unit"], httpd["state"]) == ("unit", "httpd.service", "started")
            # A stop that fails leaves the service running, whatever systemd says of its unit: ten more looks,
            # then the group is blocked, claimed, and nowhere else.
            boot_id = one.read("/proc/sys/kernel/random/boot_id")
            one.run("touch '/root/fail httpd stop'")
            one.run("hbctl standby")
            one.wait_for_journal("is blocked: httpd did not stop: httpd.service was not stopped", timeout=40)
            assert len(said(one, "Retrying failed stop operation [httpd]")) == 10
            assert calls(one) == ["httpd start", "httpd stop"]
            assert (calls(two), holds(two), holds(one)) == ([], False, True)
            assert one.read("/proc/sys/kernel/random/boot_id") == boot_id
            # Until an administrator has stopped it.
            one.run("rm '/root/fail httpd stop'; /etc/init.d/httpd stop")
            settle(lab, timeout=30)
            one.run("hbctl takeover --wait", check=False)
            settle(lab, owned_by=ONE)
            # Handed over and back, and after a death.
            one.run("hbctl standby --wait")
            settle(lab, owned_by=TWO)
            http.wait_for(TWO, since_us=now_us())
            two.run("hbctl standby --wait")
            settle(lab, owned_by=ONE)
            killed_us = one.power_kill()
            http.wait_for(TWO, since_us=killed_us, timeout=30)
        settle(lab, TWO, owned_by=TWO)
        assert owner(two, ADDRESS) == TWO

        # When that one's hbd is gone for good, and the stop fails: its service goes on, and that is said.
        began_us = now_us()
        two.run("touch '/root/fail httpd stop'; rm -r /run/hbd/config")
        two.write("/etc/ha.d/ha.cf", "keepalive for ever\n")
        kill(two)
        text = "httpd.service is not stopped: its stop command failed, and it goes on"
        two.wait_for_journal(text, since_us=began_us, unit="hbd-orphan.service", timeout=30)
        wait_until(lambda: shown(two, "hbd-orphan.service", "ActiveState") == ("failed",), 10, "it is said")
        assert not holds(two)
        assert '"httpd.service"' in two.run("cat /run/hbd/held").stdout
        # Until it is stopped.
        two.run("rm '/root/fail httpd stop'; /etc/init.d/httpd stop; systemctl start hbd-orphan")
        assert '"httpd.service"' not in two.run("cat /run/hbd/held").stdout
