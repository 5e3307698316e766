"""ha.cf's clients, each in a transient unit of its own.

    StartClient ──▶ running ──▶ ended: told, kept by RemainAfterExit= until the next start or stop
    StopClient  ──▶ SIGTERM ──10 s──▶ SIGKILL ──▶ the unit is cleared, and what it had started is gone

hbd starts them again itself and not systemd, so that 3.0.6's rules hold (how often, how soon, and what it
says of it). While hbd is away its clients go on; what ended meanwhile is told to the next hbd, which finds
the units by their names. DefaultDependencies=no: at shutdown they go when hbd says so, after the resources.
Facts: systemd.service(5), systemd.exec(5), org.freedesktop.systemd1(5).
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import pwd
import signal
import time
from collections.abc import Callable, Collection, Coroutine, Mapping
from typing import Any

from hbd.config.model import Client
from hbd.core.effects import StartClient, StopClient
from hbd.core.events import ClientEnded, ClientGone, ClientRefused, ClientStarted, Event
from hbd.dbusio import BusError, NoAnswer, Subscription, Variant
from hbd.netlink import report_bug
from hbd.systemd1 import Systemd, UnitState

Post = Callable[[Event], None]

ASK_AGAIN_S = 0.2
LOOK_EVERY_S = 10.0
"""Also if systemd has signalled nothing."""
TERM_PATIENCE_S = 10
"""Between SIGTERM and SIGKILL."""
STOP_PATIENCE_S = 30.0
"""For the whole of a stop, also if systemd does not answer."""
_EXITED = 1
"""CLD_EXITED (waitid(2)), of ExecMainCode; others mean a signal."""
UNITS = "hbd-client-*.service"

log = logging.getLogger("hbd")


class Keeper:
    """Starts, watches and stops clients. To be used inside the event loop only."""

    def __init__(self, systemd: Systemd, environment: Callable[[], Mapping[str, str]]) -> None:
        self._systemd = systemd
        self._environment = environment
        self._turns: dict[str, asyncio.Lock] = {}
        """What is asked for one unit is done one after the other."""
        self._beginning = asyncio.Lock()
        """They begin in the order in which they were asked for."""
        self._watches: dict[str, asyncio.Task[None]] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._stopping = 0

    @property
    def is_stopping(self) -> bool:
        """A client is being waited for; each for STOP_PATIENCE_S at most."""
        return bool(self._stopping)

    def start(self, effect: StartClient, post: Post) -> None:
        """ClientStarted or ClientRefused is posted later, and then some day ClientEnded."""
        self._spawn(self._start(effect.client, effect.anew, post))

    def stop(self, effect: StopClient, post: Post) -> None:
        """ClientGone is posted later, after ClientEnded if it ran."""
        self._stopping += 1
        self._spawn(self._stop(effect.client, post))

    async def sweep(self, keep: Collection[str]) -> None:
        """Stop what an earlier hbd has started and no line of ha.cf names any more."""
        while True:
            try:
                for unit in await self._systemd.loaded(UNITS):
                    if unit not in keep and unit not in self._turns:
                        log.info("%s belongs to no line of ha.cf any more and is stopped", unit)
                        await self._clear(unit)
                return
            except NoAnswer:
                await asyncio.sleep(ASK_AGAIN_S)
            except BusError as error:
                log.warning("clients of an earlier hbd cannot be looked for: %s", error)
                return

    def close(self) -> None:
        """Look after them no more; they go on."""
        for task in (*self._tasks, *self._watches.values()):
            task.cancel()

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        task.add_done_callback(report_bug)

    def _turn(self, client: Client) -> asyncio.Lock:
        return self._turns.setdefault(client.unit, asyncio.Lock())

    # ------------------------------------------------------------ start

    async def _start(self, client: Client, anew: bool, post: Post) -> None:
        async with self._turn(client), self._beginning:
            while True:
                try:
                    await self._begin(client, anew, post)
                    return
                except NoAnswer:
                    await asyncio.sleep(ASK_AGAIN_S)
                except BusError as refusal:
                    post(ClientRefused(client, f"{client.unit} was not started: {refusal}"))
                    return

    async def _begin(self, client: Client, anew: bool, post: Post) -> None:
        """Raises BusError, NoAnswer."""
        state = await self._systemd.unit(client.unit)
        if is_running(state):
            # Also what an unanswered try of ours has started.
            pid = await self._main_pid(state)
            self._watch(client, post)
            post(ClientStarted(client, pid, *await _ids(client.user), found=not anew))
            return
        if not anew and has_ended(state):
            post(await self._end_of(client, state))
            return
        user = await _user(client.user)
        if user is None:
            post(ClientRefused(client, f"Invalid uid [{client.user}] specified for client child"))
            return
        await self._clear(client.unit)
        job = await self._systemd.start_transient(client.unit, self._properties(client))
        await self._systemd.job_result(job)
        state = await self._systemd.unit(client.unit)
        post(ClientStarted(client, await self._main_pid(state), user.pw_uid, user.pw_gid))
        self._watch(client, post)

    def _properties(self, client: Client) -> dict[str, Variant]:
        words = ["/bin/sh", "-c", f"exec {client.command}"]
        return {
            "Description": Variant("s", f"Client of hbd: {client.command}"),
            "DefaultDependencies": Variant("b", False),
            "Slice": Variant("s", "system.slice"),
            "Type": Variant("s", "exec"),
            "RemainAfterExit": Variant("b", True),
            "User": Variant("s", client.user),
            "TimeoutStopUSec": Variant("t", TERM_PATIENCE_S * 1_000_000),
            "IgnoreSIGPIPE": Variant("b", False),
            "Environment": Variant("as", [f"{name}={value}" for name, value in self._environment().items()]),
            "ExecStartEx": Variant("a(sasas)", [[words[0], words, ["no-env-expand"]]]),
            "SyslogIdentifier": Variant("s", client.program),
        }

    # ------------------------------------------------------------ watch

    def _watch(self, client: Client, post: Post) -> None:
        self._look_away(client)
        task = asyncio.get_running_loop().create_task(self._wait_and_tell(client, post))
        task.add_done_callback(report_bug)
        self._watches[client.unit] = task

    def _look_away(self, client: Client) -> None:
        watch = self._watches.pop(client.unit, None)
        if watch is not None:
            watch.cancel()

    async def _wait_and_tell(self, client: Client, post: Post) -> None:
        post(await self._wait(client))

    async def _wait(self, client: Client) -> ClientEnded:
        """Every signal of systemd only means: look again."""
        wake = asyncio.Event()
        forget = self._systemd.on_reset(wake.set)
        heard: list[Subscription] = []
        pid, since_s = 0, time.monotonic()
        try:
            while True:
                try:
                    state = await self._systemd.unit(client.unit)
                    if has_ended(state):
                        return await self._end_of(client, state)
                    if not is_running(state):  # Somebody has stopped the unit.
                        ran_ms = round((time.monotonic() - since_s) * 1000)
                        return ClientEnded(client, pid, 0, signal.SIGTERM, ran_ms)
                    pid = await self._main_pid(state)
                    _silence(heard)
                    await self._systemd.hear(state, wake.set, heard)
                    # What has changed before we listened is not signalled.
                    if has_ended(await self._systemd.unit(client.unit)):
                        continue
                    with contextlib.suppress(TimeoutError):
                        await asyncio.wait_for(wake.wait(), LOOK_EVERY_S)
                    wake.clear()
                except BusError:
                    await asyncio.sleep(ASK_AGAIN_S)
        finally:
            forget()
            _silence(heard)

    async def _end_of(self, client: Client, state: UnitState) -> ClientEnded:
        """How it ended, as systemd has kept it. Raises BusError, NoAnswer."""
        read = self._systemd.service_property
        code, status = int(await read(state, "ExecMainCode")), int(await read(state, "ExecMainStatus"))
        began_us = int(await read(state, "ExecMainStartTimestampMonotonic"))
        ended_us = int(await read(state, "ExecMainExitTimestampMonotonic"))
        exited = code == _EXITED
        return ClientEnded(
            client, await self._main_pid(state), status if exited else 0, 0 if exited else status,
            max(0, ended_us - began_us) // 1000,
        )  # fmt: skip

    async def _main_pid(self, state: UnitState) -> int:
        return int(await self._systemd.service_property(state, "ExecMainPID"))

    # ------------------------------------------------------------ stop

    async def _stop(self, client: Client, post: Post) -> None:
        try:
            async with asyncio.timeout(STOP_PATIENCE_S), self._turn(client):
                self._look_away(client)
                await self._end(client, post)
        except TimeoutError:
            log.error("%s was not seen to stop within %g s", client.unit, STOP_PATIENCE_S)
        finally:
            self._stopping -= 1
        post(ClientGone(client))

    async def _end(self, client: Client, post: Post) -> None:
        while True:
            try:
                if is_running(await self._systemd.unit(client.unit)):
                    post(await self._terminate(client))
                await self._clear(client.unit)
                return
            except NoAnswer:
                await asyncio.sleep(ASK_AGAIN_S)
            except BusError as error:
                log.error("%s was not stopped: %s", client.unit, error)
                return

    async def _terminate(self, client: Client) -> ClientEnded:
        """Not by a stop of the unit, after which nobody could tell how it ended. Raises BusError."""
        with contextlib.suppress(BusError):  # It may have ended meanwhile.
            await self._systemd.kill(client.unit, signal.SIGTERM)
        try:
            async with asyncio.timeout(TERM_PATIENCE_S):
                return await self._wait(client)
        except TimeoutError:
            with contextlib.suppress(BusError):
                await self._systemd.kill(client.unit, signal.SIGKILL)
            return await self._wait(client)

    async def _clear(self, unit: str) -> None:
        """Forget how it ended, and stop what it has left running. Raises BusError, NoAnswer."""
        state = await self._systemd.unit(unit)
        if state.load == "not-found":
            return
        if state.active != "inactive":
            await self._systemd.job_result(await self._systemd.stop(unit))
        await self._systemd.reset_failed(unit)


def is_running(state: UnitState) -> bool:
    """Or about to."""
    return state.active in ("activating", "deactivating") or (state.is_up and state.sub != "exited")


def has_ended(state: UnitState) -> bool:
    """By itself, or by a signal, and systemd still knows how."""
    return state.active == "failed" or (state.is_up and state.sub == "exited")


async def _user(name: str) -> pwd.struct_passwd | None:
    """In a thread: who users are may be asked over the network."""
    try:
        return await asyncio.to_thread(pwd.getpwnam, name)
    except KeyError:
        return None


async def _ids(name: str) -> tuple[int, int]:
    user = await _user(name)
    return (-1, -1) if user is None else (user.pw_uid, user.pw_gid)


def _silence(heard: list[Subscription]) -> None:
    for subscription in heard:
        subscription.cancel()
    heard.clear()
