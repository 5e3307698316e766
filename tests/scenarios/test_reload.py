"""A new configuration in a running pair."""

from __future__ import annotations

from dataclasses import replace

from hbd.config.model import AutoFailback, Bcast, GroupSpec
from hbd.core.events import Reload, Stop
from tests.scenarios.pair import (
    FILES,
    FILES_KEY,
    GROUPS,
    SHOP,
    TIMING,
    Pair,
    address,
    all_on,
    at_home,
    group,
    reconfigured,
    unit,
)


def reload_both(pair: Pair, groups: tuple[GroupSpec, ...]) -> None:
    for node in (pair.alpha, pair.beta):
        assert pair.ask(node, Reload(reconfigured(node, groups))).refused is None
    pair.groups = groups


def test_an_added_resource_is_started_and_the_others_are_not_touched() -> None:
    pair = Pair().started()
    asked_ms = pair.now_ms
    bigger = group("alpha", address("10.0.0.1"), unit("web"), unit("db"), unit("mail"))
    reload_both(pair, (bigger, FILES))
    pair.until(lambda: pair.owners() == at_home(pair.groups), 1000)
    assert pair.jobs(pair.alpha, asked_ms) == ["start mail.service"]
    assert pair.jobs(pair.beta, asked_ms) == []


def test_a_removed_resource_is_stopped_and_the_others_are_not_touched() -> None:
    pair = Pair().started()
    asked_ms = pair.now_ms
    reload_both(pair, (group("alpha", address("10.0.0.1"), unit("db")), FILES))
    pair.until(lambda: "web.service" not in pair.alpha.running, 1000)
    pair.run(2000)
    assert pair.jobs(pair.alpha, asked_ms) == ["stop web.service"]
    assert pair.owners() == at_home(pair.groups)


def test_an_added_group_starts_at_its_home_node_and_a_removed_one_is_released() -> None:
    pair = Pair().started()
    asked_ms = pair.now_ms
    reload_both(pair, (SHOP, group("beta", unit("print"))))
    pair.until(lambda: pair.owners() == at_home(pair.groups) and "ftp.service" not in pair.beta.running, 2000)
    pair.run(2000)
    assert pair.jobs(pair.alpha, asked_ms) == []
    assert sorted(pair.jobs(pair.beta, asked_ms)) == [
        "start print.service", "stop 10.0.0.2", "stop ftp.service"
    ]  # fmt: skip


def test_while_the_nodes_have_different_haresources_nothing_new_is_started_and_what_runs_goes_on() -> None:
    pair = Pair().started()
    asked_ms = pair.now_ms
    more = (*GROUPS, group("alpha", unit("print")))
    pair.ask(pair.alpha, Reload(reconfigured(pair.alpha, more)))
    pair.run(5000)
    assert pair.jobs(pair.alpha, asked_ms) == pair.jobs(pair.beta, asked_ms) == []
    assert pair.logged(pair.alpha, "haresources on beta means other resources than here")
    pair.ask(pair.beta, Reload(reconfigured(pair.beta, more)))
    pair.until(lambda: "print.service" in pair.alpha.running, 1000)
    assert pair.logged(pair.beta, "haresources on alpha means the same as here again")


def test_with_different_haresources_only_what_the_dead_peer_is_known_to_have_held_is_taken() -> None:
    pair = Pair().started()
    more = (*GROUPS, group("alpha", unit("print")))
    pair.ask(pair.beta, Reload(reconfigured(pair.beta, more)))
    pair.run(1000)
    died_ms = pair.now_ms
    pair.alpha.power_off()
    pair.until(lambda: pair.owners() == all_on("beta"), 3000)
    pair.run(5000)
    assert "start print.service" not in pair.jobs(pair.beta, died_ms)


def test_a_group_that_moves_home_is_released_first_and_started_there() -> None:
    pair = Pair().started()
    asked_ms = pair.now_ms
    reload_both(pair, (SHOP, group("alpha", address("10.0.0.2"), unit("ftp"))))
    pair.until(lambda: pair.owners()[FILES_KEY] == "alpha", 3000)
    assert pair.jobs(pair.beta, asked_ms) == ["stop ftp.service", "stop 10.0.0.2"]
    assert pair.twice == []


def test_what_a_group_that_moves_home_gives_to_another_one_is_stopped_there_before_it_is_started() -> None:
    """Its name is known to the node that starts it, but not what it had before."""
    pair = Pair().started()
    files = (address("10.0.0.2"), unit("ftp"))
    reload_both(pair, (SHOP, group("beta", *files, unit("mail"))))
    pair.until(lambda: "mail.service" in pair.beta.running, 2000)
    asked_ms = pair.now_ms
    pair.beta.troubles.slow["mail.service"] = 700
    shop = (address("10.0.0.1"), unit("web"), unit("db"), unit("mail"))
    reload_both(pair, (group("alpha", *shop), group("alpha", *files)))
    pair.run(600)
    assert "mail.service" in pair.beta.running
    assert pair.jobs(pair.alpha, asked_ms) == []
    pair.until(lambda: pair.owners() == all_on("alpha") and "mail.service" in pair.alpha.running, 4000)
    assert pair.jobs(pair.beta, asked_ms) == ["stop mail.service", "stop ftp.service", "stop 10.0.0.2"]


def test_what_a_node_leaves_in_order_is_taken_whatever_its_haresources_said() -> None:
    """It has released everything, under whatever name."""
    pair = Pair().started()
    pair.ask(pair.alpha, Reload(reconfigured(pair.alpha, (*GROUPS, group("alpha", unit("print"))))))
    pair.run(1000)
    pair.ask(pair.beta, Stop())
    pair.until(lambda: pair.owners() == all_on("alpha") and "print.service" in pair.alpha.running, 3000)


def test_what_a_reload_gives_to_a_node_is_started_when_the_other_one_has_heard_that_it_is_claimed() -> None:
    """Or else that one, given it back by the next reload, would go by what it was told before both."""
    pair = Pair().started()
    pair.cut_from("beta")
    given = (group("beta", address("10.0.0.2"), unit("ftp"), unit("db")),)
    for node in (pair.beta, pair.alpha):
        pair.ask(node, Reload(reconfigured(node, (group("alpha", address("10.0.0.1"), unit("web")), *given))))
    pair.run(600)
    assert "db.service" not in pair.alpha.running
    assert "db.service" not in pair.beta.running
    pair.ask(pair.alpha, Reload(reconfigured(pair.alpha, GROUPS)))
    pair.run(300)
    pair.heal()
    pair.run(1000)
    assert "db.service" not in pair.beta.running
    pair.ask(pair.beta, Reload(reconfigured(pair.beta, GROUPS)))
    pair.until(lambda: pair.owners() == at_home(GROUPS), 2000)


def test_a_restart_does_not_start_what_a_reload_gave_while_the_other_node_has_it() -> None:
    pair = Pair().started()
    given = (
        group("alpha", address("10.0.0.1"), unit("web")),
        group("beta", address("10.0.0.2"), unit("ftp"), unit("db")),
    )
    pair.ask(pair.beta, Reload(reconfigured(pair.beta, given)))
    pair.run(500)
    pair.beta.kill_daemon()
    pair.beta.start_daemon()
    pair.run(2000)
    assert "db.service" in pair.alpha.running
    assert "start db.service" not in pair.jobs(pair.beta)
    pair.ask(pair.alpha, Reload(reconfigured(pair.alpha, given)))
    pair.until(lambda: "db.service" in pair.beta.running and "db.service" not in pair.alpha.running, 2000)


def test_what_another_group_here_is_just_starting_is_stopped_before_it_is_started_anew() -> None:
    pair = Pair().started()
    pair.ask(pair.beta, Stop())
    pair.until(lambda: pair.owners() == all_on("alpha"), 3000)
    pair.alpha.troubles.slow["mail.service"] = 700
    shop = (address("10.0.0.1"), unit("web"), unit("db"))
    before = (group("alpha", *shop), FILES, group("alpha", unit("print"), unit("mail")))
    pair.ask(pair.alpha, Reload(reconfigured(pair.alpha, before)))
    pair.until(lambda: "start mail.service" in pair.jobs(pair.alpha), 1000)
    pair.run(1)
    asked_ms = pair.now_ms
    after = (group("alpha", *shop, unit("mail")), FILES, group("beta", unit("print")))
    pair.ask(pair.alpha, Reload(reconfigured(pair.alpha, after)))
    pair.until(lambda: "start mail.service" in pair.jobs(pair.alpha, asked_ms), 3000)
    jobs = pair.jobs(pair.alpha, asked_ms)
    assert jobs.index("stop mail.service") < jobs.index("start mail.service")
    pair.until(lambda: "mail.service" in pair.alpha.running, 2000)


def test_new_timings_hold_at_once() -> None:
    pair = Pair().started()
    quick = replace(TIMING, keepalive_ms=100, warntime_ms=300, deadtime_ms=600)
    for node in (pair.alpha, pair.beta):
        node.config = replace(node.config, timing=quick)
        pair.ask(node, Reload(node.config))
    pair.run(1000)
    died_ms = pair.now_ms
    pair.alpha.power_off()
    pair.until(lambda: pair.owners() == all_on("beta"), 1000)
    assert pair.logged(pair.beta, "node alpha: is dead") - died_ms <= 600


def test_auto_failback_changed_to_on_gives_back_what_the_home_node_lost() -> None:
    pair = Pair().started()
    pair.alpha.power_off()
    pair.until(lambda: pair.owners() == all_on("beta"), 3000)
    pair.alpha.power_on()
    pair.run(3000)
    assert pair.owners() == all_on("beta")
    for node in (pair.alpha, pair.beta):
        node.config = replace(node.config, auto_failback=AutoFailback.ON)
        pair.ask(node, Reload(node.config))
    pair.until(lambda: pair.owners() == at_home(GROUPS), 2000)


def test_other_nodes_need_a_restart_and_everything_stays_as_it_was() -> None:
    pair = Pair().started()
    other = replace(pair.alpha.config, nodes=("alpha", "beta", "gamma"))
    answer = pair.ask(pair.alpha, Reload(other))
    assert answer.refused == "other nodes in ha.cf take effect only when hbd is restarted"
    pair.run(3000)
    assert pair.owners() == at_home(GROUPS)


def test_an_added_link_is_opened_and_a_removed_one_is_closed() -> None:
    pair = Pair().started()
    more = replace(pair.alpha.config, media=(*pair.alpha.config.media, Bcast("eth1", 694)))
    pair.ask(pair.alpha, Reload(more))
    pair.run(100)
    assert pair.logged(pair.alpha, "UDP Broadcast heartbeat started on port 694 (694) interface eth1")
    assert [link.name for link in pair.view(pair.alpha).links] == ["eth0", "eth1"]
    pair.ask(pair.alpha, Reload(replace(more, media=more.media[:1])))
    assert [link.name for link in pair.view(pair.alpha).links] == ["eth0"]


def test_a_group_is_not_handed_to_a_node_that_may_not_start_it_before_something_else_has_stopped() -> None:
    pair = Pair(AutoFailback.ON).started()
    address, web, database = SHOP.resources
    pair.alpha.troubles.stop_fails[web.identity] = 10**6
    pair.groups = less = (group("alpha", address, database), FILES)
    for node in (pair.alpha, pair.beta):
        assert pair.ask(node, Reload(reconfigured(node, less))).refused is None
    pair.run(20_000)
    pair.beta.power_off()
    pair.run(5000)
    pair.beta.power_on()
    pair.run(60_000)
    assert pair.owners()[FILES.key] == "alpha"


def test_a_takeover_goes_on_when_the_dead_node_is_back_with_another_haresources_and_holds_nothing() -> None:
    pair = Pair().started()
    pair.ask(pair.beta, Reload(reconfigured(pair.beta, (*GROUPS, group("beta", unit("print"))))))
    pair.run(1000)
    pair.beta.troubles.slow["web.service"] = 3000
    pair.alpha.power_off()
    pair.until(lambda: "start web.service" in pair.jobs(pair.beta), 4000)
    pair.alpha.power_on()
    pair.run(1000)
    assert "web.service" not in pair.beta.running
    pair.until(lambda: pair.owners() == all_on("beta"), 5000)
    pair.run(5000)
    assert pair.jobs(pair.alpha) == pair.jobs(pair.alpha)[: len(SHOP.resources)]
    assert "print.service" not in pair.beta.running


def test_a_takeover_does_not_go_on_while_a_node_that_is_back_may_have_the_rest_under_another_name() -> None:
    mail = unit("mail")
    pair = Pair(groups=(SHOP, FILES, group("alpha", mail))).started()
    moved = (replace(SHOP, resources=(*SHOP.resources, mail)), FILES)
    pair.ask(pair.beta, Reload(reconfigured(pair.beta, moved)))
    pair.run(1000)
    pair.twice_allowed = True
    pair.beta.troubles.slow["db.service"] = 3000
    pair.cut_from("alpha")
    pair.alpha.freeze()
    pair.until(lambda: "start db.service" in pair.jobs(pair.beta), 4000)
    pair.heal()
    pair.alpha.thaw()
    pair.run(20_000)
    assert mail.identity in pair.alpha.running
    assert mail.identity not in pair.beta.running
