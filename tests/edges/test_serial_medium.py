"""serial: pseudo terminals for lines. They have no modem lines and no speed; the pace is the medium's own."""

import asyncio
import fcntl
import os
import stat
import subprocess
import sys
import termios
import threading
import tty
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from hbd.config.model import Serial
from hbd.core.effects import Transmit
from hbd.core.events import DatagramReceived, Event, LinkFailed, LinkOpened
from hbd.media import tty as ports_module
from hbd.media import ttylock
from hbd.media.serial import MOST_FRAME_BYTES, MOST_WAITING, Frames, SerialMedium, Waiting
from hbd.media.tty import Ports
from tests.edges.namespaces import until

STATUS = b">>>\nt=status\nseq=%d\n<<<\n"


def heartbeat(number: int, size: int = 0) -> Transmit:
    return Transmit(b"-", (STATUS % number).replace(b"<<<", b"x" * size + b"\n<<<" if size else b"<<<"), True)


def message(text: bytes) -> Transmit:
    return Transmit(b"-", b">>>\n" + text + b"\n<<<\n")


class Line:
    """A line whose other end is the test's."""

    def __init__(self) -> None:
        self.master, slave = os.openpty()
        tty.setraw(slave)
        self.device = os.ttyname(slave)
        self._slave = slave
        """Kept open, so that closing the medium's does not hang up the test's."""
        os.set_blocking(self.master, False)

    def said(self) -> bytes:
        """What has come out at the test's end since it was last asked."""
        got = b""
        try:
            while more := os.read(self.master, 65536):
                got += more
        except BlockingIOError:
            pass
        return got

    def put(self, raw: bytes) -> None:
        os.write(self.master, raw)

    def pull_out(self) -> None:
        """As an adapter that is pulled out: the line is hung up."""
        os.close(self._slave)
        os.close(self.master)


@dataclass
class Node:
    """A medium and what it posted."""

    spec: Serial
    ports: Ports
    posted: list[Event] = field(default_factory=list)
    medium: SerialMedium | None = None

    async def open(self) -> SerialMedium:
        """Open it and wait until it is, or until it is known that it cannot be."""
        before = len(self.posted)
        self.medium = SerialMedium(self.spec, self.ports)
        self.medium.open(self.post)
        await until(lambda: len(self.posted) > before)
        return self.medium

    def post(self, event: Event) -> None:
        """Like the driver: what failed is closed."""
        if isinstance(event, LinkFailed) and self.medium is not None:
            self.medium.close()
        self.posted.append(event)

    def heard(self) -> list[bytes]:
        return [event.payload for event in self.posted if isinstance(event, DatagramReceived)]

    def failures(self) -> list[str]:
        return [event.reason for event in self.posted if isinstance(event, LinkFailed)]


@pytest.fixture
def line() -> Iterator[Line]:
    made = Line()
    yield made
    for fd in (made.master, made._slave):
        try:
            os.close(fd)
        except OSError:
            pass  # Pulled out.


@pytest.fixture
def ports(tmp_path: Path) -> Ports:
    return Ports(tmp_path)


def node(line: Line, ports: Ports, baud: int = 460800) -> Node:
    return Node(Serial(line.device, baud), ports)


# ---------------------------------------------------------------- framing


def frames(*pieces: bytes) -> list[bytes]:
    found = Frames()
    return [frame for piece in pieces for frame in found.feed(piece)]


def test_a_message_is_found_however_it_comes_in_pieces() -> None:
    whole = b">>>\nt=status\nsrc=alpha\n<<<\n"
    for size in range(1, len(whole)):
        pieces = [whole[at : at + size] for at in range(0, len(whole), size)]
        assert frames(*pieces, *pieces) == [whole, whole]


@pytest.mark.parametrize(
    ("noise", "found"),
    [
        (b"\0\xff~\n", 1),
        (b"tatus\nsrc=alpha\n<<<\n", 1),  # the end of one whose beginning was not heard
        (b">>>\nt=status\nsrc=al\n", 1),  # the beginning of one whose end was not
        (b"login: ", 1),  # a break, or a getty's last word, before the mark
        (b"\r\n\r\n", 1),
    ],
)
def test_after_noise_the_next_message_is_found(noise: bytes, found: int) -> None:
    whole = b">>>\nt=status\n<<<\n"
    assert frames(noise + whole) == [whole] * found


def test_carriage_returns_and_a_lost_newline_between_two_messages_do_not_matter() -> None:
    assert frames(b">>>\r\nt=a\r\n<<<>>>\nt=b\n<<<\n") == [b">>>\nt=a\n<<<\n", b">>>\nt=b\n<<<\n"]


def test_a_value_that_ends_like_a_mark_is_no_mark() -> None:
    whole = b">>>\ninfo=more >>>\n<<<\n"
    assert frames(whole) == [whole]


def test_a_line_that_babbles_takes_no_memory() -> None:
    found = Frames()
    for _ in range(40):
        assert list(found.feed(b"x" * 4096)) == []
        assert list(found.feed(b">>>\n" + b"y=1\n" * 1000)) == []
    assert len(found._line) <= MOST_FRAME_BYTES
    assert list(found.feed(b"\n>>>\nt=a\n<<<\n")) == [b">>>\nt=a\n<<<\n"]


# ---------------------------------------------------------------- what waits


def taken(waiting: Waiting, now_s: float = 0.0) -> list[bytes]:
    found = []
    while (frame := waiting.take(now_s)) is not None:
        found.append(frame)
    return found


def test_of_heartbeats_only_the_newest_waits() -> None:
    waiting = Waiting()
    for number in range(5):
        waiting.put(heartbeat(number), 0.0)
    assert taken(waiting) == [STATUS % 4]
    assert waiting.replaced == 4


def test_other_messages_wait_in_order_and_a_heartbeat_among_them_keeps_its_place() -> None:
    waiting = Waiting()
    for each in (message(b"1"), heartbeat(2), message(b"3")):
        waiting.put(each, 0.0)
    assert taken(waiting) == [message(b"1").line, heartbeat(2).line, message(b"3").line]


def test_a_heartbeat_that_has_waited_goes_first_even_if_it_was_replaced_meanwhile() -> None:
    waiting = Waiting()
    for number in range(3):
        waiting.put(message(b"%d" % number), 0.0)
    waiting.put(heartbeat(3), 0.0)
    waiting.put(heartbeat(4), 0.25)
    assert waiting.take(0.3) == heartbeat(4).line
    assert taken(waiting) == [message(b"%d" % number).line for number in range(3)]


def test_of_each_nodes_heartbeats_the_newest_waits_and_the_one_that_waited_longest_goes_first() -> None:
    waiting = Waiting()
    for number, origin in enumerate(("gamma", "", "gamma", "delta", "")):
        waiting.put(replace(heartbeat(number), origin=origin), 0.0)
    assert taken(waiting) == [heartbeat(number).line for number in (2, 4, 3)]
    assert waiting.replaced == 2


def test_messages_beyond_the_bound_are_counted_and_lost() -> None:
    waiting = Waiting()
    for number in range(MOST_WAITING + 3):
        waiting.put(message(b"%d" % number), 0.0)
    assert waiting.dropped == 3
    assert len(taken(waiting)) == MOST_WAITING


# ---------------------------------------------------------------- the line


def test_what_is_sent_comes_out_in_classic_framing_after_a_newline(line: Line, ports: Ports) -> None:
    async def body() -> None:
        one = node(line, ports)
        medium = await one.open()
        assert one.posted == [LinkOpened(one.spec)]
        medium.send(heartbeat(1))
        medium.send(Transmit(b"has no form for lines"))
        said = bytearray()

        def is_whole() -> bool:
            said.extend(line.said())
            return said.endswith(b"<<<\n")

        await until(is_whole)
        assert bytes(said) == b"\n" + STATUS % 1
        medium.close()

    asyncio.run(body())


def test_the_line_is_raw_eight_bits_and_exclusive(line: Line, ports: Ports) -> None:
    async def body() -> None:
        one = node(line, ports, 19200)
        medium = await one.open()
        iflag, oflag, cflag, lflag, ispeed, ospeed, _ = termios.tcgetattr(line._slave)
        assert cflag & (termios.CSIZE | termios.PARENB | termios.CSTOPB) == termios.CS8
        assert (ispeed, ospeed) == (termios.B19200, termios.B19200)
        assert lflag & (termios.ICANON | termios.ECHO | termios.ISIG) == 0
        assert iflag & (termios.IXON | termios.IXOFF | termios.ICRNL | termios.ISTRIP) == 0
        assert oflag & termios.OPOST == 0
        exclusive = fcntl.ioctl(line._slave, 0x80045440, bytes(4))  # TIOCGEXCL, ioctl_tty(2)
        assert exclusive == b"\1\0\0\0"
        medium.close()

    asyncio.run(body())


def test_two_nodes_at_one_null_modem_hear_each_other(ports: Ports, tmp_path: Path) -> None:
    async def body() -> None:
        lines = Line(), Line()
        nodes = [node(each, ports, 19200) for each in lines]
        for each in nodes:
            await each.open()
        loop = asyncio.get_running_loop()

        def relay(here: Line, there: Line) -> None:
            there.put(here.said())

        for here, there in (lines, lines[::-1]):
            loop.add_reader(here.master, relay, here, there)
        for number, each in enumerate(nodes):
            assert each.medium is not None
            each.medium.send(heartbeat(number))
            each.medium.send(message(b"t=resource"))
        await until(lambda: all(len(each.heard()) == 2 for each in nodes))
        await asyncio.sleep(0.05)
        other = message(b"t=resource").line
        assert [each.heard() for each in nodes] == [[STATUS % 1, other], [STATUS % 0, other]]
        assert [each.failures() for each in nodes] == [[], []]
        for each, here in zip(nodes, lines, strict=True):
            loop.remove_reader(here.master)
            assert each.medium is not None
            each.medium.close()
            here.pull_out()

    asyncio.run(body())


def test_a_slow_line_gets_one_message_at_a_time_and_the_newest_heartbeat(line: Line, ports: Ports) -> None:
    """200 bytes at 9600 baud take 208 ms; a heartbeat every 50 ms can only be every fourth."""

    async def body() -> None:
        one = node(line, ports, 9600)
        medium = await one.open()
        said = bytearray()

        def numbers() -> list[int]:
            said.extend(line.said())
            return [int(frame.split(b"seq=")[1].split(b"\n")[0]) for frame in frames(bytes(said))]

        begun_s = asyncio.get_running_loop().time()
        for number in range(20):
            medium.send(heartbeat(number, 180))
            await asyncio.sleep(0.05)
        await until(lambda: numbers()[-1:] == [19])
        took_s = asyncio.get_running_loop().time() - begun_s
        assert numbers() == sorted(numbers())
        assert 4 <= len(numbers()) <= took_s / 0.208 + 1
        assert medium.waiting.replaced == 20 - len(numbers())
        medium.close()

    asyncio.run(body())


def test_what_waits_when_the_link_is_closed_in_order_still_leaves(line: Line, ports: Ports) -> None:
    """A node that leaves closes as soon as its heartbeat is echoed, with its goodbye still behind that."""

    async def body() -> None:
        one = node(line, ports, 9600)
        medium = await one.open()
        goodbye = heartbeat(1), message(b"t=resource"), message(b"t=shutdone")
        for each in goodbye:
            medium.send(each)
        medium.close()
        assert frames(line.said()) == [each.line for each in goodbye]

    asyncio.run(body())


def test_a_line_that_is_hung_up_is_told_once_and_can_be_opened_again(ports: Ports) -> None:
    async def body() -> None:
        first = Line()
        one = node(first, ports)
        medium = await one.open()
        first.pull_out()
        await until(lambda: len(one.failures()) == 1)
        medium.send(heartbeat(1))
        assert one.failures() == ["the line was hung up"]
        with pytest.raises(OSError, match="No such file"):
            SerialMedium(one.spec, ports).open(one.post)
        second = Line()  # The kernel gives the number that has become free.
        again = node(second, ports)
        await again.open()
        assert again.posted == [LinkOpened(again.spec)]
        assert again.medium is not None
        again.medium.close()
        second.pull_out()

    asyncio.run(body())


def test_a_line_that_takes_nothing_is_told_kept_open_and_used_again(line: Line, ports: Ports) -> None:
    async def body() -> None:
        one = node(line, ports)
        medium = await one.open()
        for number in range(30):
            medium.send(message(b"%d" % number + b"x" * 8000))
        await until(lambda: one.failures() == ["what is written does not leave"])
        for _ in range(2):  # As the core does, each second.
            await one.open()
        assert one.failures() == ["what is written does not leave"] * 3
        assert not any(isinstance(event, LinkOpened) for event in one.posted[1:])
        line.said()
        await one.open()
        assert one.posted[-1] == LinkOpened(one.spec)
        assert one.medium is not None
        one.medium.send(heartbeat(7))
        await until(lambda: line.said().endswith(STATUS % 7))
        one.medium.close()

    asyncio.run(body())


def test_a_blocked_line_that_nobody_asks_for_again_is_closed(
    line: Line, ports: Ports, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ports_module, "PARKED_S", 0.1)

    async def body() -> None:
        one = node(line, ports)
        medium = await one.open()
        for number in range(30):
            medium.send(message(b"%d" % number + b"x" * 8000))
        await until(lambda: bool(one.failures()))
        assert os.listdir(tmp_path) == [ttylock.name(line.device)]
        await until(lambda: os.listdir(tmp_path) == [])

    asyncio.run(body())


def test_what_came_while_the_line_was_kept_is_not_taken_for_news(line: Line, ports: Ports) -> None:
    async def body() -> None:
        one = node(line, ports)
        medium = await one.open()
        for number in range(30):
            medium.send(message(b"%d" % number + b"x" * 8000))
        await until(lambda: bool(one.failures()))
        line.put(STATUS % 1)
        await asyncio.sleep(0.02)
        line.said()
        await one.open()
        line.put(STATUS % 2)
        await until(lambda: bool(one.heard()))
        assert one.heard() == [STATUS % 2]
        assert one.medium is not None
        one.medium.close()

    asyncio.run(body())


def test_nothing_of_a_line_ever_holds_the_loop(line: Line, ports: Ports) -> None:
    """Full line, babbling peer: what waits for a line waits for ever, since nobody reads."""

    async def body() -> None:
        one = node(line, ports)
        medium = await one.open()
        loop = asyncio.get_running_loop()
        longest_s, begun_s = 0.0, loop.time()
        while loop.time() - begun_s < 0.5:
            before_s = loop.time()
            medium.send(heartbeat(1, 4000))
            medium.send(message(b"x" * 4000))
            try:
                line.put(b"\xff>>>\n" * 500)
            except BlockingIOError:
                pass
            await asyncio.sleep(0)
            longest_s = max(longest_s, loop.time() - before_s)
            await asyncio.sleep(0.005)
        assert longest_s < 2
        medium.close()

    asyncio.run(body())


def test_a_reader_that_closes_the_link_in_the_middle_hears_no_more(line: Line, ports: Ports) -> None:
    async def body() -> None:
        one = node(line, ports)
        medium = await one.open()
        heard = []

        def post(event: Event) -> None:
            heard.append(event)
            medium.close()

        medium._post = post
        line.put(STATUS % 1 + STATUS % 2)
        await until(lambda: bool(heard))
        await asyncio.sleep(0.02)
        assert heard == [DatagramReceived(one.spec, STATUS % 1)]

    asyncio.run(body())


def test_what_is_no_serial_device_or_is_missing_is_said_at_open(tmp_path: Path, ports: Ports) -> None:
    async def body() -> None:
        (tmp_path / "file").touch()
        for device, text in (
            (str(tmp_path / "file"), "it is no serial device"),
            (str(tmp_path / "none"), "No such file or directory"),
        ):
            with pytest.raises(OSError, match=text):
                await Node(Serial(device, 9600), ports).open()
        one = Node(Serial("/dev/null", 9600), ports)
        await one.open()
        [reason] = one.failures()
        assert "cannot be opened" in reason

    asyncio.run(body())


def test_an_opening_that_hangs_is_told_and_its_port_closed_when_it_comes(
    line: Line, ports: Ports, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A FIFO of locks that nobody writes to holds the opening thread, as a sick adapter would."""
    lock = tmp_path / ttylock.name(line.device)
    os.mkfifo(lock)

    async def body() -> None:
        one = node(line, ports)
        with monkeypatch.context() as impatient:
            impatient.setattr("hbd.media.serial.OPEN_LIMIT_S", 0.1)
            await one.open()
        assert one.failures() == ["it did not open within 0.1 s"]
        with pytest.raises(OSError, match="the last attempt to open it has not ended"):
            SerialMedium(one.spec, ports).open(one.post)
        await asyncio.to_thread(lock.write_bytes, b"\n")
        await until(lambda: not any(t.name.startswith("open ") for t in threading.enumerate()))
        await until(lambda: not lock.exists())
        await one.open()
        assert one.posted[-1] == LinkOpened(one.spec)
        assert one.medium is not None
        one.medium.close()

    asyncio.run(body())


# ---------------------------------------------------------------- locks


def test_the_lock_is_that_of_uucp_and_is_given_back(line: Line, ports: Ports, tmp_path: Path) -> None:
    async def body() -> None:
        one = node(line, ports)
        medium = await one.open()
        lock = tmp_path / ttylock.name(line.device)
        assert lock.name == "LCK..pts_" + line.device.rpartition("/")[2]
        assert lock.read_text() == f"{os.getpid():10d}\n"
        assert stat.S_IMODE(lock.stat().st_mode) == 0o644
        medium.close()
        assert os.listdir(tmp_path) == []

    asyncio.run(body())


def test_a_symbolic_link_is_locked_under_its_devices_name(tmp_path: Path) -> None:
    (tmp_path / "heart").symlink_to("/dev/ttyS0")
    assert ttylock.name(str(tmp_path / "heart")) == "LCK..ttyS0"


def test_a_line_in_use_by_a_living_process_is_left_alone(line: Line, ports: Ports, tmp_path: Path) -> None:
    other = subprocess.Popen([sys.executable, "-S", "-c", "input()"], stdin=subprocess.PIPE)
    lock = tmp_path / ttylock.name(line.device)
    lock.write_text(f"{other.pid:10d}\n")

    async def body() -> None:
        one = node(line, ports)
        await one.open()
        assert one.failures() == [f"in use by process {other.pid} ({lock})"]
        other.communicate(b"\n")
        await one.open()
        assert one.posted[-1] == LinkOpened(one.spec), "the lock of a process that is gone is taken over"
        assert lock.read_text() == f"{os.getpid():10d}\n"
        assert one.medium is not None
        one.medium.close()

    asyncio.run(body())


@pytest.mark.parametrize(
    "content",
    [b"", b"garbage\n", b"4194305\n", b"\xff\xff\x7f\x00", f"{os.getpid():10d}\n".encode()],
    ids=["empty", "garbage", "nobody", "binary", "our own"],
)
def test_a_lock_that_names_nobody_alive_is_taken_over(tmp_path: Path, content: bytes) -> None:
    """Our own number too: a namesake before a reboot, or in another container."""
    lock = tmp_path / ttylock.name("/dev/ttyS0")
    lock.write_bytes(content)
    taken = ttylock.take("/dev/ttyS0", tmp_path)
    assert taken == lock
    assert lock.read_text() == f"{os.getpid():10d}\n"
    with pytest.raises(OSError, match=f"in use by process {os.getpid()}"):
        ttylock.take("/dev/ttyS0", tmp_path)
    ttylock.release(taken)
    assert list(tmp_path.iterdir()) == []


def test_without_a_directory_for_locks_the_line_is_used_all_the_same(tmp_path: Path) -> None:
    assert ttylock.take("/dev/ttyS0", tmp_path / "none") is None
    ttylock.release(None)


def test_a_device_given_twice_is_opened_once(line: Line, ports: Ports, tmp_path: Path) -> None:
    async def body() -> None:
        one, two = node(line, ports), node(line, ports, 9600)
        await one.open()
        await two.open()
        [reason] = two.failures()
        assert reason.startswith(f"in use by process {os.getpid()}")
        assert one.medium is not None
        one.medium.close()
        await two.open()
        assert two.posted[-1] == LinkOpened(two.spec), "another baud rate after a reload"
        assert two.medium is not None
        two.medium.close()

    asyncio.run(body())


def test_a_port_that_another_program_holds_without_lock_is_busy(line: Line, ports: Ports) -> None:
    fcntl.flock(line._slave, fcntl.LOCK_EX)

    async def body() -> None:
        one = node(line, ports)
        await one.open()
        assert one.failures() == ["cannot be opened: Device or resource busy"]

    asyncio.run(body())
