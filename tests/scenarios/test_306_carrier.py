"""The carrier of a service address is lost beside a heartbeat 3.0.6, which never tells of its own."""

from __future__ import annotations

from hbd.config.model import AutoFailback
from hbd.core import message as f
from hbd.core import protocol
from tests.scenarios.beside_306 import START_SHOP, STOP_SHOP
from tests.scenarios.pair import Pair
from tests.scenarios.pinged import DEADPING_MS
from tests.scenarios.puppet import Puppet
from tests.scenarios.test_306_ipfail import both_at_home, heard

CARRIER_MS = 250
CALM_MS = 30_000
OFFER = "ask_resources all me"


def takes_everything(pair: Pair, beta: Puppet) -> None:
    """The peer agrees, and ends with everything."""
    beta.say(protocol.ask_resources("all", "other"))
    pair.until(lambda: "ask_resources all done" in beta.heard_since(), 2000)
    pair.run(100)
    beta.resource("all", 0)
    beta.say(protocol.ask_resources("all", "done"))
    beta.resource("all", 1)
    pair.run(100)


def says(beta: Puppet, sentence: str, limit_ms: int) -> None:
    """Run until ours says this."""
    since_ms = beta.pair.now_ms
    beta.pair.until(lambda: sentence in beta.heard_since(since_ms), limit_ms)


def moved_away(failback: AutoFailback = AutoFailback.OFF) -> tuple[Pair, Puppet]:
    """The carrier is gone, and the peer has everything."""
    pair, beta = both_at_home(failback)
    pair.alpha.plug(False)
    pair.until(lambda: OFFER in beta.heard_since(), 1000)
    takes_everything(pair, beta)
    assert not pair.alpha.running
    return pair, beta


def test_everything_is_handed_over_at_once_without_a_word_of_ping() -> None:
    pair, beta = both_at_home()
    lost_ms = pair.now_ms
    pair.alpha.plug(False)
    pair.run(CARRIER_MS - 50)
    assert OFFER not in beta.heard_since(lost_ms)
    pair.run(100)
    assert OFFER in beta.heard_since(lost_ms)
    assert pair.logged(pair.alpha, "Giving up because an address has no carrier here.", lost_ms)
    takes_everything(pair, beta)
    assert pair.jobs(pair.alpha, lost_ms) == STOP_SHOP
    beta.pair.run(120_000)
    assert beta.heard_since(lost_ms).count(OFFER) == 1


def test_a_carrier_that_is_gone_for_a_moment_moves_nothing() -> None:
    pair, beta = both_at_home()
    for _ in range(5):
        pair.alpha.plug(False)
        pair.run(CARRIER_MS - 50)
        pair.alpha.plug(True)
        pair.run(100)
    assert OFFER not in beta.heard_since()
    assert heard(beta, protocol.NUM_PING_NODES) == ["2"], "and the other ipfail hears nothing of it"


def test_a_node_cut_off_counts_for_nothing_so_that_the_other_ipfail_gives_nothing_to_it() -> None:
    pair, beta = both_at_home()
    pair.alpha.plug(False)
    pair.run(500)
    assert heard(beta, protocol.NUM_PING_NODES)[-1] == "0"
    takes_everything(pair, beta)
    told_ms = pair.now_ms
    beta.say(protocol.num_ping_nodes("alpha", 1))
    pair.run(3000)
    assert heard(beta, protocol.YOU_ARE_DEAD, told_ms) == []
    pair.alpha.plug(True)
    pair.run(1000)
    assert heard(beta, protocol.NUM_PING_NODES)[-1] == "2"


def test_nothing_goes_to_a_peer_that_reaches_nobody_by_its_own_word() -> None:
    pair, beta = both_at_home()
    beta.say(protocol.num_ping_nodes("alpha", 0))
    pair.run(200)
    lost_ms = pair.now_ms
    pair.alpha.plug(False)
    pair.run(DEADPING_MS + 10_000)
    assert OFFER not in beta.heard_since(lost_ms)
    assert pair.alpha.running
    beta.say(protocol.num_ping_nodes("alpha", 2))
    pair.until(lambda: OFFER in beta.heard_since(lost_ms), 2000)


def test_a_peer_in_flux_is_offered_everything_when_it_is_stable_again() -> None:
    pair, beta = both_at_home()
    beta.resource("local", 0)
    pair.run(50)
    lost_ms = pair.now_ms
    pair.alpha.plug(False)
    pair.run(4000)
    assert OFFER not in beta.heard_since(lost_ms)
    assert len(pair.alpha.running) == len(START_SHOP)
    beta.resource("local", 1)
    pair.until(lambda: OFFER in beta.heard_since(lost_ms), 1500)


def test_what_the_operator_there_gives_back_stays_until_the_carrier_is_lost_anew() -> None:
    pair, beta = moved_away()
    back_ms = pair.now_ms
    beta.say(protocol.ask_resources("all", "me"))
    pair.run(50)
    beta.resource("none", 0, "standby")
    beta.say(protocol.ask_resources("all", "done"))
    pair.run(500)
    beta.resource("none", 1)
    pair.run(120_000)
    assert len(pair.alpha.running) == 5
    assert OFFER not in beta.heard_since(back_ms)
    pair.alpha.plug(True)
    pair.run(DEADPING_MS + 1000)
    pair.alpha.plug(False)
    pair.until(lambda: OFFER in beta.heard_since(back_ms), 1000)


def test_a_failback_is_not_taken_without_a_carrier_and_asked_for_half_a_minute_after_it_is_back() -> None:
    pair, beta = moved_away(AutoFailback.ON)
    away_ms = pair.now_ms
    beta.say(protocol.ask_resources("foreign", "me"))
    pair.run(10_000)
    beta.resource("all", 1)
    pair.run(60_000)
    assert "ask_resources foreign other" not in beta.heard_since(away_ms)
    assert pair.logged(pair.alpha, "standby message [me] from beta ignored.", away_ms)
    assert "hb_takeover local" not in beta.heard_since(away_ms)
    pair.alpha.plug(True)
    pair.run(CALM_MS - 1000)
    assert "hb_takeover local" not in beta.heard_since(away_ms)
    pair.run(3000)
    assert "hb_takeover local" in beta.heard_since(away_ms)
    beta.say(protocol.ask_resources("foreign", "me"))
    pair.run(50)
    assert "ask_resources foreign other" in beta.heard_since(away_ms)


def test_without_auto_failback_nothing_comes_home_by_itself() -> None:
    pair, beta = moved_away()
    away_ms = pair.now_ms
    pair.alpha.plug(True)
    pair.run(10 * CALM_MS)
    assert "hb_takeover local" not in beta.heard_since(away_ms)


def test_a_carrier_that_comes_and_goes_moves_everything_to_and_fro_ever_more_rarely() -> None:
    pair, beta = moved_away(AutoFailback.ON)
    asked: list[int] = []
    for _ in range(3):
        pair.alpha.plug(True)
        back_ms = pair.now_ms
        says(beta, "hb_takeover local", 600_000)
        asked.append(pair.now_ms - back_ms)
        beta.say(protocol.ask_resources("foreign", "me"))
        pair.run(50)
        beta.resource("local", 0, "standby")
        beta.say(protocol.ask_resources("foreign", "done"))
        pair.run(500)
        beta.resource("local", 1)
        pair.run(500)
        pair.alpha.plug(False)
        says(beta, OFFER, 30_000)
        takes_everything(pair, beta)
    assert asked[0] >= CALM_MS
    assert asked[1] >= 2 * CALM_MS
    assert asked[2] >= 4 * CALM_MS


def test_an_operators_standby_there_is_told_from_what_its_ipfail_and_its_auto_failback_do() -> None:
    pair, beta = moved_away(AutoFailback.ON)
    beta.say((*protocol.ask_resources("foreign", "me"), (f.FROM_ID, "ipfail"), (f.TO_ID, "ipfail")))
    pair.run(1000)
    assert "ask_resources foreign other" not in beta.heard_since()
    beta.say(protocol.ask_resources("all", "me"))
    pair.run(50)
    assert "ask_resources all other" in beta.heard_since()
