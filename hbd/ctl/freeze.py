"""hbctl's freeze, thaw and confirm-dead: say it, and see whether the other node has heard."""

from __future__ import annotations

import asyncio
import sys

from hbd.ctl import render, terminal
from hbd.ctl.client import Daemon
from hbd.ctl.snapshot import Snapshot

AGREE_S = 5.0
"""The other node answers within a round trip, or it does not hear us."""
LOOK_S = 0.05


async def change(daemon: Daemon, freeze: bool) -> int:
    """0 once both nodes know; 1 if the other one does not say so."""
    if not freeze and not (await daemon.read()).cluster.frozen:
        print("the cluster is not frozen")
        return 0
    await daemon.steer("Freeze" if freeze else "Thaw")
    with terminal.progress("waiting for the other node's word"):
        shown = await _once_agreed(daemon)
    agreed = shown.cluster.freeze_agreed
    others = [node.name for node in shown.nodes if node.kind == "normal" and not node.local]
    if agreed:
        who = f"this node and {', '.join(others)} know it" if others else "there is no other node"
        print(f"the cluster is {'frozen' if freeze else 'thawed'}: {who}")
    else:
        print(f"this node is {'frozen' if freeze else 'thawed'}, but not the whole cluster:", file=sys.stderr)
        for sentence in shown.cluster.degraded:
            print(f"  {sentence}", file=sys.stderr)
    if freeze:
        for problem in render.stuck(shown):
            print(f"  as it is now it stays: {problem}")
    return 0 if agreed else 1


async def _once_agreed(daemon: Daemon) -> Snapshot:
    deadline = asyncio.get_running_loop().time() + AGREE_S
    while True:
        shown = await daemon.read()
        if shown.cluster.freeze_agreed or asyncio.get_running_loop().time() >= deadline:
            return shown
        await asyncio.sleep(LOOK_S)


async def confirm_dead(daemon: Daemon, node: str) -> int:
    """0 if hbd has taken the word for it."""
    await daemon.steer("ConfirmDead", node)
    print(f"{node} counts as dead until anything is heard of it")
    if (await daemon.read()).cluster.frozen:
        print("the cluster is frozen: what it held is taken over after hbctl thaw")
    return 0
