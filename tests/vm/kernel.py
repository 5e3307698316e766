"""A kernel for the machines, and the small first root that finds the real one.

Debian's own kernel of the `amd64` flavour (the `cloud` one lacks i6300esb). It is taken out of its
wrapping here, once, so that QEMU starts it directly (PVH) and no guest unpacks it at every boot; QEMU
has no other processor than an emulated one, and is slow.
"""

import lzma
import shutil
import struct
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.lab import rootfs
from tests.lab.host import LabError, call

# What a guest can have here; all else of the 300 MB would only be copied.
_WANTED = [
    "./boot/vmlinuz-*",
    "./lib/modules/*/modules.*",
    "./lib/modules/*/kernel/arch",
    "./lib/modules/*/kernel/crypto",
    "./lib/modules/*/kernel/drivers/char/virtio_console.ko",
    "./lib/modules/*/kernel/drivers/block/virtio_blk.ko",
    "./lib/modules/*/kernel/drivers/net/net_failover.ko",
    "./lib/modules/*/kernel/drivers/net/virtio_net.ko",
    "./lib/modules/*/kernel/drivers/virtio",
    "./lib/modules/*/kernel/drivers/watchdog",
    "./lib/modules/*/kernel/fs/ext4",
    "./lib/modules/*/kernel/fs/jbd2",
    "./lib/modules/*/kernel/fs/mbcache.ko",
    "./lib/modules/*/kernel/lib",
    "./lib/modules/*/kernel/net",
]
# What the first root loads: there is no udev. crc32c is asked for by name only.
_FIRST_MODULES = ["virtio_pci", "virtio_blk", "virtio_net", "virtio_console", "crc32c_generic", "ext4"]
_FIRST_PROGRAM = """\
#!/bin/busybox sh
/bin/busybox mount -t devtmpfs dev /dev
for module in $(/bin/busybox cat /modules/order); do /bin/busybox insmod /modules/$module; done
until /bin/busybox mount -t ext4 -o rw,noatime /dev/vda /root; do /bin/busybox sleep 0.1; done
/bin/busybox umount /dev
exec /bin/busybox switch_root /root /usr/lib/systemd/systemd
"""
_RECIPE = "1"  # Raise it when what comes out changes.


def layer(lowers: Sequence[Path]) -> Path:
    """/boot and /usr/lib/modules of Debian's kernel, without what its installation would run."""

    def fill(root: Path) -> None:
        with tempfile.TemporaryDirectory(prefix="hbd-vm-") as folder:
            archives = rootfs.fetch(["linux-image-amd64"], root, Path(folder))
            (archive,) = archives.glob("linux-image-[0-9]*.deb")
            unpack = f"dpkg-deb --fsys-tarfile '{archive}' | tar -x -C '{root}' --keep-directory-symlink"
            call("sh", "-c", f'{unpack} --wildcards "$@"', "sh", *_WANTED)
        rootfs.run_in(root, ["depmod", _version(root)])

    return rootfs.layer("kernel", f"{_RECIPE} {' '.join(_WANTED)}", lowers, fill)


def unwrap(root: Path, into: Path) -> None:
    """Write the ELF file in the root's bzImage (Linux' Documentation/x86/boot.rst)."""
    image = (root / "boot" / f"vmlinuz-{_version(root)}").read_bytes()
    begin = (image[0x1F1] + 1) * 512 + struct.unpack_from("<I", image, 0x248)[0]
    payload = image[begin : begin + struct.unpack_from("<I", image, 0x24C)[0]]
    if payload.startswith(b"\xfd7zXZ"):
        elf = lzma.LZMADecompressor().decompress(payload)
    elif payload.startswith(b"\x28\xb5\x2f\xfd"):
        elf = subprocess.run(["zstd", "-dcq"], input=payload, capture_output=True, check=False).stdout
    else:
        raise LabError(f"the kernel is wrapped in a way not known here: {payload[:6].hex()}")
    if not elf.startswith(b"\x7fELF"):
        raise LabError("there is no ELF file in the kernel's image")
    into.write_bytes(elf)


def write_first_root(root: Path, into: Path) -> None:
    """An initramfs of busybox and the modules that reach the disk, as an uncompressed cpio archive."""
    modules = _with_needed(root)
    entries = [
        *(_Entry(name, 0o40755) for name in ("bin", "dev", "modules", "root")),
        _Entry("dev/console", 0o20600, device=(5, 1)),
        _Entry("bin/busybox", 0o100755, (root / "usr/bin/busybox").read_bytes()),
        _Entry("init", 0o100755, _FIRST_PROGRAM.encode()),
        _Entry("modules/order", 0o100644, "\n".join(module.name for module in modules).encode()),
        *(_Entry(f"modules/{module.name}", 0o100644, module.read_bytes()) for module in modules),
        _Entry("TRAILER!!!", 0),
    ]
    with open(into, "wb") as archive:
        for number, entry in enumerate(entries, start=1):
            archive.write(entry.packed(number))


@dataclass(frozen=True, slots=True)
class _Entry:
    """A file in a cpio archive of the `newc` kind (Linux' early-userspace/buffer-format.rst)."""

    name: str
    mode: int
    content: bytes = b""
    device: tuple[int, int] = (0, 0)

    def packed(self, number: int) -> bytes:
        name = self.name.encode() + b"\0"
        numbers = [number, self.mode, 0, 0, 1, 0, len(self.content), 0, 0, *self.device, len(name), 0]
        head = b"070701" + b"".join(b"%08x" % value for value in numbers) + name
        return _padded(head) + _padded(self.content)


def _padded(piece: bytes) -> bytes:
    return piece + bytes(-len(piece) % 4)


def _version(root: Path) -> str:
    (folder,) = (root / "usr/lib/modules").iterdir()
    return folder.name


def _with_needed(root: Path) -> list[Path]:
    """The first modules, each behind those that it needs."""
    folder = root / "usr/lib/modules" / _version(root)
    needs: dict[str, list[str]] = {}
    for line in (folder / "modules.dep").read_text().splitlines():
        module, _, others = line.partition(":")
        needs[module] = others.split()
    by_name = {Path(module).name.removesuffix(".ko"): module for module in needs}

    def behind(module: str) -> Iterator[str]:
        for other in needs[module]:
            yield from behind(other)
        yield module

    order = dict.fromkeys(
        path for name in _FIRST_MODULES if name in by_name for path in behind(by_name[name])
    )
    return [folder / path for path in order]


def remove_leftovers(root: Path) -> None:
    """The kernel's own file lies outside the machines' disks."""
    shutil.rmtree(root / "boot")
