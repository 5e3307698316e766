"""The real heartbeat 3.0.6, Debian's package, as a daemon that the machines of the lab can run.

    with Lab(layers=classic.layers(CHECKOUT)) as lab:
        classic.configure(lab, auto_failback="off")
        lab.boot()
        classic.start(lab, "linuxha1")
        cluster.start(lab, "linuxha2")

The machines have both daemons and one configuration, and run one of the two or none: each
unit conflicts with the other. 3.0.6 knows no units, so the guide's `httpd` and `smb` are
scripts in /etc/init.d that call systemctl; hbd finds the units of these names. It logs to
the journal, by syslog.
"""

import re
from collections.abc import Callable, Iterable
from pathlib import Path

from tests.lab import rootfs
from tests.lab.cluster import BOTH_LINKS, HARESOURCES, QUICK, Timings, on_each
from tests.lab.cluster import configure as configure_hbd
from tests.lab.host import LabError, wait_until
from tests.lab.journal import Entry, now_us
from tests.lab.lab import Lab
from tests.lab.node import Node

# net-tools: its IPaddr calls ifconfig, and the package does not say so.
PACKAGES = ("heartbeat", "net-tools")
START_DELAY_MS = 10_000
"""How long it waits at a common start before anything is started; fixed in the daemon."""

_WORSE = re.compile(r"\b(ERROR|CRIT|CRITICAL|EMERG): ")
_NO_MEMORY_TO_LOCK = "Cannot lock ourselves into memory"
_SPOILT = ("NV failure", "Message with zero fields")
_DAEMON = "/usr/libexec/heartbeat/heartbeat"
_TOOLS = "/usr/share/heartbeat"
_SCRIPT = """\
#!/bin/sh
### BEGIN INIT INFO
# Provides:          {name}
# Required-Start:
# Required-Stop:
# Default-Start:
# Default-Stop:
# Short-Description: {name}.service, for who knows scripts only
### END INIT INFO
unit={name}.service
case $1 in
    start | stop) exec systemctl "$1" "$unit" ;;
    # heartbeat reads the text and not the exit status.
    status)
        if systemctl --quiet is-active "$unit"; then
            echo "$unit is running"
        else
            echo "$unit is stopped"
            exit 3
        fi
        ;;
    *) echo "usage: $0 {{start|stop|status}}" >&2; exit 2 ;;
esac
"""


def layer() -> Path:
    """heartbeat 3.0.6 over the machines' root; fetched and installed once."""
    return rootfs.debian_layer("heartbeat", PACKAGES, [rootfs.base(say=print)])


def layers(checkout: Path) -> list[Path]:
    """Both daemons: hbd as ./install lays it where heartbeat is installed already."""
    below = layer()
    both = [below, rootfs.base()]
    return [rootfs.hbd_layer(checkout, rootfs.wheels(checkout, say=print), both), below]


def configure(
    lab: Lab,
    *nodes: str,
    timings: Timings = QUICK,
    auto_failback: str = "on",
    media: Iterable[str] = BOTH_LINKS,
    haresources: str = HARESOURCES,
    extra: Iterable[str] = (),
) -> None:
    """Write /etc/ha.d for either daemon, and the scripts, on these machines, all by default."""
    configure_hbd(
        lab,
        *nodes,
        timings=timings,
        auto_failback=auto_failback,
        media=media,
        haresources=haresources,
        extra=("logfacility daemon", *extra),
    )
    for node in (lab[name] for name in nodes or lab.nodes):
        for name in ("httpd", "smb"):
            node.write(f"/etc/init.d/{name}", _SCRIPT.format(name=name), mode=0o755)


def start(lab: Lab, *nodes: str) -> None:
    """`systemctl start heartbeat` on these machines, all by default, at the same time."""
    on_each(lab, nodes, "systemctl start heartbeat")


def stop(lab: Lab, *nodes: str) -> None:
    """`systemctl stop heartbeat`: it releases everything. Within its first 10 s it waits for them to end."""
    on_each(lab, nodes, "systemctl stop heartbeat")


def is_running(node: Node) -> bool:
    return node.run("cl_status hbstatus", check=False).returncode == 0


def holding(node: Node) -> str:
    """What it says it holds: none, local, foreign, all or transition; empty when it does not answer."""
    return node.run("cl_status rscstatus", check=False).stdout.strip()


def node_status(node: Node, of: str) -> str:
    """What it says of a node: init, up, active, dead; empty when it does not answer."""
    return node.run(["cl_status", "nodestatus", of], check=False).stdout.strip()


def standby(node: Node, which: str = "all") -> None:
    """`hb_standby`: asks, and returns at once."""
    node.run([f"{_TOOLS}/hb_standby", which])


def takeover(node: Node, which: str = "all") -> None:
    """`hb_takeover`: asks, and returns at once."""
    node.run([f"{_TOOLS}/hb_takeover", which])


def reload(node: Node) -> None:
    """`heartbeat -r`: with ha.cf changed a quick restart that keeps the resources."""
    node.run([_DAEMON, "-r"])


def master_pid(node: Node) -> int:
    """Its master process; raises LabError when there is none."""
    return int(node.read("/run/heartbeat.pid"))


def kill(node: Node) -> int:
    """kill -9 of the master process; the others end within a second. Returns the monotonic µs just before."""
    pid = master_pid(node)
    at_us = now_us()
    node.run(["kill", "-9", str(pid)])
    return at_us


def log(node: Node, since_us: int = 0) -> list[Entry]:
    """What the daemon and its scripts have logged."""
    return node.entries(_is_its, since_us)


def said(node: Node, text: str, since_us: int = 0) -> list[Entry]:
    """What it has logged that contains `text`."""
    return node.entries(lambda entry: _is_its(entry) and text in entry.message, since_us)


def complaints(node: Node, since_us: int = 0) -> list[str]:
    """What it has logged as an error or worse, but for what is the container's or its own scripts' fault."""
    texts = [entry.message for entry in log(node, since_us) if _WORSE.search(entry.message)]
    return [text for text in texts if not any(each in text for each in (_NO_MEMORY_TO_LOCK, *_SPOILT))]


def has_spoilt_a_message(node: Node, since_us: int = 0) -> bool:
    """Several of its scripts wrote to its FIFO at the same time, and what one of them said is lost."""
    return any(said(node, text, since_us) for text in _SPOILT)


def unless_spoilt(nodes: Iterable[Node], deed: Callable[[], None], afresh: Callable[[], None]) -> None:
    """Do it; once more, `afresh` before, if it raised LabError and 3.0.6 there has spoilt its own messages.

    What its scripts say is lost for good then. If that was the word to itself on which they start its own
    group, it calls the group its own and nobody ever serves it: seen twice in 400 starts of a busy computer.
    """
    for _ in range(3):
        began_us = now_us()
        try:
            deed()
        except LabError as error:
            spoilt = [node.name for node in nodes if has_spoilt_a_message(node, began_us)]
            if not spoilt:
                raise
            said_first = str(error).partition("\n")[0]
            print(f"once more, as 3.0.6 on {' and '.join(spoilt)} has spoilt its own messages: {said_first}")
            afresh()
        else:
            return
    deed()


def wait_until_said(node: Node, pattern: str, since_us: int = 0, timeout: float = 15) -> Entry:
    """The first entry that the regex is found in; raises LabError when none comes in time."""
    return node.wait_for_journal(pattern, timeout, since_us)


def wait_for_holding(node: Node, wanted: str, timeout: float = 20) -> None:
    """Wait until it says that it holds `wanted`; raises LabError when it does not in time."""
    try:
        wait_until(lambda: holding(node) == wanted, timeout, "", 0.1)
    except LabError:
        text = f"heartbeat on {node.name} holds '{holding(node)}', not '{wanted}', after {timeout:g} s"
        raise LabError(text) from None


def _is_its(entry: Entry) -> bool:
    # Its scripts' lines come from loggers which are gone before journald can look up their unit.
    name, way = entry.fields.get("SYSLOG_IDENTIFIER", ""), entry.fields.get("_TRANSPORT")
    return way == "syslog" and (name == "heartbeat" or name.endswith(")"))
