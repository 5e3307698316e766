"""Log lines beside the journal, written by a thread of their own: a heartbeat never waits for a disk.

`put` only queues. The queue has a bound; what does not fit is counted, said in the journal at once, and
said at its place in the files when they move again. Lines of the time before the configuration is known
wait in the queue, so that a file begins where the journal does.
"""

from __future__ import annotations

import os
import queue
import threading
import time
from dataclasses import dataclass

from hbd.config.model import Logging
from hbd.core.effects import Level
from hbd.logs.sinks import Form, Line, LogFile, Report, Sink, Syslog, syslog_socket

MOST_WAITING = 4096
"""Lines; a start with many findings is some hundred."""


@dataclass(frozen=True, slots=True)
class _Use:
    """From here on, these destinations."""

    sinks: tuple[Sink, ...]


class _Reopen:
    """Everything is to be opened anew."""


class LogFiles:
    """What ha.cf's logging directives name. No method blocks but `flush` and `close`, and none raises."""

    def __init__(self, report: Report) -> None:
        """`report` writes to the journal alone; called from any thread."""
        self._report = report
        self._queue: queue.SimpleQueue[Line | _Use | _Reopen | threading.Event | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None
        self._wanted = True
        self._dropped = 0

    def put(self, level: Level, text: str) -> None:
        """One line, for every destination that takes its level."""
        if not self._wanted:
            return
        if self._queue.qsize() >= MOST_WAITING:
            if not self._dropped:
                self._report(Level.WARN, "the log files do not keep up: lines are now left out of them")
            self._dropped += 1
            return
        self._queue.put(Line(level, text, time.time()))

    def configure(self, wanted: Logging) -> None:
        """Other destinations, from the next line on; the first time, from the first line on."""
        sinks = _sinks(wanted, self._report)
        self._wanted = bool(sinks)
        if self._thread is not None:
            self._queue.put(_Use(sinks))
        elif sinks:
            self._thread = threading.Thread(target=self._write, args=(sinks,), name="log files", daemon=True)
            self._thread.start()
        else:
            self._queue = queue.SimpleQueue()

    def reopen(self) -> None:
        """For SIGHUP; a file that was moved or removed is noticed without."""
        self._queue.put(_Reopen())

    def flush(self, wait_s: float) -> None:
        """Wait until everything up to here is written, but not longer than this."""
        if self._thread is not None and self._thread.is_alive():
            written = threading.Event()
            self._queue.put(written)
            written.wait(wait_s)

    def close(self, wait_s: float = 2.0) -> None:
        """Write what is left, unless it takes longer than this."""
        self._wanted = False
        if self._thread is not None:
            self._queue.put(None)
            self._thread.join(wait_s)

    # ------------------------------------------------------------ the thread

    def _write(self, sinks: tuple[Sink, ...]) -> None:
        while True:
            item = self._queue.get()
            if self._dropped and self._queue.empty():
                self._tell_dropped(sinks)
            match item:
                case None:
                    break
                case Line():
                    for sink in sinks:
                        sink.write(item)
                case _Use(new):
                    for sink in sinks:
                        sink.close()
                    sinks = new
                case _Reopen():
                    for sink in sinks:
                        sink.reopen()
                case threading.Event():
                    item.set()
        for sink in sinks:
            sink.close()

    def _tell_dropped(self, sinks: tuple[Sink, ...]) -> None:
        dropped, self._dropped = self._dropped, 0
        text = f"{dropped} log line(s) lost: the log files did not keep up"
        for sink in sinks:
            sink.write(Line(Level.WARN, text, time.time()))
        self._report(Level.WARN, text)


def _sinks(wanted: Logging, report: Report) -> tuple[Sink, ...]:
    form = Form(wanted.syslog_format, os.uname().nodename, os.getpid())
    sinks: list[Sink] = []
    if wanted.debugfile:
        sinks.append(LogFile(wanted.debugfile, form, report, debug=True))
    if wanted.logfile and wanted.logfile != wanted.debugfile:
        sinks.append(LogFile(wanted.logfile, form, report, debug=False))
    where = syslog_socket()
    if wanted.facility and where:
        sinks.append(Syslog(where, wanted.facility, form.pid, report))
    return tuple(sinks)


def describe(wanted: Logging) -> str:
    """One line for the start of the log: where lines are to be found."""
    places = [path for path in (wanted.logfile, wanted.debugfile) if path]
    if wanted.facility:
        places.append(f"syslog ({wanted.facility})")
    if not places:
        return "No log entry found in ha.cf: the log is in the journal; read it with: journalctl -u hbd"
    return f"The log is in the journal (journalctl -u hbd), and in {', '.join(dict.fromkeys(places))}"
