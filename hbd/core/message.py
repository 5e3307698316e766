"""The ordered field list of a heartbeat message, and the names of its fields.

A message is a list of (kind, name, value) in the order of the wire, because the signature covers that order.
Values stay the bytes they were on the wire; the accessors read them as text, hexadecimal or decimal. If a
name occurs twice, the first one counts. What the fields mean together is `protocol.py`'s business.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import IntEnum
from functools import lru_cache
from typing import Final, TypeAlias

from hbd.errors import WireError

T: Final = "t"
ST: Final = "st"
DT: Final = "dt"
PROTOCOL: Final = "protocol"
SRC: Final = "src"
SRCUUID: Final = "srcuuid"
DEST: Final = "dest"
DESTUUID: Final = "destuuid"
SEQ: Final = "seq"
HG: Final = "hg"
TS: Final = "ts"
LD: Final = "ld"
TTL: Final = "ttl"
AUTH: Final = "auth"
ACKSEQ: Final = "ackseq"
FIRSTSEQ: Final = "firstseq"
LASTSEQ: Final = "lastseq"
RSC_HOLD: Final = "rsc_hold"
RTYPE: Final = "rtype"
ISSTABLE: Final = "isstable"
INFO: Final = "info"
NODELIST: Final = "nodelist"
DELNODELIST: Final = "delnodelist"
IPADDR: Final = "ipaddr"
WEOWN: Final = "weown"
OK: Final = "ok"
NODE: Final = "node"
RESULT: Final = "result"
FROM_ID: Final = "from_id"
TO_ID: Final = "to_id"
CLIENT_GEN: Final = "client_gen"
NUM_PING: Final = "num_ping"
COMPRESSED_PAYLOAD: Final = "_compressed_payload"
COMPRESSION_ALGORITHM: Final = "_compression_algorithm"

_FIELD_NAMES: Final = (
    T, ST, DT, PROTOCOL, SRC, SRCUUID, DEST, DESTUUID, SEQ, HG, TS, LD, TTL, AUTH, ACKSEQ, FIRSTSEQ, LASTSEQ,
    RSC_HOLD, RTYPE, ISSTABLE, INFO, NODELIST, DELNODELIST, IPADDR, WEOWN, OK, NODE, RESULT, FROM_ID, TO_ID,
    CLIENT_GEN, NUM_PING, COMPRESSED_PAYLOAD, COMPRESSION_ALGORITHM,
)  # fmt: skip

MAX_NAME_BYTES: Final = 64
# A first character that is no letter, digit or underscore could pass for framing or for a kind's prefix.
_NAME: Final = re.compile(rb"[A-Za-z0-9_][!-<>-~]{0,63}")

_NAME_OF_BYTES: Final[dict[bytes, str]] = {name.encode(): name for name in _FIELD_NAMES}
_BYTES_OF_NAME: Final[dict[str, bytes]] = {name: name.encode() for name in _FIELD_NAMES}

_HEX_DIGITS: Final = b"0123456789abcdefABCDEF"
_MAX_DIGITS: Final = 20

UINT32_MAX: Final = 0xFFFFFFFF


class BadField(WireError):  # noqa: N818 - read as "raise BadField"
    """A field's name or value is not what its use demands; the text names the field."""


class Kind(IntEnum):
    """A field's type; the value is its digit on the wire. 3.0.6 without a CRM uses the first two only."""

    STRING = 0
    BINARY = 1
    STRUCT = 2
    LIST = 3
    COMPRESSED = 4
    UNCOMPRESSED = 5


Field: TypeAlias = tuple[Kind, str, bytes]
"""Kind, name and raw value."""
Value: TypeAlias = str | bytes
"""What a field is made from: text becomes a STRING, bytes a BINARY."""


def name_from_wire(raw: bytes) -> str | None:
    """The field name these bytes spell, or None if they are no field name."""
    name = _NAME_OF_BYTES.get(raw)
    if name is None and _NAME.fullmatch(raw):
        return raw.decode("ascii")
    return name


def name_to_wire(name: str) -> bytes:
    """The bytes of a field name that a message already holds."""
    return _BYTES_OF_NAME.get(name) or name.encode("ascii")


@dataclass(frozen=True, slots=True)
class Message:
    """An immutable list of fields. Make one with `Message.of`; `Message(fields)` trusts its fields."""

    fields: tuple[Field, ...]
    _values: dict[str, bytes] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        # From the last to the first, so that the first of a name is the one that stays.
        values = {name: value for _, name, value in reversed(self.fields)}
        object.__setattr__(self, "_values", values)

    @classmethod
    def of(cls, *pairs: tuple[str, Value]) -> Message:
        """A message with these fields in this order. Raises BadField for what 3.0.6 could not read."""
        return cls(tuple([(_kept if len(value) <= 64 else _made)(name, value) for name, value in pairs]))

    # ------------------------------------------------------------ reading

    def __contains__(self, name: str) -> bool:
        return name in self._values

    def raw(self, name: str) -> bytes | None:
        """The value's bytes, or None if there is no such field."""
        return self._values.get(name)

    def text(self, name: str) -> str | None:
        """The value as text; bytes that are no UTF-8 come out as backslash escapes. None if absent."""
        value = self._values.get(name)
        return None if value is None else value.decode("utf-8", "backslashreplace")

    def hex(self, name: str, maximum: int = UINT32_MAX) -> int | None:
        """The value of a hexadecimal field (seq, hg, ts, dt, ackseq, a nak's firstseq); None if absent.

        Raises BadField for anything but 1 to 20 hexadecimal digits, and above `maximum`.
        """
        value = self._values.get(name)
        if value is None:
            return None
        if not 0 < len(value) <= _MAX_DIGITS or value.strip(_HEX_DIGITS):
            raise BadField(f"field {name} is not a hexadecimal number")
        number = int(value, 16)
        return number if number <= maximum else _bounded(name, number, maximum)

    def decimal(self, name: str, maximum: int = UINT32_MAX) -> int | None:
        """The value of a decimal field (ttl, protocol, client_gen, a rexmit's firstseq); None if absent.

        Raises BadField for anything but 1 to 20 digits, and above `maximum`.
        """
        value = self._values.get(name)
        if value is None:
            return None
        if len(value) > _MAX_DIGITS or not value.isdigit():
            raise BadField(f"field {name} is not a decimal number")
        return _bounded(name, int(value), maximum)

    # ------------------------------------------------------------ deriving

    def with_field(self, name: str, value: Value) -> Message:
        """This message with one field overwritten in place, or appended if it had none of that name."""
        return self.with_fields((name, value))

    def with_fields(self, *pairs: tuple[str, Value]) -> Message:
        """This message with fields overwritten in place or appended, in order."""
        fields = list(self.fields)
        for name, value in pairs:
            made = _made(name, value)
            if name in self._values:
                fields[next(i for i, old in enumerate(fields) if old[1] == name)] = made
            else:
                fields.append(made)
        return Message(tuple(fields))

    def without(self, name: str) -> Message:
        """This message without any field of that name."""
        if name not in self._values:
            return self
        return Message(tuple([kept for kept in self.fields if kept[1] != name]))


def _made(name: str, value: Value) -> Field:
    if name not in _BYTES_OF_NAME and not _NAME.fullmatch(name.encode("utf-8", "replace")):
        raise BadField(f"{name!r} cannot name a field")
    if isinstance(value, bytes):
        if not value:
            raise BadField(f"field {name} is empty")
        return Kind.BINARY, name, value
    # The classic form delimits by newline and rejects the empty value, and 3.0.6 reads strings up to a NUL.
    if not value or "\n" in value or "\0" in value:
        raise BadField(f"field {name} is empty, or has a newline or NUL in it")
    try:
        return Kind.STRING, name, value.encode()
    except UnicodeEncodeError:
        raise BadField(f"field {name} is not encodable text") from None


# Most short fields of a message are those of the one before.
_kept = lru_cache(maxsize=512)(_made)


def _bounded(name: str, number: int, maximum: int) -> int:
    if number > maximum:
        raise BadField(f"field {name} is {number}, above {maximum}")
    return number


def list_of(names: Iterable[str]) -> str:
    """The value of `nodelist` and its like: names with a blank after each; one blank for an empty list."""
    return "".join(f"{name} " for name in names) or " "
