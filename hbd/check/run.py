"""One check from end to end: the files, then the machine, then the running daemon.

Whatever cannot be asked (no system bus, no systemd, not root, no daemon) is said to be unknown, and the rest
is told all the same. May block, and may look names up: nothing here runs inside the daemon.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from hbd.check import addresses, keys, links, managers, names, peer, pings, strays, units
from hbd.check.addresses import Kernel
from hbd.check.facts import Fact, Known, Section
from hbd.check.places import Places
from hbd.check.strays import Running
from hbd.config import load, timeline
from hbd.config.findings import ConfigError, Finding, Severity
from hbd.config.model import Config, Place, Ucast, Ucast6
from hbd.ctl.client import Daemon, NotRunning
from hbd.ctl.snapshot import Snapshot
from hbd.dbusio import SYSTEM_BUS, Bus
from hbd.errors import EdgeError, HbdError
from hbd.netlink import Netlink
from hbd.systemd1 import PRIVATE_SOCKET, Systemd, UnitState

LIMIT_S = 10.0
"""For all questions to one other program together."""

NOTHING, WARNINGS = 0, 1


@dataclass(frozen=True, slots=True)
class Where:
    """What is looked at; other places than the usual ones are for tests and images."""

    directory: Path
    usual: Path
    """The daemon's own directory: only its daemon's word is about these files."""
    root: Path = Path("/")
    """Unit files and the files of systemd-networkd are below it. With another one no program is asked."""
    bus: str = SYSTEM_BUS
    systemd: str = PRIVATE_SOCKET
    run: Path = Path("/run/hbd")

    @property
    def is_live(self) -> bool:
        """Whether a running daemon uses this directory."""
        return self.root == Path("/") and self.directory.resolve() == self.usual.resolve()


@dataclass(frozen=True, slots=True)
class Result:
    """All findings in order, and all facts by section."""

    findings: tuple[Finding, ...]
    facts: tuple[Fact, ...] = ()

    @property
    def status(self) -> int:
        """The exit status: 0 nothing found, 1 warnings, 78 errors."""
        severities = {finding.severity for finding in self.findings}
        if Severity.ERROR in severities:
            return os.EX_CONFIG
        return WARNINGS if severities else NOTHING


def check(where: Where) -> Result:
    """Everything that can be known. With errors in the files these alone: nothing follows from such files."""
    keyless = keys.are_hidden(where.directory / "authkeys")
    try:
        config, found = load.load(
            where.directory,
            load.local_node_name(where.directory),
            unit_root=where.root,
            keys=keys.STAND_IN if keyless else None,
        )
    except ConfigError as error:
        return Result(error.findings)
    known = Known(findings=list(found.sorted()))
    if keyless:
        known.unknown(Section.DAEMON, "authkeys", "only root can read it: it was not looked at")
    asyncio.run(_look(config, where, known))
    _times(config, Places(where.directory), known)
    order = list(Section)
    return Result(
        tuple(sorted(dict.fromkeys(known.findings), key=lambda finding: finding.place)),
        tuple(sorted(known.facts, key=lambda fact: order.index(fact.section))),
    )


def _times(config: Config, places: Places, known: Known) -> None:
    for mark in timeline.marks(config.timing, config.watchdog):
        known.good(Section.TIMES, f"{mark.ms} ms", f"{mark.name}: {mark.text}")
    if config.watchdog is None:
        known.note(Section.TIMES, "", "no watchdog line in ha.cf: nobody resets this machine before that")
    elif not Path(config.watchdog).exists():
        text = "there is no such device now, so nobody resets this machine; load its driver (hbd(8))"
        known.warn(Section.TIMES, config.watchdog, places.value("watchdog", config.watchdog), text)


async def _look(config: Config, where: Where, known: Known) -> None:
    places = Places(where.directory)
    keys.judge(where.directory / "authkeys", known)
    shown, is_down = await _daemon(where, known)
    kernel = _kernel(known)
    running: dict[str, Running] = {}
    interfaces: dict[str, str] = {}
    if kernel is not None:
        links.judge(config, kernel, places, known)
        interfaces = addresses.judge(config, kernel, places, known)
        links.judge_alone(config, kernel, set(interfaces.values()), places, known)
        if where.is_live:
            running |= addresses.present(config, kernel)
    found = await names.look_up(_names(config))
    _targets(config, found, places, known)
    await _pings(config, kernel, found, shown, places, known)
    if where.root == Path("/"):
        states = await _units(config, where, places, known)
        if where.is_live:
            running |= _active(config, states)
        await _managers(interfaces, kernel, where, places, known)
    if shown is not None:
        peer.judge(shown, places, known)
        peer.judge_files(where.directory, where.run / "config", known)
    elif not where.is_live:
        known.note(Section.DAEMON, "hbd", f"uses {where.usual}, so it was not asked")
    if shown is not None or is_down:
        strays.judge(config, shown, running, places, known)


def _names(config: Config) -> list[str]:
    """What has to be looked up; the nodes' names only to know ping nodes that are none."""
    targets = [medium.target for medium in config.media if isinstance(medium, Ucast | Ucast6)]
    hosts = [host for ping in pings.specs(config) for host in ping.hosts]
    return [*targets, *hosts, *(config.nodes if hosts else ())]


def _targets(config: Config, found: Mapping[str, tuple[str, ...]], places: Places, known: Known) -> None:
    """The other ends that ha.cf calls by name."""
    for medium in config.media:
        if isinstance(medium, Ucast | Ucast6) and not names.is_address(medium.target):
            kind = type(medium).__name__.lower()
            if found[medium.target]:
                text = f"{kind} {medium.target} is {', '.join(found[medium.target])}"
                known.note(Section.LINKS, medium.interface, f"{text}, looked up at each opening")
            else:
                place = places.value(kind, medium.target)
                text = f"{kind} {medium.target} cannot be looked up; write its address, or use /etc/hosts"
                known.warn(Section.LINKS, medium.interface, place, text)


async def _daemon(where: Where, known: Known) -> tuple[Snapshot | None, bool]:
    """What it shows; and whether it is certain that there is none. The bus may be down, and hbd up."""
    if not where.is_live:
        return None, False
    try:
        async with asyncio.timeout(LIMIT_S):
            daemon = await Daemon.find(where.bus)
            return await daemon.read(), False
    except NotRunning as error:
        why: Exception = error
        if await _is_down(where):
            known.note(Section.DAEMON, "hbd", "does not run here")
            return None, True
    except (HbdError, TimeoutError) as error:
        why = error
    known.unknown(Section.DAEMON, "hbd", f"cannot be asked: {why or 'no answer'}")
    return None, False


async def _is_down(where: Where) -> bool:
    """Whether systemd says so."""
    try:
        async with _systemd(where) as systemd, asyncio.timeout(LIMIT_S):
            return (await systemd.unit("hbd.service")).is_down
    except (HbdError, OSError, TimeoutError):
        return False


def _kernel(known: Known) -> Kernel | None:
    netlink = Netlink()
    try:
        netlink.open()
        return Kernel(netlink.tables(), {4: netlink.routes(4), 6: netlink.routes(6)})
    except (OSError, EdgeError) as error:
        known.unknown(Section.ADDRESSES, "kernel", f"cannot be asked: {error}")
        return None
    finally:
        netlink.close()


async def _pings(
    config: Config,
    kernel: Kernel | None,
    found: Mapping[str, tuple[str, ...]],
    shown: Snapshot | None,
    places: Places,
    known: Known,
) -> None:
    wanted = pings.specs(config)
    if not wanted:
        return
    nodes = () if shown is None else [node for node in shown.nodes if node.kind == "ping"]
    known_answers = {node.name: node.status == "ping" for node in nodes}
    # A ping node that is new in the file, the daemon does not ask yet.
    others = [ping for ping in wanted if ping.name not in known_answers]
    asked = await pings.ask(others) if others else {}
    answers = None if asked is None else known_answers | asked
    ours = () if kernel is None else [address.ip for address in kernel.tables.addresses()]
    pings.judge(config, found, pings.forbidden(config, found, ours), answers, places, known)


async def _units(
    config: Config, where: Where, places: Places, known: Known
) -> dict[str, tuple[UnitState, str]]:
    wanted = [resource.unit for resource in units.resources(config)]
    said = {finding.place for finding in known.findings}
    if not wanted:
        return {}
    try:
        async with _systemd(where) as systemd, asyncio.timeout(LIMIT_S):
            found = await units.states(systemd, wanted)
            units.judge(config, found, places, known)
            await units.judge_boot(systemd, config, said, places, known)
            return found
    except (HbdError, OSError, TimeoutError) as error:
        known.unknown(Section.UNITS, "systemd", f"cannot be asked: {error or 'no answer'}")
        return {}


@asynccontextmanager
async def _systemd(where: Where) -> AsyncIterator[Systemd]:
    systemd = Systemd(where.systemd, where.bus)
    connection = asyncio.create_task(systemd.run())
    try:
        yield systemd
    finally:
        connection.cancel()
        await asyncio.gather(connection, return_exceptions=True)


def _active(config: Config, states: Mapping[str, tuple[UnitState, str]]) -> dict[str, Running]:
    """Resources whose unit runs."""
    return {
        resource.name: Running(states[resource.unit][0].active, f"systemctl stop {resource.unit}")
        for resource in units.resources(config)
        if resource.unit in states and states[resource.unit][0].is_up
    }


async def _managers(
    interfaces: Mapping[str, str], kernel: Kernel | None, where: Where, places: Places, known: Known
) -> None:
    """`interfaces`: of each service address, by the resource's name."""
    if kernel is None or not interfaces:
        return
    try:
        async with asyncio.timeout(LIMIT_S):
            bus = await Bus.connect(where.bus)
            for name in sorted(set(interfaces.values())):
                resource = next(each for each, its in interfaces.items() if its == name)
                link = kernel.link(name)
                assert link is not None, "it has just been chosen from these"
                for managed in (
                    await managers.networkd(bus, where.root, link.index, name),
                    await managers.network_manager(bus, name),
                ):
                    _tell(managed, places.resource(resource), known)
    except (HbdError, OSError, TimeoutError) as error:
        known.unknown(Section.NETWORK, "system bus", f"cannot be asked: {error or 'no answer'}")


def _tell(managed: managers.Managed | None, place: Place, known: Known) -> None:
    if managed is None:
        return
    if managed.removes:
        known.warn(Section.NETWORK, managed.by, place, managed.text)
    else:
        known.good(Section.NETWORK, managed.by, managed.text)
