"""Who may do what over D-Bus, with the real bus and the real polkit, by the tools of others."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.lab import Lab
from tests.lab.cluster import BUS_NAME, BUS_ROOT, configure, said, start
from tests.lab.host import wait_until
from tests.lab.journal import now_us
from tests.lab.node import Node

CLUSTER = f"{BUS_NAME} {BUS_ROOT} {BUS_NAME}.Cluster"
GDBUS = f"gdbus call --system -d {BUS_NAME} -o {BUS_ROOT} -m {BUS_NAME}.Cluster"
RULE = """\
polkit.addRule(function(action, subject) {
    if (action.id == "org.linux_ha.Heartbeat1.manage" &&
        action.lookup("method") != "Standby" &&
        subject.isInGroup("operators")) {
        return polkit.Result.YES;
    }
});
"""
TYPIST = """\
import os, pty, select, sys, termios, time
child, terminal = pty.fork()
if not child:
    os.execvp(sys.argv[2], sys.argv[2:])
shown, typed, end_s = b"", False, time.monotonic() + 20
while time.monotonic() < end_s:
    if select.select([terminal], [], [], 0.2)[0]:
        try:
            shown += os.read(terminal, 4096)
        except OSError:
            break
    asked = b"assword:" in shown and not termios.tcgetattr(terminal)[3] & termios.ECHO
    if asked and not typed:
        typed = os.write(terminal, sys.argv[1].encode() + b"\\n")
print(shown.decode())
sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""
"""Runs a command on a terminal of its own, and types a password when it is asked for one and the echo is off:
what is typed before that is thrown away."""
RELOADED = "Configuration reloaded"


@pytest.fixture(scope="module")
def node(hbd_layer: Path) -> Iterator[Node]:
    """A machine with hbd, alone so far, where olga is an operator and alice is nobody."""
    with Lab(layers=[hbd_layer]) as lab:
        configure(lab, "linuxha1")
        one = lab["linuxha1"]
        one.write("/etc/polkit-1/rules.d/50-hbd.rules", RULE)
        lab.boot("linuxha1")
        one.run("groupadd operators && useradd alice && useradd -G operators olga")
        start(lab, "linuxha1")
        wait_until(lambda: one.run(f"busctl status {BUS_NAME}", check=False).returncode == 0, 10, "the name")
        yield one


def as_user(node: Node, user: str, command: str) -> tuple[int, str]:
    """Exit status, and all that it says."""
    done = node.run(f"setpriv --reuid={user} --regid={user} --init-groups {command} 2>&1", check=False)
    return done.returncode, done.stdout


def reloads(node: Node, since_us: int) -> int:
    return len(said(node, RELOADED, since_us))


def test_root_may_and_polkit_is_not_asked(node: Node) -> None:
    began_us = now_us()
    assert node.run(f"busctl call {CLUSTER} Reload").stdout == ""
    node.wait_for_journal(RELOADED, since_us=began_us)
    assert node.run("systemctl is-active polkit.service", check=False).stdout == "inactive\n"


def test_others_may_read_and_see_everything_explained(node: Node) -> None:
    status, shown = as_user(node, "alice", f"busctl introspect {BUS_NAME} {BUS_ROOT}")
    assert status == 0
    rows = {words[0]: words[1:] for words in map(str.split, shown.splitlines())}
    assert rows[".LocalNode"][:3] == ["property", "s", '"linuxha1"']
    assert rows[".Reload"][0] == "method"
    status, shown = as_user(node, "alice", f"gdbus introspect --system -d {BUS_NAME} -o {BUS_ROOT} --recurse")
    assert status == 0
    assert '@org.gtk.GDBus.DocString("Read the configuration again.' in shown
    assert "interface org.linux_ha.Heartbeat1.Resource {" in shown


def test_others_are_refused_by_the_error_that_tools_know_with_a_sentence(node: Node) -> None:
    began_us = now_us()
    assert as_user(node, "alice", f"busctl call {CLUSTER} Reload") == (1, "Call failed: Access denied\n")
    quiet = "busctl --allow-interactive-authorization=no"
    assert as_user(node, "alice", f"{quiet} call {CLUSTER} Reload") == (
        1,
        "Call failed: Reload is for root; "
        "polkit would ask for a password, and the call does not allow it to\n",
    )
    status, told = as_user(node, "alice", f"{GDBUS}.Reload")
    assert status != 0
    assert "org.freedesktop.DBus.Error.InteractiveAuthorizationRequired: Reload is for root; " in told
    status, told = as_user(node, "alice", "hbctl reload")
    assert status == 1
    assert told.startswith("hbctl: Reload is for root")
    assert reloads(node, began_us) == 0


def test_a_rule_of_polkit_lets_a_group_do_what_it_says_and_nothing_else(node: Node) -> None:
    for command in (f"busctl call {CLUSTER} Reload", f"{GDBUS}.Reload", "hbctl reload"):
        began_us = now_us()
        assert as_user(node, "olga", command)[0] == 0
        node.wait_for_journal(RELOADED, since_us=began_us)
    status, told = as_user(node, "olga", f"{GDBUS}.Standby all")
    assert status != 0
    assert "Error.InteractiveAuthorizationRequired: Standby is for root; " in told
    status, told = as_user(node, "olga", f"{GDBUS}.Takeover some")
    assert status != 0
    assert "org.linux_ha.Heartbeat1.Error.InvalidArgument: 'some' names no groups; write one of " in told


def test_who_may_do_it_after_a_password_is_asked_for_it_on_the_terminal(node: Node) -> None:
    node.run("echo root:secret | chpasswd")
    node.write("/run/typist.py", TYPIST)
    login = "systemd-run --quiet --pipe --wait -p PAMName=login -p User=alice python3 /run/typist.py"
    began_us = now_us()
    typed = node.run(f"{login} secret hbctl reload")
    assert "Authentication is required to steer the high-availability cluster" in typed.stdout
    assert "the configuration was read again" in typed.stdout
    node.wait_for_journal(RELOADED, since_us=began_us)


def test_busctl_monitor_and_gdbus_monitor_show_what_changes(node: Node) -> None:
    both = f"""
        timeout 20 busctl monitor {BUS_NAME} >/run/busctl-monitor 2>&1 & busctl_pid=$!
        timeout 20 gdbus monitor --system -d {BUS_NAME} >/run/gdbus-monitor 2>&1 & gdbus_pid=$!
        until grep -q "is owned by" /run/gdbus-monitor && grep -q "Monitoring" /run/busctl-monitor; do
            sleep 0.1
        done
        sed -i 's/auto_failback .*/auto_failback off/' /etc/ha.d/ha.cf
        hbctl reload
        until grep -q "AutoFailback.*off" /run/gdbus-monitor && grep -q "AutoFailback" /run/busctl-monitor; do
            sleep 0.1
        done
        kill $busctl_pid $gdbus_pid
    """
    node.run(both, timeout=20)
    assert "Member=PropertiesChanged" in node.read("/run/busctl-monitor")
    assert node.read("/run/gdbus-monitor").count("AutoFailback") == 1


def test_without_polkit_everything_that_changes_something_is_for_root(node: Node) -> None:
    node.run("systemctl mask --now polkit.service")
    try:
        assert as_user(node, "olga", "hbctl reload") == (
            1, "hbctl: Reload is for root only, as polkit cannot be asked (Unit polkit.service is masked)\n"
        )  # fmt: skip
        began_us = now_us()
        node.run("hbctl reload")
        node.wait_for_journal(RELOADED, since_us=began_us)
    finally:
        node.run("systemctl unmask polkit.service")
