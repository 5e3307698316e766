"""One machine: boot it, use it, take its power away.

A machine is off, running or frozen. Its root keeps what was written to it
over reboots and power failures until the lab ends; /run and /tmp do not.
"""

import os
import re
import socket
import subprocess
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from tests.lab import journal
from tests.lab.cgroup import Cgroup
from tests.lab.furniture import furnish
from tests.lab.host import CLEAN_ENV, LabError, mount_overlay, run_there, wait_until
from tests.lab.journal import Entry, now_us
from tests.lab.network import Network

Command = str | Sequence[str]

# nsenter bypasses nspawn's bound: without this, `date -s` in a machine would set the computer's clock.
_UNPRIVILEGED = ["setpriv", "--bounding-set=-sys_time,-sys_module,-sys_rawio,-syslog", "--pdeathsig=KILL"]


class Node:
    """A machine of the lab; `with Lab() as lab` makes them."""

    def __init__(
        self,
        name: str,
        lab: str,
        place: Path,
        network: Network,
        lowers: Sequence[Path],
        binds: dict[str, Path],
    ) -> None:
        self.name = name
        self._machine = f"{lab}-{name}"
        self._place = place
        self._network = network
        self._lowers = lowers
        self._binds = binds
        self.devices: dict[str, str] = {}
        """Device nodes of the computer that the machine has from its next boot on, by their path inside."""
        self.lacks: tuple[str, ...] = ()
        """Capabilities that it is refused from its next boot on, e.g. CAP_SYS_NICE."""
        self._cgroup = Cgroup(f"hbd-lab.{lab}/{name}")
        self._nspawn: subprocess.Popen[bytes] | None = None
        self._notices: socket.socket | None = None
        self._leader: int | None = None

    # -- power -------------------------------------------------------------

    def boot(self, timeout_s: float = 30, held: tuple[str, ...] = ()) -> None:
        """Boot and wait until multi-user is reached; interfaces in `held` stay down without address."""
        self.start(held)
        self.wait_ready(timeout_s)

    def start(self, held: tuple[str, ...] = ()) -> None:
        """Switch on and return at once; `wait_ready` waits for the boot's end."""
        if self.is_running:
            raise LabError(f"{self.name} is running already")
        self._switched_off()
        root = self._prepared_root()
        self._network.attach(self.name, held)
        self._cgroup.create()
        self._listen()
        with open(self._place / "console.log", "ab") as console:
            self._nspawn = subprocess.Popen(
                [*self._cgroup.entry(), *self._nspawn_words(root)],
                stdin=subprocess.DEVNULL,
                stdout=console,
                stderr=console,
                env=CLEAN_ENV
                | {
                    "SYSTEMD_NSPAWN_UNIFIED_HIERARCHY": "1",
                    # Without it the machine has the computer's sysfs, and no carrier to look at.
                    "SYSTEMD_NSPAWN_API_VFS_WRITABLE": "network",
                    "NOTIFY_SOCKET": str(self._place / "notify"),
                },
                start_new_session=True,
            )

    def wait_ready(self, timeout_s: float = 30) -> None:
        """Wait for the end of a boot begun with `start`; raises LabError with the console's last lines."""
        assert self._notices is not None
        end = time.monotonic() + timeout_s
        ready = False
        while not ready:
            try:
                notice = self._notices.recv(4096).decode()
            except TimeoutError:
                if time.monotonic() > end or self._nspawn is None or self._nspawn.poll() is not None:
                    raise LabError(f"{self.name} did not boot:\n{self.console()[-2000:]}") from None
                continue
            if leader := re.search(r"^X_NSPAWN_LEADER_PID=(\d+)$", notice, re.MULTILINE):
                self._leader = int(leader[1])
            ready = "READY=1" in notice.splitlines()
        self._notices.close()
        self._notices = None
        (self._cgroup.unified / "exec").mkdir(exist_ok=True)

    def poweroff(self, timeout_s: float = 100) -> None:
        """Shut down in order."""
        self.run(["systemctl", "poweroff"], check=False)
        self.wait_off(timeout_s)

    def reboot(self, timeout_s: float = 100, held: tuple[str, ...] = ()) -> None:
        """`systemctl reboot`, and wait until the machine is up again."""
        self.run(["systemctl", "reboot"], check=False)
        self.wait_off(timeout_s)
        self.boot(held=held)

    def wait_off(self, timeout_s: float = 100) -> None:
        """Wait until the machine, told to shut down in whatever way, is off."""
        wait_until(lambda: not self._cgroup.populated, timeout_s, f"{self.name} off")
        self._switched_off()

    def power_kill(self) -> int:
        """A power failure; returns the monotonic µs from which on the machine was silent.

        The order matters: frozen first, or daemons still alive while the ports go
        down one after the other would say goodbye, and FIN or RST would get out.
        """
        self.freeze()
        silent_since = now_us()
        self._network.unplug_all(self.name)
        self._cgroup.kill()
        self._switched_off()
        return silent_since

    def freeze(self) -> int:
        """Stall all processes (the kernel still answers ping); returns the monotonic µs."""
        if not self.is_running:
            raise LabError(f"{self.name} is off")
        self._cgroup.freeze()
        return now_us()

    def thaw(self) -> int:
        """End the stall; returns the monotonic µs just before."""
        at = now_us()
        self._cgroup.thaw()
        return at

    @property
    def is_running(self) -> bool:
        """Whether it has power, booting and frozen included."""
        return self._cgroup.populated

    @property
    def is_frozen(self) -> bool:
        return self._cgroup.frozen

    # -- use ---------------------------------------------------------------

    def run(
        self, command: Command, *, check: bool = True, timeout: float = 30, stdin: str = ""
    ) -> subprocess.CompletedProcess[str]:
        """Run a command as root; a string goes through the shell.

        Raises LabError when it exits with another status than 0 (and `check` is
        set), or is not done after `timeout` seconds; it is killed then.
        """
        return run_there(self.name, command, self.entry(command), check=check, timeout=timeout, stdin=stdin)

    def popen(self, command: Command) -> subprocess.Popen[str]:
        """Start a command whose output the caller reads; it dies with `.kill()`."""
        return subprocess.Popen(
            self.entry(command),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env=CLEAN_ENV,
        )

    def entry(self, command: Command) -> list[str]:
        """The words that run `command` inside, from the computer, in a clean environment."""
        inside = ["nsenter", "-t", str(self.leader), "-m", "-u", "-i", "-n", "-p", "-C", "-r", "-w", "--"]
        exec_procs = self._cgroup.unified / "exec" / "cgroup.procs"
        move = ["/bin/sh", "-c", f"echo $$ >'{exec_procs}' && exec \"$@\"", "sh"]
        return [*move, *inside, *_UNPRIVILEGED, *_words(command)]

    def write(self, path: str, text: str, mode: int = 0o644) -> None:
        """Write a file, with its directories, whether the machine runs or is off."""
        script = 'mkdir -p "$(dirname "$1")" && cat >"$1" && chmod "$2" "$1"'
        self._shell(script, path, f"{mode:o}", stdin=text)

    def read(self, path: str) -> str:
        """The content of a file, whether the machine runs or is off."""
        return self._shell('cat "$1"', path)

    def console(self) -> str:
        """What all boots wrote to the console."""
        return (self._place / "console.log").read_text(errors="replace")

    @property
    def leader(self) -> int:
        """Its pid 1, as the computer numbers it; raises LabError when it is off."""
        if not self.is_running:
            raise LabError(f"{self.name} is off")
        if self._leader is None:  # Booted by another process.
            procs = self._cgroup.unified / "payload" / "init.scope" / "cgroup.procs"
            self._leader = int(procs.read_text().split()[0])
        return self._leader

    def unit_cgroup(self, unit: str) -> Path:
        """The unit's cgroup, e.g. for its `cpu.stat`: usage, exited children included."""
        slice_ = self._cgroup.unified / "payload" / "system.slice"
        return slice_ / unit

    # -- journal -----------------------------------------------------------

    def journal(self, unit: str | None = None, since_us: int = 0) -> list[Entry]:
        """Entries of all boots, or those from monotonic `since_us` on."""
        return journal.read(self._journal_directory, unit, since_us)

    def entries(self, wanted: Callable[[Entry], bool], since_us: int = 0) -> list[Entry]:
        """Those that are wanted. Where there are none, journald may only not have come to it yet."""
        found = [entry for entry in self.journal(since_us=since_us) if wanted(entry)]
        if not found and self.is_running and not self.is_frozen:
            self.run("journalctl --sync", check=False)
            found = [entry for entry in self.journal(since_us=since_us) if wanted(entry)]
        return found

    def wait_for_journal(
        self, pattern: str, timeout: float = 10, since_us: int = 0, unit: str | None = None
    ) -> Entry:
        """The first entry matching the regex `pattern`; raises LabError when none comes in time."""
        return journal.wait_for(self._journal_directory, pattern, unit, since_us, timeout)

    @property
    def _journal_directory(self) -> Path:
        return self._place / "root/var/log/journal"

    # -- inside ------------------------------------------------------------

    def _shell(self, script: str, *arguments: str, stdin: str = "") -> str:
        words = ["/bin/sh", "-c", script, "sh", *arguments]
        if self.is_running:
            return self.run(words, stdin=stdin).stdout
        # chroot, so that absolute symbolic links lead to the machine's files and not to the computer's.
        words = ["chroot", str(self._prepared_root()), *words]
        done = subprocess.run(words, input=stdin, capture_output=True, text=True, env=CLEAN_ENV, check=False)
        if done.returncode != 0:
            raise LabError(f"{self.name} (off): {script}: {done.stderr}")
        return done.stdout

    def _prepared_root(self) -> Path:
        root = self._place / "root"
        if not root.exists():
            mount_overlay(self._place, self._lowers)
            seats = self._network.seats.items()
            hosts = "".join(f"{seat.lan_address} {name}\n" for name, seat in seats)
            furnish(root, self.name, hosts)
        return root

    def _listen(self) -> None:
        path = self._place / "notify"
        path.unlink(missing_ok=True)
        self._notices = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._notices.bind(str(path))
        self._notices.settimeout(0.2)

    def _nspawn_words(self, root: Path) -> list[str]:
        return [
            "systemd-nspawn",
            "--quiet",
            "--boot",
            f"--directory={root}",
            f"--machine={self._machine}",
            f"--hostname={self.name}",
            "--register=no",
            "--keep-unit",
            f"--network-namespace-path={self._network.namespace_path(self.name)}",
            "--private-users=no",
            "--capability=CAP_NET_ADMIN,CAP_IPC_LOCK",
            *(f"--drop-capability={capability}" for capability in self.lacks),
            "--console=passive",
            "--notify-ready=yes",
            "--resolv-conf=off",
            "--timezone=off",
            "--link-journal=no",
            *(f"--bind-ro={directory}:{point}" for point, directory in self._binds.items()),
            *(f"--bind={outside}:{inside}" for inside, outside in self.devices.items()),
        ]

    def _switched_off(self) -> None:
        """Put away what a machine that is off no longer has: processes, cgroup, namespace."""
        if self._nspawn is not None:
            self._nspawn.wait()
            self._nspawn = None
        if self._notices is not None:
            self._notices.close()
            self._notices = None
        self._leader = None
        self._cgroup.remove()
        self._network.detach(self.name)
        propagated = Path("/run/systemd/nspawn/propagate", self._machine)
        if propagated.exists():
            propagated.rmdir()


def _words(command: Command) -> list[str]:
    return ["/bin/sh", "-c", command] if isinstance(command, str) else list(command)


def forget_nspawn_lock(root: Path) -> None:
    """Remove the lock file that nspawn, when it is killed, leaves for the root it ran on."""
    there = root.stat()
    Path("/run/systemd/nspawn/locks", f"inode-{there.st_dev:x}:{there.st_ino:x}").unlink(missing_ok=True)


def enter(node: Node, command: Command) -> int:
    """Run a command inside with this process's terminal; returns its exit status."""
    env = CLEAN_ENV | {"TERM": os.environ.get("TERM", "dumb")}
    return subprocess.run(node.entry(command), env=env, check=False).returncode
