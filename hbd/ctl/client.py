"""hbctl's end of the bus: what it reads of the daemon, asks of it, and hears from it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any

from hbd.bus import names
from hbd.ctl import password
from hbd.ctl.snapshot import Snapshot, snapshot
from hbd.dbusio import (
    BROKER,
    BROKER_PATH,
    CALL_TIMEOUT_S,
    DISCONNECTED,
    SYSTEM_BUS,
    Bus,
    BusError,
    Message,
    NoAnswer,
    unwrap,
)
from hbd.errors import HbdError

NOBODY = frozenset({
    DISCONNECTED,
    "org.freedesktop.DBus.Error.NameHasNoOwner",
    "org.freedesktop.DBus.Error.ServiceUnknown",
})
"""Error names that mean that nobody serves our name."""

UNKNOWN_OBJECT = "org.freedesktop.DBus.Error.UnknownObject"

RELOAD_TIMEOUT_S = 60.0


class NotRunning(HbdError):  # noqa: N818 — a state of the daemon
    """There is no daemon to talk to; the text has the remedy."""


class Daemon:
    """The hbd of this machine. Every method raises NotRunning if there is none, else BusError."""

    def __init__(self, bus: Bus) -> None:
        self._bus = bus

    @classmethod
    async def find(cls, address: str = SYSTEM_BUS) -> Daemon:
        """A connection to the bus, whether hbd is on it or not."""
        try:
            return cls(await Bus.connect(address))
        except BusError as error:
            raise NotRunning(f"the system bus cannot be reached, so hbd cannot be asked ({error})") from error

    async def read(self) -> Snapshot:
        """Everything it shows. Raises HbdError if it is of another version."""
        cluster, managed, counters = await asyncio.gather(
            self._call(names.ROOT, "org.freedesktop.DBus.Properties", "GetAll", "s", names.CLUSTER),
            self._call(names.ROOT, "org.freedesktop.DBus.ObjectManager", "GetManagedObjects"),
            self._call(names.ROOT, names.CLUSTER, "GetStatistics"),
        )
        return snapshot(cluster[0], managed[0], counters[0], time.time())

    async def handover(self, member: str, which: str) -> int:
        """Standby or Takeover; the transition it began, 0 if there was nothing to do."""
        (transition,) = await self._change(member, which)
        return int(transition)

    async def steer(self, member: str, *arguments: str) -> None:
        """Freeze, Thaw or ConfirmDead."""
        await self._change(member, *arguments)

    async def pid(self) -> int:
        """The daemon's process."""
        try:
            member = "GetConnectionUnixProcessID"
            (pid,) = await self._bus.call(BROKER, BROKER_PATH, BROKER, member, "s", (names.BUS_NAME,))
        except BusError as error:
            if error.name in NOBODY:
                raise NotRunning("hbd is not running") from error
            raise
        return int(pid)

    async def reload(self) -> None:
        """Have the configuration read again."""
        await self._change("Reload", timeout_s=RELOAD_TIMEOUT_S)

    async def why(self, group: str) -> list[dict[str, Any]] | None:
        """Group.Why, or None if it has no such group."""
        try:
            (entries,) = await self._call(names.group_path(group), names.GROUP, "Why")
        except BusError as error:
            if error.name == UNKNOWN_OBJECT:
                return None
            raise
        return list(entries)

    async def peer_history(self, enough: Callable[[list[dict[str, Any]]], bool]) -> list[dict[str, Any]]:
        """The other node's decisions, the oldest of them first: all that it has, or so many as are enough."""
        known: list[dict[str, Any]] = []
        while True:
            (page,) = await self._call(names.ROOT, names.CLUSTER, "GetPeerHistory", "uu", len(known), 0)
            have = {(record["Life"], record["Number"]) for record in known}
            new = [record for record in page if (record["Life"], record["Number"]) not in have]
            known = new + known
            if not new or enough(known):
                return known

    async def history(self) -> list[dict[str, Any]]:
        """The decisions that it has in memory, the oldest of them first."""
        known: list[dict[str, Any]] = []
        while True:
            (page,) = await self._call(names.ROOT, names.CLUSTER, "GetHistory", "uu", len(known), 0)
            have = {(record["Life"], record["Number"]) for record in known}
            # What is decided between two answers moves the pages: some come twice.
            new = [record for record in page if (record["Life"], record["Number"]) not in have]
            known = new + known
            if not new:
                return known

    async def until(self, event: asyncio.Event) -> None:
        """Wait for the event. Raises NotRunning if the bus goes away."""
        waiting = asyncio.ensure_future(event.wait())
        try:
            await asyncio.wait((waiting, self.bus_lost), return_when=asyncio.FIRST_COMPLETED)
        finally:
            waiting.cancel()
        if self.bus_lost.done():
            raise NotRunning(f"the system bus is gone ({self.bus_lost.result()})")

    async def follow(self, heard: Callable[[Message], None], owner: Callable[[str], None]) -> None:
        """Call `heard` with each of its signals, and `owner` with who has its name (empty: nobody)."""

        def name_changed(signal: Message) -> None:
            owner(signal.body[2])

        await self._bus.subscribe(heard, sender=names.BUS_NAME, path_namespace=names.ROOT)
        await self._bus.subscribe(
            name_changed, sender=BROKER, interface=BROKER, member="NameOwnerChanged", arg0=names.BUS_NAME
        )

    @property
    def bus_lost(self) -> asyncio.Future[str]:
        """Done when the bus itself is gone."""
        return self._bus.closed

    async def _change(self, member: str, *texts: str, timeout_s: float = CALL_TIMEOUT_S) -> list[Any]:
        """Call a method that changes something; polkit may ask whoever sits at a terminal for a password."""
        async with password.asked_for_here() as interactive:
            if interactive:
                timeout_s += password.TYPING_S
            return await self._call(
                names.ROOT, names.CLUSTER, member, "s" * len(texts), *texts,
                timeout_s=timeout_s, interactive=interactive,
            )  # fmt: skip

    async def _call(
        self,
        path: str,
        interface: str,
        member: str,
        signature: str = "",
        *body: object,
        timeout_s: float = CALL_TIMEOUT_S,
        interactive: bool = False,
    ) -> list[Any]:
        try:
            answer = await self._bus.call(
                names.BUS_NAME, path, interface, member, signature, body, timeout_s, interactive=interactive
            )
        except BusError as error:
            if error.name in NOBODY:
                raise NotRunning("hbd is not running") from error
            if isinstance(error, NoAnswer):
                raise NotRunning(f"hbd does not answer ({error})") from error
            raise
        return [unwrap(value) for value in answer]
