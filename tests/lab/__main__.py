"""The lab by hand: python -m tests.lab COMMAND.

  up                       make the lab and leave it running
  down                     end it, in whatever state it is
  status                   which machines run, which wires are cut
  enter NODE               a shell in a machine, or on client, observer or router
  run NODE COMMAND...      one command there
  boot|poweroff|reboot|kill|freeze|thaw NODE
  cut [--silent] NODE [INTERFACE...]
  restore NODE [INTERFACE...]

HBD_LAB_NAME chooses among several labs.
"""

import argparse
import os
import subprocess
import sys

from tests.lab.helpers import Helper
from tests.lab.host import CLEAN_ENV, LabError
from tests.lab.lab import Lab
from tests.lab.node import Node, enter


def main() -> int:
    words = _arguments()
    try:
        return _perform(words)
    except LabError as error:
        print(error, file=sys.stderr)
        return 1


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m tests.lab", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="COMMAND")
    verbs.add_parser("up").add_argument(
        "--force", action="store_true", help="end a lab that was left running"
    )
    verbs.add_parser("down").add_argument("--force", action="store_true", help="accepted; down never asks")
    verbs.add_parser("status")
    verbs.add_parser("enter").add_argument("host")
    run = verbs.add_parser("run")
    run.add_argument("host")
    run.add_argument("command", nargs=argparse.REMAINDER)
    for verb in ("boot", "poweroff", "reboot", "kill", "freeze", "thaw"):
        verbs.add_parser(verb).add_argument("host")
    for verb in ("cut", "restore"):
        wires = verbs.add_parser(verb)
        wires.add_argument("host")
        wires.add_argument("interfaces", nargs="*")
    verbs.choices["cut"].add_argument("--silent", action="store_true", help="the carrier stays up")
    return parser.parse_args()


def _perform(words: argparse.Namespace) -> int:
    match words.verb:
        case "up":
            with Lab(force=words.force) as lab:
                lab.boot()
                lab.keep()
            first = next(iter(lab.nodes))
            print(f"running: {', '.join(lab.nodes)}; to enter: python -m tests.lab enter {first}")
        case "down":
            Lab().destroy()
        case "status":
            _print_status(Lab.attach())
        case "enter":
            # script(1) gives the shell a terminal of the machine's own; ours is unknown there.
            return _attached(Lab.attach(), words.host, ["script", "-qc", "exec bash --login", "/dev/null"])
        case "run":
            return _attached(Lab.attach(), words.host, words.command)
        case "cut":
            Lab.attach().network.cut(words.host, *words.interfaces, silent=words.silent)
        case "restore":
            Lab.attach().network.restore(words.host, *words.interfaces)
        case _:
            _switch(_node(Lab.attach(), words.host), words.verb)
    return 0


def _print_status(lab: Lab) -> None:
    for node in lab.nodes.values():
        power = "frozen" if node.is_frozen else "running" if node.is_running else "off"
        print(f"{node.name}  {power}")
    for port, fault in lab.network.faults().items():
        print(f"{port}  {fault}")


def _attached(lab: Lab, host: str, command: list[str]) -> int:
    helpers = {helper.name: helper for helper in (lab.client, lab.observer, lab.router)}
    if host in helpers:
        return _on_helper(helpers[host], command)
    return enter(_node(lab, host), command)


def _on_helper(helper: Helper, command: list[str]) -> int:
    env = CLEAN_ENV | {"TERM": os.environ.get("TERM", "dumb")}
    return subprocess.run(helper.entry(command), env=env, check=False).returncode


def _node(lab: Lab, name: str) -> Node:
    if name not in lab.nodes:
        raise LabError(f"no machine named '{name}'; there are {', '.join(lab.nodes)}")
    return lab[name]


def _switch(node: Node, verb: str) -> None:
    match verb:
        case "boot":
            node.boot()
        case "poweroff":
            node.poweroff()
        case "reboot":
            node.reboot()
        case "kill":
            node.power_kill()
        case "freeze":
            node.freeze()
        case "thaw":
            node.thaw()


if __name__ == "__main__":
    sys.exit(main())
