"""Fixtures: a lab per test, with hbd installed in the machines, or without."""

from collections.abc import Generator, Iterator
from pathlib import Path

import pytest

from tests.lab import rootfs
from tests.lab.host import LabError
from tests.lab.lab import CHECKOUT, Lab

_JOURNAL_LINES = 80


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


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.lab)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Show the machines' journals below the failure of a test that used a lab."""
    report = yield
    if report.when == "call" and report.failed:
        for used in getattr(item, "funcargs", {}).values():
            if isinstance(used, Lab):
                report.sections += [(f"journal of {name}", _tail(used, name)) for name in used.nodes]
    return report


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
