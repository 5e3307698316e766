"""The resource conversation of heartbeat 3.0.6 as a machine of its own, message by message."""

from __future__ import annotations

from dataclasses import replace

import pytest

from hbd.config.model import AddressResource, AutoFailback, Bcast, Config, GroupSpec, Key, Keys
from hbd.core import protocol
from hbd.core.classic_sets import ALL, FOREIGN, LOCAL, NONE, Phase, Sets, mirror, named
from hbd.core.desk import Desk
from hbd.core.effects import Log
from hbd.core.events import Instant, Scope
from hbd.core.handover import Handover
from hbd.core.message import Message
from hbd.core.standby import Role
from hbd.errors import Refused
from tests.scenarios.pair import sentence


def group(home: str, ip: str) -> GroupSpec:
    return GroupSpec(ip, home, (AddressResource(ip, ip),))


OURS, THEIRS = group("alpha", "10.0.0.1"), group("beta", "10.0.0.2")
KEYS = Keys(1, (Key(1, "crc", b""),))
CONFIG = Config(
    "alpha", ("alpha", "beta"), (Bcast("eth0", 694),), KEYS, (OURS, THEIRS), auto_failback=AutoFailback.OFF
)


class Talk:
    """A conversation, with what we said in it."""

    def __init__(self, failback: AutoFailback = AutoFailback.OFF) -> None:
        self.desk = Desk()
        self.spoken: list[str] = []
        self.machine = Handover(replace(CONFIG, auto_failback=failback), self.desk, self._say)
        self.now_ms = 0
        self.at(0)

    def _say(self, fields: protocol.Fields) -> None:
        self.spoken.append(sentence(Message.of(*fields)))

    def at(self, ms: int) -> None:
        """Time goes on to this moment."""
        self.now_ms = ms
        self.desk.open(Instant(ms, 1_700_000_000))

    def tick(self, busy: bool = False) -> None:
        self.machine.tick(busy)

    def hears(self, fields: protocol.Fields, busy: bool = False) -> None:
        message = Message.of(*fields)
        self.machine.said("beta", message.text("t") or "", message, busy)

    def said(self) -> list[str]:
        spoken, self.spoken = self.spoken, []
        return spoken

    def log(self) -> list[str]:
        return [effect.text for effect in self.desk.close() if isinstance(effect, Log)]

    def role(self) -> Role:
        return self.machine.role

    def lets(self) -> Sets:
        both = ((LOCAL, OURS), (FOREIGN, THEIRS))
        return frozenset().union(*(each for each, spec in both if self.machine.lets(spec)))


def report(hold: str, stable: int, info: str = "") -> protocol.Fields:
    return protocol.resource(hold, bool(stable), info)


def both_starting(failback: AutoFailback = AutoFailback.OFF) -> Talk:
    talk = Talk(failback)
    talk.machine.begin((), (), settled=False)
    talk.machine.communication_up()
    talk.hears(protocol.starting())
    talk.hears(report("none", 0))
    return talk


def stable(failback: AutoFailback = AutoFailback.OFF) -> Talk:
    talk = both_starting(failback)
    talk.hears(report("local", 1))
    talk.said()
    sets = talk.machine.sets
    assert (sets.phase, sets.mine, sets.theirs) == (Phase.STABLE, LOCAL, LOCAL)
    return talk


def test_a_set_is_seen_the_other_way_round_by_the_other_node() -> None:
    assert [mirror(each) for each in (NONE, LOCAL, FOREIGN, ALL)] == [NONE, FOREIGN, LOCAL, ALL]
    assert [named(each) for each in (NONE, LOCAL, FOREIGN, ALL)] == ["none", "local", "foreign", "all"]


def test_the_start_goes_through_its_phases() -> None:
    talk = Talk()
    assert talk.machine.sets.phase is Phase.INIT
    talk.machine.communication_up()
    phases = [talk.machine.sets.phase]
    for fields in (protocol.starting(), report("none", 0), report("local", 1)):
        talk.hears(fields)
        phases.append(talk.machine.sets.phase)
    assert phases == [Phase.STARTING, Phase.BOTH_STARTING, Phase.RECEIVED, Phase.STABLE]
    assert talk.said()[:2] == ["starting", "resource none 0"]


def test_the_ten_seconds_begin_with_the_first_resource_message_and_run_once() -> None:
    talk = both_starting()
    assert talk.machine.deadline_ms() == 10_000
    talk.at(5_000)
    talk.hears(report("none", 0))
    assert talk.machine.deadline_ms() == 10_000
    talk.at(9_999)
    talk.tick()
    assert talk.lets() == NONE
    talk.said()
    talk.at(10_000)
    talk.tick()
    assert talk.lets() == LOCAL
    assert talk.said() == ["resource local 1"]
    assert talk.machine.deadline_ms() is None


@pytest.mark.parametrize(
    ("hold", "mine"), [("none", LOCAL), ("local", LOCAL), ("foreign", NONE), ("all", NONE)]
)
def test_our_own_set_is_taken_unless_the_peer_holds_it_as_its_foreign(hold: str, mine: Sets) -> None:
    talk = both_starting()
    talk.hears(report(hold, 1))
    assert (talk.machine.sets.mine, talk.lets()) == (mine, mine)


@pytest.mark.parametrize("info", ["", "standby", "shutdown"])
def test_an_unstable_report_never_clears(info: str) -> None:
    talk = stable()
    talk.hears(report("none", 0, info))
    assert talk.machine.sets.theirs == LOCAL
    assert talk.machine.peer_has(THEIRS)


def test_a_stable_report_replaces_and_one_that_is_not_full_adds() -> None:
    talk = stable()
    talk.hears(report("none", 1))
    assert talk.machine.sets.theirs == NONE
    partial = ((("t", "resource")), ("rsc_hold", "foreign"), ("info", "mach_down"))
    talk.hears(partial)
    assert talk.machine.sets.theirs == FOREIGN
    talk.hears((("t", "resource"), ("rsc_hold", "none")))
    assert talk.machine.sets.theirs == NONE


def test_starting_is_always_answered_with_what_we_hold() -> None:
    talk = stable()
    talk.hears(protocol.starting())
    assert talk.said() == ["resource local 1"]


def test_a_heartbeat_that_was_stable_before_it_was_active_need_not_say_so_again() -> None:
    talk = stable()
    talk.hears(protocol.starting())
    assert talk.machine.sets.peer_stable


def test_after_its_death_or_goodbye_everything_is_ours() -> None:
    talk = stable()
    talk.machine.peer_left(silently=True)
    assert talk.lets() == ALL
    assert talk.machine.sets.theirs == NONE


def test_a_restarted_peer_may_hold_what_we_do_not_until_it_reports() -> None:
    talk = stable()
    talk.machine.peer_restarted()
    assert talk.machine.sets.theirs == LOCAL
    assert not talk.machine.sets.reported
    assert talk.lets() == LOCAL


def test_what_runs_when_the_peer_turns_out_to_be_306_is_ours() -> None:
    talk = Talk()
    talk.machine.begin((OURS, THEIRS), (), settled=True)
    assert (talk.machine.sets.mine, talk.machine.sets.phase) == (ALL, Phase.STABLE)


# ---------------------------------------------------------------- standby


@pytest.mark.parametrize(("word", "scope"), [("all", ALL), ("local", LOCAL), ("foreign", FOREIGN)])
def test_the_giving_part_goes_through_its_roles(word: str, scope: Sets) -> None:
    talk = stable()
    talk.machine.standby(word, busy=False)
    assert talk.said() == [f"ask_resources {word} me"]
    assert talk.lets() == LOCAL
    talk.hears(protocol.ask_resources(word, "other"))
    assert talk.role() is Role.RELEASING
    assert talk.said() == ["resource local 0 standby"]
    assert talk.lets() == LOCAL - scope
    talk.machine.released((OURS,) if "local" in scope else ())
    assert (talk.role() is Role.RELEASING) is ("local" in scope)
    talk.machine.released(())
    assert talk.role() is Role.WAITING
    assert talk.said() == [f"resource {named(LOCAL - scope)} 0 standby", f"ask_resources {word} done"]
    assert talk.lets() == LOCAL - scope
    talk.hears(protocol.ask_resources(word, "done"))
    assert talk.role() is Role.NONE
    assert talk.said() == [f"resource {named(LOCAL - scope)} 1"]
    assert talk.machine.sets.theirs == LOCAL | mirror(scope)


@pytest.mark.parametrize(("word", "scope"), [("all", ALL), ("local", LOCAL), ("foreign", FOREIGN)])
def test_the_taking_part_goes_through_its_roles(word: str, scope: Sets) -> None:
    talk = stable()
    talk.hears(protocol.ask_resources(word, "me"))
    assert talk.said() == [f"ask_resources {word} other"]
    assert talk.role() is Role.TAKING
    assert talk.lets() == LOCAL
    talk.hears(protocol.ask_resources(word, "done"))
    assert talk.role() is Role.ACQUIRING
    assert talk.lets() == LOCAL | mirror(scope)
    talk.machine.acquired()
    assert talk.said() == [f"ask_resources {word} done", f"resource {named(LOCAL | mirror(scope))} 1"]
    assert talk.role() is Role.NONE


def test_nothing_is_acquired_or_released_without_a_role() -> None:
    talk = stable()
    talk.machine.acquired()
    talk.machine.released(())
    assert talk.said() == []


def test_without_an_answer_the_offer_ends_and_the_set_stays() -> None:
    talk = stable()
    talk.machine.standby("all", busy=False)
    talk.at(9_999)
    talk.tick()
    assert talk.role() is Role.GIVING
    talk.at(10_000)
    talk.tick()
    assert "No reply to standby request.  Standby request cancelled." in talk.log()
    assert (talk.role(), talk.lets()) == (Role.NONE, LOCAL)
    talk.said()
    talk.hears(protocol.ask_resources("all", "other"))
    assert (talk.role(), talk.said()) == (Role.NONE, [])


def refusal(talk: Talk, busy: bool = False) -> str:
    with pytest.raises(Refused) as refused:
        talk.machine.standby("all", busy)
    return str(refused.value)


def test_the_refusals_say_why() -> None:
    assert "legacy" in refusal(Talk(AutoFailback.LEGACY))
    assert refusal(both_starting()) == "local resources in flux"
    assert refusal(stable(), busy=True) == "local resources in flux"
    talk = stable()
    talk.hears(report("local", 0))
    assert refusal(talk) == "other side is in flux"
    talk = stable()
    talk.machine.standby("all", busy=False)
    assert refusal(talk) == "a standby is in progress"


def test_an_offer_of_the_peer_is_ignored_while_we_are_in_flux() -> None:
    for talk, busy in ((both_starting(), False), (stable(), True)):
        talk.said()
        talk.hears(protocol.ask_resources("all", "me"), busy)
        assert (talk.role(), talk.said()) == (Role.NONE, [])
        assert "standby message [me] from beta ignored.  local resources in flux." in talk.log()


@pytest.mark.parametrize("hold", ["", "everything", "LOCAL"])
def test_a_set_of_no_known_name_is_no_message(hold: str) -> None:
    talk = stable()
    for kind, info in (("ask_resources", "me"), ("resource", "x")):
        fields: protocol.Fields = (("t", kind), ("info", info), ("rtype", "full"), ("isstable", "1"))
        talk.hears((*fields, ("rsc_hold", hold)) if hold else fields)
    assert (talk.machine.sets.theirs, talk.role(), talk.said()) == (LOCAL, Role.NONE, [])


# ---------------------------------------------------------------- failback


def test_what_its_death_gave_us_is_offered_back_once_when_it_is_stable() -> None:
    talk = stable(AutoFailback.ON)
    talk.machine.peer_left(silently=True)
    talk.machine.peer_restarted()
    talk.hears(protocol.starting())
    talk.said()
    talk.tick()
    assert talk.said() == []
    talk.hears(report("none", 1))
    talk.tick()
    assert talk.said() == ["resource all 1", "ask_resources foreign me"]


def test_a_failback_waits_while_we_are_busy() -> None:
    talk = stable(AutoFailback.ON)
    talk.machine.peer_left(silently=True)
    talk.machine.peer_restarted()
    talk.hears(report("none", 1))
    talk.said()
    talk.tick(busy=True)
    assert talk.said() == []
    assert talk.machine.deadline_ms() == 1000
    talk.at(1000)
    talk.tick()
    assert talk.said() == ["ask_resources foreign me"]


def test_what_an_operator_moved_here_is_not_offered_back() -> None:
    talk = stable(AutoFailback.ON)
    talk.hears(protocol.ask_resources("all", "me"))
    talk.hears(protocol.ask_resources("all", "done"))
    talk.machine.acquired()
    talk.hears(report("none", 1))
    talk.said()
    for ms in (1000, 20_000):
        talk.at(ms)
        talk.tick()
    assert talk.said() == []


def test_our_wish_to_take_over_is_said_in_our_own_terms() -> None:
    talk = stable()
    talk.machine.ask_takeover(Scope.FOREIGN)
    assert talk.said() == ["hb_takeover foreign"]


# ---------------------------------------------------------------- legacy


def test_in_legacy_only_what_was_granted_is_ours() -> None:
    talk = Talk(AutoFailback.LEGACY)
    talk.machine.begin((), (), settled=False)
    talk.machine.communication_up()
    assert talk.said() == ["ip-request 10.0.0.1"]
    assert talk.lets() == NONE
    talk.hears(protocol.ip_request_resp("alpha", "10.0.0.1"))
    assert talk.lets() == LOCAL


def test_in_legacy_a_refusing_answer_grants_nothing() -> None:
    talk = Talk(AutoFailback.LEGACY)
    talk.hears((("t", "ip-request-resp"), ("dest", "alpha"), ("ipaddr", "10.0.0.1"), ("ok", "no")))
    assert talk.lets() == NONE


def test_in_legacy_a_request_is_answered_when_the_last_stop_is_confirmed() -> None:
    talk = Talk(AutoFailback.LEGACY)
    talk.machine.peer_left(silently=True)
    talk.hears(protocol.ip_request("10.0.0.2"))
    assert talk.lets() == LOCAL
    talk.machine.released((OURS, THEIRS))
    assert talk.said() == []
    talk.machine.released((OURS,))
    assert talk.said() == ["ip-request-resp beta 10.0.0.2"]
    talk.machine.released((OURS,))
    assert talk.said() == []


def test_in_legacy_a_request_for_an_unknown_group_is_not_answered() -> None:
    talk = Talk(AutoFailback.LEGACY)
    talk.hears(protocol.ip_request("10.9.9.9"))
    talk.machine.released(())
    assert talk.said() == []
