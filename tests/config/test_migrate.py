"""`hbctl migrate --check`: what will be different after heartbeat 3.0.6, and whether anything comes first."""

from __future__ import annotations

from pathlib import Path

import pytest

from hbd.config import hacf
from hbd.config.lookup import Unit
from hbd.ctl import migrate
from hbd.ctl.differences import (
    INSTEAD,
    Kind,
    Machine,
    differences,
    directives,
    group_words,
)
from hbd.ctl.main import main
from tests.config.conftest import HA_CF
from tests.config.conftest import Machine as Files
from tests.config.parsing import Table, units
from tests.config.test_load import GUIDE

WANTED = "/etc/systemd/system/multi-user.target.wants"
HEARTBEAT_UNIT = "[Service]\nExecStart=/bin/true\n[Install]\nWantedBy=multi-user.target\n"


def check(machine: Files, node: str = "linuxha1") -> tuple[list[str], int]:
    """The lines, the configuration directory left out of the paths; and the exit status."""
    remarks = migrate.check(machine.ha_d, node, machine.root)
    return [str(one).replace(f"{machine.ha_d}/", "") for one in remarks], migrate.status(remarks)


def beginning(line: str, lines: list[str]) -> str:
    """The one line that begins so."""
    (found,) = (one for one in lines if one.startswith(line))
    return found


def init_script(machine: Files, name: str) -> None:
    path = machine.root / "etc/init.d" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("#!/bin/sh\n")
    path.chmod(0o755)


def state(machine: Files, generation: str = "1700000000", uuid: bytes = b"u" * 16) -> None:
    directory = machine.root / "var/lib/heartbeat"
    directory.mkdir(parents=True)
    (directory / "hb_generation").write_text(f"{generation}\n")
    (directory / "hb_uuid").write_bytes(uuid)


# ---------------------------------------------------------------- the whole


def test_the_guides_configuration_is_ready(machine: Files) -> None:
    machine.configure(GUIDE.format("linuxha1", "linuxha2"))
    remarks = migrate.check(machine.ha_d, "linuxha1", machine.root)
    assert {remark.kind for remark in remarks} == {Kind.NOTE}
    assert migrate.status(remarks) == 0
    assert migrate.summary(remarks) == "ready"


def test_the_guides_configuration_is_ready_on_a_machine_that_runs_heartbeat(machine: Files) -> None:
    machine.configure(GUIDE.format("linuxha1", "linuxha2"))
    machine.unit("heartbeat.service", HEARTBEAT_UNIT)
    machine.link(f"{WANTED}/heartbeat.service", "/usr/lib/systemd/system/heartbeat.service")
    machine.unit("hbd.service")
    init_script(machine, "httpd")
    init_script(machine, "smb")
    state(machine)
    lines, status = check(machine)
    line = beginning("/lib/systemd/system/heartbeat.service:1:1: note:", lines)
    assert "heartbeat is started at boot" in line
    assert status == 0


def test_every_line_of_the_guide_that_changes_has_its_remark(machine: Files) -> None:
    text = GUIDE.format("linuxha1", "linuxha2")
    machine.configure(text)
    lines, _ = check(machine)
    changing = {"auto_failback", "hopfudge", "respawn"}
    for number, line in enumerate(text.splitlines(), start=1):
        if line.split()[0] in changing:
            assert beginning(f"ha.cf:{number}:1: note: ", lines)
    for place in ("haresources:1:23: ", "haresources:1:29: "):
        assert beginning(f"{place}note: ", lines)


def test_what_the_parsers_refuse_is_an_error_and_the_status_is_that_of_check(machine: Files) -> None:
    machine.configure(HA_CF + "keepalive 2s\n")
    lines, status = check(machine)
    assert "ha.cf:4:11: error: '2s'" in beginning("ha.cf:4", lines)
    assert status == 78


def test_a_missing_file_is_an_error_and_no_surprise(tmp_path: Path) -> None:
    remarks = migrate.check(tmp_path, "linuxha1", tmp_path)
    assert {remark.kind for remark in remarks} == {Kind.ERROR}
    assert len(remarks) == 3


def test_something_to_be_done_first_is_exit_status_1_and_counted(machine: Files) -> None:
    machine.configure(HA_CF + "respawn root /usr/lib/heartbeat/dopd\n")
    remarks = migrate.check(machine.ha_d, "linuxha1", machine.root)
    assert migrate.status(remarks) == 1
    assert migrate.summary(remarks) == "not ready: to be done first 1"


def test_the_command_prints_the_lines_and_then_one_on_the_whole(
    machine: Files, capsys: pytest.CaptureFixture[str]
) -> None:
    machine.write("nodeinfo", "linuxha1\n")
    machine.configure(haresources="linuxha1 192.168.85.3\n")
    assert main(["migrate", "--check", str(machine.ha_d)]) == 0
    printed = capsys.readouterr()
    assert f"{machine.ha_d}/ha.cf:2:1: note: " in printed.out
    assert printed.err == "ready\n"


def test_without_check_the_command_does_nothing(machine: Files) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["migrate", str(machine.ha_d)])
    assert ended.value.code == 2


def test_nothing_is_written_anywhere(machine: Files) -> None:
    state(machine)
    before = {path: path.stat().st_mtime_ns for path in machine.root.rglob("*")}
    check(machine)
    assert {path: path.stat().st_mtime_ns for path in machine.root.rglob("*")} == before


# ---------------------------------------------------------------- ha.cf


def test_a_directive_in_effect_has_no_remark() -> None:
    assert said("keepalive 2\nnode linuxha1 linuxha2\nbcast eth1\nrealtime on\n") == []


def said(ha_cf: str) -> list[str]:
    """The remarks on this text alone."""
    remarks = differences(directives(ha_cf, "ha.cf"), (), (), Machine(units()))
    return [str(remark) for remark in remarks]


def test_a_directive_without_value_has_no_consequence() -> None:
    assert said("logfile\nwatchdog # none\nrespawn\nstonith\n") == []


def test_log_files_are_written_as_before() -> None:
    assert said("logfile /var/log/ha-log\ndebugfile /var/log/ha-debug\nlogfacility none\ndebug 0\n") == []


def test_a_log_file_where_the_unit_has_no_access_is_told() -> None:
    (line,) = said("logfile /root/ha-log\n")
    assert line.startswith("ha.cf:1:1: note: hbd has no access to /root/ha-log")


def test_who_reads_syslog_learns_under_which_name_the_lines_come() -> None:
    (line,) = said("logfacility local3\n")
    assert line.startswith("ha.cf:1:1: note: ")
    assert "facility local3" in line


def test_hopfudge_has_a_meaning_again() -> None:
    (line,) = said("hopfudge 1\n")
    assert line.startswith("ha.cf:1:1: note: in a ring of serial lines")


def test_what_ha_logd_wrote_goes_elsewhere() -> None:
    (line,) = said("use_logd on\n")
    assert line.startswith("ha.cf:1:1: note: ha_logd is not used")


@pytest.mark.parametrize("place", ["/usr/lib/heartbeat", "/usr/libexec/heartbeat", "/opt/ha"])
@pytest.mark.parametrize("program", ["ipfail", "ccm"])
def test_ipfail_and_ccm_need_no_action_wherever_they_lie(place: str, program: str) -> None:
    (line,) = said(f"respawn hacluster {place}/{program}\n")
    assert line.startswith("ha.cf:1:1: note: ")


def test_a_respawned_program_is_no_difference() -> None:
    assert said("respawn nobody /usr/local/bin/watch\n") == []


def test_apiauth_is_a_note() -> None:
    (line,) = said("apiauth ping gid=haclient\n")
    assert line.startswith("ha.cf:1:1: note: hbd has no socket for heartbeat's clients")


def test_ipfail_is_part_of_hbd() -> None:
    (line,) = said("respawn hacluster /usr/lib/heartbeat/ipfail\n")
    assert "ipfail is part of hbd" in line


def test_a_failfast_program_reboots_the_machine_after_a_release() -> None:
    (line,) = said("failfast root /usr/sbin/must-run\n")
    assert line.startswith("ha.cf:1:1: note: when it fails, 3.0.6 reboots the machine at once; hbd releases")


def test_a_program_that_needs_heartbeats_socket_is_named() -> None:
    (line,) = said("respawn hacluster /usr/lib/heartbeat/dopd\n")
    assert line.startswith("ha.cf:1:1: action: dopd talks to heartbeat's own socket")


def test_stonith_is_an_error_with_what_follows_for_a_mixed_pair(machine: Files) -> None:
    machine.configure(HA_CF + "stonith_host * ssh linuxha1 linuxha2\n")
    lines, status = check(machine)
    assert beginning("ha.cf:4:1: note: 3.0.6 resets a dead peer", lines)
    assert beginning("ha.cf:4:14: error: this version of hbd cannot fence", lines)
    assert status == 78
    machine.write("hbd.cf", "fencing none\n")
    lines, status = check(machine)
    assert beginning("ha.cf:4:1: note: 3.0.6 resets a dead peer", lines)
    assert status == 0


def test_what_hbd_does_otherwise_is_told_unless_it_is_off() -> None:
    for directive in ("use_apphbd on", "memreserve 6500", "coreroot /x", "coredumps on"):
        (line,) = said(f"{directive}\n")
        assert line.startswith("ha.cf:1:1: note: ")
    assert said("use_apphbd off\ncoredumps no\nuse_logd off\n") == []
    assert set(INSTEAD) <= set(hacf.TABLE)


def test_crm_is_an_error(machine: Files) -> None:
    machine.configure(HA_CF + "crm respawn\n")
    lines, status = check(machine)
    assert beginning("ha.cf:4:5: error: crm respawn", lines)
    assert status == 78


@pytest.mark.parametrize("value", ["on", "off", "TRUE"])
def test_on_and_off_may_be_mixed_and_legacy_not(value: str) -> None:
    (line,) = said(f"auto_failback {value}\n")
    assert line.startswith("ha.cf:1:1: note: ")
    assert "must be on or off too" in line


@pytest.mark.parametrize("text", ["auto_failback legacy\n", "nice_failback on\n"])
def test_the_legacy_family_stays_among_itself(text: str) -> None:
    (line,) = said(text)
    assert "must be legacy too" in line


def test_what_env_says_reaches_scripts_and_not_units() -> None:
    (line,) = said("env SITE=one\n")
    assert line.startswith("ha.cf:1:1: note: scripts see HA_SITE=one as before; units do not")


# ---------------------------------------------------------------- haresources


def test_a_name_with_a_unit_and_an_init_script_says_who_runs_which(machine: Files) -> None:
    init_script(machine, "httpd")
    lines, status = check(machine)
    line = beginning("haresources:1:23: note: ", lines)
    assert "3.0.6 runs /etc/init.d/httpd, hbd starts httpd.service" in line
    assert status == 0


def test_a_name_without_any_script_is_told_for_the_sake_of_the_other_node(machine: Files) -> None:
    lines, status = check(machine)
    assert "there is no script httpd here" in beginning("haresources:1:23: note: ", lines)
    assert status == 0


def test_a_unit_that_starts_at_boot_is_to_be_disabled_first(machine: Files) -> None:
    machine.link(f"{WANTED}/smb.service", "/usr/lib/systemd/system/smb.service")
    lines, status = check(machine)
    actions = [line for line in lines if " action: " in line]
    assert len(actions) == 1
    assert actions[0].startswith("haresources:1:29: action: smb.service is started at boot")
    assert actions[0].endswith("systemctl disable smb.service")
    assert status == 1


def said_of(resource: str, machine: Machine, refused: bool = False) -> list[str]:
    """The remarks on a group with this resource."""
    (group,) = group_words(f"linuxha1 {resource}\n", "haresources")
    remarks = differences((), [group], (), machine, {group[1].place} if refused else ())
    return [str(remark) for remark in remarks]


def test_a_script_of_resource_d_is_run_as_ever_unless_the_unit_is_wanted() -> None:
    machine = Machine(Table({"httpd.service": Unit("httpd.service")}, scripts=("httpd", "drbd")))
    assert said_of("drbd", machine) == [
        "haresources:1:10: note: hbd runs /etc/ha.d/resource.d/drbd as 3.0.6 does"
    ]
    (line,) = said_of("httpd", machine)
    assert "hbd runs /etc/ha.d/resource.d/httpd as 3.0.6 does; to have httpd.service instead" in line
    assert line.endswith("mv /etc/ha.d/resource.d/httpd /etc/init.d/")


def test_the_advice_about_scripts_works(machine: Files) -> None:
    machine.write("resource.d/httpd", "#!/bin/sh\n", mode=0o755)
    (machine.root / "etc/init.d").mkdir(parents=True)
    (machine.ha_d / "resource.d/httpd").rename(machine.root / "etc/init.d/httpd")
    lines, status = check(machine)
    assert "3.0.6 runs /etc/init.d/httpd" in beginning("haresources:1:23: note: ", lines)
    assert status == 0


@pytest.mark.parametrize(
    "machine", [Machine(units(), frozenset({"datadisk"})), Machine(Table({}, ("datadisk",)))]
)
def test_a_script_with_arguments_is_run_as_ever(machine: Machine) -> None:
    (line,) = said_of("datadisk::drbd0", machine)
    assert line.endswith("datadisk as 3.0.6 does")


@pytest.mark.parametrize("resource", ["OCF::apache::one", "ocf:heartbeat:apache", "nothing::a"])
def test_an_agent_that_hbd_does_not_have_needs_a_name_that_both_know(resource: str) -> None:
    (line,) = said_of(resource, Machine(units()), refused=True)
    assert line.startswith("haresources:1:10: action: ")
    assert "make a unit NAME.service" in line


def test_what_the_parser_refuses_gets_no_second_opinion() -> None:
    machine = Machine(Table({"httpd.service": Unit("httpd.service", masked=True)}))
    assert said_of("httpd", machine, refused=True) == []


def test_an_address_is_no_difference(machine: Files) -> None:
    machine.configure(
        haresources="linuxha1 192.168.85.3 IPaddr2::10.0.0.3/24/eth1 2001:db8::3/64 192.168.85.4/24/eth0\n"
    )
    lines, _ = check(machine)
    assert [line for line in lines if line.startswith("haresources")] == []


def test_a_unit_name_is_not_known_to_the_other_node(machine: Files) -> None:
    machine.configure(haresources="linuxha1 httpd.service\n")
    lines, _ = check(machine)
    assert "there is no script httpd.service here" in beginning("haresources:1:10: note: ", lines)


# ---------------------------------------------------------------- authkeys and state


def test_one_key_is_no_difference_and_several_must_not_be_changed_on_the_way(machine: Files) -> None:
    assert [line for line in check(machine)[0] if line.startswith("authkeys")] == []
    machine.configure(authkeys="auth 2\n1 sha1 secret-one\n2 md5 secret-two\n")
    lines, status = check(machine)
    line = beginning("authkeys:1:1: note: 2 keys: ", lines)
    assert "secret-" not in line
    assert status == 0


def test_generation_and_uuid_are_taken_over(machine: Files) -> None:
    state(machine)
    lines, status = check(machine)
    assert beginning("/var/lib/heartbeat/hb_generation:1:1: note: generation 1700000000", lines)
    assert beginning("/var/lib/heartbeat/hb_uuid:1:1: note: hbd takes this uuid over", lines)
    assert status == 0


def test_two_uuids_of_one_node_are_one_too_many(machine: Files) -> None:
    state(machine)
    (machine.root / "var/lib/hbd").mkdir()
    (machine.root / "var/lib/hbd/uuid").write_bytes(b"v" * 16)
    lines, status = check(machine)
    assert "rm /var/lib/hbd/uuid" in beginning("/var/lib/heartbeat/hb_uuid:1:1: action:", lines)
    assert status == 1


def test_a_node_that_only_the_host_cache_knows_is_told(machine: Files) -> None:
    state(machine)
    (machine.root / "var/lib/heartbeat/hostcache").write_text("linuxha1 1\nLinuxHA2 2\nlinuxha3 3\n")
    lines, _ = check(machine)
    assert "still counts linuxha3" in beginning("/var/lib/heartbeat/hostcache:1:1: note:", lines)


def test_old_commands_and_own_rc_scripts_are_told_where_they_exist(machine: Files) -> None:
    for path in ("usr/bin/cl_status", "usr/share/heartbeat/hb_standby"):
        (machine.root / path).parent.mkdir(parents=True, exist_ok=True)
        (machine.root / path).write_text("")
    machine.write("rc.d/status", "", mode=0o755)
    machine.write("rc.d/ifstat", "", mode=0o755)
    lines, status = check(machine)
    assert "hbctl status" in beginning("/usr/bin/cl_status:1:1: note:", lines)
    assert "hbctl standby" in beginning("/usr/share/heartbeat/hb_standby:1:1: note:", lines)
    assert [line for line in lines if "rc.d" in line] == [beginning("rc.d/ifstat:1:1: note:", lines)]
    assert status == 0


def test_both_daemons_enabled_at_boot_are_one_too_many(machine: Files) -> None:
    for name in ("heartbeat.service", "hbd.service"):
        machine.unit(name, HEARTBEAT_UNIT)
        machine.link(f"{WANTED}/{name}", f"/usr/lib/systemd/system/{name}")
    lines, status = check(machine)
    assert "hbd too" in beginning("/lib/systemd/system/heartbeat.service:1:1: action:", lines)
    assert status == 1


def test_what_the_operator_wrote_is_shown_without_control_characters(machine: Files) -> None:
    machine.configure(HA_CF.encode() + b"logfile /root/\x1b[31mha\xff\n")
    lines, _ = check(machine)
    assert r"\x1b[31mha\xff" in beginning("ha.cf:4:1: note:", lines)
