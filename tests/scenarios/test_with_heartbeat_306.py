"""Our node beside a heartbeat 3.0.6 node, which the test plays: start, join, leave, die, return.

The time lines are those of two real daemons. `alpha` is ours, with the group 10.0.0.1; `beta` is theirs.
"""

from __future__ import annotations

from itertools import pairwise

import pytest

from hbd.config.model import AutoFailback
from hbd.core import protocol
from hbd.core.events import Scope, Stop
from hbd.core.views import ClusterState
from tests.scenarios.pair import SHOP, Pair
from tests.scenarios.puppet import Puppet

START_SHOP = ["start 10.0.0.1", "start web.service", "start db.service"]
START_FILES = ["start 10.0.0.2", "start ftp.service"]
STOP_SHOP = ["stop db.service", "stop web.service", "stop 10.0.0.1"]
STOP_FILES = ["stop ftp.service", "stop 10.0.0.2"]


def both_start(failback: AutoFailback = AutoFailback.OFF) -> tuple[Pair, Puppet]:
    """Both come up together and know that nobody holds anything yet."""
    pair = Pair(failback)
    beta = Puppet(pair, "beta").lives()
    pair.alpha.start_daemon()
    pair.run(50)
    beta.becomes("active")
    beta.say(protocol.starting())
    beta.resource("none", 0)
    pair.run(50)
    return pair, beta


def both_at_home(failback: AutoFailback = AutoFailback.OFF) -> tuple[Pair, Puppet]:
    """Each runs its own group, and everything is stable."""
    pair, beta = both_start(failback)
    beta.resource("local", 1)
    pair.run(1000)
    assert pair.jobs(pair.alpha) == START_SHOP
    assert pair.view(pair.alpha).state is ClusterState.STABLE
    return pair, beta


def alone_with_all(failback: AutoFailback = AutoFailback.OFF) -> Pair:
    """Ours has declared the other dead at initdead, and runs everything."""
    pair = Pair(failback)
    pair.alpha.start_daemon()
    pair.until(lambda: len(pair.alpha.running) == 5, 11_000)
    pair.run(1000)
    return pair


def survivor_holds_all(failback: AutoFailback = AutoFailback.OFF) -> tuple[Pair, Puppet, int]:
    """Theirs runs everything, and ours comes."""
    pair = Pair(failback)
    beta = Puppet(pair, "beta").lives(st="active")
    pair.run(1000)
    joined_ms = pair.now_ms
    pair.alpha.start_daemon()
    pair.until(lambda: "starting" in beta.heard_since(), 500)
    return pair, beta, joined_ms


# ---------------------------------------------------------------- start


def test_communication_is_up_only_when_the_peer_has_told_the_nodes_and_it_is_asked_every_second() -> None:
    pair = Pair()
    beta = Puppet(pair, "beta")
    beta.answers_reqnodes = False
    beta.lives()
    pair.alpha.start_daemon()
    pair.run(3500)
    assert beta.heard_since() == ["reqnodes beta"] * 4
    times = [ms for ms, m in beta.heard if m.text("t") == "reqnodes"]
    assert all(1000 <= later - earlier <= 1200 for earlier, later in pairwise(times))
    assert pair.view(pair.alpha).state is ClusterState.STARTING
    assert {m.text("st") for _, m in beta.heard if m.text("t") == "status"} == {"init", "up"}
    beta.say(protocol.repnodes("alpha", ("alpha", "beta")))
    pair.run(300)
    assert beta.heard_since()[-1] == "starting"
    assert "starting" not in beta.heard_since(pair.now_ms)


def test_reqnodes_is_answered_at_once_with_all_normal_nodes() -> None:
    pair = Pair()
    beta = Puppet(pair, "beta").lives()
    pair.alpha.start_daemon()
    pair.run(50)
    beta.say(protocol.reqnodes("alpha"))
    pair.run(3)
    _, answer = next((ms, m) for ms, m in reversed(beta.heard) if m.text("t") == "repnodes")
    assert (answer.text("dest"), answer.text("nodelist"), answer.text("delnodelist")) == (
        "beta", "alpha beta ", " "
    )  # fmt: skip


def test_a_peer_that_is_stable_first_ends_the_wait() -> None:
    pair, beta = both_start()
    pair.run(4000)
    stable_ms = pair.now_ms
    beta.resource("local", 1)
    pair.run(100)
    assert pair.job_ms(pair.alpha, "start 10.0.0.1") - stable_ms <= 3
    assert pair.jobs(pair.alpha) == START_SHOP
    assert "resource local 1" in beta.heard_since(stable_ms)


def test_a_stable_peer_that_holds_foreign_keeps_ours() -> None:
    pair, beta = both_start()
    beta.resource("all", 1)
    pair.run(15_000)
    assert pair.jobs(pair.alpha) == []
    assert beta.heard_since()[-1] == "resource none 1"


def test_alone_it_takes_all_at_initdead_and_tells_a_joining_heartbeat_so() -> None:
    pair = alone_with_all()
    beta = Puppet(pair, "beta").joins()
    joined_ms = pair.now_ms
    pair.run(200)
    assert "resource all 1" in beta.heard_since(joined_ms)
    beta.resource("none", 0)
    beta.resource("none", 1)
    pair.run(5000)
    assert pair.jobs(pair.alpha, joined_ms) == []
    assert len(pair.alpha.running) == 5
    assert not any("ask_resources" in what for what in beta.heard_since())


def test_it_joins_a_stable_survivor_with_nothing() -> None:
    pair, beta, joined_ms = survivor_holds_all()
    beta.resource("all", 1)
    pair.run(100)
    assert beta.heard_since()[-1] == "resource none 1"
    assert pair.logged(pair.alpha, "Local Resource acquisition completed. (none)")
    assert pair.logged(pair.alpha, "remote resource transition completed.")
    pair.run(15_000)
    assert pair.jobs(pair.alpha, joined_ms) == []


def test_it_joins_a_survivor_that_is_not_yet_stable_and_waits_for_it() -> None:
    pair, beta, joined_ms = survivor_holds_all()
    beta.resource("all", 0)
    pair.run(4000)
    assert beta.heard_since() == ["reqnodes beta", "starting"]
    beta.resource("all", 1)
    pair.run(100)
    assert beta.heard_since()[-1] == "resource none 1"
    pair.run(10_000)
    assert pair.jobs(pair.alpha, joined_ms) == []


# ---------------------------------------------------------------- failback


def test_with_auto_failback_on_a_returning_heartbeat_is_offered_its_groups() -> None:
    pair = alone_with_all(AutoFailback.ON)
    beta = Puppet(pair, "beta").joins()
    pair.run(200)
    beta.resource("none", 0)
    beta.resource("none", 1)
    asked_ms = pair.now_ms
    pair.run(100)
    assert beta.heard_since(asked_ms) == ["resource all 1", "ask_resources foreign me"]
    assert pair.jobs(pair.alpha, asked_ms) == []
    beta.ask_resources("foreign", "other")
    pair.run(300)
    assert pair.jobs(pair.alpha, asked_ms) == STOP_FILES
    assert beta.heard_since(asked_ms)[2:] == ["resource all 0 standby", "ask_resources foreign done"]
    beta.resource("local", 1)
    beta.ask_resources("foreign", "done")
    pair.run(100)
    assert beta.heard_since(asked_ms)[-1] == "resource local 1"
    pair.run(20_000)
    assert pair.jobs(pair.alpha, asked_ms) == STOP_FILES


def test_with_auto_failback_off_a_returning_heartbeat_is_offered_nothing() -> None:
    pair, beta = both_at_home()
    beta.falls_silent()
    pair.until(lambda: len(pair.alpha.running) == 5, 3000)
    beta.restarts()
    beta.joins()
    pair.run(100)
    beta.resource("none", 1)
    pair.run(20_000)
    assert "ask_resources foreign me" not in beta.heard_since()


def test_a_returning_heartbeat_with_failback_on_gets_its_groups_after_its_death() -> None:
    pair, beta = both_at_home(AutoFailback.ON)
    beta.falls_silent()
    pair.until(lambda: len(pair.alpha.running) == 5, 3000)
    pair.run(2000)
    beta.restarts()
    back_ms = pair.now_ms
    beta.joins()
    pair.run(100)
    assert "resource all 1" in beta.heard_since(back_ms)
    assert "ask_resources foreign me" not in beta.heard_since(back_ms)
    beta.resource("none", 0)
    beta.resource("none", 1)
    pair.run(100)
    assert beta.heard_since(back_ms)[-1] == "ask_resources foreign me"


def test_it_gets_its_own_groups_back_from_a_heartbeat_that_fails_back() -> None:
    pair, beta, joined_ms = survivor_holds_all(AutoFailback.ON)
    beta.resource("all", 1)
    pair.run(100)
    asked_ms = pair.now_ms
    beta.ask_resources("foreign", "me")
    pair.run(3)
    assert beta.heard_since(asked_ms) == ["ask_resources foreign other"]
    beta.resource("local", 0, "standby")
    pair.run(1000)
    assert pair.jobs(pair.alpha, joined_ms) == []  # It has not released anything yet.
    done_ms = pair.now_ms
    beta.ask_resources("foreign", "done")
    pair.run(200)
    assert pair.jobs(pair.alpha, joined_ms) == START_SHOP
    assert beta.heard_since(done_ms) == ["ask_resources foreign done", "resource local 1"]
    assert pair.said_ms("alpha", "ask_resources foreign done") >= pair.job_ms(pair.alpha, "start db.service")


# ---------------------------------------------------------------- leaving and dying


def test_none_before_the_release_frees_nothing_and_shutdone_frees_all_at_once() -> None:
    pair, beta = both_at_home()
    stop_ms = pair.now_ms
    beta.resource("none", 0, "shutdown")
    pair.run(1500)
    assert pair.jobs(pair.alpha, stop_ms) == []
    gone_ms = pair.now_ms
    beta.say(protocol.shutdone())
    pair.until(lambda: len(pair.alpha.running) == 5, 200)
    assert pair.job_ms(pair.alpha, "start 10.0.0.2") - gone_ms <= 2
    assert pair.logged(pair.alpha, "Received shutdown notice from 'beta'.") - gone_ms <= 2
    pair.run(1000)
    beta.falls_silent()
    pair.run(3000)
    assert pair.logged(pair.alpha, "Dead node beta gave up resources.")
    assert pair.jobs(pair.alpha, stop_ms) == START_FILES


@pytest.mark.parametrize("info", ["shutdown", "standby", ""])
def test_an_unstable_none_never_lets_us_take_what_the_peer_held(info: str) -> None:
    pair, beta, joined_ms = survivor_holds_all()
    beta.resource("all", 1)
    pair.run(100)
    beta.resource("none", 0, info)
    pair.run(15_000)
    assert pair.jobs(pair.alpha, joined_ms) == []


def test_heartbeats_after_shutdone_do_not_bring_the_peer_back() -> None:
    pair, beta = both_at_home()
    beta.resource("none", 0, "shutdown")
    beta.say(protocol.shutdone())
    pair.until(lambda: len(pair.alpha.running) == 5, 200)
    pair.run(1900)  # It goes on with `active` for two seconds.
    assert len(pair.alpha.running) == 5
    beta.restarts()
    back_ms = pair.now_ms
    beta.joins()
    pair.run(100)
    assert "resource all 1" in beta.heard_since(back_ms)


def test_a_silent_heartbeat_is_dead_after_its_own_deadtime_and_its_groups_are_taken_at_once() -> None:
    pair, beta = both_at_home()
    beta.dt_ms = 3000
    pair.run(300)
    beta.falls_silent()
    silent_ms = pair.now_ms
    pair.until(lambda: len(pair.alpha.running) == 5, 4000)
    dead_ms = pair.logged(pair.alpha, "node beta: is dead")
    assert 2800 <= dead_ms - silent_ms <= 3010
    assert pair.job_ms(pair.alpha, "start 10.0.0.2") == dead_ms


def test_a_restarted_heartbeat_is_told_what_we_hold_and_nothing_moves() -> None:
    pair, beta = both_at_home()
    beta.restarts()
    again_ms = pair.now_ms
    beta.joins()
    pair.run(3)
    assert "resource local 1" in beta.heard_since(again_ms)
    assert pair.logged(pair.alpha, "Heartbeat restart on node beta")
    beta.resource("none", 0)
    beta.resource("local", 1)
    pair.run(15_000)
    assert pair.jobs(pair.alpha, again_ms) == []


def test_its_own_clean_stop_follows_heartbeats_order_but_tells_the_truth() -> None:
    pair, beta = both_at_home()
    pair.alpha.troubles.slow["db.service"] = 1500
    stop_ms = pair.now_ms
    pair.ask(pair.alpha, Stop())
    pair.run(1000)
    assert beta.heard_since(stop_ms) == []
    pair.run(1000)
    assert beta.heard_since(stop_ms) == ["resource none 0 shutdown", "shutdone"]
    assert pair.said_ms("alpha", "shutdone") >= pair.job_ms(pair.alpha, "stop 10.0.0.1", stop_ms) + 1
    pair.until(lambda: pair.alpha.quit, 2500)
    statuses = [m.text("st") for ms, m in beta.heard if m.text("t") == "status" and ms > stop_ms + 2000]
    assert set(statuses) == {"active"}
    assert pair.jobs(pair.alpha, stop_ms) == STOP_SHOP


def test_after_a_partition_it_keeps_what_it_has_and_takes_the_rest_when_heartbeat_restarts_itself() -> None:
    pair, beta = both_at_home()
    pair.cut()
    pair.until(lambda: len(pair.alpha.running) == 5, 3000)
    pair.run(2000)
    pair.heal()
    healed_ms = pair.now_ms
    pair.run(2000)
    assert pair.logged(pair.alpha, "Cluster node beta returning after partition.")
    # Two seconds after the healing a 3.0.6 node releases, says so, and restarts.
    beta.resource("none", 0, "shutdown")
    pair.run(200)
    beta.say(protocol.shutdone())
    pair.run(1000)
    beta.falls_silent()
    pair.run(3000)
    beta.restarts()
    beta.joins()
    pair.run(200)
    assert beta.heard_since(pair.now_ms - 250)[-1] == "resource all 1"
    assert pair.jobs(pair.alpha, healed_ms) in ([], ["announce 10.0.0.1", "announce 10.0.0.2"])
    assert len(pair.alpha.running) == 5


# ---------------------------------------------------------------- standby


@pytest.mark.parametrize(
    ("word", "stops", "then"),
    [("all", STOP_SHOP, "none"), ("local", STOP_SHOP, "none"), ("foreign", [], "local")],
)
def test_standby_towards_a_heartbeat_is_its_handshake_and_done_is_said_after_the_last_stop(
    word: str, stops: list[str], then: str
) -> None:
    pair, beta = both_at_home()
    pair.alpha.troubles.slow["10.0.0.1"] = 500
    asked_ms = pair.now_ms
    answer = pair.standby(pair.alpha, Scope(word))
    assert (answer.transition, answer.refused) == (1, None)
    pair.run(1000)
    assert beta.heard_since(asked_ms) == [f"ask_resources {word} me"]
    assert pair.jobs(pair.alpha, asked_ms) == []
    beta.ask_resources(word, "other")
    pair.run(2000)
    assert pair.jobs(pair.alpha, asked_ms) == stops
    assert beta.heard_since(asked_ms)[1:] == ["resource local 0 standby", f"ask_resources {word} done"]
    if stops:
        assert pair.said_ms("alpha", f"ask_resources {word} done") >= pair.job_ms(pair.alpha, stops[-1]) + 501
    beta.ask_resources(word, "done")
    pair.run(100)
    assert beta.heard_since(asked_ms)[-1] == f"resource {then} 1"
    assert pair.view(pair.alpha).last_finished == (1, "done")
    for text in (
        f"alpha wants to go standby [{word}]",
        f"standby: beta can take our {word} resources",
        f"Local standby process completed [{word}].",
        f"Other node completed standby takeover of {word} resources.",
    ):
        assert pair.logged(pair.alpha, text) >= asked_ms
    pair.run(20_000)
    assert pair.jobs(pair.alpha, asked_ms) == stops


@pytest.mark.parametrize(
    ("word", "starts", "holds"),
    [("all", START_FILES, "all"), ("local", START_FILES, "all"), ("foreign", [], "local")],
)
def test_a_standby_of_a_heartbeat_is_answered_and_done_is_said_after_the_last_start(
    word: str, starts: list[str], holds: str
) -> None:
    pair, beta = both_at_home()
    pair.alpha.troubles.slow["ftp.service"] = 500
    asked_ms = pair.now_ms
    beta.ask_resources(word, "me")
    pair.run(3)
    assert beta.heard_since(asked_ms) == [f"ask_resources {word} other"]
    beta.resource("none" if starts else "local", 0, "standby")
    pair.run(500)
    assert pair.jobs(pair.alpha, asked_ms) == []
    beta.ask_resources(word, "done")
    pair.run(1000)
    assert pair.jobs(pair.alpha, asked_ms) == starts
    assert beta.heard_since(asked_ms)[1:] == [f"ask_resources {word} done", f"resource {holds} 1"]
    if starts:
        started_ms = pair.job_ms(pair.alpha, starts[-1]) + 500
        assert pair.said_ms("alpha", f"ask_resources {word} done") >= started_ms
    for text in (
        f"beta wants to go standby [{word}]",
        f"standby: acquire [{word}] resources from beta",
        f"Standby resource acquisition done [{word}].",
    ):
        assert pair.logged(pair.alpha, text) >= asked_ms


def test_without_an_answer_in_ten_seconds_it_stops_nothing_and_says_so() -> None:
    pair, beta = both_at_home()
    asked_ms = pair.now_ms
    pair.standby(pair.alpha)
    pair.run(9_900)
    assert pair.never_logged(pair.alpha, "No reply to standby request.")
    pair.run(400)
    assert pair.logged(pair.alpha, "No reply to standby request.  Standby request cancelled.")
    assert pair.view(pair.alpha).last_finished == (1, "cancelled")
    assert pair.jobs(pair.alpha, asked_ms) == []
    beta.ask_resources("all", "other")
    pair.run(1000)
    assert pair.jobs(pair.alpha, asked_ms) == []
    assert pair.logged(pair.alpha, "Ignored standby message 'other' from beta")


def test_standby_is_refused_while_the_heartbeat_is_not_stable() -> None:
    pair, beta = both_at_home()
    beta.resource("local", 0)
    pair.run(10)
    assert pair.standby(pair.alpha).refused == "other side is in flux"
    beta.resource("local", 1)
    pair.run(10)
    assert pair.standby(pair.alpha).refused is None


def test_standby_is_refused_while_we_are_not_stable() -> None:
    pair, _ = both_start()
    assert pair.standby(pair.alpha).refused == "local resources in flux"


def test_a_second_standby_is_refused_while_one_is_under_way() -> None:
    pair, beta = both_at_home()
    pair.standby(pair.alpha)
    assert pair.standby(pair.alpha).refused is not None
    pair.run(10)
    asked_ms = pair.now_ms
    beta.ask_resources("all", "me")
    pair.run(10)
    assert beta.heard_since(asked_ms) == []


def test_a_standby_of_a_heartbeat_is_ignored_while_we_are_in_flux() -> None:
    pair, beta = both_start()
    asked_ms = pair.now_ms
    beta.ask_resources("all", "me")
    pair.run(10)
    assert beta.heard_since(asked_ms) == []
    assert pair.logged(pair.alpha, "standby message [me] from beta ignored.  local resources in flux.")


@pytest.mark.parametrize("info", ["other", "done", "not", "nonsense"])
def test_a_step_of_no_handshake_is_ignored(info: str) -> None:
    pair, beta = both_at_home()
    asked_ms = pair.now_ms
    beta.ask_resources("all", info)
    pair.run(5000)
    assert pair.jobs(pair.alpha, asked_ms) == []
    assert beta.heard_since(asked_ms) == []


@pytest.mark.parametrize(
    ("asked", "offered"), [("all", "all"), ("local", "foreign"), ("foreign", "local"), ("failback", "all")]
)
def test_hb_takeover_of_a_heartbeat_starts_a_standby_of_the_mirrored_set(asked: str, offered: str) -> None:
    pair, beta = both_at_home()
    asked_ms = pair.now_ms
    beta.say(protocol.hb_takeover(asked))
    pair.run(100)
    assert beta.heard_since(asked_ms) == [f"ask_resources {offered} me"]


def test_a_takeover_that_the_heartbeat_ignores_is_cancelled() -> None:
    pair, _ = both_at_home()
    asked_ms = pair.now_ms
    pair.takeover(pair.alpha)
    pair.run(10_500)
    assert pair.view(pair.alpha).last_finished == (1, "cancelled")
    assert pair.jobs(pair.alpha, asked_ms) == []


def test_a_heartbeat_that_dies_while_it_takes_leaves_everything_to_us() -> None:
    pair, beta = both_at_home()
    pair.standby(pair.alpha)
    pair.run(10)
    beta.ask_resources("all", "other")
    pair.run(500)
    assert pair.alpha.running == {}
    beta.falls_silent()
    pair.until(lambda: len(pair.alpha.running) == 5, 3000)
    pair.run(100)
    assert pair.view(pair.alpha).transition == 0


def test_a_heartbeat_that_dies_while_it_gives_leaves_everything_to_us() -> None:
    pair, beta = both_at_home()
    beta.ask_resources("all", "me")
    beta.resource("none", 0, "standby")
    pair.run(100)
    assert "10.0.0.2" not in pair.alpha.running
    beta.falls_silent()
    pair.until(lambda: len(pair.alpha.running) == 5, 3000)


# ---------------------------------------------------------------- our own failures


def test_after_being_away_too_long_its_addresses_are_off_until_the_heartbeat_has_answered() -> None:
    pair, beta = both_at_home()
    pair.alpha.freeze()
    pair.run(1850)
    woke_ms = pair.now_ms
    pair.alpha.thaw()
    pair.until(lambda: "10.0.0.1" not in pair.alpha.running, 20)
    pair.run(1000)
    assert "10.0.0.1" not in pair.alpha.running
    assert "starting" in beta.heard_since(woke_ms)
    beta.resource("local", 1)
    pair.until(lambda: "10.0.0.1" in pair.alpha.running, 50)
    assert pair.jobs(pair.alpha, woke_ms) == ["drop 10.0.0.1", "start 10.0.0.1"]


def test_a_lost_address_is_put_back_beside_a_heartbeat_too() -> None:
    pair, _ = both_at_home()
    pair.alpha.lose(SHOP.resources[0])
    pair.until(lambda: "10.0.0.1" in pair.alpha.running, 300)


def test_a_second_hbd_in_the_heartbeats_place_is_spoken_to_as_hbd() -> None:
    pair, beta = both_at_home()
    beta.resource("none", 0, "shutdown")
    beta.say(protocol.shutdone())
    pair.until(lambda: len(pair.alpha.running) == 5, 200)
    beta.falls_silent()
    pair.run(3000)
    pair.stations["beta"] = pair.beta
    pair.beta.generation = beta.generation + 1
    pair.beta.start_daemon()
    pair.run(3000)
    assert pair.standby(pair.alpha).refused is None
    pair.until(lambda: len(pair.beta.running) == 5, 1000)
