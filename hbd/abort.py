"""What happens when systemd's watchdog takes hbd for hung: the addresses first, then the end it asks for.

A machine that was frozen together with its systemd may wake in either order. If systemd wakes first, or if
hbd's event loop really hangs, SIGABRT comes, and until the next hbd looks (`hbd.stale`) this kernel would go
on answering for addresses that the peer may serve by now. So the signal is blocked in every thread, and one
that does nothing else waits for it: it needs the interpreter, but not the event loop. A process that cannot
even do that is killed when TimeoutAbortSec= of the unit has passed.

Its own disposition stays the default one: abort(3), ours or a library's, still ends the process by SIGABRT,
with a core file where ha.cf wants one.
"""

from __future__ import annotations

import contextlib
import os
import signal
import struct
import threading
from collections.abc import Callable
from pathlib import Path

from hbd import stale
from hbd.core.effects import Kind, Level, Log


def hold() -> None:
    """Let SIGABRT wait from now on. To be called before the first thread is made: they inherit it."""
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGABRT})


def watch(
    run: Path, priority: int | None, stalled: Callable[[int], None], say: Callable[[Log], None]
) -> None:
    """Wait for SIGABRT in a thread of its own, with this real-time priority, until the process ends.

    What comes then is as urgent as the event loop's work, and until then it only waits. `stalled` is told
    for how many ms hbd was not well, from that thread, and may raise OSError.
    """

    def wait() -> None:
        if priority is not None:
            # What the system refuses was said when the event loop was refused it.
            with contextlib.suppress(OSError):
                policy = os.SCHED_RR | os.SCHED_RESET_ON_FORK
                os.sched_setscheduler(0, policy, os.sched_param(priority))
        signal.sigwait({signal.SIGABRT})
        try:
            _release(str(run), stalled, say)
        finally:
            os.abort()

    threading.Thread(target=wait, name="abort", daemon=True).start()


def _release(run: str, stalled: Callable[[int], None], say: Callable[[Log], None]) -> None:
    with contextlib.suppress(OSError, ValueError, struct.error):
        silent_ms, patience_ms = stale.silence(run)
        gone = stale.take_off(stale.held_addresses(run)) if silent_ms > patience_ms else []
        text = f"hbd is taken for hung, {silent_ms} ms after it was last well, and ends for a new one"
        if gone:
            text += f"; the other node may have taken over: {', '.join(gone)} off at once"
        say(Log(Level.CRIT, Kind.ABSENCE, text))
        # An event loop that hangs has not seen it.
        stalled(silent_ms)
