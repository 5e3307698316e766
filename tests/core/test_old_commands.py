"""cl_status of hbd answers as heartbeat 3.0.6 was seen to; `real` is what that one printed.

Transcripts of heartbeat 3.0.6 with linuxha1 and linuxha2 and a ping node, on linuxha1, which holds its own.
"""

import pytest

from hbd.ctl import clstatus, hacftext
from hbd.ctl.clstatus import Known, Reply
from hbd.ctl.snapshot import Cluster, Group, Link, Node, Snapshot

HA_CF = """\
keepalive 500ms
warntime 1500ms
deadtime 3000ms
initdead 6000ms
bcast eth1
ucast eth0 192.168.85.1   # both
ucast eth0 192.168.85.2
auto_failback off
logfacility daemon
ping 192.168.85.254
respawn hacluster /usr/lib/heartbeat/ipfail
node linuxha1 linuxha2
"""
TEXT = hacftext.read(HA_CF)
ROUTER = "192.168.85.254"


def shown(peer: str = "active", link: str = "up", state: str = "stable", holding: str = "local") -> Snapshot:
    return Snapshot(
        Cluster("linuxha1", "0.1.0", state, holding, "off", 7, 0, False, []),
        [
            Node("linuxha1", "normal", "active", holding, True),
            Node("linuxha2", "normal", peer, "none", False),
            Node(ROUTER, "ping", "ping", "none", False),
        ],
        [
            Link("linuxha2", "eth1", "bcast", link),
            Link("linuxha2", "eth0", "ucast", link),
            Link(ROUTER, ROUTER, "ping", "up"),
        ],
        [Group("192.168.85.3", "linuxha1", "linuxha1", "started", [])],
    )


def ask(command: str, view: Snapshot | None) -> Reply:
    known = Known(view, TEXT.nodes, TEXT.parameters, TEXT.clients, "3.0.6")
    return clstatus.answer(command.split(), known)


RUNNING = [
    ("hbstatus", Reply(0, "Heartbeat is running on this machine.\n")),
    ("hbstatus -m", Reply(0, "Heartbeat is running on this machine.\n")),
    ("hbstatus x", Reply(0, "Heartbeat is running on this machine.\n")),
    (
        "hbstatus -v",
        Reply(
            0,
            'version:\t3.0.6\nmanaged by:\t"haresources"\n\n'
            "linuxha2\tactive\t(nodetype: normal)\n\teth0\tup\n\teth1\tup\n\n"
            "linuxha1\tactive\t(nodetype: normal)\n\teth0\tup\n\teth1\tup\n\n"
            "192.168.85.254\tping\t(nodetype: ping)\n\t192.168.85.254\tup\n",
        ),
    ),
    (
        "hbstatus -m -v",
        Reply(
            0,
            'Heartbeat version 3.0.6\nResources controlled by "haresources"\nThe nodes are as follow:\n\n'
            "linuxha2\tactive\t(nodetype: normal)\n\tthis node has the following heartbeat links:\n"
            "\teth0\tup\n\teth1\tup\n\n"
            "linuxha1\tactive\t(nodetype: normal)\n\tthis node has the following heartbeat links:\n"
            "\teth0\tup\n\teth1\tup\n\n"
            "192.168.85.254\tping\t(nodetype: ping)\n\tthis node has the following heartbeat links:\n"
            "\t192.168.85.254\tup\n",
        ),
    ),
    ("listnodes", Reply(0, "linuxha2\nlinuxha1\n192.168.85.254\n")),
    ("listnodes x", Reply(0, "linuxha2\nlinuxha1\n192.168.85.254\n")),
    ("listnodes -p", Reply(0, "192.168.85.254\n")),
    ("listnodes -n", Reply(0, "linuxha2\nlinuxha1\n")),
    ("listnodes -pn", Reply(0, "linuxha2\nlinuxha1\n192.168.85.254\n")),
    ("listnodes -m -p", Reply(0, "The nodes are as follow:\n192.168.85.254\n")),
    ("nodestatus linuxha2", Reply(0, "active\n")),
    ("nodestatus linuxha1 linuxha2", Reply(0, "active\n")),
    ("nodestatus -m linuxha2", Reply(0, "The cluster node linuxha2 is active\n")),
    ("nodestatus 192.168.85.254", Reply(0, "ping\n")),
    ("nodestatus nobody", Reply(11, err="Error. May be due to incorrect node name\n")),
    ("nodestatus", Reply(11, err="Not enough parameters.\n")),
    (
        "nodestatus -x linuxha1",
        Reply(11, err="nodestatus: invalid option -- 'x'\n", logged=("Error: getopt returnedcharacter ?.",)),
    ),
    ("nodetype linuxha1", Reply(0, "normal\n")),
    ("nodetype -m linuxha1", Reply(0, "The node linuxha1's type: normal\n")),
    ("nodetype 192.168.85.254", Reply(0, "ping\n")),
    ("nodetype nobody", Reply(11, err="Error. May be due to incorrect node name\n")),
    ("nodetype", Reply(11, err="No enough parameter.\n")),
    ("listhblinks linuxha2", Reply(0, "\teth0\n\teth1\n")),
    ("listhblinks linuxha1", Reply(0, "\teth0\n\teth1\n")),
    ("listhblinks -v linuxha1", Reply(0, "\teth0\tup\n\teth1\tup\n")),
    (
        "listhblinks -m linuxha2",
        Reply(0, "\tthis node has the following heartbeat links:\n\teth0\n\teth1\n"),
    ),
    ("listhblinks 192.168.85.254", Reply(0, "\t192.168.85.254\n")),
    (
        "listhblinks nobody",
        Reply(13, logged=("Cannot start heartbeat link interface walk.", "REASON: EINVAL")),
    ),
    ("listhblinks", Reply(11, err="No enough parameter.\n")),
    ("hblinkstatus linuxha2 eth1", Reply(0, "up\n")),
    ("hblinkstatus linuxha1 eth0", Reply(0, "up\n")),
    ("hblinkstatus -m linuxha2 eth1", Reply(0, "The node linuxha2's heartbeat link eth1 is up\n")),
    ("hblinkstatus linuxha2 eth9", Reply(13, logged=("Cannot get heartbeat link status", "REASON: "))),
    ("hblinkstatus nobody eth1", Reply(13, logged=("Cannot get heartbeat link status", "REASON: "))),
    ("hblinkstatus linuxha2", Reply(11, err="No enough parameter.\n")),
    ("rscstatus", Reply(0, "local\n")),
    ("rscstatus -m", Reply(0, "This node is holding local resources.\n")),
    (
        "rscstatus -v",
        Reply(11, err="rscstatus: invalid option -- 'v'\n", logged=("Error: getopt returnedcharacter ?.",)),
    ),
    ("clientstatus linuxha1 cl_status", Reply(1, "offline\n")),
    ("clientstatus -m linuxha1 cl_status", Reply(1, "offline\n")),
    (
        "clientstatus nobody ipfail",
        Reply(13, logged=("Cannot get heartbeat client ipfail's status", "REASON: No timely response.")),
    ),
    ("clientstatus linuxha1", Reply(11, err="No enough parameter.\n")),
    ("hbparameter -p keepalive", Reply(0, "500ms\n")),
    ("hbparameter -m -p keepalive", Reply(0, "Heartbeat parameter keepalive's value: 500ms\n")),
    ("hbparameter -p deadping", Reply(0, "3000ms\n")),
    ("hbparameter -p auto_failback", Reply(0, "off\n")),
    ("hbparameter -p udpport", Reply(0, "694\n")),
    ("hbparameter -p logfacility", Reply(0, "daemon\n")),
    ("hbparameter -p node", Reply(1, logged=("Cannot get parameter node's value", "REASON: "))),
    ("hbparameter -p ping", Reply(1, logged=("Cannot get parameter ping's value", "REASON: "))),
    ("hbparameter", Reply(11, logged=("parameter name required",))),
    ("nodeweight linuxha1", Reply(0, "100\n")),
    ("nodeweight -m linuxha1", Reply(0, "The weight of the cluster node linuxha1 is 100\n")),
    ("nodeweight nobody", Reply(11, err="Error. Maybe due to incorrect node name.\n")),
    ("nodesite linuxha1", Reply(0, "\n")),
    ("nonsense", Reply(11, logged=("nonsense: invalid sub-command.",))),
    ("-m hbstatus", Reply(11, logged=("-m: invalid sub-command.",))),
]
DEAD = [
    ("nodestatus linuxha2", Reply(1, "dead\n")),
    ("nodestatus -m linuxha2", Reply(1, "The cluster node linuxha2 is dead\n")),
    ("hblinkstatus linuxha2 eth1", Reply(1, "dead\n")),
    ("hblinkstatus -m linuxha2 eth1", Reply(1, "The node linuxha2's heartbeat link eth1 is dead\n")),
    ("rscstatus", Reply(0, "all\n")),
]
SIGNON = "hb_api_signon: Can't initiate connection to heartbeat"
NO_SIGNON = Reply(1, logged=("Cannot signon with heartbeat", f"REASON: {SIGNON}"))
STOPPED = [
    ("hbstatus", Reply(1, "Heartbeat is stopped on this machine.\n")),
    ("hbstatus -v", Reply(1, f"Heartbeat is stopped on this machine.\n({SIGNON})\n")),
    ("nodestatus linuxha1", NO_SIGNON),
    ("nodestatus", NO_SIGNON),
    ("rscstatus", NO_SIGNON),
    ("hbparameter -p keepalive", NO_SIGNON),
    ("nonsense", Reply(11, logged=("nonsense: invalid sub-command.",))),
]


@pytest.mark.parametrize(("command", "real"), RUNNING, ids=[command for command, _ in RUNNING])
def test_cl_status_answers_as_heartbeat_did(command: str, real: Reply) -> None:
    assert ask(command, shown()) == real


@pytest.mark.parametrize(("command", "real"), DEAD, ids=[command for command, _ in DEAD])
def test_cl_status_of_a_dead_node_answers_as_heartbeat_did(command: str, real: Reply) -> None:
    assert ask(command, shown(peer="dead", link="dead", holding="all")) == real


@pytest.mark.parametrize(("command", "real"), STOPPED, ids=[command for command, _ in STOPPED])
def test_cl_status_without_a_daemon_answers_as_heartbeat_did(command: str, real: Reply) -> None:
    assert ask(command, None) == real


@pytest.mark.parametrize(
    ("state", "told"), [("transition", "transition"), ("joining", "transition"), ("starting", "none")]
)
def test_rscstatus_is_transition_while_something_moves(state: str, told: str) -> None:
    assert ask("rscstatus", shown(state=state)).out == f"{told}\n"


def test_a_program_of_a_respawn_line_is_online_where_its_node_is_active() -> None:
    assert ask("clientstatus linuxha1 ipfail", shown()) == Reply(0, "online\n")
    assert ask("clientstatus linuxha2 ipfail", shown(peer="dead")) == Reply(1, "offline\n")


def test_without_ha_cf_nodes_are_listed_all_the_same() -> None:
    reply = clstatus.answer(["listnodes"], Known(shown()))
    assert reply.out == "linuxha2\nlinuxha1\n192.168.85.254\n"
