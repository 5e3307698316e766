"""One life of a heartbeat 3.0.6 daemon, as a small model: its rules, good and bad, on virtual time.

Written from the facts about the running original. What makes it a hard peer is kept: it claims before its
scripts run and says `none` before it has released; it acts on a message a while after it came; its own
messages it handles before it sends them; what comes late it takes for news; two owners, or none, are no
reason to act; after a healed partition it releases everything and restarts, in its own time; killed, it
leaves its resources where they are. Left out are the races of its scripts with one another: its resource work
is done one piece after the other, and a standby waits for a takeover to end.

States of the resource conversation, with auto_failback on or off:

    INIT ──comm up──▶ STARTING ──peer's starting──▶ BOTHSTARTING ──any resource message──▶ RSCRCVD
                         └────────any resource message────────────────────────────────────▶│
                                                   peer stable, or 10 s after RSCRCVD ──▶ STABLE ─▶ SHUTDOWN
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum, auto
from typing import Protocol

from hbd.config.model import AutoFailback, Config, GroupSpec, ResourceSpec
from hbd.core import message as f
from hbd.core import protocol
from hbd.core.message import Message
from tests.simulation.classic_wire import ClassicWire, Sort

Sets = frozenset[str]
NONE: Sets = frozenset()
LOCAL: Sets = frozenset({"local"})
FOREIGN: Sets = frozenset({"foreign"})
ALL: Sets = LOCAL | FOREIGN
SETS = {"none": NONE, "local": LOCAL, "foreign": FOREIGN, "all": ALL, "failback": FOREIGN}

POLL_MS = 250
REQUEST_DELAY_MS = 10_000
ANSWER_MS = 10_000
HANDOVER_MS = 3_600_000
FAILBACK_RETRY_MS = 1000
REQNODES_MS = 1000
EARLY_MS = 5000
"""So long after its start it asks for two more seconds of patience."""


def named(sets: Sets) -> str:
    return next(name for name, each in SETS.items() if each == sets)


def mirror(sets: Sets) -> Sets:
    """The same groups in the other node's terms."""
    return frozenset({"local": "foreign", "foreign": "local"}[each] for each in sets)


class State(Enum):
    INIT = auto()
    STARTING = auto()
    BOTHSTARTING = auto()
    RSCRCVD = auto()
    STABLE = auto()
    SHUTDOWN = auto()


class Standby(Enum):
    """The part in a standby handshake."""

    NOT = auto()
    ME = auto()
    """Asked the peer to take over."""
    OTHER = auto()
    """The peer gives; it releases."""
    DONE = auto()
    """The giver has released, the taker acquires."""


class Healing(Enum):
    """What becomes of the restart that follows a healed partition."""

    RESTARTS = "releases and restarts after 2 s"
    LATE = "releases and restarts late, its work not being finished"
    STAYS_DOWN = "releases, and does not come back: the exec fails in some builds"
    NEVER = "never gets to its release"


@dataclass(frozen=True, slots=True)
class Traits:
    """How this node behaves where the original may behave in more than one way."""

    lag_ms: int
    """A message is acted on within this time; up to one keepalive was seen."""
    healing: Healing
    healing_ms: int
    """From the first heartbeat after a partition to the release; 2000 in the original."""


class Host(Protocol):
    """The machine that the daemon runs on."""

    name: str
    traits: Traits
    running: dict[str, ResourceSpec]
    daemon: Daemon | None

    @property
    def world(self) -> World: ...
    @property
    def leftovers(self) -> list[ResourceSpec]: ...
    def later(self, delay_ms: int, action: Callable[[], None]) -> None: ...
    def process(self, delay_ms: int, action: Callable[[], None]) -> None: ...
    def takegroup(self, group: GroupSpec, done: Callable[[], None]) -> None: ...
    def givegroup(self, group: GroupSpec, done: Callable[[], None]) -> None: ...
    def wants(self, group: GroupSpec) -> None: ...
    def interrupt(self, claimed: list[GroupSpec]) -> None: ...
    def start_daemon(self, kept: Sets | None = None) -> None: ...
    def ends(self, daemon: Daemon) -> None: ...


class World(Protocol):
    """Time, chance and the wire."""

    now_ms: int

    def draw(self, low: int, high: int) -> int: ...
    def classic_sends(self, payload: bytes) -> None: ...
    def note(self, text: str) -> None: ...


Work = Callable[[Callable[[], None]], None]
"""A piece of resource work: told what to call when it ends."""


class Daemon:
    """The master process."""

    def __init__(self, host: Host, config: Config, generation: int, kept: Sets | None) -> None:
        self.host, self.world, self.config = host, host.world, config
        self.me, self.peer = config.local_node, config.peers[0]
        self.legacy = config.auto_failback is AutoFailback.LEGACY
        self.wire = ClassicWire(
            self.me, self.peer, generation, config.keys, config.msgfmt, self.world.draw
        )
        self.st = "init"
        self.active = False
        self.state = State.INIT
        self.mine: Sets = kept or NONE
        self.theirs: Sets = ALL
        self.other_stable = False
        self.standby = Standby.NOT
        self.takeover = False
        self.peer_st = "init"
        self.releasing = False
        """The shutdown has begun; `mine` says none, and scripts still run."""
        self.healing = False
        """A partition was seen to heal: everything will be released."""
        self.overtaken = False
        """The peer's last report here is an older one that came late, unasked: nothing sets that right."""
        self._newest_report = 0
        self._kept = kept is not None
        self._giver = False
        self._scope: Sets = NONE
        self._standby_until_ms = 0
        self.found: list[str] = []
        """Groups of ours that ran before this life wanted them."""
        self._needs_failback = False
        self._timer_started = False
        self.born_ms = self._own_ms = self._peer_ms = self.world.now_ms
        self._peer_dt_ms = config.timing.deadtime_ms
        self._dt_extra_ms: int | None = None
        self._asked_ms: int | None = None
        self._nodes_agreed = False
        self._stopping: bool | None = None
        """A stop is wanted; True: a restart."""
        self._queue: list[Work] = []
        self._working = 0
        self._beating = True

    # ------------------------------------------------------------ for the outside

    @property
    def busy(self) -> bool:
        """Resource activity is pending."""
        if self.works:
            return True
        return not self.legacy and (
            self.state is not State.STABLE or self.standby is not Standby.NOT or self.takeover
            or not self.other_stable
        )  # fmt: skip

    @property
    def works(self) -> bool:
        """Scripts run, or wait for their turn."""
        return bool(self._working or self._queue)

    def set_of(self, group: GroupSpec) -> Sets:
        return LOCAL if group.home == self.me else FOREIGN

    def _later(self, delay_ms: int, action: Callable[[], None]) -> None:
        """In this life only: a script that outlives its master reports to nobody."""
        if self.host.daemon is self:
            self.host.later(delay_ms, action)

    # ------------------------------------------------------------ heartbeats and polls

    def start(self) -> None:
        self._say_status()
        self.st = "up"
        self._say_status()
        self._beat()
        self._poll()

    def _beat(self) -> None:
        if self._beating:
            self._say_status()
            self._later(self.config.timing.keepalive_ms, self._beat)

    def _say_status(self) -> None:
        extra_ms = 2000 if self.world.now_ms - self.born_ms < EARLY_MS else 0
        if self._dt_extra_ms is not None:
            extra_ms = self._dt_extra_ms
        dt_ms = self.config.timing.deadtime_ms + extra_ms
        self.say(((f.T, protocol.STATUS), (f.ST, self.st), (f.DT, f"{dt_ms:x}"), (f.PROTOCOL, "1")))

    def _poll(self) -> None:
        now_ms, timing = self.world.now_ms, self.config.timing
        if now_ms - self._own_ms > timing.deadtime_ms and self._stopping is None:
            self._log("No local heartbeat. Forcing restart.")
            self.stop(restart=True)
        limit_ms = self._peer_dt_ms if self.active else timing.initdead_ms
        if self.peer_st != "dead" and now_ms - self._peer_ms > limit_ms:
            self._bury()
        if not self.active:
            self._communication()
        for fields in self.wire.due(now_ms):
            self.say(fields)
        if self._stopping is not None:
            self._try_stop()
        self._later(POLL_MS, self._poll)

    def _communication(self) -> None:
        """Everybody was heard or is dead; a living peer has to agree on the nodes first."""
        if self.peer_st == "init":
            return
        if self.peer_st != "dead" and not self._nodes_agreed:
            if self._asked_ms is None or self.world.now_ms - self._asked_ms >= REQNODES_MS:
                self._asked_ms = self.world.now_ms
                self.say(protocol.reqnodes(self.peer))
            return
        self.active, self.st = True, "active"
        self._say_status()
        if self.legacy:
            self._request_own()
            return
        if self.state is State.INIT:
            self.state = State.STARTING
        self.say(protocol.starting())

    # ------------------------------------------------------------ messages

    def say(self, fields: protocol.Fields) -> None:
        """Send: handled here first, so that a reaction to it leaves before it does."""
        message = self.wire.made(fields, 1_600_000_000 + self.world.now_ms // 1000)
        kind = message.text(f.T) or ""
        if kind == protocol.STATUS:
            self._own_ms = self.world.now_ms
        elif not kind.startswith("NS_"):
            self._log_message("says", message)
            self._own(kind, message)
        self.world.classic_sends(self.wire.bytes_of(message))

    def _own(self, kind: str, message: Message) -> None:
        match kind:
            case protocol.RESOURCE:
                self._resource(message, ours=True)
            case protocol.ASK_RESOURCES:
                self._ask(message, ours=True)
            case protocol.IP_REQUEST_RESP if message.text(f.DEST) == self.me:
                self._take_key(message.text(f.IPADDR))
            case _:
                pass

    def receive(self, payload: bytes) -> None:
        """One datagram of the peer."""
        taken = self.wire.take(self.world.now_ms, payload, self.peer_st == "dead")
        if taken is None:
            return
        if taken.kind.startswith("NS_"):
            again, refused = self.wire.control(self.world.now_ms, taken.kind, taken.message)
            for message in again:
                self.world.classic_sends(self.wire.bytes_of(message))
            for fields in refused:
                self.say(fields)
            return
        if taken.sort is Sort.HEALED:
            self._heal()
        if taken.kind == protocol.STATUS:
            self._peer_status(taken.message, restarted=taken.sort is Sort.RESTART)
        else:
            self._log_message("hears", taken.message)
            self._dispatch(taken.kind, taken.message)
        self._check_standby()
        ack = self.wire.acks()
        if ack is not None:
            self.say(ack)

    def _dispatch(self, kind: str, message: Message) -> None:
        match kind:
            case protocol.REQNODES:
                self.say(protocol.repnodes(self.peer, self.config.nodes))
            case protocol.REPNODES:
                self._nodes_agreed = True
            case protocol.SHUTDONE:
                self._peer_left()
            case protocol.IP_REQUEST if self.legacy:
                self._give_key(message.text(f.IPADDR))
            case protocol.IP_REQUEST_RESP if self.legacy:
                self._take_key(message.text(f.IPADDR))
            case _ if self.legacy:
                pass
            case protocol.STARTING:
                self._starting()
            case protocol.RESOURCE:
                self._note_order(message.hex(f.SEQ) or 0)
                self._resource(message, ours=False)
            case protocol.ASK_RESOURCES:
                self._ask(message, ours=False)
            case protocol.HB_TAKEOVER:
                word = message.text(f.RSC_HOLD) or "all"
                wanted = "all" if word == "failback" else named(mirror(SETS[word]))
                self._later(self.world.draw(20, 100), lambda: self.hb_standby(wanted))
            case _:
                pass

    # ------------------------------------------------------------ the peer's life

    def _peer_status(self, message: Message, restarted: bool) -> None:
        now_ms = self.world.now_ms
        late = now_ms - self._peer_ms > self.config.timing.deadtime_ms
        if late and not restarted and self.peer_st not in ("init", "dead"):
            self._log("Late heartbeat (> deadtime)")
            self._bury()
        self._peer_ms = now_ms
        if restarted:
            self._newest_report = 0
        self._peer_dt_ms = message.hex(f.DT) or self.config.timing.deadtime_ms
        self.peer_st = message.text(f.ST) or ""

    def _bury(self) -> None:
        self._log(f"node {self.peer}: is dead")
        self.peer_st = "dead"
        self.wire.forget()
        self.standby = Standby.NOT
        if self._stopping is not None and self.releasing:
            return
        if self.legacy:
            self.say(protocol.stonith(self.peer, "n_stnth"))
            self._mach_down()
            self._request_own()
        elif self.theirs == NONE:
            self.say(protocol.stonith(self.peer, "unneeded"))
            self.other_stable = True
            if "local" not in self.mine:
                self._acquire_own(forced=True)
            if "foreign" not in self.mine:
                self.mine |= FOREIGN
                self._mach_down()
            self._needs_failback = True
        else:
            self.say(protocol.stonith(self.peer, "n_stnth"))
            self._take_over()

    def _peer_left(self) -> None:
        if self.releasing:
            return
        self.theirs = NONE
        if self.legacy:
            self._mach_down()
            self._request_own(alone=True)
            return
        had_all = self.mine == ALL
        self._take_over()
        if not had_all:
            own = [group for group in self.config.groups if self.set_of(group) == LOCAL]
            self._enqueue(*(self._taking(group) for group in own))
            self._enqueue(self._saying(protocol.ask_resources("local", "done")))

    def _take_over(self) -> None:
        """Claimed before any script ran."""
        self.mine |= FOREIGN
        self.theirs, self.other_stable, self.takeover = NONE, True, True
        self._mach_down()
        self._acquire_own(forced=True)
        self._needs_failback = True

    def _mach_down(self) -> None:
        self._enqueue(*(self._taking(g) for g in self.config.groups if self.set_of(g) == FOREIGN))
        if not self.legacy:
            report = ((f.T, protocol.RESOURCE), (f.RSC_HOLD, "foreign"), (f.INFO, "mach_down"))
            self._enqueue(self._saying(report))

    def _heal(self) -> None:
        """The peer was dead, and is back in the same life."""
        self._log(f"Cluster node {self.peer} returning after partition.")
        self._say_status()
        if not self.legacy:
            self.theirs = NONE
        if self.healing or self._stopping is not None or self.host.traits.healing is Healing.NEVER:
            return
        self.healing = True
        self._later(self.host.traits.healing_ms, lambda: self.stop(restart=True))

    # ------------------------------------------------------------ who holds what

    def _report(self, info: str = "", stable: bool | None = None) -> None:
        settled = self.state is State.STABLE if stable is None else stable
        self.say(protocol.resource(named(self.mine), settled, info))

    def _starting(self) -> None:
        if self.state is State.BOTHSTARTING:
            return
        if self.state is State.STARTING:
            self.state = State.BOTHSTARTING
        self.other_stable = False
        self._report()

    def _resource(self, message: Message, ours: bool) -> None:
        sets = SETS[message.text(f.RSC_HOLD) or "none"]
        full, stable = message.text(f.RTYPE) == "full", message.text(f.ISSTABLE)
        if self.state in (State.STARTING, State.BOTHSTARTING):
            self.state = State.STABLE if self._kept else State.RSCRCVD
            if not self._timer_started:
                self._timer_started = True
                self._later(REQUEST_DELAY_MS, self._timer)
        if ours:
            self.mine = sets if full else self.mine | sets
            if message.text(f.INFO) == "mach_down":
                self.takeover, self._needs_failback = False, True
                self._fail_back()
            return
        self.theirs = sets if full or not sets else self.theirs | sets
        if stable == "0":
            self.other_stable = False
        elif stable == "1" and not self.other_stable:
            self._log("remote resource transition completed.")
            self.other_stable = True
            self._report()
            self._fail_back()
        if self.other_stable and self.state not in (State.STABLE, State.SHUTDOWN):
            self._become_stable()
            self._fail_back()

    def _note_order(self, seq: int) -> None:
        self.overtaken = seq < self._newest_report and seq not in self.wire.asked
        self._newest_report = max(seq, self._newest_report)

    def _timer(self) -> None:
        if self.state is State.RSCRCVD:
            self._become_stable()

    def _become_stable(self) -> None:
        self._acquire_own(forced=False)
        self.state = State.STABLE
        self._report()

    def _acquire_own(self, forced: bool) -> None:
        held = "foreign" in self.theirs or "local" in self.mine
        if held and not forced and self.standby is Standby.NOT:
            self._log("Local Resource acquisition completed. (none)")
            return
        self.mine |= LOCAL
        self._working += 1

        def requested() -> None:
            self._working -= 1
            for group in self.config.groups:
                if self.set_of(group) != LOCAL:
                    continue
                if group.key in self.host.running:
                    self._finds(group)
                else:
                    self.say(protocol.ip_request_resp(self.me, group.name))
            self._report("req_our_resources()", stable=True)

        self._later(self.world.draw(5, 60), requested)

    def _finds(self, group: GroupSpec) -> None:
        """It runs already: nothing is sent, nobody is asked."""
        if any(r.identity == group.key for r in self.host.leftovers):
            self.found.append(group.key)
        self.host.wants(group)

    def _fail_back(self) -> None:
        wanted = self.config.auto_failback is AutoFailback.ON and self._needs_failback
        if not wanted or "foreign" not in self.mine or self.releasing:
            return
        if self.busy:
            self._later(FAILBACK_RETRY_MS, self._fail_back)
            return
        self._needs_failback = False
        if self.peer_st != "dead":
            self.say(protocol.ask_resources("foreign", "me"))

    # ------------------------------------------------------------ standby

    def hb_standby(self, word: str = "foreign") -> None:
        """The command, and what follows 30 s after a failed start."""
        self.say(protocol.ask_resources(word, "me"))

    def hb_takeover(self, word: str) -> None:
        self.say(protocol.hb_takeover(word))

    def _ask(self, message: Message, ours: bool) -> None:
        word, info = message.text(f.RSC_HOLD) or "", message.text(f.INFO) or ""
        if self.legacy or self.state is State.SHUTDOWN or word not in SETS:
            return
        match info:
            case "me":
                self._asked(word, ours)
            case "other" if not ours and self.standby is Standby.ME:
                self._release(word)
            case "done" if self.standby is Standby.ME and ours:
                self.standby = Standby.DONE
            case "done" if self.standby is Standby.OTHER and not ours:
                self._acquire(word)
            case "done" if self.standby is Standby.DONE and ours != self._giver:
                self.standby = Standby.NOT
                if not self._giver:
                    self.mine |= mirror(self._scope)
                self._report(stable=True)
            case _:
                self._log(f"Ignored standby message '{info}' in state {self.standby.name}")

    def _asked(self, word: str, ours: bool) -> None:
        if self.busy:
            self._log("standby message [me] ignored: in flux")
            return
        self.other_stable = False
        self._giver, self._scope = ours, SETS[word]
        self.standby = Standby.ME if ours else Standby.OTHER
        self._standby_until_ms = self.world.now_ms + (ANSWER_MS if ours else HANDOVER_MS)
        if not ours:
            self.say(protocol.ask_resources(word, "other"))

    def _release(self, word: str) -> None:
        """The giver: says what it no longer holds, and then releases it."""
        self.mine -= self._scope
        self._standby_until_ms = self.world.now_ms + HANDOVER_MS
        self._report("standby", stable=False)
        groups = [group for group in self.config.groups if self.set_of(group) <= self._scope]
        self._enqueue(*(self._giving(group) for group in groups))
        self._enqueue(self._saying(protocol.ask_resources(word, "done"), Standby.ME))

    def _acquire(self, word: str) -> None:
        """The taker: claims only when its scripts have run."""
        self.standby = Standby.DONE
        groups = [group for group in self.config.groups if self.set_of(group) <= mirror(self._scope)]
        self._enqueue(*(self._taking(group) for group in groups))
        self._enqueue(self._saying(protocol.ask_resources(word, "done"), Standby.DONE))

    def _check_standby(self) -> None:
        if self.standby is not Standby.NOT and self.world.now_ms >= self._standby_until_ms:
            self._log("No reply to standby request.  Standby request cancelled.")
            self.standby, self.other_stable = Standby.NOT, True

    # ------------------------------------------------------------ legacy

    def _request_own(self, alone: bool = False) -> None:
        for group in self.config.groups:
            if self.set_of(group) != LOCAL:
                continue
            if group.key in self.host.running:
                self._finds(group)
            elif self.peer_st == "active" and not alone:
                self.say(protocol.ip_request(group.name))
            else:
                self.say(protocol.ip_request_resp(self.me, group.name))

    def _give_key(self, key: str | None) -> None:
        for group in self.config.groups:
            if group.name == key and group.home == self.peer and not self.releasing:
                self._enqueue(self._giving(group, only_if_running=True))
                self._enqueue(self._saying(protocol.ip_request_resp(self.peer, group.name)))

    def _take_key(self, key: str | None) -> None:
        for group in self.config.groups:
            if group.name == key and not self.releasing:
                self._enqueue(self._taking(group))

    # ------------------------------------------------------------ work, one piece at a time

    def _taking(self, group: GroupSpec) -> Work:
        return lambda done: self.host.takegroup(group, done)

    def _giving(self, group: GroupSpec, only_if_running: bool = False) -> Work:
        def work(done: Callable[[], None]) -> None:
            if only_if_running and not any(r.identity in self.host.running for r in group.resources):
                done()
            else:
                self.host.givegroup(group, done)

        return work

    def _saying(self, fields: protocol.Fields, during: Standby | None = None) -> Work:
        """A script's last word. `during`: only if the handshake still stands there."""

        def work(done: Callable[[], None]) -> None:
            if during is None or self.standby is during:
                self.say(fields)
            done()

        return work

    def _enqueue(self, *works: Work) -> None:
        self._queue += works
        if not self._working_on_queue:
            self._next()

    _working_on_queue = False

    def _next(self) -> None:
        self._working_on_queue = bool(self._queue)
        if self._queue:
            work = self._queue.pop(0)
            self._working += 1

            def done() -> None:
                self._working -= 1
                self._later(1, self._next)

            work(done)

    # ------------------------------------------------------------ shutdown and restart

    def stop(self, restart: bool) -> None:
        """SIGTERM; `restart`: after a partition, or when the own heartbeat was lost."""
        if self._stopping is None:
            self._stopping = restart

    def _try_stop(self) -> None:
        if not self.active or self.busy or self.releasing:
            return
        restart = bool(self._stopping)
        self.mine, self.state, self.releasing = NONE, State.SHUTDOWN, True
        self._log("Heartbeat shutdown in progress.")
        if not self.legacy:
            self.say(protocol.resource("none", False, "shutdown"))
        self._enqueue(*(self._giving(group) for group in self.config.groups))
        self._enqueue(self._saying(protocol.shutdone()))
        self._enqueue(lambda done: self._later(1000, lambda: self._last_words(restart)))

    def _last_words(self, restart: bool) -> None:
        if restart:
            self._dt_extra_ms = 30_000
        self._say_status()
        self._beating = False

        def exits() -> None:
            self.host.ends(self)
            if restart and not (self.healing and self.host.traits.healing is Healing.STAYS_DOWN):
                seconds = -(-self.config.timing.deadtime_ms // 1000) + 1
                self.host.process(1000 * seconds, self.host.start_daemon)

        self._later(1000, exits)

    def reload(self) -> None:
        """`heartbeat -r` with a changed ha.cf: a quick restart that keeps the resources."""
        if self.busy or not self.active or self._stopping is not None:
            return
        self._dt_extra_ms = 30_000
        self._say_status()

        def again() -> None:
            if self._stopping is None:
                self.host.interrupt([g for g in self.config.groups if self.set_of(g) & self.mine])
                self.host.ends(self)
                self.host.start_daemon(self.mine)

        self._later(1000, again)

    # ------------------------------------------------------------ what can be read later

    def _log(self, text: str) -> None:
        self.world.note(f"{self.me} (3.0.6): {text}")

    def _log_message(self, verb: str, message: Message) -> None:
        words = [message.text(name) for name in (f.T, f.RSC_HOLD, f.ISSTABLE, f.INFO, f.IPADDR, f.RESULT)]
        self._log(f"{verb} {' '.join(word for word in words if word)}")
