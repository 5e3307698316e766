"""The bytes of one D-Bus connection: letting us in, messages out and in, an end that does not read.

An asyncio transport does the queueing; a message that cannot be parsed is dropped and counted, since every
local user may send one. Facts: D-Bus specification ("Message Protocol", "Authentication Protocol").
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import struct
from abc import ABC, abstractmethod

from hbd.dbusio_codec import DISCONNECTED, Message, MessageType, NoAnswer, encode, parse

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

_SIGNAL = MessageType.SIGNAL.value


class Stream(asyncio.Protocol, ABC):
    """What `hbd.dbusio.Bus` is built on. Its end is told by `closed`, and it is never mended."""

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
        self._reason = "closed by the other end"

    @abstractmethod
    def _may_want(self, signal: bytes) -> bool:
        """False if nobody here wants this unparsed signal."""

    @abstractmethod
    def _dispatch(self, message: Message) -> None:
        """Hand it on."""

    @abstractmethod
    def _forsake(self, reason: str) -> None:
        """The connection is gone: whoever waits for an answer gets none."""

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

    # ---- bytes out

    def _send(self, message: Message) -> int:
        if self.closed.done() or self._transport is None:
            raise NoAnswer(DISCONNECTED, "the connection is gone")
        self._serial = self._serial % 0xFFFFFFFF + 1
        message.serial = self._serial
        self._transport.write(encode(message))
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
            if message_bytes[1] == _SIGNAL and not self._may_want(message_bytes):
                continue
            message = parse(message_bytes)
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

    def _lost(self, reason: str) -> None:
        if self.closed.done():
            return
        self.closed.set_result(reason)
        self._relieve()
        if not self._ready.done():
            self._ready.set_exception(NoAnswer(DISCONNECTED, reason))
        self._forsake(reason)
