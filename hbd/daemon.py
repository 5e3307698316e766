"""The composition root: the only module that knows all the others, and decides nothing.

    arguments → configuration → who we are → core and edges → READY
        → SIGTERM: released and said goodbye, status 0
        → SIGHUP: another configuration, or the old one kept
        → a bug anywhere: status 70 at once, with everything left running for the restart to adopt
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
import os
import secrets
import signal
import threading
import time
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

from hbd import __version__, abort, clock, configuration, cores, realtime, units_boot
from hbd.agents.address import AddressAgent
from hbd.agents.paths import PathWatch
from hbd.agents.script import ScriptAgent, Surroundings
from hbd.agents.scriptenv import script_environment
from hbd.agents.unit import UnitAgent
from hbd.bus.service import Service
from hbd.config import timeline
from hbd.config.compare import compare
from hbd.config.findings import ConfigError, format_findings
from hbd.config.load import check, local_node_name
from hbd.config.model import AddressResource, Config, Logging, ResourceSpec, ScriptResource, UnitResource
from hbd.core.cluster import Cluster
from hbd.core.effects import Device, Kind, Level, Log, Quit, Reboot
from hbd.core.events import HeldGroup, Reload, Stall, Started, Stop
from hbd.core.membership import Identity
from hbd.core.views import ClusterView, NodeStatus
from hbd.crash import callback_failed, crash, crash_of, thread_failed
from hbd.driver import MESSAGES, Driver
from hbd.edges import Edges
from hbd.errors import HbdError
from hbd.history import History
from hbd.jobs import Agent, Jobs
from hbd.journal import Journal, route_logging
from hbd.lease import KernelLease, settle
from hbd.logs.sinks import FACILITIES, syslog_socket
from hbd.logs.writer import LogFiles, describe
from hbd.media.table import Media
from hbd.metrics.writer import Metrics
from hbd.netlink import Netlink
from hbd.notify import Notifier
from hbd.places import Places, locked, parser
from hbd.respawn import Keeper
from hbd.state import RunDir, StateDir, Store
from hbd.systemd1 import Systemd
from hbd.watchdog import Watchdog

EX_OSERR, EX_CONFIG = 71, 78
"""sysexits.h."""

LOAD_EVERY_S = 5.0
LEASE_LIMIT_S = 3.0
"""For removing the lease's rules at an orderly end."""
EXTEND_EVERY_S, EXTEND_BY_S = 5.0, 30.0
RETRY_S = 5.0
MOST_DEBUG = 255

log = logging.getLogger("hbd")


def main(arguments: list[str], gone: list[str]) -> int:
    """The exit status. `gone`: addresses that were taken off before anything else."""
    options = parser().parse_args(arguments)
    # Absolute: coreroot may take us elsewhere.
    directories = (options.config_dir, options.state_dir, options.run_dir)
    places = Places(*(Path(each).absolute() for each in directories))
    if options.check:
        return _check(places.config)
    journal = Journal()
    route_logging(journal)
    threading.excepthook = thread_failed
    realtime.prepare_threads()
    abort.hold()
    logfiles = LogFiles(journal.alone)
    journal.beside = logfiles
    notifier = Notifier(os.environ.get("NOTIFY_SOCKET"), watched="WATCHDOG_USEC" in os.environ)
    if gone:
        text = f"the other node may have taken over: {', '.join(gone)} off before anything else"
        journal.log(Log(Level.WARN, Kind.ABSENCE, text))
    try:
        run = RunDir(places.run)
        with locked(places.run):
            return _start(places, run, journal, logfiles, notifier)
    except ConfigError:
        return EX_CONFIG  # Every finding is in the journal.
    except OSError as error:
        log.critical("cannot start: %s", error)
        notifier.error(error.errno or errno.EIO)
        return EX_OSERR
    finally:
        logfiles.close()


def _start(
    places: Places, run: RunDir, journal: Journal, logfiles: LogFiles, notifier: Notifier
) -> int:
    """From the configuration to the end. Raises ConfigError, OSError."""
    held = _held(run)
    config, notifier.remark = configuration.first(places.config, places.last_good, bool(held))
    _direct_log(config.logging, journal, logfiles)
    state = StateDir(places.state)
    begun = state.begin(config.local_node, config.hbgenmethod, config.uuidfrom, int(time.time()))
    log.info("**************************")
    log.info("Configuration validated. Starting hbd %s", __version__)
    log.info("%s", describe(config.logging))
    for note in begun.notes:
        journal.log(note)
    for refusal in cores.arrange(config.coredumps, config.coreroot):
        log.error("%s", refusal)
    if config.coredumps:
        log.info("%s", cores.describe(config.coreroot))
    if config.realtime:
        for refusal in realtime.be_realtime(config.rtprio):
            log.error("%s", refusal)
    else:
        realtime.be_ordinary()
    abort.watch(
        run.path,
        (config.rtprio or realtime.DEFAULT_PRIORITY) if config.realtime else None,
        lambda ms: run.note_stall(Stall(ms, int(time.time()))),
        journal.log,
    )
    identity = Identity(
        name=config.local_node,
        uuid=begun.uuid,
        generation=begun.generation,
        incarnation=secrets.randbits(32),
        peers=begun.peers,
        freeze=run.freeze(begun.freeze),
    )
    try:
        run.guard(held, frozen=identity.freeze.mark & 1 == 1)
    except OSError as error:
        log.error("systemd cannot be told what others may start: %s", error)
    core = Cluster(config, identity, secrets.randbits(64))
    store = Store(state, run, journal.log)
    daemon = Daemon(places, config, core, run, state, store, journal, logfiles, notifier)
    status = asyncio.run(daemon.run(held))
    store.close()
    return status


def _direct_log(wanted: Logging, journal: Journal, logfiles: LogFiles) -> None:
    """From here on the log goes there, at this level of detail."""
    # A syslog daemon gets lines of its own; without one, the journal's entries carry the facility.
    facility = FACILITIES.get(wanted.facility or "none")
    journal.facility = facility if syslog_socket() is None else None
    logfiles.configure(wanted)
    _detail(wanted.debug)


def _detail(level: int) -> None:
    """ha.cf's `debug`. Ours only: what libraries have to say is for their authors."""
    log.setLevel(logging.INFO if level == 0 else logging.DEBUG if level == 1 else MESSAGES)


def _held(run: RunDir) -> tuple[HeldGroup, ...]:
    """What the last daemon of this boot held. A record that cannot be read names nothing that is ours."""
    try:
        return run.held()
    except ValueError as error:
        log.error("%s/held is unreadable, so nothing that runs is taken for ours: %s", run.path, error)
        return ()


def _check(config_dir: Path) -> int:
    findings, valid = check(config_dir, local_node_name(config_dir))
    if findings:
        print(format_findings(findings))
    return 0 if valid else EX_CONFIG


class Daemon:
    """One run, from a valid configuration to the exit status."""

    def __init__(
        self,
        places: Places,
        config: Config,
        core: Cluster,
        run: RunDir,
        state: StateDir,
        store: Store,
        journal: Journal,
        logfiles: LogFiles,
        notifier: Notifier,
    ) -> None:
        self._places = places
        self._config = config
        self._core = core
        self._run = run
        self._state = state
        self._store = store
        self._journal = journal
        self._logfiles = logfiles
        self._debug = config.logging.debug
        self._notifier = notifier
        self._watchdog = Watchdog(places.run / "watchdog", journal.log, self._time_watchdogs)
        self._load = clock.LoadAverage()
        self._reloads = asyncio.Lock()
        self._tasks: list[asyncio.Task[None]] = []
        self._stopping = False

    async def run(self, held: tuple[HeldGroup, ...]) -> int:
        """The exit status. Whatever fails unexpectedly ends the process from here."""
        try:
            return await self._serve(held)
        except Exception as bug:
            crash(bug)

    async def _serve(self, held: tuple[HeldGroup, ...]) -> int:
        asyncio.get_running_loop().set_exception_handler(callback_failed)
        netlink = Netlink()
        netlink.open()
        self._systemd = Systemd(on_down=_systemd_is_away)
        addresses = AddressAgent(netlink)
        agents: dict[type[ResourceSpec], Agent] = {
            AddressResource: addresses,
            UnitResource: UnitAgent(self._systemd, self._store.before_start),
            ScriptResource: ScriptAgent(self._systemd, self._places.run.absolute(), self._surroundings),
        }
        jobs = Jobs(agents, addresses)
        history = History(self._places.state / "history", clock.boot_id(), self._journal.log)
        paths = PathWatch(netlink)
        clients = Keeper(self._systemd, self._client_environment)
        lease = KernelLease(netlink, addresses.places, clock.boot_ms)
        self._load.refresh()
        driver = Driver(
            self._core,
            Edges(
                now=clock.now,
                load=lambda: self._load.line,
                medium=Media().make,
                work=jobs,
                clients=clients,
                lease=lease,
                paths=paths,
                store=self._store.store,
                log=self._journal.log,
                note=history.note,
                recall=history.recall,
                feed=self._feed,
            ),
        )
        service = Service(
            driver.ask, self.reload, history, self._core.explain, figures=self._figures,
            ask_peer=driver.ask_peer,
        )
        self._metrics = Metrics(lambda: {**service.statistics(), **self._figures()})
        history.subscribe(service.decided)
        driver.subscribe(self._expect)
        driver.subscribe(self._notifier.show)
        driver.subscribe(service.publish)
        driver.subscribe(self._metrics.show)
        for failed in (driver.failed, jobs.failed):
            failed.add_done_callback(crash_of)
        self._driver, self._jobs, self._clients = driver, jobs, clients
        self._boot_order = units_boot.BootOrder(
            self._systemd, self._state.store_units, lambda: jobs.in_flight > 0
        )
        async with asyncio.TaskGroup() as self._background:
            for work in (
                self._systemd.run(),
                lease.run(),
                service.run(),
                self._watch_load(),
                self._look_for_systemds_watchdog(),
                clients.sweep([client.unit for client in self._config.clients]),
            ):
                self._spawn(work)
            self._adapt(self._config)
            self._take_signals()
            silent_ms = self._run.silent_ms(clock.boot_ms())
            late, promise = self._is_late(held), self._run.promise
            driver.post(Started(held, late, silent_ms, self._run.stall(), promise))
            self._notifier.ready()
            realtime.quiet_collector()
            self._settle_units()
            status = await self._end(await driver.ended)
            await settle(lease, LEASE_LIMIT_S)
            for task in self._tasks:
                task.cancel()
        driver.close()
        jobs.close()
        clients.close()
        lease.close()
        self._metrics.close()
        paths.close()
        addresses.close()
        netlink.close()
        history.close()
        return status

    async def _end(self, last: Quit) -> int:
        """Stop the device, or see to it that the machine goes. Returns the exit status."""
        self._stopping = True  # The SIGTERM that comes with the reboot changes nothing.
        match last.reboot:
            case Reboot.NO:
                self._run.store_clients(())
                with contextlib.suppress(OSError):  # No space for even a name: hbd(8) tells what to do.
                    self._run.lift_guard()
                self._watchdog.release()
                return last.status
            case Reboot.IN_ORDER:
                if await self._ask_for_reboot(self._systemd.start("reboot.target", "replace-irreversibly")):
                    self._watchdog.release()
                return last.status
            case Reboot.AT_ONCE:
                # If not even that works: a failure, after which the next hbd takes up what does not stop.
                return last.status if await self._ask_for_reboot(self._systemd.reboot_now()) else EX_OSERR

    async def _ask_for_reboot(self, call: Coroutine[Any, Any, object]) -> bool:
        try:
            async with asyncio.timeout(RETRY_S):
                await call
        except (HbdError, OSError, TimeoutError) as error:
            log.critical("systemd does not reboot this machine: %s", error or "no answer")
            return False
        log.critical("Rebooting system.  Reason: a failfast client has failed")
        return True

    def _is_late(self, held: tuple[HeldGroup, ...]) -> bool:
        """Whether nobody looked after what is held for longer than the peer waits."""
        now_ms = clock.boot_ms()
        if held:
            return self._run.is_overdue(now_ms)
        # Whatever will be started is started later than this, and may be held before the first healthy tick.
        self._run.stamp(now_ms)
        return False

    def _feed(self, now_ms: int, device: Device) -> None:
        self._run.stamp(min(now_ms, self._core.heard_ms))
        self._notifier.watchdog()
        self._watchdog.feed(device)

    def _expect(self, view: ClusterView) -> None:
        """Note for our successor how long the peer would wait for it before it takes over."""
        if self._core.deadline_ms is not None:  # Before it begins, a core knows only its configuration.
            self._run.be_patient(max(self._core.restart_patience_ms, 0))
            self._run.keep_promise(self._core.promise)

    def _adapt(self, config: Config) -> None:
        """What the edges keep of the configuration."""
        self._config = config
        self._metrics.use(config.metrics)
        self._run.store_clients(tuple(client.unit for client in config.clients if not client.is_built_in))
        self._expect(self._core.view())
        self._watchdog.use(config.watchdog, timeline.device_timeout_s(config.timing))
        self._time_watchdogs(self._watchdog.timeout_s)

    def _time_watchdogs(self, device_s: int | None) -> None:
        """Let systemd restart us before a device with this timeout, if one runs, resets the machine."""
        timing = self._config.timing
        self._notifier.watchdog_every(timeline.restart_limit_ms(timing, device_s))
        if device_s is not None and not timeline.fences_in_time(timing, device_s):
            text = (
                f"the watchdog device resets this machine after {device_s} s, and the peer takes over before "
                f"that (deadtime {timing.deadtime_ms} ms, keepalive {timing.keepalive_ms} ms)"
            )
            self._journal.log(Log(Level.ERROR, Kind.WATCHDOG, text))

    def _figures(self) -> dict[str, int]:
        """What the edges count."""
        return {"journal_lost": self._journal.lost}

    def _surroundings(self) -> Surroundings:
        """What scripts are run with, as of now."""
        nodes = self._core.view().nodes
        alone = not any(node.status is NodeStatus.ACTIVE and not node.local for node in nodes)
        return Surroundings(script_environment(self._config, alone), self._config.limits)

    def _client_environment(self) -> dict[str, str]:
        """What ha.cf says. Home and the like are those of each client's user."""
        found = self._surroundings().environment
        return {name: value for name, value in found.items() if name.startswith("HA_")}

    # ------------------------------------------------------------ signals

    def _take_signals(self) -> None:
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGTERM, self._stop)
        loop.add_signal_handler(signal.SIGHUP, self._hang_up)
        loop.add_signal_handler(signal.SIGUSR1, self._change_debug, 1)
        loop.add_signal_handler(signal.SIGUSR2, self._change_debug, -1)
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        if os.isatty(0):
            loop.add_signal_handler(signal.SIGINT, self._stop)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGHUP, signal.SIGINT, signal.SIGTERM})

    def _stop(self) -> None:
        if not self._stopping:
            self._stopping = True
            self._notifier.stopping()
            self._driver.ask(Stop())
            self._spawn(self._ask_for_time())

    def _change_debug(self, by: int) -> None:
        """As in 3.0.6: SIGUSR1 shows more, SIGUSR2 less."""
        self._debug = min(max(self._debug + by, 0), MOST_DEBUG)
        _detail(self._debug)
        log.info("Debug level is %d now", self._debug)

    def _hang_up(self) -> None:
        self._spawn(self._reload_and_go_on())

    async def _reload_and_go_on(self) -> None:
        # What was wrong is in the journal.
        with contextlib.suppress(HbdError):
            await self.reload()

    async def reload(self) -> None:
        """What SIGHUP does: the new configuration, or HbdError and the old one."""
        async with self._reloads:
            self._notifier.reloading()
            self._logfiles.reopen()
            try:
                await self._reload()
            finally:
                self._notifier.ready()

    async def _reload(self) -> None:
        places = self._places
        try:
            new = await asyncio.to_thread(configuration.read, places.config, places.last_good)
            await self._driver.ask(Reload(new))
        except HbdError as error:
            reason = "it has errors" if isinstance(error, ConfigError) else str(error)
            self._say(Level.ERROR, f"The new configuration is not used, the old one stays in force: {reason}")
            raise
        changes = compare(self._config, new)
        if new.logging != self._config.logging:
            self._debug = new.logging.debug
            _direct_log(new.logging, self._journal, self._logfiles)
            log.info("%s", describe(new.logging))
        self._say(Level.INFO, f"Configuration reloaded: {'; '.join(changes.texts()) or 'unchanged'}")
        self._notifier.remark = ""
        self._adapt(new)
        self._settle_units()

    def _say(self, level: Level, text: str) -> None:
        self._journal.log(Log(level, Kind.RELOAD, text))

    # ------------------------------------------------------------ in the background

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        self._tasks = [task for task in self._tasks if not task.done()]
        self._tasks.append(self._background.create_task(work))

    def _settle_units(self) -> None:
        if self._notifier.present:  # Else it is no service, and there is nothing to order.
            self._spawn(self._boot_order.settle(_units(self._config)))

    async def _watch_load(self) -> None:
        while True:
            await asyncio.sleep(LOAD_EVERY_S)
            self._load.refresh()

    async def _look_for_systemds_watchdog(self) -> None:
        """So that a device which is taken can be explained."""
        try:
            async with asyncio.timeout(RETRY_S * 6):
                self._watchdog.systemd_feeds_s = await self._systemd.runtime_watchdog_s()
        except (HbdError, OSError, TimeoutError) as error:
            log.debug("systemd does not tell its RuntimeWatchdogSec=: %s", error or "no answer")

    async def _ask_for_time(self) -> None:
        """While jobs are at work a stop may take longer; each has its limit, so this ends."""
        while True:
            if self._jobs.in_flight or self._clients.is_stopping:
                self._notifier.extend(EXTEND_BY_S)
            await asyncio.sleep(EXTEND_EVERY_S)


def _units(config: Config) -> list[str]:
    """The units that hbd manages."""
    return [
        resource.unit
        for group in config.groups
        for resource in group.resources
        if isinstance(resource, UnitResource)
    ]


def _systemd_is_away(reason: str) -> None:
    log.warning("systemd cannot be reached, trying again: %s", reason)
