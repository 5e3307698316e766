"""The file for Prometheus: there as a whole or not at all, and nobody waits for it."""

import os
import resource
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from hbd.metrics.writer import Metrics
from tests.core.test_projection import VIEW


def wait_for(true: Callable[[], bool]) -> None:
    deadline_s = time.monotonic() + 10
    while not true():
        assert time.monotonic() < deadline_s
        time.sleep(0.01)


def test_a_change_is_in_the_file_soon_and_an_orderly_end_removes_it(tmp_path: Path) -> None:
    path = tmp_path / "hbd.prom"
    metrics = Metrics(lambda: {"journal_lost": 2})
    metrics.use(str(path))
    metrics.show(VIEW)
    wait_for(path.exists)
    first = path.read_text()
    assert "\nhbd_journal_lost_total 2\n" in first
    assert "\nhbd_frozen 0\n" in first
    assert path.stat().st_mode & 0o777 == 0o644
    metrics.show(replace(VIEW, frozen=True))
    wait_for(lambda: "\nhbd_frozen 1\n" in path.read_text())
    metrics.close()
    assert os.listdir(tmp_path) == []


def test_a_reload_moves_the_file(tmp_path: Path) -> None:
    old, new = tmp_path / "old.prom", tmp_path / "new.prom"
    metrics = Metrics(dict)
    metrics.use(str(old))
    metrics.show(VIEW)
    wait_for(old.exists)
    metrics.use(str(new))
    wait_for(lambda: new.exists() and not old.exists())
    metrics.use(None)
    wait_for(lambda: not new.exists())
    metrics.close()


def test_a_directory_that_is_missing_is_said_once_and_tried_again(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "textfiles" / "hbd.prom"
    metrics = Metrics(dict)
    metrics.use(str(path))
    metrics.show(VIEW)
    wait_for(lambda: bool(caplog.records))
    metrics.show(replace(VIEW, generation=8))
    path.parent.mkdir()
    metrics.show(replace(VIEW, generation=9))
    wait_for(path.exists)
    metrics.close()
    assert [record.getMessage() for record in caplog.records] == [
        f"the metrics cannot be written to {path}: No such file or directory"
    ]


def test_a_disk_that_is_full_is_said_once_and_leaves_nothing_half_made(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "hbd.prom"
    limit = resource.getrlimit(resource.RLIMIT_FSIZE)
    metrics = Metrics(dict)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, limit[1]))
    try:
        metrics.use(str(path))
        metrics.show(VIEW)
        wait_for(lambda: bool(caplog.records))
        assert os.listdir(tmp_path) == []
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limit)
    metrics.show(replace(VIEW, generation=9))
    wait_for(path.exists)
    metrics.close()
    assert [record.getMessage() for record in caplog.records] == [
        f"the metrics cannot be written to {path}: File too large"
    ]


def test_a_link_that_somebody_has_laid_is_not_followed(tmp_path: Path) -> None:
    precious, path = tmp_path / "precious", tmp_path / "hbd.prom"
    precious.write_text("mine")
    path.with_name("hbd.prom.new").symlink_to(precious)
    path.symlink_to(precious)
    metrics = Metrics(dict)
    metrics.use(str(path))
    metrics.show(VIEW)
    wait_for(lambda: not path.is_symlink() and path.exists())
    metrics.close()
    assert precious.read_text() == "mine"
