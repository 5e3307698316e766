"""sd_notify over a real datagram socket, and the sentence that systemctl shows."""

import dataclasses
import os
import socket
import time
from pathlib import Path

import pytest

from hbd.config.model import AutoFailback
from hbd.core.views import (
    ClusterState,
    ClusterView,
    GroupState,
    GroupView,
    Holding,
    NodeStatus,
    NodeView,
)
from hbd.notify import Notifier, sentence

VIEW = ClusterView(
    local_node="linuxha1",
    state=ClusterState.STABLE,
    holding=Holding.LOCAL,
    auto_failback=AutoFailback.ON,
    generation=1,
    transition=0,
    last_finished=(0, ""),
    nodes=(
        NodeView("linuxha1", "normal", NodeStatus.ACTIVE, Holding.LOCAL, local=True),
        NodeView("linuxha2", "normal", NodeStatus.ACTIVE, Holding.FOREIGN, local=False),
    ),
    links=(),
    groups=(),
)


@pytest.fixture
def manager(tmp_path: Path) -> socket.socket:
    """The service manager's end."""
    bound = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    bound.bind(str(tmp_path / "notify"))
    bound.setblocking(False)
    return bound


def heard(manager: socket.socket) -> list[str]:
    messages = []
    try:
        while True:
            messages.append(manager.recv(4096).decode())
    except BlockingIOError:
        return messages


def test_each_notice_is_what_sd_notify_documents(manager: socket.socket) -> None:
    notifier = Notifier(manager.getsockname())
    notifier.ready()
    notifier.watchdog()
    notifier.watchdog_every(1500)
    notifier.extend(15)
    notifier.stopping()
    assert heard(manager) == [
        "READY=1",
        "WATCHDOG=1",
        "WATCHDOG_USEC=1500000",
        "EXTEND_TIMEOUT_USEC=15000000",
        "STOPPING=1",
    ]


def test_a_watchdog_that_was_turned_off_stays_off(manager: socket.socket) -> None:
    notifier = Notifier(manager.getsockname(), watched=False)
    notifier.watchdog_every(1500)
    assert heard(manager) == []


def test_a_reload_carries_the_monotonic_time_that_systemd_compares(manager: socket.socket) -> None:
    before_us = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
    Notifier(manager.getsockname()).reloading()
    (message,) = heard(manager)
    assert message.startswith("RELOADING=1\nMONOTONIC_USEC=")
    said_us = int(message.rpartition("=")[2])
    assert before_us <= said_us <= time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000


def test_a_status_is_sent_when_it_changes_and_only_then(manager: socket.socket) -> None:
    notifier = Notifier(manager.getsockname())
    notifier.show(VIEW)
    notifier.show(VIEW)
    notifier.show(dataclasses.replace(VIEW, holding=Holding.ALL))
    assert heard(manager) == [
        "STATUS=active; holds local; peer linuxha2 active",
        "STATUS=active; holds all; peer linuxha2 active",
    ]


def test_what_is_missing_is_said_in_the_status() -> None:
    view = dataclasses.replace(
        VIEW,
        groups=(GroupView("192.0.2.3", "linuxha1", "linuxha1", GroupState.BLOCKED, ()),),
        degraded=("link eth1: no such device",),
    )
    assert sentence(view) == (
        "active; holds local; peer linuxha2 active; group 192.0.2.3 blocked; link eth1: no such device"
    )


def test_while_stopping_the_sentence_begins_with_it() -> None:
    view = dataclasses.replace(VIEW, state=ClusterState.STOPPING)
    assert sentence(view).startswith("stopping; holds local")


def test_without_a_service_manager_nothing_happens() -> None:
    notifier = Notifier(None)
    notifier.ready()
    notifier.show(VIEW)
    assert notifier.lost == 0


def test_an_abstract_socket_is_spoken_to() -> None:
    name = f"hbdtest-{os.getpid()}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(f"\0{name}")
        manager.setblocking(False)
        Notifier(f"@{name}").ready()
        assert heard(manager) == ["READY=1"]


def test_a_manager_that_does_not_read_never_makes_us_wait(manager: socket.socket) -> None:
    notifier = Notifier(manager.getsockname())
    begun = time.monotonic()
    for _ in range(3000):
        notifier.watchdog()
    assert time.monotonic() - begun < 20
    assert notifier.lost + len(heard(manager)) == 3000
    assert notifier.lost > 0


def test_a_status_that_was_lost_is_sent_again(manager: socket.socket) -> None:
    notifier = Notifier(manager.getsockname())
    while notifier.lost == 0:
        notifier.watchdog()
    notifier.show(VIEW)
    heard(manager)
    notifier.show(VIEW)
    assert heard(manager) == ["STATUS=active; holds local; peer linuxha2 active"]


def test_a_watchdog_that_the_administrator_has_turned_off_stays_off(manager: socket.socket) -> None:
    notifier = Notifier(manager.getsockname(), watched=False)
    notifier.watchdog_every(1500)
    notifier.ready()
    assert manager.recv(4096) == b"READY=1"
