"""hbd.netlink against the kernel, in network namespaces of its own."""

import asyncio
import socket
import subprocess
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from ipaddress import ip_network

import pytest

from hbd.errors import EdgeError
from hbd.netlink import Netlink, NoAnswer
from hbd.rtnetlink import Address, AddressSeen, LinkSeen, Notice
from tests.edges.namespaces import Namespace, namespace, pair, until


@pytest.fixture
def node() -> Iterator[Namespace]:
    """A namespace with eth0 (192.168.85.1/24) and a bare eth1; this thread is inside."""
    with pair("eth0", "eth1") as (one, _):
        one.ip("address add 192.168.85.1/24 broadcast + dev eth0")
        with one.inside():
            yield one


@asynccontextmanager
async def netlink() -> AsyncIterator[Netlink]:
    opened = Netlink()
    opened.open()
    try:
        yield opened
    finally:
        opened.close()


def index_of(kernel: Netlink, name: str) -> int:
    link = kernel.tables().link_named(name)
    assert link is not None
    return link.index


def test_links_tell_what_they_are(node: Namespace) -> None:
    async def body() -> None:
        async with netlink() as kernel:
            links = {link.name: link for link in kernel.tables().links.values()}
            assert links["lo"].loopback
            assert not links["lo"].announces
            assert links["eth0"].up
            assert links["eth0"].carrier
            assert links["eth0"].announces
            assert links["eth0"].mac.hex(":") in node.ip("link show eth0")

    asyncio.run(body())


def test_an_added_address_is_returned_as_the_kernel_shows_it_and_noticed(node: Namespace) -> None:
    async def body() -> None:
        async with netlink() as kernel:
            noticed: list[Notice] = []
            kernel.listen(noticed.append)
            index = index_of(kernel, "eth0")
            wish = Address("192.168.85.3", 24, index, "eth0:0", "192.168.85.255")

            shown = kernel.add(wish)

            assert (shown.ip, shown.prefix, shown.index) == wish.place
            assert (shown.label, shown.broadcast) == ("eth0:0", "192.168.85.255")
            assert shown.secondary
            assert "192.168.85.3/24 brd 192.168.85.255 scope global secondary eth0:0" in node.ip("-4 address")
            await until(lambda: AddressSeen(shown, True) in noticed)
            await kernel.delete([shown])
            assert "192.168.85.3" not in node.ip("-4 address")
            await until(lambda: AddressSeen(shown, False) in noticed)

    asyncio.run(body())


def test_adding_what_is_there_and_deleting_what_is_not_is_success(node: Namespace) -> None:
    async def body() -> None:
        async with netlink() as kernel:
            for ip in ("192.168.85.3", "fd00::3"):
                wish = Address(ip, 64 if ":" in ip else 24, index_of(kernel, "eth0"))
                first = kernel.add(wish)
                assert kernel.add(wish) == first
                await kernel.delete([wish, wish])
                await kernel.delete([wish])
                assert ip not in {address.ip for address in kernel.tables().addresses()}

    asyncio.run(body())


def test_the_same_address_on_another_interface_is_not_taken_for_the_wished_one(node: Namespace) -> None:
    async def body() -> None:
        async with netlink() as kernel:
            eth0, eth1 = index_of(kernel, "eth0"), index_of(kernel, "eth1")
            kernel.add(Address("192.168.85.3", 24, eth0))
            assert (kernel.add(Address("192.168.85.3", 24, eth1))).index == eth1

    asyncio.run(body())


def test_a_refusal_of_the_kernel_names_the_address_and_the_reason(node: Namespace) -> None:
    async def body() -> None:
        async with netlink() as kernel:
            with pytest.raises(EdgeError, match=r"192\.168\.85\.3/24: No such device"):
                kernel.add(Address("192.168.85.3", 24, 4711))

    asyncio.run(body())


def test_a_hundred_addresses_are_deleted_and_the_others_stay(node: Namespace) -> None:
    async def body() -> None:
        async with netlink() as kernel:
            eth1 = index_of(kernel, "eth1")
            many = [kernel.add(Address(f"10.9.8.{last}", 32, eth1)) for last in range(1, 101)]
            await kernel.delete(many[1:])
            left = [address.ip for address in kernel.tables().addresses(4) if address.index == eth1]
            assert left == ["10.9.8.1"]

    asyncio.run(body())


def test_routes_are_the_unicast_routes_of_the_main_table(node: Namespace) -> None:
    node.ip("route add 10.0.0.0/8 via 192.168.85.254 metric 7")
    node.ip("route add default via 192.168.85.254")
    node.ip("route add blackhole 10.1.0.0/16")
    node.ip("route add 10.2.0.0/16 dev eth1 table 100")
    node.ip("route add 10.3.0.0/16 nexthop via 192.168.85.253 nexthop via 192.168.85.254")
    node.ip("-6 route add fd01::/48 dev eth1 metric 5")

    async def body() -> None:
        async with netlink() as kernel:
            eth0, eth1 = index_of(kernel, "eth0"), index_of(kernel, "eth1")
            found = {(str(route.network), route.index, route.metric) for route in kernel.routes(4)}
            assert found == {
                ("0.0.0.0/0", eth0, 0),
                ("10.0.0.0/8", eth0, 7),
                ("10.3.0.0/16", eth0, 0),
                ("192.168.85.0/24", eth0, 0),
            }
            [ours] = [route for route in kernel.routes(6) if route.network == ip_network("fd01::/48")]
            assert (ours.index, ours.metric) == (eth1, 5)

    asyncio.run(body())


def test_a_link_that_goes_down_is_noticed(node: Namespace) -> None:
    async def body() -> None:
        async with netlink() as kernel:
            noticed: list[Notice] = []
            end = kernel.listen(noticed.append)
            node.ip("link set eth1 down")

            def down() -> bool:
                links = [notice.link for notice in noticed if isinstance(notice, LinkSeen)]
                return any(link.name == "eth1" and not link.up for link in links)

            await until(down)
            end()
            noticed.clear()
            node.ip("link set eth1 up")
            await asyncio.sleep(0.05)
            assert noticed == []

    asyncio.run(body())


def test_after_lost_notices_the_difference_is_told(
    node: Namespace, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The loop stalls while more happens than the kernel keeps for us."""
    monkeypatch.setattr("hbd.netlink.NOTICE_BYTES", 1 << 16)
    flood = "".join(
        f"address add 10.0.{n >> 8}.{n & 255}/32 dev eth1\naddress del 10.0.{n >> 8}.{n & 255}/32 dev eth1\n"
        for n in range(300)
    )

    async def body() -> None:
        async with netlink() as kernel:
            told: dict[str, bool] = {}
            node.ip("address add 10.7.7.7/32 dev eth1")
            await asyncio.sleep(0.05)
            kernel.listen(
                lambda n: told.update({n.address.ip: n.present}) if isinstance(n, AddressSeen) else None
            )
            after = "address add 10.8.8.8/32 dev eth1\naddress del 10.7.7.7/32 dev eth1\n"
            subprocess.run(  # noqa: ASYNC221 — the stall is what is tested
                ["ip", "-n", node.name, "-batch", "-"], input=flood + after, text=True, check=True
            )
            await until(lambda: told.get("10.8.8.8") is True and told.get("10.7.7.7") is False)
            assert "Lost notices of the kernel" in caplog.text
            assert "10.0.1.1" not in told or told["10.0.1.1"] is False
            node.ip("address add 10.8.8.9/32 dev eth1")
            await until(lambda: told.get("10.8.8.9") is True)

    asyncio.run(body())


def test_the_tables_are_as_new_as_a_dump_without_a_turn_of_the_loop(node: Namespace) -> None:
    async def body() -> None:
        async with netlink() as kernel:
            eth1 = index_of(kernel, "eth1")
            for last in range(1, 60):
                node.ip(f"address add 10.9.8.{last}/32 dev eth1 label eth1:{last}")  # Blocks the loop.
                [shown] = kernel.tables().having(f"10.9.8.{last}")
                assert shown.place == (f"10.9.8.{last}", 32, eth1)
            assert kernel.tables().free_label("eth1") == "eth1:0"
            node.ip("address flush dev eth1 label eth1:7*")
            assert kernel.tables().having("10.9.8.7") == []
            assert len(kernel.tables().having("10.9.8.8")) == 1

    asyncio.run(body())


def test_an_interface_that_is_renamed_or_moved_away_is_so_in_the_tables(node: Namespace) -> None:
    async def body() -> None:
        async with netlink() as kernel:
            eth1 = index_of(kernel, "eth1")
            node.ip("address add 10.9.8.7/32 dev eth1")
            node.ip("link set eth1 down")
            node.ip("link set eth1 name wan0")
            assert kernel.tables().links[eth1].name == "wan0"
            assert kernel.tables().link_named("eth1") is None
            with namespace() as other:
                node.ip(f"link set wan0 netns {other.name}")
                assert eth1 not in kernel.tables().links
                assert kernel.tables().having("10.9.8.7") == []

    asyncio.run(body())


def test_what_is_removed_between_look_and_change_is_removed_once(node: Namespace) -> None:
    async def body() -> None:
        async with netlink() as kernel:
            shown = kernel.add(Address("192.168.85.3", 24, index_of(kernel, "eth0")))
            node.ip("address del 192.168.85.3/24 dev eth0")
            await kernel.delete([shown])
            assert kernel.tables().having("192.168.85.3") == []

    asyncio.run(body())


def test_routes_are_asked_for_once_by_all_who_ask_at_the_same_time(node: Namespace) -> None:
    async def body() -> None:
        async with netlink() as kernel:
            first = kernel.routes(4)
            assert kernel.routes(4) is first
            node.ip("route add 10.0.0.0/8 via 192.168.85.254")
            await until(lambda: ip_network("10.0.0.0/8") in [route.network for route in kernel.routes(4)])

    asyncio.run(body())


def test_lost_answers_are_no_answer_and_the_next_question_is_answered(
    node: Namespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def body() -> None:
        index = socket.if_nametoindex("eth0")
        monkeypatch.setattr("hbd.netlink.ANSWER_BYTES", 1)  # The kernel gives two thousand, for two answers.
        async with netlink() as kernel:
            monkeypatch.undo()
            many = [Address(f"192.168.85.{last}", 24, index) for last in range(10, 50)]
            with pytest.raises(NoAnswer):
                await kernel.delete(many)
            assert kernel.add(many[0]).ip == "192.168.85.10"
            await kernel.delete(many)

    asyncio.run(body())
