"""The few calls and signals of org.freedesktop.systemd1 that we use.

We talk to systemd's private socket, as systemctl does for root: it works while dbus-daemon is down or
stuck, and nobody but pid 1 can speak on it. It closes at `daemon-reexec`, which thereby becomes the same
case as any lost connection. Should it not be there (it is no promised interface), the system bus serves.

Whoever waits for a job here may be told NoAnswer at any time; it means "look at the unit and ask again".
Facts: org.freedesktop.systemd1(5); messages observed from systemd 252.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NewType, cast

from hbd.dbusio import SYSTEM_BUS, Bus, BusError, Message, NoAnswer, Subscription, Variant
from hbd.reconnecting import Reconnecting

JobPath = NewType("JobPath", str)

PRIVATE_SOCKET = "unix:path=/run/systemd/private"
NAME = "org.freedesktop.systemd1"
PATH = "/org/freedesktop/systemd1"
MANAGER = f"{NAME}.Manager"
UNIT = f"{NAME}.Unit"

_NO_SUCH_UNIT = f"{NAME}.NoSuchUnit"
UNIT_EXISTS = f"{NAME}.UnitExists"
TRACE_LOST = "org.freedesktop.DBus.Error.Timeout"
_ABSENT = ("org.freedesktop.DBus.Error.ServiceUnknown", "org.freedesktop.DBus.Error.NameHasNoOwner")

JOB_POLL_S = 5.0
"""A job is looked at anew after this long, so that a signal that never came costs seconds, not for ever."""
RELOAD_TIMEOUT_S = 60.0
_FOREVER_US = (1 << 64) - 1
_REMEMBERED_JOBS = 256

_TYPES = {
    "service": "Service",
    "socket": "Socket",
    "mount": "Mount",
    "automount": "Automount",
    "swap": "Swap",
    "timer": "Timer",
    "path": "Path",
    "scope": "Scope",
}
"""Kinds of units that have a Result property, and the names of their interfaces."""


@dataclass(frozen=True, slots=True)
class UnitState:
    """A unit at one moment, as ListUnitsByNames shows it."""

    name: str
    """The unit's own name, which for an alias is not the one asked for."""
    load: str
    active: str
    sub: str
    path: str
    job: JobPath | None
    job_type: str

    @property
    def is_up(self) -> bool:
        return self.active in ("active", "reloading", "refreshing")

    @property
    def is_down(self) -> bool:
        return self.active in ("inactive", "failed")


class Systemd:
    """Pid 1. `run` keeps the connection; every call waits for it, so callers limit their time."""

    def __init__(
        self,
        private: str = PRIVATE_SOCKET,
        bus: str = SYSTEM_BUS,
        on_down: Callable[[str], None] = lambda reason: None,
    ) -> None:
        self._link = Reconnecting(
            private,
            peer=True,
            otherwise=bus,
            on_up=self._up,
            on_down=on_down,
            connect_timeout_s=2.0,
            longest_pause_s=1.0,
        )
        self._bus: Bus | None = None
        self._connected = asyncio.Event()
        self._ended: dict[JobPath, str] = {}
        self._waiting: dict[JobPath, list[asyncio.Future[str]]] = {}
        self._resets: list[Callable[[], None]] = []

    async def run(self) -> None:
        """Keep a connection until cancelled."""
        await self._link.run()

    # ---- units

    async def unit(self, name: str) -> UnitState:
        """The unit as it is now; one that does not exist has `load` "not-found". Raises BusError."""
        ((row,),) = await self._manager("ListUnitsByNames", "as", [[name]])
        id_, _, load, active, sub, _, path, job, job_type, job_path = row
        return UnitState(id_, load, active, sub, path, JobPath(job_path) if job else None, job_type)

    async def start(self, name: str, mode: str = "replace") -> JobPath:
        """Ask for a start; returns the job, which may be one that is already there. Raises BusError."""
        (path,) = await self._manager("StartUnit", "ss", [name, mode])
        return JobPath(path)

    async def stop(self, name: str, mode: str = "replace") -> JobPath:
        """Ask for a stop; returns the job, which may be one that is already there. Raises BusError."""
        (path,) = await self._manager("StopUnit", "ss", [name, mode])
        return JobPath(path)

    async def start_transient(self, name: str, properties: Mapping[str, Variant]) -> JobPath:
        """Make a unit out of these properties and ask for its start. Raises BusError."""
        listed = [[key, value] for key, value in properties.items()]
        (path,) = await self._manager("StartTransientUnit", "ssa(sv)a(sa(sv))", [name, "replace", listed, []])
        return JobPath(path)

    async def kill(self, name: str, signal: int) -> None:
        """Send a signal to every process in the unit's cgroup. Raises BusError."""
        await self._manager("KillUnit", "ssi", [name, "all", signal])

    async def reset_failed(self, name: str) -> None:
        """Forget that the unit failed; one that is not there is fine. Raises BusError."""
        try:
            await self._manager("ResetFailedUnit", "s", [name])
        except BusError as error:
            if error.name != _NO_SUCH_UNIT:
                raise

    async def job_result(self, job: JobPath) -> str:
        """The job's result, e.g. "done", once it has ended.

        Raises NoAnswer when that is not to be learnt (the connection was lost), or not yet: look at the
        unit again and, if its job is still there, wait again.
        """
        if job in self._ended:
            return self._ended[job]
        if self._bus is None:
            raise NoAnswer(TRACE_LOST, "systemd cannot be reached")
        ended: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        waiting = self._waiting.setdefault(job, [])
        waiting.append(ended)
        try:
            async with asyncio.timeout(JOB_POLL_S):
                return await ended
        except TimeoutError:
            raise NoAnswer(TRACE_LOST, "the job has not ended yet") from None
        finally:
            waiting.remove(ended)
            if not waiting:
                self._waiting.pop(job, None)

    def has_ended(self, job: JobPath) -> bool:
        """Whether job_result knows the job's result now."""
        return job in self._ended

    async def result(self, state: UnitState) -> str:
        """The unit's Result property, e.g. "exit-code"; empty for kinds of units that have none."""
        kind = _TYPES.get(state.name.rpartition(".")[2])
        if kind is None:
            return ""
        bus = await self._reach()
        return cast(str, await bus.get(NAME, state.path, f"{NAME}.{kind}", "Result"))

    async def unit_property(self, state: UnitState, name: str) -> Any:
        """A property of org.freedesktop.systemd1.Unit. Raises BusError."""
        bus = await self._reach()
        return await bus.get(NAME, state.path, UNIT, name)

    async def service_property(self, state: UnitState, name: str) -> Any:
        """A property of org.freedesktop.systemd1.Service. Raises BusError."""
        bus = await self._reach()
        return await bus.get(NAME, state.path, f"{NAME}.Service", name)

    async def processes(self, name: str) -> list[int]:
        """The pids in the cgroup of a unit. Raises BusError."""
        (rows,) = await self._manager("GetUnitProcesses", "s", [name])
        return sorted(pid for _, pid, _ in rows)

    async def loaded_unit(self, name: str) -> UnitState | None:
        """The unit of that real name, if systemd has it in memory. If not, it does not run. Raises BusError.

        Unlike `unit` it does not make systemd load it, which would be signalled and, if whoever hears
        the signal asks in this way, never end: a unit that nobody uses is dropped again at once.
        """
        try:
            await self._manager("GetUnit", "s", [name])
        except BusError as error:
            if error.name == _NO_SUCH_UNIT:
                return None
            raise
        return await self.unit(name)

    async def loaded(self, pattern: str) -> list[str]:
        """Names of the units in memory that match, as in a shell. Raises BusError."""
        (rows,) = await self._manager("ListUnitsByPatterns", "asas", [[], [pattern]])
        return [row[0] for row in rows]

    async def hear(self, state: UnitState, tell: Callable[[], None], heard: list[Subscription]) -> None:
        """Have `tell` called when the unit may have changed, on this connection; adds to `heard`."""
        bus = await self._reach()
        changed = {
            "path": state.path,
            "interface": "org.freedesktop.DBus.Properties",
            "member": "PropertiesChanged",
        }
        # A unit just loaded is announced *instead of* the first change of its properties.
        loaded = {"interface": MANAGER, "member": "UnitNew", "arg0": state.name}
        for rule in (changed, loaded):
            heard.append(await bus.subscribe(lambda signal: tell(), sender=NAME, **rule))

    def on_reset(self, tell: Callable[[], None]) -> Callable[[], None]:
        """Have `tell` called when anything may be different: connected anew, or unit files read anew.

        What `hear` made may be void then. Returns the function that ends it.
        """
        self._resets.append(tell)
        return lambda: self._resets.remove(tell) if tell in self._resets else None

    # ---- the whole

    async def default_target(self) -> str:
        """The unit that is started at boot, by the name of its symlink's target. Raises BusError."""
        (name,) = await self._manager("GetDefaultTarget")
        return cast(str, name)

    async def reboot_now(self) -> None:
        """Kill everything and reboot, as `systemctl reboot --force`. Raises BusError."""
        await self._manager("Reboot")

    async def runtime_watchdog_s(self) -> float | None:
        """RuntimeWatchdogSec=: systemd feeds a device itself; None if it does not. Raises BusError."""
        bus = await self._reach()
        limit_us = int(await bus.get(NAME, PATH, MANAGER, "RuntimeWatchdogUSec"))
        return limit_us / 1e6 if 0 < limit_us < _FOREVER_US else None

    async def reload(self) -> None:
        """Have systemd read all unit files again, as `daemon-reload`. Raises BusError."""
        await self._manager("Reload", timeout_s=RELOAD_TIMEOUT_S)

    # ---- the connection

    async def _reach(self) -> Bus:
        while self._bus is None:
            await self._connected.wait()
        return self._bus

    async def _manager(
        self, member: str, signature: str = "", body: list[object] | None = None, timeout_s: float = 10.0
    ) -> list[Any]:
        bus = await self._reach()
        try:
            return await bus.call(NAME, PATH, MANAGER, member, signature, body or [], timeout_s)
        except BusError as error:
            if error.name in _ABSENT:  # Pid 1 is not on the bus while it executes itself anew.
                raise NoAnswer(error.name, str(error)) from error
            raise

    async def _up(self, bus: Bus) -> None:
        await bus.subscribe(self._job_removed, sender=NAME, interface=MANAGER, member="JobRemoved")
        await bus.subscribe(self._reloading, sender=NAME, interface=MANAGER, member="Reloading")
        # Without it systemd says nothing on the bus; on the private socket it is not needed and harmless.
        await bus.call(NAME, PATH, MANAGER, "Subscribe")
        self._bus = bus
        bus.closed.add_done_callback(lambda _: self._lost(bus))
        self._connected.set()
        self._tell_all()

    def _lost(self, bus: Bus) -> None:
        if self._bus is bus:
            self._bus = None
            self._connected.clear()
            # What ended while we did not listen is unknown, and a later pid 1 may count its jobs anew.
            self._ended.clear()
            self._fail_waiting("the connection to systemd was lost")

    def _fail_waiting(self, reason: str) -> None:
        for waiting in self._waiting.values():
            for ended in waiting:
                if not ended.done():
                    ended.set_exception(NoAnswer(TRACE_LOST, reason))

    # ---- signals

    def _job_removed(self, signal: Message) -> None:
        """Known by its path: the unit's name in the signal is the real one, not the alias that was asked for.

        It may come before the answer of the very call that made the job, so results are kept for a while.
        """
        _, path, _, result = signal.body
        job = JobPath(path)
        self._ended[job] = result
        if len(self._ended) > _REMEMBERED_JOBS:
            del self._ended[next(iter(self._ended))]
        for ended in self._waiting.get(job, ()):
            if not ended.done():
                ended.set_result(result)

    def _reloading(self, signal: Message) -> None:
        (begins,) = signal.body
        if not begins:
            self._tell_all()

    def _tell_all(self) -> None:
        for tell in tuple(self._resets):
            tell()
