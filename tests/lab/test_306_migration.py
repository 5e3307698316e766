"""docs/migrating-from-heartbeat.md, done as it stands there, under a client that never stops asking.

The commands are taken from the page itself: from two machines with the real heartbeat 3.0.6
over a mixed pair to two with hbd, all the way back, and there again. What the client misses is
held against plain switch-overs between the two heartbeats, in the same run.
"""

import itertools
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import pytest

from tests.lab import Lab, classic, cluster
from tests.lab.cluster import ADDRESS, ONE, TWO, Timings, Watch, never_on_both, serves
from tests.lab.host import wait_until
from tests.lab.journal import now_us
from tests.lab.lab import CHECKOUT
from tests.lab.node import Node
from tests.lab.probes import HttpProbe

PAGE = CHECKOUT / "docs/migrating-from-heartbeat.md"
BEFORE = "Before"
THERE = ("The first machine: linuxha2", "The second machine: linuxha1")
BACK = ("The first machine back: linuxha1", "The second machine back: linuxha2")
LOOK = "Who a machine is, and how often it has started"

FALSE_ALARMS = ("replay attack", "Both machines own", "No one owns", "returning after partition")
"""What neither daemon may have said of the other."""

TIMINGS = Timings(200, 800, 2000, 4000)
PLAIN_SWITCHES = 6
"""Each time when two 3.0.6 are there: most of a switch-over is the time of its scripts, which varies."""
SCATTER = 1.5
"""Where 3.0.6 takes over, nearly all of it is the time of its scripts: one such move is as likely as any of a
dozen plain ones to be the longest. So much longer it is not by chance."""
RESOLUTION_MS = 2 * 20
"""A gap begins and ends with a question of the client, and these are 20 ms apart."""
DAEMONS = ("heartbeat", "hbd")


@dataclass(frozen=True, slots=True)
class Block:
    """Commands of the page, and the machine on which they are to be typed."""

    node: str
    commands: str


@dataclass(frozen=True, slots=True)
class Stretch:
    """What the client went through in some time, up to now."""

    moves_ms: list[int]
    """Each change of the machine that answers: how long after the last answer of the one before."""
    starts: int
    """How often httpd was started on either machine, and"""
    ups: int
    """how often the address came up. What a client misses in between is the computer's doing."""

    @classmethod
    def of(cls, lab: Lab, http: HttpProbe, kernels: Watch, since_us: int) -> "Stretch":
        good = [each for each in http.answers() if each.node is not None and each.ended_us >= since_us]
        pairs = itertools.pairwise(sorted(good, key=lambda answer: answer.ended_us))
        moved = [(late.ended_us - early.ended_us) // 1000 for early, late in pairs if early.node != late.node]
        started = [
            entry
            for node in lab.nodes.values()
            for entry in node.journal(since_us=since_us)
            if (entry.fields.get("UNIT"), entry.fields.get("JOB_TYPE")) == ("httpd.service", "start")
            and entry.fields.get("JOB_RESULT") == "done"
        ]
        return cls(moved, len(started), len(kernels.seen("up", since_us)))


class Procedure:
    """The page, with its linuxha1 played by the machine that is the services' home."""

    def __init__(self, lab: Lab, home: str) -> None:
        other = TWO if home == ONE else ONE
        self.lab = lab
        self._played_by = {ONE: home, TWO: other}
        self._sections = sections(PAGE.read_text())

    def machine(self, name: str) -> Node:
        """The machine that the page calls so."""
        return self.lab[self._played_by[name]]

    def follow(self, heading: str) -> list[str]:
        """Type what stands under the heading; what each block printed. Raises LabError if one fails."""
        return [self._type(block) for block in self._sections[heading]]

    def _type(self, block: Block) -> str:
        words = ["/bin/bash", "-e", "-c", block.commands]
        return self.machine(block.node).run(words, timeout=60).stdout


def sections(text: str) -> dict[str, list[Block]]:
    """The blocks marked ```sh MACHINE, by the heading under which they stand."""
    found: dict[str, list[Block]] = {}
    heading = ""
    pattern = r"^#+ (?P<heading>[^\n]*)$|^```sh (?P<node>[^\n]+)\n(?P<commands>.*?)^```$"
    for match in re.finditer(pattern, text, re.MULTILINE | re.DOTALL):
        if match["node"]:
            found.setdefault(heading, []).append(Block(match["node"], match["commands"]))
        else:
            heading = match["heading"]
    return found


# ---------------------------------------------------------------- the page itself


def test_every_command_of_the_page_is_typed_by_these_tests() -> None:
    text = PAGE.read_text()

    found = sections(text)

    assert set(found) == {BEFORE, *THERE, *BACK, LOOK}
    typed = sum(len(blocks) for blocks in found.values())
    assert typed == len(re.findall(r"^```sh", text, re.MULTILINE))
    assert {block.node for blocks in found.values() for block in blocks} == {ONE, TWO}


# ---------------------------------------------------------------- done


@pytest.fixture
def heartbeats(auto_failback: str, home: str) -> Iterator[Lab]:
    """Two machines with heartbeat 3.0.6, started at boot, the services on `home`; hbd is installed."""
    with Lab(layers=classic.layers(CHECKOUT)) as lab:
        haresources = f"{home} {ADDRESS} httpd smb\n"
        classic.configure(lab, timings=TIMINGS, auto_failback=auto_failback, haresources=haresources)
        lab.boot()
        for node in lab.nodes.values():
            node.run("systemctl enable heartbeat")

        def settled() -> None:
            classic.start(lab)
            # A machine that is nobody's home holds its own all the same: nothing.
            for node in lab.nodes.values():
                classic.wait_for_holding(node, "local")
            wait_until(lambda: serves(lab[home]), 20, f"everything on {home}", 0.1)

        def start_anew() -> None:
            for node in lab.nodes.values():
                node.power_kill()
            lab.boot()

        classic.unless_spoilt(lab.nodes.values(), settled, start_anew)
        yield lab


@pytest.mark.parametrize(
    ("auto_failback", "home"), [("on", ONE), ("off", TWO)], ids=["on, at home on one", "off, at home on two"]
)
def test_the_page_leads_to_hbd_and_back_and_there_again(
    heartbeats: Lab, auto_failback: str, home: str
) -> None:
    lab = heartbeats
    with lab.client.http_probe() as http, never_on_both(lab) as kernels:
        page = Procedure(lab, home)
        http.wait_for(home)
        plain = plain_switches(lab, http, kernels, home)
        lives = [Lives.of(lab)]
        migration = []
        for journey in (THERE, BACK, THERE):
            began_us = now_us()
            if journey is THERE:
                page.follow(BEFORE)
            lives += [changed(page, heading) for heading in journey]
            served_by = home if auto_failback == "on" or journey is BACK else page.machine(TWO).name
            http.wait_for(served_by, since_us=now_us())
            migration.append(Stretch.of(lab, http, kernels, began_us))
            if journey is BACK:
                plain += plain_switches(lab, http, kernels, home)
        for printed in page.follow(LOOK):
            ours, theirs = printed.split()
            assert int(ours) == int(theirs)

    assert_lives_go_on(lives)
    for text in FALSE_ALARMS:
        for node in lab.nodes.values():
            assert [entry.message for entry in classic.said(node, text) + cluster.said(node, text)] == []
    print("\nplain switch-overs:", *(each.moves_ms for each in plain), "ms")
    print("switch-overs there, back, there:", *(each.moves_ms for each in migration), "ms")
    for each in (*plain, *migration):
        assert each.moves_ms
        assert each.starts == each.ups == len(each.moves_ms)
    longest_ms = max(ms for each in migration for ms in each.moves_ms)
    assert longest_ms <= SCATTER * max(ms for each in plain for ms in each.moves_ms) + RESOLUTION_MS


def plain_switches(lab: Lab, http: HttpProbe, kernels: Watch, home: str) -> list["Stretch"]:
    """`hb_standby` to and fro between the two 3.0.6, ending where it began."""
    seen = []
    for giver in itertools.islice(itertools.cycle((home, TWO if home == ONE else ONE)), PLAIN_SWITCHES):
        taker = TWO if giver == ONE else ONE
        asked_us = now_us()
        classic.standby(lab[giver])
        http.wait_for(taker, since_us=asked_us, timeout=20)
        classic.wait_for_holding(lab[giver], "none")
        classic.wait_for_holding(lab[taker], "all")
        seen.append(Stretch.of(lab, http, kernels, asked_us))
    return seen


@dataclass(frozen=True, slots=True)
class Lives:
    """For each machine, which daemon is to start at boot, the generation, and the uuid."""

    enabled: dict[str, list[str]]
    generation: dict[str, int]
    uuid: dict[str, str]

    @classmethod
    def of(cls, lab: Lab) -> "Lives":
        nodes = lab.nodes.values()
        return cls(
            {node.name: [name for name in DAEMONS if _is(node, "enabled", name)] for node in nodes},
            {node.name: int(node.read("/var/lib/heartbeat/hb_generation")) for node in nodes},
            {node.name: node.run("od -An -tx1 /var/lib/heartbeat/hb_uuid").stdout for node in nodes},
        )


def changed(page: Procedure, heading: str) -> Lives:
    """One section: the machine has the other daemon then, and its peer has seen it restart."""
    name = heading.rpartition(" ")[2]
    node, peer = page.machine(name), page.machine(TWO if name == ONE else ONE)
    [before] = [daemon for daemon in DAEMONS if _is(node, "active", daemon)]
    [after] = set(DAEMONS) - {before}
    began_us = now_us()
    page.follow(heading)
    assert [daemon for daemon in DAEMONS if _is(node, "active", daemon)] == [after]
    peer.wait_for_journal(f"Heartbeat restart on node {node.name}", since_us=began_us)
    lives = Lives.of(page.lab)
    assert lives.enabled[node.name] == [after]
    return lives


def _is(node: Node, what: str, daemon: str) -> bool:
    return node.run(["systemctl", "--quiet", f"is-{what}", f"{daemon}.service"], check=False).returncode == 0


def assert_lives_go_on(lives: Sequence[Lives]) -> None:
    """A uuid stays, and each change of the daemon is one generation more on that machine alone."""
    for earlier, later in itertools.pairwise(lives):
        assert later.uuid == earlier.uuid
        grown = {name: later.generation[name] - earlier.generation[name] for name in later.generation}
        assert sorted(grown.values()) == [0, 1], grown
