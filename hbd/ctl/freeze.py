"""hbctl's freeze, thaw and confirm-dead: say it, and see whether the other node has heard."""

from __future__ import annotations

import asyncio
import contextlib
import sys

from hbd.ctl import render, terminal
from hbd.ctl.client import Daemon, NotRunning
from hbd.ctl.snapshot import Snapshot

AGREE_S = 5.0
"""The other node answers within a round trip, or it does not hear us."""


async def change(daemon: Daemon, freeze: bool) -> int:
    """0 once both nodes know; 1 if the other one does not say so in time."""
    if not freeze and not (await daemon.read()).cluster.frozen:
        print("the cluster is not frozen")
        return 0
    done = "frozen" if freeze else "thawed"
    changed = asyncio.Event()
    await daemon.follow(lambda _: changed.set(), lambda _: changed.set())
    await daemon.steer("Freeze" if freeze else "Thaw")
    try:
        with terminal.progress("waiting for the other node's word"):
            shown = await _once_agreed(daemon, changed)
    except NotRunning as error:
        raise NotRunning(f"this node is {done}, and stays so when hbd starts again; {error}") from error
    except asyncio.CancelledError:
        told = f"this node is {done}; hbctl status tells whether the other one knows it"
        print(told, file=sys.stderr)
        raise
    others = ", ".join(node.name for node in shown.nodes if node.kind == "normal" and not node.local)
    if shown.cluster.freeze_agreed:
        who = f"this node and {others} know it" if others else "there is no other node"
        print(f"the cluster is {done}: {who}")
    else:
        _tell_who_does_not_know(done, others, shown)
    if freeze:
        for problem in render.stuck(shown):
            print(f"  as it is now it stays: {problem}")
    return 0 if shown.cluster.freeze_agreed else 1


def _tell_who_does_not_know(done: str, others: str, shown: Snapshot) -> None:
    lines = [
        f"this node is {done}, but {others} has not said within {AGREE_S:g} s that it knows:",
        *(f"  {sentence}" for sentence in shown.cluster.degraded),
        "  it is told with every heartbeat; hbctl status says when it knows",
    ]
    print("\n".join(lines), file=sys.stderr)


async def _once_agreed(daemon: Daemon, changed: asyncio.Event) -> Snapshot:
    """How it is when the other node knows, or when it had its time."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(AGREE_S):
            while True:
                changed.clear()
                shown = await daemon.read()
                if shown.cluster.freeze_agreed:
                    return shown
                await daemon.until(changed)
    return await daemon.read()


async def confirm_dead(daemon: Daemon, node: str) -> int:
    """0 if hbd has taken the word for it."""
    nodes = [one.name for one in (await daemon.read()).nodes if one.kind == "normal"]
    if node not in nodes:
        print(f"hbctl: there is no node {node}; there are {', '.join(nodes)}", file=sys.stderr)
        return 2
    await daemon.steer("ConfirmDead", node)
    print(f"{node} counts as dead until anything is heard of it")
    if (await daemon.read()).cluster.frozen:
        print("the cluster is frozen: what it held is taken over after hbctl thaw")
    return 0
