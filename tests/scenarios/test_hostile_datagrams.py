"""What strangers and broken peers send: counted, dropped, and nothing else changes."""

from __future__ import annotations

import pytest

from hbd.config.model import Key, Keys
from hbd.core import message as f
from hbd.core import protocol
from hbd.core.events import DatagramReceived, Stop
from hbd.core.message import Message
from hbd.core.wire import encode
from hbd.sim.machines import Machine
from tests.scenarios.pair import ETH0, KEYS, Pair, at_home

UUID = b"b" * 16


def status(**changes: str) -> Message:
    fields = {
        f.T: "status", f.ST: "active", f.DT: "7d0", f.PROTOCOL: "1", f.SRC: "beta", f.SEQ: "ffff",
        f.HG: "ffffff", f.TS: "6b029d40", f.TTL: "3",
    } | changes  # fmt: skip
    return Message.of(*((name, value) for name, value in fields.items() if value))


def signed(message: Message, secret: bytes = b"secretkey") -> bytes:
    return encode(message, Keys(1, (Key(1, "sha1", secret),)))


GOOD = signed(status())
HOSTILE = {
    "empty": b"",
    "noise": bytes(range(256)) * 4,
    "truncated": GOOD[:-10],
    "cut in the middle": GOOD[: len(GOOD) // 2],
    "one bit changed": GOOD[:40] + bytes([GOOD[40] ^ 1]) + GOOD[41:],
    "oversized": b"###\n" + b"x" * 70_000,
    "another secret": signed(status(), b"guessed"),
    "an unknown key": encode(status(), Keys(2, (Key(2, "sha1", b"secretkey"),))),
    "an unknown node": signed(status(src="gamma")),
    "no sender": signed(status(src="")),
    "no time": signed(status(ts="")),
    "time zero": signed(status(ts="0")),
    "no number": signed(status(seq="")),
    "a number that is none": signed(status(seq="xyz")),
    "a number beyond all": signed(status(seq="f" * 20)),
    "a generation of the past": signed(status(hg="1")),
    "a generation that is none": signed(status(hg="-1")),
    "our own name": signed(status(src="alpha")),
    "a goodbye of the past": signed(
        Message.of(
            (f.T, "shutdone"), (f.ST, "dead"), (f.SRC, "beta"), (f.SEQ, "7"), (f.HG, "1"), (f.TS, "6b029d40")
        )
    ),
    "a repetition request for everything": signed(
        Message.of(
            (f.T, "NS_rexmit"), (f.DEST, "gamma"), (f.FIRSTSEQ, "0"), (f.LASTSEQ, "4000000000"),
            (f.SRC, "beta"), (f.TS, "6b029d40"),
        )
    ),
}  # fmt: skip


def inject(pair: Pair, node: Machine, payload: bytes) -> None:
    node.post(DatagramReceived(ETH0, payload))


@pytest.mark.parametrize("name", list(HOSTILE))
def test_a_hostile_datagram_changes_nothing(name: str) -> None:
    pair = Pair().started()
    before_ms, view = pair.now_ms, pair.view(pair.alpha)
    inject(pair, pair.alpha, HOSTILE[name])
    after = pair.view(pair.alpha)
    assert (after.groups, after.nodes, after.links, after.state) == (
        view.groups, view.nodes, view.links, view.state
    )  # fmt: skip
    assert pair.said("alpha", before_ms) == []
    pair.run(3000)
    assert pair.jobs(pair.alpha, before_ms) == []
    assert pair.owners() == at_home(pair.groups)
    assert pair.never_logged(pair.alpha, "node beta: is dead")
    assert pair.never_logged(pair.alpha, "Heartbeat restart on node beta", before_ms)


def test_a_flood_is_logged_at_a_bounded_rate_and_counted_in_full() -> None:
    pair = Pair().started()
    before_ms = pair.now_ms
    for _ in range(1000):
        inject(pair, pair.alpha, HOSTILE["another secret"])
        pair.run(5)
    lines = [line for line in pair.log(pair.alpha, before_ms) if "signature" in line]
    assert 1 <= len(lines) <= 2
    assert dict(pair.view(pair.alpha).statistics)["dropped_bad_signature"] == 1000
    assert pair.owners() == at_home(pair.groups)


def test_a_flood_of_strangers_does_not_hide_the_peers_death() -> None:
    pair = Pair().started()
    died_ms = pair.now_ms
    pair.alpha.power_off()
    for _ in range(2500):
        inject(pair, pair.beta, HOSTILE["another secret"])
        pair.run(1)
    assert pair.logged(pair.beta, "node alpha: is dead") - died_ms <= 2100


def test_recorded_datagrams_sent_again_keep_no_dead_node_alive() -> None:
    pair = Pair().started()
    recorded = [encode(m, KEYS) for _, who, m in pair.messages if who == "alpha"]
    died_ms = pair.now_ms
    pair.alpha.power_off()
    for n in range(250):
        inject(pair, pair.beta, recorded[n % len(recorded)])
        pair.run(10)
    assert pair.logged(pair.beta, "node alpha: is dead") - died_ms <= 2100


def test_a_recorded_goodbye_of_an_earlier_life_frees_nothing() -> None:
    pair = Pair().started()
    assert pair.alpha.core is not None
    pair.ask(pair.alpha, Stop())
    pair.until(lambda: pair.alpha.quit, 4000)
    farewell = [encode(m, KEYS) for _, who, m in pair.messages if who == "alpha"][-12:]
    pair.alpha.start_daemon()
    pair.run(3000)
    again_ms = pair.now_ms
    for payload in farewell:
        inject(pair, pair.beta, payload)
    pair.run(1000)
    assert pair.jobs(pair.beta, again_ms) == []
    assert pair.logged(pair.beta, "should_drop_message: attempted replay attack [alpha]?", again_ms)
    assert protocol.SHUTDONE in [m.text(f.T) for _, who, m in pair.messages if who == "alpha"]
