"""auto_failback legacy beside heartbeat 3.0.6: the home node asks for each of its groups.

Nothing of the talk in sets is spoken then. A node that starts requests its own groups one by one; who has one
releases it and says so, and the asker may start it. What is not at home here is ours while the peer is dead.
Facts: heartbeat 3.0.6, observed; it answers at once, we when the group has stopped.
"""

from __future__ import annotations

from collections.abc import Callable

from hbd.config.model import Config, GroupSpec
from hbd.core import message as f
from hbd.core import protocol
from hbd.core.classic_sets import set_of
from hbd.core.desk import Desk
from hbd.core.message import Message
from hbd.core.yielding import Yielding

REQUEST_AGAIN_MS = 5000
REUNION_MS = 3000
"""How long a 3.0.6 node that we had buried may take to say that it releases everything. It does so 2 s after
it hears us again, if it noticed the partition at all; otherwise two owners are nothing that it acts on."""


class Legacy:
    """Requests for single groups, ours and the peer's, and what they were answered."""

    def __init__(
        self, config: Config, desk: Desk, say: Callable[[protocol.Fields], None], yielding: Yielding
    ) -> None:
        self._config, self._desk, self._say, self._yielding = config, desk, say, yielding
        self._me = config.local_node
        self._granted: set[str] = set()
        self._requested: dict[str, None] = {}
        """Groups of ours that the peer was asked for and has not answered."""
        self._request_ms: int | None = None
        self._owed: set[str] = set()
        self._free_ms: int | None = None
        """When to tell a node that does not ask which of its groups do not run here."""
        self._found: set[str] = set()
        """Groups that ran here when the conversation began."""
        self._peer_starts = False
        """It asked for its groups, as a node does once in its life."""
        self._buried_us = False
        """It said so itself, or we buried it, and neither of us has restarted."""

    def reconfigure(self, config: Config) -> None:
        self._config = config

    def deadlines_ms(self) -> tuple[int | None, ...]:
        return self._request_ms, self._free_ms

    def lets(self, group: GroupSpec) -> bool:
        return group.key in self._granted

    def peer_runs(self, group: GroupSpec) -> bool:
        """A living peer has its own groups."""
        return group.home != self._me and group.key not in self._granted

    # ------------------------------------------------------------ beginnings and ends

    def begin(self, running: tuple[GroupSpec, ...], doubtful: tuple[GroupSpec, ...]) -> None:
        """What runs here is ours, but for what the peer may have taken over: that has to be asked for."""
        self._found = {group.key for group in running}
        self._granted = self._found - {group.key for group in doubtful}

    def communication_up(self) -> None:
        """We are active, and the peer lives."""
        self._request_ours()
        self._free_ms = self._desk.now.ms + REUNION_MS

    def peer_left(self) -> None:
        """It died, or said goodbye: everything is ours."""
        self.rest()
        self._granted = {group.key for group in self._config.groups}
        self._owed.clear()

    def peer_restarted(self) -> None:
        """A new life of the peer: it asks by itself, and expects no answer to what the former one asked."""
        self._peer_starts = False
        self._owed.clear()

    def reunite(self) -> None:
        """We had buried it, and it lives: it may still hold what it held, or all."""
        self._peer_starts, self._buried_us = False, True
        self._yielding.due_ms = self._desk.now.ms + REUNION_MS

    def rest(self) -> None:
        """Nothing is asked or told any more."""
        self._request_ms = self._free_ms = None

    def ask_again(self, due_ms: int) -> None:
        """We were absent: the peer may have taken what is ours. It is asked when old answers are through."""
        self._granted -= {group.key for group in self._config.groups if group.home == self._me}
        keys = [group.key for group in self._config.groups if group.home == self._me]
        self._requested = dict.fromkeys(keys)
        self._request_ms = due_ms if keys else None

    def give(self, group: GroupSpec) -> None:
        """The peer takes this one over."""
        self._yielding.give(group, set_of(group, self._me))
        self._granted.discard(group.key)

    # ------------------------------------------------------------ messages

    def said(self, kind: str, message: Message) -> None:
        """One message of the conversation."""
        if kind == protocol.STONITH and message.text(f.NODE) == self._me and self._yielding.due_ms is None:
            # It takes what is ours.
            self._buried_us = True
            self._yielding.due_ms = self._desk.now.ms + REUNION_MS
        group = self._group_named(message.text(f.IPADDR))
        if group is None:
            return
        match kind:
            case protocol.IP_REQUEST:
                self._peer_starts = True
                self.give(group)
                self._owed.add(group.key)
            case protocol.IP_REQUEST_RESP if message.text(f.OK) == "OK" and group.home == self._me:
                self._granted.add(group.key)
                self._requested.pop(group.key, None)

    def _group_named(self, name: str | None) -> GroupSpec | None:
        return next((group for group in self._config.groups if group.name == name), None)

    def released(self, still_held: tuple[GroupSpec, ...]) -> None:
        """Answer what was asked for and has stopped."""
        held = {group.key for group in still_held}
        for key in sorted(self._owed - held):
            self._owed.discard(key)
            for group in self._config.groups:
                if group.key == key:
                    self._say(protocol.ip_request_resp(group.home, group.name))

    # ------------------------------------------------------------ time

    def tick(self) -> None:
        now_ms = self._desk.now.ms
        if self._request_ms is not None and now_ms >= self._request_ms:
            self._request()
        if self._free_ms is not None and now_ms >= self._free_ms:
            self._free_ms = None
            self._tell_what_is_free()

    def _request_ours(self) -> None:
        keys = [group.key for group in self._config.groups if group.home == self._me]
        self._requested = {key: None for key in keys if key not in self._granted}
        self._request()

    def _request(self) -> None:
        """Ask for what was not answered; again later, for the peer may bury us before it hears it."""
        for group in self._config.groups:
            if group.key in self._requested:
                self._say(protocol.ip_request(group.name))
        self._request_ms = self._desk.now.ms + REQUEST_AGAIN_MS if self._requested else None

    def _tell_what_is_free(self) -> None:
        """It may have asked our life before this one, which ended too early to answer; it asks only once.

        One that asks does so when it starts. What it runs already it goes on running when it hears this.
        """
        if self._peer_starts:
            return
        for group in self._config.groups:
            ours = group.home == self._me or group.key in self._granted | self._found | self._owed
            if not ours and group.key not in self._yielding:
                self._say(protocol.ip_request_resp(group.home, group.name))

    def give_way(self) -> tuple[GroupSpec, ...]:
        """Ask for our own; returns what the peer holds too.

        It has its own groups (and asks for none that it found running), and gives ours up when asked.
        """
        ours = [group.key for group in self._config.groups if group.home == self._me]
        if self._peer_starts and not self._buried_us:
            # It found nothing of ours running; what we have not got back ourselves is still asked for.
            ours = [key for key in ours if key not in self._granted]
        self._requested = dict.fromkeys(ours)
        self._buried_us = False
        self._request()
        return tuple(group for group in self._config.groups if group.home != self._me)

    def owe(self, group: GroupSpec) -> None:
        """This one ran on both, and stops here: the peer is told when it has."""
        self._owed.add(group.key)
