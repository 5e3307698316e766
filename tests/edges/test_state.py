"""What survives: files, read by other programs and by the next start."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from hbd.config.model import AddressResource, ScriptResource, UnitResource
from hbd.core.effects import (
    FreezeRecord,
    Kind,
    Log,
    PeerRecord,
    StoreFreeze,
    StoreGeneration,
    StoreHeld,
    StorePeers,
)
from hbd.core.events import Direction, HeldGroup, Promise, Role
from hbd.heldtext import decode_held, encode_held
from hbd.stale import held_addresses
from hbd.state import RunDir, StateDir, Store

WALL_S = 1_800_000_000
GROUP = HeldGroup(
    "192.0.2.3",
    Direction.STARTED,
    7,
    False,
    (
        AddressResource("192.0.2.3/24/eth0", "192.0.2.3", 24, "eth0", "eth0:0"),
        UnitResource('a"ip":"9', "httpd.service"),
        AddressResource("2001:db8::3", "2001:db8::3"),
        ScriptResource('disk::a::"ip":"8', "/etc/ha.d/resource.d/disk", ("a", '"ip":"8')),
    ),
    Role.TAKER, 1_700_000_000, overruled=True, given=("httpd.service",),
)  # fmt: skip
PEER = PeerRecord("linuxha2", bytes(range(16)), 1_700_000_000)


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """The state directory of a machine where heartbeat 3.0.6 never was."""
    return tmp_path / "lib" / "hbd"


def texts(notes: tuple[Log, ...]) -> list[str]:
    return [f"{note.level.value}: {note.text}" for note in notes]


def test_the_first_start_ever_counts_from_the_time_of_day_and_says_so(home: Path) -> None:
    first = StateDir(home).begin("alpha", "file", "file", WALL_S)
    assert first.generation == WALL_S + 1
    assert texts(first.notes) == [
        f"WARN: No Previous generation - starting at {WALL_S + 1}",
        "info: No uuid found for current node - generating a new uuid.",
    ]
    assert (home / "generation").read_text() == f"{WALL_S + 1}\n"
    assert not (home.parent / "heartbeat").exists()


def test_each_start_is_one_generation_later_under_the_same_uuid(home: Path) -> None:
    first = StateDir(home).begin("alpha", "file", "file", WALL_S)
    second = StateDir(home).begin("alpha", "file", "file", WALL_S + 5000)
    assert second.generation == first.generation + 1
    assert second.uuid == first.uuid
    assert len(second.uuid) == 16
    assert texts(second.notes) == []


def test_generation_and_uuid_of_heartbeat_are_taken_over_and_its_file_kept_up(home: Path) -> None:
    legacy = home.parent / "heartbeat"
    legacy.mkdir(parents=True)
    (legacy / "hb_generation").write_text(f"{1_790_000_000:>15}\n")
    (legacy / "hb_uuid").write_bytes(bytes(range(16)))
    ours = StateDir(home).begin("alpha", "file", "file", WALL_S)
    assert ours.generation == 1_790_000_001
    assert ours.uuid == bytes(range(16))
    assert (legacy / "hb_generation").read_bytes() == b"     1790000001\n"
    assert (home / "uuid").read_bytes() == bytes(range(16))


def test_the_higher_of_the_two_generations_counts(home: Path) -> None:
    legacy = home.parent / "heartbeat"
    legacy.mkdir(parents=True)
    home.mkdir()
    (legacy / "hb_generation").write_text("             50\n")
    (home / "generation").write_text("40\n")
    assert StateDir(home).begin("alpha", "file", "file", WALL_S).generation == 51
    (home / "generation").write_text("90\n")
    assert StateDir(home).begin("alpha", "file", "file", WALL_S).generation == 91


@pytest.mark.parametrize("garbage", [b"", b"\0\0\0", b"twelve\n", b"-4\n", b"9" * 40])
def test_an_unreadable_generation_never_sets_us_back(home: Path, garbage: bytes) -> None:
    home.mkdir(parents=True)
    (home / "generation").write_bytes(garbage)
    begun = StateDir(home).begin("alpha", "file", "file", WALL_S)
    assert begun.generation == WALL_S + 1
    assert any("generation is unreadable" in text for text in texts(begun.notes))


def test_with_hbgenmethod_time_the_generation_is_the_time_unless_that_were_a_step_back(home: Path) -> None:
    state = StateDir(home)
    state.begin("alpha", "time", "file", WALL_S)
    assert state.begin("alpha", "time", "file", WALL_S + 900).generation == WALL_S + 900
    assert state.begin("alpha", "time", "file", WALL_S - 900).generation == WALL_S + 901


def test_a_uuid_from_the_node_name_is_the_same_on_every_start_and_differs_by_name(home: Path) -> None:
    state = StateDir(home)
    alpha = state.begin("alpha", "file", "nodename", WALL_S).uuid
    assert alpha == state.begin("alpha", "file", "nodename", WALL_S).uuid
    assert alpha != state.begin("beta", "file", "nodename", WALL_S).uuid


def test_peers_are_remembered_and_a_damaged_line_is_a_peer_not_known(home: Path) -> None:
    state = StateDir(home)
    state.begin("alpha", "file", "file", WALL_S)
    state.store_peers((PEER,))
    with (home / "hostcache").open("ab") as file:
        file.write(b"beta\tzz\t1\n\xff\xff\nshort\tab\t2\n")
    assert state.begin("alpha", "file", "file", WALL_S).peers == (PEER,)


def test_what_is_held_reads_back_as_it_was(tmp_path: Path) -> None:
    run = RunDir(tmp_path)
    assert run.held() == ()
    run.store_held((GROUP,))
    assert run.held() == (GROUP,)
    assert held_addresses(str(tmp_path)) == ["192.0.2.3", "2001:db8::3"]


@pytest.mark.parametrize(
    "text",
    [b"{", b"[]", b'{"groups":[{}]}', b'{"groups":[1]}', encode_held((GROUP,)).replace(b"started", b"x")],
)
def test_a_record_that_is_not_ours_is_a_value_error(text: bytes) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 — json's own error is one, too
        decode_held(text)


def test_the_next_daemon_knows_how_long_nobody_was_there(tmp_path: Path) -> None:
    first = RunDir(tmp_path)
    assert first.is_overdue(5_000)
    first.be_patient(700)
    first.stamp(5_000)
    assert not RunDir(tmp_path).is_overdue(5_700)
    assert RunDir(tmp_path).is_overdue(5_701)
    stamp = (5_000).to_bytes(8, "little") + (700).to_bytes(8, "little")
    assert (tmp_path / "alive").read_bytes()[:16] == stamp


def test_the_next_daemon_knows_what_the_peer_goes_by(tmp_path: Path) -> None:
    assert RunDir(tmp_path).promise == Promise()
    RunDir(tmp_path).keep_promise(Promise(2000, 200))
    RunDir(tmp_path).stamp(5_000)
    assert RunDir(tmp_path).promise == Promise(2000, 200)


def test_a_stamp_from_another_boot_is_no_life_sign(tmp_path: Path) -> None:
    run = RunDir(tmp_path)
    run.be_patient(60_000)
    run.stamp(5_000)
    assert RunDir(tmp_path).is_overdue(4_000)


def test_held_is_in_place_at_once_and_the_disk_follows_in_order(home: Path, tmp_path: Path) -> None:
    state, run = StateDir(home), RunDir(tmp_path / "run")
    state.begin("alpha", "file", "file", WALL_S)
    said: list[Log] = []
    store = Store(state, run, said.append)
    store.store(StoreHeld((GROUP,)))
    assert run.held() == (GROUP,)
    for generation in range(WALL_S + 2, WALL_S + 30):
        store.store(StoreGeneration(generation))
    store.store(StorePeers((PEER,)))
    store.close()
    assert (home / "generation").read_text() == f"{WALL_S + 29}\n"
    assert (home / "hostcache").read_text() == f"linuxha2\t{PEER.uuid.hex()}\t1700000000\n"
    assert said == []
    assert list(home.glob("*.new")) == []


def test_a_freeze_outlives_a_reboot_and_what_was_agreed_on_does_not(home: Path, tmp_path: Path) -> None:
    state, run = StateDir(home), RunDir(tmp_path / "run")
    assert state.begin("alpha", "file", "file", WALL_S).freeze == FreezeRecord()
    store = Store(state, run, lambda log: None)
    store.store(StoreFreeze(FreezeRecord(7, True, ("beta",))))
    assert run.is_frozen
    run.stamp(5_000)
    assert not RunDir(tmp_path / "run").is_overdue(5_000_000)
    store.close()
    assert (home / "freeze").read_text() == "7 beta\n"
    assert state.begin("alpha", "file", "file", WALL_S).freeze == FreezeRecord(7, False, ("beta",))
    assert not RunDir(tmp_path / "next boot").is_frozen


def test_a_thaw_counts_for_the_next_daemon_before_the_disk_has_it(home: Path, tmp_path: Path) -> None:
    state, run = StateDir(home), RunDir(tmp_path / "run")
    state.begin("alpha", "file", "file", WALL_S)
    store = Store(state, run, lambda log: None)
    for record in (FreezeRecord(7, True), FreezeRecord(8)):
        store.store(StoreFreeze(record))
    assert not run.is_frozen
    store.close()
    assert (home / "freeze").read_text() == "8\n"


@pytest.mark.parametrize(
    ("on_disk", "mark"), [(FreezeRecord(7), 7), (FreezeRecord(6, sealed=("beta",)), 7), (FreezeRecord(), 1)]
)
def test_who_was_frozen_in_this_boot_still_is_whatever_the_disk_has_of_it(
    tmp_path: Path, on_disk: FreezeRecord, mark: int
) -> None:
    run = RunDir(tmp_path / "run")
    assert run.freeze(on_disk) == on_disk
    run.store_frozen(True)
    assert run.freeze(on_disk) == FreezeRecord(mark, True, on_disk.sealed)


@pytest.mark.parametrize("content", [b"frozen\n", b"1000000001\n"])
def test_an_unreadable_record_of_a_freeze_is_none_and_is_said(home: Path, content: bytes) -> None:
    home.mkdir(parents=True)
    (home / "freeze").write_bytes(content)
    begun = StateDir(home).begin("alpha", "file", "file", WALL_S)
    assert begun.freeze == FreezeRecord()
    assert [note.text for note in begun.notes if note.kind is Kind.FREEZE] == [
        f"{home / 'freeze'} is unreadable: whether the cluster was frozen is not known"
    ]


def test_a_disk_that_refuses_is_said_and_does_not_end_the_service(home: Path, tmp_path: Path) -> None:
    state, run = StateDir(home), RunDir(tmp_path / "run")
    state.begin("alpha", "file", "file", WALL_S)
    said: list[Log] = []
    store = Store(state, run, said.append)
    (home / "generation.new").mkdir()
    (tmp_path / "run" / "held.new").mkdir()
    store.store(StoreGeneration(WALL_S + 9))
    store.store(StoreHeld(()))
    store.store(StorePeers((PEER,)))
    store.close()
    assert sorted(log.text.split(":")[0] for log in said) == ["Cannot store generation", "Cannot store held"]
    assert (home / "hostcache").exists()


def test_storing_what_is_held_takes_less_than_a_takeover_can_feel(tmp_path: Path) -> None:
    run = RunDir(Path("/dev/shm") / f"hbdtest-{os.getpid()}")
    try:
        took_s = []
        for _ in range(100):
            begun_s = time.perf_counter()
            run.store_held((GROUP,))
            took_s.append(time.perf_counter() - begun_s)
        assert min(took_s) < 0.002
    finally:
        subprocess.run(["rm", "-r", str(run.path)], check=True)


def test_the_writing_thread_is_not_of_real_time_priority(home: Path, tmp_path: Path) -> None:
    script = f"""
import os, pathlib, threading
from hbd.state import StateDir, RunDir, Store
os.sched_setscheduler(0, os.SCHED_RR | os.SCHED_RESET_ON_FORK, os.sched_param(1))
store = Store(StateDir(pathlib.Path({str(home)!r})), RunDir(pathlib.Path({str(tmp_path / "run")!r})), print)
policies = {{os.sched_getscheduler(int(t)) & ~os.SCHED_RESET_ON_FORK for t in os.listdir("/proc/self/task")
            if int(t) != threading.get_native_id()}}
assert policies == {{os.SCHED_OTHER}}, policies
assert os.sched_getscheduler(0) & ~os.SCHED_RESET_ON_FORK == os.SCHED_RR
"""
    subprocess.run([sys.executable, "-c", script], check=True)


