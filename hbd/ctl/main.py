"""hbctl: look at the cluster and steer it, over D-Bus. Its commands and exit statuses: `commands.py`."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from enum import IntEnum
from io import TextIOWrapper
from pathlib import Path
from typing import TextIO

from hbd.ctl import commands
from hbd.errors import HbdError


class Exit(IntEnum):
    """What the exit status tells."""

    WHOLE = 0
    DEGRADED = 1
    USAGE = 2
    NOT_RUNNING = 3
    INTERRUPTED = 130


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; the exit status."""
    _open_what_is_closed()
    try:
        try:
            return _run(argv)
        finally:
            # Here, and not when Python ends: it would only complain, with a status of its own.
            sys.stdout.flush()
    except KeyboardInterrupt:
        return Exit.INTERRUPTED
    except BrokenPipeError:
        _print_nothing_more()  # Whoever read our output has gone.
        return Exit.DEGRADED
    except OSError as error:
        _print_nothing_more()
        print(f"hbctl: {error.strerror or error}", file=sys.stderr)
        return Exit.DEGRADED


def _run(argv: Sequence[str] | None) -> int:
    args = commands.parser().parse_args(argv)
    match args.verb:
        case "check":
            return _check(args)
        case "migrate":
            return _migrate(args.directory)
        case "log":
            return _log(args)
        case _:
            return _over_the_bus(args)


def _open_what_is_closed() -> None:
    """Output that somebody closed goes nowhere; and no name is too strange for a terminal's encoding."""
    # Python has None for what was closed, which its stubs do not know.
    streams: dict[str, TextIO | None] = {"stdout": sys.stdout, "stderr": sys.stderr}
    for name, stream in streams.items():
        if stream is None:
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115 — for good
        elif isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def _print_nothing_more() -> None:
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _check(args: argparse.Namespace) -> int:
    """What is wrong with the files and this machine; the exit status says how bad it is."""
    # Here, and not on top: this takes time that `hbctl status` need not spend.
    from hbd.check import run, show
    from hbd.ctl import terminal

    places = Path(os.environ.get("HBD_RUN_DIR", "/run/hbd"))
    result = run.check(run.Where(Path(args.directory), Path(commands.USUAL), run=places))
    print(show.as_json(result) if args.json else terminal.folded(show.as_text(result)))
    print(show.summary(result), file=sys.stderr)
    return result.status


def _migrate(directory: Path) -> int:
    """Say what will be different; 0 if nothing has to be done first."""
    from hbd.config import load
    from hbd.ctl import migrate, terminal

    remarks = migrate.check(directory, load.local_node_name(directory))
    for remark in remarks:
        print(terminal.folded(str(remark)))
    print(migrate.summary(remarks), file=sys.stderr)
    return migrate.status(remarks)


def _log(args: argparse.Namespace) -> int:
    """Show the journal; comes back only if there is none to show it."""
    from hbd.ctl import past

    try:
        past.log(args.lines, args.follow, args.explain)
    except OSError as error:
        print(f"hbctl: journalctl cannot be run: {error.strerror}", file=sys.stderr)
        return Exit.DEGRADED


def _over_the_bus(args: argparse.Namespace) -> int:
    import asyncio

    from hbd.ctl import verbs
    from hbd.ctl.client import NotRunning

    try:
        return asyncio.run(verbs.run(args))
    except NotRunning as error:
        print(f"{error}; see journalctl -u hbd, start it by: systemctl start hbd", file=sys.stderr)
        return Exit.NOT_RUNNING
    except HbdError as error:
        print(f"hbctl: {error}", file=sys.stderr)
        return Exit.DEGRADED


if __name__ == "__main__":
    sys.exit(main())
