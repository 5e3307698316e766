"""heartbeat 3.0.6 and hbd over a null modem and by multicast, IPv4 and IPv6."""

import time
from collections.abc import Iterator

import pytest

from tests.lab import Lab, classic, cluster
from tests.lab.cluster import ADDRESS, ONE, QUICK, TWO, holds
from tests.lab.host import wait_until
from tests.lab.journal import now_us
from tests.lab.lab import CHECKOUT
from tests.lab.mixed import Mixed
from tests.lab.nullmodem import NullModem

TTY = "/dev/ttyS0"
MEDIA = ("mcast eth0 239.0.0.43 694 1 0", "mcast6 eth1 ff02::694 694 1 0", "baud 19200", f"serial {TTY}")


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    """3.0.6 on linuxha1 and hbd on linuxha2, settled, everything at home on linuxha1."""
    with NullModem() as cable, Lab(layers=classic.layers(CHECKOUT)) as made:
        for name, device in zip((ONE, TWO), cable.devices, strict=True):
            made[name].devices[TTY] = device
        classic.configure(made, media=MEDIA)
        made.boot()
        pair = Mixed(made, real=made[ONE], ours=made[TWO])

        def settled() -> None:
            pair.start()
            wait_until(lambda: holds(pair.real) and cluster.owner(pair.ours) == ONE, 40, "everything at home")

        pair.unless_spoilt(settled, pair.end)
        yield made


@pytest.mark.parametrize("link", ["eth0", "eth1", TTY])
def test_each_link_is_up_for_both(lab: Lab, link: str) -> None:
    for name, peer in ((ONE, TWO), (TWO, ONE)):
        lab[name].wait_for_journal(f"Link {peer}:{link} up\\.$")


def test_over_the_serial_line_alone_nobody_dies_and_the_group_is_handed_over_and_back(lab: Lab) -> None:
    began_us = now_us()
    for link in ("eth0", "eth1"):
        lab.network.cut(TWO, link)
    time.sleep(2.2 * QUICK.deadtime_ms / 1000)
    for name, peer in ((ONE, TWO), (TWO, ONE)):
        for link in ("eth0", "eth1"):
            lab[name].wait_for_journal(f"Link {peer}:{link} dead\\.$", since_us=began_us)
    # Once more where 3.0.6's own scripts have spoilt its messages; hbd then waits 10 s for an answer.
    wait_until(lambda: not lab[TWO].run("hbctl takeover --wait", check=False).returncode, 60, "a takeover")
    wait_until(lambda: holds(lab[TWO]) and not holds(lab[ONE]), 15, f"{ADDRESS} on {TWO}")
    # Over the slow line 3.0.6's word that it is stable again takes its time.
    wait_until(lambda: not lab[TWO].run("hbctl standby --wait", check=False).returncode, 15, "a standby")
    wait_until(lambda: holds(lab[ONE]) and not holds(lab[TWO]), 15, f"{ADDRESS} on {ONE}")
    for name in (ONE, TWO):
        texts = [entry.message for entry in lab[name].journal(since_us=began_us)]
        assert [text for text in texts if ": is dead" in text] == []
    for link in ("eth0", "eth1"):
        lab.network.restore(TWO, link)


def test_the_real_one_has_nothing_to_complain_of(lab: Lab) -> None:
    assert classic.said(lab[ONE], f"Starting serial heartbeat on tty {TTY} (19200 baud)")
    # While the interface has no usable link-local address, just after its carrier came.
    early = ("mcast6_write: Unable to send HBcomm packet", "write_child: write failure on mcast6")
    complaints = classic.complaints(lab[ONE])
    assert [text for text in complaints if not any(each in text for each in early)] == []
    assert classic.said(lab[ONE], "TTY write timeout") == []
