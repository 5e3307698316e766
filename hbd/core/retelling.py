"""The other node's decisions: asked for and told over the wire, page by page.

    NS_hbd_ask     dest, token, skip                  the page before your newest `skip` decisions, please
    NS_hbd_tell    dest, token, now, boot, page       it, and what the clock that it goes by says now

Both are of types that heartbeat 3.0.6 does not know, and have no number (`NS_`), so that one which is lost is
not missed by anybody but its asker, who asks again a few times and then gives up. `token` is drawn anew for
each try: an answer that does not bear that of the question which is open is dropped, and so a recording of
one is of no use. One question is open at a time, and both sides keep a pace: a few pages per keepalive.

Nothing is decided by what is told here. Records are kept by the edges; `Recall` fetches ours from there.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from hbd.config.model import Config, Serial
from hbd.core import pages, protocol
from hbd.core.claims import Peer, PeerKind
from hbd.core.desk import Desk
from hbd.core.effects import Answer, Recall, Retold
from hbd.core.events import Recalled, RequestId
from hbd.core.membership import Membership
from hbd.core.message import BadField, Message
from hbd.errors import WireError

TRIES = 3
TRY_MS = 1000
"""For an answer; a keepalive, where that is longer."""
MOST_OPEN = 8
"""Questions that wait. Each of them is an operator's, or a local user's."""
PAGES_PER_KEEPALIVE = 8
SHORTEST_PACE_MS, LONGEST_PACE_MS = 20, 1000
PAGE_BYTES = 1000
"""A message with so much fits an Ethernet frame, classic framing and signature included."""
LINE_PAGE_BYTES = 500
"""Where there are serial lines: at 19200 baud such a message takes half a second."""
MOST_SKIP = 100_000
NO_BOOT = "-"
"""Where the kernel does not tell which boot this is; no field may be empty."""
_TOKEN = re.compile(r"[0-9a-f.]{1,40}")
_INT53 = (1 << 53) - 1
"""As in a record: the sum of two such times fits the bus."""


@dataclass(slots=True)
class _Question:
    """One of ours."""

    request: RequestId
    skip: int
    tries: int = 0
    token: str = ""
    sent_ms: int = 0


class Retelling:
    """Our questions, and the answers to the other node's."""

    def __init__(self, config: Config, desk: Desk, membership: Membership) -> None:
        self._desk, self._membership = desk, membership
        self.open: list[_Question] = []
        """What waits for an answer; the first of them may be on its way."""
        self._count = 0
        self._next_ms = self._answer_next_ms = 0
        self._answered = ""
        """The token of the answer that was taken last: on each further link it comes once more."""
        self._asked = ""
        """The token of the question that was taken last, likewise."""
        self.dropped = 0
        """Messages of these types from which nothing follows."""
        self.reconfigure(config)

    def reconfigure(self, config: Config) -> None:
        """Timings and media of a reload."""
        keepalive_ms = config.timing.keepalive_ms
        slow = any(isinstance(medium, Serial) for medium in config.media)
        pace_ms = keepalive_ms // PAGES_PER_KEEPALIVE
        self._pace_ms = keepalive_ms if slow else min(max(pace_ms, SHORTEST_PACE_MS), LONGEST_PACE_MS)
        self._page_bytes = LINE_PAGE_BYTES if slow else PAGE_BYTES
        self._try_ms = max(TRY_MS, keepalive_ms)

    # ------------------------------------------------------------ asking

    @property
    def deadline_ms(self) -> int:
        """When something is to be sent, or given up. Only while a question is open."""
        first = self.open[0]
        return first.sent_ms + self._try_ms if first.tries else self._next_ms

    def ask(self, request: RequestId, skip: int) -> None:
        """Begin; ends in Retold, or in a refusal."""
        refused = self._why_not()
        if not refused and len(self.open) >= MOST_OPEN:
            refused = "too many such questions are open"
        if refused:
            self._desk.emit(Answer(request, refused=refused))
        else:
            self.open.append(_Question(request, min(skip, MOST_SKIP)))

    def _why_not(self) -> str:
        peer = self._membership.peer
        if peer is None:
            return "only a cluster of two nodes has one other node to ask"
        if peer.dead:
            return f"{peer.name} is dead"
        if not peer.alive or peer.kind is PeerKind.UNKNOWN:
            return f"{peer.name} was not heard yet"
        if peer.kind is PeerKind.CLASSIC:
            return f"{peer.name} runs heartbeat 3.0.6, which keeps no decisions"
        return ""

    def proceed(self) -> None:
        """Send what is due, again if need be; give up what was asked for in vain."""
        now_ms = self._desk.now.ms
        refused = self._why_not()
        if refused:
            while self.open:
                self._desk.emit(Answer(self.open.pop(0).request, refused=refused))
            return
        peer = self._membership.peer
        assert peer is not None
        while self.open and now_ms >= self.deadline_ms:
            first = self.open[0]
            if first.tries < TRIES:
                self._send(first, peer)
                return
            text = f"{peer.name} does not tell: its hbd may be too old for it, or all answers are lost"
            self._desk.emit(Answer(self.open.pop(0).request, refused=text))

    def _send(self, question: _Question, peer: Peer) -> None:
        now_ms = self._desk.now.ms
        self._count += 1
        question.tries += 1
        question.token, question.sent_ms = f"{self._membership.life:x}.{self._count:x}", now_ms
        self._next_ms = now_ms + self._pace_ms
        self._membership.say(protocol.hbd_ask(peer.name, question.token, question.skip))

    # ------------------------------------------------------------ taking in

    def said(self, peer: Peer, kind: str, message: Message) -> bool:
        """Take in one of these messages; False if nothing follows from it. Raises nothing."""
        try:
            follow = self._was_asked if kind == protocol.HBD_ASK else self._was_told
            return follow(peer, message)
        except (BadField, WireError) as bad:
            self.dropped += 1
            self._membership.drop("history", peer.name, str(bad))
            return False

    def _was_asked(self, peer: Peer, message: Message) -> bool:
        token, skip = _token(message), message.hex(protocol.SKIP, MOST_SKIP)
        if skip is None:
            raise BadField("a question for decisions without skip")
        if token == self._asked:
            return False
        now_ms = self._desk.now.ms
        if not self._may_hear(peer) or now_ms < self._answer_next_ms:
            self.dropped += 1
            return False
        # Half of our pace: what was sent in time may come closer together.
        self._asked, self._answer_next_ms = token, now_ms + self._pace_ms // 2
        self._desk.emit(Recall(peer.name, token, skip))
        return True

    def _may_hear(self, peer: Peer) -> bool:
        return peer is self._membership.peer and peer.alive and peer.kind is PeerKind.HBD

    def recalled(self, found: Recalled) -> None:
        """Our records for an answer are here."""
        peer = self._membership.peer
        if peer is not None and peer.name == found.node and self._may_hear(peer):
            page = pages.pack(found.records, self._page_bytes)
            now_ms, boot = self._desk.now.ms, found.boot[:64] or NO_BOOT
            self._membership.say(protocol.hbd_tell(peer.name, found.token, now_ms, boot, page))

    def _was_told(self, peer: Peer, message: Message) -> bool:
        token = _token(message)
        if token == self._answered:
            return False
        if not self.open or token != self.open[0].token or not self._may_hear(peer):
            self.dropped += 1
            return False
        theirs_ms, boot = message.hex(protocol.NOW, _INT53), message.text(protocol.BOOT)
        page = message.raw(protocol.PAGE)
        if theirs_ms is None or boot is None or page is None or len(page) > pages.MOST_RAW_BYTES:
            raise BadField("an answer with decisions is incomplete, or too long")
        records = pages.unpack(page, peer.name)
        question = self.open.pop(0)
        self._answered = token
        # It was made between our question and now.
        behind_ms = (question.sent_ms + self._desk.now.ms) // 2 - theirs_ms
        self._desk.emit(Retold(question.request, records, boot, behind_ms))
        return True


def _token(message: Message) -> str:
    token = message.text(protocol.TOKEN)
    if token is None or _TOKEN.fullmatch(token) is None:
        raise BadField("a message about decisions without a token")
    return token
