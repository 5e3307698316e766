"""What the emulator is told, and what it tells: QEMU's monitor protocol, one connection a machine.

Its events are the evidence for a reset: the emulator writes the moment on them, by the host's clock.
They are kept with that moment as CLOCK_MONOTONIC microseconds of the host, as everything of the
tests is.
"""

import json
import queue
import socket
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.lab.host import LabError, wait_until
from tests.lab.journal import now_us


@dataclass(frozen=True, slots=True)
class MachineEvent:
    """One event, e.g. RESET, WATCHDOG, SHUTDOWN, with its data."""

    at_us: int
    name: str
    data: dict[str, Any]


class Monitor:
    """A connection to the monitor; `close` it, or it ends with the emulator."""

    def __init__(self, path: Path) -> None:
        self._socket = connect(path)
        self._replies: queue.Queue[dict[str, Any]] = queue.Queue()
        self._events: list[MachineEvent] = []
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        self.call("qmp_capabilities")

    def call(self, command: str, timeout_s: float = 30, **arguments: object) -> Any:
        """Have a command done; raises LabError with the emulator's words when it refuses."""
        line = json.dumps({"execute": command, "arguments": arguments})
        try:
            self._socket.sendall(line.encode())
            reply = self._replies.get(timeout=timeout_s)
        except (OSError, queue.Empty):
            raise LabError(f"the emulator does not answer: {command}") from None
        if "error" in reply:
            raise LabError(f"{command}: {reply['error']['desc']}")
        return reply["return"]

    def events(self, name: str | None = None, since_us: int = 0) -> list[MachineEvent]:
        """Everything so far, or what is called `name`, from `since_us` on."""
        return [event for event in self._events if event.at_us >= since_us and name in (None, event.name)]

    def wait_event(self, name: str, since_us: int, timeout_s: float) -> MachineEvent:
        """The first one of that name; raises LabError when there is none in time."""
        wait_until(lambda: bool(self.events(name, since_us)), timeout_s, f"{name} of the emulator", 0.02)
        return self.events(name, since_us)[0]

    def close(self) -> None:
        self._socket.close()
        self._reader.join(5)

    def _read(self) -> None:
        with self._socket.makefile("rb") as lines:
            for line in _until_gone(lines):
                message = json.loads(line)
                if "event" in message:
                    at = message["timestamp"]
                    real_us = at["seconds"] * 1_000_000 + at["microseconds"]
                    ago_us = max(0, time.time_ns() // 1000 - real_us)
                    event = MachineEvent(now_us() - ago_us, message["event"], message.get("data", {}))
                    self._events.append(event)
                elif "QMP" not in message:
                    self._replies.put(message)


def connect(path: Path, timeout_s: float = 20) -> socket.socket:
    """A connection to a socket that the emulator is about to make."""
    made = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)

    def reached() -> bool:
        try:
            made.connect(str(path))
        except (FileNotFoundError, ConnectionRefusedError):
            return False
        return True

    wait_until(reached, timeout_s, f"the emulator's socket {path}", 0.05)
    return made


def _until_gone(lines: Any) -> Any:
    try:
        yield from lines
    except (OSError, ValueError):
        return  # Closed, by the emulator's end or by us.
