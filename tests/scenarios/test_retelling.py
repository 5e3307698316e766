"""One node's decisions, asked for and told over the wire; and what strangers and broken peers send."""

from __future__ import annotations

import zlib
from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest

from hbd.bus import records
from hbd.bus.projection import Properties
from hbd.bus.values import variants
from hbd.core import message as f
from hbd.core import pages, protocol
from hbd.core.effects import Retold
from hbd.core.events import AskPeer, DatagramReceived, Recalled, RequestId
from hbd.core.message import Message, Value
from hbd.core.records import Record
from hbd.core.recordtext import encode as encode_record
from hbd.core.retelling import PAGE_BYTES, TRIES, TRY_MS
from hbd.core.wire import Framing, decode, encode
from hbd.ctl import merge, story
from hbd.sim.machines import Machine
from tests.scenarios.pair import ETH0, KEYS, TIMING, Pair, all_on, at_home
from tests.scenarios.puppet import Puppet

FIRST = 1_000_000
"""Numbers of these requests; an operator's are small."""
HOUR_S = 3600


def ask(pair: Pair, node: Machine, skip: int = 0, number: int = FIRST) -> RequestId:
    request = RequestId(number + skip)
    node.post(AskPeer(request, skip))
    return request


def told(pair: Pair, node: Machine, skip: int = 0) -> Retold:
    request = ask(pair, node, skip)
    pair.until(lambda: request in node.retold or request in node.answers, 10_000)
    assert request not in node.answers, node.answers[request].refused
    return node.retold.pop(request)


def refusal(pair: Pair, node: Machine) -> str:
    request = ask(pair, node)
    pair.until(lambda: request in node.answers, 10_000)
    return node.answers.pop(request).refused or ""


def everything(pair: Pair, node: Machine) -> list[Retold]:
    """Page by page, the newest first."""
    found: list[Retold] = []
    while not found or found[-1].records:
        found.append(told(pair, node, sum(len(page.records) for page in found)))
    return found


def plain(shown: Properties) -> dict[str, Any]:
    return {name: value for name, (_, value) in shown.items()}


def at_rest() -> Pair:
    pair = Pair()
    pair.started()
    pair.run(500)
    return pair


def newest(node: Machine) -> Record:
    return list(node.noted.values())[-1]


def count(pair: Pair, kind: str, since: int = 0) -> int:
    return sum(message.text(f.T) == kind for _, _, message in pair.messages[since:])


# ---------------------------------------------------------------- asked and told


def test_both_nodes_records_come_in_the_order_in_which_it_happened_with_clocks_an_hour_apart() -> None:
    pair = Pair()
    pair.alpha._wall_offset_s, pair.beta._wall_offset_s = HOUR_S, -HOUR_S
    pair.started()
    for node in (pair.beta, pair.alpha, pair.beta):
        pair.standby(node)
        pair.until(lambda node=node: node.name not in pair.owners().values(), 5000)  # type: ignore[misc]
        pair.run(3000)
        pair.takeover(node)
        pair.until(lambda node=node: set(pair.owners().values()) == {node.name}, 5000)  # type: ignore[misc]
        pair.run(3000)
    found = everything(pair, pair.alpha)
    theirs = [plain(shown) for page in reversed(found) for shown in records.retold(page)]
    assert [(r["Life"], r["Number"]) for r in theirs] == list(pair.beta.noted)
    assert all(r["LocalMs"] == pytest.approx(r["AtMs"], abs=5) for r in theirs)
    # Their clock since boot is another one too.
    theirs = [record | {"AtMs": record["AtMs"] + 77_000_000} for record in theirs]
    ours = [plain(records.record(replace(r, boot="alpha"))) for r in pair.alpha.noted.values()]
    shown = merge.merged(story.stories(ours), story.stories(theirs))
    assert len({head["Node"] for head, *_ in shown}) == 2
    really = [head["AtMs"] - (77_000_000 if head["Node"] == "beta" else 0) for head, *_ in shown]
    apart = [before - after for before, after in pairwise(really)]
    assert max(apart) <= 5, "nothing that happened more than that later comes first"
    asked = [head["Node"] for head, *_ in shown if head["Decision"] == "takeover"]
    assert asked == ["beta", "alpha", "beta"]
    walls = [head["WallTime"] for head, *_ in shown]
    assert walls != sorted(walls), "by the clocks of the two the order would be another"
    dated = [head["WallTime"] for head, *_ in merge.by_our_clock(shown, ours[-1])]
    assert all(after >= before - 1 for before, after in pairwise(dated))


def test_what_is_lost_is_asked_for_again() -> None:
    pair, lost = at_rest(), []

    def one_of_each(sender: str, message: Message) -> bool:
        kind = message.text(f.T)
        first = kind in (protocol.HBD_ASK, protocol.HBD_TELL) and kind not in lost
        if first:
            lost.append(kind)
        return first

    pair.lost = one_of_each
    since = len(pair.messages)
    assert told(pair, pair.alpha).records[-1] == replace(newest(pair.beta), boot="beta")
    assert lost == [protocol.HBD_ASK, protocol.HBD_TELL]
    assert count(pair, protocol.HBD_ASK, since) == TRIES
    assert not any(m.text(f.T) == protocol.REXMIT for _, _, m in pair.messages[since:])


def test_a_node_that_does_not_answer_is_asked_a_few_times_and_that_is_said() -> None:
    pair = at_rest()
    pair.lost = lambda _, message: message.text(f.T) == protocol.HBD_ASK
    since, began_ms = len(pair.messages), pair.now_ms
    assert "too old" in refusal(pair, pair.alpha)
    assert count(pair, protocol.HBD_ASK, since) == TRIES
    assert pair.now_ms - began_ms <= TRIES * TRY_MS + TIMING.keepalive_ms
    pair.lost = lambda _, message: False
    assert told(pair, pair.alpha).records


def test_a_dead_node_and_one_that_dies_meanwhile_are_not_waited_for() -> None:
    pair = at_rest()
    pair.beta.power_off()
    request = ask(pair, pair.alpha)
    pair.until(lambda: pair.owners() == all_on("alpha"), 4000)
    pair.until(lambda: request in pair.alpha.answers, 2000)
    assert "beta" in (pair.alpha.answers[request].refused or "")
    pair.run(2000)
    since = len(pair.messages)
    assert refusal(pair, pair.alpha) == "beta is dead"
    assert count(pair, protocol.HBD_ASK, since) == 0


def test_a_node_that_runs_heartbeat_306_is_not_asked() -> None:
    pair = Pair()
    pair.alpha.start_daemon()
    beta = Puppet(pair, "beta")
    beta.joins()
    assert "heartbeat 3.0.6" in refusal(pair, pair.alpha)
    assert not [m for _, m in beta.heard if (m.text(f.T) or "").startswith("NS_hbd")]


def test_more_than_a_few_questions_are_refused_and_the_others_answered_one_after_the_other() -> None:
    pair = at_rest()
    requests = [ask(pair, pair.alpha, number=FIRST + n) for n in range(20)]
    refused = [r for r in requests if r in pair.alpha.answers]
    assert len(refused) == 12
    pair.until(lambda: len(pair.alpha.retold) == 8, 5000)
    assert {*pair.alpha.retold} == {*requests} - {*refused}


def test_a_message_of_the_longest_records_is_below_the_size_of_a_frame() -> None:
    pair = at_rest()
    texts = [f"{n * 7919 % 1000:03}" * 600 for n in range(30)]
    for number, text in enumerate(texts):
        longest = replace(newest(pair.beta), number=1000 + number, cause=text, action=text[::-1])
        pair.beta.noted[longest.name] = longest
    since = len(pair.messages)
    assert told(pair, pair.alpha).records[-1].number == 1029
    told_message = next(m for _, _, m in pair.messages[since:] if m.text(f.T) == protocol.HBD_TELL)
    assert len(told_message.raw(protocol.PAGE) or b"") <= PAGE_BYTES
    assert len(encode(told_message, KEYS)) <= 1472
    line = encode(told_message, KEYS, framing=Framing.CLASSIC)
    assert decode(line, KEYS).message.raw(protocol.PAGE) == told_message.raw(protocol.PAGE)


# ---------------------------------------------------------------- strangers and broken peers


def from_beta(*pairs: tuple[str, Value]) -> bytes:
    return encode(
        Message.of(*pairs, (f.SRC, "beta"), (f.HG, "1"), (f.TS, "6b029d40"), (f.TTL, "3")), KEYS
    )


def post(pair: Pair, payload: bytes) -> None:
    pair.alpha.post(DatagramReceived(ETH0, payload))


def test_a_flood_of_questions_costs_a_few_answers_and_delays_no_heartbeat() -> None:
    pair = at_rest()
    since = len(pair.messages)
    began_ms = pair.now_ms
    for number in range(2000):
        payload = from_beta(*protocol.hbd_ask("alpha", f"{number:x}.1", number))
        pair.at(number, lambda payload=payload: post(pair, payload))  # type: ignore[misc]
    pair.run(2000)
    keepalives = 2000 // TIMING.keepalive_ms
    assert 0 < count(pair, protocol.HBD_TELL, since) <= 20 * keepalives
    beats = [ms for ms, _ in pair.statuses("alpha", began_ms)]
    assert max(after - before for before, after in pairwise(beats)) <= TIMING.keepalive_ms
    assert pair.owners() == at_home(pair.groups)


def test_a_node_that_does_not_know_its_boot_answers_all_the_same() -> None:
    pair = at_rest()
    since = len(pair.messages)
    pair.alpha.post(Recalled("beta", "7.1", (), ""))
    pair.run(100)
    assert count(pair, protocol.HBD_TELL, since) == 1


def test_the_latest_times_that_are_believed_fit_the_bus_when_the_clocks_difference_is_added() -> None:
    pair = at_rest()
    most = (1 << 53) - 1
    latest = encode_record(replace(newest(pair.beta), at_ms=most, wall_s=most, boot="b"))
    found = pages.unpack(zlib.compress(latest), "beta")
    for behind_ms in (most, -most):
        (shown,) = records.retold(Retold(RequestId(1), found, "b", behind_ms))
        assert variants(shown)["LocalMs"].value == most + behind_ms
    too_late = encode_record(replace(newest(pair.beta), at_ms=most + 1))
    assert pages.unpack(zlib.compress(too_late), "beta") == ()


def test_a_question_that_was_recorded_and_comes_again_is_answered_no_faster() -> None:
    pair = at_rest()
    since = len(pair.messages)
    payload = from_beta(*protocol.hbd_ask("alpha", "7.1", 0))
    for _ in range(1000):
        post(pair, payload)
    pair.run(100)
    assert count(pair, protocol.HBD_TELL, since) == 1


TOKEN = (protocol.TOKEN, "7.1")
QUESTION = ((f.T, protocol.HBD_ASK), (f.DEST, "alpha"))
BAD_QUESTIONS: dict[str, tuple[tuple[str, Value], ...]] = {
    "no token": (*QUESTION, (protocol.SKIP, "0")),
    "no skip": (*QUESTION, TOKEN),
    "a skip that is no number": (*QUESTION, TOKEN, (protocol.SKIP, "many")),
    "a skip beyond all": (*QUESTION, TOKEN, (protocol.SKIP, "f" * 20)),
    "a token that is none": (*QUESTION, (protocol.TOKEN, "../../x"), (protocol.SKIP, "0")),
    "a token without end": (*QUESTION, (protocol.TOKEN, "7" * 5000), (protocol.SKIP, "0")),
}


@pytest.mark.parametrize("what", BAD_QUESTIONS)
def test_a_question_that_cannot_be_read_is_dropped_and_counted(what: str) -> None:
    pair = at_rest()
    core, since = pair.alpha.core, len(pair.messages)
    assert core is not None
    post(pair, from_beta(*BAD_QUESTIONS[what]))
    pair.run(100)
    assert core._membership.channel.drops["history"] == 1
    assert count(pair, protocol.HBD_TELL, since) == 0


def answer(token: str, *more: tuple[str, Value]) -> tuple[tuple[str, Value], ...]:
    return ((f.T, protocol.HBD_TELL), (f.DEST, "alpha"), (protocol.TOKEN, token), *more)


EMPTY = (protocol.PAGE, zlib.compress(b""))
NOW_BOOT = ((protocol.NOW, "1"), (protocol.BOOT, "b"))
BAD_ANSWERS: dict[str, tuple[tuple[str, Value], ...]] = {
    "no page": NOW_BOOT,
    "no clock": ((protocol.BOOT, "b"), EMPTY),
    "a clock beyond all": ((protocol.NOW, "f" * 17), (protocol.BOOT, "b"), EMPTY),
    "a clock that no sum may hold": ((protocol.NOW, "20000000000000"), (protocol.BOOT, "b"), EMPTY),
    "noise": (*NOW_BOOT, (protocol.PAGE, bytes(range(256)))),
    "more than there may be": (*NOW_BOOT, (protocol.PAGE, zlib.compress(bytes(10_000_000)))),
    "too many lines": (*NOW_BOOT, (protocol.PAGE, zlib.compress(b"{}\n" * 1000))),
    "something behind it": (*NOW_BOOT, (protocol.PAGE, zlib.compress(b"") + b"more")),
}


@pytest.mark.parametrize("what", BAD_ANSWERS)
def test_an_answer_that_cannot_be_read_is_dropped_and_counted_and_the_question_stays_open(what: str) -> None:
    pair = at_rest()
    core = pair.alpha.core
    assert core is not None
    pair.lost = lambda _, message: message.text(f.T) == protocol.HBD_TELL
    request = ask(pair, pair.alpha)
    pair.run(100)
    question = next(m for _, _, m in reversed(pair.messages) if m.text(f.T) == protocol.HBD_ASK)
    token = question.text(protocol.TOKEN) or ""
    post(pair, from_beta(*answer(token, *BAD_ANSWERS[what])))
    assert core._membership.channel.drops["history"] == 1
    assert request not in pair.alpha.retold
    pair.lost = lambda _, message: False
    pair.until(lambda: request in pair.alpha.retold, 3000)
    assert pair.alpha.retold[request].records


def test_an_answer_to_no_question_is_dropped_and_counted() -> None:
    pair = at_rest()
    core = pair.alpha.core
    assert core is not None
    page = pages.pack(tuple(pair.beta.noted.values()), PAGE_BYTES)
    post(pair, from_beta(*answer("7.1", *NOW_BOOT, (protocol.PAGE, page))))
    ask(pair, pair.alpha)
    post(pair, from_beta(*answer("7.1", *NOW_BOOT, (protocol.PAGE, page))))
    assert core._retelling.dropped == 2
    assert pair.alpha.retold == {}
