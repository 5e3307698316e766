"""The authentication methods of authkeys: crc, md5 and sha1, in one table.

A token is `KEYNUM SP HEXDIGEST`, lower case; which bytes it covers is `wire.py`'s business.
Facts, observed from heartbeat 3.0.6: md5 and sha1 are HMACs as in RFC 2104; crc is the CRC-32 of POSIX
cksum without the length, in hexadecimal without leading zeros. It has no secret and stops accidents only.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Callable
from functools import lru_cache
from typing import Final, TypeAlias

from cryptography.hazmat.primitives.constant_time import bytes_eq
from cryptography.hazmat.primitives.hashes import MD5, SHA1, HashAlgorithm
from cryptography.hazmat.primitives.hmac import HMAC

from hbd.config.model import Key

Method: TypeAlias = Callable[[bytes, bytes], str]
"""Secret and covered bytes to hexadecimal digest."""

MAX_TOKEN_BYTES: Final = 2 + 1 + 64
_TOKEN: Final = re.compile(rb"(0|[1-9][0-9]?) ([0-9a-f]{1,64})")

_MIRROR: Final = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))


def crc(data: bytes) -> int:
    """CRC-32, polynomial 0x04C11DB7, most significant bit first, initial value 0, complemented.

    zlib has the same polynomial least significant bit first. Mirroring the bits of every byte going in,
    and of the result, turns one into the other, at the speed of C. zlib complements its start value too,
    hence all ones.
    """
    mirrored = zlib.crc32(data.translate(_MIRROR), 0xFFFFFFFF)
    return int.from_bytes(mirrored.to_bytes(4, "little").translate(_MIRROR), "big")


def _crc_digest(secret: bytes, data: bytes) -> str:
    return f"{crc(data):x}"


def _hmac_method(algorithm: Callable[[], HashAlgorithm]) -> Method:
    # Keying costs twice as much as hashing a heartbeat, and a cluster has a handful of keys.
    @lru_cache(maxsize=32)
    def keyed(secret: bytes) -> HMAC:
        return HMAC(secret, algorithm())

    def digest(secret: bytes, data: bytes) -> str:
        context = keyed(secret).copy()
        context.update(data)
        return context.finalize().hex()

    return digest


METHODS: Final[dict[str, Method]] = {
    "crc": _crc_digest,
    "md5": _hmac_method(MD5),
    "sha1": _hmac_method(SHA1),
}


def sign(key: Key, data: bytes) -> str:
    """The hexadecimal digest of these bytes under this key. The key's method is one of METHODS."""
    return METHODS[key.method](key.secret, data)


def verify(key: Key, digest: bytes, data: bytes) -> bool:
    """Whether this hexadecimal digest is the key's for these bytes; in constant time."""
    return bytes_eq(sign(key, data).encode("ascii"), digest)


def token(key: Key, data: bytes) -> bytes:
    """The token that travels with these bytes."""
    return b"%d %b" % (key.number, sign(key, data).encode("ascii"))


def parse_token(raw: bytes) -> tuple[int, bytes] | None:
    """The key number and hexadecimal digest of a token, or None if these bytes are no token."""
    match = _TOKEN.fullmatch(raw)
    return None if match is None else (int(match[1]), match[2])
