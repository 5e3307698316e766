"""Fixtures: one pair of virtual machines for all tests, since a boot takes so long.

Before each test what an earlier one broke is put right: wires, power, and for `cluster` hbd.
"""

from collections.abc import Generator, Iterator
from pathlib import Path

import pytest

from tests.lab.cluster import ONE, TWO
from tests.lab.host import LabError
from tests.vm.image import Image
from tests.vm.image import image as make_image
from tests.vm.pair import BRISK, SLOW, Pair, on_each, restore, run, settle

_JOURNAL_LINES = 60
_ORDER = ("test_the_machines_themselves.py", "test_watchdogs.py", "test_failures.py")


@pytest.fixture(scope="session")
def image() -> Image:
    """What the machines boot, with hbd of this checkout; made anew only when the sources changed."""
    return make_image(print)


@pytest.fixture(scope="session")
def booted(image: Image) -> Iterator[Pair]:
    """Both machines, the first with the kernel's watchdog, the other with a card."""
    with Pair(image) as made:
        made[ONE].watchdog_module = "softdog"
        made[TWO].watchdog_module = "i6300esb"
        made.boot()
        yield made


@pytest.fixture(scope="module")
def pair(booted: Pair) -> Pair:
    """Both machines on, all wires whole, hbd off."""
    restore(booted)
    on_each(booted, (), lambda machine: machine.run("systemctl stop hbd", timeout=120))
    return booted


@pytest.fixture
def watched(booted: Pair) -> Pair:
    """Both machines on, all wires whole, hbd running on both and at rest, and systemd ready to restart it."""
    restore(booted)
    run(booted, SLOW, watched=True)
    settle(booted)
    return booted


@pytest.fixture
def cluster(booted: Pair) -> Pair:
    """The same with short times, and without systemd's watchdog: who hangs, hangs until the machine goes."""
    restore(booted)
    run(booted, BRISK, watched=False)
    settle(booted)
    return booted


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What reconfigures hbd comes together, and last the failure after which nothing has to boot again."""
    here = Path(__file__).parent
    for item in items:
        if here in item.path.parents:
            item.add_marker(pytest.mark.vm)
    order = {name: place for place, name in enumerate(_ORDER)}
    items.sort(key=lambda item: order.get(item.path.name, 0) if here in item.path.parents else -1)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Show what the machines say below the failure of a test that used them."""
    report = yield
    if report.when != "teardown" and report.failed:
        for used in getattr(item, "funcargs", {}).values():
            if isinstance(used, Pair):
                for name in used.machines:
                    report.sections += [(f"journal of {name}", _tail(used, name))]
    return report


def _tail(pair: Pair, name: str) -> str:
    machine = pair[name]
    try:
        entries = machine.journal()
        events = machine.monitor.events()
    except LabError as error:
        return f"{error}\n{machine.output()[-3000:]}"
    lines = [
        (logged.at_us, f"{logged.entry.fields.get('SYSLOG_IDENTIFIER', '')}: {logged.message}")
        for logged in entries[-_JOURNAL_LINES:]
    ]
    lines += [(event.at_us, f"the emulator: {event.name} {event.data}") for event in events]
    return "\n".join(f"{at_us / 1e6:.3f} {text}" for at_us, text in sorted(lines))
