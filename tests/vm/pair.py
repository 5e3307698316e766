"""Two virtual machines, linuxha1 and linuxha2, wired as the lab's: LAN, private link, and a null modem.

    with Pair(image()) as pair:
        pair["linuxha1"].watchdog_module = "softdog"
        pair.boot()
        run(pair, BRISK, watched=False)
        settle(pair)

Both have the watchdog devices that exist: i6300esb is a card of the machine, softdog the kernel's own.
"""

import json
import shutil
import tempfile
import threading
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.lab.cluster import ADDRESS, ONE, TWO, Timings
from tests.lab.host import CLEAN_ENV, LabError
from tests.lab.network import LAN, PRIVATE_LINK
from tests.vm.hub import Hub
from tests.vm.image import SEATS, Image
from tests.vm.line import NullModem
from tests.vm.machine import BOOT_LIMIT_S, Machine

SLOW = Timings(1000, 10_000, 40_000, 60_000)
"""For machines fifteen times slower, on a host that has other work too: a new hbd needs 4 to 12 s until its
first heartbeat, and that must be over in the third of deadtime that systemd's watchdog leaves for it."""
BRISK = Timings(1000, 5000, 15_000, 30_000)
"""Where no hbd is to be restarted in place within deadtime, nobody has to wait so long for a death."""
LINE = "/dev/ttyS1"
MEDIA = ("bcast eth1", "ucast eth0 192.168.85.1", "ucast eth0 192.168.85.2", "baud 19200", f"serial {LINE}")
HARESOURCES = f"{ONE} {ADDRESS} httpd\n"
_UNWATCHED = "/etc/systemd/system/hbd.service.d/50-unwatched.conf"


class Pair:
    """The machines, off at first; ended, and their disks gone, at the block's end."""

    def __init__(self, image: Image) -> None:
        if shutil.which("qemu-system-x86_64", path=CLEAN_ENV["PATH"]) is None:
            raise LabError("there is no emulator; ./test --vm installs it: qemu-system-x86")
        # Short: the name of a socket has 107 characters at most.
        self.place = Path(tempfile.mkdtemp(prefix="hbdvm-", dir="/var/tmp"))
        self.hub = Hub(self.place)
        self.cable = NullModem()
        self.machines = {
            name: Machine(name, self.place, image, self.hub, seat, self.cable) for name, seat in SEATS.items()
        }
        self.ways: tuple[Timings, bool] | None = None
        """What hbd on both was last configured for: its times, and whether systemd's watchdog is on."""

    def __enter__(self) -> Self:
        self.hub.start()
        self.cable.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        for machine in self.machines.values():
            machine.power_kill()
        self.cable.__exit__(kind, error, at)
        self.hub.close()
        shutil.rmtree(self.place)

    def __getitem__(self, name: str) -> Machine:
        return self.machines[name]

    def peer(self, name: str) -> Machine:
        return self.machines[TWO if name == ONE else ONE]

    def boot(self, timeout_s: float = BOOT_LIMIT_S) -> None:
        """Boot both at the same time."""
        for machine in self.machines.values():
            machine.start()
        for machine in self.machines.values():
            machine.wait_boot(timeout_s)

    def answering(self) -> set[str]:
        """The machines that answer a stranger's ARP request for the cluster address."""
        names = {machine.seat.mac("eth0"): name for name, machine in self.machines.items()}
        return {names[mac] for mac in self.hub.who_has(ADDRESS)}


def run(pair: Pair, timings: Timings, *, watched: bool) -> None:
    """Have hbd running on both with these times, and with systemd's watchdog or with `WatchdogSec=0`."""
    if pair.ways != (timings, watched):

        def change(machine: Machine) -> None:
            machine.run("systemctl stop hbd", timeout=120)
            configure(machine, timings, watched=watched)

        on_each(pair, (), change)
        pair.ways = (timings, watched)
    start(pair)


def configure(machine: Machine, timings: Timings, *, watched: bool) -> None:
    """Write /etc/ha.d of a machine, which runs, and say whether systemd watches hbd."""
    lines = [*timings.lines(), *MEDIA, "auto_failback off", "watchdog /dev/watchdog", f"node {ONE} {TWO}"]
    machine.write(
        {
            "/etc/ha.d/ha.cf": "".join(f"{line}\n" for line in lines),
            "/etc/ha.d/haresources": HARESOURCES,
            "/etc/ha.d/authkeys": "auth 1\n1 sha1 key-for-sha1-any-text-you-want\n",
            _UNWATCHED: None if watched else "[Service]\nWatchdogSec=0\n",
        },
        # Its power may fail soon.
        then="systemctl daemon-reload && sync",
    )


def restore(pair: Pair) -> None:
    """Put right what is broken: power, carriers, the null modem."""
    pair.cable.plugged = True
    off = [machine for machine in pair.machines.values() if not machine.is_on]
    for machine in off:
        machine.start()
    for machine in pair.machines.values():
        machine.go_on()
        # Also one that resets just now.
        machine.wait_boot()
        for card in (LAN, PRIVATE_LINK):
            machine.set_link(card, up=True)


def start(pair: Pair, *names: str) -> None:
    """`systemctl start hbd` on these machines, both by default, at the same time."""
    on_each(pair, names, lambda machine: machine.run("systemctl start hbd", timeout=120))


def settle(pair: Pair, *names: str, owned_by: str | None = None, timeout: float = 120) -> str:
    """Wait until these machines, both by default, name the same owner of the group, at rest.

    Returns who it is. Raises LabError with what they say when that is not so in time.
    """
    chosen = [pair[name] for name in names or pair.machines]
    end = time.monotonic() + timeout
    while True:
        seen = [machine.status() for machine in chosen]
        owners = {_settled_owner(shown) for shown in seen}
        if len(owners) == 1 and "" not in owners and owners <= {owned_by or next(iter(owners))}:
            return owners.pop()
        if time.monotonic() > end:
            raise LabError(f"not settled within {timeout:g} s:\n{json.dumps(seen, indent=1)}")
        time.sleep(0.5)


def move(pair: Pair, to: str) -> None:
    """Have `to` own everything, both running."""
    if settle(pair) != to:
        pair[to].run("hbctl takeover --wait", timeout=90, check=False)
        settle(pair, owned_by=to)


def page(machine: Machine) -> str:
    """Which machine answers this one's request for the page on the cluster address; empty when none does."""
    done = machine.run(["curl", "-s", "--max-time", "10", f"http://{ADDRESS}/"], check=False)
    return done.stdout.strip()


def restarts(machine: Machine) -> int:
    """How often systemd has started hbd again by itself since it was last started by somebody."""
    return int(machine.run("systemctl show --value --property=NRestarts hbd").stdout)


def on_each(pair: Pair, names: Iterable[str], work: Callable[[Machine], object]) -> None:
    """Do it with all at the same time; raises the first error after all have ended."""
    errors: list[LabError] = []

    def run(machine: Machine) -> None:
        try:
            work(machine)
        except LabError as error:
            errors.append(error)

    threads = [
        threading.Thread(target=run, args=(pair[name],)) for name in tuple(names) or tuple(pair.machines)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]


def _settled_owner(shown: object) -> str:
    """Who owns the group, going by this status; empty while something is on its way."""
    match shown:
        case {
            "cluster": {"state": "stable", "transition": 0},
            "groups": [{"state": "started", "owner": str(owner)}],
        }:
            return owner
        case _:
            return ""
