"""What the core wants done: its output. The driver performs effects in the order given."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from hbd.config.model import AddressResource, Client, MediumSpec, Ping, ResourceSpec
from hbd.core.events import Condition, HeldGroup, JobId, RequestId, Stall
from hbd.core.records import Record

# ---------------------------------------------------------------- actions of jobs


@dataclass(frozen=True, slots=True)
class StartResource:
    """Start it; already running is success. An address is success only once the kernel confirmed it."""

    resource: ResourceSpec


@dataclass(frozen=True, slots=True)
class StopResource:
    """Stop it; already stopped is success. Every stop uses systemd's job mode `ignore-dependencies`
    while the daemon itself is being stopped (`leaving`), since managed units are ordered around us."""

    resource: ResourceSpec
    leaving: bool = False


@dataclass(frozen=True, slots=True)
class ProbeResource:
    """Find out whether it runs; the outcome carries a Condition."""

    resource: ResourceSpec


@dataclass(frozen=True, slots=True)
class DropAddresses:
    """Forced release, first part: all announcements cancelled, then the addresses off in one batch."""

    addresses: tuple[AddressResource, ...]


@dataclass(frozen=True, slots=True)
class Announce:
    """Tell the neighbours again where a started address lives."""

    address: AddressResource


Action = StartResource | StopResource | ProbeResource | DropAddresses | Announce


# ---------------------------------------------------------------- effects


@dataclass(frozen=True, slots=True)
class OpenLink:
    """Open this medium. Ends in LinkOpened or LinkFailed."""

    medium: MediumSpec


@dataclass(frozen=True, slots=True)
class CloseLink:
    """Close this medium and post nothing more from it."""

    medium: MediumSpec


@dataclass(frozen=True, slots=True)
class Transmit:
    """Send one message on every open medium."""

    payload: bytes
    """The datagram."""
    line: bytes = b""
    """The same message as serial lines carry it, signed for that form; empty where there are none."""
    heartbeat: bool = False
    """Our newest status: one that still waits for a serial line is superfluous now. Known for lines only."""
    origin: str = ""
    """Whose message this is, where it is passed on for another node."""


@dataclass(frozen=True, slots=True)
class Forward:
    """Send another node's message on these media only, where they are open."""

    message: Transmit
    """In its form for lines alone; `heartbeat` means that of its origin."""
    media: tuple[MediumSpec, ...]


@dataclass(frozen=True, slots=True)
class AskPing:
    """Send one echo request to every host of an open ping node. PingAnswered is posted for each answer."""

    medium: Ping


@dataclass(frozen=True, slots=True)
class WatchPaths:
    """Post PathSeen for each of these addresses now, and when it changes; in place of those before."""

    addresses: tuple[AddressResource, ...]


@dataclass(frozen=True, slots=True)
class StartJob:
    """Begin an action; exactly one JobDone ends it, at the latest with Result.UNKNOWN after `limit_ms`.

    It begins only after every StoreHeld that was asked for before it is in place.
    """

    job: JobId
    action: Action
    limit_ms: int


@dataclass(frozen=True, slots=True)
class AbandonJob:
    """Stop waiting for a job; its JobDone must not come any more."""

    job: JobId


@dataclass(frozen=True, slots=True)
class StartClient:
    """Have it run. Ends in ClientStarted, followed by ClientEnded some day, or in ClientRefused."""

    client: Client
    anew: bool
    """Its last end is known. If not, one that runs is taken as it is, and an end not yet told is told."""


@dataclass(frozen=True, slots=True)
class StopClient:
    """End it: ClientEnded if it ran, and then ClientGone in any case."""

    client: Client


@dataclass(frozen=True, slots=True)
class Watch:
    """Post ResourceSeen when this resource changes, and at once if it is not what is known."""

    resource: ResourceSpec
    known: Condition


@dataclass(frozen=True, slots=True)
class Unwatch:
    """No longer post ResourceSeen for it."""

    resource: ResourceSpec


@dataclass(frozen=True, slots=True)
class Permit:
    """Announcements (gratuitous ARP, unsolicited NA) may be sent until `until_ms` of CLOCK_BOOTTIME.

    Each announcement checks it at the moment of sending; 0 forbids at once.
    """

    until_ms: int


@dataclass(frozen=True, slots=True)
class ArmLease:
    """Have the kernel let nothing out from these addresses but within `lease_ms` of a KeepLease.

    Ends in LeaseArmed or LeaseRefused, and in either again whenever that changes. A lease that an earlier
    life left is taken over with the time it has.
    """

    addresses: tuple[AddressResource, ...]
    lease_ms: int


@dataclass(frozen=True, slots=True)
class DisarmLease:
    """Have the kernel treat these addresses as any others again. Nothing to do is nothing done."""


@dataclass(frozen=True, slots=True)
class KeepLease:
    """Renew it; void after `until_ms` of CLOCK_BOOTTIME, which is checked at the moment of renewal."""

    until_ms: int


@dataclass(frozen=True, slots=True)
class EndLease:
    """It is over at once, until the next KeepLease."""


LeaseEffect = ArmLease | DisarmLease | KeepLease | EndLease


@dataclass(frozen=True, slots=True)
class Answer:
    """The answer to an Asked: the transition to watch (0 = nothing had to be done), or a refusal."""

    request: RequestId
    transition: int = 0
    refused: str | None = None


class Device(Enum):
    """What a pulse means for the hardware watchdog, where there is one."""

    FED = "fed"
    """Opened if it is not open yet."""
    SPARED = "spared"
    """Not opened: there is nothing to protect yet. Fed if it runs already."""
    STARVED = "starved"
    """Not fed, so that it resets the machine."""
    DISARMED = "disarmed"
    """Stopped until it is fed again: nothing is to happen to this machine. Fed if it cannot be stopped."""


@dataclass(frozen=True, slots=True)
class FeedWatchdog:
    """We are healthy and on time. Performed last, by the driver only."""

    device: Device = Device.FED


@dataclass(frozen=True, slots=True)
class StoreHeld:
    """Replace /run/hbd/held by this."""

    groups: tuple[HeldGroup, ...]


@dataclass(frozen=True, slots=True)
class StoreStall:
    """The longest time that this node did not run, since the machine was booted."""

    stall: Stall


@dataclass(frozen=True, slots=True)
class StoreGeneration:
    """Our generation jumped, because the peer had seen a higher one of us."""

    generation: int


@dataclass(frozen=True, slots=True)
class PeerRecord:
    """What is remembered of a peer across restarts."""

    name: str
    uuid: bytes
    generation: int


@dataclass(frozen=True, slots=True)
class StorePeers:
    """Replace the host cache by this."""

    peers: tuple[PeerRecord, ...]


FREEZE_MAX = 10**9
"""The highest mark of a freeze that a report can carry."""


@dataclass(frozen=True, slots=True)
class FreezeRecord:
    """What is remembered of a freeze across restarts; see `core/freeze.py`."""

    mark: int = 0
    """Odd: frozen."""
    agreed: bool = False
    """The peer knows that we are frozen. Not remembered across a reboot, which leaves nothing to be taken."""
    sealed: tuple[str, ...] = ()
    """Nodes that were frozen when they were last heard."""


THAWED = FreezeRecord()


@dataclass(frozen=True, slots=True)
class StoreFreeze:
    """Remember this: what is agreed at once, the rest off the heartbeat's path."""

    record: FreezeRecord


@dataclass(frozen=True, slots=True)
class Recall:
    """The other node asks for our newest decisions but for the newest `skip`: post Recalled.

    `token` belongs to the question.
    """

    node: str
    token: str
    skip: int


@dataclass(frozen=True, slots=True)
class Retold:
    """The other node's decisions for an AskPeer, the oldest of them first."""

    request: RequestId
    records: tuple[Record, ...]
    boot: str
    """In which the other node is."""
    behind_ms: int
    """Our CLOCK_BOOTTIME less its own, but for half of the time that the answer took."""


@dataclass(frozen=True, slots=True)
class Note:
    """A decision was taken, or has its result: keep the record, in place of an earlier one of its name."""

    record: Record


class Level(Enum):
    """3.0.6's level words, as its users know them."""

    ERROR = "ERROR"
    CRIT = "CRIT"
    WARN = "WARN"
    INFO = "info"
    DEBUG = "debug"


class Kind(Enum):
    """What a log line is about. Each has a MESSAGE_ID and an entry in the journal catalog."""

    __hash__ = object.__hash__  # By identity, as members are compared: an Enum's own is a call into Python.

    GENERIC = "generic"
    CORE_STARTED = "core-started"
    LOCAL_STATUS = "local-status"
    NODE_STATUS = "node-status"
    NODE_DEAD = "node-dead"
    NODE_RESTARTED = "node-restarted"
    NODE_RETURNED = "node-returned"
    LATE_HEARTBEAT = "late-heartbeat"
    LINK_UP = "link-up"
    LINK_DEAD = "link-dead"
    LINK_OPENED = "link-opened"
    LINK_FAILED = "link-failed"
    ISOLATED = "isolated"
    LOST_PACKETS = "lost-packets"
    BAD_PACKET = "bad-packet"
    REPLAY = "replay"
    NO_FENCING = "no-fencing"
    TAKEOVER = "takeover"
    TAKEOVER_COMPLETE = "takeover-complete"
    TRANSITION = "transition"
    STANDBY = "standby"
    GROUP_ACQUIRING = "group-acquiring"
    GROUP_STARTED = "group-started"
    GROUP_RELEASING = "group-releasing"
    GROUP_RELEASED = "group-released"
    RESOURCE_START = "resource-start"
    RESOURCE_STOP = "resource-stop"
    RESOURCE_FAILED = "resource-failed"
    RESOURCE_STRAY = "resource-stray"
    RESOURCE_LOST = "resource-lost"
    RESOURCE_ENDED = "resource-ended"
    RESOURCE_UNSTEADY = "resource-unsteady"
    GROUP_BLOCKED = "group-blocked"
    GROUP_UNABLE = "group-unable"
    GROUP_ADOPTED = "group-adopted"
    CONFLICT = "conflict"
    ABSENCE = "absence"
    DIGEST_DIFFERS = "digest-differs"
    PEER_KIND = "peer-kind"
    SHUTDOWN = "shutdown"
    SHUTDOWN_NOTICE = "shutdown-notice"
    RELOAD = "reload"
    CLIENT = "client"
    WATCHDOG = "watchdog"
    LEASE = "lease"
    IPFAIL = "ipfail"
    FREEZE = "freeze"
    CONFIRMED_DEAD = "confirmed-dead"
    REFUSED = "refused"


@dataclass(frozen=True, slots=True)
class Log:
    """One event for the journal. Empty fields are left out."""

    level: Level
    kind: Kind
    text: str
    node: str = ""
    link: str = ""
    group: str = ""
    resource: str = ""
    transition: int = 0


class Reboot(Enum):
    """What becomes of the machine when hbd ends."""

    NO = "no"
    IN_ORDER = "in order"
    """As `systemctl reboot`."""
    AT_ONCE = "at once"
    """As `systemctl reboot --force`: something does not stop."""


@dataclass(frozen=True, slots=True)
class Quit:
    """The process may end: everything is released and said, unless the machine is to be rebooted at once."""

    status: int = 0
    reboot: Reboot = Reboot.NO


Effect = (
    OpenLink | CloseLink | Transmit | Forward | AskPing | WatchPaths | StartJob | AbandonJob | Watch | Unwatch
    | Permit | Answer | FeedWatchdog | StoreHeld | StoreGeneration | StorePeers | StoreStall | StoreFreeze
    | StartClient | StopClient | Log | Note | Recall | Retold | Quit
    | ArmLease | DisarmLease | KeepLease | EndLease
)
