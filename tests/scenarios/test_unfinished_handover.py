"""hbd is killed in the middle of a handover: what the next life makes of it (rule 16)."""

from __future__ import annotations

from hbd.sim.machines import Machine
from tests.scenarios.pair import FILES, SHOP, SHOP_KEY, Pair, all_on, group, reconfigured, unit

ADDRESS, WEB, DB = SHOP.resources


def restart(pair: Pair, machine: Machine, after_ms: int = 300) -> None:
    machine.kill_daemon()
    pair.run(after_ms)
    machine.start_daemon()


def taking() -> Pair:
    """beta takes what is alpha's at home, for an operator, and has just begun to start it."""
    pair = Pair().started()
    pair.beta.troubles.slow[ADDRESS.identity] = 200
    assert pair.takeover(pair.beta).refused is None
    pair.until(lambda: "start 10.0.0.1" in pair.jobs(pair.beta), 1000)
    pair.run(10)
    return pair


def giving() -> Pair:
    """alpha gives everything to beta, and has stopped one unit of three."""
    pair = Pair().started()
    pair.alpha.troubles.slow[WEB.identity] = 1500
    assert pair.standby(pair.alpha).refused is None
    pair.until(lambda: "stop web.service" in pair.jobs(pair.alpha), 1000)
    pair.run(10)
    return pair


# ---------------------------------------------------------------- who takes


def test_who_was_taking_and_had_started_nothing_yet_goes_on() -> None:
    pair = taking()
    restart(pair, pair.beta)
    pair.beta.troubles.slow.clear()
    back_ms = pair.now_ms
    pair.until(lambda: pair.owners()[SHOP_KEY] == "beta", 2000)
    assert pair.jobs(pair.alpha, back_ms) == []
    assert "start 10.0.0.1" not in pair.jobs(pair.alpha, 100), "it was the operator's wish"


def test_what_it_goes_on_to_take_stays_where_the_operator_wanted_it() -> None:
    pair = taking()
    restart(pair, pair.beta)
    pair.until(lambda: pair.owners()[SHOP_KEY] == "beta", 2000)
    pair.run(2000)
    restart(pair, pair.alpha)
    pair.run(3000)
    assert pair.owners()[SHOP_KEY] == "beta"


def test_what_a_node_gave_that_has_begun_a_new_life_since_goes_where_it_belongs() -> None:
    pair = taking()
    pair.beta.kill_daemon()
    restart(pair, pair.alpha)
    pair.run(100)
    pair.beta.start_daemon()
    pair.until(lambda: pair.owners()[SHOP_KEY] == "alpha", 3000)


def test_what_it_was_taking_is_left_to_a_peer_that_claimed_it_meanwhile() -> None:
    pair = taking()
    pair.twice_allowed = True
    pair.beta.kill_daemon()
    pair.until(lambda: pair.owners()[SHOP_KEY] == "alpha", 4000)
    pair.beta.start_daemon()
    pair.run(3000)
    assert pair.owners()[SHOP_KEY] == "alpha"


# ---------------------------------------------------------------- who gives


def test_who_was_giving_goes_on_when_the_peer_that_agreed_is_heard() -> None:
    pair = giving()
    restart(pair, pair.alpha)
    pair.until(lambda: pair.owners() == all_on("beta"), 5000)
    assert pair.jobs(pair.alpha).count("start db.service") == 1, "what was stopped is not started again"


def test_nothing_more_is_given_to_a_new_life_of_the_peer_that_means_other_resources() -> None:
    pair = giving()
    pair.alpha.kill_daemon()
    pair.beta.kill_daemon()
    reconfigured(pair.beta, (SHOP, FILES, group("beta", unit("print"))))
    pair.run(300)
    pair.beta.start_daemon()
    pair.run(100)
    pair.alpha.start_daemon()
    pair.run(5000)
    assert ADDRESS.identity in pair.alpha.running, "nobody else would start it"
    assert pair.owners()[SHOP_KEY] == "alpha"


def test_what_was_being_given_is_kept_when_the_peer_is_dead() -> None:
    pair = giving()
    pair.beta.power_off()
    restart(pair, pair.alpha)
    pair.until(lambda: pair.owners() == all_on("alpha"), 20_000)
    assert "stop 10.0.0.1" not in pair.jobs(pair.alpha)


def test_what_was_being_given_is_kept_where_it_runs_if_haresources_was_edited_meanwhile() -> None:
    pair = giving()
    pair.alpha.kill_daemon()
    reconfigured(pair.alpha, (*pair.groups, group("beta", unit("print"))))
    pair.run(300)
    pair.alpha.start_daemon()
    pair.run(5000)
    assert pair.owners()[SHOP_KEY] == "alpha"
