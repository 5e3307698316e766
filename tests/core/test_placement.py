"""Which node should have a group that nobody claims."""

from __future__ import annotations

from dataclasses import replace

import pytest

from hbd.config.model import AddressResource, AutoFailback, Bcast, Config, GroupSpec, Key, Keys
from hbd.core.claims import Peer, PeerKind
from hbd.core.desk import Desk
from hbd.core.events import Scope
from hbd.core.handover import Handover
from hbd.core.placement import belongs_here, in_scope
from hbd.core.report import Entry, Posture, Report


def group(home: str, ip: str) -> GroupSpec:
    return GroupSpec(ip, home, (AddressResource(ip, ip),))


OURS, THEIRS = group("alpha", "10.0.0.1"), group("beta", "10.0.0.2")
KEYS = Keys(1, (Key(1, "crc", b""),))
CONFIG = Config("alpha", ("alpha", "beta"), (Bcast("eth0", 694),), KEYS, (OURS, THEIRS))
TALK = Handover(CONFIG, Desk(), lambda fields: None)
EMPTY = Report(1, (5, 10), 5, AutoFailback.ON, "d", active=True, groups={})


def peer(report: Report | None = EMPTY, *, dead: bool = False, gone: bool = False) -> Peer:
    found = Peer("beta")
    found.restarted(7)
    if report is not None:
        found.apply(report, 7, 20)
    found.alive, found.dead, found.gone = not dead, dead, gone or found.gone
    return found


def ours(group: GroupSpec, beta: Peer | None, unable: bool = False, digest: str = "d") -> bool:
    return belongs_here(group, "alpha", unable, beta, digest, TALK)


def test_alone_everything_belongs_here() -> None:
    assert ours(OURS, None)
    assert ours(THEIRS, None)


def test_what_did_not_start_here_does_not_belong_here() -> None:
    assert not ours(OURS, None, unable=True)
    assert not ours(THEIRS, peer(dead=True), unable=True)


def test_beside_an_idle_peer_each_takes_its_own() -> None:
    assert ours(OURS, peer())
    assert not ours(THEIRS, peer())


def test_what_a_dead_or_departed_peer_had_belongs_here() -> None:
    assert ours(THEIRS, peer(dead=True))
    assert ours(THEIRS, peer(gone=True))


def test_of_a_dead_peer_with_another_configuration_only_what_it_held() -> None:
    held = replace(EMPTY, digest="other", groups={"10.0.0.2": Entry(Posture.RUNNING)})
    assert ours(THEIRS, peer(held, dead=True))
    assert not ours(OURS, peer(held, dead=True))


@pytest.mark.parametrize("posture", [posture for posture in Posture if posture is not Posture.NONE])
def test_what_the_peer_claims_does_not_belong_here(posture: Posture) -> None:
    assert not ours(OURS, peer(replace(EMPTY, groups={"10.0.0.1": Entry(posture)})))


def test_what_the_peer_released_to_us_belongs_here() -> None:
    assert ours(THEIRS, peer(replace(EMPTY, groups={"10.0.0.2": Entry(offered=True)})))


def test_what_the_peer_still_runs_does_not_belong_here_although_it_is_offered() -> None:
    offered = Entry(Posture.RUNNING, offered=True)
    assert not ours(THEIRS, peer(replace(EMPTY, groups={"10.0.0.2": offered})))


def test_a_peer_that_leaves_or_cannot_start_its_group_leaves_it_to_us() -> None:
    assert ours(THEIRS, peer(replace(EMPTY, leaving=True)))
    assert ours(THEIRS, peer(replace(EMPTY, groups={"10.0.0.2": Entry(unable=True)})))


def test_nothing_new_belongs_here_while_the_peer_is_unknown_probes_or_is_configured_differently() -> None:
    assert not ours(OURS, peer(None))
    assert not ours(OURS, peer(replace(EMPTY, groups=None)))
    assert not ours(OURS, peer(), digest="other")


def test_beside_a_heartbeat_306_its_conversation_decides() -> None:
    classic = peer(None)
    classic.kind = PeerKind.CLASSIC
    talk = Handover(replace(CONFIG, auto_failback=AutoFailback.LEGACY), Desk(), lambda fields: None)
    assert not belongs_here(OURS, "alpha", False, classic, "d", talk)
    talk.peer_left(silently=True)
    assert belongs_here(THEIRS, "alpha", False, classic, "d", talk)


@pytest.mark.parametrize(
    ("scope", "own", "foreign"),
    [
        (Scope.ALL, True, True), (Scope.LOCAL, True, False), (Scope.FOREIGN, False, True),
        (Scope.FAILBACK, False, True),
    ],
)  # fmt: skip
def test_a_scope_is_meant_in_the_terms_of_the_node(scope: Scope, own: bool, foreign: bool) -> None:
    assert in_scope(OURS, "alpha", scope) is own
    assert in_scope(THEIRS, "alpha", scope) is foreign
