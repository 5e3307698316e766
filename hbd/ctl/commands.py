"""hbctl's commands: the table that its parser, its manual page and the shells' completions are made of.

A new verb is a row here and a branch in `main.run` or, if it talks to the daemon, in `verbs.run`.
After a change: `python -m tests.generated`.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from hbd.ctl.parser import Section, Verb, argument, build

USUAL = os.environ.get("HBD_CONFIG_DIR", "/etc/ha.d")
"""Where the daemon's files are."""

SCOPES = ("all", "local", "foreign", "failback")

ABOUT = """\
`hbctl` asks the `hbd` of this machine over D-Bus, and shows what that node knows. It never starts the daemon.
Everyone may look; only root, or whom polkit allows, may change something.
"""

EXITS = (
    (0, "It is done; for `status`: the cluster is whole; for `check`: nothing was found"),
    (1, "It was refused, or it failed; for `status`: something is wrong, or nobody could take over; for "
        "`check`: there are warnings"),
    (2, "The command line is wrong, or there is no such group or node"),
    (3, "The daemon is not running, does not answer, or left the bus while it was waited for"),
    (78, "`check` or `migrate` found an error in the configuration"),
    (130, "It was interrupted by Ctrl-C, which stops only the looking: what the cluster has begun goes on"),
)


def seconds(text: str) -> float:
    """A time limit on the command line."""
    number = float(text)
    if not 0 < number < float("inf"):
        raise argparse.ArgumentTypeError("must be more than 0")
    return number


def count(text: str) -> int:
    """How many of something, on the command line."""
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError("must be more than 0")
    return number


WHICH = argument(
    "which",
    text="groups by home node, seen from here; all if nothing is given",
    nargs="?",
    default="all",
    choices=SCOPES,
    metavar="WHICH",
)
WAIT = argument("--wait", text="return when it has ended", action="store_true")
TIMEOUT = argument(
    "--timeout",
    text="with `--wait`: wait no longer than this; the transition goes on all the same",
    type=seconds,
    metavar="SECONDS",
)
GROUP = argument(
    "group",
    text="its first resource, as in *haresources*, or another of its resources, an address or a unit",
    completed_by="group",
    metavar="GROUP",
)
NODE = argument("node", text="its name, as in *ha.cf*", completed_by="node", metavar="NODE")
DIRECTORY = argument(
    "directory",
    text="where the files are; `$HBD_CONFIG_DIR` or `/etc/ha.d` if nothing is given",
    completed_by="directory",
    nargs="?",
    type=Path,
    metavar="DIR",
    default=USUAL,
)

VERBS = (
    Verb(
        "status",
        "nodes, links, groups and resources on one screen",
        """\
        Answers on one screen: is it served, and where; could the other node take over; what is wrong;
        which link is weak. The first sentence says how this node is, the next which node serves which
        groups and who takes over if that node fails, or why nobody would. Then what is wrong, each line
        marked with `!`, and what does no harm yet, marked with `~`: a link that loses messages, or the
        longest time in this boot that hbd did not run on this node, if it was more than half of what the
        other node suffers before it may take over.

        Below come the groups with their resources, the nodes and the links. The state of a group is its
        owner's; the state of a resource is what this node sees. A link is `up`, `dead`, or `weak`: it
        lost 3 or more of the other node's last 20 messages, and of the 20 before them. If the cluster has
        many groups, and only the faults are wanted: `hbctl status | grep '[!~]'`.
        """,
        (
            argument(
                "--json",
                text="the same for programs: `cluster`, `nodes`, `links` and `groups`, each group with its "
                "`resources`. The keys are the names of the D-Bus properties in snake_case, see "
                "org.linux_ha.Heartbeat1(5); */usr/share/doc/hbd/status.schema.json* describes it. What "
                "changes with every datagram is not among them",
                action="store_true",
            ),
            argument(
                "--watch",
                text="show it again whenever it changes, until interrupted: on a terminal in place, else one "
                "below the other. With `--json` each picture is one line, and `null` while hbd is away",
                action="store_true",
            ),
        ),
        (
            (0, "The cluster is whole"),
            (1, "Something is wrong, or nobody could take over"),
            (3, "The daemon is not running"),
        ),
    ),
    Verb(
        "standby",
        "hand resource groups over to the peer",
        """\
        Hands groups over to the peer. `local` are the groups whose home is this node, `foreign` those
        whose home is the peer, `failback` is another word for `foreign`, and `all` is meant when nothing
        is given. The command returns as soon as the transition has begun.
        """,
        (WHICH, WAIT, TIMEOUT),
        (
            (0, "The transition has begun, with `--wait`: is done; or there was nothing to do"),
            (1, "It was refused; with `--wait`: it failed, was cancelled, or took longer than `--timeout`"),
        ),
    ),
    Verb(
        "takeover",
        "ask the peer for resource groups",
        """\
        Asks the peer to hand groups over to this node; otherwise as `standby`. The words are meant from
        this node's side.
        """,
        (WHICH, WAIT, TIMEOUT),
        (
            (0, "The transition has begun, with `--wait`: is done; or there was nothing to do"),
            (1, "It was refused; with `--wait`: it failed, was cancelled, or took longer than `--timeout`"),
        ),
    ),
    Verb(
        "freeze",
        "start, stop and move nothing, on both nodes",
        """\
        For maintenance of the whole cluster: from now on neither node starts, stops or moves anything,
        whatever fails or dies. Heartbeats and `status` go on. What you stop by hand stays stopped, and what
        you start by hand runs. Both nodes know of it: either may be frozen, and either thawed.

        It holds over restarts of hbd and over reboots; a node that boots while the cluster is frozen
        starts nothing. `systemctl stop hbd` leaves running what runs, also the addresses, and stops the
        watchdog device. A failfast client that fails does not reboot the machine, nothing fails back, and
        a group that runs on both nodes goes on doing so until the thaw, and is said to.

        The command waits a few seconds for the other node's word that it knows. A node that is dead or cut
        off learns of it when it is heard again; until then `status` says that it does not know. With a
        heartbeat 3.0.6 as the other node it is refused.

        A frozen cluster is not whole: `status` says so, and ends with 1.
        """,
        exits=((0, "Both nodes know"), (1, "It was refused, or the other node has not said that it knows")),
    ),
    Verb(
        "thaw",
        "the end of a freeze",
        """\
        Ends a freeze, on both nodes, whichever of them was frozen. Each then does what its rules ask for:
        it takes over what a dead node held, restarts what ended meanwhile, fails back, and settles what
        runs twice.

        A node that fell silent while it was frozen has let go of nothing. What it held is taken over only
        when it is heard again, or after `confirm-dead`.
        """,
        exits=(
            (0, "Both nodes know; or nothing was frozen"),
            (1, "It was refused, or the other node has not said that it knows"),
        ),
    ),
    Verb(
        "confirm-dead",
        "swear that a node is dead",
        """\
        You have seen that a node is off, and say so. hbd believes it at once and takes over what that node
        may have held: after a start it does not wait for initdead, and what the node held when it fell
        silent in a freeze is let go. If the node lives, its services run twice, and what both write to is
        destroyed.

        It is refused while a link to the node is up, void as soon as anything is heard of it, and forgotten
        when hbd is restarted.
        """,
        (NODE,),
        ((1, "It was refused: a link to the node is up"), (2, "There is no such node")),
    ),
    Verb(
        "why",
        "why a group is where it is",
        """\
        Says in sentences why a group is where it is and what would move it: what this node decided last
        about it and by what evidence, what it knows of the other node now, and the state of each resource.
        """,
        (GROUP,),
        ((2, "There is no such group"),),
    ),
    Verb(
        "history",
        "what was decided, why, and how it ended",
        """\
        Shows the last decisions of this node, the newest at the end: the cause, what was known at that
        moment (when the other node was heard last, on which link), what was done, each step with its time
        in milliseconds since the decision, the result and how long it took. What followed from one
        decision stands under it. Decisions outlast a restart of hbd and of the machine; some hundreds are
        kept in */var/lib/hbd/history*.
        """,
        (
            argument(
                "-n", "--lines", text="so many at most; 10 if nothing is given", type=count, default=10,
                metavar="N",
            ),
            argument(
                "--both",
                text="the other node's decisions too, in one order with this node's. The other node is asked "
                "over the links, so it must be up and run hbd. The order is by the messages that the two "
                "had exchanged before each decision, and by time since boot where these leave it open: "
                "the clocks of the two need not agree. Dates are by this node's clock, but for what the "
                "other node decided before its machine was booted",
                action="store_true",
            ),
            argument(
                "--json",
                text="for programs: `records`, each with the keys of `GetHistory` in snake_case, see "
                "org.linux_ha.Heartbeat1(5)",
                action="store_true",
            ),
        ),
        ((1, "With `--both`: the other node does not tell; the message says why"),),
    ),
    Verb(
        "events",
        "follow what changes and what is decided",
        """\
        Prints a line for each change, each decision and each result, as they come, until interrupted.
        """,
    ),
    Verb(
        "log",
        "what hbd has said to the journal",
        """\
        Shows the journal of hbd on this node, by journalctl(1). hbd-events(7) lists what there can be.
        """,
        (
            argument(
                "-n", "--lines", text="so many lines at most; 50 if nothing is given", type=count, default=50,
                metavar="N",
            ),
            argument("-f", "--follow", text="go on with what comes, until interrupted", action="store_true"),
            argument(
                "-x", "--explain", text="explain each message, and say what to do about it",
                action="store_true",
            ),
        ),
        ((1, "There is no journalctl"),),
    ),
    Verb(
        "reload",
        "read the configuration again",
        """\
        Has the configuration read again, as `systemctl reload hbd` does. If it is wrong, the old one
        stays in force and the errors are printed. Warnings are printed, and do not keep it from coming into
        force. `hbctl check` beforehand tells more.
        """,
        exits=((1, "The configuration is wrong, and the old one stays in force"),),
    ),
    Verb(
        "check",
        "what is wrong with the configuration, and with this machine",
        """\
        Reads a configuration without using it, looks round on the machine, and asks the daemon if it runs.
        Nothing is changed. First come findings, one a line, as *path*:*line*:*column*: *severity*: *text*;
        the severity is `error` (hbd would not start with this, or would not take it in) or `warning`. With
        an error, there is nothing else. Then come facts, marked with ! where a finding belongs to them,
        with ? where something could not be found out, and with - where it is only worth knowing:

        - Links: whether interfaces and serial devices are there and have a carrier; what names stand for;
          whether all hangs on one cable that is dark while the other machine is off.
        - Addresses: the interface that each service address would get now, its netmask, and the route
          that has decided. Where heartbeat's documents would let one expect the netmask of the address's
          class, that is said, too.
        - Units: as systemd has them. Missing, masked, or started at boot is a finding, and so are a unit
          and an address that are active on a node that does not hold the group.
        - Ping nodes: whether they answer, and whether one is a node of the cluster or a service address.
        - Who else changes the network: whether systemd-networkd or NetworkManager configures the interfaces
          of service addresses. Both take the addresses off at times; hbd puts them back at once.
        - The other node: whether its haresources means the same and its ping nodes are the same, by what
          the two daemons tell each other, and whether the clocks agree. heartbeat 3.0.6 tells nothing of
          its files.
        - This daemon: what it misses, and files that were changed since it has read them.
        - If this node falls silent: who acts when. Warntime, deadtime and takeover count from the last
          heartbeat that the peer has heard, the watchdogs from the last food, which is at most one
          keepalive younger.

        systemd-networkd leaves the addresses alone where its file for the interface says
        `KeepConfiguration=static` (systemd.network(5)). NetworkManager has no such setting. To keep it away,
        have another tool configure the interface, and say so to NetworkManager in this order; without the
        first command, the last one takes all addresses off and the interface down:

            nmcli device set eth0 managed no
            cat > /etc/NetworkManager/conf.d/hbd.conf << end
            [keyfile]
            unmanaged-devices=interface-name:eth0
            end
            systemctl reload NetworkManager

        What only the daemon knows is left out for another directory than its own. Run it as root, since
        *authkeys* is for root only. The daemon itself looks at the files alone, as `hbd --check` does,
        at its start and at each `reload`.
        """,
        (
            argument("--json", text="the same for programs: `findings` and `facts`", action="store_true"),
            DIRECTORY,
        ),
        ((0, "Nothing was found"), (1, "There are warnings, but no error"), (78, "There are errors")),
    ),
    Verb(
        "migrate",
        "what will be different after heartbeat 3.0.6",
        """\
        Reads the files of a heartbeat 3.0.6, looks round on the machine, and says line by line what will
        be different under hbd. It changes nothing, and neither daemon need run. Each line reads
        *path*:*line*:*column*: *kind*: *text* with one of these kinds:

        - `error`: hbd would not start with this.
        - `action`: This has to be done before hbd takes heartbeat's place: a program that hbd does not
          start, a unit that starts at boot, a name that only one of the two daemons knows.
        - `note`: It will be different, and nothing need be done if that is all right: where the log is,
          what has no effect, which unit stands for an init script, which commands have other names.

        The last line, on standard error, is `ready` or says how much there is to do. Run it as root,
        since *authkeys* is for root only. */usr/share/doc/hbd/migrating-from-heartbeat.md* has the whole
        procedure, and the way back.
        """,
        (
            argument("--check", text="only look, change nothing", action="store_true", required=True),
            DIRECTORY,
        ),
        ((0, "Ready: there is nothing but notes"), (1, "An action, but no error"), (78, "There are errors")),
    ),
    Verb(
        "names",
        "names for the shells' completions, one a line",
        arguments=(argument("kind", text="what is named", choices=("group", "node")),),
        hidden=True,
    ),
)

SECTIONS = (
    Section(
        "ENVIRONMENT",
        entries=(
            ("`DBUS_SYSTEM_BUS_ADDRESS`", "The bus to use instead of the system's; for tests."),
            ("`HBD_CONFIG_DIR`", "See `check` and `migrate`."),
        ),
    ),
    Section(
        "EXAMPLES",
        text="""\
        Restart this machine when the other one serves:

            hbctl standby --wait --timeout 60 && systemctl reboot

        Which node has which group, for a script:

            hbctl status --json | jq -r '.groups[] | "\\(.name) \\(.owner)"'
        """,
    ),
    Section(
        "SEE ALSO",
        text="hbd(8), ha.cf(5), haresources(5), hbd.cf(5), org.linux_ha.Heartbeat1(5), systemctl(1), "
        "journalctl(1), busctl(1)",
    ),
)
"""What the manual page has beyond the commands."""


def parser() -> argparse.ArgumentParser:
    """hbctl's."""
    return build("hbctl", ABOUT, VERBS, EXITS)
