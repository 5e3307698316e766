"""The handshake of heartbeat 3.0.6's standby: four `ask_resources` messages, me, other, done, done.

    the giver     GIVING ──other──▶ RELEASING ──last stop──▶ WAITING ──done──▶ over
                     │ me            ▲ other                    │ done           ▲ done
    the taker        └────────────▶ TAKING ────────────────────▶└──▶ ACQUIRING ──┘ last start

Facts: heartbeat 3.0.6, observed. It refuses silently, so what is not answered ends by time.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum

from hbd.config.model import GroupSpec
from hbd.core import protocol
from hbd.core.classic_sets import FOREIGN, NONE, WORDS, Holdings, Phase, Sets, mirror, named, set_of
from hbd.core.desk import Desk
from hbd.core.effects import Kind
from hbd.core.failback import Failback
from hbd.errors import Refused

ANSWER_MS = 10_000
HANDOVER_MS = 3_600_000
RETRY_MS = 1000
UNABLE_MS = 30_000
"""How long after a failed start the set is offered to the peer (heartbeat 3.0.6, ResourceManager)."""


class Role(Enum):
    """Our part in a standby handshake."""

    NONE = "none"
    GIVING = "giving"
    RELEASING = "releasing"
    WAITING = "waiting"
    """Released; the peer acquires."""
    TAKING = "taking"
    """The peer releases."""
    ACQUIRING = "acquiring"


class StandbyHandshake:
    """One handshake at a time, with the peer of one conversation.

    `report` says what we hold; `ask` asks what the peer holds. Both are the conversation's.
    """

    def __init__(
        self, node: str, desk: Desk, say: Callable[[protocol.Fields], None], sets: Holdings,
        failback: Failback, report: Callable[[], None], ask: Callable[[], None],
    ) -> None:  # fmt: skip
        self._me, self._desk, self._say = node, desk, say
        self._sets, self._failback = sets, failback
        self._report, self._ask = report, ask
        self.role = Role.NONE
        self.was_taken = False
        """The peer confirmed the last set that we offered."""
        self._scope: Sets = NONE
        self._given: Sets = NONE
        self._kept: Sets = NONE
        """What the peer said that it holds on to of what it offered, in its own terms."""
        self._scope_word = ""
        self._until_ms: int | None = None
        self._release_seen = False
        """The peer has begun to release what it offered."""
        self._taking_ms: int | None = None
        """When to look whether the peer gives what it offered."""
        self._unable: dict[str, int | None] = {}
        """Groups that did not start here -> when to offer their set to the peer; None = offered."""

    def deadlines_ms(self) -> tuple[int | None, ...]:
        return self._until_ms, self._taking_ms, *self._unable.values()

    @property
    def leaving(self) -> Sets:
        """What we give away, and do not start any more."""
        return self._scope if self._is_leaving else NONE

    @property
    def _is_leaving(self) -> bool:
        return self.role in (Role.RELEASING, Role.WAITING)

    @property
    def at_rest(self) -> bool:
        """Nothing of ours moves by it."""
        return self.role in (Role.NONE, Role.TAKING)

    def end(self) -> None:
        self.role, self._until_ms, self._taking_ms = Role.NONE, None, None

    def peer_restarted(self) -> None:
        """A new life of the peer knows of no handshake."""
        if self._is_leaving:
            # Nobody has what we gave away: it is ours again, unless the new life says otherwise.
            self._sets.mine |= self._given
        if self.role is not Role.NONE:
            self.end()

    # ------------------------------------------------------------ giving

    def offer(self, word: str, busy: bool, transition: int = 0) -> Sets:
        """Offer a set to the peer; returns it. Raises Refused."""
        if self.role is not Role.NONE and not self._offer_is_off:
            raise Refused("a standby is in progress")
        if self._sets.phase is not Phase.STABLE or busy:
            raise Refused("local resources in flux")
        if not self._sets.peer_stable:
            raise Refused("other side is in flux")
        scope = WORDS[word]
        self._enter(Role.GIVING, scope, word, ANSWER_MS)
        self._failback.forget_our_own()
        self.was_taken = False
        self._sets.peer_stable = False
        self._say(protocol.ask_resources(word, "me"))
        text = f"{self._me} wants to go standby [{word}]"
        self._desk.info(Kind.STANDBY, text, transition=transition)
        return scope

    @property
    def _offer_is_off(self) -> bool:
        """It offered a set, then said that it is stable and not that it releases: it refused its own `me`."""
        waited = self.role is Role.TAKING and self._taking_ms is None
        return waited and self._sets.peer_stable and not self._release_seen

    def offer_unable(self, unable: tuple[GroupSpec, ...], busy: bool) -> None:
        """Groups that did not start here go to the peer, once for each failure, as 3.0.6 meant to do."""
        now_ms, keys = self._desk.now.ms, {group.key for group in unable}
        self._unable = {key: due for key, due in self._unable.items() if key in keys}
        for group in unable:
            due_ms = self._unable.setdefault(group.key, now_ms + UNABLE_MS)
            if due_ms is None or now_ms < due_ms:
                continue
            try:
                self.offer(named(set_of(group, self._me)), busy)
                self._unable[group.key] = None
            except Refused:
                self._unable[group.key] = now_ms + RETRY_MS

    def released(self, still_held: tuple[GroupSpec, ...]) -> None:
        """Custody's state after a step: whether what we give away has stopped."""
        if self.role is not Role.RELEASING:
            return
        if any(set_of(group, self._me) <= self._scope for group in still_held):
            return
        self._desk.info(Kind.STANDBY, f"Local standby process completed [{self._scope_word}].")
        self._given = self._sets.mine & self._scope
        self._sets.mine -= self._scope
        self._failback.needed = False
        if self.was_taken:
            self.end()
            self._report()
            return
        self._enter(Role.WAITING, self._scope, self._scope_word, HANDOVER_MS)
        # It compares what we said last with what it has then: `Both machines own our resources!`.
        self._say(protocol.resource(named(self._sets.mine), False, "standby"))
        self._say(protocol.ask_resources(self._scope_word, "done"))

    def holds(self, theirs: Sets) -> bool:
        """Whether the peer, holding this, has what we meant last."""
        return mirror(self._scope) <= theirs

    def note_taken(self) -> None:
        """It buried us in the middle of a handover, which ended it there, and has what we were giving."""
        if self._is_leaving:
            self.was_taken = True
            if self.role is Role.WAITING:
                self.end()
                self._report()

    # ------------------------------------------------------------ taking

    def _asked_by(self, peer: str, word: str, busy: bool) -> None:
        self._desk.info(Kind.STANDBY, f"{peer} wants to go standby [{word}]", node=peer)
        if self._sets.phase is not Phase.STABLE or busy:
            text = f"standby message [me] from {peer} ignored.  local resources in flux."
            self._desk.warn(Kind.STANDBY, text, node=peer)
            if WORDS[word] == FOREIGN:
                self._failback.missed_our_own()
            return
        if self._failback.declines(WORDS[word]):
            text = f"standby message [me] from {peer} ignored.  An address has or had no carrier here."
            self._desk.warn(Kind.STANDBY, text, node=peer)
            self._failback.missed_our_own()
            return
        self._sets.peer_stable = False
        self._failback.forget_our_own()
        self._enter(Role.TAKING, WORDS[word], word, HANDOVER_MS)
        self._say(protocol.ask_resources(word, "other"))

    def note_release(self, sets: Sets) -> None:
        """It has begun to release, and says what it keeps meanwhile."""
        self._release_seen, self._kept = True, sets & self._scope

    def acquired(self) -> None:
        """Everything that the conversation gave us runs."""
        if self.role is Role.ACQUIRING:
            self._desk.info(Kind.STANDBY, f"Standby resource acquisition done [{self._scope_word}].")
            word = self._scope_word
            self.end()
            self._say(protocol.ask_resources(word, "done"))
            self._report()

    # ------------------------------------------------------------ both

    def said(self, peer: str, info: str, word: str, busy: bool) -> None:
        """One `ask_resources`. `busy`: groups of ours are in motion."""
        if word not in WORDS:
            return
        match info, self.role:
            case "me", Role.NONE | Role.TAKING if self.role is Role.NONE or self._offer_is_off:
                self._asked_by(peer, word, busy)
            case "other", Role.GIVING:
                self._desk.info(Kind.STANDBY, f"standby: {peer} can take our {word} resources", node=peer)
                self._enter(Role.RELEASING, self._scope, word, HANDOVER_MS)
                self._say(protocol.resource(named(self._sets.mine), False, "standby"))
            case "done", Role.TAKING:
                text = f"standby: acquire [{word}] resources from {peer}"
                self._desk.info(Kind.STANDBY, text, node=peer)
                # It releases what it meant at first, not what a later offer says that it ignored itself.
                given = self._scope - self._kept
                self._sets.theirs -= given
                self._sets.mine |= mirror(given)
                self._enter(Role.ACQUIRING, self._scope, word, HANDOVER_MS)
            case "done", Role.WAITING:
                self.was_taken = True
                text = f"Other node completed standby takeover of {word} resources."
                self._desk.info(Kind.STANDBY, text, node=peer)
                self._sets.theirs |= mirror(self._scope)
                self.end()
                self._report()
            case _:
                text = f"Ignored standby message '{info}' from {peer} in state {self.role.value}"
                self._desk.warn(Kind.STANDBY, text, node=peer)

    def _enter(self, role: Role, scope: Sets, word: str, limit_ms: int) -> None:
        self.role, self._scope, self._scope_word = role, scope, word
        self._until_ms = self._desk.now.ms + limit_ms
        self._taking_ms = self._desk.now.ms + ANSWER_MS if role is Role.TAKING else None
        self._release_seen, self._kept = False, NONE

    def look_for_the_release(self) -> None:
        """A peer that offered and then does not give has refused its own offer: what does it hold?"""
        if self._taking_ms is not None and self._desk.now.ms >= self._taking_ms:
            self._taking_ms = None
            if self.role is Role.TAKING and not self._release_seen:
                self.end()
                self._ask()

    def expire(self) -> None:
        """An answer that never came."""
        if self._until_ms is not None and self._desk.now.ms >= self._until_ms:
            self._desk.warn(Kind.STANDBY, "No reply to standby request.  Standby request cancelled.")
            self.end()
            self._report()
