"""The guide's walk over a crossover cable and a null modem: one pulled, the other, both; then the power."""

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.lab import Lab
from tests.lab.cluster import (
    ONE,
    QUICK,
    TWO,
    configure,
    holds,
    is_idle,
    said,
    serves,
    settle,
    start,
    status,
    watch_address,
)
from tests.lab.host import wait_until
from tests.lab.journal import now_us
from tests.lab.nullmodem import NullModem

TTY = "/dev/ttyS0"
LONG_S = 2.2 * QUICK.deadtime_ms / 1000
PEERS = ((ONE, TWO), (TWO, ONE))


class Pair:
    """Both machines, and both ways between them."""

    def __init__(self, lab: Lab, cable: NullModem) -> None:
        self.lab, self.cable = lab, cable

    def deaths(self, since_us: int) -> list[str]:
        nodes = [self.lab[name] for name in (ONE, TWO)]
        return [entry.message for node in nodes for entry in said(node, ": is dead", since_us)]

    def wait_for_links(self, state: str, link: str, since_us: int) -> None:
        for name, peer in PEERS:
            self.lab[name].wait_for_journal(f"^Link {peer}:{link} {state}\\.$", since_us=since_us)


@pytest.fixture(scope="module")
def pair(hbd_layer: Path) -> Iterator[Pair]:
    with NullModem() as cable, Lab(layers=[hbd_layer]) as lab:
        for name, device in zip((ONE, TWO), cable.devices, strict=True):
            lab[name].devices[TTY] = device
        configure(lab, media=("bcast eth1", "baud 19200", f"serial {TTY}"))
        lab.boot()
        start(lab)
        settle(lab, owned_by=ONE)
        yield Pair(lab, cable)


def test_both_links_are_up_and_shown(pair: Pair) -> None:
    for name, _ in PEERS:
        node = pair.lab[name]
        assert said(node, f"Starting serial heartbeat on tty {TTY} (19200 baud)")
        node.wait_for_journal(f"^Link {ONE if name == TWO else TWO}:{TTY} up\\.$")
        shown = status(node)
        assert shown is not None
        assert {link["name"]: (link["medium"], link["status"]) for link in shown["links"]} == {
            "eth1": ("bcast", "up"),
            TTY: ("serial", "up"),
        }
        assert node.read(f"/run/lock/LCK..{TTY.rpartition('/')[2]}").split()


def test_the_crossover_cable_is_pulled_and_nobody_is_dead(pair: Pair) -> None:
    began_us = now_us()
    with watch_address(pair.lab, ONE) as kernel:
        pair.lab.network.cut(ONE, "eth1")
        time.sleep(LONG_S)
        assert pair.deaths(began_us) == []
        pair.wait_for_links("dead", "eth1", began_us)
        mended_us = now_us()
        pair.lab.network.restore(ONE, "eth1")
        pair.wait_for_links("up", "eth1", mended_us)
        assert kernel.seen() == []
    settle(pair.lab, owned_by=ONE)


def test_the_serial_cable_is_pulled_and_nobody_is_dead(pair: Pair) -> None:
    began_us = now_us()
    with watch_address(pair.lab, ONE) as kernel:
        pair.cable.unplug()
        time.sleep(LONG_S)
        assert pair.deaths(began_us) == []
        pair.wait_for_links("dead", TTY, began_us)
        mended_us = now_us()
        pair.cable.plug()
        pair.wait_for_links("up", TTY, mended_us)
        assert kernel.seen() == []
    settle(pair.lab, owned_by=ONE)


def test_both_are_pulled_and_each_declares_the_other_dead_and_one_owner_is_left(pair: Pair) -> None:
    began_us = now_us()
    pair.lab.network.cut(ONE, "eth1")
    pair.cable.unplug()
    for name, peer in PEERS:
        pair.lab[name].wait_for_journal(f"^node {peer}: is dead$", since_us=began_us)
        pair.lab[name].wait_for_journal("^Shared disks are not protected\\.$", since_us=began_us)
    time.sleep(LONG_S)
    assert holds(pair.lab[ONE])
    pair.cable.plug()
    pair.lab.network.restore(ONE, "eth1")
    settle(pair.lab)
    owners = [name for name, _ in PEERS if holds(pair.lab[name])]
    assert len(owners) == 1
    assert serves(pair.lab[owners[0]])


def test_a_daemon_that_is_killed_has_its_line_again(pair: Pair) -> None:
    began_us = now_us()
    pair.lab[TWO].run("systemctl kill -s KILL hbd")
    pair.lab[TWO].wait_for_journal(f"^Link {ONE}:{TTY} up\\.$", since_us=began_us)
    settle(pair.lab)
    assert pair.deaths(began_us) == []


def test_power_is_lost_with_the_serial_line_alone_between_them_and_the_other_answers(pair: Pair) -> None:
    pair.lab.network.cut(ONE, "eth1")
    pair.lab[ONE].run("hbctl takeover --wait", check=False)
    settle(pair.lab, owned_by=ONE)
    began_us = now_us()
    pair.lab[TWO].wait_for_journal(f"^Link {ONE}:eth1 dead\\.$")
    with pair.lab.client.http_probe() as http:
        http.wait_for(ONE)
        pair.lab[ONE].power_kill()
        http.wait_for(TWO)
    assert said(pair.lab[TWO], f"node {ONE}: is dead", began_us)
    wait_until(lambda: serves(pair.lab[TWO]), 10, "everything on the other machine")
    pair.lab.network.restore(ONE, "eth1")
    pair.lab.boot(ONE)
    assert is_idle(pair.lab[ONE])
    start(pair.lab, ONE)
    settle(pair.lab, owned_by=ONE)
