"""The programs that ha.cf has hbd keep running: `respawn` and `failfast`.

    idle ──communication up──▶ starting ──▶ running ──ended──▶ waiting ──▶ starting …
                                   └─refused─▶ waiting           ├─ exit 100 ─────▶ left
                                                                 └─ too often short ▶ left

They begin in file order once communication is up, and go one after the other, last first, when the
resources are released and the goodbye is said. They outlive hbd itself: the first start of each takes
what runs already. A failfast client that fails ends hbd in order, and the machine is rebooted (`vital.py`).
Facts: how heartbeat 3.0.6 looks after its clients, and its texts.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, auto

from hbd.config.model import Client
from hbd.core.desk import Desk
from hbd.core.effects import Kind, Level, StartClient, StopClient
from hbd.core.events import ClientEnded, ClientGone, ClientRefused, ClientStarted

LEAVE_IT = 100
"""The exit code by which a client says that it is not to be started again."""
SHORT_MS = 30_000
MOST_SHORT = 10
"""Runs shorter than that, in a row, that are borne."""
PAUSE_MS = 1000
"""Before the start that follows a short run."""
NEVER_RAN = (126, 127)
"""Of sh(1): the program is not there, or cannot be executed. 3.0.6 looks before it starts one."""
AT_ONCE_MS = 1000
RETRY_MS = 10_000
"""A start that the machine refuses is tried again so often."""


class _Phase(Enum):
    IDLE = auto()
    STARTING = auto()
    RUNNING = auto()
    WAITING = auto()
    LEFT = auto()
    GOING = auto()


@dataclass(slots=True)
class _Kept:
    """One client, and how it fares."""

    client: Client
    phase: _Phase = _Phase.IDLE
    due_ms: int = 0
    short_runs: int = 0
    refusal: str = ""
    told: bool = False
    """That it is one of ours was said; later starts are called otherwise."""


class Clients:
    """Which clients are to run, and what becomes of those that end."""

    def __init__(self, clients: tuple[Client, ...], desk: Desk) -> None:
        self._desk = desk
        self._kept = {client.unit: _Kept(client) for client in clients if not client.is_built_in}
        self._built_in = tuple(client for client in clients if client.is_built_in)
        self._going: dict[str, Client] = {}
        """Those that a reload has removed, until they are gone."""
        self._begun = self._leaving = False

    def begin(self) -> None:
        """Communication is up."""
        if self._begun or self._leaving:
            return
        self._begun = True
        self._mention(self._built_in)
        for kept in self._kept.values():
            self._begin(kept)

    def reconfigure(self, clients: tuple[Client, ...]) -> None:
        """Those that are no longer named go, last first; new ones begin."""
        if self._leaving:
            return
        before = self._kept
        wanted = [client for client in clients if not client.is_built_in]
        self._kept = {client.unit: before.get(client.unit) or _Kept(client) for client in wanted}
        known, self._built_in = self._built_in, tuple(each for each in clients if each.is_built_in)
        if not self._begun:
            return
        self._mention(tuple(client for client in self._built_in if client not in known))
        for unit, kept in reversed(before.items()):
            if unit not in self._kept:
                self._going[unit] = kept.client
                self._desk.emit(StopClient(kept.client))
        for unit, kept in self._kept.items():
            if kept.phase is _Phase.IDLE and unit not in self._going:
                self._begin(kept)

    def leave(self) -> None:
        """Stop them one after the other. Also those not started yet: an earlier hbd may have."""
        if not self._leaving:
            self._leaving = True
            self._stop_last()

    @property
    def are_gone(self) -> bool:
        """Nothing is left to wait for."""
        return not self._kept

    def deadline_ms(self) -> int | None:
        """When the next one is to be started."""
        if self._leaving or not self._kept:
            return None
        waiting = [kept.due_ms for kept in self._kept.values() if kept.phase is _Phase.WAITING]
        return min(waiting, default=None)

    def tick(self) -> None:
        """Start what is due."""
        if self._leaving:
            return
        for kept in self._kept.values():
            if kept.phase is _Phase.WAITING and kept.due_ms <= self._desk.now.ms:
                kept.phase = _Phase.STARTING
                if not kept.refusal:
                    self._log(Level.ERROR, f'Respawning client "{kept.client.command}":')
                self._desk.emit(StartClient(kept.client, anew=True))

    # ------------------------------------------------------------ what the edge tells

    def started(self, event: ClientStarted) -> None:
        """It runs."""
        kept = self._kept.get(event.client.unit)
        command = event.client.command
        if event.found:
            if kept is not None:
                kept.told = True
            self._log(Level.INFO, f'Client "{command}" (pid {event.pid}) runs already and is kept')
        else:
            if kept is not None and not kept.told:
                kept.told = True
                self._log(Level.INFO, f'Starting child client "{command}" ({event.uid},{event.gid})')
            text = f'Starting "{command}" as uid {event.uid}  gid {event.gid} (pid {event.pid})'
            self._log(Level.INFO, text)
        if kept is not None and kept.phase is _Phase.STARTING:
            kept.phase, kept.refusal = _Phase.RUNNING, ""

    def refused(self, event: ClientRefused) -> None:
        """The machine does not let it run; that may change."""
        kept = self._kept.get(event.client.unit)
        if kept is None or kept.phase is _Phase.GOING:
            return
        if kept.refusal != event.reason:
            kept.refusal = event.reason
            self._log(Level.ERROR, f"{event.reason} ({event.client.command}); trying again")
        kept.phase, kept.due_ms = _Phase.WAITING, self._desk.now.ms + RETRY_MS

    def ended(self, event: ClientEnded, *, frozen: bool = False) -> bool:
        """Whether this node has to go, because it was a failfast client that failed; never while frozen."""
        client, kept = event.client, self._kept.get(event.client.unit)
        stopped = self._leaving or kept is None or kept.phase is _Phase.GOING
        level = Level.INFO if stopped or not event.failed else Level.ERROR
        if kept is not None:
            kept.told = True
        if event.signal:
            text = f"Client {client.command} (pid={event.pid}) killed by signal {event.signal}."
        else:
            text = f"Client {client.command} exited with return code {event.status}."
        self._log(level, text)
        if stopped or kept is None:
            return False
        if _never_ran(event):
            # No reason to reboot the machine: it would be the same after that.
            self._log(Level.ERROR, f"Client child command [{client.command}] is not executable")
        elif client.failfast and event.failed and frozen:
            text = f"failfast client {client.command} has failed; frozen, so this machine is not rebooted"
            self._log(Level.CRIT, text)
        elif client.failfast and event.failed:
            kept.phase = _Phase.LEFT
            text = (
                f"failfast client {client.command} has failed: hbd gives up its resources, "
                "and this machine is rebooted"
            )
            self._log(Level.CRIT, text)
            return True
        self._judge(kept, event)
        return False

    def gone(self, event: ClientGone) -> None:
        """A stop is done."""
        self._going.pop(event.client.unit, None)
        kept = self._kept.get(event.client.unit)
        if kept is None:
            return
        if self._leaving:
            if kept.phase is _Phase.GOING:
                del self._kept[event.client.unit]
                self._stop_last()
        elif kept.phase is _Phase.IDLE and self._begun:
            self._begin(kept)  # Named again while it was being stopped.

    # ------------------------------------------------------------

    def _judge(self, kept: _Kept, event: ClientEnded) -> None:
        """Whether and when it is started again."""
        if not event.signal and event.status == LEAVE_IT:
            kept.phase = _Phase.LEFT
            return
        short = event.ran_ms < SHORT_MS
        kept.short_runs = kept.short_runs + 1 if short else 0
        if kept.short_runs > MOST_SHORT:
            kept.phase = _Phase.LEFT
            self._log(Level.ERROR, f'Client {kept.client.command} "respawning too fast"')
            return
        kept.phase, kept.due_ms = _Phase.WAITING, self._desk.now.ms + (PAUSE_MS if short else 0)

    def _begin(self, kept: _Kept) -> None:
        kept.phase = _Phase.STARTING
        self._desk.emit(StartClient(kept.client, anew=False))

    def _stop_last(self) -> None:
        if self._kept:
            last = next(reversed(self._kept.values()))
            last.phase = _Phase.GOING
            self._desk.emit(StopClient(last.client))

    def _mention(self, clients: tuple[Client, ...]) -> None:
        for client in clients:
            text = f'Client "{client.command}" is not started: {_INSTEAD[client.program]}'
            self._log(Level.INFO, text)

    def _log(self, level: Level, text: str) -> None:
        self._desk.log(level, Kind.CLIENT, text)


def _never_ran(event: ClientEnded) -> bool:
    return not event.signal and event.status in NEVER_RAN and event.ran_ms < AT_ONCE_MS


_INSTEAD = {
    "ccm": "hbd knows its members itself",
    "ipfail": "hbd does its work itself",
}
