"""Standby and takeover between the real heartbeat 3.0.6 and hbd, asked for on either side.

In every story 3.0.6 is on linuxha1 in one lab and on linuxha2 in another, at the same time.
"""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pytest

from tests.lab import classic
from tests.lab.cluster import said
from tests.lab.journal import now_us
from tests.lab.mixed import HOMES, Mixed, at_once, configure, held, never_answered_by_two, truth_of


@dataclass(frozen=True, slots=True)
class Move:
    """A command on one of the machines, and who has everything then; None = each has its own."""

    by: str
    command: str
    which: str
    then: str | None

    def __str__(self) -> str:
        return f"{self.by}: {self.command} {self.which}"


# Each begins where the one before it has ended; the first, and the last, with everything at home.
MOVES = (
    Move("real", "standby", "all", "ours"),
    Move("real", "takeover", "local", None),
    Move("ours", "standby", "local", "real"),
    Move("real", "standby", "foreign", None),
    Move("ours", "takeover", "foreign", "ours"),
    Move("ours", "standby", "failback", None),
    Move("real", "takeover", "foreign", "real"),
    Move("ours", "takeover", "local", None),
    Move("real", "standby", "local", "ours"),
    Move("ours", "standby", "all", "real"),
    Move("real", "standby", "failback", None),
    # heartbeat 3.0.6 takes `takeover failback` for `takeover all`.
    Move("real", "takeover", "failback", "real"),
    Move("ours", "takeover", "all", "ours"),
    Move("ours", "standby", "foreign", None),
    Move("real", "takeover", "all", "real"),
    Move("ours", "takeover", "failback", "ours"),
)


@pytest.fixture
def at_home(pairs: list[Mixed]) -> Iterator[list[Mixed]]:
    """Both daemons run, each with its own group, and what is handed over stays there."""

    def begin(pair: Mixed) -> None:
        configure(pair.lab, "off")
        pair.begin()

    at_once(pairs, begin)
    yield pairs
    at_once(pairs, Mixed.stop)


def test_every_standby_and_takeover_moves_the_same_as_between_two_of_3_0_6(at_home: list[Mixed]) -> None:
    def story(pair: Mixed) -> None:
        began_us = now_us()
        with never_answered_by_two(pair.lab):
            for move in MOVES:
                play(pair, move)
        assert said(pair.ours, "is dead", began_us) + classic.said(pair.real, "is dead", began_us) == []
        assert classic.complaints(pair.real, began_us) == []

    at_once(at_home, story)


def play(pair: Mixed, move: Move) -> None:
    """Order it, and see it done; once more where 3.0.6's own scripts have spoilt its messages."""
    # Who waits for an answer that was lost waits 10 s.
    pair.unless_spoilt(lambda: play_once(pair, move), lambda: time.sleep(11))


def play_once(pair: Mixed, move: Move) -> None:
    """`hbctl --wait` returns when the truth is what was asked for."""
    owners = HOMES if move.then is None else pair.everything_on(getattr(pair, move.then))
    orders: dict[str, Callable[..., None]] = {"standby": classic.standby, "takeover": classic.takeover}
    if move.by == "real":
        orders[move.command](pair.real, move.which)
    else:
        pair.ours.run(["hbctl", move.command, move.which, "--wait"])
        assert held(pair.lab) == truth_of(owners)
    pair.settle(owners)
