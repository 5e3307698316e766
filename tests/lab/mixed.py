"""A machine with the real heartbeat 3.0.6 beside a machine with hbd, looked at from all sides.

Two groups, one at home on each machine. `settle` waits until everybody says the same of who
owns what, and it is the truth: hbd, the real daemon, both kernels, systemd, and the client.
3.0.6's ten seconds at a common start cannot be shortened, so both assignments of who is
linuxha1 are played at the same time, in two labs: `at_once(pairs, story)`.
"""

import os
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

from tests.lab import classic, cluster
from tests.lab.cluster import ADDRESS, ONE, TWO, UNITS, Timings, active_units, holds
from tests.lab.host import LabError, wait_until
from tests.lab.journal import now_us
from tests.lab.lab import CHECKOUT, Lab
from tests.lab.node import Node

OTHER_ADDRESS = "192.168.85.4"
HARESOURCES = f"{ONE} {ADDRESS} httpd smb\n{TWO} {OTHER_ADDRESS}\n"
HOMES = {ADDRESS: ONE, OTHER_ADDRESS: TWO}
TIMINGS = Timings(400, 1000, 2000, 4000)

Owners = Mapping[str, str]

_LINES = 40


@dataclass(frozen=True, slots=True)
class Mixed:
    """A lab in which `real` is the machine for heartbeat 3.0.6, and `ours` the one for hbd."""

    lab: Lab
    real: Node
    ours: Node

    def everything_on(self, node: Node) -> Owners:
        return dict.fromkeys(HOMES, node.name)

    def holding_of(self, node: Node, owned_by: Owners) -> str:
        """How 3.0.6 calls what that node has then."""
        own = {home == node.name for group, home in HOMES.items() if owned_by[group] == node.name}
        return {(): "none", (False,): "foreign", (True,): "local", (False, True): "all"}[tuple(sorted(own))]

    def start(self) -> None:
        """Both, at the same time."""
        _together([self.start_real, self.start_ours])

    def start_real(self) -> None:
        classic.start(self.lab, self.real.name)

    def start_ours(self) -> None:
        cluster.start(self.lab, self.ours.name)

    def begin(self) -> None:
        """Both start at the same time; it returns when each has its own group. Raises LabError."""

        def settled() -> None:
            self.start()
            self.settle(HOMES)

        self.unless_spoilt(settled, self.end)

    def unless_spoilt(self, deed: Callable[[], None], afresh: Callable[[], None]) -> None:
        """`classic.unless_spoilt` with the one 3.0.6 there is."""
        classic.unless_spoilt([self.real], deed, afresh)

    def begin_anew(self) -> None:
        """As it was when the fixtures had begun, whatever has become of either."""
        self.end()
        self.begin()

    def end(self) -> None:
        """Neither runs; 3.0.6 loses its power, as it does not stop while it waits for what was lost."""
        for node in (self.real, self.ours):
            self.lab.network.restore(node.name)
            if node is self.real and node.is_running:
                node.power_kill()
            if not node.is_running:
                node.boot()
        self.stop_ours()

    def stop_real(self) -> None:
        classic.stop(self.lab, self.real.name)

    def stop_ours(self) -> None:
        cluster.stop(self.lab, self.ours.name)

    def stop(self) -> None:
        """Both, one after the other; nothing is left of either."""
        self.stop_real()
        self.stop_ours()
        left = held(self.lab)
        assert not any(left.values()), left

    def wait_until_true(self, owned_by: Owners, timeout: float = 30) -> None:
        """Wait until that is who owns what, whatever the daemons say; raises LabError."""
        wanted = truth_of(owned_by)
        try:
            wait_until(lambda: held(self.lab) == wanted, timeout, "", 0.1)
        except LabError:
            text = f"not so within {timeout:g} s: {held(self.lab)}\nwanted: {wanted}\n{self.last_words()}"
            raise LabError(text) from None

    def settle(
        self, owned_by: Owners, *, alone: Node | None = None, legacy: bool = False, timeout: float = 30
    ) -> None:
        """Wait until that is who owns what, as everybody says and as it is.

        Only that node's daemon is asked if it is `alone`, and with auto_failback `legacy` only hbd, as
        3.0.6 then always says that it holds nothing. Raises LabError with what each says when it is not
        so in time.
        """
        wanted = {
            "truth": truth_of(owned_by),
            "client": owned_by[ADDRESS],
            "hbd": {"stable": True, **owned_by},
            "3.0.6": self.holding_of(self.real, owned_by),
        }
        if alone is self.real:
            del wanted["hbd"]
        if alone is self.ours or legacy:
            del wanted["3.0.6"]

        def seen() -> dict[str, object]:
            found: dict[str, object] = {}
            for key in wanted:
                match key:
                    case "truth":
                        found[key] = held(self.lab)
                    case "client":
                        found[key] = page(self.lab)
                    case "hbd":
                        found[key] = {
                            "stable": cluster.is_settled(self.ours),
                            **cluster.owners(self.ours),
                        }
                    case _:
                        found[key] = classic.holding(self.real)
            return found

        try:
            wait_until(lambda: seen() == wanted, timeout, "", 0.1)
        except LabError:
            text = f"not settled within {timeout:g} s: {seen()}\nwanted: {wanted}\n{self.last_words()}"
            raise LabError(text) from None

    def last_words(self) -> str:
        """The end of both daemons' logs, in the order of time."""
        logs = {"3.0.6": classic.log(self.real), "hbd": cluster.log(self.ours)}
        ends = [(each.monotonic_us, who, each.message) for who, log in logs.items() for each in log[-_LINES:]]
        return "\n".join(f"{at_us / 1e6:.3f} {who}: {text}" for at_us, who, text in sorted(ends))


def home_of(node: Node) -> str:
    """The address whose home the machine is."""
    return next(address for address, home in HOMES.items() if home == node.name)


def held(lab: Lab) -> dict[str, list[str]]:
    """On which machines each address and each unit is."""
    found: dict[str, list[str]] = {name: [] for name in (*HOMES, *UNITS)}
    for node in lab.nodes.values():
        if node.is_running:
            for address in HOMES:
                found[address] += [node.name] * holds(node, address)
            for unit in active_units(node):
                found[unit].append(node.name)
    return found


def truth_of(owned_by: Owners) -> dict[str, list[str]]:
    """What `held` finds when these are the owners."""
    return {name: [owned_by.get(name, owned_by[ADDRESS])] for name in (*HOMES, *UNITS)}


def page(lab: Lab) -> str:
    """The machine whose page the client gets; empty when it gets none."""
    words = ["curl", "--silent", "--max-time", "1", f"http://{ADDRESS}/"]
    return lab.client.run(words, check=False).stdout.strip()


@contextmanager
def never_answered_by_two(lab: Lab) -> Iterator[None]:
    """What is done inside must at no moment let two machines answer for an address."""
    with ExitStack() as probes:
        probed = [probes.enter_context(lab.observer.arp_probe(address)) for address in HOMES]
        yield
        for arp in probed:
            arp.wait_for_rounds_until(now_us())
            assert arp.dual_held() == []


@contextmanager
def both_assignments(auto_failback: str = "on") -> Iterator[list[Mixed]]:
    """Two booted labs with both daemons: in one linuxha1 is for heartbeat 3.0.6, in the other linuxha2."""
    layers = classic.layers(CHECKOUT)
    name = os.environ.get("HBD_LAB_NAME", "lab")
    with Lab(layers=layers, name=name) as first, Lab(layers=layers, name=f"{name[:15]}b") as second:
        for lab in (first, second):
            configure(lab, auto_failback)
        _together([first.boot, second.boot])
        yield [Mixed(first, first[ONE], first[TWO]), Mixed(second, second[TWO], second[ONE])]


def configure(lab: Lab, auto_failback: str, timings: Timings = TIMINGS) -> None:
    """The two groups, and quick timings, on both machines."""
    classic.configure(lab, timings=timings, auto_failback=auto_failback, haresources=HARESOURCES)


def at_once(pairs: Sequence[Mixed], story: Callable[[Mixed], None]) -> None:
    """Play the story with each pair at the same time; raises what went wrong in any, saying in which."""

    def play(pair: Mixed) -> Callable[[], None]:
        return lambda: story(pair)

    _together([play(pair) for pair in pairs], [f"heartbeat 3.0.6 on {pair.real.name}" for pair in pairs])


def _together(deeds: Sequence[Callable[[], None]], names: Sequence[str] = ()) -> None:
    errors: list[Exception] = []

    def play(number: int) -> None:
        try:
            deeds[number]()
        except Exception as error:
            if names:
                error.add_note(names[number])
            errors.append(error)

    threads = [threading.Thread(target=play, args=(number,)) for number in range(len(deeds))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0] if len(errors) == 1 else ExceptionGroup("in both", errors)
