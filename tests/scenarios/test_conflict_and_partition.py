"""Two nodes that lost sight of each other, and what they do when they meet again."""

from __future__ import annotations

import pytest

from hbd.config.model import AutoFailback
from hbd.core.events import Reload, Stop
from tests.scenarios.pair import GROUPS, SHOP_KEY, Pair, all_on, at_home, group, reconfigured, unit


def released(pair: Pair, name: str, since_ms: int) -> list[str]:
    jobs = pair.jobs(pair.machines[name], since_ms)
    return [job for job in jobs if not job.startswith("announce")]


BOTH_FAILBACKS = [(each, each) for each in AutoFailback] + [
    (AutoFailback.ON, AutoFailback.OFF), (AutoFailback.OFF, AutoFailback.ON)
]  # fmt: skip


@pytest.mark.parametrize("failback", BOTH_FAILBACKS)
def test_after_a_healed_partition_exactly_one_releases_each_group_and_the_other_announces_again(
    failback: tuple[AutoFailback, AutoFailback],
) -> None:
    pair = Pair(failback).started()
    pair.twice_allowed = True
    pair.cut()
    pair.until(lambda: set(pair.owners().values()) == {"alpha+beta"}, 4000)
    pair.run(2000)
    pair.heal()
    healed_ms = pair.now_ms
    pair.until(lambda: set(pair.owners().values()) <= {"alpha", "beta"}, 1000)
    pair.run(4000)
    assert pair.owners() == at_home(pair.groups)
    # The forced release: addresses first, then units right to left.
    assert released(pair, "alpha", healed_ms) == ["drop 10.0.0.2", "stop ftp.service"]
    assert released(pair, "beta", healed_ms) == ["drop 10.0.0.1", "stop db.service", "stop web.service"]
    assert "announce 10.0.0.2" in pair.jobs(pair.beta, healed_ms)
    dropped_ms = pair.job_ms(pair.beta, "drop 10.0.0.1", healed_ms)
    assert dropped_ms - healed_ms <= 2 * 200 + 10
    assert pair.job_ms(pair.alpha, "announce 10.0.0.1", healed_ms) > dropped_ms


def test_after_a_cut_with_different_haresources_what_both_have_ends_on_one_and_nothing_starts() -> None:
    pair = Pair().started()
    more = (*GROUPS, group("alpha", unit("print")))
    pair.twice_allowed = True
    pair.cut()
    pair.until(lambda: set(pair.owners().values()) == {"alpha+beta"}, 4000)
    pair.ask(pair.alpha, Reload(reconfigured(pair.alpha, more)))
    edited_ms = pair.now_ms
    pair.run(1000)
    pair.heal()
    pair.until(lambda: pair.owners() == at_home(pair.groups), 1000)
    pair.run(5000)
    assert pair.owners() == at_home(pair.groups)
    for node in (pair.alpha, pair.beta):
        assert not [job for job in pair.jobs(node, edited_ms) if job.startswith("start")]


def test_a_node_that_is_not_heard_gives_way_before_its_deadline() -> None:
    pair = Pair().started()
    cut_ms = pair.now_ms
    pair.cut_from("alpha")  # alpha hears beta; beta does not hear alpha
    pair.until(lambda: pair.owners()[SHOP_KEY] == "beta", 4000)
    pair.run(3000)
    assert pair.job_ms(pair.alpha, "drop 10.0.0.1", cut_ms) < pair.job_ms(pair.beta, "start 10.0.0.1", cut_ms)
    assert pair.jobs(pair.alpha, cut_ms)[0] == "drop 10.0.0.1"
    assert "start 10.0.0.2" not in pair.jobs(pair.alpha, cut_ms)
    healed_ms = pair.now_ms
    pair.heal()
    pair.run(4000)
    assert pair.owners() == all_on("beta")
    assert pair.jobs(pair.beta, healed_ms) in ([], ["announce 10.0.0.1"])


def test_a_node_gives_way_to_a_peer_that_boots_and_never_hears_it() -> None:
    pair = Pair()
    pair.alpha.start_daemon()
    pair.until(lambda: pair.owners() == all_on("alpha"), 11_000)
    pair.run(1000)
    pair.cut_from("alpha")  # alpha hears beta; beta does not hear alpha
    pair.beta.start_daemon()
    joined_ms = pair.now_ms
    pair.until(lambda: pair.owners() == all_on("beta"), 11_000)
    dropped_ms = pair.job_ms(pair.alpha, "drop 10.0.0.1 10.0.0.2", joined_ms)
    # It starts for 10 s (initdead), and takes nothing before.
    assert 0 < pair.job_ms(pair.beta, "start 10.0.0.1", joined_ms) - dropped_ms <= 400


def test_a_node_that_slept_gives_a_peer_that_it_does_not_hear_its_whole_deadtime_to_answer() -> None:
    pair = Pair().started()
    pair.twice_allowed = True  # A frozen machine keeps its address.
    pair.cut_from("beta")  # beta hears alpha; alpha does not hear beta
    pair.run(1000)
    pair.alpha.freeze()
    pair.until(lambda: pair.owners()[SHOP_KEY] == "alpha+beta", 4000)
    woke_ms = pair.now_ms
    pair.alpha.thaw()
    pair.run(50)
    assert pair.jobs(pair.alpha, woke_ms) == ["drop 10.0.0.1"]
    pair.twice_allowed = False
    pair.run(6000)
    assert pair.job_ms(pair.alpha, "start 10.0.0.1", woke_ms) - woke_ms >= 2000
    # Unheard by alpha, beta gave way before that; each group has one owner again.
    assert pair.owners() == all_on("alpha")


def test_a_short_cut_changes_nothing() -> None:
    pair = Pair().started()
    cut_ms = pair.now_ms
    pair.cut()
    pair.run(1200)
    pair.heal()
    pair.run(3000)
    assert pair.owners() == at_home(pair.groups)
    assert pair.jobs(pair.alpha, cut_ms) == pair.jobs(pair.beta, cut_ms) == []


def test_nodes_that_booted_apart_agree_when_they_first_meet() -> None:
    pair = Pair()
    pair.twice_allowed = True
    pair.cut()
    pair.alpha.start_daemon()
    pair.run(1000)
    pair.beta.start_daemon()
    pair.until(lambda: set(pair.owners().values()) == {"alpha+beta"}, 13_000)
    pair.heal()
    pair.until(lambda: set(pair.owners().values()) <= {"alpha", "beta"}, 1000)
    met_ms = pair.now_ms
    pair.run(4000)
    assert pair.jobs(pair.alpha, met_ms + 500) == pair.jobs(pair.beta, met_ms + 500) == []
    assert all(owner in ("alpha", "beta") for owner in pair.owners().values())


def test_a_restart_during_the_cut_is_no_way_round_the_conflict() -> None:
    pair = Pair().started()
    pair.twice_allowed = True
    pair.cut()
    pair.until(lambda: set(pair.owners().values()) == {"alpha+beta"}, 4000)
    pair.beta.kill_daemon()
    pair.run(300)
    pair.beta.start_daemon()
    pair.run(600)
    pair.heal()
    pair.until(lambda: set(pair.owners().values()) <= {"alpha", "beta"}, 2000)
    pair.run(4000)
    assert all(owner in ("alpha", "beta") for owner in pair.owners().values())
    assert [g.owner for g in pair.view(pair.alpha).groups] == [g.owner for g in pair.view(pair.beta).groups]


def test_a_conflict_takes_the_addresses_off_a_group_that_is_stopping() -> None:
    pair = Pair().started()
    pair.twice_allowed = True
    pair.cut()
    pair.until(lambda: len(pair.beta.running) == 5, 6000)
    pair.alpha.troubles.slow["db.service"] = 15_000
    pair.ask(pair.alpha, Stop())
    pair.run(500)
    pair.heal()
    pair.run(1000)
    both = pair.alpha.running.keys() & pair.beta.running.keys()
    assert "10.0.0.1" not in both


def test_a_conflict_takes_the_addresses_off_a_group_that_is_blocked() -> None:
    pair = Pair().started()
    pair.twice_allowed = True
    pair.cut()
    pair.until(lambda: len(pair.beta.running) == 5, 6000)
    pair.alpha.troubles.stop_fails["db.service"] = 1000
    pair.ask(pair.alpha, Stop())
    pair.run(500)
    pair.heal()
    pair.run(120_000)
    both = pair.alpha.running.keys() & pair.beta.running.keys()
    assert "10.0.0.1" not in both
