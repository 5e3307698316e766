"""Ping nodes against real kernels that answer, in namespaces; and answers that are none."""

import asyncio
import socket
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field

import pytest

from hbd.config.model import Ping
from hbd.core.effects import Transmit
from hbd.core.events import Event, LinkFailed, LinkOpened, PingAnswered
from hbd.media.ping import Host, PingMedium, checksum
from hbd.media.table import Media
from tests.edges.namespaces import Namespace, cable, namespace, pair, until

ROUTER = Ping("10.0.0.2", ("10.0.0.2",), "ping")
SILENT_S = 0.3
"""No answer within this is no answer."""


@dataclass
class Asker:
    """The machine that asks, and what its media post."""

    namespace: Namespace
    router: Namespace
    posted: list[Event] = field(default_factory=list)
    media: list[PingMedium] = field(default_factory=list)

    def open(self, spec: Ping) -> PingMedium:
        medium = Media().make(spec)
        assert isinstance(medium, PingMedium)
        self.media.append(medium)
        medium.open(self.posted.append)
        return medium

    @property
    def answers(self) -> int:
        return sum(isinstance(event, PingAnswered) for event in self.posted)

    def run(self, body: Callable[[], Awaitable[None]]) -> None:
        """In the namespace, and with everything closed at the end."""

        async def whole() -> None:
            try:
                await body()
            finally:
                for medium in self.media:
                    medium.close()

        with self.namespace.inside():
            asyncio.run(whole())


@pytest.fixture
def asker() -> Iterator[Asker]:
    """10.0.0.1 and fd00::1 on eth0; the other end has .2 and .3."""
    with pair() as (one, two):
        one.ip("address add 10.0.0.1/24 dev eth0")
        one.ip("address add fd00::1/64 dev eth0 nodad")
        for number in (2, 3):
            two.ip(f"address add 10.0.0.{number}/24 dev eth0")
            two.ip(f"address add fd00::{number}/64 dev eth0 nodad")
        two.ip("address add fe80::2/64 dev eth0 nodad")
        yield Asker(one, two)


@pytest.mark.parametrize(
    "spec",
    [
        ROUTER,
        Ping("fd00::2", ("fd00::2",), "ping6"),
        Ping("fe80::2%eth0", ("fe80::2%eth0",), "ping6"),
        Ping("localhost", ("localhost",), "ping"),
        Ping("routers", ("10.0.0.2", "fd00::3"), "ping_group"),
    ],
    ids=lambda spec: spec.name,
)
def test_a_host_that_answers_is_heard_once_for_each_request(asker: Asker, spec: Ping) -> None:
    async def body() -> None:
        medium = asker.open(spec)
        await until(lambda: asker.posted == [LinkOpened(spec)])
        for request in (1, 2, 3):
            medium.ask()
            await until(lambda request=request: asker.answers == request * len(spec.hosts))  # type: ignore[misc]
        assert asker.posted[1:] == [PingAnswered(spec)] * asker.answers

    asker.run(body)


def test_a_group_is_heard_while_one_member_answers(asker: Asker) -> None:
    spec = Ping("routers", ("10.0.0.2", "10.0.0.3"), "ping_group")

    async def body() -> None:
        medium = asker.open(spec)
        asker.router.ip("address del 10.0.0.2/24 dev eth0")
        asker.router.ip("address add 10.0.0.3/24 dev eth0")  # It was a secondary address, and went along.
        medium.ask()
        await until(lambda: asker.answers == 1)
        asker.router.ip("address del 10.0.0.3/24 dev eth0")
        medium.ask()
        await asyncio.sleep(SILENT_S)
        assert asker.answers == 1

    asker.run(body)


def test_no_route_and_no_link_are_silence_and_end_by_themselves(asker: Asker) -> None:
    async def body() -> None:
        medium = asker.open(ROUTER)
        for there, back in (
            ("link set eth0 down", "link set eth0 up"),
            ("address del 10.0.0.1/24 dev eth0", "address add 10.0.0.7/24 dev eth0"),
        ):
            before = asker.answers
            asker.namespace.ip(there)
            medium.ask()
            await asyncio.sleep(SILENT_S)
            assert asker.answers == before
            asker.namespace.ip(back)
            # Neighbours have to be found again.
            await until(lambda before=before: asker.answers > before, medium.ask)  # type: ignore[misc]
        assert not any(isinstance(event, LinkFailed) for event in asker.posted)

    asker.run(body)


def test_a_name_that_cannot_be_found_fails_later_and_not_in_open(asker: Asker) -> None:
    spec = Ping("nowhere.invalid", ("nowhere.invalid",), "ping")

    async def body() -> None:
        medium = asker.open(spec)
        assert asker.posted == []
        await until(lambda: len(asker.posted) == 1)
        (failed,) = asker.posted
        assert isinstance(failed, LinkFailed)
        assert failed.reason.startswith("nowhere.invalid: ")
        medium.ask()

    asker.run(body)


def test_an_interface_that_is_not_there_yet_is_a_failure_that_a_later_opening_mends(asker: Asker) -> None:
    spec = Ping("late", ("fe80::2%eth7",), "ping6")

    async def body() -> None:
        asker.open(spec)
        await until(lambda: len(asker.posted) == 1)
        assert isinstance(asker.posted[0], LinkFailed)
        cable(asker.namespace, asker.router, "eth7")
        asker.router.ip("address add fe80::2/64 dev eth7 nodad")
        medium = asker.open(spec)
        assert asker.posted[1:] == [LinkOpened(spec)]
        await until(lambda: asker.answers > 0, medium.ask)

    asker.run(body)


def test_a_group_with_an_unknown_member_works_with_the_others(asker: Asker) -> None:
    spec = Ping("routers", ("nowhere.invalid", "10.0.0.2"), "ping_group")

    async def body() -> None:
        medium = asker.open(spec)
        assert asker.posted == [LinkOpened(spec)]
        medium.ask()
        await until(lambda: asker.answers == 1)

    asker.run(body)


def test_answers_to_others_and_forged_ones_are_none(asker: Asker) -> None:
    async def body() -> None:
        medium = asker.open(ROUTER)
        host = medium._hosts["10.0.0.2"]
        header = b"\0\0\0\0" + host._number.to_bytes(2, "big") + b"\0\1"
        for payload in (b"", b"x" * 16, host._secret[:-1], host._secret + b"x"):
            packet = header + payload
            assert not host._is_answer(b"\x45" + bytes(19) + packet, ("10.0.0.2", 0)), payload
        right = b"\x45" + bytes(19) + header + host._secret
        assert host._is_answer(right, ("10.0.0.2", 0))
        assert not host._is_answer(right, ("10.0.0.3", 0)), "somebody else"
        assert not host._is_answer(right[:20] + b"\x08" + right[21:], ("10.0.0.2", 0)), "a request"
        for length in range(len(right)):
            assert not host._is_answer(right[:length], ("10.0.0.2", 0))
        raw = (socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP)
        with asker.router.inside(), socket.socket(*raw) as liar:
            packet = header + b"x" * 16
            liar.sendto(packet[:2] + checksum(packet).to_bytes(2, "big") + packet[4:], ("10.0.0.1", 0))
        await asyncio.sleep(SILENT_S)
        assert asker.answers == 0
        medium.ask()
        await until(lambda: asker.answers == 1)

    asker.run(body)


def test_a_heartbeat_is_not_sent_to_ping_nodes_and_a_closed_one_posts_nothing(asker: Asker) -> None:
    async def body() -> None:
        medium = asker.open(ROUTER)
        medium.send(Transmit(b"heartbeat"))
        await asyncio.sleep(0.1)
        assert asker.answers == 0
        medium.ask()
        medium.close()
        await asyncio.sleep(SILENT_S)
        assert asker.posted == [LinkOpened(ROUTER)]

    asker.run(body)


def test_two_ping_nodes_on_one_host_are_told_apart(asker: Asker) -> None:
    other = Ping("again", ("10.0.0.2",), "ping_group")

    async def body() -> None:
        asker.open(ROUTER)
        asker.open(other).ask()
        await until(lambda: PingAnswered(other) in asker.posted)
        await asyncio.sleep(0.1)
        assert PingAnswered(ROUTER) not in asker.posted

    asker.run(body)


def test_the_checksum_is_that_of_rfc_1071() -> None:
    assert checksum(bytes.fromhex("0001f203f4f5f6f7")) == ~0xDDF2 & 0xFFFF
    assert checksum(b"\xff\xff" * 40) == 0


def test_a_request_that_the_kernel_refuses_is_one_without_an_answer() -> None:
    async def body() -> None:
        host = Host(socket.AF_INET, ("10.99.99.99", 0), lambda: None)
        host.ask()  # No interface but the loopback, and no route.
        host.close()

    with namespace() as alone, alone.inside():
        asyncio.run(body())
