"""How a pair of hbd nodes begins: together, alone, one after the other."""

from __future__ import annotations

import pytest

from hbd.config.model import AutoFailback
from hbd.core.views import ClusterState
from tests.scenarios.pair import (
    SHOP,
    SHOP_KEY,
    Pair,
    address,
    all_on,
    at_home,
    group,
    reconfigured,
    unit,
)


def test_two_nodes_that_start_together_serve_without_the_ten_seconds_of_heartbeat() -> None:
    pair = Pair()
    pair.alpha.start_daemon()
    pair.beta.start_daemon()
    took_ms = pair.until(lambda: pair.owners() == at_home(pair.groups), 2000)
    assert took_ms < 500
    pair.run(2000)
    assert pair.jobs(pair.alpha) == ["start 10.0.0.1", "start web.service", "start db.service"]
    assert pair.jobs(pair.beta) == ["start 10.0.0.2", "start ftp.service"]
    assert pair.view(pair.alpha).state is ClusterState.STABLE
    assert [g.owner for g in pair.view(pair.beta).groups] == ["alpha", "beta"]


def test_nothing_is_started_before_the_peer_has_echoed_the_claim() -> None:
    pair = Pair()
    pair.alpha.start_daemon()
    pair.run(150)
    pair.beta.start_daemon()
    # beta's heartbeats with an echo of the claim are lost for a second
    pair.until(lambda: not pair.never_logged(pair.alpha, "Comm_now_up()"), 3000)
    claimed_ms = pair.now_ms
    pair.cut_from("beta")
    pair.run(1000)
    assert pair.jobs(pair.alpha) == []
    pair.heal()
    pair.until(lambda: pair.owners() == at_home(pair.groups), 1000)
    assert pair.job_ms(pair.alpha, "start 10.0.0.1") > claimed_ms + 1000


def test_a_node_alone_starts_everything_after_initdead() -> None:
    pair = Pair()
    pair.alpha.start_daemon()
    pair.run(9_990)
    assert pair.jobs(pair.alpha) == []
    assert pair.view(pair.alpha).state is ClusterState.STARTING
    pair.until(lambda: pair.owners() == all_on("alpha"), 300)
    assert 10_000 <= pair.logged(pair.alpha, "node beta: is dead") <= 10_010
    assert pair.logged(pair.alpha, "Resources being acquired from beta.") <= 10_010


def test_in_a_power_death_claim_and_start_come_in_the_same_step() -> None:
    pair = Pair().started()
    died_ms = pair.now_ms
    pair.alpha.power_off()
    pair.until(lambda: pair.owners() == all_on("beta"), 3000)
    dead_ms = pair.logged(pair.beta, "node alpha: is dead")
    assert 2000 - 200 <= dead_ms - died_ms <= 2000 + 100
    assert pair.job_ms(pair.beta, "start 10.0.0.1", died_ms) == dead_ms
    claim = next(m for ms, m in pair.statuses("beta", dead_ms) if ms == dead_ms)
    assert "10.0.0.1" in (claim.text("hbd") or "")


@pytest.mark.parametrize("failback", list(AutoFailback))
def test_a_joiner_takes_nothing_by_force_from_a_node_that_holds_all(failback: AutoFailback) -> None:
    pair = Pair(failback)
    pair.alpha.start_daemon()
    pair.until(lambda: pair.owners() == all_on("alpha"), 11_000)
    pair.run(1000)
    joined_ms = pair.now_ms
    pair.beta.start_daemon()
    pair.run(3000)
    if failback is AutoFailback.OFF:
        assert pair.owners() == all_on("alpha")
        assert pair.jobs(pair.alpha, joined_ms) == []
        assert pair.jobs(pair.beta, joined_ms) == []
    else:
        assert pair.owners() == at_home(pair.groups)
        assert pair.jobs(pair.alpha, joined_ms) == ["stop ftp.service", "stop 10.0.0.2"]
        assert pair.jobs(pair.beta, joined_ms) == ["start 10.0.0.2", "start ftp.service"]


def test_failback_moves_the_home_nodes_groups_once_and_does_not_disturb_the_others() -> None:
    pair = Pair(AutoFailback.ON).started()
    pair.alpha.power_off()
    pair.until(lambda: pair.owners() == all_on("beta"), 3000)
    back_ms = pair.now_ms
    pair.alpha.power_on()
    pair.until(lambda: pair.owners() == at_home(pair.groups), 2000)
    pair.run(3000)
    assert pair.jobs(pair.beta, back_ms) == ["stop db.service", "stop web.service", "stop 10.0.0.1"]
    assert pair.jobs(pair.alpha, back_ms) == ["start 10.0.0.1", "start web.service", "start db.service"]
    assert pair.view(pair.beta).last_finished[1] == "done"


def test_with_failback_on_at_one_node_only_its_own_setting_decides_what_it_hands_back() -> None:
    pair = Pair((AutoFailback.OFF, AutoFailback.ON)).started()
    pair.alpha.power_off()
    pair.until(lambda: pair.owners() == all_on("beta"), 3000)
    pair.alpha.power_on()
    pair.until(lambda: pair.owners() == at_home(pair.groups), 2000)
    pair.beta.power_off()
    pair.until(lambda: pair.owners() == all_on("alpha"), 3000)
    pair.beta.power_on()
    pair.run(4000)
    assert pair.owners() == all_on("alpha")


def test_completion_is_announced_only_after_the_jobs_results() -> None:
    pair = Pair()
    pair.alpha.troubles.slow["db.service"] = 3000
    pair.alpha.start_daemon()
    pair.beta.start_daemon()
    pair.run(2000)
    assert pair.never_logged(pair.alpha, "local resource transition completed.")
    assert "resource local 1" not in pair.said("alpha")
    assert pair.view(pair.beta).groups[0].owner == ""
    done_ms = pair.job_ms(pair.alpha, "start db.service") + 3020
    pair.run(3000)
    assert pair.said_ms("alpha", "resource local 1") >= done_ms
    assert pair.logged(pair.alpha, "local resource transition completed.") >= done_ms
    assert pair.view(pair.beta).groups[0].owner == "alpha"


def test_with_different_haresources_nothing_new_is_started_and_both_say_so() -> None:
    pair = Pair()
    reconfigured(pair.beta, (SHOP, group("beta", address("10.0.0.2"), unit("nfs"))))
    pair.alpha.start_daemon()
    pair.beta.start_daemon()
    pair.run(5000)
    assert pair.jobs(pair.alpha) == pair.jobs(pair.beta) == []
    for node in (pair.alpha, pair.beta):
        assert pair.logged(node, "haresources on ")


def test_a_generation_set_back_in_time_jumps_above_what_the_peer_remembers() -> None:
    pair = Pair().started()
    seen = pair.alpha.generation
    pair.alpha.generation = 5
    pair.alpha.power_off()
    pair.run(500)
    pair.alpha.power_on()
    pair.run(3000)
    assert pair.logged(pair.alpha, "beta knows a later generation of this node")
    assert pair.view(pair.alpha).generation > seen
    assert pair.alpha.generation == pair.view(pair.alpha).generation
    assert sorted(pair.owners().values()) == sorted(["beta", pair.owners()[SHOP_KEY]])
    assert all(pair.owners().values())
