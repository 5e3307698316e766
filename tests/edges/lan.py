"""A service address's surroundings: a node and its neighbour on two cables, the agent, and a tap."""

import asyncio
import socket
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field

from hbd.agents.address import AddressAgent
from hbd.agents.announce import ETH_P_ARP, boottime_ms
from hbd.config.model import AddressResource
from hbd.netlink import Netlink
from tests.edges.namespaces import Namespace, pair

VIP = AddressResource("192.168.85.3", "192.168.85.3", alias_label=True)
VIP6 = AddressResource("fd00:85::3", "fd00:85::3")


@dataclass
class Lan:
    """A node on eth0 (192.168.85.1/24, fd00:85::1/64) and eth1 (10.0.0.1/24), and its neighbour on both."""

    node: Namespace
    neighbour: Namespace


@contextmanager
def local_network() -> Iterator[Lan]:
    with pair("eth0", "eth1") as (node, neighbour):
        for end, last in ((node, 1), (neighbour, 2)):
            end.ip(f"address add 192.168.85.{last}/24 broadcast + dev eth0")
            end.ip(f"address add fd00:85::{last}/64 dev eth0 nodad")
            end.ip(f"address add 10.0.0.{last}/24 broadcast + dev eth1")
        with node.inside():
            yield Lan(node, neighbour)


@asynccontextmanager
async def agent(permit_ms: int = 60_000) -> AsyncIterator[AddressAgent]:
    kernel = Netlink()
    kernel.open()
    made = AddressAgent(kernel)
    made.permit(boottime_ms() + permit_ms)
    try:
        yield made
    finally:
        made.close()
        kernel.close()


@dataclass
class Sniffer:
    """What arrives on an interface: (monotonic seconds, frame)."""

    socket: socket.socket
    frames: list[tuple[float, bytes]] = field(default_factory=list)

    def read(self) -> None:
        while True:
            try:
                self.frames.append((time.monotonic(), self.socket.recv(2048)))
            except OSError:  # Nothing more, or the link is down.
                return


@asynccontextmanager
async def sniffing(where: Namespace) -> AsyncIterator[Sniffer]:
    """ARP on eth0."""
    with where.inside():
        tap = socket.socket(socket.AF_PACKET, socket.SOCK_RAW | socket.SOCK_NONBLOCK, 0)
    with tap:
        tap.bind(("eth0", ETH_P_ARP))
        sniffer = Sniffer(tap)
        asyncio.get_running_loop().add_reader(tap, sniffer.read)
        try:
            yield sniffer
        finally:
            asyncio.get_running_loop().remove_reader(tap)
