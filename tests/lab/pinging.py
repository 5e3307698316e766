"""Ping nodes of the lab: the router on both networks, and how it is lost for one machine or for both.

    192.168.85.254              a ping node
    10.0.0.254, 10.0.0.253      a ping group, `routers`

What is lost for one machine is what the router answers it: an `ip rule` of the router drops that.
"""

import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from tests.lab.cluster import ONE, TWO, status
from tests.lab.host import wait_until
from tests.lab.lab import Lab

ROUTER = "192.168.85.254"
MEMBERS = ("10.0.0.254", "10.0.0.253")
DEADPING_S = 2.0
LINES = (f"deadping {DEADPING_S:g}", f"ping {ROUTER}", f"ping_group routers {' '.join(MEMBERS)}")
_MACHINES = {ONE: ("192.168.85.1", "10.0.0.1"), TWO: ("192.168.85.2", "10.0.0.2")}


@contextmanager
def lost(lab: Lab, addresses: Iterable[str], *machines: str) -> Iterator[None]:
    """These addresses of the router do not answer these machines."""
    rules = [
        f"from {address} to {machine_address} blackhole"
        for address in addresses
        for machine in machines
        for machine_address in _MACHINES[machine]
    ]
    _rules(lab, "add", rules)
    try:
        yield
    finally:
        _rules(lab, "del", rules)


def _rules(lab: Lab, verb: str, rules: list[str]) -> None:
    lab.router.run(" && ".join(f"ip rule {verb} {rule}" for rule in rules))


def answering(lab: Lab, machine: str) -> dict[str, bool]:
    """Which ping nodes are alive for this machine's hbd."""
    shown = status(lab[machine])
    nodes = [] if shown is None else shown["nodes"]
    return {node["name"]: node["status"] == "ping" for node in nodes if node["kind"] == "ping"}


def wait_until_all_answer(lab: Lab, *machines: str) -> None:
    """Every ping node is alive for these machines."""
    everything = {ROUTER: True, "routers": True}
    for machine in machines:
        wait_until(lambda machine=machine: answering(lab, machine) == everything, 20, f"answers to {machine}")  # type: ignore[misc]


def let_deadping_pass() -> None:
    """Long enough for any loss to have had its consequences."""
    time.sleep(2 * DEADPING_S + 1)
