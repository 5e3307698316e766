"""Messages that are sent compressed whole, as 3.0.6 does with `traditional_compression yes`.

The wrapper is a message of two fields, the netstring form of the real one as zlib or bz2 have it, and the
name of the algorithm. It is signed like any other; what is inside has no signature. The way back is `wire`'s
own: a receiver knows a wrapper when it sees one, whatever its ha.cf says. Facts: heartbeat 3.0.6.
"""

from __future__ import annotations

import bz2
import zlib

from hbd.config.model import Compression
from hbd.core.message import COMPRESSED_PAYLOAD, COMPRESSION_ALGORITHM, Message
from hbd.core.wire import netstring_body


def packed(message: Message, compression: Compression | None) -> Message:
    """The wrapper to send instead; the message itself where it is short, or none the shorter for it."""
    if compression is None:
        return message
    body = netstring_body(message)
    if len(body) <= compression.threshold_bytes:
        return message
    payload = bz2.compress(body) if compression.algorithm == "bz2" else zlib.compress(body)
    if len(payload) >= len(body):
        return message
    return Message.of((COMPRESSED_PAYLOAD, payload), (COMPRESSION_ALGORITHM, compression.algorithm))
