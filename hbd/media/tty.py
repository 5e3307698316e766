"""Serial ports: opened, locked and closed off the event loop; read and written without waiting.

8N1, raw, with hardware flow control where the line has modem lines at all (a pseudo terminal has none).
Opening and closing are left to threads: the kernel may wait half a minute at the close for output that
nobody takes, and an adapter that is being pulled out answers when it likes. The only importer of pyserial,
whose own read and write are not used: without a time limit its write spins as long as the line is full.
Facts: heartbeat 3.0.6's serial media; termios(3), ioctl_tty(2).
"""

from __future__ import annotations

import asyncio
import errno
import fcntl
import os
import select
import stat
import termios
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import serial

from hbd.config.model import Serial
from hbd.media import ttylock

PARKED_S = 3.0
"""How long a blocked port stays open for whoever asks for it again. Closed, it would not show the other side
that we are there, and two nodes that look now and then would never meet."""
READ_BYTES = 4096
NOT_LEAVING = "what is written does not leave"


class Port:
    """One open serial line. To be made in a thread."""

    def __init__(self, spec: Serial, locks: Path = ttylock.DIRECTORY) -> None:
        """Raises OSError that names the device."""
        self.spec = spec
        self._lock = ttylock.take(spec.device, locks)
        try:
            self._serial = _opened(spec)
        except OSError:
            ttylock.release(self._lock)
            raise
        self.fd: int = self._serial.fileno()
        self.has_modem_lines: bool = self._serial.rtscts

    def read(self) -> bytes:
        """What has come in; empty if nothing has. Raises OSError when the line is gone."""
        try:
            got = os.read(self.fd, READ_BYTES)
        except BlockingIOError:
            return b""
        if not got:
            raise OSError(errno.EIO, "the line was hung up")
        return got

    def write(self, raw: bytes) -> int:
        """How many of these bytes the line took. Raises OSError when it is gone."""
        try:
            return os.write(self.fd, raw)
        except BlockingIOError:
            return 0

    def waiting_bytes(self) -> int:
        """What was written and has not left yet. Raises OSError."""
        count: int = self._serial.out_waiting
        return count

    def obstacle(self) -> str:
        """Why nothing can be sent now; empty if nothing is known to be in the way. Raises OSError.

        Some adapters ask the device, and wait for its answer.
        """
        if self.has_modem_lines:
            return "" if self._serial.cts else "nobody is ready at the other end, or bad cable (CTS is off)"
        poll = select.poll()
        poll.register(self.fd, select.POLLOUT)
        (_, state), *_ = poll.poll(0) or [(self.fd, 0)]
        if state & (select.POLLHUP | select.POLLERR):
            raise OSError(errno.EIO, "the line was hung up")
        return "" if state & select.POLLOUT else NOT_LEAVING

    def forget_input(self) -> None:
        """Drop what came while nobody read: heartbeats of long ago. Raises OSError."""
        _flush(self.fd, termios.TCIFLUSH)

    def forget_output(self) -> None:
        """Drop what has not left: at the close, the kernel would wait for it, half a minute if need be."""
        try:
            _flush(self.fd, termios.TCOFLUSH)
        except OSError:
            pass  # Hung up: nothing is kept then.

    def unlock(self) -> None:
        """Give the lock back. Done by the loop: threads may not come to it when the process ends."""
        ttylock.release(self._lock)
        self._lock = None

    def close(self) -> None:
        """May take long."""
        try:
            fcntl.ioctl(self.fd, termios.TIOCNXCL)  # It would outlive us while anybody has the line open.
            self._serial.close()
        except OSError:
            pass  # Whatever it says, the descriptor is free.


@dataclass(frozen=True, slots=True)
class Opened:
    """What an attempt to open a port came to, if not to an OSError."""

    port: Port
    obstacle: str
    """As `Port.obstacle` saw it."""
    fresh: bool
    """Opened now; else it was parked."""


class Ports:
    """The serial ports of one daemon. Whatever may ask the device something is done in threads."""

    def __init__(self, locks: Path = ttylock.DIRECTORY) -> None:
        self._locks = locks
        self._opening: set[str] = set()
        """Devices with an attempt whose answer has not come."""
        self._closing: dict[str, threading.Thread] = {}
        self._parked: dict[Serial, tuple[Port, asyncio.TimerHandle]] = {}

    def open(self, spec: Serial, answer: Callable[[Opened | OSError], None]) -> None:
        """Open it, or look at the parked one; `answer` is called by the loop. May raise OSError at once."""
        mode = os.stat(spec.device).st_mode
        if not stat.S_ISCHR(mode):
            raise OSError(errno.ENOTTY, "it is no serial device")
        if spec.device in self._opening:
            raise OSError(errno.EBUSY, "the last attempt to open it has not ended")
        loop, parked, closing = asyncio.get_running_loop(), self._unpark(spec), self._closing.get(spec.device)

        def ended(result: Opened | OSError) -> None:
            # Not when the thread is gone: that may be a moment later, and the answer may lead to an opening.
            self._opening.discard(spec.device)
            answer(result)

        def work() -> None:
            if closing is not None:
                closing.join()
            result = _look_at(parked) if parked is not None else _open_fresh(spec, self._locks)
            try:
                loop.call_soon_threadsafe(ended, result)
            except RuntimeError:  # The loop has ended: nobody waits for it.
                if isinstance(result, Opened):
                    result.port.unlock()

        self._opening.add(spec.device)
        _thread(work, f"open {spec.device}")

    def close(self, port: Port) -> None:
        """Close it in a thread."""
        port.unlock()
        self._closing[port.spec.device] = _thread(port.close, f"close {port.spec.device}")

    def park(self, port: Port) -> None:
        """Keep a blocked port open, for a while."""
        if port.has_modem_lines:
            port.forget_output()
        loop = asyncio.get_running_loop()
        self._parked[port.spec] = port, loop.call_later(PARKED_S, self._give_up, port.spec)

    def _unpark(self, spec: Serial) -> Port | None:
        found = self._parked.pop(spec, None)
        if found is None:
            return None
        port, timer = found
        timer.cancel()
        return port

    def _give_up(self, spec: Serial) -> None:
        port = self._unpark(spec)
        if port is not None:
            self.close(port)


def _open_fresh(spec: Serial, locks: Path) -> Opened | OSError:
    try:
        port = Port(spec, locks)
    except OSError as why:
        return why
    found = _look_at(port)
    return Opened(port, found.obstacle, True) if isinstance(found, Opened) else found


def _look_at(port: Port) -> Opened | OSError:
    """A port that is gone is closed."""
    try:
        obstacle = port.obstacle()
        if not obstacle:
            port.forget_input()
    except OSError as why:
        port.unlock()
        port.close()
        return why
    return Opened(port, obstacle, False)


def _opened(spec: Serial) -> serial.Serial:
    """Raises OSError. Exclusive: by flock, as pyserial does it, and TIOCEXCL, which binds all but root."""
    try:
        # An interval between bytes, of whatever length, makes pyserial set VMIN to 1: with its 0, a read of
        # nothing would look like the end of the line.
        port = serial.Serial(spec.device, spec.baud, timeout=0, inter_byte_timeout=0, exclusive=True)
    except (OSError, ValueError, termios.error) as why:
        # pyserial wraps the error's text in sentences of its own.
        known = why.errno if isinstance(why, OSError) and why.errno else errno.EIO
        if known == errno.EAGAIN:  # flock(2): somebody else has it.
            known = errno.EBUSY
        text = os.strerror(known) if isinstance(why, OSError) and why.errno else str(why)
        raise OSError(known, f"cannot be opened: {text}") from why
    try:
        fcntl.ioctl(port.fileno(), termios.TIOCEXCL)
        port.rtscts = _has_modem_lines(port)
    except (OSError, termios.error) as why:
        port.close()
        raise OSError(errno.EIO, f"cannot be used: {why}") from why
    return port


def _has_modem_lines(port: serial.Serial) -> bool:
    try:
        fcntl.ioctl(port.fileno(), termios.TIOCMGET, bytes(4))
    except OSError:
        return False
    return True


def _flush(fd: int, queue: int) -> None:
    try:
        termios.tcflush(fd, queue)
    except termios.error as why:
        raise OSError(*why.args) from why


def _thread(work: Callable[[], None], name: str) -> threading.Thread:
    thread = threading.Thread(target=work, name=name, daemon=True)
    thread.start()
    return thread
