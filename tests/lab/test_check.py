"""hbctl check on a live pair: a clean one, and what goes wrong with one.

The machines have NetworkManager, which does not run unless a test starts it, and a library that
makes a program see another time of day.
"""

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.lab import Lab, Node, rootfs
from tests.lab.cluster import (
    ADDRESS,
    GROUP,
    HARESOURCES,
    ONE,
    PRIVATE_ONLY,
    TWO,
    Timings,
    configure,
    holds,
    is_idle,
    said,
    serves,
    settle,
    start,
    stop,
)
from tests.lab.host import wait_until
from tests.lab.journal import now_us

ROUTER = "192.168.85.254"
METRICS = "/var/tmp/hbd.prom"
PATIENT = Timings(500, 1500, 3000, 10_000)
"""With less initdead than this, the parser warns."""
HA_CF, AUTHKEYS = "/etc/ha.d/ha.cf", "/etc/ha.d/authkeys"
HASTY = Timings(200, 500, 1000, 1000)
PACKAGES = ("network-manager", "libfaketime")
NETWORK_FILE = "/etc/systemd/network/10-lan.network"
TAKEN_AWAY = f"{ADDRESS} was taken away from here"
CLOCK = "/run/systemd/system/hbd.service.d/clock.conf"
AN_HOUR_BEHIND = """\
[Service]
Environment=FAKETIME=-1h FAKETIME_DONT_FAKE_MONOTONIC=1 DONT_FAKE_MONOTONIC=1 NO_FAKE_STAT=1
Environment=LD_PRELOAD="""
LIMIT_S = 60
"""For what takes a second on a machine that is not busy; each look is a whole check."""
MASKED = "/etc/ha.d/haresources:1:29: error: smb.service is masked, systemd will not start it"
ISOLATED = "isolated: no medium of this node works"


@pytest.fixture(scope="module")
def pair(hbd_layer: Path) -> Iterator[Lab]:
    tools = rootfs.debian_layer("network", PACKAGES, [rootfs.base()])
    with Lab(layers=[hbd_layer, tools]) as lab:
        configure(lab, timings=PATIENT, extra=(f"ping {ROUTER}",))
        for node in lab.nodes.values():
            node.write("/etc/ha.d/hbd.cf", f"metrics {METRICS}\n")
        lab.boot()
        start(lab)
        settle(lab, owned_by=ONE)
        yield lab


def check(node: Node) -> tuple[int, list[str]]:
    """Its exit status, and the findings as a script reads them."""
    done = node.run("hbctl check", check=False)
    return done.returncode, [line for line in done.stdout.splitlines() if line.startswith("/")]


def facts(node: Node) -> dict[str, list[str]]:
    """The texts of each section."""
    told: dict[str, Any] = json.loads(node.run("hbctl check --json", check=False).stdout)
    sections: dict[str, list[str]] = {}
    for fact in told["facts"]:
        sections.setdefault(fact["section"], []).append(f"{fact['name']} {fact['text']}".strip())
    return sections


def write(node: Node, path: str, text: str) -> None:
    """A file of a machine that runs."""
    node.run(["sh", "-c", 'printf %s "$0" > "$1"', text, path])


@contextmanager
def changed(node: Node, path: str, old: str, new: str) -> Iterator[None]:
    """A file with something else in it, for a while."""
    text = node.run(["cat", path]).stdout
    assert old in text
    write(node, path, text.replace(old, new))
    yield
    write(node, path, text)


def test_on_a_clean_pair_nothing_is_found_and_everything_is_told(pair: Lab) -> None:
    wait_until(lambda: check(pair[ONE]) == (0, []), LIMIT_S, "nothing to be found")
    assert check(pair[TWO]) == (0, [])
    told = facts(pair[ONE])
    assert told["links"] == [
        "eth1 bcast, with carrier",
        "eth0 ucast 192.168.85.1, with carrier",
        "eth0 ucast 192.168.85.2, with carrier",
    ]
    assert told["addresses"] == ["192.168.85.3 eth0, 192.168.85.3/24, by the route 192.168.85.0/24"]
    assert told["units"] == ["httpd.service disabled, active", "smb.service disabled, active"]
    assert told["pings"] == [f"{ROUTER} answers this node"]
    assert told["peer"] == [
        f"{TWO} its haresources means the same as here",
        f"{TWO} its ping nodes are the same as here",
        f"{TWO} its clock agrees with this node's",
    ]
    assert [text for text in told["times"] if text.startswith("3000 ms deadtime:")]


def test_the_files_of_another_directory_are_judged_by_this_machine_but_not_by_its_daemon(pair: Lab) -> None:
    one = pair[ONE]
    one.run(f"cp -a /etc/ha.d /etc/other.d && echo {ONE} 10.0.0.9 > /etc/other.d/haresources")
    told: dict[str, Any] = json.loads(one.run("hbctl check --json /etc/other.d").stdout)
    texts = {(fact["section"], fact["name"]): fact["text"] for fact in told["facts"]}
    assert texts["addresses", "10.0.0.9"] == "eth1, 10.0.0.9/24, by the route 10.0.0.0/24"
    assert texts["addresses", ""].startswith("the netmask is the route's, /24, as with heartbeat's IPaddr")
    assert texts["addresses", ""].endswith("by the class of the address it would be /8")
    assert texts["daemon", "hbd"] == "uses /etc/ha.d, so it was not asked"
    assert told["findings"] == []


def test_haresources_and_ping_nodes_that_differ_are_seen_from_both_nodes(pair: Lab) -> None:
    with (
        changed(pair[TWO], "/etc/ha.d/haresources", HARESOURCES, f"{ONE} 192.168.85.3 httpd\n"),
        changed(pair[TWO], HA_CF, f"ping {ROUTER}", "ping 192.168.85.100"),
    ):
        pair[TWO].run("hbctl reload")
        for here, there in ((pair[ONE], TWO), (pair[TWO], ONE)):
            expected = [
                f"{HA_CF}:9:1: warning: {there}: its ha.cf has other ping nodes than this one: what the two "
                "reach cannot be compared",
                f"/etc/ha.d/haresources:1:1: warning: {there}: its haresources means other resources than "
                "this one: copy it to both nodes, and reload",
            ]
            wait_until(lambda: check(here) == (1, expected), LIMIT_S, "the differences")  # noqa: B023
    pair[TWO].run("hbctl reload")
    wait_until(lambda: check(pair[ONE]) == check(pair[TWO]) == (0, []), LIMIT_S, "nothing to be found")


def test_a_clock_that_is_far_off_is_said(pair: Lab) -> None:
    two = pair[TWO]
    (library,) = two.run("ls /usr/lib/*/faketime/libfaketimeMT.so.1").stdout.split()
    two.run(["mkdir", "-p", str(Path(CLOCK).parent)])
    write(two, CLOCK, f"{AN_HOUR_BEHIND}{library}\n")
    two.run("systemctl daemon-reload && systemctl restart hbd")
    said_so = f"{HA_CF}:10:1: warning: {TWO}: its clock is 3(599|600|601) s behind this node's: hbd does not"

    def seen() -> bool:
        status, findings = check(pair[ONE])
        return status == 1 and len(findings) == 1 and re.match(said_so, findings[0]) is not None

    wait_until(seen, LIMIT_S, "the clock to be seen")
    two.run(f"rm {CLOCK} && systemctl daemon-reload && systemctl restart hbd")
    wait_until(lambda: check(pair[ONE]) == (0, []), LIMIT_S, "nothing to be found")


def manager(node: Node) -> list[str]:
    """What is found about who else configures interfaces."""
    return [line for line in check(node)[1] if "systemd-networkd: " in line or "NetworkManager: " in line]


def test_networkd_takes_off_what_others_added_and_is_named_until_its_file_says_otherwise(pair: Lab) -> None:
    """With an address of nobody's: this node has none of the cluster's."""
    two, added = pair[TWO], "192.168.85.77"
    assert manager(two) == []
    network = "Address=192.168.85.2/24\nGateway=192.168.85.254\n"
    write(two, NETWORK_FILE, f"[Match]\nName=eth0\n[Network]\n{network}")
    two.run("systemctl start systemd-networkd")
    wait_until(lambda: manager(two) != [], LIMIT_S, "networkd to have the interface")
    (finding,) = manager(two)
    assert finding.startswith(
        f"/etc/ha.d/haresources:1:10: warning: systemd-networkd: eth0 is configured by {NETWORK_FILE}: "
    )
    two.run(f"ip address add {added}/24 dev eth0 && touch {NETWORK_FILE} && networkctl reload")
    wait_until(lambda: not holds(two, added), LIMIT_S, "networkd to take it off")
    two.run(["mkdir", f"{NETWORK_FILE}.d"])
    write(two, f"{NETWORK_FILE}.d/hbd.conf", "[Network]\nKeepConfiguration=static\n")
    two.run("networkctl reload")
    assert manager(two) == []
    two.run(f"ip address add {added}/24 dev eth0 && touch {NETWORK_FILE} && networkctl reload")
    two.run("networkctl reconfigure eth0")
    wait_until(lambda: holds(two, "192.168.85.2"), LIMIT_S, "its own address")
    two.run(f"systemctl stop systemd-networkd.socket systemd-networkd; rm -r {NETWORK_FILE} {NETWORK_FILE}.d")
    assert holds(two, added)
    two.run(f"ip address del {added}/24 dev eth0")
    settle(pair, owned_by=ONE)


def test_networkmanager_is_named_and_the_address_that_it_takes_off_is_put_back_where_it_was(
    pair: Lab,
) -> None:
    """It takes the whole subnet off with the address, so for a moment there is no route to put it back by."""
    one, profile = pair[ONE], "ipv4.method manual ipv4.addresses 192.168.85.1/24 ipv4.gateway 192.168.85.254"
    one.run("systemctl start NetworkManager")
    looks_on = "NetworkManager eth0 is not configured by it: it looks on, until somebody activates"
    wait_until(
        lambda: [text for text in facts(one).get("network", []) if text.startswith(looks_on)] != [],
        LIMIT_S,
        "NetworkManager to know the interface",
    )
    assert manager(one) == []
    one.run(f"nmcli connection add type ethernet ifname eth0 con-name lan {profile}")
    for _ in range(2):
        began_us = now_us()
        one.run("nmcli connection up lan")
        one.wait_for_journal(TAKEN_AWAY, since_us=began_us)
        # Three times at once; the fourth would wait for ten seconds.
        wait_until(lambda: serves(one), LIMIT_S, "the address to be back")
    settle(pair, owned_by=ONE)
    assert said(pair[TWO], "Acquiring resource group") == []
    (finding,) = manager(one)
    assert finding.startswith(
        "/etc/ha.d/haresources:1:10: warning: NetworkManager: eth0 is configured by its connection 'lan': "
    )
    one.run("nmcli device set eth0 managed no")
    assert manager(one) == []
    assert "NetworkManager eth0 is unmanaged: it leaves it alone" in facts(one)["network"]
    one.run("systemctl stop NetworkManager")
    settle(pair, owned_by=ONE)


def test_a_unit_that_starts_at_boot_is_found_at_its_word(pair: Lab) -> None:
    pair[TWO].run("systemctl enable httpd")
    status, findings = check(pair[TWO])
    pair[TWO].run("systemctl disable httpd")
    assert status == 1
    assert len(findings) == 1
    assert findings[0].startswith("/etc/ha.d/haresources:1:23: warning: httpd.service is started at boot")


def test_a_reload_prints_what_is_doubtful_in_the_files_that_it_took_in(pair: Lab) -> None:
    two = pair[TWO]
    with changed(two, HA_CF, "warntime 1500ms", "warntime 4000ms"):
        done = two.run("hbctl reload")
    assert done.stdout == "the configuration was read again\n"
    assert done.stderr.startswith(f"{HA_CF}:2:10: warning: warntime [4000] is not below deadtime [3000]")
    assert two.run("hbctl reload").stderr == ""


def test_keys_that_others_can_read_are_an_error_for_check_and_reload_alike(pair: Lab) -> None:
    pair[ONE].run(f"chmod 644 {AUTHKEYS}")
    status, findings = check(pair[ONE])
    reload = pair[ONE].run("hbctl reload", check=False)
    pair[ONE].run(f"chmod 620 {AUTHKEYS}")
    writable = check(pair[ONE])
    pair[ONE].run(f"chmod 600 {AUTHKEYS}")
    error = f"{AUTHKEYS}:1:1: error: Bad permissions on keyfile"
    assert status == 78
    assert findings[0].startswith(error)
    assert reload.returncode == 1
    assert error in reload.stderr
    assert writable[0] == 1
    assert writable[1][0].startswith(f"{AUTHKEYS}:1:1: warning: others than its owner can write it")


def test_a_ping_node_that_is_no_witness_is_found_before_it_is_used(pair: Lab) -> None:
    with changed(pair[ONE], HA_CF, f"ping {ROUTER}", "ping 192.168.85.2\nping 192.168.85.77"):
        status, findings = check(pair[ONE])
    assert status == 1
    assert [line.split(": ", 2)[2].partition(";")[0] for line in findings] == [
        "files: ha.cf is not what hbd runs with: it was changed since",
        "192.168.85.2: 192.168.85.2 is the other end of eth0's ucast, a cluster node: no evidence of what "
        "this node reaches",
        "192.168.85.77: does not answer this node",
    ]


def metrics(node: Node) -> dict[tuple[str, ...], float]:
    """The file, by name and labels, as Prometheus' own parser reads it."""
    text = node.run(["cat", METRICS]).stdout
    return {
        (sample.name, *(sample.labels[key] for key in sorted(sample.labels))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def test_the_metrics_tell_of_a_failover_and_a_daemon_that_was_stopped_leaves_none(pair: Lab) -> None:
    wait_until(lambda: metrics(pair[TWO])["hbd_group_owner", GROUP, ONE] == 1, LIMIT_S, "the owner")
    before = metrics(pair[TWO])
    assert before["hbd_node_up", "normal", ONE] == 1
    assert before["hbd_link_up", "eth1", "bcast", ONE] == 1
    assert before["hbd_heartbeats_received_total", ONE] > 0
    stop(pair, ONE)
    pair[ONE].run(f"test ! -e {METRICS}")
    settle(pair, TWO, owned_by=TWO)
    wait_until(lambda: metrics(pair[TWO])["hbd_group_owner", GROUP, TWO] == 1, LIMIT_S, "the new owner")
    after = metrics(pair[TWO])
    assert after["hbd_group_owner", GROUP, ONE] == 0
    assert after["hbd_group_job_duration_seconds_count", GROUP, "start"] == 1
    assert after["hbd_group_job_duration_seconds_sum", GROUP, "start"] > 0
    assert after["hbd_deaths_total", ONE] == 0


def test_without_the_bus_nobody_is_told_that_what_he_serves_should_not_run(pair: Lab) -> None:
    two = pair[TWO]
    two.run("systemctl stop dbus.socket dbus.service")
    status, findings = check(two)
    daemon = facts(two)["daemon"]
    two.run("systemctl start dbus.socket")
    assert (status, findings) == (0, [])
    assert daemon[0].startswith("hbd cannot be asked: the system bus cannot be reached")
    wait_until(lambda: "runs, stable" in " ".join(facts(two)["daemon"]), LIMIT_S, "hbd on the bus again")


def test_somebody_who_is_not_root_is_told_everything_but_what_concerns_the_keys(pair: Lab) -> None:
    done = pair[TWO].run("setpriv --reuid=nobody --regid=nogroup --clear-groups hbctl check", check=False)
    assert done.returncode == 0
    assert "? authkeys        only root can read it: it was not looked at" in done.stdout
    assert "httpd.service   disabled, active" in done.stdout
    assert "0.1.0 runs, " in done.stdout


def test_without_the_daemon_everything_else_is_told(pair: Lab) -> None:
    stop(pair, TWO)
    wait_until(lambda: check(pair[TWO]) == (0, []), LIMIT_S, "nothing to be found")
    told = facts(pair[TWO])
    assert told["daemon"] == ["hbd does not run here"]
    assert told["pings"] == [f"{ROUTER} answers this node"]
    assert told["units"] == ["httpd.service disabled, inactive", "smb.service disabled, inactive"]
    assert "peer" not in told


def test_without_hbd_what_runs_is_named_with_the_command_that_ends_it_and_a_masked_unit_is_an_error(
    pair: Lab,
) -> None:
    two = pair[TWO]
    two.run(f"ip address add {ADDRESS}/32 dev eth1 && systemctl start httpd")
    status, findings = check(two)
    for finding in findings:
        two.run(finding.rpartition("; ")[2])
    assert status == 1
    why = "here, and should not be: hbd does not run here"
    assert findings == [
        f"/etc/ha.d/haresources:1:10: warning: {ADDRESS}: is on eth1 {why}; "
        f"ip address del {ADDRESS}/32 dev eth1",
        f"/etc/ha.d/haresources:1:23: warning: httpd: is active {why}; systemctl stop httpd.service",
    ]
    two.run("systemctl mask --runtime smb")
    masked = check(two)
    two.run("systemctl unmask --runtime smb")
    assert masked == (78, [f"{MASKED}; systemctl unmask smb.service, with --runtime if it was masked so"])


def test_a_survivor_that_is_started_anew_while_its_only_cable_is_dark_waits_and_check_has_said_so(
    pair: Lab,
) -> None:
    """hbd runs on neither machine now; this one's crossover cable is dark, as if the other were off."""
    one = pair[ONE]
    configure(pair, ONE, timings=HASTY, media=PRIVATE_ONLY)
    assert f"{HA_CF}:5:7: warning: eth1: the only medium, and no ping line" in " ".join(check(one)[1])
    pair.network.cut(ONE, "eth1")
    began_us = now_us()
    start(pair, ONE)
    isolated = one.wait_for_journal(ISOLATED, since_us=began_us)
    # By then initdead would have passed, and again.
    assert is_idle(one)
    assert isolated.monotonic_us - began_us > 1_900_000
    pair.network.restore(ONE, "eth1")
    wait_until(lambda: serves(one), LIMIT_S, "what was waited for")
