"""Which addresses of the groups have no carrier here: nobody reaches them on this node, whatever it reaches.

The addresses are watched where they are, or on the interface that a start would choose. Counted are groups,
for that is what moves.
"""

from __future__ import annotations

from hbd.config.model import AddressResource, Config
from hbd.core.desk import Desk
from hbd.core.effects import Kind, WatchPaths


class Carriers:
    """One node's; nothing is watched while `on` is False."""

    def __init__(self, config: Config, desk: Desk) -> None:
        self._config, self._desk = config, desk
        self._on = False
        self._unusable: dict[str, bool] = {}
        self.cut = 0
        """How many groups have an address without a carrier."""
        self.since_ms: int | None = None
        """Since when there is any."""
        self.back_ms = 0
        """Since when there is none any more."""

    def watch(self, config: Config, on: bool) -> None:
        """Begin, or go by a new configuration."""
        before, self._config, self._on = self._watched(), config, on
        watched = self._watched()
        if watched != before:
            identities = {address.identity for address in watched}
            self._unusable = {ip: no for ip, no in self._unusable.items() if ip in identities}
            self._desk.emit(WatchPaths(watched))
        self._count()

    def _watched(self) -> tuple[AddressResource, ...]:
        if not self._on:
            return ()
        return tuple(r for g in self._config.groups for r in g.resources if isinstance(r, AddressResource))

    def seen(self, address: AddressResource, usable: bool) -> bool:
        """An address has a carrier or none. True if that is news."""
        if address not in self._watched() or self._unusable.get(address.identity, False) is not usable:
            return False
        self._unusable[address.identity] = not usable
        self._count()
        if usable:
            self._desk.info(Kind.IPFAIL, f"the interface for {address.ip} has a carrier again")
        else:
            text = f"the interface for {address.ip} has no carrier: nobody reaches the address here"
            self._desk.warn(Kind.IPFAIL, text)
        return True

    def _count(self) -> None:
        self.cut = sum(
            any(self._unusable.get(resource.identity, False) for resource in group.resources)
            for group in self._config.groups
        )
        if not self.cut and self.since_ms is not None:
            self.since_ms, self.back_ms = None, self._desk.now.ms
        elif self.cut and self.since_ms is None:
            self.since_ms = self._desk.now.ms

    def stalled(self) -> None:
        """We did not run: what came back meanwhile is not known yet."""
        if self.since_ms is not None:
            self.since_ms = self._desk.now.ms
