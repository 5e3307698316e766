"""D-Bus connections: calls with a time limit, signals, and serving method calls.

The only importer of dbus-next, of which it uses the message codec and the value types, but not the
connection: that one connects and says Hello in ways that cannot be limited or left out (systemd's private
socket has no broker to greet), takes a full socket buffer for the end of the connection, and ends it at any
message it cannot parse, which every local user may send. Here an asyncio transport does the queueing, and
an unreadable message is dropped and counted.

A connection is never mended: when it is gone, `Bus.closed` tells why, and `reconnecting` makes a new one.
Facts: D-Bus specification ("Message Protocol", "Authentication Protocol", "Message Bus").
"""

from __future__ import annotations

import asyncio
import contextlib
import io
import os
import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast
from urllib.parse import unquote

from dbus_next._private.unmarshaller import Unmarshaller
from dbus_next.constants import MessageFlag, MessageType
from dbus_next.message import Message
from dbus_next.signature import Variant

from hbd.errors import EdgeError

__all__ = [
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
MAX_UNSENT_BYTES = 8 << 20
"""More than this unsent means that the other end has stopped reading: the connection is given up, so that
nobody who follows our signals goes on with a picture that misses some of them."""
CONGESTED_BYTES, RELIEVED_BYTES = 256 << 10, 64 << 10
"""More than the first unsent: whoever can wait had better wait until it is less than the second."""
STUCK_S = 20.0
"""A connection that takes nothing for this long is given up for a new one. dbus-daemon stops reading from a
connection while too much of what came by it lies unread in others' queues, be it for ever."""
MAX_MESSAGE_BYTES = 128 << 20
MESSAGES_PER_TURN = 8
"""One costs 0.2 ms, and every local user may send as many as he likes: heartbeats must not wait for all."""

BROKER = "org.freedesktop.DBus"
BROKER_PATH = "/org/freedesktop/DBus"
PEER_INTERFACE = "org.freedesktop.DBus.Peer"
MACHINE_ID = Path("/etc/machine-id")

DISCONNECTED = "org.freedesktop.DBus.Error.Disconnected"
TIMEOUT = "org.freedesktop.DBus.Error.Timeout"
NO_REPLY = "org.freedesktop.DBus.Error.NoReply"
UNKNOWN_METHOD = "org.freedesktop.DBus.Error.UnknownMethod"
NAME_HAS_NO_OWNER = "org.freedesktop.DBus.Error.NameHasNoOwner"

_PRIMARY_OWNER, _ALREADY_OWNER = 1, 4  # answers of RequestName
_DO_NOT_QUEUE = 4  # flag of RequestName
_SIGNAL = MessageType.SIGNAL.value


class BusError(EdgeError):
    """A call was answered by an error; `name` is its D-Bus error name."""

    def __init__(self, name: str, text: str) -> None:
        super().__init__(text or name)
        self.name = name


class NoAnswer(BusError):  # noqa: N818 — it is the want of one, not a fault
    """No answer came: the call may have been carried out or not, and only asking again tells."""


@dataclass(frozen=True, slots=True)
class Rule:
    """Which signals are wanted; None matches everything (D-Bus specification, "Match Rules")."""

    sender: str | None = None
    path: str | None = None
    path_namespace: str | None = None
    interface: str | None = None
    member: str | None = None
    arg0: str | None = None

    def __str__(self) -> str:
        keys = ("sender", "path", "path_namespace", "interface", "member", "arg0")
        values = {key: getattr(self, key) for key in keys}
        asked = (f"{key}='{value}'" for key, value in values.items() if value is not None)
        return ",".join(["type='signal'", *asked])

    def may_match(self, raw: bytes) -> bool:
        """False if an unparsed signal cannot match, as one of the strings does not even occur in it.

        It takes a microsecond, parsing some hundreds: a daemon-reload makes systemd send two signals
        for every unit of the machine, and those that nobody wants must not delay a heartbeat.
        """
        values = (self.path, self.path_namespace, self.interface, self.member, self.arg0)
        return all(value is None or value.encode() in raw for value in values)

    def matches(self, signal: Message) -> bool:
        """All but the sender, which needs to know who owns a name."""
        return (
            self.path in (None, signal.path)
            and (self.path_namespace is None or _is_below(signal.path, self.path_namespace))
            and self.interface in (None, signal.interface)
            and self.member in (None, signal.member)
            and (self.arg0 is None or (bool(signal.body) and signal.body[0] == self.arg0))
        )


def _is_below(path: str, root: str) -> bool:
    return path == root or root == "/" or path.startswith(root + "/")


@dataclass(eq=False, slots=True)
class Subscription:
    """A wish for signals. Cancelled, its handler is called no more."""

    _bus: Bus
    rule: Rule
    handler: Callable[[Message], None]

    def cancel(self) -> None:
        """May be called twice, and after the connection is gone."""
        self._bus._unsubscribe(self)


class Bus(asyncio.Protocol):
    """One connection, to a bus or directly to a peer. Made by `Bus.connect`.

    Signals and method calls are handed on in the order of arrival, each before anything that came later:
    a signal sent ahead of a reply has been handled when the caller sees the reply.
    """

    def __init__(self) -> None:
        loop = asyncio.get_running_loop()
        self.unique_name: str | None = None
        """Our name on the bus; None on a connection without a broker."""
        self.closed: asyncio.Future[str] = loop.create_future()
        """Done, with the reason, when the connection is gone."""
        self.unreadable = 0
        """Messages dropped since they could not be parsed."""
        self._writable = asyncio.Event()
        self._writable.set()
        self._stuck: asyncio.TimerHandle | None = None
        self._ready: asyncio.Future[None] = loop.create_future()
        self._transport: asyncio.Transport | None = None
        self._incoming = bytearray()
        self._begun = False
        self._serial = 0
        self._calls: dict[int, asyncio.Future[Message]] = {}
        self._subscriptions: list[Subscription] = []
        self._owners: dict[str, str] = {}
        self._serve: Callable[[Message], None] | None = None
        self._reason = "closed by the other end"

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

    def close(self, reason: str = "closed by us") -> None:
        """End the connection now; unsent messages are lost."""
        if self._transport is not None and not self.closed.done():
            self._lost(reason)
            self._transport.abort()

    @property
    def is_congested(self) -> bool:
        """The other end does not keep up with reading."""
        return not self._writable.is_set()

    async def writable(self) -> None:
        """Wait until the other end keeps up, or the connection is gone."""
        await self._writable.wait()

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
        message = _message(
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
            raise _error_of(reply)
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
                _message(
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

    # ---- bytes out

    def _send(self, message: Message) -> int:
        if self.closed.done() or self._transport is None:
            raise NoAnswer(DISCONNECTED, "the connection is gone")
        self._serial = self._serial % 0xFFFFFFFF + 1
        message.serial = self._serial
        self._transport.write(bytes(message._marshall()))  # type: ignore[no-untyped-call]
        if self._transport.get_write_buffer_size() > MAX_UNSENT_BYTES:
            self.close(f"the other end leaves more than {MAX_UNSENT_BYTES >> 20} MiB unread")
            raise NoAnswer(DISCONNECTED, self.closed.result())
        return self._serial

    def _send_if_open(self, message: Message) -> None:
        """For what nobody waits for an answer to: `closed` tells of the loss."""
        with contextlib.suppress(NoAnswer):
            self._send(message)

    # ---- bytes in

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Asyncio: authenticate as who we are; the kernel vouches for it (SASL EXTERNAL).

        BEGIN goes along, as sd-bus's clients do it. Sent after the answer it may be read together with our
        first call, which pid 1 then leaves in its buffer until something else comes (seen, systemd 252).
        """
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        transport.set_write_buffer_limits(CONGESTED_BYTES, RELIEVED_BYTES)
        uid = str(os.getuid()).encode().hex().encode()
        transport.write(b"\0AUTH EXTERNAL " + uid + b"\r\nBEGIN\r\n")

    def data_received(self, received: bytes) -> None:
        """Asyncio: the next piece of the stream."""
        self._incoming += received
        if not self._begun and not self._authenticated():
            return
        self._work_off()

    def _work_off(self) -> None:
        """Hand on what has come in: a few messages now, the others in the next turns of the loop.

        On a bus, where strangers can speak, not in the very next turn but after as long a pause as these have
        taken: we run at real-time priority, and whoever sends without end must not take a processor from all.
        """
        assert self._transport is not None
        loop = asyncio.get_running_loop()
        began_s = loop.time()
        for _ in range(MESSAGES_PER_TURN):
            message_bytes = None if self.closed.done() else self._next_message()
            if message_bytes is None:
                self._transport.resume_reading()
                return
            if message_bytes[1] == _SIGNAL and not any(
                subscription.rule.may_match(message_bytes) for subscription in self._subscriptions
            ):
                continue
            message = _parse(message_bytes)
            if message is None:
                self.unreadable += 1
            else:
                self._dispatch(message)
        self._transport.pause_reading()
        if self.unique_name is None:
            loop.call_soon(self._work_off)
        else:
            now_s = loop.time()
            loop.call_at(2 * now_s - began_s, self._work_off)

    def pause_writing(self) -> None:
        """Asyncio: more is unsent than CONGESTED_BYTES."""
        self._writable.clear()
        text = f"the other end has read nothing for {STUCK_S:g} s"
        self._stuck = asyncio.get_running_loop().call_later(STUCK_S, self.close, text)

    def resume_writing(self) -> None:
        """Asyncio: less than RELIEVED_BYTES are."""
        self._relieve()

    def _relieve(self) -> None:
        self._writable.set()
        if self._stuck is not None:
            self._stuck.cancel()
            self._stuck = None

    def connection_lost(self, error: Exception | None) -> None:
        """Asyncio: the stream has ended."""
        self._lost(self._reason if error is None else str(error))

    def _authenticated(self) -> bool:
        line, end, rest = bytes(self._incoming).partition(b"\r\n")
        if not end:
            return False
        if not line.startswith(b"OK"):
            self._reason = f"not let in: {line.decode(errors='replace')}"
            self.close(self._reason)
            return False
        self._incoming = bytearray(rest)
        self._begun = True
        self._ready.set_result(None)
        return True

    def _next_message(self) -> bytes | None:
        if len(self._incoming) < 16:
            return None
        order = {ord("l"): "<", ord("B"): ">"}.get(self._incoming[0])
        if order is None:
            self.close("the other end does not speak D-Bus")
            return None
        body_bytes, _, fields_bytes = struct.unpack_from(order + "III", self._incoming, 4)
        length = 16 + (fields_bytes + 7) // 8 * 8 + body_bytes
        if length > MAX_MESSAGE_BYTES:
            self.close("the other end sent a message longer than D-Bus allows")
            return None
        if len(self._incoming) < length:
            return None
        message = bytes(self._incoming[:length])
        del self._incoming[:length]
        return message

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

    def _lost(self, reason: str) -> None:
        if self.closed.done():
            return
        self.closed.set_result(reason)
        self._relieve()
        if not self._ready.done():
            self._ready.set_exception(NoAnswer(DISCONNECTED, reason))
        for answer in self._calls.values():
            if not answer.done():
                answer.set_exception(NoAnswer(DISCONNECTED, f"the connection was lost: {reason}"))


def may_interact(call: Message) -> bool:
    """Whether the caller allows that its user is asked for a password."""
    return bool(call.flags & MessageFlag.ALLOW_INTERACTIVE_AUTHORIZATION)


def unwrap(value: Any) -> Any:
    """A value without the Variants around and in it."""
    match value:
        case Variant():
            return unwrap(value.value)
        case list():
            return [unwrap(item) for item in value]
        case dict():
            return {key: unwrap(item) for key, item in value.items()}
        case _:
            return value


def _is_literal(name: str) -> bool:
    """Whether the `sender` field of messages holds this name itself, not its owner's."""
    return name.startswith(":") or name == BROKER


def _message(**fields: Any) -> Message:
    return Message(**{key: value for key, value in fields.items() if value is not None})


def _parse(message_bytes: bytes) -> Message | None:
    reader = Unmarshaller(io.BytesIO(message_bytes))  # type: ignore[no-untyped-call]
    try:
        return cast(Message | None, reader.unmarshall())  # type: ignore[no-untyped-call]
    except Exception:
        # What the codec raises for bytes it does not like is anything from KeyError to a bare Exception.
        # The bytes are a stranger's, their length is known, and the next message stands for itself.
        return None


def _error_of(reply: Message) -> BusError:
    text = str(reply.body[0]) if reply.body else ""
    kind = NoAnswer if reply.error_name in (NO_REPLY, TIMEOUT, DISCONNECTED) else BusError
    return kind(str(reply.error_name), text)


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
