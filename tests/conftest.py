"""For all tests: a failure is told, and comes again."""

import gc
from collections.abc import Generator

import pytest
from hypothesis import HealthCheck, settings

# The same examples each time, and no limit to their time: the machine may be busy with the lab.
settings.register_profile(
    "hbd", deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("hbd")


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Nothing is collected while a failure is put into words.

    That parses sources, and so does the traceback of an error in somebody's `__del__`, such as that of a
    child which outlived its event loop. Python 3.11's parser does not bear it that a collection begins the
    one within the other: "AST constructor recursion depth mismatch" (CPython's issue 106905) is then all
    that pytest has to say of the test that failed.
    """
    was_on = gc.isenabled()
    gc.disable()
    try:
        return (yield)
    finally:
        if was_on:
            gc.enable()
