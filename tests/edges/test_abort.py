"""SIGABRT, as systemd's watchdog sends it: the addresses are off before the process is gone, hung or not."""

import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from hbd.state import RunDir
from tests.edges.namespaces import pair
from tests.edges.test_daemon import ROOT, SERVICE, Node, machine, until

PATIENCE_S = 0.85
"""With the times below, of a peer that was never there: initdead less one and a half keepalive."""
TIMES = "keepalive 100ms\ndeadtime 1\ninitdead 1\n"
HANGING = """
import os, sys, time
from hbd import daemon
from hbd.core.cluster import Cluster

class Hanging(Cluster):
    def step(self, now, event):
        while os.path.exists({sign!r}):
            {how}
        return super().step(now, event)

daemon.Cluster = Hanging
sys.exit(daemon.main(sys.argv[1:], []))
"""


@pytest.fixture
def alone(tmp_path: Path) -> Iterator[Node]:
    """alpha, whose peer is never there."""
    with pair() as (one, _), machine(tmp_path / "a", one, "alpha", "192.0.2.1") as alpha:
        alpha.configure(TIMES, "192.0.2.2")
        yield alpha


@contextmanager
def serving(node: Node, sign: Path, how: str = "pass") -> Iterator[subprocess.Popen[str]]:
    """A daemon that serves, and whose event loop hangs while the file `sign` is there."""
    words = [sys.executable, "-c", HANGING.format(sign=str(sign), how=how), *node.words()[3:]]
    with node.network.inside(), (node.home / "log").open("a") as log:
        node.process = process = subprocess.Popen(
            words, cwd=ROOT, stdin=subprocess.DEVNULL, stderr=log, text=True
        )
    until(lambda: node.serves, "alpha serves", 45, lambda: node.log)
    until(lambda: [group.group for group in RunDir(node.home / "run").held()] == [SERVICE], "that is noted")
    yield process


@pytest.mark.parametrize("how", ["time.sleep(1000)", "pass"], ids=["asleep", "in a loop"])
def test_an_hbd_that_hangs_past_the_peers_patience_ends_with_its_addresses_off(
    alone: Node, tmp_path: Path, how: str
) -> None:
    sign = tmp_path / "hang"
    with serving(alone, sign, how) as process:
        sign.touch()
        time.sleep(PATIENCE_S + 0.5)
        assert alone.serves
        process.send_signal(signal.SIGABRT)
        assert process.wait(45) == -signal.SIGABRT
    assert not alone.serves
    assert f"the other node may have taken over: {SERVICE} off at once" in alone.log
    # The next one knows of it: nobody else has seen how long this took.
    assert RunDir(alone.home / "run").stall().ms >= PATIENCE_S * 1000


def test_within_the_peers_patience_everything_stays_for_the_next_hbd(alone: Node, tmp_path: Path) -> None:
    alone.configure("keepalive 100ms\ndeadtime 1\ninitdead 4\n", "192.0.2.2")
    with serving(alone, tmp_path / "hang") as process:
        process.send_signal(signal.SIGABRT)
        assert process.wait(45) == -signal.SIGABRT
    assert alone.serves
    assert "may have taken over" not in alone.log


def test_a_library_that_aborts_ends_hbd_as_ever(alone: Node, tmp_path: Path) -> None:
    alone.configure("keepalive 100ms\ndeadtime 1\ninitdead 4\n", "192.0.2.2")
    sign = tmp_path / "hang"
    with serving(alone, sign, "os.abort()") as process:
        sign.touch()
        assert process.wait(45) == -signal.SIGABRT
    assert alone.serves
