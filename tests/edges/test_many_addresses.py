"""A thousand service addresses at once: heartbeats share the event loop, and have their turns meanwhile.

What is asserted are turns of the loop, and ratios of CPU times: the machine may be busy with other things.
"""

import asyncio
import gc
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import pytest

from hbd.agents.address import AddressAgent
from hbd.agents.announce import PORTION, boottime_ms
from hbd.config.model import AddressResource
from hbd.core.events import OK, Condition, Event
from hbd.netlink import BATCH
from tests.edges.lan import Lan, agent, local_network, sniffing
from tests.edges.namespaces import until
from tests.edges.seen import seen

COUNT = 1000
MANY = [
    AddressResource(ip, ip, 16, "eth0", alias_label=True)
    for ip in (f"192.168.{100 + n // 250}.{n % 250 + 1}" for n in range(COUNT))
]
@dataclass
class Turns:
    """The turns of the loop, in seconds of CPU time each."""

    spent: list[float] = field(default_factory=list)

    @property
    def longest(self) -> float:
        return max(self.spent)

    @property
    def total(self) -> float:
        return sum(self.spent)


@pytest.fixture
def lan() -> Iterator[Lan]:
    with local_network() as made:
        yield made


@asynccontextmanager
async def turning() -> AsyncIterator[Turns]:
    """Measures every turn of the loop, without what Python's collector of garbage does in it."""
    turns, loop = Turns(), asyncio.get_running_loop()
    before = time.thread_time()
    ended = False

    def turn() -> None:
        nonlocal before
        now = time.thread_time()
        turns.spent.append(now - before)
        before = now
        if not ended:
            loop.call_soon(turn)

    gc.disable()
    loop.call_soon(turn)
    try:
        yield turns
    finally:
        ended = True
        gc.enable()


async def start(addresses: AddressAgent, many: Sequence[AddressResource]) -> Turns:
    async with turning() as turns:
        assert set(await asyncio.gather(*map(addresses.start, many))) == {OK}
    return turns


def test_a_thousand_addresses_come_vanish_return_and_are_released_and_others_have_their_turns(
    lan: Lan,
) -> None:
    async def body() -> None:
        async with agent() as addresses:
            posted: list[Event] = []
            for resource in MANY:
                addresses.watch(resource, Condition.STOPPED, posted.append)

            few = await start(addresses, MANY[: COUNT // 4])
            rest = await start(addresses, MANY[COUNT // 4 :])
            assert rest.total < 8 * few.total, "three times as many, at the same cost each"
            await until(lambda: len(seen(posted)) == COUNT)

            flushed = len(posted)
            async with turning() as flushing:
                lan.node.ip("-4 address flush dev eth0")
                await until(lambda: len(seen(posted)) == 2 * COUNT)
            assert {each.condition for each in seen(posted[flushed:])} == {Condition.STOPPED}
            assert len(posted) - flushed < COUNT / 10

            again = await start(addresses, MANY)
            assert lan.node.ip("-4 address show dev eth0").count("inet ") == COUNT

            async with turning() as releasing:
                assert await addresses.drop(MANY) == OK
            assert "inet " not in lan.node.ip("-4 address show dev eth0")

            for turns in (few, rest, again):
                assert turns.longest < turns.total / 4
            assert len(few.spent) > COUNT / 4
            assert len(again.spent) > COUNT
            assert len(releasing.spent) >= COUNT // BATCH
            measured = [f"{turns.total * 1000:.0f} ms, longest turn {turns.longest * 1000:.0f} ms"
                        for turns in (few, rest, flushing, again, releasing)]  # fmt: skip
            print("started 250, 750; flushed 1000, put back, released:", "; ".join(measured))

    asyncio.run(body())


def test_a_thousand_that_may_be_announced_at_last_are_in_portions(lan: Lan) -> None:
    async def body() -> None:
        async with agent(permit_ms=0) as addresses, sniffing(lan.neighbour) as wire:
            await start(addresses, MANY)
            wire.frames.clear()
            async with turning() as turns:
                addresses.permit(boottime_ms() + 60_000)
                await until(lambda: len({frame[28:32] for _, frame in wire.frames}) == COUNT)
            assert len(turns.spent) > COUNT / PORTION
            assert turns.longest < turns.total / 4

    asyncio.run(body())
