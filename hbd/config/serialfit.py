"""Whether heartbeats fit the serial lines that are to carry them.

A line at 19200 baud carries 1920 bytes a second: a start bit, eight, and a stop bit to the byte. A heartbeat
has the whole state of the groups in it, and travels as text. Only the newest waits for the line, so nothing
piles up where it is too slow; but what the other side then hears is late, and full of holes.

In a ring a line carries the heartbeats of others too. With one cut, the last line before it carries those of
all nodes but the one that it leads to.
"""

from __future__ import annotations

from collections.abc import Sequence

from hbd.config.findings import Findings
from hbd.config.hacf_draft import BAUD_RATES, HaCf
from hbd.config.model import GroupSpec, Keys, Serial

BITS_PER_BYTE = 10
DIGEST_BYTES = {"sha1": 40, "md5": 32, "crc": 8}

_LOAD = "0.00 0.00 0.00 1/1000 1000000"
_NUMBER = "0" * 8
"""Generations, times and incarnations in hexadecimal."""
_SEQ = "0" * 6
"""Enough for months of heartbeats."""


def judge(ha_cf: HaCf, local: str, groups: Sequence[GroupSpec], keys: Keys, found: Findings) -> None:
    """An error where a heartbeat takes longer than keepalive, a warning where more than half of it."""
    size = heartbeat_bytes(ha_cf, local, groups, keys)
    passing = len(ha_cf.nodes) - 1 if len(ha_cf.serial_lines) > 1 else 1
    keepalive_ms = ha_cf.timing.keepalive_ms
    for line, word in ha_cf.serial_lines:
        takes_ms = _takes_ms(size * passing, line.baud)
        if 2 * takes_ms <= keepalive_ms:
            continue
        arithmetic = (
            f"a heartbeat of about {size} bytes takes {takes_ms} ms at {line.baud} baud "
            f"({size} x {BITS_PER_BYTE} bits / {line.baud})"
        )
        if passing > 1:
            arithmetic = (
                f"in a ring of {len(ha_cf.nodes)} nodes {passing} heartbeats of about {size} bytes take "
                f"{takes_ms} ms at {line.baud} baud ({passing} x {size} x {BITS_PER_BYTE} bits / {line.baud})"
            )
        remedy = _remedy(size * passing, line, keepalive_ms)
        if takes_ms > keepalive_ms:
            found.error(word, f"{arithmetic}, and keepalive is {keepalive_ms} ms; {remedy}")
        else:
            found.warning(
                word,
                f"{arithmetic}, more than half of keepalive, {keepalive_ms} ms: "
                f"little room for anything else; {remedy}",
            )


def heartbeat_bytes(ha_cf: HaCf, local: str, groups: Sequence[GroupSpec], keys: Keys) -> int:
    """The usual size of our heartbeat on a serial line: in classic framing, with every group in it."""
    state = "".join(f" rn,000,{group.key}" for group in groups)
    ttl = ha_cf.hopfudge + len(ha_cf.nodes) + len(ha_cf.ping_nodes)
    text = (
        ">>>\nt=status\nst=active\n"
        f"dt={ha_cf.timing.deadtime_ms:x}\nprotocol=1\n"
        f"hbd=1 {_NUMBER} {_NUMBER}:{_SEQ} {_NUMBER} {_NUMBER * 2} 1as{state}\n"
        f"src={local}\n(1)srcuuid={'A' * 24}\nseq={_SEQ}\nhg={_NUMBER}\nts={_NUMBER}\nld={_LOAD}\nttl={ttl}\n"
        f"auth={keys.signing} {'0' * DIGEST_BYTES[keys.signer.method]}\n<<<\n"
    )
    return len(text.encode("utf-8", "surrogateescape"))


def _takes_ms(size: int, baud: int) -> int:
    return -(-size * BITS_PER_BYTE * 1000 // baud)


def _remedy(size: int, line: Serial, keepalive_ms: int) -> str:
    """What would do: the next keepalive in whole tenths of a second, or a faster line."""
    tenths = -(-2 * _takes_ms(size, line.baud) // 100)
    keepalive = f"make keepalive {tenths * 100}ms or more"
    faster = [baud for baud in map(int, BAUD_RATES) if 2 * _takes_ms(size, baud) <= keepalive_ms]
    return f"{keepalive}, or baud {faster[0]}" if faster else keepalive
