"""Links as the core sees them: opened, failed, tried again; and the form of messages on serial lines."""

from __future__ import annotations

from dataclasses import replace

import pytest

from hbd.config.model import (
    AddressResource,
    Bcast,
    Config,
    GroupSpec,
    Key,
    Keys,
    Mcast,
    MediumSpec,
    Serial,
    Timing,
    Ucast,
    Ucast6,
)
from hbd.core import message as f
from hbd.core import protocol
from hbd.core.auth import token
from hbd.core.cluster import Cluster, Identity
from hbd.core.effects import Effect, Level, Log, OpenLink, StartJob, StartResource, Transmit
from hbd.core.events import (
    Asked,
    Condition,
    DatagramReceived,
    Event,
    Instant,
    JobDone,
    LinkFailed,
    LinkOpened,
    Outcome,
    Reload,
    RequestId,
    Result,
    Started,
    Tick,
)
from hbd.core.message import Message
from hbd.core.views import ClusterState
from hbd.core.wire import Framing, decode, encode

ETH1, TTY = Bcast("eth1", 694), Serial("/dev/ttyS0", 19200)
KEYS = Keys(1, (Key(1, "sha1", b"secretkey"),))
TIMING = Timing(keepalive_ms=500, warntime_ms=1500, deadtime_ms=3000, initdead_ms=6000, deadping_ms=3000)
ADDRESS = AddressResource("10.0.0.9", "10.0.0.9")
GROUP = GroupSpec("10.0.0.9", "alpha", (ADDRESS,))
CONFIG = Config("alpha", ("alpha", "beta"), (ETH1, TTY), KEYS, (GROUP,), TIMING)
DONE = Outcome(Result.OK, condition=Condition.STOPPED)


class Node:
    """One core on hand-given time. Jobs succeed at once; everything else waits for the test."""

    def __init__(self, *media: MediumSpec, config: Config = CONFIG) -> None:
        self.config = replace(config, media=media) if media else config
        self.core = Cluster(self.config, Identity("alpha", b"a" * 16, 0x6B029D18), 1)
        self.now_ms = 0
        self.log: list[Log] = []

    def step(self, event: Event) -> list[Effect]:
        effects = self.core.step(Instant(self.now_ms, 0x6B029D18 + self.now_ms // 1000), event)
        self.log += [effect for effect in effects if isinstance(effect, Log)]
        for job in [effect.job for effect in effects if isinstance(effect, StartJob)]:
            effects += self.step(JobDone(job, DONE))
        return effects

    def run_until(self, at_ms: int, fails: bool = False) -> list[Effect]:
        """Ticks when they are wanted; with `fails`, every attempt to open a medium fails."""
        effects: list[Effect] = []
        while (due_ms := self.core.deadline_ms) is not None and due_ms <= at_ms:
            self.now_ms = max(due_ms, self.now_ms)
            new = self.step(Tick())
            if fails:
                for spec in [effect.medium for effect in new if isinstance(effect, OpenLink)]:
                    new += self.step(LinkFailed(spec, "it is not there"))
            effects += new
        self.now_ms = at_ms
        return effects

    def texts(self) -> list[str]:
        return [line.text for line in self.log]


def transmitted(effects: list[Effect]) -> list[Transmit]:
    return [effect for effect in effects if isinstance(effect, Transmit)]


def starts(effects: list[Effect]) -> bool:
    jobs = [effect.action for effect in effects if isinstance(effect, StartJob)]
    return any(isinstance(action, StartResource) for action in jobs)


# ---------------------------------------------------------------- serial lines


def test_with_a_serial_line_every_message_has_its_classic_form_too() -> None:
    node = Node()
    effects = node.step(Started()) + node.step(LinkOpened(TTY)) + node.run_until(8000)
    sent = transmitted(effects)
    assert len(sent) > 10
    for each in sent:
        datagram, line = decode(each.payload, KEYS), decode(each.line, KEYS)
        assert (datagram.framing, line.framing) == (Framing.NETSTRING, Framing.CLASSIC)
        assert line.message == datagram.message
        assert each.line.endswith(b"\n<<<\n"), "no NUL follows on a line"
        head, _, rest = each.line.partition(b"auth=")
        assert rest == token(KEYS.signer, head.removeprefix(b">>>\n")) + b"\n<<<\n"
    kinds = {(decode(each.line, KEYS).message.text(f.T), each.heartbeat) for each in sent}
    assert (protocol.STATUS, True) in kinds
    assert (protocol.STATUS, False) not in kinds
    assert not any(newest for kind, newest in kinds if kind != protocol.STATUS)


def test_without_one_only_datagrams_are_made() -> None:
    node = Node(ETH1)
    assert {each.line for each in transmitted(node.step(Started()) + node.run_until(8000))} == {b""}


def test_a_serial_line_that_a_reload_adds_is_opened_and_served() -> None:
    node = Node(ETH1)
    node.step(Started())
    node.step(LinkOpened(ETH1))
    effects = node.step(Asked(RequestId(1), Reload(CONFIG)))
    assert OpenLink(TTY) in effects
    assert all(each.line for each in transmitted(node.run_until(2000)))


def test_a_heartbeat_that_is_sent_again_is_not_the_newest() -> None:
    node = Node()
    node.step(Started())
    node.step(LinkOpened(TTY))
    node.run_until(2000)
    for number, fields in enumerate(
        (
            (*protocol.status("up", 3000, "1 1 0:0 0 d 1a"), (f.SEQ, "1")),
            protocol.rexmit("alpha", 2),
        )
    ):
        common = ((f.SRC, "beta"), (f.SRCUUID, b"b" * 16), (f.HG, "1"), (f.TS, "6b029d18"), (f.TTL, "3"))
        effects = node.step(DatagramReceived(TTY, encode(Message.of(*fields, *common), KEYS)))
        if number == 1:
            [again] = [
                each for each in transmitted(effects) if decode(each.line, KEYS).message.text(f.SEQ) == "2"
            ]
            assert decode(again.line, KEYS).message.text(f.T) == protocol.STATUS
            assert not again.heartbeat


def test_a_reload_that_takes_the_signing_key_away_ends_nothing() -> None:
    node = Node()
    node.step(Started())
    node.step(LinkOpened(TTY))
    other = replace(CONFIG, keys=Keys(2, (Key(2, "md5", b"other"),)))
    node.now_ms += 3000  # A gap of our own, so that something may be said before the reload is looked at.
    node.step(Asked(RequestId(1), Reload(other)))
    sent = transmitted(node.run_until(5000))
    assert decode(sent[-1].line, other.keys).key_number == 2


# ---------------------------------------------------------------- opening, failing, none left


@pytest.mark.parametrize(
    ("medium", "text"),
    [
        (ETH1, "UDP Broadcast heartbeat started on port 694 (694) interface eth1"),
        (Ucast("eth0", "10.0.0.2", 694), "ucast: started on port 694 interface eth0 to 10.0.0.2"),
        (Ucast6("eth0", "fe80::2", 700), "ucast6: started on port 700 interface eth0 to fe80::2"),
        (
            Mcast("eth0", "225.0.0.1", 694, 1, False),
            "UDP multicast heartbeat started for group 225.0.0.1 port 694 interface eth0 (ttl=1 loop=0)",
        ),
        (
            Mcast("eth0", "ff02::1", 695, 2, True, 6),
            "UDPv6 multicast heartbeat started for group ff02::1 port 695 interface eth0 (ttl=2 loop=1)",
        ),
        (TTY, "Starting serial heartbeat on tty /dev/ttyS0 (19200 baud)"),
    ],
)
def test_an_opened_medium_is_logged_in_the_words_that_users_grep(medium: MediumSpec, text: str) -> None:
    node = Node(medium)
    assert OpenLink(medium) in node.step(Started())
    node.step(LinkOpened(medium))
    assert text in node.texts()


@pytest.mark.parametrize(
    ("medium", "directive"),
    [
        (TTY, "serial"),
        (Ucast6("eth0", "fe80::2", 694), "ucast6"),
        (Mcast("eth0", "225.0.0.1", 694, 1, False), "mcast"),
        (Mcast("eth0", "ff02::1", 694, 1, False, 6), "mcast6"),
    ],
)
def test_a_link_is_shown_with_the_directive_it_comes_from(medium: MediumSpec, directive: str) -> None:
    [link] = Node(medium).core.view().links
    assert (link.name, link.medium) == (medium.link, directive)


def test_a_bad_medium_is_tried_again_each_second_and_said_once() -> None:
    node = Node()
    node.step(Started())
    node.step(LinkOpened(ETH1))
    node.step(LinkFailed(TTY, "it is not there"))
    opened = [effect for effect in node.run_until(5500, fails=True) if effect == OpenLink(TTY)]
    assert len(opened) == 5
    assert node.texts().count("/dev/ttyS0: it is not there; trying again") == 1
    assert node.core.view().degraded == ("/dev/ttyS0: it is not there",)
    node.step(LinkOpened(TTY))
    assert node.core.view().degraded == ()


def test_one_working_medium_is_enough_to_start() -> None:
    node = Node()
    node.step(Started())
    node.step(LinkFailed(TTY, "it is not there"))
    node.step(LinkOpened(ETH1))
    assert starts(node.run_until(7000))


def test_without_any_medium_nobody_is_declared_dead_and_nothing_is_started() -> None:
    node = Node()
    node.step(Started())
    for medium in (ETH1, TTY):
        node.step(LinkFailed(medium, "it is not there"))
    assert not starts(node.run_until(60_000, fails=True))
    assert node.core.view().state is ClusterState.STARTING
    none_left = [line for line in node.log if line.text.startswith("No working comm channels to write to.")]
    assert [(line.level, line.text) for line in none_left] == [
        (Level.CRIT, "No working comm channels to write to. Nothing is started before there is one.")
    ]


def test_initdead_counts_from_the_first_medium_that_works() -> None:
    node = Node()
    node.step(Started())
    for medium in (ETH1, TTY):
        node.step(LinkFailed(medium, "it is not there"))
    node.run_until(60_000, fails=True)
    node.step(LinkOpened(ETH1))
    assert not starts(node.run_until(65_900, fails=True))
    assert "node beta: is dead" not in node.texts()
    assert starts(node.run_until(66_200, fails=True))


def test_losing_every_medium_later_is_said_and_is_a_cut_like_any_other() -> None:
    node = Node(ETH1)
    node.step(Started())
    node.step(LinkOpened(ETH1))
    assert starts(node.run_until(7000))
    node.step(LinkFailed(ETH1, "it is gone"))
    assert node.log[-1].text == "No working comm channels to write to."
    node.run_until(20_000, fails=True)
    assert node.core.view().groups[0].owner == "alpha"
