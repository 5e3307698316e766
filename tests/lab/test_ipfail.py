"""Two machines, two networks with a ping node behind each: what moves when one cannot be reached."""

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.lab import Lab, cluster
from tests.lab.cluster import (
    ADDRESS,
    ONE,
    QUICK,
    TWO,
    UNITS,
    holds,
    never_on_both,
    owner,
    said,
    serves,
    starts,
    watch_address,
    watch_carrier,
)
from tests.lab.host import wait_until
from tests.lab.journal import now_us
from tests.lab.pinging import (
    LINES,
    MEMBERS,
    ROUTER,
    answering,
    let_deadping_pass,
    lost,
    wait_until_all_answer,
)

IPFAIL = "respawn hacluster /usr/lib/heartbeat/ipfail"
PATIENCE_S = 20.0


@pytest.fixture(scope="module")
def pair(hbd_layer: Path) -> Iterator[Lab]:
    """Running, and everything on linuxha1."""
    with Lab(layers=[hbd_layer]) as lab:
        lab.network.join_router()
        cluster.configure(lab, timings=QUICK, auto_failback="off", extra=(*LINES, IPFAIL))
        lab.boot()
        cluster.start(lab)
        cluster.settle(lab, owned_by=ONE)
        yield lab


@pytest.fixture(autouse=True)
def at_home(pair: Lab) -> None:
    """Everything can be reached, and is on linuxha1, by an operator's hand where it was not."""
    for machine in (ONE, TWO):
        pair.network.restore(machine)
    wait_until_all_answer(pair, ONE, TWO)
    cluster.settle(pair)
    if owner(pair[ONE]) != ONE:
        pair[TWO].run("hbctl standby --wait")
    cluster.settle(pair, owned_by=ONE)


def moves_to_two(lab: Lab) -> None:
    wait_until(lambda: serves(lab[TWO]), PATIENCE_S, f"everything on {TWO}")
    cluster.settle(lab, owned_by=TWO)
    assert not holds(lab[ONE])


def stays(lab: Lab, since_us: int) -> None:
    assert serves(lab[ONE])
    assert not said(lab[ONE], "wants to go standby", since_us)


def test_ping_nodes_are_shown_by_hbctl_and_on_the_bus(pair: Lab) -> None:
    shown = cluster.status(pair[ONE])
    assert shown is not None
    links = {(link["node"], link["medium"]): link["status"] for link in shown["links"]}
    assert links[ROUTER, "ping"] == links["routers", "ping_group"] == "up"
    assert "ping node" in pair[ONE].run("hbctl status").stdout
    tree = pair[ONE].run(f"busctl tree --list {cluster.BUS_NAME}").stdout.split()
    (path,) = [path for path in tree if path.endswith("/node/routers")]
    asked = f"busctl get-property {cluster.BUS_NAME} {path} {cluster.BUS_NAME}.Node Kind Status"
    assert pair[ONE].run(asked).stdout.split() == ["s", '"ping"', "s", '"ping"']


@pytest.mark.parametrize("addresses", [(ROUTER,), MEMBERS], ids=["LAN", "private link"])
def test_the_machine_that_loses_a_ping_node_gives_everything_away(
    pair: Lab, addresses: tuple[str, ...]
) -> None:
    began_us = now_us()
    with never_on_both(pair), lost(pair, addresses, ONE):
        moves_to_two(pair)
    assert said(pair[ONE], "Giving up because we have less visible ping nodes.", began_us)


def test_one_member_of_a_ping_group_is_not_missed(pair: Lab) -> None:
    began_us = now_us()
    with lost(pair, MEMBERS[:1], ONE):
        let_deadping_pass()
        assert answering(pair, ONE)["routers"]
    stays(pair, began_us)


def test_what_both_lose_moves_nothing(pair: Lab) -> None:
    began_us = now_us()
    with lost(pair, (ROUTER,), ONE, TWO):
        for machine in (ONE, TWO):
            pair[machine].wait_for_journal(f"node {ROUTER}: is dead", since_us=began_us)
        let_deadping_pass()
    wait_until_all_answer(pair, ONE, TWO)
    stays(pair, began_us)


def test_a_ping_node_that_flaps_moves_nothing(pair: Lab) -> None:
    began_us = now_us()
    for _ in range(2):
        with lost(pair, (ROUTER,), ONE, TWO):
            time.sleep(3)
        time.sleep(3)
    stays(pair, began_us)


def test_a_lan_that_is_cut_in_silence_has_everything_moved(pair: Lab) -> None:
    with never_on_both(pair):
        pair.network.cut(ONE, "eth0", silent=True)
        moves_to_two(pair)


@pytest.mark.alone
def test_a_lost_carrier_has_everything_moved_within_a_second_without_waiting_for_a_ping(
    pair: Lab, capsys: pytest.CaptureFixture[str]
) -> None:
    with never_on_both(pair), watch_address(pair, TWO) as two, watch_carrier(pair, ONE, "eth0") as one:
        cut_us = now_us()
        pair.network.cut(ONE, "eth0")
        up = two.wait_for("up", since_us=cut_us, timeout=PATIENCE_S)
        moves_to_two(pair)
        lost_us = one.wait_for("no carrier", since_us=cut_us).at_us
    started = {unit: starts(pair[TWO], unit, cut_us)[0].monotonic_us - lost_us for unit in UNITS}
    moved = {ADDRESS: up.at_us - lost_us, **started}
    with capsys.disabled():
        times = ", ".join(f"{what} {took_us / 1000:.0f} ms" for what, took_us in moved.items())
        print(f"\nafter the carrier was lost, at the peer: {times}")
    assert max(moved.values()) < 1_000_000
    assert said(pair[ONE], f"Giving up because {TWO} has a carrier", cut_us)


def test_carriers_that_both_lose_move_nothing(pair: Lab) -> None:
    began_us = now_us()
    for machine in (ONE, TWO):
        pair.network.cut(machine, "eth0")
    for machine in (ONE, TWO):
        pair[machine].wait_for_journal("has no carrier: nobody reaches the address here", since_us=began_us)
    let_deadping_pass()
    stays(pair, began_us)
