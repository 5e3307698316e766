"""`hbctl why` in each situation in which it can be asked: sentences that are true then."""

from __future__ import annotations

from collections.abc import Callable

from hbd.config.model import AutoFailback
from hbd.core.events import Freeze, Reload, Scope, Stop
from hbd.core.records import Explanation
from hbd.sim.machines import Machine
from tests.scenarios.beside_306 import both_at_home, both_start
from tests.scenarios.pair import FILES, GROUPS, SHOP, Pair, all_on, group, reconfigured, unit

SHOP_NAME, FILES_NAME = SHOP.name, FILES.name


def why(node: Machine, name: str) -> Explanation:
    assert node.core is not None
    explained = node.core.explain(name)
    assert explained is not None
    return explained


def beta_dies(failback: AutoFailback = AutoFailback.OFF) -> Pair:
    pair = Pair(failback).started()
    pair.beta.power_off()
    pair.until(lambda: pair.owners() == all_on("alpha"), 5000)
    pair.run(500)
    return pair


def test_beside_a_dead_node() -> None:
    pair = beta_dies(AutoFailback.ON)
    told = why(pair.alpha, FILES_NAME)
    assert told.because == ("alpha has it: beta is dead.",)
    assert told.would_move == (
        "Nothing can take it while beta is dead.",
        "It goes home when beta is back (auto_failback on).",
    )


def test_after_the_return_of_a_node_its_death_is_past() -> None:
    pair = beta_dies()
    pair.beta.power_on()
    pair.beta.start_daemon()
    pair.run(3000)
    assert pair.owners() == all_on("alpha")
    told = why(pair.alpha, FILES_NAME)
    assert told.because == ("alpha has it: beta was dead.",)
    assert told.would_move == (
        "`hbctl standby` on alpha gives it to beta.",
        "The end of alpha moves it: at once if hbd is stopped there in order, after 2000 ms without a "
        "heartbeat on any link otherwise.",
        "It does not go home to beta by itself: auto_failback is off.",
    )
    there = why(pair.beta, FILES_NAME)
    assert there.because == ("alpha has it.",)
    assert there.would_move[0] == "`hbctl takeover` on beta, or `hbctl standby` on alpha, brings it here."


def test_after_a_goodbye_and_the_return_of_a_node_that_is_past_too() -> None:
    pair = Pair().started()
    pair.beta.ask(Stop())
    pair.until(lambda: pair.owners() == all_on("alpha"), 5000)
    pair.run(1000)
    told = why(pair.alpha, FILES_NAME)
    assert told.because == ("alpha has it: beta has left.",)
    assert told.would_move == ("Nothing can take it while beta has left.",)
    pair.beta.start_daemon()
    pair.run(3000)
    assert why(pair.alpha, FILES_NAME).because == ("alpha has it: beta had left.",)


def test_beside_a_heartbeat_a_group_at_home_one_handed_over_and_one_that_nobody_has() -> None:
    pair, beta = both_at_home()
    assert why(pair.alpha, SHOP_NAME).because == ("alpha has it: this is its home node.",)
    assert why(pair.alpha, FILES_NAME).because == ("beta has it.",)
    beta.ask_resources("local", "me")
    pair.run(10)
    beta.resource("none", 0, "standby")
    beta.ask_resources("local", "done")
    pair.run(1000)
    assert why(pair.alpha, FILES_NAME).because == ("alpha has it: handed over by beta.",)


def test_a_foreign_group_that_a_heartbeat_does_not_have_is_not_at_home() -> None:
    pair, beta = both_start()
    assert why(pair.alpha, FILES_NAME).because == (
        "beta (heartbeat 3.0.6) has not said yet that alpha may have it.",
    )
    beta.resource("none", 1)
    pair.run(60_000)
    assert pair.owners()[FILES.key] == "alpha"
    assert why(pair.alpha, FILES_NAME).because == ("alpha has it: beta does not have it.",)


def test_with_auto_failback_legacy_no_command_is_offered() -> None:
    pair = Pair(AutoFailback.LEGACY).started()
    for node in (pair.alpha, pair.beta):
        moves = why(node, SHOP_NAME).would_move
        assert moves[0] == "No command: standby and takeover need auto_failback on or off, and it is legacy."
        assert moves[1].startswith("The end of alpha moves it: ")
    assert pair.standby(pair.alpha).refused is not None


def test_with_another_haresources_no_command_is_offered() -> None:
    pair = Pair().started()
    pair.beta.ask(Reload(reconfigured(pair.beta, (*GROUPS, group("beta", unit("more"))))))
    pair.run(1000)
    here, there = why(pair.alpha, SHOP_NAME), why(pair.beta, SHOP_NAME)
    assert here.would_move == ("Nothing, while haresources differs between alpha and beta.",)
    assert there.would_move[0] == "No command, while haresources differs between beta and alpha."
    assert pair.takeover(pair.beta).refused is not None
    assert why(pair.beta, "more").because == (
        "haresources differs between beta and alpha, so nothing new is started.",
    )


def test_of_what_a_dead_node_with_another_haresources_is_not_known_to_have_had() -> None:
    pair = Pair().started()
    pair.alpha.ask(Reload(reconfigured(pair.alpha, (*GROUPS, group("beta", unit("more"))))))
    pair.run(500)
    pair.beta.power_off()
    pair.run(8000)
    told = why(pair.alpha, "more")
    assert told.because == (
        "beta had another haresources than alpha when it was last heard: only what it is known to have had "
        "is taken over.",
    )
    assert told.would_move == ("A heartbeat of beta, or, if it is off, `hbctl confirm-dead beta`.",)
    assert why(pair.alpha, FILES_NAME).because == ("alpha has it: beta is dead.",)


def test_of_what_does_not_stop_on_the_other_node() -> None:
    pair = Pair().started()
    pair.alpha.troubles.stop_fails["web.service"] = 99
    pair.standby(pair.alpha)
    pair.run(20_000)
    told = why(pair.beta, SHOP_NAME)
    assert told.because == ("It does not stop on alpha, and may still run there.",)
    assert told.would_move == (
        "It is free once it is seen stopped on alpha; `hbctl why` there tells more.",
    )


def test_of_what_is_on_its_way() -> None:
    pair = Pair().started()
    pair.alpha.troubles.slow["db.service"] = 5000
    pair.standby(pair.alpha)
    pair.run(1000)
    here, there = why(pair.alpha, SHOP_NAME), why(pair.beta, SHOP_NAME)
    assert here.because == ("alpha stops it: handed over to beta.",)
    assert here.would_move == ("It is free for beta as soon as all of it is stopped here.",)
    assert there.because == ("alpha stops it.",)


def test_of_what_did_not_start_on_either_node_and_on_one_after_a_restart() -> None:
    pair = Pair()
    for machine in pair.machines.values():
        machine.troubles.start_fails.add("web.service")
        machine.start_daemon()
    pair.run(5000)
    told = why(pair.alpha, SHOP_NAME).because
    assert told[0] == "beta has nothing of it."
    assert told[1].startswith("It did not start on alpha: web did not start")
    assert told[2] == "It did not start on beta either."


def test_what_a_restarted_node_is_told_of_its_failure() -> None:
    pair = Pair()
    pair.alpha.troubles.start_fails.add("web.service")
    pair.alpha.start_daemon()
    pair.beta.start_daemon()
    pair.until(lambda: pair.owners() == all_on("beta"), 10_000)
    pair.run(500)
    here = why(pair.beta, SHOP_NAME)
    assert here.because == ("beta has it: alpha could not start it.",)
    assert here.would_move == ("alpha could not start it; `hbctl takeover` there tries it once more.",)
    pair.alpha.kill_daemon()
    pair.alpha.start_daemon()
    pair.run(3000)
    told = why(pair.alpha, SHOP_NAME)
    assert told.because == ("beta has it.", "It did not start on alpha: beta remembers that.")
    assert told.would_move == (
        "`hbctl takeover` on alpha tries it here again; by itself it does not come back before beta is gone.",
    )


def test_of_a_member_that_does_not_come_back() -> None:
    pair = Pair().started()
    pair.beta.power_off()
    pair.run(5000)
    pair.alpha.troubles.start_fails.add("web.service")
    pair.alpha.lose(SHOP.resources[1])
    pair.run(3000)
    assert why(pair.alpha, SHOP_NAME).because == (
        "alpha has it: this is its home node.",
        "web does not run; it is started again and again until it runs.",
    )
    pair.ask(pair.alpha, Freeze())
    pair.run(1000)
    told = why(pair.alpha, SHOP_NAME)
    assert told.because[1] == "web does not run; it is started after the thaw."
    assert told.would_move == ("Nothing, before `hbctl thaw`: the cluster is frozen.",)


def test_before_anybody_could_be_heard() -> None:
    pair = Pair()
    pair.alpha.dark = True
    pair.alpha.start_daemon()
    pair.run(5000)
    (told,) = why(pair.alpha, SHOP_NAME).because
    assert told.startswith("alpha is isolated: no medium of this node works")
    pair.alpha.darken(False)
    pair.run(1000)
    (told,) = why(pair.alpha, SHOP_NAME).because
    assert told == "beta was not heard yet; so nothing is started for initdead (10000 ms)."


def test_no_sentence_offers_what_would_be_refused() -> None:
    """Each command that is offered is tried."""
    situations: tuple[tuple[str, Callable[[], Pair]], ...] = (
        ("both at home", lambda: Pair().started()),
        ("with failback", lambda: Pair(AutoFailback.ON).started()),
        ("legacy", lambda: Pair(AutoFailback.LEGACY).started()),
        ("beta dead", beta_dies),
    )
    for name, make in situations:
        for node_name in ("alpha", "beta"):
            for key in (SHOP_NAME, FILES_NAME):
                pair = make()
                node = pair.machines[node_name]
                if node.core is None or not node.powered:
                    continue
                offered = why(node, key).would_move
                if any(f"`hbctl standby` on {node_name}" in text for text in offered):
                    assert pair.standby(node, Scope.ALL).refused is None, (name, node_name, key)
                    pair.run(3000)
                    assert pair.owners()[key_of(key)] != node_name
                elif any(f"`hbctl takeover` on {node_name}" in text for text in offered):
                    assert pair.takeover(node, Scope.ALL).refused is None, (name, node_name, key)
                    pair.run(3000)
                    assert pair.owners()[key_of(key)] == node_name


def key_of(name: str) -> str:
    return {SHOP_NAME: SHOP.key, FILES_NAME: FILES.key}[name]


def test_of_what_a_reload_gave_to_a_group_on_one_node() -> None:
    pair = Pair(AutoFailback.OFF).started()
    more = (group("alpha", *SHOP.resources, unit("mail")), FILES)
    pair.ask(pair.alpha, Reload(reconfigured(pair.alpha, more)))
    pair.run(3000)
    assert why(pair.alpha, SHOP_NAME).because == (
        "alpha has it: this is its home node.",
        "A reload gave it mail, not started yet: "
        "that waits until haresources on beta means the same as here.",
    )
    assert why(pair.beta, SHOP_NAME).because == ("alpha has it, but not all of it runs there yet.",)
    pair.alpha.troubles.slow["mail.service"] = 500
    pair.ask(pair.beta, Reload(reconfigured(pair.beta, more)))
    pair.until(lambda: "start mail.service" in pair.jobs(pair.alpha), 1000)
    assert why(pair.alpha, SHOP_NAME).because == (
        "alpha has it: this is its home node.",
        "It was given more by a reload, which is being started.",
    )
