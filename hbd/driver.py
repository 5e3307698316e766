"""Runs one core on the real clock.

The wire between the core and the edges: events are posted here, one after the other they go through
`step`, and the effects are performed in the order given. Nothing is decided here.

A core that raises, or an effect that cannot be performed for a reason nobody foresaw, is our bug:
`failed` ends the process and nobody feeds the watchdog in its place.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import Callable
from functools import partial
from itertools import count
from typing import assert_never, cast

from hbd.config.model import MediumSpec
from hbd.core.effects import (
    AbandonJob,
    Answer,
    ArmLease,
    AskPing,
    CloseLink,
    DisarmLease,
    Effect,
    EndLease,
    FeedWatchdog,
    Forward,
    KeepLease,
    Log,
    Note,
    OpenLink,
    Permit,
    Quit,
    Recall,
    Retold,
    StartClient,
    StartJob,
    StopClient,
    StoreFreeze,
    StoreGeneration,
    StoreHeld,
    StorePeers,
    StoreStall,
    Transmit,
    Unwatch,
    Watch,
    WatchPaths,
)
from hbd.core.events import (
    Asked,
    AskPeer,
    Command,
    DatagramReceived,
    Event,
    Instant,
    LinkFailed,
    PingAnswered,
    RequestId,
    Tick,
)
from hbd.core.views import ClusterView
from hbd.edges import Asking, Core, Edges, Medium
from hbd.errors import Refused

MESSAGES = logging.DEBUG - 1
"""The level at which every message and tick is shown too: `debug 2` and above."""
LONGEST_TRACE = 2000

log = logging.getLogger("hbd.driver")

SHORTEST_WAIT_S = 0.001
"""A deadline that is already past comes this much later: a core that failed to move it on
would otherwise keep a processor busy at real-time priority, and the operator out of the machine."""
SHOW_EVERY_S = 0.02
"""What datagrams change is shown so often at most. A view costs more than the step it follows, and who sends
us rubbish must not be able to keep a real-time processor busy with showing it."""
COSTLY_S, PAUSES, LONGEST_PAUSE_S = 0.005, 9, 0.5
"""Showing a view of a thousand resources costs more than that; then it gets a tenth of the time, and jobs the
rest."""


class Driver:
    """Owns the core, its inbox, its open media, its one timer and the questions still unanswered.

    To be made, and called, inside the event loop only.
    """

    def __init__(self, core: Core, edges: Edges) -> None:
        self._core = core
        self._edges = edges
        self._loop = asyncio.get_running_loop()
        self._inbox: deque[Event] = deque()
        self._media: dict[MediumSpec, Medium] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._timer_ms: int | None = None
        self._requests = count(1)
        self._answers: dict[RequestId, asyncio.Future[int]] = {}
        self._retold: dict[RequestId, asyncio.Future[Retold]] = {}
        self._shows: list[Callable[[ClusterView], None]] = []
        self._showing: asyncio.Handle | None = None
        self._show_due_s = self._shown_s = self._show_pause_s = 0.0
        self.failed: asyncio.Future[None] = self._loop.create_future()
        """Gets the exception that made core or edges untrustworthy; never a result."""
        self.ended: asyncio.Future[Quit] = self._loop.create_future()
        """How to end, once the core has said it."""

    def post(self, event: Event) -> None:
        """Hand the core an event. Called from the event loop only."""
        inbox = self._inbox
        inbox.append(event)
        if len(inbox) > 1:
            return  # An effect posted back, and the loop below will reach it; or the core is dead.
        try:
            while inbox:
                now = self._edges.now()
                effects = self._core.step(now, inbox[0])
                if log.isEnabledFor(logging.DEBUG):
                    _trace(inbox[0], effects)
                self._perform(now, effects)
                inbox.popleft()
            self._arm_timer()
        except Exception as bug:
            self._fail(bug)
        else:
            self._plan_to_show(at_once=not isinstance(event, DatagramReceived | PingAnswered))

    def ask(self, command: Command) -> asyncio.Future[int]:
        """An operator's wish. It yields the transition to watch (0 = nothing to do), or raises Refused."""
        request = RequestId(next(self._requests))
        answer: asyncio.Future[int] = self._loop.create_future()
        self._answers[request] = answer
        self.post(Asked(request, command))
        return answer

    def ask_peer(self, skip: int) -> asyncio.Future[Retold]:
        """The other node's newest decisions but for so many. Raises Refused."""
        request = RequestId(next(self._requests))
        answer: asyncio.Future[Retold] = self._loop.create_future()
        self._retold[request] = answer
        self.post(AskPeer(request, skip))
        return answer

    def subscribe(self, show: Callable[[ClusterView], None]) -> None:
        """Call `show` with the view after steps: once per loop turn, off the path of the effects.

        After datagrams it may take SHOW_EVERY_S."""
        self._shows.append(show)

    @property
    def view(self) -> ClusterView:
        return self._core.view()

    def close(self) -> None:
        """End timer and media. The core is stepped no more."""
        if self._timer is not None:
            self._timer.cancel()
        self._inbox.append(Tick())  # A full inbox is never worked off: whatever is posted now is ignored.
        for medium in tuple(self._media.values()):
            medium.close()
        self._media.clear()

    # ------------------------------------------------------------ effects

    def _perform(self, now: Instant, effects: list[Effect]) -> None:
        pulse: FeedWatchdog | None = None
        for effect in effects:
            match effect:
                case Transmit():
                    # A copy: a medium that breaks while sending leaves the table.
                    for medium in tuple(self._media.values()):
                        medium.send(effect)
                case Forward(message, media):
                    for spec in media:
                        if spec in self._media:
                            self._media[spec].send(message)
                case Log():
                    self._edges.log(effect)
                case Note(record):
                    self._edges.note(record)
                case Recall():
                    self.post(self._edges.recall(effect))
                case Retold(request):
                    told = self._retold.pop(request)
                    if not told.done():
                        told.set_result(effect)
                case FeedWatchdog():
                    pulse = effect
                case StartJob():
                    self._edges.work.start(effect, self.post)
                case AbandonJob(job):
                    self._edges.work.abandon(job)
                case KeepLease() | EndLease() | ArmLease() | DisarmLease():
                    self._edges.lease.perform(effect, self.post)
                case StoreHeld() | StoreGeneration() | StorePeers() | StoreStall() | StoreFreeze():
                    self._edges.store(effect)
                case AskPing(spec):
                    asked = self._media.get(spec)
                    if isinstance(asked, Asking):
                        asked.ask()
                case WatchPaths():
                    self._edges.paths.watch(effect, self.post)
                case Permit(until_ms):
                    self._edges.work.permit(until_ms)
                case Watch():
                    self._edges.work.watch(effect, self.post)
                case Unwatch(resource):
                    self._edges.work.unwatch(resource)
                case OpenLink(spec):
                    self._open(spec)
                case CloseLink(spec):
                    self._close(spec)
                case StartClient():
                    self._edges.clients.start(effect, self.post)
                case StopClient():
                    self._edges.clients.stop(effect, self.post)
                case Answer():
                    self._answer(effect)
                case Quit():
                    if not self.ended.done():
                        self.ended.set_result(effect)
                case _:
                    assert_never(effect)
        if pulse is not None:
            self._edges.feed(now.ms, pulse.device)

    def _open(self, spec: MediumSpec) -> None:
        self._close(spec)
        try:
            medium = self._media[spec] = self._edges.medium(spec)
            medium.open(partial(self._hear, spec))
        except OSError as error:
            self._media.pop(spec, None)
            self.post(LinkFailed(spec, error.strerror or str(error)))

    def _close(self, spec: MediumSpec) -> None:
        medium = self._media.pop(spec, None)
        if medium is not None:
            medium.close()

    def _hear(self, spec: MediumSpec, event: Event) -> None:
        """What a medium posts passes here, so that a broken one is not sent on any more."""
        if isinstance(event, LinkFailed):
            self._close(spec)
        self.post(event)

    def _answer(self, answer: Answer) -> None:
        waiting: asyncio.Future[int] | asyncio.Future[Retold]
        told = self._retold.pop(answer.request, None)
        waiting = self._answers.pop(answer.request) if told is None else told
        if waiting.done():
            return  # Whoever asked has given up.
        if answer.refused is not None:
            waiting.set_exception(Refused(answer.refused))
        elif told is None:
            cast(asyncio.Future[int], waiting).set_result(answer.transition)

    # ------------------------------------------------------------ timer, view, failure

    def _arm_timer(self) -> None:
        """One timer for the core's deadline. Once that is reached the Tick comes, though another event has
        moved the deadline on: in a flood of datagrams one of them is always first, and the watchdog is fed at
        Ticks only. Loop time stands still in suspend and BOOTTIME does not, so a timer may be due long before
        it fires."""
        deadline_ms = self._core.deadline_ms
        now_ms = self._edges.now().ms
        if self._timer is not None and self._timer_ms is not None:
            if self._timer_ms <= now_ms:
                soon_s = self._loop.time() + SHORTEST_WAIT_S
                if self._timer.when() > soon_s:
                    self._timer.cancel()
                    self._timer = self._loop.call_at(soon_s, self._tick)
                return
            if deadline_ms == self._timer_ms:
                return
            self._timer.cancel()
            self._timer = None
        self._timer_ms = deadline_ms
        if deadline_ms is not None:
            wait_s = max((deadline_ms - now_ms) / 1000, SHORTEST_WAIT_S)
            self._timer = self._loop.call_later(wait_s, self._tick)

    def _tick(self) -> None:
        self._timer = self._timer_ms = None
        self.post(Tick(self._edges.load()))

    def _plan_to_show(self, *, at_once: bool) -> None:
        now_s = self._loop.time()
        pause_s = self._show_pause_s if at_once else max(SHOW_EVERY_S, self._show_pause_s)
        due_s = max(now_s, self._shown_s + pause_s)
        if self._showing is not None:
            if self._show_due_s <= due_s:
                return
            self._showing.cancel()
        self._show_due_s = due_s
        soon = due_s <= now_s
        self._showing = self._loop.call_soon(self._show) if soon else self._loop.call_at(due_s, self._show)

    def _show(self) -> None:
        self._showing = None
        self._shown_s = self._loop.time()
        began_s = time.thread_time()
        if not self._shows or self.failed.done():
            return
        try:
            view = self._core.view()
            for show in self._shows:
                show(view)
        except Exception as bug:
            self._fail(bug)
        spent_s = time.thread_time() - began_s
        self._show_pause_s = min(spent_s * PAUSES, LONGEST_PAUSE_S) if spent_s > COSTLY_S else 0.0

    def _fail(self, bug: Exception) -> None:
        if self._timer is not None:
            self._timer.cancel()
        if not self.failed.done():
            self.failed.set_exception(bug)


# ---------------------------------------------------------------- ha.cf's `debug`

_ROUTINE = (
    Tick, DatagramReceived, PingAnswered, Transmit, Forward, AskPing, FeedWatchdog, Permit, KeepLease,
)  # fmt: skip


def _trace(event: Event, effects: list[Effect]) -> None:
    """What came in and what is done about it, as debug lines. Secrets of keys show in no repr."""
    for arrow, item in (("<-", event), *(("->", effect) for effect in effects)):
        if not isinstance(item, Log):
            level = MESSAGES if isinstance(item, _ROUTINE) else logging.DEBUG
            log.log(level, "%s %s", arrow, repr(item)[:LONGEST_TRACE])
