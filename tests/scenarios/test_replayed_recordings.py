"""Our core in the place of either daemon of the recordings: it decides and says what the real one did."""

from __future__ import annotations

import pytest

from hbd.config.model import AutoFailback
from hbd.core.views import Holding
from tests.scenarios.recording import Recording, Replay

ON, OFF, LEGACY = AutoFailback.ON, AutoFailback.OFF, AutoFailback.LEGACY
NEGOTIATED = [
    (name, node, failback)
    for name, failback in (
        ("start_both_off", OFF),
        ("alone_then_join_off", OFF),
        ("alone_then_join_on", ON),
        ("kill9_return_on", ON),
    )
    for node in ("alpha", "beta")
]


@pytest.mark.parametrize(("name", "node", "failback"), NEGOTIATED)
def test_it_holds_and_says_what_the_real_daemon_held_and_said(
    name: str, node: str, failback: AutoFailback
) -> None:
    replay = Replay(name, node, failback)
    ours, real = replay.history()  # Whenever things have come to rest.
    assert len(real) >= 4
    assert ours == real
    steps, real_steps = replay.steps()
    assert real_steps
    assert steps == real_steps
    reports, real_reports = replay.stable_reports()
    assert reports == real_reports


def test_nothing_is_asked_for_again_when_nothing_was_lost() -> None:
    replay = Replay("alone_then_join_off", "alpha", OFF)
    replay.pair.run(replay.recording.end_ms)
    assert [said for said in replay.pair.said("alpha") if said.startswith("NS_")] == []
    assert replay.pair.never_logged(replay.ours, "node beta: is dead", 20_000)


def test_in_legacy_a_real_joiner_gets_its_group_and_leaves_it_behind_when_it_stops() -> None:
    replay = Replay("legacy", "alpha", LEGACY)
    pair = replay.pair
    pair.run(14_900)
    assert replay.holding() is Holding.ALL
    pair.run(10_000)
    assert replay.holding() is Holding.LOCAL
    assert "ip-request-resp beta fakersc::B1" in pair.said("alpha")
    pair.run(4_000)
    assert replay.holding() is Holding.ALL
    shutdone = next(s for s in Recording("legacy").talk("beta") if s.says == "shutdone")
    assert pair.job_ms(replay.ours, "start b1.service", 20_000) - shutdone.ms <= 5


def test_in_legacy_it_joins_a_real_holder_asks_for_its_group_and_leaves_it_behind() -> None:
    replay = Replay("legacy", "beta", LEGACY)
    pair = replay.pair
    pair.run(26_000)
    assert replay.holding() is Holding.LOCAL
    assert pair.jobs(replay.ours) == ["start b1.service"]
    pair.run(4_000)
    assert replay.holding() is Holding.NONE
    ours, real = replay.steps()
    assert ours == real
    assert replay.ours.quit
