"""Our node beside a heartbeat 3.0.6 node: the handshake of a standby, in both roles."""

from __future__ import annotations

import pytest

from hbd.core import protocol
from hbd.core.events import Scope
from tests.scenarios.beside_306 import (
    START_FILES,
    START_SHOP,
    STOP_SHOP,
    both_at_home,
    both_start,
    survivor_restarts_quickly,
)


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
    # Without the second, the heartbeat finds `Both machines own our resources!` when it has them.
    assert beta.heard_since(asked_ms)[1:] == [
        "resource local 0 standby",
        f"resource {then} 0 standby",
        f"ask_resources {word} done",
    ]
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
    numbered = [line.text for _, line in pair.numbered if line.transition == 1]
    assert numbered[0] == f"alpha wants to go standby [{word}]"
    assert ("group 10.0.0.1 is released: handed over to beta" in numbered) is bool(stops)
    told = f"Other node completed standby takeover of {word} resources." in numbered
    assert told is bool(stops), "with nothing to move it is over at once"
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


def test_takeover_from_a_heartbeat_asks_it_and_takes_what_it_gives() -> None:
    pair, beta = both_at_home()
    asked_ms = pair.now_ms
    assert pair.takeover(pair.alpha).transition == 1
    pair.run(10)
    assert beta.heard_since(asked_ms) == ["hb_takeover all"]
    beta.ask_resources("all", "me")
    pair.run(10)
    beta.resource("none", 0, "standby")
    beta.ask_resources("all", "done")
    pair.run(200)
    assert pair.jobs(pair.alpha, asked_ms) == START_FILES
    assert pair.view(pair.alpha).last_finished == (1, "done")


def test_a_taker_that_restarts_in_the_middle_leaves_the_group_to_its_giver() -> None:
    pair, beta = both_at_home()
    pair.standby(pair.alpha)
    pair.run(10)
    beta.ask_resources("all", "other")
    pair.run(500)
    assert pair.alpha.running == {}
    beta.restarts()
    beta.joins()
    pair.run(100)
    assert pair.alpha.running == {}
    beta.resource("none", 0)
    beta.resource("local", 1)
    pair.run(12_000)
    assert sorted(pair.alpha.running) == ["10.0.0.1", "db.service", "web.service"]
    assert pair.view(pair.alpha).last_finished[1] != "done"


def test_an_offer_that_its_own_sender_ignored_does_not_block_the_next_one() -> None:
    pair, beta = both_at_home()
    beta.ask_resources("local", "me")
    pair.run(60_000)
    again_ms = pair.now_ms
    beta.ask_resources("local", "me")
    pair.run(500)
    assert "ask_resources local other" in beta.heard_since(again_ms)


def test_an_offer_that_its_own_sender_ignored_does_not_leave_a_set_without_an_owner() -> None:
    pair, beta, again_ms = survivor_restarts_quickly()
    pair.run(500)
    beta.ask_resources("local", "me")
    asked = 0
    for _ in range(60):
        pair.run(1000)
        if beta.heard_since(again_ms).count("starting") > asked:
            asked += 1
            beta.resource("local", 1)
    assert pair.jobs(pair.alpha, again_ms) == START_SHOP


def test_what_a_heartbeat_keeps_of_an_offer_that_it_ignored_itself_is_not_taken() -> None:
    # Its handshake was for less; our answer to the later offer makes it go on with the earlier one.
    pair, beta = both_at_home()
    beta.ask_resources("all", "me")
    pair.run(50)
    beta.resource("local", 0, "standby")
    pair.run(100)
    done_ms = pair.now_ms
    beta.ask_resources("all", "done")
    pair.run(3000)
    assert "ask_resources all done" in beta.heard_since(done_ms)
    assert pair.jobs(pair.alpha, done_ms) == []


def test_a_taker_that_has_it_and_whose_done_is_lost_ends_the_standby() -> None:
    pair, beta = both_at_home()
    pair.standby(pair.alpha)
    pair.run(10)
    beta.ask_resources("all", "other")
    pair.run(500)
    # It buried us meanwhile, for our last words are lost; we heard it all the time.
    beta.resource("all", 1)
    taken_ms = pair.now_ms
    pair.run(500)
    assert "resource none 1" in beta.heard_since(taken_ms)
    assert pair.view(pair.alpha).last_finished == (1, "done")


def test_a_heartbeat_that_restarts_under_the_same_generation_has_restarted() -> None:
    # Its machine lost its power before the generation was on its disk.
    pair, beta = both_at_home()
    pair.standby(pair.alpha)
    pair.run(10)
    beta.ask_resources("all", "other")
    pair.run(500)
    beta.falls_silent()
    beta.seq += 100
    beta.joins()
    beta.resource("none", 0)
    beta.resource("local", 1)
    back_ms = pair.now_ms
    pair.run(5000)
    assert "resource local 1" in beta.heard_since(back_ms)
    assert sorted(pair.alpha.running) == ["10.0.0.1", "db.service", "web.service"]
