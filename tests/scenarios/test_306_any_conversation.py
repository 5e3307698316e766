"""Whatever a heartbeat 3.0.6 node says, in whatever order: when it is gone, we serve."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hbd.config.model import AutoFailback
from hbd.core import protocol
from hbd.core.events import Scope
from hbd.core.views import ClusterState
from tests.scenarios.pair import Pair
from tests.scenarios.puppet import Puppet

HOLDS, SETS = ("none", "local", "foreign", "all"), ("local", "foreign", "all")
DEEDS = (
    "starting", "shutdone", "restart", "death", "loss", "reqnodes", "request", "response", "freeze", "kill",
    *(f"resource {hold} {stable}" for hold in HOLDS for stable in (0, 1)),
    *(f"ask {hold} {info}" for hold in SETS for info in ("me", "other", "done")),
    *(f"{deed} {hold}" for hold in SETS for deed in ("hb_takeover", "standby", "takeover")),
)  # fmt: skip


def do(pair: Pair, beta: Puppet, deed: str) -> None:
    match deed.split():
        case ["starting"]:
            beta.say(protocol.starting())
        case ["shutdone"]:
            beta.say(protocol.shutdone())
        case ["restart"]:
            beta.restarts()
            beta.lives(st="active")
        case ["death"]:
            beta.falls_silent()
            pair.run(2500)
            beta.lives(st="active")
        case ["loss"]:
            beta.seq += 1
        case ["reqnodes"]:
            beta.say(protocol.reqnodes("alpha"))
        case ["request"]:
            beta.say(protocol.ip_request("10.0.0.2"))
        case ["response"]:
            beta.say(protocol.ip_request_resp("alpha", "10.0.0.1"))
        case ["freeze"]:
            pair.alpha.freeze()
            pair.run(1900)
            pair.alpha.thaw()
        case ["kill"]:
            pair.alpha.kill_daemon()
            pair.run(400)
            pair.alpha.start_daemon()
        case ["resource", hold, stable]:
            beta.resource(hold, int(stable))
        case ["ask", hold, info]:
            beta.ask_resources(hold, info)
        case ["hb_takeover", hold]:
            beta.say(protocol.hb_takeover(hold))
        case ["standby", hold]:
            pair.standby(pair.alpha, Scope(hold))
        case ["takeover", hold]:
            pair.takeover(pair.alpha, Scope(hold))
        case _:
            raise AssertionError(deed)


@pytest.mark.parametrize("failback", list(AutoFailback))
@settings(max_examples=15)
@given(st.lists(st.tuples(st.sampled_from(DEEDS), st.sampled_from([5, 300, 11_000])), max_size=8))
def test_when_the_heartbeat_is_gone_we_serve_everything_whatever_was_said_before(
    failback: AutoFailback, deeds: list[tuple[str, int]]
) -> None:
    pair = Pair(failback)
    beta = Puppet(pair, "beta").lives(st="active")
    pair.alpha.start_daemon()
    pair.run(50)
    for deed, pause_ms in deeds:
        do(pair, beta, deed)
        pair.run(pause_ms)
    beta.falls_silent()
    pair.run(13_000)  # A new life of ours that has heard nobody waits for initdead.
    assert len(pair.alpha.running) == 5, pair.story()
    assert pair.view(pair.alpha).state is ClusterState.STABLE
    assert pair.view(pair.alpha).transition == 0
