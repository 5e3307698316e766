"""One of two heartbeat links is cut and mended: nothing else happens."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.lab import Lab
from tests.lab.cluster import (
    ONE,
    TWO,
    UNITS,
    is_idle,
    running_pair,
    said,
    serves,
    settle,
    starts,
    status,
    watch_address,
)
from tests.lab.journal import now_us


@pytest.fixture(scope="module")
def pair(hbd_layer: Path) -> Iterator[Lab]:
    with running_pair(hbd_layer) as lab:
        yield lab


def links(lab: Lab, node: str) -> dict[str, str]:
    shown = status(lab[node])
    assert shown is not None
    return {f"{link['node']}:{link['name']}": link["status"] for link in shown["links"]}


@pytest.mark.parametrize("silent", [False, True], ids=["carrier", "silent"])
@pytest.mark.parametrize("link", ["eth1", "eth0"])
def test_a_link_that_is_cut_and_restored_kills_nobody(pair: Lab, link: str, silent: bool) -> None:
    began_us = now_us()
    peers = {ONE: TWO, TWO: ONE}
    with watch_address(pair, ONE) as on_one, watch_address(pair, TWO) as on_two:
        pair.network.cut(ONE, link, silent=silent)
        for node, peer in peers.items():
            pair[node].wait_for_journal(f"^Link {peer}:{link} dead\\.$", since_us=began_us)
            assert links(pair, node)[f"{peer}:{link}"] == "dead"

        restored_us = now_us()
        pair.network.restore(ONE, link)
        for node, peer in peers.items():
            pair[node].wait_for_journal(f"^Link {peer}:{link} up\\.$", since_us=restored_us)
            assert set(links(pair, node).values()) == {"up"}

        settle(pair, owned_by=ONE)
        assert on_one.seen("gone") == []
        assert on_two.seen() == []
        with pair.client.http_probe() as http:
            http.wait_for(ONE)
    assert serves(pair[ONE])
    assert is_idle(pair[TWO])
    for node, peer in peers.items():
        assert said(pair[node], "is dead", began_us) == []
        # Of the peer's links, that one and no other, once each way.
        told = [entry.message for entry in said(pair[node], f"Link {peer}:", began_us)]
        assert told == [f"Link {peer}:{link} dead.", f"Link {peer}:{link} up."]
        for unit in UNITS:
            assert starts(pair[node], unit, began_us) == []
