"""A pair with ping nodes and ipfail: how such a story begins.

Both ask the ping nodes `router` and `switch`; the interface with the service addresses has a carrier. What a
machine cannot reach is in its `unreachable`, and its cable is pulled with `plug`.
"""

from __future__ import annotations

from dataclasses import replace

from hbd.config.model import AutoFailback, GroupSpec, Ping
from hbd.sim.machines import Machine
from tests.scenarios.pair import ETH0, GROUPS, TIMING, Pair, at_home

ROUTER = Ping("router", ("192.168.85.254",), "ping")
SWITCH = Ping("switch", ("192.168.85.253", "192.168.85.252"), "ping_group")
DEADPING_MS = TIMING.deadping_ms
QUICK_MS = 2 * TIMING.keepalive_ms
"""How long a difference lasts before anything moves."""


def pinged(
    failback: AutoFailback = AutoFailback.OFF, groups: tuple[GroupSpec, ...] = GROUPS, ipfail: bool = True,
    pings: tuple[Ping, ...] = (ROUTER, SWITCH),
) -> Pair:  # fmt: skip
    """A pair that is not started yet."""
    pair = Pair(failback, groups)
    for machine in pair.machines.values():
        machine.config = replace(machine.config, media=(ETH0, *pings), ipfail=ipfail)
    return pair


def at_rest(failback: AutoFailback = AutoFailback.OFF) -> Pair:
    """Both up, everything at home and reachable."""
    return pinged(failback).started()


def lose(ping: Ping, *machines: Machine) -> None:
    """The ping node does not answer these machines any more."""
    for machine in machines:
        machine.unreachable.add(ping.name)


def find(ping: Ping, *machines: Machine) -> None:
    """It answers again."""
    for machine in machines:
        machine.unreachable.discard(ping.name)


def moves(pair: Pair) -> int:
    """How often a group was started after the first time, on both machines together."""
    first = pair.groups[0].resources[0].identity
    return sum(machine.starts.get(first, 0) for machine in pair.machines.values()) - 1


HOME = at_home(GROUPS)
