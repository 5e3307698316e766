"""Message to datagram and back: heartbeat's two framings, signed and verified.

    netstring   ###\\n  LEN:(KIND)NAME=VALUE,  ...  %%%\\n  LEN:KEYNUM DIGEST,
    classic     >>>\\n  NAME=TEXT\\n  (1)NAME=BASE64\\n  ...  auth=KEYNUM DIGEST\\n  <<<\\n

The netstring's signature covers everything before it. The classic `auth` covers the other fields' lines; with
`msgfmt classic` a netstring datagram carries that field too, and receivers ignore it. Current builds of 3.0.6
send netstrings only, whatever msgfmt says, and accept both.

A datagram is authenticated before its fields are parsed: the assertion with which a stranger can end 3.0.6
sits in its parser. `decode` raises BadDatagram for any bytes whatever, and nothing else. Facts: datagrams of
3.0.6.
"""

from __future__ import annotations

import binascii
import bz2
import re
import zlib
from binascii import a2b_base64, b2a_base64
from dataclasses import dataclass
from enum import Enum
from functools import lru_cache
from typing import Final

from hbd.config.model import Key, Keys, MsgFormat
from hbd.core import auth
from hbd.core.message import (
    AUTH,
    COMPRESSED_PAYLOAD,
    COMPRESSION_ALGORITHM,
    Field,
    Kind,
    Message,
    name_from_wire,
    name_to_wire,
)
from hbd.errors import WireError

MAX_DATAGRAM_BYTES: Final = 65507
"""What fits one UDP datagram over IPv4."""
MAX_MESSAGE_BYTES: Final = 256 * 1024
"""3.0.6's bound for one message; ours for one that was decompressed."""
MAX_FIELDS: Final = 512

_NETSTRING_HEAD: Final = b"###\n"
_NETSTRING_END: Final = b"%%%\n"
_CLASSIC_HEAD: Final = b">>>\n"
_CLASSIC_END: Final = b"\n<<<\n"
_CLASSIC_AUTH: Final = b"\nauth="

_SIGNATURE: Final = re.compile(rb"([1-9][0-9]?):([^,]+),")
_MAX_SIGNATURE_BYTES: Final = 2 + 1 + auth.MAX_TOKEN_BYTES + 1

_KINDS: Final = tuple(Kind)
_TEXT_PREFIX: Final = {b"(%d)" % kind: kind for kind in Kind if kind is not Kind.STRING}
_STRING: Final = Kind.STRING
_BASE64_KINDS: Final = (Kind.BINARY, Kind.COMPRESSED)
_COMMA = b","[0]
# LEN without a leading zero, of at most six digits, counts from the bracket on.
_LENGTH: Final = re.compile(rb"([1-9][0-9]{0,5}):\(")
# The name ends at the first equals sign.
_FIELD: Final = re.compile(rb"\(([0-5])\)([^=]{1,64})=")

_WORTH_KEEPING: Final = 64
"""Short fields are mostly those of the message before; the form of so many bytes is kept at hand."""


class Framing(Enum):
    """How a datagram delimits its fields, by its first line."""

    NETSTRING = "###"
    CLASSIC = ">>>"


class Reason(Enum):
    """Why a datagram was dropped; the value is the name of its counter."""

    TRUNCATED = "truncated"
    OVERSIZED = "oversized"
    BAD_FRAMING = "bad framing"
    BAD_FIELD = "bad field"
    TOO_MANY_FIELDS = "too many fields"
    UNSIGNED = "unsigned"
    UNKNOWN_KEY = "unknown key"
    BAD_SIGNATURE = "bad signature"
    BAD_COMPRESSION = "bad compression"


class BadDatagram(WireError):  # noqa: N818 - read as "raise BadDatagram"
    """Bytes that are not an authentic message of this cluster."""

    def __init__(self, reason: Reason, detail: str = "") -> None:
        super().__init__(f"{reason.value}: {detail}" if detail else reason.value)
        self.reason: Final = reason


class Unsendable(WireError):  # noqa: N818 - read as "raise Unsendable"
    """A message that the chosen form cannot carry: too large, or a value that would break its lines."""


@dataclass(frozen=True, slots=True)
class Decoded:
    """An authentic message, and how it came."""

    message: Message
    """Without its `auth` field."""
    key_number: int
    """The key that signed it. 3.0.6 accepts a netstring only under the number it signs with itself."""
    framing: Framing
    msgfmt: MsgFormat
    """CLASSIC if it carried an `auth` field."""


# ---------------------------------------------------------------- out


def encode(
    message: Message,
    keys: Keys,
    msgfmt: MsgFormat = MsgFormat.CLASSIC,
    framing: Framing = Framing.NETSTRING,
    signing_number: int | None = None,
) -> bytes:
    """The signed datagram of a message; an `auth` field that it has is left out and made anew, last.

    Signs with key `signing_number` if there is one of that number, else with the keys' own choice: a number
    that was learnt from a peer may be gone after a reload. `msgfmt` does not matter to the classic framing.
    Raises Unsendable.
    """
    key = _signing_key(keys, signing_number)
    if framing is Framing.CLASSIC:
        text = classic_text(message)
        datagram = b">>>\n%bauth=%b\n<<<\n" % (text, auth.token(key, text))
    else:
        inner = auth.token(key, classic_text(message)) if msgfmt is MsgFormat.CLASSIC else None
        body = netstring_body(message, inner)
        token = auth.token(key, body)
        datagram = b"%b%d:%b," % (body, len(token), token)
    if len(datagram) > MAX_DATAGRAM_BYTES:
        raise Unsendable(f"{len(datagram)} bytes do not fit a datagram")
    return datagram


def classic_text(message: Message) -> bytes:
    """The classic lines of every field but `auth`: what an `auth` field covers. Raises Unsendable."""
    lines = []
    for kind, name, value in message.fields:
        if name == AUTH:
            continue
        if kind is _STRING:
            if not value:
                raise Unsendable(f"field {name} is empty")
            lines.append(b"%b=%b\n" % (name_to_wire(name), value))
        elif kind in _BASE64_KINDS and value:
            lines.append(b"(%d)%b=%b" % (kind, name_to_wire(name), b2a_base64(value)))
        else:
            raise Unsendable(f"field {name} has no classic form")
    text = b"".join(lines)
    # One look at the whole instead of one at each value: a newline in a value would forge a field.
    if text.count(b"\n") != len(lines) or b"\0" in text:
        raise Unsendable("a newline or NUL in a value has no classic form")
    return text


def netstring_body(message: Message, inner_auth: bytes | None = None) -> bytes:
    """The netstring form up to and with `%%%`, which the signature covers; `inner_auth` is its last field."""
    parts = [_NETSTRING_HEAD]
    for kind, name, value in message.fields:
        if name != AUTH:
            short = len(value) <= _WORTH_KEEPING
            parts.append(_kept_netstring(kind, name, value) if short else _netstring(kind, name, value))
    if inner_auth is not None:
        parts.append(b"%d:(0)auth=%b," % (len(inner_auth) + 8, inner_auth))
    parts.append(_NETSTRING_END)
    return b"".join(parts)


def _netstring(kind: Kind, name: str, value: bytes) -> bytes:
    raw = name_to_wire(name)
    return b"%d:(%d)%b=%b," % (len(raw) + len(value) + 4, kind, raw, value)


_kept_netstring = lru_cache(maxsize=512)(_netstring)


def _signing_key(keys: Keys, number: int | None) -> Key:
    if number is None or number == keys.signing:
        return keys.signer
    return keys.find(number) or keys.signer


# ---------------------------------------------------------------- in


def decode(datagram: bytes, keys: Keys) -> Decoded:
    """The message of a datagram. Raises BadDatagram unless it is whole and signed with one of the keys."""
    if len(datagram) > MAX_DATAGRAM_BYTES:
        raise BadDatagram(Reason.OVERSIZED, f"{len(datagram)} bytes")
    head = datagram[:4]
    if head == _NETSTRING_HEAD:
        framing = Framing.NETSTRING
        number, end = _authenticate_netstring(datagram, keys)
        fields = _netstring_fields(datagram, 4, end)
    elif head == _CLASSIC_HEAD:
        framing = Framing.CLASSIC
        number, text = _authenticate_classic(datagram, keys)
        fields = _classic_fields(text)
    elif _NETSTRING_HEAD.startswith(head) or _CLASSIC_HEAD.startswith(head):
        raise BadDatagram(Reason.TRUNCATED)
    else:
        raise BadDatagram(Reason.BAD_FRAMING, "neither ### nor >>>")
    inner_auth = bool(fields) and fields[-1][1] == AUTH
    if inner_auth:
        fields.pop()
    message = Message(tuple(fields))
    if AUTH in message:  # Not where 3.0.6 puts it, but a foreign peer may.
        inner_auth = True
        message = message.without(AUTH)
    if COMPRESSED_PAYLOAD in message:
        message = _decompressed(message).without(AUTH)
    classic = inner_auth or framing is Framing.CLASSIC
    return Decoded(message, number, framing, MsgFormat.CLASSIC if classic else MsgFormat.NETSTRING)


def _authenticate_netstring(datagram: bytes, keys: Keys) -> tuple[int, int]:
    """The number of the key that signed, and where `%%%` stands: found from the end, no field is parsed."""
    end = datagram.rfind(_NETSTRING_END, max(4, len(datagram) - _MAX_SIGNATURE_BYTES - 4))
    if end < 0:
        raise BadDatagram(Reason.TRUNCATED, "no %%% and signature at the end")
    covered = end + 4
    if covered == len(datagram):
        raise BadDatagram(Reason.UNSIGNED)
    signature = _SIGNATURE.fullmatch(datagram, covered)
    if signature is None or int(signature[1]) != len(signature[2]):
        raise BadDatagram(Reason.BAD_FRAMING, "the signature is no netstring")
    return _authenticate(signature[2], datagram[:covered], keys), end


def _authenticate_classic(datagram: bytes, keys: Keys) -> tuple[int, bytes]:
    """The number of the key that signed, and the lines it covers. What follows `<<<` is ignored."""
    end = datagram.find(_CLASSIC_END, 3)
    if end < 0:
        raise BadDatagram(Reason.TRUNCATED, "no <<< at the end")
    text = datagram[3 : end + 1]  # From the newline of ">>>" on: each line has one on either side.
    if b"\0" in text:
        raise BadDatagram(Reason.BAD_FRAMING, "a NUL inside")
    if b"\n\n" in text:
        text = re.sub(rb"\n\n+", b"\n", text)  # Blank lines count for nothing, to the digest neither.
    start = text.find(_CLASSIC_AUTH)
    if start < 0:
        raise BadDatagram(Reason.UNSIGNED)
    if text.find(_CLASSIC_AUTH, start + 1) >= 0:
        raise BadDatagram(Reason.BAD_FIELD, "two auth fields")
    stop = text.index(b"\n", start + 1)
    covered = text[1 : start + 1] + text[stop + 1 :]
    return _authenticate(text[start + len(_CLASSIC_AUTH) : stop], covered, keys), covered


def _authenticate(token: bytes, covered: bytes, keys: Keys) -> int:
    parsed = auth.parse_token(token)
    if parsed is None:
        raise BadDatagram(Reason.BAD_SIGNATURE, "no token of number and digest")
    number, digest = parsed
    key = keys.find(number)
    if key is None:
        raise BadDatagram(Reason.UNKNOWN_KEY, f"{number}")
    if not auth.verify(key, digest, covered):
        raise BadDatagram(Reason.BAD_SIGNATURE, f"key {number}")
    return number


def _netstring_fields(raw: bytes, at: int, end: int) -> list[Field]:
    """The fields between two positions, which they must fill exactly."""
    fields: list[Field] = []
    find = raw.find
    while at < end:
        stop = find(b",", at, end)
        field = _kept_field_of(raw[at:stop]) if stop - at <= _WORTH_KEEPING else None
        if field is None:  # A long one, or one with a comma in it.
            field, stop = _netstring_field(raw, at, end)
        fields.append(field)
        at = stop + 1
        if len(fields) > MAX_FIELDS:
            raise BadDatagram(Reason.TOO_MANY_FIELDS)
    return fields


def _netstring_field(raw: bytes, at: int, end: int) -> tuple[Field, int]:
    """The field that begins here, and where its comma is."""
    length = _LENGTH.match(raw, at, end)
    if length is None:
        raise BadDatagram(Reason.BAD_FIELD, f"no LEN:(KIND)NAME= at byte {at}")
    begin = length.end() - 1
    stop = begin + int(length[1])
    if stop >= end or raw[stop] != _COMMA:
        raise BadDatagram(Reason.BAD_FIELD, f"the length at byte {at} is wrong")
    field = _named(raw[begin:stop])
    if field is None:
        raise BadDatagram(Reason.BAD_FIELD, f"no LEN:(KIND)NAME= at byte {at}")
    return field, stop


def _field_of(netstring: bytes) -> Field | None:
    """The field, if this is the whole of one but for its comma; None if it is anything else."""
    length = _LENGTH.match(netstring)
    whole = length is not None and length.end() - 1 + int(length[1]) == len(netstring)
    return _named(netstring[length.end() - 1 :]) if length is not None and whole else None


_kept_field_of = lru_cache(maxsize=512)(_field_of)


def _named(text: bytes) -> Field | None:
    head = _FIELD.match(text)
    if head is None:
        return None
    kind, spelt = head.groups()
    name = name_from_wire(spelt)
    return None if name is None else (_KINDS[int(kind)], name, text[head.end() :])


def _classic_fields(text: bytes) -> list[Field]:
    lines = text.split(b"\n", MAX_FIELDS)
    if lines.pop():
        raise BadDatagram(Reason.TOO_MANY_FIELDS)
    return [_classic_field(line) for line in lines]


def _classic_field(line: bytes) -> Field:
    kind = _TEXT_PREFIX.get(line[:3], _STRING)
    raw_name, equals, value = (line if kind is _STRING else line[3:]).partition(b"=")
    name = name_from_wire(raw_name)
    if name is None or not equals or not value:
        raise BadDatagram(Reason.BAD_FIELD, "a line that is no NAME=VALUE")
    if kind in _BASE64_KINDS:
        try:
            value = a2b_base64(value, strict_mode=True)
        except binascii.Error:
            raise BadDatagram(Reason.BAD_FIELD, f"{name} is not base64") from None
    return kind, name, value


def _decompressed(wrapper: Message) -> Message:
    """The message inside a compressed one, as 3.0.6 may send what is large. It cannot be a wrapper again.

    Inside is a netstring without signature, or the classic form with a NUL behind it. The wrapper's
    signature covers both; an `auth` field in there proves nothing more.
    """
    raw = _inflated(wrapper.text(COMPRESSION_ALGORITHM) or "", wrapper.raw(COMPRESSED_PAYLOAD) or b"")
    if len(raw) >= 8 and raw[:4] == _NETSTRING_HEAD and raw[-4:] == _NETSTRING_END:
        fields = _netstring_fields(raw, 4, len(raw) - 4)
    elif raw[:4] == _CLASSIC_HEAD and raw.removesuffix(b"\0")[-5:] == _CLASSIC_END:
        text = raw[4 : raw.rindex(_CLASSIC_END) + 1]
        if b"\0" in text:
            raise BadDatagram(Reason.BAD_COMPRESSION, "a NUL inside")
        fields = _classic_fields(text)
    else:
        raise BadDatagram(Reason.BAD_COMPRESSION, "no message inside")
    message = Message(tuple(fields))
    if COMPRESSED_PAYLOAD in message:
        raise BadDatagram(Reason.BAD_COMPRESSION, "compressed twice")
    return message


def _inflated(algorithm: str, payload: bytes) -> bytes:
    try:
        if algorithm == "zlib":
            inflater = zlib.decompressobj()
            raw = inflater.decompress(payload, MAX_MESSAGE_BYTES)
            whole = inflater.eof
        elif algorithm == "bz2":
            bunzipper = bz2.BZ2Decompressor()
            raw = bunzipper.decompress(payload, MAX_MESSAGE_BYTES)
            whole = bunzipper.eof
        else:
            raise BadDatagram(Reason.BAD_COMPRESSION, "an algorithm other than zlib and bz2")
    except (zlib.error, OSError, EOFError) as error:
        raise BadDatagram(Reason.BAD_COMPRESSION, str(error)) from None
    if not whole:
        raise BadDatagram(Reason.BAD_COMPRESSION, "truncated, or above 256 KiB")
    return raw
