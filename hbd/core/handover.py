"""heartbeat 3.0.6's resource conversation, for as long as the peer is one.

A 3.0.6 node does not say what it holds in every heartbeat; it talks in sets, `local` and `foreign`, each in
the sender's own terms. The theory, with `mine` and `theirs` as subsets of {local, foreign}:

    INIT ──comm up──▶ STARTING ──peer's starting──▶ BOTHSTARTING ──any resource message──▶ RSCRCVD
                         └────────any resource message────────────────────────────────────▶│
                                                   peer stable, or 10 s after RSCRCVD ──▶ STABLE

Our own set is taken once the peer is stable or the 10 s are over, unless the peer holds it as its foreign.
Standby is a handshake of its own (`standby.py`). With auto_failback legacy none of this is spoken, only what
is in `legacy.py`.

This machine decides which groups the conversation lets us run (`lets`); custody starts and stops them. Facts:
heartbeat 3.0.6, observed. Unlike it, we answer at once and report a stop only when it is done.
"""

from __future__ import annotations

from collections.abc import Callable

from hbd.config.model import AutoFailback, Config, GroupSpec
from hbd.core import message as f
from hbd.core import protocol
from hbd.core.classic_sets import ALL, LOCAL, NONE, WORDS, Holdings, Phase, Sets, mirror, named, set_of
from hbd.core.desk import Desk
from hbd.core.effects import Kind, Level
from hbd.core.events import Scope
from hbd.core.failback import Failback
from hbd.core.legacy import REUNION_MS, Legacy
from hbd.core.message import Message
from hbd.core.standby import Role, StandbyHandshake
from hbd.core.yielding import Yielding
from hbd.errors import Refused

REQUEST_DELAY_MS = 10_000
"""How long nobody takes anything after the first resource message, unless somebody is stable."""
ASK_AGAIN_MS = 3000
REPEAT_MS = 2500
"""So long after something of the conversation was sent again, what holds now is said once more."""

OLD_WORDS_MS = 100
"""So long after we stood still, what waited for us in the sockets' queues may be coming in."""


class Handover:
    """The conversation with one 3.0.6 peer."""

    def __init__(self, config: Config, desk: Desk, say: Callable[[protocol.Fields], None]) -> None:
        self._config, self._desk, self._say = config, desk, say
        self._is_legacy = config.auto_failback is AutoFailback.LEGACY
        self._me = config.local_node
        self.sets = Holdings()
        self._yielding = Yielding()
        self._legacy = Legacy(config, desk, say, self._yielding)
        self._failback = Failback(config, desk, say, self.sets)
        self._standby = StandbyHandshake(
            config.local_node, desk, say, self.sets, self._failback, self._report, self._ask
        )
        self._timer_ms: int | None = None
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
        self._old_until_ms = 0
        self._leaving = False
        self._peer_starts = False
        """It asked what we hold, as a node does once in its life."""
        self.peer_is_leaving = False
        """The peer has said in its present life that it shuts down; no life takes that back."""

    @property
    def settled(self) -> bool:
        """The start-up conversation is over: it is known who holds what."""
        return self._is_legacy or (self.sets.reported and self.sets.phase is Phase.STABLE)

    @property
    def knows(self) -> bool:
        """Whether `lets` can be relied on for what we found running."""
        return self._is_legacy or self.sets.reported

    @property
    def role(self) -> Role:
        """Our part in a standby handshake."""
        return self._standby.role

    @property
    def receives(self) -> bool:
        """The peer has released what it offered, and it is ours to start."""
        return self.role is Role.ACQUIRING

    @property
    def was_taken(self) -> bool:
        """The peer confirmed the last set that we offered."""
        return self._standby.was_taken

    def reconfigure(self, config: Config) -> None:
        """A reload: groups and auto_failback may differ."""
        self._config = config
        self._is_legacy = config.auto_failback is AutoFailback.LEGACY
        self._legacy.reconfigure(config)
        self._failback.reconfigure(config)

    def lets(self, group: GroupSpec) -> bool:
        """Whether the conversation leaves this group to us."""
        if group.key in self._yielding:
            return False
        if self._is_legacy:
            return self._legacy.lets(group)
        sets = self._set_of(group)
        if self._yielding.touches(sets) or sets <= self._standby.leaving:
            return False
        return sets <= self.sets.mine

    def leaves(self, group: GroupSpec) -> bool:
        """Whether we may start this group: it is left to us, and the peer, asked, does not hold it."""
        return self.knows and self.lets(group) and not self.peer_has(group)

    def peer_has(self, group: GroupSpec) -> bool:
        """Whether the peer says that it holds this group, or was seen to."""
        if group.key in self._yielding:
            return True
        return self.sets.reported and self._set_of(group) <= mirror(self.sets.theirs)

    def peer_runs(self, group: GroupSpec) -> bool:
        """Whether the peer has this group, as far as it can be known."""
        return self._legacy.peer_runs(group) if self._is_legacy else self.peer_has(group)

    def _set_of(self, group: GroupSpec) -> Sets:
        return set_of(group, self._me)

    def deadline_ms(self) -> int | None:
        """When `tick` has something to do."""
        times = (
            self._timer_ms, self._ask_ms, self._orphans_ms, self._repeat_ms, self._yielding.due_ms,
            *self._standby.deadlines_ms(), *self._failback.deadlines_ms(), *self._legacy.deadlines_ms(),
        )  # fmt: skip
        return min((time for time in times if time is not None), default=None)

    # ------------------------------------------------------------ beginnings and ends

    def begin(self, running: tuple[GroupSpec, ...], doubtful: tuple[GroupSpec, ...], settled: bool) -> None:
        """The peer turns out to be a 3.0.6 node; what runs here by now is ours.

        `doubtful` are those of it that the peer may have taken over: in legacy they have to be asked for.
        """
        self._legacy.begin(running, doubtful)
        for group in running:
            self.sets.mine |= self._set_of(group)
        if settled:
            self.sets.phase = Phase.STABLE
        self._met, self._parted = True, False
        if running or not self._is_legacy:
            self._meet()

    def communication_up(self) -> None:
        """We are active, and the peer lives: ask what it holds."""
        if self._is_legacy:
            self._legacy.communication_up()
            return
        self._ask()
        if self.sets.phase is Phase.INIT:
            self.sets.phase = Phase.STARTING

    def _ask(self) -> None:
        """Ask what it holds. `starting` makes it take us for unstable, until we answer its stable answer."""
        self.sets.peer_stable = False
        self._say(protocol.starting())

    def peer_left(self, silently: bool) -> None:
        """It died, or said goodbye: everything is ours."""
        self._buried = silently and self._met
        self.sets.mine, self.sets.theirs, self.sets.peer_stable = ALL, NONE, True
        self.sets.phase = Phase.STABLE
        self._standby.end()
        self._failback.needed = self._parted = True
        self._failback.forget_our_own()
        self._timer_ms = self._ask_ms = self._orphans_ms = self._repeat_ms = None
        self._yielding.due_ms = None
        self._yielding.clear()
        self._legacy.peer_left()

    def peer_restarted(self) -> None:
        """A new life of the peer: nothing that it said holds."""
        self.sets.peer_stable = self.sets.reported = self._peer_starts = self.peer_is_leaving = False
        self._applied_seq, self._added = 0, (0, NONE)
        self._failback.forget_our_own()
        self._legacy.peer_restarted()
        self.sets.theirs = mirror(ALL - self.sets.mine)
        self._standby.peer_restarted()
        self._parted = False
        self._meet()

    def _meet(self) -> None:
        """A life of the peer begins for us; it may have begun long ago, behind a cut.

        A node that starts asks us (legacy: for its groups) by itself.
        """
        if self._leaving:
            return
        due_ms = self._desk.now.ms + REUNION_MS
        self._ask_ms, self._yielding.due_ms = (None, due_ms) if self._is_legacy else (due_ms, None)

    def _reunite(self) -> None:
        """We had buried it, and it lives: it may still hold what it held, or all."""
        self._parted = False
        if self._is_legacy:
            self._legacy.reunite()
        else:
            self.sets.reported = self.sets.peer_stable = self._peer_starts = False
            self._ask_ms = self._desk.now.ms

    def leave(self) -> None:
        """We are being stopped: the conversation is over, but for the question what we still hold."""
        self._leaving = True
        self._standby.end()
        self._failback.rest()
        self._legacy.rest()
        self._timer_ms = self._ask_ms = self._orphans_ms = self._repeat_ms = None
        self._yielding.due_ms = None

    def ask_again(self) -> None:
        """We were absent: what the peer said before may be over. It answers `starting` at any time.

        What waited for us in a queue looks like an answer: it is asked when that is through (rule 14).
        """
        self._old_until_ms = self._desk.now.ms + OLD_WORDS_MS
        if self._is_legacy:
            self._legacy.ask_again(self._old_until_ms)
            return
        self.sets.reported = self._peer_starts = self.sets.peer_stable = False
        self._ask_ms = self._old_until_ms

    @property
    def hears_old_words(self) -> bool:
        """What comes now may have been said while we were away."""
        return self._desk.now.ms < self._old_until_ms

    def yield_to_peer(self, group: GroupSpec) -> None:
        """The peer has taken over what we held; it is claimed until the last stop is confirmed (rule 5)."""
        self._legacy.give(group)

    def has_lost(self, group: GroupSpec) -> bool:
        """It is being given up because the peer holds it too, not because anybody agreed on it."""
        return self._yielding.has_lost(group.key)

    # ------------------------------------------------------------ messages

    def said(self, peer: str, kind: str, message: Message, busy: bool) -> None:
        """One message of the conversation. `busy`: groups of ours are in motion."""
        if kind == protocol.RESOURCE and message.text(f.INFO) == "shutdown":
            self.peer_is_leaving = True
        if self._leaving:
            if kind == protocol.STARTING and not self._is_legacy:
                self._say(protocol.resource(named(self.sets.mine if busy else NONE), False))
            return
        if self._is_legacy:
            if not (self.hears_old_words and kind == protocol.IP_REQUEST_RESP):
                self._legacy.said(kind, message)
            return
        if self.hears_old_words and kind == protocol.RESOURCE:
            self._ask_ms = self._old_until_ms  # It may be said once only, and be an answer all the same.
            return  # A step of a handshake is one whenever it comes.
        word = message.text(f.RSC_HOLD) or ""
        match kind:
            case protocol.STARTING:
                # Unlike 3.0.6 we do not take it for unstable now: if it was stable before it was active, it
                # has no reason to say so again.
                self._peer_starts = True
                if self.sets.phase is Phase.STARTING:
                    self.sets.phase = Phase.BOTH_STARTING
                self._expect_a_word()
                self._report()
            case protocol.RESOURCE if self._is_newer(message):
                self._resource(peer, message)
            case protocol.REXMIT if self._desk.now.ms - self._spoke_ms <= 4 * REPEAT_MS:
                # What it gets again it takes for news: an old `none` would stand for ever.
                self._repeat_ms = self._desk.now.ms + REPEAT_MS
            case protocol.ASK_RESOURCES:
                self._standby.said(peer, message.text(f.INFO) or "", word, busy)
            case protocol.HB_TAKEOVER:
                offered = "all" if word == "failback" else named(mirror(WORDS.get(word, NONE)))
                try:
                    self.standby(offered, busy)
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
        sets = WORDS.get(message.text(f.RSC_HOLD) or "")
        if sets is None:
            return
        first, stable = not self.sets.reported, message.text(f.ISSTABLE)
        full, seq = message.text(f.RTYPE) == "full", message.hex(f.SEQ) or 0
        if not full and seq > self._added[0]:
            self._added = (seq, sets)
        elif full and seq < self._added[0]:
            sets |= self._added[1]
        if message.text(f.INFO) == "standby":
            self._standby.note_release(sets)
        self._note_overlap(sets if full else sets | self.sets.theirs, message.text(f.INFO) or "")
        if first and stable != "1" and (not self._peer_starts or message.text(f.INFO)):
            # Not at its own start, so it holds something or is just letting go of it: wait for a plain word.
            self._expect_a_word()
            return
        self.sets.reported, self._ask_ms, self._buried = True, None, False
        if full:
            # 3.0.6 says `none` before it has released: only a stable report, or done, clears (rule 5).
            # What it says first in its life is no release of anything, and taken as it is.
            early = stable != "1" and not first
            self.sets.theirs = self.sets.theirs if early and sets < self.sets.theirs else sets
        else:
            self.sets.theirs = sets if not sets else self.sets.theirs | sets
        taken = stable == "1" and self._standby.holds(sets)
        if taken and (first or self.role is Role.WAITING):
            self._standby.note_taken()
        self._received()
        if stable == "0":
            self.sets.peer_stable = False
        elif stable == "1":
            newly, self.sets.peer_stable = not self.sets.peer_stable, True
            if newly:
                self._desk.info(Kind.TRANSITION, "remote resource transition completed.", node=peer)
                self._report()
                self._failback.schedule()
        if self.sets.peer_stable and self.sets.phase is not Phase.STABLE:
            self._become_stable()

    def _expect_a_word(self) -> None:
        """It talks, so it will say what it holds: when it is stable, at the latest after its 10 s.

        A life that kept everything over `heartbeat -r` says nothing more, and both would go on owning it.
        """
        if self._ask_ms is not None and not self._buried:
            self._ask_ms = self._desk.now.ms + REQUEST_DELAY_MS + ASK_AGAIN_MS

    def _note_overlap(self, sets: Sets, info: str) -> None:
        """Both hold a set: it buried us, or was never dead. It may be about to release everything."""
        overlap = mirror(sets) & self.sets.mine - self._standby.leaving
        if info == "shutdown" or not overlap:
            self._yielding.due_ms = None
        elif self._yielding.due_ms is None:
            self._yielding.due_ms = self._desk.now.ms + REUNION_MS
        self._yielding.contested = overlap

    def _received(self) -> None:
        if self.sets.phase in (Phase.STARTING, Phase.BOTH_STARTING):
            self.sets.phase = Phase.RECEIVED
            if self._timer_ms is None:
                self._timer_ms = self._desk.now.ms + REQUEST_DELAY_MS

    def _become_stable(self) -> None:
        self.sets.phase, self._timer_ms = Phase.STABLE, None
        if "foreign" not in self.sets.theirs:
            self.sets.mine |= LOCAL
        elif "local" not in self.sets.mine:
            self._desk.info(Kind.TRANSITION, "Local Resource acquisition completed. (none)")
        self._report()
        self._failback.schedule()

    def _report(self) -> None:
        """Say what we hold."""
        stable = self.sets.phase is Phase.STABLE and self._standby.at_rest and not self._yielding
        self._spoke_ms = self._desk.now.ms
        self._say(protocol.resource(named(self.sets.mine), stable))

    # ------------------------------------------------------------ handing over

    def standby(self, word: str, busy: bool, transition: int = 0) -> Sets:
        """Offer a set to the peer; returns it. Raises Refused. `transition`: the one that begins by it."""
        if self._is_legacy:
            raise Refused("standby and takeover need auto_failback on or off in ha.cf; it is legacy here")
        return self._standby.offer(word, busy, transition)

    def ask_takeover(self, scope: Scope) -> None:
        """Ask the peer to go standby with what we want."""
        self._say(protocol.hb_takeover(scope.value))

    def ask_back_later(self) -> None:
        """With auto_failback on: ask for our own, which the peer was given, when nothing keeps it away."""
        self._failback.missed_our_own()

    def keep_away(self, away: bool) -> None:
        """Whether our own had better stay with the peer for now, though auto_failback is on."""
        self._failback.stays_away = away

    def released(self, still_held: tuple[GroupSpec, ...]) -> None:
        """Custody's state after a step: finish the part that waits for our stops or starts."""
        gone = self._yielding.finish({group.key for group in still_held}) if self._yielding else None
        if gone is not None:
            self.sets.mine -= gone
            if not self._yielding and not self._is_legacy:
                self._report()
        if self._is_legacy:
            self._legacy.released(still_held)
        else:
            self._standby.released(still_held)

    def acquired(self) -> None:
        """Everything that the conversation gave us runs."""
        self._standby.acquired()

    def offer_unable(self, unable: tuple[GroupSpec, ...], busy: bool) -> None:
        """Groups that did not start here go to the peer, as far as the conversation can say that."""
        if not self._leaving:
            ours = () if self._is_legacy else tuple(group for group in unable if self.lets(group))
            self._standby.offer_unable(ours, busy)

    # ------------------------------------------------------------ time

    def tick(self, busy: bool) -> None:
        """What is due: the 10 s at a common start, a failback, an answer that never came."""
        now_ms = self._desk.now.ms
        if self._leaving:
            return
        if self._parted:
            self._reunite()
        if self._ask_ms is not None and now_ms >= self._ask_ms:
            self._ask_ms = None if self.sets.reported else now_ms + ASK_AGAIN_MS
            if not self.sets.reported and self.sets.phase is not Phase.INIT:
                self._ask()
        if self._yielding.due_ms is not None and now_ms >= self._yielding.due_ms:
            self._give_way()
        self._legacy.tick()
        self._standby.look_for_the_release()
        self._mind_orphans()
        self._failback.remind(self._is_quiet and not busy)
        if self._repeat_ms is not None and now_ms >= self._repeat_ms:
            self._repeat_ms = None
            if self.sets.phase is Phase.STABLE and self.role is Role.NONE:
                self._report()
        if self._timer_ms is not None and now_ms >= self._timer_ms:
            self._timer_ms = None
            if self.sets.phase is Phase.RECEIVED and not self.sets.reported:
                # It restarted meanwhile: what it holds is not known.
                self._timer_ms = self._ask_ms = now_ms + ASK_AGAIN_MS
            elif self.sets.phase is Phase.RECEIVED:
                self._become_stable()
                self._desk.info(Kind.TRANSITION, "local resource transition completed.")
        self._standby.expire()
        crossing = self._yielding.due_ms is not None and self._yielding.contested == ALL
        self._failback.offer(crossing, lambda word: self.standby(word, busy))

    @property
    def _is_quiet(self) -> bool:
        return self.role is Role.NONE and self.sets.phase is Phase.STABLE and not self._yielding

    def _mind_orphans(self) -> None:
        """3.0.6 only logs `No one owns our local resources!`; one of us has to take them, and it never will.

        So it is after a node that held them came back within deadtime and holds nothing.
        """
        known = self.sets.reported and self.sets.peer_stable
        orphans = self.sets.nobodys
        if not (known and orphans and self._is_quiet) or self._is_legacy:
            self._orphans_ms = None
        elif self._orphans_ms is None:
            self._orphans_ms = self._desk.now.ms + REUNION_MS
        elif self._desk.now.ms >= self._orphans_ms:
            self._orphans_ms = None
            self._desk.warn(Kind.TAKEOVER, f"No one owns {named(orphans)} resources: taking them")
            self.sets.mine |= orphans
            self._failback.needed = self._failback.needed or "foreign" in orphans
            self._report()
            self._failback.schedule()

    def _give_way(self) -> None:
        """Two owners, and heartbeat 3.0.6 never gives way: release what it holds too."""
        self._yielding.due_ms = None
        held = self._legacy.give_way() if self._is_legacy else self._contested_groups()
        for group in held:
            if group.key in self._yielding:
                continue
            text = f"group {group.name} is held by the 3.0.6 node too: this node gives way"
            self._desk.log(Level.CRIT, Kind.CONFLICT, text, group=group.name)
            self.yield_to_peer(group)
            self._yielding.lose(group.key)
            if self._is_legacy:
                self._legacy.owe(group)

    def _contested_groups(self) -> tuple[GroupSpec, ...]:
        contested = self._yielding.contested
        return tuple(group for group in self._config.groups if self._set_of(group) <= contested)
