"""Reads ha.cf, hbd.cf, haresources and authkeys into one Config, or says everything that is wrong.

The only module of the package that opens these files. A file that is missing is
a finding at its line 1, column 1.
"""

from __future__ import annotations

import os
import socket
import stat
from pathlib import Path

from hbd.config import authkeys, hacf, hacf_fencing, haresources, hbdcf, serialfit
from hbd.config.findings import ConfigError, Finding, Findings
from hbd.config.hacf_checks import NO_IPFAIL_IN_LEGACY
from hbd.config.hacf_draft import DEFAULT_PORT, HaCf
from hbd.config.hbdcf import HbdCf
from hbd.config.lookup import Lookup
from hbd.config.model import AutoFailback, Config, GroupSpec, Keys, Place
from hbd.config.units import UnitFiles

READ_BY_OTHERS = stat.S_IRGRP | stat.S_IROTH
MOST_NODES_WITH_GROUPS = 2


def load(
    config_dir: Path,
    node_name: str,
    lookup: Lookup | None = None,
    unit_root: Path = Path("/"),
    keys: Keys | None = None,
) -> tuple[Config, Findings]:
    """The configuration for the node of that name, and its warnings.

    Units are looked for below `unit_root`, or wherever `lookup` looks. `keys` are instead of those in
    authkeys, for somebody who may not read that file and only wants to know of the others. Raises
    ConfigError with the findings of all files if any of them is an error.
    """
    found = Findings()
    asked = lookup or UnitFiles(unit_root, config_dir / "resource.d")
    ha_cf = _read_ha_cf(config_dir / "ha.cf", node_name.lower(), found)
    hbd_cf = _read_hbd_cf(config_dir / "hbd.cf", found)
    if ha_cf is not None:
        hacf_fencing.refuse(ha_cf, hbd_cf.unfenced, found)
        _check_ipfail(ha_cf, hbd_cf, found)
    groups = _read_haresources(config_dir / "haresources", ha_cf, asked, found)
    keys = keys or _read_authkeys(config_dir / "authkeys", found)
    # Without the groups every name in hbd.cf would look wrong.
    critical = hbd_cf.critical_keys(groups, ha_cf.watchdog, found) if ha_cf and groups else ()
    if ha_cf is not None and groups and len(ha_cf.nodes) > MOST_NODES_WITH_GROUPS:
        found.error(
            ha_cf.nodes[MOST_NODES_WITH_GROUPS],
            f"{len(ha_cf.nodes)} nodes, and haresources has groups: hbd manages resources on two nodes, "
            "and three or more are membership only; take the groups or a node out",
        )
    if ha_cf is not None and keys is not None and not found.failed:
        # Of what is wrong elsewhere, no arithmetic: it would mislead.
        serialfit.judge(ha_cf, node_name.lower(), groups, keys, found)
    if found.failed:
        raise ConfigError(found.sorted())
    assert ha_cf is not None, "a missing ha.cf is an error"
    assert keys is not None, "an authkeys without keys is an error"
    return _config(ha_cf, node_name.lower(), keys, groups, hbd_cf, critical), found


def check(
    config_dir: Path, node_name: str, lookup: Lookup | None = None, unit_root: Path = Path("/")
) -> tuple[list[Finding], bool]:
    """All findings in order, and whether hbd would start."""
    try:
        _, found = load(config_dir, node_name, lookup, unit_root)
    except ConfigError as error:
        return list(error.findings), False
    return list(found.sorted()), True


def local_node_name(config_dir: Path) -> str:
    """This node's name, lower case: the first line of nodeinfo if there is one, else `uname -n`."""
    try:
        text = (config_dir / "nodeinfo").read_text(encoding="utf-8", errors="surrogateescape")
    except OSError:
        text = ""
    return (text.partition("\n")[0].strip() or os.uname().nodename).lower()


def default_port() -> int:
    """The port of ha-cluster/udp in /etc/services, else 694."""
    try:
        return socket.getservbyname("ha-cluster", "udp")
    except OSError:
        return DEFAULT_PORT


def _config(
    ha_cf: HaCf, local: str, keys: Keys, groups: tuple[GroupSpec, ...], hbd_cf: HbdCf,
    critical: tuple[str, ...],
) -> Config:  # fmt: skip
    named = any(client.program == "ipfail" for client in ha_cf.clients)
    return Config(
        local_node=local,
        nodes=tuple(node.text for node in ha_cf.nodes),
        media=ha_cf.media,
        keys=keys,
        groups=groups,
        timing=ha_cf.timing,
        auto_failback=ha_cf.auto_failback,
        msgfmt=ha_cf.msgfmt,
        hopfudge=ha_cf.hopfudge,
        realtime=ha_cf.realtime,
        rtprio=ha_cf.rtprio,
        log_badpack=ha_cf.log_badpack,
        clients=ha_cf.clients,
        watchdog=ha_cf.watchdog,
        hbgenmethod=ha_cf.hbgenmethod,
        uuidfrom=ha_cf.uuidfrom,
        critical=critical,
        ipfail=named if hbd_cf.ipfail is None else hbd_cf.ipfail,
        limits=hbd_cf.limits,
        lease=hbd_cf.lease,
        metrics=hbd_cf.metrics,
        logging=ha_cf.logging,
        environment=ha_cf.environment,
        compression=ha_cf.compression,
        coredumps=ha_cf.coredumps,
        coreroot=ha_cf.coreroot,
        stonith=ha_cf.stonith,
        parameters=ha_cf.parameters,
    )


def _read_ha_cf(path: Path, local: str, found: Findings) -> HaCf | None:
    try:
        text, _ = _read(path)
    except OSError as error:
        found.error(_top(path), f"Cannot open config file [{path}]: {_reason(error)}")
        return None
    return hacf.parse(text, str(path), local, found, default_port=default_port(), hbd_cf_names=hbdcf.TABLE)


def _check_ipfail(ha_cf: HaCf, hbd_cf: HbdCf, found: Findings) -> None:
    if hbd_cf.ipfail and hbd_cf.ipfail_said is not None and ha_cf.auto_failback is AutoFailback.LEGACY:
        found.warning(hbd_cf.ipfail_said, NO_IPFAIL_IN_LEGACY)


def _read_hbd_cf(path: Path, found: Findings) -> HbdCf:
    try:
        text, _ = _read(path)
    except FileNotFoundError:
        return HbdCf()
    except OSError as error:
        found.error(_top(path), f"Cannot open config file [{path}]: {_reason(error)}")
        return HbdCf()
    return hbdcf.parse(text, str(path), found, hacf.TABLE)


def _read_haresources(
    path: Path, ha_cf: HaCf | None, lookup: Lookup, found: Findings
) -> tuple[GroupSpec, ...]:
    try:
        text, _ = _read(path)
    except OSError as error:
        found.error(_top(path), f"Cannot open resources file [{path}]: {_reason(error)}")
        return ()
    nodes = tuple(node.text for node in ha_cf.nodes) if ha_cf else ()
    return haresources.parse(text, str(path), nodes, ha_cf.ping_nodes if ha_cf else (), lookup, found)


def _read_authkeys(path: Path, found: Findings) -> Keys | None:
    try:
        text, mode = _read(path)
    except OSError as error:
        found.error(_top(path), f"Cannot open keyfile [{path}].  Stop. {_reason(error)}")
        return None
    if mode & READ_BY_OTHERS:
        found.error(
            _top(path),
            f"Bad permissions on keyfile [{path}], 600 recommended: others can read it; chmod 600 {path}",
        )
    return authkeys.parse(text, str(path), found)


def _read(path: Path) -> tuple[str, int]:
    """Text and mode of a regular file. Raises OSError. Bytes that are not UTF-8 become lone surrogates."""
    # Without O_NONBLOCK a FIFO of that name would hold us here for ever.
    with open(path, "rb", opener=lambda name, flags: os.open(name, flags | os.O_NONBLOCK)) as file:
        mode = os.fstat(file.fileno()).st_mode
        if not stat.S_ISREG(mode):
            raise OSError(0, "it is not a regular file")
        return file.read().decode("utf-8", "surrogateescape"), mode


def _top(path: Path) -> Place:
    return Place(str(path), 1, 1)


def _reason(error: OSError) -> str:
    return error.strerror or str(error)
