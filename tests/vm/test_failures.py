"""What fails of a machine: its network cards' carriers, its power; and the serial line that is left."""

import time

from tests.lab.cluster import ADDRESS, ONE, TWO
from tests.lab.journal import now_us
from tests.lab.network import LAN, PRIVATE_LINK
from tests.vm.pair import BRISK, LINE, Pair, page, settle

DEADTIME_S = BRISK.deadtime_ms / 1000
PEERS = ((ONE, TWO), (TWO, ONE))


def test_the_null_modem_at_19200_baud_keeps_both_alive_when_no_card_has_a_carrier(cluster: Pair) -> None:
    owner = settle(cluster)
    began_us = now_us()
    carried = list(cluster.cable.carried)
    began_s = time.monotonic()
    for machine in cluster.machines.values():
        for card in (LAN, PRIVATE_LINK):
            machine.set_link(card, up=False)
    for name, peer in PEERS:
        for card in (LAN, PRIVATE_LINK):
            cluster[name].wait_said(f"Link {peer}:{card} dead.", began_us, 2 * DEADTIME_S)
    time.sleep(max(0.0, began_s + 1.2 * DEADTIME_S - time.monotonic()))
    for name, peer in PEERS:
        assert cluster[name].said(f"node {peer}: is dead", began_us) == []
        assert cluster[name].said(f"Link {peer}:{LINE} dead.", began_us) == []
        assert cluster[name].resets(began_us) == []
    # The line did the work, and was not overtaken: 1920 bytes a second at most.
    passed_s = time.monotonic() - began_s
    for before, after in zip(carried, cluster.cable.carried, strict=True):
        assert 100 * DEADTIME_S < after - before < 1920 * passed_s + 64
    restored_us = now_us()
    for machine in cluster.machines.values():
        for card in (LAN, PRIVATE_LINK):
            machine.set_link(card, up=True)
    for name, peer in PEERS:
        for card in (LAN, PRIVATE_LINK):
            cluster[name].wait_said(f"Link {peer}:{card} up.", restored_us, 60)
    settle(cluster, owned_by=owner)
    assert page(cluster.peer(owner)) == owner


# The last of all, so that nobody waits for the machine's return. A machine that comes back after a reset, and
# takes nothing away, is in test_watchdogs.py.
def test_the_power_of_the_owner_fails_and_the_other_serves(cluster: Pair) -> None:
    owner = settle(cluster)
    machine, peer = cluster[owner], cluster.peer(owner)
    assert cluster.answering() == {owner}
    killed_us = machine.power_kill()
    claim = cluster.hub.wait_for_claim(ADDRESS, peer.seat.mac(LAN), killed_us, 3 * DEADTIME_S)
    # Not before it was silent for deadtime, but for the heartbeat that was sent last.
    assert claim.at_us - killed_us > 1000 * (BRISK.deadtime_ms - 2 * BRISK.keepalive_ms)
    (dead,) = peer.said(f"node {owner}: is dead", killed_us)
    assert dead.at_us - dead.within_us < claim.at_us
    settle(cluster, peer.name)
    assert page(peer) == peer.name
    assert cluster.answering() == {peer.name}
