"""Both machines start hbd at the same moment, on good wires and bad, and one of them may crash in it."""

import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path

import pytest

from tests.lab import Lab
from tests.lab.cluster import (
    ADDRESS,
    ONE,
    PRIVATE_ONLY,
    TWO,
    UNITS,
    configure,
    is_idle,
    said,
    serves,
    settle,
    share_answers,
    start,
    stop,
    watch_address,
)
from tests.lab.host import CLEAN_ENV
from tests.lab.journal import now_us

SERVED_WITHIN_US = 2_000_000
_RELAY = Path(__file__).with_name("relay.py")


@pytest.fixture(scope="module")
def machines(hbd_layer: Path) -> Iterator[Lab]:
    """Both machines booted. hbd is stopped on both before each test, and the wires are good."""
    with Lab(layers=[hbd_layer]) as lab:
        configure(lab)
        lab.boot()
        yield lab


@pytest.fixture
def lab(machines: Lab) -> Iterator[Lab]:
    yield machines
    for name in machines.nodes:
        machines.network.restore(name)
        if not machines[name].is_running:
            machines.boot(name)
    stop(machines)
    configure(machines)


@contextmanager
def never_twice(lab: Lab) -> Iterator[None]:
    """Whatever happens inside, no member of the group is on both machines at any moment.

    Nothing of it is anywhere when it begins. The address is judged by both kernels and by ARP
    on the LAN, the units by what systemd says of them. A machine whose power fails has nothing.
    """
    assert is_idle(lab[ONE])
    assert is_idle(lab[TWO])
    began_us = now_us()
    with watch_address(lab, ONE) as one, watch_address(lab, TWO) as two, lab.observer.arp_probe() as arp:
        yield
        arp.wait_for_rounds_until(now_us())
        changes = {
            ONE: [(each.at_us, ADDRESS, each.what == "up") for each in one.seen()],
            TWO: [(each.at_us, ADDRESS, each.what == "up") for each in two.seen()],
        }
        assert arp.dual_held() == []
    for name, node in lab.nodes.items():
        for entry in node.journal(since_us=began_us):
            unit, kind = entry.fields.get("UNIT", ""), entry.fields.get("JOB_TYPE", "")
            if unit in UNITS and kind in ("start", "stop") and entry.fields.get("JOB_RESULT"):
                changes[name].append((entry.monotonic_us, unit, kind == "start"))
        if not node.is_running:
            # Its last line may be that of a start: the machine was lost after it.
            lost_us = max(entry.monotonic_us for entry in node.journal()) + 1
            changes[name] += [(lost_us, member, False) for member in (ADDRESS, *UNITS)]
    for member in (ADDRESS, *UNITS):
        held = {ONE: False, TWO: False}
        story = sorted(
            (at_us, up, name)
            for name, seen in changes.items()
            for at_us, changed, up in seen
            if changed == member
        )
        for _, up, name in story:
            held[name] = up
            assert not all(held.values()), f"{member} on both: {story}"


@contextmanager
def started(lab: Lab) -> Iterator[int]:
    """`systemctl start hbd` on both at once, while what is inside goes on; gives the moment."""
    at_us = now_us()
    starting = threading.Thread(target=start, args=(lab,))
    starting.start()
    try:
        yield at_us
    finally:
        starting.join()


@contextmanager
def bad_wire(lab: Lab, seed: int) -> Iterator[None]:
    """The private link loses one frame in five, doubles one in ten, and delays each by up to 400 ms."""
    lab.network.cut(ONE, "eth1", silent=True)
    words = [sys.executable, "-S", str(_RELAY), f"{ONE}-eth1", f"{TWO}-eth1", "400", "20", "10", f"{seed}"]
    relay = subprocess.Popen(
        ["nsenter", f"--net={lab.network.namespace_path('sw')}", *words],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        env=CLEAN_ENV,
    )
    try:
        assert relay.stdout is not None
        assert relay.stdout.readline() == b"ready\n"
        yield
        assert relay.poll() is None
    finally:
        relay.terminate()
        relay.communicate()
        lab.network.restore(ONE, "eth1")


def active_us(lab: Lab, since_us: int) -> int:
    """When the later of the two became active."""
    return max(
        node.wait_for_journal("Local status now set to: 'active'", since_us=since_us).monotonic_us
        for node in lab.nodes.values()
    )


@pytest.mark.parametrize("attempt", [1, 2, 3])
def test_both_start_together_and_the_client_is_served_within_2_s_of_both_being_active(
    lab: Lab, attempt: int, capsys: pytest.CaptureFixture[str]
) -> None:
    with never_twice(lab), lab.client.http_probe() as http:
        with started(lab) as began_us:
            both_us = active_us(lab, began_us)
            answer = http.wait_for(ONE, since_us=began_us)
        complete = lab[ONE].wait_for_journal(f"completed. group {ADDRESS} runs", since_us=began_us)
        settle(lab, owned_by=ONE)
        assert share_answers(lab) == ONE
    with capsys.disabled():
        served_ms = [(us - both_us) / 1000 for us in (answer.ended_us, complete.monotonic_us)]
        print("\nboth active to first answer, to the whole group: {:.0f} ms, {:.0f} ms".format(*served_ms))
    assert answer.ended_us - both_us <= SERVED_WITHIN_US
    assert complete.monotonic_us - both_us <= SERVED_WITHIN_US
    assert serves(lab[ONE])
    assert is_idle(lab[TWO])
    assert {each.node for each in http.answers()} <= {ONE, None}
    for node in lab.nodes.values():
        assert said(node, "is dead", began_us) == []


def test_with_a_third_of_the_packets_lost_the_group_still_comes_up_once(lab: Lab) -> None:
    for interface in ("eth0", "eth1"):
        lab.network.loss(ONE, interface, 33)
    with never_twice(lab):
        with started(lab) as began_us:
            settle(lab, owned_by=ONE, timeout=30)
        time.sleep(2)
    assert serves(lab[ONE])
    assert is_idle(lab[TWO])
    assert len(said(lab[ONE], "Acquiring resource group", began_us)) == 1
    assert said(lab[TWO], "Acquiring resource group", began_us) == []


@pytest.mark.parametrize("seed", [1, 2])
def test_on_a_wire_that_reorders_doubles_and_loses_the_group_still_comes_up_once(lab: Lab, seed: int) -> None:
    configure(lab, media=PRIVATE_ONLY)
    with never_twice(lab), bad_wire(lab, seed):
        with started(lab) as began_us:
            settle(lab, owned_by=ONE, timeout=30)
        time.sleep(2)
        # The wire was as bad as it is meant to be.
        assert any(said(node, "lost packet", began_us) for node in lab.nodes.values())
    assert serves(lab[ONE])
    assert is_idle(lab[TWO])
    assert len(said(lab[ONE], "Acquiring resource group", began_us)) == 1
    assert said(lab[TWO], "Acquiring resource group", began_us) == []


@pytest.mark.parametrize("wire", ["good", "bad"])
def test_hbd_killed_at_the_moment_of_the_first_start_starts_nothing_twice(lab: Lab, wire: str) -> None:
    configure(lab, media=PRIVATE_ONLY)
    with never_twice(lab), bad_wire(lab, 3) if wire == "bad" else nullcontext():
        with started(lab) as began_us:
            lab[ONE].wait_for_journal("Acquiring resource group", since_us=began_us)
            lab[ONE].run("systemctl kill --kill-who=main --signal=KILL hbd")
        settle(lab, timeout=30)
        time.sleep(1)
    assert [serves(lab[name]) for name in (ONE, TWO)].count(True) == 1
    assert [is_idle(lab[name]) for name in (ONE, TWO)].count(True) == 1


@pytest.mark.parametrize("name", [ONE, TWO])
def test_a_machine_lost_at_the_moment_of_the_first_start_leaves_one_that_serves(lab: Lab, name: str) -> None:
    other = TWO if name == ONE else ONE
    with never_twice(lab):
        with started(lab) as began_us:
            lab[ONE].wait_for_journal("Acquiring resource group", since_us=began_us)
            lab[name].power_kill()
        settle(lab, other, owned_by=other, timeout=30)
    assert serves(lab[other])
