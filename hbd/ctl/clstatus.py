"""cl_status: what it answers for what hbd knows. Pure.

Arguments, texts and exit statuses are those observed from heartbeat 3.0.6 (reference of its behaviour, §13),
for the programs that read them. What hbd does not have is answered as 3.0.6 answers a cluster without it:
every node weighs 100 and is of no site.
"""

from __future__ import annotations

import getopt
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from hbd.ctl.snapshot import Link, Node, Snapshot

OK, FAILED, BAD_PARAMETER, UNKNOWN_ERROR = 0, 1, 11, 13

OPTIONS = {
    "clientstatus": "m", "hblinkstatus": "m", "hbparameter": "mp:", "hbstatus": "mv", "listhblinks": "mv",
    "listnodes": "mnpv", "nodesite": "m", "nodestatus": "m", "nodetype": "m", "nodeweight": "m",
    "rscstatus": "m",
}  # fmt: skip
"""Sub-commands with their letters. -m: a sentence, -v: more, -n and -p: normal or ping nodes only."""

USAGE = """\
Usage: cl_status <sub-command> [<options>] [<parameters>]

Sub-commands:
clientstatus <node-name> <client-id> [<timeout>]
hblinkstatus <node-name> <link-name>
hbstatus [-v]
listnodes [-p|-n|-v]
listhblinks [-v] <node-name>
nodestatus <node-name>
nodeweight <node-name>
nodesite <node-name>
nodetype <node-name>
rscstatus
hbparameter -p <parameter-name>
-m makes most of them answer in a sentence. See hbctl(8) for what hbd itself offers.
"""

NO_NODE = "Error. May be due to incorrect node name\n"
FEW = "No enough parameter.\n"


@dataclass(frozen=True, slots=True)
class Reply:
    """What goes out, and the exit status."""

    status: int
    out: str = ""
    err: str = ""
    logged: tuple[str, ...] = ()
    """Lines for standard error in the form of 3.0.6's log."""


@dataclass(frozen=True, slots=True)
class Known:
    """What it answers from. Without a snapshot hbd does not run."""

    shown: Snapshot | None
    order: tuple[str, ...] = ()
    """Nodes and ping nodes as ha.cf has them."""
    parameters: Mapping[str, str] | None = None
    """What `hbparameter` tells."""
    clients: tuple[str, ...] = ()
    """Programs that ha.cf has started."""
    version: str = ""


def answer(arguments: Sequence[str], known: Known) -> Reply:
    """One call of cl_status."""
    if not arguments or arguments[0] == "-h":
        return Reply(OK, USAGE)
    name, *rest = arguments
    if name not in OPTIONS:
        return Reply(BAD_PARAMETER, logged=(f"{name}: invalid sub-command.",))
    if known.shown is None:
        return _stopped(name, "-v" in rest)
    try:
        given, words = getopt.gnu_getopt(rest, OPTIONS[name])
    except getopt.GetoptError as wrong:
        what = "option requires an argument" if "requires" in wrong.msg else "invalid option"
        return Reply(
            BAD_PARAMETER, err=f"{name}: {what} -- '{wrong.opt}'\n",
            logged=("Error: getopt returnedcharacter ?.",),
        )  # fmt: skip
    return _ASK[name](_Call(known, known.shown, dict(given), words))


def _stopped(name: str, more: bool) -> Reply:
    cause = "hb_api_signon: Can't initiate connection to heartbeat"
    if name == "hbstatus":
        detail = f"({cause})\n" if more else ""
        return Reply(FAILED, f"Heartbeat is stopped on this machine.\n{detail}")
    return Reply(FAILED, logged=("Cannot signon with heartbeat", f"REASON: {cause}"))


class _Call:
    """One sub-command with its options and parameters."""

    def __init__(
        self, known: Known, shown: Snapshot, options: Mapping[str, str], words: Sequence[str]
    ) -> None:
        self.known, self.shown, self.options, self.words = known, shown, options, words
        self.human = "-m" in options

    def nodes(self) -> list[Node]:
        """In 3.0.6's order: the last of ha.cf first."""
        order = {name.lower(): place for place, name in enumerate(self.known.order)}
        kinds = ("normal", "ping")
        found = [node for kind in kinds for node in reversed(self.shown.nodes) if node.kind == kind]
        return sorted(found, key=lambda node: -order.get(node.name.lower(), 0))

    def node(self) -> Node | None:
        """The node that the first parameter names."""
        return next((node for node in self.shown.nodes if self.words and node.name == self.words[0]), None)

    def links(self, node: Node) -> list[tuple[str, str]]:
        """(name, status); of this node all links it has, as 3.0.6 hears itself on them."""
        if node.local:
            names = dict.fromkeys(link.name for link in self.shown.links if self._is_line(link))
            return [(name, "up") for name in reversed(names)]
        return [(link.name, link.status) for link in reversed(self.shown.links) if link.node == node.name]

    def _is_line(self, link: Link) -> bool:
        return any(node.name == link.node and node.kind == "normal" for node in self.shown.nodes)

    def say(self, sentence: str, plain: str, status: int = OK) -> Reply:
        return Reply(status, f"{sentence if self.human else plain}\n")


def _hbstatus(call: _Call) -> Reply:
    if "-v" not in call.options:
        return Reply(OK, "Heartbeat is running on this machine.\n")
    version = call.known.version
    head = (
        f'Heartbeat version {version}\nResources controlled by "haresources"\n'
        if call.human
        else f'version:\t{version}\nmanaged by:\t"haresources"\n'
    )
    return Reply(OK, head + _listnodes(call).out)


def _listnodes(call: _Call) -> Reply:
    kinds = {kind for option, kind in (("-n", "normal"), ("-p", "ping")) if option in call.options}
    nodes = [node for node in call.nodes() if not kinds or node.kind in kinds]
    head = "The nodes are as follow:\n" if call.human else ""
    if "-v" not in call.options:
        return Reply(OK, head + "".join(f"{node.name}\n" for node in nodes))
    for node in nodes:
        head += f"\n{node.name}\t{node.status}\t(nodetype: {node.kind})\n{_links(call, node, more=True)}"
    return Reply(OK, head)


def _links(call: _Call, node: Node, more: bool) -> str:
    head = "\tthis node has the following heartbeat links:\n" if call.human else ""
    lines = (f"\t{name}\t{status}\n" if more else f"\t{name}\n" for name, status in call.links(node))
    return head + "".join(lines)


def _nodestatus(call: _Call) -> Reply:
    if not call.words:
        return Reply(BAD_PARAMETER, err="Not enough parameters.\n")
    node = call.node()
    if node is None:
        return Reply(BAD_PARAMETER, err=NO_NODE)
    works = node.status in ("up", "active", "ping")
    return call.say(
        f"The cluster node {node.name} is {node.status}", node.status, OK if works else FAILED
    )


def _nodetype(call: _Call) -> Reply:
    if not call.words:
        return Reply(BAD_PARAMETER, err=FEW)
    node = call.node()
    if node is None:
        return Reply(BAD_PARAMETER, err=NO_NODE)
    return call.say(f"The node {node.name}'s type: {node.kind}", node.kind)


def _listhblinks(call: _Call) -> Reply:
    if not call.words:
        return Reply(BAD_PARAMETER, err=FEW)
    node = call.node()
    if node is None:
        return Reply(UNKNOWN_ERROR, logged=("Cannot start heartbeat link interface walk.", "REASON: EINVAL"))
    return Reply(OK, _links(call, node, "-v" in call.options))


def _hblinkstatus(call: _Call) -> Reply:
    if len(call.words) < 2:
        return Reply(BAD_PARAMETER, err=FEW)
    node = call.node()
    status = None if node is None else dict(call.links(node)).get(call.words[1])
    if node is None or status is None:
        return Reply(UNKNOWN_ERROR, logged=("Cannot get heartbeat link status", "REASON: "))
    sentence = f"The node {node.name}'s heartbeat link {call.words[1]} is {status}"
    return call.say(sentence, status, OK if status == "up" else FAILED)


def _rscstatus(call: _Call) -> Reply:
    cluster = call.shown.cluster
    moving = cluster.state in ("joining", "transition", "stopping")
    held = "transition" if moving else "none" if cluster.state == "starting" else cluster.holding
    return call.say(f"This node is holding {held} resources.", held)


def _clientstatus(call: _Call) -> Reply:
    if len(call.words) < 2:
        return Reply(BAD_PARAMETER, err=FEW)
    node, client = call.node(), call.words[1]
    if node is None:
        cause = (f"Cannot get heartbeat client {client}'s status", "REASON: No timely response.")
        return Reply(UNKNOWN_ERROR, logged=cause)
    online = client in call.known.clients and node.status == "active"
    return Reply(OK, "online\n") if online else Reply(FAILED, "offline\n")


def _hbparameter(call: _Call) -> Reply:
    name = call.options.get("-p")
    if name is None:
        return Reply(BAD_PARAMETER, logged=("parameter name required",))
    value = (call.known.parameters or {}).get(name)
    if value is None:
        return Reply(FAILED, logged=(f"Cannot get parameter {name}'s value", "REASON: "))
    return call.say(f"Heartbeat parameter {name}'s value: {value}", value)


def _nodeweight(call: _Call) -> Reply:
    return _of_node(call, "weight", "100")


def _nodesite(call: _Call) -> Reply:
    return _of_node(call, "site", "")


def _of_node(call: _Call, what: str, value: str) -> Reply:
    if not call.words:
        return Reply(BAD_PARAMETER, err="Not enough parameters.\n")
    if call.node() is None:
        return Reply(BAD_PARAMETER, err="Error. Maybe due to incorrect node name.\n")
    return call.say(f"The {what} of the cluster node {call.words[0]} is {value}", value)


_ASK = {
    "clientstatus": _clientstatus, "hblinkstatus": _hblinkstatus, "hbparameter": _hbparameter,
    "hbstatus": _hbstatus, "listhblinks": _listhblinks, "listnodes": _listnodes, "nodesite": _nodesite,
    "nodestatus": _nodestatus, "nodetype": _nodetype, "nodeweight": _nodeweight, "rscstatus": _rscstatus,
}  # fmt: skip
