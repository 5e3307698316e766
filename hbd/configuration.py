"""Finds the configuration to run with: today's, or the last good one of this boot.

Each valid configuration is copied to the run directory. A daemon that is started again while its resources
run, under files that are wrong by now, goes on with that copy and says so: giving up a service that works
because somebody is in the middle of an edit would help nobody.
"""

from __future__ import annotations

import logging
import shutil
from collections.abc import Iterable
from pathlib import Path

from hbd.config.findings import ConfigError, Finding, Severity
from hbd.config.load import load, local_node_name
from hbd.config.model import Config

FILES = ("ha.cf", "hbd.cf", "haresources", "authkeys", "nodeinfo")

log = logging.getLogger("hbd.config")


def first(config_dir: Path, last_good: Path, holding: bool) -> tuple[Config, str]:
    """The configuration of a start, and what is wrong with it (one clause, or nothing).

    `holding`: a daemon of this boot left resources running. Every finding is in the journal already.
    Raises ConfigError.
    """
    try:
        return read(config_dir, last_good), ""
    except ConfigError:
        if not holding or not (last_good / "ha.cf").exists():
            raise
    config, _ = load(last_good, local_node_name(last_good))
    log.error("%s is wrong: going on with the last good configuration, since resources run", config_dir)
    return config, f"{config_dir} is wrong, the last good configuration is in force"


def read(config_dir: Path, last_good: Path) -> Config:
    """Today's configuration, with all findings into the journal. Raises ConfigError."""
    try:
        config, found = load(config_dir, local_node_name(config_dir))
    except ConfigError as error:
        report(error.findings)
        raise
    report(found.sorted())
    try:
        _keep(config_dir, last_good)
    except OSError as error:
        log.warning("the last good configuration cannot be kept: %s", error)
    return config


def report(findings: Iterable[Finding]) -> None:
    """Every finding into the journal, as `hbd --check` prints it."""
    for finding in findings:
        level = logging.ERROR if finding.severity is Severity.ERROR else logging.WARNING
        log.log(level, "%s", finding)


def _keep(config_dir: Path, last_good: Path) -> None:
    """Raises OSError. authkeys keeps its mode, and the directory is for root alone."""
    new = last_good.with_name(last_good.name + ".new")
    shutil.rmtree(new, ignore_errors=True)
    new.mkdir(mode=0o700)
    for name in FILES:
        if (config_dir / name).exists():
            shutil.copy2(config_dir / name, new / name)
    # Where the names of scripts are looked up.
    (new / "resource.d").symlink_to((config_dir / "resource.d").absolute())
    shutil.rmtree(last_good, ignore_errors=True)
    new.rename(last_good)
