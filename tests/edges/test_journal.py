"""The journal: a real journald of our own, and the catalog that explains what it keeps."""

import json
import logging
import os
import re
import socket
import subprocess
import sys
import uuid
from pathlib import Path

import pytest

from hbd.core.effects import Kind, Level, Log
from hbd.journal import MESSAGE_ID, PRIORITY, Journal, route_logging

CATALOG = Path(__file__).parents[2] / "systemd" / "hbd.catalog"
JOURNALD = "/lib/systemd/systemd-journald"

IN_JOURNALD = f"""
set -e
mount -t tmpfs tmpfs /run
mkdir -p /run/systemd/journal /run/log/journal
{JOURNALD} & daemon=$!
while ! [ -S /run/systemd/journal/socket ] || ! [ -S /run/systemd/journal/stdout ]; do sleep 0.02; done
"$PYTHON" -c "$SCRIPT" 2>/run/stderr
journalctl --sync 2>/dev/null || sleep 0.5
journalctl --directory=/run/log/journal --identifier=hbd --output=json --no-pager
kill $daemon; wait $daemon || true
cat /run/stderr >&2
"""


def journal_of(script: str) -> tuple[list[dict[str, str]], str]:
    """What a journald of its own keeps of this script, and the script's standard error."""
    done = subprocess.run(
        ["unshare", "--mount", "sh", "-c", IN_JOURNALD],
        env={**os.environ, "PYTHON": sys.executable, "SCRIPT": script, "PYTHONPATH": str(CATALOG.parents[1])},
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    return [json.loads(line) for line in done.stdout.splitlines()], done.stderr


@pytest.fixture
def listener(tmp_path: Path) -> socket.socket:
    """A socket where the journal's would be."""
    bound = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    bound.bind(str(tmp_path / "socket"))
    bound.setblocking(False)
    return bound


def test_journald_keeps_text_priority_and_fields_as_the_core_said_them() -> None:
    entries, _ = journal_of("""
from hbd.core.effects import Kind, Level, Log
from hbd.journal import Journal
journal = Journal()
journal.log(Log(Level.WARN, Kind.NODE_DEAD, "node linuxha1: is dead", node="linuxha1", transition=3))
journal.log(Log(Level.INFO, Kind.LINK_UP, "Link linuxha1:eth1 up.", node="linuxha1", link="eth1"))
journal.log(Log(Level.ERROR, Kind.RESOURCE_FAILED, "two\\nlines", group="192.0.2.3", resource="httpd"))
""")
    dead, link, failed = entries
    assert dead["MESSAGE"] == "node linuxha1: is dead"
    assert dead["PRIORITY"] == "4"
    assert dead["MESSAGE_ID"] == MESSAGE_ID[Kind.NODE_DEAD]
    assert (dead["HBD_NODE"], dead["HBD_TRANSITION"]) == ("linuxha1", "3")
    assert "HBD_LINK" not in dead
    assert (link["MESSAGE"], link["HBD_LINK"]) == ("Link linuxha1:eth1 up.", "eth1")
    assert (failed["MESSAGE"], failed["PRIORITY"]) == ("two\nlines", "3")
    assert (failed["HBD_GROUP"], failed["HBD_RESOURCE"]) == ("192.0.2.3", "httpd")


def test_the_log_records_of_libraries_come_to_the_journal_with_their_traceback() -> None:
    entries, stderr = journal_of("""
import logging
from hbd.journal import Journal, route_logging
route_logging(Journal())
logging.getLogger("hbd.media").warning("bad %s", "cable", extra={"fields": {"HBD_LINK": "eth1"}})
try:
    1 / 0
except ZeroDivisionError:
    logging.getLogger("hbd").exception("a bug")
""")
    warning, bug = entries
    assert (warning["MESSAGE"], warning["PRIORITY"], warning["HBD_LINK"]) == ("bad cable", "4", "eth1")
    assert bug["MESSAGE"].startswith("a bug\nTraceback")
    assert bug["PRIORITY"] == "3"
    assert stderr == ""


def test_without_a_journal_the_lines_go_to_standard_error_with_their_level_word() -> None:
    script = """
from hbd.core.effects import Kind, Level, Log
from hbd.journal import Journal
Journal("/nonexistent").log(Log(Level.WARN, Kind.NODE_DEAD, "node linuxha1: is dead"))
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stderr == "hbd: WARN: node linuxha1: is dead\n"


def test_a_journal_that_does_not_read_costs_lines_and_no_time(
    listener: socket.socket, tmp_path: Path
) -> None:
    script = f"""
import os, sys, time
os.close(2)
from hbd.core.effects import Kind, Level, Log
from hbd.journal import Journal
journal = Journal({str(tmp_path / "socket")!r})
begun = time.monotonic()
for number in range(2000):
    journal.log(Log(Level.INFO, Kind.GENERIC, f"line {{number}}"))
assert time.monotonic() - begun < 20
print(journal.lost, flush=True)
sys.stdin.readline()
journal.log(Log(Level.INFO, Kind.GENERIC, "after"))
"""
    child = subprocess.Popen(
        [sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert child.stdout is not None
    lost = int(child.stdout.readline())
    taken = len(drain(listener))
    assert lost > 0
    assert lost + taken >= 2000
    child.communicate("go on\n")
    assert child.returncode == 0
    texts = [entry.split(b"\n")[0] for entry in drain(listener)]
    assert texts[0].endswith(b"log line(s) lost: the journal did not take them")
    assert texts[1] == b"MESSAGE=after"


def test_a_text_longer_than_a_datagram_is_cut_and_not_lost(listener: socket.socket, tmp_path: Path) -> None:
    journal = Journal(str(tmp_path / "socket"))
    journal.log(Log(Level.INFO, Kind.GENERIC, "x" * 1_000_000))
    (entry,) = drain(listener)
    assert entry.startswith(b"MESSAGE=" + b"x" * 1000)
    assert b"MESSAGE_ID=" in entry
    assert journal.lost == 0


def drain(listener: socket.socket) -> list[bytes]:
    """Every datagram that waits."""
    entries = []
    try:
        while True:
            entries.append(listener.recv(1 << 20))
    except BlockingIOError:
        return entries


def test_logging_may_carry_percent_signs_and_bytes_that_are_no_text(
    listener: socket.socket, tmp_path: Path
) -> None:
    kept = logging.getLogger().handlers[:]
    try:
        route_logging(Journal(str(tmp_path / "socket")))
        logging.getLogger("x").warning("100%% of %s", "\udcff")
    finally:
        logging.getLogger().handlers[:] = kept
    (entry,) = drain(listener)
    assert entry.startswith(b"MESSAGE=100% of ?\n")


# ---------------------------------------------------------------- kinds and catalog


def test_every_kind_has_an_id_of_its_own_and_every_level_a_priority() -> None:
    assert list(MESSAGE_ID) == list(Kind)
    assert len(set(MESSAGE_ID.values())) == len(Kind)
    assert all(uuid.UUID(value).hex == value for value in MESSAGE_ID.values())
    assert set(PRIORITY) == set(Level)


def catalog() -> dict[str, tuple[dict[str, str], str]]:
    """id → (header, explanation)."""
    entries = {}
    for block in re.split(r"^-- ", CATALOG.read_text(), flags=re.MULTILINE)[1:]:
        head, _, body = block.partition("\n\n")
        number, *headers = head.splitlines()
        entries[number] = (dict(line.split(": ", 1) for line in headers), body.strip())
    return entries


def test_the_catalog_explains_exactly_the_kinds_there_are() -> None:
    assert list(catalog()) == list(MESSAGE_ID.values())


def test_each_explanation_has_a_subject_a_source_of_help_and_something_to_read() -> None:
    for number, (headers, body) in catalog().items():
        assert set(headers) == {"Subject", "Defined-By", "Support"}, number
        assert len(body) > 60, number
    assert len({headers["Subject"] for headers, _ in catalog().values()}) == len(Kind)


def test_the_catalog_speaks_only_of_fields_that_the_journal_gets() -> None:
    fields = set(re.findall(r"@([A-Z_]+)@", CATALOG.read_text()))
    assert fields <= {"HBD_NODE", "HBD_LINK", "HBD_GROUP", "HBD_RESOURCE", "HBD_TRANSITION", "MESSAGE"}


def test_systemd_compiles_the_catalog_without_a_word(tmp_path: Path) -> None:
    directory = tmp_path / "usr/lib/systemd/catalog"
    directory.mkdir(parents=True)
    (tmp_path / "var/lib/systemd/catalog").mkdir(parents=True)
    (directory / "hbd.catalog").write_bytes(CATALOG.read_bytes())
    done = subprocess.run(
        ["journalctl", "--update-catalog", f"--root={tmp_path}"], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    listed = subprocess.run(
        ["journalctl", "--list-catalog", f"--root={tmp_path}"], capture_output=True, text=True, check=True
    )
    if listed.stdout:
        assert {line.split(" ")[0] for line in listed.stdout.splitlines()} >= set(MESSAGE_ID.values())
    assert (tmp_path / "var/lib/systemd/catalog/database").stat().st_size > 5000
