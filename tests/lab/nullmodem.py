"""A null modem cable: two pseudo terminals and a relay between them, which can be pulled out.

A pseudo terminal has no modem lines and no speed. While nobody has an end open, what is sent there is lost,
as on a real line; else a machine would read a backlog of old heartbeats after its boot.
"""

import os
import select
import termios
import threading
import tty
from types import TracebackType
from typing import Self


class NullModem:
    """Use it in a `with` block; `devices` are its two ends."""

    def __init__(self) -> None:
        self.plugged = True
        self._masters: list[int] = []
        self.devices: list[str] = []
        for _ in range(2):
            master, slave = os.openpty()
            tty.setraw(slave)  # A fresh one echoes.
            os.set_blocking(master, False)
            self._masters.append(master)
            self.devices.append(os.ttyname(slave))
            os.close(slave)
        self._end, self._ended = os.pipe()
        self._relay = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Self:
        self._relay.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        os.close(self._ended)
        self._relay.join()
        for fd in (*self._masters, self._end):
            os.close(fd)

    def unplug(self) -> None:
        """From now on nothing arrives."""
        self.plugged = False

    def plug(self) -> None:
        self.plugged = True

    def _run(self) -> None:
        one, two = self._masters
        other = {one: two, two: one}
        events = select.epoll()
        events.register(self._end, select.EPOLLHUP)
        for master in self._masters:
            # Edge-triggered: an end that is not open shows as hung up all the time.
            events.register(master, select.EPOLLIN | select.EPOLLET)
        with events:
            while True:
                for fd, _ in events.poll():
                    if fd == self._end:
                        return
                    self._pass_on(fd, other[fd])

    def _pass_on(self, source: int, sink: int) -> None:
        try:
            while raw := os.read(source, 4096):
                if self.plugged and is_open(sink):
                    os.write(sink, raw)
                else:
                    termios.tcflush(sink, termios.TCIOFLUSH)
        except OSError:
            pass  # All read, or hung up, or the other end reads nothing: a line loses it then.


def is_open(master: int) -> bool:
    """Whether somebody has the other side of this pseudo terminal open."""
    poll = select.poll()
    poll.register(master, select.POLLHUP)
    return not poll.poll(0)
