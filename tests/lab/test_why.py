"""A failover is explained: by `hbctl why`, by its history, after a restart of hbd too, and by the journal."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.lab.cluster import ONE, TWO, running_pair, settle
from tests.lab.furniture import CLUSTER_ADDRESS
from tests.lab.lab import Lab
from tests.lab.node import Node


@pytest.fixture(scope="module")
def pair(hbd_layer: Path) -> Iterator[Lab]:
    """Both nodes, with everything on the first."""
    with running_pair(hbd_layer) as lab:
        settle(lab, owned_by=ONE)
        yield lab


@pytest.fixture(scope="module")
def together(pair: Lab) -> list[dict[str, Any]]:
    """What both nodes have decided while they lived, as the second one tells it."""
    return list(json.loads(pair[TWO].run("hbctl history --both --json -n 50").stdout)["records"])


@pytest.fixture(scope="module")
def survivor(pair: Lab, together: object) -> Node:
    """The node that is left after the owner has lost its power, with everything taken over."""
    pair[ONE].power_kill()
    pair[TWO].wait_for_journal("^mach_down takeover complete")
    return pair[TWO]


def test_the_other_nodes_decisions_are_told_over_the_links_in_the_order_of_events(
    together: list[dict[str, Any]]
) -> None:
    assert {record["node"] for record in together} == {ONE, TWO}
    (taken,) = [record for record in together if record["decision"] == "take" and record["node"] == ONE]
    assert (taken["group"], taken["result"]) == (CLUSTER_ADDRESS, "started")
    # Both machines are on one kernel here, so their clocks since boot are one: the truth, within the way of
    # the messages, and of a busy machine.
    assert all(
        record["local_ms"] == pytest.approx(record["at_ms"], abs=2000)
        for record in together
        if record["node"] == ONE
    )
    heads = [record for record in together if not record["under"]]
    assert [head["at_ms"] for head in heads] == pytest.approx(
        sorted(head["at_ms"] for head in heads), abs=2000
    )


def test_a_dead_node_tells_nothing_and_that_is_said(survivor: Node) -> None:
    refused = survivor.run("hbctl history --both", check=False)
    assert (refused.returncode, refused.stdout) == (1, "")
    assert f"{ONE} is dead" in refused.stderr


def stories(node: Node) -> list[dict[str, object]]:
    shown = json.loads(node.run("hbctl history --json -n 50").stdout)
    return list(shown["records"])


def the_death(node: Node) -> tuple[dict[str, object], dict[str, object]]:
    """The record of it, and that of the group that was taken over because of it."""
    records = stories(node)
    death = next(record for record in records if record["decision"] == "declared dead")
    taking = next(
        record for record in records
        if record["decision"] == "take"
        and (record["life"], record["under"]) == (death["life"], death["number"])
    )  # fmt: skip
    return death, taking


def test_why_says_that_the_other_node_is_dead_and_by_what_evidence(survivor: Node) -> None:
    for wanted in (CLUSTER_ADDRESS, "httpd"):
        text = survivor.run(["hbctl", "why", wanted]).stdout
        assert text.startswith(f"{CLUSTER_ADDRESS} is started on {TWO}. Its home is {ONE}.\n")
        assert f"{TWO} has it: {ONE} is dead." in text
        assert f"{ONE} is declared dead, because no heartbeat of {ONE} for" in " ".join(text.split())
        assert re.search(rf"{ONE} on eth1: link is (dead|up) \(\d+ ms before\)", text)
        assert f"Nothing can take it while {ONE} is dead." in text


def test_the_history_has_the_death_the_takeover_and_each_step(survivor: Node) -> None:
    death, taking = the_death(survivor)
    assert (death["peer"], death["result"]) == (ONE, f"took {CLUSTER_ADDRESS}")
    assert (taking["cause"], taking["result"]) == (f"{ONE} is dead", "started")
    text = survivor.run("hbctl history").stdout
    assert re.search(rf"^ +\d+ ms +{re.escape(CLUSTER_ADDRESS)} start: done$", text, re.MULTILINE)
    assert re.search(rf"^ +\d+ ms +{re.escape(CLUSTER_ADDRESS)}: started$", text, re.MULTILINE)


def test_the_journal_explains_the_death_and_says_what_to_do(survivor: Node) -> None:
    text = survivor.run("hbctl log --explain -n 500").stdout
    assert f"Subject: Node {ONE} is dead" in text
    assert "No heartbeat of linuxha1 came on any link" in text


def test_the_records_outlast_a_restart_of_hbd(survivor: Node) -> None:
    before = the_death(survivor)
    survivor.run("systemctl kill --signal=KILL hbd")
    survivor.wait_for_journal("was started by an earlier hbd and runs")
    assert the_death(survivor) == before
    text = survivor.run(["hbctl", "why", CLUSTER_ADDRESS]).stdout
    assert "found running when hbd started" in text
