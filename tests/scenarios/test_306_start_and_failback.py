"""Our node beside a heartbeat 3.0.6 node: who takes what at the start, and who gives it back."""

from __future__ import annotations

from itertools import pairwise

import pytest

from hbd.config.model import AutoFailback
from hbd.core import protocol
from hbd.core.events import Scope
from hbd.core.views import ClusterState
from tests.scenarios.beside_306 import (
    START_SHOP,
    STOP_FILES,
    alone_with_all,
    both_at_home,
    both_start,
    survivor_holds_all,
)
from tests.scenarios.pair import Pair
from tests.scenarios.puppet import Puppet


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


def test_nothing_is_taken_for_ten_seconds_when_both_start_together() -> None:
    pair, beta = both_start()
    assert beta.heard_since() == ["reqnodes beta", "starting", "resource none 0"]
    pair.run(9_800)
    assert pair.jobs(pair.alpha) == []
    pair.run(400)
    assert pair.jobs(pair.alpha)[:1] == ["start 10.0.0.1"]
    beta.resource("none", 0)
    beta.resource("local", 1)
    pair.run(500)
    assert pair.jobs(pair.alpha) == START_SHOP
    said = [what for what in beta.heard_since() if what.startswith("resource local")]
    assert said[0] == "resource local 1"
    assert pair.logged(pair.alpha, "local resource transition completed.")


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
    assert beta.heard_since(asked_ms)[2:] == [
        "resource all 0 standby",
        "resource local 0 standby",
        "ask_resources foreign done",
    ]
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


@pytest.mark.parametrize("info", ["", "shutdown"])
def test_a_joiner_does_not_take_a_slow_goodbye_for_a_common_start(info: str) -> None:
    pair, beta, joined_ms = survivor_holds_all()
    beta.resource("none", 0, info)  # It is shutting down, and its stops take long.
    pair.run(30_000)
    assert pair.jobs(pair.alpha, joined_ms) == []
    gone_ms = pair.now_ms
    beta.say(protocol.shutdone())
    pair.until(lambda: len(pair.alpha.running) == 5, 200)
    assert pair.job_ms(pair.alpha, "start 10.0.0.1", gone_ms) - gone_ms <= 3


def test_its_own_groups_that_were_offered_while_it_could_not_take_them_are_asked_for() -> None:
    # A heartbeat offers them once, waits ten seconds for the answer, and takes no other request meanwhile.
    pair, beta = both_at_home(AutoFailback.ON)
    pair.alpha.troubles.slow["web.service"] = 2000
    beta.resource("all", 1)
    pair.until(lambda: "stop web.service" in pair.jobs(pair.alpha), 4000)
    offered_ms = pair.now_ms
    beta.ask_resources("foreign", "me")
    pair.run(10_500)
    beta.resource("all", 1)
    assert "ask_resources foreign other" not in beta.heard_since(offered_ms)
    assert pair.alpha.running == {}
    pair.run(1000)
    assert beta.heard_since(offered_ms)[-1] == "hb_takeover local"
    beta.ask_resources("foreign", "me")
    beta.resource("local", 0, "standby")
    beta.ask_resources("foreign", "done")
    pair.run(4000)
    assert sorted(pair.alpha.running) == ["10.0.0.1", "db.service", "web.service"]
    pair.run(20_000)
    assert beta.heard_since(offered_ms).count("hb_takeover local") == 1


def test_what_was_offered_again_meanwhile_is_asked_for_no_more() -> None:
    pair, beta, _ = survivor_holds_all(AutoFailback.ON)
    beta.resource("all", 0)
    beta.ask_resources("foreign", "me")
    pair.run(100)
    beta.resource("all", 1)
    pair.run(500)
    beta.ask_resources("foreign", "me")
    pair.run(100)
    beta.resource("local", 0, "standby")
    beta.ask_resources("foreign", "done")
    pair.run(500)
    beta.resource("local", 1)
    pair.run(1000)
    assert "10.0.0.1" in pair.alpha.running
    # An operator gives it away again; that is to last.
    pair.standby(pair.alpha, Scope.LOCAL)
    pair.run(50)
    beta.ask_resources("local", "other")
    pair.run(500)
    beta.ask_resources("local", "done")
    beta.resource("all", 1)
    pair.run(20_000)
    assert "hb_takeover local" not in beta.heard_since()
