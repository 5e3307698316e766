"""What can happen to a node: the core's input.

All times are milliseconds of CLOCK_BOOTTIME, which also counts while the machine sleeps:
a node that was suspended was absent, and must know it.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import NewType

from hbd.config.model import AddressResource, Client, Config, MediumSpec, Ping, ResourceSpec
from hbd.core.records import Record

JobId = NewType("JobId", int)
RequestId = NewType("RequestId", int)


@dataclass(frozen=True, slots=True)
class Instant:
    """A moment: `ms` decides, `wall_s` (Unix seconds) is only put on the wire and shown."""

    ms: int
    wall_s: int


class Scope(Enum):
    """Which groups a standby or takeover means, seen from the node that is asked.

    `failback` is `foreign` (heartbeat 3.0.6, hb_standby).
    """

    ALL = "all"
    LOCAL = "local"
    FOREIGN = "foreign"
    FAILBACK = "failback"


class Condition(Enum):
    """What a probe or a watch found."""

    RUNNING = "running"
    STOPPED = "stopped"
    BUSY = "busy"
    """A systemd job is in flight: neither running nor stopped yet."""
    UNKNOWN = "unknown"


class Result(Enum):
    """How a job ended."""

    OK = "ok"
    FAILED = "failed"
    UNKNOWN = "unknown"
    """No answer within the limit, or the answer was lost: never read as stopped."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """The end of a job; `reason` is a sentence for the operator unless the result is OK."""

    result: Result
    reason: str = ""
    condition: Condition | None = None
    """What a probe found; None for other jobs."""


OK = Outcome(Result.OK)


class Direction(Enum):
    """What a node was doing with a group when it last wrote it down."""

    STARTING = "starting"
    STARTED = "started"
    STOPPING = "stopping"


class Role(Enum):
    """A node's part in a handover that is under way: after a restart it is finished, not undone."""

    NONE = "none"
    GIVER = "giver"
    """The group is being stopped, for the peer to take it."""
    TAKER = "taker"
    """The peer has stopped it, and it is being started here."""


@dataclass(frozen=True, slots=True)
class HeldGroup:
    """One group as recorded in /run/hbd/held: ours after a crash if it runs."""

    group: str
    """GroupSpec.key."""
    direction: Direction
    epoch: int
    failback: bool
    resources: tuple[ResourceSpec, ...]
    """As configured when it was started, so that it can be stopped under a changed configuration."""
    role: Role = Role.NONE
    partner: int = 0
    """The generation of the peer that has agreed to the handover: no other life of it has."""
    overruled: bool = False
    """An operator has it here, although this node reaches less (`ipfail.py`)."""
    muted: bool = False
    """Its addresses are off, and it waits for the peer's answer: its next life has to wait, too."""
    given: tuple[str, ...] = ()
    """Identities of what a reload added while the rest ran: the peer may not know of it yet."""


@dataclass(frozen=True, slots=True)
class Stall:
    """A time in which this node did not run."""

    ms: int = 0
    wall_s: int = 0
    """When it ended, in Unix seconds."""


@dataclass(frozen=True, slots=True)
class Promise:
    """What the peer goes by: how long it waits for this node, and how often it hears it. 0: not known."""

    deadtime_ms: int = 0
    keepalive_ms: int = 0


# ---------------------------------------------------------------- commands


@dataclass(frozen=True, slots=True)
class Standby:
    """Hand groups over to the peer."""

    scope: Scope


@dataclass(frozen=True, slots=True)
class Takeover:
    """Ask the peer to hand groups over to us; the scope is in our own terms."""

    scope: Scope


@dataclass(frozen=True, slots=True)
class Reload:
    """Go on with a new, valid configuration."""

    config: Config


@dataclass(frozen=True, slots=True)
class Stop:
    """Release everything, say goodbye, and end."""


@dataclass(frozen=True, slots=True)
class Freeze:
    """Start, stop and move nothing until Thaw, on either node."""


@dataclass(frozen=True, slots=True)
class Thaw:
    """The end of a freeze."""


@dataclass(frozen=True, slots=True)
class ConfirmDead:
    """The operator swears that this node is dead."""

    node: str


Command = Standby | Takeover | Reload | Stop | Freeze | Thaw | ConfirmDead


# ---------------------------------------------------------------- events


@dataclass(frozen=True, slots=True)
class Started:
    """The first event. `held` is what a previous daemon of this boot had started; `late` says that nobody
    has looked after it for longer than the peer waits (`Cluster.restart_patience_ms`), or nobody knows;
    `silent_ms` for how long that was; `stall` is the longest of this boot; `promise` its daemon's last."""

    held: tuple[HeldGroup, ...] = ()
    late: bool = False
    silent_ms: int = 0
    stall: Stall = Stall()
    promise: Promise = Promise()


@dataclass(frozen=True, slots=True)
class LinkOpened:
    """A medium can send and receive now."""

    medium: MediumSpec


@dataclass(frozen=True, slots=True)
class LinkFailed:
    """A medium cannot be used; the core asks to open it again later."""

    medium: MediumSpec
    reason: str
    """Without the link's name: whoever says it puts that before it."""


@dataclass(frozen=True, slots=True)
class CarrierSeen:
    """The interface of a medium has a carrier, or none. Until this is told it is taken to have one."""

    medium: MediumSpec
    present: bool


@dataclass(frozen=True, slots=True)
class DatagramReceived:
    """Bytes from a medium, not yet trusted."""

    medium: MediumSpec
    payload: bytes


@dataclass(frozen=True, slots=True)
class PingAnswered:
    """A ping node, or some member of a ping group, answered a request of ours."""

    medium: Ping


@dataclass(frozen=True, slots=True)
class PathSeen:
    """Whether the interface that carries this address, or would carry it, has a carrier."""

    address: AddressResource
    usable: bool


@dataclass(frozen=True, slots=True)
class Tick:
    """The deadline came, or anything else that is a good moment to look at the clock."""

    load: str = "n/a"
    """First line of /proc/loadavg, for the status message's `ld`."""


@dataclass(frozen=True, slots=True)
class JobDone:
    """The one event that ends a job."""

    job: JobId
    outcome: Outcome


@dataclass(frozen=True, slots=True)
class ResourceSeen:
    """A watched resource is not, or no longer, what the core last knew of it.

    Told by a Watch; after a job of ours only if it is not as the job left it.
    """

    resource: ResourceSpec
    condition: Condition
    detail: str = ""
    """How systemd put it, for the operator: "failed, result 'exit-code'"; or where an address was found. One
    that is STOPPED may be there, but not as it was put on: this says in what way."""
    aside: bool = False
    """An address that is on a loopback interface only: it answers nobody."""


@dataclass(frozen=True, slots=True)
class SeenTogether:
    """Several of them at once, as when somebody takes all addresses off an interface."""

    seen: tuple[ResourceSeen, ...]


@dataclass(frozen=True, slots=True)
class Asked:
    """An operator, or systemd, wants something. Answered by exactly one `Answer`."""

    request: RequestId
    command: Command


@dataclass(frozen=True, slots=True)
class AskPeer:
    """Somebody wants the other node's decisions: the newest few before the newest `skip`.

    Answered by exactly one `Retold`, or by a refusing `Answer`.
    """

    request: RequestId
    skip: int


@dataclass(frozen=True, slots=True)
class Recalled:
    """Our records for `Recall`, the oldest of them first."""

    node: str
    token: str
    records: tuple[Record, ...]
    boot: str
    """In which we are."""


@dataclass(frozen=True, slots=True)
class ClientStarted:
    """A client runs."""

    client: Client
    pid: int
    uid: int = 0
    gid: int = 0
    found: bool = False
    """It did already."""


@dataclass(frozen=True, slots=True)
class ClientRefused:
    """A client could not be started at all; `reason` is for the operator."""

    client: Client
    reason: str


@dataclass(frozen=True, slots=True)
class ClientEnded:
    """A client ran and has ended, by a signal unless that is 0."""

    client: Client
    pid: int
    status: int
    signal: int
    ran_ms: int

    @property
    def failed(self) -> bool:
        return bool(self.status or self.signal)


@dataclass(frozen=True, slots=True)
class ClientGone:
    """The end of a StopClient: nothing of it runs, or waiting for it was given up."""

    client: Client


@dataclass(frozen=True, slots=True)
class LeaseArmed:
    """The kernel has the rules of ArmLease."""


@dataclass(frozen=True, slots=True)
class LeaseRefused:
    """It does not, or not any more; `reason` is for the operator."""

    reason: str


LeaseEvent = LeaseArmed | LeaseRefused
ClientEvent = ClientStarted | ClientRefused | ClientEnded | ClientGone
Event = (
    Started | LinkOpened | LinkFailed | CarrierSeen | DatagramReceived | PingAnswered | PathSeen | Tick
    | JobDone | ResourceSeen | SeenTogether | Asked | ClientEvent | LeaseEvent | AskPeer | Recalled
)
