"""The commands of heartbeat 3.0.6, for those who go on calling them: thin aliases over D-Bus.

    cl_status, hb_standby, hb_takeover, heartbeat -s | -k | -r

One program under these names; the first argument is the path it was called by. Texts and exit statuses are
3.0.6's, but that a hand-over which hbd refuses is told, with exit status 1, where 3.0.6 is silent.
"""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from hbd import __version__
from hbd.ctl import clstatus, hacftext
from hbd.ctl.client import Daemon, NotRunning
from hbd.ctl.snapshot import Snapshot
from hbd.errors import HbdError

SCOPES = ("all", "foreign", "local", "failback")
DENIED = tuple(
    f"org.freedesktop.DBus.Error.{name}" for name in ("AccessDenied", "InteractiveAuthorizationRequired")
)
UNIT = "hbd.service"
HEARTBEAT_USAGE = """
Usage: heartbeat [-skrV]
\t-s tells whether it runs, -k stops it, -r has ha.cf read again, -V tells the version
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Answer under the name of the path that comes first; the exit status."""
    path, *arguments = sys.argv[1:] if argv is None else argv
    match path.rpartition("/")[2]:
        case "cl_status":
            return _cl_status(arguments)
        case "hb_standby":
            return _hand_over(path, "Standby", arguments)
        case "hb_takeover":
            return _hand_over(path, "Takeover", arguments)
        case "heartbeat":
            return _heartbeat(path, arguments)
        case name:
            print(f"{name} is none of heartbeat's commands", file=sys.stderr)
            return 2


# ---------------------------------------------------------------- cl_status


def _cl_status(arguments: Sequence[str]) -> int:
    shown = asyncio.run(_snapshot())
    text = hacftext.read(_ha_cf())
    known = clstatus.Known(shown, text.nodes, text.parameters, text.clients, f"3.0.6 (hbd {__version__})")
    reply = clstatus.answer(arguments, known)
    sys.stdout.write(reply.out)
    sys.stderr.write(reply.err)
    for line in reply.logged:
        _log("cl_status", f"ERROR: {line}")
    return reply.status


async def _snapshot() -> Snapshot | None:
    try:
        return await (await Daemon.find()).read()
    except NotRunning:
        return None


def _ha_cf() -> str:
    path = Path(os.environ.get("HBD_CONFIG_DIR", "/etc/ha.d"), "ha.cf")
    try:
        return path.read_text(encoding="utf-8", errors="surrogateescape")
    except OSError:
        return ""


def _log(program: str, text: str) -> None:
    when, host = time.strftime("%b %d %H:%M:%S"), os.uname().nodename
    print(f"{when} {host} {program}: [{os.getpid()}]: {text}", file=sys.stderr)


# ---------------------------------------------------------------- hb_standby, hb_takeover


def _hand_over(path: str, member: str, arguments: Sequence[str]) -> int:
    which = arguments[0] if arguments else "all"
    if len(arguments) > 1 or which not in SCOPES:
        if len(arguments) > 1:
            print(f"{path}: too many arguments")
        elif which not in ("-h", "--help"):
            print(f"{path}: wrong resources({which}).")
        print("usage:", flush=True)
        print(f"{path} [{'|'.join(SCOPES)}]", file=sys.stderr)
        return 1
    if member == "Standby":
        print(f"{time.strftime('%b %d %H:%M:%S')} Going standby [{which}].", file=sys.stderr)
    try:
        asyncio.run(_ask_for(member, which))
    except HbdError as error:
        print(f"{path}: {error}", file=sys.stderr)
        return 2 if getattr(error, "name", "") in DENIED else 1
    return 0


async def _ask_for(member: str, which: str) -> None:
    await (await Daemon.find()).handover(member, which)


# ---------------------------------------------------------------- heartbeat


def _heartbeat(path: str, arguments: Sequence[str]) -> int:
    match arguments:
        case ["-s"]:
            return _status()
        case ["-k"]:
            return _stop()
        case ["-r"]:
            return _reread()
        case ["-V"]:
            print(f"3.0.6 (hbd {__version__})")
            return 0
        case []:
            return _start()
        case [other, *_]:
            print(f"{path}: invalid option -- '{other.lstrip('-')}'", file=sys.stderr)
            print(HEARTBEAT_USAGE, end="", file=sys.stderr)
            return 2
        case _:
            raise AssertionError(arguments)


def _status() -> int:
    found = asyncio.run(_running())
    if found is None:
        print("heartbeat is stopped. No process")
        return 3
    pid, node = found
    print(f"heartbeat OK [pid {pid} et al] is running on {os.uname().nodename} [{node}]...")
    return 0


async def _running() -> tuple[int, str] | None:
    try:
        daemon = await Daemon.find()
        return await daemon.pid(), (await daemon.read()).cluster.local_node
    except NotRunning:
        return None


def _stop() -> int:
    if asyncio.run(_running()) is None:
        print("INFO: Heartbeat already stopped.", file=sys.stderr)
        return 0
    return _systemctl("stop")


def _start() -> int:
    found = asyncio.run(_running())
    if found is not None:
        _log("heartbeat", f"info: heartbeat: already running [pid {found[0]}].")
        return 0
    return _systemctl("start")


def _reread() -> int:
    if asyncio.run(_running()) is None:
        return _systemctl("start")
    try:
        asyncio.run(_reload())
    except HbdError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


async def _reload() -> None:
    await (await Daemon.find()).reload()


def _systemctl(verb: str) -> int:
    return subprocess.run(["systemctl", verb, UNIT], check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
