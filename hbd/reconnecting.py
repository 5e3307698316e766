"""A D-Bus connection that is made again whenever it is lost."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from hbd.dbusio import CONNECT_TIMEOUT_S, DISCONNECTED, Bus, BusError, NoAnswer

LOOK_FOR_BETTER_S = 2.0
BETTER = "there is a better connection"
"""The reason why the second best ends."""


class Reconnecting:
    """Keeps a connection: makes it, waits until it is lost, makes it again, pausing longer each time.

    `on_up` prepares a new connection (subscriptions, name); a BusError it raises counts as a failed
    attempt. `on_down` is told once per outage, the first one included, with the reason. Nobody ever has
    to wait here: `bus` is the connection, or None. `otherwise` is a bus to try when `address` has failed
    twice in a row; as soon as `address` is there again, it is left for that.
    """

    def __init__(
        self,
        address: str,
        *,
        peer: bool = False,
        otherwise: str | None = None,
        on_up: Callable[[Bus], Awaitable[None]],
        on_down: Callable[[str], None],
        connect_timeout_s: float = CONNECT_TIMEOUT_S,
        shortest_pause_s: float = 0.1,
        longest_pause_s: float = 5.0,
    ) -> None:
        self.bus: Bus | None = None
        self._address = address
        self._peer = peer
        self._otherwise = otherwise
        self._on_up = on_up
        self._on_down = on_down
        self._connect_timeout_s = connect_timeout_s
        self._shortest_pause_s = shortest_pause_s
        self._longest_pause_s = longest_pause_s

    async def run(self) -> None:
        """Runs until it is cancelled, and then leaves no connection behind."""
        pause_s = self._shortest_pause_s
        failures = 0
        told = False
        while True:
            try:
                if failures < 2 or self._otherwise is None:
                    reason = await self._hold(self._address, self._peer)
                else:
                    reason = await self._make_do(self._otherwise)
                pause_s, failures, told = self._shortest_pause_s, 0, reason == BETTER
            except BusError as error:
                reason = str(error)
                failures = (failures + 1) % 3
            if not told:
                self._on_down(reason)
                told = True
            await asyncio.sleep(pause_s)
            pause_s = min(pause_s * 2, self._longest_pause_s)

    async def _make_do(self, address: str) -> str:
        """Hold the second best, until the best is there again."""
        looking = asyncio.get_running_loop().create_task(self._look_for_better())
        try:
            return await self._hold(address, False)
        finally:
            looking.cancel()

    async def _look_for_better(self) -> None:
        while True:
            await asyncio.sleep(LOOK_FOR_BETTER_S)
            try:
                (await Bus.connect(self._address, peer=self._peer, timeout_s=self._connect_timeout_s)).close()
            except BusError:
                continue
            if self.bus is not None:
                self.bus.close(BETTER)

    async def _hold(self, address: str, peer: bool) -> str:
        bus = await Bus.connect(address, peer=peer, timeout_s=self._connect_timeout_s)
        try:
            await self._on_up(bus)
            if bus.closed.done():
                raise NoAnswer(DISCONNECTED, bus.closed.result())
            self.bus = bus
            # Shielded: cancelling us must not mark the connection's end as cancelled.
            return await asyncio.shield(bus.closed)
        finally:
            self.bus = None
            bus.close()
