"""The lab's own root file system, made by mmdebstrap and cached.

The cache directory lies outside the checkout; the root in it is named after
a hash of what it is made of, so it is made anew only when that changes. On
top go layers, e.g. hbd as `./install` lays it, each made once per content.
The computer itself gets no package and no service from any of this.
"""

import fcntl
import hashlib
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from tests.lab.host import CLEAN_ENV, LabError, call, mount_overlay, unmount_below

SUITE = "bookworm"
PACKAGES = [
    "systemd",
    "systemd-sysv",
    "dbus",
    "polkitd",
    "libglib2.0-bin",
    "python3",
    "python3-venv",
    "iproute2",
    "nftables",
    "procps",
    "util-linux",
    "kmod",
    "less",
    "samba",
    "smbclient",
    "apache2-bin",
    "iputils-ping",
    "iputils-arping",
    "curl",
    "tcpdump",
]
# Nobody reads these in a machine that lives for seconds.
EXCLUDED = ("/usr/share/man/*", "/usr/share/doc/*", "/usr/share/info/*", "/usr/share/locale/*")
_KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
_RECIPE = "1"  # Raise it when the building below changes what comes out.

Say = Callable[[str], None]


def cache_directory() -> Path:
    """HBD_LAB_CACHE, or /var/cache/hbd-lab."""
    return Path(os.environ.get("HBD_LAB_CACHE", "/var/cache/hbd-lab"))


def base(say: Say = lambda text: None) -> Path:
    """The root file system's directory, never to be written; about a minute the first time."""
    words = [_RECIPE, SUITE, *sorted(PACKAGES), *EXCLUDED]
    key = hashlib.sha256("\n".join(words).encode()).hexdigest()[:12]
    place = cache_directory() / f"root-{key}"
    with _locked():
        if not place.exists():
            say(f"building the machines' root file system in {place} (once; about a minute)")
            _forget("root-*")
            with _scratch() as scratch:
                _bootstrap(scratch / "root", say)
                (scratch / "root").rename(place)
        _mark_used(place)
    return place


def layer(name: str, key: str, lowers: Sequence[Path], fill: Callable[[Path], None]) -> Path:
    """A cached overlay layer: what `fill` changes in a copy of `lowers` (topmost first).

    `key` stands for everything `fill` depends on; the lower layers count by themselves.
    """
    words = [key, *(lower.name for lower in lowers)]

    def make(scratch: Path) -> Path:
        root = mount_overlay(scratch / "overlay", lowers)
        fill(root)
        # Copied with whiteouts and overlay's extended attributes: the scratch
        # is a tmpfs, as an overlay's upper layer cannot lie on another overlay.
        call("cp", "-a", scratch / "overlay" / "up" / "u", scratch / "layer")
        return scratch / "layer"

    return made_once(f"layer-{name}", words, make)


def made_once(name: str, words: Sequence[str], make: Callable[[Path], Path]) -> Path:
    """A cached directory, which `make` makes in the scratch directory it gets, and returns.

    `words` stand for everything it depends on. `make` may not ask for anything else of the cache.
    """
    digest = hashlib.sha256("\n".join(words).encode()).hexdigest()[:12]
    place = cache_directory() / f"{name}-{digest}"
    with _locked():
        if not place.exists():
            _forget(f"{name}-*")
            with _scratch() as scratch:
                make(scratch).rename(place)
        _mark_used(place)
    return place


def run_in(root: Path, argv: Sequence[str], readable: dict[str, Path] | None = None) -> str:
    """Run a command in `root` with no network and no running systemd; returns its output.

    `readable` maps mount points in the root to directories shown there read-only.
    Raises LabError with the command's output when it fails.
    """
    shown = readable or {}
    mounts = [f"mount -t proc proc '{root}/proc'", f"mount --bind /dev '{root}/dev'"]
    for point, directory in shown.items():
        target = f"{root}{point}"
        Path(target).mkdir(parents=True, exist_ok=True)
        mounts.append(f"mount --bind -o ro '{directory}' '{target}'")
    script = " && ".join([*mounts, f"exec chroot '{root}' \"$@\""])
    done = subprocess.run(
        [
            "unshare",
            "--mount",
            "--pid",
            "--fork",
            "--kill-child",
            "--net",
            "/bin/sh",
            "-c",
            script,
            "sh",
            *argv,
        ],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=CLEAN_ENV,
        check=False,
    )
    for point in shown:
        Path(f"{root}{point}").rmdir()
    if done.returncode != 0:
        raise LabError(f"{' '.join(argv)} in {root}: exit {done.returncode}:\n{done.stdout}")
    return done.stdout


def hbd_layer(checkout: Path, wheels: Path, lowers: Sequence[Path]) -> Path:
    """hbd as the checkout's `./install --wheels` lays it in an image, offline."""

    def fill(root: Path) -> None:
        shown = {"/mnt/hbd": checkout, "/mnt/wheels": wheels}
        run_in(root, ["/mnt/hbd/install", "--wheels", "/mnt/wheels"], readable=shown)
        # What ./install itself does where systemd runs, and nothing does at boot on Debian.
        run_in(root, ["journalctl", "--update-catalog"])

    return layer("hbd", f"{fingerprint(checkout)} {fingerprint(wheels)}", lowers, fill)


def debian_layer(name: str, packages: Sequence[str], lowers: Sequence[Path]) -> Path:
    """Debian packages with what they need, and nothing that they only recommend, over `lowers`.

    The computer's own apt fetches them, as for the root, into a scratch directory; they are
    installed without a network, and nothing of theirs is started.
    """

    def fill(root: Path) -> None:
        with tempfile.TemporaryDirectory(prefix="hbd-lab-") as folder:
            archives = fetch(packages, root, Path(folder))
            policy = root / "usr/sbin/policy-rc.d"
            policy.write_text("#!/bin/sh\nexit 101\n")
            policy.chmod(0o755)
            # By apt and not dpkg, which does not unpack them in the order that they need.
            words = "DEBIAN_FRONTEND=noninteractive apt-get install --yes --no-install-recommends"
            shell = f"{words} --option=Dir::Cache::pkgcache= /mnt/archives/*.deb"
            run_in(root, ["sh", "-c", shell], readable={"/mnt/archives": archives})
            policy.unlink()

    return layer(name, " ".join(packages), lowers, fill)


def wheels(checkout: Path, say: Say = lambda text: None) -> Path:
    """The locked Python packages `./install` needs.

    HBD_WHEELS, as ./test and ./demo set it; the checkout's wheels/; or made once into the cache.
    """
    if "HBD_WHEELS" in os.environ:
        return Path(os.environ["HBD_WHEELS"])
    if (checkout / "wheels").is_dir():
        return checkout / "wheels"
    locks = b"".join((checkout / "hbd" / name).read_bytes() for name in ("requirements.lock", "build.lock"))
    place = cache_directory() / f"wheels-{hashlib.sha256(locks).hexdigest()[:12]}"
    with _locked():
        if not place.exists():
            say(f"fetching and building the Python packages in {place} (once)")
            _forget("wheels-*")
            with _scratch() as scratch:
                words = [str(checkout / "install"), "--make-wheels", str(scratch / "wheels")]
                # Not a clean environment: pip may need its proxy and certificates.
                done = subprocess.run(
                    words, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
                )
                if done.returncode != 0:
                    raise LabError(f"{' '.join(words)}: exit {done.returncode}:\n{done.stdout}{done.stderr}")
                (scratch / "wheels").rename(place)
        _mark_used(place)
    return place


def fingerprint(tree: Path) -> str:
    """A hash of the names, modes and contents of what `./install` may read in `tree`."""
    skipped = {
        ".git",
        ".venv",
        "tests",
        "__pycache__",
        ".mypy_cache",
        ".ruff_cache",
        ".pytest_cache",
        ".hypothesis",
    }
    total = hashlib.sha256()
    for folder, inner, files in os.walk(tree):
        inner[:] = sorted(set(inner) - skipped)
        for name in sorted(files):
            path = Path(folder, name)
            total.update(f"{path.relative_to(tree)} {path.lstat().st_mode:o}\n".encode())
            if path.is_file():
                total.update(hashlib.sha256(path.read_bytes()).digest())
    return total.hexdigest()


def _bootstrap(root: Path, say: Say) -> None:
    """Fill `root` from the Debian archives the computer itself is set up to use."""
    with tempfile.TemporaryDirectory(prefix="hbd-lab-") as folder:
        options = Path(folder, "apt.conf")
        options.write_text(_acquire_options())
        words = [
            "mmdebstrap",
            "--mode=root",
            "--variant=minbase",
            f"--aptopt={options}",
            '--aptopt=APT::Install-Recommends "false"',
            *(f"--dpkgopt=path-exclude={pattern}" for pattern in EXCLUDED),
            f"--include={','.join(PACKAGES)}",
            SUITE,
            str(root),
        ]
        sources = _sources_of_this_computer()
        if sources:  # Otherwise mmdebstrap asks the mirror it knows itself.
            listing = Path(folder, "lab.list")
            listing.write_text(sources)
            words.append(str(listing))
        _run_aloud(words, say)


def _acquire_options() -> str:
    """How this computer reaches the archives: its apt's proxies, certificates and the like."""
    dump = call("apt-config", "dump", "Acquire").splitlines()
    return "".join(f"{line}\n" for line in dump if "::IndexTargets" not in line)


def fetch(packages: Sequence[str], root: Path, folder: Path) -> Path:
    """Fetch what is missing in `root` for `packages`, from where the root is from; returns the directory."""
    for directory in ("state/lists/partial", "cache/archives/partial"):
        (folder / directory).mkdir(parents=True)
    options = folder / "apt.conf"
    places = {
        "Dir::State": folder / "state",
        "Dir::State::status": root / "var/lib/dpkg/status",
        "Dir::Cache": folder / "cache",
        "Dir::Etc::sourcelist": root / "etc/apt/sources.list",
        "Dir::Etc::sourceparts": root / "etc/apt/sources.list.d",
        # Hooks and preferences of the computer are for its own packages.
        **dict.fromkeys(("Dir::Etc::main", "Dir::Etc::parts"), "/dev/null"),
        **dict.fromkeys(("Dir::Etc::preferences", "Dir::Etc::preferencesparts"), "/dev/null"),
        "APT::Install-Recommends": "false",
        "APT::Sandbox::User": "root",
    }
    options.write_text(_acquire_options() + "".join(f'{name} "{value}";\n' for name, value in places.items()))
    for words in (["update"], ["install", "--download-only", "--yes", *packages]):
        done = subprocess.run(
            ["apt-get", "--quiet", *words],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            env=CLEAN_ENV | _proxies() | {"APT_CONFIG": str(options)},
            check=False,
        )
        if done.returncode != 0:
            raise LabError(f"apt-get {' '.join(words)}: exit {done.returncode}:\n{done.stderr}")
    return folder / "cache/archives"


def _proxies() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if name.lower().endswith("_proxy")}


def _run_aloud(words: list[str], say: Say) -> None:
    """Run mmdebstrap and pass on what it says it is doing; raises LabError with the rest if it fails."""
    lines: list[str] = []
    with subprocess.Popen(
        words,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        env=CLEAN_ENV | _proxies(),
    ) as running:
        assert running.stderr is not None
        for line in running.stderr:
            lines.append(line)
            if line.startswith("I: "):
                say(f"  {line[3:].rstrip()}")
    if running.returncode != 0:
        raise LabError("mmdebstrap failed:\n" + "".join(lines[-20:]))


def _sources_of_this_computer() -> str:
    """One-line apt sources for SUITE and its updates, taken from this computer's own."""
    form = "$(REPO_URI) $(RELEASE) $(COMPONENT)"
    lines = call("apt-get", "indextargets", "--format", form, "Created-By: Packages").splitlines()
    suites = {SUITE, f"{SUITE}-updates", f"{SUITE}-security"}
    wanted = [
        line for line in dict.fromkeys(lines) if line.split()[1] in suites and "main" in line.split()[2:]
    ]
    if SUITE not in {line.split()[1] for line in wanted}:
        return ""
    signed = f"[signed-by={_KEYRING}] " if _KEYRING.exists() else ""
    return "".join(f"deb {signed}{line}\n" for line in wanted)


@contextmanager
def _locked() -> Iterator[None]:
    cache_directory().mkdir(parents=True, exist_ok=True)
    with open(cache_directory() / "lock", "w", encoding="utf-8") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


@contextmanager
def _scratch() -> Iterator[Path]:
    """A directory in the cache for what is not finished; nothing of it outlives the block."""
    place = cache_directory() / "scratch"
    _drop(place)  # What an interrupted run left.
    place.mkdir()
    try:
        yield place
    finally:
        _drop(place)


def _drop(place: Path) -> None:
    if place.exists():
        unmount_below(place)
        shutil.rmtree(place)


def _mark_used(place: Path) -> None:
    # Beside it and not in it: a running lab may stand on it.
    (place.parent / f"used-{place.name}").touch()


def _forget(pattern: str) -> None:
    """Delete cache entries that nobody used for an hour and no running lab stands on."""
    with open("/proc/self/mounts", encoding="utf-8") as table:
        mounted = table.read()
    for old in sorted(cache_directory().glob(pattern)):
        used = cache_directory() / f"used-{old.name}"
        recently = used.exists() and used.stat().st_mtime > time.time() - 3600
        if not recently and str(old) not in mounted:
            used.unlink(missing_ok=True)
            shutil.rmtree(old)
