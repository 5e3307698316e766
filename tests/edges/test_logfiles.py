"""What ha.cf's logging directives name: real files, a real socket, and the daemon that writes them."""

import os
import re
import resource
import signal
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from hbd.config.hacf import FACILITIES as FACILITY_NAMES
from hbd.config.model import Logging
from hbd.core.effects import Kind, Level, Log
from hbd.journal import PRIORITY, Journal
from hbd.logs.sinks import FACILITIES, SEVERITY, Form, Line, LogFile, Syslog, syslog_socket
from hbd.logs.writer import MOST_WAITING, LogFiles
from tests.edges.test_daemon import Node, alone, nodes, run_into_a_bug, until

__all__ = ["alone", "nodes"]

THEN_S = time.mktime((2026, 3, 5, 14, 7, 9, 0, 0, -1))
FORM = Form(syslog=True, host="linuxha1", pid=4711)
IN_A_FILE = re.compile(
    r"[A-Z][a-z]{2} \d\d \d\d:\d\d:\d\d \S+ heartbeat: \[\d+\]: (ERROR|CRIT|WARN|info|debug): .+"
)


class Told(list[str]):
    """What the journal alone was told."""

    def __call__(self, level: Level, text: str) -> None:
        self.append(f"{level.value}: {text}")


@pytest.fixture
def told() -> Told:
    return Told()


@pytest.fixture
def files(told: Told) -> Iterator[LogFiles]:
    made = LogFiles(told)
    yield made
    made.close()


def line(text: str, level: Level = Level.INFO) -> Line:
    return Line(level, text, THEN_S)


def texts(path: Path) -> list[str]:
    """The lines without their heads."""
    return [written.partition("]: ")[2] for written in path.read_text().splitlines()]


# ---------------------------------------------------------------- the forms


def test_a_line_looks_as_3_0_6_writes_it() -> None:
    written = FORM.render(line("node linuxha2: is dead", Level.WARN))
    assert written == b"Mar 05 14:07:09 linuxha1 heartbeat: [4711]: WARN: node linuxha2: is dead\n"


def test_with_syslogmsgfmt_off_it_has_the_other_form_of_3_0_6() -> None:
    written = Form(syslog=False, host="linuxha1", pid=4711).render(line("Link linuxha2:eth1 up."))
    assert written == b"heartbeat[4711]: 2026/03/05_14:07:09 info: Link linuxha2:eth1 up.\n"


def test_a_text_of_several_lines_has_a_head_on_each_and_no_byte_that_a_terminal_obeys() -> None:
    written = FORM.render(line("one\ntwo\x1b[31m\udcff", Level.ERROR)).decode()
    head = "Mar 05 14:07:09 linuxha1 heartbeat: [4711]: ERROR: "
    assert written == f"{head}one\n{head}two\\x1b[31m\\udcff\n"


# ---------------------------------------------------------------- files


def test_the_logfile_gets_all_but_debug_lines_and_the_debugfile_everything(
    files: LogFiles, tmp_path: Path
) -> None:
    files.configure(Logging(logfile=str(tmp_path / "log"), debugfile=str(tmp_path / "debug")))
    for level in Level:
        files.put(level, f"a line of {level.name}")
    files.flush(30)
    everything = [f"{level.value}: a line of {level.name}" for level in Level]
    assert texts(tmp_path / "debug") == everything
    assert texts(tmp_path / "log") == [text for text in everything if not text.startswith("debug")]


def test_a_file_begins_with_the_lines_of_the_time_before_the_configuration_was_known(
    files: LogFiles, tmp_path: Path
) -> None:
    files.put(Level.WARN, "early")
    files.configure(Logging(logfile=str(tmp_path / "log")))
    files.put(Level.INFO, "late")
    files.flush(30)
    assert texts(tmp_path / "log") == ["WARN: early", "info: late"]


def test_what_a_file_held_is_kept(files: LogFiles, tmp_path: Path) -> None:
    (tmp_path / "log").write_text("of heartbeat 3.0.6\n")
    files.configure(Logging(logfile=str(tmp_path / "log")))
    files.put(Level.INFO, "of hbd")
    files.flush(30)
    first, second = (tmp_path / "log").read_text().splitlines()
    assert first == "of heartbeat 3.0.6"
    assert second.endswith("]: info: of hbd")


@pytest.mark.parametrize("rotate", ["move", "remove", "move and create", "copy and truncate"])
def test_after_a_rotation_lines_go_to_the_new_file_without_a_signal(
    files: LogFiles, tmp_path: Path, rotate: str
) -> None:
    log, old = tmp_path / "log", tmp_path / "log.1"
    files.configure(Logging(logfile=str(log)))
    files.put(Level.INFO, "before")
    files.flush(30)
    match rotate:
        case "move":
            log.rename(old)
        case "remove":
            log.unlink()
        case "move and create":
            log.rename(old)
            log.touch(0o600)
        case _:
            old.write_bytes(log.read_bytes())
            os.truncate(log, 0)
    files.put(Level.INFO, "after")
    files.flush(30)
    assert texts(log) == ["info: after"]
    if rotate != "remove":
        assert texts(old) == ["info: before"]
    if rotate == "move and create":
        assert log.stat().st_mode & 0o777 == 0o600


def test_a_reopened_file_lets_go_of_what_was_moved(files: LogFiles, tmp_path: Path) -> None:
    def is_open(path: Path) -> bool:
        return any(os.path.samefile(f"/proc/self/fd/{fd}", path) for fd in descriptors())

    def descriptors() -> list[str]:
        return [fd for fd in os.listdir("/proc/self/fd") if os.path.exists(f"/proc/self/fd/{fd}")]

    files.configure(Logging(logfile=str(tmp_path / "log")))
    files.put(Level.INFO, "before")
    files.flush(30)
    assert is_open(tmp_path / "log")
    (tmp_path / "log").rename(tmp_path / "log.1")
    files.reopen()
    files.flush(30)
    assert not is_open(tmp_path / "log.1")


def test_other_files_take_over_between_two_lines(files: LogFiles, tmp_path: Path) -> None:
    files.configure(Logging(logfile=str(tmp_path / "one")))
    files.put(Level.INFO, "first")
    files.configure(Logging(logfile=str(tmp_path / "two")))
    files.put(Level.INFO, "second")
    files.configure(Logging())
    files.put(Level.INFO, "third")
    files.configure(Logging(logfile=str(tmp_path / "two")))
    files.put(Level.INFO, "fourth")
    files.flush(30)
    assert texts(tmp_path / "one") == ["info: first"]
    assert texts(tmp_path / "two") == ["info: second", "info: fourth"]


# ---------------------------------------------------------------- what cannot be written


def test_a_directory_that_is_not_there_is_said_once_and_what_was_lost_when_it_is(
    told: Told, tmp_path: Path
) -> None:
    path = tmp_path / "later" / "log"
    log = LogFile(str(path), FORM, told, debug=False)
    log.write(line("one"))
    log.write(line("two"))
    assert told == [f"ERROR: Cannot write to {path}: No such file or directory; the journal has its lines"]
    path.parent.mkdir()
    log.write(line("three"))
    assert told[1:] == [f"WARN: {path} is written again; 2 line(s) are missing"]
    assert texts(path) == [f"WARN: 2 log line(s) lost: {path} could not be written", "info: three"]
    log.close()


def test_a_full_disk_is_said_and_so_is_its_end(told: Told, tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.symlink_to("/dev/full")
    log = LogFile(str(path), FORM, told, debug=False)
    log.write(line("one"))
    assert told == [f"ERROR: Cannot write to {path}: No space left on device; the journal has its lines"]
    path.unlink()
    log.write(line("two"))
    assert texts(path) == [f"WARN: 1 log line(s) lost: {path} could not be written", "info: two"]
    log.close()


def test_half_a_line_does_not_run_into_the_next(told: Told, tmp_path: Path) -> None:
    path = tmp_path / "log"
    log = LogFile(str(path), FORM, told, debug=False)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (20, hard))
        log.write(line("one"))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    log.write(line("two"))
    log.close()
    torn, lost, two = path.read_text().splitlines()
    assert torn == "Mar 05 14:07:09 linuxha1"[:20]
    assert lost.endswith(f"]: WARN: 1 log line(s) lost: {path} could not be written")
    assert two.endswith("]: info: two")
    assert len(told) == 2


def test_a_pipe_that_nobody_reads_holds_up_nobody(files: LogFiles, told: Told, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    files.configure(Logging(logfile=str(tmp_path / "log"), debugfile=str(tmp_path / "pipe")))
    files.put(Level.INFO, "one")
    files.flush(30)
    assert texts(tmp_path / "log") == ["info: one"]
    (said,) = told
    assert said.startswith(f"ERROR: Cannot write to {tmp_path / 'pipe'}: ")


def test_lines_that_nobody_writes_cost_no_time_and_no_more_than_a_bound_and_are_counted(
    files: LogFiles, told: Told, tmp_path: Path
) -> None:
    begun_s = time.monotonic()
    for number in range(MOST_WAITING + 300):
        files.put(Level.INFO, f"line {number}")
    assert time.monotonic() - begun_s < 20, "nobody waits for a writer that does not come"
    assert told == ["WARN: the log files do not keep up: lines are now left out of them"]
    files.configure(Logging(logfile=str(tmp_path / "log")))
    files.flush(30)
    files.put(Level.INFO, "after")
    files.flush(30)
    written = texts(tmp_path / "log")
    assert written[MOST_WAITING - 1] == f"info: line {MOST_WAITING - 1}"
    lost = "WARN: 300 log line(s) lost: the log files did not keep up"
    assert written[MOST_WAITING:] == [lost, "info: after"]
    assert told[1:] == [lost]


# ---------------------------------------------------------------- syslog


def test_syslog_gets_the_line_with_facility_and_severity(told: Told, tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as daemon:
        daemon.bind(str(tmp_path / "log"))
        syslog = Syslog(str(tmp_path / "log"), "local3", 4711, told)
        syslog.write(line("node linuxha2: is dead", Level.WARN))
        syslog.write(line("one\ntwo", Level.CRIT))
        got = [daemon.recv(4096).decode() for _ in range(3)]
    assert got == [
        "<156>Mar  5 14:07:09 heartbeat: [4711]: WARN: node linuxha2: is dead",
        "<154>Mar  5 14:07:09 heartbeat: [4711]: CRIT: one",
        "<154>Mar  5 14:07:09 heartbeat: [4711]: CRIT: two",
    ]
    syslog.write(line("three"))
    syslog.write(line("four"))
    assert len(told) == 1
    assert told[0].startswith(f"ERROR: Cannot send to syslog ({tmp_path / 'log'}): ")
    os.unlink(tmp_path / "log")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as daemon:
        daemon.bind(str(tmp_path / "log"))
        syslog.write(line("five"))
        assert daemon.recv(4096).endswith(b"info: five")
    assert told[1:] == ["WARN: syslog is there again; 2 line(s) are missing there"]
    syslog.close()


def test_every_facility_of_ha_cf_has_its_number_and_levels_those_of_the_journal() -> None:
    assert SEVERITY == PRIORITY
    assert set(FACILITIES) == set(FACILITY_NAMES) - {"none"}
    assert (FACILITIES["daemon"], FACILITIES["authpriv"], FACILITIES["local7"]) == (3, 10, 23)


def test_the_journals_own_socket_is_not_taken_for_a_syslog_daemon(tmp_path: Path) -> None:
    dev_log, forwarded, journals = (str(tmp_path / name) for name in ("log", "syslog", "dev-log"))
    places = (dev_log, forwarded, journals)
    assert syslog_socket(*places) is None
    Path(journals).touch()
    os.symlink(journals, dev_log)
    assert syslog_socket(*places) is None
    Path(forwarded).touch()
    assert syslog_socket(*places) == forwarded
    for path in (forwarded, dev_log):
        os.unlink(path)
    Path(dev_log).touch()
    assert syslog_socket(*places) == dev_log


def test_where_the_journal_is_all_there_is_its_entries_have_the_facility(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as journald:
        journald.bind(str(tmp_path / "socket"))
        journal = Journal(str(tmp_path / "socket"))
        journal.log(Log(Level.INFO, Kind.GENERIC, "without"))
        journal.facility = FACILITIES["local0"]
        journal.log(Log(Level.INFO, Kind.GENERIC, "with"))
        without, given = journald.recv(4096), journald.recv(4096)
    assert b"SYSLOG_FACILITY" not in without
    assert b"\nSYSLOG_FACILITY=16\n" in given


# ---------------------------------------------------------------- the daemon


def with_lines(node: Node, *lines: str) -> None:
    """More lines at the end of its ha.cf."""
    ha_cf = node.home / "etc" / "ha.cf"
    ha_cf.write_text(ha_cf.read_text() + "".join(f"{text}\n" for text in lines))


def test_with_no_log_named_one_line_says_how_to_read_the_journal(alone: Node) -> None:
    alone.start()
    alone.waits_for("Local status now set to: 'active'")
    said = "No log entry found in ha.cf: the log is in the journal; read it with: journalctl -u hbd\n"
    assert alone.log.count(said) == 1


def test_the_daemons_files_have_its_whole_life_through_rotation_hang_up_and_debugging(alone: Node) -> None:
    log, debug = alone.home / "ha-log", alone.home / "ha-debug"
    with_lines(alone, f"logfile {log}", f"debugfile {debug}")
    process = alone.start()
    alone.waits_for("Local status now set to: 'active'")
    until(lambda: "info: Local status now set to: 'active'" in texts(log), "the status in the file")
    begin = texts(log)
    stars = begin.index("info: **************************")
    assert begin[stars + 1].startswith("info: Configuration validated. Starting hbd ")
    where = f"The log is in the journal (journalctl -u hbd), and in {log}, {debug}"
    assert begin[stars + 2] == f"info: {where}"
    assert all(IN_A_FILE.fullmatch(written) for written in log.read_text().splitlines())

    log.rename(alone.home / "ha-log.1")
    process.send_signal(signal.SIGUSR1)
    alone.waits_for("Debug level is 1 now")
    process.send_signal(signal.SIGHUP)
    alone.waits_for("Configuration reloaded: unchanged")
    until(lambda: "info: Configuration reloaded: unchanged" in texts(log), "the reload in the new file")
    until(lambda: any(text.startswith("debug: <- Asked(") for text in texts(debug)), "debug lines")
    assert "secret" not in debug.read_text()
    assert not any(text.startswith("debug: ") for text in texts(log))
    assert not any("DatagramReceived" in text or "Tick" in text for text in texts(debug))
    process.send_signal(signal.SIGUSR1)
    until(lambda: any(text.startswith("debug: -> Transmit(") for text in texts(debug)), "messages")
    process.send_signal(signal.SIGUSR2)
    until(lambda: alone.log.count("Debug level is 1 now") == 2, "less")
    process.send_signal(signal.SIGUSR2)
    alone.waits_for("Debug level is 0 now")

    process.send_signal(signal.SIGTERM)
    assert process.wait(45) == 0
    last = alone.log.splitlines()[-1].partition(": ")[2]
    assert texts(log)[-1] == texts(debug)[-1] == last


def test_a_reload_moves_the_log_to_another_file(alone: Node) -> None:
    with_lines(alone, f"logfile {alone.home / 'one'}")
    process = alone.start()
    alone.waits_for("Local status now set to: 'active'")
    with_lines(alone, f"logfile {alone.home / 'two'}", "debug 1", "syslogmsgfmt off")
    process.send_signal(signal.SIGHUP)
    alone.waits_for("Configuration reloaded: logging changed")
    until((alone.home / "two").exists, "the other file")
    until(lambda: "Configuration reloaded: logging changed" in (alone.home / "two").read_text(), "written")
    form = re.compile(r"heartbeat\[\d+\]: \d{4}/\d\d/\d\d_\d\d:\d\d:\d\d info: ")
    assert form.match((alone.home / "two").read_text())
    assert "Configuration reloaded" not in (alone.home / "one").read_text()


def test_a_log_file_that_cannot_be_written_stops_no_daemon(alone: Node) -> None:
    with_lines(alone, "logfile /dev/full", "debugfile /nonexistent/ha-debug")
    process = alone.start()
    alone.waits_for("Cannot write to /dev/full: No space left on device; the journal has its lines")
    alone.waits_for("Cannot write to /nonexistent/ha-debug: No such file or directory")
    until(lambda: alone.serves, "alpha serves", 45, lambda: alone.log)
    process.send_signal(signal.SIGTERM)
    assert process.wait(45) == 0


def test_the_reason_of_a_crash_is_in_the_file(alone: Node) -> None:
    log = alone.home / "ha-log"
    with_lines(alone, f"logfile {log}")
    done = run_into_a_bug(alone)
    assert done.returncode == 70
    assert "CRIT: hbd ends because of a bug; what it started goes on running" in texts(log)
    assert texts(log)[-1] == "CRIT: AssertionError: a bug"
