"""What strangers send to port 694 is counted, dropped and logged now and then, and changes nothing.

Every datagram here is a real one, sent from a host of the LAN or over the private link to the daemons of a
pair at work. Those signed with the right key are made with the cluster's own codec.
"""

import base64
import json
import random
import select
import subprocess
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from hbd.config.model import Key, Keys
from hbd.core import auth, wire
from hbd.core.message import Message
from tests.lab import Lab
from tests.lab.cluster import BUS_NAME, ONE, TWO, log, owner, running_pair, said, serves, status
from tests.lab.host import CLEAN_ENV, wait_until
from tests.lab.journal import now_us
from tests.lab.node import Node
from tests.lab.service import statistics

SECRET = b"key-for-sha1-any-text-you-want"
RIGHT = Keys(1, (Key(1, "sha1", SECRET),))
WRONG = Keys(1, (Key(1, "sha1", b"some other secret"),))
UNKNOWN_NUMBER = Keys(7, (Key(7, "sha1", SECRET),))

LARGEST = 65507
COPIES = 20
LOG_WINDOW_S = 10
"""One line for each reason in this time."""


def status_of(src: str, st: str = "active", **more: str) -> Message:
    """A heartbeat as 3.0.6 sends it, of a generation far ahead of the real one."""
    fields: list[tuple[str, str | bytes]] = [
        ("t", "status"), ("st", st), ("dt", "bb8"), ("protocol", "1"), ("src", src),
        ("srcuuid", b"0123456789abcdef"), ("seq", "1"), ("hg", "7fffff00"), ("ts", "6b029d17"),
        ("ld", "0.57 0.71 0.49 1/125 345"), ("ttl", "3"), *more.items(),
    ]  # fmt: skip
    return Message.of(*fields)


def goodbye_of(src: str) -> Message:
    """What makes the peer take everything over at once, if it is believed."""
    return Message.of(
        ("t", "shutdone"), ("st", "dead"), ("src", src), ("seq", "2"), ("hg", "7fffff00"),
        ("ts", "6b029d17"), ("ttl", "3"),
    )  # fmt: skip


def signed(body: bytes) -> bytes:
    """A netstring body, whatever is in it, with the cluster's own signature."""
    token = auth.token(RIGHT.signer, body)
    return b"%b%d:%b," % (body, len(token), token)


def unsigned_copy(body: bytes) -> bytes:
    """The same body under a digest that is none of its own."""
    token = b"1 " + b"0" * 40
    return b"%b%d:%b," % (body, len(token), token)


def netstring(*contents: bytes) -> bytes:
    """Framed correctly, whatever the contents."""
    fields = b"".join(b"%d:%b," % (len(content), content) for content in contents)
    return b"###\n" + fields + b"%%%\n"


GENUINE = wire.encode(status_of(TWO), RIGHT)
CLASSIC = wire.encode(status_of(TWO), RIGHT, framing=wire.Framing.CLASSIC)

# What ends heartbeat 3.0.6: a field that does not begin with "(" and a digit.
W10 = [
    netstring(b"t=status", b"st=active", b"src=linuxha1"),
    netstring(b"x"),
    netstring(b"(x)t=status"),
    netstring(b"(0t=status"),
    netstring(b"(9)t=status"),
    netstring(b"(0)"),
    netstring(b"(0)t=status", b"hello"),
]
# What leaves it with half a message, or reading on past the end.
W11 = [
    b"###\n99:(0)t=status,%%%\n",
    b"###\n4294967295:(0)t=status,%%%\n",
    b"###\n-1:(0)t=status,%%%\n",
    b"###\n0:,%%%\n",
    b"###\n:(0)t=status,%%%\n",
    b"###\n11(0)t=status,%%%\n",
    b"###\n1234567890123456789012345678901234567890%%%\n",
    b"###\n11:(0)t=status;%%%\n",
    b"###\n11:(0)t=status,9:(0)st=up%%%\n",
]

# Each with the counter in which it has to show.
HOSTILE: dict[str, tuple[list[bytes], str]] = {
    "wrong signature": (
        [wire.encode(status_of(TWO), WRONG), wire.encode(goodbye_of(TWO), WRONG),
         wire.encode(goodbye_of(TWO), WRONG, framing=wire.Framing.CLASSIC)],
        "bad_signature",
    ),
    "key number that authkeys has not": ([wire.encode(status_of(TWO), UNKNOWN_NUMBER)], "unknown_key"),
    "no signature": ([wire.netstring_body(status_of(TWO))], "unsigned"),
    "unknown node, correctly signed": (
        [wire.encode(status_of("intruder"), RIGHT), wire.encode(goodbye_of("intruder"), RIGHT),
         wire.encode(status_of("intruder"), RIGHT, framing=wire.Framing.CLASSIC)],
        "unknown_node",
    ),
    "truncated": (
        [GENUINE[: len(GENUINE) // 2], GENUINE[:5], GENUINE[:3], b"", CLASSIC[: len(CLASSIC) // 2]],
        "truncated",
    ),
    "as large as a datagram can be, of nothing": ([b"\0" * LARGEST, b"A" * LARGEST], "bad_framing"),
    "as large as a datagram can be, wrongly signed": (
        [unsigned_copy(netstring(b"(0)t=" + b"s" * (LARGEST - 67)))[:LARGEST]],
        "bad_signature",
    ),
    "as large as a datagram can be, of thousands of fields": (
        [signed(b"###\n" + b"6:(0)a=b," * ((LARGEST - 60) // 9) + b"%%%\n")],
        "too_many_fields",
    ),
    "framed field without its kind, wrongly signed": ([unsigned_copy(body) for body in W10], "bad_signature"),
    "framed field without its kind, correctly signed": ([signed(body) for body in W10], "bad_field"),
    "lengths that lead astray, wrongly signed": ([unsigned_copy(body) for body in W11], "bad_signature"),
    "lengths that lead astray, correctly signed": ([signed(body) for body in W11], "bad_field"),
    "known node, fields that are no numbers": (
        [wire.encode(status_of(TWO).with_field("hg", "zz"), RIGHT),
         wire.encode(status_of(TWO).with_field("seq", "-1"), RIGHT),
         wire.encode(status_of(TWO).with_field("ts", "f" * 21), RIGHT)],
        "bad_field",
    ),
}  # fmt: skip


@pytest.fixture(scope="module")
def pair(hbd_layer: Path) -> Iterator[Lab]:
    """A pair at work. Every test leaves it as it found it: that is what they are about."""
    with running_pair(hbd_layer) as lab:
        yield lab


def drops(node: Node) -> dict[str, int]:
    """The counters of dropped datagrams, by reason."""
    prefix = "dropped_"
    return {name[len(prefix) :]: n for name, n in statistics(node).items() if name.startswith(prefix)}


def more(before: dict[str, int], after: dict[str, int]) -> dict[str, int]:
    return {name: n - before.get(name, 0) for name, n in after.items() if n != before.get(name, 0)}


def send(
    words: list[str], datagrams: Sequence[bytes], per_second: float, times: int, *addresses: str
) -> dict[str, int]:
    """Send each of them `times` to each address, from where `words` enter; how many, and when."""
    lines = "".join(base64.b64encode(datagram).decode() + "\n" for datagram in datagrams)
    done = subprocess.run(
        [*words, f"{per_second}", f"{times}", *addresses],
        input=lines, capture_output=True, text=True, env=CLEAN_ENV, timeout=60, check=True,
    )  # fmt: skip
    report: dict[str, int] = json.loads(done.stdout)
    return report


def from_client(lab: Lab) -> list[str]:
    """Sending from a host of the LAN."""
    return lab.client.python(Path(__file__).with_name("sender.py"))


def from_node(node: Node) -> list[str]:
    """Sending from a program on a machine of the cluster itself."""
    return node.entry(["python3", "/mnt/hbd/tests/lab/sender.py"])


@contextmanager
def signals(node: Node, seen: list[dict[str, Any]]) -> Iterator[None]:
    """Note every signal that hbd sends on the bus meanwhile, when it comes."""
    command = ["busctl", "--json=short", f"--match=type='signal',sender='{BUS_NAME}'", "monitor"]
    process = node.popen(command)
    output = process.stdout
    assert output is not None

    def read() -> None:
        for line in output:
            if line.startswith("{"):
                seen.append(json.loads(line))

    reader = threading.Thread(target=read)
    try:
        assert select.select([output], [], [], 30)[0], "no busctl monitor"
        assert "Monitoring" in output.readline()
        reader.start()
        yield
        time.sleep(0.3)
    finally:
        process.kill()
        if reader.is_alive():
            reader.join()
        process.communicate()


def state(node: Node) -> dict[str, Any]:
    """All that `hbctl status --json` tells."""
    shown = status(node)
    assert shown is not None
    return shown


def is_about_drops(message: str) -> bool:
    return message.startswith(("dropped a datagram: ", "process_status_message: bad node [intruder]"))


@pytest.mark.parametrize("kind", HOSTILE)
def test_a_hostile_datagram_is_counted_under_its_reason_and_dropped(pair: Lab, kind: str) -> None:
    datagrams, reason = HOSTILE[kind]
    assert all(len(datagram) <= LARGEST for datagram in datagrams)
    one = pair[ONE]
    before, shown, began_us = drops(one), [state(pair[name]) for name in pair.nodes], now_us()
    overflowed_before = overflowed(one)

    # Slowly enough for the largest ones to find room in the kernel's queue.
    per_second = 50 if len(datagrams[0]) == LARGEST else 500
    sent = send(from_client(pair), datagrams, per_second, COPIES, "192.168.85.1")["sent"]

    def missing() -> int:
        """What the kernel's queue had no room for, on a busy machine, is not counted here."""
        return sent - more(before, drops(one)).get(reason, 0) - (overflowed(one) - overflowed_before)

    wait_until(lambda: missing() <= 0, 5, f"{sent} counted", 0.1)
    assert more(before, drops(one)).keys() == {reason}
    assert more(before, drops(one))[reason] <= sent
    assert [state(pair[name]) for name in pair.nodes] == shown
    assert [entry.message for entry in log(one, began_us) if not is_about_drops(entry.message)] == []


def test_what_is_dropped_is_logged_with_its_reason(pair: Lab) -> None:
    one = pair[ONE]
    lines = [entry for entry in log(one) if is_about_drops(entry.message)]
    for reason in ("bad signature", "truncated", "bad framing", "bad field", "too many fields", "unsigned"):
        assert any(f"datagram: {reason}" in entry.message for entry in lines), reason
    assert any("bad node [intruder]" in entry.message for entry in lines)
    assert all(len(entry.message) < 500 for entry in lines)
    assert {entry.fields.get("MESSAGE_ID") for entry in lines} == {"711d2d3397f44b4483970ae3bbeee122"}


def flood() -> list[bytes]:
    """Thousands of different ones: random bytes of any length, spoilt heartbeats, and all of the above."""
    draw = random.Random(694)
    datagrams = [draw.randbytes(draw.randrange(1400)) for _ in range(1500)]
    heads = (b"###\n", b">>>\n", b"###\n11:(0)t=status,", b">>>\nt=status\n")
    datagrams += [draw.choice(heads) + draw.randbytes(draw.randrange(600)) for _ in range(1000)]
    for _ in range(1500):
        spoilt = bytearray(draw.choice((GENUINE, CLASSIC)))
        # Never the last bytes: what follows the end of the classic form does not count.
        for at in draw.sample(range(len(spoilt) - 8), draw.randrange(1, 4)):
            spoilt[at] ^= draw.randrange(1, 256)
        datagrams.append(bytes(spoilt))
    for hostile, _ in HOSTILE.values():
        datagrams += [datagram for datagram in hostile for _ in range(20 if len(datagram) < 9000 else 4)]
    draw.shuffle(datagrams)
    return datagrams


def test_thousands_of_them_on_both_links_change_nothing_but_counters(pair: Lab) -> None:
    one, two = pair[ONE], pair[TWO]
    datagrams = flood()
    before = {node: drops(node) for node in (one, two)}
    shown = {node: state(node) for node in (one, two)}
    seen: list[dict[str, Any]] = []
    sent: dict[str, dict[str, int]] = {}
    began_us = now_us()

    with (
        signals(one, seen),
        signals(two, seen),
        pair.client.http_probe(limit_ms=1000) as http,
        pair.observer.arp_probe() as arp,
    ):
        lan = threading.Thread(
            target=lambda: sent.update(
                lan=send(from_client(pair), datagrams, 2500, 1, "192.168.85.1", "192.168.85.2")
            )
        )
        lan.start()
        sent["link"] = send(from_node(two), datagrams, 1500, 1, "10.0.0.1")
        lan.join()
        ended_us = now_us()
        arp.wait_for_rounds_until(ended_us)

    # Counted: what the kernel's queue had no room for is the only thing that may be missing there.
    all_sent = {one: len(datagrams) * 2, two: len(datagrams)}
    assert sent["lan"]["sent"] + sent["link"]["sent"] == sum(all_sent.values())
    counted = {node: more(before[node], drops(node)) for node in (one, two)}
    for node in (one, two):
        total = sum(counted[node].values())
        assert total <= all_sent[node]
        assert total + overflowed(node) >= all_sent[node], counted[node]
        # Logged at a bounded rate: now and then a line for each reason, and no other line.
        lines = log(node, began_us)
        assert [entry.message for entry in lines if not is_about_drops(entry.message)] == []
        windows = 2 + (ended_us - began_us) // (LOG_WINDOW_S * 1_000_000)
        assert len(lines) <= windows * len(counted[node])
        # Nothing else changes.
        assert state(node) == shown[node]
    assert seen == []
    assert owner(one) == owner(two) == ONE
    assert serves(one)
    for node in (one, two):
        for text in ("is dead", "Late heartbeat", " dead.", "restart on node", "lost packet"):
            assert said(node, text) == [], text
    assert {answer.node for answer in http.answers()} == {ONE}
    assert {holder for each in arp.rounds(began_us) for holder in each.holders} == {ONE}


def test_the_watch_for_signals_would_have_seen_a_change(pair: Lab) -> None:
    seen: list[dict[str, Any]] = []
    with signals(pair[TWO], seen):
        at_us = now_us()
        pair.network.cut(ONE, "eth1", silent=True)
        pair[TWO].wait_for_journal(f"Link {ONE}:eth1 dead", since_us=at_us)
        pair.network.restore(ONE, "eth1")
        wait_until(lambda: changes(seen).count("eth1") == 2, 10, "the link's end and its return on the bus")
    assert changes(seen).count("eth1") == 2


def changes(seen: list[dict[str, Any]]) -> list[str]:
    """The last words of the paths of objects of which properties have changed."""
    return [signal["path"].rpartition("/")[2] for signal in seen if signal["member"] == "PropertiesChanged"]


def overflowed(node: Node) -> int:
    """Datagrams for which the kernel found no room in a queue, since the machine was booted."""
    names, values = [line.split() for line in node.read("/proc/net/snmp").splitlines() if "Udp:" in line][:2]
    return int(dict(zip(names, values, strict=True))["RcvbufErrors"])
