"""The machines' Ethernet: a hub for each network, and an observer that asks the LAN who has an address.

A network card of QEMU sends each frame as a datagram to a unix socket here, one for each card, and gets
those of the others. So the computer gets no bridge, tap or address, and every announcement of an
address passes through here, with the moment in CLOCK_MONOTONIC microseconds of the host.
"""

import os
import select
import socket
import struct
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

from tests.lab.host import LabError
from tests.lab.journal import now_us

_ARP = 0x0806
_REQUEST, _REPLY = 1, 2
_OBSERVER_MAC = bytes.fromhex("020000008565")
_OBSERVER_ADDRESS = "192.168.85.101"


@dataclass(frozen=True, slots=True)
class Claim:
    """An ARP packet whose sender says that it has an address: an announcement, or an answer."""

    at_us: int
    address: str
    mac: str
    is_answer: bool
    """Whether it answers somebody; else it announces or asks."""


@dataclass(slots=True)
class _Port:
    network: str
    socket: socket.socket
    card: Path
    """Where the emulator's card listens."""
    frames: int = 0


@dataclass(slots=True)
class Hub:
    """All networks of the machines; it runs from `start` to `close`."""

    place: Path
    _ports: list[_Port] = field(default_factory=list)
    _claims: list[Claim] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _thread: threading.Thread | None = None
    _ended: tuple[int, int] | None = None

    def options(self, node: str, network: str) -> str:
        """A socket for this card; returns what goes behind `-netdev dgram,`."""
        here, card = (self.place / f"{node}-{network}.{end}" for end in ("hub", "card"))
        made = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        made.setblocking(False)
        made.bind(str(here))
        self._ports.append(_Port(network, made, card))
        return f"id={network},local.type=unix,local.path={card},remote.type=unix,remote.path={here}"

    def start(self) -> None:
        self._ended = os.pipe()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def close(self) -> None:
        if self._thread is not None and self._ended is not None:
            os.close(self._ended[1])
            self._thread.join()
            os.close(self._ended[0])
        for port in self._ports:
            port.socket.close()

    def claims(self, address: str, since_us: int = 0, until_us: int | None = None) -> list[Claim]:
        """Who said on the LAN, when, that it has the address."""
        with self._lock:
            return [
                claim
                for claim in self._claims
                if claim.address == address
                and claim.at_us >= since_us
                and (until_us is None or claim.at_us < until_us)
            ]

    def who_has(self, address: str, timeout_s: float = 2) -> set[str]:
        """MAC addresses of all that answer an ARP request of the observer, who asks until one does."""
        began_us = now_us()
        end = time.monotonic() + timeout_s
        while time.monotonic() < end:
            self._ask(address)
            time.sleep(0.25)
            answers = {claim.mac for claim in self.claims(address, began_us) if claim.is_answer}
            if answers:
                return answers
        return set()

    def wait_for_claim(self, address: str, mac: str, since_us: int, timeout_s: float) -> Claim:
        """The first one of that machine; raises LabError when there is none in time."""
        end = time.monotonic() + timeout_s
        while time.monotonic() < end:
            for claim in self.claims(address, since_us):
                if claim.mac == mac:
                    return claim
            time.sleep(0.02)
        raise LabError(f"within {timeout_s:g} s {mac} did not say that it has {address}")

    def _ask(self, address: str) -> None:
        packet = struct.pack(
            "!HHBBH6s4s6s4s",
            *(1, 0x0800, 6, 4, _REQUEST),
            _OBSERVER_MAC,
            socket.inet_aton(_OBSERVER_ADDRESS),
            bytes(6),
            socket.inet_aton(address),
        )
        frame = b"\xff" * 6 + _OBSERVER_MAC + struct.pack("!H", _ARP) + packet
        for port in self._ports:
            if port.network == "eth0":
                _send(port, frame.ljust(60, b"\0"))

    def _run(self) -> None:
        assert self._ended is not None
        poll = select.epoll()
        by_number = {port.socket.fileno(): port for port in self._ports}
        with poll:
            for number in (*by_number, self._ended[0]):
                poll.register(number, select.EPOLLIN)
            while True:
                for number, _ in poll.poll():
                    if number == self._ended[0]:
                        return
                    self._pass_on(by_number[number])

    def _pass_on(self, source: _Port) -> None:
        try:
            frame = source.socket.recv(1 << 16)
        except OSError:
            return
        source.frames += 1
        if source.network == "eth0":
            self._note(frame)
        for port in self._ports:
            if port is not source and port.network == source.network:
                _send(port, frame)

    def _note(self, frame: bytes) -> None:
        """Remember what an ARP packet says of its sender (RFC 826; a probe of RFC 5227 says nothing)."""
        if len(frame) < 42 or struct.unpack_from("!H", frame, 12)[0] != _ARP:
            return
        (operation,) = struct.unpack_from("!H", frame, 20)
        mac, address = frame[22:28].hex(":"), socket.inet_ntoa(frame[28:32])
        asks_for_another = operation == _REQUEST and frame[28:32] != frame[38:42]
        if address != "0.0.0.0" and not asks_for_another:
            to_somebody = operation == _REPLY and frame[:6] != b"\xff" * 6
            with self._lock:
                self._claims.append(Claim(now_us(), address, mac, to_somebody))


def _send(port: _Port, frame: bytes) -> None:
    try:
        port.socket.sendto(frame, str(port.card))
    except OSError:
        pass  # The machine is off, or slower than the wire: the frame is lost, as on a real one.
