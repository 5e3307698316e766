"""D-Bus messages: made, read, and their values without wrappings; what goes wrong with a call.

The only importer of dbus-next, of which it uses the message codec and the value types, but not the
connection: that one connects and says Hello in ways that cannot be limited or left out (systemd's private
socket has no broker to greet), takes a full socket buffer for the end of the connection, and ends it at any
message it cannot parse, which every local user may send.
Facts: D-Bus specification ("Message Protocol").
"""

from __future__ import annotations

import io
from typing import Any, cast

from dbus_next._private.unmarshaller import Unmarshaller
from dbus_next.constants import MessageFlag, MessageType
from dbus_next.message import Message
from dbus_next.signature import Variant

from hbd.errors import EdgeError

__all__ = [
    "DISCONNECTED",
    "NAME_HAS_NO_OWNER",
    "NO_REPLY",
    "TIMEOUT",
    "UNKNOWN_METHOD",
    "BusError",
    "Message",
    "MessageFlag",
    "MessageType",
    "NoAnswer",
    "Variant",
    "encode",
    "error_of",
    "make",
    "may_interact",
    "parse",
    "unwrap",
]

DISCONNECTED = "org.freedesktop.DBus.Error.Disconnected"
TIMEOUT = "org.freedesktop.DBus.Error.Timeout"
NO_REPLY = "org.freedesktop.DBus.Error.NoReply"
UNKNOWN_METHOD = "org.freedesktop.DBus.Error.UnknownMethod"
NAME_HAS_NO_OWNER = "org.freedesktop.DBus.Error.NameHasNoOwner"


class BusError(EdgeError):
    """A call was answered by an error; `name` is its D-Bus error name."""

    def __init__(self, name: str, text: str) -> None:
        super().__init__(text or name)
        self.name = name


class NoAnswer(BusError):  # noqa: N818 — it is the want of one, not a fault
    """No answer came: the call may have been carried out or not, and only asking again tells."""


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


def make(**fields: Any) -> Message:
    """A message of these fields; None stands for one that it has not."""
    return Message(**{key: value for key, value in fields.items() if value is not None})


def encode(message: Message) -> bytes:
    """As it goes over the wire."""
    return bytes(message._marshall())  # type: ignore[no-untyped-call]


def parse(message_bytes: bytes) -> Message | None:
    """The message; None if it cannot be read."""
    reader = Unmarshaller(io.BytesIO(message_bytes))  # type: ignore[no-untyped-call]
    try:
        return cast(Message | None, reader.unmarshall())  # type: ignore[no-untyped-call]
    except Exception:
        # What the codec raises for bytes it does not like is anything from KeyError to a bare Exception.
        # The bytes are a stranger's, their length is known, and the next message stands for itself.
        return None


def error_of(reply: Message) -> BusError:
    """What an answer that is an error says."""
    text = str(reply.body[0]) if reply.body else ""
    kind = NoAnswer if reply.error_name in (NO_REPLY, TIMEOUT, DISCONNECTED) else BusError
    return kind(str(reply.error_name), text)
