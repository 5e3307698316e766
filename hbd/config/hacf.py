"""ha.cf: the one table of its directives.

Every directive of heartbeat 3.0.6 has a row. What concerns several
directives together is judged at the end, in `hacf_checks`. Facts: ha.cf as
heartbeat 3.0.6 reads it; its defaults as `heartbeat -D` prints them.
"""

from __future__ import annotations

from collections.abc import Container

from hbd.config import hacf_absent as absent
from hbd.config import hacf_clients as clients
from hbd.config import hacf_fencing as fencing
from hbd.config import hacf_media as media
from hbd.config.directives import Directive, Takes, choice, duration, number, read, switch, text
from hbd.config.findings import Findings, Word, suggestion
from hbd.config.hacf_checks import finish
from hbd.config.hacf_draft import DEFAULT_CORE_ROOT, DEFAULT_PORT, HaCf, HaCfDraft
from hbd.config.model import AutoFailback
from hbd.config.scalars import boolean

ONE, MANY, LINE = Takes.ONE, Takes.MANY, Takes.LINE

FACILITIES = (
    *("none", "auth", "authpriv", "cron", "daemon", "ftp", "kern"),
    *("lpr", "mail", "news", "syslog", "user", "uucp"),
    *(f"local{index}" for index in range(8)),
)
COMPRESSIONS = ("zlib", "bz2")
"""The plugins that cluster-glue ships."""
OUT_OF_REACH = ("/home/", "/root/", "/run/user/")
"""ProtectHome=, systemd.exec(5)."""
RTPRIO_MIN, RTPRIO_MAX = 1, 99  # sched_get_priority_min and _max of SCHED_FIFO on Linux


def _auto_failback(draft: HaCfDraft, name: str, word: Word) -> None:
    value = boolean(word.text)
    if word.text.lower() == "legacy":
        draft.auto_failback = AutoFailback.LEGACY
    elif value is None:
        draft.found.error(word, f"'{word.text}' is not a value of auto_failback; write on, off or legacy")
        draft.auto_failback = AutoFailback.OFF  # Any value but none: the legacy warning would mislead.
    else:
        draft.auto_failback = AutoFailback.ON if value else AutoFailback.OFF


def _nice_failback(draft: HaCfDraft, name: str, word: Word) -> None:
    """Obsolete: legacy whatever it says, but off after an `auto_failback on` or `off`."""
    if boolean(word.text) is None:
        draft.found.error(word, f"'{word.text}' is not a boolean; remove the line, nice_failback is obsolete")
        return
    before = draft.auto_failback
    draft.auto_failback = AutoFailback.LEGACY if before in (None, AutoFailback.LEGACY) else AutoFailback.OFF
    draft.found.warning(
        word,
        "nice_failback flag is obsolete. Use auto_failback {on, off, legacy} instead; "
        f"read as 'auto_failback {draft.auto_failback.value}'",
    )


def _autojoin(draft: HaCfDraft, name: str, word: Word) -> None:
    match word.text.lower():
        case "none":
            pass
        case "other" | "any":
            draft.found.error(
                word,
                "R1 style resource management conflicts with autojoin set; write autojoin none or remove it",
            )
        case _:
            draft.found.error(word, f"'{word.text}' is not a value of autojoin; write none")


def _log_file(draft: HaCfDraft, name: str, word: Word) -> None:
    draft.texts[name] = word.text
    if not word.text.startswith("/"):
        draft.found.warning(word, f"{name} {word.text} is not an absolute path; /{word.text} is written")
    elif word.text.startswith(OUT_OF_REACH):
        draft.found.warning(
            word,
            f"{word.text} is out of reach: hbd.service has ProtectHome=yes; write a path below /var/log",
        )


def _facility(draft: HaCfDraft, name: str, word: Word) -> None:
    if word.text in FACILITIES:
        draft.texts[name] = word.text
    else:
        draft.found.error(word, f"Log facility({word.text}) not valid{suggestion(word.text, FACILITIES)}")


def _core_root(draft: HaCfDraft, name: str, word: Word) -> None:
    draft.texts[name] = word.text
    if not word.text.startswith("/"):
        draft.found.warning(word, f"{name} {word.text} is not an absolute path; /{word.text} is meant")


def _compression(draft: HaCfDraft, name: str, word: Word) -> None:
    if word.text in COMPRESSIONS:
        draft.texts[name] = word.text
    else:
        draft.found.error(word, f"Compression module({word.text}) not found; write zlib or bz2")


ROWS: tuple[Directive[HaCfDraft], ...] = (
    # Cluster and timing
    Directive("node", MANY, media.add_node),
    Directive("keepalive", ONE, duration(1), default="1000ms"),
    Directive("deadtime", ONE, duration(), default="30000ms"),
    Directive("warntime", ONE, duration(1, "Warn time [{word}] is invalid.")),
    Directive("initdead", ONE, duration()),
    Directive("deadping", ONE, duration()),
    Directive("hopfudge", ONE, number(0, 255), default="1"),
    Directive("auto_failback", ONE, _auto_failback, default="legacy"),
    Directive("nice_failback", ONE, _nice_failback),
    Directive("autojoin", ONE, _autojoin, default="none"),
    Directive("hbgenmethod", ONE, choice("file", "time"), default="file"),
    Directive("uuidfrom", ONE, choice("file", "nodename"), default="file"),
    Directive("max_rexmit_delay", ONE, number(1), default="250"),
    Directive("cluster", ONE, text, default="linux-ha"),
    Directive("quorum_server", ONE, clients.crm_only),
    # Media
    Directive("udpport", ONE, media.udpport),
    Directive("baud", ONE, media.baud, default="19200", once=True),
    Directive("bcast", MANY, media.bcast),
    Directive("udp", MANY, media.udp),
    Directive("ucast", LINE, media.ucast),
    Directive("ucast6", LINE, media.ucast6),
    Directive("mcast", LINE, media.mcast),
    Directive("mcast6", LINE, media.mcast6),
    Directive("serial", MANY, media.serial),
    Directive("ping", MANY, media.ping),
    Directive("ping6", MANY, media.ping6),
    Directive("ping_group", LINE, media.ping_group),
    # Resource management, clients, fencing
    Directive("respawn", LINE, clients.client),
    Directive("failfast", LINE, clients.client),
    Directive("apiauth", LINE, clients.apiauth),
    Directive("stonith", LINE, fencing.stonith),
    Directive("stonith_host", LINE, fencing.stonith_host),
    Directive("watchdog", ONE, text, once=True),
    Directive("env", MANY, clients.env),
    Directive("crm", ONE, clients.crm, default="false", once=True),
    Directive("pacemaker", ONE, clients.crm, default="false", once=True),
    Directive("crm_daemon_dir", ONE, clients.crm_only),
    Directive("crmd_spawns_pengine", ONE, clients.crm_only),
    Directive("record_config_changes", ONE, clients.crm_only, default="on"),
    Directive("record_pengine_inputs", ONE, clients.crm_only, default="on"),
    Directive("enable_config_writes", ONE, clients.crm_only, default="on"),
    # Logging
    Directive("logfile", ONE, _log_file),
    Directive("debugfile", ONE, _log_file),
    Directive("logfacility", ONE, _facility),
    Directive("use_logd", ONE, absent.use_logd),
    Directive("conn_logd_time", ONE, absent.conn_logd_time, default="60"),
    Directive("debug", ONE, number(0, 255), default="0"),
    Directive("syslogmsgfmt", ONE, switch, default="true"),
    Directive("log_badpack", ONE, switch, default="true"),
    # Process behaviour
    Directive("realtime", ONE, switch, default="true"),
    Directive("rtprio", ONE, number(RTPRIO_MIN, RTPRIO_MAX, "Illegal realtime priority [{word}]")),
    Directive("memreserve", ONE, absent.memreserve, default="6500"),
    Directive("coredumps", ONE, switch, default="true"),
    Directive("coreroot", ONE, _core_root, default=DEFAULT_CORE_ROOT),
    Directive("use_apphbd", ONE, absent.use_apphbd),
    # Wire
    Directive("msgfmt", ONE, choice("classic", "netstring"), default="classic"),
    Directive("compression", ONE, _compression, default="zlib"),
    Directive("compression_threshold", ONE, number(1), default="2"),
    Directive("traditional_compression", ONE, switch, default="no"),
)
TABLE = {row.name: row for row in ROWS}

_FOREIGN = {
    "hbaping": "a heartbeat plugin that is not shipped with 3.0.6 on Debian, and that hbd does not have",
    "rds": "a heartbeat plugin that is not shipped with 3.0.6 on Debian, and that hbd does not have",
    "tipc": "a heartbeat plugin that is not shipped with 3.0.6 on Debian, and that hbd does not have",
    "normalpoll": "not built into 3.0.6 on Debian; remove the line, hbd needs no such choice",
}


def parse(
    content: str,
    path: str,
    local_node: str,
    found: Findings,
    *,
    default_port: int = DEFAULT_PORT,
    hbd_cf_names: Container[str] = (),
) -> HaCf:
    """Read ha.cf for the node of that (lower case) name. Errors go to `found`; the result is then a filler.

    `default_port` is what /etc/services says of ha-cluster/udp, `hbd_cf_names`
    the directives to send to hbd.cf.
    """

    def unknown(name: Word) -> str:
        illegal = f"Illegal directive [{name.text}]"
        if name.text in _FOREIGN:
            return f"{illegal}: {_FOREIGN[name.text]}"
        if name.text in hbd_cf_names:
            return f"{illegal}: it belongs in hbd.cf, so that ha.cf stays valid for heartbeat 3.0.6"
        return illegal + suggestion(name.text, TABLE)

    draft = HaCfDraft(path, found, port=default_port)
    read(content, draft, TABLE, unknown)
    return finish(draft, local_node, ROWS, default_port)
