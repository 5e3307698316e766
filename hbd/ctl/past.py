"""The verbs that tell what happened, and why: why, history, events, log. Each returns the exit status."""

from __future__ import annotations

import asyncio
import os
import sys
import time
from collections import deque
from typing import Any, NoReturn

from hbd.bus import names
from hbd.ctl import merge, story, terminal
from hbd.ctl.client import Daemon
from hbd.dbusio import Message, unwrap

WHOLE, USAGE = 0, 2


async def why(daemon: Daemon, wanted: str) -> int:
    """Explain one group."""
    shown = await daemon.read()
    group = story.find(shown.groups, wanted)
    entries = None if group is None else await daemon.why(group.name)
    if entries is None:
        known = ", ".join(one.name for one in shown.groups)
        print(f"hbctl: there is no group {wanted}; there is: {known or 'none'}", file=sys.stderr)
        return USAGE
    print(story.why(entries, await daemon.history(), shown.cluster.local_node, terminal.width_of_text()))
    return WHOLE


async def history(daemon: Daemon, most: int, as_json: bool, both: bool = False) -> int:
    """Show the last decisions with their time lines: this node's, or both nodes' in one order."""
    told = story.stories(await daemon.history())
    if both:
        told = await _with_the_others(daemon, told, most, as_json)
    told = told[-most:]
    if as_json:
        print(story.as_json([record for each in told for record in each]))
    else:
        print(story.as_text(told, terminal.width_of_text()))
    return WHOLE


async def _with_the_others(
    daemon: Daemon, ours: list[story.Story], most: int, as_json: bool
) -> list[story.Story]:
    """The other node is asked for as many stories as are shown, and for the start of the one before."""
    with terminal.progress("asking the other node"):
        records = await daemon.peer_history(lambda known: story.suffice(known, most))
    theirs = story.stories(records)[-most:]
    told = merge.merged(ours, theirs)
    # For programs, each record as its node keeps it.
    return told if as_json or not ours else merge.by_our_clock(told, ours[-1][0])


async def events(daemon: Daemon) -> int:
    """Print each signal as one line, until interrupted."""
    await daemon.read()  # A daemon that is not there is an error; one that goes later is an event.
    told: deque[tuple[str, str, str]] = deque()
    some = asyncio.Event()

    def tell(what: str, text: str) -> None:
        # Printed below: whoever has stopped reading us is no matter of the bus's connection.
        told.append((time.strftime("%H:%M:%S"), what, text))
        some.set()

    await daemon.follow(
        lambda signal: tell(*_event(signal)),
        lambda owner: tell("hbd", "is on the bus" if owner else "has left the bus"),
    )
    while True:
        await daemon.until(some)
        some.clear()
        while told:
            moment, what, text = told.popleft()
            print(terminal.folded(f"{moment} {what}: {text}", " " * 9), flush=True)


def _event(signal: Message) -> tuple[str, str]:
    match signal.member:
        case "PropertiesChanged":
            return names.describe(signal.path), _assignments(unwrap(signal.body[1]))
        case "InterfacesAdded":
            return names.describe(signal.body[0]), "is new"
        case "InterfacesRemoved":
            return names.describe(signal.body[0]), "is gone"
        case "TransitionFinished":
            return f"transition {signal.body[0]}", signal.body[1]
        case "Decided":
            record = unwrap(signal.body[0])
            return f"decision of {record['Node']}", story.event(record)
        case other:
            return names.describe(signal.path), str(other)


def _assignments(properties: dict[str, Any]) -> str:
    return ", ".join(f"{name}={value}" for name, value in properties.items())


def log(most: int, follow: bool, explain: bool) -> NoReturn:
    """Become journalctl, which shows what hbd and its systemd units have said. Raises OSError."""
    command = ["journalctl", "--unit=hbd.service", "--unit=hbd-orphan.service", f"--lines={most}"]
    command += ["--follow"] if follow else []
    command += ["--catalog"] if explain else []
    sys.stdout.flush()
    os.execvp(command[0], command)
