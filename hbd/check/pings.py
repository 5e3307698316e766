"""Ping nodes: whether they answer from here, and whether they are what a ping node must not be.

A ping node is evidence of what a node reaches. One that is a node of the cluster, or a service address, says
nothing about the network, and moves resources when it should not.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Iterable, Mapping
from ipaddress import ip_address

from hbd.check.facts import Known, Section
from hbd.check.places import Places
from hbd.config.model import AddressResource, Config, Ping, Ucast, Ucast6
from hbd.core.events import Event, PingAnswered
from hbd.media.ping import PingMedium

ASKS, PAUSE_S, LIMIT_S = 3, 0.5, 2.0


def specs(config: Config) -> tuple[Ping, ...]:
    """The ping nodes of ha.cf."""
    return tuple(medium for medium in config.media if isinstance(medium, Ping))


def forbidden(
    config: Config, found: Mapping[str, tuple[str, ...]], ours: Iterable[str]
) -> dict[str, str]:
    """Addresses that no ping node may have, with what they are. `ours`: those of this machine.

    `found` has the addresses of names, those of nodes among them.
    """
    taken: dict[str, str] = {}
    for group in config.groups:
        for resource in group.resources:
            if isinstance(resource, AddressResource):
                taken[resource.ip] = "a service address of haresources"
    for address in ours:
        taken.setdefault(address, "an address of this node")
    for medium in config.media:
        if isinstance(medium, Ucast | Ucast6):
            for address in found.get(medium.target, ()):
                taken.setdefault(address, f"the other end of {medium.interface}'s ucast, a cluster node")
    for node in config.nodes:
        for address in found.get(node, ()):
            if not ip_address(address).is_loopback:
                taken.setdefault(address, f"an address of the cluster node {node}")
    return taken


def judge(
    config: Config,
    found: Mapping[str, tuple[str, ...]],
    taken: Mapping[str, str],
    answers: Mapping[str, bool] | None,
    places: Places,
    known: Known,
) -> None:
    """What is to be said of each. `answers`: by name, whether it does; None where nobody may ask."""
    for ping in specs(config):
        wrong = False
        for host in ping.hosts:
            place = places.value(ping.kind, host)
            if not found.get(host):
                known.warn(Section.PINGS, ping.name, place, f"{host} cannot be looked up")
                wrong = True
            for address in found.get(host, ()):
                if address in taken:
                    text = f"{host} is {taken[address]}: no evidence of what this node reaches"
                    known.warn(Section.PINGS, ping.name, place, text)
                    wrong = True
        if answers is None:
            known.unknown(Section.PINGS, ping.name, "whether it answers only root can ask")
        elif not answers.get(ping.name, False):
            place = places.value(ping.kind, ping.hosts[0])
            known.warn(Section.PINGS, ping.name, place, "does not answer this node")
        elif not wrong:
            known.good(Section.PINGS, ping.name, "answers this node")


async def ask(wanted: Collection[Ping]) -> dict[str, bool] | None:
    """Ask them all a few times; whether each has answered. None if this user may not."""
    answered = {ping.name: False for ping in wanted}
    all_have = asyncio.Event()

    def heard(event: Event) -> None:
        if isinstance(event, PingAnswered):
            answered[event.medium.name] = True
            if all(answered.values()):
                all_have.set()

    media = [PingMedium(ping) for ping in wanted]
    try:
        for medium in media:
            medium.open(heard)
        for _ in range(ASKS if media else 0):
            await asyncio.sleep(0)
            for medium in media:
                medium.ask()
            try:
                async with asyncio.timeout(LIMIT_S / ASKS):
                    await all_have.wait()
                break
            except TimeoutError:
                continue
    except PermissionError:
        return None
    finally:
        for medium in media:
            medium.close()
    return answered
