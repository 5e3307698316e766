"""heartbeat 3.0.6's way to say who holds what: two sets, and where the talk about them stands.

`local` are the groups at home on the node that speaks, `foreign` those at home on the other; so every word is
in its sender's own terms, and `mirror` turns it round. Facts: heartbeat 3.0.6, observed.
"""

from __future__ import annotations

from enum import Enum

from hbd.config.model import GroupSpec

Sets = frozenset[str]
NONE: Sets = frozenset()
LOCAL: Sets = frozenset({"local"})
FOREIGN: Sets = frozenset({"foreign"})
ALL: Sets = LOCAL | FOREIGN
WORDS = {"none": NONE, "local": LOCAL, "foreign": FOREIGN, "all": ALL, "failback": FOREIGN}


def mirror(sets: Sets) -> Sets:
    """The same groups in the other node's terms."""
    return frozenset({"local": "foreign", "foreign": "local"}[each] for each in sets)


def named(sets: Sets) -> str:
    """3.0.6's word for a set."""
    return next(name for name, each in WORDS.items() if each == sets)


def set_of(group: GroupSpec, node: str) -> Sets:
    """The set of this group in this node's terms."""
    return LOCAL if group.home == node else FOREIGN


class Phase(Enum):
    """Where the start-up conversation stands."""

    INIT = "init"
    STARTING = "starting"
    BOTH_STARTING = "both starting"
    RECEIVED = "resource message received"
    STABLE = "stable"


class Holdings:
    """Who holds which set, by what both said. The parts of the conversation share it."""

    def __init__(self) -> None:
        self.phase = Phase.INIT
        self.mine: Sets = NONE
        self.theirs: Sets = ALL
        self.peer_stable = False
        self.reported = False
        """The peer has said what it holds, since its or our last beginning."""

    @property
    def nobodys(self) -> Sets:
        """What neither holds, in our terms."""
        return ALL - self.mine - mirror(self.theirs)
