"""A container without real-time priority, where systemd would not start hbd: ./install sees to it."""

from pathlib import Path

from tests.lab import Lab
from tests.lab.cluster import ONE, configure, said
from tests.lab.host import wait_until
from tests.lab.service import shown

DROP_IN = "/etc/systemd/system/hbd.service.d/10-no-realtime.conf"
INSTALLED = """
source <(grep -v '^main ' /mnt/hbd/install)
do_without_realtime
"""
"""That part of ./install, by itself: laying the files anew would take long, and they are there."""


def test_where_no_real_time_priority_is_granted_install_has_hbd_do_without(hbd_layer: Path) -> None:
    with Lab(layers=[hbd_layer], nodes=(ONE,)) as lab:
        one = lab[ONE]
        configure(lab)
        # Where it is granted nothing is changed.
        lab.boot()
        one.run(["bash", "-c", INSTALLED])
        assert one.run(["test", "-e", DROP_IN], check=False).returncode == 1
        # Where it is not, systemd cannot start hbd
        one.lacks = ("CAP_SYS_NICE",)
        one.reboot()
        assert one.run("systemctl start hbd", check=False).returncode != 0
        wait_until(lambda: shown(one, "hbd.service", "ActiveState") == ("failed",), 10, "the end")
        assert shown(one, "hbd.service", "ExecMainStatus") == ("214",)
        # before this.
        told = one.run(["bash", "-c", INSTALLED]).stderr
        assert told == f"this machine grants no real-time priority: hbd will do without it ({DROP_IN})\n"
        one.run("systemctl reset-failed hbd; systemctl start hbd")
        assert said(one, "Cannot get real-time priority 1: Operation not permitted")
