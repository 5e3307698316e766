"""Keeps the heartbeat on time on a busy machine: real-time priority, locked memory, a quiet collector.

As heartbeat 3.0.6: SCHED_RR at priority 1 unless `rtprio` says otherwise, and what the system refuses is
logged and done without. Only the event loop's thread gets the priority: SCHED_RESET_ON_FORK keeps it from
threads and children (sched(7)).
"""

from __future__ import annotations

import ctypes
import gc
import os
import sys
import threading

DEFAULT_PRIORITY = 1
"""3.0.6's built-in priority."""

_MCL_CURRENT, _MCL_FUTURE, _MCL_ONFAULT = 1, 2, 4
_STACK_BYTES = 512 * 1024
_SWITCH_S = 0.001


def prepare_threads() -> None:
    """To be called before the first thread is made.

    A locked stack is real memory, so it is kept small; and a thread that computes gives the interpreter
    up to the event loop after a millisecond instead of five.
    """
    threading.stack_size(_STACK_BYTES)
    sys.setswitchinterval(_SWITCH_S)


def be_realtime(priority: int | None) -> list[str]:
    """Raise this thread's priority and lock the memory; what did not work, as sentences."""
    refused = []
    try:
        policy = os.SCHED_RR | os.SCHED_RESET_ON_FORK
        os.sched_setscheduler(0, policy, os.sched_param(priority or DEFAULT_PRIORITY))
    except OSError as error:
        refused.append(f"Cannot get real-time priority {priority or DEFAULT_PRIORITY}: {error.strerror}")
    libc = ctypes.CDLL(None, use_errno=True)
    # What is there now is read in and stays. What is mapped later is locked as it is touched: with
    # MCL_FUTURE alone, every thread's whole stack would be filled at once.
    if libc.mlockall(_MCL_CURRENT) != 0 or libc.mlockall(_MCL_FUTURE | _MCL_ONFAULT) != 0:
        reason = os.strerror(ctypes.get_errno())
        refused.append(f"Cannot lock ourselves into memory: {reason}")
    return refused


def be_ordinary() -> None:
    """`realtime off`: give back the priority that the unit lends for the start."""
    # With the flag that the unit has set: to take that away would need a privilege.
    os.sched_setscheduler(0, os.SCHED_OTHER | os.SCHED_RESET_ON_FORK, os.sched_param(0))


def quiet_collector() -> None:
    """Once everything long-lived exists: never look through it, and seldom through the rest.

    Until then the collector is off (`__main__`): it costs a tenth of the start, and a full round at
    the end of it would hold up the first heartbeats.
    """
    gc.freeze()
    gc.set_threshold(20_000, 20, 50)
    gc.enable()
