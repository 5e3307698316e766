"""What follows when a `failfast` client has failed: this machine is rebooted.

    well ──a failfast client failed──▶ leaving ──all released, goodbye said──▶ reboot in order
                                          │ a group is blocked, and nothing else moves
                                          ▼
                                        stuck ──a device had time to reset the machine──▶ reboot at once

heartbeat 3.0.6 reboots at once and without a word. Released first and said goodbye, the peer serves sooner
than after its deadtime, and nothing is cut off in the middle; the reboot comes in any case.
"""

from __future__ import annotations

from collections.abc import Collection

from hbd.core.desk import Desk
from hbd.core.effects import Kind, Level, Reboot
from hbd.core.groups import Group
from hbd.core.groupstate import Phase


class Vital:
    """Whether a program without which this machine must not go on has failed."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self.lost = False
        self._stuck_ms: int | None = None

    def blocked(self, groups: Collection[Group]) -> list[Group]:
        """Groups that stand in the way of the reboot."""
        if not self.lost:
            return []
        return [group for group in groups if group.phase is Phase.BLOCKED]

    def must_reboot_now(self, groups: Collection[Group], bite_ms: int) -> bool:
        """Whether waiting for an orderly release has no more sense. `bite_ms` is what the watchdog device,
        if there is one, may take to reset the machine: nothing is safer than that."""
        if not self.blocked(groups) or any(group.busy for group in groups):
            self._stuck_ms = None
            return False
        now_ms = self._desk.now.ms
        if self._stuck_ms is None:
            self._stuck_ms = now_ms
        return now_ms - self._stuck_ms >= bite_ms

    @property
    def reboot(self) -> Reboot:
        """What an orderly end of hbd is followed by."""
        return Reboot.IN_ORDER if self.lost else Reboot.NO

    def give_up(self) -> None:
        """Say why there is no goodbye."""
        text = "a resource does not stop, and a failfast client has failed: this machine is rebooted at once"
        self._desk.log(Level.CRIT, Kind.CLIENT, text)
