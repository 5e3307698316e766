"""Parts of a handover between two hbd nodes."""

from __future__ import annotations

import pytest

from hbd.core.exchange import Cause, Exchange, Stage, Transition


def transition(*groups: str, **results: str) -> Transition:
    found = Transition(1, Cause.STANDBY, "all", False, groups, 0)
    found.results.update(results)
    return found


@pytest.mark.parametrize(
    ("results", "whole"),
    [
        ({"a": "done", "b": "done"}, "done"),
        ({"a": "done", "b": "cancelled"}, "cancelled"),
        ({"a": "failed", "b": "cancelled"}, "failed"),
        ({"a": "failed", "b": "done"}, "failed"),
    ],
)
def test_a_transition_is_done_only_if_every_group_arrived_and_else_the_worst_that_happened(
    results: dict[str, str], whole: str
) -> None:
    found = transition("a", "b", **results)
    assert found.finished
    assert found.result == whole


def test_a_transition_is_over_when_every_group_has_its_result() -> None:
    assert not transition("a", "b", a="done").finished
    assert transition().finished
    assert transition().result == "done"


def test_an_offer_begins_anew_and_can_be_withdrawn() -> None:
    exchange = Exchange(given=True, offered_at=(1, 2))
    exchange.offer(500, pinned=True)
    assert (exchange.stage, exchange.since_ms, exchange.pinned) == (Stage.OFFERED, 500, True)
    assert exchange.offered_at is None
    assert not exchange.given
    exchange.withdraw()
    assert exchange.stage is Stage.NONE
