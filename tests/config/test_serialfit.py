"""Whether heartbeats fit a serial line, held against the heartbeats that the core sends."""

from __future__ import annotations

from random import Random

import pytest

from hbd.config import serialfit
from hbd.config.model import Bcast, Config, Key, Keys, Serial
from hbd.core.channel import Channel
from hbd.core.cluster import Cluster, Identity
from hbd.core.effects import StartJob, Transmit
from hbd.core.events import Condition, Event, Instant, JobDone, LinkOpened, Outcome, Result, Started, Tick
from hbd.core.views import GroupState
from tests.config.conftest import HA_CF, HARESOURCES, Machine
from tests.config.parsing import groups, ha_cf

DONE = Outcome(Result.OK, condition=Condition.STOPPED)
"""Nothing runs at first, and every start succeeds."""
LINE = "serial /dev/ttyS0\n"
PLACE = f"ha.cf:{HA_CF.count(chr(10)) + 2}:8"


def findings(machine: Machine, lines: str, haresources: str = HARESOURCES) -> list[str]:
    machine.configure(f"{HA_CF}{lines}", haresources)
    return machine.check()


@pytest.mark.parametrize("method", ["sha1", "md5", "crc"])
@pytest.mark.parametrize("count", [0, 1, 12])
def test_the_size_that_is_reckoned_with_is_that_of_the_cores_heartbeats(method: str, count: int) -> None:
    """Never less, and not more than some unused digits: eight for each group, and thirty for the rest."""
    found_groups, _ = groups("".join(f"linuxha1 10.0.{number}.1\n" for number in range(count)))
    keys = Keys(1, (Key(1, method, b"" if method == "crc" else b"secret"),))
    read, _ = ha_cf(f"node linuxha1 linuxha2\nauto_failback on\n{LINE}")
    media = (Serial("/dev/ttyS0", 19200),)
    config = Config("linuxha1", ("linuxha1", "linuxha2"), media, keys, found_groups)
    core = Cluster(config, Identity("linuxha1", b"u" * 16, 0x6B029D18, 0x12345678), 1)
    sizes: list[int] = []
    events: list[Event] = [Started(), LinkOpened(media[0])]
    for second in range(60):
        for event in events:
            effects = core.step(Instant(second * 1000, 0x6B029D18 + second), event)
            sizes += [len(each.line) for each in effects if isinstance(each, Transmit) and each.heartbeat]
            events += [JobDone(each.job, DONE) for each in effects if isinstance(each, StartJob)]
        events = [Tick("0.57 0.71 0.49 1/125 345")]
    assert {group.state for group in core.view().groups} <= {GroupState.STARTED}
    reckoned = serialfit.heartbeat_bytes(read, "linuxha1", found_groups, keys)
    assert max(sizes) <= reckoned <= max(sizes) + 60 + 8 * count


def test_what_fits_has_no_finding(machine: Machine) -> None:
    assert findings(machine, "baud 19200\n" + LINE) == []


def test_a_heartbeat_that_takes_longer_than_keepalive_is_an_error_with_numbers(machine: Machine) -> None:
    [finding] = findings(machine, "keepalive 100ms\n" + LINE)
    size = int(finding.split("of about ")[1].split(" ")[0])
    takes_ms = -(-size * 10_000 // 19200)
    assert finding == (
        f"{PLACE}: error: a heartbeat of about {size} bytes takes {takes_ms} ms at 19200 baud "
        f"({size} x 10 bits / 19200), and keepalive is 100 ms; make keepalive 400ms or more, or baud 115200"
    )
    assert findings(machine, "keepalive 400ms\n" + LINE) == []
    assert findings(machine, "baud 115200\nkeepalive 100ms\n" + LINE) == []


def test_a_heartbeat_that_takes_most_of_keepalive_is_a_warning(machine: Machine) -> None:
    [finding] = findings(machine, "keepalive 250ms\n" + LINE)
    assert finding.startswith(f"{PLACE}: warning: a heartbeat of about ")
    assert "more than half of keepalive, 250 ms" in finding
    assert "make keepalive 400ms or more, or baud 38400" in finding


def test_in_a_ring_the_heartbeats_of_others_pass_too(machine: Machine) -> None:
    ring = "serial /dev/ttyS0 /dev/ttyS1\nnode linuxha3\n"
    assert findings(machine, "keepalive 1\n" + ring, "# nothing\n") == []
    errors = findings(machine, "keepalive 250ms\n" + ring, "# nothing\n")
    assert len(errors) == 2
    for error in errors:
        assert "error: in a ring of 3 nodes 2 heartbeats of about " in error
        size = int(error.split("of about ")[1].split(" ")[0])
        assert f" take {-(-2 * size * 10_000 // 19200)} ms at 19200 baud (2 x {size} x 10 bits" in error
    assert findings(machine, "keepalive 250ms\nbaud 115200\n" + ring, "# nothing\n") == []


def test_where_no_baud_rate_would_do_only_keepalive_is_named(machine: Machine) -> None:
    [finding] = findings(machine, "keepalive 1ms\n" + LINE)
    assert finding.endswith("make keepalive 400ms or more")


def test_many_groups_make_a_heartbeat_too_long_for_its_line(machine: Machine) -> None:
    many = "".join(f"linuxha1 10.0.{number}.1\n" for number in range(60))
    assert findings(machine, "keepalive 500ms\n" + LINE, many)[0].startswith(f"{PLACE}: error: a heartbeat")


def test_beside_another_error_nothing_is_reckoned(machine: Machine) -> None:
    found = findings(machine, "keepalive 1s\n" + LINE)
    assert [finding.split(": ")[1] for finding in found] == ["error"]


def test_without_a_serial_line_nothing_is_sent_in_classic_framing() -> None:
    config = Config("alpha", ("alpha", "beta"), (Bcast("eth0", 694),), Keys(1, (Key(1, "crc", b""),)))
    effects = Cluster(config, Identity("alpha", b"u" * 16, 10), 1).step(Instant(0, 1), Started())
    assert {effect.line for effect in effects if isinstance(effect, Transmit)} == {b""}
    assert Channel(config, "alpha", b"u" * 16, 10, Random(1)).with_line(Transmit(b"rubbish")).line == b""
