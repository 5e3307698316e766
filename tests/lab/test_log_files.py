"""Log files of hbd as systemd runs it, with everything that its unit forbids."""

from tests.lab import Lab
from tests.lab.cluster import ONE, configure, log, settle, start, stop
from tests.lab.journal import now_us

LOG = "/var/log/ha-log"


def test_the_service_writes_the_file_that_ha_cf_names_and_finds_it_again_after_a_rotation(lab: Lab) -> None:
    configure(lab, extra=(f"logfile {LOG}", "debugfile /root/ha-debug", "logfacility local3"))
    lab.boot()
    one = lab[ONE]
    start(lab)
    settle(lab, owned_by=ONE)
    heads = one.run(f"grep -c '^[A-Z][a-z][a-z] [0-9][0-9] [0-9:]* {ONE} heartbeat: \\[[0-9]*\\]: ' {LOG}")
    assert int(heads.stdout) == int(one.run(f"wc -l < {LOG}").stdout)
    assert one.run(f"grep -c 'info: Local status now set to: .active.$' {LOG}").stdout.strip() == "1"
    one.wait_for_journal("^Cannot write to /root/ha-debug: ")

    rotated_us = now_us()
    one.run(f"mv {LOG} {LOG}.1 && gzip {LOG}.1")
    one.run("systemctl reload hbd")
    one.wait_for_journal("^Configuration reloaded: unchanged", since_us=rotated_us)
    stop(lab, ONE)
    written = one.run(f"cat {LOG}").stdout.splitlines()
    assert written[-1].endswith("Heartbeat shutdown complete.")
    # The journal has each line once, with the facility: there is no other syslog in the machine.
    by_facility = one.run("journalctl -u hbd --facility=local3 -o cat").stdout
    assert by_facility.count("Heartbeat shutdown complete.") == 1
    assert len(log(one, rotated_us)) >= len(written)
