"""Where log lines go beside the journal, in heartbeat 3.0.6's formats: files, and syslog.

Used by the thread of `hbd.logs.writer` only: writing here may block. Facts: ha.cf's `logfile`, `debugfile`,
`logfacility` and `syslogmsgfmt`; lines of heartbeat 3.0.6's own files.
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final, Protocol

from hbd.core.effects import Level

ENTITY = "heartbeat"
"""What 3.0.6 calls itself in its lines; filters and watchers of logs look for it."""
FILE_MODE = 0o644
SEND_LIMIT_S = 0.2
"""A syslog daemon that reads slower than this costs its lines, and not those of the files."""

DEV_LOG = "/dev/log"
JOURNALS_DEV_LOG = "/run/systemd/journal/dev-log"
FORWARDED = "/run/systemd/journal/syslog"
"""Where a syslog daemon beside the journal listens (ForwardToSyslog=, journald.conf(5))."""

SEVERITY: Final[Mapping[Level, int]] = {
    Level.CRIT: 2,
    Level.ERROR: 3,
    Level.WARN: 4,
    Level.INFO: 6,
    Level.DEBUG: 7,
}
_TRADITIONAL = (
    *("kern", "user", "mail", "daemon", "auth", "syslog"),
    *("lpr", "news", "uucp", "cron", "authpriv", "ftp"),
)
FACILITIES: Final[Mapping[str, int]] = {
    **{name: code for code, name in enumerate(_TRADITIONAL)},
    **{f"local{number}": 16 + number for number in range(8)},
}
"""syslog(3)."""

Report = Callable[[Level, str], None]
"""Tells the journal, and nobody else, about a destination."""


@dataclass(frozen=True, slots=True)
class Line:
    """One log line on its way."""

    level: Level
    text: str
    said_s: float
    """Of the wall clock."""


class Sink(Protocol):
    """A destination. No method raises OSError."""

    def write(self, line: Line) -> None:
        """Write it, or count it."""

    def reopen(self) -> None:
        """Begin anew with what is found under the name now."""

    def close(self) -> None:
        """End."""


@dataclass(frozen=True, slots=True)
class Form:
    """How lines look in files: `syslogmsgfmt` on, or off."""

    syslog: bool
    host: str
    pid: int

    def render(self, line: Line) -> bytes:
        """With a head in front of each line of the text: what follows a line break must not look like
        another message."""
        when = time.localtime(line.said_s)
        if self.syslog:
            head = f"{time.strftime('%b %d %H:%M:%S', when)} {self.host} {ENTITY}: [{self.pid}]: "
        else:
            head = f"{ENTITY}[{self.pid}]: {time.strftime('%Y/%m/%d_%H:%M:%S', when)} "
        return b"".join(f"{head}{text}\n".encode() for text in _texts(line))


class LogFile:
    """A file that is appended to; opened again once it was moved or removed, as logrotate(8) does.

    What cannot be written is said in the journal once, and counted; the count is said, here and there, as
    soon as the file takes lines again.
    """

    def __init__(self, path: str, form: Form, report: Report, *, debug: bool) -> None:
        """`debug`: takes lines of that level too."""
        self.path = os.path.join("/", path)
        self._form = form
        self._report = report
        self._debug = debug
        self._file: int | None = None
        self._identity: tuple[int, int] | None = None
        self._torn = False
        self._lost = 0

    def write(self, line: Line) -> None:
        if line.level is Level.DEBUG and not self._debug:
            return
        try:
            file = self._follow()
            if self._lost:
                text = f"{self._lost} log line(s) lost: {self.path} could not be written"
                self._append(file, Line(Level.WARN, text, line.said_s))
                self._report(Level.WARN, f"{self.path} is written again; {self._lost} line(s) are missing")
                self._lost = 0
            self._append(file, line)
        except OSError as error:
            self.reopen()
            if not self._lost:
                reason = error.strerror
                self._report(Level.ERROR, f"Cannot write to {self.path}: {reason}; the journal has its lines")
            self._lost += 1

    def reopen(self) -> None:
        if self._file is not None:
            os.close(self._file)
            self._file = None

    def close(self) -> None:
        self.reopen()

    def _follow(self) -> int:
        """The file of that name, which may be another one by now. Raises OSError."""
        if self._file is not None:
            try:
                status = os.stat(self.path)
                if self._identity != (status.st_dev, status.st_ino):
                    self.reopen()
            except FileNotFoundError:
                self.reopen()
        if self._file is None:
            # Without O_NONBLOCK a FIFO that nobody reads would hold up the other destinations for ever.
            flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOCTTY | os.O_NONBLOCK | os.O_CLOEXEC
            self._file = os.open(self.path, flags, FILE_MODE)
            status = os.fstat(self._file)
            identity = status.st_dev, status.st_ino
            self._torn = self._torn and identity == self._identity
            self._identity = identity
        return self._file

    def _append(self, file: int, line: Line) -> None:
        """Raises OSError. Half a line, of a disk that was full, does not run into the next one."""
        left = (b"\n" if self._torn else b"") + self._form.render(line)
        whole = len(left)
        while left:
            try:
                left = left[os.write(file, left) :]
            finally:
                self._torn = 0 < len(left) < whole or (self._torn and len(left) == whole)


class Syslog:
    """A syslog daemon's socket, with a facility: `<PRI>Mon dd hh:mm:ss heartbeat: [PID]: LEVEL: TEXT`."""

    def __init__(self, path: str, facility: str, pid: int, report: Report) -> None:
        self._path = path
        self._facility = FACILITIES[facility]
        self._pid = pid
        self._report = report
        self._lost = 0
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
        self._socket.settimeout(SEND_LIMIT_S)

    def write(self, line: Line) -> None:
        # syslog's day has no leading zero (RFC 3164, 4.1.2); that of 3.0.6's files has one.
        when = time.strftime("%b %e %H:%M:%S", time.localtime(line.said_s))
        head = f"<{8 * self._facility + SEVERITY[line.level]}>{when} {ENTITY}: [{self._pid}]: "
        try:
            for text in _texts(line):
                self._socket.sendto(f"{head}{text}".encode(), self._path)
        except OSError as error:
            if not self._lost:
                reason = error.strerror or "no answer in time"
                text = f"Cannot send to syslog ({self._path}): {reason}; the journal has its lines"
                self._report(Level.ERROR, text)
            self._lost += 1
        else:
            if self._lost:
                self._report(Level.WARN, f"syslog is there again; {self._lost} line(s) are missing there")
                self._lost = 0

    def reopen(self) -> None:
        """Nothing is open: each line finds the socket by its name."""

    def close(self) -> None:
        self._socket.close()


def syslog_socket(
    dev_log: str = DEV_LOG, forwarded: str = FORWARDED, journals: str = JOURNALS_DEV_LOG
) -> str | None:
    """Where a syslog daemon listens; None if the journal is all there is.

    The journal's own /dev/log is not taken: it would have each line twice.
    """
    if os.path.exists(forwarded):
        return forwarded
    if os.path.exists(dev_log) and os.path.realpath(dev_log) != os.path.realpath(journals):
        return dev_log
    return None


def _texts(line: Line) -> list[str]:
    """`LEVEL: TEXT` for each line of the text, without characters that a terminal would obey."""
    return [f"{line.level.value}: {_printable(text)}" for text in line.text.splitlines() or [""]]


def _printable(text: str) -> str:
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() else ascii(char)[1:-1] for char in text)
