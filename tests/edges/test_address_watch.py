"""What others do to a service address that runs, against the kernel."""

import asyncio
import logging
import socket
import time
from collections.abc import Callable, Iterator

import pytest

from hbd.agents.address import AddressAgent
from hbd.config.model import AddressResource
from hbd.core.events import OK, Condition, Event, ResourceSeen, Result
from tests.edges.lan import VIP, VIP6, Lan, agent, local_network, sniffing
from tests.edges.namespaces import namespace, until
from tests.edges.seen import seen


@pytest.fixture
def lan() -> Iterator[Lan]:
    with local_network() as made:
        yield made


GONE = ResourceSeen(VIP, Condition.STOPPED)


async def running(addresses: AddressAgent, resource: AddressResource, posted: list[Event]) -> None:
    """Start it and watch it, until the watch has looked."""
    assert await addresses.start(resource) == OK
    addresses.watch(resource, Condition.RUNNING, posted.append)
    await asyncio.sleep(0.05)
    assert posted == [], "what is known is not told"


def test_a_watch_tells_what_somebody_else_did_outside_our_jobs(lan: Lan) -> None:
    async def body() -> None:
        async with agent() as addresses:
            posted: list[Event] = []
            assert await addresses.start(VIP) == OK
            watching = addresses.watch(VIP, Condition.RUNNING, posted.append)
            await asyncio.sleep(0.05)
            assert posted == []
            lan.node.ip("address del 192.168.85.3/24 dev eth0")
            await until(lambda: posted == [GONE])
            assert await addresses.start(VIP) == OK
            await until(lambda: posted[1:] == [ResourceSeen(VIP, Condition.RUNNING, "on eth0")])

            # During a job, and until a moment after it, nothing is told; then what is not as it was left.
            watching.hold()
            lan.node.ip("address del 192.168.85.3/24 dev eth0")
            await asyncio.sleep(0.05)
            assert len(posted) == 2
            watching.resume(Condition.RUNNING)
            await until(lambda: posted[2:] == [GONE])

            watching.cancel()
            lan.node.ip("address add 192.168.85.3/24 dev eth0")
            await asyncio.sleep(0.05)
            assert len(posted) == 3

    asyncio.run(body())


def test_a_stray_is_told_with_its_place_and_one_on_the_loopback_stands_aside(lan: Lan) -> None:
    async def body() -> None:
        async with agent() as addresses:
            posted: list[Event] = []
            addresses.watch(VIP, Condition.STOPPED, posted.append)
            lan.node.ip("address add 192.168.85.3/32 dev lo")
            await until(lambda: posted == [ResourceSeen(VIP, Condition.RUNNING, "on lo", aside=True)])
            lan.node.ip("address add 192.168.85.3/24 dev eth1")
            await until(lambda: posted[-1] == ResourceSeen(VIP, Condition.RUNNING, "on lo, eth1"))
            lan.node.ip("address del 192.168.85.3/24 dev eth1")
            lan.node.ip("address del 192.168.85.3/32 dev lo")
            await until(lambda: posted[-1] == GONE)

    asyncio.run(body())


WRONG = [
    ("address del {ip}/24 dev eth0; address add {ip}/32 dev eth0",
     "has the prefix length 32 here now, and not 24"),
    ("address del {ip}/24 dev eth0; address add {ip}/24 dev eth1", "is on eth1 now, and not on eth0"),
    ("address del {ip}/24 dev eth0; address add {ip}/32 dev lo", "is on lo now, and not on eth0"),
]  # fmt: skip


@pytest.mark.parametrize(("hands", "what"), WRONG, ids=["prefix length", "interface", "loopback"])
def test_an_address_that_is_not_as_it_was_put_on_is_put_right(lan: Lan, hands: str, what: str) -> None:
    async def body() -> None:
        async with agent() as addresses, sniffing(lan.neighbour) as wire:
            posted: list[Event] = []
            await running(addresses, VIP, posted)
            for command in hands.format(ip=VIP.ip).split("; "):
                lan.node.ip(command)
            await until(lambda: posted == [ResourceSeen(VIP, Condition.STOPPED, what)])
            wire.frames.clear()
            assert await addresses.start(VIP) == OK
            shown = "inet 192.168.85.3/24 brd 192.168.85.255 scope global secondary eth0:0"
            assert shown in lan.node.ip("-4 address show dev eth0")
            assert lan.node.ip("-4 address").count(VIP.ip) == (2 if "lo now" in what else 1)
            await until(lambda: len(wire.frames) >= 2)
            await until(lambda: seen(posted)[-1].condition is Condition.RUNNING)

    asyncio.run(body())


def test_an_ipv6_address_with_another_prefix_length_is_put_right(lan: Lan) -> None:
    async def body() -> None:
        async with agent() as addresses:
            posted: list[Event] = []
            await running(addresses, VIP6, posted)
            lan.node.ip(f"address del {VIP6.ip}/64 dev eth0")
            lan.node.ip(f"address add {VIP6.ip}/128 dev eth0 nodad")
            await until(lambda: bool(posted))
            assert seen(posted)[0].detail == "has the prefix length 128 here now, and not 64"
            assert await addresses.start(VIP6) == OK
            shown = lan.node.ip("-6 address show dev eth0")
            assert f"{VIP6.ip}/64 scope global nodad" in shown
            assert f"{VIP6.ip}/128" not in shown

    asyncio.run(body())


def test_what_does_not_keep_clients_away_is_said_once_and_left(
    lan: Lan, caplog: pytest.LogCaptureFixture
) -> None:
    async def body() -> None:
        async with agent() as addresses:
            posted: list[Event] = []
            for resource in (VIP, VIP6):
                await running(addresses, resource, posted)
            lan.node.ip("address del 192.168.85.3/24 dev eth0")
            lan.node.ip("address add 192.168.85.3/24 dev eth0 label eth0:web broadcast 192.168.85.127")
            # As it is now: whether the moment between the two was noticed is of no matter here.
            await until(lambda: not posted or posted[-1] != GONE)
            await until(lambda: "labelled eth0:web now, and not eth0:0" in caplog.text)
            assert "192.168.85.3 has the broadcast address 192.168.85.127 now, and not" in caplog.text
            lan.node.ip("address change 192.168.85.3/24 dev eth0 preferred_lft 0")
            lan.node.ip(f"address change {VIP6.ip}/64 dev eth0 preferred_lft 0")
            await until(lambda: caplog.text.count("is deprecated now") == 2)
            lan.node.ip(f"address change {VIP6.ip}/64 dev eth0 preferred_lft forever")
            await asyncio.sleep(0.05)
            assert "deprecated" in lan.node.ip("-4 address show dev eth0")
            assert caplog.text.count("labelled") == 1
            assert caplog.text.count("is deprecated now") == 2
            assert not posted or posted[-1] == ResourceSeen(VIP, Condition.RUNNING, "on eth0")

    asyncio.run(body())


def test_an_ipv6_address_that_another_machine_has_is_told_and_not_started(
    lan: Lan, caplog: pytest.LogCaptureFixture
) -> None:
    """Somebody puts it back by hand, with the detection that hbd leaves out, and the neighbour answers."""
    caplog.set_level(logging.INFO)
    lan.node.sysctl("ipv6/conf/eth0/accept_dad", 1)

    async def body() -> None:
        async with agent() as addresses:
            posted: list[Event] = []
            await running(addresses, VIP6, posted)
            caplog.clear()
            lan.neighbour.ip(f"address add {VIP6.ip}/64 dev eth0 nodad")
            lan.node.ip(f"address del {VIP6.ip}/64 dev eth0")
            lan.node.ip(f"address add {VIP6.ip}/64 dev eth0")
            told = (
                "is not used by the kernel here, since another machine on eth0 has it "
                "(duplicate address detection failed)"
            )
            await until(lambda: bool(posted) and seen(posted)[-1].detail == told, limit_s=5)
            refused = await addresses.start(VIP6)
            assert refused.result is Result.FAILED
            assert f"another machine on eth0 has {VIP6.ip}" in refused.reason
            assert "Sending" not in caplog.text
            assert VIP6.ip not in lan.node.ip("-6 address show dev eth0")

    asyncio.run(body())


# ---------------------------------------------------------------- interfaces


def test_a_renamed_interface_keeps_its_address_which_is_announced_on(
    lan: Lan, caplog: pytest.LogCaptureFixture
) -> None:
    named = AddressResource("192.168.85.3/24/eth0", "192.168.85.3", 24, "eth0", alias_label=True)

    async def body() -> None:
        async with agent() as addresses, sniffing(lan.neighbour) as wire:
            posted: list[Event] = []
            await running(addresses, named, posted)
            lan.node.ip("link set eth0 down")
            lan.node.ip("link set eth0 name wan0")
            wire.frames.clear()
            lan.node.ip("link set wan0 up")
            await until(lambda: len(wire.frames) >= 2)
            told = "eth0 is called wan0 now, and keeps the service address that is on it"
            assert f"{told}; 192.168.85.3/24/eth0 in haresources names eth0" in caplog.text
            assert "labelled" not in caplog.text
            assert posted == []
            # Taken away, it comes back to where it was, whatever that is called.
            lan.node.ip("address del 192.168.85.3/24 dev wan0")
            await until(lambda: [each.condition for each in seen(posted)] == [Condition.STOPPED])
            assert await addresses.start(named) == OK
            assert "192.168.85.3/24" in lan.node.ip("address show dev wan0")

    asyncio.run(body())


def test_an_address_goes_with_its_interface_and_comes_back_with_one_of_that_name(lan: Lan) -> None:
    async def body() -> None:
        async with agent() as addresses:
            posted: list[Event] = []
            named = AddressResource("192.168.85.3/24/eth0", "192.168.85.3", 24, "eth0")
            await running(addresses, named, posted)
            with namespace() as elsewhere:
                lan.node.ip(f"link set eth0 netns {elsewhere.name}")
                await until(lambda: bool(posted))
                assert [each.detail for each in seen(posted)] == ["went away with its interface eth0"]
                refused = await addresses.start(named)
                assert refused.result is Result.FAILED
                assert "There is no interface eth0 for 192.168.85.3; see `ip link`" in refused.reason
            lan.node.ip("link add eth0 type veth peer name peer0")
            assert await addresses.start(named) == OK
            assert "192.168.85.3/24" in lan.node.ip("address show dev eth0")

    asyncio.run(body())


def test_without_its_interface_an_address_that_somebody_put_elsewhere_is_left_there(lan: Lan) -> None:
    async def body() -> None:
        async with agent() as addresses:
            posted: list[Event] = []
            await running(addresses, VIP, posted)
            lan.node.ip("link delete eth0")
            lan.node.ip("address add 192.168.85.3/24 dev eth1")
            await until(lambda: not posted or seen(posted)[-1].condition is Condition.RUNNING)
            assert await addresses.start(VIP) == OK
            assert "192.168.85.3/24" in lan.node.ip("address show dev eth1")

    asyncio.run(body())


def test_an_interface_that_goes_down_loses_its_ipv6_address_which_works_again_when_it_is_up(
    lan: Lan,
) -> None:
    async def body() -> None:
        async with agent() as addresses:
            posted: list[Event] = []
            for resource in (VIP, VIP6):
                await running(addresses, resource, posted)
            lan.node.ip("link set eth0 down")
            await until(lambda: bool(posted))
            [told] = seen(posted)
            assert told == ResourceSeen(
                VIP6, Condition.STOPPED, "was taken away by the kernel, since eth0 is down"
            )
            assert await addresses.start(VIP6) == OK
            lan.node.ip("link set eth0 up")
            await until(reached(lan, VIP6), limit_s=5)
            await until(reached(lan, VIP), limit_s=5)

    asyncio.run(body())


def reached(lan: Lan, resource: AddressResource) -> Callable[[], bool]:
    """Whether the neighbour reaches it: it is told that nobody listens there."""
    family = socket.AF_INET6 if ":" in resource.ip else socket.AF_INET

    def now() -> bool:
        with lan.neighbour.inside(), socket.socket(family, socket.SOCK_STREAM) as asking:
            asking.settimeout(0.3)
            try:
                asking.connect((resource.ip, 9))
            except ConnectionRefusedError:
                return True
            except OSError:
                return False
        return False

    return now


# ---------------------------------------------------------------- many at once


def test_a_hundred_that_vanish_at_once_are_told_in_a_few_words_and_soon(lan: Lan) -> None:
    many = [AddressResource(f"192.168.85.{last}", f"192.168.85.{last}") for last in range(100, 200)]

    async def body() -> None:
        async with agent() as addresses:
            posted: list[Event] = []
            await asyncio.gather(*map(addresses.start, many))
            for resource in many:
                addresses.watch(resource, Condition.RUNNING, posted.append)
            await asyncio.sleep(0.1)
            assert posted == []
            lan.node.ip("address flush dev eth0")
            begun = time.monotonic()
            await until(lambda: len(seen(posted)) == 100)
            assert {each.resource for each in seen(posted)} == set(many)
            assert len(posted) <= 5
            assert await asyncio.gather(*map(addresses.start, many)) == [OK] * 100
            assert time.monotonic() - begun < 5

    asyncio.run(body())
