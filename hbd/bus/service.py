"""org.linux_ha.Heartbeat1: calls in, answers and signals out.

Nothing here decides, and nothing waits for it: `publish` only notes the view; projection and
signals come later in the loop's turn. A bus that is away is tried again for ever, and the
daemon does not notice.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import Any

from hbd import __version__
from hbd.bus import contract, methods, names, records
from hbd.bus.announcer import Announcer
from hbd.bus.faults import LIMITS_EXCEEDED, name_of
from hbd.bus.methods import Ask, Reload
from hbd.bus.projection import Properties, objects
from hbd.bus.records import AskPeer, Decisions, Explain
from hbd.bus.rights import Rights
from hbd.bus.shares import Shares
from hbd.bus.tree import Tree
from hbd.bus.turns import Turns
from hbd.bus.values import clean, interfaces, variant, variants
from hbd.core.records import Record
from hbd.core.views import ClusterView, GroupView
from hbd.dbusio import BROKER, BROKER_PATH, SYSTEM_BUS, Bus, BusError, Message
from hbd.errors import HbdError, Refused
from hbd.reconnecting import Reconnecting

log = logging.getLogger(__name__)

COSTLY_S, PAUSES, LONGEST_PAUSE_S = 0.005, 9, 0.5
"""To bring the objects of a thousand resources up to date costs more; then it gets a tenth of the time."""


class Service:
    """Shows the published views on the bus, and puts commands to the core.

    `ask` puts a command to the core and gives the transition, or raises Refused. `reload` does what
    SIGHUP does, or raises HbdError. Neither is called for anybody without the right to it.
    """

    def __init__(
        self,
        ask: Ask,
        reload: Reload,
        decisions: Decisions,
        explain: Explain,
        address: str = SYSTEM_BUS,
        figures: Callable[[], Mapping[str, int]] = dict,
        ask_peer: AskPeer | None = None,
    ) -> None:
        """`figures`: what other edges count, for GetStatistics."""
        self._figures = figures
        self._ask = ask
        self._reload = reload
        self._decisions, self._explain, self._ask_peer = decisions, explain, ask_peer
        self._tree = Tree(contract.load(), {})
        self._view: ClusterView | None = None
        self._shown: ClusterView | None = None
        self._announcer = Announcer()
        self._published = asyncio.Event()
        self._bus: Bus | None = None
        self._connection = Reconnecting(address, on_up=self._up, on_down=self._down)
        self._rights = Rights()
        self._calls = Turns()
        self._shares = Shares()
        self._refused = self._outages = self._merged = self._unreadable = 0

    @property
    def connected(self) -> bool:
        """Whether we are on the bus under our name."""
        return self._connection.bus is not None

    def publish(self, view: ClusterView) -> None:
        """Show this from now on. Costs next to nothing here."""
        before = self._view
        if view is before:
            return
        if before is not None:
            if view.last_finished != before.last_finished:
                self._announcer.finish(*view.last_finished)
            waits = self._published.is_set() or self._announcer.is_behind
            if waits and not _is_same(before, view):
                self._merged += 1
        self._view = view
        self._published.set()

    def decided(self, record: Record) -> None:
        """Tell of a decision, or of its result. Costs next to nothing here."""
        if self._view is not None:
            self._announcer.decide(record)
            self._published.set()

    async def run(self) -> None:
        """Serve until cancelled. Raises only our own bugs."""
        # Before there is a view there is nothing to read, so nobody shall find us.
        await self._published.wait()
        self._announce()
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._connection.run())
            tasks.create_task(self._answer_calls(tasks))
            while True:
                await self._published.wait()
                began_s = time.thread_time()
                self._announce()
                spent_s = time.thread_time() - began_s
                if spent_s > COSTLY_S:  # Many resources: what is new is told less often, and takes no more.
                    await asyncio.sleep(min(spent_s * PAUSES, LONGEST_PAUSE_S))
                while self._announcer.is_behind:
                    # The connection may be another one, or none, after this.
                    if self._bus is not None:
                        await self._bus.writable()
                    await asyncio.sleep(0)
                    self._announce()

    def statistics(self) -> dict[str, int]:
        """What became of calls and signals, since the start."""
        bus = self._bus
        return {
            "bus_outages": self._outages,
            "bus_announcements_merged": self._merged,
            "bus_signals_dropped": self._announcer.dropped,
            "bus_calls_refused": self._refused,
            "bus_messages_unreadable": self._unreadable + (bus.unreadable if bus is not None else 0),
        }

    # ---------------------------------------------------------------- connection

    async def _up(self, bus: Bus) -> None:
        self._rights.forget()
        bus.on_method_call(partial(self._called, bus))
        if not await bus.request_name(names.BUS_NAME):
            raise BusError(names.ERROR_FAILED, await _who_has_our_name(bus))
        self._announcer.restart()
        self._bus = bus
        bus.closed.add_done_callback(lambda _: self._lost(bus))
        log.info("on the system bus as %s", names.BUS_NAME)

    def _lost(self, bus: Bus) -> None:
        self._outages += 1
        self._unreadable += bus.unreadable
        self._bus = None
        self._published.set()

    def _down(self, reason: str) -> None:
        log.warning("not on the system bus, trying again: %s", reason)

    # ---------------------------------------------------------------- signals

    def _announce(self) -> None:
        """Bring the objects up to the last view, and say what is different, or some of it."""
        self._published.clear()
        view, shown = self._view, self._shown
        assert view is not None
        # Often only counters have moved, as they do with every heartbeat.
        if shown is None or not _is_same(shown, view):
            self._shown = view
            self._tree.objects = objects(view, __version__)
            self._announcer.show(self._tree.objects)
        if self._bus is None:
            self._announcer.restart()
        else:
            self._announcer.say(self._bus)

    # ---------------------------------------------------------------- calls

    def _called(self, bus: Bus, call: Message) -> None:
        if not self._calls.put(bus, call):
            self._too_many(bus, call)

    def _too_many(self, bus: Bus, call: Message) -> None:
        self._refused += 1
        bus.refuse(call, LIMITS_EXCEEDED, "too many calls are waiting")

    async def _answer_calls(self, tasks: asyncio.TaskGroup) -> None:
        """One call in each turn of the loop: every local user may ask, and as often as he likes, but a
        heartbeat must never wait behind more than one answer. While others wait there is a pause as long as
        the answer took, so that a real-time process does not keep a processor from everybody else; and no
        answer is made while the bus does not take the last ones."""
        while True:
            bus, call = await self._calls.next()
            began_s = time.thread_time()
            if self._changes_something(call) or call.member == "GetPeerHistory":
                await self._begin(bus, call, tasks)  # May wait for the bus, for polkit, and for the core.
            else:
                await self._answer(bus, call)
            await asyncio.sleep(time.thread_time() - began_s if len(self._calls) else 0)
            await bus.writable()

    def _changes_something(self, call: Message) -> bool:
        return self._tree.changes_something(call.interface, call.member)

    async def _begin(self, bus: Bus, call: Message, tasks: asyncio.TaskGroup) -> None:
        shares, caller = self._shares, call.sender
        try:
            uid = await self._rights.uid_of(bus, caller)
        except BusError as error:  # It has gone, or the bus has.
            bus.refuse(call, name_of(error), clean(str(error)))
            return
        if not shares.take(uid, caller):
            self._too_many(bus, call)
            return

        def ended(_: object) -> None:
            shares.give(uid, caller)

        tasks.create_task(self._answer_in_turn(bus, call, uid)).add_done_callback(ended)

    async def _answer_in_turn(self, bus: Bus, call: Message, uid: int) -> None:
        asks_peer = call.member == "GetPeerHistory"
        async with self._shares.question(uid) if asks_peer else contextlib.nullcontext():
            await self._answer(bus, call)

    async def _answer(self, bus: Bus, call: Message) -> None:
        if self._published.is_set():
            self._announce()  # Whoever asks now must not see less than was published.
        try:
            interface = self._tree.resolve(call.path, call.interface, call.member, call.signature)
            if self._tree.changes_something(interface, call.member):
                await self._rights.need(bus, call, call.member)
            body = await self._perform(interface, call)
        except HbdError as error:
            bus.refuse(call, name_of(error), clean(str(error)))
        else:
            bus.reply(call, self._tree.gives(interface, call.member), body)

    async def _perform(self, interface: str, call: Message) -> list[Any]:
        """The values of the answer. The call fits the contract. Raises HbdError."""
        tree, path, body = self._tree, call.path, call.body
        assert self._view is not None
        match interface, call.member:
            case (contract.INTROSPECTABLE, "Introspect"):
                return [tree.introspect(path)]
            case (contract.PROPERTIES, "Get"):
                return [variant(tree.get(path, body[0], body[1]))]
            case (contract.PROPERTIES, "GetAll"):
                return [variants(tree.get_all(path, body[0]))]
            case (contract.PROPERTIES, "Set"):
                tree.set(path, body[0], body[1])
                return []
            case (contract.OBJECT_MANAGER, "GetManagedObjects"):
                return [{held: interfaces(shown) for held, shown in tree.managed().items()}]
            case (names.CLUSTER, "Standby"):
                return [await methods.standby(self._ask, body[0])]
            case (names.CLUSTER, "Takeover"):
                return [await methods.takeover(self._ask, body[0])]
            case (names.CLUSTER, "Freeze" | "Thaw" | "ConfirmDead" as member):
                await self._ask(methods.steering(self._view, member, *body))
                return []
            case (names.CLUSTER, "Reload"):
                await self._reload()
                return []
            case (names.CLUSTER, "GetStatistics"):
                return [variants(methods.statistics(self._view, {**self.statistics(), **self._figures()}))]
            case (names.GROUP, "Why"):
                return [[variants(entry) for entry in self._why(self._group(path))]]
            case (names.CLUSTER, "GetHistory"):
                kept = records.page(self._decisions.recent(0), skip=body[0], limit=body[1])
                return [[variants(records.record(each)) for each in kept]]
            case (names.CLUSTER, "GetPeerHistory"):
                if self._ask_peer is None:
                    raise Refused("there is no other node")
                told = await self._ask_peer(body[0])
                newest = records.retold(told)[-(body[1] or records.MOST_AT_ONCE) :]
                return [[variants(each) for each in newest]]
            case _:
                raise AssertionError(f"{interface}.{call.member} is in the contract, but not here")

    def _group(self, path: str) -> GroupView:
        assert self._view is not None
        return next(group for group in self._view.groups if names.group_path(group.name) == path)

    def _why(self, group: GroupView) -> list[Properties]:
        explained = self._explain(group.name)
        return [*methods.why(group), *([] if explained is None else records.explanation(explained))]


def _is_same(before: ClusterView, after: ClusterView) -> bool:
    """But for counters, which are no properties."""
    return replace(before, statistics=after.statistics) == after


async def _who_has_our_name(bus: Bus) -> str:
    (pid,) = await bus.call(BROKER, BROKER_PATH, BROKER, "GetConnectionUnixProcessID", "s", [names.BUS_NAME])
    return f"{names.BUS_NAME} is taken by process {pid}; only one hbd can run on a machine"
