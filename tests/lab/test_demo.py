"""./demo as a newcomer runs it: it ends well, says what happened, and leaves nothing."""

import re
import subprocess
from pathlib import Path

from tests.lab.lab import CHECKOUT

NAME = "demo"
WIDEST = 100
"""Columns of a terminal."""


def demo(*words: str) -> subprocess.CompletedProcess[str]:
    argv = ["env", f"HBD_LAB_NAME={NAME}", str(CHECKOUT / "demo"), *words]
    return subprocess.run(
        argv, cwd="/", stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False, timeout=300
    )


def milliseconds(output: str, what: str) -> int:
    """When the time line says that this happened."""
    found = re.search(rf"^ +(-?\d+) ms  .*{re.escape(what)}", output, re.MULTILINE)
    assert found is not None, f"no '{what}' in the time line:\n{output}"
    return int(found[1])


def test_the_demo_tells_how_the_service_moves_and_comes_back() -> None:
    done = demo()

    assert done.returncode == 0, done.stdout[-3000:] + done.stderr
    killed, dead, up, answer, back = (
        milliseconds(done.stdout, what)
        for what in (
            "killed: its power is off",
            "declared dead",
            "address up",
            "first answer from linuxha2",
            "first answer from linuxha1",
        )
    )
    assert killed == 0 < dead <= up <= answer
    assert back > 0
    assert [line for line in done.stdout.splitlines() if len(line) > WIDEST] == []
    assert not Path("/run/hbd-lab", NAME).exists()


def test_the_demo_refuses_words_it_does_not_know() -> None:
    done = demo("--kepp")

    assert done.returncode == 2
    assert "Usage: sudo ./demo" in done.stderr
