"""Who may start the managed units: the marks, and the assertions that the generator makes of the list."""

import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from hbd.config.model import AddressResource, UnitResource
from hbd.core.effects import FreezeRecord, Log, StoreFreeze, StoreHeld
from hbd.core.events import Direction, HeldGroup
from hbd.starts import Starts, lift
from hbd.state import RunDir, StateDir, Store

GENERATOR = Path(__file__).parents[2] / "systemd/hbd-generator"
NAME = "50-started-by-hbd-alone.conf"
ADDRESS = AddressResource("192.0.2.3/24/eth0", "192.0.2.3", 24, "eth0", "eth0:0")
HTTPD = UnitResource("httpd", "httpd.service")
SMB = UnitResource("smb", "smb.service")


def held(*resources: UnitResource, direction: Direction = Direction.STARTED, name: str = "web") -> HeldGroup:
    return HeldGroup(name, direction, 4, False, (ADDRESS, *resources))


def owned(run: Path) -> set[str]:
    return set(os.listdir(run / "owned"))


def is_guarded(run: Path) -> bool:
    assert (run / "guarded").exists() is not (run / "unguarded").exists()
    return (run / "guarded").exists()


# ---------------------------------------------------------------- marks


@pytest.mark.parametrize(
    ("direction", "marked"),
    [
        (Direction.STARTING, {"httpd.service", "smb.service"}),
        (Direction.STARTED, {"httpd.service", "smb.service"}),
        (Direction.STOPPING, set()),
    ],
)
def test_units_of_a_group_have_a_mark_while_it_is_started_or_starting(
    tmp_path: Path, direction: Direction, marked: set[str]
) -> None:
    run = RunDir(tmp_path)
    run.guard((), frozen=False)
    assert owned(tmp_path) == set()
    run.store_held((held(HTTPD, SMB, direction=direction),))
    assert owned(tmp_path) == marked
    assert is_guarded(tmp_path)


def test_a_unit_of_two_groups_keeps_its_mark_while_one_of_them_is_started(tmp_path: Path) -> None:
    run = RunDir(tmp_path)
    run.guard((held(HTTPD), held(HTTPD, SMB, name="files")), frozen=False)
    run.store_held((held(HTTPD), held(HTTPD, SMB, name="files", direction=Direction.STOPPING)))
    assert owned(tmp_path) == {"httpd.service"}


def test_the_next_daemon_finds_the_marks_of_what_it_holds_and_clears_the_others(tmp_path: Path) -> None:
    first = RunDir(tmp_path)
    first.guard((), frozen=False)
    first.store_held((held(HTTPD, SMB),))
    second = RunDir(tmp_path)
    assert owned(tmp_path) == {"httpd.service", "smb.service"}
    assert is_guarded(tmp_path)
    second.guard((held(SMB),), frozen=False)
    assert owned(tmp_path) == {"smb.service"}


def test_the_guard_is_lifted_while_the_cluster_is_frozen_also_before_the_other_node_knows(
    tmp_path: Path,
) -> None:
    state, run = StateDir(tmp_path / "lib"), RunDir(tmp_path / "run")
    state.begin("alpha", "file", "file", 1_700_000_000)
    run.guard((), frozen=False)
    said: list[Log] = []
    store = Store(state, run, said.append)
    store.store(StoreFreeze(FreezeRecord(7, False)))
    assert not is_guarded(tmp_path / "run")
    store.store(StoreHeld((held(HTTPD),)))
    assert not is_guarded(tmp_path / "run")
    store.store(StoreFreeze(FreezeRecord(8, False)))
    assert is_guarded(tmp_path / "run")
    store.close()
    assert said == []
    RunDir(tmp_path / "run").guard((), frozen=True)
    assert not is_guarded(tmp_path / "run")


def test_an_end_in_order_lifts_the_guard_and_the_next_start_puts_it_back(tmp_path: Path) -> None:
    run = RunDir(tmp_path)
    run.guard((), frozen=False)
    run.lift_guard()
    assert not is_guarded(tmp_path)
    run.store_held(())
    assert not is_guarded(tmp_path)
    RunDir(tmp_path).guard((), frozen=False)
    assert is_guarded(tmp_path)
    lift(str(tmp_path))
    lift(str(tmp_path))
    assert not is_guarded(tmp_path)


def test_a_mark_that_cannot_be_made_lifts_the_guard_until_one_can(tmp_path: Path) -> None:
    starts = Starts(str(tmp_path))
    starts.own(())
    starts.guard(True)
    (tmp_path / "owned").rmdir()
    (tmp_path / "owned").touch()
    with pytest.raises(FileExistsError):
        starts.own({"httpd.service"})
    assert not is_guarded(tmp_path)
    (tmp_path / "owned").unlink()
    starts.own({"httpd.service"})
    assert is_guarded(tmp_path)
    assert owned(tmp_path) == {"httpd.service"}


def test_what_is_held_is_on_record_even_if_its_marks_cannot_be_made(tmp_path: Path) -> None:
    run = RunDir(tmp_path)
    run.guard((), frozen=False)
    (tmp_path / "owned").rmdir()
    (tmp_path / "owned").touch()
    with pytest.raises(FileExistsError):
        run.store_held((held(HTTPD),))
    assert run.held() == (held(HTTPD),)


def remove_marks(run: Path) -> None:
    shutil.rmtree(run / "owned")


@pytest.mark.parametrize("remove", [remove_marks, shutil.rmtree])
def test_marks_that_others_remove_are_there_again_before_a_start_of_ours(
    tmp_path: Path, remove: Callable[[Path], None]
) -> None:
    said: list[Log] = []
    state = StateDir(tmp_path / "lib")
    state.begin("alpha", "file", "file", 1_700_000_000)
    run = RunDir(tmp_path / "run")
    store = Store(state, run, said.append)
    run.guard((held(HTTPD, SMB),), frozen=False)
    remove(tmp_path / "run")
    store.before_start("nfs.service")
    assert not (tmp_path / "run/owned").exists()
    store.before_start("httpd.service")
    assert owned(tmp_path / "run") == {"httpd.service", "smb.service"}
    remove(tmp_path / "run")
    store.store(StoreHeld((held(HTTPD),)))
    assert owned(tmp_path / "run") == {"httpd.service"}
    assert is_guarded(tmp_path / "run")
    store.close()
    assert said == []


def test_a_mark_that_others_remove_does_not_lift_the_guard_at_the_release(tmp_path: Path) -> None:
    run = RunDir(tmp_path)
    run.guard((held(HTTPD, SMB),), frozen=False)
    (tmp_path / "owned/httpd.service").unlink()
    run.store_held((held(HTTPD, SMB, direction=Direction.STOPPING),))
    assert owned(tmp_path) == set()
    assert is_guarded(tmp_path)


# ---------------------------------------------------------------- the generator


def generate(home: Path, units: list[str] | None = None) -> dict[str, str]:
    """Run the generator on directories below `home`; the assertions by unit."""
    if units is not None:
        state = StateDir(home / "lib")
        state.begin("alpha", "file", "file", 1_700_000_000)
        state.store_units(units)
    made = home / "made"
    made.mkdir(exist_ok=True)
    environment = {
        "PATH": "/usr/sbin:/usr/bin:/sbin:/bin",
        "HBD_STATE_DIR": str(home / "lib"),
        "HBD_RUN_DIR": str(home / "run"),
        "HBD_SYSTEM_DIR": str(home / "system"),
        "HBD_FSTAB": str(home / "fstab"),
    }
    words = [str(GENERATOR), str(made), str(home / "early"), str(home / "late")]
    done = subprocess.run(words, env=environment, capture_output=True, text=True, check=True)
    assert done.stdout + done.stderr == ""
    return {
        path.name.removesuffix(".d"): (path / NAME).read_text().partition("[Unit]\n")[2]
        for path in made.iterdir()
    }


def enable(home: Path) -> None:
    wants = home / "system/multi-user.target.wants"
    wants.mkdir(parents=True)
    (wants / "hbd.service").symlink_to("/lib/systemd/system/hbd.service")


def test_each_managed_unit_gets_an_assertion_once_hbd_has_run(tmp_path: Path) -> None:
    run = RunDir(tmp_path / "run")
    assert generate(tmp_path, ["httpd.service", r"my\x2ddata.mount", "vpn@a:b.service"]) == {}
    run.guard((), frozen=False)
    made = generate(tmp_path)
    assert set(made) == {"httpd.service", r"my\x2ddata.mount", "vpn@a:b.service"}
    mark = tmp_path / "run"
    assert made["vpn@a:b.service"] == f"AssertPathExistsGlob={mark}/{{owned/vpn@a:b.service,unguarded}}\n"
    # A pattern (glob(7)), in which a backslash takes another to mean itself.
    pattern = rf"{mark}/{{owned/my\\x2ddata.mount,unguarded}}"
    assert made[r"my\x2ddata.mount"] == f"AssertPathExistsGlob={pattern}\n"


FSTAB = """\
# what is mounted where
UUID=1    /             ext4  defaults         0 1
/dev/sdb  /srv/data/    xfs   defaults,noatime 0 2
/dev/sdc  /srv/my-data  xfs   rw               0 2
/dev/sdd  /srv/mine     xfs   noauto           0 2
/dev/sde  /srv/late     xfs   rw,nofail        0 2
"""


def test_a_mount_without_which_the_boot_would_fail_is_passed_over_there_and_not_refused(
    tmp_path: Path,
) -> None:
    """Refused, local-fs.target would fail, and systemd leaves such a machine in emergency mode."""
    enable(tmp_path)
    (tmp_path / "fstab").write_text(FSTAB)
    needs = tmp_path / "system/local-fs.target.requires"
    needs.mkdir()
    (needs / "srv-own.mount").symlink_to("/etc/systemd/system/srv-own.mount")
    units = [f"srv-{name}.mount" for name in ("data", r"my\x2ddata", "mine", "late", "own")]
    made = generate(tmp_path, [*units, "httpd.service"])
    assert {unit for unit, text in made.items() if text.startswith("ConditionPathExistsGlob=")} == {
        "srv-data.mount", r"srv-my\x2ddata.mount", "srv-own.mount",
    }  # fmt: skip
    assert all("PathExistsGlob=" in text for text in made.values())


def test_at_boot_units_are_guarded_if_hbd_is_enabled_and_not_masked(tmp_path: Path) -> None:
    units = ["httpd.service"]
    assert generate(tmp_path, units) == {}
    enable(tmp_path)
    (tmp_path / "system/hbd.service").symlink_to("/dev/null")
    assert generate(tmp_path) == {}
    (tmp_path / "system/hbd.service").unlink()
    assert set(generate(tmp_path)) == {"httpd.service"}


def test_a_machine_without_a_list_is_as_any_other(tmp_path: Path) -> None:
    enable(tmp_path)
    assert generate(tmp_path) == {}


def test_a_line_that_names_no_unit_is_passed_over(tmp_path: Path) -> None:
    enable(tmp_path)
    assert set(generate(tmp_path, ["../../etc.service", "a b.service", "%n.service", "", "a.service"])) == {
        "a.service"
    }


def test_the_list_is_written_only_when_it_changes(tmp_path: Path) -> None:
    state = StateDir(tmp_path)
    assert state.store_units(["b.service", "a.service", "b.service"])
    assert (tmp_path / "units").read_text() == "a.service\nb.service\n"
    assert not state.store_units(["a.service", "b.service"])
    assert state.store_units([])
