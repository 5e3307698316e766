"""ha.cf as a whole: what directives mean together, and the value that results.

The order is 3.0.6's: media, nodes, local node, times, logging. A time that was
wrong by itself is not judged again beside others.
"""

from __future__ import annotations

from collections.abc import Sequence

from hbd.config import hacf_fencing as fencing
from hbd.config import timeline
from hbd.config.directives import Directive, Takes
from hbd.config.findings import Word, node_suggestion
from hbd.config.hacf_draft import DEFAULT_CORE_ROOT, HaCf, HaCfDraft
from hbd.config.model import (
    AutoFailback,
    Compression,
    Logging,
    MediumSpec,
    MsgFormat,
    Ping,
    Place,
    Serial,
    Timing,
)

_MEDIA_NAMES = ("bcast", "udp", "ucast", "ucast6", "mcast", "mcast6", "serial")


def finish(
    draft: HaCfDraft, local_node: str, rows: Sequence[Directive[HaCfDraft]], default_port: int
) -> HaCf:
    """Judge the whole and fill in the defaults."""
    carrying = _carrying(draft)
    _check_nodes(draft, local_node)
    timing = _timing(draft)
    auto_failback = _auto_failback(draft)
    _check_watchdog(draft, timing)
    _check_ipfail(draft, auto_failback)
    _check_logging(draft)
    return HaCf(
        nodes=tuple(draft.nodes.values()),
        media=tuple(medium for medium, _ in draft.media),
        serial_lines=tuple((medium, word) for medium, word in carrying if isinstance(medium, Serial)),
        ping_nodes=tuple(draft.ping_nodes),
        timing=timing,
        auto_failback=auto_failback,
        msgfmt=MsgFormat(draft.texts.get("msgfmt", "classic")),
        hopfudge=draft.numbers.get("hopfudge", 1),
        realtime=draft.switches.get("realtime", True),
        rtprio=draft.numbers.get("rtprio"),
        log_badpack=draft.switches.get("log_badpack", True),
        clients=tuple(draft.clients),
        watchdog=draft.texts.get("watchdog"),
        hbgenmethod=draft.texts.get("hbgenmethod", "file"),
        uuidfrom=draft.texts.get("uuidfrom", "file"),
        logging=_logging(draft),
        environment=tuple(draft.environment.items()),
        coredumps=draft.switches.get("coredumps", True if "coreroot" in draft.texts else None),
        coreroot=draft.texts.get("coreroot", DEFAULT_CORE_ROOT),
        compression=_compression(draft),
        stonith=fencing.chosen(draft, local_node),
        stonith_lines=tuple(line for _, line, _ in draft.stonith),
        parameters=_parameters(draft, timing, rows, default_port),
    )


def _carrying(draft: HaCfDraft) -> list[tuple[MediumSpec, Word]]:
    """The media that carry heartbeats between nodes."""
    carrying: list[tuple[MediumSpec, Word]] = [
        (medium, word) for medium, word in draft.media if not isinstance(medium, Ping)
    ]
    if not carrying and not any(name in draft.said for name in _MEDIA_NAMES):
        draft.found.error(
            Place(draft.path, 1, 1),
            "No heartbeat media defined; write bcast IFACE or ucast IFACE ADDRESS",
        )
    return carrying


def _check_nodes(draft: HaCfDraft, local_node: str) -> None:
    for name, word in draft.ping_nodes.items():
        if name in draft.nodes:
            node = draft.nodes[name]
            draft.found.error(word, f"{name} is a node at {node.place} and cannot be a ping node too")
    if not draft.nodes:
        if "node" not in draft.said:
            draft.found.error(Place(draft.path, 1, 1), "no nodes defined; write node NAME for each machine")
        return
    if local_node in draft.nodes:
        return
    first = next(iter(draft.nodes.values()))
    draft.found.error(
        _similar(draft, local_node) or first,
        f"Current node [{local_node}] not in configuration! The nodes are {', '.join(draft.nodes)}; "
        "`uname -n`, or the first line of nodeinfo, must be one of them"
        f"{node_suggestion(local_node, draft.nodes)}",
    )


def _similar(draft: HaCfDraft, local_node: str) -> Word | None:
    """The node that is the local one with or without a domain."""
    host = local_node.partition(".")[0]
    return next((word for name, word in draft.nodes.items() if name.partition(".")[0] == host), None)


def _timing(draft: HaCfDraft) -> Timing:
    numbers, found = draft.numbers, draft.found
    default = Timing()
    keepalive = numbers.get("keepalive", default.keepalive_ms)
    deadtime = numbers.get("deadtime", default.deadtime_ms)
    initdead = numbers.get("initdead", default_initdead(deadtime))
    deadping = numbers.get("deadping", deadtime)
    warntime = numbers.get("warntime", deadtime // 2)

    both_known = not draft.broken("keepalive") and not draft.broken("deadtime")
    if both_known and deadtime <= 2 * keepalive:
        found.error(
            _said(draft, "deadtime", "keepalive"),
            f"Dead time [{deadtime}] is too small compared to keeplive [{keepalive}]; "
            f"it must be more than {2 * keepalive} ms",
        )
    if "initdead" in numbers and not draft.broken("deadtime"):
        _check_initdead(draft, initdead, deadtime)
    if "deadping" in numbers and not draft.broken("keepalive") and deadping <= 2 * keepalive:
        found.error(
            draft.said["deadping"],
            f"Ping dead time [{deadping}] is too small compared to keeplive [{keepalive}]; "
            f"it must be more than {2 * keepalive} ms",
        )
    if "warntime" in numbers and not draft.broken("deadtime") and warntime >= deadtime:
        found.warning(
            draft.said["warntime"],
            f"warntime [{warntime}] is not below deadtime [{deadtime}]: a death will come unannounced",
        )
    rexmit = numbers.get("max_rexmit_delay", default.max_rexmit_delay_ms)
    return Timing(keepalive, warntime, deadtime, initdead, deadping, rexmit)


def default_initdead(deadtime_ms: int) -> int:
    """3.0.6's initdead when ha.cf does not say: at least 12 s, or deadtime where that is above 10 s."""
    if deadtime_ms > 10_000:
        return deadtime_ms
    return 12_000 if deadtime_ms < 6_000 else 2 * deadtime_ms


def _check_initdead(draft: HaCfDraft, initdead: int, deadtime: int) -> None:
    word = draft.said["initdead"]
    if initdead < deadtime:
        draft.found.error(word, f"Initial dead time [{initdead}] is smaller than deadtime [{deadtime}]")
        return
    if initdead < 10_000:
        draft.found.warning(
            word, f"Initial dead time [{initdead} ms] may be too small! A network can take 10 s to come up"
        )
    if initdead < 2 * deadtime:
        draft.found.warning(
            word,
            f"Initial dead time [{initdead} ms] is below twice deadtime; {2 * deadtime} ms or more is usual",
        )


def _auto_failback(draft: HaCfDraft) -> AutoFailback:
    chosen = draft.auto_failback or AutoFailback.LEGACY
    if chosen is AutoFailback.LEGACY:
        draft.found.warning(
            _said(draft, "auto_failback", "nice_failback"),
            "Deprecated 'legacy' auto_failback option selected. Please convert to 'auto_failback on'"
            + ("" if "auto_failback" in draft.said else " (legacy is the default)"),
        )
    return chosen


def _check_watchdog(draft: HaCfDraft, timing: Timing) -> None:
    said = draft.said.get("watchdog")
    if said is None or draft.broken("keepalive") or draft.broken("deadtime"):
        return
    complaint = timeline.complaint(timing)
    if complaint is not None:
        draft.found.warning(said, complaint)


def _check_ipfail(draft: HaCfDraft, auto_failback: AutoFailback) -> None:
    """In 3.0.6 ipfail ends at once then, and is not started again."""
    for client in draft.clients:
        if client.program == "ipfail" and auto_failback is AutoFailback.LEGACY:
            draft.found.warning(client.place, NO_IPFAIL_IN_LEGACY)


NO_IPFAIL_IN_LEGACY = (
    "ipfail has no effect with auto_failback legacy: nothing moves when ping nodes are lost; "
    "write auto_failback on or off"
)


def _check_logging(draft: HaCfDraft) -> None:
    facility = draft.texts.get("logfacility", "none")
    named = facility != "none" or "logfile" in draft.texts or "debugfile" in draft.texts
    if draft.switches.get("use_logd") is False and not named:
        draft.found.error(draft.said["use_logd"], "No log entry found in ha.cf and use_logd is set to off")


def _logging(draft: HaCfDraft) -> Logging:
    """What stands nowhere, `none` and /dev/null are no destinations. The last value counts, wherever it
    stands: in 3.0.6 the order of these lines matters."""
    facility = draft.texts.get("logfacility", "none")
    paths = {name: draft.texts.get(name, "/dev/null") for name in ("logfile", "debugfile")}
    return Logging(
        logfile=None if paths["logfile"] == "/dev/null" else paths["logfile"],
        debugfile=None if paths["debugfile"] == "/dev/null" else paths["debugfile"],
        facility=None if facility == "none" else facility,
        debug=draft.numbers.get("debug", 0),
        syslog_format=draft.switches.get("syslogmsgfmt", True),
    )


def _compression(draft: HaCfDraft) -> Compression | None:
    """Whole messages are compressed with `traditional_compression` only (3.0.6)."""
    if not draft.switches.get("traditional_compression", False):
        return None
    default = Compression()
    threshold = draft.numbers.get("compression_threshold", default.threshold_bytes // 1024)
    return Compression(draft.texts.get("compression", default.algorithm), threshold * 1024)


def _said(draft: HaCfDraft, *names: str) -> Word | Place:
    """Where the first of these directives that was said was said; else the top of the file."""
    return next((draft.said[name] for name in names if name in draft.said), Place(draft.path, 1, 1))


def _parameters(
    draft: HaCfDraft, timing: Timing, rows: Sequence[Directive[HaCfDraft]], default_port: int
) -> tuple[tuple[str, str], ...]:
    """What `cl_status hbparameter` answers: directives with one value, as written, else the default."""
    computed = {
        "warntime": f"{timing.warntime_ms}ms",
        "initdead": f"{timing.initdead_ms}ms",
        "deadping": f"{timing.deadping_ms}ms",
        "udpport": str(default_port),
    }
    if draft.texts.get("logfacility", "none") != "none":
        computed |= {"logfile": "/dev/null", "debugfile": "/dev/null"}
    recorded: list[tuple[str, str]] = []
    for row in rows:
        if row.takes is Takes.ONE:
            said = draft.said.get(row.name)
            value = said.text if said else row.default or computed.get(row.name)
            if value is not None:
                recorded.append((row.name, value))
    return tuple(recorded)
