"""Who else configures the interfaces of the service addresses, and may take the addresses off.

systemd-networkd takes foreign addresses off when it configures an interface anew (`networkctl reconfigure`,
`networkctl reload` after a change of its files), unless the interface's .network file says
KeepConfiguration=static or yes; its start, and a link that goes down and up, left them alone (seen with
systemd 252; systemd.network(5)). NetworkManager leaves them alone until the interface's connection is
activated anew, and then flushes all. Both tell over D-Bus which interfaces are theirs
(org.freedesktop.network1(5); org.freedesktop.NetworkManager.Device, Managed); neither is started by asking.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from hbd.config.rootfs import inside
from hbd.dbusio import BROKER, BROKER_PATH, Bus, BusError

KEEPS = ("yes", "static", "true", "1", "on", "y", "t")
UNMANAGED = ("unmanaged", "pending", "initialized")
NETWORK_DIRECTORIES = ("/etc", "/run", "/usr/local/lib", "/usr/lib", "/lib")
NM = "org.freedesktop.NetworkManager"
NM_PATH = "/org/freedesktop/NetworkManager"
NETWORKD = "org.freedesktop.network1"
NETWORKD_PATH = "/org/freedesktop/network1"


@dataclass(frozen=True, slots=True)
class Managed:
    """That somebody configures an interface."""

    by: str
    removes: bool
    """Whether it is likely to take foreign addresses off."""
    text: str


async def networkd(bus: Bus, root: Path, index: int, name: str) -> Managed | None:
    """What systemd-networkd does with the interface; None if it does not run, or leaves it alone.

    Raises BusError. Its files are looked for below root.
    """
    if not await _is_there(bus, NETWORKD):
        return None
    (text,) = await bus.call(NETWORKD, NETWORKD_PATH, f"{NETWORKD}.Manager", "DescribeLink", "i", [index])
    told = json.loads(text)
    file = told.get("NetworkFile", "")
    if told.get("AdministrativeState") in UNMANAGED or not file:
        return None
    keep = keep_configuration(root, file)
    if keep in KEEPS:
        kept = f"{name} by {file}, which leaves foreign addresses alone (KeepConfiguration={keep})"
        return Managed("systemd-networkd", False, kept)
    return Managed(
        "systemd-networkd",
        True,
        f"{name} is configured by {file}: with `networkctl reconfigure` it takes addresses of hbd off; write "
        f"[Network] and KeepConfiguration=static into /etc/systemd/network/{Path(file).name}.d/hbd.conf, "
        "then networkctl reload",
    )


def keep_configuration(root: Path, file: str) -> str:
    """KeepConfiguration= of a .network file and its drop-ins, the last of which counts; `no` if none says."""
    value = "no"
    for path in _with_drop_ins(root, file):
        section = ""
        for line in _lines(path):
            if line.startswith("["):
                section = line
            elif section == "[Network]" and line.partition("=")[0].strip() == "KeepConfiguration":
                value = line.partition("=")[2].strip().lower() or "no"
    return value


def _with_drop_ins(root: Path, file: str) -> Iterator[Path]:
    main = inside(root, file)
    if main is not None:
        yield main
    found: dict[str, Path] = {}
    for directory in NETWORK_DIRECTORIES:
        below = inside(root, f"{directory}/systemd/network/{Path(file).name}.d")
        for path in sorted(below.glob("*.conf")) if below is not None and below.is_dir() else ():
            found.setdefault(path.name, path)
    yield from (found[name] for name in sorted(found))


async def network_manager(bus: Bus, name: str) -> Managed | None:
    """What NetworkManager does with the interface; None if it does not run, or leaves it alone.

    Raises BusError.
    """
    if not await _is_there(bus, NM):
        return None
    try:
        (device,) = await bus.call(NM, NM_PATH, NM, "GetDeviceByIpIface", "s", [name])
    except BusError as error:
        if error.name.startswith(f"{NM}."):
            return None  # An interface that it does not know.
        raise
    managed = await bus.get(NM, device, f"{NM}.Device", "Managed")
    if not managed:
        return None
    return Managed(
        "NetworkManager",
        True,
        f"{name} is NetworkManager's: when its connection is activated anew, addresses of hbd are flushed; "
        f"leave the interface to another tool (nmcli device set {name} managed no)",
    )


async def _is_there(bus: Bus, name: str) -> bool:
    """Whether anybody has the name: a call to it could start what is not to run."""
    (owned,) = await bus.call(BROKER, BROKER_PATH, BROKER, "NameHasOwner", "s", [name])
    return bool(owned)


def _lines(path: Path) -> list[str]:
    try:
        return [line.strip() for line in path.read_text(encoding="utf-8", errors="replace").splitlines()]
    except OSError:
        return []
