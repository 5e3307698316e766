"""The kernel lease with the real kernel: what a neighbour still hears of an address, and when."""

from __future__ import annotations

import asyncio
import itertools
import socket
import subprocess
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from hbd import clock, lease
from hbd.agents.address import AddressAgent
from hbd.config.model import AddressResource
from hbd.core.effects import ArmLease, DisarmLease, EndLease, KeepLease, LeaseEffect
from hbd.core.events import Event, LeaseArmed, LeaseRefused
from hbd.lease import KernelLease, nft
from hbd.netlink import Netlink
from hbd.orphan import end_lease
from tests.edges.namespaces import Namespace, cable, pair, until

SERVICE, SERVICE6 = "192.0.2.3", "2001:db8::3"
OWN = "192.0.2.1"
ADDRESSES = (AddressResource(SERVICE, SERVICE), AddressResource(SERVICE6, SERVICE6))
LONG_MS, SHORT_MS = 60_000, 1000
CLOSED_PORT = 9
LISTED = "nft list table netdev hbd"


@dataclass
class Machine:
    """A node with the cluster's addresses and the edge at work, and a neighbour of it."""

    node: Namespace
    neighbour: Namespace
    lease: KernelLease
    told: list[Event] = field(default_factory=list)

    def do(self, effect: LeaseEffect) -> None:
        self.lease.perform(effect, self.told.append)

    def keep(self) -> None:
        self.do(KeepLease(clock.boot_ms() + 1000))

    async def arm(self, lease_ms: int) -> None:
        """Arm it, and renew it once."""
        self.do(ArmLease(ADDRESSES, lease_ms))
        await self.lease.settled()
        self.keep()

    async def answers(self, address: str) -> bool:
        """Whether the neighbour, who remembers nothing, gets an answer from the address."""
        return await asyncio.to_thread(self._answers, address)

    def _answers(self, address: str) -> bool:
        self.neighbour.ip("neigh flush all")
        with self.neighbour.inside():
            try:
                socket.create_connection((address, CLOSED_PORT), timeout=0.5).close()
            except ConnectionRefusedError:
                return True
            except OSError:
                return False
        return True

    async def heard(self) -> dict[str, bool]:
        return {each: await self.answers(each) for each in (SERVICE, SERVICE6, OWN)}

    def shell(self, command: str) -> str:
        with self.node.inside():
            done = subprocess.run(command.split(), capture_output=True, text=True, check=False)
        return done.stdout


@contextmanager
def wired() -> Iterator[tuple[Namespace, Namespace]]:
    with pair() as (node, neighbour):
        node.ip(f"addr add {OWN}/24 dev eth0")
        node.ip(f"addr add {SERVICE}/24 dev eth0")
        node.ip(f"addr add {SERVICE6}/64 dev eth0 nodad")
        neighbour.ip("addr add 192.0.2.100/24 dev eth0")
        neighbour.ip("addr add 2001:db8::100/64 dev eth0 nodad")
        yield node, neighbour


@asynccontextmanager
async def at_work() -> AsyncIterator[Machine]:
    with wired() as (node, neighbour):
        netlink = Netlink()
        # Sockets, and the threads in which nft is run, are of the namespace they are made in.
        with node.inside():
            netlink.open()
            agent = AddressAgent(netlink)
            machine = Machine(node, neighbour, KernelLease(netlink, agent.places, clock.boot_ms))
            running = asyncio.create_task(machine.lease.run())
            try:
                yield machine
            finally:
                running.cancel()
                machine.lease.close()
                agent.close()
                netlink.close()


ALL = {SERVICE: True, SERVICE6: True, OWN: True}
SILENT = {SERVICE: False, SERVICE6: False, OWN: True}


def test_while_it_is_renewed_everything_answers_and_then_only_what_is_the_nodes_own() -> None:
    async def body() -> None:
        async with at_work() as machine:
            await machine.arm(SHORT_MS)
            assert machine.told == [LeaseArmed()]

            async def heartbeats() -> None:
                while True:
                    machine.keep()
                    await asyncio.sleep(SHORT_MS / 1000 / 10)

            beating = asyncio.create_task(heartbeats())
            for _ in range(3):
                assert await machine.heard() == ALL
                await asyncio.sleep(SHORT_MS / 1000 / 2)
            beating.cancel()
            await asyncio.sleep(SHORT_MS / 1000)
            assert await machine.heard() == SILENT
            # And a renewal later is as good as ever.
            await machine.arm(LONG_MS)
            assert await machine.heard() == ALL

    asyncio.run(body())


def test_ended_it_is_over_at_once_until_the_next_renewal() -> None:
    async def body() -> None:
        async with at_work() as machine:
            await machine.arm(LONG_MS)
            assert await machine.heard() == ALL
            machine.do(EndLease())
            assert await machine.heard() == SILENT
            machine.do(EndLease())
            machine.keep()
            assert await machine.heard() == ALL

    asyncio.run(body())


def test_a_renewal_that_comes_too_late_is_none() -> None:
    async def body() -> None:
        async with at_work() as machine:
            await machine.arm(LONG_MS)
            machine.do(EndLease())
            machine.do(KeepLease(clock.boot_ms() - 1))
            assert not await machine.answers(SERVICE)

    asyncio.run(body())


def test_rules_that_are_replaced_renew_nothing_that_no_heartbeat_renewed() -> None:
    async def body() -> None:
        async with at_work() as machine:
            machine.do(ArmLease(ADDRESSES, 2 * SHORT_MS))
            await machine.lease.settled()
            machine.do(KeepLease(clock.boot_ms() + SHORT_MS))
            await asyncio.sleep(SHORT_MS / 1000)
            machine.do(ArmLease(ADDRESSES, LONG_MS))
            await machine.lease.settled()
            await asyncio.sleep(SHORT_MS / 1000 + 0.2)
            assert await machine.heard() == SILENT
            machine.keep()
            assert await machine.heard() == ALL

    asyncio.run(body())


def test_what_an_earlier_life_left_is_taken_over_with_the_time_it_has() -> None:
    async def body() -> None:
        async with at_work() as machine:
            await machine.arm(LONG_MS)
            # The daemon is killed; the next one finds the rules and replaces them, without a renewal.
            await nft(lease.rules(ArmLease(ADDRESSES, SHORT_MS), ["eth0"]))
            assert await machine.heard() == ALL
            assert "timeout 1s " in machine.shell(LISTED)

    asyncio.run(body())


def test_disarmed_nothing_is_left_of_it() -> None:
    async def body() -> None:
        async with at_work() as machine:
            await machine.arm(LONG_MS)
            machine.do(EndLease())
            machine.do(DisarmLease())
            await machine.lease.settled()
            assert machine.shell("nft list ruleset") == ""
            assert await machine.heard() == ALL
            machine.do(DisarmLease())
            await machine.lease.settled()

    asyncio.run(body())


def test_rules_that_somebody_flushes_are_put_back() -> None:
    async def body() -> None:
        async with at_work() as machine:
            await machine.arm(LONG_MS)
            for _ in range(5):  # More often than is suffered without a renewal between.
                machine.shell("nft flush ruleset")
                machine.keep()
                await machine.lease.settled()
                await asyncio.sleep(2 * lease.SETTLE_S)
                assert "leaving" in machine.shell(LISTED)
                machine.keep()
            assert await machine.heard() == ALL
            assert set(machine.told) == {LeaseArmed()}
            machine.do(EndLease())
            assert await machine.heard() == SILENT

    asyncio.run(body())


def test_an_address_on_an_interface_that_comes_later_is_covered_too() -> None:
    async def body() -> None:
        async with at_work() as machine:
            machine.do(ArmLease((AddressResource("198.51.100.3", "198.51.100.3"),), LONG_MS))
            await machine.lease.settled()
            assert machine.told == [LeaseArmed()]
            assert "eth1" not in machine.shell(LISTED)
            cable(machine.node, machine.neighbour, "eth1")
            machine.node.ip("addr add 198.51.100.3/24 dev eth1")
            machine.neighbour.ip("addr add 198.51.100.100/24 dev eth1")
            machine.keep()
            await until(lambda: '"eth1"' in machine.shell(LISTED) or "{ eth1 }" in machine.shell(LISTED))
            await machine.lease.settled()
            assert await machine.answers("198.51.100.3")
            machine.do(EndLease())
            assert not await machine.answers("198.51.100.3")

    asyncio.run(body())


def test_without_nft_it_is_refused_and_everything_answers(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    async def body() -> None:
        monkeypatch.setattr(lease, "SBIN", str(tmp_path))
        async with at_work() as machine:
            await machine.arm(SHORT_MS)
            assert machine.told == [LeaseRefused("nft is not installed (Debian package nftables)")]
            await asyncio.sleep(2 * SHORT_MS / 1000)
            assert await machine.heard() == ALL

    asyncio.run(body())


def test_what_the_kernel_does_not_take_is_said_in_nfts_words() -> None:
    async def body() -> None:
        async with at_work() as machine:
            machine.do(ArmLease(ADDRESSES, 0))
            machine.node.ip("link set eth0 name a$b")
            machine.do(ArmLease(ADDRESSES, LONG_MS))
            await machine.lease.settled()
            assert machine.told[-1] == LeaseRefused("nft takes no interface of the name 'a$b'")

    asyncio.run(body())


def test_when_nothing_can_be_renewed_the_service_goes_on_without_it() -> None:
    async def body() -> None:
        async with at_work() as machine:
            await machine.arm(LONG_MS)
            machine.node.ip("link set lo down")
            machine.keep()
            await machine.lease.settled()
            assert machine.told[-1] == LeaseRefused("no renewal can be sent: Network is down")
            assert machine.shell("nft list ruleset") == ""
            machine.node.ip("link set lo up")
            await until(lambda: machine.told[-1] == LeaseArmed())

    asyncio.run(body())


def test_a_renewal_takes_less_than_a_millisecond() -> None:
    async def body() -> None:
        async with at_work() as machine:
            await machine.arm(LONG_MS)

            def took_s(act: Callable[[], None]) -> float:
                begun_s = time.perf_counter()
                act()
                return time.perf_counter() - begun_s

            assert min(itertools.starmap(took_s, [(machine.keep,)] * 50)) < 0.001

    asyncio.run(body())


def test_when_hbd_is_gone_for_good_its_rules_go_after_what_it_held() -> None:
    async def body() -> None:
        async with at_work() as machine:
            await machine.arm(LONG_MS)
            machine.do(EndLease())
            for _ in range(2):  # And there may be none.
                end_lease()
                assert machine.shell("nft list ruleset") == ""
            assert await machine.heard() == ALL

    asyncio.run(body())
