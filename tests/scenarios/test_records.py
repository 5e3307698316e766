"""What the records of decisions say, and what `why` answers, in stories with a known course."""

from __future__ import annotations

from dataclasses import replace

from hbd.config.model import AutoFailback
from hbd.core.effects import Effect, Note
from hbd.core.events import Event, Scope, Stop
from hbd.core.records import Decision, Explanation, Record
from hbd.sim.machines import Machine
from tests.scenarios.pair import ETH0, TIMING, Pair, all_on
from tests.scenarios.pinged import ROUTER, SWITCH, lose

KEEPALIVE_MS = TIMING.keepalive_ms


class Told(Pair):
    """A pair whose records are kept: the newest version of each, in the order of the decisions."""

    def __init__(self, failback: AutoFailback = AutoFailback.OFF) -> None:
        super().__init__(failback)
        self.records: dict[tuple[str, int, int], Record] = {}

    def stepped(self, machine: Machine, event: Event, effects: list[Effect]) -> None:
        for effect in effects:
            if isinstance(effect, Note):
                self.records[effect.record.node, *effect.record.name] = effect.record
        super().stepped(machine, event, effects)

    def of(self, node: Machine, since_ms: int = 0) -> list[Record]:
        return [r for r in self.records.values() if r.node == node.name and r.at_ms >= since_ms]

    def only(self, node: Machine, decision: Decision, since_ms: int = 0) -> Record:
        found = [record for record in self.of(node, since_ms) if record.decision is decision]
        assert len(found) == 1, found
        return found[0]

    def why(self, node: Machine, group: str) -> Explanation:
        assert node.core is not None
        explained = node.core.explain(group)
        assert explained is not None
        return explained


def at_rest(failback: AutoFailback = AutoFailback.OFF) -> Told:
    pair = Told(failback)
    pair.started()
    return pair


def test_a_death_and_what_is_taken_over_because_of_it_with_evidence_steps_and_times() -> None:
    pair = at_rest()
    pair.beta.power_off()
    pair.until(lambda: pair.owners() == all_on("alpha"), 3000)
    pair.run(100)
    off_ms = pair.now_ms - 3000
    death = pair.only(pair.alpha, Decision.DEAD, off_ms)
    taking = pair.only(pair.alpha, Decision.TAKE, off_ms)
    assert death.cause == "no heartbeat of beta for 2001 ms; its deadtime is 2000 ms"
    beats, link = death.evidence
    assert (beats.ago_ms, beats.text) == (2001, f"last heartbeat, {2001 // KEEPALIVE_MS} missed since")
    assert (link.node, link.link, link.text) == ("beta", "eth0", "link is dead")
    assert (taking.under, taking.cause, taking.group) == (death.number, "beta is dead", "10.0.0.2")
    assert [step.text for step in taking.steps] == [
        "10.0.0.2 start", "10.0.0.2 start: done", "ftp start", "ftp start: done"
    ]  # fmt: skip
    assert (taking.result, death.result) == ("started", "took 10.0.0.2")
    assert taking.took_ms == death.took_ms == taking.steps[-1].after_ms


def test_a_standby_is_told_on_both_sides_and_the_messages_give_the_order() -> None:
    pair = at_rest()
    began_ms = pair.now_ms
    pair.standby(pair.alpha, Scope.LOCAL)
    pair.until(lambda: pair.owners() == all_on("beta"), 3000)
    pair.run(500)
    move = pair.only(pair.alpha, Decision.STANDBY, began_ms)
    giving = pair.only(pair.alpha, Decision.RELEASE, began_ms)
    taking = pair.only(pair.beta, Decision.TAKE, began_ms)
    assert (move.result, giving.result, taking.result) == ("done", "released", "started")
    assert giving.under == move.number
    assert giving.transition == move.transition
    assert taking.cause == "handed over by alpha"
    # beta had heard more of alpha than alpha had said when it decided: so its decision is the later one.
    assert taking.heard > (giving.generation, giving.seq)
    assert giving.heard <= (taking.generation, taking.seq)


def test_a_refusal_is_a_record_and_a_line_for_the_journal() -> None:
    pair = Told()
    pair.alpha.start_daemon()
    assert pair.standby(pair.alpha).refused
    refusal = pair.only(pair.alpha, Decision.REFUSE)
    assert refusal.cause == "standby was asked for"
    assert refusal.result == "refused: communication with the other node is not up yet"
    assert pair.logged(pair.alpha, "standby is refused: communication") == pair.now_ms


def test_a_group_that_does_not_stop_is_blocked_until_it_is_seen_stopped() -> None:
    pair = at_rest()
    began_ms = pair.now_ms
    pair.alpha.troubles.stop_fails["web.service"] = 99
    pair.alpha.ask(Stop())
    pair.run(20_000)
    blocked = pair.only(pair.alpha, Decision.BLOCKED, began_ms)
    release = pair.only(pair.alpha, Decision.RELEASE, began_ms)
    assert blocked.result == ""
    assert "web did not stop" in blocked.cause
    assert release.result.startswith("failed: web did not stop")
    assert "does not stop on alpha" in pair.why(pair.alpha, "10.0.0.1").because[0]
    assert "seen stopped" in pair.why(pair.alpha, "10.0.0.1").would_move[0]


def test_a_node_that_stood_still_says_so_and_gives_way_under_that() -> None:
    pair = at_rest()
    pair.twice_allowed = True
    began_ms = pair.now_ms
    pair.alpha.freeze()
    pair.run(3000)
    pair.alpha.thaw()
    pair.run(2000)
    muted = pair.only(pair.alpha, Decision.MUTE, began_ms)
    lost = pair.only(pair.alpha, Decision.GIVE_WAY, began_ms)
    assert muted.cause.startswith("this node did not run for 3")
    assert lost.under == muted.number
    assert muted.result == "released to the other node"
    assert pair.only(pair.beta, Decision.INSIST, began_ms).result == "the other node let go of it"


def test_ipfail_is_told_apart_from_an_operators_standby() -> None:
    pair = Told()
    for machine in pair.machines.values():
        machine.config = replace(machine.config, media=(ETH0, ROUTER, SWITCH), ipfail=True)
    pair.started()
    began_ms = pair.now_ms
    lose(ROUTER, pair.alpha)
    pair.until(lambda: pair.owners() == all_on("beta"), 10_000)
    pair.run(500)
    assert pair.only(pair.alpha, Decision.IPFAIL, began_ms).cause == "beta reaches more than this node"
    assert not [r for r in pair.of(pair.alpha, began_ms) if r.decision is Decision.STANDBY]


def test_why_tells_of_the_home_node_what_brings_a_group_back() -> None:
    pair = at_rest(AutoFailback.ON)
    pair.standby(pair.alpha, Scope.LOCAL)
    pair.until(lambda: pair.owners() == all_on("beta"), 3000)
    pair.run(500)
    here, there = pair.why(pair.beta, "10.0.0.1"), pair.why(pair.alpha, "10.0.0.1")
    assert here.because[0] == "beta has it: handed over by alpha."
    assert "An operator moved it here, so it does not go home by itself." in here.because
    assert here.would_move[0] == "`hbctl standby` on beta gives it to alpha."
    assert there.because == ("beta has it.",)
    assert there.would_move[0] == "`hbctl takeover` on alpha, or `hbctl standby` on beta, brings it here."
    assert "It does not come home by itself, since an operator moved it there." in there.would_move
    assert ("beta", "eth0") in [(each.node, each.link) for each in there.evidence]


def test_why_of_a_group_that_nobody_can_start_names_what_failed() -> None:
    pair = Told()
    for machine in pair.machines.values():
        machine.troubles.start_fails.add("web.service")
        machine.start_daemon()
    pair.run(5000)
    explained = pair.why(pair.alpha, "10.0.0.1")
    assert any("It did not start on alpha: web did not start" in text for text in explained.because)
    assert explained.would_move == ("`hbctl takeover` on alpha tries it here once more.",)
    assert pair.only(pair.alpha, Decision.GIVE_UP).result == "released"


def test_there_is_no_why_of_an_unknown_group() -> None:
    pair = at_rest()
    assert pair.alpha.core is not None
    assert pair.alpha.core.explain("10.0.0.9") is None
