"""A null modem cable: two pseudo terminals and a relay between them, which can be pulled out.

A pseudo terminal has no modem lines and no speed. While nobody has an end open, what is sent there is lost,
as on a real line; else a machine would read a backlog of old heartbeats after its boot. And a real line
forgets with the last close that it was exclusive (TIOCEXCL) and raw; here the relay has to see to it.
"""

import fcntl
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
        self._used: set[int] = set()
        """Ends that somebody has written to since they were last made fresh."""
        for _ in range(2):
            master, slave = os.openpty()
            refresh(slave)
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
        while True:
            try:
                raw = os.read(source, 4096)
            except BlockingIOError:
                return
            except OSError:  # Nobody has it open any more.
                self._leave_fresh(source)
                return
            self._used.add(source)
            if not self.plugged or not is_open(sink):
                termios.tcflush(sink, termios.TCIOFLUSH)
                continue
            try:
                os.write(sink, raw)
            except OSError:
                pass  # The other end reads nothing, or is gone just now: a line loses it.

    def _leave_fresh(self, master: int) -> None:
        """Once after each use: to open and close it here is itself an event on it."""
        if master in self._used:
            self._used.discard(master)
            slave = os.open(self.devices[self._masters.index(master)], os.O_RDWR | os.O_NOCTTY)
            refresh(slave)
            os.close(slave)


def refresh(slave: int) -> None:
    """Raw, since a fresh pseudo terminal echoes; and for everybody."""
    tty.setraw(slave)
    fcntl.ioctl(slave, termios.TIOCNXCL)


def is_open(master: int) -> bool:
    """Whether somebody has the other side of this pseudo terminal open."""
    poll = select.poll()
    poll.register(master, select.POLLHUP)
    return not poll.poll(0)
