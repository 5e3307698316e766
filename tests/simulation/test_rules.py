"""Each safety rule earns its place: the simulator finds what goes wrong when it is left out.

The numbers are those of ARCHITECTURE.md, "Safety". A rule is taken out by replacing the one function in which
it lives; then some seed has to break an invariant.
"""

from collections.abc import Callable
from random import Random
from typing import Any

import pytest

from hbd.core import claims, custody
from hbd.core.claims import Peer, PeerKind
from hbd.core.groups import Group
from hbd.core.groupstate import Phase
from hbd.core.report import Posture
from hbd.sim.faults import Fault, Planned
from hbd.sim.world import Violation, World

SEEDS = 1500


def _first_violation(
    plans: Callable[[int], list[Planned] | None] = lambda seed: None, seeds: int = SEEDS
) -> str | None:
    for seed in range(seeds):
        try:
            World(seed, plans(seed)).run()
        except Violation as violation:
            return str(violation)
    return None


def _talk_on_a_bad_wire(seed: int) -> list[Planned]:
    """Both nodes want things of each other while datagrams are late, lost and doubled."""
    rng = Random(seed)
    wants = (Fault.TAKEOVER, Fault.STANDBY, Fault.STOP, Fault.START_FAILS, Fault.KILL)
    wishes = [Planned(rng.randint(0, 6000), rng.choice(wants), rng.randrange(2), 900) for _ in range(5)]
    return [Planned(0, rng.choice((Fault.LATE, Fault.LOSS)), 0, 8000), *sorted(wishes, key=lambda p: p.at_ms)]


def _found(monkeypatch: pytest.MonkeyPatch, place: Any, name: str, without: Any, **kw: Any) -> str:
    monkeypatch.setattr(place, name, without)
    found = _first_violation(**kw)
    assert found is not None, f"{SEEDS} seeds do not miss {name}"
    return found


def test_rule_1_a_node_that_has_not_reported_since_may_hold_anything(monkeypatch: pytest.MonkeyPatch) -> None:
    def only_what_it_says(peer: Peer, group: str, digest: str, claim: tuple[int, int] | None) -> bool:
        return not peer.dead and not peer.gone and peer.entry(group).claims

    _found(monkeypatch, claims, "may_hold", only_what_it_says, plans=_talk_on_a_bad_wire)


def test_rule_2_a_claim_stands_from_the_first_start_to_the_last_stop(monkeypatch: pytest.MonkeyPatch) -> None:
    def only_what_runs(group: Group) -> Posture:
        return Posture.RUNNING if group.phase is Phase.STARTED else Posture.NONE

    _found(monkeypatch, Group, "posture", property(only_what_runs))


def test_rule_3_nothing_starts_before_the_peer_echoes_that_claim(monkeypatch: pytest.MonkeyPatch) -> None:
    def its_last_report_was_none(peer: Peer, group: str, digest: str, claim: tuple[int, int] | None) -> bool:
        if peer.dead or peer.gone:
            return False
        if peer.kind is not PeerKind.HBD or peer.report is None or peer.report.groups is None:
            return True
        return peer.report.digest != digest or peer.entry(group).claims

    _found(monkeypatch, claims, "may_hold", its_last_report_was_none, plans=_talk_on_a_bad_wire)


def test_rule_8_overlapping_claims_are_a_conflict(monkeypatch: pytest.MonkeyPatch) -> None:
    _found(monkeypatch, custody.Custody, "_in_conflict", lambda self, group, peer: False)


def test_rule_9_both_nodes_compute_the_same_loser(monkeypatch: pytest.MonkeyPatch) -> None:
    def plans(seed: int) -> list[Planned]:
        return [Planned(0, Fault.CUT, 0, 8000)]

    assert _first_violation(plans, seeds=20) is None
    _found(monkeypatch, claims, "loses", lambda *anything: True, plans=plans)


def test_rule_11_a_forced_release_takes_the_addresses_off_first(monkeypatch: pytest.MonkeyPatch) -> None:
    _found(monkeypatch, custody.Custody, "_drop", lambda self, groups: None)


def test_rule_16_nothing_is_said_before_every_member_was_probed(monkeypatch: pytest.MonkeyPatch) -> None:
    def assume_nothing_runs(self: custody.Custody, held: Any, late: bool) -> None:
        return None

    _found(monkeypatch, custody.Custody, "probe", assume_nothing_runs)


def test_rule_22_a_node_that_could_not_start_a_group_remembers_it(monkeypatch: pytest.MonkeyPatch) -> None:
    # Its home node cannot start it and is killed and powered off again and again.
    def plans(seed: int) -> list[Planned]:
        return [
            Planned(0, Fault.START_FAILS, seed % 2, 1),
            *(Planned(1500 * n, Fault.STANDBY, n % 2, 1) for n in range(1, 4)),
        ]

    forgetful = property(lambda self: False, lambda self, value: None)
    monkeypatch.setattr(Group, "unable", forgetful, raising=False)
    assert _first_violation(plans) is not None
