"""org.linux_ha.Heartbeat1: calls in, answers and signals out.

Nothing here decides, and nothing waits for it: `publish` only notes the view; projection and
signals come later in the loop's turn. A bus that is away is tried again for ever, and the
daemon does not notice.
"""

from __future__ import annotations

import asyncio
import logging
from dataclasses import replace
from functools import partial
from typing import Any

from hbd import __version__
from hbd.bus import contract, methods, names
from hbd.bus.contract import OBJECT_MANAGER, PROPERTIES
from hbd.bus.methods import Ask, InvalidArgument, Reload
from hbd.bus.projection import Interfaces, Objects, Properties, Property, difference, objects
from hbd.bus.tree import ACCESS_DENIED, INVALID_ARGS, CallError, Tree
from hbd.core.views import ClusterView, GroupView
from hbd.dbusio import BROKER, BROKER_PATH, SYSTEM_BUS, Bus, BusError, Message, Reconnecting, Variant
from hbd.errors import HbdError, Refused

FOR_ROOT = frozenset({"Standby", "Takeover", "Reload"})
"""Methods of ours that change something."""

MOST_CALLERS = 256
"""So many callers' user ids are remembered; a unique name is never given twice by one bus."""

MOST_WAITING = 1024
"""Calls that may wait for their turn."""

LIMITS_EXCEEDED = "org.freedesktop.DBus.Error.LimitsExceeded"

log = logging.getLogger(__name__)


class Service:
    """Shows the published views on the bus, and puts commands to the core.

    `ask` puts a command to the core and gives the transition, or raises Refused. `reload` does what
    SIGHUP does, or raises HbdError. Neither is called for anybody but root.
    """

    def __init__(self, ask: Ask, reload: Reload, address: str = SYSTEM_BUS) -> None:
        self._ask = ask
        self._reload = reload
        self._tree = Tree(contract.load(), {})
        self._view: ClusterView | None = None
        self._shown: ClusterView | None = None
        self._finished: list[tuple[int, str]] = []
        self._published = asyncio.Event()
        self._bus: Bus | None = None
        self._uids: dict[str, int] = {}
        self._connection = Reconnecting(address, on_up=self._up, on_down=self._down)
        self._calls: asyncio.Queue[tuple[Bus, Message]] = asyncio.Queue(MOST_WAITING)

    @property
    def connected(self) -> bool:
        """Whether we are on the bus under our name."""
        return self._connection.bus is not None

    def publish(self, view: ClusterView) -> None:
        """Show this from now on. Costs next to nothing here."""
        before = self._view
        if view is before:
            return
        if before is not None and view.last_finished != before.last_finished:
            self._finished.append(view.last_finished)
        self._view = view
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
                self._announce()

    # ---------------------------------------------------------------- connection

    async def _up(self, bus: Bus) -> None:
        self._uids.clear()
        self._bus = bus
        bus.on_method_call(partial(self._called, bus))
        if not await bus.request_name(names.BUS_NAME):
            raise BusError(names.ERROR_FAILED, await _who_has_our_name(bus))
        log.info("on the system bus as %s", names.BUS_NAME)

    def _down(self, reason: str) -> None:
        log.warning("not on the system bus, trying again: %s", reason)

    # ---------------------------------------------------------------- signals

    def _announce(self) -> None:
        """Bring the objects up to the last view, and say what is different."""
        self._published.clear()
        view, shown = self._view, self._shown
        assert view is not None
        if shown is not None and replace(shown, statistics=view.statistics) == view:
            return  # Only counters moved, as they do with every heartbeat.
        self._shown = view
        old, new = self._tree.objects, objects(view, __version__)
        self._tree.objects = new
        if self._bus is not None:
            _emit_difference(self._bus, old, new)
            for transition, result in self._finished:
                self._bus.emit(names.ROOT, names.CLUSTER, "TransitionFinished", "us", [transition, result])
        self._finished.clear()

    # ---------------------------------------------------------------- calls

    def _called(self, bus: Bus, call: Message) -> None:
        try:
            self._calls.put_nowait((bus, call))
        except asyncio.QueueFull:
            bus.refuse(call, LIMITS_EXCEEDED, "too many calls are waiting")

    async def _answer_calls(self, tasks: asyncio.TaskGroup) -> None:
        """One call in each turn of the loop: every local user may ask, and as often as he likes, but
        a heartbeat must never wait behind more than one answer."""
        while True:
            bus, call = await self._calls.get()
            if call.member in FOR_ROOT:
                tasks.create_task(self._answer(bus, call))  # May wait for the bus, and for the core.
            else:
                await self._answer(bus, call)
            await asyncio.sleep(0)

    async def _answer(self, bus: Bus, call: Message) -> None:
        if self._published.is_set():
            self._announce()  # Whoever asks now must not see less than was published.
        try:
            interface = self._tree.resolve(call.path, call.interface, call.member, call.signature)
            if interface.startswith(names.BUS_NAME) and call.member in FOR_ROOT:
                await self._need_root(bus, call)
            body = await self._perform(interface, call)
        except CallError as error:
            bus.refuse(call, error.name, _clean(str(error)))
        except InvalidArgument as error:
            bus.refuse(call, INVALID_ARGS, _clean(str(error)))
        except Refused as error:
            bus.refuse(call, names.ERROR_REFUSED, _clean(str(error)))
        except HbdError as error:
            bus.refuse(call, names.ERROR_FAILED, _clean(str(error)))
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
                return [_variant(tree.get(path, body[0], body[1]))]
            case (contract.PROPERTIES, "GetAll"):
                return [_variants(tree.get_all(path, body[0]))]
            case (contract.PROPERTIES, "Set"):
                tree.set(path, body[0], body[1])
                return []
            case (contract.OBJECT_MANAGER, "GetManagedObjects"):
                return [{held: _interfaces(shown) for held, shown in tree.managed().items()}]
            case (names.CLUSTER, "Standby"):
                return [await methods.standby(self._ask, body[0])]
            case (names.CLUSTER, "Takeover"):
                return [await methods.takeover(self._ask, body[0])]
            case (names.CLUSTER, "Reload"):
                await self._reload()
                return []
            case (names.CLUSTER, "GetStatistics"):
                return [_variants(methods.statistics(self._view))]
            case (names.GROUP, "Why"):
                return [[_variants(entry) for entry in methods.why(self._group(path))]]
            case _:
                raise AssertionError(f"{interface}.{call.member} is in the contract, but not here")

    def _group(self, path: str) -> GroupView:
        assert self._view is not None
        return next(group for group in self._view.groups if names.group_path(group.name) == path)

    async def _need_root(self, bus: Bus, call: Message) -> None:
        """Raises CallError unless the bus vouches that the caller is root, BusError if it has gone."""
        uid = self._uids.get(call.sender)
        if uid is None:
            uid = await bus.uid_of(call.sender)
            if len(self._uids) >= MOST_CALLERS:
                self._uids.clear()
            self._uids[call.sender] = uid
        if uid != 0:
            raise CallError(ACCESS_DENIED, f"{call.member} is for root only; reading is for everyone")


def _emit_difference(bus: Bus, old: Objects, new: Objects) -> None:
    between = difference(old, new)
    for path, gone in between.removed.items():
        bus.emit(names.ROOT, OBJECT_MANAGER, "InterfacesRemoved", "oas", [path, list(gone)])
    for path, interfaces in between.added.items():
        bus.emit(names.ROOT, OBJECT_MANAGER, "InterfacesAdded", "oa{sa{sv}}", [path, _interfaces(interfaces)])
    for path, interfaces in between.changed.items():
        for interface, properties in interfaces.items():
            news = [interface, _variants(properties), []]
            bus.emit(path, PROPERTIES, "PropertiesChanged", "sa{sv}as", news)


def _variants(properties: Properties) -> dict[str, Variant]:
    return {name: _variant(held) for name, held in properties.items()}


def _variant(held: Property) -> Variant:
    signature, value = held
    match value:
        case str():
            return Variant(signature, _clean(value))
        case list():
            return Variant(signature, [_clean(item) for item in value])
        case dict():
            return Variant(signature, {_clean(name): number for name, number in value.items()})
        case _:
            return Variant(signature, value)


def _clean(text: str) -> str:
    """As D-Bus allows it: other people's error texts may hold anything, and must not end the daemon."""
    return text.encode(errors="replace").decode().replace("\0", "?")


def _interfaces(interfaces: Interfaces) -> dict[str, dict[str, Variant]]:
    return {name: _variants(properties) for name, properties in interfaces.items()}


async def _who_has_our_name(bus: Bus) -> str:
    (pid,) = await bus.call(BROKER, BROKER_PATH, BROKER, "GetConnectionUnixProcessID", "s", [names.BUS_NAME])
    return f"{names.BUS_NAME} is taken by process {pid}; only one hbd can run on a machine"
