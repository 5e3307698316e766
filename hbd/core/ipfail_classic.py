"""ipfail's conversation with the ipfail of a heartbeat 3.0.6 node.

    our count changed ──num_ping_nodes n──▶   n more than its own: it gives up, by `ask_resources`
                      ◀──you_are_dead──────   n fewer: we give up
                      ◀──abort_giveup──────   equal

and the same from its side. Where 3.0.6 believes a count at once, we wait: we tell it that it is worse only
when our own ping nodes have answered since, and give up only when the difference has lasted. Facts:
heartbeat 3.0.6's ipfail, observed; its texts.
"""

from __future__ import annotations

from collections.abc import Callable

from hbd.config.model import Timing
from hbd.core import message as f
from hbd.core import protocol
from hbd.core.desk import Desk
from hbd.core.effects import Kind
from hbd.core.message import BadField, Message
from hbd.core.pings import PingNodes, recent_ms

LAG_MS = 1000
"""3.0.6 looks for dead ping nodes four times a second, and may act a keepalive later."""

_ORDERED = (protocol.NUM_PING_NODES, protocol.YOU_ARE_DEAD, protocol.ABORT_GIVEUP)


class ClassicIpfail:
    """What one 3.0.6 peer's ipfail has said, and what follows."""

    def __init__(self, timing: Timing, pings: PingNodes, desk: Desk, say: Callable[[protocol.Fields], None]):
        self._timing, self._pings, self._desk, self._say = timing, pings, desk, say
        self._sent: int | None = None
        """The count that the peer has been told last."""
        self.theirs: int | None = None
        """The count that it has told last."""
        self.cut_off = False
        """A service address has no carrier here: whatever ping nodes answer, we count for nothing."""
        self._newest_seq = 0
        """The highest number of the counts and orders taken in: a lower one that comes later says nothing."""
        self._tell_ms: int | None = None
        self.giveup_ms: int | None = None
        """When everything is to be given to the peer."""
        self.took_over = False
        """The peer gave up because it was worse off: what is at home there may go back."""
        self.balanced_ms: int | None = None
        """Since when both counts are known to be equal."""

    def retime(self, timing: Timing) -> None:
        self._timing = timing

    @property
    def _count(self) -> int:
        """What we reach, in its terms: of carriers its ipfail knows nothing."""
        return 0 if self.cut_off else self._pings.alive

    @property
    def _delay_ms(self) -> int:
        return max(2 * self._timing.keepalive_ms, self._timing.keepalive_ms + LAG_MS)

    def meet(self, peer: str) -> None:
        """A life of the peer begins: it learns that there is an ipfail here."""
        self._forget()
        self._say(protocol.client_status("ipfail", "join", "signon"))
        self._send(peer)

    def part(self) -> None:
        """It is gone."""
        self._forget()
        self.took_over = False

    def _forget(self) -> None:
        self._sent = self.theirs = self._tell_ms = self.giveup_ms = self.balanced_ms = None
        self._newest_seq = 0

    def stalled(self, lateness_ms: int) -> None:
        """We did not run for so long: what has come meanwhile is read before anything is due."""
        later_ms = lateness_ms + self._timing.keepalive_ms
        if self.giveup_ms is not None:
            self.giveup_ms += later_ms
        if self._tell_ms is not None:
            self._tell_ms += later_ms
        if self.balanced_ms is not None:
            self.balanced_ms += later_ms

    def recount(self, peer: str) -> None:
        """Our count may have changed."""
        if self._count != self._sent:
            self._send(peer)
            self._compare(peer)

    def _send(self, peer: str) -> None:
        self._sent = self._count
        self._say(protocol.num_ping_nodes(peer, self._sent))

    def said(self, peer: str, kind: str, message: Message) -> None:
        """One message of its ipfail, or of its daemon about it."""
        if message.text(f.FROM_ID) != "ipfail":
            if kind == protocol.ASK_RESOURCES and message.text(f.INFO) == "me":
                self.took_over = False
            return
        if kind in _ORDERED and not self._is_newer(message):
            return
        match kind:
            case protocol.CLIENT_STATUS if message.text(f.ST) == "join":
                self._send(peer)
            case protocol.NUM_PING_NODES:
                self.theirs = _count(message)
                self._compare(peer)
            case protocol.YOU_ARE_DEAD if self._count == self._sent and not self._pings.undecided:
                self._note("Giving up because we were told that we have less ping nodes.")
                self._schedule()
            case protocol.YOU_ARE_DEAD:
                self._send(peer)
            case protocol.ABORT_GIVEUP:
                self._abort()
                self.theirs = self._sent
                self._note_balance()
            case protocol.ASK_RESOURCES if message.text(f.INFO) == "me":
                self.took_over = True
            case _:
                pass

    def _is_newer(self, message: Message) -> bool:
        """Retransmissions come late: what is older than what was taken in says nothing (rule 4)."""
        seq = message.hex(f.SEQ) or 0
        newer = seq > self._newest_seq
        self._newest_seq = max(seq, self._newest_seq)
        return newer

    def _compare(self, peer: str) -> None:
        ours, theirs = self._count, self.theirs
        if theirs is None or self._pings.undecided:
            return
        self._tell_ms = None
        if ours > theirs:
            self._abort()
            self.balanced_ms = None
            self._tell_ms = self._desk.now.ms + recent_ms(self._timing) + 1
        elif ours < theirs:
            self.balanced_ms = None
            self._note("Giving up because we have less visible ping nodes.")
            self._schedule()
        else:
            self._note("Ping node count is balanced.")
            self._abort()
            self._note_balance()
            self._say(protocol.abort_giveup(peer))

    def _note_balance(self) -> None:
        if self.balanced_ms is None:
            self.balanced_ms = self._desk.now.ms

    def _schedule(self) -> None:
        if self.giveup_ms is None:
            self.giveup_ms = self._desk.now.ms + self._delay_ms
            self._note(f"Delayed giveup in {self._delay_ms / 1000:g} seconds.")

    def _abort(self) -> None:
        if self.giveup_ms is not None:
            self.giveup_ms = None
            self._note("Aborted delayed giveup")

    def tick(self, peer: str) -> None:
        """Tell it that it is worse off, once our ping nodes have answered since we learnt its count."""
        if self._tell_ms is None or self._desk.now.ms < self._tell_ms:
            return
        self._tell_ms = None
        if self.theirs is None or self._count <= self.theirs:
            return
        if self._pings.answering > self.theirs:
            self._note("Telling other node that we have more visible ping nodes.")
            self._say(protocol.you_are_dead(peer))
        else:
            self._tell_ms = self._desk.now.ms + self._timing.keepalive_ms

    def deadline_ms(self) -> int | None:
        """When `tick` or the giveup is due."""
        return min((ms for ms in (self._tell_ms, self.giveup_ms) if ms is not None), default=None)

    def _note(self, text: str) -> None:
        self._desk.info(Kind.IPFAIL, text)


def is_an_operators_standby(kind: str, message: Message, fails_back: bool) -> bool:
    """Whether somebody over there gives groups away; with auto_failback on it offers us our own by itself."""
    if kind != protocol.ASK_RESOURCES or message.text(f.INFO) != "me" or message.text(f.FROM_ID) == "ipfail":
        return False
    return not (fails_back and message.text(f.RSC_HOLD) in ("foreign", "failback"))


def _count(message: Message) -> int | None:
    """What cannot be read is not known."""
    try:
        return message.decimal(f.NUM_PING)
    except BadField:
        return None
