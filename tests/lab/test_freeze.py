"""A frozen cluster lets everything be, whatever dies; a thaw, and an operator's oath, set it going again."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.lab import Lab
from tests.lab.cluster import (
    ONE,
    TWO,
    UNITS,
    active_units,
    glance,
    holds,
    is_idle,
    jobs_done,
    never_on_both,
    running_pair,
    said,
    serves,
    settle,
    share_answers,
    start,
    watch_address,
)
from tests.lab.host import wait_until
from tests.lab.journal import now_us
from tests.lab.node import Node


@pytest.fixture(scope="module")
def lab(hbd_layer: Path) -> Iterator[Lab]:
    """Both run, everything is on linuxha1."""
    with running_pair(hbd_layer) as made:
        yield made


def is_frozen(node: Node, frozen: bool = True) -> bool:
    """Whether this node says so, and that the other one knows."""
    shown = glance(node)
    return shown is not None and (shown["cluster"]["frozen"], shown["cluster"]["freezeagreed"]) == (
        frozen,
        True,
    )


def wait_for_word(lab: Lab, frozen: bool = True) -> None:
    def known() -> bool:
        return all(is_frozen(lab[name], frozen) for name in (ONE, TWO))

    wait_until(known, 20, "a word that both nodes know", 0.1)


def unit_jobs(lab: Lab, since_us: int) -> list[str]:
    """Starts and stops of the group's units, on either machine."""
    return [
        f"{name}: {kind} {unit}"
        for name in (ONE, TWO)
        for unit in UNITS
        for kind in ("start", "stop")
        for _ in jobs_done(lab[name], unit, kind, since_us)
    ]


def test_frozen_a_dead_unit_a_killed_hbd_and_a_stopped_one_change_nothing_before_the_thaw(lab: Lab) -> None:
    one, two = lab[ONE], lab[TWO]
    told = two.run("hbctl freeze").stdout
    assert told == f"the cluster is frozen: this node and {ONE} know it\n"
    wait_for_word(lab)
    shown = one.run("hbctl status", check=False)
    assert shown.returncode == 1
    assert "! the cluster is frozen: nothing is started, stopped or moved until hbctl thaw" in shown.stdout
    assert "frozen" in one.run("systemctl show -p StatusText --value hbd").stdout
    refused = one.run("hbctl standby", check=False)
    assert (refused.returncode, "the cluster is frozen" in refused.stderr) == (1, True)

    since_us = now_us()
    with watch_address(lab, ONE) as address, watch_address(lab, TWO) as elsewhere:
        one.run("systemctl kill --signal=KILL httpd.service")
        wait_until(lambda: active_units(one) == ["smb.service"], 10, "the end of httpd", 0.1)
        one.run("systemctl kill --signal=KILL --kill-who=main hbd.service")
        one.wait_for_journal("was started by an earlier hbd and runs", since_us=since_us)
        wait_for_word(lab)
        one.run("systemctl stop hbd")
        two.wait_for_journal(f"node {ONE}: is dead", since_us=since_us)
        two.wait_for_journal(f"nothing is taken over from {ONE}", since_us=since_us)
        assert (holds(one), active_units(one), is_idle(two)) == (True, ["smb.service"], True)
        assert share_answers(lab) == ONE  # No lease silences the address, and nobody is there to renew it.
        one.run("systemctl start hbd")
        wait_for_word(lab)
        assert address.seen() == elsewhere.seen() == []
    assert unit_jobs(lab, since_us) == []
    assert said(one, "what runs here goes on running without hbd", since_us) != []

    with never_on_both(lab):
        assert one.run("hbctl thaw").stdout == f"the cluster is thawed: this node and {TWO} know it\n"
        settle(lab, owned_by=ONE)
        wait_until(lambda: serves(one), 10, "httpd again", 0.1)
    assert unit_jobs(lab, since_us) == [f"{ONE}: start httpd.service"]
    assert is_idle(two)


def test_what_a_node_held_that_fell_silent_in_a_freeze_is_taken_over_after_an_oath_only(lab: Lab) -> None:
    one, two = lab[ONE], lab[TWO]
    settle(lab, owned_by=ONE)
    early = two.run(f"hbctl confirm-dead {ONE}", check=False)
    assert (early.returncode, "is up" in early.stderr) == (1, True)
    one.run("hbctl freeze")
    killed_us = one.power_kill()
    two.wait_for_journal(f"nothing is taken over from {ONE}", since_us=killed_us)

    thawed = two.run("hbctl thaw", check=False)
    assert thawed.returncode == 1
    assert f"after hbctl confirm-dead {ONE}" in thawed.stderr
    assert is_idle(two)
    sworn = two.run(f"hbctl confirm-dead {ONE}").stdout
    assert sworn == f"{ONE} counts as dead until anything is heard of it\n"
    settle(lab, TWO, owned_by=TWO)
    assert serves(two)

    lab.boot(ONE)
    start(lab, ONE)
    two.wait_for_journal("the confirmation is void", since_us=killed_us)
    settle(lab, owned_by=ONE)  # auto_failback is on.
    assert is_frozen(one, False)
