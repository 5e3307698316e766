"""Runs in a helper host's namespace and writes down, as lines of JSON, who answers.

    prober.py http ADDRESS INTERVAL_MS LIMIT_MS
    prober.py arp ADDRESS INTERFACE INTERVAL_MS

A program of its own, with the standard library only, so that what the test
does meanwhile does not delay it. Times are monotonic microseconds.
"""

import asyncio
import json
import select
import socket
import struct
import sys
import time

_ARP = 0x0806
_REQUEST, _REPLY = 1, 2
# A reply that took longer than this is not waited for: the round is written down without it.
_ARP_PATIENCE_US = 300_000


def now_us() -> int:
    return time.monotonic_ns() // 1000


def write(record: object) -> None:
    print(json.dumps(record), flush=True)


async def ask(address: str, limit_s: float, sent_us: int) -> None:
    """One request on a connection of its own; what came of it becomes one line."""
    node, error = None, None
    try:
        async with asyncio.timeout(limit_s):
            reader, writer = await asyncio.open_connection(address, 80)
            try:
                writer.write(f"GET / HTTP/1.0\r\nHost: {address}\r\n\r\n".encode())
                answer = (await reader.read()).decode()
            finally:
                writer.close()
        head, _, body = answer.partition("\r\n\r\n")
        if " 200 " in head.partition("\n")[0]:
            node = body.strip()
        else:
            error = head.partition("\r\n")[0] or "empty answer"
    except TimeoutError:
        error = "timeout"
    except OSError as reason:
        error = reason.strerror or str(reason)
    write({"sent_us": sent_us, "ended_us": now_us(), "node": node, "error": error})


async def ask_on(address: str, interval_s: float, limit_s: float) -> None:
    """Begin an attempt each interval, whatever became of those before.

    One attempt after the other would not do: a connect that lost its first
    packet waits 1 s, and the outage would look that much longer.
    """
    attempts: set[asyncio.Task[None]] = set()
    due = time.monotonic()
    while True:
        task = asyncio.create_task(ask(address, limit_s, now_us()))
        attempts.add(task)
        task.add_done_callback(attempts.discard)
        due += interval_s
        await asyncio.sleep(max(0.0, due - time.monotonic()))


def arp_request(number: int, source: bytes, address: bytes) -> bytes:
    """Who-has, as a probe (RFC 5227: sender address 0), so that nobody's ARP cache changes.

    The sender's hardware address in the ARP part carries the round's number.
    Replies are addressed to it: so each is known to belong to its round.
    """
    asker = b"\x02\x85" + struct.pack("!I", number)
    ethernet = b"\xff" * 6 + source + struct.pack("!H", _ARP)
    return ethernet + struct.pack(
        "!HHBBH6s4s6s4s", 1, 0x0800, 6, 4, _REQUEST, asker, b"\0" * 4, b"\0" * 6, address
    )


def arp_on(address: str, interface: str, interval_s: float) -> None:
    """Ask each interval; each round's answers become one line."""
    wanted = socket.inet_aton(address)
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(_ARP)) as wire:
        wire.bind((interface, _ARP))
        source = wire.getsockname()[4]
        # The replies go to the rounds' hardware addresses, not to ours.
        promiscuous = struct.pack("iHH8s", socket.if_nametoindex(interface), 1, 0, b"")
        wire.setsockopt(263, 1, promiscuous)  # SOL_PACKET, PACKET_ADD_MEMBERSHIP
        wire.setblocking(False)
        rounds: dict[int, tuple[int, list[str]]] = {}
        number = 0
        due = time.monotonic()
        while True:
            number += 1
            rounds[number] = (now_us(), [])
            wire.send(arp_request(number, source, wanted))
            due += interval_s
            # Whatever has come is read, late as it may be: else a busy computer would look like a silent one.
            while select.select([wire], [], [], max(0.0, due - time.monotonic()))[0]:
                note_reply(wire.recv(256), wanted, rounds)
            for old in [key for key, (sent_us, _) in rounds.items() if sent_us < now_us() - _ARP_PATIENCE_US]:
                sent_us, macs = rounds.pop(old)
                write({"sent_us": sent_us, "macs": macs})


def note_reply(frame: bytes, wanted: bytes, rounds: dict[int, tuple[int, list[str]]]) -> None:
    if len(frame) < 42:
        return
    operation, holder, address, asker = struct.unpack("!6xH6s4s6s", frame[14:38])
    number = struct.unpack("!I", asker[2:])[0]
    if operation == _REPLY and address == wanted and asker[:2] == b"\x02\x85" and number in rounds:
        mac = holder.hex(":")
        if mac not in rounds[number][1]:
            rounds[number][1].append(mac)


def main() -> None:
    match sys.argv[1:]:
        case ["http", address, interval_ms, limit_ms]:
            asyncio.run(ask_on(address, float(interval_ms) / 1000, float(limit_ms) / 1000))
        case ["arp", address, interface, interval_ms]:
            arp_on(address, interface, float(interval_ms) / 1000)
        case _:
            sys.exit(__doc__)


if __name__ == "__main__":
    main()
