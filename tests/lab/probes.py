"""What a client sees while things happen: who answers http, who answers ARP.

with lab.client.http_probe() as probe:
    killed_us = lab["linuxha1"].power_kill()
    answer = probe.wait_for("linuxha2", since_us=killed_us)
    print((answer.ended_us - killed_us) / 1000, "ms")
"""

import itertools
import json
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.lab.host import CLEAN_ENV, LabError, wait_until


@dataclass(frozen=True, slots=True)
class Answer:
    """What became of one http request: the node that answered, or an error. Monotonic µs."""

    sent_us: int
    ended_us: int
    node: str | None
    error: str | None


@dataclass(frozen=True, slots=True)
class Round:
    """Who answered one broadcast who-has: names of machines, or a MAC that is nobody's."""

    sent_us: int
    holders: tuple[str, ...]


class _Probe:
    """A prober process and what it has written so far."""

    def __init__(self, entry: list[str], log: Path) -> None:
        self._log = log
        with open(log, "wb") as output:
            self._process = subprocess.Popen(
                entry, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.PIPE, env=CLEAN_ENV
            )
        wait_until(
            lambda: log.stat().st_size > 0 or self._process.poll() is not None, 10, "the prober's first line"
        )
        self._require_alive()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        self.stop()

    def stop(self) -> None:
        """End probing; what was seen stays readable."""
        self._process.terminate()
        self._process.communicate()

    def _require_alive(self) -> None:
        if (
            self._process.poll() is not None
            and self._process.stderr is not None
            and not self._process.stderr.closed
        ):
            raise LabError(f"the prober ended: {self._process.stderr.read().decode()}")

    def _lines(self) -> list[str]:
        return [line for line in self._log.read_text().splitlines(keepends=True) if line.endswith("\n")]


class HttpProbe(_Probe):
    """Asks the address for its page at a fixed interval, each time on a new connection."""

    def answers(self) -> list[Answer]:
        """All so far, by the time they were sent."""
        return sorted(
            (Answer(**json.loads(line)) for line in self._lines()), key=lambda answer: answer.sent_us
        )

    def first(self, node: str, since_us: int = 0) -> Answer | None:
        """The first answer of `node` to what was asked at or after `since_us`."""
        return next(
            (answer for answer in self.answers() if answer.node == node and answer.sent_us >= since_us), None
        )

    def wait_for(self, node: str, timeout: float = 10, since_us: int = 0) -> Answer:
        """Wait for the first answer of `node`; raises LabError when none comes in time."""
        wait_until(
            lambda: self.first(node, since_us) is not None, timeout, f"an http answer from {node}", 0.02
        )
        found = self.first(node, since_us)
        assert found is not None
        return found

    def failures(self, since_us: int = 0) -> list[Answer]:
        """Requests sent at or after `since_us` that got no page."""
        return [answer for answer in self.answers() if answer.node is None and answer.sent_us >= since_us]

    def longest_outage_ms(self) -> float:
        """The longest time between the ends of two successive good answers."""
        ends = sorted(answer.ended_us for answer in self.answers() if answer.node is not None)
        return max((late - early for early, late in itertools.pairwise(ends)), default=0) / 1000


class ArpProbe(_Probe):
    """Broadcasts who-has for the address at a fixed interval, from a host that is not the client.

    A round is known about 0.3 s after it was sent.
    """

    def __init__(self, entry: list[str], log: Path, owners: Mapping[str, str]) -> None:
        self._owners = owners
        super().__init__(entry, log)

    def rounds(self, since_us: int = 0) -> list[Round]:
        found = [json.loads(line) for line in self._lines()]
        return [
            Round(each["sent_us"], tuple(self._owners.get(mac, mac) for mac in each["macs"]))
            for each in found
            if each["sent_us"] >= since_us
        ]

    def dual_held(self, since_us: int = 0) -> list[Round]:
        """The rounds that two machines answered: both held the address. Should be empty."""
        return [each for each in self.rounds(since_us) if len(each.holders) > 1]

    def wait_for_rounds_until(self, until_us: int, timeout: float = 5) -> None:
        """Wait until the rounds up to monotonic `until_us` are known."""
        wait_until(lambda: any(self.rounds(until_us)), timeout, "the prober's rounds", 0.02)
