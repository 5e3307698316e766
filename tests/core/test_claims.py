"""Who may hold what, and who gives way."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hbd.config.model import AutoFailback
from hbd.core.claims import Peer, PeerKind, both_fail_back, echoed, loses, may_hold
from hbd.core.report import Entry, Posture, Report

GROUP, DIGEST = "10.0.0.1", "d"
EMPTY = Report(1, (5, 10), 5, AutoFailback.ON, DIGEST, active=True, groups={})


def peer(report: Report | None = EMPTY, **state: bool) -> Peer:
    """An hbd peer of generation 7 that has reported this as number 20."""
    found = Peer("beta")
    found.restarted(7)
    found.alive = True
    if report is not None:
        found.apply(report, 7, 20)
    for name, value in state.items():
        setattr(found, name, value)
    return found


def holding(posture: Posture, **more: bool) -> Report:
    return replace(EMPTY, groups={GROUP: Entry(posture, 1, **more)})


def test_a_peer_that_echoed_our_claim_and_claims_nothing_cannot_hold_the_group() -> None:
    assert not may_hold(peer(), GROUP, DIGEST, (5, 10))
    assert not may_hold(peer(), GROUP, DIGEST, (5, 9))


def test_an_echo_of_something_earlier_frees_nothing() -> None:
    assert may_hold(peer(), GROUP, DIGEST, (5, 11))
    assert may_hold(peer(), GROUP, DIGEST, (6, 1))


def test_without_a_claim_of_ours_nothing_is_free() -> None:
    assert may_hold(peer(), GROUP, DIGEST, None)


@pytest.mark.parametrize("posture", [posture for posture in Posture if posture is not Posture.NONE])
def test_any_claim_of_the_peer_holds_the_group(posture: Posture) -> None:
    assert may_hold(peer(holding(posture)), GROUP, DIGEST, (5, 10))


def test_an_offered_group_that_is_released_is_free() -> None:
    assert not may_hold(peer(holding(Posture.NONE, offered=True)), GROUP, DIGEST, (5, 10))


def test_a_peer_with_another_digest_may_hold_anything() -> None:
    assert may_hold(peer(), GROUP, "other", (5, 10))


def test_a_peer_that_still_probes_may_hold_anything() -> None:
    assert may_hold(peer(replace(EMPTY, groups=None)), GROUP, DIGEST, (5, 10))


def test_a_peer_that_has_not_reported_may_hold_anything() -> None:
    assert may_hold(peer(None), GROUP, DIGEST, (5, 10))
    assert may_hold(Peer("beta"), GROUP, DIGEST, (5, 10))


def test_a_restarted_peer_may_hold_anything_until_it_reports_again() -> None:
    found = peer()
    found.restarted(8)
    assert may_hold(found, GROUP, DIGEST, (5, 10))
    assert found.apply(EMPTY, 8, 1)
    assert not may_hold(found, GROUP, DIGEST, (5, 10))


def test_the_dead_and_the_gone_hold_nothing() -> None:
    report = holding(Posture.RUNNING)
    assert not may_hold(peer(report, dead=True), GROUP, DIGEST, None)
    assert not may_hold(peer(report, gone=True), GROUP, DIGEST, None)


def test_a_goodbye_counts_only_without_any_claim() -> None:
    assert peer(replace(EMPTY, leaving=True)).gone
    assert not peer(replace(holding(Posture.STOPPING), leaving=True)).gone
    assert not peer(replace(EMPTY, leaving=True, groups=None)).gone


def test_a_goodbye_ends_with_the_next_life() -> None:
    found = peer(replace(EMPTY, leaving=True))
    found.restarted(8)
    assert not found.gone


@pytest.mark.parametrize("at", [(7, 20), (7, 19), (6, 99)])
def test_an_older_report_changes_nothing(at: tuple[int, int]) -> None:
    found = peer(holding(Posture.RUNNING))
    assert not found.apply(EMPTY, *at)
    assert found.entry(GROUP).claims


def test_what_a_peer_claimed_last_outlasts_its_life() -> None:
    found = peer(holding(Posture.STARTING))
    found.restarted(8)
    assert list(found.last_held) == [GROUP]
    found.apply(EMPTY, 8, 1)
    assert list(found.last_held) == []


def test_unable_is_forgotten_only_when_the_peer_says_so_knowing_what_we_remember() -> None:
    found = peer(holding(Posture.NONE, unable=True))
    assert found.unable == {GROUP}
    found.restarted(8)
    assert found.apply(EMPTY, 8, 1)
    assert found.unable == {GROUP}
    found.unable_told = (5, 12)
    assert found.apply(replace(EMPTY, echo=(5, 11)), 8, 2)
    assert found.unable == {GROUP}
    assert found.apply(replace(EMPTY, echo=(5, 12)), 8, 3)
    assert found.unable == set()


def test_a_heartbeat_306_is_spoken_to_in_its_own_way_only_while_it_lives() -> None:
    found = Peer("beta", PeerKind.CLASSIC, alive=True)
    assert found.speaks_classic
    assert not replace(found, dead=True).speaks_classic
    assert not replace(found, gone=True).speaks_classic


def test_echoes_are_compared_by_generation_first() -> None:
    assert echoed(peer(), 4, 999)
    assert not echoed(peer(), 6, 1)
    assert not echoed(peer(None), 1, 1)


# ---------------------------------------------------------------- conflicts

claims = st.builds(
    Entry, st.sampled_from([posture for posture in Posture if posture is not Posture.NONE]),
    st.integers(0, 5), st.booleans(),
)  # fmt: skip


@given(claims, claims, st.sampled_from(["alpha", "beta"]), st.booleans())
def test_of_two_claims_exactly_one_loses_whoever_computes_it(
    alphas: Entry, betas: Entry, home: str, both_on: bool
) -> None:
    alpha_loses = loses(alphas, "alpha", betas, "beta", home, both_on)
    beta_loses = loses(betas, "beta", alphas, "alpha", home, both_on)
    assert alpha_loses != beta_loses


RUNS = Entry(Posture.RUNNING, epoch=5)


@pytest.mark.parametrize(
    ("ours", "why"),
    [
        (replace(RUNS, posture=Posture.BLOCKED, epoch=1), "blocked"),
        (replace(RUNS, posture=Posture.STOPPING, epoch=1), "being stopped"),
        (replace(RUNS, posture=Posture.CLAIMED, epoch=1), "nothing runs yet"),
        (replace(RUNS, provisional=True, epoch=1), "found after a crash"),
        (replace(RUNS, epoch=6), "acquired later"),
    ],
)
def test_the_weaker_claim_loses_even_at_its_home_node(ours: Entry, why: str) -> None:
    assert loses(ours, "alpha", RUNS, "beta", "alpha", True), why


def test_between_equals_the_home_node_keeps_it_if_both_fail_back_and_else_the_first_by_name() -> None:
    assert not loses(RUNS, "beta", RUNS, "alpha", "beta", True)
    assert loses(RUNS, "beta", RUNS, "alpha", "beta", False)
    assert loses(RUNS, "beta", RUNS, "alpha", "alpha", True)


def test_auto_failback_counts_only_if_both_say_on() -> None:
    assert both_fail_back(AutoFailback.ON, EMPTY)
    assert not both_fail_back(AutoFailback.OFF, EMPTY)
    assert not both_fail_back(AutoFailback.ON, replace(EMPTY, auto_failback=AutoFailback.OFF))
    assert not both_fail_back(AutoFailback.LEGACY, EMPTY)
