"""How a call goes wrong: each way has a D-Bus error name, and a sentence for whoever called.

Mistakes that any service might be asked to forgive have the names that D-Bus tools know (sd-bus-errors(3)).
What means something to this service only has a name of ours.
"""

from __future__ import annotations

from hbd.bus import names
from hbd.errors import HbdError, Refused

ACCESS_DENIED = "org.freedesktop.DBus.Error.AccessDenied"
INTERACTION_REQUIRED = "org.freedesktop.DBus.Error.InteractiveAuthorizationRequired"
INVALID_ARGS = "org.freedesktop.DBus.Error.InvalidArgs"
LIMITS_EXCEEDED = "org.freedesktop.DBus.Error.LimitsExceeded"
PROPERTY_READ_ONLY = "org.freedesktop.DBus.Error.PropertyReadOnly"
UNKNOWN_INTERFACE = "org.freedesktop.DBus.Error.UnknownInterface"
UNKNOWN_METHOD = "org.freedesktop.DBus.Error.UnknownMethod"
UNKNOWN_OBJECT = "org.freedesktop.DBus.Error.UnknownObject"
UNKNOWN_PROPERTY = "org.freedesktop.DBus.Error.UnknownProperty"


class CallError(HbdError):
    """A call that is answered by an error; `name` is the D-Bus error name."""

    def __init__(self, name: str, text: str) -> None:
        super().__init__(text)
        self.name = name


class InvalidArgument(CallError):  # noqa: N818 — the caller's mistake, not a fault
    """An argument of the right type with a value that means nothing; the text lists what does."""

    def __init__(self, text: str) -> None:
        super().__init__(names.ERROR_INVALID_ARGUMENT, text)


class NoSuchNode(CallError):  # noqa: N818 — as above
    """The name of a node that the cluster does not have; the text lists those it has."""

    def __init__(self, text: str) -> None:
        super().__init__(names.ERROR_NO_SUCH_NODE, text)


def name_of(error: HbdError) -> str:
    """The D-Bus name of what a method raised."""
    match error:
        case CallError():
            return error.name
        case Refused():
            return names.ERROR_REFUSED
        case _:
            return names.ERROR_FAILED
