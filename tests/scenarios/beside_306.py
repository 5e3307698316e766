"""How a story begins in which our node stands beside a heartbeat 3.0.6 node, played by a puppet.

`alpha` is ours, with the group 10.0.0.1; `beta` is theirs, with 10.0.0.2. The time lines are those of two
real daemons.
"""

from __future__ import annotations

from hbd.config.model import AutoFailback
from hbd.core import protocol
from hbd.core.views import ClusterState
from tests.scenarios.pair import Pair
from tests.scenarios.puppet import Puppet

START_SHOP = ["start 10.0.0.1", "start web.service", "start db.service"]
START_FILES = ["start 10.0.0.2", "start ftp.service"]
STOP_SHOP = ["stop db.service", "stop web.service", "stop 10.0.0.1"]
STOP_FILES = ["stop ftp.service", "stop 10.0.0.2"]


def both_start(failback: AutoFailback = AutoFailback.OFF) -> tuple[Pair, Puppet]:
    """Both come up together and know that nobody holds anything yet."""
    pair = Pair(failback)
    return pair, start_beside_beta(pair)


def start_beside_beta(pair: Pair) -> Puppet:
    """The same with a pair of one's own."""
    beta = Puppet(pair, "beta").lives()
    pair.alpha.start_daemon()
    pair.run(50)
    beta.becomes("active")
    beta.say(protocol.starting())
    beta.resource("none", 0)
    pair.run(50)
    return beta


def both_at_home(failback: AutoFailback = AutoFailback.OFF) -> tuple[Pair, Puppet]:
    """Each runs its own group, and everything is stable."""
    pair, beta = both_start(failback)
    beta.resource("local", 1)
    pair.run(1000)
    assert pair.jobs(pair.alpha) == START_SHOP
    assert pair.view(pair.alpha).state is ClusterState.STABLE
    return pair, beta


def alone_with_all(failback: AutoFailback = AutoFailback.OFF) -> Pair:
    """Ours has declared the other dead at initdead, and runs everything."""
    pair = Pair(failback)
    pair.alpha.start_daemon()
    pair.until(lambda: len(pair.alpha.running) == 5, 11_000)
    pair.run(1000)
    return pair


def healed_after_a_cut(failback: AutoFailback = AutoFailback.OFF) -> tuple[Pair, Puppet, int]:
    """Ours has taken everything in a partition, and meets theirs again."""
    pair, beta = both_at_home(failback)
    pair.cut()
    pair.until(lambda: len(pair.alpha.running) == 5, 3000)
    pair.heal()
    healed_ms = pair.now_ms
    pair.until(lambda: "starting" in beta.heard_since(healed_ms), 1000)
    return pair, beta, healed_ms


def survivor_restarts_quickly() -> tuple[Pair, Puppet, int]:
    """Theirs ran everything, was restarted before ours could declare it dead, and has nothing any more."""
    pair, beta, _ = survivor_holds_all()
    beta.resource("all", 1)
    pair.run(500)
    beta.restarts()
    beta.joins()
    beta.resource("none", 0)
    beta.resource("local", 1)
    return pair, beta, pair.now_ms


def survivor_holds_all(failback: AutoFailback = AutoFailback.OFF) -> tuple[Pair, Puppet, int]:
    """Theirs runs everything, and ours comes."""
    pair = Pair(failback)
    beta = Puppet(pair, "beta").lives(st="active")
    pair.run(1000)
    joined_ms = pair.now_ms
    pair.alpha.start_daemon()
    pair.until(lambda: "starting" in beta.heard_since(), 500)
    return pair, beta, joined_ms
