"""Our node beside a heartbeat 3.0.6 node: what it must not say when it leaves, nor start when it returns."""

from __future__ import annotations

import pytest

from hbd.core import protocol
from hbd.core.events import Stop
from tests.scenarios.beside_306 import both_at_home
from tests.scenarios.pair import FILES, SHOP, Pair, address, group
from tests.scenarios.puppet import Puppet


@pytest.mark.parametrize("role", ["taking", "giving", "none"])
def test_after_its_goodbye_nothing_is_said_but_heartbeats(role: str) -> None:
    pair, beta = both_at_home()
    if role == "taking":
        beta.ask_resources("all", "me")
    elif role == "giving":
        pair.standby(pair.alpha)
    pair.run(10)
    pair.ask(pair.alpha, Stop())
    pair.until(lambda: "shutdone" in beta.heard_since(), 1000)
    gone_ms = pair.now_ms + 1
    pair.run(1)
    beta.ask_resources("all", "other" if role == "giving" else "done" if role == "taking" else "me")
    beta.resource("all", 1)
    pair.until(lambda: pair.alpha.quit, 3000)
    assert beta.heard_since(gone_ms) == []


def test_while_stopping_it_never_says_that_it_is_stable() -> None:
    pair, beta = both_at_home()
    pair.alpha.troubles.slow["web.service"] = 3000
    asked_ms = pair.now_ms
    pair.ask(pair.alpha, Stop())
    pair.run(500)
    beta.say(protocol.starting())
    beta.ask_resources("all", "me")
    pair.run(500)
    assert beta.heard_since(asked_ms) == ["resource local 0"]
    pair.until(lambda: "shutdone" in beta.heard_since(asked_ms), 4000)
    gone_ms = pair.now_ms + 1
    pair.run(1)
    beta.say(protocol.starting())
    pair.run(10)
    assert beta.heard_since(gone_ms) == ["resource none 0"]


LAMP = group("alpha", address("10.0.0.3"))


@pytest.mark.parametrize("away_ms", [400, 4000])
def test_a_restarted_daemon_starts_nothing_beside_what_it_found_before_the_heartbeat_has_answered(
    away_ms: int,
) -> None:
    pair = Pair(groups=(SHOP, LAMP, FILES))
    pair.alpha.troubles.start_fails.add("10.0.0.3")
    beta = Puppet(pair, "beta").lives()
    pair.alpha.start_daemon()
    pair.run(50)
    beta.becomes("active")
    beta.say(protocol.starting())
    beta.resource("local", 1)
    pair.run(500)
    assert sorted(pair.alpha.running) == ["10.0.0.1", "db.service", "web.service"]
    pair.alpha.kill_daemon()
    pair.alpha.troubles.start_fails.clear()
    pair.run(away_ms)
    again_ms = pair.now_ms
    pair.alpha.start_daemon()
    pair.run(1000)
    assert "starting" in beta.heard_since(again_ms)
    assert "start 10.0.0.3" not in pair.jobs(pair.alpha, again_ms)
    beta.resource("all", 1)
    pair.run(3000)
    assert "start 10.0.0.3" not in pair.jobs(pair.alpha, again_ms)
    assert pair.alpha.running == {}
