"""hbctl: look at the cluster and steer it, over D-Bus.

Exit status: 0 done, and the cluster is whole; 1 it is not, or what was asked was refused or failed;
2 the command line is wrong; 3 hbd is not running; 78 `check` or `migrate` found an error.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from enum import IntEnum
from pathlib import Path

from hbd import __version__
from hbd.errors import HbdError

SCOPES = ("all", "local", "foreign", "failback")


class Exit(IntEnum):
    """What the exit status tells."""

    WHOLE = 0
    DEGRADED = 1
    USAGE = 2
    NOT_RUNNING = 3
    INTERRUPTED = 130


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; the exit status."""
    args = _parser().parse_args(argv)
    try:
        if args.verb == "check":
            return _check(args.directory)
        if args.verb == "migrate":
            return _migrate(args.directory)
        return _over_the_bus(args)
    except KeyboardInterrupt:
        return Exit.INTERRUPTED
    except BrokenPipeError:
        # Whoever read our output has gone; Python would complain once more at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return Exit.DEGRADED


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("hbctl", description="Look at the hbd cluster and steer it.")
    parser.add_argument("--version", action="version", version=f"hbctl {__version__}")
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="COMMAND")

    status = verbs.add_parser("status", help="nodes, links, groups and resources; exit 1 unless all is well")
    status.add_argument("--json", action="store_true", help="for programs")
    status.add_argument("--watch", action="store_true", help="show it again whenever it changes")

    for verb, text in (
        ("standby", "hand resource groups over to the peer"),
        ("takeover", "ask the peer for resource groups"),
    ):
        change = verbs.add_parser(verb, help=text)
        change.add_argument(
            "which", nargs="?", default="all", choices=SCOPES,
            help="groups by home node, seen from here; failback means foreign (default: all)",
        )
        change.add_argument("--wait", action="store_true", help="until it is done; exit 1 if it failed")
        change.add_argument(
            "--timeout", type=_seconds, metavar="SECONDS", help="with --wait: wait no longer than this"
        )

    why = verbs.add_parser("why", help="why a group is as it is")
    why.add_argument("group", help="its first resource, as in haresources")
    verbs.add_parser("events", help="follow what changes")
    verbs.add_parser("reload", help="read the configuration again")
    check = verbs.add_parser("check", help="validate a configuration without using it")
    usual = os.environ.get("HBD_CONFIG_DIR", "/etc/ha.d")
    check.add_argument("directory", nargs="?", type=Path, default=usual, help=f"default: {usual}")
    migrate = verbs.add_parser("migrate", help="what will be different after heartbeat 3.0.6")
    migrate.add_argument("--check", action="store_true", required=True, help="only look, change nothing")
    migrate.add_argument("directory", nargs="?", type=Path, default=usual, help=f"default: {usual}")
    return parser


def _seconds(text: str) -> float:
    seconds = float(text)
    if not 0 < seconds < float("inf"):
        raise argparse.ArgumentTypeError("must be more than 0")
    return seconds


def _check(directory: Path) -> int:
    """As `hbd --check`, also in its exit status; and when who acts, if this node falls silent."""
    # Here, and not on top: the parsers take time that `hbctl status` need not spend.
    from hbd.config import load, timeline
    from hbd.config.findings import ConfigError

    try:
        config, found = load.load(directory, load.local_node_name(directory))
    except ConfigError as error:
        for finding in error.findings:
            print(finding)
        return os.EX_CONFIG
    for finding in found.sorted():
        print(finding)
    for mark in timeline.marks(config.timing, config.watchdog):
        print(f"{mark.name:<16} {mark.ms:>7} ms  {mark.text}")
    return 0


def _migrate(directory: Path) -> int:
    """Say what will be different; 0 if nothing has to be done first."""
    from hbd.config import load
    from hbd.ctl import migrate

    remarks = migrate.check(directory, load.local_node_name(directory))
    for remark in remarks:
        print(remark)
    print(migrate.summary(remarks), file=sys.stderr)
    return migrate.status(remarks)


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
