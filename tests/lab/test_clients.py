"""Programs of respawn and failfast lines on a real systemd: users, restarts, limits, order."""

from __future__ import annotations

import re
from pathlib import Path

from hbd.config.clientunits import unit
from tests.lab.cluster import ONE, TWO, holds, running_pair, start, stop
from tests.lab.host import wait_until
from tests.lab.journal import Entry, now_us
from tests.lab.node import Node
from tests.lab.service import kill

FIRST, SECOND = "/bin/sleep 100001", "/bin/sleep 100002"
DONE, HASTY = "/bin/sh -c 'sleep 1; exit 100'", "/bin/false -x"
CLIENTS = (
    f"respawn nobody {FIRST}",
    f"respawn daemon {SECOND}",
    f"respawn root {DONE}",
    f"respawn nobody {HASTY}",
    "respawn hacluster /usr/lib/heartbeat/ccm",
    "apiauth ping gid=haclient",
)
SLEEPERS = (("nobody", FIRST), ("daemon", SECOND))
DROP_INS = "/etc/systemd/system/hbd.service.d"
WITHIN_S = 15


def processes(node: Node, command: str) -> list[tuple[str, str]]:
    """(pid, user) of what runs with exactly this command line."""
    rows = [line.split(None, 2) for line in node.run("ps -eo pid=,user=,args=").stdout.splitlines()]
    return [(pid, user) for pid, user, args in rows if args == command]


def heard(node: Node, text: str, since_us: int = 0, timeout: float = WITHIN_S) -> Entry:
    """Wait until hbd has said exactly this."""
    return node.wait_for_journal(f"^{re.escape(text)}$", timeout, since_us)


def texts(node: Node, since_us: int = 0) -> list[str]:
    return [entry.message for entry in node.journal(unit="hbd.service", since_us=since_us)]


def test_clients_run_under_their_users_return_when_killed_and_go_last_first(hbd_layer: Path) -> None:
    with running_pair(hbd_layer, extra=CLIENTS) as lab:
        one = lab[ONE]
        # Given two clients, each in a unit of its own and under its user,
        wait_until(lambda: len(processes(one, SECOND)) == 1, WITHIN_S, "the clients to run")
        ((first_pid, first_user),) = processes(one, FIRST)
        ((second_pid, second_user),) = processes(one, SECOND)
        assert (first_user, second_user) == ("nobody", "daemon")
        units = one.run("systemctl list-units --plain --no-legend 'hbd-client-sleep-*'").stdout
        assert units.count("hbd-client-sleep-") == 2
        assert f'Starting child client "{FIRST}" (65534,65534)' in texts(one)
        assert f'Starting "{FIRST}" as uid 65534  gid 65534 (pid {first_pid})' in texts(one)
        assert any("/usr/lib/heartbeat/ccm" in text and "is not started" in text for text in texts(one))
        # one that has ended with 100 stays down,
        heard(one, f"Client {DONE} exited with return code 100.")
        # and one that always ends at once is given up.
        heard(one, f'Client {HASTY} "respawning too fast"', timeout=40)
        said = texts(one)
        assert said.count(f'Respawning client "{HASTY}":') == 10
        assert said.count(f"Client {HASTY} exited with return code 1.") == 11
        # When a client is killed,
        since_us = now_us()
        one.run(["kill", "-9", first_pid])
        # then it returns under its user.
        heard(one, f"Client {FIRST} (pid={first_pid}) killed by signal 9.", since_us)
        wait_until(lambda: len(processes(one, FIRST)) == 1, WITHIN_S, "the client to return")
        ((again_pid, again_user),) = processes(one, FIRST)
        assert (again_pid != first_pid, again_user) == (True, "nobody")
        assert f'Respawning client "{FIRST}":' in texts(one, since_us)
        # When hbd is killed, its clients go on, and the next hbd finds them.
        since_us = now_us()
        kill(one)
        heard(one, f'Client "{SECOND}" (pid {second_pid}) runs already and is kept', since_us)
        assert processes(one, FIRST) == [(again_pid, "nobody")]
        assert processes(one, SECOND) == [(second_pid, "daemon")]
        # When hbd is stopped, they go one after the other, the last first, after the resources.
        since_us = now_us()
        stop(lab, ONE)
        said = texts(one, since_us)
        order = [
            said.index("All HA resources relinquished."),
            said.index(f"Client {SECOND} (pid={second_pid}) killed by signal 15."),
            said.index(f"Client {FIRST} (pid={again_pid}) killed by signal 15."),
            said.index(f"{ONE} Heartbeat shutdown complete."),
        ]
        assert order == sorted(order)
        assert one.run("systemctl list-units --all --plain --no-legend 'hbd-client-*'").stdout == ""
        # When hbd is gone for good, they are stopped all the same, the last first.
        one.write(f"{DROP_INS}/once.conf", "[Unit]\nStartLimitBurst=1\nStartLimitIntervalSec=1h\n")
        # How often it was started is forgotten: by this, or because systemd has forgotten the whole unit.
        one.run("systemctl daemon-reload; systemctl reset-failed hbd", check=False)
        start(lab, ONE)
        wait_until(
            lambda: all(len(processes(one, command)) == 1 for _, command in SLEEPERS),
            WITHIN_S, "the clients to run",
        )  # fmt: skip
        since_us = now_us()
        kill(one)
        stops = [f"{unit('sleep', user, command, False, 0)} stopped" for user, command in SLEEPERS]
        for text in stops:
            heard(one, text, since_us)
        told = [entry.message for entry in one.journal(unit="hbd-orphan.service", since_us=since_us)]
        assert [text for text in told if text in stops] == stops[::-1]
        assert processes(one, FIRST) == processes(one, SECOND) == []
        # In all this time the one that was not to run again did not.
        assert f'Respawning client "{DONE}":' not in texts(one)


def test_a_failfast_client_that_fails_has_its_machine_released_and_rebooted(hbd_layer: Path) -> None:
    with running_pair(hbd_layer, auto_failback="off", extra=[f"failfast nobody {FIRST}"]) as lab:
        one, two = lab[ONE], lab[TWO]
        wait_until(lambda: len(processes(one, FIRST)) == 1, WITHIN_S, "the client to run")
        ((pid, _),) = processes(one, FIRST)
        # When it is killed,
        since_us = now_us()
        one.run(["kill", "-9", pid])
        # then this node says goodbye and the other serves, without waiting for deadtime;
        heard(two, f"Received shutdown notice from '{ONE}'.", since_us)
        wait_until(lambda: holds(two), WITHIN_S, "linuxha2 to serve")
        # and only then the machine is rebooted.
        one.wait_off()
        said = texts(one, since_us)
        order = [
            said.index("All HA resources relinquished."),
            said.index(f"{ONE} Heartbeat shutdown complete."),
            said.index("Rebooting system.  Reason: a failfast client has failed"),
        ]
        assert order == sorted(order)
