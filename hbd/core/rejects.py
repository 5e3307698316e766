"""Log lines about datagrams that were dropped: one of a kind within a while, and how many were like it."""

from __future__ import annotations

from hbd.core.desk import Desk
from hbd.core.effects import Kind, Level

LOG_EVERY_MS = 10_000
"""One kind of dropped datagram is logged at most so often."""


class Rejects:
    """What was dropped, and why. `log_strangers`: also what no node of ours signed (ha.cf, log_badpack)."""

    def __init__(self, desk: Desk, log_strangers: bool) -> None:
        self._desk, self.log_strangers = desk, log_strangers
        self._quiet: dict[str, tuple[int, int]] = {}
        """By reason: until when it is not logged, and how many were not."""

    def tell(self, reason: str, node: str, detail: str) -> None:
        """Log it, unless one like it was just logged. Old duplicates are everyday."""
        if reason == "old duplicate" or (not self.log_strangers and not node):
            return
        now_ms = self._desk.now.ms
        next_ms, hidden = self._quiet.get(reason, (now_ms, 0))
        if now_ms < next_ms:
            self._quiet[reason] = (next_ms, hidden + 1)
            return
        self._quiet[reason] = (now_ms + LOG_EVERY_MS, 0)
        more = f" ({hidden} more like it since the last line)" if hidden else ""
        kind = Kind.REPLAY if reason == "replay" else Kind.BAD_PACKET
        self._desk.log(Level.ERROR, kind, _drop_text(reason, node, detail) + more, node=node)


def _drop_text(reason: str, node: str, detail: str) -> str:
    match reason:
        case "replay":
            return f"should_drop_message: attempted replay attack [{node}]? [{detail}]"
        case "unknown node":
            return f"process_status_message: bad node [{node}] in message"
        case "rexmit":
            return detail
        case "own uuid, other name":
            return f"node {node} uses this node's uuid: one of two cloned disks needs a new /var/lib/hbd/uuid"
        case _:
            return f"dropped a datagram: {detail or reason}"
