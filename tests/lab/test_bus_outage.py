"""The bus is flooded, restarted and stopped, and the cluster does not notice.

Both machines serve with a keepalive of 100 ms. What counts is seen by others: when heartbeats reach the other
machine's kernel, and whether a unit or an address was touched.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path

import pytest

from tests.lab import Lab
from tests.lab.cluster import (
    BUS_NAME,
    BUS_ROOT,
    ONE,
    TWO,
    UNITS,
    Timings,
    configure,
    logged_us,
    said,
    serves,
    settle,
    start,
    watch_address,
    watch_heartbeats,
)
from tests.lab.host import wait_until
from tests.lab.journal import now_us
from tests.lab.node import Node
from tests.lab.service import statistics

pytestmark = pytest.mark.alone

TIMINGS = Timings(keepalive_ms=100, warntime_ms=300, deadtime_ms=600, initdead_ms=4000)
STOPPED_S = 10
AFTER_DEATH_MS = 50
CLUSTER = f"{BUS_NAME} {BUS_ROOT} {BUS_NAME}.Cluster"
UNITS_WITHIN_MS = 3000
"""No question to a bus that is stopped is given up sooner."""
CHANGES = 10_000
FLICKER = """\
[Service]
ExecStart=
ExecStart=/usr/lib/hbd/venv/bin/python -P /mnt/hbd/tests/lab/flicker.py
"""


@pytest.fixture(scope="module")
def pair(hbd_layer: Path) -> Iterator[Lab]:
    """linuxha1 serves, and its hbd flickers when it is told to."""
    with Lab(layers=[hbd_layer]) as lab:
        configure(lab, timings=TIMINGS, auto_failback="off")
        lab[ONE].write("/etc/systemd/system/hbd.service.d/flicker.conf", FLICKER)
        lab.boot()
        start(lab)
        settle(lab, owned_by=ONE)
        yield lab


@contextmanager
def unnoticed(lab: Lab) -> Iterator[None]:
    """What is done inside makes no heartbeat late by more than one keepalive, and touches no resource."""
    one, two = lab[ONE], lab[TWO]
    before = [since(one, unit) for unit in UNITS]
    with (
        watch_heartbeats(lab, TWO, of=ONE) as of_one,
        watch_heartbeats(lab, ONE, of=TWO) as of_two,
        watch_address(lab, ONE) as address,
    ):
        of_one.wait_for("heartbeat")
        of_two.wait_for("heartbeat")
        began_us = now_us()
        yield
        ended_us = now_us()
        for heard in (of_one, of_two):
            heard.wait_for("heartbeat", since_us=ended_us)
            times = [each.at_us for each in heard.seen("heartbeat")]
            longest_ms = max(late - early for early, late in pairwise(times)) / 1000
            print(f"longest time between two heartbeats: {longest_ms:.0f} ms")
            assert longest_ms <= 2 * TIMINGS.keepalive_ms
        assert address.seen() == []
    assert [since(one, unit) for unit in UNITS] == before
    for node in (one, two):
        for text in ("is dead", "Late heartbeat", "addresses off", "put back", "systemd cannot be reached"):
            assert [entry.message for entry in said(node, text, began_us)] == [], node.name


def since(node: Node, unit: str) -> str:
    """When the unit became active, for the last time."""
    return node.run(["systemctl", "show", "-P", "ActiveEnterTimestampMonotonic", unit]).stdout.strip()


def signal_bus(node: Node, signal: str) -> None:
    """To dbus-daemon, over systemd's private socket, as it is when the bus does not answer."""
    node.run(["systemctl", "kill", f"--signal={signal}", "dbus.service"])


def has_the_name(node: Node) -> bool:
    read = node.run(f"timeout 5 busctl get-property {CLUSTER} LocalNode", check=False)
    return read.stdout == f's "{node.name}"\n'


def wait_for_the_name(node: Node) -> None:
    wait_until(lambda: has_the_name(node), 15, f"hbd of {node.name} under its name")


@contextmanager
def listener(node: Node, name: str) -> Iterator[None]:
    """A client that has subscribed to all of hbd's signals, and writes them to /run/NAME."""
    command = f"exec gdbus monitor --system -d {BUS_NAME} >/run/{name} 2>&1"
    process = node.popen(f"echo $$ >/run/{name}.pid; {command}")
    wait_until(lambda: "is owned by" in node.run(f"cat /run/{name}", check=False).stdout, 10, "a listener")
    try:
        yield
    finally:
        node.run(f"kill -KILL $(cat /run/{name}.pid)")
        process.kill()  # nsenter stops itself along with what it runs.
        process.communicate()


def flicker(node: Node) -> None:
    """Ten thousand changes of a property."""
    began_us = now_us()
    node.run(["systemctl", "kill", "--kill-whom=main", "--signal=SIGRTMIN+1", "hbd.service"])
    print(node.wait_for_journal("flickered", since_us=began_us, timeout=60).message)


def test_nobody_notices_a_client_that_never_reads_while_ten_thousand_properties_change(pair: Lab) -> None:
    one = pair[ONE]
    with listener(one, "reader"), listener(one, "sleeper"):
        one.run("kill -STOP $(cat /run/sleeper.pid)")
        with unnoticed(pair):
            flicker(one)
        wait_until(lambda: _heard(one, "reader") + statistics(one)["bus_announcements_merged"] >= CHANGES, 20,
                   "each change told, or told with a later one")  # fmt: skip
        told = one.run("grep -o \"'Generation': <.*>\" /run/reader | tail -n 1").stdout
        generation = one.run(f"busctl get-property {CLUSTER} Generation").stdout.split()[-1]
        assert told.strip("<>\n").split()[-1] == generation
    assert statistics(one)["bus_outages"] == 0


def _heard(node: Node, name: str) -> int:
    return int(node.run(f"grep -c PropertiesChanged /run/{name} || true").stdout)


def test_a_restart_of_the_bus_is_not_noticed_and_the_name_returns(pair: Lab) -> None:
    with unnoticed(pair):
        for name in (ONE, TWO):
            pair[name].run("systemctl restart dbus")
        for name in (ONE, TWO):
            wait_for_the_name(pair[name])
        time.sleep(1)


def test_a_bus_that_is_stopped_for_ten_seconds_is_not_noticed_and_the_name_is_there_again(pair: Lab) -> None:
    one, two = pair[ONE], pair[TWO]
    with unnoticed(pair):
        for node in (one, two):
            signal_bus(node, "STOP")
        stopped_s = time.monotonic()
        flicker(one)
        time.sleep(max(0, stopped_s + STOPPED_S - time.monotonic()))
        for node in (one, two):
            signal_bus(node, "CONT")
        for node in (one, two):
            wait_for_the_name(node)
    assert statistics(one)["bus_announcements_merged"] > CHANGES / 2


def test_a_takeover_while_the_bus_is_stopped_starts_address_and_units_in_the_usual_time(pair: Lab) -> None:
    two = pair[TWO]
    with (
        watch_heartbeats(pair, TWO, of=ONE) as heartbeats,
        watch_address(pair, TWO) as address,
        pair.client.http_probe() as http,
    ):
        http.wait_for(ONE)
        heartbeats.wait_for("heartbeat")
        signal_bus(two, "STOP")
        killed_us = pair[ONE].power_kill()
        dead_us = logged_us(two.wait_for_journal(f"node {ONE}: is dead", since_us=killed_us))
        up = address.wait_for("up", since_us=killed_us)
        answer = http.wait_for(TWO, since_us=killed_us)
        wait_until(lambda: serves(two), 10, "the rest of the group")
        last_us = heartbeats.seen()[-1].at_us
    signal_bus(two, "CONT")
    settle(pair, TWO, owned_by=TWO)
    declared_ms, address_ms, served_ms = (
        (late - early) / 1000
        for early, late in ((last_us, dead_us), (dead_us, up.at_us), (up.at_us, answer.ended_us))
    )
    print(f"dead after {declared_ms:.0f} ms, address {address_ms:.0f} ms, page {served_ms:.0f} ms later")
    assert declared_ms <= TIMINGS.deadtime_ms + TIMINGS.keepalive_ms + 100
    assert address_ms <= AFTER_DEATH_MS
    assert served_ms <= UNITS_WITHIN_MS
