"""The order of two nodes' stories: by what each had heard of the other, then by their clocks."""

from typing import Any

from hbd.ctl import merge
from hbd.ctl.story import Story


def one(node: str, at_ms: int, seq: int, heard: int, **more: Any) -> Story:
    return (
        {
            "Node": node, "AtMs": at_ms, "Seq": seq, "Generation": 5, "HeardGeneration": 5, "HeardSeq": heard,
            "Boot": f"{node}'s", "WallTime": at_ms // 1000, **more,
        },
    )  # fmt: skip


def order(ours: list[Story], theirs: list[Story]) -> list[tuple[str, int]]:
    return [(head["Node"], head["AtMs"]) for head, *_ in merge.merged(ours, theirs)]


def test_one_that_knew_more_than_the_other_had_said_is_the_later_whatever_the_clocks_say() -> None:
    ours = [one("a", 1000, 10, 0), one("a", 2000, 30, 25)]
    # By what the answer shows of the clocks, all of it was long ago; or all of it comes last.
    for local in (-9_000_000, 9_000_000):
        theirs = [one("b", 7, 20, 20, LocalMs=local), one("b", 9, 30, 40, LocalMs=local + 2)]
        assert order(ours, theirs) == [("a", 1000), ("b", 7), ("a", 2000), ("b", 9)]


def test_what_the_messages_leave_open_is_ordered_by_time_since_boot() -> None:
    ours = [one("a", ms, 10, 10) for ms in (1000, 2000, 3000)]
    theirs = [one("b", 501_500, 10, 10, LocalMs=1500), one("b", 502_500, 10, 10, LocalMs=2500)]
    assert order(ours, theirs) == [("a", 1000), ("b", 501_500), ("a", 2000), ("b", 502_500), ("a", 3000)]


def test_the_clock_of_an_earlier_boot_is_estimated_by_what_was_heard() -> None:
    # Their clock was 500 s ahead: known from a record before and one after, for those between.
    ours = [one("a", 1000, 10, 0), one("a", 2000, 20, 9), one("a", 2600, 20, 9), one("a", 4000, 90, 80)]
    theirs = [one("b", 501_010, 5, 11), one("b", 502_300, 30, 15), one("b", 503_990, 70, 60)]
    shown = order(ours, theirs)
    assert shown.index(("b", 502_300)) == shown.index(("a", 2600)) - 1
    assert shown[-1] == ("a", 4000)


def test_each_nodes_own_order_is_kept_and_a_generation_counts_more_than_a_number() -> None:
    ours = [one("a", 100, 900, 0), one("a", 50, 1, 0, Generation=6, Boot="next")]
    theirs = [one("b", 10, 5, 950), one("b", 11, 5, 3, HeardGeneration=6)]
    assert order(ours, theirs) == [("a", 100), ("b", 10), ("a", 50), ("b", 11)]


def test_one_node_that_has_decided_nothing_leaves_the_others_alone() -> None:
    some = [one("b", 1, 1, 1), one("b", 2, 2, 2)]
    assert order([], some) == [("b", 1), ("b", 2)] == order(some, [])


def test_dates_are_those_of_this_nodes_clock_where_that_is_known() -> None:
    ours = one("a", 10_000, 1, 1, WallTime=5000)
    theirs = one("b", 700_000, 1, 1, WallTime=99, LocalMs=12_000)
    before = one("b", 700, 1, 1, WallTime=98)
    dated = merge.by_our_clock([before, ours, theirs], ours[0])
    assert [head["WallTime"] for head, *_ in dated] == [98, 5000, 5002]
