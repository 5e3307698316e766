"""sd_notify: tells systemd that we are ready, what we do, and that we are alive.

Facts: sd_notify(3). Datagrams to $NOTIFY_SOCKET from a non-blocking socket: the service manager is
told when it listens, and never waited for.
"""

from __future__ import annotations

import socket
import time

from hbd.core.views import ClusterView, GroupState


class Notifier:
    """Speaks to the service manager, or to nobody where there is none."""

    def __init__(self, address: str | None, *, watched: bool = True) -> None:
        """`address`: the value of $NOTIFY_SOCKET; `watched`: whether $WATCHDOG_USEC is there, too."""
        self._watched = watched
        self._address = _name(address) if address else None
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.setblocking(False)
        self._status = ""
        self.remark = ""
        """What the status sentence ends with, if anything."""
        self.lost = 0
        """Notifications that could not be delivered."""

    @property
    def present(self) -> bool:
        """Whether a service manager started us."""
        return self._address is not None

    def ready(self) -> None:
        """The configuration is valid and the core runs; also the end of a reload."""
        self._send("READY=1")

    def reloading(self) -> None:
        """A reload has begun; `ready` ends it."""
        self._send(f"RELOADING=1\nMONOTONIC_USEC={time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000}")

    def stopping(self) -> None:
        """The orderly end has begun."""
        self._send("STOPPING=1")

    def extend(self, seconds: float) -> None:
        """Start or stop may take that much longer from now."""
        self._send(f"EXTEND_TIMEOUT_USEC={round(seconds * 1_000_000)}")

    def watchdog(self) -> None:
        """We are healthy. Called by the driver's feed only."""
        self._send("WATCHDOG=1")

    def watchdog_every(self, limit_ms: int) -> None:
        """Let systemd restart us when it has not been fed for so long; it replaces WatchdogSec=.

        Not where somebody has turned that off: systemd would watch us all the same.
        """
        if self._watched:
            self._send(f"WATCHDOG_USEC={limit_ms * 1000}")

    def error(self, number: int) -> None:
        """Why the start fails, as an errno."""
        self._send(f"ERRNO={number}")

    def status(self, sentence: str) -> None:
        """One sentence for `systemctl status`; sent when it is another one than last time."""
        if sentence != self._status and self._send("STATUS=" + sentence.replace("\n", " ")):
            self._status = sentence

    def show(self, view: ClusterView) -> None:
        """The status sentence of this view."""
        if self._address is not None:
            self.status("; ".join(part for part in (sentence(view), self.remark) if part))

    def _send(self, text: str) -> bool:
        if self._address is None:
            return False
        try:
            self._socket.sendto(text.encode("utf-8", "replace"), self._address)
        except OSError:
            self.lost += 1
            return False
        return True


def sentence(view: ClusterView) -> str:
    """What an operator wants to know first, as `active; holds local; peer linuxha2 active`."""
    parts = [_own_state(view), *(["frozen"] if view.frozen else []), f"holds {view.holding.value}"]
    for node in view.nodes:
        if not node.local:
            word = "peer" if node.kind == "normal" else "ping node"
            parts.append(f"{word} {node.name} {node.status.value}")
    for group in view.groups:
        if group.state in (GroupState.FAILED, GroupState.BLOCKED):
            parts.append(f"group {group.name} {group.state.value}")
    parts.extend(view.degraded)
    return "; ".join(parts)


def _own_state(view: ClusterView) -> str:
    if view.state.value == "stopping":
        return "stopping"
    for node in view.nodes:
        if node.local:
            return node.status.value
    return view.state.value


def _name(address: str) -> str:
    """The socket's name as the kernel wants it: a leading `@` stands for the abstract name space."""
    return "\0" + address[1:] if address.startswith("@") else address
