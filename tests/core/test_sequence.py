"""Generations, duplicates, gaps, requests and acknowledgements of one sender."""

import itertools
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hbd.core.sequence import (
    ACK_EVERY,
    MAX_MISSING,
    GapClosed,
    GapSeen,
    NewGeneration,
    Sequenced,
    SequenceTracker,
    TooManyLost,
    Verdict,
)

GEN = 100


def tracker(digit: int = 0, delay_ms: int = 250, known_generation: int = 0) -> SequenceTracker:
    """A tracker that acknowledges at numbers ending in `digit`."""
    seed = next(seed for seed in itertools.count() if Random(seed).randrange(ACK_EVERY) == digit)
    return SequenceTracker(Random(seed), delay_ms, known_generation)


def started(seq: int = 1, digit: int = 0, delay_ms: int = 250) -> SequenceTracker:
    """A tracker that has heard a status of generation GEN with this number at time 0."""
    made = tracker(digit, delay_ms)
    made.accept(0, GEN, seq, is_status=True)
    return made


def hear(sender: SequenceTracker, *seqs: int, now_ms: int = 0) -> list[Verdict]:
    return [sender.accept(now_ms, GEN, seq, is_status=False).verdict for seq in seqs]


# ---------------------------------------------------------------- generation


def test_the_first_status_ever_is_a_restart_from_generation_zero() -> None:
    heard = tracker().accept(0, GEN, 7, is_status=True)
    assert heard == Sequenced(Verdict.RESTART, (NewGeneration(0, GEN),), newest_status=True)
    assert heard.accepted


def test_a_lower_generation_is_a_replay_whatever_its_number_and_type() -> None:
    sender = started(5)
    for seq, is_status in itertools.product([1, 5, 6, 1000], [True, False]):
        heard = sender.accept(0, GEN - 1, seq, is_status=is_status)
        assert heard == Sequenced(Verdict.REPLAY)
        assert not heard.accepted
    assert sender.last_seq == 5
    assert sender.generation == GEN


def test_an_absent_generation_is_zero_and_so_a_replay_once_one_is_known() -> None:
    assert tracker().accept(0, 0, 1, is_status=True).verdict is Verdict.ACCEPT
    assert started().accept(0, 0, 2, is_status=True).verdict is Verdict.REPLAY


def test_a_status_of_a_higher_generation_is_a_restart_that_forgets_the_numbers() -> None:
    sender = started(500)
    hear(sender, 510)
    heard = sender.accept(0, GEN + 1, 1, is_status=True)
    assert heard == Sequenced(Verdict.RESTART, (NewGeneration(GEN, GEN + 1),), newest_status=True)
    assert sender.generation == GEN + 1
    assert sender.missing == ()
    assert sender.last_seq == 1
    assert sender.accept(0, GEN + 1, 2, is_status=False).verdict is Verdict.ACCEPT


def test_a_restart_is_seen_even_if_the_number_is_the_last_heard() -> None:
    assert started(5).accept(0, GEN + 1, 5, is_status=True).verdict is Verdict.RESTART


def test_other_messages_of_a_higher_generation_go_by_their_number_and_teach_no_generation() -> None:
    sender = started(5)
    assert sender.accept(0, GEN + 1, 3, is_status=False).verdict is Verdict.OLD_DUPLICATE
    assert sender.accept(0, GEN + 1, 6, is_status=False).verdict is Verdict.ACCEPT
    assert sender.generation == GEN


def test_a_generation_remembered_from_before_our_restart_refuses_a_replay() -> None:
    assert tracker(known_generation=GEN).accept(0, GEN - 1, 1, is_status=True).verdict is Verdict.REPLAY


def test_a_peer_that_lived_through_our_restart_is_taken_up_where_it_is() -> None:
    sender = tracker(known_generation=GEN)
    heard = sender.accept(0, GEN, 4711, is_status=True)
    assert heard == Sequenced(Verdict.ACCEPT, (), newest_status=True)
    assert sender.missing == ()


# ---------------------------------------------------------------- numbers


def test_numbers_in_order_are_accepted_without_facts() -> None:
    sender = started(1)
    for seq in range(2, 100):
        assert sender.accept(0, GEN, seq, is_status=False) == Sequenced(Verdict.ACCEPT)


def test_the_last_number_again_is_the_latest_duplicate() -> None:
    sender = started(1)
    assert hear(sender, 2, 2, 2) == [Verdict.ACCEPT, Verdict.DUPLICATE_LATEST, Verdict.DUPLICATE_LATEST]


def test_an_older_number_again_is_an_old_duplicate() -> None:
    sender = started(1)
    assert hear(sender, 2, 3, 2, 1) == [
        Verdict.ACCEPT,
        Verdict.ACCEPT,
        Verdict.OLD_DUPLICATE,
        Verdict.OLD_DUPLICATE,
    ]


def test_what_was_sent_before_the_first_heard_is_neither_missing_nor_accepted() -> None:
    sender = started(40)
    assert sender.missing == ()
    assert hear(sender, 39) == [Verdict.OLD_DUPLICATE]


def test_a_gap_is_a_fact_and_the_message_beyond_it_is_accepted_at_once() -> None:
    sender = started(10)
    heard = sender.accept(0, GEN, 14, is_status=False)
    assert heard == Sequenced(Verdict.ACCEPT, (GapSeen(11, 13),))
    assert GapSeen(11, 13).count == 3
    assert sender.missing == (11, 12, 13)


def test_missing_numbers_are_accepted_once_in_any_order_and_the_last_closes_the_gap() -> None:
    sender = started(10)
    hear(sender, 14)
    assert sender.accept(0, GEN, 13, is_status=False) == Sequenced(Verdict.ACCEPT)
    assert sender.accept(0, GEN, 13, is_status=False) == Sequenced(Verdict.OLD_DUPLICATE)
    assert sender.accept(0, GEN, 11, is_status=False) == Sequenced(Verdict.ACCEPT)
    assert sender.accept(0, GEN, 12, is_status=False) == Sequenced(Verdict.ACCEPT, (GapClosed(),))
    assert hear(sender, 15) == [Verdict.ACCEPT]


def test_a_second_gap_keeps_the_first_open() -> None:
    sender = started(1)
    hear(sender, 3, 5)
    assert sender.missing == (2, 4)
    assert sender.accept(0, GEN, 2, is_status=False).facts == ()
    assert sender.accept(0, GEN, 4, is_status=False).facts == (GapClosed(),)


def test_a_gap_of_250_is_tracked_and_one_of_251_starts_afresh() -> None:
    sender = started(1)
    assert sender.accept(0, GEN, 252, is_status=False).facts == (GapSeen(2, 251),)
    assert len(sender.missing) == MAX_MISSING
    sender = started(1)
    heard = sender.accept(0, GEN, 253, is_status=False)
    assert heard == Sequenced(Verdict.ACCEPT, (GapSeen(2, 252), TooManyLost()))
    assert sender.missing == ()
    assert hear(sender, 254, 252) == [Verdict.ACCEPT, Verdict.OLD_DUPLICATE]


def test_many_small_gaps_are_bounded_together() -> None:
    sender = started(1)
    facts = [fact for seq in range(3, 1503, 2) for fact in sender.accept(0, GEN, seq, is_status=False).facts]
    assert sum(isinstance(fact, TooManyLost) for fact in facts) == 2
    assert len(sender.missing) <= MAX_MISSING


# ---------------------------------------------------------------- the newest status


def test_the_newest_status_is_told_from_one_that_came_again_late() -> None:
    sender = started(1)
    assert sender.accept(0, GEN, 5, is_status=True).newest_status
    assert not sender.accept(0, GEN, 5, is_status=True).newest_status
    late = sender.accept(0, GEN, 3, is_status=True)
    assert late.verdict is Verdict.ACCEPT
    assert not late.newest_status
    assert sender.last_status_seq == 5


def test_a_late_status_is_the_newest_if_only_other_messages_overtook_it() -> None:
    sender = started(1)
    assert not sender.accept(0, GEN, 4, is_status=False).newest_status
    assert sender.accept(0, GEN, 3, is_status=True).newest_status
    assert not sender.accept(0, GEN, 2, is_status=True).newest_status


# ---------------------------------------------------------------- asking again


def test_nothing_missing_means_no_deadline() -> None:
    sender = started(1)
    assert sender.next_deadline_ms is None
    assert sender.due(10**9) == []


@pytest.mark.parametrize(
    ("delay_ms", "shortest_ms"), [(250, 50), (100, 50), (99, 0), (30, 0), (1000, 50), (0, 0)]
)
def test_the_first_request_waits_a_random_time_between_50_ms_and_max_rexmit_delay(
    delay_ms: int, shortest_ms: int
) -> None:
    waits_ms = set()
    for seed in range(300):
        sender = SequenceTracker(Random(seed), delay_ms)
        sender.accept(1000, GEN, 1, is_status=True)
        sender.accept(1000, GEN, 3, is_status=False)
        assert sender.next_deadline_ms is not None
        waits_ms.add(sender.next_deadline_ms - 1000)
    assert shortest_ms <= min(waits_ms)
    assert max(waits_ms) <= delay_ms
    # Spread over the whole range, not at one end of it.
    assert max(waits_ms) - min(waits_ms) >= 0.9 * (delay_ms - shortest_ms)


def test_each_missing_number_has_its_own_time_and_is_asked_for_every_max_rexmit_delay() -> None:
    sender = started(1)
    hear(sender, 6)
    asked: dict[int, list[int]] = {}
    for now_ms in range(2000):
        for seq in sender.due(now_ms):
            asked.setdefault(seq, []).append(now_ms)
    assert sorted(asked) == [2, 3, 4, 5]
    assert len({times[0] for times in asked.values()}) > 1
    for times in asked.values():
        assert 50 <= times[0] <= 250
        assert {later - earlier for earlier, later in itertools.pairwise(times)} == {250}


def test_due_is_in_order_and_empty_until_the_deadline() -> None:
    sender = started(1)
    hear(sender, 100)
    deadline_ms = sender.next_deadline_ms
    assert deadline_ms is not None
    assert sender.due(deadline_ms - 1) == []
    assert sender.due(deadline_ms) != []
    assert sender.due(10_000) == list(range(2, 100))
    assert sender.next_deadline_ms == 10_250


def test_without_any_delay_the_deadline_still_moves_on() -> None:
    sender = started(1, delay_ms=0)
    hear(sender, 3)
    assert sender.due(5) == [2]
    assert sender.next_deadline_ms == 6


def test_a_number_that_came_or_was_refused_is_not_asked_for() -> None:
    sender = started(1)
    hear(sender, 5, 3)
    assert sender.nak(2)
    assert not sender.nak(2)
    assert not sender.nak(77)
    assert sender.due(1000) == [4]
    assert sender.nak(4)
    assert sender.next_deadline_ms is None


def test_a_refused_number_that_comes_after_all_is_an_old_duplicate() -> None:
    sender = started(1)
    hear(sender, 3)
    sender.nak(2)
    assert hear(sender, 2) == [Verdict.OLD_DUPLICATE]


def test_a_dead_sender_is_not_asked_and_is_taken_up_in_its_order_when_it_returns() -> None:
    sender = started(1)
    hear(sender, 5)
    sender.forget_missing()
    assert sender.missing == ()
    assert sender.next_deadline_ms is None
    assert hear(sender, 3, 5, 6) == [Verdict.OLD_DUPLICATE, Verdict.DUPLICATE_LATEST, Verdict.ACCEPT]


def test_forgetting_before_anything_was_heard_changes_nothing() -> None:
    sender = tracker()
    sender.forget_missing()
    assert hear(sender, 9) == [Verdict.ACCEPT]


def test_a_changed_max_rexmit_delay_counts_from_the_next_request_on() -> None:
    sender = started(1)
    hear(sender, 3)
    sender.max_rexmit_delay_ms = 1000
    assert sender.due(250) == [2]
    assert sender.next_deadline_ms == 1250


def test_equal_seeds_give_equal_times() -> None:
    runs = []
    for _ in range(2):
        sender = SequenceTracker(Random(5))
        sender.accept(0, GEN, 1, is_status=True)
        sender.accept(0, GEN, 50, is_status=False)
        runs.append([sender.due(now_ms) for now_ms in range(600)])
    assert runs[0] == runs[1]


# ---------------------------------------------------------------- acknowledging


@pytest.mark.parametrize("digit", range(10))
def test_one_number_in_ten_is_acknowledged_in_order_by_the_sender_s_digit(digit: int) -> None:
    sender = started(1, digit)
    acks = [sender.ack_due()]
    for seq in range(2, 51):
        hear(sender, seq)
        acks.append(sender.ack_due())
        assert sender.ack_due() is None
    assert [ack for ack in acks if ack] == [n for n in range(1, 51) if n % 10 == digit]
    assert all(ack == seq for seq, ack in enumerate(acks, 1) if ack)


def test_the_digits_differ_between_nodes() -> None:
    digits = set()
    for seed in range(100):
        sender = SequenceTracker(Random(seed))
        acks = []
        for seq in range(1, 11):
            sender.accept(0, GEN, seq, is_status=True)
            acks.append(sender.ack_due())
        digits |= {ack % 10 for ack in acks if ack}
    assert digits == set(range(10))


def test_nothing_is_acknowledged_before_anything_is_heard() -> None:
    assert tracker().ack_due() is None


def test_what_was_sent_before_the_first_heard_is_not_acknowledged() -> None:
    sender = started(25, digit=3)
    assert sender.ack_due() is None
    hear(sender, *range(26, 33))
    assert sender.ack_due() is None
    hear(sender, 33)
    assert sender.ack_due() == 33


def test_nothing_from_the_first_missing_number_on_is_acknowledged() -> None:
    sender = started(1, digit=0)
    hear(sender, *range(2, 8), *range(9, 31))
    assert sender.ack_due() is None
    hear(sender, 8)
    assert sender.ack_due() == 30


def test_after_one_of_two_gaps_closes_the_highest_number_below_the_other_is_acknowledged() -> None:
    sender = started(1, digit=0)
    hear(sender, *range(2, 8), *range(9, 25), *range(26, 41))
    hear(sender, 8)
    assert sender.ack_due() == 20
    hear(sender, 25)
    assert sender.ack_due() == 40


def test_a_missing_number_is_not_acknowledged_although_it_has_the_digit() -> None:
    sender = started(1, digit=0)
    hear(sender, *range(2, 10), 11)
    assert sender.ack_due() is None
    hear(sender, 10)
    assert sender.ack_due() == 10


def test_a_refused_number_no_longer_holds_acknowledgements_back() -> None:
    sender = started(1, digit=0)
    hear(sender, *range(2, 8), *range(9, 12))
    sender.nak(8)
    assert sender.ack_due() == 10


def test_numbers_given_up_for_too_many_or_for_a_death_are_not_acknowledged_by_themselves() -> None:
    sender = started(1, digit=0)
    hear(sender, 305)
    assert sender.ack_due() is None
    hear(sender, *range(306, 311))
    assert sender.ack_due() == 310
    hear(sender, 325)
    sender.forget_missing()
    assert sender.ack_due() is None
    hear(sender, *range(326, 331))
    assert sender.ack_due() == 330


def test_acknowledging_begins_again_after_a_restart() -> None:
    sender = started(1, digit=0)
    hear(sender, *range(2, 31))
    assert sender.ack_due() == 30
    for seq in range(1, 11):
        sender.accept(0, GEN + 1, seq, is_status=True)
    assert sender.ack_due() == 10


# ---------------------------------------------------------------- any order whatever


@given(st.randoms(use_true_random=False), st.lists(st.integers(1, 60), min_size=1, max_size=120))
def test_in_any_order_each_number_is_accepted_at_most_once_and_acks_claim_only_what_came(
    rng: Random, seqs: list[int]
) -> None:
    sender = SequenceTracker(rng)
    accepted: list[int] = []
    acks: list[int] = []
    for now_ms, seq in enumerate(seqs):
        if sender.accept(now_ms, GEN, seq, is_status=seq == seqs[0]).accepted:
            accepted.append(seq)
        ack = sender.ack_due()
        if ack is not None:
            acks.append(ack)
            assert set(range(seqs[0], ack + 1)) <= set(accepted)
    assert len(accepted) == len(set(accepted))
    assert acks == sorted(set(acks))
    first, last = seqs[0], max(accepted)
    assert set(sender.missing) == set(range(first, last + 1)) - set(accepted)


@given(st.randoms(use_true_random=False), st.permutations(range(2, 40)))
def test_whatever_the_order_all_that_arrives_is_accepted_and_no_gap_remains(
    rng: Random, order: list[int]
) -> None:
    sender = SequenceTracker(rng)
    sender.accept(0, GEN, 1, is_status=True)
    results = [sender.accept(0, GEN, seq, is_status=False) for seq in order]
    assert all(result.verdict is Verdict.ACCEPT for result in results)
    assert sender.missing == ()
    opened = any(isinstance(fact, GapSeen) for result in results for fact in result.facts)
    closed = any(isinstance(fact, GapClosed) for result in results for fact in result.facts)
    assert opened == closed
