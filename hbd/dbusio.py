"""D-Bus connections: calls with a time limit, signals, and serving method calls.

A connection is never mended: when it is gone, `Bus.closed` tells why, and `reconnecting` makes a new one.
Facts: D-Bus specification ("Message Bus").
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast
from urllib.parse import unquote

from hbd.dbusio_codec import (
    DISCONNECTED,
    NAME_HAS_NO_OWNER,
    TIMEOUT,
    UNKNOWN_METHOD,
    BusError,
    Message,
    MessageFlag,
    MessageType,
    NoAnswer,
    Variant,
    error_of,
    make,
    may_interact,
    unwrap,
)
from hbd.dbusio_match import Rule
from hbd.dbusio_stream import Stream

__all__ = [
    "DISCONNECTED",
    "SYSTEM_BUS",
    "Bus",
    "BusError",
    "Message",
    "MessageType",
    "NoAnswer",
    "Subscription",
    "Variant",
    "may_interact",
    "unwrap",
]

SYSTEM_BUS = "system"
"""Stands for $DBUS_SYSTEM_BUS_ADDRESS, or the system bus's well-known socket."""

CALL_TIMEOUT_S = 10.0
CONNECT_TIMEOUT_S = 5.0
BROKER = "org.freedesktop.DBus"
BROKER_PATH = "/org/freedesktop/DBus"
PEER_INTERFACE = "org.freedesktop.DBus.Peer"
MACHINE_ID = Path("/etc/machine-id")

_PRIMARY_OWNER, _ALREADY_OWNER = 1, 4  # answers of RequestName
_DO_NOT_QUEUE = 4  # flag of RequestName


@dataclass(eq=False, slots=True)
class Subscription:
    """A wish for signals. Cancelled, its handler is called no more."""

    _bus: Bus
    rule: Rule
    handler: Callable[[Message], None]

    def cancel(self) -> None:
        """May be called twice, and after the connection is gone."""
        self._bus._unsubscribe(self)


class Bus(Stream):
    """One connection, to a bus or directly to a peer. Made by `Bus.connect`.

    Signals and method calls are handed on in the order of arrival, each before anything that came later:
    a signal sent ahead of a reply has been handled when the caller sees the reply.
    """

    def __init__(self) -> None:
        super().__init__()
        self._calls: dict[int, asyncio.Future[Message]] = {}
        self._subscriptions: list[Subscription] = []
        self._owners: dict[str, str] = {}
        self._serve: Callable[[Message], None] | None = None

    # ---- life

    @classmethod
    async def connect(
        cls, address: str = SYSTEM_BUS, *, peer: bool = False, timeout_s: float = CONNECT_TIMEOUT_S
    ) -> Bus:
        """A connection ready for calls; with `peer`, to an address without a broker. Raises BusError."""
        bus: Bus | None = None
        try:
            async with asyncio.timeout(timeout_s):
                path = _socket_path(address)
                _, bus = await asyncio.get_running_loop().create_unix_connection(cls, path)
                await bus._ready
                if not peer:
                    (bus.unique_name,) = await bus._ask_broker("Hello")
                return bus
        except (OSError, TimeoutError, BusError) as error:
            if bus is not None:
                bus.close("connecting failed")
            text = "no answer" if isinstance(error, TimeoutError) else str(error)
            raise BusError(DISCONNECTED, f"cannot connect to {address}: {text}") from error
        except asyncio.CancelledError:
            if bus is not None:
                bus.close("connecting was given up")
            raise

    async def flush(self, timeout_s: float = CALL_TIMEOUT_S) -> None:
        """Wait until the broker has taken in everything sent so far. Raises BusError."""
        await self._ask_broker("GetId", timeout_s=timeout_s)

    # ---- asking

    async def call(
        self,
        destination: str | None,
        path: str,
        interface: str,
        member: str,
        signature: str = "",
        body: Sequence[object] = (),
        timeout_s: float = CALL_TIMEOUT_S,
        *,
        autostart: bool = False,
        interactive: bool = False,
    ) -> list[Any]:
        """The values of the answer. Raises BusError, or its child NoAnswer if none came in time.

        A service that does not run is started only with `autostart`. With `interactive` the user may be asked
        for a password.
        """
        flags = MessageFlag.NONE if autostart else MessageFlag.NO_AUTOSTART
        if interactive:
            flags |= MessageFlag.ALLOW_INTERACTIVE_AUTHORIZATION
        message = make(
            message_type=MessageType.METHOD_CALL,
            flags=flags,
            destination=destination,
            path=path,
            interface=interface,
            member=member,
            signature=signature,
            body=list(body),
        )
        serial = self._send(message)
        answer: asyncio.Future[Message] = asyncio.get_running_loop().create_future()
        self._calls[serial] = answer
        try:
            async with asyncio.timeout(timeout_s):
                reply = await answer
        except TimeoutError:
            text = f"{destination or 'the peer'} did not answer {member} within {timeout_s:g} s"
            raise NoAnswer(TIMEOUT, text) from None
        finally:
            del self._calls[serial]
        if reply.message_type is MessageType.ERROR:
            raise error_of(reply)
        return reply.body

    async def get(self, destination: str | None, path: str, interface: str, name: str) -> Any:
        """A property's value, without its Variant. Raises BusError."""
        (value,) = await self.call(
            destination, path, "org.freedesktop.DBus.Properties", "Get", "ss", [interface, name]
        )
        return unwrap(value)

    async def get_all(self, destination: str | None, path: str, interface: str) -> dict[str, Any]:
        """All properties of an interface, without their Variants. Raises BusError."""
        (values,) = await self.call(
            destination, path, "org.freedesktop.DBus.Properties", "GetAll", "s", [interface]
        )
        return {name: unwrap(value) for name, value in values.items()}

    async def uid_of(self, sender: str) -> int:
        """The user id behind a unique name. Raises BusError, above all when it has gone."""
        (uid,) = await self._ask_broker("GetConnectionUnixUser", "s", [sender])
        return cast(int, uid)

    async def _ask_broker(
        self,
        member: str,
        signature: str = "",
        body: Sequence[object] = (),
        timeout_s: float = CALL_TIMEOUT_S,
    ) -> list[Any]:
        return await self.call(BROKER, BROKER_PATH, BROKER, member, signature, body, timeout_s)

    # ---- signals

    def emit(
        self, path: str, interface: str, member: str, signature: str = "", body: Sequence[object] = ()
    ) -> None:
        """Send a signal, or queue it. On a closed connection nobody hears it, and nothing is raised."""
        self._send_if_open(Message.new_signal(path, interface, member, signature, list(body)))

    async def subscribe(
        self,
        handler: Callable[[Message], None],
        *,
        sender: str | None = None,
        path: str | None = None,
        path_namespace: str | None = None,
        interface: str | None = None,
        member: str | None = None,
        arg0: str | None = None,
    ) -> Subscription:
        """Have `handler` called with each signal that matches. Raises BusError.

        With a `sender`, a well-known name, only its owner's signals count: anybody may send a signal
        with any contents directly to us, since the system bus's policy allows it.
        """
        rule = Rule(sender, path, path_namespace, interface, member, arg0)
        subscription = Subscription(self, rule, handler)
        if self.unique_name is not None and sender is not None and not _is_literal(sender):
            await self._follow_owner(sender)
        self._subscriptions.append(subscription)
        if self.unique_name is not None:
            try:
                await self._ask_broker("AddMatch", "s", [str(rule)])
            except BaseException:
                self._subscriptions.remove(subscription)
                raise
        return subscription

    def _unsubscribe(self, subscription: Subscription) -> None:
        if subscription not in self._subscriptions:
            return
        self._subscriptions.remove(subscription)
        if self.unique_name is not None:
            self._send_if_open(
                make(
                    message_type=MessageType.METHOD_CALL,
                    flags=MessageFlag.NO_REPLY_EXPECTED,
                    destination=BROKER,
                    path=BROKER_PATH,
                    interface=BROKER,
                    member="RemoveMatch",
                    signature="s",
                    body=[str(subscription.rule)],
                )
            )

    async def _follow_owner(self, name: str) -> None:
        if name in self._owners:
            return
        self._owners[name] = ""

        def changed(signal: Message) -> None:
            self._owners[name] = signal.body[2]

        await self.subscribe(
            changed, sender=BROKER, path=BROKER_PATH, interface=BROKER, member="NameOwnerChanged", arg0=name
        )
        try:
            (self._owners[name],) = await self._ask_broker("GetNameOwner", "s", [name])
        except BusError as error:
            if error.name != NAME_HAS_NO_OWNER:
                raise

    def _is_from(self, signal: Message, sender: str | None) -> bool:
        if sender is None or self.unique_name is None:
            return True  # On a direct connection nobody else can speak, and no sender is given.
        return bool(signal.sender == (sender if _is_literal(sender) else self._owners.get(sender)))

    # ---- serving

    def on_method_call(self, handler: Callable[[Message], None]) -> None:
        """Have `handler` called with each method call; it answers with `reply` or `refuse`, now or later.

        org.freedesktop.DBus.Peer is answered here.
        """
        self._serve = handler

    def reply(self, call: Message, signature: str = "", body: Sequence[object] = ()) -> None:
        """Answer a method call. A caller that wanted no answer, or a closed connection, gets none."""
        if not call.flags & MessageFlag.NO_REPLY_EXPECTED:
            self._send_if_open(Message.new_method_return(call, signature, list(body)))

    def refuse(self, call: Message, name: str, text: str) -> None:
        """Answer a method call by an error."""
        if not call.flags & MessageFlag.NO_REPLY_EXPECTED:
            self._send_if_open(Message.new_error(call, name, text))

    async def request_name(self, name: str) -> bool:
        """Own a well-known name; False if somebody else has it. Raises BusError."""
        (answer,) = await self._ask_broker("RequestName", "su", [name, _DO_NOT_QUEUE])
        return answer in (_PRIMARY_OWNER, _ALREADY_OWNER)

    async def release_name(self, name: str) -> None:
        """No longer own it. Raises BusError."""
        await self._ask_broker("ReleaseName", "s", [name])

    def _answer_peer(self, call: Message) -> None:
        if call.member == "Ping":
            self.reply(call)
        elif call.member == "GetMachineId":
            try:
                self.reply(call, "s", [MACHINE_ID.read_text(encoding="ascii").strip()])
            except OSError as error:
                self.refuse(call, "org.freedesktop.DBus.Error.Failed", f"{MACHINE_ID}: {error.strerror}")
        else:
            self.refuse(call, UNKNOWN_METHOD, f"{PEER_INTERFACE} has no method {call.member} here")

    # ---- from the stream

    def _may_want(self, signal: bytes) -> bool:
        return any(subscription.rule.may_match(signal) for subscription in self._subscriptions)

    def _dispatch(self, message: Message) -> None:
        match message.message_type:
            case MessageType.METHOD_RETURN | MessageType.ERROR:
                answer = self._calls.get(message.reply_serial)
                if answer is not None and not answer.done():
                    answer.set_result(message)
            case MessageType.SIGNAL:
                for subscription in tuple(self._subscriptions):
                    wanted = subscription.rule.matches(message)
                    if wanted and self._is_from(message, subscription.rule.sender):
                        subscription.handler(message)
            case MessageType.METHOD_CALL:
                if message.interface == PEER_INTERFACE:
                    self._answer_peer(message)
                elif self._serve is not None:
                    self._serve(message)
                else:
                    self.refuse(message, UNKNOWN_METHOD, "nothing is served here")

    def _forsake(self, reason: str) -> None:
        for answer in self._calls.values():
            if not answer.done():
                answer.set_exception(NoAnswer(DISCONNECTED, f"the connection was lost: {reason}"))


def _is_literal(name: str) -> bool:
    """Whether the `sender` field of messages holds this name itself, not its owner's."""
    return name.startswith(":") or name == BROKER


def _socket_path(address: str) -> str:
    """The path of the first unix socket in a D-Bus address, as asyncio wants it. Raises BusError."""
    if address == SYSTEM_BUS:
        default = "unix:path=/run/dbus/system_bus_socket"
        address = os.environ.get("DBUS_SYSTEM_BUS_ADDRESS", default)
    for entry in address.split(";"):
        transport, _, options = entry.partition(":")
        keys = dict(option.split("=", 1) for option in options.split(",") if "=" in option)
        if transport == "unix" and "path" in keys:
            return unquote(keys["path"])
        if transport == "unix" and "abstract" in keys:
            return "\0" + unquote(keys["abstract"])
    raise BusError("org.freedesktop.DBus.Error.BadAddress", f"no unix socket in '{address}'")
