"""hbd as a unit of one machine, and the units that it manages: properties, counters, kill -9."""

import json
from collections.abc import Sequence

from tests.lab.cluster import BUS_NAME, BUS_ROOT, UNITS
from tests.lab.journal import now_us
from tests.lab.node import Node


def shown(node: Node, unit: str, *properties: str) -> tuple[str, ...]:
    """Properties of a unit, as `systemctl show` prints them."""
    lines = node.run(["systemctl", "show", unit, *(f"--property={name}" for name in properties)]).stdout
    values = dict(line.split("=", 1) for line in lines.splitlines())
    return tuple(values[name] for name in properties)


def kill(node: Node) -> int:
    """kill -9 of the running hbd; returns the monotonic µs just before."""
    (pid,) = shown(node, "hbd.service", "MainPID")
    assert pid != "0"
    at_us = now_us()
    node.run(["kill", "-9", pid])
    return at_us


def invocations(node: Node, units: Sequence[str] = UNITS) -> list[tuple[str, ...]]:
    """What tells this run of each managed unit from any other, later one."""
    names = ("ActiveState", "MainPID", "InvocationID", "ActiveEnterTimestampMonotonic")
    return [shown(node, unit, *names) for unit in units]


def statistics(node: Node) -> dict[str, int]:
    """The numbers of GetStatistics."""
    call = f"busctl --json=short call {BUS_NAME} {BUS_ROOT} {BUS_NAME}.Cluster GetStatistics"
    (counters,) = json.loads(node.run(call).stdout)["data"]
    return {name: int(value["data"]) for name, value in counters.items() if value["type"] == "t"}
