"""heartbeat 3.0.6's resource conversation, for as long as the peer is one.

A 3.0.6 node does not say what it holds in every heartbeat; it talks in sets, `local` and `foreign`, each in
the sender's own terms. The theory, with `mine` and `theirs` as subsets of {local, foreign}:

    INIT ──comm up──▶ STARTING ──peer's starting──▶ BOTHSTARTING ──any resource message──▶ RSCRCVD
                         └────────any resource message────────────────────────────────────▶│
                                                   peer stable, or 10 s after RSCRCVD ──▶ STABLE

Our own set is taken once the peer is stable or the 10 s are over, unless the peer holds it as its foreign.
Standby is a handshake of four `ask_resources` messages: me, other, done, done. With auto_failback legacy none
of this is spoken: the home node requests each of its groups, and the holder releases it and says so.

This machine decides which groups the conversation lets us run (`lets`); custody starts and stops them. Facts:
heartbeat 3.0.6, observed. Unlike it, we answer at once and report a stop only when it is done.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum

from hbd.config.model import AutoFailback, Config, GroupSpec
from hbd.core import message as f
from hbd.core import protocol
from hbd.core.desk import Desk
from hbd.core.effects import Kind, Level
from hbd.core.events import Scope
from hbd.core.message import Message
from hbd.errors import Refused

REQUEST_DELAY_MS = 10_000
"""How long nobody takes anything after the first resource message, unless somebody is stable."""
ANSWER_MS = 10_000
HANDOVER_MS = 3_600_000
FAILBACK_RETRY_MS = 1000
UNABLE_MS = 30_000
"""How long after a failed start the set is offered to the peer (heartbeat 3.0.6, ResourceManager)."""

REUNION_MS = 3000
"""How long a 3.0.6 node that we had buried may take to say that it releases everything. It does so 2 s after
it hears us again, if it noticed the partition at all; otherwise two owners are nothing that it acts on."""
ASK_AGAIN_MS = 3000
REQUEST_AGAIN_MS = 5000
REPEAT_MS = 2500
"""So long after something of the conversation was sent again, what holds now is said once more."""

Sets = frozenset[str]
NONE: Sets = frozenset()
LOCAL: Sets = frozenset({"local"})
FOREIGN: Sets = frozenset({"foreign"})
ALL: Sets = LOCAL | FOREIGN
_SETS = {"none": NONE, "local": LOCAL, "foreign": FOREIGN, "all": ALL, "failback": FOREIGN}


class Phase(Enum):
    """Where the start-up conversation stands."""

    INIT = "init"
    STARTING = "starting"
    BOTH_STARTING = "both starting"
    RECEIVED = "resource message received"
    STABLE = "stable"


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


def mirror(sets: Sets) -> Sets:
    """The same groups in the other node's terms."""
    return frozenset({"local": "foreign", "foreign": "local"}[each] for each in sets)


def named(sets: Sets) -> str:
    """3.0.6's word for a set."""
    return next(name for name, each in _SETS.items() if each == sets)


class Handover:
    """The conversation with one 3.0.6 peer."""

    def __init__(self, config: Config, desk: Desk, say: Callable[[protocol.Fields], None]) -> None:
        self._config, self._desk, self._say = config, desk, say
        self._me = config.local_node
        self.phase = Phase.INIT
        self.mine: Sets = NONE
        self.theirs: Sets = ALL
        self.peer_stable = False
        self.role = Role.NONE
        self._scope: Sets = NONE
        self._given: Sets = NONE
        self._kept: Sets = NONE
        """What the peer said that it holds on to of what it offered, in its own terms."""
        self.was_taken = False
        """The peer confirmed the last set that we offered."""
        self._scope_word = ""
        self._role_until_ms: int | None = None
        self._release_seen = False
        """The peer has begun to release what it offered."""
        self._taking_ms: int | None = None
        """When to look whether the peer gives what it offered."""
        self._timer_ms: int | None = None
        self._needs_failback = False
        self._failback_ms: int | None = None
        self._granted: set[str] = set()
        self._requested: dict[str, None] = {}
        """auto_failback legacy: groups of ours that the peer was asked for and has not answered."""
        self._request_ms: int | None = None
        self._owed: set[str] = set()
        self._free_ms: int | None = None
        """auto_failback legacy: when to tell a node that does not ask which of its groups do not run here."""
        self._found: set[str] = set()
        """Groups that ran here when the conversation began."""
        self._yielding: dict[str, Sets] = {}
        """Groups that the peer has taken over and that still stop here."""
        self._lost: set[str] = set()
        self._unable: dict[str, int | None] = {}
        """Groups that did not start here -> when to offer their set to the peer; None = offered."""
        self._met = False
        self._parted = False
        """It was dead, and we took everything."""
        self._buried = False
        """A life of it that we knew fell silent: the next may have begun behind a cut, holding everything."""
        self._orphans_ms: int | None = None
        """When to take the sets that neither of us holds."""
        self._repeat_ms: int | None = None
        """When to say again what we hold, because the peer may have got it late and in the wrong order."""
        self._spoke_ms = 0
        self._applied_seq = 0
        """The number of the peer's newest `resource`: an older one comes too late."""
        self._added: tuple[int, Sets] = (0, NONE)
        self._ask_ms: int | None = None
        """When to ask what it holds, unless it has said so by then."""
        self._yield_ms: int | None = None
        """When to give way to what it holds too, unless it leaves by then."""
        self._contested: Sets = NONE
        self._remind_ms: int | None = None
        """When to ask for our own, which it offered while we could not take it; it offers that only once."""
        self._leaving = False
        self._peer_starts = False
        """It asked what we hold, or (legacy) for its groups, as a node does once in its life."""
        self._buried_us = False
        """auto_failback legacy: it said so itself, or we buried it, and neither of us has restarted."""
        self.reported = False
        """The peer has said what it holds, since its or our last beginning."""
        self.peer_is_leaving = False
        """The peer has said in its present life that it shuts down; no life takes that back."""

    @property
    def settled(self) -> bool:
        """The start-up conversation is over: it is known who holds what."""
        return self._legacy or (self.reported and self.phase is Phase.STABLE)

    @property
    def knows(self) -> bool:
        """Whether `lets` can be relied on for what we found running."""
        return self._legacy or self.reported

    @property
    def _legacy(self) -> bool:
        return self._config.auto_failback is AutoFailback.LEGACY

    def reconfigure(self, config: Config) -> None:
        """A reload: groups and auto_failback may differ."""
        self._config = config

    def lets(self, group: GroupSpec) -> bool:
        """Whether the conversation leaves this group to us."""
        if group.key in self._yielding:
            return False
        if self._legacy:
            return group.key in self._granted
        if self._set_of(group) in self._yielding.values():
            return False
        if self.role in (Role.RELEASING, Role.WAITING) and self._set_of(group) <= self._scope:
            return False
        return self._set_of(group) <= self.mine

    def leaves(self, group: GroupSpec) -> bool:
        """Whether we may start this group: it is left to us, and the peer, asked, does not hold it."""
        return self.knows and self.lets(group) and not self.peer_has(group)

    def peer_has(self, group: GroupSpec) -> bool:
        """Whether the peer says that it holds this group, or was seen to."""
        if group.key in self._yielding:
            return True
        return self.reported and self._set_of(group) <= mirror(self.theirs)

    def peer_runs(self, group: GroupSpec) -> bool:
        """Whether the peer has this group, as far as it can be known; a living one has its own in legacy."""
        if self._legacy:
            return group.home != self._me and group.key not in self._granted
        return self.peer_has(group)

    def _set_of(self, group: GroupSpec) -> Sets:
        return LOCAL if group.home == self._me else FOREIGN

    def deadline_ms(self) -> int | None:
        """When `tick` has something to do."""
        times = (
            self._timer_ms, self._role_until_ms, self._failback_ms, self._ask_ms, self._yield_ms,
            self._orphans_ms, self._repeat_ms, self._request_ms, self._taking_ms, self._remind_ms,
            self._free_ms,
            *self._unable.values(),
        )  # fmt: skip
        return min((time for time in times if time is not None), default=None)

    # ------------------------------------------------------------ beginnings and ends

    def begin(self, running: tuple[GroupSpec, ...], doubtful: tuple[GroupSpec, ...], settled: bool) -> None:
        """The peer turns out to be a 3.0.6 node; what runs here by now is ours.

        `doubtful` are those of it that the peer may have taken over: in legacy they have to be asked for.
        """
        self._found = {group.key for group in running}
        self._granted = self._found - {group.key for group in doubtful}
        for group in running:
            self.mine |= self._set_of(group)
        if settled:
            self.phase = Phase.STABLE
        self._met, self._parted = True, False
        if running or not self._legacy:
            self._meet()

    def communication_up(self) -> None:
        """We are active, and the peer lives: ask what it holds."""
        if self._legacy:
            self._request_ours()
            self._free_ms = self._desk.now.ms + REUNION_MS
            return
        self._ask()
        if self.phase is Phase.INIT:
            self.phase = Phase.STARTING

    def _ask(self) -> None:
        """Ask what it holds. `starting` makes it take us for unstable, until we answer its stable answer."""
        self.peer_stable = False
        self._say(protocol.starting())

    def peer_left(self, silently: bool) -> None:
        """It died, or said goodbye: everything is ours."""
        self._buried = silently and self._met
        self.mine, self.theirs, self.peer_stable = ALL, NONE, True
        self.phase = Phase.STABLE
        self._end_role()
        self._timer_ms = None
        self._needs_failback = self._parted = True
        self._ask_ms = self._yield_ms = self._orphans_ms = self._repeat_ms = self._request_ms = None
        self._remind_ms = self._free_ms = None
        self._granted = {group.key for group in self._config.groups}
        self._yielding.clear()
        self._owed.clear()

    def peer_restarted(self) -> None:
        """A new life of the peer: nothing that it said holds."""
        self.peer_stable = self.reported = self._peer_starts = self.peer_is_leaving = False
        self._applied_seq, self._added = 0, (0, NONE)
        self._remind_ms = None
        self._owed.clear()
        self.theirs = mirror(ALL - self.mine)
        if self.role in (Role.RELEASING, Role.WAITING):
            # Nobody has what we gave away: it is ours again, unless the new life says otherwise.
            self.mine |= self._given
        if self.role is not Role.NONE:
            self._end_role()
        self._parted = False
        self._meet()

    def _meet(self) -> None:
        """A life of the peer begins for us; it may have begun long ago, behind a cut.

        A node that starts asks us (legacy: for its groups) by itself.
        """
        if self._leaving:
            return
        due_ms = self._desk.now.ms + REUNION_MS
        self._ask_ms, self._yield_ms = (None, due_ms) if self._legacy else (due_ms, None)

    def _reunite(self) -> None:
        """We had buried it, and it lives: it may still hold what it held, or all."""
        self._parted = False
        if self._legacy:
            self._peer_starts, self._buried_us = False, True
            self._yield_ms = self._desk.now.ms + REUNION_MS
        else:
            self.reported = self.peer_stable = self._peer_starts = False
            self._ask_ms = self._desk.now.ms

    def leave(self) -> None:
        """We are being stopped: the conversation is over, but for the question what we still hold."""
        self._leaving = True
        self._end_role()
        self._timer_ms = self._failback_ms = self._ask_ms = self._yield_ms = None
        self._orphans_ms = self._repeat_ms = self._request_ms = self._remind_ms = None
        self._free_ms = None

    def ask_again(self) -> None:
        """We were absent: what the peer said before may be over. It answers `starting` at any time."""
        if not self._legacy:
            self.reported = self._peer_starts = False
            self._ask()
            return
        self._granted -= {group.key for group in self._config.groups if group.home == self._me}
        self._request_ours()

    def yield_to_peer(self, group: GroupSpec) -> None:
        """The peer has taken over what we held; it is claimed until the last stop is confirmed (rule 5)."""
        self._yielding[group.key] = self._set_of(group)
        self._lost.discard(group.key)
        self._granted.discard(group.key)

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

    # ------------------------------------------------------------ messages

    def said(self, peer: str, kind: str, message: Message, busy: bool) -> None:
        """One message of the conversation. `busy`: groups of ours are in motion."""
        if kind == protocol.RESOURCE and message.text(f.INFO) == "shutdown":
            self.peer_is_leaving = True
        if self._leaving:
            if kind == protocol.STARTING and not self._legacy:
                self._say(protocol.resource(named(self.mine if busy else NONE), False))
            return
        if self._legacy:
            self._legacy_said(peer, kind, message)
            return
        match kind:
            case protocol.STARTING:
                # Unlike 3.0.6 we do not take it for unstable now: if it was stable before it was active, it
                # has no reason to say so again.
                self._peer_starts = True
                if self.phase is Phase.STARTING:
                    self.phase = Phase.BOTH_STARTING
                self._expect_a_word()
                self._report()
            case protocol.RESOURCE if self._is_newer(message):
                self._resource(peer, message)
            case protocol.REXMIT if self._desk.now.ms - self._spoke_ms <= 4 * REPEAT_MS:
                # What it gets again it takes for news: an old `none` would stand for ever.
                self._repeat_ms = self._desk.now.ms + REPEAT_MS
            case protocol.ASK_RESOURCES:
                self._standby_said(peer, message, busy)
            case protocol.HB_TAKEOVER:
                scope = _SETS.get(message.text(f.RSC_HOLD) or "", NONE)
                word = "all" if message.text(f.RSC_HOLD) == "failback" else named(mirror(scope))
                try:
                    self.standby(word, busy)
                except Refused as refused:
                    self._desk.warn(Kind.STANDBY, f"hb_takeover from {peer} ignored: {refused}", node=peer)

    def _is_newer(self, message: Message) -> bool:
        """Retransmissions come late: what is older than what was taken in says nothing (rule 4)."""
        seq = message.hex(f.SEQ)
        if seq is None:
            return True
        newer = seq > self._applied_seq
        if message.text(f.RTYPE) == "full":
            self._applied_seq = max(seq, self._applied_seq)
        return newer

    def _resource(self, peer: str, message: Message) -> None:
        sets = _SETS.get(message.text(f.RSC_HOLD) or "")
        if sets is None:
            return
        first, stable = not self.reported, message.text(f.ISSTABLE)
        full, seq = message.text(f.RTYPE) == "full", message.hex(f.SEQ) or 0
        if not full and seq > self._added[0]:
            self._added = (seq, sets)
        elif full and seq < self._added[0]:
            sets |= self._added[1]
        if message.text(f.INFO) == "standby":
            self._release_seen, self._kept = True, sets & self._scope
        self._note_overlap(sets if full else sets | self.theirs, message.text(f.INFO) or "")
        if first and stable != "1" and (not self._peer_starts or message.text(f.INFO)):
            # Not at its own start, so it holds something or is just letting go of it: wait for a plain word.
            self._expect_a_word()
            return
        self.reported, self._ask_ms, self._buried = True, None, False
        if full:
            # 3.0.6 says `none` before it has released: only a stable report, or done, clears (rule 5).
            # What it says first in its life is no release of anything, and taken as it is.
            early = stable != "1" and not first
            self.theirs = self.theirs if early and sets < self.theirs else sets
        else:
            self.theirs = sets if not sets else self.theirs | sets
        taken = stable == "1" and mirror(self._scope) <= sets
        if taken and (first or self.role is Role.WAITING):
            self._note_taken()
        self._received()
        if stable == "0":
            self.peer_stable = False
        elif stable == "1":
            newly, self.peer_stable = not self.peer_stable, True
            if newly:
                self._desk.info(Kind.TRANSITION, "remote resource transition completed.", node=peer)
                self._report()
                self._schedule_failback()
        if self.peer_stable and self.phase is not Phase.STABLE:
            self._become_stable()

    def _expect_a_word(self) -> None:
        """It talks, so it will say what it holds: when it is stable, at the latest after its 10 s.

        A life that kept everything over `heartbeat -r` says nothing more, and both would go on owning it.
        """
        if self._ask_ms is not None and not self._buried:
            self._ask_ms = self._desk.now.ms + REQUEST_DELAY_MS + ASK_AGAIN_MS

    def _note_overlap(self, sets: Sets, info: str) -> None:
        """Both hold a set: it buried us, or was never dead. It may be about to release everything."""
        overlap = mirror(sets) & self.mine
        if self.role in (Role.RELEASING, Role.WAITING):
            overlap -= self._scope
        if info == "shutdown" or not overlap:
            self._yield_ms = None
        elif self._yield_ms is None:
            self._yield_ms = self._desk.now.ms + REUNION_MS
        self._contested = overlap

    def _note_taken(self) -> None:
        """It buried us in the middle of a handover, which ended it there, and has what we were giving."""
        if self.role in (Role.RELEASING, Role.WAITING):
            self.was_taken = True
            if self.role is Role.WAITING:
                self._end_role()
                self._report()

    def _received(self) -> None:
        if self.phase in (Phase.STARTING, Phase.BOTH_STARTING):
            self.phase = Phase.RECEIVED
            if self._timer_ms is None:
                self._timer_ms = self._desk.now.ms + REQUEST_DELAY_MS

    def _become_stable(self) -> None:
        self.phase, self._timer_ms = Phase.STABLE, None
        if "foreign" not in self.theirs:
            self.mine |= LOCAL
        elif "local" not in self.mine:
            self._desk.info(Kind.TRANSITION, "Local Resource acquisition completed. (none)")
        self._report()
        self._schedule_failback()

    def _report(self, info: str = "") -> None:
        at_rest = self.role in (Role.NONE, Role.TAKING)
        stable = self.phase is Phase.STABLE and at_rest and not self._yielding
        self._spoke_ms = self._desk.now.ms
        self._say(protocol.resource(named(self.mine), stable, info))

    # ------------------------------------------------------------ standby

    def standby(self, word: str, busy: bool) -> Sets:
        """Offer a set to the peer; returns it. Raises Refused."""
        if self._legacy:
            raise Refused("standby and takeover need auto_failback on or off in ha.cf; it is legacy here")
        if self.role is not Role.NONE and not self._offer_is_off:
            raise Refused("a standby is in progress")
        if self.phase is not Phase.STABLE or busy:
            raise Refused("local resources in flux")
        if not self.peer_stable:
            raise Refused("other side is in flux")
        scope = _SETS[word]
        self._enter(Role.GIVING, scope, word, ANSWER_MS)
        self._remind_ms = None
        self.was_taken = False
        self.peer_stable = False
        self._say(protocol.ask_resources(word, "me"))
        self._desk.info(Kind.STANDBY, f"{self._me} wants to go standby [{word}]")
        return scope

    @property
    def _offer_is_off(self) -> bool:
        """It offered a set, then said that it is stable and not that it releases: it refused its own `me`."""
        waited = self.role is Role.TAKING and self._taking_ms is None
        return waited and self.peer_stable and not self._release_seen

    def ask_takeover(self, scope: Scope) -> None:
        """Ask the peer to go standby with what we want."""
        self._say(protocol.hb_takeover(scope.value))

    def _standby_said(self, peer: str, message: Message, busy: bool) -> None:
        info, word = message.text(f.INFO) or "", message.text(f.RSC_HOLD) or ""
        if word not in _SETS:
            return
        match info, self.role:
            case "me", Role.NONE | Role.TAKING if self.role is Role.NONE or self._offer_is_off:
                self._asked_by(peer, word, busy)
            case "other", Role.GIVING:
                self._desk.info(Kind.STANDBY, f"standby: {peer} can take our {word} resources", node=peer)
                self._enter(Role.RELEASING, self._scope, word, HANDOVER_MS)
                self._say(protocol.resource(named(self.mine), False, "standby"))
            case "done", Role.TAKING:
                text = f"standby: acquire [{word}] resources from {peer}"
                self._desk.info(Kind.STANDBY, text, node=peer)
                # It releases what it meant at first, not what a later offer says that it ignored itself.
                given = self._scope - self._kept
                self.theirs -= given
                self.mine |= mirror(given)
                self._enter(Role.ACQUIRING, self._scope, word, HANDOVER_MS)
            case "done", Role.WAITING:
                self.was_taken = True
                text = f"Other node completed standby takeover of {word} resources."
                self._desk.info(Kind.STANDBY, text, node=peer)
                self.theirs |= mirror(self._scope)
                self._end_role()
                self._report()
            case _:
                text = f"Ignored standby message '{info}' from {peer} in state {self.role.value}"
                self._desk.warn(Kind.STANDBY, text, node=peer)

    def _asked_by(self, peer: str, word: str, busy: bool) -> None:
        self._desk.info(Kind.STANDBY, f"{peer} wants to go standby [{word}]", node=peer)
        if self.phase is not Phase.STABLE or busy:
            text = f"standby message [me] from {peer} ignored.  local resources in flux."
            self._desk.warn(Kind.STANDBY, text, node=peer)
            if self._config.auto_failback is AutoFailback.ON and _SETS[word] == FOREIGN:
                # So long it waits for our answer, and takes no other request.
                self._remind_ms = self._desk.now.ms + ANSWER_MS + FAILBACK_RETRY_MS
            return
        self.peer_stable, self._remind_ms = False, None
        self._enter(Role.TAKING, _SETS[word], word, HANDOVER_MS)
        self._say(protocol.ask_resources(word, "other"))

    def _enter(self, role: Role, scope: Sets, word: str, limit_ms: int) -> None:
        self.role, self._scope, self._scope_word = role, scope, word
        self._role_until_ms = self._desk.now.ms + limit_ms
        self._taking_ms = self._desk.now.ms + ANSWER_MS if role is Role.TAKING else None
        self._release_seen, self._kept = False, NONE

    def _end_role(self) -> None:
        self.role, self._role_until_ms, self._taking_ms = Role.NONE, None, None

    def released(self, still_held: tuple[GroupSpec, ...]) -> None:
        """Custody's state after a step: finish the part that waits for our stops or starts."""
        held = {group.key for group in still_held}
        done = [key for key in self._yielding if key not in held]
        if done:
            gone = frozenset[str]().union(*(self._yielding.pop(key) for key in done))
            self.mine -= gone - frozenset[str]().union(*self._yielding.values())
            if not self._yielding and not self._legacy:
                self._report()
        if self._legacy:
            self._answer_owed(still_held)
        elif self.role is Role.RELEASING and not any(self._set_of(g) <= self._scope for g in still_held):
            self._desk.info(Kind.STANDBY, f"Local standby process completed [{self._scope_word}].")
            self._given = self.mine & self._scope
            self.mine -= self._scope
            self._needs_failback = False
            if self.was_taken:
                self._end_role()
                self._report()
                return
            self._enter(Role.WAITING, self._scope, self._scope_word, HANDOVER_MS)
            # It compares what we said last with what it has then: `Both machines own our resources!`.
            self._say(protocol.resource(named(self.mine), False, "standby"))
            self._say(protocol.ask_resources(self._scope_word, "done"))

    def acquired(self) -> None:
        """Everything that the conversation gave us runs."""
        if self.role is Role.ACQUIRING:
            self._desk.info(Kind.STANDBY, f"Standby resource acquisition done [{self._scope_word}].")
            word = self._scope_word
            self._end_role()
            self._say(protocol.ask_resources(word, "done"))
            self._report()

    def offer_unable(self, unable: tuple[GroupSpec, ...], busy: bool) -> None:
        """Groups that did not start here go to the peer, once for each failure, as 3.0.6 meant to do."""
        if self._leaving:
            return
        now_ms = self._desk.now.ms
        keys = {group.key for group in unable if self.lets(group)}
        self._unable = {key: due for key, due in self._unable.items() if key in keys}
        for group in unable:
            if group.key not in keys or self._legacy:
                continue
            due_ms = self._unable.setdefault(group.key, now_ms + UNABLE_MS)
            if due_ms is None or now_ms < due_ms:
                continue
            try:
                self.standby(named(self._set_of(group)), busy)
                self._unable[group.key] = None
            except Refused:
                self._unable[group.key] = now_ms + FAILBACK_RETRY_MS

    # ------------------------------------------------------------ time

    def tick(self, busy: bool) -> None:
        """What is due: the 10 s at a common start, a failback, an answer that never came."""
        now_ms = self._desk.now.ms
        if self._leaving:
            return
        if self._parted:
            self._reunite()
        if self._ask_ms is not None and now_ms >= self._ask_ms:
            self._ask_ms = None if self.reported else now_ms + ASK_AGAIN_MS
            if not self.reported and self.phase is not Phase.INIT:
                self._ask()
        if self._yield_ms is not None and now_ms >= self._yield_ms:
            self._give_way()
        if self._request_ms is not None and now_ms >= self._request_ms:
            self._request()
        if self._free_ms is not None and now_ms >= self._free_ms:
            self._free_ms = None
            self._tell_what_is_free()
        if self._taking_ms is not None and now_ms >= self._taking_ms:
            self._taking_ms = None
            if self.role is Role.TAKING and not self._release_seen:
                self._end_role()
                self._ask()
        self._mind_orphans()
        if self._remind_ms is not None and now_ms >= self._remind_ms:
            self._remind(busy)
        if self._repeat_ms is not None and now_ms >= self._repeat_ms:
            self._repeat_ms = None
            if self.phase is Phase.STABLE and self.role is Role.NONE:
                self._report()
        if self._timer_ms is not None and now_ms >= self._timer_ms:
            self._timer_ms = None
            if self.phase is Phase.RECEIVED and not self.reported:
                # It restarted meanwhile: what it holds is not known.
                self._timer_ms = self._ask_ms = now_ms + ASK_AGAIN_MS
            elif self.phase is Phase.RECEIVED:
                self._become_stable()
                self._desk.info(Kind.TRANSITION, "local resource transition completed.")
        if self._role_until_ms is not None and now_ms >= self._role_until_ms:
            self._desk.warn(Kind.STANDBY, "No reply to standby request.  Standby request cancelled.")
            self._end_role()
            self._report()
        if self._failback_ms is not None and now_ms >= self._failback_ms:
            self._fail_back(busy)

    def _remind(self, busy: bool) -> None:
        """auto_failback on: have our own back, which it meant to give and we could not take then."""
        self._remind_ms = None
        quiet = self.role is Role.NONE and self.phase is Phase.STABLE and not self._yielding and not busy
        if "local" in self.mine:
            return
        if quiet and self.peer_stable and "foreign" in self.theirs:
            self.ask_takeover(Scope.LOCAL)
        else:
            self._remind_ms = self._desk.now.ms + FAILBACK_RETRY_MS

    def _mind_orphans(self) -> None:
        """3.0.6 only logs `No one owns our local resources!`; one of us has to take them, and it never will.

        So it is after a node that held them came back within deadtime and holds nothing.
        """
        known = self.reported and self.peer_stable and self.phase is Phase.STABLE
        quiet = self.role is Role.NONE and not self._yielding and not self._legacy
        orphans = ALL - self.mine - mirror(self.theirs)
        if not (known and quiet and orphans):
            self._orphans_ms = None
        elif self._orphans_ms is None:
            self._orphans_ms = self._desk.now.ms + REUNION_MS
        elif self._desk.now.ms >= self._orphans_ms:
            self._orphans_ms = None
            self._desk.warn(Kind.TAKEOVER, f"No one owns {named(orphans)} resources: taking them")
            self.mine |= orphans
            self._needs_failback = self._needs_failback or "foreign" in orphans
            self._report()
            self._schedule_failback()

    def _give_way(self) -> None:
        """Two owners, and heartbeat 3.0.6 never gives way: release what it holds too."""
        self._yield_ms = None
        if self._legacy:
            # It has its own groups (and asks for none that it found running), and gives ours up when asked.
            ours = [group.key for group in self._config.groups if group.home == self._me]
            if self._peer_starts and not self._buried_us:
                # It found nothing of ours running; what we have not got back ourselves is still asked for.
                ours = [key for key in ours if key not in self._granted]
            self._requested = dict.fromkeys(ours)
            self._buried_us = False
            self._request()
        for group in self._config.groups:
            held = group.home != self._me if self._legacy else self._set_of(group) <= self._contested
            if held and group.key not in self._yielding:
                text = f"group {group.name} is held by the 3.0.6 node too: this node gives way"
                self._desk.log(Level.CRIT, Kind.CONFLICT, text, group=group.name)
                self.yield_to_peer(group)
                self._lost.add(group.key)
                if self._legacy:
                    self._owed.add(group.key)

    def has_lost(self, group: GroupSpec) -> bool:
        """It is being given up because the peer holds it too, not because anybody agreed on it."""
        return group.key in self._lost and group.key in self._yielding

    def _schedule_failback(self) -> None:
        wanted = self._config.auto_failback is AutoFailback.ON and self._needs_failback
        if wanted and "foreign" in self.mine and self._failback_ms is None:
            self._failback_ms = self._desk.now.ms

    def _fail_back(self, busy: bool) -> None:
        self._failback_ms = None
        if "foreign" not in self.mine or not self._needs_failback:
            return
        if self._yield_ms is not None and self._contested == ALL:
            # Each buried the other. It is about to release everything; two offers that cross hold that up.
            self._failback_ms = self._desk.now.ms + FAILBACK_RETRY_MS
            return
        try:
            self.standby("foreign", busy)
            self._needs_failback = False
        except Refused:
            self._failback_ms = self._desk.now.ms + FAILBACK_RETRY_MS

    # ------------------------------------------------------------ legacy

    def _legacy_said(self, peer: str, kind: str, message: Message) -> None:
        if kind == protocol.STONITH and message.text(f.NODE) == self._me and self._yield_ms is None:
            # It takes what is ours.
            self._buried_us = True
            self._yield_ms = self._desk.now.ms + REUNION_MS
        group = self._group_named(message.text(f.IPADDR))
        if group is None:
            return
        match kind:
            case protocol.IP_REQUEST:
                self._peer_starts = True
                self.yield_to_peer(group)
                self._owed.add(group.key)
            case protocol.IP_REQUEST_RESP if message.text(f.OK) == "OK" and group.home == self._me:
                self._granted.add(group.key)
                self._requested.pop(group.key, None)

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

    def _answer_owed(self, still_held: tuple[GroupSpec, ...]) -> None:
        held = {group.key for group in still_held}
        for key in sorted(self._owed - held):
            self._owed.discard(key)
            for group in self._config.groups:
                if group.key == key:
                    self._say(protocol.ip_request_resp(group.home, group.name))

    def _group_named(self, name: str | None) -> GroupSpec | None:
        return next((group for group in self._config.groups if group.name == name), None)
