"""The daemon as a process, on real sockets and addresses, in namespaces of its own."""

import os
import re
import resource
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from hbd.stale import ALIVE
from hbd.state import RunDir
from tests.edges.namespaces import Namespace, pair

ROOT = Path(__file__).parents[2]
SERVICE = "192.0.2.3"
ALONE = "keepalive 100ms\ndeadtime 1\ninitdead 1\n"
TOGETHER = "keepalive 200ms\ndeadtime 20\ninitdead 25\n"
"""Both are there from the beginning, and nobody is to be too late for the other, however slow the machine."""


@dataclass
class Node:
    """One machine: its directories, its namespace, and the daemon that runs there at the moment."""

    home: Path
    network: Namespace
    name: str
    manager: socket.socket
    process: subprocess.Popen[str] | None = None

    def configure(self, ha_cf: str, peer: str) -> None:
        directory = self.home / "etc"
        directory.mkdir(parents=True, exist_ok=True)
        (directory / "ha.cf").write_text(
            f"{ha_cf}udpport 694\nucast eth0 {peer}\nauto_failback on\nnode alpha beta\n"
        )
        (directory / "haresources").write_text(f"alpha {SERVICE}/24/eth0\n")
        (directory / "authkeys").write_text("auth 1\n1 sha1 secret\n")
        (directory / "authkeys").chmod(0o600)
        (directory / "nodeinfo").write_text(f"{self.name}\n")

    def words(self, *more: str) -> list[str]:
        places = [f"--{kind}-dir={self.home / kind}" for kind in ("state", "run")]
        return [sys.executable, "-m", "hbd", f"--config-dir={self.home / 'etc'}", *places, *more]

    def start(self) -> subprocess.Popen[str]:
        service = {"NOTIFY_SOCKET": str(self.manager.getsockname()), "WATCHDOG_USEC": "10000000"}
        environment = {**os.environ, **service}
        with self.network.inside(), (self.home / "log").open("a") as log:
            self.process = subprocess.Popen(
                self.words(), cwd=ROOT, env=environment, stdin=subprocess.DEVNULL, stderr=log, text=True
            )
        return self.process

    def end(self) -> None:
        """However it ends."""
        if self.process is not None and self.process.poll() is None:
            self.process.kill()
            self.process.wait()

    @property
    def log(self) -> str:
        return (self.home / "log").read_text()

    @property
    def serves(self) -> bool:
        return f" {SERVICE}/" in self.network.ip("-4 addr show dev eth0")

    def notices(self) -> list[str]:
        """What the service manager was told since the last call, without the watchdog's food."""
        told = []
        try:
            while True:
                told.append(self.manager.recv(4096).decode())
        except BlockingIOError:
            return [notice for notice in told if notice != "WATCHDOG=1"]

    def waits_for(self, text: str, within_s: float = 45) -> None:
        until(lambda: text in self.log, f"{text!r} in the log of {self.name}:\n", within_s, lambda: self.log)


BUGGY = """
import sys
from hbd import daemon
from hbd.core.cluster import Cluster
from hbd.core.events import JobDone

class Buggy(Cluster):
    def step(self, now, event):
        effects = super().step(now, event)
        assert not (isinstance(event, JobDone) and event.outcome.condition is None), "a bug"
        return effects

daemon.Cluster = Buggy
sys.exit(daemon.main(sys.argv[1:], []))
"""


def run_into_a_bug(node: Node) -> subprocess.CompletedProcess[str]:
    """A daemon whose core raises when the first address is up."""
    with node.network.inside():
        return subprocess.run(
            [sys.executable, "-c", BUGGY, *node.words()[3:]],
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=90,
            check=False,
        )


def until(
    happened: Callable[[], bool], what: str, within_s: float = 45, more: Callable[[], str] = str
) -> None:
    deadline = time.monotonic() + within_s
    while not happened():
        assert time.monotonic() < deadline, f"not within {within_s} s: {what}{more()}"
        time.sleep(0.02)


@contextmanager
def machine(home: Path, network: Namespace, name: str, address: str) -> Iterator[Node]:
    home.mkdir()
    network.ip(f"addr add {address}/24 dev eth0")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(home / "notify"))
        manager.setblocking(False)
        node = Node(home, network, name, manager)
        try:
            yield node
        finally:
            node.end()


@pytest.fixture
def nodes(tmp_path: Path) -> Iterator[tuple[Node, Node]]:
    with (
        pair() as (one, two),
        machine(tmp_path / "a", one, "alpha", "192.0.2.1") as alpha,
        machine(tmp_path / "b", two, "beta", "192.0.2.2") as beta,
    ):
        alpha.configure(TOGETHER, "192.0.2.2")
        beta.configure(TOGETHER, "192.0.2.1")
        yield alpha, beta


@pytest.fixture
def alone(nodes: tuple[Node, Node]) -> Node:
    """alpha, whose peer is never there."""
    alpha, _ = nodes
    alpha.configure(ALONE, "192.0.2.2")
    return alpha


def test_a_stop_is_an_orderly_release_with_goodbye_and_status_0(nodes: tuple[Node, Node]) -> None:
    alpha, beta = nodes
    alpha.start(), beta.start()
    notices: list[str] = []

    def is_settled() -> bool:
        notices.extend(alpha.notices())
        return "STATUS=active; holds local; peer beta active" in notices

    until(is_settled, "alpha is settled", 45, lambda: alpha.log)
    assert alpha.serves
    assert notices.index("READY=1") > 0  # WATCHDOG_USEC comes before.
    assert alpha.process is not None
    alpha.process.send_signal(signal.SIGTERM)
    assert alpha.process.wait(45) == 0
    assert not alpha.serves
    assert "STOPPING=1" in alpha.notices()
    assert RunDir(alpha.home / "run").held() == ()
    until(lambda: beta.serves, "beta serves", 45, lambda: beta.log)
    assert "node alpha: is dead" not in beta.log


def test_after_kill_9_a_restart_finds_its_address_and_never_takes_it_off(nodes: tuple[Node, Node]) -> None:
    alpha, beta = nodes
    alpha.start(), beta.start()
    until(lambda: alpha.serves, "alpha serves", 45, lambda: alpha.log)
    until(lambda: "STATUS=active; holds local; peer beta active" in alpha.notices(), "alpha is settled")
    monitor = subprocess.Popen(
        ["ip", "-n", alpha.network.name, "monitor", "address"], stdout=subprocess.PIPE, text=True
    )
    alpha.end()
    alpha.start()
    alpha.notices()
    until(
        lambda: "STATUS=active; holds local; peer beta active" in alpha.notices(),
        "alpha holds local again",
        45,
        lambda: alpha.log + beta.log,
    )
    monitor.terminate()
    assert "Deleted" not in monitor.communicate()[0]
    assert "is dead" not in beta.log
    assert "Heartbeat restart on node alpha" in beta.log
    assert not beta.serves


def test_the_successor_is_told_that_a_dead_peer_needs_initdead_before_it_can_take_over(
    nodes: tuple[Node, Node],
) -> None:
    alpha, beta = nodes
    for node, peer in ((alpha, "192.0.2.2"), (beta, "192.0.2.1")):
        node.configure("keepalive 200ms\ndeadtime 2\ninitdead 6\n", peer)
    alpha.start(), beta.start()
    until(lambda: alpha.serves, "alpha serves", 45, lambda: alpha.log)

    def patience_ms() -> int:
        _, patience_ms = ALIVE.unpack_from((alpha.home / "run" / "alive").read_bytes())
        return int(patience_ms)

    assert patience_ms() == 2000 - 200 - 100
    beta.end()
    alpha.waits_for("node beta: is dead")
    until(lambda: patience_ms() == 6000 - 200 - 100, "the patience of a dead peer")


def test_the_event_loop_is_of_real_time_priority_and_whoever_waits_for_its_abortion(alone: Node) -> None:
    process = alone.start()
    until(lambda: "READY=1" in alone.notices(), "ready", 45, lambda: alone.log)
    policies = {
        int(thread): os.sched_getscheduler(int(thread)) & ~os.SCHED_RESET_ON_FORK
        for thread in os.listdir(f"/proc/{process.pid}/task")
    }
    assert policies.pop(process.pid) == os.SCHED_RR
    assert len(policies) >= 2
    assert sorted(policies.values()) == [os.SCHED_OTHER] * (len(policies) - 1) + [os.SCHED_RR]
    locked = re.search(r"VmLck:\s+(\d+) kB", Path(f"/proc/{process.pid}/status").read_text())
    assert locked is not None
    assert int(locked[1]) > 10_000


def test_a_reload_is_announced_and_a_wrong_one_keeps_what_was(alone: Node) -> None:
    process = alone.start()
    alone.waits_for("Local status now set to: 'active'")
    alone.notices()
    ha_cf = alone.home / "etc" / "ha.cf"
    good = ha_cf.read_text()
    ha_cf.write_text(good.replace("keepalive 100ms", "keepalive 30x\nkeepalife 2"))
    process.send_signal(signal.SIGHUP)
    alone.waits_for("The new configuration is not used, the old one stays in force")
    assert f"{ha_cf}:1:11: error: " in alone.log
    assert "did you mean 'keepalive'?" in alone.log
    until(lambda: "READY=1" in alone.notices(), "ready again")
    ha_cf.write_text(good.replace("100ms", "150ms"))
    process.send_signal(signal.SIGHUP)
    alone.waits_for("Configuration reloaded: timing changed")
    told: list[str] = []

    def is_ready() -> bool:
        told.extend(notice for notice in alone.notices() if not notice.startswith("STATUS"))
        return told[-1:] == ["READY=1"]

    until(is_ready, "ready with the new configuration")
    assert told[0].startswith("RELOADING=1\nMONOTONIC_USEC=")
    assert process.poll() is None


def test_a_wrong_configuration_ends_the_start_with_78_and_every_finding(alone: Node) -> None:
    (alone.home / "etc" / "ha.cf").write_text("keepalive 30x\nnode alpha\n")
    (alone.home / "etc" / "authkeys").chmod(0o644)
    process = alone.start()
    assert process.wait(45) == 78
    assert "ha.cf:1:11: error: " in alone.log
    assert "authkeys:1:1: error: " in alone.log
    assert "READY=1" not in alone.notices()
    assert not (alone.home / "state" / "generation").exists()


def test_check_prints_the_findings_and_starts_nothing(alone: Node) -> None:
    with alone.network.inside():
        good = subprocess.run(alone.words("--check"), cwd=ROOT, capture_output=True, text=True, check=False)
        (alone.home / "etc" / "haresources").write_text(f"gamma {SERVICE}\n")
        wrong = subprocess.run(alone.words("--check"), cwd=ROOT, capture_output=True, text=True, check=False)
    assert good.returncode == 0
    assert wrong.returncode == 78
    assert re.search(r"haresources:1:1: error: .*gamma", wrong.stdout)
    assert not (alone.home / "run").exists()


def test_under_a_configuration_that_went_wrong_what_runs_is_adopted_with_the_last_good_one(
    alone: Node,
) -> None:
    alone.start()
    until(lambda: alone.serves, "alpha serves", 45, lambda: alone.log)
    until(lambda: "STATUS=active; holds local; peer beta dead" in alone.notices(), "settled")
    alone.end()
    (alone.home / "etc" / "ha.cf").write_text("keepalive 30x\n")
    process = alone.start()
    alone.waits_for("going on with the last good configuration, since resources run")
    wanted = "the last good configuration is in force"
    until(lambda: any(wanted in notice for notice in alone.notices()), "said in STATUS")
    until(lambda: alone.serves, "it serves on", 45, lambda: alone.log)
    assert process.poll() is None


def test_a_second_daemon_waits_for_the_first_and_goes_on_when_it_has_gone(alone: Node) -> None:
    first = alone.start()
    until(lambda: "READY=1" in alone.notices(), "ready", 45, lambda: alone.log)
    second = alone.start()
    alone.waits_for("another hbd, or hbd-orphan.service, is at work")
    assert "READY=1" not in alone.notices()
    first.terminate()
    assert first.wait(20) == 0
    until(lambda: "READY=1" in alone.notices(), "the second is ready", 45, lambda: alone.log)
    assert second.poll() is None


def test_a_bug_ends_the_process_at_once_with_70_and_leaves_everything_running(alone: Node) -> None:
    done = run_into_a_bug(alone)
    assert done.returncode == 70
    assert "AssertionError: a bug" in done.stderr
    assert alone.serves
    assert [group.group for group in RunDir(alone.home / "run").held()] == [SERVICE]


@pytest.mark.parametrize("place", ["hbd.history.load", "hbd.metrics.writer.text"])
def test_a_bug_in_a_thread_ends_the_process_like_any_other(alone: Node, place: str) -> None:
    script = f"""
import sys
import hbd.history, hbd.metrics.writer
from hbd import daemon

def buggy(*whatever):
    raise LookupError("a bug")

{place} = buggy
sys.exit(daemon.main(sys.argv[1:], []))
"""
    (alone.home / "etc/hbd.cf").write_text(f"metrics {alone.home}/hbd.prom\n")
    with alone.network.inside():
        done = subprocess.run(
            [sys.executable, "-c", script, *alone.words()[3:]],
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )
    assert done.returncode == 70
    assert "LookupError: a bug" in done.stderr


@pytest.mark.parametrize(("said", "allowed"), [("on", True), ("off", False), (None, None)])
def test_core_files_are_allowed_where_ha_cf_says_so_and_lie_in_coreroot(
    alone: Node, said: str | None, allowed: bool | None
) -> None:
    root = alone.home / "cores" / "here"
    line = "" if said is None else f"coredumps {said}\ncoreroot {root}\n"
    alone.configure(line + ALONE, "192.0.2.2")
    before = resource.getrlimit(resource.RLIMIT_CORE)
    process = alone.start()
    until(lambda: "READY=1" in alone.notices(), "hbd is ready", 45, lambda: alone.log)
    soft, hard = resource.prlimit(process.pid, resource.RLIMIT_CORE)
    where = Path(f"/proc/{process.pid}/cwd").readlink()
    assert hard == before[1]
    assert soft == {True: hard, False: 0, None: before[0]}[allowed]
    assert where == (root if allowed else ROOT)
    assert ("Core dumps go to" in alone.log) is bool(allowed)
