"""One virtual machine: boot it, use it, pull its wires, take its power away.

Emulated (TCG): everything in it takes some fifteen times as long as on the host. Its disk outlives a
power failure until the pair ends. All moments are CLOCK_MONOTONIC microseconds of the host; a journal
entry's is worked out from the guest's clock, which is compared with the host's at each reading.
"""

import subprocess
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.lab.cluster import GLANCE, parse_glance
from tests.lab.host import CLEAN_ENV, LabError, call, wait_until
from tests.lab.journal import Entry, now_us
from tests.lab.network import LAN, PRIVATE_LINK, Seat
from tests.vm.agent import Agent, Command
from tests.vm.hub import Hub
from tests.vm.image import Image
from tests.vm.line import NullModem
from tests.vm.qmp import MachineEvent, Monitor

MEMORY_MIB = 512
BOOT_LIMIT_S = 180.0
"""A boot takes 10 to 20 s on a computer that does nothing else."""
_NICE = "-10"

# acpi_pm: how fast the TSC runs the kernel measures at boot, and on a busy host so wrongly that a machine's
# time may go too fast or too slowly. reboot=t: at once, and not first by ways that this machine has not.
_KERNEL_WORDS = (
    "console=ttyS0 quiet loglevel=4 systemd.show_status=no net.ifnames=0 panic=1 reboot=t "
    "clocksource=acpi_pm no_timer_check nokaslr mitigations=off audit=0 selinux=0 apparmor=0 "
    "random.trust_cpu=on"
)


@dataclass(frozen=True, slots=True)
class Logged:
    """A journal entry, and when its sender wrote it by the host's clock, give or take `within_us`."""

    at_us: int
    within_us: int
    entry: Entry

    @property
    def message(self) -> str:
        return self.entry.message


@dataclass(frozen=True, slots=True)
class Clock:
    """The guest's real time minus the host's monotonic one, and how exact that is."""

    ahead_us: int
    within_us: int


class Machine:
    """A machine of a pair; `with Pair() as pair` makes them."""

    def __init__(self, name: str, place: Path, image: Image, hub: Hub, seat: Seat, cable: NullModem) -> None:
        self.name = name
        self.seat = seat
        self.watchdog_module = ""
        """The driver that is loaded at boot, e.g. softdog."""
        self._place = place
        self._image = image
        self._cable = cable
        self._networks = [(card, hub.options(name, card)) for card in (LAN, PRIVATE_LINK)]
        self._disk = place / f"{name}.disk"
        self._agent = Agent(place / f"{name}.ga")
        self._monitor: Monitor | None = None
        self._emulator: subprocess.Popen[bytes] | None = None

    # -- power -------------------------------------------------------------

    def start(self) -> None:
        """Switch on and return at once; `wait_boot` waits for the boot's end."""
        if self.is_on:
            raise LabError(f"{self.name} is on already")
        if not self._disk.exists():
            call("cp", "--reflink=auto", "--sparse=always", self._image.disk, self._disk)
        for end in ("qmp", "ga"):
            (self._place / f"{self.name}.{end}").unlink(missing_ok=True)
        with open(self._place / f"{self.name}.qemu", "ab") as output:
            self._emulator = subprocess.Popen(
                # It must not outlive us, however we end: nobody would find it.
                ["setpriv", "--pdeathsig=KILL", "--", *self._words()],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env=CLEAN_ENV,
                pass_fds=[self._line.fileno()],
                start_new_session=True,
            )
        # Ahead of other work on the host, which a machine fifteen times slower can ill bear. The kernel
        # shares processors out among sessions, and nice(2) counts within one only: sched(7), autogroup.
        with suppress(FileNotFoundError):
            Path(f"/proc/{self._emulator.pid}/autogroup").write_text(_NICE)
        try:
            self._monitor = Monitor(self._place / f"{self.name}.qmp")
        except LabError:
            self.power_kill()
            raise LabError(f"{self.name}: QEMU does not start:\n{self.output()[-2000:]}") from None

    def wait_boot(self, timeout_s: float = BOOT_LIMIT_S, not_id: str = "") -> str:
        """Wait for the end of a boot, one other than `not_id`; returns the boot's id.

        Raises LabError with the console's last lines.
        """
        end = time.monotonic() + timeout_s
        while time.monotonic() < end and self.is_on:
            try:
                self._agent.ask("guest-ping", timeout_s=5)
                boot = self.boot_id()
                if boot != not_id:
                    self._agent.run("systemctl is-system-running --wait", max(1.0, end - time.monotonic()))
                    return boot
            except LabError:
                self._agent.close()
            time.sleep(0.3)
        raise LabError(f"{self.name} did not boot within {timeout_s:g} s:\n{self.output()[-3000:]}")

    def boot_id(self) -> str:
        """What tells this boot from others."""
        return self.run("cat /proc/sys/kernel/random/boot_id", timeout=20).stdout.strip()

    def power_kill(self) -> int:
        """A power failure; returns the moment from which on the machine was silent."""
        if self._emulator is not None:
            self._emulator.kill()
            self._emulator.wait()
        return self._switched_off()

    def wait_off(self, timeout_s: float) -> None:
        """Wait until a machine that was told to power off is off."""
        assert self._emulator is not None
        wait_until(lambda: not self.is_on, timeout_s, f"{self.name} off", 0.1)
        self._emulator.wait()
        self._switched_off()

    @property
    def is_on(self) -> bool:
        return self._emulator is not None and self._emulator.poll() is None

    @property
    def monitor(self) -> Monitor:
        if self._monitor is None:
            raise LabError(f"{self.name} is off")
        return self._monitor

    def set_link(self, card: str, *, up: bool) -> int:
        """Give a card its carrier, or take it away, at this end only; returns the moment just before."""
        at_us = now_us()
        self.monitor.call("set_link", name=card, up=up)
        return at_us

    # -- what the emulator tells -------------------------------------------

    def events(self, name: str, since_us: int = 0) -> list[MachineEvent]:
        """The emulator's events of that name since the power came."""
        return self.monitor.events(name, since_us)

    def resets(self, since_us: int) -> list[MachineEvent]:
        """Each time that the machine started anew, for whatever reason."""
        return self.events("RESET", since_us)

    def hold_resets(self) -> None:
        """From now on a reset leaves the machine stopped, until `go_on`.

        So the emulator tells the moment of a reset. Else its event comes a second or more late: when it
        has laid the kernel into the memory anew.
        """
        self.monitor.call("set-action", reboot="shutdown", shutdown="pause")

    def wait_held(self, since_us: int, timeout_s: float) -> MachineEvent:
        """The reset that stopped the machine; raises LabError when there is none in time."""
        event = self.monitor.wait_event("SHUTDOWN", since_us, timeout_s)
        assert event.data["reason"] == "guest-reset", event
        return event

    def go_on(self) -> None:
        """Boot after a reset that was held, and hold none any more; `wait_boot` waits for the boot's end."""
        self.monitor.call("set-action", reboot="reset", shutdown="poweroff")
        if self.monitor.call("query-status")["status"] == "shutdown":
            self.monitor.call("system_reset")
            self.monitor.call("cont")

    # -- use ---------------------------------------------------------------

    def run(
        self, command: Command, *, check: bool = True, timeout: float = 60, stdin: str = ""
    ) -> subprocess.CompletedProcess[str]:
        """Run a command as root; raises LabError as Node.run of the lab does."""
        done = self._agent.run(command, timeout, stdin)
        if check and done.returncode != 0:
            raise LabError(f"{self.name}: exit {done.returncode}: {command}\n{done.stdout}{done.stderr}")
        return done

    def begin(self, command: Command) -> None:
        """Start a command and do not wait: for one that ends the machine."""
        self._agent.start(command)

    def write(self, files: Mapping[str, str | None], then: str = "") -> None:
        """Write files, with their directories, for root's eyes only, or remove those without a text; and run
        a command afterwards. At one go, since each costs time here."""
        script = [
            f'mkdir -p "$(dirname {path})" && cat >{path} <<"END" || exit\n{text}END\nchmod 600 {path}\n'
            if text is not None
            else f"rm -f {path}\n"
            for path, text in files.items()
        ]
        self.run(["/bin/sh", "-s"], stdin="".join(script) + then + "\n", timeout=120)

    def read(self, path: str) -> str:
        return self.run(["cat", path]).stdout

    def output(self) -> str:
        """What the emulator and the console said, through all boots."""
        files = (self._place / f"{self.name}.{end}" for end in ("qemu", "console"))
        return "".join(file.read_text(errors="replace") for file in files if file.exists())

    # -- journal -----------------------------------------------------------

    def journal(self, unit: str | None = None, since_us: int = 0) -> list[Logged]:
        """Entries of this boot, or those from the moment `since_us` on."""
        words = ["journalctl", "--boot", "--output=json", "--all", "--quiet", "--no-pager"]
        if unit is not None:
            words.append(f"--unit={unit}")
        if since_us:
            # A second more, for the inexact clocks and for what journald got late.
            words.append(f"--since=@{(time.time_ns() // 1000 - now_us() + since_us) // 1_000_000 - 2}")
        clock = self.clock()
        lines = self.run(words).stdout.splitlines()
        found = [_placed(Entry.parse(line), clock) for line in lines]
        return [logged for logged in found if logged.at_us >= since_us]

    def said(self, text: str, since_us: int = 0) -> list[Logged]:
        """What hbd has logged that contains `text`."""
        return [
            logged
            for logged in self.journal("hbd.service", since_us)
            if text in logged.message and logged.entry.fields.get("SYSLOG_IDENTIFIER") == "hbd"
        ]

    def wait_said(self, text: str, since_us: int, timeout_s: float) -> Logged:
        """The first such entry of hbd; raises LabError with the journal's end when there is none in time."""
        end = time.monotonic() + timeout_s
        while not (found := self.said(text, since_us)):
            if time.monotonic() > end:
                last = "\n".join(logged.message for logged in self.journal("hbd.service")[-20:])
                raise LabError(f"{self.name}: hbd did not say '{text}' within {timeout_s:g} s:\n{last}")
            time.sleep(0.5)
        return found[0]

    def status(self) -> dict[str, Any] | None:
        """`cluster` and `groups` of `hbctl status --json`, by busctl, which is at hand at once; None when hbd
        does not answer."""
        done = self.run(GLANCE, check=False)
        return parse_glance(done.stdout) if done.returncode == 0 else None

    def clock(self) -> Clock:
        """The guest's clock beside the host's."""
        asked = []
        for _ in range(4):
            before_us = now_us()
            guest_us = int(self._agent.ask("guest-get-time")) // 1000
            half_us = (now_us() - before_us) // 2
            asked.append(Clock(guest_us - before_us - half_us, half_us))
        return min(asked, key=lambda clock: clock.within_us)

    # -- inside ------------------------------------------------------------

    @property
    def _line(self) -> Any:
        return self._cable.ends[self.seat.number - 1]

    def _switched_off(self) -> int:
        at_us = now_us()
        if self._monitor is not None:
            self._monitor.close()
        self._monitor = self._emulator = None
        self._agent.close()
        return at_us

    def _words(self) -> Sequence[str]:
        kernel_words = f"{_KERNEL_WORDS} systemd.hostname={self.name}"
        if self.watchdog_module:
            kernel_words += f" modules_load={self.watchdog_module}"
        cards = (
            word
            for card, options in self._networks
            for word in (
                f"-netdev=dgram,{options}",
                f"-device=virtio-net-pci,netdev={card},mac={self.seat.mac(card)},romfile=",
            )
        )
        words = [
            f"-name=hbd-vm-{self.name}",
            # Without hpet: reading it is slow. la57 would slow all of the emulation down. With erms, memory
            # is cleared and copied byte by byte, and a Python program starts in 12 s instead of 7.
            "-machine=pc,hpet=off",
            "-accel=tcg,thread=multi",
            "-cpu=max,la57=off,erms=off,fsrm=off",
            f"-m={MEMORY_MIB}",
            "-nodefaults",
            "-no-user-config",
            "-display=none",
            f"-kernel={self._image.vmlinux}",
            f"-initrd={self._image.initrd}",
            f"-append={kernel_words}",
            # Unsafe against a failure of the host only: what the guest synced outlives its own.
            f"-drive=if=none,id=disk,format=raw,cache=unsafe,file={self._disk}",
            "-device=virtio-blk-pci,drive=disk",
            *cards,
            "-device=i6300esb",
            "-device=virtio-serial-pci",
            f"-chardev=socket,id=agent,path={self._place / f'{self.name}.ga'},server=on,wait=off",
            "-device=virtserialport,chardev=agent,name=org.qemu.guest_agent.0",
            f"-chardev=file,id=console,path={self._place / f'{self.name}.console'},append=on",
            "-serial=chardev:console",
            f"-chardev=socket,id=line,fd={self._line.fileno()}",
            "-serial=chardev:line",
            f"-qmp=unix:{self._place / f'{self.name}.qmp'},server=on,wait=off",
        ]
        return ["qemu-system-x86_64", *(part for word in words for part in word.split("=", 1))]


def _placed(entry: Entry, clock: Clock) -> Logged:
    fields = entry.fields
    sent_us = int(fields.get("_SOURCE_REALTIME_TIMESTAMP", fields["__REALTIME_TIMESTAMP"]))
    return Logged(sent_us - clock.ahead_us, clock.within_us, entry)
