"""Everything moves because it was told to, at the guide's timings: nobody waits for a deadtime of 30 s."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.lab import Lab
from tests.lab.cluster import (
    GUIDE,
    ONE,
    STANDBY_CALL,
    TWO,
    UNITS,
    is_idle,
    jobs_done,
    logged_us,
    never_on_both,
    owner,
    running_pair,
    said,
    serves,
    settle,
    share_answers,
    start,
    starts,
    watch_address,
)
from tests.lab.journal import now_us
from tests.lab.node import Node


@dataclass(frozen=True, slots=True)
class Pair:
    """The lab, the machine that has everything, and the one that is to have it."""

    lab: Lab
    owner: Node
    other: Node

    def expect_moved(self, since_us: int) -> None:
        assert serves(self.other)
        for unit in UNITS:
            assert len(starts(self.other, unit, since_us)) == 1
        assert share_answers(self.lab) == self.other.name
        assert said(self.other, "is dead", since_us) == []


@pytest.fixture(scope="module")
def running(hbd_layer: Path) -> Iterator[Lab]:
    with running_pair(hbd_layer, timings=GUIDE, auto_failback="off") as lab:
        yield lab


@pytest.fixture
def pair(running: Lab) -> Pair:
    """Both run and agree; a machine whose hbd the test before stopped has it again."""
    start(running)
    settle(running)
    now = owner(running[ONE])
    return Pair(running, running[now], running[TWO if now == ONE else ONE])


@pytest.mark.parametrize("command", ["hbctl standby", STANDBY_CALL], ids=["hbctl", "busctl"])
@pytest.mark.parametrize("way", ["there", "and back"])
def test_standby_moves_everything_and_the_address_is_never_on_both(
    pair: Pair, way: str, command: str
) -> None:
    began_us = now_us()
    with never_on_both(pair.lab), pair.lab.client.http_probe() as http:
        http.wait_for(pair.owner.name)
        pair.owner.run(command)
        http.wait_for(pair.other.name, since_us=began_us)
        settle(pair.lab, owned_by=pair.other.name)
    pair.expect_moved(began_us)
    assert is_idle(pair.owner)


def test_takeover_moves_everything_and_has_moved_it_when_its_wait_ends(pair: Pair) -> None:
    began_us = now_us()
    with never_on_both(pair.lab):
        pair.other.run("hbctl takeover --wait")
        pair.expect_moved(began_us)
        settle(pair.lab, owned_by=pair.other.name)
    assert is_idle(pair.owner)


def test_stopping_hbd_on_the_owner_moves_everything_without_waiting_for_deadtime(pair: Pair) -> None:
    began_us = now_us()
    with never_on_both(pair.lab), pair.lab.client.http_probe() as http:
        http.wait_for(pair.owner.name)
        pair.owner.run("systemctl stop hbd")
        answer = http.wait_for(pair.other.name, since_us=began_us)
        settle(pair.lab, pair.other.name, owned_by=pair.other.name)
    assert answer.ended_us < began_us + GUIDE.deadtime_ms * 1000
    pair.expect_moved(began_us)
    assert is_idle(pair.owner)


def test_rebooting_the_owner_moves_everything_without_waiting_for_deadtime(pair: Pair) -> None:
    pair.owner.run("systemctl enable hbd")
    began_us = now_us()
    with (
        never_on_both(pair.lab),
        watch_address(pair.lab, pair.owner.name) as address,
        pair.lab.client.http_probe() as http,
    ):
        http.wait_for(pair.owner.name)
        pair.owner.run("systemctl reboot", check=False)
        answer = http.wait_for(pair.other.name, since_us=began_us)
        settle(pair.lab, pair.other.name, owned_by=pair.other.name)
        pair.owner.wait_off()
        gone_us = address.seen("gone")[0].at_us
    assert answer.ended_us < began_us + GUIDE.deadtime_ms * 1000
    pair.expect_moved(began_us)
    expect_released_in_order(pair.owner, began_us, gone_us)

    pair.lab.boot(pair.owner.name)
    settle(pair.lab, owned_by=pair.other.name)
    assert is_idle(pair.owner)


def expect_released_in_order(node: Node, since_us: int, gone_us: int) -> None:
    """hbd stopped each unit, right to left and the address last, before systemd would have."""
    order = []
    for name in ("smb", "httpd"):
        [told] = said(node, f"Running {name} stop", since_us)
        [stopped] = jobs_done(node, f"{name}.service", "stop", since_us)
        order += [logged_us(told), logged_us(stopped)]
    assert [*order, gone_us] == sorted([*order, gone_us])
