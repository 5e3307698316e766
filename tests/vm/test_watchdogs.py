"""hbd arms softdog on linuxha1 and i6300esb on linuxha2: who is restarted, who is reset, and when.

The order of time limits (architecture of the watchdogs, hbd(8)): systemd restarts an hbd that hangs, in
place; where it does not, the device resets the machine; only then the peer takes over. The moments of
resets are the emulator's, those of the takeover the LAN's and the peer's journal's.
"""

import time

import pytest

from tests.lab.cluster import ADDRESS, ONE, TWO
from tests.lab.host import wait_until
from tests.lab.journal import now_us
from tests.lab.network import LAN
from tests.vm.machine import Machine
from tests.vm.pair import BRISK, SLOW, Pair, move, on_each, page, restarts, settle, start

DEVICE_S = (BRISK.deadtime_ms - BRISK.keepalive_ms) // 1000 - 1
DRIVERS = {ONE: "Software Watchdog", TWO: "i6300ESB timer"}


def test_systemd_restarts_an_owner_that_hangs_and_nothing_moves(watched: Pair) -> None:
    owner = settle(watched)
    machine, peer = watched[owner], watched.peer(owner)
    limit = machine.run("systemctl show --value --property=WatchdogUSec hbd").stdout.strip()
    assert limit not in ("0", "infinity")
    before = restarts(machine)
    stopped_us = _stall(machine)
    wait_until(lambda: restarts(machine) == before + 1, SLOW.deadtime_ms / 1000, "hbd started again", 1)
    machine.wait_said("Using watchdog device: /dev/watchdog", stopped_us, 60)
    settle(watched, owned_by=owner)
    # Past all limits that have begun with the stall.
    time.sleep(max(0.0, stopped_us / 1e6 + SLOW.deadtime_ms / 1000 + 3 - time.monotonic()))
    assert machine.resets(stopped_us) == []
    assert peer.said(f"node {owner}: is dead", stopped_us) == []
    assert {claim.mac for claim in watched.hub.claims(ADDRESS, stopped_us)} <= {machine.seat.mac(LAN)}
    assert page(peer) == owner


def test_hbd_arms_the_device_with_a_limit_that_ends_before_the_peer_takes_over(cluster: Pair) -> None:
    for name, driver in DRIVERS.items():
        machine = cluster[name]
        # Of the daemon that runs now, which was told other times than those before it.
        armed = machine.said("resets this machine when it is not fed for")[-1]
        assert f"({driver})" in armed.message
        assert armed.message.endswith(f" {DEVICE_S} s")
        place = "/sys/class/watchdog/watchdog0"
        assert machine.read(f"{place}/state") == "active\n"
        assert machine.read(f"{place}/timeout") == f"{DEVICE_S}\n"


def test_an_orderly_stop_stops_the_devices_and_resets_nothing(cluster: Pair) -> None:
    began_us = now_us()
    on_each(cluster, (), lambda machine: machine.run("systemctl stop hbd", timeout=120))
    stopped_s = time.monotonic()
    for machine in cluster.machines.values():
        machine.wait_said("watchdog device /dev/watchdog is stopped", began_us, 10)
        assert machine.read("/sys/class/watchdog/watchdog0/state") == "inactive\n"
    time.sleep(max(0.0, stopped_s + DEVICE_S + 3 - time.monotonic()))
    for machine in cluster.machines.values():
        assert machine.resets(began_us) == []


@pytest.mark.parametrize("owner", [ONE, TWO])
def test_an_owner_that_hangs_is_reset_before_the_peer_takes_its_address(cluster: Pair, owner: str) -> None:
    machine, peer = cluster[owner], cluster.peer(owner)
    move(cluster, to=owner)
    boot = machine.boot_id()
    machine.hold_resets()
    stopped_us = _stall(machine)
    reset = machine.wait_held(stopped_us, 3 * DEVICE_S)
    claim = cluster.hub.wait_for_claim(ADDRESS, peer.seat.mac(LAN), stopped_us, 3 * DEVICE_S)
    assert reset.at_us < claim.at_us
    (dead,) = peer.said(f"node {owner}: is dead", stopped_us)
    assert reset.at_us < dead.at_us + dead.within_us
    # By the watchdog, and not earlier than it is set to.
    assert reset.at_us - stopped_us > 1_000_000 * (DEVICE_S - 3)
    assert len(machine.events("WATCHDOG", stopped_us)) == (1 if owner == TWO else 0)
    settle(cluster, peer.name)
    assert page(peer) == peer.name
    machine.go_on()
    machine.wait_boot(not_id=boot)
    assert {claim.mac for claim in cluster.hub.claims(ADDRESS, reset.at_us)} == {peer.seat.mac(LAN)}
    start(cluster, owner)
    settle(cluster, owned_by=peer.name)


def _stall(machine: Machine) -> int:
    """hbd stops in the middle of whatever it does, as one that hangs; returns the moment just before."""
    at_us = now_us()
    machine.run("systemctl kill --signal=STOP --kill-whom=main hbd")
    return at_us
