"""Two daemons with a crossover cable and a null modem between them: one pulled, the other, both."""

import re
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from hbd.media import ttylock
from tests.edges.namespaces import cable, pair
from tests.edges.test_daemon import Node, machine, until
from tests.lab.nullmodem import NullModem

DEADTIME_S = 3
HA_CF = (
    f"keepalive 250ms\nwarntime 2\ndeadtime {DEADTIME_S}\ninitdead 6\n"
    "baud 115200\nserial {device}\nrealtime off\n"
)


@dataclass
class Pair:
    alpha: Node
    beta: Node
    cable: NullModem

    def pull_crossover(self) -> None:
        self.beta.network.ip("link set eth0 down")

    def mend_crossover(self) -> None:
        self.beta.network.ip("link set eth0 up")

    def dead(self) -> int:
        """How often either has declared the other dead."""
        return sum(node.log.count(": is dead") for node in (self.alpha, self.beta))


@pytest.fixture
def nodes(tmp_path: Path) -> Iterator[Pair]:
    with (
        NullModem() as cable,
        pair() as (one, two),
        machine(tmp_path / "a", one, "alpha", "192.0.2.1") as alpha,
        machine(tmp_path / "b", two, "beta", "192.0.2.2") as beta,
    ):
        for node, peer, device in zip((alpha, beta), ("192.0.2.2", "192.0.2.1"), cable.devices, strict=True):
            node.configure(HA_CF.format(device=device), peer)
            node.start()
        yield Pair(alpha, beta, cable)
        for device in cable.devices:  # Of daemons that are killed.
            (ttylock.DIRECTORY / ttylock.name(device)).unlink(missing_ok=True)


def test_the_crossover_then_the_serial_cable_then_both_are_pulled(nodes: Pair) -> None:
    alpha, beta = nodes.alpha, nodes.beta
    for node, peer, device in ((alpha, "beta", 0), (beta, "alpha", 1)):
        tty = nodes.cable.devices[device]
        node.waits_for(f"Starting serial heartbeat on tty {tty} (115200 baud)")
        node.waits_for(f"Link {peer}:{tty} up.")
        node.waits_for(f"Link {peer}:eth0 up.")
    until(lambda: alpha.serves, "the address on its home node")

    nodes.pull_crossover()
    time.sleep(2.2 * DEADTIME_S)
    assert nodes.dead() == 0
    alpha.waits_for("Link beta:eth0 dead.")
    nodes.mend_crossover()
    until(lambda: alpha.log.count("Link beta:eth0 up.") == 2, "the crossover cable again")

    nodes.cable.unplug()
    time.sleep(2.2 * DEADTIME_S)
    assert nodes.dead() == 0
    alpha.waits_for(f"Link beta:{nodes.cable.devices[0]} dead.")
    assert alpha.serves
    assert not beta.serves

    nodes.pull_crossover()
    for node, peer in ((alpha, "beta"), (beta, "alpha")):
        node.waits_for(f"node {peer}: is dead")
    time.sleep(DEADTIME_S)

    nodes.cable.plug()
    nodes.mend_crossover()
    until(lambda: alpha.serves != beta.serves, "one owner again")
    for node in (alpha, beta):
        node.waits_for("returning after partition.")
        assert not re.search("Traceback|because of a bug", node.log)


def test_a_pair_with_nothing_but_a_serial_line_hands_over_and_takes_over(nodes: Pair) -> None:
    alpha, beta = nodes.alpha, nodes.beta
    until(lambda: alpha.serves, "the address on its home node")
    nodes.pull_crossover()
    nodes.beta.network.ip("link set eth0 up")
    for node in (alpha, beta):  # The network is well, and carries no heartbeats any more.
        ha_cf = node.home / "etc/ha.cf"
        ha_cf.write_text(re.sub("ucast.*\n", "", ha_cf.read_text()))
        assert node.process is not None
        node.process.send_signal(1)
        node.waits_for("Configuration reloaded: link eth0 removed")
    assert alpha.process is not None
    alpha.process.terminate()
    until(lambda: beta.serves and not alpha.serves, "the address at the peer")
    # The line is slow: its last release may be heard, and acted on, before its goodbye.
    beta.waits_for("Received shutdown notice from 'alpha'.")
    assert "is dead" not in beta.log, "it took it over without waiting"
    assert alpha.process.wait(45) == 0
    alpha.start()
    until(lambda: alpha.serves and not beta.serves, "the address back home")
    alpha.end()
    until(lambda: beta.serves, "the address at the peer, after its death")


def test_an_interface_may_come_late_be_renamed_and_lose_its_carrier_or_address(tmp_path: Path) -> None:
    ha_cf = f"keepalive 250ms\ndeadtime {DEADTIME_S}\ninitdead 6\nrealtime off\nbcast eth1\n"
    with (
        pair() as (one, two),
        machine(tmp_path / "a", one, "alpha", "192.0.2.1") as alpha,
        machine(tmp_path / "b", two, "beta", "192.0.2.2") as beta,
    ):
        for node, peer in ((alpha, "192.0.2.2"), (beta, "192.0.2.1")):
            node.configure(ha_cf, peer)
            node.start()
        alpha.waits_for("eth1: there is no interface eth1; trying again")
        notices: list[str] = []

        def is_degraded() -> bool:
            notices.extend(alpha.notices())
            return any("; eth1: there is no interface eth1" in notice for notice in notices)

        until(is_degraded, "what is missing in the status sentence")
        until(lambda: alpha.serves, "the address, though one of two links is missing")

        cable(one, two, "eth1")
        alpha.waits_for("eth1: interface eth1 has no IPv4 address; trying again")
        one.ip("addr add 198.51.100.1/25 dev eth1")
        two.ip("addr add 198.51.100.2/25 dev eth1")
        for node, peer in ((alpha, "beta"), (beta, "alpha")):
            node.waits_for(f"Link {peer}:eth1 up.")

        def link_is_up_for_the(count: int) -> bool:
            return alpha.log.count("Link beta:eth1 up.") == count

        for line in ("link set eth1 down", "link set eth1 name other", "link set other up"):
            one.ip(line)
        alpha.waits_for("Link beta:eth1 dead.")
        for line in ("link set other down", "link set other name eth1", "link set eth1 up"):
            one.ip(line)
        until(lambda: link_is_up_for_the(2), "the renamed interface under its name again")

        failures = alpha.log.count("; trying again")
        two.ip("link set eth1 down")
        until(lambda: alpha.log.count("Link beta:eth1 dead.") == 2, "a link without carrier counts as dead")
        assert alpha.log.count("; trying again") == failures, "a lost carrier is no failure of the medium"
        two.ip("link set eth1 up")
        until(lambda: link_is_up_for_the(3), "the link with its carrier back")

        for network, number in ((one, 129), (two, 130)):
            network.ip("addr flush dev eth1")
            network.ip(f"addr add 198.51.100.{number}/25 dev eth1")
        time.sleep(1.4 * DEADTIME_S)
        told = re.compile(r"Link beta:eth1 (\w+)\.")
        until(lambda: told.findall(alpha.log)[-1] == "up", "the link, with other addresses")

        assert alpha.log.count(": is dead") + beta.log.count(": is dead") == 0
        assert alpha.serves
        assert not beta.serves


def test_a_pair_without_ipv4_talks_by_multicast_and_serves_an_ipv6_address(tmp_path: Path) -> None:
    service = "fd00::3"
    ha_cf = "keepalive 250ms\ndeadtime 3\ninitdead 6\nrealtime off\nmcast6 eth0 ff02::694 694 1 0\n"
    with (
        pair() as (one, two),
        machine(tmp_path / "a", one, "alpha", "fd00::1") as alpha,
        machine(tmp_path / "b", two, "beta", "fd00::2") as beta,
    ):

        def serving(node: Node) -> bool:
            return f" {service}/" in node.network.ip("-6 addr show dev eth0")

        for node in (alpha, beta):
            node.configure(ha_cf, "none")
            ha_cf_file = node.home / "etc/ha.cf"
            ha_cf_file.write_text(re.sub("ucast.*\n", "", ha_cf_file.read_text()))
            (node.home / "etc/haresources").write_text(f"alpha {service}\n")
            node.start()
        alpha.waits_for("UDPv6 multicast heartbeat started for group ff02::694 port 694 interface eth0")
        for node, peer in ((alpha, "beta"), (beta, "alpha")):
            node.waits_for(f"Link {peer}:eth0 up.")
        until(lambda: serving(alpha), "the address on its home node")
        assert not serving(beta)
        alpha.end()
        until(lambda: serving(beta), "the address at the peer")
