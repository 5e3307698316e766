"""What will be different under hbd, said line by line of heartbeat 3.0.6's files.

Pure: from the words of ha.cf, haresources and authkeys, and what was observed on
the machine, to remarks. Whether hbd could start with the files at all is not
judged here but by the parsers; `migrate` puts both together. Facts: ha.cf,
haresources and authkeys as heartbeat 3.0.6 reads them.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from enum import Enum
from pathlib import PurePosixPath

from hbd.config import hacf, haresources
from hbd.config.addresses import is_ipv6, resembles_ipv4
from hbd.config.findings import Findings, Word, shown
from hbd.config.lookup import BootStart, Lookup, is_unit_name
from hbd.config.model import Place
from hbd.config.scalars import boolean
from hbd.config.words import lines, stripped, without_comment, words

GUIDE = "/usr/share/doc/hbd/migrating-from-heartbeat.md"


class Kind(Enum):
    """What a remark asks of the operator."""

    ERROR = "error"
    """hbd would not start."""
    ACTION = "action"
    """Something has to be done first."""
    NOTE = "note"
    """It will be different, and that may well be all right."""


@dataclass(frozen=True, slots=True)
class Remark:
    """One line of `hbctl migrate --check`: `path:line:column: error|action|note: text`."""

    place: Place
    kind: Kind
    text: str

    def __str__(self) -> str:
        return shown(f"{self.place}: {self.kind.value}: {self.text}")


@dataclass(frozen=True, slots=True)
class Machine:
    """What was observed on the machine, or in its image."""

    lookup: Lookup
    init_scripts: frozenset[str] = frozenset()
    """Names of the executable files in /etc/init.d."""
    heartbeat_boot: BootStart | None = None
    """How heartbeat.service is started at boot; None if it is not."""
    hbd_boot: BootStart | None = None
    generation: int | None = None
    """Of heartbeat 3.0.6 here; None if it never ran."""
    uuid: bytes | None = None
    hbd_uuid: bytes | None = None
    """What hbd uses already, if it ran here before."""
    remembered: tuple[str, ...] = ()
    """Nodes in 3.0.6's host cache."""
    present: frozenset[str] = frozenset()
    """Those of MOVED that exist."""
    own_rc_d: tuple[str, ...] = ()
    """Paths of scripts in rc.d that are not heartbeat's own."""

    def init_script(self, name: str) -> str | None:
        """The path of the script of that name in /etc/init.d."""
        return f"/etc/init.d/{name}" if name in self.init_scripts else None


GIVEN_BACK = ", until heartbeat's package is removed and hbd's ./install run again"
HANDS_OVER = f"is for the old daemon{GIVEN_BACK}; under hbd also: "
OLD_COMMAND = "/usr/lib/hbd/old-command"
"""What answers under heartbeat's names where its package is not (`./install`)."""

MOVED: dict[str, str] = {
    "/usr/bin/cl_status": f"asks the old daemon{GIVEN_BACK}; under hbd also: hbctl status [--json], or D-Bus",
    "/usr/share/heartbeat/hb_standby": f"{HANDS_OVER}hbctl standby [all|local|foreign|failback]",
    "/usr/share/heartbeat/hb_takeover": f"{HANDS_OVER}hbctl takeover [all|local|foreign|failback]",
    "/usr/lib/heartbeat/hb_standby": f"{HANDS_OVER}hbctl standby [all|local|foreign|failback]",
    "/usr/lib/heartbeat/hb_takeover": f"{HANDS_OVER}hbctl takeover [all|local|foreign|failback]",
    "/var/lib/heartbeat/fifo": "hbd reads no fifo; what writes to it must call hbctl instead",
    "/var/run/heartbeat/rsctmp": "hbd has no such directory: units have their own (RuntimeDirectory=)",
    "/etc/logd.cf": "hbd writes to the journal itself; ha_logd is needed by other programs at most",
}
"""Paths of heartbeat 3.0.6 (Debian's, and older ones) that programs of the site may use."""

SHIPPED_RC_D = ("ask_resources", "hb_takeover", "ip-request", "ip-request-resp", "status")


def differences(
    ha_cf: Iterable[tuple[Word, Word]],
    groups: Iterable[list[Word]],
    auth: Iterable[list[Word]],
    machine: Machine,
    refused: Collection[Place] = (),
) -> list[Remark]:
    """All of them, by place. At `refused` places the parsers have found an error.

    `ha_cf` is directives with the rest of their lines, `groups` and `auth` are the words of each line.
    """
    nodes: list[str] = []
    remarks: list[Remark] = []
    for name, rest in ha_cf:
        if name.text == "node":
            nodes += [word.lower() for word in rest.text.replace(",", " ").split()]
        remarks += _directive(name, rest)
    for group in groups:
        for word in group[1:]:
            remarks += _resource(word, machine, word.place in refused)
    remarks += _keys(list(auth))
    remarks += _state(machine, nodes)
    remarks += _start(machine)
    remarks += [_note(Place(path, 1, 1), MOVED[path]) for path in sorted(machine.present)]
    remarks += [
        _note(Place(path, 1, 1), "hbd runs no scripts of rc.d; follow D-Bus signals (hbctl events) instead")
        for path in machine.own_rc_d
    ]
    return sorted(remarks, key=lambda remark: remark.place)


# ---------------------------------------------------------------- ha.cf


def _directive(name: Word, rest: Word) -> Iterator[Remark]:
    value = rest.text
    match name.text:
        case "auto_failback" | "nice_failback" if value:
            yield _note(name, _failback(name.text, value))
        case "stonith" | "stonith_host" if value:
            yield _note(
                name,
                "3.0.6 resets a dead peer before it takes over; hbd starts only with 'fencing none' in "
                "hbd.cf, and takes over after deadtime alone. While the pair is mixed, a 3.0.6 node with "
                "this line would reset a silent hbd node",
            )
        case "logfile" | "debugfile" if value.startswith(hacf.OUT_OF_REACH):
            yield _note(name, f"hbd has no access to {value} (ProtectHome=yes); the journal has every line")
        case "logfacility" if value not in ("", "none"):
            yield _note(name, _SYSLOG.format(value))
        case "debug" if value not in ("", "0"):
            yield _note(name, "what hbd shows at its debug levels is its own: 1 all but messages, 2 them too")
        case "watchdog" if value:
            yield _note(
                name,
                f"{value} is set below deadtime, where 3.0.6 sets it above: a machine whose hbd is sick is "
                "reset before the other node takes over, and not after; hbctl check shows the times",
            )
        case "hopfudge" if value:
            text = (
                "in a ring of serial lines, from three nodes on, hbd passes on what it hears; "
                "3.0.6 did not, and hopfudge was without effect"
            )
            yield _note(name, text)
        case "env" if value:
            yield _note(name, f"scripts see HA_{value} as before; units do not: Environment= is for them")
        case "respawn" | "failfast" if value:
            yield from _client(name, rest)
        case "apiauth" if value:
            text = "hbd has no socket for heartbeat's clients; everyone may read its state on D-Bus"
            yield _note(name, text)
        case other if value and other in INSTEAD:
            if boolean(value.split()[-1]) is not False:
                yield _note(name, INSTEAD[other].format(value))


def _failback(name: str, value: str) -> str:
    if name == "auto_failback" and boolean(value.split()[-1]) is not None:
        return "while the pair is mixed, the other node's must be on or off too, not legacy (the default)"
    return "while the pair is mixed, the other node's must be legacy too; standby works only with on and off"


_API_CLIENTS = {
    "ipfail": "ipfail is part of hbd: neither the program nor its user is needed",
    "ccm": "ccm is not needed: hbd knows its members itself",
}
_BUILT_ON_API = {
    "dopd": "drbd's outdate-peer handler has no partner then: give DRBD another fencing policy",
    "mgmtd": "manage the node with hbctl and D-Bus",
    "hbagent": "SNMP: let the agent's extend ask hbctl status --json",
    "lha-snmpagent": "SNMP: let the agent's extend ask hbctl status --json",
    "cibmon": "it belongs to crm, which hbd does not have",
    "pingd": "it belongs to crm, which hbd does not have",
}


def _client(name: Word, rest: Word) -> Iterator[Remark]:
    """Another program that 3.0.6 starts. Known ones are told by the name of their file, wherever it lies."""
    _, *command = words(rest)
    if not command:
        return  # The parser has found that.
    program = PurePosixPath(command[0].text).name
    if program in _API_CLIENTS:
        yield _note(name, _API_CLIENTS[program])
        return
    if program in _BUILT_ON_API:
        yield Remark(
            name.place,
            Kind.ACTION,
            f"{program} talks to heartbeat's own socket, which hbd does not have; remove the line when both "
            f"nodes run hbd. {_BUILT_ON_API[program]}",
        )
        return
    if name.text == "failfast":
        text = (
            "when it fails, 3.0.6 reboots the machine at once; hbd releases its resources first, so that the "
            "other node takes over without waiting for deadtime, and has systemd reboot the machine then"
        )
        yield _note(name, text)


_SYSLOG = (
    "a syslog daemon gets the same lines with facility {}, from `heartbeat:`; with one that reads the "
    "journal instead (imjournal), or none, the journal's lines have that facility, from `hbd`"
)

INSTEAD: dict[str, str] = {
    "use_logd": "ha_logd is not used, and what logd.cf names gets no more lines: hbd writes to the journal "
    "(journalctl -u hbd), and to the files and the syslog facility that ha.cf itself names",
    "conn_logd_time": "without effect: ha_logd is not used",
    "memreserve": "without effect: hbd locks what it uses",
    "coredumps": "a dump takes time of the peer's patience: systemd starts hbd again only when it is written",
    "coreroot": "core files of hbd lie in {} itself, not in a directory for each user",
    "use_apphbd": "without effect: systemd watches hbd",
}
"""For directives of which hbd makes something else, or nothing: what. `{}` is the value; `off` asks for
nothing."""


# ---------------------------------------------------------------- haresources


def _resource(word: Word, machine: Machine, refused: bool) -> Iterator[Remark]:
    """What 3.0.6 runs for this resource, and what hbd."""
    text, lookup = word.text, machine.lookup
    name, arguments, _ = text.partition("::")
    if arguments or text.startswith("ocf:"):
        script = lookup.script(name) or machine.init_script(name)
        if refused:
            yield Remark(word.place, Kind.ACTION, _ONE_NAME_FOR_BOTH)
        elif script is not None and name not in _ADDRESS_AGENTS:
            yield _note(word, f"hbd runs {script} as 3.0.6 does")
        return
    if refused or is_ipv6(text) or (resembles_ipv4(text) and not is_unit_name(text)):
        return
    script = lookup.script(text)
    unit_name = text if is_unit_name(text) else f"{text}.service"
    unit = lookup.unit(unit_name) if is_unit_name(unit_name) else None
    if script is not None and not is_unit_name(text):
        instead = f"; to have {unit.name} instead, on both machines: mv {script} /etc/init.d/" if unit else ""
        yield _note(word, f"hbd runs {script} as 3.0.6 does{instead}")
    elif unit is not None:
        yield _note(word, _unit(text, unit.name, script or machine.init_script(text)))
        if unit.boot is not None:
            yield Remark(
                word.place,
                Kind.ACTION,
                f"{unit.name} is started at boot ({unit.boot.reason}), so both machines would run it: "
                f"systemctl disable {unit.boot.enabled}",
            )


_ADDRESS_AGENTS = ("IPaddr", "IPaddr2", "IPv6addr")
_ONE_NAME_FOR_BOTH = (
    "as long as one node runs 3.0.6, the line must hold a name that both know: make a unit NAME.service, "
    f"and for 3.0.6 a script /etc/init.d/NAME that calls systemctl; see {GUIDE}"
)


def _unit(name: str, unit: str, script: str | None) -> str:
    if script is None:
        return (
            f"hbd starts {unit}; 3.0.6 knows no units, and there is no script {name} here: the other node "
            f"needs one in resource.d or /etc/init.d as long as it runs 3.0.6"
        )
    return f"3.0.6 runs {script}, hbd starts {unit}: both must mean the same (systemctl status {unit})"


# ---------------------------------------------------------------- authkeys, state, start


def _keys(auth: list[list[Word]]) -> Iterator[Remark]:
    """Nothing of a key's line but its place may be shown."""
    keys = [line for line in auth if line[0].text.isdigit()]
    chosen = [line[0] for line in auth if line[0].text == "auth"]
    if len(keys) > 1 and chosen:
        yield _note(
            chosen[-1],
            f"{len(keys)} keys: 3.0.6 checks every signature with the secret of its own 'auth' number. While "
            "the pair is mixed, that number must be the same on both; change keys before or after",
        )


def _state(machine: Machine, nodes: Collection[str]) -> Iterator[Remark]:
    if machine.generation is not None:
        yield _note(
            Place("/var/lib/heartbeat/hb_generation", 1, 1),
            f"generation {machine.generation}: hbd goes on counting from here, and keeps this file up to "
            "date for the way back",
        )
    if machine.uuid is not None:
        place = Place("/var/lib/heartbeat/hb_uuid", 1, 1)
        if machine.hbd_uuid in (None, machine.uuid):
            yield _note(place, "hbd takes this uuid over")
        else:
            yield Remark(
                place,
                Kind.ACTION,
                "hbd has another uuid from an earlier life, and the peer would see two nodes of one name; "
                "while hbd is stopped: rm /var/lib/hbd/uuid",
            )
    for node in machine.remembered:
        if nodes and node.lower() not in nodes:
            yield _note(
                Place("/var/lib/heartbeat/hostcache", 1, 1),
                f"3.0.6 still counts {node}, which ha.cf no longer names, as a node; hbd does not",
            )


def _start(machine: Machine) -> Iterator[Remark]:
    if machine.heartbeat_boot is None:
        return
    place = Place("/lib/systemd/system/heartbeat.service", 1, 1)
    reason = machine.heartbeat_boot.reason
    if machine.hbd_boot is not None:
        yield Remark(
            place,
            Kind.ACTION,
            f"heartbeat is started at boot ({reason}), and hbd too ({machine.hbd_boot.reason}): one of them "
            "would stop the other; disable the one that is not to run",
        )
    else:
        yield _note(
            place,
            f"heartbeat is started at boot ({reason}); systemctl disable heartbeat is part of the change",
        )


# ---------------------------------------------------------------- words


def directives(text: str, path: str) -> Iterator[tuple[Word, Word]]:
    """The directives of ha.cf, each with the rest of its line."""
    for line in lines(text, path, Findings()):
        content = without_comment(line)
        found = words(content)
        if found:
            yield found[0], stripped(content.part(found[0].place.column - 1 + len(found[0].text)))


def group_words(text: str, path: str) -> Iterator[list[Word]]:
    """The words of each line of haresources that has any."""
    return haresources.logical_words(text, path, Findings())


def key_words(text: str, path: str) -> Iterator[list[Word]]:
    """The words of each line of authkeys that is not a comment."""
    split = (words(line) for line in lines(text, path, Findings()))
    return (given for given in split if given and not given[0].text.startswith("#"))


def _note(where: Word | Place, text: str) -> Remark:
    return Remark(where.place if isinstance(where, Word) else where, Kind.NOTE, text)

