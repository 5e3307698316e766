"""Heartbeats over a serial line: `serial /dev/ttyS0`, to the one node at the other end of a null modem cable.

    >>>            a message in classic framing: lines between these two.
    t=status       What comes before `>>>` is noise, a second `>>>` begins anew.
    ...
    <<<

The line is slow: at 19200 baud a heartbeat takes some 150 ms. So the next message is written when the one
before has left, and of each node's heartbeats only the newest waits (in a ring, others' are passed on). Other
messages wait in order, up to a bound. A heartbeat keeps its place among them, but not for long.

A line that takes nothing for a while is reported, and its port kept (`Ports.park`) for the core's next
attempts; one that is hung up (an adapter pulled out) is closed. Nothing here ever waits. Facts: heartbeat
3.0.6's serial media.
"""

from __future__ import annotations

import asyncio
import errno
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass

from hbd.config.model import Serial
from hbd.core.effects import Transmit
from hbd.core.events import DatagramReceived, LinkFailed, LinkOpened
from hbd.media.base import Post
from hbd.media.tty import NOT_LEAVING, Opened, Port, Ports

OPEN_LIMIT_S = 5.0
"""An attempt to open a port that takes longer is reported; what comes of it later is closed again."""
BLOCKED_S = 1.0
"""Nothing left for so long: no connection. Twice what 3.0.6 waits before it says so."""
OVERTAKE_S = 0.25
"""A heartbeat that waits for longer goes before other messages."""
MOST_WAITING = 32
"""Messages other than heartbeats; what comes on top is lost, and asked for again by the peer."""
MOST_FRAME_BYTES = 65507
"""Longer than any message can be: it is noise."""
READS = 16
"""Reads per wake-up, so that a line that babbles cannot keep the loop for itself."""
SHORTEST_LOOK_S, LONGEST_LOOK_S = 0.005, 0.1
BITS_PER_BYTE = 10
"""8N1: a start bit, eight, a stop bit."""


class Frames:
    """Finds the messages in a stream of bytes."""

    def __init__(self) -> None:
        self._line = bytearray()
        self._frame: list[bytes] | None = None
        self._bytes = 0

    def feed(self, raw: bytes) -> Iterator[bytes]:
        """The messages that end in these bytes."""
        *ends, rest = raw.split(b"\n")
        for end in ends:
            line = bytes(self._line + end).rstrip(b"\r")
            self._line.clear()
            frame = self._take(line)
            if frame is not None:
                yield frame
        self._line += rest
        if len(self._line) > MOST_FRAME_BYTES:
            self._line.clear()
            self._frame = None

    def _take(self, line: bytes) -> bytes | None:
        if self._frame is None or line == b">>>":
            # Outside of a message nothing counts, so the mark may follow noise on the same line.
            self._frame, self._bytes = ([b">>>"], 0) if line.endswith(b">>>") else (None, 0)
            return None
        if line.startswith(b"<<<"):
            frame = b"\n".join((*self._frame, b"<<<", b""))
            # The newline between two messages may have been lost.
            self._frame = [b">>>"] if line.endswith(b">>>") else None
            self._bytes = 0
            return frame
        self._bytes += len(line) + 1
        if self._bytes > MOST_FRAME_BYTES:
            self._frame = None
            return None
        self._frame.append(line)
        return None


@dataclass(slots=True)
class _Heartbeat:
    """One that waits."""

    line: bytes
    ahead: int
    """Other messages that were there before it."""
    since_s: float
    """Since when one of this node waits: it is replaced, and keeps its patience."""


class Waiting:
    """What is to be sent, in order: at most one heartbeat of each node, and a bounded number of others."""

    def __init__(self) -> None:
        self._others: deque[bytes] = deque()
        self._heartbeats: dict[str, _Heartbeat] = {}
        """By origin, the longest waiting first."""
        self.replaced = 0
        """Heartbeats that a newer one made superfluous."""
        self.dropped = 0
        """Other messages for which there was no room."""

    def put(self, message: Transmit, now_s: float) -> None:
        """Another message."""
        if message.heartbeat:
            waiting = self._heartbeats.get(message.origin)
            if waiting is None:
                self._heartbeats[message.origin] = _Heartbeat(message.line, len(self._others), now_s)
            else:
                self.replaced += 1
                waiting.line, waiting.ahead = message.line, len(self._others)
        elif len(self._others) == MOST_WAITING:
            self.dropped += 1
        else:
            self._others.append(message.line)

    def take(self, now_s: float) -> bytes | None:
        """The next one; None if there is none."""
        for origin, waiting in self._heartbeats.items():
            if waiting.ahead == 0 or now_s - waiting.since_s >= OVERTAKE_S:
                del self._heartbeats[origin]
                return waiting.line
        if not self._others:
            return None
        for waiting in self._heartbeats.values():
            waiting.ahead = max(0, waiting.ahead - 1)
        return self._others.popleft()


class SerialMedium:
    """One serial line of ha.cf."""

    def __init__(self, spec: Serial, ports: Ports) -> None:
        self.spec = spec
        self._ports = ports
        self._post: Post | None = None
        self._port: Port | None = None
        self._frames = Frames()
        self.waiting = Waiting()
        self._rest = b""
        """Of the message under way, what the port has not taken yet."""
        self._timer: asyncio.TimerHandle | None = None
        self._moved_s, self._left = 0.0, 0
        """When something last left, and how many bytes of the message did not."""
        self._keep = False

    # ------------------------------------------------------------ Medium

    def open(self, post: Post) -> None:
        """Begin; post LinkOpened once the port is open and somebody there, or LinkFailed. Raises OSError."""
        assert self._post is None, "opened twice"
        self._ports.open(self.spec, self._answer)
        self._timer = asyncio.get_running_loop().call_later(OPEN_LIMIT_S, self._too_slow)
        self._post = post

    def send(self, message: Transmit) -> None:
        """Send it as soon as the line is free, or lose it. The line being gone is posted once."""
        if self._port is not None and message.line:
            self.waiting.put(message, asyncio.get_running_loop().time())
            if self._timer is None:
                self._write()

    def close(self) -> None:
        """Close; nothing is posted afterwards. What still waits may be a goodbye: the kernel sends it."""
        if self._port is not None:
            self._say_last_words(self._port)
        self._end()

    def _say_last_words(self, port: Port) -> None:
        now_s = asyncio.get_running_loop().time()
        if self._timer is not None and now_s - self._moved_s > BLOCKED_S / 2:
            port.forget_output()
            return
        try:
            words: bytes | None = self._rest or self.waiting.take(now_s)
            while words and port.write(words) == len(words):
                words = self.waiting.take(now_s)
        except OSError:
            pass  # Gone just now.

    # ------------------------------------------------------------ opening and failing

    def _end(self) -> None:
        self._post = None
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        port, self._port = self._port, None
        if port is None:
            return
        asyncio.get_running_loop().remove_reader(port.fd)
        if self._keep:
            self._ports.park(port)
        else:
            self._ports.close(port)

    def _answer(self, result: Opened | OSError) -> None:
        """What came of opening."""
        if self._post is None:
            if isinstance(result, Opened):
                self._ports.close(result.port)
            return
        assert self._timer is not None
        self._timer.cancel()
        self._timer = None
        if isinstance(result, OSError):
            self._fail(result)
            return
        if result.obstacle and not result.fresh:
            self._ports.park(result.port)
            self._fail(OSError(errno.ETIMEDOUT, result.obstacle))
            return
        self._begin(result.port)
        if result.obstacle:
            # Said only now: the line is not what is missing, it may be the other node that is.
            self._keep = True
            self._fail(OSError(errno.ETIMEDOUT, result.obstacle))

    def _too_slow(self) -> None:
        self._timer = None
        self._fail(OSError(errno.ETIMEDOUT, f"it did not open within {OPEN_LIMIT_S:g} s"))

    def _begin(self, port: Port) -> None:
        assert self._post is not None
        self._port = port
        asyncio.get_running_loop().add_reader(port.fd, self._read)
        self._rest = b"\n"  # Whatever a former life left half said ends here.
        self._post(LinkOpened(self.spec))
        if self._port is not None and self._timer is None:
            self._write()

    def _fail(self, why: OSError) -> None:
        """Close, and tell the core once."""
        post, port = self._post, self._port
        if port is not None and not self._keep:
            port.forget_output()
        self._end()
        if post is not None:
            post(LinkFailed(self.spec, why.strerror or str(why)))

    # ------------------------------------------------------------ in

    def _read(self) -> None:
        for _ in range(READS):
            if self._port is None or self._post is None:  # A posted message had it closed.
                return
            try:
                raw = self._port.read()
            except OSError as why:
                self._fail(why)
                return
            if not raw:
                return
            for frame in self._frames.feed(raw):
                if self._post is not None:
                    self._post(DatagramReceived(self.spec, frame))

    # ------------------------------------------------------------ out

    def _write(self) -> None:
        """Give the port what comes next, and look again when it should have left."""
        loop, port = asyncio.get_running_loop(), self._port
        assert port is not None
        now_s = loop.time()
        if not self._rest:
            following = self.waiting.take(now_s)
            if following is None:
                return
            self._rest = following
        try:
            written = port.write(self._rest)
        except OSError as why:
            self._fail(why)
            return
        self._moved_s, self._left = now_s, len(self._rest)
        self._rest = self._rest[written:]
        self._look_in(written)

    def _look_in(self, count: int) -> None:
        """Look again when so many bytes should have left."""
        wait_s = max(count * BITS_PER_BYTE / self.spec.baud, SHORTEST_LOOK_S)
        self._timer = asyncio.get_running_loop().call_later(wait_s, self._look)

    def _look(self) -> None:
        self._timer = None
        port = self._port
        assert port is not None
        now_s = asyncio.get_running_loop().time()
        try:
            self._rest = self._rest[port.write(self._rest) :] if self._rest else b""
            left = port.waiting_bytes() + len(self._rest)
            if left == 0:
                self._write()
                return
            if left < self._left:
                self._moved_s, self._left = now_s, left
            elif now_s - self._moved_s >= BLOCKED_S:
                self._keep = True
                raise OSError(errno.ETIMEDOUT, NOT_LEAVING)
        except OSError as why:
            self._fail(why)
            return
        self._look_in(min(left, int(LONGEST_LOOK_S * self.spec.baud / BITS_PER_BYTE)))
