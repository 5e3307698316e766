"""One group on one node, job by job."""

from __future__ import annotations

from itertools import count

import pytest

from hbd.config.model import AddressResource, GroupSpec, Limits, ScriptResource, UnitResource
from hbd.core.effects import (
    AbandonJob,
    Effect,
    Log,
    ProbeResource,
    StartJob,
    StartResource,
    StopResource,
)
from hbd.core.events import OK, Condition, Direction, HeldGroup, JobId, Outcome, Result
from hbd.core.groups import Fact, Group, GroupReleased, GroupStarted, PutBackFailed, StartFailed
from hbd.core.groupstate import Phase
from hbd.core.report import Posture

ADDRESS = AddressResource("10.0.0.1/24", "10.0.0.1", 24)
WEB, DB, MAIL = (UnitResource(name, f"{name}.service") for name in ("web", "db", "mail"))
SPEC = GroupSpec(ADDRESS.name, "alpha", (ADDRESS, WEB, DB))
LIMITS = Limits(start_ms=1000, stop_ms=2000, probe_ms=300)
FAILED = Outcome(Result.FAILED, "it exits with 1")
UNKNOWN = Outcome(Result.UNKNOWN, "no answer in time")


class Driven:
    """A group, and what it asked for."""

    def __init__(self, spec: GroupSpec = SPEC) -> None:
        numbers = count(1)
        self.group = Group(spec, LIMITS, lambda: JobId(next(numbers)))
        self.now_ms = 0
        self.asked: list[str] = []
        self.facts: list[Fact] = []
        self.logged: list[str] = []
        self.job: StartJob | None = None

    def take(self, effects: list[Effect], facts: list[Fact] | None = None) -> None:
        self.facts += facts or []
        for effect in effects:
            match effect:
                case StartJob():
                    self.job = effect
                    self.asked.append(_words(effect))
                case Log(_, _, text):
                    self.logged.append(text)
                case AbandonJob():
                    self.asked.append("abandon")
                case _:
                    raise AssertionError(effect)

    def advance(self, clear: bool = True) -> None:
        self.take(*self.group.advance(self.now_ms, clear, back=clear))

    def ends(self, outcome: Outcome = OK) -> None:
        """The running job ends, and the next one begins."""
        assert self.job is not None
        job, self.job = self.job, None
        ended = self.group.ended(self.now_ms, job.job, outcome)
        assert ended is not None
        self.take(*ended)
        self.advance()

    def new(self) -> list[str]:
        asked, self.asked = self.asked, []
        return asked


def _words(job: StartJob) -> str:
    match job.action:
        case StartResource(resource):
            return f"start {resource.identity} {job.limit_ms}"
        case StopResource(resource, leaving):
            return f"stop {resource.identity} {job.limit_ms}" + (" leaving" if leaving else "")
        case ProbeResource(resource):
            return f"probe {resource.identity} {job.limit_ms}"
        case _:
            raise AssertionError(job)


def claimed() -> Driven:
    driven = Driven()
    driven.group.claim(3, failback=True, pinned=False, reason="this is its home node")
    return driven


def starting() -> Driven:
    driven = claimed()
    driven.take(driven.group.begin())
    driven.advance()
    return driven


def started() -> Driven:
    driven = starting()
    for _ in range(3):
        driven.ends()
    driven.new()
    return driven


def test_members_start_left_to_right_the_next_only_when_the_last_has_ended() -> None:
    driven = starting()
    assert driven.new() == ["start 10.0.0.1 1000"]
    driven.advance()
    assert driven.new() == []
    driven.ends()
    assert driven.new() == ["start web.service 1000"]
    driven.ends()
    assert driven.new() == ["start db.service 1000"]
    assert driven.facts == []
    assert not driven.group.runs
    driven.ends()
    assert driven.new() == []
    assert driven.facts == [GroupStarted()]
    assert driven.group.posture is Posture.RUNNING
    assert driven.group.runs


def test_a_claim_alone_starts_nothing() -> None:
    driven = claimed()
    driven.advance()
    assert driven.asked == []
    assert (driven.group.claims, driven.group.may_run) == (True, False)
    assert driven.group.held is None


def test_nothing_more_is_started_while_somebody_else_may_hold_the_group() -> None:
    driven = starting()
    driven.new()
    job = driven.job
    assert job is not None
    driven.take(*(driven.group.ended(0, job.job, OK) or ([], [])))
    driven.advance(clear=False)
    assert driven.new() == []
    driven.advance(clear=True)
    assert driven.new() == ["start web.service 1000"]


def test_members_stop_right_to_left() -> None:
    driven = started()
    driven.take(driven.group.release("handed over"))
    driven.advance()
    for expected in (["stop db.service 2000"], ["stop web.service 2000"]):
        assert driven.new() == expected
        driven.ends()
    assert driven.new() == ["stop 10.0.0.1 2000"]
    assert driven.group.posture is Posture.STOPPING
    driven.ends()
    assert driven.facts[-1] == GroupReleased()
    assert driven.group.phase is Phase.IDLE
    assert not driven.group.claims


def test_while_the_daemon_leaves_its_stops_say_so() -> None:
    driven = started()
    driven.take(driven.group.release("hbd is being stopped", leaving=True))
    driven.advance()
    assert driven.new() == ["stop db.service 2000 leaving"]


@pytest.mark.parametrize("outcome", [FAILED, UNKNOWN])
def test_after_a_failed_start_everything_is_stopped_even_what_failed(outcome: Outcome) -> None:
    driven = starting()
    driven.ends()
    driven.new()
    driven.ends(outcome)
    assert driven.new() == ["stop web.service 2000"]
    driven.ends()
    assert driven.new() == ["stop 10.0.0.1 2000"]
    driven.ends()
    assert driven.group.unable
    assert any(isinstance(fact, StartFailed) for fact in driven.facts)
    assert driven.facts[-1] == GroupReleased()
    assert "Giving up resources due to failure of web" in driven.logged


def test_a_release_in_the_middle_of_a_start_waits_no_longer_for_it_and_stops_what_was_being_started() -> None:
    driven = starting()
    driven.ends()
    driven.new()
    driven.take(driven.group.release("hbd is being stopped"))
    driven.advance()
    assert driven.new() == ["abandon", "stop web.service 2000"]


def test_the_end_of_a_start_that_nobody_waits_for_changes_nothing() -> None:
    driven = starting()
    job = driven.job
    assert job is not None
    driven.take(driven.group.release("hbd is being stopped"))
    driven.advance()
    assert driven.group.ended(0, job.job, FAILED) is None
    assert not driven.group.unable
    driven.ends()
    assert driven.facts[-1] == GroupReleased()


def test_a_release_of_a_claim_is_no_release_of_resources() -> None:
    driven = claimed()
    assert driven.group.release("not wanted") == []
    assert driven.group.phase is Phase.IDLE


def test_a_failed_stop_is_tried_ten_times_more_a_second_apart() -> None:
    driven = started()
    driven.take(driven.group.release("handed over"))
    driven.advance()
    for _ in range(10):
        driven.new()
        driven.ends(FAILED)
        assert driven.new() == []
        assert driven.group.deadline_ms(driven.now_ms) == driven.now_ms + 1000
        driven.now_ms += 999
        driven.advance()
        assert driven.new() == []
        driven.now_ms += 1
        driven.advance()
        assert driven.new() == ["stop db.service 2000"]
    driven.ends(FAILED)
    assert driven.group.phase is Phase.BLOCKED
    assert driven.group.posture is Posture.BLOCKED
    assert driven.group.claims


def test_the_retries_of_one_member_do_not_count_for_the_next() -> None:
    driven = started()
    driven.take(driven.group.release("handed over"))
    driven.advance()
    for _ in range(10):
        driven.ends(FAILED)
        driven.now_ms += 1000
        driven.advance()
    driven.ends()
    driven.ends(FAILED)
    assert driven.group.phase is Phase.STOPPING


def blocked() -> Driven:
    driven = started()
    driven.take(driven.group.release("handed over"))
    driven.advance()
    driven.ends(UNKNOWN)
    driven.new()
    assert driven.group.phase is Phase.BLOCKED
    return driven


def test_a_stop_without_an_answer_blocks_at_once() -> None:
    driven = blocked()
    assert driven.group.held is not None
    assert "it stays claimed here until it is seen stopped" in driven.logged[-1]


def test_a_blocked_group_is_probed_every_five_seconds_and_stays_so_while_it_is_not_seen_stopped() -> None:
    driven = blocked()
    for condition in (Condition.RUNNING, Condition.BUSY, Condition.UNKNOWN):
        driven.now_ms += 4999
        driven.advance()
        assert driven.new() == []
        driven.now_ms += 1
        driven.advance()
        assert driven.new() == ["probe db.service 300"]
        driven.ends(Outcome(Result.OK, condition=condition))
        assert driven.group.phase is Phase.BLOCKED


def test_a_blocked_group_that_is_seen_stopped_is_released_to_its_end() -> None:
    driven = blocked()
    driven.now_ms += 5000
    driven.advance()
    driven.new()
    driven.ends(Outcome(Result.OK, condition=Condition.STOPPED))
    assert driven.new() == ["stop web.service 2000"]
    driven.ends()
    driven.ends()
    assert driven.facts[-1] == GroupReleased()


def test_a_probe_without_an_answer_is_never_read_as_stopped() -> None:
    driven = blocked()
    driven.now_ms += 5000
    driven.advance()
    driven.ends(UNKNOWN)
    assert driven.group.phase is Phase.BLOCKED


def test_an_end_of_a_job_of_somebody_else_is_none_of_its_business() -> None:
    driven = starting()
    assert driven.group.ended(0, JobId(99), OK) is None


# ---------------------------------------------------------------- after a crash

HELD = HeldGroup(SPEC.key, Direction.STARTED, 7, True, SPEC.resources)


def found(*conditions: Condition) -> Driven:
    driven = Driven()
    for position, condition in enumerate(conditions):
        driven.group.found(position, condition)
    return driven


RUNNING, STOPPED, BUSY = Condition.RUNNING, Condition.STOPPED, Condition.BUSY


def test_what_runs_whole_is_adopted_provisionally_and_confirmed_without_any_job() -> None:
    driven = found(RUNNING, RUNNING, RUNNING)
    driven.group.adopt(HELD, muted=False)
    driven.advance()
    assert (driven.group.posture, driven.group.provisional, driven.group.epoch) == (Posture.RUNNING, True, 7)
    driven.group.confirm()
    driven.advance()
    assert [job for job in driven.new() if job.startswith("start")] == []
    assert driven.group.runs


def test_what_runs_in_part_is_completed_only_after_the_confirmation() -> None:
    driven = found(RUNNING, BUSY, STOPPED)
    driven.group.adopt(HELD, muted=False)
    driven.advance()
    assert driven.new() == []
    driven.group.confirm()
    driven.advance()
    assert driven.new() == ["start web.service 1000"]


def test_what_was_being_stopped_is_stopped_further() -> None:
    driven = found(RUNNING, RUNNING, STOPPED)
    driven.group.adopt(HeldGroup(SPEC.key, Direction.STOPPING, 7, True, SPEC.resources), muted=False)
    driven.advance()
    assert driven.new() == ["stop web.service 2000"]


def test_strays_are_told_and_not_claimed() -> None:
    driven = found(RUNNING, STOPPED, RUNNING)
    assert [member.spec for member in driven.group.strays()] == [ADDRESS, DB]
    assert not driven.group.claims
    assert driven.group.strays() == []


# ---------------------------------------------------------------- addresses off, and back


def test_muted_addresses_come_back_with_the_confirmation_and_nothing_else_is_touched() -> None:
    driven = started()
    driven.group.mute(0)
    assert (driven.group.runs, driven.group.provisional, driven.group.claims) == (False, True, True)
    driven.group.dropping = JobId(50)
    driven.advance()
    assert driven.new() == []
    assert driven.group.ended(0, JobId(50), OK) is not None
    assert driven.group.addresses_up == ()
    driven.advance()
    assert driven.new() == []
    driven.group.confirm()
    driven.advance()
    assert driven.new() == ["start 10.0.0.1 1000"]
    driven.ends()
    assert driven.group.runs


def test_an_address_that_could_not_be_dropped_counts_as_up() -> None:
    driven = started()
    driven.group.mute(0)
    driven.group.dropping = JobId(50)
    driven.group.ended(0, JobId(50), UNKNOWN)
    assert driven.group.addresses_up == (ADDRESS,)


def test_an_address_that_is_just_coming_up_is_abandoned_and_counts_as_up() -> None:
    driven = starting()
    driven.new()
    driven.group.mute(0)
    driven.take(driven.group.abandon_start(addresses_only=True))
    assert driven.new() == ["abandon"]
    assert driven.group.addresses_up == (ADDRESS,)


def test_a_unit_that_is_just_starting_is_not_abandoned() -> None:
    driven = starting()
    driven.ends()
    assert driven.group.abandon_start(addresses_only=True) == []


def test_a_claim_without_anything_running_cannot_be_muted() -> None:
    driven = claimed()
    driven.group.mute(0)
    assert not driven.group.muted


# ---------------------------------------------------------------- lost members


def test_a_lost_address_is_started_again_alone() -> None:
    driven = started()
    assert driven.group.vanished(ADDRESS)
    assert driven.group.at_rest
    driven.advance(clear=False)
    assert driven.new() == []
    driven.advance()
    assert driven.new() == ["start 10.0.0.1 1000"]
    assert driven.group.posture is Posture.RUNNING, "to the peer nothing has changed"
    driven.ends()
    assert driven.group.runs
    assert driven.facts == [GroupStarted()], "once, at the beginning"


def test_what_was_lost_and_does_not_start_again_leaves_the_rest_running() -> None:
    driven = started()
    assert driven.group.vanished(WEB, why="web has ended here")
    driven.advance()
    assert driven.job is not None
    driven.take(*(driven.group.ended(0, driven.job.job, FAILED) or ([], [])))
    assert driven.facts[-1] == PutBackFailed(WEB)
    driven.group.put_off(WEB, 10_000)
    driven.advance()
    assert driven.new() == ["start web.service 1000"], "the first try, and not one more yet"
    assert (driven.group.is_ailing, driven.group.deadline_ms(0)) == (True, 10_000)
    driven.now_ms = 10_000
    driven.advance()
    driven.ends()
    assert (driven.group.is_ailing, driven.group.runs) == (False, True)


def test_a_lost_address_that_does_not_come_back_is_given_up_where_another_node_can_serve_it() -> None:
    driven = started()
    assert driven.group.vanished(ADDRESS)
    driven.take(*driven.group.advance(0, clear=True, back=True, yields=True))
    driven.ends(FAILED)
    assert driven.group.unable
    assert driven.new() == ["start 10.0.0.1 1000", "stop db.service 2000"]


def test_what_was_lost_is_stopped_too_when_the_group_is_released() -> None:
    driven = started()
    assert driven.group.vanished(DB, due_ms=5000)
    driven.take(driven.group.release("handed over"))
    driven.advance()
    assert driven.new() == ["stop db.service 2000"]


def test_what_is_not_started_cannot_be_lost() -> None:
    driven = claimed()
    assert not driven.group.vanished(ADDRESS)
    driven = started()
    driven.take(driven.group.release("handed over"))
    assert not driven.group.vanished(ADDRESS)


# ---------------------------------------------------------------- another configuration


def test_a_reload_stops_what_is_gone_and_starts_what_is_new_and_nothing_else() -> None:
    driven = started()
    driven.group.reconfigure(GroupSpec(ADDRESS.name, "alpha", (ADDRESS, DB, MAIL)), LIMITS)
    driven.advance()
    assert driven.new() == ["stop web.service 2000"]
    driven.ends()
    assert driven.new() == ["start mail.service 1000"]
    driven.ends()
    assert driven.group.runs


def test_the_same_resource_spelt_differently_is_the_same() -> None:
    driven = started()
    spelt = AddressResource("IPaddr2::10.0.0.1", "10.0.0.1")
    driven.group.reconfigure(GroupSpec(spelt.name, "alpha", (spelt, WEB, DB)), LIMITS)
    driven.advance()
    assert driven.new() == []
    assert driven.group.runs


def test_what_a_reload_removed_is_on_record_until_it_is_stopped() -> None:
    driven = started()
    driven.group.reconfigure(GroupSpec(ADDRESS.name, "alpha", (ADDRESS, DB)), LIMITS)
    held = driven.group.held
    assert held is not None
    assert WEB in held.resources
    driven.advance()
    driven.ends()
    held = driven.group.held
    assert held is not None
    assert WEB not in held.resources


def test_the_record_tells_what_was_being_done() -> None:
    driven = claimed()
    assert driven.group.held is None
    driven = starting()
    assert driven.group.held is not None
    assert driven.group.held.direction is Direction.STARTING
    driven = started()
    assert driven.group.held == HeldGroup("10.0.0.1", Direction.STARTED, 3, True, SPEC.resources)
    driven.take(driven.group.release("handed over"))
    assert driven.group.held is not None
    assert driven.group.held.direction is Direction.STOPPING


def test_a_script_is_logged_as_3_0_6_calls_it() -> None:
    disk = ScriptResource("datadisk::drbd0", "/etc/ha.d/resource.d/datadisk", ("drbd0",))
    driven = Driven(GroupSpec(disk.name, "alpha", (disk,)))
    driven.group.claim(1, failback=True, pinned=False, reason="this is its home node")
    driven.take(driven.group.begin())
    driven.advance()
    driven.ends()
    driven.take(driven.group.release("an operator wants it elsewhere"))
    driven.advance()
    assert driven.new() == ["start datadisk::drbd0 1000", "stop datadisk::drbd0 2000"]
    assert driven.logged == [
        "Acquiring resource group: alpha datadisk::drbd0",
        "Running /etc/ha.d/resource.d/datadisk drbd0 start",
        "Releasing resource group: alpha datadisk::drbd0",
        "Running /etc/ha.d/resource.d/datadisk drbd0 stop",
    ]
