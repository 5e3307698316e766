"""A machine that stands still, and what a third one hears of the address: with the kernel lease and without.

A frozen machine's processes do nothing, but its kernel goes on answering ARP and accepting connections.
Each test begins with whoever owns the group by then: the pair is booted once.
"""

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.lab import Lab
from tests.lab.cluster import (
    ADDRESS,
    ONE,
    QUICK,
    TWO,
    is_idle,
    owner,
    running_pair,
    said,
    serves,
    settle,
    starts,
)
from tests.lab.host import wait_until
from tests.lab.journal import now_us
from tests.lab.node import Node
from tests.lab.probes import ArpProbe, HttpProbe, Round
from tests.lab.service import statistics

pytestmark = pytest.mark.alone

BOTH_US = 100_000
"""So long two machines may answer for the address at once."""
LEASE_MS = QUICK.deadtime_ms - QUICK.keepalive_ms - 100
LONG_S = 2 * QUICK.deadtime_ms / 1000
SHORT_S = 1.0
BACK_US = 1_000_000
UNWATCHED = "/etc/systemd/system/hbd.service.d/watchdog.conf"


@pytest.fixture(scope="module")
def pair(hbd_layer: Path) -> Iterator[Lab]:
    """A pair at work, which leaves everything where it is; the lease is what it is by default.

    Without systemd's watchdog at first: a systemd that wakes before hbd does takes it for hung and restarts
    it, and which of the two wakes first is nobody's choice. The last test chooses.
    """
    with running_pair(hbd_layer, auto_failback="off") as lab:
        for node in (lab[ONE], lab[TWO]):
            node.write(UNWATCHED, "[Service]\nWatchdogSec=0\n")
            node.run("systemctl daemon-reload && systemctl restart hbd")
        settle(lab)
        yield lab


def sides(pair: Lab) -> tuple[Node, Node]:
    """Who owns everything by now, and the other."""
    settle(pair)
    holder = owner(pair[ONE])
    return pair[holder], pair[TWO if holder == ONE else ONE]


def rules(node: Node) -> str:
    """What the kernel has of the lease."""
    return node.run("nft list table netdev hbd", check=False).stdout


def stand_still(node: Node, for_s: float) -> tuple[int, int]:
    """Freeze it for so long; the monotonic µs of its freezing and of its thawing."""
    frozen_us = node.freeze()
    time.sleep(for_s)
    return frozen_us, node.thaw()


def longest_us(rounds: list[Round], both: list[Round]) -> int:
    """The longest time in which every question was answered by two, from its first to its last."""
    times = {each.sent_us for each in both}
    longest, began_us = 0, None
    for each in rounds:
        if each.sent_us not in times:
            began_us = None
            continue
        began_us = each.sent_us if began_us is None else began_us
        longest = max(longest, each.sent_us - began_us)
    return longest


def pages_overlap_us(http: HttpProbe, old: Node, new: Node) -> int:
    """For how long the old owner still gave out its page when the new one already did."""
    first = http.first(new.name)
    assert first is not None
    late = [each.ended_us for each in http.answers() if each.node == old.name]
    return max(late) - first.ended_us


def first_us(arp: ArpProbe, node: Node, since_us: int) -> int:
    """When this machine is the only one to answer for the first time since then."""
    wait_until(
        lambda: any(each.holders == (node.name,) for each in arp.rounds(since_us)), 10, f"{node.name} on ARP"
    )
    return next(each.sent_us for each in arp.rounds(since_us) if each.holders == (node.name,))


def taken_over(pair: Lab, old: Node, new: Node, since_us: int) -> None:
    """One owner is left, the one that took over, and the other has nothing."""
    settle(pair, owned_by=new.name)
    wait_until(lambda: is_idle(old), 10, f"{old.name} has released everything", 0.1)
    assert serves(new)
    assert len(starts(new, "httpd.service", since_us)) == len(starts(new, "smb.service", since_us)) == 1
    assert starts(old, "httpd.service", since_us) == starts(old, "smb.service", since_us) == []


def end_leases(pair: Lab) -> None:
    for node in (pair[ONE], pair[TWO]):
        node.write("/etc/ha.d/hbd.cf", "lease off\n")
        node.run("hbctl reload")
        wait_until(lambda node=node: rules(node) == "", 10, "no rules of the lease")  # type: ignore[misc]


def test_a_freeze_shorter_than_deadtime_moves_nothing_and_the_address_answers_within_a_second(
    pair: Lab,
) -> None:
    holder, other = sides(pair)
    assert statistics(holder)["lease_ms"] == LEASE_MS
    assert ADDRESS in rules(holder)
    assert ADDRESS in rules(other)
    with pair.observer.arp_probe() as arp, pair.client.http_probe() as http:
        began_us, thawed_us = stand_still(holder, SHORT_S)
        assert first_us(arp, holder, thawed_us) < thawed_us + BACK_US
        page = http.wait_for(holder.name, since_us=thawed_us)
        assert page.ended_us < thawed_us + BACK_US
        settle(pair, owned_by=holder.name)
        arp.wait_for_rounds_until(now_us())
    assert arp.dual_held() == []
    assert {each.node for each in http.answers()} <= {holder.name, None}
    assert said(other, "is dead", began_us) == []
    assert starts(other, "httpd.service", began_us) == starts(holder, "httpd.service", began_us) == []


def test_a_freeze_of_both_machines_at_once_moves_nothing_and_the_address_answers_within_a_second(
    pair: Lab,
) -> None:
    holder, other = sides(pair)
    with pair.observer.arp_probe() as arp, pair.client.http_probe() as http:
        began_us = holder.freeze()
        other.freeze()
        time.sleep(LONG_S)
        other.thaw()
        thawed_us = holder.thaw()
        assert first_us(arp, holder, thawed_us) < thawed_us + BACK_US
        page = http.wait_for(holder.name, since_us=thawed_us)
        assert page.ended_us < thawed_us + BACK_US
        settle(pair, owned_by=holder.name)
        arp.wait_for_rounds_until(now_us())
    assert arp.dual_held() == []
    assert {each.node for each in http.answers()} <= {holder.name, None}
    assert starts(other, "httpd.service", began_us) == starts(holder, "httpd.service", began_us) == []


def test_with_the_lease_a_frozen_owner_is_silent_before_its_peer_takes_over_and_never_answers_beside_it(
    pair: Lab, capsys: pytest.CaptureFixture[str]
) -> None:
    old, new = sides(pair)
    with pair.observer.arp_probe() as arp, pair.client.http_probe() as http:
        frozen_us, thawed_us = stand_still(old, LONG_S)
        taken_over(pair, old, new, frozen_us)
        http.wait_for(new.name)
        arp.wait_for_rounds_until(now_us())
    (dead,) = said(new, f"node {old.name}: is dead", frozen_us)
    by_old = [each.sent_us for each in arp.rounds(frozen_us) if old.name in each.holders]
    by_new = [each.sent_us for each in arp.rounds(frozen_us) if new.name in each.holders]
    assert by_new[0] < thawed_us
    with capsys.disabled():
        print(
            f"\nfrozen: silent after {(by_old[-1] - frozen_us) / 1000:.0f} ms, declared dead after "
            f"{(dead.monotonic_us - frozen_us) / 1000:.0f} ms, taken over after "
            f"{(by_new[0] - frozen_us) / 1000:.0f} ms"
        )
    # The kernel answered until the lease was over, which was before the peer's takeover. And never again.
    assert by_old[-1] < dead.monotonic_us
    assert longest_us(arp.rounds(frozen_us), arp.dual_held()) <= BOTH_US
    assert pages_overlap_us(http, old, new) <= BOTH_US

    # It knows, and tells, for how long it stood still; also in its next life.
    stall_ms = statistics(old)["longest_stall_ms"]
    assert stall_ms >= LONG_S * 1000 - QUICK.keepalive_ms
    assert f"{stall_ms} ms" in old.run("hbctl status", check=False).stdout
    old.run("systemctl restart hbd")
    settle(pair, owned_by=new.name)
    assert statistics(old)["longest_stall_ms"] == stall_ms


def test_without_the_lease_a_frozen_owner_answers_beside_its_peer_until_it_wakes_and_no_longer(
    pair: Lab, capsys: pytest.CaptureFixture[str]
) -> None:
    end_leases(pair)
    old, new = sides(pair)
    with pair.observer.arp_probe() as arp, pair.client.http_probe() as http:
        frozen_us, thawed_us = stand_still(old, LONG_S)
        taken_over(pair, old, new, frozen_us)
        http.wait_for(new.name)
        arp.wait_for_rounds_until(now_us())
    both_us = [each.sent_us for each in arp.dual_held()]
    # That is what the lease is for.
    assert both_us[0] < thawed_us
    with capsys.disabled():
        print(f"\nboth answered until {(both_us[-1] - thawed_us) / 1000:.0f} ms after the thaw")
    assert both_us[-1] - thawed_us < BOTH_US
    assert pages_overlap_us(http, old, new) <= BOTH_US


def test_a_systemd_that_wakes_first_and_takes_hbd_for_hung_does_not_make_the_address_answer_any_longer(
    pair: Lab, capsys: pytest.CaptureFixture[str]
) -> None:
    end_leases(pair)
    new, old = sides(pair)
    old.run(f"rm {UNWATCHED} && systemctl daemon-reload && systemctl restart hbd")
    settle(pair, owned_by=new.name)
    old.run("hbctl takeover --wait")
    settle(pair, owned_by=old.name)
    before = int(old.run("systemctl show --value --property=NRestarts hbd").stdout)
    with pair.observer.arp_probe() as arp:
        # It will not move before systemd's watchdog sends it the signal that ends it.
        old.run("systemctl kill --signal=STOP --kill-whom=main hbd")
        frozen_us, thawed_us = stand_still(old, LONG_S)
        taken_over(pair, old, new, frozen_us)
        arp.wait_for_rounds_until(now_us())
    assert int(old.run("systemctl show --value --property=NRestarts hbd").stdout) == before + 1
    (told,) = said(old, "hbd is taken for hung", frozen_us)
    both_us = [each.sent_us for each in arp.dual_held()]
    assert both_us[0] < thawed_us
    with capsys.disabled():
        print(
            f"\nhbd had its signal {(told.monotonic_us - thawed_us) / 1000:.0f} ms after the thaw; "
            f"both answered until {(both_us[-1] - thawed_us) / 1000:.0f} ms after it"
        )
    # Whichever of its threads wakes first takes it off.
    by_its_loop = said(old, "addresses off until it was asked", frozen_us)
    assert f"{ADDRESS} off at once" in told.message or by_its_loop
    assert both_us[-1] - thawed_us < BOTH_US
    # Its event loop has not seen how long it stood still; the next hbd knows all the same.
    assert statistics(old)["longest_stall_ms"] >= LONG_S * 1000 - QUICK.keepalive_ms
