"""bcast and ucast between two network namespaces: real sockets on a real (virtual) cable."""

import asyncio
import socket
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest

from hbd.config.model import Bcast, MediumSpec, Ucast
from hbd.core.effects import Transmit
from hbd.core.events import CarrierSeen, DatagramReceived, Event, LinkFailed, LinkOpened
from hbd.media.base import Medium
from hbd.media.interface import broadcast_address
from hbd.media.table import Media
from hbd.media.udp import UcastMedium
from tests.edges.namespaces import Namespace, cable, pair, until

PORT = 694
IP_PKTINFO = 8
BCAST = Bcast("eth1", PORT)
TO_ONE, TO_TWO = Ucast("eth1", "10.0.0.1", PORT), Ucast("eth1", "10.0.0.2", PORT)


@dataclass
class Node:
    """A namespace, the media opened in it, and what they posted."""

    namespace: Namespace
    media: Media = field(default_factory=Media)
    posted: list[Event] = field(default_factory=list)
    opened: list[Medium] = field(default_factory=list)

    def open(self, *specs: MediumSpec) -> Medium:
        """Open them; the last one."""
        for spec in specs:
            medium = self.media.make(spec)
            with self.namespace.inside():
                medium.open(self.posted.append)
            self.opened.append(medium)
        return self.opened[-1]

    def heard(self) -> list[bytes]:
        return [event.payload for event in self.posted if isinstance(event, DatagramReceived)]

    def failures(self) -> list[LinkFailed]:
        return [event for event in self.posted if isinstance(event, LinkFailed)]


@pytest.fixture
def nodes() -> Iterator[tuple[Node, Node]]:
    """10.0.0.1 and 10.0.0.2 on eth1, with a broadcast address."""
    with pair("eth1") as (one, two):
        one.ip("address add 10.0.0.1/24 broadcast + dev eth1")
        two.ip("address add 10.0.0.2/24 broadcast + dev eth1")
        made = Node(one), Node(two)
        yield made
        for node in made:
            for medium in node.opened:
                medium.close()


def test_a_broadcast_reaches_the_peer_once_and_comes_from_any_port(nodes: tuple[Node, Node]) -> None:
    one, two = nodes

    async def body() -> None:
        first = one.open(BCAST)
        two.open(BCAST)
        assert two.posted == [LinkOpened(BCAST)]
        first.send(Transmit(b"hello"))
        await until(lambda: two.posted[1:] == [DatagramReceived(BCAST, b"hello")])

    asyncio.run(body())


def test_a_broadcast_goes_to_the_interfaces_broadcast_address(nodes: tuple[Node, Node]) -> None:
    one, two = nodes
    with two.namespace.inside(), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as receiver:
        receiver.bind(("10.0.0.255", PORT))
        receiver.settimeout(30)

        async def body() -> None:
            one.open(BCAST).send(Transmit(b"hello"))

        asyncio.run(body())
        payload, (sender, port) = receiver.recvfrom(100)
        assert (payload, sender) == (b"hello", "10.0.0.1")
        assert port != PORT


def test_where_no_broadcast_address_was_set_it_is_the_highest_of_the_subnet(nodes: tuple[Node, Node]) -> None:
    one, _ = nodes
    one.namespace.ip("address del 10.0.0.1/24 dev eth1")
    one.namespace.ip("address add 10.0.0.1/20 dev eth1")
    with one.namespace.inside():
        assert broadcast_address("eth1") == "10.0.15.255"


def test_ucast_reaches_its_target_with_low_delay_from_its_device_only(nodes: tuple[Node, Node]) -> None:
    one, two = nodes
    cable(one.namespace, two.namespace, "eth0")
    one.namespace.ip("route add 10.0.0.2/32 dev eth0")
    with two.namespace.inside(), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as receiver:
        receiver.bind(("10.0.0.2", PORT))
        receiver.setsockopt(socket.IPPROTO_IP, socket.IP_RECVTOS, 1)
        receiver.setsockopt(socket.IPPROTO_IP, IP_PKTINFO, 1)
        receiver.settimeout(30)

        async def body() -> None:
            one.open(TO_TWO).send(Transmit(b"hello"))

        asyncio.run(body())
        payload, control, _, _ = receiver.recvmsg(100, 200)
        assert payload == b"hello"
        assert (socket.IPPROTO_IP, socket.IP_TOS, b"\x10") in control
        interface = next(value[:4] for _, kind, value in control if kind == IP_PKTINFO)
        assert int.from_bytes(interface, "little") == socket.if_nametoindex("eth1")


def test_what_comes_in_on_another_interface_is_not_heard(nodes: tuple[Node, Node]) -> None:
    one, two = nodes
    cable(one.namespace, two.namespace, "eth0")
    one.namespace.ip("address add 10.1.0.1/24 broadcast + dev eth0")
    two.namespace.ip("address add 10.1.0.2/24 broadcast + dev eth0")

    async def body() -> None:
        two.open(BCAST)
        one.open(Ucast("eth0", "10.1.0.2", PORT)).send(Transmit(b"wrong way"))
        one.open(BCAST).send(Transmit(b"right way"))
        await until(lambda: two.heard() == [b"right way"])
        await asyncio.sleep(0.05)
        assert two.heard() == [b"right way"]

    asyncio.run(body())


def test_lines_for_both_nodes_in_one_file_lose_nothing_and_double_nothing(nodes: tuple[Node, Node]) -> None:
    """Identical ha.cf on both nodes: each has a ucast line to itself, and here a bcast line as well."""
    one, two = nodes

    async def body() -> None:
        for node in nodes:
            node.open(TO_ONE, TO_TWO, BCAST)
        to_two = one.opened[1]
        sent = [b"%d" % number for number in range(100)]
        for payload in sent:
            to_two.send(Transmit(payload))
        await until(lambda: len(two.heard()) >= 100)
        one.opened[2].send(Transmit(b"to all"))
        one.opened[0].send(Transmit(b"to myself"))
        await until(lambda: b"to all" in two.heard())
        await asyncio.sleep(0.05)
        assert two.heard() == [*sent, b"to all"]
        assert Counter(one.heard()) == Counter([b"to all", b"to myself"])

    asyncio.run(body())


def test_a_datagram_is_posted_under_the_medium_whose_target_sent_it(nodes: tuple[Node, Node]) -> None:
    one, two = nodes

    async def body() -> None:
        one.open(TO_TWO).send(Transmit(b"x"))
        two.open(TO_TWO, TO_ONE)
        one.opened[0].send(Transmit(b"hello"))
        await until(lambda: DatagramReceived(TO_ONE, b"hello") in two.posted)

    asyncio.run(body())


def test_closing_one_of_two_lines_leaves_the_other_and_closing_both_frees_the_port(
    nodes: tuple[Node, Node],
) -> None:
    one, two = nodes

    async def body() -> None:
        sender = one.open(TO_TWO)
        two.open(TO_TWO, TO_ONE)
        two.opened[1].close()
        sender.send(Transmit(b"still heard"))
        await until(lambda: two.heard() == [b"still heard"])
        two.opened[0].close()
        sender.send(Transmit(b"nobody there"))
        await asyncio.sleep(0.05)
        assert two.heard() == [b"still heard"]
        with two.namespace.inside(), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as alone:
            alone.bind(("0.0.0.0", PORT))

    asyncio.run(body())


def test_an_interface_that_is_missing_down_or_without_address_is_said_at_open(
    nodes: tuple[Node, Node],
) -> None:
    one, _ = nodes

    async def body() -> None:
        for spec in (Bcast("eth7", PORT), Ucast("eth7", "10.0.0.2", PORT), Ucast("eth7", "localhost", PORT)):
            with pytest.raises(OSError, match="there is no interface eth7"):
                one.open(spec)
        one.namespace.ip("address flush dev eth1")
        with pytest.raises(OSError, match="interface eth1 has no IPv4 address"):
            one.open(BCAST)
        one.namespace.ip("link set eth1 down")
        with pytest.raises(OSError, match="interface eth1 is down"):
            one.open(TO_TWO)
        one.namespace.ip("link set eth1 up")
        one.namespace.ip("address add 10.0.0.1/24 dev eth1")
        one.open(BCAST, TO_TWO)
        assert one.posted == [LinkOpened(BCAST), LinkOpened(TO_TWO)]

    asyncio.run(body())


def test_a_cable_without_carrier_is_no_failure(nodes: tuple[Node, Node]) -> None:
    """The peers' silence says it; the socket itself is well."""
    one, two = nodes

    async def body() -> None:
        medium = one.open(BCAST)
        two.open(BCAST)
        two.namespace.ip("link set eth1 down")
        medium.send(Transmit(b"lost"))
        two.namespace.ip("link set eth1 up")
        await until(lambda: b"found" in two.heard(), lambda: medium.send(Transmit(b"found")))
        assert one.failures() == []

    asyncio.run(body())


def test_the_longest_datagram_arrives_whole_and_a_longer_one_is_counted(nodes: tuple[Node, Node]) -> None:
    one, two = nodes

    async def body() -> None:
        medium = one.open(TO_TWO)
        assert isinstance(medium, UcastMedium)
        two.open(TO_ONE)
        medium.send(Transmit(bytes(65507)))
        await until(lambda: two.heard() == [bytes(65507)])
        medium.send(Transmit(bytes(65508)))
        assert medium.dropped == 1
        medium.send(Transmit(b""))
        await until(lambda: two.heard()[1:] == [b""])
        assert one.failures() == []

    asyncio.run(body())


def test_after_a_stall_what_waits_is_heard_before_a_timer_that_is_due(nodes: tuple[Node, Node]) -> None:
    one, two = nodes

    async def body() -> None:
        sender = one.open(TO_TWO)
        two.open(TO_ONE)
        sender.send(Transmit(b"first"))  # The neighbour's hardware address is known from here on.
        await until(lambda: two.heard() == [b"first"])
        heard_at_deadline: list[int] = []
        asyncio.get_running_loop().call_later(0.02, lambda: heard_at_deadline.append(len(two.heard())))
        for _ in range(150):
            sender.send(Transmit(bytes(250)))
        time.sleep(0.05)  # noqa: ASYNC251 — the stall is what is tested
        await until(lambda: heard_at_deadline != [])
        assert heard_at_deadline == [151]

    asyncio.run(body())


def test_a_core_that_closes_the_link_in_the_middle_of_a_burst_hears_no_more(nodes: tuple[Node, Node]) -> None:
    one, two = nodes

    async def body() -> None:
        sender = one.open(TO_TWO)
        receiver = two.media.make(TO_ONE)

        def post(event: Event) -> None:
            two.posted.append(event)
            if len(two.heard()) == 3:
                receiver.close()

        with two.namespace.inside():
            receiver.open(post)
        for number in range(10):
            sender.send(Transmit(b"%d" % number))
        await until(lambda: len(two.heard()) >= 3)
        await asyncio.sleep(0.05)
        assert two.heard() == [b"0", b"1", b"2"]

    asyncio.run(body())


@pytest.mark.parametrize("name", ["no-such-node.invalid", f"{'n' * 70}.invalid", "n..invalid", "\udcff"])
def test_a_name_is_resolved_off_the_loop_and_an_unknown_one_is_a_failed_link(
    name: str, nodes: tuple[Node, Node]
) -> None:
    one, _ = nodes
    unknown = Ucast("eth1", name, PORT)
    known = Ucast("lo", "localhost", PORT)

    async def body() -> None:
        one.open(known, unknown)
        assert one.posted == [], "nothing waits for a name server"
        await until(lambda: len(one.posted) == 2)
        assert LinkOpened(known) in one.posted
        [failure] = one.failures()
        assert failure.medium == unknown
        assert failure.reason.startswith(f"{name}: ")
        one.opened[0].send(Transmit(b"to myself"))
        await until(lambda: one.heard() == [b"to myself"])

    asyncio.run(body())


def test_a_link_closed_while_its_name_is_looked_up_posts_nothing(nodes: tuple[Node, Node]) -> None:
    one, _ = nodes

    async def body() -> None:
        one.open(Ucast("lo", "localhost", PORT)).close()
        await asyncio.sleep(0.2)
        assert one.posted == []

    asyncio.run(body())


def test_a_missing_carrier_is_told_at_the_opening_and_each_change_after_it(nodes: tuple[Node, Node]) -> None:
    one, two = nodes

    def beat(medium: Medium) -> None:
        with one.namespace.inside():
            medium.send(Transmit(b"heartbeat"))

    two.namespace.ip("link set eth1 down")

    async def body() -> None:
        await until(lambda: "NO-CARRIER" in one.namespace.ip("-o link show dev eth1"))
        medium = one.open(BCAST)
        assert one.posted == [CarrierSeen(BCAST, False), LinkOpened(BCAST)]
        for link, present in (("up", True), ("down", False)):
            two.namespace.ip(f"link set eth1 {link}")
            told = CarrierSeen(BCAST, present)
            await until(lambda told=told: told in one.posted[2:], lambda: beat(medium))  # type: ignore[misc]

    asyncio.run(body())
    assert not one.failures()
