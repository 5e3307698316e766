"""What ./install lays, and that it takes it away again.

Everything is laid into scratch directories, offline, with the wheels that
./test fetched (or `./install --fetch`). Commands run in a machine that is this
computer's own root with that directory laid over it, in a mount namespace.
"""

import importlib.metadata
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).resolve().parents[1]
VENV = Path("usr/lib/hbd/venv")
SITE = VENV / f"lib/python{sys.version_info[0]}.{sys.version_info[1]}/site-packages"
CLEAN_ENV = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LANG": "C.UTF-8"}

OVERLAY = """
set -e
mount -t tmpfs -o mode=755 hbd-test "$1"
mkdir "$1/upper" "$1/work" "$1/root"
cp -a "$2" "$1/laid"
mount -t overlay hbd-test -o "lowerdir=$1/laid:/,upperdir=$1/upper,workdir=$1/work" "$1/root"
mount --rbind /dev "$1/root/dev"
mount -t proc proc "$1/root/proc"
root=$1
shift 2
exec chroot "$root/root" "$@"
"""


@pytest.fixture(scope="module")
def wheels() -> Path:
    given = os.environ.get("HBD_WHEELS")
    return Path(given or command(CHECKOUT / "install", "--fetch").stdout.strip())


@pytest.fixture(scope="module")
def machine(wheels: Path) -> Iterator[Path]:
    """A directory in which hbd has been laid once; tests only read it."""
    with tempfile.TemporaryDirectory(prefix="hbd-test-") as folder:
        root = Path(folder, "machine")
        install(root, wheels)
        yield root


def command(*argv: object, check: bool = True) -> subprocess.CompletedProcess[str]:
    words = [str(word) for word in argv]
    done = subprocess.run(
        words, capture_output=True, text=True, env=CLEAN_ENV, check=False, stdin=subprocess.DEVNULL
    )
    assert not check or done.returncode == 0, f"{' '.join(words)}: {done.stdout}{done.stderr}"
    return done


def install(root: Path, wheels: Path) -> None:
    """`./install` without any network."""
    command("unshare", "--net", CHECKOUT / "install", "--destdir", root, "--wheels", wheels)


def run_in(machine: Path, *argv: object, check: bool = True) -> subprocess.CompletedProcess[str]:
    """A command in this computer's root with `machine` over it; nothing of it stays."""
    with tempfile.TemporaryDirectory(prefix="hbd-test-") as place:
        words = ["unshare", "--mount", "--net", "/bin/sh", "-c", OVERLAY, "sh", place, machine, *argv]
        return command(*words, check=check)


def listing(root: Path) -> list[str]:
    return sorted(str(path.relative_to(root)) for path in root.rglob("*"))


def locked(lock: Path) -> dict[str, str]:
    return dict(re.findall(r"^([\w.-]+)==(\S+)", lock.read_text(), re.MULTILINE))


def test_meson_build_lists_every_module_and_no_other(machine: Path) -> None:
    tree = {str(path.relative_to(CHECKOUT)) for path in (CHECKOUT / "hbd").rglob("*.py")}

    laid = {str(path.relative_to(machine / SITE)) for path in (machine / SITE / "hbd").rglob("*.py")}

    assert laid == tree, f"add to meson.build: {sorted(tree - laid)}; remove: {sorted(laid - tree)}"


def test_every_file_for_the_machine_is_in_meson_build() -> None:
    listed = (CHECKOUT / "meson.build").read_text()

    folders = ("systemd", "dbus", "etc", "docs")
    shipped = [path for folder in folders for path in (CHECKOUT / folder).rglob("*") if path.is_file()]

    for path in shipped:
        name = path.name.removesuffix(".in")
        assert f"'{name}'" in listed or f"/{name}'" in listed, f"{path} is not in meson.build"


def test_the_laid_environment_has_exactly_the_locked_packages(machine: Path) -> None:
    found = {
        str(package.metadata["Name"]).lower().replace("_", "-"): package.version
        for package in importlib.metadata.distributions(path=[str(machine / SITE)])
    }

    assert found == locked(CHECKOUT / "hbd/requirements.lock")


def test_the_locks_fix_every_package_by_hash() -> None:
    for lock in ("hbd/requirements.lock", "hbd/build.lock", "tests/requirements.lock"):
        text = re.sub(r"^#.*\n|^\s*\n", "", (CHECKOUT / lock).read_text(), flags=re.MULTILINE)
        for entry in re.split(r"\n(?=\S)", text.strip()):
            assert re.fullmatch(r"[\w.-]+==\S+( \\\n    --hash=sha256:[0-9a-f]{64})+", entry), (
                f"{lock}: {entry[:60]}"
            )


def test_everything_that_hbd_imports_from_others_works_in_the_laid_environment(machine: Path) -> None:
    code = "import cryptography, dbus_next, pyroute2, rich, serial, systemd.journal, hbd; print(hbd.__file__)"

    done = run_in(machine, f"/{VENV}/bin/python", "-I", "-c", code)

    assert done.stdout.strip() == f"/{SITE}/hbd/__init__.py"


def test_modules_are_compiled_for_the_place_where_they_will_lie(machine: Path) -> None:
    code = (
        "import sys, importlib.util, marshal, pathlib, hbd.config.words as words;"
        "print(words.lines.__code__.co_filename); print(pathlib.Path(words.__cached__).exists())"
    )

    done = run_in(machine, f"/{VENV}/bin/python", "-I", "-B", "-c", code)

    assert done.stdout.split() == [f"/{SITE}/hbd/config/words.py", "True"]


def test_no_file_knows_the_directory_it_was_laid_in(machine: Path) -> None:
    scratch = (str(machine).encode(), b"/hbd-install.")

    knowing = [
        path
        for path in machine.rglob("*")
        if path.is_file() and not path.is_symlink() and any(word in path.read_bytes() for word in scratch)
    ]

    assert knowing == []


def test_the_units_are_clean_in_the_eyes_of_systemd(machine: Path) -> None:
    units = ("hbd.service", "hbd-orphan.service", "hbd-units.target")
    done = run_in(machine, "systemd-analyze", "verify", "--man=no", *units)

    ours = [line for line in done.stderr.splitlines() if "hbd" in line]
    assert ours == []


def test_nothing_is_enabled_and_the_configuration_is_left_alone(machine: Path) -> None:
    assert [path for path in listing(machine) if ".wants" in path or path.startswith("etc")] == []


def test_a_crash_an_unexpected_signal_but_no_wrong_configuration_is_restarted(machine: Path) -> None:
    unit = (machine / "usr/lib/systemd/system/hbd.service").read_text().splitlines()

    assert "Restart=on-failure" in unit
    assert "RestartForceExitStatus=SIGHUP SIGINT SIGTERM SIGPIPE" in unit
    assert "RestartPreventExitStatus=78" in unit
    assert "OnFailure=hbd-orphan.service" in unit


def test_a_restart_waits_for_no_timer_and_for_no_mount_but_that_of_homes(machine: Path) -> None:
    unit = (machine / "usr/lib/systemd/system/hbd.service").read_text().splitlines()

    assert "RestartSec=0" in unit
    assert "ProtectHome=yes" in unit
    mounting = (
        "ProtectSystem",
        "ProtectKernel",
        "ProtectControl",
        "Private",
        "ReadOnly",
        "ReadWrite",
    )
    assert [line for line in unit if line.startswith(mounting)] == []


def test_the_orphan_is_released_by_the_system_python_without_the_environment_of_hbd(machine: Path) -> None:
    unit = (machine / "usr/lib/systemd/system/hbd-orphan.service").read_text()
    assert f"Environment=PYTHONPATH=/{SITE}" in unit
    assert "ExecStart=/usr/bin/python3 -SP -m hbd.orphan" in unit

    words = ["-SP", "-X", "importtime", "-m", "hbd.orphan", f"--run-dir={machine}"]
    done = run_in(machine, "/usr/bin/env", f"PYTHONPATH=/{SITE}", "/usr/bin/python3", *words)

    imported = {line.rpartition("|")[2].strip().partition(".")[0] for line in done.stderr.splitlines()[1:]}
    assert imported - {"hbd"} <= sys.stdlib_module_names


def test_a_second_installation_changes_nothing(machine: Path, wheels: Path, tmp_path: Path) -> None:
    root = tmp_path / "machine"
    command("cp", "-a", machine, root)

    install(root, wheels)

    assert listing(root) == listing(machine)
    changed = command(
        "diff", "--recursive", "--brief", "--no-dereference", "--exclude=*.pyc", machine, root, check=False
    )
    assert changed.stdout == ""


def test_an_update_removes_what_is_no_longer_part_of_hbd_and_nothing_else(
    machine: Path, wheels: Path, tmp_path: Path
) -> None:
    root = tmp_path / "machine"
    command("cp", "-a", machine, root)
    for name in ("usr/bin/hb-old", "usr/bin/somebody-elses"):
        (root / name).write_text("")
    with open(root / "usr/lib/hbd/manifest", "a", encoding="utf-8") as manifest:
        manifest.write("usr/bin/hb-old\n")

    install(root, wheels)

    assert not (root / "usr/bin/hb-old").exists()
    assert (root / "usr/bin/somebody-elses").exists()


def test_uninstalling_leaves_the_machine_as_it_was_but_for_what_is_the_administrators(
    machine: Path, wheels: Path, tmp_path: Path
) -> None:
    root = tmp_path / "machine"
    for name in ("usr/bin/ls", "etc/ha.d/ha.cf", "var/lib/hbd/generation", "usr/share/man/man8/ls.8"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(name)
    (root / "usr/lib/systemd").mkdir(parents=True)
    before = listing(root)
    install(root, wheels)
    wants = root / "etc/systemd/system/multi-user.target.wants"
    wants.mkdir(parents=True)
    (wants / "hbd.service").symlink_to("/usr/lib/systemd/system/hbd.service")
    compiled = root / SITE / "hbd/__pycache__/later.pyc"
    compiled.write_text("")

    command(CHECKOUT / "install", "--uninstall", "--destdir", root)

    enabled = ["etc/systemd", "etc/systemd/system", "etc/systemd/system/multi-user.target.wants"]
    assert listing(root) == sorted(before + enabled)
    assert (root / "etc/ha.d/ha.cf").read_text() == "etc/ha.d/ha.cf"


OLD_NAMES = (
    "usr/bin/cl_status",
    "usr/share/heartbeat/hb_standby",
    "usr/share/heartbeat/hb_takeover",
    "usr/lib/heartbeat/hb_standby",
    "usr/lib/heartbeat/hb_takeover",
    "usr/lib/heartbeat/heartbeat",
    "usr/libexec/heartbeat/heartbeat",
)


def test_heartbeats_commands_are_answered_where_heartbeat_is_not_installed(machine: Path) -> None:
    for name in OLD_NAMES:
        assert os.readlink(machine / name) == "/usr/lib/hbd/old-command"

    asked = run_in(machine, "/usr/bin/cl_status", "hbstatus", check=False)
    standby = run_in(machine, "/usr/share/heartbeat/hb_standby", "nonsense", check=False)
    stopped = run_in(machine, "/usr/libexec/heartbeat/heartbeat", "-s", check=False)

    assert (asked.returncode, asked.stdout) == (1, "Heartbeat is stopped on this machine.\n")
    said = "/usr/share/heartbeat/hb_standby: wrong resources(nonsense).\nusage:\n"
    usage = "/usr/share/heartbeat/hb_standby [all|foreign|local|failback]\n"
    assert (standby.returncode, standby.stdout, standby.stderr) == (1, said, usage)
    assert (stopped.returncode, stopped.stdout) == (3, "heartbeat is stopped. No process\n")


def test_where_heartbeat_is_installed_its_commands_stay_and_hbd_lays_none(
    wheels: Path, tmp_path: Path
) -> None:
    root = tmp_path / "machine"
    (root / "usr/bin").mkdir(parents=True)
    (root / "usr/bin/cl_status").write_text("heartbeat's")

    install(root, wheels)

    assert (root / "usr/bin/cl_status").read_text() == "heartbeat's"
    assert not any((root / name).exists() for name in OLD_NAMES[1:])


def test_a_heartbeat_that_is_installed_later_keeps_its_commands_when_hbd_goes(
    machine: Path, tmp_path: Path
) -> None:
    root = tmp_path / "machine"
    command("cp", "-a", machine, root)
    (root / OLD_NAMES[0]).unlink()
    (root / OLD_NAMES[0]).write_text("heartbeat's")

    command(CHECKOUT / "install", "--uninstall", "--destdir", root)

    assert (root / OLD_NAMES[0]).read_text() == "heartbeat's"
    assert not any(os.path.lexists(root / name) for name in OLD_NAMES[1:])


def test_uninstalling_where_nothing_is_installed_is_no_error(tmp_path: Path) -> None:
    done = command(CHECKOUT / "install", "--uninstall", "--destdir", tmp_path)

    assert "is not installed" in done.stderr


def test_a_machine_with_another_python_is_refused_with_the_reason(wheels: Path, tmp_path: Path) -> None:
    (tmp_path / "usr/bin").mkdir(parents=True)
    (tmp_path / "usr/lib").mkdir()
    (tmp_path / "usr/bin/python3").symlink_to("python3.99")

    done = command(CHECKOUT / "install", "--destdir", tmp_path, "--wheels", wheels, check=False)

    assert done.returncode == 1
    assert "python3.99" in done.stderr
    assert listing(tmp_path) == ["usr", "usr/bin", "usr/bin/python3", "usr/lib"]


def test_an_unknown_option_is_refused(tmp_path: Path) -> None:
    done = command(CHECKOUT / "install", "--destdri", tmp_path, check=False)

    assert done.returncode == 1
    assert "unknown option: --destdri" in done.stderr
