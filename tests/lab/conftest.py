"""Fixtures: a lab per test, with hbd installed in the machines, or without."""

import os
from collections.abc import Generator, Iterator, Mapping
from pathlib import Path

import pytest

from tests.lab import rootfs
from tests.lab.host import LabError
from tests.lab.lab import CHECKOUT, Lab
from tests.lab.mixed import Mixed, both_assignments

_JOURNAL_LINES = 80

_LONGEST = (
    "test_306_migration.py",
    "test_306_handover.py",
    "test_306_beginnings.py",
    "test_guide_timings.py",
    "test_306_lossy_wire.py",
    "test_306_partition.py",
    "test_demo.py",
    "test_common_start.py",
    "test_guide_walk.py",
    "test_scripts.py",
    "test_links.py",
    "test_handover.py",
    "test_start_and_join.py",
)
"""What takes more than half a minute, first: begun last, it would be waited for alone."""


def pytest_configure() -> None:
    """Of several pytest processes side by side, each has a lab of its own."""
    worker = os.environ.get("PYTEST_XDIST_WORKER")
    if worker is not None:
        os.environ["HBD_LAB_NAME"] = f"{os.environ.get('HBD_LAB_NAME', 'lab')[:12]}{worker}"


@pytest.fixture(scope="session")
def hbd_layer() -> Path:
    """hbd of this checkout, as ./install lays it; made anew only when the sources changed."""
    base = rootfs.base(say=print)
    return rootfs.hbd_layer(CHECKOUT, rootfs.wheels(CHECKOUT, say=print), [base])


@pytest.fixture
def lab(hbd_layer: Path) -> Iterator[Lab]:
    """Two machines with hbd installed, neither configured nor enabled, and not booted."""
    with Lab(layers=[hbd_layer]) as made:
        yield made


@pytest.fixture
def bare_lab() -> Iterator[Lab]:
    """Two machines without hbd, not booted."""
    with Lab() as made:
        yield made


@pytest.fixture(scope="module")
def pairs() -> Iterator[list[Mixed]]:
    """heartbeat 3.0.6 beside hbd, in both assignments of who is linuxha1; booted, nothing started."""
    with both_assignments() as made:
        yield made


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Of several processes side by side, each takes the next file: its tests may share machines."""
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.lab)
    order = {name: place for place, name in enumerate(_LONGEST)}
    items.sort(key=lambda item: order.get(item.path.name, len(order)))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Show the machines' journals below the failure of a test that used a lab, or of what prepared it."""
    report = yield
    if report.failed:
        for used in _labs(getattr(item, "funcargs", {})):
            report.sections += [(f"journal of {used.name}-{name}", _tail(used, name)) for name in used.nodes]
    return report


def _labs(arguments: Mapping[str, object]) -> list[Lab]:
    labs = [used for used in arguments.values() if isinstance(used, Lab)]
    pairs = [each for used in arguments.values() if isinstance(used, list) for each in used]
    return labs + [pair.lab for pair in pairs if isinstance(pair, Mixed)]


def _tail(lab: Lab, name: str) -> str:
    try:
        entries = lab[name].journal()
    except LabError as error:
        return str(error)
    lines = (
        f"{entry.monotonic_us / 1e6:.3f} {entry.fields.get('SYSLOG_IDENTIFIER', '')}: {entry.message}"
        for entry in entries[-_JOURNAL_LINES:]
    )
    return "\n".join(lines)
