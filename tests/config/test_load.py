"""The files together, as `hbd --check` and the daemon read them."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hbd.config.findings import ConfigError, Severity
from hbd.config.load import check, local_node_name
from hbd.config.model import (
    AddressResource,
    AutoFailback,
    Bcast,
    GroupSpec,
    Key,
    Keys,
    Limits,
    Ping,
    Serial,
    Timing,
    UnitResource,
)
from tests.config.conftest import AUTHKEYS, HA_CF, HARESOURCES, Machine
from tests.config.parsing import hbd_cf

GUIDE = """\
watchdog /dev/watchdog
bcast eth1
keepalive 2
warntime 10
deadtime 30
initdead 120
hopfudge 1
baud 19200
serial /dev/ttyS0
udpport 694
auto_failback on
node {0}
node {1}
respawn hacluster /usr/lib/heartbeat/ipfail
ping 192.168.85.254
"""
FULL_NAMES = ("linuxha1.linux-ha.org", "linuxha2.linux-ha.org")


def test_the_guides_configuration_with_short_names_loads(machine: Machine) -> None:
    machine.configure(GUIDE.format("linuxha1", "linuxha2"))
    config = machine.load()
    assert config.local_node == "linuxha1"
    assert config.nodes == ("linuxha1", "linuxha2")
    assert config.peers == ("linuxha2",)
    router = Ping("192.168.85.254", ("192.168.85.254",), "ping")
    assert config.media == (Bcast("eth1", 694), Serial("/dev/ttyS0", 19200), router)
    assert config.ipfail
    assert config.timing == Timing(2000, 10000, 30000, 120000, 30000)
    assert config.auto_failback is AutoFailback.ON
    assert config.keys == Keys(1, (Key(1, "sha1", b"secret"),))
    assert config.limits == Limits()
    assert config.groups == (
        GroupSpec(
            "192.168.85.3",
            "linuxha1",
            (
                AddressResource("192.168.85.3", "192.168.85.3", alias_label=True),
                UnitResource("httpd", "httpd.service"),
                UnitResource("smb", "smb.service"),
            ),
        ),
    )


def test_the_guides_extras_are_in_order(machine: Machine) -> None:
    machine.configure(GUIDE.format("linuxha1", "linuxha2"))
    assert machine.check() == []


def test_the_guides_full_names_with_a_short_one_in_haresources_are_refused(machine: Machine) -> None:
    machine.configure(GUIDE.format(*FULL_NAMES))
    findings = machine.check(node=FULL_NAMES[0])
    assert [finding for finding in findings if ": error: " in finding] == [
        f"haresources:1:1: error: Bad nodename in {machine.ha_d}/haresources [linuxha1]; "
        "did you mean 'linuxha1.linux-ha.org'?".replace(f"{machine.ha_d}/", "")
    ]


def test_the_guides_full_names_load_when_haresources_has_them_too(machine: Machine) -> None:
    machine.configure(GUIDE.format(*FULL_NAMES), "linuxha1.linux-ha.org 192.168.85.3 httpd smb\n")
    assert machine.load(node="LinuxHA1.Linux-HA.org").groups[0].home == FULL_NAMES[0]


def test_a_valid_configuration_has_no_findings(machine: Machine) -> None:
    assert machine.check() == []


def test_all_findings_of_all_files_come_at_once_and_sorted(machine: Machine) -> None:
    machine.configure(HA_CF + "deadtme 30\n", "linuxha1 192.168.85.3/24 htpd\n", "auth 1\n1 crc secret # x\n")
    machine.write("hbd.cf", "stop-timeout 2s\n")
    assert [finding.split(" ")[0] for finding in machine.check()] == [
        "authkeys:2:7:",
        "ha.cf:4:1:",
        "haresources:1:26:",
        "hbd.cf:1:14:",
    ]
    with pytest.raises(ConfigError) as caught:
        machine.load()
    assert len(caught.value.findings) == 4


def test_missing_files_are_findings_at_their_top(tmp_path: Path) -> None:
    findings, ok = check(tmp_path, "linuxha1", unit_root=tmp_path)
    assert not ok
    assert [str(finding) for finding in findings] == [
        f"{tmp_path}/authkeys:1:1: error: Cannot open keyfile [{tmp_path}/authkeys].  Stop. "
        "No such file or directory",
        f"{tmp_path}/ha.cf:1:1: error: Cannot open config file [{tmp_path}/ha.cf]: No such file or directory",
        f"{tmp_path}/haresources:1:1: error: Cannot open resources file [{tmp_path}/haresources]: "
        "No such file or directory",
    ]


def test_without_ha_cf_the_nodes_of_haresources_are_not_judged(machine: Machine) -> None:
    (machine.ha_d / "ha.cf").unlink()
    assert len(machine.check()) == 1


def test_a_directory_or_a_fifo_in_place_of_a_file_is_a_finding(machine: Machine) -> None:
    (machine.ha_d / "hbd.cf").mkdir()
    (machine.ha_d / "haresources").unlink()
    os.mkfifo(machine.ha_d / "haresources")
    assert machine.check() == [
        "haresources:1:1: error: Cannot open resources file [haresources]: it is not a regular file",
        "hbd.cf:1:1: error: Cannot open config file [hbd.cf]: Is a directory",
    ]


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o644])
def test_authkeys_that_others_can_read_are_refused_with_the_remedy(machine: Machine, mode: int) -> None:
    machine.write("authkeys", AUTHKEYS, mode)
    assert machine.check() == [
        "authkeys:1:1: error: Bad permissions on keyfile [authkeys], 600 recommended: "
        "others can read it; chmod 600 authkeys"
    ]


@pytest.mark.parametrize("mode", [0o600, 0o400, 0o620, 0o711])
def test_other_modes_of_authkeys_are_3_0_6s_too(machine: Machine, mode: int) -> None:
    machine.write("authkeys", AUTHKEYS, mode)
    assert machine.check() == []


def test_groups_are_for_two_nodes_and_the_third_is_named(machine: Machine) -> None:
    machine.configure(HA_CF + "node linuxha3\n")
    assert machine.check() == [
        "ha.cf:4:6: error: 3 nodes, and haresources has groups: hbd manages resources on two nodes, "
        "and three or more are membership only; take the groups or a node out"
    ]
    machine.configure(HA_CF + "node linuxha3\n", "# nothing\n")
    assert machine.load().nodes == ("linuxha1", "linuxha2", "linuxha3")


def test_a_ping_node_of_ha_cf_is_no_home_in_haresources(machine: Machine) -> None:
    machine.configure(HA_CF + "ping Router\n", "router httpd\n")
    assert machine.check() == [
        "haresources:1:1: error: Bad nodename in haresources [router]: a ping node holds no resources"
    ]


@pytest.mark.parametrize(
    ("respawn", "in_hbd_cf", "on"),
    [
        ("", "", False),
        ("respawn hacluster /usr/lib/heartbeat/ipfail\n", "", True),
        ("respawn hacluster /usr/lib/heartbeat/ipfail\n", "ipfail off\n", False),
        ("", "ipfail on\n", True),
    ],
)
def test_ipfail_is_on_by_ha_cfs_client_or_by_hbd_cf_which_has_the_last_word(
    machine: Machine, respawn: str, in_hbd_cf: str, on: bool
) -> None:
    machine.configure(HA_CF + respawn)
    machine.write("hbd.cf", in_hbd_cf)
    assert machine.load().ipfail is on


def test_ipfail_on_in_hbd_cf_with_auto_failback_legacy_is_a_warning(machine: Machine) -> None:
    machine.configure(HA_CF.replace("auto_failback on", "auto_failback legacy"))
    machine.write("hbd.cf", "ipfail on\n")
    (finding,) = [each for each in machine.check() if "ipfail" in each]
    assert finding.startswith("hbd.cf:1:8: warning: ipfail has no effect with auto_failback legacy")


def test_a_unit_enabled_at_boot_is_a_warning_and_loads(machine: Machine) -> None:
    machine.link("/etc/systemd/system/multi-user.target.wants/httpd.service", "/usr/lib/x/httpd.service")
    (finding,) = machine.check()
    assert finding == (
        "haresources:1:23: warning: httpd.service is started at boot (wanted by multi-user.target), "
        "so both machines would run it; leave that to hbd: systemctl disable httpd.service"
    )
    assert machine.load().groups


def test_hbd_cf_sets_limits_and_may_be_missing(machine: Machine) -> None:
    machine.write("hbd.cf", "start-timeout 5 # short\nprobe-timeout 500ms\n")
    assert machine.load().limits == Limits(5000, 120_000, 500)


def test_a_cluster_that_was_to_be_fenced_runs_unfenced_only_where_hbd_cf_says_so(machine: Machine) -> None:
    machine.configure(HA_CF + "stonith_host linuxha2 ssh linuxha1\nstonith baytech /etc/ha.d/conf\n")
    refused = machine.check()
    assert [finding.split(" ")[0] for finding in refused] == ["ha.cf:4:14:", "ha.cf:5:9:"]
    assert all("error: this version of hbd cannot fence" in finding for finding in refused)
    assert all("write 'fencing none' in hbd.cf" in finding for finding in refused)
    machine.write("hbd.cf", "fencing none\n")
    warned = machine.check()
    assert [finding.split(" ")[0] for finding in warned] == ["ha.cf:4:14:", "ha.cf:5:9:"]
    assert all("warning: nothing is fenced" in finding for finding in warned)
    stonith = machine.load().stonith
    assert stonith is not None
    assert (stonith.device, stonith.parameters) == ("baytech", "/etc/ha.d/conf")


def test_fencing_none_alone_is_nothing_to_remark(machine: Machine) -> None:
    machine.write("hbd.cf", "fencing none\n")
    assert machine.check() == []
    assert machine.load().stonith is None


@pytest.mark.parametrize(
    ("text", "finding"),
    [
        ("fencing ssh", "1:9: error: 'ssh' is not one of none"),
        ("stop-timeout 0", "1:14: error: stop-timeout [0] must be at least 1 ms"),
        ("start-timeout 5s", "1:15: error: '5s' is not a duration; write 2, 0.5 or 500ms"),
        ("probe-timeot 5", "1:1: error: Illegal directive [probe-timeot]; did you mean 'probe-timeout'?"),
        ("keepalive 2", "1:1: error: keepalive belongs in ha.cf; hbd.cf is for what only hbd knows"),
        ("stop-timeout", "1:1: warning: stop-timeout has no value and is ignored"),
    ],
)
def test_hbd_cf_has_the_same_grammar_and_a_table_of_its_own(text: str, finding: str) -> None:
    assert hbd_cf(text)[1] == [f"hbd.cf:{finding}"]


def test_the_node_name_is_unames_or_the_first_line_of_nodeinfo(machine: Machine) -> None:
    assert local_node_name(machine.ha_d) == os.uname().nodename.lower()
    machine.write("nodeinfo", "LinuxHA7 \nsecond\n")
    assert local_node_name(machine.ha_d) == "linuxha7"


def test_bytes_that_are_not_utf_8_are_findings_that_can_be_printed(machine: Machine) -> None:
    machine.configure(b"node linuxha1 linuxha2\nauto_failback on\nbcast eth1\n\xffnode x\n")
    assert machine.check() == ["ha.cf:4:1: error: Illegal directive [\\xffnode]; did you mean 'node'?"]


def test_the_samples_are_a_valid_configuration(machine: Machine) -> None:
    samples = Path(__file__).parents[2] / "etc"
    for name in ("ha.cf", "haresources", "hbd.cf"):
        machine.write(name, (samples / name).read_bytes())
    machine.write(
        "authkeys",
        (samples / "authkeys").read_text().replace("\n#auth 1", "\nauth 1").replace("\n#1 ", "\n1 "),
    )
    assert machine.check() == []
    assert machine.load().limits == Limits()


def test_the_sample_of_authkeys_is_useless_until_it_is_edited(machine: Machine) -> None:
    machine.write("authkeys", (Path(__file__).parents[2] / "etc/authkeys").read_bytes())
    (finding,) = machine.check()
    assert "Missing auth directive" in finding


def test_every_line_that_is_commented_out_in_a_sample_is_valid_too(machine: Machine) -> None:
    samples = Path(__file__).parents[2] / "etc"
    for name in ("ha.cf", "hbd.cf"):
        lines = (samples / name).read_text().splitlines()
        machine.write(
            name, "\n".join(line.removeprefix("#") if line[1:2].isalpha() else line for line in lines)
        )
    assert machine.check() == []


@given(st.binary(max_size=200), st.binary(max_size=200), st.binary(max_size=200), st.binary(max_size=60))
@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_no_bytes_in_the_files_raise_anything_but_the_configuration_error(
    machine: Machine, ha_cf: bytes, haresources: bytes, authkeys: bytes, hbd_cf_bytes: bytes
) -> None:
    machine.write("ha.cf", HA_CF.encode() + ha_cf)
    machine.write("haresources", HARESOURCES.encode() + haresources)
    machine.write("authkeys", AUTHKEYS.encode() + authkeys)
    machine.write("hbd.cf", hbd_cf_bytes)
    findings, ok = check(machine.ha_d, "linuxha1", unit_root=machine.root)
    assert ok is not any(finding.severity is Severity.ERROR for finding in findings)
    assert all(str(finding).encode() for finding in findings)


def test_the_lease_is_on_unless_hbd_cf_says_otherwise(machine: Machine) -> None:
    assert machine.load().lease
    machine.write("hbd.cf", "lease off\n")
    assert not machine.load().lease


def test_metrics_are_written_where_hbd_cf_says_if_that_can_be(machine: Machine) -> None:
    assert machine.load().metrics is None
    machine.write("hbd.cf", "metrics /var/lib/prometheus/node-exporter/hbd.prom\n")
    assert machine.load().metrics == "/var/lib/prometheus/node-exporter/hbd.prom"
    assert machine.check() == []
    for path, complaint in (
        (
            "hbd.prom",
            "error: metrics needs an absolute path, as in /var/lib/prometheus/node-exporter/hbd.prom",
        ),
        ("/", "error: metrics needs the name of a file, and / is none"),
        ("/var/..", "error: metrics needs the name of a file, and /var/.. is none"),
        ("/root/hbd.prom", "warning: /root/hbd.prom is out of reach: hbd.service has ProtectHome=yes"),
        ("/var/hbd.txt", "warning: node_exporter reads only files whose names end in .prom"),
    ):
        machine.write("hbd.cf", f"metrics {path}\n")
        assert machine.check() == [f"hbd.cf:1:9: {complaint}"]
