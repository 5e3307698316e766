"""The lab does what the tests of hbd rely on, with no hbd in it."""

import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.lab import Direction, Lab, LabError, rootfs
from tests.lab.cgroup import unified_tree
from tests.lab.host import CLEAN_ENV, mounts_below, wait_until
from tests.lab.journal import now_us
from tests.lab.lab import CHECKOUT
from tests.lab.node import Node

ADDRESS = "192.168.85.3"
# In the background: arping goes on for a second.
ANNOUNCE = f"(arping -q -c 2 -U -I eth0 {ADDRESS} >/dev/null 2>&1 &)"
TAKE = f"ip addr add {ADDRESS}/24 brd + dev eth0 && {ANNOUNCE}"
DROP = f"ip addr del {ADDRESS}/24 dev eth0"
SOON_US = 1_000_000


@pytest.fixture(scope="module")
def running() -> Iterator[Lab]:
    """One booted lab for the tests that leave it as they found it."""
    with Lab(name="self") as lab:
        lab.boot()
        yield lab


@pytest.fixture
def one(running: Lab) -> Node:
    return running["linuxha1"]


@pytest.fixture
def two(running: Lab) -> Node:
    return running["linuxha2"]


def reaches(node: Node, address: str) -> bool:
    """Patient: of three packets one is answered."""
    return node.run(f"ping -c 3 -i 0.2 -W 5 -q {address}", check=False).returncode == 0


def misses(node: Node, address: str) -> bool:
    return node.run(f"ping -c 1 -W 0.3 -q {address}", check=False).returncode != 0


def traces(name: str) -> list[str]:
    """What there is on this computer of the lab `name`."""
    places = [
        *Path("/run/hbd-lab").glob(f"{name}*"),
        *Path("/run/netns").glob(f"hbd-{name}-*"),
        *Path("/run/systemd/nspawn/propagate").glob(f"{name}-*"),
        *Path("/sys/fs/cgroup").glob(f"hbd-lab.{name}"),
        *Path("/sys/fs/cgroup").glob(f"*/hbd-lab.{name}"),
    ]
    return [str(place) for place in places] + mounts_below(Path("/run/hbd-lab", name))


def python(script: str) -> list[str]:
    return [sys.executable, "-c", script]


def test_both_machines_run_and_reach_each_other_over_both_links(one: Node, two: Node) -> None:
    for node in (one, two):
        assert node.run("systemctl is-system-running").stdout == "running\n"
        assert node.run("hostname").stdout == f"{node.name}\n"
    assert one.read("/etc/machine-id") != two.read("/etc/machine-id")
    assert [reaches(one, address) for address in ("192.168.85.2", "10.0.0.2", "192.168.85.254")] == [True] * 3
    assert "default via 192.168.85.254 dev eth0" in two.run("ip route").stdout
    # The machine's own interfaces, not the computer's.
    assert one.run("ls /sys/class/net").stdout.split() == ["eth0", "eth1", "lo"]


def test_the_services_are_real_units_disabled_and_fail_without_the_address(one: Node) -> None:
    for unit in ("httpd.service", "smb.service"):
        assert one.run(f"systemctl is-enabled {unit}", check=False).stdout == "disabled\n"
        assert one.run(f"systemctl is-active {unit}", check=False).stdout == "inactive\n"
        assert one.run(f"systemctl show -p Id --value {unit}").stdout == f"{unit}\n"
    assert one.run("systemctl start httpd", check=False).returncode != 0
    assert one.wait_for_journal("could not bind to address", unit="httpd.service")
    one.run("systemctl reset-failed")


def test_a_client_is_answered_by_the_machine_with_the_address(running: Lab, one: Node) -> None:
    one.run(TAKE)
    one.run("systemctl start httpd smb")
    assert running.client.run(f"curl -s http://{ADDRESS}/").stdout == "linuxha1\n"
    listing = running.client.run(["smbclient", "-N", f"//{ADDRESS}/test", "-c", "get node -"])
    assert "linuxha1\n" in listing.stdout
    shares = running.client.run(["smbclient", "-N", "-L", ADDRESS])
    assert "test" in shares.stdout
    one.run("systemctl stop httpd smb")
    one.run(DROP)


def test_a_command_has_a_clean_environment_and_cannot_set_the_clock(one: Node) -> None:
    assert set(one.run("env").stdout.split()) >= {f"PATH={CLEAN_ENV['PATH']}", "LANG=C.UTF-8"}
    names = {line.split("=")[0] for line in one.run("env").stdout.splitlines()}
    assert names <= {"PATH", "HOME", "LANG", "TERM", "PWD"}
    # Setting it to what it is would do no harm if it succeeded.
    assert "Operation not permitted" in one.run('date -s "$(date +%FT%T.%N)"', check=False).stderr


def test_a_command_that_takes_too_long_is_killed(one: Node) -> None:
    with pytest.raises(LabError, match="not done after"):
        one.run(["sleep", "1234"], timeout=0.2)
    wait_until(lambda: not one.run("pgrep -f 'sleep 1234$'", check=False).stdout, 5, "its end")


def test_a_unit_can_have_real_time_priority_and_locked_memory(one: Node) -> None:
    lock = "import ctypes, os; print(ctypes.CDLL(None).mlockall(3), os.sched_getscheduler(0) == os.SCHED_RR)"
    words = [
        "systemd-run",
        "--pipe",
        "--wait",
        "--quiet",
        "-p",
        "CPUSchedulingPolicy=rr",
        "-p",
        "CPUSchedulingPriority=5",
        "python3",
        "-c",
    ]
    assert one.run([*words, lock]).stdout == "0 True\n"


def test_a_file_written_while_off_or_running_is_there_after_a_reboot(bare_lab: Lab) -> None:
    node = bare_lab["linuxha1"]
    node.write("/etc/ha.d/authkeys", "auth 1\n", mode=0o600)
    node.boot()
    node.write("/root/later", "written\n")
    node.reboot()
    assert node.run("stat -c %a /etc/ha.d/authkeys").stdout == "600\n"
    assert node.read("/root/later") == "written\n"
    node.poweroff()
    assert not node.is_running
    assert node.read("/root/later") == "written\n"


def test_a_power_failure_is_silent_and_quick_and_the_journal_stays(bare_lab: Lab) -> None:
    bare_lab.boot()
    one = bare_lab["linuxha1"]
    one.run(TAKE)
    one.run("systemctl start httpd; logger last words")
    before_us = now_us()
    with bare_lab.client.http_probe() as http, bare_lab.observer.arp_probe() as arp:
        http.wait_for("linuxha1")
        silent_us = one.power_kill()
        assert now_us() - silent_us < 10 * SOON_US
        time.sleep(0.3)
        arp.wait_for_rounds_until(silent_us + 250_000)
    held = {each.holders for each in arp.rounds() if before_us < each.sent_us < silent_us - 50_000}
    assert {name for holders in held for name in holders} == {"linuxha1"}
    # The kernel of a dead machine must not answer for the address either.
    assert {each.holders for each in arp.rounds(silent_us + 100_000)} == {()}
    # No goodbye from its sockets: a request is left without any answer.
    assert {answer.error for answer in http.answers() if answer.sent_us > silent_us} == {"timeout"}
    assert one.wait_for_journal("last words", timeout=1)
    one.boot()
    assert one.run("systemctl is-system-running").stdout == "running\n"
    assert ADDRESS not in one.run("ip -br addr").stdout


def test_a_takeover_by_hand_is_seen_by_the_client_within_the_interval(
    running: Lab, one: Node, two: Node
) -> None:
    one.run(TAKE)
    one.run("systemctl start httpd")
    with running.client.http_probe() as http:
        http.wait_for("linuxha1")
        stopped_us = now_us()
        one.run("systemctl stop httpd")
        one.run(DROP)
        moved_us = now_us()
        two.run(f"{TAKE}; systemctl start httpd")
        answer = http.wait_for("linuxha2", since_us=moved_us)
    assert http.failures()
    outage_us = http.longest_outage_ms() * 1000
    assert answer.ended_us - moved_us - SOON_US < outage_us < answer.ended_us - stopped_us + SOON_US
    two.run(f"systemctl stop httpd; {DROP}")


def test_an_address_on_both_machines_is_noticed(running: Lab, one: Node, two: Node) -> None:
    one.run(f"ip addr add {ADDRESS}/24 dev eth0")
    with running.observer.arp_probe() as arp:
        wait_until(lambda: ("linuxha1",) in [each.holders for each in arp.rounds()], 5, "the first")
        began_us = now_us()
        two.run(f"ip addr add {ADDRESS}/24 dev eth0")
        both_us = now_us()
        wait_until(lambda: len(arp.dual_held()) >= 5, 5, "both")
        one.run(DROP)
        ended_us = now_us()
        arp.wait_for_rounds_until(ended_us + 50_000)
    two.run(DROP)
    dual = arp.dual_held()
    assert all(began_us - 10_000 <= each.sent_us <= ended_us for each in dual)
    assert {name for each in arp.rounds(ended_us) for name in each.holders} == {"linuxha2"}
    assert not [
        each for each in arp.rounds() if both_us < each.sent_us < ended_us - 50_000 and len(each.holders) != 2
    ]


def test_a_frozen_machine_answers_ping_but_does_nothing_until_thawed(one: Node, two: Node) -> None:
    one.run(
        [
            "systemd-run",
            "--quiet",
            "--unit=ticker",
            "/bin/sh",
            "-c",
            "while :; do echo tick; sleep 0.02; done",
        ]
    )
    one.wait_for_journal("tick", unit="ticker.service")
    frozen_us = one.freeze()
    time.sleep(0.2)
    assert one.is_frozen
    assert reaches(two, "192.168.85.1")
    thawed_us = one.thaw()
    assert one.wait_for_journal("tick", unit="ticker.service", since_us=thawed_us)
    ticks = [entry for entry in one.journal("ticker.service") if entry.message == "tick"]
    assert not [tick for tick in ticks if frozen_us + 20_000 < tick.monotonic_us < thawed_us]
    one.run("systemctl stop ticker")


def test_a_pulled_cable_takes_the_carrier_away_also_over_a_reboot(bare_lab: Lab) -> None:
    bare_lab.boot()
    one = bare_lab["linuxha1"]
    carrier = "cat /sys/class/net/eth1/carrier"
    bare_lab.network.cut("linuxha1", "eth1")
    assert one.run(carrier).stdout == "0\n"
    assert misses(one, "10.0.0.2")
    assert reaches(one, "192.168.85.2")
    one.reboot()
    assert one.run(carrier).stdout == "0\n"
    bare_lab.network.restore("linuxha1", "eth1")
    assert one.run(carrier).stdout == "1\n"
    assert reaches(one, "10.0.0.2")


def test_a_silent_cut_leaves_the_carrier_and_may_be_one_way(running: Lab, one: Node, two: Node) -> None:
    def received(node: Node) -> int:
        """Echo requests; other packets come when they like."""
        names, values = (line.split() for line in node.run("grep ^Icmp: /proc/net/snmp").stdout.splitlines())
        return int(values[names.index("InEchos")])

    for direction, arrives in ((Direction.BOTH, False), (Direction.OUT, False), (Direction.IN, True)):
        running.network.cut("linuxha1", "eth1", silent=True, direction=direction)
        assert one.run("cat /sys/class/net/eth1/carrier").stdout == "1\n"
        before = received(two)
        assert misses(one, "10.0.0.2")
        assert (received(two) > before) is arrives
        running.network.restore("linuxha1", "eth1")
    assert reaches(one, "10.0.0.2")
    with pytest.raises(LabError, match="silent"):
        running.network.cut("linuxha1", "eth1", direction=Direction.OUT)


def test_loss_loses_about_its_share_each_way(running: Lab, one: Node) -> None:
    running.network.loss("linuxha1", "eth1", 20)
    report = one.run("ping -q -c 200 -i 0.002 -W 0.2 10.0.0.2", check=False).stdout
    running.network.restore("linuxha1", "eth1")
    lost = float(report.split("% packet loss")[0].split()[-1])
    assert 20 < lost < 55  # 36 % of the round trips


def test_an_interface_can_come_up_late(bare_lab: Lab) -> None:
    node, other = bare_lab["linuxha1"], bare_lab["linuxha2"]
    other.boot()
    node.boot(held=("eth1",))
    assert "DOWN" in node.run("ip -br addr show eth1").stdout
    bare_lab.network.release("linuxha1", "eth1")
    assert "10.0.0.1/24" in node.run("ip -br addr show eth1").stdout
    assert reaches(node, "10.0.0.2")


def test_a_layer_is_made_offline_once_and_seen_in_the_machines() -> None:
    made: list[str] = []

    def fill(root: Path) -> None:
        made.append(
            rootfs.run_in(root, ["/bin/sh", "-c", "echo made >/opt/made; rm /usr/bin/less; ip -o link"])
        )

    base = rootfs.base()
    layer = rootfs.layer("selftest", str(now_us()), [base], fill)
    with Lab(layers=[layer], name="layers") as lab:
        node = lab["linuxha2"]
        assert node.read("/opt/made") == "made\n"
        node.boot()
        assert node.run("ls /usr/bin/less", check=False).returncode != 0
    assert [line.split(":")[1].strip() for line in made[0].splitlines()] == ["lo"]
    assert not (base / "opt/made").exists()
    assert (base / "usr/bin/less").exists()


def test_the_end_of_a_lab_leaves_no_trace() -> None:
    with Lab(name="traces") as lab:
        lab.boot("linuxha1")
        lab["linuxha1"].freeze()
        assert traces("traces")
    assert traces("traces") == []


def test_a_lab_whose_process_was_killed_is_cleared_away_by_the_next() -> None:
    crash = (
        "import os; from tests.lab import Lab; Lab(name='stale').__enter__().boot(); os.kill(os.getpid(), 9)"
    )
    died = subprocess.run(python(crash), cwd=CHECKOUT, check=False)
    assert died.returncode == -9
    assert traces("stale")
    with Lab(name="stale") as lab:
        lab.boot()
        assert reaches(lab["linuxha1"], "10.0.0.2")
    assert traces("stale") == []


def test_a_lab_in_use_is_refused_and_one_of_another_name_is_not(running: Lab, one: Node) -> None:
    with pytest.raises(LabError, match="in use by process"), Lab(name=running.name):
        pass
    with Lab(name="beside") as beside:
        beside.boot("linuxha1")
        assert misses(beside["linuxha1"], "192.168.85.2")
    assert reaches(one, "192.168.85.2")


def test_a_lab_left_running_is_used_by_hand_and_refused_to_others_until_ended() -> None:
    def by_hand(*words: str) -> subprocess.CompletedProcess[str]:
        argv = [sys.executable, "-m", "tests.lab", *words]
        env = CLEAN_ENV | {"HBD_LAB_NAME": "kept"}
        return subprocess.run(argv, cwd=CHECKOUT, env=env, capture_output=True, text=True, check=False)

    assert by_hand("up").returncode == 0
    try:
        assert by_hand("run", "linuxha2", "hostname").stdout == "linuxha2\n"
        assert by_hand("run", "client", "ping", "-c1", "-q", "192.168.85.2").returncode == 0
        assert by_hand("cut", "linuxha2", "eth1").returncode == 0
        assert by_hand("kill", "linuxha1").returncode == 0
        assert by_hand("status").stdout == "linuxha1  off\nlinuxha2  running\nlinuxha2-eth1  unplugged\n"
        assert by_hand("boot", "linuxha1").returncode == 0
        assert by_hand("run", "linuxha1", "systemctl", "is-system-running").stdout == "running\n"
        assert by_hand("reboot", "linuxha2").returncode == 0
        assert by_hand("run", "linuxha2", "cat", "/sys/class/net/eth1/carrier").stdout == "0\n"
        with pytest.raises(LabError, match="left running"), Lab(name="kept"):
            pass
        assert by_hand("run", "linuxha2", "hostname").stdout == "linuxha2\n"
    finally:
        assert by_hand("down").returncode == 0
    assert traces("kept") == []


def test_the_lab_works_where_only_cgroup2_is_mounted() -> None:
    use = "lab.boot(); print(lab['linuxha1'].power_kill() > 0)"
    script = f"from tests.lab import Lab\nwith Lab(name='pure') as lab: {use}"
    # In a mount namespace of its own, the other layout is a bind mount away.
    only_v2 = f'mount --bind {unified_tree()} /sys/fs/cgroup && exec "$@"'
    words = ["unshare", "--mount", "/bin/sh", "-c", only_v2, "sh", *python(script)]
    done = subprocess.run(words, cwd=CHECKOUT, capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr) == ("True\n", "")
    assert traces("pure") == []
