"""The verbs of hbctl that talk to the daemon. Each returns the exit status."""

from __future__ import annotations

import argparse
import asyncio
import signal as signals
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

from hbd.bus import names
from hbd.config.findings import Severity
from hbd.ctl import freeze, past, render, terminal
from hbd.ctl.client import Daemon, NotRunning
from hbd.ctl.commands import USUAL
from hbd.ctl.snapshot import Snapshot
from hbd.dbusio import Message, unwrap

WHOLE, DEGRADED, USAGE = 0, 1, 2

SETTLE_S = 0.05
"""What changes within this time is shown once."""


async def run(args: argparse.Namespace) -> int:
    """Do what the command line says. Raises NotRunning, BusError."""
    daemon = await Daemon.find()
    match args.verb:
        case "status":
            return await (watch if args.watch else status)(daemon, args.json)
        case "standby":
            return await handover(daemon, "Standby", args.which, args.wait, args.timeout)
        case "takeover":
            return await handover(daemon, "Takeover", args.which, args.wait, args.timeout)
        case "why":
            return await past.why(daemon, args.group)
        case "history":
            return await past.history(daemon, args.lines, args.json, args.both)
        case "events":
            return await past.events(daemon)
        case "reload":
            with terminal.progress("reading the configuration"):
                await daemon.reload()
            print("the configuration was read again")
            _print_doubts()
            return WHOLE
        case "freeze" | "thaw":
            return await freeze.change(daemon, args.verb == "freeze")
        case "confirm-dead":
            return await freeze.confirm_dead(daemon, args.node)
        case "names":
            return await names_of(daemon, args.kind)
        case _:
            raise AssertionError(f"no verb {args.verb}")


def _print_doubts() -> None:
    """The warnings about the files that were taken in; nothing for somebody who may not read them all."""
    from hbd.config import load

    directory = Path(USUAL)
    findings, _ = load.check(directory, load.local_node_name(directory))
    if all(finding.severity is Severity.WARNING for finding in findings):
        for finding in findings:
            print(finding, file=sys.stderr)


async def status(daemon: Daemon, as_json: bool) -> int:
    """Show the cluster once."""
    shown = await daemon.read()
    if as_json:
        print(render.as_json(shown))
    elif terminal.is_one(sys.stdout):
        screen = terminal.Screen()
        screen.show(render.page(shown, screen.width))
    else:
        print(render.as_text(shown))
    return WHOLE if render.is_whole(shown) else DEGRADED


async def watch(daemon: Daemon, as_json: bool) -> int:
    """Show the cluster whenever it changes: on a terminal in place, as JSON one line each."""
    if as_json or not terminal.is_one(sys.stdout):
        await _at_each_change(daemon, lambda shown: print(_as_record(shown, as_json), flush=True))
    screen = terminal.Screen()
    with screen.replaced() as show:
        await _at_each_change(daemon, lambda shown: show(_as_page(shown, screen.width)))
    raise AssertionError("nothing but an interruption ends it")


async def _at_each_change(daemon: Daemon, show: Callable[[Snapshot | None], None]) -> NoReturn:
    """Show it now and at each signal, also when the terminal changes its size; None while hbd is away."""
    changed = asyncio.Event()
    await daemon.follow(lambda _: changed.set(), lambda _: changed.set())
    asyncio.get_running_loop().add_signal_handler(signals.SIGWINCH, changed.set)
    while True:
        changed.clear()
        show(await _read_if_there(daemon))
        await daemon.until(changed)
        await asyncio.sleep(SETTLE_S)


async def _read_if_there(daemon: Daemon) -> Snapshot | None:
    try:
        return await daemon.read()
    except NotRunning:
        if daemon.bus_lost.done():
            raise
        return None


def _as_record(shown: Snapshot | None, as_json: bool) -> str:
    if as_json:
        return "null" if shown is None else render.as_json(shown, indent=None)
    return "hbd is not running\n" if shown is None else render.as_text(shown) + "\n"


def _as_page(shown: Snapshot | None, width: int) -> list[render.Line]:
    page = [render.ABSENT] if shown is None else render.page(shown, width)
    return [*page, (), render.as_of(time.time())]


# ---------------------------------------------------------------- standby, takeover


async def handover(daemon: Daemon, member: str, which: str, wait: bool, timeout_s: float | None) -> int:
    """Begin a transition, and see it through if wanted."""
    results: dict[int, str] = {}
    news = asyncio.Event()
    gone, latest = False, "begins"

    def heard(signal: Message) -> None:
        nonlocal latest
        if signal.member == "TransitionFinished":
            # It may come before the answer that tells which one is ours.
            results[signal.body[0]] = signal.body[1]
            news.set()
        elif (state := _new_state(signal)) is not None:
            latest = state
            news.set()

    def owner_changed(_: str) -> None:
        nonlocal gone
        gone = True
        news.set()

    if wait:
        await daemon.follow(heard, owner_changed)
    transition = await daemon.handover(member, which)
    if transition == 0:
        print("nothing to do")
        return WHOLE
    print(f"transition {transition} has begun", flush=True)
    if not wait:
        return WHOLE
    try:
        with terminal.progress(f"transition {transition}") as tell:
            async with asyncio.timeout(timeout_s):
                while transition not in results and not gone:
                    news.clear()
                    await daemon.until(news)
                    tell(f"transition {transition}: {latest}")
    except TimeoutError:
        print(f"transition {transition} still goes on after {timeout_s:g} s", file=sys.stderr)
        return DEGRADED
    except asyncio.CancelledError:
        print(f"transition {transition} goes on; hbctl status tells how far it is", file=sys.stderr)
        raise
    if transition not in results:
        raise NotRunning(f"hbd left the bus during transition {transition}, whose end is not known")
    return await _tell_end(daemon, transition, results[transition])


def _new_state(signal: Message) -> str | None:
    """`resource httpd is stopping`, if that is what the signal says."""
    if signal.member != "PropertiesChanged" or signal.body[0] not in (names.GROUP, names.RESOURCE):
        return None
    state = unwrap(signal.body[1]).get("State")
    return None if state is None else f"{names.describe(signal.path)} is {state}"


async def _tell_end(daemon: Daemon, transition: int, result: str) -> int:
    if result == "done":
        print(f"transition {transition} is done")
        return WHOLE
    print(f"transition {transition} ended: {result}", file=sys.stderr)
    shown = await daemon.read()
    for problem in render.problems(shown):
        print(f"  {problem}", file=sys.stderr)
    print(f"  see journalctl -u hbd HBD_TRANSITION={transition}", file=sys.stderr)
    return DEGRADED


# ---------------------------------------------------------------- names


async def names_of(daemon: Daemon, kind: str) -> int:
    """The names of what there is, one a line, for the completions of the shells."""
    shown = await daemon.read()
    groups = [group.name for group in shown.groups]
    nodes = [node.name for node in shown.nodes if node.kind == "normal"]
    for name in groups if kind == "group" else nodes:
        print(name)
    return WHOLE
