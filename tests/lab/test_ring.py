"""Three machines in a ring of serial lines, and nothing else between them: one cut, two, and mended."""

import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.lab import Lab
from tests.lab.cluster import QUICK, said, settle, start, status
from tests.lab.journal import now_us
from tests.lab.nullmodem import NullModem

NAMES = ("linuxha1", "linuxha2", "linuxha3")
LEFT, RIGHT = "/dev/ttyS0", "/dev/ttyS1"
LONG_S = 2.2 * QUICK.deadtime_ms / 1000


class Ring:
    """The machines, and the cables between neighbours: `cables[0]` is that from linuxha1 to linuxha2."""

    def __init__(self, lab: Lab, cables: list[NullModem]) -> None:
        self.lab, self.cables = lab, cables

    def deaths(self, since_us: int) -> list[str]:
        return [
            f"{name}: {entry.message}"
            for name in NAMES
            for entry in said(self.lab[name], ": is dead", since_us)
        ]

    def nodes(self, name: str) -> dict[str, str]:
        """Every node and its status, as this machine shows it."""
        shown = status(self.lab[name])
        assert shown is not None
        return {node["name"]: node["status"] for node in shown["nodes"]}

    def links(self, name: str) -> dict[tuple[str, str], str]:
        shown = status(self.lab[name])
        assert shown is not None
        return {(link["node"], link["name"]): link["status"] for link in shown["links"]}


@pytest.fixture(scope="module")
def ring(hbd_layer: Path) -> Iterator[Ring]:
    with ExitStack() as stack:
        cables = [stack.enter_context(NullModem()) for _ in NAMES]
        lab = stack.enter_context(Lab(layers=[hbd_layer], nodes=NAMES))
        for position, cable in enumerate(cables):
            right_end, left_end = cable.devices
            lab[NAMES[position]].devices[RIGHT] = right_end
            lab[NAMES[(position + 1) % 3]].devices[LEFT] = left_end
        lines = [*QUICK.lines(), "baud 38400", f"serial {LEFT} {RIGHT}", "hopfudge 1", "auto_failback off"]
        lines.append(f"node {' '.join(NAMES)}")
        for name in NAMES:
            node = lab[name]
            node.write("/etc/ha.d/ha.cf", "".join(f"{line}\n" for line in lines))
            node.write("/etc/ha.d/haresources", "# membership only\n")
            node.write("/etc/ha.d/authkeys", "auth 1\n1 sha1 key-for-sha1-any-text-you-want\n", mode=0o600)
        lab.boot()
        start(lab)
        settle(lab)
        yield Ring(lab, cables)


def test_all_see_all_on_both_lines(ring: Ring) -> None:
    for name in NAMES:
        for peer in NAMES:
            if peer != name:
                for line in (LEFT, RIGHT):
                    ring.lab[name].wait_for_journal(f"^Link {peer}:{line} up\\.$")
        assert ring.nodes(name) == dict.fromkeys(NAMES, "active")
        assert Counter(ring.links(name).values()) == {"up": 4}


def test_with_one_cut_nobody_is_dead_and_with_two_the_machine_between_them(ring: Ring) -> None:
    lab, (one_two, _, three_one) = ring.lab, ring.cables
    began_us = now_us()
    one_two.unplug()
    for name, line in (("linuxha1", RIGHT), ("linuxha2", LEFT)):
        for peer in NAMES:
            if peer != name:
                lab[name].wait_for_journal(f"^Link {peer}:{line} dead\\.$", since_us=began_us)
    time.sleep(LONG_S)
    assert ring.deaths(began_us) == []
    for name in NAMES:
        assert ring.nodes(name) == dict.fromkeys(NAMES, "active")

    isolated_us = now_us()
    three_one.unplug()
    for name, peer in (("linuxha2", "linuxha1"), ("linuxha3", "linuxha1")):
        lab[name].wait_for_journal(f"^node {peer}: is dead$", since_us=isolated_us)
        assert ring.nodes(name) == {"linuxha1": "dead", "linuxha2": "active", "linuxha3": "active"}
    for peer in ("linuxha2", "linuxha3"):
        lab["linuxha1"].wait_for_journal(f"^node {peer}: is dead$", since_us=isolated_us)
    assert len(ring.deaths(began_us)) == 4

    mended_us = now_us()
    one_two.plug()
    three_one.plug()
    for name, peer in (("linuxha1", "linuxha2"), ("linuxha2", "linuxha1"), ("linuxha3", "linuxha1")):
        lab[name].wait_for_journal(f"^Cluster node {peer} returning after partition\\.$", since_us=mended_us)
    settle(lab)
    for name in NAMES:
        assert ring.nodes(name) == dict.fromkeys(NAMES, "active")


def test_a_machine_without_power_is_dead_to_both_and_comes_back(ring: Ring) -> None:
    lab = ring.lab
    killed_us = lab["linuxha3"].power_kill()
    for name in ("linuxha1", "linuxha2"):
        lab[name].wait_for_journal("^node linuxha3: is dead$", since_us=killed_us)
    assert ring.nodes("linuxha1") == {"linuxha1": "active", "linuxha2": "active", "linuxha3": "dead"}
    lab.boot("linuxha3")
    start(lab, "linuxha3")
    for name in ("linuxha1", "linuxha2"):
        lab[name].wait_for_journal("^Heartbeat restart on node linuxha3$", since_us=killed_us)
    settle(lab)
    assert sorted(ring.deaths(killed_us)) == [
        f"{name}: node linuxha3: is dead" for name in ("linuxha1", "linuxha2")
    ]


def test_groups_for_three_are_refused_and_the_place_is_named(ring: Ring) -> None:
    node = ring.lab["linuxha1"]
    node.write("/etc/ha.d/haresources", "linuxha1 192.168.85.3\n")
    done = node.run("hbd --check", check=False)
    node.write("/etc/ha.d/haresources", "# membership only\n")
    assert done.returncode != 0
    assert "/etc/ha.d/ha.cf:9:24: error: 3 nodes, and haresources has groups" in done.stdout + done.stderr
