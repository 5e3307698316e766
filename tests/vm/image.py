"""What the machines boot: kernel, first root and disk, made once and cached beside the lab's roots.

The disk has the lab's root, Debian's guest agent, hbd as `./install` lays it, and the lab's services
(`httpd` on the cluster address). Both machines have the same one; which of them it is, it learns from
the name that the kernel's command line gives it.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tests.lab import rootfs
from tests.lab.furniture import furnish
from tests.lab.host import call, mount_overlay
from tests.lab.lab import CHECKOUT
from tests.lab.network import LAN, PRIVATE_LINK, Seat
from tests.vm import kernel

NODES = ("linuxha1", "linuxha2")
SEATS = {name: Seat(number) for number, name in enumerate(NODES, start=1)}
_PACKAGES = ["qemu-guest-agent", "busybox-static"]
_DISK_SIZE = "1500M"

_CASES = "".join(
    f"    {name}) lan={seat.lan_address} link={seat.link_address} ;;\n" for name, seat in SEATS.items()
)
_PLACE_SCRIPT = f"""\
#!/bin/sh
# What this machine, going by its name, is: addresses, and the page that says which one answers.
case $(uname -n) in
{_CASES}esac
ip addr add $lan/24 brd + dev {LAN}
ip addr add $link/24 brd + dev {PRIVATE_LINK}
ip link set {LAN} up
ip link set {PRIVATE_LINK} up
uname -n >/srv/www/index.html
"""
_PLACE_UNIT = """\
[Unit]
Description=Name and addresses of this machine
Before=network.target

[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=/usr/local/sbin/vm-place
"""
# These wait for udev, which is not there, or take seconds here and nobody needs them.
_MASKED = [
    "dev-mqueue.mount",
    "modprobe@.service",
    "serial-getty@.service",
    "systemd-logind.service",
    "systemd-random-seed.service",
    "systemd-sysusers.service",
    "systemd-user-sessions.service",
]
# Debian's own unit waits for udev, which is not there.
_AGENT_UNIT = """\
[Unit]
Description=Commands from the emulator

[Service]
ExecStart=/bin/sh -c 'exec qemu-ga --method=virtio-serial --path=$(echo /dev/vport*p1)'
Restart=always
RestartSec=1
# It tells the journal about each request.
StandardOutput=null
StandardError=null
"""
_RECIPE = "1"  # Raise it when the building below changes what comes out.


@dataclass(frozen=True, slots=True)
class Image:
    """Files that QEMU takes; the disk is to be copied, not written."""

    vmlinux: Path
    initrd: Path
    disk: Path


def image(say: Callable[[str], None] = lambda text: None) -> Image:
    """The image with hbd of this checkout; the first time it takes a minute or two."""
    began = time.monotonic()
    base = rootfs.base(say=say)
    wheels = rootfs.wheels(CHECKOUT, say=say)
    system = kernel.layer([base])
    tools = rootfs.debian_layer("vm", _PACKAGES, [system, base])
    hbd = rootfs.hbd_layer(CHECKOUT, wheels, [tools, system, base])
    lowers = [hbd, tools, system, base]

    def make(scratch: Path) -> Path:
        root = mount_overlay(scratch / "overlay", lowers)
        place = scratch / "image"
        place.mkdir()
        kernel.unwrap(root, place / "vmlinux")
        kernel.write_first_root(root, place / "initrd")
        kernel.remove_leftovers(root)
        _furnish(root)
        call("mke2fs", "-q", "-t", "ext4", "-d", root, place / "disk", _DISK_SIZE)
        return place

    words = [
        _RECIPE,
        _DISK_SIZE,
        _PLACE_SCRIPT,
        _PLACE_UNIT,
        _AGENT_UNIT,
        *_MASKED,
        *(lower.name for lower in lowers),
    ]
    place = rootfs.made_once("vm", words, make)
    say(f"the virtual machines' image: {place} ({time.monotonic() - began:.0f} s)")
    return Image(place / "vmlinux", place / "initrd", place / "disk")


def _furnish(root: Path) -> None:
    hosts = "".join(f"{seat.lan_address} {name}\n" for name, seat in SEATS.items())
    furnish(root, "vm", hosts)
    # The kernel's command line names the machine.
    (root / "etc/hostname").unlink()
    units = root / "etc/systemd/system"
    # Containers load no modules; here a driver of a watchdog is loaded as on a real machine.
    (units / "systemd-modules-load.service").unlink()
    for name in _MASKED:
        (units / name).symlink_to("/dev/null")
    wants = units / "multi-user.target.wants"
    wants.mkdir()
    for name, text in {"vm-place.service": _PLACE_UNIT, "vm-agent.service": _AGENT_UNIT}.items():
        (units / name).write_text(text)
        (wants / name).symlink_to(f"../{name}")
    script = root / "usr/local/sbin/vm-place"
    script.write_text(_PLACE_SCRIPT)
    script.chmod(0o755)
