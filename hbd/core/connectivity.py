"""What this node reaches besides its peer, and what follows for who serves: ping nodes, carriers, ipfail.

Composes `pings` (which ping nodes answer), `carriers` (which addresses have one), `ipfail` (the policy
between two hbd nodes, by what their reports say) and `ipfail_classic` (the same with a 3.0.6 node, by
messages). What is decided is done as an operator's standby is, and refused for the same reasons.
"""

from __future__ import annotations

from collections.abc import Callable

from hbd.config.digest import ping_list_number
from hbd.config.model import AutoFailback, Config, Ping
from hbd.core import claims, protocol
from hbd.core.carriers import Carriers
from hbd.core.claims import Peer, PeerKind
from hbd.core.custody import Custody
from hbd.core.desk import Desk
from hbd.core.effects import Kind, Level
from hbd.core.events import LinkFailed, LinkOpened, PathSeen, PingAnswered, Scope
from hbd.core.ipfail import CALM_MS, CARRIER_MS, Ipfail, Own, Standing
from hbd.core.ipfail_classic import ClassicIpfail, is_an_operators_standby
from hbd.core.message import Message
from hbd.core.pings import PingNodes
from hbd.core.report import Reach, Report
from hbd.core.views import Holding
from hbd.errors import Refused

NO_PINGS = ping_list_number(())
RETRY_MS = 1000
"""A standby that is refused (something is in flux) is tried again so often."""


class Connectivity:
    """One node's."""

    def __init__(self, config: Config, desk: Desk, say: Callable[[protocol.Fields], None]) -> None:
        self._desk = desk
        self.pings = PingNodes(config, desk)
        self._policy = Ipfail(config.timing)
        self._classic = ClassicIpfail(config.timing, self.pings, desk, say)
        self._carriers = Carriers(config, desk)
        self._ping_list = _ping_list(config)
        self._alive = 0
        self._cut_said: int | None = None
        self._cut_at: tuple[int, int] | None = None
        self._retry_ms: int | None = None
        self._may_act = False
        self._refusal = self._incomparable = ""
        self._offered = False
        self._met: int | None = None
        """Which of the peer's lives knows that there is an ipfail here."""
        self._take_up(config)

    def _take_up(self, config: Config) -> None:
        self._config = config
        self._on = config.ipfail and config.auto_failback is not AutoFailback.LEGACY
        self._idle = not self._on and not self.pings.any_configured
        """Nothing of this is configured, as in most clusters: it costs them nothing."""

    # ------------------------------------------------------------ beginnings

    @property
    def ping_list(self) -> int | None:
        """For the report, where `reach` does not tell it."""
        return None if self._idle or self._on else self._ping_list

    def pings_agree_with(self, report: Report) -> bool:
        """Whether that node asks the same ping nodes."""
        theirs = report.ping_list if report.reach is None else report.reach.ping_list
        return (NO_PINGS if theirs is None else theirs) == self._ping_list

    def begin(self, *, overruled: bool) -> None:
        """Open the ping nodes, and watch the addresses' interfaces if that matters.

        `overruled`: in an earlier life of ours an operator wanted groups here all the same.
        """
        if overruled:
            self._policy.adopted()
        self.pings.begin()
        self._carriers.watch(self._config, self._on)

    def reconfigure(self, config: Config) -> None:
        """A reload."""
        self.pings.reconfigure(config)
        self._take_up(config)
        self._policy.retime(config.timing)
        self._classic.retime(config.timing)
        self._ping_list = _ping_list(config)
        self._carriers.watch(config, self._on)
        if self._idle:
            self._rest()

    @property
    def cut(self) -> int:
        """How many groups have an address without a carrier here."""
        return self._carriers.cut

    # ------------------------------------------------------------ events

    def take(self, event: PingAnswered | PathSeen) -> bool:
        """Whether that is news."""
        match event:
            case PingAnswered(medium):
                return self.pings.answered(medium)
            case PathSeen(address, usable):
                return self._carriers.seen(address, usable)

    def link(self, event: LinkOpened | LinkFailed, spec: Ping) -> None:
        """A ping node can be asked, or cannot."""
        if isinstance(event, LinkFailed):
            self.pings.failed(spec, event.reason)
        else:
            self.pings.opened(spec)

    def stalled(self, lateness_ms: int) -> None:
        """We did not run for so long: nobody else's silence, and no time in which anything lasted."""
        if self._idle:
            return
        self.pings.excuse(lateness_ms)
        self._policy.look(self._desk.now.ms, self._own(), None, False)
        self._classic.stalled(lateness_ms)
        self._carriers.stalled()

    @property
    def overruled(self) -> bool:
        """An operator's word stands against what would move our groups away."""
        return self._policy.overruled

    def commanded(self) -> None:
        """An operator moves groups."""
        self._policy.overrule()
        self._classic.took_over = False

    def said(self, peer: str, kind: str, message: Message) -> None:
        """A 3.0.6 node's ipfail, or its standby."""
        if not self._on:
            return
        fails_back = self._config.auto_failback is AutoFailback.ON
        if is_an_operators_standby(kind, message, fails_back):
            self._policy.overrule()
        self._classic.said(peer, kind, message)

    # ------------------------------------------------------------ for the report

    @property
    def reach(self) -> Reach | None:
        """What the peer is to know; None while nothing follows from it."""
        return self._own().reach if self._on else None

    def _own(self) -> Own:
        reach = Reach(self.pings.answering, self._carriers.cut, self._ping_list)
        return Own(self.pings.alive, reach, self.pings.undecided)

    def reported(self, at: tuple[int, int], reach: Reach | None) -> None:
        """A report with this left as (generation, seq)."""
        cut = None if reach is None else reach.cut
        if cut != self._cut_said:
            self._cut_said, self._cut_at = cut, at

    def forget_reports(self) -> None:
        """A new generation of ours."""
        self._cut_said = self._cut_at = None

    # ------------------------------------------------------------ what follows

    def proceed(self, peer: Peer | None, custody: Custody, *, acts: bool, fresh: bool) -> None:
        """Once a step. `acts`: we are active and stay; `fresh`: the peer was heard just now."""
        if self._idle:
            return
        self.pings.tick()
        self._note_count()
        self._may_act = False
        if not self._on or not acts or peer is None or not peer.alive:
            self._rest()
        elif peer.speaks_classic:
            self._follow_classic(peer, custody)
        else:
            self._part()
            self._follow(peer, custody, fresh)

    def _rest(self) -> None:
        """There is nobody to compare with."""
        self._policy.look(self._desk.now.ms, self._own(), None, False)
        self._part()

    def _follow(self, peer: Peer, custody: Custody, fresh: bool) -> None:
        now_ms, report = self._desk.now.ms, peer.report
        known = fresh and peer.kind is PeerKind.HBD and report is not None and report.active
        theirs = report.reach if known and report is not None else None
        if known:
            self._note_incomparable(peer.name, theirs)
        heard = self._cut_at is not None and claims.echoed(peer, *self._cut_at)
        before = self._policy.standing
        standing = self._policy.look(now_ms, self._own(), theirs, heard)
        self._note_offer(peer)
        holds = custody.holding is not Holding.NONE
        if Standing.WORSE in (before, standing) and before is not standing and holds:
            self._note_standing(peer.name, theirs)
        due_ms = self._policy.due_ms(now_ms)
        self._may_act = holds and due_ms is not None
        if not holds or due_ms is None:
            self._retry_ms, self._refusal = None, ""
        elif now_ms >= max(due_ms, self._retry_ms or 0) and self._give(peer, custody, Scope.ALL):
            self._policy.moved(now_ms)

    def _follow_classic(self, peer: Peer, custody: Custody) -> None:
        now_ms, talk = self._desk.now.ms, self._classic
        self._mind_carriers(peer, custody)
        if self.pings.undecided:
            return
        if self._met != peer.lives:
            self._met = peer.lives
            talk.meet(peer.name)
        talk.recount(peer.name)
        talk.tick(peer.name)
        if talk.giveup_ms is not None and now_ms >= talk.giveup_ms:
            talk.giveup_ms = None
            if custody.holding is not Holding.NONE and not self._give(peer, custody, Scope.ALL):
                talk.giveup_ms = now_ms + RETRY_MS
        elif self._returns_ms is not None and now_ms >= max(self._returns_ms, self._retry_ms or 0):
            nothing = custody.holding in (Holding.NONE, Holding.LOCAL)
            talk.took_over = not nothing and not self._give(peer, custody, Scope.FOREIGN)

    def _mind_carriers(self, peer: Peer, custody: Custody) -> None:
        """A 3.0.6 node tells nothing of its carriers: it is taken to have them, unless it reaches nobody."""
        now_ms, cut, since_ms = self._desk.now.ms, self._carriers.cut, self._carriers.since_ms
        self._classic.cut_off = since_ms is not None and now_ms >= since_ms + CARRIER_MS
        hopeless = self.pings.any_configured and self._classic.theirs == 0
        # Ping nodes are left to the conversation: both sides of this comparison have the same.
        own, theirs = Reach(0, cut, self._ping_list), Reach(0, cut if hopeless else 0, self._ping_list)
        before = self._policy.standing
        standing = self._policy.look(now_ms, Own(0, own), theirs, cut_is_known=True)
        due_ms, holds = self._policy.due_ms(now_ms), custody.holding is not Holding.NONE
        if standing is Standing.WORSE and before is not standing and holds:
            self._note("Giving up because an address has no carrier here.")
        self._may_act = holds and due_ms is not None
        wanted = holds and due_ms is not None and now_ms >= max(due_ms, self._retry_ms or 0)
        if wanted and self._give(peer, custody, Scope.ALL):
            self._policy.moved(now_ms)
            custody.transitions.ask_back_later()

    @property
    def stays_away(self) -> bool:
        """Whether our own groups had better not come home from a 3.0.6 peer by themselves."""
        if self._carriers.cut or not self._policy.has_moved:
            return self._carriers.cut > 0
        return self._desk.now.ms < self._carriers.back_ms + self._policy.calm_ms

    @property
    def _returns_ms(self) -> int | None:
        """When a 3.0.6 peer that had given up gets its own back."""
        talk = self._classic
        wanted = talk.took_over and self._config.auto_failback is AutoFailback.ON
        return talk.balanced_ms + CALM_MS if wanted and talk.balanced_ms is not None else None

    def _part(self) -> None:
        if self._met is not None:
            self._met = None
            self._classic.part()

    def _give(self, peer: Peer, custody: Custody, scope: Scope) -> bool:
        """Hand over what the scope means; what is refused is tried again."""
        try:
            number = custody.transitions.standby(scope, peer, custody.settled, pinned=False)
        except Refused as refused:
            if str(refused) != self._refusal:
                self._refusal = str(refused)
                self._note(f"giveup() has to wait: {refused}")
            number = 0
        if not number:
            self._retry_ms = self._desk.now.ms + RETRY_MS
            return False
        self._retry_ms, self._refusal = None, ""
        self._desk.info(Kind.IPFAIL, "giveup() called (timeout worked)", transition=number)
        return True

    def holds_back(self, peer: Peer) -> bool:
        """Whether an automatic failback to the peer has to wait, because it may be worse off."""
        theirs = None if peer.report is None else peer.report.reach
        if not self._on or theirs is None:
            return False
        own = self._own()
        if theirs.ping_list != own.reach.ping_list:
            return False
        due_ms = self._policy.failback_ms()
        return due_ms is None or self._desk.now.ms < due_ms

    def deadline_ms(self) -> int | None:
        """When `proceed` has something to do."""
        if self._idle:
            return None
        now_ms = self._desk.now.ms
        times = [self.pings.deadline_ms(), self._policy.failback_ms(), self._classic.deadline_ms()]
        if self._carriers.since_ms is not None:
            times.append(self._carriers.since_ms + CARRIER_MS)
        due_ms = self._policy.due_ms(now_ms)
        if self._may_act and due_ms is not None:
            times.append(max(due_ms, self._retry_ms or 0))
        if self._returns_ms is not None:
            times.append(max(self._returns_ms, self._retry_ms or 0))
        return min((ms for ms in times if ms is not None and ms > now_ms), default=None)

    # ------------------------------------------------------------ notes

    def _note_offer(self, peer: Peer) -> None:
        """The peer hands something over: for the same reason, or because an operator wants it."""
        groups = None if peer.report is None else peer.report.groups
        offers = [] if groups is None else [entry for entry in groups.values() if entry.offered]
        if offers and not self._offered:
            if any(entry.pinned for entry in offers):
                self._policy.overrule()
            elif self._policy.standing is Standing.BETTER:
                self._policy.moved(self._desk.now.ms)
        self._offered = bool(offers)

    def _note_count(self) -> None:
        if not self.pings.changed:
            return
        self.pings.changed = False
        alive, self._alive = self._alive, self.pings.alive
        if not self._on:
            return
        if self._alive > alive:
            self._note("A ping node just came up.")
        elif self._alive < alive:
            self._note("Checking remote count of ping nodes." if self._alive else "We are dead. :<")

    def _note_standing(self, peer: str, theirs: Reach | None) -> None:
        if self._policy.standing is not Standing.WORSE:
            self._note("Aborted delayed giveup")
            return
        own = self._own()
        if theirs is not None and own.reach.cut > theirs.cut:
            self._note(f"Giving up because {peer} has a carrier where this node has none.")
        else:
            self._note("Giving up because we have less visible ping nodes.")
            self._note(f"Delayed giveup in {self._policy.delay_ms / 1000:g} seconds.")

    def _note_incomparable(self, peer: str, theirs: Reach | None) -> None:
        reason = ""
        if theirs is None:
            reason = f"ipfail is on here and off on {peer}: nothing moves because of what is reached"
        elif theirs.ping_list != self._own().reach.ping_list:
            reason = f"the ping nodes of ha.cf differ here and on {peer}: nothing moves because of them"
        if reason and reason != self._incomparable:
            self._desk.log(Level.WARN, Kind.IPFAIL, reason, node=peer)
        self._incomparable = reason

    def _note(self, text: str) -> None:
        self._desk.info(Kind.IPFAIL, text)


def _ping_list(config: Config) -> int:
    return ping_list_number(medium for medium in config.media if isinstance(medium, Ping))
