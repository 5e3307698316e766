"""Messages that are sent compressed whole, as 3.0.6 does with `traditional_compression yes`.

The wrapper is a netstring of two fields: the real message as zlib or bz2 have it, and the name of the
algorithm. It is signed like any other, and has no `auth` of its own. Inside is, with `msgfmt netstring`, the
netstring without signature; with `msgfmt classic` the classic form, its `auth` and a NUL. The way back is
`wire`'s: a receiver knows a wrapper when it sees one, whatever its ha.cf says. Facts: datagrams of heartbeat
3.0.6.
"""

from __future__ import annotations

import bz2
import zlib

from hbd.config.model import Compression
from hbd.core.message import COMPRESSED_PAYLOAD, COMPRESSION_ALGORITHM, Message


def packed(raw: bytes, compression: Compression) -> Message | None:
    """The wrapper to send for a message of that form; None if it is none the shorter for it."""
    payload = bz2.compress(raw) if compression.algorithm == "bz2" else zlib.compress(raw)
    if len(payload) >= len(raw):
        return None
    return Message.of((COMPRESSED_PAYLOAD, payload), (COMPRESSION_ALGORITHM, compression.algorithm))
