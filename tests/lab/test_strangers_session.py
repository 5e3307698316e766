"""Somebody who has never seen this cluster, at three in the morning, with nothing but `man hbctl`.

Each command that he gives is on that page; what he reads is all that the test goes by. Then the same with the
commands that he knows from heartbeat 3.0.6.
"""

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.lab import Lab
from tests.lab.cluster import ADDRESS, ONE, TWO, running_pair, settle
from tests.lab.host import wait_until
from tests.lab.lab import CHECKOUT
from tests.lab.node import Node


@pytest.fixture(scope="module")
def lab(hbd_layer: Path) -> Iterator[Lab]:
    """Both run, everything is on linuxha1."""
    with running_pair(hbd_layer, auto_failback="off") as made:
        yield made


def serves(node: Node) -> bool:
    """Whether the web server runs there."""
    return node.run("systemctl is-active httpd", check=False).returncode == 0


class Stranger:
    """Sits at one machine and reads its answers."""

    def __init__(self, node: Node) -> None:
        self._node = node
        page = ["man", "--local-file", str(CHECKOUT / "docs/hbctl.8")]
        self._manual = subprocess.run(
            page, capture_output=True, text=True, check=True, env={"PATH": "/usr/bin:/bin", "MANWIDTH": "200"}
        ).stdout

    def types(self, *words: str, status: int | None = 0) -> str:
        """What hbctl answers; it is a command of the manual's, and ends as the manual says."""
        assert re.search(rf"hbctl {words[0]}\b", self._manual), f"no {words[0]} in the manual"
        for option in (word for word in words if word.startswith("-")):
            assert option in self._manual
        done = self._node.run(["hbctl", *words], check=False)
        assert status in (None, done.returncode), done.stdout + done.stderr
        return done.stdout + done.stderr

    def owner(self, status: int | None = 0) -> str:
        """Who serves the address, by `hbctl status`."""
        found = re.search(rf"^(\S+) serves {re.escape(ADDRESS)}\.", self.types("status", status=status), re.M)
        return found[1] if found else ""


def test_he_finds_out_who_has_the_address_moves_it_freezes_thaws_and_reads_what_happened(lab: Lab) -> None:
    he = Stranger(lab[ONE])

    assert he.owner() == ONE
    assert "If it fails, linuxha2 takes over." in he.types("status")
    assert ONE in he.types("why", ADDRESS)

    assert "is done" in he.types("standby", "--wait", "--timeout", "60")
    assert he.owner() == TWO
    assert TWO in he.types("why", ADDRESS)

    assert "frozen" in he.types("freeze")
    lab[TWO].run("systemctl kill --signal=KILL httpd && sleep 1", check=False)
    assert "the cluster is frozen" in he.types("status", status=1)
    assert not serves(lab[ONE])
    assert not serves(lab[TWO])

    assert "thawed" in he.types("thaw")
    wait_until(lambda: serves(lab[TWO]), 20, "httpd again", 0.2)
    assert not serves(lab[ONE])
    wait_until(lambda: he.owner(status=None) == TWO, 20, "a served address", 0.5)
    assert "frozen" not in he.types("status")

    read = he.types("history", "-n", "20")
    assert "standby" in read
    log = he.types("log", "-n", "200")
    assert "froze" in log
    assert "thaw" in log


def test_the_commands_of_heartbeat_answer_for_hbd(lab: Lab) -> None:
    one = lab[ONE]
    one.run("hbctl takeover --wait", check=False)
    settle(lab, owned_by=ONE)

    assert one.run("cl_status hbstatus").stdout == "Heartbeat is running on this machine.\n"
    assert one.run("cl_status rscstatus").stdout == "local\n"
    assert one.run("cl_status listnodes").stdout == f"{TWO}\n{ONE}\n"
    assert one.run(f"cl_status nodestatus {TWO}").stdout == "active\n"
    assert one.run(f"cl_status listhblinks {TWO}").stdout == "\teth0\n\teth1\n"
    assert one.run("cl_status hbparameter -p deadtime").stdout == "3000ms\n"
    assert re.fullmatch(
        rf"heartbeat OK \[pid \d+ et al\] is running on {ONE} \[{ONE}\]\.\.\.\n",
        one.run("/usr/libexec/heartbeat/heartbeat -s").stdout,
    )

    moved = one.run("/usr/share/heartbeat/hb_standby all")
    assert re.fullmatch(r"\w{3} \d\d [\d:]{8} Going standby \[all\]\.\n", moved.stderr)
    settle(lab, owned_by=TWO)
    one.run("/usr/share/heartbeat/hb_takeover local")
    settle(lab, owned_by=ONE)

    unprivileged = "setpriv --reuid=65534 --clear-groups"
    assert one.run(f"{unprivileged} cl_status rscstatus").stdout == "local\n"
    denied = one.run(f"{unprivileged} /usr/share/heartbeat/hb_standby", check=False)
    assert denied.returncode == 2

    one.run("/usr/libexec/heartbeat/heartbeat -r")
    one.run("/usr/libexec/heartbeat/heartbeat -k")
    stopped = one.run("/usr/libexec/heartbeat/heartbeat -s", check=False)
    assert (stopped.returncode, stopped.stdout) == (3, "heartbeat is stopped. No process\n")
    again = one.run("/usr/libexec/heartbeat/heartbeat -k")
    assert again.stderr == "INFO: Heartbeat already stopped.\n"
    assert one.run("cl_status hbstatus", check=False).returncode == 1
