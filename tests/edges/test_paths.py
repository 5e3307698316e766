"""Whether service addresses have a carrier, seen in the kernel's notices."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator

import pytest

from hbd.agents.paths import PathWatch
from hbd.config.model import AddressResource
from hbd.core.effects import WatchPaths
from hbd.core.events import Event, PathSeen
from hbd.netlink import Netlink
from tests.edges.namespaces import Namespace, pair, until

SERVICE = AddressResource("192.168.85.3", "192.168.85.3")
FAR = AddressResource("10.9.9.9", "10.9.9.9")
NAMED = AddressResource("10.9.9.8/24/eth1", "10.9.9.8", 24, "eth1")
SERVICE6 = AddressResource("fd00::3", "fd00::3")
LOCAL = AddressResource("127.0.0.9", "127.0.0.9")


@pytest.fixture
def wires() -> Iterator[tuple[Namespace, Namespace]]:
    """eth0 with 192.168.85.1/24 and fd00::1/64, and eth1; the second holds the other ends."""
    with pair("eth0", "eth1") as (one, two):
        one.ip("address add 192.168.85.1/24 dev eth0")
        one.ip("address add fd00::1/64 dev eth0 nodad")
        yield one, two


Watching = Callable[[PathWatch, list[Event]], Awaitable[None]]


def play(node: Namespace, story: Watching) -> None:
    async def body() -> None:
        netlink = Netlink()
        netlink.open()
        paths = PathWatch(netlink)
        try:
            await story(paths, [])
        finally:
            paths.close()
            netlink.close()

    with node.inside():
        asyncio.run(body())


def test_each_address_is_told_once_and_again_when_a_cable_is_pulled_and_put_back(
    wires: tuple[Namespace, Namespace],
) -> None:
    one, two = wires

    async def story(paths: PathWatch, posted: list[Event]) -> None:
        paths.watch(WatchPaths((SERVICE, FAR, NAMED, SERVICE6, LOCAL)), posted.append)
        await until(lambda: len(posted) == 5)
        assert posted == [
            PathSeen(SERVICE, True), PathSeen(FAR, False), PathSeen(NAMED, True), PathSeen(SERVICE6, True),
            PathSeen(LOCAL, True),
        ]  # fmt: skip
        del posted[:]
        two.ip("link set eth0 down")
        await until(lambda: posted == [PathSeen(SERVICE, False), PathSeen(SERVICE6, False)])
        two.ip("link set eth0 up")
        await until(lambda: posted[2:] == [PathSeen(SERVICE, True), PathSeen(SERVICE6, True)])
        two.ip("link set eth1 down")
        await until(lambda: posted[4:] == [PathSeen(NAMED, False)])

    play(one, story)


def test_an_address_that_is_up_is_judged_where_it_is(wires: tuple[Namespace, Namespace]) -> None:
    one, two = wires
    one.ip("address add 192.168.85.3/32 dev eth1")

    async def story(paths: PathWatch, posted: list[Event]) -> None:
        paths.watch(WatchPaths((SERVICE,)), posted.append)
        await until(lambda: posted == [PathSeen(SERVICE, True)])
        two.ip("link set eth0 down")
        await asyncio.sleep(0.3)
        assert len(posted) == 1
        two.ip("link set eth1 down")
        await until(lambda: posted[1:] == [PathSeen(SERVICE, False)])

    play(one, story)


def test_an_interface_that_is_switched_off_is_no_path(wires: tuple[Namespace, Namespace]) -> None:
    one, _ = wires

    async def story(paths: PathWatch, posted: list[Event]) -> None:
        paths.watch(WatchPaths((SERVICE,)), posted.append)
        await until(lambda: posted == [PathSeen(SERVICE, True)])
        one.ip("link set eth0 down")
        await until(lambda: posted[1:] == [PathSeen(SERVICE, False)])

    play(one, story)


def test_a_new_set_of_addresses_takes_the_place_of_the_old_one(wires: tuple[Namespace, Namespace]) -> None:
    one, two = wires

    async def story(paths: PathWatch, posted: list[Event]) -> None:
        paths.watch(WatchPaths((SERVICE,)), posted.append)
        await until(lambda: posted == [PathSeen(SERVICE, True)])
        paths.watch(WatchPaths((NAMED,)), posted.append)
        await until(lambda: posted[1:] == [PathSeen(NAMED, True)])
        two.ip("link set eth0 down")
        await asyncio.sleep(0.3)
        assert len(posted) == 2
        paths.watch(WatchPaths(()), posted.append)
        two.ip("link set eth1 down")
        await asyncio.sleep(0.3)
        assert len(posted) == 2

    play(one, story)
