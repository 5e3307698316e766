"""What fails on one machine, and what the other and the client see of it.

A unit that does not start; hbd killed and restarted at once, killed and kept down, killed until systemd
gives up, restarted into a configuration that is wrong.
"""

import json
import statistics
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.lab import Lab
from tests.lab.cluster import (
    ADDRESS,
    BUS_NAME,
    GROUP,
    ONE,
    TWO,
    configure,
    holds,
    is_idle,
    log,
    owner,
    running_pair,
    said,
    serves,
    settle,
    share_answers,
    start,
    starts,
    status,
    watch_address,
)
from tests.lab.host import wait_until
from tests.lab.journal import Entry, now_us
from tests.lab.node import Node
from tests.lab.service import invocations, kill, shown

KILLS = 5
AT_ONCE_US = 1_000_000
"""From the start of a process to its first deed, on a computer that has other things to do."""
PATIENT_MS = 5000
"""For an answer to a client: one that is refused or cut off is what counts."""


@pytest.fixture
def pair(hbd_layer: Path) -> Iterator[Lab]:
    """A pair at work, everything on linuxha1, where it stays when linuxha1 has lost it."""
    with running_pair(hbd_layer, auto_failback="off") as lab:
        yield lab


def unit_lines(node: Node, text: str, since_us: int) -> list[Entry]:
    return [entry for entry in node.journal(since_us=since_us) if text in entry.message]


def why(node: Node) -> list[dict[str, str]]:
    """Group.Why, as busctl shows it."""
    paths = node.run(f"busctl tree --list {BUS_NAME}").stdout.split()
    path = next(path for path in paths if "/group/" in path)
    answer = node.run(f"busctl --json=short call {BUS_NAME} {path} {BUS_NAME}.Group Why").stdout
    (reasons,) = json.loads(answer)["data"]
    return list(reasons)


def test_a_group_that_does_not_start_is_stopped_again_and_started_on_the_other_node(hbd_layer: Path) -> None:
    # Given a last member of the group that fails on its home node.
    with Lab(layers=[hbd_layer]) as lab:
        configure(lab, auto_failback="on")
        one, two = lab[ONE], lab[TWO]
        one.write("/etc/systemd/system/smb.service.d/fail.conf", "[Service]\nExecStartPre=/bin/false\n")
        lab.boot()

        # When both start.
        with lab.observer.arp_probe() as arp:
            start(lab)
            settle(lab, owned_by=TWO)
            # Then the members that did start there are stopped again, and the other node has everything,
            assert is_idle(one)
            assert serves(two)
            assert len(starts(one, "httpd.service")) == 1
            stopped = [each for each in one.journal(unit="httpd.service") if "Stopped httpd" in each.message]
            assert len(stopped) == 1
            assert share_answers(lab) == TWO
            settled_us = now_us()
            # and it stays there: nobody passes it back, or tries again, while nobody says so.
            time.sleep(5)
            arp.wait_for_rounds_until(now_us())
        assert owner(one) == owner(two) == TWO
        assert is_idle(one)
        assert serves(two)
        assert len(said(one, "Running smb start")) == 1
        assert unit_lines(one, "smb", settled_us) == []
        assert arp.dual_held() == []
        assert len(starts(two, "httpd.service")) == len(starts(two, "smb.service")) == 1

        # And an operator is told why, on both.
        state = status(one)
        assert state is not None
        (group,) = state["groups"]
        (smb,) = [each for each in group["resources"] if each["name"] == "smb"]
        assert "smb.service" in smb["last_error"]
        text = one.run("hbctl status", check=False).stdout
        assert smb["last_error"] in text
        assert f"{TWO}" in text
        assert any("smb" in text for reason in why(one) for text in map(str, reason.values()))
        assert said(one, "smb")


@pytest.mark.alone
def test_kill_9_of_hbd_is_a_restart_to_the_peer_and_nothing_to_the_client(
    pair: Lab, capsys: pytest.CaptureFixture[str]
) -> None:
    # deadtime is 3 s here.
    one, two = pair[ONE], pair[TWO]
    running = invocations(one)
    began_us = now_us()
    floor_ms = []
    with (
        pair.client.http_probe(limit_ms=PATIENT_MS) as http,
        pair.observer.arp_probe() as arp,
        watch_address(pair, ONE) as address,
    ):
        for _ in range(KILLS):
            # Systemd gives up at the sixth start in ten seconds.
            time.sleep(2.2)
            killed_us = kill(one)
            restart = two.wait_for_journal(f"Heartbeat restart on node {ONE}", since_us=killed_us)
            floor_ms.append((restart.monotonic_us - killed_us) / 1000)
            one.wait_for_journal("was started by an earlier hbd and runs: kept", since_us=killed_us)
            settle(pair, owned_by=ONE)
            # The same processes as before.
            assert invocations(one) == running
        time.sleep(1)
        arp.wait_for_rounds_until(now_us())
    with capsys.disabled():
        each = ", ".join(f"{ms:.0f}" for ms in floor_ms)
        print(f"\nkill -9 to first heartbeat: {statistics.median(floor_ms):.0f} ms (median of {each})")

    assert said(two, "is dead") == []
    assert said(two, "Resources being acquired") == []
    assert len(said(two, f"Heartbeat restart on node {ONE}")) == KILLS
    assert unit_lines(one, "Stopped httpd", began_us) == []
    assert unit_lines(one, "Stopped smb", began_us) == []
    assert address.seen() == []
    assert serves(one)
    assert is_idle(two)
    assert shown(one, "hbd.service", "NRestarts") == (str(KILLS),)
    # The client sees nothing.
    assert http.failures() == []
    assert {answer.node for answer in http.answers()} == {ONE}
    assert {holder for each in arp.rounds() for holder in each.holders} == {ONE}


@pytest.mark.alone
def test_hbd_kept_down_for_longer_than_deadtime_returns_to_a_peer_that_has_taken_over(
    pair: Lab, capsys: pytest.CaptureFixture[str]
) -> None:
    one, two = pair[ONE], pair[TWO]
    # Given a restart that takes twice deadtime.
    one.write("/run/systemd/system/hbd.service.d/slow.conf", "[Service]\nRestartSec=6s\n")
    one.run("systemctl daemon-reload")
    with (
        pair.client.http_probe() as http,
        pair.observer.arp_probe() as arp,
        watch_address(pair, ONE) as address,
    ):
        # When hbd is killed.
        killed_us = kill(one)
        two.wait_for_journal(f"node {ONE}: is dead", since_us=killed_us)
        two.wait_for_journal("mach_down takeover complete", since_us=killed_us)
        one.wait_for_journal("Started hbd", since_us=killed_us)
        (began,) = shown(one, "hbd.service", "ExecMainStartTimestampMonotonic")
        began_us = int(began)
        assert began_us > killed_us + 3_000_000
        # Then there is one owner from then on, the one that has taken over.
        settle(pair, owned_by=TWO)
        wait_until(lambda: is_idle(one), 10, f"{ONE} has released everything", 0.1)
        settled_us = now_us()
        time.sleep(2)
        arp.wait_for_rounds_until(now_us())
    assert serves(two)
    assert is_idle(one)
    (gone,) = address.seen("gone", killed_us)
    assert began_us < gone.at_us < began_us + AT_ONCE_US
    # The machine without a daemon had the address all the time. Its kernel fell silent when the lease was
    # over, before the other took the address; and when the new daemon came, the address went off.
    assert arp.dual_held() == []
    by_one = [each.sent_us for each in arp.rounds(killed_us) if ONE in each.holders]
    by_two = [each.sent_us for each in arp.rounds(killed_us) if TWO in each.holders]
    with capsys.disabled():
        print(
            f"\nsilent {(by_one[-1] - killed_us) / 1000:.0f} ms after the kill, "
            f"taken over after {(by_two[0] - killed_us) / 1000:.0f} ms"
        )
    assert killed_us < by_one[-1] < by_two[0] < began_us
    assert {answer.node for answer in http.answers() if answer.sent_us > settled_us} == {TWO}
    # Nothing was announced or started again here, and nothing of the peer's was touched.
    began_here = [entry.message for entry in log(one, began_us)]
    assert [text for text in began_here if "Gratuitous Arp" in text or text.endswith(" start")] == []
    assert len(starts(two, "httpd.service")) == len(starts(two, "smb.service")) == 1
    assert share_answers(pair) == TWO


def released_in_order(node: Node, since_us: int) -> list[Entry]:
    """The lines of hbd-orphan.service: the addresses first, then the units right to left."""
    node.wait_for_journal("everything is released", since_us=since_us, unit="hbd-orphan.service")
    lines = node.journal(unit="hbd-orphan.service", since_us=since_us)
    told = [entry for entry in lines if "released" in entry.message or "stopped" in entry.message]
    told += [entry for entry in lines if entry.message.startswith("addresses off")]
    return sorted(told, key=lambda entry: entry.monotonic_us)


def check_release(pair: Lab, since_us: int) -> None:
    """linuxha1 has nothing left, addresses first; linuxha2 has everything, since linuxha1 is silent."""
    one, two = pair[ONE], pair[TWO]
    addresses, *others = [entry.message for entry in released_in_order(one, since_us)]
    # An hbd whose starts took longer than the peer's patience has taken it off already.
    assert addresses in (f"addresses off: {ADDRESS}", "addresses off: none was up")
    assert others == ["smb.service stopped", "httpd.service stopped", "everything is released"]
    assert is_idle(one)
    two.wait_for_journal(f"node {ONE}: is dead", since_us=since_us)
    settle(pair, TWO, owned_by=TWO)
    assert serves(two)
    assert shown(one, "hbd.service", "ActiveState") == ("failed",)


@pytest.mark.alone
def test_a_daemon_that_systemd_gives_up_has_its_resources_released_addresses_first(pair: Lab) -> None:
    one, two = pair[ONE], pair[TWO]
    began_us = now_us()
    with watch_address(pair, ONE) as address, pair.observer.arp_probe() as arp:
        # When hbd is killed again and again.
        while shown(one, "hbd.service", "ActiveState") != ("failed",):
            assert now_us() < began_us + 60_000_000, "no start limit"
            if shown(one, "hbd.service", "MainPID") != ("0",):
                kill(one)
            time.sleep(0.05)
        assert "Start request repeated too quickly" in one.wait_for_journal("too quickly").message
        check_release(pair, began_us)
        arp.wait_for_rounds_until(now_us())
    # Then the address was gone before the other node had it: at no moment both. Each hbd that came later than
    # the peer waits after the last healthy one has taken it off too, and asked.
    last = address.seen(since_us=began_us)[-1]
    stopped = one.wait_for_journal("Stopped smb", since_us=began_us)
    assert last.what == "gone"
    assert last.at_us < stopped.monotonic_us
    assert arp.dual_held() == []
    # And started again by the administrator, it joins and leaves everything where it is.
    one.run("systemctl reset-failed hbd && systemctl start hbd")
    settle(pair, owned_by=TWO)
    assert is_idle(one)
    assert said(two, "returning after partition") == []


def test_a_daemon_that_finds_no_valid_configuration_has_its_resources_released(pair: Lab) -> None:
    one = pair[ONE]
    # Given a configuration that became wrong, and whose last good copy is lost with it.
    began_us = now_us()
    one.write("/etc/ha.d/ha.cf", "keepalive for ever\n")
    one.run("rm -r /run/hbd/config")
    with pair.observer.arp_probe() as arp:
        kill(one)
        check_release(pair, began_us)
        arp.wait_for_rounds_until(now_us())
    assert shown(one, "hbd.service", "ExecMainStatus", "NRestarts") == ("78", "1")
    assert said(one, "/etc/ha.d/ha.cf:1:11: error:", began_us)
    assert arp.dual_held() == []


def test_a_restart_under_a_wrong_configuration_keeps_what_runs(pair: Lab) -> None:
    one, two = pair[ONE], pair[TWO]
    running = invocations(one)
    one.write("/etc/ha.d/ha.cf", "keepalive for ever\n")
    with pair.client.http_probe(limit_ms=PATIENT_MS) as http:
        killed_us = kill(one)
        two.wait_for_journal(f"Heartbeat restart on node {ONE}", since_us=killed_us)
        settle(pair, owned_by=ONE)
    assert invocations(one) == running
    assert holds(one)
    assert http.failures() == []
    assert said(one, "/etc/ha.d/ha.cf:1:11: error:", killed_us)
    assert "last good configuration" in shown(one, "hbd.service", "StatusText")[0]
    assert GROUP in one.run("hbctl status", check=False).stdout
