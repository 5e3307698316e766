"""A pair without any IPv4 address: `mcast6` between the machines, and a web server on a bare IPv6 address."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.lab import Lab
from tests.lab.cluster import ONE, TWO, configure, said, settle, start, status
from tests.lab.host import wait_until
from tests.lab.journal import now_us

SERVICE = "fd85::3"
ADDRESSES = {ONE: "fd85::1", TWO: "fd85::2"}
CLIENT = "fd85::100"
MEDIA = ("mcast6 eth1 ff02::694 694 1 0", "mcast6 eth0 ff02::694 694 1 0")
WEB = f"[{SERVICE}]:80"


def renumber(lab: Lab, name: str) -> None:
    """Take every IPv4 address off the machine, and give it one of IPv6 on the LAN."""
    lab[name].run("ip -4 addr flush dev eth0; ip -4 addr flush dev eth1")
    lab[name].run(f"ip addr add {ADDRESSES[name]}/64 dev eth0 nodad")


def boot(lab: Lab, *names: str) -> None:
    lab.boot(*names)
    for name in names:
        renumber(lab, name)


def page(lab: Lab) -> str:
    """What the client finds at the service address; empty without an answer."""
    done = lab.client.run(["curl", "-gsS", "-m", "1", f"http://{WEB}/"], check=False)
    return done.stdout.strip()


def holds_service(lab: Lab, name: str) -> bool:
    return f" {SERVICE}/" in lab[name].run("ip -6 -oneline addr show dev eth0").stdout


@pytest.fixture(scope="module")
def lab(hbd_layer: Path) -> Iterator[Lab]:
    with Lab(layers=[hbd_layer]) as made:
        configure(made, media=MEDIA, haresources=f"{ONE} {SERVICE} httpd\n")
        for name in (ONE, TWO):
            node = made[name]
            conf = node.read("/etc/httpd/httpd.conf")
            node.write("/etc/httpd/httpd.conf", conf.replace("Listen 192.168.85.3:80", f"Listen {WEB}"))
        boot(made, ONE, TWO)
        made.client.run("ip -4 addr flush dev eth0")
        made.client.run(f"ip addr add {CLIENT}/64 dev eth0 nodad")
        start(made)
        settle(made, owned_by=ONE)
        yield made


def test_the_pair_hears_each_other_by_mcast6_alone(lab: Lab) -> None:
    for name, peer in ((ONE, TWO), (TWO, ONE)):
        node = lab[name]
        assert node.run("ip -4 -oneline addr show scope global").stdout == ""
        for interface in ("eth0", "eth1"):
            text = f"UDPv6 multicast heartbeat started for group ff02::694 port 694 interface {interface}"
            assert said(node, text)
            node.wait_for_journal(f"^Link {peer}:{interface} up\\.$")
        shown = status(node)
        assert shown is not None
        assert {link["medium"] for link in shown["links"]} == {"mcast6"}


def test_the_service_address_answers_from_its_home_and_after_a_loss_of_power_from_the_other(lab: Lab) -> None:
    assert holds_service(lab, ONE)
    assert not holds_service(lab, TWO)
    assert page(lab) == ONE
    killed_us = lab[ONE].power_kill()
    lab[TWO].wait_for_journal(f"^node {ONE}: is dead$", since_us=killed_us)
    wait_until(lambda: page(lab) == TWO, 15, f"the page of {TWO}")
    assert holds_service(lab, TWO)


def test_the_machine_that_comes_back_takes_it_home_and_the_client_follows(lab: Lab) -> None:
    began_us = now_us()
    boot(lab, ONE)
    start(lab, ONE)
    settle(lab, owned_by=ONE, timeout=30)
    wait_until(lambda: page(lab) == ONE, 15, f"the page of {ONE}")
    assert not holds_service(lab, TWO)
    assert said(lab[TWO], ": is dead", began_us) == []
