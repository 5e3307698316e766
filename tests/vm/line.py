"""A null modem between the machines' serial ports, as fast as its line speed allows and no faster.

The emulator's UART does not keep the speed that it is set to. So the bytes pass through here, each not
before the line has had the time for it: ten bits a byte at 8N1. On the way to here a few dozen bytes
have room, as in a UART, so that a machine that sends too much meets a line that is not ready.
"""

import socket
import struct
import threading
import time
from types import TracebackType
from typing import Self

_BITS_A_BYTE = 10  # Start bit, eight bits, stop bit.
# What is carried at a time: far less than a heartbeat.
_PIECE_BYTES = 32


class NullModem:
    """Use it in a `with` block; `ends` are for the emulators, one for each."""

    def __init__(self, baud: int = 19200) -> None:
        self.baud = baud
        self.plugged = True
        """While it is not, nothing arrives."""
        self.carried = [0, 0]
        """Bytes that left for the other end so far: from the first machine, from the second."""
        pairs = [_small_pair() for _ in range(2)]
        self.ends = [theirs for theirs, _ in pairs]
        self._ours = [ours for _, ours in pairs]
        self._ended = threading.Event()
        self._threads = [threading.Thread(target=self._carry, args=(way,), daemon=True) for way in (0, 1)]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        self._ended.set()
        for thread in self._threads:
            thread.join()
        for end in (*self.ends, *self._ours):
            end.close()

    def _carry(self, way: int) -> None:
        source, sink = self._ours[way], self._ours[1 - way]
        free_at = time.monotonic()
        while not self._ended.is_set():
            try:
                piece = source.recv(_PIECE_BYTES)
            except BlockingIOError:  # Nothing within the time limit.
                continue
            free_at = max(free_at, time.monotonic()) + len(piece) * _BITS_A_BYTE / self.baud
            time.sleep(max(0.0, free_at - time.monotonic()))
            self.carried[way] += len(piece)
            if self.plugged:
                try:
                    sink.send(piece, socket.MSG_DONTWAIT)
                except BlockingIOError:
                    pass  # Nobody reads there: lost, as on a line.


def _small_pair() -> tuple[socket.socket, socket.socket]:
    theirs, ours = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
    for end in (theirs, ours):
        # The kernel's least, about five writes of a few bytes each; the usual 200 KB are 100 s of line.
        end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1)
    # Not Python's own limit, which would count for sending too.
    ours.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, struct.pack("ll", 0, 200_000))
    return theirs, ours
