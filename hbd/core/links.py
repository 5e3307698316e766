"""The media of this node: opened at the start, tried again when they fail, closed when ha.cf drops them."""

from __future__ import annotations

from typing import assert_never

from hbd.config.model import Bcast, Config, Mcast, MediumSpec, Ping, Serial, Ucast, Ucast6
from hbd.core.desk import Desk
from hbd.core.effects import CloseLink, Kind, Level, OpenLink

REOPEN_MS = 1000
"""A medium that cannot be opened is tried again so often."""


class Links:
    """Which media work. Ping nodes are looked after elsewhere."""

    def __init__(self, config: Config, desk: Desk) -> None:
        self._media, self._desk = config.media, desk
        self._open: dict[MediumSpec, bool] = {}
        self._reopen_ms: dict[MediumSpec, int] = {}
        self._failures: dict[MediumSpec, str] = {}
        self._dark: dict[MediumSpec, None] = {}
        """Media whose interfaces have no carrier."""
        self._worked = False
        self.has_serial = False

    def begin(self) -> None:
        """Open all."""
        self._open_new()

    def reconfigure(self, config: Config) -> None:
        """Close what a new configuration no longer has, and open what it adds."""
        for medium in self._media:
            if medium not in config.media and medium in self._open:
                del self._open[medium]
                self._reopen_ms.pop(medium, None)
                self._failures.pop(medium, None)
                self._dark.pop(medium, None)
                self._desk.emit(CloseLink(medium))
        self._media = config.media
        self._open_new()

    def _open_new(self) -> None:
        for medium in self._media:
            if medium not in self._open and not isinstance(medium, Ping):
                self._open[medium] = False
                self._desk.emit(OpenLink(medium))
        self.has_serial = any(isinstance(medium, Serial) for medium in self._open)

    def opened(self, medium: MediumSpec) -> bool:
        """A medium works; false if it is no longer wanted."""
        if medium not in self._open:
            self._desk.emit(CloseLink(medium))
            return False
        self._open[medium] = self._worked = True
        self._failures.pop(medium, None)
        self._reopen_ms.pop(medium, None)
        self._desk.log(Level.INFO, Kind.LINK_OPENED, _opened(medium), link=medium.link)
        return True

    def failed(self, medium: MediumSpec, reason: str) -> None:
        """A medium does not work, or no longer. Each new reason is said once."""
        if medium not in self._open:
            return
        self._open[medium] = False
        self._dark.pop(medium, None)
        self._reopen_ms[medium] = self._desk.now.ms + REOPEN_MS
        if self._failures.get(medium) != reason:
            self._failures[medium] = reason
            text = f"{medium.link}: {reason}; trying again"
            self._desk.log(Level.ERROR, Kind.LINK_FAILED, text, link=medium.link)
            if len(self._failures) == len(self._open):
                text = "No working comm channels to write to."
                text += "" if self._worked else " Nothing is started before there is one."
                self._desk.log(Level.CRIT, Kind.LINK_FAILED, text)

    def carrier(self, medium: MediumSpec, present: bool) -> None:
        """Its interface has a carrier, or none."""
        if medium not in self._open or (medium in self._dark) is not present:
            return
        if present:
            del self._dark[medium]
            self._desk.log(
                Level.INFO, Kind.LINK_OPENED, f"{medium.link}: there is a carrier again", link=medium.link
            )
        else:
            self._dark[medium] = None
            text = f"{medium.link}: no carrier: its cable is pulled, or nothing is on at the other end"
            self._desk.log(Level.WARN, Kind.LINK_FAILED, text, link=medium.link)

    @property
    def any_open(self) -> bool:
        """Some medium works, as far as this node can tell."""
        return any(self._open.values())

    @property
    def any_usable(self) -> bool:
        """Some medium works, and its interface has a carrier, if it has one."""
        return any(works and medium not in self._dark for medium, works in self._open.items())

    def reopen(self) -> None:
        """Try again what is due."""
        for medium, due_ms in list(self._reopen_ms.items()):
            if due_ms <= self._desk.now.ms:
                del self._reopen_ms[medium]
                self._desk.emit(OpenLink(medium))

    @property
    def deadlines_ms(self) -> tuple[int, ...]:
        """When failed media are tried again."""
        return tuple(self._reopen_ms.values())

    @property
    def degraded(self) -> tuple[str, ...]:
        """What does not work, and why: one sentence each."""
        dark = [f"{medium.link}: no carrier" for medium in self._dark if medium not in self._failures]
        return (*(f"{medium.link}: {reason}" for medium, reason in self._failures.items()), *dark)


def _opened(medium: MediumSpec) -> str:
    match medium:
        case Bcast(interface, port):
            return f"UDP Broadcast heartbeat started on port {port} ({port}) interface {interface}"
        case Ucast(interface, target, port):
            return f"ucast: started on port {port} interface {interface} to {target}"
        case Ucast6(interface, target, port):
            return f"ucast6: started on port {port} interface {interface} to {target}"
        case Mcast(interface, group, port, ttl, loop, version):
            what = "UDP multicast heartbeat" if version == 4 else "UDPv6 multicast heartbeat"
            return (
                f"{what} started for group {group} port {port} interface {interface} "
                f"(ttl={ttl} loop={int(loop)})"
            )
        case Serial(device, baud):
            return f"Starting serial heartbeat on tty {device} ({baud} baud)"
        case Ping():
            return "ping heartbeat started."
        case _:
            assert_never(medium)
