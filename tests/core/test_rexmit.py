"""What we keep of what we sent, and how requests for it are answered."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hbd.core.message import Message
from hbd.core.rexmit import (
    KEPT_MESSAGES,
    MAX_PER_REQUEST,
    AboveMax,
    CorruptedAck,
    History,
    Nak,
    Resend,
)


def message(seq: int) -> Message:
    return Message.of(("t", "status"), ("seq", f"{seq:x}"))


def history(sent: int, max_rexmit_delay_ms: int = 250) -> History:
    made = History(max_rexmit_delay_ms)
    for seq in range(1, sent + 1):
        made.record(seq, message(seq))
    return made


def test_a_requested_message_is_sent_again_as_it_was() -> None:
    assert history(10).request(3, 3, 0, 0) == [Resend(3, message(3))]


def test_a_range_is_sent_again_in_order() -> None:
    assert history(10).request(3, 5, 0, 0) == [Resend(seq, message(seq)) for seq in (3, 4, 5)]


def test_what_the_requester_has_acknowledged_is_skipped() -> None:
    assert history(10).request(3, 5, 4, 0) == [Resend(5, message(5))]
    assert history(10).request(3, 5, 5, 0) == []
    assert history(10).request(3, 5, 9, 0) == []


def test_the_same_number_is_sent_again_only_after_max_rexmit_delay_less_10_ms() -> None:
    sent = history(10)
    assert sent.request(3, 3, 0, 1000) != []
    assert sent.request(3, 3, 0, 1000) == []
    assert sent.request(3, 3, 0, 1239) == []
    assert sent.request(3, 3, 0, 1240) != []
    assert sent.request(3, 3, 0, 1479) == []


def test_other_numbers_do_not_wait_for_one_that_was_sent_again() -> None:
    sent = history(10)
    sent.request(3, 3, 0, 1000)
    assert sent.request(2, 4, 0, 1001) == [Resend(2, message(2)), Resend(4, message(4))]


def test_a_changed_max_rexmit_delay_counts_at_once() -> None:
    sent = history(10)
    sent.request(3, 3, 0, 0)
    sent.max_rexmit_delay_ms = 50
    assert sent.request(3, 3, 0, 40) != []


def test_the_last_500_messages_are_kept() -> None:
    sent = history(KEPT_MESSAGES)
    assert (sent.lowest, sent.highest, len(sent)) == (1, 500, 500)
    assert sent.request(1, 1, 0, 0) == [Resend(1, message(1))]
    sent.record(501, message(501))
    assert (sent.lowest, sent.highest, len(sent)) == (2, 501, 500)
    assert sent.request(1, 2, 0, 0) == [Nak(1, "seqno too low"), Resend(2, message(2))]


def test_at_most_50_messages_go_out_for_one_request() -> None:
    sent = history(200)
    answers = sent.request(1, 200, 0, 0)
    assert answers == [Resend(seq, message(seq)) for seq in range(1, MAX_PER_REQUEST + 1)]
    # The rest follows when it is asked for again.
    assert sent.request(1, 200, 0, 1)[0] == Resend(51, message(51))


def test_at_most_50_refusals_go_out_for_one_request() -> None:
    assert history(2000).request(1, 2000, 0, 0) == [Nak(seq, "seqno too low") for seq in range(1, 51)]


def test_a_number_that_was_never_sent_is_a_fact_once_per_request() -> None:
    sent = history(10)
    assert sent.request(11, 11, 0, 0) == [AboveMax(11, 10)]
    assert sent.request(40, 90, 0, 0) == [AboveMax(40, 10)]
    assert sent.request(9, 14, 0, 0) == [
        Resend(9, message(9)),
        Resend(10, message(10)),
        AboveMax(11, 10),
    ]


def test_before_anything_was_sent_every_number_is_above_the_highest() -> None:
    sent = History()
    assert sent.highest == 0
    assert sent.request(1, 3, 0, 0) == [AboveMax(1, 0)]


def test_a_range_that_ends_before_it_begins_is_empty() -> None:
    assert history(10).request(5, 3, 0, 0) == []
    assert history(10).request(50, 30, 0, 0) == []


def test_numbers_below_one_are_not_answered() -> None:
    assert history(3).request(0, 1, 0, 0) == [Resend(1, message(1))]
    assert history(3).request(0, 0, 0, 0) == []


def test_numbers_are_recorded_one_by_one() -> None:
    sent = history(3)
    for seq in (0, 3, 5):
        with pytest.raises(AssertionError):
            sent.record(seq, message(seq))


@given(st.integers(0, 1200), st.integers(0, 2**32), st.integers(0, 2**32), st.integers(0, 1200))
def test_however_wrong_a_request_is_its_answer_is_small(sent: int, first: int, last: int, acked: int) -> None:
    answers = history(sent).request(first, last, acked, 0)
    assert len(answers) <= MAX_PER_REQUEST
    assert all(
        max(first, acked + 1) <= answer.seq <= last for answer in answers if not isinstance(answer, AboveMax)
    )
    numbers = [answer.seq for answer in answers]
    assert numbers == sorted(set(numbers))


# ---------------------------------------------------------------- acknowledgements


def test_the_highest_acknowledgement_of_each_node_is_kept() -> None:
    sent = history(30)
    assert sent.acked_by("beta") == 0
    assert sent.acked("beta", 10) is None
    assert sent.acked("gamma", 20) is None
    assert (sent.acked_by("beta"), sent.acked_by("gamma")) == (10, 20)


def test_an_old_or_repeated_acknowledgement_changes_nothing() -> None:
    sent = history(30)
    sent.acked("beta", 20)
    assert sent.acked("beta", 20) is None
    assert sent.acked("beta", 10) is None
    assert sent.acked_by("beta") == 20


def test_an_acknowledgement_above_the_highest_is_corrupted_and_ignored() -> None:
    sent = history(30)
    assert sent.acked("beta", 30) is None
    assert sent.acked("beta", 31) == CorruptedAck("beta", 31, 30)
    assert sent.acked_by("beta") == 30


def test_what_a_restarted_node_acknowledged_before_counts_no_more() -> None:
    sent = history(30)
    sent.acked("beta", 20)
    sent.forget("beta")
    sent.forget("never heard of")
    assert sent.acked_by("beta") == 0


def test_the_slowest_node_decides_what_is_unacknowledged() -> None:
    sent = history(30)
    sent.acked("beta", 20)
    sent.acked("gamma", 28)
    assert sent.unacknowledged(["beta", "gamma"]) == 10
    assert sent.unacknowledged(["gamma"]) == 2
    assert sent.unacknowledged(["gamma", "silent"]) == 30
    assert sent.unacknowledged([]) == 0
