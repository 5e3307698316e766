"""ha.cf: every directive of the table, valid, wrong and left out."""

from __future__ import annotations

import re
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hbd.config.directives import Directive, Takes
from hbd.config.hacf import ROWS, TABLE
from hbd.config.model import (
    AutoFailback,
    Bcast,
    Compression,
    Logging,
    Mcast,
    MsgFormat,
    Ping,
    Place,
    Serial,
    Stonith,
    Timing,
    Ucast,
    Ucast6,
)
from tests.config.parsing import ha_cf, with_line

# Directive -> (valid values, wrong values).
SAMPLES: dict[str, tuple[list[str], list[str]]] = {
    "node": (["linuxha3", "LinuxHA3,linuxha4"], ["n" * 100]),
    "keepalive": (["2", "0.5", "500ms", "1500000us"], ["0", "2s", "500 ms", "x", "-1", "499us"]),
    "deadtime": (["30", "10", "2001ms"], ["2", "2s", "1m"]),
    "warntime": (["10", "1ms"], ["0", "ten"]),
    "initdead": (["120", "60"], ["29", "1min"]),
    "deadping": (["30", "3"], ["2", "3sec"]),
    "hopfudge": (["0", "1", "255"], ["256", "-1", "one"]),
    "auto_failback": (["on", "OFF", "legacy", "Legacy", "1", "n"], ["maybe", "2"]),
    "nice_failback": (["on", "off"], ["perhaps"]),
    "autojoin": (["none", "NONE"], ["any", "other", "all"]),
    "hbgenmethod": (["file", "time"], ["File", "date"]),
    "uuidfrom": (["file", "nodename"], ["name"]),
    "max_rexmit_delay": (["1", "250"], ["0", "250ms"]),
    "cluster": (["web"], []),
    "quorum_server": (["qs"], []),
    "udpport": (["694", "1", "65535"], ["0", "65536", "ha-cluster"]),
    "baud": (
        ["9600", "19200", "38400", "57600", "115200", "230400", "460800"],
        ["1200", "x", "9600 19200"],
    ),
    "bcast": (["eth0", "eth0,bond0.12"], ["an-interface-name", "eth/0"]),
    "udp": (["eth0"], ["an-interface-name"]),
    "ucast": (["eth0 10.0.0.2", "eth0 linuxha2"], ["eth0", "eth/0 10.0.0.2"]),
    "ucast6": (["eth0 fe80::2", "eth0 fe80::2%eth0"], ["eth0", "eth0 10.0.0.2", "eth0 fe80::2%eth1"]),
    "mcast": (
        ["eth0 225.0.0.1 694 1 0", "eth0 239.255.255.255 1 4 1"],
        [
            *("eth0", "eth0 225.0.0.1 694 1", "eth0 10.0.0.1 694 1 0", "eth0 225.0.0.1 0 1 0"),
            *("eth0 225.0.0.1 694 5 0", "eth0 225.0.0.1 694 1 2", "eth/0 225.0.0.1 694 1 0"),
        ],
    ),
    "mcast6": (["eth0 ff02::1 694 1 0"], ["eth0 fe80::1 694 1 0", "eth0 225.0.0.1 694 1 0"]),
    "serial": (["/dev/ttyS0", "/dev/ttyS0 /dev/ttyUSB1"], ["ttyS0"]),
    "ping": (["10.0.0.254", "router.example", "a,b"], ["10.0.0.256", "a a", "linuxha1"]),
    "ping6": (["2001:db8::1", "fe80::1%eth0", "router"], ["2001:db8::x"]),
    "ping_group": (["routers 10.0.0.254 10.0.0.253"], ["routers"]),
    "respawn": (["hacluster /usr/lib/heartbeat/ccm", "root /bin/x -a, b"], ["hacluster", "root bin/x"]),
    "failfast": (["root /bin/x"], ["root"]),
    "apiauth": (
        ["ipfail uid=hacluster", "ping gid=haclient,root uid=a"],
        ["ipfail", "ipfail user=x", "ipfail uid=", "n" * 32 + " uid=a"],
    ),
    "stonith": (["baytech /etc/ha.d/stonith.conf"], ["baytech", "baytech /etc/a /etc/b"]),
    "stonith_host": (["* ssh linuxha1", "LinuxHA2 null", "linuxha9 ssh linuxha1"], ["*", "linuxha1"]),
    "watchdog": (["/dev/watchdog"], ["/dev/watchdog /dev/watchdog1"]),
    "env": (["A=b", "A="], ["A", "=b", "A=b c"]),
    "crm": (
        ["off", "no", "0", "false"],
        ["on", "yes", "respawn", "minimal", "manual", "ccm-only", "valgrind"],
    ),
    "pacemaker": (["off"], ["true", "respawn", "what"]),
    "crm_daemon_dir": (["/usr/lib/heartbeat"], []),
    "crmd_spawns_pengine": (["on"], []),
    "record_config_changes": (["on"], []),
    "record_pengine_inputs": (["off"], []),
    "enable_config_writes": (["on"], []),
    "logfile": (["/var/log/ha-log"], []),
    "debugfile": (["/var/log/ha-debug"], []),
    "logfacility": (["local0", "daemon", "none"], ["local8", "LOCAL0"]),
    "use_logd": (["yes", "on"], ["off", "maybe"]),
    "conn_logd_time": (["60"], ["0", "1h"]),
    "debug": (["0", "255"], ["256", "x"]),
    "syslogmsgfmt": (["true", "false"], ["short"]),
    "log_badpack": (["off"], ["never"]),
    "realtime": (["off"], ["2"]),
    "rtprio": (["1", "99"], ["0", "100", "high"]),
    "memreserve": (["6500"], ["0", "lots"]),
    "coredumps": (["true"], ["some"]),
    "coreroot": (["/var/cores"], []),
    "use_apphbd": (["no"], ["x"]),
    "msgfmt": (["classic", "netstring"], ["Netstring", "xml"]),
    "compression": (["zlib", "bz2"], ["lzo"]),
    "compression_threshold": (["2"], ["0"]),
    "traditional_compression": (["off"], ["x"]),
}
VALID = [(name, value) for name, (valid, _) in SAMPLES.items() for value in valid]
WRONG = [(name, value) for name, (_, wrong) in SAMPLES.items() for value in wrong]


def errors(findings: list[str]) -> list[str]:
    return [finding for finding in findings if ": error: " in finding]


def test_every_directive_of_the_table_has_samples_here() -> None:
    assert list(SAMPLES) == [row.name for row in ROWS]


@pytest.mark.parametrize(("name", "value"), VALID)
def test_a_valid_value_is_no_error(name: str, value: str) -> None:
    assert errors(with_line(f"{name} {value}")[1]) == []


@pytest.mark.parametrize(("name", "value"), WRONG)
def test_a_wrong_value_is_an_error_on_its_line(name: str, value: str) -> None:
    found = errors(with_line(f"{name} {value}")[1])
    assert found
    assert all(finding.startswith("ha.cf:4:") for finding in found)


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_a_directive_without_value_is_ignored_with_a_warning(row: Directive[Any]) -> None:
    assert with_line(f"  {row.name} # nothing")[1] == [
        f"ha.cf:4:3: warning: {row.name} has no value and is ignored"
    ]


@pytest.mark.parametrize("row", [row for row in ROWS if row.default is not None], ids=lambda row: row.name)
def test_a_default_is_itself_a_valid_value_and_is_recorded(row: Directive[Any]) -> None:
    result, _ = with_line("")
    if row.name != "auto_failback":  # which the file sets
        assert dict(result.parameters)[row.name] == row.default
    assert errors(with_line(f"{row.name} {row.default}")[1]) == []


@pytest.mark.parametrize("name", [row.name for row in ROWS if row.takes is Takes.ONE])
def test_a_single_value_is_recorded_as_written(name: str) -> None:
    for value in SAMPLES[name][0]:
        assert dict(with_line(f"{name} {value}")[0].parameters)[name] == value


def test_with_nothing_but_the_necessary_everything_has_3_0_6s_default() -> None:
    result, findings = ha_cf("node linuxha1\nbcast eth1\n")
    assert findings == [
        "ha.cf:1:1: warning: Deprecated 'legacy' auto_failback option selected. "
        "Please convert to 'auto_failback on' (legacy is the default)"
    ]
    assert [node.text for node in result.nodes] == ["linuxha1"]
    assert result.media == (Bcast("eth1", 694),)
    assert result.timing == Timing(1000, 15000, 30000, 30000, 30000, 250)
    assert result.auto_failback is AutoFailback.LEGACY
    assert result.msgfmt is MsgFormat.CLASSIC
    assert (result.hopfudge, result.realtime, result.rtprio, result.log_badpack) == (1, True, None, True)
    assert (result.hbgenmethod, result.uuidfrom, result.watchdog) == ("file", "file", None)
    assert result.clients == ()
    recorded = dict(result.parameters)
    assert (recorded["warntime"], recorded["initdead"], recorded["udpport"]) == ("15000ms", "30000ms", "694")
    assert "logfile" not in recorded


def test_what_is_said_arrives_in_the_result() -> None:
    result, _ = ha_cf(
        "udpport 695\nnode LinuxHA1 linuxha2\nbcast eth1\nucast eth0 10.0.0.2\nkeepalive 100ms\n"
        "deadtime 0.5\nwarntime 250ms\ninitdead 20\ndeadping 3\nmax_rexmit_delay 100\n"
        "auto_failback off\nmsgfmt netstring\nhopfudge 3\n"
        "realtime off\nrtprio 50\nlog_badpack no\nhbgenmethod time\nuuidfrom nodename\n"
        "watchdog /dev/watchdog\nrespawn hacluster  /usr/lib/heartbeat/ipfail  -v\nfailfast root /bin/x\n"
    )
    assert [node.text for node in result.nodes] == ["linuxha1", "linuxha2"]
    assert result.media == (Bcast("eth1", 695), Ucast("eth0", "10.0.0.2", 695))
    assert result.timing == Timing(100, 250, 500, 20000, 3000, 100)
    assert result.auto_failback is AutoFailback.OFF
    assert result.msgfmt is MsgFormat.NETSTRING
    assert (result.hopfudge, result.realtime, result.rtprio, result.log_badpack) == (3, False, 50, False)
    assert (result.hbgenmethod, result.uuidfrom, result.watchdog) == ("time", "nodename", "/dev/watchdog")
    assert [(c.user, c.command, c.failfast) for c in result.clients] == [
        ("hacluster", "/usr/lib/heartbeat/ipfail  -v", False),
        ("root", "/bin/x", True),
    ]


# ---------------------------------------------------------------- lines and words


@pytest.mark.parametrize(
    ("line", "finding"),
    [
        ("deadtme 30", "ha.cf:4:1: error: Illegal directive [deadtme]; did you mean 'deadtime'?"),
        ("\tBcast eth1", "ha.cf:4:2: error: Illegal directive [Bcast]; did you mean 'bcast'?"),
        ("qwertz", "ha.cf:4:1: error: Illegal directive [qwertz]"),
        (
            "start-timeout 5",
            "ha.cf:4:1: error: Illegal directive [start-timeout]: it belongs in hbd.cf, "
            "so that ha.cf stays valid for heartbeat 3.0.6",
        ),
        ("deadtime  30x", "ha.cf:4:11: error: '30x' is not a duration; write 2, 0.5 or 500ms"),
        ("bcast eth0,eth/1", "ha.cf:4:12: error: 'eth/1' cannot be the name of a network interface"),
        (
            "rtprio 100",
            "ha.cf:4:8: error: Illegal realtime priority [100]: 100 is out of range; it must be from 1 to 99",
        ),
        ("warntime 0", "ha.cf:4:10: error: Warn time [0] is invalid."),
        ("logfacility local9", "ha.cf:4:13: error: Log facility(local9) not valid; did you mean 'local7'?"),
        ("ucast  eth0", "ha.cf:4:8: error: ucast: [eth0] missing target IP address/hostname"),
        ("respawn hacluster ipfail", "ha.cf:4:19: error: Client child command [ipfail] is not full pathname"),
        ("compression lzo", "ha.cf:4:13: error: Compression module(lzo) not found; write zlib or bz2"),
        (
            "deadtime 2",
            "ha.cf:4:10: error: Dead time [2000] is too small compared to keeplive [1000]; "
            "it must be more than 2000 ms",
        ),
        (
            "keepalive 15",
            "ha.cf:4:11: error: Dead time [30000] is too small compared to keeplive [15000]; "
            "it must be more than 30000 ms",
        ),
        ("initdead 29", "ha.cf:4:10: error: Initial dead time [29000] is smaller than deadtime [30000]"),
    ],
)
def test_an_error_has_its_text_and_place(line: str, finding: str) -> None:
    assert finding in with_line(line)[1]


def test_a_comment_ends_a_line_even_inside_a_word() -> None:
    assert with_line("keepalive 2#00")[0].timing.keepalive_ms == 2000


def test_line_ends_of_either_kind_are_the_same() -> None:
    assert ha_cf("node linuxha1\r\nauto_failback on\r\nbcast eth1\r\n")[1] == []


def test_of_several_values_the_last_counts_with_a_warning() -> None:
    result, findings = with_line("keepalive 2, 3")
    assert result.timing.keepalive_ms == 3000
    assert findings == ["ha.cf:4:14: warning: keepalive takes one value; the last one counts"]


def test_a_repeated_directive_overrides_the_one_before() -> None:
    assert with_line("keepalive 2\nkeepalive 3")[0].timing.keepalive_ms == 3000


@pytest.mark.parametrize(
    ("lines", "place"),
    [
        ("watchdog /dev/watchdog\nwatchdog /dev/watchdog", "5:10"),
        ("baud 9600\nbaud 9600", "5:6"),
        ("crm off\ncrm off", "5:5"),
        ("crm off\npacemaker off", "5:11"),
    ],
)
def test_some_directives_may_not_be_repeated(lines: str, place: str) -> None:
    found = errors(with_line(lines)[1])
    assert len(found) == 1
    assert found[0].startswith(f"ha.cf:{place}: error: ")
    assert "given twice; first at ha.cf:4:" in found[0]


def test_all_findings_come_at_once() -> None:
    _, findings = ha_cf("nod a\nkeepalive 1s\ndeadtime 5x\n")
    assert [finding.split(" ")[0] for finding in errors(findings)] == [
        "ha.cf:1:1:", "ha.cf:1:1:", "ha.cf:1:1:", "ha.cf:2:11:", "ha.cf:3:10:"
    ]  # fmt: skip


# ---------------------------------------------------------------- times


@pytest.mark.parametrize(
    ("text", "ms"),
    [("2", 2000), ("0.5", 500), ("500ms", 500), ("500MS", 500), ("500msec", 500), ("1500000us", 1500),
     (".5", 500), ("5.", 5000), ("1500usec", 2), ("1.0004", 1000), ("1.0005", 1001)],
)  # fmt: skip
def test_a_time_reads_as_in_3_0_6(text: str, ms: int) -> None:
    assert with_line(f"keepalive {text}")[0].timing.keepalive_ms == ms


@pytest.mark.parametrize("text", ["2s", "2sec", "1m", "1min", "m", "1..2", "1e3", "٣", "-1", "+1"])
def test_a_time_with_another_suffix_is_an_error(text: str) -> None:
    assert errors(with_line(f"keepalive {text}")[1])


def test_a_time_of_thousands_of_digits_is_an_error() -> None:
    assert errors(with_line("keepalive " + "9" * 5000)[1])
    assert with_line("keepalive 1." + "9" * 5000)[0].timing.keepalive_ms == 2000


@pytest.mark.parametrize(
    ("deadtime", "initdead"),
    [("30", 30000), ("10.001", 10001), ("10", 20000), ("6", 12000), ("5.999", 12000)],
)
def test_initdead_follows_from_deadtime(deadtime: str, initdead: int) -> None:
    result, findings = with_line(f"deadtime {deadtime}")
    assert result.timing.initdead_ms == initdead
    assert findings == []


def test_warntime_and_deadping_follow_from_deadtime() -> None:
    timing = with_line("deadtime 9")[0].timing
    assert (timing.warntime_ms, timing.deadping_ms) == (4500, 9000)


def test_an_initdead_below_twice_deadtime_is_a_warning() -> None:
    assert with_line("deadtime 30\ninitdead 59.999")[1] == [
        "ha.cf:5:10: warning: Initial dead time [59999 ms] is below twice deadtime; 60000 ms or more is usual"
    ]
    assert with_line("deadtime 30\ninitdead 60")[1] == []


def test_an_initdead_may_equal_deadtime_but_not_be_less() -> None:
    assert errors(with_line("deadtime 30\ninitdead 30")[1]) == []
    assert errors(with_line("deadtime 30\ninitdead 29.999")[1])


def test_an_initdead_below_ten_seconds_is_a_warning_as_in_3_0_6() -> None:
    (finding,) = with_line("deadtime 3\ninitdead 9")[1]
    assert finding.startswith("ha.cf:5:10: warning: Initial dead time [9000 ms] may be too small!")


def test_deadtime_must_be_more_than_twice_keepalive() -> None:
    assert errors(with_line("keepalive 2\ndeadtime 4")[1])
    assert with_line("keepalive 2\ndeadtime 4.001")[1] == []


def test_a_wrong_time_is_not_judged_again_beside_others() -> None:
    assert len(errors(with_line("keepalive 2x\ndeadtime 1\ninitdead 2x")[1])) == 2
    assert len(errors(with_line("deadtime 2x\ninitdead 1")[1])) == 1


def test_a_warntime_that_never_warns_gets_a_warning() -> None:
    (finding,) = with_line("warntime 30")[1]
    assert finding.startswith("ha.cf:4:10: warning: warntime [30000] is not below deadtime [30000]")


# ---------------------------------------------------------------- failback


@pytest.mark.parametrize(
    ("lines", "meaning"),
    [
        ("auto_failback on", AutoFailback.ON),
        ("auto_failback y", AutoFailback.ON),
        ("auto_failback FALSE", AutoFailback.OFF),
        ("auto_failback LEGACY", AutoFailback.LEGACY),
        ("", AutoFailback.LEGACY),
        ("nice_failback on", AutoFailback.LEGACY),
        ("nice_failback off", AutoFailback.LEGACY),
        ("auto_failback on\nnice_failback on", AutoFailback.OFF),
        ("auto_failback off\nnice_failback off", AutoFailback.OFF),
        ("auto_failback legacy\nnice_failback on", AutoFailback.LEGACY),
        ("nice_failback on\nauto_failback on", AutoFailback.ON),
    ],
)
def test_failback_means_what_it_means_to_3_0_6(lines: str, meaning: AutoFailback) -> None:
    result, findings = ha_cf(f"node linuxha1\nbcast eth1\n{lines}\n")
    assert result.auto_failback is meaning
    assert errors(findings) == []
    assert any("Deprecated 'legacy'" in finding for finding in findings) is (meaning is AutoFailback.LEGACY)
    assert any("nice_failback flag is obsolete" in finding for finding in findings) is ("nice" in lines)


# ---------------------------------------------------------------- media


def test_udp_is_read_as_bcast() -> None:
    result, findings = with_line("udp eth5")
    assert Bcast("eth5", 694) in result.media
    assert findings == ["ha.cf:4:5: warning: directive 'udp' replaced by 'bcast'"]


def test_udpport_before_the_media_is_in_effect_without_a_warning() -> None:
    result, findings = ha_cf("udpport 700\nnode linuxha1\nauto_failback on\nbcast eth1\n")
    assert (result.media, findings) == ((Bcast("eth1", 700),), [])


def test_udpport_after_media_comes_too_late_for_them_and_for_all_bcast() -> None:
    result, findings = with_line("udpport 700\nbcast eth2\nucast eth0 10.0.0.2")
    assert result.media == (Bcast("eth1", 694), Bcast("eth2", 694), Ucast("eth0", "10.0.0.2", 700))
    assert findings == [
        "ha.cf:4:9: warning: udpport setting must precede media statements: no effect on bcast above"
    ]


def test_udpport_after_media_that_says_the_same_is_no_matter() -> None:
    assert with_line("udpport 694")[1] == []


def test_baud_is_that_of_the_serial_lines_that_follow() -> None:
    result, findings = with_line("serial /dev/ttyS0\nbaud 9600\nserial /dev/ttyS1")
    assert result.media[1:] == (Serial("/dev/ttyS0", 19200), Serial("/dev/ttyS1", 9600))
    assert findings == ["ha.cf:5:6: warning: baud must precede serial: no effect on the serial lines above"]


def test_every_medium_is_in_the_result_ping_nodes_too() -> None:
    result, findings = with_line(
        "udpport 700\nucast6 eth0 fe80::2%eth0\nmcast eth0 225.0.0.1 694 1 0\n"
        "mcast6 eth0 ff02::1 694 2 1\nserial /dev/ttyS0\nping 10.0.0.254\nping_group routers a b"
    )
    assert result.media == (
        Bcast("eth1", 694),
        Ucast6("eth0", "fe80::2", 700),
        Mcast("eth0", "225.0.0.1", 694, 1, False),
        Mcast("eth0", "ff02::1", 694, 2, True, 6),
        Serial("/dev/ttyS0", 19200),
        Ping("10.0.0.254", ("10.0.0.254",), "ping"),
        Ping("routers", ("a", "b"), "ping_group"),
    )
    assert errors(findings) == []


def test_no_medium_at_all_is_an_error() -> None:
    _, findings = ha_cf("node linuxha1\nauto_failback on\nping 10.0.0.1\n")
    assert errors(findings) == [
        "ha.cf:1:1: error: No heartbeat media defined; write bcast IFACE or ucast IFACE ADDRESS"
    ]


@pytest.mark.parametrize("line", ["serial /dev/ttyS0", "mcast6 eth0 ff02::1 694 1 0", "ucast6 eth0 fe80::2"])
def test_one_medium_of_any_kind_is_enough(line: str) -> None:
    assert ha_cf(f"node linuxha1\nauto_failback on\n{line}\n")[1] == []


def test_a_medium_that_is_wrong_is_not_reported_as_missing_too() -> None:
    assert len(errors(ha_cf("node linuxha1\nauto_failback on\nbcast eth/1\n")[1])) == 1


def test_the_same_medium_twice_is_opened_once() -> None:
    result, findings = with_line("bcast eth1")
    assert result.media == (Bcast("eth1", 694),)
    assert findings == ["ha.cf:4:7: warning: the same medium is given above; this one is left out"]


def test_what_follows_the_two_words_of_ucast_is_ignored() -> None:
    assert with_line("ucast eth0 10.0.0.2 extra")[1] == [
        "ha.cf:4:21: warning: ignored from here to the end of the line"
    ]


def test_sixty_four_media_are_the_most() -> None:
    sixty_three = "bcast " + " ".join(f"e{index}" for index in range(63))
    assert with_line(sixty_three)[1] == []
    assert errors(with_line(sixty_three + " e63")[1]) == ["ha.cf:4:249: error: more than 64 heartbeat media"]


# ---------------------------------------------------------------- nodes


def test_the_local_node_must_be_listed_and_the_likely_one_is_suggested() -> None:
    _, findings = ha_cf(
        "node linuxha2.linux-ha.org linuxha1.linux-ha.org\nauto_failback on\nbcast eth1\n", node="linuxha1"
    )
    assert findings == [
        "ha.cf:1:28: error: Current node [linuxha1] not in configuration! "
        "The nodes are linuxha2.linux-ha.org, linuxha1.linux-ha.org; "
        "`uname -n`, or the first line of nodeinfo, must be one of them; "
        "did you mean 'linuxha1.linux-ha.org'?"
    ]


def test_no_nodes_is_one_error() -> None:
    assert errors(ha_cf("auto_failback on\nbcast eth1\n")[1]) == [
        "ha.cf:1:1: error: no nodes defined; write node NAME for each machine"
    ]


def test_a_node_named_twice_counts_once() -> None:
    result, findings = with_line("node LINUXHA2")
    assert [node.text for node in result.nodes] == ["linuxha1", "linuxha2"]
    assert findings == ["ha.cf:4:6: warning: node linuxha2 is named twice; first at ha.cf:1:15"]


def test_a_hundred_nodes_are_the_most() -> None:
    more = "node " + " ".join(f"n{index}" for index in range(98))
    assert with_line(more)[1] == []
    assert errors(with_line(more + " n98")[1])
    assert errors(with_line(more + "\nping 10.0.0.1")[1])


# ---------------------------------------------------------------- the rest


@pytest.mark.parametrize("line", ["crm on", "crm respawn", "pacemaker yes"])
def test_crm_is_refused_with_what_hbd_is_and_what_to_use(line: str) -> None:
    (finding,) = with_line(line)[1]
    assert "two nodes and haresources" in finding
    assert "Pacemaker with Corosync" in finding


def test_of_the_stonith_lines_for_this_node_the_last_one_counts() -> None:
    result, findings = with_line(
        "stonith baytech /etc/ha.d/stonith.conf\nstonith_host LINUXHA1 ssh linuxha2, x # all\n"
        "stonith_host linuxha2 null a"
    )
    assert findings == []
    assert result.stonith == Stonith("ssh", "linuxha2, x", Place("ha.cf", 5, 14))
    assert [line.place.line for line in result.stonith_lines] == [4, 5, 6]


def test_a_stonith_line_for_a_host_that_is_no_node_is_told() -> None:
    result, findings = with_line("stonith_host linuxha3 ssh linuxha2")
    assert result.stonith is None
    (finding,) = findings
    assert finding.startswith("ha.cf:4:14: warning: stonith_host linuxha3: not a node of this cluster")


def test_whole_messages_are_compressed_only_on_request() -> None:
    assert with_line("compression bz2\ncompression_threshold 1")[0].compression is None
    assert with_line("traditional_compression no")[0].compression is None
    assert with_line("traditional_compression yes")[0].compression == Compression("zlib", 2048)
    result, _ = with_line("traditional_compression yes\ncompression bz2\ncompression_threshold 1")
    assert result.compression == Compression("bz2", 1024)


def test_core_files_are_left_to_the_unit_unless_ha_cf_speaks_of_them() -> None:
    assert with_line("")[0].coredumps is None
    assert with_line("coredumps off\ncoreroot /var/cores")[0].coredumps is False
    result, findings = with_line("coreroot var/cores")
    assert (result.coredumps, result.coreroot) == (True, "var/cores")
    assert findings == [
        "ha.cf:4:10: warning: coreroot var/cores is not an absolute path; /var/cores is meant"
    ]


@pytest.mark.parametrize(
    ("line", "instead"),
    [
        ("use_logd yes", "the log is in the journal"),
        ("conn_logd_time 60", "no ha_logd"),
        ("memreserve 6500", "locked"),
        ("use_apphbd on", "systemd watches hbd"),
    ],
)
def test_what_hbd_has_no_use_for_says_what_there_is_instead(line: str, instead: str) -> None:
    (finding,) = with_line(line)[1]
    assert finding.startswith(f"ha.cf:4:{len(line.split()[0]) + 2}: warning: ")
    assert instead in finding
    assert with_line("use_logd off\nlogfacility daemon\nuse_apphbd no")[1] == []


def test_logging_to_nowhere_is_an_error_as_in_3_0_6() -> None:
    text = "ha.cf:4:10: error: No log entry found in ha.cf and use_logd is set to off"
    assert errors(with_line("use_logd off")[1]) == [text]
    assert errors(with_line("use_logd off\nlogfacility none")[1]) == [text]
    assert errors(with_line("use_logd off\nlogfacility daemon")[1]) == []
    assert errors(with_line("use_logd off\nlogfile /var/log/ha-log")[1]) == []


def test_with_a_log_facility_the_files_are_recorded_as_dev_null() -> None:
    recorded = dict(with_line("logfacility daemon\nlogfile /var/log/x")[0].parameters)
    assert (recorded["logfile"], recorded["debugfile"]) == ("/var/log/x", "/dev/null")


def test_where_the_log_goes_is_what_the_last_lines_say_in_any_order() -> None:
    assert with_line("")[0].logging == Logging()
    said = "syslogmsgfmt off\nlogfile /a\ndebug 2\nlogfacility local0\ndebugfile /b\nlogfile /c"
    assert with_line(said)[0].logging == Logging("/c", "/b", "local0", 2, False)


def test_none_and_dev_null_are_no_places_for_a_log() -> None:
    assert with_line("logfile /dev/null\ndebugfile /dev/null\nlogfacility none")[0].logging == Logging()


@pytest.mark.parametrize(
    ("path", "text"),
    [("log", "/log is written"), ("/home/ha/log", "ProtectHome=yes"), ("/root/log", "out of reach")],
)
def test_a_log_file_in_an_unlikely_place_is_a_warning(path: str, text: str) -> None:
    (finding,) = with_line(f"debugfile {path}")[1]
    assert finding.startswith("ha.cf:4:11: warning: ")
    assert text in finding


def test_the_clients_that_hbd_replaces_are_in_order_whatever_their_path() -> None:
    for path in ("/usr/lib/heartbeat", "/usr/libexec/heartbeat", "/opt"):
        assert with_line(f"respawn hacluster {path}/ipfail")[1] == []
        assert with_line(f"respawn hacluster {path}/ccm")[1] == []


def test_ipfail_with_auto_failback_legacy_is_a_warning_where_ipfail_stands() -> None:
    text = "node linuxha1 linuxha2\nauto_failback legacy\nbcast eth1\nrespawn hacluster /x/ipfail\n"
    assert ha_cf(text)[1][1:] == [
        "ha.cf:4:9: warning: ipfail has no effect with auto_failback legacy: nothing moves when ping nodes "
        "are lost; write auto_failback on or off"
    ]


def test_a_clients_unit_follows_from_what_its_line_says_and_not_from_where_it_stands() -> None:
    def units(text: str) -> list[str]:
        return [client.unit for client in with_line(text)[0].clients]

    (unit,) = units("respawn nobody /usr/local/bin/a@b -n 5")
    assert re.fullmatch(r"hbd-client-a\\x40b-[0-9a-f]{8}\.service", unit)
    assert units("# moved\n\n  respawn  nobody  /usr/local/bin/a@b -n 5 # as before") == [unit]
    others = units(
        "respawn nobody /usr/local/bin/a@b -n 6\nrespawn root /usr/local/bin/a@b -n 5\n"
        "failfast nobody /usr/local/bin/a@b -n 5\n"
        "respawn nobody /bin/twice\nrespawn nobody /bin/twice"
    )
    assert len({unit, *others}) == 6


def test_apiauth_is_explained() -> None:
    assert with_line("apiauth ping uid=root")[1] == [
        "ha.cf:4:9: warning: apiauth has no effect: hbd has no socket for heartbeat's clients; "
        "everyone may read its state on D-Bus"
    ]


def test_an_api_client_is_named_once() -> None:
    assert errors(with_line("apiauth ping uid=root\napiauth ping uid=root")[1]) == [
        "ha.cf:5:9: error: apiauth ping is given twice; first at ha.cf:4:9"
    ]


def test_what_stands_in_ha_cf_for_crm_alone_is_ignored_with_a_warning() -> None:
    assert with_line("record_pengine_inputs on")[1] == [
        "ha.cf:4:23: warning: record_pengine_inputs has a meaning only with crm and is ignored"
    ]


_DIRECTIVE_LINE = st.builds(
    "{}{}{}".format,
    st.sampled_from(sorted(TABLE)),
    st.sampled_from([" ", "\t", ",", ""]),
    st.text(max_size=40),
)
_LIKELY = st.lists(
    st.text(alphabet="eth01.: /%=#,\\msauto-\r", max_size=30), max_size=3
).map(" ".join)  # fmt: skip
_SHAPED_LINE = st.builds("{} {}".format, st.sampled_from(sorted(TABLE)), _LIKELY)


@given(st.lists(st.one_of(st.text(), _DIRECTIVE_LINE, _SHAPED_LINE), max_size=12).map("\n".join))
@settings(max_examples=300)
def test_no_text_makes_the_parser_raise_and_every_finding_has_a_place_in_it(text: str) -> None:
    _, findings = ha_cf(text)
    count = text.count("\n") + 1
    for finding in findings:
        path, line, column, _ = finding.split(":", 3)
        assert path == "ha.cf"
        assert 1 <= int(line) <= count
        assert 1 <= int(column) <= len(text.split("\n")[int(line) - 1]) + 1


# ---------------------------------------------------------------- env


def test_env_adds_up_and_the_last_of_one_name_counts() -> None:
    result, findings = with_line("env SITE=one NFS=\nenv SITE=two")
    assert result.environment == (("SITE", "two"), ("NFS", ""))
    assert findings == []


def test_a_variable_that_no_script_could_read_is_left_out_with_a_warning() -> None:
    result, findings = with_line("env A-B=1")
    assert result.environment == ()
    assert findings == ["ha.cf:4:5: warning: no script could read HA_A-B from its environment; left out"]
