"""Whoever may steer the cluster after a password only is asked for it on his terminal, as systemctl does it.

polkit asks through an agent. A desktop has one; on any other terminal polkit's own pkttyagent(1) is started
for the time of the call, and steps back behind an agent that is there. It needs a login session.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
from collections.abc import AsyncIterator

TYPING_S = 120.0
"""What a password may take."""
READY_S = 5.0


@contextlib.asynccontextmanager
async def asked_for_here() -> AsyncIterator[bool]:
    """Whether polkit may ask for a password: not root, who needs none, and not without a terminal."""
    if os.geteuid() == 0 or not sys.stdin.isatty():
        yield False
        return
    agent = await _start_agent()
    try:
        yield True
    finally:
        if agent is not None:
            with contextlib.suppress(ProcessLookupError):
                agent.terminate()  # It gives the terminal its settings back.
            await agent.wait()


async def _start_agent() -> asyncio.subprocess.Process | None:
    """Returns when polkit knows it, or it has failed; None if it is not installed."""
    reading, writing = os.pipe()
    try:
        agent = await asyncio.create_subprocess_exec(
            "pkttyagent", f"--notify-fd={writing}", "--fallback", pass_fds=(writing,)
        )
    except OSError:
        os.close(reading)
        return None
    finally:
        os.close(writing)
    # The agent closes its end once it is registered.
    loop, registered = asyncio.get_running_loop(), asyncio.Event()
    loop.add_reader(reading, registered.set)
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(READY_S):
            await registered.wait()
    loop.remove_reader(reading)
    os.close(reading)
    return agent
