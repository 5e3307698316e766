"""What others do to the resources of a pair at work: they remove, stop, kill, and start on the wrong machine.

One pair for all: each test leaves it as it was.
"""

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.lab import Lab
from tests.lab.cluster import (
    ADDRESS,
    ONE,
    TWO,
    UNITS,
    active_units,
    is_idle,
    log,
    owner,
    running_pair,
    said,
    serves,
    settle,
    starts,
    watch_address,
)
from tests.lab.host import wait_until
from tests.lab.journal import now_us
from tests.lab.node import Node

BACK_WITHIN_US = 50_000
SNIFF = f"""
import socket
wire = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(0x0806))
print("ready", flush=True)
while True:
    frame = wire.recv(2048)
    if frame[28:32] == frame[38:42] == socket.inet_aton("{ADDRESS}"):
        break
"""
"""Ends at the first gratuitous ARP about the address."""
TAKEN_AWAY = f"{ADDRESS} was taken away from here: putting it back"


@pytest.fixture(scope="module")
def pair(hbd_layer: Path) -> Iterator[Lab]:
    with running_pair(hbd_layer, auto_failback="off") as lab:
        yield lab


def guard_of(node: Node) -> set[str]:
    """Units that systemd starts on this machine; of all others that hbd manages it knows that it must not."""
    wait_until(lambda: _drop_ins(node) == len(UNITS), 20, "assertions in force", 0.1)
    assert node.run("test -e /run/hbd/unguarded", check=False).returncode != 0
    return set(node.run("ls /run/hbd/owned").stdout.split())


def _drop_ins(node: Node) -> int:
    return node.run(f"systemctl show -p DropInPaths {' '.join(UNITS)}").stdout.count("started-by-hbd-alone")


def runs_by_hand(node: Node) -> bool:
    """Whether systemd takes a start of smb for its business. (Without the address, smbd ends again.)"""
    began_us = now_us()
    node.run("systemctl start smb", check=False)
    return starts(node, "smb.service", began_us) != []


@pytest.mark.alone
def test_an_address_that_somebody_removes_is_back_within_50_ms_and_announced_with_one_journal_line(
    pair: Lab,
) -> None:
    one = pair[ONE]
    sniffer = subprocess.Popen(
        pair.observer.entry(["timeout", "20", "python3", "-c", SNIFF]), stdout=subprocess.PIPE, text=True
    )
    with watch_address(pair, ONE) as kernel, sniffer:
        assert sniffer.stdout is not None
        assert sniffer.stdout.readline() == "ready\n"
        began_us = now_us()
        one.run(f"ip addr del {ADDRESS}/24 dev eth0")
        gone = kernel.wait_for("gone", since_us=began_us)
        up = kernel.wait_for("up", since_us=gone.at_us)
        assert up.at_us - gone.at_us < BACK_WITHIN_US
        one.wait_for_journal(TAKEN_AWAY, since_us=began_us)
        assert sniffer.wait() == 0, "nobody was told where the address is"
    settle(pair, owned_by=ONE)
    (line,) = log(one, since_us=began_us)
    assert line.message == TAKEN_AWAY
    assert line.fields["HBD_RESOURCE"] == ADDRESS
    assert {entry.message for entry in log(pair[TWO], since_us=began_us)} == set()
    assert serves(one)


def test_a_unit_that_is_killed_or_stopped_is_started_again_in_place(pair: Lab) -> None:
    one, two = pair[ONE], pair[TWO]
    for deed, why in (
        ("systemctl kill --signal=KILL httpd", "it is failed, result 'signal'"),
        ("systemctl stop httpd", "it is inactive: starting it again (to work on it, 'hbctl freeze' first)"),
    ):
        began_us = now_us()
        one.run(deed)
        one.wait_for_journal("httpd has ended here", since_us=began_us)
        wait_until(lambda since_us=began_us: starts(one, "httpd.service", since_us) != [], 10, "httpd again")  # type: ignore[misc]
        settle(pair, owned_by=ONE)
        (line,) = said(one, "httpd has ended here", began_us)
        assert why in line.message
        assert [e for e in one.journal(since_us=began_us) if "Stopped smb" in e.message] == []
    assert is_idle(two)
    assert serves(one)


def test_a_restart_by_hand_is_nobodys_business(pair: Lab) -> None:
    one = pair[ONE]
    began_us = now_us()
    one.run("systemctl restart httpd; systemctl reload-or-restart httpd; systemctl daemon-reload")
    settle(pair, owned_by=ONE)
    assert said(one, "httpd", began_us) == []
    assert guard_of(one) == {"httpd.service", "smb.service"}


def test_what_somebody_starts_on_the_other_machine_is_stopped_again_and_said(pair: Lab) -> None:
    two = pair[TWO]
    began_us = now_us()
    two.run("touch /run/hbd/unguarded; systemctl start smb; rm /run/hbd/unguarded", check=False)
    two.run(f"ip addr add {ADDRESS}/32 dev eth1")
    two.wait_for_journal(f"Resource {ADDRESS} is active, and should not be! {ONE} holds", since_us=began_us)
    wait_until(lambda: is_idle(two) and not active_units(two), 10, "nothing of the group there", 0.1)
    assert owner(two) == ONE
    assert serves(pair[ONE])
    assert said(pair[ONE], "", began_us) == []


def test_systemd_itself_refuses_what_somebody_starts_on_the_other_machine(pair: Lab) -> None:
    two = pair[TWO]
    assert guard_of(two) == set()
    began_us = now_us()
    assert not runs_by_hand(two)
    assert [entry for entry in two.journal(since_us=began_us) if "Starting smb" in entry.message] == []
    assert is_idle(two)
    settle(pair, owned_by=ONE)


def test_in_a_frozen_cluster_and_without_hbd_anybody_starts_what_he_likes(pair: Lab) -> None:
    two = pair[TWO]
    two.run("hbctl freeze")
    assert runs_by_hand(two)
    two.run("systemctl stop smb; hbctl thaw")
    settle(pair, owned_by=ONE)
    assert guard_of(two) == set()
    two.run("systemctl stop hbd")
    assert runs_by_hand(two)
    two.run("systemctl stop smb; systemctl start hbd")
    settle(pair, owned_by=ONE)
    assert guard_of(two) == set()


def test_a_unit_that_is_enabled_by_mistake_is_refused_at_boot_and_started_at_a_handover(pair: Lab) -> None:
    one, two = pair[ONE], pair[TWO]
    two.run("systemctl enable hbd smb")
    # A mount that the boot requires must not be refused with an error, which would end in emergency mode.
    two.run("mkdir -p /srv/own; echo 'none /srv/own tmpfs defaults 0 0' >>/etc/fstab")
    # Not while hbd runs, which may be about to write its list anew.
    two.run("systemctl stop hbd; echo srv-own.mount >>/var/lib/hbd/units")
    began_us = now_us()
    two.reboot()
    two.wait_for_journal("Assertion failed for smb.service", since_us=began_us)
    settle(pair, owned_by=ONE)
    assert two.run("mountpoint -q /srv/own", check=False).returncode != 0
    two.run("sed -i /srv.own/d /etc/fstab")
    assert starts(two, "smb.service", began_us) == []
    two.run("systemctl disable smb")
    one.run("hbctl standby")
    settle(pair, owned_by=TWO)
    assert guard_of(one) == set()
    assert guard_of(two) == {"httpd.service", "smb.service"}
    assert serves(two)
    two.run("systemctl restart httpd")
    settle(pair, owned_by=TWO)
    two.run("hbctl standby")
    settle(pair, owned_by=ONE)


def test_where_hbd_is_no_more_its_units_are_as_any_others(pair: Lab) -> None:
    two, generator = pair[TWO], "/lib/systemd/system-generators/hbd-generator"
    # As an uninstallation takes it away.
    two.run(f"systemctl stop hbd; mv {generator} /root; systemctl daemon-reload; rm /run/hbd/unguarded")
    assert _drop_ins(two) == 0
    assert runs_by_hand(two)
    two.run(f"systemctl stop smb; mv /root/hbd-generator {generator}")
    two.run("systemctl daemon-reload; systemctl start hbd")
    settle(pair, owned_by=ONE)
    assert guard_of(two) == set()
