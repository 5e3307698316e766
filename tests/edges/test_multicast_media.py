"""mcast, mcast6 and ucast6 between two namespaces, and interfaces that come late, go and come back."""

import asyncio
import socket
from collections.abc import Iterator

import pytest

from hbd.config.model import Bcast, Mcast, MediumSpec, Ucast, Ucast6
from hbd.core.effects import Transmit
from hbd.core.events import DatagramReceived, LinkFailed, LinkOpened
from hbd.media import udp
from tests.edges.namespaces import cable, pair, until
from tests.edges.test_udp_media import Node

PORT = 694
IP_RECVTTL = 12
MCAST = Mcast("eth1", "225.0.0.1", PORT, 1, False)
MCAST6 = Mcast("eth1", "ff02::694", PORT, 1, False, 6)
BCAST = Bcast("eth1", PORT)
TO_ONE6, TO_TWO6 = Ucast6("eth1", "fe80::1", PORT), Ucast6("eth1", "fe80::2", PORT)
EVERY_MEDIUM = pytest.mark.parametrize(
    "spec",
    [BCAST, Ucast("eth1", "10.0.0.2", PORT), MCAST, MCAST6, TO_TWO6],
    ids=["bcast", "ucast", "mcast", "mcast6", "ucast6"],
)


@pytest.fixture
def nodes() -> Iterator[tuple[Node, Node]]:
    """10.0.0.1, fe80::1 and 10.0.0.2, fe80::2 on eth1."""
    with pair("eth1") as (one, two):
        for number, end in enumerate((one, two), 1):
            end.ip(f"address add 10.0.0.{number}/24 broadcast + dev eth1")
            end.ip(f"address add fe80::{number}/64 dev eth1")
        made = Node(one), Node(two)
        yield made
        for node in made:
            for medium in node.opened:
                medium.close()


@pytest.fixture
def quick_looks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Media look after their interface with every message."""
    monkeypatch.setattr(udp, "LOOK_EVERY_S", 0.0)


@pytest.mark.parametrize("spec", [MCAST, MCAST6], ids=["mcast", "mcast6"])
def test_a_group_reaches_the_peer_once_and_not_ourselves(nodes: tuple[Node, Node], spec: MediumSpec) -> None:
    one, two = nodes

    async def body() -> None:
        sender = one.open(spec)
        two.open(spec)
        assert two.posted == [LinkOpened(spec)]
        sender.send(Transmit(b"hello"))
        await until(lambda: two.posted[1:] == [DatagramReceived(spec, b"hello")])
        await asyncio.sleep(0.05)
        assert two.heard() == [b"hello"]
        assert one.heard() == []

    asyncio.run(body())


@pytest.mark.parametrize("version", [4, 6])
def test_with_loop_a_node_hears_itself(nodes: tuple[Node, Node], version: int) -> None:
    one, _ = nodes
    group = "225.0.0.1" if version == 4 else "ff02::694"

    async def body() -> None:
        one.open(Mcast("eth1", group, PORT, 1, True, version)).send(Transmit(b"hello"))
        await until(lambda: one.heard() == [b"hello"])

    asyncio.run(body())


def test_mcast_leaves_with_the_ttl_of_its_line_for_its_group_and_port(nodes: tuple[Node, Node]) -> None:
    one, two = nodes
    with two.namespace.inside(), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as receiver:
        receiver.bind(("225.0.0.7", 1694))
        member = socket.inet_aton("225.0.0.7") + socket.inet_aton("10.0.0.2")
        receiver.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, member)
        receiver.setsockopt(socket.IPPROTO_IP, IP_RECVTTL, 1)
        receiver.settimeout(30)

        async def body() -> None:
            one.open(Mcast("eth1", "225.0.0.7", 1694, 3, False)).send(Transmit(b"hello"))

        asyncio.run(body())
        payload, control, _, _ = receiver.recvmsg(100, 200)
        assert payload == b"hello"
        assert [int.from_bytes(value, "little") for _, kind, value in control if kind == socket.IP_TTL] == [3]


def test_mcast6_leaves_with_the_hops_of_its_line(nodes: tuple[Node, Node]) -> None:
    one, two = nodes
    with two.namespace.inside(), socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as receiver:
        receiver.bind(("::", 1694))
        index = socket.if_nametoindex("eth1").to_bytes(4, "little")
        member = socket.inet_pton(socket.AF_INET6, "ff02::694") + index
        receiver.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_JOIN_GROUP, member)
        receiver.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_RECVHOPLIMIT, 1)
        receiver.settimeout(30)

        async def body() -> None:
            one.open(Mcast("eth1", "ff02::694", 1694, 2, False, 6)).send(Transmit(b"hello"))

        asyncio.run(body())
        _, control, _, _ = receiver.recvmsg(100, 200)
        hops = [value for _, kind, value in control if kind == socket.IPV6_HOPLIMIT]
        assert [int.from_bytes(value, "little") for value in hops] == [2]


def test_bcast_and_mcast_at_one_port_lose_nothing_and_double_nothing(nodes: tuple[Node, Node]) -> None:
    one, two = nodes

    async def body() -> None:
        for node in nodes:
            node.open(BCAST, MCAST, MCAST6, TO_ONE6, TO_TWO6)
        for number, medium in enumerate(one.opened):
            medium.send(Transmit(b"%d" % number))
        await until(lambda: len(two.heard()) >= 4)
        await asyncio.sleep(0.05)
        assert sorted(two.heard()) == [b"0", b"1", b"2", b"4"]
        assert sorted(one.heard()) == [b"0", b"3"], "its own broadcast, and what went to itself"

    asyncio.run(body())


def test_a_group_that_another_program_has_joined_is_not_heard(nodes: tuple[Node, Node]) -> None:
    one, two = nodes
    with two.namespace.inside(), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as stranger:
        member = socket.inet_aton("225.0.0.9") + socket.inet_aton("10.0.0.2")
        stranger.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, member)

        async def body() -> None:
            two.open(BCAST, MCAST)
            one.open(Mcast("eth1", "225.0.0.9", PORT, 1, False)).send(Transmit(b"of others"))
            one.open(MCAST).send(Transmit(b"ours"))
            await until(lambda: two.heard() == [b"ours"])
            await asyncio.sleep(0.05)
            assert two.heard() == [b"ours"]

        asyncio.run(body())


def test_two_lines_of_one_group_share_it_and_one_may_be_closed(nodes: tuple[Node, Node]) -> None:
    one, two = nodes
    wide = Mcast("eth1", "225.0.0.1", PORT, 4, False)

    async def body() -> None:
        two.open(MCAST, wide)
        two.opened[0].close()
        one.open(MCAST).send(Transmit(b"hello"))
        await until(lambda: two.posted[2:] == [DatagramReceived(wide, b"hello")])

    asyncio.run(body())


def test_ucast6_reaches_a_link_local_address_and_knows_who_sent(nodes: tuple[Node, Node]) -> None:
    one, two = nodes

    async def body() -> None:
        one.open(TO_ONE6, TO_TWO6)
        two.open(TO_TWO6, TO_ONE6)
        one.opened[1].send(Transmit(b"hello"))
        await until(lambda: DatagramReceived(TO_ONE6, b"hello") in two.posted)

    asyncio.run(body())


def test_ucast6_reaches_a_global_address_however_it_is_spelt(nodes: tuple[Node, Node]) -> None:
    one, two = nodes
    one.namespace.ip("address add 2001:db8::1/64 dev eth1 nodad")
    two.namespace.ip("address add 2001:db8::2/64 dev eth1 nodad")
    to_one = Ucast6("eth1", "2001:DB8:0::1", PORT)

    async def body() -> None:
        two.open(TO_ONE6, to_one)
        one.open(Ucast6("eth1", "2001:db8::2", PORT)).send(Transmit(b"hello"))
        await until(lambda: DatagramReceived(to_one, b"hello") in two.posted)

    asyncio.run(body())


@EVERY_MEDIUM
@pytest.mark.parametrize("end", ["link set eth1 down", "link delete eth1"])
def test_an_interface_that_goes_is_told_once_and_its_return_is_taken_up(
    nodes: tuple[Node, Node], end: str, spec: MediumSpec
) -> None:
    one, two = nodes

    async def body() -> None:
        medium = one.open(spec)
        medium.send(Transmit(b"before"))
        one.namespace.ip(end)
        for _ in range(3):
            medium.send(Transmit(b"lost"))
        [failure] = one.failures()
        assert failure.medium == spec
        assert failure.reason
        assert not failure.reason.startswith("eth1: "), "whoever says it names the link"
        with pytest.raises(OSError, match="eth1"):
            one.open(spec)
        if "delete" in end:
            cable(one.namespace, two.namespace, "eth1")
        else:
            one.namespace.ip("link set eth1 up")
        for number, node in enumerate(nodes, 1):
            if "delete" in end or node is one:
                node.namespace.ip(f"address replace fe80::{number}/64 dev eth1")
                node.namespace.ip(f"address replace 10.0.0.{number}/24 broadcast + dev eth1")
        with one.namespace.inside():
            medium.open(one.posted.append)
        two.open(BCAST, MCAST, MCAST6, TO_TWO6)
        # The neighbour's cache may still have the old cable.
        await until(lambda: b"after" in two.heard(), lambda: medium.send(Transmit(b"after")))

    asyncio.run(body())


def test_an_interface_that_comes_late_is_no_obstacle_to_another(nodes: tuple[Node, Node]) -> None:
    one, two = nodes
    late = Mcast("eth2", "225.0.0.1", PORT, 1, False)

    async def body() -> None:
        with pytest.raises(OSError, match="there is no interface eth2"):
            one.open(late)
        one.open(MCAST)
        cable(one.namespace, two.namespace, "eth2")
        one.open(late)
        assert one.posted == [LinkOpened(MCAST), LinkOpened(late)]

    asyncio.run(body())


@EVERY_MEDIUM
@pytest.mark.usefixtures("quick_looks")
def test_an_interface_that_is_renamed_is_left_and_found_again_under_its_name(
    nodes: tuple[Node, Node], spec: MediumSpec
) -> None:
    one, _ = nodes

    async def body() -> None:
        medium = one.open(spec)
        for change in ("link set eth1 down", "link set eth1 name lan1", "link set lan1 up"):
            one.namespace.ip(change)
        with one.namespace.inside():
            medium.send(Transmit(b"lost"))
        assert [type(event) for event in one.posted] == [LinkOpened, LinkFailed]
        with pytest.raises(OSError, match="there is no interface eth1"):
            one.open(spec)
        for change in ("link set lan1 down", "link set lan1 name eth1", "link set eth1 up"):
            one.namespace.ip(change)
        with one.namespace.inside():
            medium.open(one.posted.append)
        assert one.posted[-1] == LinkOpened(spec)

    asyncio.run(body())


@pytest.mark.usefixtures("quick_looks")
def test_another_interface_that_takes_the_name_over_is_noticed(nodes: tuple[Node, Node]) -> None:
    """The socket is still bound to the first one, which works: nothing else would tell."""
    one, _ = nodes

    async def body() -> None:
        medium = one.open(MCAST)
        for change in ("link set eth1 down", "link set eth1 name old1", "link set old1 up"):
            one.namespace.ip(change)
        one.namespace.ip("link add eth1 type veth peer name other1")
        one.namespace.ip("link set eth1 up")
        with one.namespace.inside():
            medium.send(Transmit(b"lost"))
        [failure] = one.failures()
        assert failure.reason == "the interface was renamed, or another took its place"

    asyncio.run(body())


@pytest.mark.usefixtures("quick_looks")
def test_bcast_follows_the_address_of_its_interface(nodes: tuple[Node, Node]) -> None:
    one, two = nodes

    async def body() -> None:
        medium = one.open(BCAST)
        two.open(BCAST)
        for number, node in enumerate(nodes, 1):
            node.namespace.ip("address flush dev eth1")
            node.namespace.ip(f"address add 10.9.0.{number}/16 broadcast + dev eth1")
        with one.namespace.inside():
            medium.send(Transmit(b"hello"))
        assert one.posted == [LinkOpened(BCAST), LinkOpened(BCAST)], "said again, and never lost"
        await until(lambda: two.heard() == [b"hello"])
        one.namespace.ip("address flush dev eth1")
        with one.namespace.inside():
            medium.send(Transmit(b"lost"))
        [failure] = one.failures()
        assert failure.reason == "interface eth1 has no IPv4 address"

    asyncio.run(body())
