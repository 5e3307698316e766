"""Ends a double answer at a late start; releases what a dead daemon left. In namespaces of their own."""

import fcntl
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from hbd import clock
from hbd.config.model import AddressResource, ScriptResource, UnitResource
from hbd.core.events import Direction, HeldGroup
from hbd.stale import release_if_overdue, run_dir, take_off
from hbd.state import RunDir
from tests.edges.namespaces import Namespace, pair

ROOT = Path(__file__).parents[2]
ADDRESS = AddressResource("192.0.2.3/24/eth0", "192.0.2.3", 24, "eth0", "eth0:0")
ADDRESS6 = AddressResource("2001:db8::3/64/eth0", "2001:db8::3", 64, "eth0")
HTTPD = UnitResource("httpd", "httpd.service")
SMB = UnitResource("smb", "smb.service")
NFS = UnitResource("nfs", "nfs-server.service")
GROUPS = (
    HeldGroup("192.0.2.3/24/eth0", Direction.STARTED, 4, False, (ADDRESS, HTTPD, SMB)),
    HeldGroup("2001:db8::3/64/eth0", Direction.STARTED, 4, False, (ADDRESS6, NFS)),
)


@pytest.fixture
def node() -> Iterator[Namespace]:
    """A node with an address of its own and the cluster's two."""
    with pair() as (made, _):
        made.ip("addr add 192.0.2.1/24 dev eth0")
        made.ip("addr add 192.0.2.3/24 dev eth0 label eth0:0")
        made.ip("addr add 2001:db8::3/64 dev eth0 nodad")
        yield made


def addresses(node: Namespace) -> set[str]:
    return {
        entry["local"]
        for link in json.loads(node.ip("-json addr show dev eth0"))
        for entry in link["addr_info"]
        if entry["scope"] == "global"
    }


def left_behind(path: Path, silent_ms: int, patience_ms: int) -> str:
    """A run directory as a daemon leaves it that died `silent_ms` ago."""
    run = RunDir(path)
    run.guard((), frozen=False)
    run.store_held(GROUPS)
    run.be_patient(patience_ms)
    run.stamp(clock.boot_ms() - silent_ms)
    return str(path)


# ---------------------------------------------------------------- at a late start


def test_after_the_peers_patience_the_held_addresses_are_off_and_no_other(
    node: Namespace, tmp_path: Path
) -> None:
    directory = left_behind(tmp_path, silent_ms=900, patience_ms=300)
    with node.inside():
        assert release_if_overdue(["--run-dir", directory]) == ["192.0.2.3", "2001:db8::3"]
    assert addresses(node) == {"192.0.2.1"}


def test_a_restart_within_the_peers_patience_touches_nothing(node: Namespace, tmp_path: Path) -> None:
    directory = left_behind(tmp_path, silent_ms=100, patience_ms=60_000)
    with node.inside():
        assert release_if_overdue([f"--run-dir={directory}"]) == []
    assert "192.0.2.3" in addresses(node)


def test_in_an_agreed_freeze_no_silence_is_too_long(node: Namespace, tmp_path: Path) -> None:
    directory = left_behind(tmp_path, silent_ms=clock.boot_ms(), patience_ms=300)
    RunDir(tmp_path).store_frozen(True)
    with node.inside():
        assert release_if_overdue(["--run-dir", directory]) == []
        assert "192.0.2.3" in addresses(node)
        RunDir(tmp_path).store_frozen(False)
        assert release_if_overdue(["--run-dir", directory]) == ["192.0.2.3", "2001:db8::3"]


def test_beside_a_running_daemon_nothing_is_touched(node: Namespace, tmp_path: Path) -> None:
    directory = left_behind(tmp_path, silent_ms=900, patience_ms=300)
    with node.inside(), (tmp_path / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert release_if_overdue(["--run-dir", directory]) == []
    assert "192.0.2.3" in addresses(node)


def test_without_a_record_or_with_a_damaged_one_the_start_goes_on(node: Namespace, tmp_path: Path) -> None:
    with node.inside():
        assert release_if_overdue(["--run-dir", str(tmp_path / "nowhere")]) == []
        directory = left_behind(tmp_path, silent_ms=900, patience_ms=300)
        (tmp_path / "held").write_bytes(b'{"groups":[{"ip":"no address"}]}')
        assert release_if_overdue(["--run-dir", directory]) == []
        (tmp_path / "alive").write_bytes(b"\1\2")
        assert release_if_overdue(["--run-dir", directory]) == []
    assert "192.0.2.3" in addresses(node)


def test_taking_off_the_first_address_of_a_subnet_leaves_its_neighbours(node: Namespace) -> None:
    node.sysctl("ipv4/conf/eth0/promote_secondaries", 0)
    with node.inside():
        assert take_off(["192.0.2.1"]) == ["192.0.2.1"]
    assert addresses(node) == {"192.0.2.3", "2001:db8::3"}
    shown = node.ip("addr show dev eth0")
    assert "inet 192.0.2.3/24 scope global eth0:0" in shown


def test_an_address_that_is_not_there_is_no_error(node: Namespace) -> None:
    with node.inside():
        assert take_off(["192.0.2.77", "2001:db8::77"]) == []
    assert addresses(node) == {"192.0.2.1", "192.0.2.3", "2001:db8::3"}


def test_a_thousand_addresses_do_not_confuse_the_dump(node: Namespace) -> None:
    batch = "".join(f"addr add 10.0.{n // 250}.{n % 250 + 1}/32 dev eth0\n" for n in range(1000))
    subprocess.run(["ip", "-n", node.name, "-batch", "-"], input=batch, text=True, check=True)
    with node.inside():
        assert take_off(["192.0.2.3", "10.0.3.250"]) == ["10.0.3.250", "192.0.2.3"]
    assert len(addresses(node)) == 1001


def test_the_run_directory_comes_from_the_command_line_then_the_environment(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("HBD_RUN_DIR", "/from/environment")
    assert run_dir(["--run-dir", "/from/line"]) == "/from/line"
    assert run_dir(["--check"]) == "/from/environment"
    monkeypatch.delenv("HBD_RUN_DIR")
    assert run_dir(["--run-dir"]) == "/run/hbd"


def test_the_addresses_are_off_within_a_tenth_of_a_second_of_the_process_start(
    node: Namespace, tmp_path: Path
) -> None:
    directory = left_behind(tmp_path, silent_ms=900, patience_ms=300)
    script = (
        "from hbd import stale; import sys, time; stale.release_if_overdue(sys.argv);"
        "print(time.clock_gettime_ns(time.CLOCK_MONOTONIC))"
    )

    def took_ms() -> float:
        for address in ("192.0.2.3/24", "2001:db8::3/64"):
            node.ip(f"addr replace {address} dev eth0 nodad")
        with node.inside():
            begun_ns = time.clock_gettime_ns(time.CLOCK_MONOTONIC)
            done = subprocess.run(
                [sys.executable, "-c", script, "--run-dir", directory],
                cwd=ROOT,
                capture_output=True,
                text=True,
                check=True,
            )
        assert addresses(node) == {"192.0.2.1"}
        return (int(done.stdout) - begun_ns) / 1e6

    # One of many, since what else the machine does is not its doing.
    assert any(took_ms() < 100 for _ in range(100))


# ---------------------------------------------------------------- gone for good


@pytest.fixture
def systemctl(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A systemctl that writes down what it is asked, together with the addresses still there."""
    directory = tmp_path / "bin"
    directory.mkdir()
    script = directory / "systemctl"
    script.write_text(
        "#!/bin/sh\n"
        '[ "$1" = show ] && exit\n'
        f'echo "$* with $(ip -o addr show dev eth0 scope global | wc -l)" >> {tmp_path}/asked\n'
        f'if [ -e "{tmp_path}/refuse-$3" ]; then echo "Job for $3 failed." >&2; exit 1; fi\n'
    )
    script.chmod(0o755)
    monkeypatch.setenv("PATH", f"{directory}:{os.environ['PATH']}")
    return tmp_path


def orphan(node: Namespace, directory: str) -> tuple[int, list[str]]:
    """Exit status and log lines of `python -m hbd.orphan`."""
    with node.inside():
        done = subprocess.run(
            [sys.executable, "-m", "hbd.orphan", "--run-dir", directory],
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=False,
        )
    assert done.stderr == ""
    return done.returncode, done.stdout.splitlines()


def test_what_is_left_behind_is_released_addresses_first_then_units_right_to_left(
    node: Namespace, systemctl: Path
) -> None:
    directory = left_behind(systemctl / "run", silent_ms=0, patience_ms=0)
    status, said = orphan(node, directory)
    assert status == 0
    assert (systemctl / "asked").read_text().splitlines() == [
        "stop -- nfs-server.service with 1",
        "stop -- smb.service with 1",
        "stop -- httpd.service with 1",
    ]
    assert addresses(node) == {"192.0.2.1"}
    assert RunDir(Path(directory)).held() == ()
    assert (Path(directory) / "unguarded").exists()
    assert said[0] == "<4>hbd is gone for good: releasing 192.0.2.3/24/eth0, 2001:db8::3/64/eth0"
    assert said[1] == "<6>addresses off: 192.0.2.3, 2001:db8::3"
    assert said[-1] == "<6>everything is released"


def test_a_unit_that_does_not_stop_stays_on_record_and_is_tried_again(
    node: Namespace, systemctl: Path
) -> None:
    directory = left_behind(systemctl / "run", silent_ms=0, patience_ms=0)
    (systemctl / "refuse-smb.service").touch()
    status, said = orphan(node, directory)
    assert status == 1
    assert "<3>cannot stop smb.service: Job for smb.service failed." in said
    (left,) = RunDir(Path(directory)).held()
    assert (left.group, left.resources) == ("192.0.2.3/24/eth0", (SMB,))
    assert not (Path(directory) / "unguarded").exists()
    assert os.listdir(f"{directory}/owned") == []
    (systemctl / "refuse-smb.service").unlink()
    assert orphan(node, directory)[0] == 0
    assert RunDir(Path(directory)).held() == ()


def test_at_a_boot_without_a_valid_configuration_systemd_goes_on_refusing_what_is_enabled(
    node: Namespace, systemctl: Path
) -> None:
    run = RunDir(systemctl / "run")
    assert orphan(node, str(run.path)) == (0, [])
    assert not (run.path / "unguarded").exists()
    run.guard((), frozen=False)
    assert orphan(node, str(run.path)) == (0, [])
    assert (run.path / "unguarded").exists()


def test_a_script_is_stopped_in_its_unit_with_its_environment_and_again_while_it_fails(
    node: Namespace, systemctl: Path
) -> None:
    disk = ScriptResource("disk::a::$b", "/etc/ha.d/resource.d/disk", ("a", "$b"))
    run = RunDir(systemctl / "run")
    run.store_held((HeldGroup("192.0.2.3/24/eth0", Direction.STARTED, 4, False, (ADDRESS, disk, SMB)),))
    (systemctl / "run/script-environment").write_text('{"HA_CURHOST":"linuxha1"}')
    once = systemctl / "once"
    tool = systemctl / "bin/systemd-run"
    tool.write_text(
        f'#!/bin/sh\necho "run $*" >> {systemctl}/asked\n[ -e {once} ] || {{ touch {once}; exit 4; }}\n'
    )
    tool.chmod(0o755)

    status, said = orphan(node, str(run.path))

    assert status == 0
    asked = [line.partition(" with ")[0] for line in (systemctl / "asked").read_text().splitlines()]
    runs = [line for line in asked if line.startswith("run ")]
    assert len(runs) == 2
    assert runs[0] == runs[1]
    unit = r"hbd-resource-disk::a::\x24b@stop.service"
    assert f"--unit={unit} " in runs[0]
    assert runs[0].endswith(" --setenv=HA_CURHOST=linuxha1 -- /etc/ha.d/resource.d/disk a $$b stop")
    assert asked.index("stop -- smb.service") < asked.index(runs[0])
    assert asked[-1] == r"stop -- hbd-resource-disk::a::\x24b@start.service"
    assert "<3>/etc/ha.d/resource.d/disk a $b stop: ended with 4" in said
    assert "<6>Retrying failed stop operation [disk::a::$b]" in said
    assert run.held() == ()


def test_clients_are_stopped_after_the_resources_and_the_last_first(node: Namespace, systemctl: Path) -> None:
    directory = left_behind(systemctl / "run", silent_ms=0, patience_ms=0)
    RunDir(Path(directory)).store_clients(("hbd-client-a-1.service", "hbd-client-b-2.service"))
    assert orphan(node, directory)[0] == 0
    asked = [line.partition(" with ")[0] for line in (systemctl / "asked").read_text().splitlines()]
    assert [line for line in asked if line.startswith("stop")][-2:] == [
        "stop -- hbd-client-b-2.service",
        "stop -- hbd-client-a-1.service",
    ]
    # Another time there are none.
    (systemctl / "asked").unlink()
    assert orphan(node, directory) == (0, [])
    assert not (systemctl / "asked").exists()


def test_a_watchdog_device_is_stopped_when_nothing_is_left_and_not_before(
    node: Namespace, systemctl: Path
) -> None:
    device = systemctl / "fifo"
    os.mkfifo(device)
    reader = os.open(device, os.O_RDONLY | os.O_NONBLOCK)
    directory = left_behind(systemctl / "run", silent_ms=0, patience_ms=0)
    (Path(directory) / "watchdog").write_text(f"{device}\n")
    (systemctl / "refuse-smb.service").touch()
    assert orphan(node, directory)[0] == 1
    assert os.read(reader, 10) == b""
    (systemctl / "refuse-smb.service").unlink()
    status, said = orphan(node, directory)
    assert (status, os.read(reader, 10)) == (0, b"V")
    assert said[-1] == f"<6>watchdog device {device} is stopped"
    assert not (Path(directory) / "watchdog").exists()
    os.close(reader)


def test_in_an_agreed_freeze_everything_goes_on_and_the_watchdog_device_is_stopped(
    node: Namespace, systemctl: Path
) -> None:
    device = systemctl / "fifo"
    os.mkfifo(device)
    reader = os.open(device, os.O_RDONLY | os.O_NONBLOCK)
    directory = left_behind(systemctl / "run", silent_ms=0, patience_ms=0)
    (Path(directory) / "watchdog").write_text(f"{device}\n")
    RunDir(Path(directory)).store_frozen(True)
    status, said = orphan(node, directory)
    assert (status, os.read(reader, 10)) == (0, b"V")
    assert said[0] == (
        "<4>hbd is gone for good, and the cluster is frozen: what runs here goes on running"
    )
    assert RunDir(Path(directory)).held() == GROUPS
    assert "192.0.2.3" in addresses(node)
    assert not (systemctl / "asked").exists()
    os.close(reader)


def test_while_hbd_runs_or_when_nothing_is_held_nothing_is_touched(node: Namespace, systemctl: Path) -> None:
    directory = left_behind(systemctl / "run", silent_ms=0, patience_ms=0)
    with (systemctl / "run" / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert orphan(node, directory) == (0, ["<6>hbd is running: its resources are left to it"])
    RunDir(Path(directory)).store_held(())
    assert orphan(node, directory) == (0, [])
    assert orphan(node, str(systemctl / "never")) == (0, [])
    assert not (systemctl / "asked").exists()
    assert "192.0.2.3" in addresses(node)
