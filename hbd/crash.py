"""A bug anywhere ends the process at once, with everything left running for the restart to adopt."""

from __future__ import annotations

import asyncio
import logging
import os
import threading
from typing import Any, NoReturn

from hbd.errors import HbdError

EX_SOFTWARE = 70
"""sysexits.h."""

log = logging.getLogger("hbd")


def crash(bug: BaseException) -> NoReturn:
    """End at once: unwinding would wait for tasks and threads, and a restart must not."""
    log.critical("hbd ends because of a bug; what it started goes on running", exc_info=bug)
    for handler in logging.getLogger().handlers:
        handler.flush()
    os._exit(EX_SOFTWARE)


def crash_of(failed: asyncio.Future[None]) -> None:
    """For futures that end with nothing but a bug."""
    bug = None if failed.cancelled() else failed.exception()
    if bug is not None:
        crash(bug)


def thread_failed(failed: threading.ExceptHookArgs) -> None:
    """Python would only print it, and what the thread was for would never be done again."""
    if failed.exc_value is not None:  # None only while the interpreter ends.
        crash(failed.exc_value)


def callback_failed(_: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """asyncio would only log what a callback, or a task that nobody awaits, raised. It is our bug,
    unless it is an error that was foreseen and only came too late for anybody to care."""
    error = context.get("exception")
    if error is None or isinstance(error, HbdError | OSError):
        log.warning("%s", context["message"], exc_info=error)
    else:
        crash(error)
