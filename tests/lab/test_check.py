"""hbctl check on a live pair: a clean one, and what goes wrong with one."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.lab import Lab, Node
from tests.lab.cluster import GROUP, HARESOURCES, ONE, TWO, Timings, configure, settle, start, stop
from tests.lab.host import wait_until

ROUTER = "192.168.85.254"
METRICS = "/var/tmp/hbd.prom"
PATIENT = Timings(500, 1500, 3000, 10_000)
"""With less initdead than this, the parser warns."""
HA_CF, AUTHKEYS = "/etc/ha.d/ha.cf", "/etc/ha.d/authkeys"


@pytest.fixture(scope="module")
def pair(hbd_layer: Path) -> Iterator[Lab]:
    with Lab(layers=[hbd_layer]) as lab:
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


@contextmanager
def changed(node: Node, path: str, old: str, new: str) -> Iterator[None]:
    """A file with something else in it, for a while."""
    text = node.run(["cat", path]).stdout
    assert old in text
    node.run(["sh", "-c", 'printf %s "$0" > "$1"', text.replace(old, new), path])
    yield
    node.run(["sh", "-c", 'printf %s "$0" > "$1"', text, path])


def test_on_a_clean_pair_nothing_is_found_and_everything_is_told(pair: Lab) -> None:
    wait_until(lambda: check(pair[ONE]) == (0, []), 20, "nothing to be found")
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


def test_haresources_that_differ_are_seen_from_both_nodes(pair: Lab) -> None:
    with changed(pair[TWO], "/etc/ha.d/haresources", HARESOURCES, f"{ONE} 192.168.85.3 httpd\n"):
        pair[TWO].run("hbctl reload")
        for here, there in ((pair[ONE], TWO), (pair[TWO], ONE)):
            expected = (
                f"/etc/ha.d/haresources:1:1: warning: {there}: its haresources means other resources than "
                "this one: copy it to both nodes, and reload"
            )
            wait_until(lambda: check(here)[1] == [expected], 10, "the difference")  # noqa: B023
            assert check(here)[0] == 1
    pair[TWO].run("hbctl reload")
    wait_until(lambda: check(pair[ONE]) == (0, []), 10, "nothing to be found")


def test_a_unit_that_starts_at_boot_is_found_at_its_word(pair: Lab) -> None:
    pair[TWO].run("systemctl enable httpd")
    status, findings = check(pair[TWO])
    pair[TWO].run("systemctl disable httpd")
    assert status == 1
    assert len(findings) == 1
    assert findings[0].startswith("/etc/ha.d/haresources:1:23: warning: httpd.service is started at boot")


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
    wait_until(lambda: metrics(pair[TWO])["hbd_group_owner", GROUP, ONE] == 1, 20, "the owner")
    before = metrics(pair[TWO])
    assert before["hbd_node_up", "normal", ONE] == 1
    assert before["hbd_link_up", "eth1", "bcast", ONE] == 1
    assert before["hbd_heartbeats_received_total", ONE] > 0
    stop(pair, ONE)
    pair[ONE].run(f"test ! -e {METRICS}")
    settle(pair, TWO, owned_by=TWO)
    wait_until(lambda: metrics(pair[TWO])["hbd_group_owner", GROUP, TWO] == 1, 20, "the new owner")
    after = metrics(pair[TWO])
    assert after["hbd_group_owner", GROUP, ONE] == 0
    assert after["hbd_group_job_duration_seconds_count", GROUP, "start"] == 1
    assert after["hbd_group_job_duration_seconds_sum", GROUP, "start"] > 0
    assert after["hbd_deaths_total", ONE] == 0


def test_without_the_daemon_everything_else_is_told(pair: Lab) -> None:
    stop(pair, TWO)
    assert check(pair[TWO]) == (0, [])
    told = facts(pair[TWO])
    assert told["daemon"] == ["hbd does not run here"]
    assert told["pings"] == [f"{ROUTER} answers this node"]
    assert told["units"] == ["httpd.service disabled, inactive", "smb.service disabled, inactive"]
    assert "peer" not in told
