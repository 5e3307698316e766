"""Whole clusters in which hands undo what hbd does, beside every other fault (rules 19 and 20)."""

import gc
import os
from concurrent.futures import ProcessPoolExecutor
from typing import Any

import pytest

from hbd.core.cluster import Cluster
from hbd.core.groups import Group
from hbd.core.groupstate import GroupState, Phase
from hbd.core.guard import Guard
from hbd.sim.world import Violation
from tests.simulation.handled_world import HandledWorld, Seen

SEEDS = int(os.environ.get("HBD_HAND_SEEDS", "400"))
SEEDS_OF_A_MUTANT = 150
CHUNK = 20


def _run(first: int) -> tuple[list[str], Seen]:
    gc.disable()  # A run is small and gone at once.
    found, seen = [], Seen()
    for seed in range(first, min(first + CHUNK, SEEDS)):
        world = HandledWorld(seed)
        try:
            world.run()
        except Violation as violation:
            found.append(str(violation))
        seen += world.seen
    gc.collect()
    return found, seen


def test_what_hands_undo_is_put_right_in_time_and_only_where_the_rules_let_it() -> None:
    with ProcessPoolExecutor() as pool:
        ran = list(pool.map(_run, range(0, SEEDS, CHUNK)))
    found = [text for texts, _ in ran for text in texts]
    assert not found, f"{len(found)} of {SEEDS} seeds; the first:\n{found[0]}"
    seen = sum((each for _, each in ran), Seen())
    assert seen.put_back > SEEDS // 2
    assert seen.stopped > SEEDS // 5
    assert seen.refused > SEEDS // 10


# ---------------------------------------------------------------- each rule is missed when it is left out


def _found(monkeypatch: pytest.MonkeyPatch, place: Any, name: str, without: Any) -> str:
    monkeypatch.setattr(place, name, without)
    for seed in range(SEEDS_OF_A_MUTANT):
        try:
            HandledWorld(seed).run()
        except Violation as violation:
            return str(violation).splitlines()[0]
    raise AssertionError(f"{SEEDS_OF_A_MUTANT} seeds do not miss {name}")


def test_rule_19_what_does_not_belong_is_stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    found = _found(monkeypatch, Guard, "_stop", lambda self, group, resource, owner: None)
    assert ", which is not its own," in found or "runs on both" in found


def test_rule_19_the_mark_goes_before_the_stop(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = vars(GroupState)["held"].fget

    def started_until_all_is_stopped(group: Group) -> Any:
        phase, held = group.phase, None
        if phase is Phase.STOPPING:
            group.phase = Phase.STARTED
        held, group.phase = whole(group), phase
        return held

    found = _found(monkeypatch, Group, "held", property(started_until_all_is_stopped))
    assert "and anybody may start it again" in found


def test_rule_20_what_was_taken_away_is_put_back(monkeypatch: pytest.MonkeyPatch) -> None:
    found = _found(monkeypatch, Guard, "_put_back", lambda self, group, event: None)
    assert "does not put" in found


def test_rule_20_nothing_is_put_back_while_a_job_is_on_the_group(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = Group.advance

    def at_once(group: Group, now_ms: int, clear: bool, back: bool = False, yields: bool = False) -> Any:
        if group.phase is not Phase.STARTED or not group.hurt or group.dropping is not None:
            return whole(group, now_ms, clear, back, yields)
        return group._put_back(now_ms, yields) if back else [], []

    assert "while a job is on its group" in _found(monkeypatch, Group, "advance", at_once)


def test_rule_20_nothing_is_put_back_while_muted(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = Group.advance

    def anyhow(group: Group, now_ms: int, clear: bool, back: bool = False, yields: bool = False) -> Any:
        if not group.hurt or group.phase is not Phase.STARTED:
            return whole(group, now_ms, clear, back, yields)
        before = group.muted, group.provisional
        group.muted = group.provisional = False
        done = whole(group, now_ms, clear, back or any(before), yields)
        group.muted, group.provisional = before
        return done

    found = _found(monkeypatch, Group, "advance", anyhow)
    assert "while it has to ask first" in found


def test_rule_20_nothing_is_put_back_while_the_peers_view_is_old(monkeypatch: pytest.MonkeyPatch) -> None:
    found = _found(monkeypatch, Cluster, "_fresh", lambda self, peer: True)
    assert "does not know " in found


def test_rule_20_a_word_that_is_older_than_our_job_is_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    found = _found(monkeypatch, Guard, "settle", lambda self, group, job: None)
    assert "and it was not away" in found or "and it does not run" in found
