"""The core's counters as names and numbers, for GetStatistics and the metrics file. Nothing reads them back.

A figure that there is once is a number. One for each node, link or group is a list of pairs, called by the
node's name, by `NODE:LINK`, or by words with a colon between them.
"""

from __future__ import annotations

from hbd.core.membership import Membership
from hbd.core.tally import COUNTED, Tally

Figure = int | tuple[tuple[str, int], ...]


def of(membership: Membership, tally: Tally, now_ms: int) -> dict[str, Figure]:
    """Everything that is counted by name."""
    nodes = membership.liveness.node_figures()
    links = membership.liveness.link_figures(now_ms)
    return {
        **{name: tally.counts[name] for name in COUNTED.values()},
        "heartbeats_received": tuple((name, node.heartbeats) for name, node in nodes.items()),
        "heartbeats_late": tuple((name, node.late) for name, node in nodes.items()),
        "heartbeat_longest_ms": tuple((name, node.longest_ms) for name, node in nodes.items()),
        "messages_missed": tuple(membership.lost.items()),
        "deaths": tuple((name, tally.deaths[name]) for name in nodes),
        "clock_ahead_s": tuple(membership.clock_ahead_s.items()),
        "link_messages": tuple((_link(key), link.messages) for key, link in links.items()),
        "link_silent_ms": tuple((_link(key), link.silent_ms) for key, link in links.items()),
        "link_lost": tuple((_link(key), membership.losses.lost(*key)) for key in links),
        "link_late": tuple((_link(key), link.late) for key, link in links.items()),
        "transitions": tuple((":".join(key), span.count) for key, span in tally.transitions.items()),
        "transitions_ms": tuple((":".join(key), span.total_ms) for key, span in tally.transitions.items()),
        "group_jobs": tuple((":".join(key), span.count) for key, span in tally.groups.items()),
        "group_jobs_ms": tuple((":".join(key), span.total_ms) for key, span in tally.groups.items()),
    }


def _link(key: tuple[str, str]) -> str:
    return ":".join(key)
