"""Who else configures the interfaces of the service addresses, and may take the addresses off.

Both were tried (systemd 252, NetworkManager 1.42) with an address that was added beside theirs:

    systemd-networkd  takes it off when it configures the interface anew: `networkctl reconfigure`, and
                      `networkctl reload` after any of its files was touched; unless the .network file
                      says KeepConfiguration=static or yes (not dynamic). Its start and end, and a link
                      that goes down and up, leave it.
    NetworkManager    takes it off at `nmcli connection up` and `nmcli device reapply`, when the interface
                      goes down, 6 s after a cable was pulled, and when its file begins to call the
                      interface unmanaged. Its start, restart and end leave it. No setting keeps foreign
                      addresses. An interface that another tool has configured it only looks at
                      ("connected (externally)"), until a connection is activated there.

A DHCP lease that is renewed leaves it with both. Both tell over D-Bus which interfaces are theirs
(org.freedesktop.network1(5); NetworkManager's D-Bus reference); neither is started by asking.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from hbd.config.rootfs import inside
from hbd.dbusio import BROKER, BROKER_PATH, Bus, BusError

KEEPS = ("yes", "static", "true", "1", "on", "y", "t")
EXTERNAL = 0x80
"""NM_ACTIVATION_STATE_FLAG_EXTERNAL: NetworkManager has found the interface configured, and looks on."""
UNMANAGED = ("unmanaged", "pending", "initialized")
NETWORK_DIRECTORIES = ("/etc", "/run", "/usr/local/lib", "/usr/lib", "/lib")
NM = "org.freedesktop.NetworkManager"
NM_PATH = "/org/freedesktop/NetworkManager"
ACTIVE = f"{NM}.Connection.Active"
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
        f"{name} is configured by {file}: `networkctl reload` after any change of its files, and `networkctl "
        "reconfigure`, take the service address off, until hbd puts it back; write [Network] and "
        f"KeepConfiguration=static into /etc/systemd/network/{Path(file).name}.d/hbd.conf, then networkctl "
        "reload",
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
    """What NetworkManager does with the interface; None if it does not run, or knows no such interface.

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
    if not await bus.get(NM, device, f"{NM}.Device", "Managed"):
        return Managed("NetworkManager", False, f"{name} is unmanaged: it leaves it alone")
    active = str(await bus.get(NM, device, f"{NM}.Device", "ActiveConnection"))
    if active == "/" or int(await bus.get(NM, active, ACTIVE, "StateFlags")) & EXTERNAL:
        text = f"{name} is not configured by it: it looks on, until somebody activates a connection there"
        return Managed("NetworkManager", False, text)
    connection = await bus.get(NM, active, ACTIVE, "Id")
    text = (
        f"{name} is configured by its connection '{connection}': when that is activated or reapplied, and "
        "6 s after a cable was pulled, the service address is taken off, until hbd puts it back; no setting "
        f"prevents it: have another tool configure {name}, as in hbctl(8), check"
    )
    return Managed("NetworkManager", True, text)


async def _is_there(bus: Bus, name: str) -> bool:
    """Whether anybody has the name: a call to it could start what is not to run."""
    (owned,) = await bus.call(BROKER, BROKER_PATH, BROKER, "NameHasOwner", "s", [name])
    return bool(owned)


def _lines(path: Path) -> list[str]:
    try:
        return [line.strip() for line in path.read_text(encoding="utf-8", errors="replace").splitlines()]
    except OSError:
        return []
