"""Commands in a machine, over its guest agent: they need no network, no address and no free line.

The agent sits behind a virtio port and answers one request at a time. When the machine resets, the
request under way gets no answer, and the next agent knows nothing of it.
"""

import base64
import json
import random
import socket
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tests.lab.host import LabError
from tests.vm.qmp import connect

Command = str | Sequence[str]


class NoAnswerError(LabError):
    """The agent does not answer: the machine boots, hangs, was reset, or is off."""


class Agent:
    """The host's side of one machine's agent."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._socket: socket.socket | None = None
        self._rest = b""

    def run(self, command: Command, timeout_s: float, stdin: str = "") -> subprocess.CompletedProcess[str]:
        """Run a command as root and wait for its end; a string goes through the shell.

        Raises LabError after `timeout_s`, and NoAnswerError when the agent is not there, or goes meanwhile.
        """
        pid = self.start(command, stdin)
        end = time.monotonic() + timeout_s
        pause_s = 0.02
        while not (status := self.ask("guest-exec-status", {"pid": pid}))["exited"]:
            if time.monotonic() > end:
                raise LabError(f"not done after {timeout_s:g} s: {command}")
            time.sleep(pause_s)
            pause_s = min(0.3, 1.5 * pause_s)
        code = status.get("exitcode", -status.get("signal", 0))
        out, err = (base64.b64decode(status.get(name, "")).decode(errors="replace") for name in _OUTPUTS)
        return subprocess.CompletedProcess(list(_words(command)), code, out, err)

    def start(self, command: Command, stdin: str = "") -> int:
        """Begin a command, without waiting; returns its process number, which a reset makes void."""
        path, *words = _words(command)
        arguments: dict[str, object] = {"path": path, "arg": words, "capture-output": True}
        if stdin:
            arguments["input-data"] = base64.b64encode(stdin.encode()).decode()
        told = self.ask("guest-exec", arguments)
        return int(told["pid"])

    def ask(self, request: str, arguments: dict[str, object] | None = None, timeout_s: float = 30) -> Any:
        """The agent's answer; raises NoAnswerError, or LabError with its words when it refuses."""
        try:
            if self._socket is None:
                self._begin()
            assert self._socket is not None
            self._send(request, arguments or {})
            reply = self._receive(time.monotonic() + timeout_s)
        except OSError as error:
            self.close()
            raise NoAnswerError(f"no answer to {request}: {error or type(error).__name__}") from None
        if "error" in reply:
            raise LabError(f"{request}: {reply['error']['desc']}")
        return reply["return"]

    def close(self) -> None:
        """Forget the connection, and with it answers that are still on their way."""
        if self._socket is not None:
            self._socket.close()
        self._socket = None
        self._rest = b""

    def _begin(self) -> None:
        """Connect, and skip whatever is left over from before."""
        self._socket = connect(self._path)
        number = random.randrange(1 << 30)
        self._send("guest-sync", {"id": number})
        end = time.monotonic() + 3
        while self._receive(end).get("return") != number:
            pass

    def _send(self, request: str, arguments: dict[str, object]) -> None:
        assert self._socket is not None
        self._socket.settimeout(5)
        self._socket.sendall(json.dumps({"execute": request, "arguments": arguments}).encode() + b"\n")

    def _receive(self, end: float) -> dict[str, Any]:
        assert self._socket is not None
        while b"\n" not in self._rest:
            self._socket.settimeout(max(0.01, end - time.monotonic()))
            piece = self._socket.recv(1 << 16)
            if not piece:
                raise ConnectionResetError("the emulator is gone")
            self._rest += piece
        line, self._rest = self._rest.split(b"\n", 1)
        reply: dict[str, Any] = json.loads(line)
        return reply


_OUTPUTS = ("out-data", "err-data")


def _words(command: Command) -> Sequence[str]:
    return ["/bin/sh", "-c", command] if isinstance(command, str) else command
