"""What a configuration says, parsed once into frozen values.

Durations are milliseconds. Names of nodes are lower case, as 3.0.6 compares them.
Facts: ha.cf directives and defaults as in heartbeat 3.0.6.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum

from hbd.config import clientunits, scriptunits

BUILT_IN_CLIENTS = ("ipfail", "ccm")
"""Programs of 3.0.6 that are never started: what they did belongs to hbd."""


@dataclass(frozen=True, slots=True, order=True)
class Place:
    """Where in which file something stands; lines and columns count from 1."""

    path: str
    line: int
    column: int

    def __str__(self) -> str:
        return f"{self.path}:{self.line}:{self.column}"


class AutoFailback(Enum):
    """ha.cf auto_failback; 3.0.6 defaults to legacy."""

    ON = "on"
    OFF = "off"
    LEGACY = "legacy"


class MsgFormat(Enum):
    """ha.cf msgfmt: with CLASSIC a netstring datagram carries an inner `auth` field too."""

    CLASSIC = "classic"
    NETSTRING = "netstring"


# ---------------------------------------------------------------- media


@dataclass(frozen=True, slots=True)
class Bcast:
    """`bcast eth1`: UDP to the interface's broadcast address."""

    interface: str
    port: int

    @property
    def link(self) -> str:
        return self.interface


@dataclass(frozen=True, slots=True)
class Ucast:
    """`ucast eth0 10.0.0.2`: UDP to one address (or name, resolved when the link is opened)."""

    interface: str
    target: str
    port: int

    @property
    def link(self) -> str:
        return self.interface


@dataclass(frozen=True, slots=True)
class Mcast:
    """`mcast eth0 225.0.0.1 694 1 0`; also mcast6. Its port is its own, not udpport."""

    interface: str
    group: str
    port: int
    ttl: int
    loop: bool
    version: int = 4

    @property
    def link(self) -> str:
        return self.interface


@dataclass(frozen=True, slots=True)
class Ucast6:
    """`ucast6 eth0 fe80::2`."""

    interface: str
    target: str
    port: int

    @property
    def link(self) -> str:
        return self.interface


@dataclass(frozen=True, slots=True)
class Serial:
    """`serial /dev/ttyS0`."""

    device: str
    baud: int

    @property
    def link(self) -> str:
        return self.device


@dataclass(frozen=True, slots=True)
class Ping:
    """`ping host`, `ping6 host` or `ping_group name host…`: one pseudo node."""

    name: str
    hosts: tuple[str, ...]
    kind: str

    @property
    def link(self) -> str:
        return self.name


MediumSpec = Bcast | Ucast | Mcast | Ucast6 | Serial | Ping


# ---------------------------------------------------------------- resources


@dataclass(frozen=True, slots=True)
class AddressResource:
    """A service address. What is None is chosen from the routing table when it is started."""

    name: str
    """As written in haresources."""
    ip: str
    """Canonical text of the IPv4 or IPv6 address."""
    prefix: int | None = None
    interface: str | None = None
    label: str | None = None
    broadcast: str | None = None
    alias_label: bool = False
    """Whether a free label of the form `eth0:0` is to be chosen at start (IPaddr; not IPaddr2)."""

    @property
    def identity(self) -> str:
        return self.ip


@dataclass(frozen=True, slots=True)
class UnitResource:
    """A systemd unit."""

    name: str
    """As written in haresources."""
    unit: str
    """Full unit name, e.g. `httpd.service`."""

    @property
    def identity(self) -> str:
        return self.unit


@dataclass(frozen=True, slots=True)
class ScriptResource:
    """A resource script and its arguments: `datadisk::drbd0`."""

    name: str
    """As written in haresources."""
    path: str
    """The executable, absolute: in resource.d, or for a script with arguments in /etc/init.d."""
    args: tuple[str, ...] = ()
    """Never empty strings: those that 3.0.6's shell splits off vanish."""

    @property
    def identity(self) -> str:
        return "::".join((self.path.rpartition("/")[2], *self.args))

    @property
    def command(self) -> str:
        """How it is called, but for the verb; as 3.0.6 logs it."""
        return " ".join((self.path, *self.args))

    @property
    def unit(self) -> str:
        """The transient unit of its start, with whatever that left running."""
        return self.unit_for(scriptunits.START)

    def unit_for(self, verb: str) -> str:
        """The transient unit in which the script runs with that verb."""
        return scriptunits.unit(self.identity, verb)


ResourceSpec = AddressResource | UnitResource | ScriptResource


@dataclass(frozen=True, slots=True)
class GroupSpec:
    """One line of haresources: a home node and resources, started left to right."""

    name: str
    """The group's key: its first resource as written."""
    home: str
    resources: tuple[ResourceSpec, ...]

    @property
    def key(self) -> str:
        """What both nodes call it whatever the spelling: its first resource's identity."""
        return self.resources[0].identity


# ---------------------------------------------------------------- keys, timing, whole


@dataclass(frozen=True, slots=True)
class Key:
    """One numbered key of authkeys. `crc` has an empty secret."""

    number: int
    method: str
    secret: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Keys:
    """All keys, and the number of the one that signs (`auth N`)."""

    signing: int
    keys: tuple[Key, ...]

    def find(self, number: int) -> Key | None:
        """The key with this number, or None."""
        for key in self.keys:
            if key.number == number:
                return key
        return None

    @property
    def signer(self) -> Key:
        key = self.find(self.signing)
        assert key is not None, "authkeys was validated"
        return key


@dataclass(frozen=True, slots=True)
class Timing:
    """The cluster's clockwork, in milliseconds."""

    keepalive_ms: int = 1000
    warntime_ms: int = 15000
    deadtime_ms: int = 30000
    initdead_ms: int = 30000
    deadping_ms: int = 30000
    max_rexmit_delay_ms: int = 250


@dataclass(frozen=True, slots=True)
class Client:
    """A `respawn` or `failfast` line."""

    user: str
    command: str
    """The program with its arguments, as 3.0.6 shows it in its log."""
    failfast: bool
    place: Place = field(compare=False)
    repeated: int = 0
    """How many lines above say the same."""

    @property
    def program(self) -> str:
        """The name of its file."""
        return self.command.split()[0].rpartition("/")[2]

    @property
    def is_built_in(self) -> bool:
        """What that program of 3.0.6 did is hbd's own business, wherever the program lies."""
        return self.program in BUILT_IN_CLIENTS

    @property
    def unit(self) -> str:
        """The transient unit in which it runs."""
        return clientunits.unit(self.program, self.user, self.command, self.failfast, self.repeated)


@dataclass(frozen=True, slots=True)
class Limits:
    """hbd.cf: how long a job may take before its outcome counts as unknown."""

    start_ms: int = 120_000
    stop_ms: int = 120_000
    probe_ms: int = 10_000


@dataclass(frozen=True, slots=True)
class Logging:
    """Where the log goes beside the journal."""

    logfile: str | None = None
    """Takes all but debug lines. Neither of the two is ever /dev/null."""
    debugfile: str | None = None
    """Takes everything."""
    facility: str | None = None
    """A name of syslog's; never `none`."""
    debug: int = 0
    """0 to 255; 1 shows what hbd takes in and does, 2 each message too."""
    syslog_format: bool = True
    """Of lines in files: `syslogmsgfmt`."""


@dataclass(frozen=True, slots=True)
class Compression:
    """`traditional_compression yes`: how messages above a length are packed."""

    algorithm: str = "zlib"
    """zlib or bz2."""
    threshold_bytes: int = 2048


@dataclass(frozen=True, slots=True)
class Stonith:
    """A `stonith` or `stonith_host` line for this node: what is to reset its peer."""

    device: str
    """libstonith's name for that kind of device."""
    parameters: str
    """The rest of the line: words for the device, or the file that has them."""
    place: Place = field(compare=False)


@dataclass(frozen=True, slots=True)
class Config:
    """A whole, valid configuration."""

    local_node: str
    nodes: tuple[str, ...]
    """Normal nodes, the local one included, in file order."""
    media: tuple[MediumSpec, ...]
    keys: Keys
    groups: tuple[GroupSpec, ...] = ()
    timing: Timing = Timing()
    auto_failback: AutoFailback = AutoFailback.LEGACY
    msgfmt: MsgFormat = MsgFormat.CLASSIC
    hopfudge: int = 1
    realtime: bool = True
    rtprio: int | None = None
    """SCHED_RR priority; None = 3.0.6's built-in 1."""
    log_badpack: bool = True
    clients: tuple[Client, ...] = ()
    ipfail: bool = False
    """Whether resources follow what the nodes reach: a client of that name in ha.cf, or hbd.cf's `ipfail`."""
    watchdog: str | None = None
    critical: tuple[str, ...] = ()
    """hbd.cf: keys of the groups for which a stop that fails is to end in a reset of this machine."""
    hbgenmethod: str = "file"
    uuidfrom: str = "file"
    limits: Limits = Limits()
    lease: bool = True
    """hbd.cf: the kernel lets nothing out from our addresses while hbd is not heard of."""
    metrics: str | None = None
    """hbd.cf: the file that is written for Prometheus' node_exporter."""
    logging: Logging = Logging()
    compression: Compression | None = None
    """None: nothing that is sent is compressed. What comes in may be, in any case."""
    coredumps: bool | None = None
    """Whether a crash leaves a core file; None leaves that to the unit."""
    coreroot: str = "/var/lib/heartbeat/cores"
    stonith: Stonith | None = None
    """What was to fence the peer. Given only where hbd.cf says `fencing none`: it is never used."""
    environment: tuple[tuple[str, str], ...] = ()
    """Of `env`: names without the HA_ that scripts see in front of them."""
    parameters: tuple[tuple[str, str], ...] = ()
    """Every directive as recorded for `cl_status hbparameter`, last value wins."""

    @property
    def peers(self) -> tuple[str, ...]:
        """Normal nodes other than the local one."""
        return tuple(node for node in self.nodes if node != self.local_node)

    @property
    def ping_nodes(self) -> tuple[str, ...]:
        return tuple(medium.name for medium in self.media if isinstance(medium, Ping))
