"""The guide's chapter on starting and testing, walked: over a crossover cable and a null modem.

One test for each thing that it tells to do or to look at, in its order; they build on one another. Short
timings, so that its "wait about 10 seconds" is more than twice deadtime.
"""

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.lab import Lab, guides_log
from tests.lab.cluster import (
    ADDRESS,
    ONE,
    QUICK,
    TWO,
    configure,
    holds,
    is_idle,
    log,
    said,
    serves,
    settle,
    share_answers,
    start,
    status,
    stop,
    watch_address,
)
from tests.lab.furniture import CLUSTER_NETBIOS_NAME
from tests.lab.host import wait_until
from tests.lab.journal import now_us
from tests.lab.nullmodem import NullModem
from tests.lab.test_scripts import GROUP, SCRIPT, calls
from tests.lab.test_watchdog import Recorder

TTY = "/dev/ttyS0"
WATCHDOG = "/dev/watchdog"
MEDIA = (f"watchdog {WATCHDOG}", "hopfudge 1", "baud 19200", f"serial {TTY}", "udpport 694", "bcast eth1")
LONG_S = 2.2 * QUICK.deadtime_ms / 1000
PEERS = ((ONE, TWO), (TWO, ONE))
SOON_S = 10
"""The guide: an answer again after 5 to 10 seconds."""


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
def pair(hbd_layer: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    """Booted and configured, with the group of the guide's log; hbd not started."""
    fifos = tmp_path_factory.mktemp("watchdogs")
    with (
        NullModem() as cable,
        Recorder(fifos / ONE),
        Recorder(fifos / TWO),
        Lab(layers=[hbd_layer]) as lab,
    ):
        for name, device in zip((ONE, TWO), cable.devices, strict=True):
            lab[name].devices |= {TTY: device, WATCHDOG: str(fifos / name)}
            for script in ("datadisk", "mirror"):
                lab[name].write(f"/etc/ha.d/resource.d/{script}", SCRIPT, mode=0o755)
        configure(lab, media=MEDIA, haresources=GROUP)
        lab.boot()
        yield Pair(lab, cable)


def test_started_on_the_master_first_its_log_looks_like_the_guides_line_by_line(pair: Pair) -> None:
    one = pair.lab[ONE]
    one.run("systemctl enable hbd")  # As the guide has its links in rc.d.
    start(pair.lab, ONE)
    settle(pair.lab, ONE, owned_by=ONE)
    start(pair.lab, TWO)
    settle(pair.lab, owned_by=ONE)
    one.wait_for_journal(f"^Link {TWO}:{TTY} up\\.$")
    one.wait_for_journal("^remote resource transition completed\\.$")
    texts = [entry.message for entry in log(one)]
    assert guides_log.missing(texts, guides_log.rows()) == []
    for row in guides_log.rows():
        if row.hbd is None:
            assert row.heartbeat not in texts
    assert calls(one) == ["datadisk drbd0 start", "datadisk drbd1 start", "mirror start"]
    assert calls(pair.lab[TWO]) == []


def test_both_links_are_up_and_shown(pair: Pair) -> None:
    for name, peer in PEERS:
        node = pair.lab[name]
        assert said(node, f"Starting serial heartbeat on tty {TTY} (19200 baud)")
        node.wait_for_journal(f"^Link {peer}:{TTY} up\\.$")
        shown = status(node)
        assert shown is not None
        assert {link["name"]: (link["medium"], link["status"]) for link in shown["links"]} == {
            "eth1": ("bcast", "up"),
            TTY: ("serial", "up"),
        }
        assert node.read(f"/run/lock/LCK..{TTY.rpartition('/')[2]}").split()


def test_the_cluster_address_answers_ping_and_it_is_linuxha1(pair: Pair) -> None:
    # From here on with the services that the rest of the chapter speaks of.
    stop(pair.lab)
    configure(pair.lab, media=MEDIA)
    start(pair.lab)
    settle(pair.lab, owned_by=ONE)
    assert pair.lab.client.run(["ping", "-c", "1", "-W", "5", ADDRESS]).returncode == 0
    with pair.lab.client.http_probe() as http:
        http.wait_for(ONE)
        assert http.first(TWO) is None


def test_the_services_are_tied_to_the_cluster_address_and_the_share_to_the_clusters_name(pair: Pair) -> None:
    listening = pair.lab[ONE].run("ss -Hltn 'sport = :80 or sport = :445'").stdout
    assert sorted(line.split()[3] for line in listening.splitlines()) == [f"{ADDRESS}:445", f"{ADDRESS}:80"]
    assert share_answers(pair.lab) == ONE
    assert f"netbios name = {CLUSTER_NETBIOS_NAME}" in pair.lab[ONE].read("/etc/samba/smb.conf")


def test_heartbeat_is_taken_down_on_linuxha1_and_linuxha2_answers(pair: Pair) -> None:
    with pair.lab.client.http_probe() as http:
        http.wait_for(ONE)
        stopped_us = now_us()
        stop(pair.lab, ONE)
        answer = http.wait_for(TWO, timeout=SOON_S, since_us=stopped_us)
        assert answer.ended_us - stopped_us < SOON_S * 1_000_000
        settle(pair.lab, TWO, owned_by=TWO)
    start(pair.lab, ONE)
    settle(pair.lab, owned_by=ONE)


def test_the_crossover_cable_is_unplugged_and_the_log_of_linuxha2_has_no_is_dead(pair: Pair) -> None:
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


def test_then_the_serial_cable_is_disconnected_and_the_log_is_clean_again(pair: Pair) -> None:
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


def test_with_both_yanked_services_run_on_both_nodes_and_reconnected_they_have_one_owner_again(
    pair: Pair,
) -> None:
    one, two = pair.lab[ONE], pair.lab[TWO]
    began_us = now_us()
    pair.lab.network.cut(ONE, "eth1")
    pair.cable.unplug()
    # Each takes the other for dead, and says what it does, and what nobody protects.
    for name, peer in PEERS:
        unprotected, acquired = "Shared disks are not protected", f"Resources being acquired from {peer}"
        for text in (f"node {peer}: is dead", f"{unprotected}\\.", f"{acquired}\\."):
            pair.lab[name].wait_for_journal(f"^{text}$", since_us=began_us)
    two.wait_for_journal(f"^mach_down takeover complete for node {ONE}\\.$", since_us=began_us)
    time.sleep(LONG_S)
    assert serves(one)
    assert serves(two)
    mended_us = now_us()
    pair.cable.plug()
    pair.lab.network.restore(ONE, "eth1")
    settle(pair.lab)
    owners = [name for name, _ in PEERS if holds(pair.lab[name])]
    assert len(owners) == 1
    ours, others = pair.lab[owners[0]], one if owners[0] == TWO else two
    assert serves(ours)
    assert is_idle(others)
    assert said(others, f"group {ADDRESS} is held by {ours.name} too; this node gives way", mended_us)


def test_a_daemon_that_is_killed_has_its_line_again(pair: Pair) -> None:
    began_us = now_us()
    pair.lab[TWO].run("systemctl kill -s KILL hbd")
    pair.lab[TWO].wait_for_journal(f"^Link {ONE}:{TTY} up\\.$", since_us=began_us)
    settle(pair.lab)
    assert pair.deaths(began_us) == []


def test_the_power_of_linuxha1_is_killed_and_linuxha2_answers_though_only_the_serial_line_told_of_it(
    pair: Pair,
) -> None:
    pair.lab[ONE].run("hbctl takeover --wait", check=False)
    settle(pair.lab, owned_by=ONE)
    began_us = now_us()
    pair.lab.network.cut(ONE, "eth1")
    pair.lab[TWO].wait_for_journal(f"^Link {ONE}:eth1 dead\\.$", since_us=began_us)
    with pair.lab.client.http_probe() as http:
        http.wait_for(ONE)
        assert said(pair.lab[TWO], f"node {ONE}: is dead", began_us) == []
        killed_us = pair.lab[ONE].power_kill()
        answer = http.wait_for(TWO, timeout=SOON_S, since_us=killed_us)
        assert answer.ended_us - killed_us < SOON_S * 1_000_000
    assert said(pair.lab[TWO], f"node {ONE}: is dead", killed_us)
    wait_until(lambda: serves(pair.lab[TWO]), 10, "everything on the other machine")


def test_linuxha1_boots_again_and_what_was_enabled_starts_there_and_takes_its_group_back(pair: Pair) -> None:
    pair.lab.network.restore(ONE, "eth1")
    pair.lab.boot(ONE)
    settle(pair.lab, owned_by=ONE)
    assert serves(pair.lab[ONE])
    assert is_idle(pair.lab[TWO])
