"""What is kept of the decisions, on a real disk: across lives, torn lines and long years."""

import asyncio
import resource
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from hbd import history
from hbd.core import recordtext
from hbd.core.effects import Log, Recall
from hbd.core.records import Decision, Evidence, Record, Step
from hbd.history import History

TAKE = Record(
    node="linuxha1", life=7, number=1, generation=12, seq=90, at_ms=50_000, wall_s=1_700_000_000,
    heard=(9, 77), decision=Decision.TAKE, group="192.168.85.3", peer="linuxha2", cause="linuxha2 is dead",
    action="claims it and starts it", evidence=(Evidence("last heartbeat", "linuxha2", "eth1", 2003),),
    steps=(Step(9, "192.168.85.3 start: done"),),
)  # fmt: skip
DONE = replace(TAKE, result="started", took_ms=80)


def wait_for(true: Callable[[], bool]) -> None:
    deadline_s = time.monotonic() + 10
    while not true():
        assert time.monotonic() < deadline_s
        time.sleep(0.01)


def run(directory: Path, work: Callable[[History], None], logs: list[Log] | None = None) -> list[Record]:
    """One life: what it begins with is known before `work`; what it knows at its end."""

    async def live() -> list[Record]:
        kept = History(directory, "boot", (logs if logs is not None else list[Log]()).append)
        await kept.loaded.wait()
        work(kept)
        kept.close()
        return kept.recent(0)

    return asyncio.run(live())


def test_records_outlast_the_daemon_with_everything_in_them(tmp_path: Path) -> None:
    run(tmp_path, lambda kept: kept.note(TAKE))
    run(tmp_path, lambda kept: kept.note(DONE))
    assert run(tmp_path, lambda kept: None) == [replace(DONE, boot="boot")]


def test_what_a_life_left_open_is_without_a_result_in_the_next(tmp_path: Path) -> None:
    run(tmp_path, lambda kept: kept.note(TAKE))
    (left,) = run(tmp_path, lambda kept: None)
    assert left.result == history.UNFINISHED


def test_a_torn_line_costs_itself_only(tmp_path: Path) -> None:
    run(tmp_path, lambda kept: kept.note(DONE))
    path = tmp_path / "records"
    whole = path.read_bytes()
    path.write_bytes(whole + whole[: len(whole) // 2])
    run(tmp_path, lambda kept: kept.note(replace(DONE, number=2)))
    assert [record.number for record in run(tmp_path, lambda kept: None)] == [1, 2]


@pytest.mark.parametrize("line", [b"", b"{}", b"[]", b"7", b"\xff", b'{"heard": 3}', b"{" * 100_000])
def test_what_is_no_record_is_passed_over(line: bytes, tmp_path: Path) -> None:
    good = recordtext.encode(replace(DONE, boot="b"))
    (tmp_path / "records").write_bytes(line + b"\n" + good)
    assert list(history.load(tmp_path)[0].values()) == [replace(DONE, boot="b")]


@pytest.mark.parametrize(
    "damaged",
    [
        replace(DONE, number=-1), replace(DONE, life=2**32), replace(DONE, at_ms=2**63),
        replace(DONE, heard=(2**32, 1)), replace(DONE, steps=(Step(-5, "x"),)),
        replace(DONE, evidence=(Evidence("x", ago_ms=2**70),)),
    ],
)  # fmt: skip
def test_numbers_that_no_bus_can_carry_are_not_taken_from_a_damaged_file(
    damaged: Record, tmp_path: Path
) -> None:
    good = replace(DONE, number=2, boot="b")
    (tmp_path / "records").write_bytes(recordtext.encode(damaged) + recordtext.encode(good))
    assert list(history.load(tmp_path)[0].values()) == [good]


def test_a_record_of_a_later_version_of_hbd_is_passed_over(tmp_path: Path) -> None:
    good = recordtext.encode(DONE)
    (tmp_path / "records").write_bytes(good.replace(b'"take"', b'"levitate"') + good)
    assert len(history.load(tmp_path)[0]) == 1


def test_files_and_memory_stay_bounded_and_the_newest_are_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(history, "LONGEST_FILE_BYTES", 20_000)
    monkeypatch.setattr(history, "MOST_RECORDS", 30)
    for life in range(20):

        def work(kept: History, life: int = life) -> None:
            for number in range(10):
                kept.note(replace(DONE, life=life, number=number))

        assert len(run(tmp_path, work)) <= 30
    assert sum(file.stat().st_size for file in tmp_path.iterdir()) < 60_000
    last = run(tmp_path, lambda kept: None)
    assert [(record.life, record.number) for record in last] == [
        (life, number) for life in (17, 18, 19) for number in range(10)
    ]


def test_the_other_node_is_told_the_newest_but_for_those_that_it_has(tmp_path: Path) -> None:
    def work(kept: History) -> None:
        for number in range(50):
            kept.note(replace(DONE, number=number))
        for skip, numbers in ((0, range(30, 50)), (20, range(10, 30)), (40, range(10)), (99, range(0))):
            found = kept.recall(Recall("linuxha2", "7.1", skip))
            assert [record.number for record in found.records] == list(numbers)
            assert (found.node, found.token, found.boot) == ("linuxha2", "7.1", "boot")

    run(tmp_path, work)


def test_what_could_not_be_written_is_said_once_and_written_when_it_can_be(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(history, "RETRY_S", 0.05)
    place = tmp_path / "history"
    place.write_text("a file where the directory should be")
    logs: list[Log] = []

    def work(kept: History) -> None:
        for number in range(5):
            kept.note(replace(DONE, number=number))
        wait_for(lambda: len(logs) == 1)
        time.sleep(0.2)  # Some more tries, which say nothing.
        place.unlink()
        wait_for(lambda: len(history.load(place)[0]) == 5)
        kept.note(replace(DONE, number=5))

    assert len(run(place, work, logs)) == 6
    (complaint,) = [log.text for log in logs]
    assert complaint == f"Decisions cannot be kept in {place}: File exists; trying again"
    assert [record.number for record in run(place, lambda kept: None)] == list(range(6))


def test_a_disk_that_takes_half_a_line_gets_the_whole_one_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(history, "RETRY_S", 0.05)
    logs: list[Log] = []
    many = range(40)
    limit = resource.getrlimit(resource.RLIMIT_FSIZE)

    def work(kept: History) -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (5000, limit[1]))
        try:
            for number in many:
                kept.note(replace(DONE, number=number))
            wait_for(lambda: bool(logs))
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limit)

    assert (tmp_path / "records").exists() is False
    run(tmp_path, work, logs)
    assert "File too large" in logs[0].text
    assert [record.number for record in run(tmp_path, lambda kept: None)] == list(many)


def test_what_the_disk_never_takes_stays_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(history, "MOST_RECORDS", 30)
    place = tmp_path / "history"
    place.write_text("a file where the directory should be")

    def work(kept: History) -> None:
        for number in range(100):
            kept.note(replace(DONE, number=number))
        time.sleep(0.1)
        place.unlink()

    run(place, work)
    assert [record.number for record in run(place, lambda kept: None)] == list(range(70, 100))


def test_what_cannot_be_read_at_the_start_is_said_once(tmp_path: Path) -> None:
    run(tmp_path, lambda kept: kept.note(DONE))
    path = tmp_path / "records"
    path.write_bytes(b"rubbish\n\n" + path.read_bytes() + b"{}\n")
    (tmp_path / "records.1").mkdir()
    logs: list[Log] = []
    assert len(run(tmp_path, lambda kept: None, logs)) == 1
    assert [log.text for log in logs] == [
        f"Earlier decisions in {tmp_path}/records.1 are not known: Is a directory",
        f"2 line(s) of {path} are no record of a decision and are passed over",
    ]


def test_each_new_version_is_shown_to_whoever_asked_for_it(tmp_path: Path) -> None:
    shown: list[Record] = []

    def work(kept: History) -> None:
        kept.subscribe(shown.append)
        kept.note(TAKE)
        kept.note(DONE)

    run(tmp_path, work)
    assert [record.result for record in shown] == ["", "started"]
