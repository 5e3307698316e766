"""The hosts that are no cluster machines: client, observer, router.

They have network namespaces but no systemd; they share one copy of the
machines' root, so that curl and smbclient need not be on the computer.
"""

import itertools
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from tests.lab.cgroup import Cgroup
from tests.lab.furniture import CLUSTER_ADDRESS
from tests.lab.host import LabError, call, mount_overlay, run_there
from tests.lab.probes import ArpProbe, HttpProbe

Command = str | Sequence[str]
_PROBER = Path(__file__).with_name("prober.py")


def make_root(place: Path, lowers: Sequence[Path]) -> Path:
    """The helpers' common root: commands run in it by chroot."""
    root = mount_overlay(place, lowers)
    call("mount", "-t", "proc", "proc", root / "proc")
    for directory in ("dev", "dev/pts"):
        call("mount", "--bind", f"/{directory}", root / directory)
    return root


class Helper:
    """One helper host."""

    def __init__(
        self, name: str, namespace: Path, place: Path, cgroup: Cgroup, owners: Mapping[str, str]
    ) -> None:
        self.name = name
        self._namespace = namespace
        self._place = place
        self._cgroup = cgroup
        self._owners = owners
        self._numbers = itertools.count(1)

    def entry(self, command: Command) -> list[str]:
        """The words that run `command` on this host, in the helpers' root."""
        words = ["/bin/sh", "-c", command] if isinstance(command, str) else list(command)
        root = self._place / "root"
        there = ["nsenter", f"--net={self._namespace}", f"--root={root}", f"--wd={root}"]
        # Or the commands would know the computer's name, and smbclient would tell it.
        named = ["unshare", "--uts", "/bin/sh", "-c", f'hostname {self.name} && exec "$@"', "sh"]
        return [*self._cgroup.entry(), *there, *named, *words]

    def run(
        self, command: Command, *, check: bool = True, timeout: float = 30, stdin: str = ""
    ) -> subprocess.CompletedProcess[str]:
        """Run a command; raises LabError as Node.run does."""
        return run_there(self.name, command, self.entry(command), check=check, timeout=timeout, stdin=stdin)

    def python(self, script: Path, *arguments: str) -> list[str]:
        """The words that run a Python file of the checkout in this host's network only.

        For what needs no root of its own: probers, and senders of odd datagrams.
        """
        words = [sys.executable, "-S", str(script), *arguments]
        return [*self._cgroup.entry(), "nsenter", f"--net={self._namespace}", *words]

    def http_probe(
        self, address: str = CLUSTER_ADDRESS, interval_ms: float = 20, limit_ms: float = 250
    ) -> HttpProbe:
        """Start asking `address` for its page; use it in a `with` block."""
        words = self.python(_PROBER, "http", address, f"{interval_ms}", f"{limit_ms}")
        return HttpProbe(words, self._log("http"))

    def arp_probe(self, address: str = CLUSTER_ADDRESS, interval_ms: float = 10) -> ArpProbe:
        """Start asking who has `address`; not from the client: its ARP cache must stay its own."""
        if self.name == "client":
            raise LabError(
                "an ARP probe from the client would hide a missing gratuitous ARP: use the observer"
            )
        words = self.python(_PROBER, "arp", address, "eth0", f"{interval_ms}")
        return ArpProbe(words, self._log("arp"), self._owners)

    def _log(self, kind: str) -> Path:
        return self._place / f"{self.name}-{kind}-{next(self._numbers)}.log"
