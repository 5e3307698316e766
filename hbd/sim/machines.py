"""One simulated machine: a real core, and everything around it that can go wrong.

Resources and systemd's jobs outlive the daemon; `/run` outlives the daemon but not the machine; a frozen
machine queues what comes in, the oldest first, and drops the newest when the queue is full.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Protocol

from hbd.config.model import AddressResource, Client, Config, Ping, ResourceSpec, Serial
from hbd.core.cluster import Cluster, Identity
from hbd.core.effects import (
    AbandonJob,
    Action,
    Announce,
    Answer,
    ArmLease,
    AskPing,
    CloseLink,
    Device,
    DisarmLease,
    DropAddresses,
    Effect,
    EndLease,
    FeedWatchdog,
    Forward,
    FreezeRecord,
    KeepLease,
    Log,
    Note,
    OpenLink,
    PeerRecord,
    Permit,
    ProbeResource,
    Quit,
    Reboot,
    Recall,
    Retold,
    StartClient,
    StartJob,
    StartResource,
    StopClient,
    StopResource,
    StoreFreeze,
    StoreGeneration,
    StoreHeld,
    StorePeers,
    StoreStall,
    Transmit,
    Unwatch,
    Watch,
    WatchPaths,
)
from hbd.core.events import (
    OK,
    Asked,
    CarrierSeen,
    ClientEnded,
    ClientGone,
    ClientStarted,
    Command,
    Condition,
    DatagramReceived,
    Direction,
    Event,
    HeldGroup,
    Instant,
    JobDone,
    JobId,
    LinkOpened,
    Outcome,
    PathSeen,
    PingAnswered,
    Promise,
    Recalled,
    RequestId,
    ResourceSeen,
    Result,
    Stall,
    Started,
    Tick,
)
from hbd.core.records import Record

Ticket = tuple[int, JobId]
"""A job of one life of the daemon: numbers begin again in the next."""

INBOX = 64
"""Datagrams that a stalled node's sockets hold."""


class Surroundings(Protocol):
    """What a machine needs of its world."""

    now_ms: int

    def at(self, delay_ms: int, action: Callable[[], None]) -> None: ...
    def draw(self, low: int, high: int) -> int: ...
    def chance(self, probability: float) -> bool: ...
    def transmit(self, sender: Machine, payload: bytes) -> None: ...
    def changed(self, machine: Machine, resource: ResourceSpec) -> None: ...
    def stepped(self, machine: Machine, event: Event, effects: list[Effect]) -> None: ...


@dataclass(slots=True)
class Troubles:
    """How a machine's resources misbehave; by identity."""

    start_fails: set[str]
    stop_fails: dict[str, int]
    """So many stops fail before one succeeds."""
    slow: dict[str, int]
    """Milliseconds that every job on it takes longer."""


class Machine:
    """A node of the simulated cluster."""

    def __init__(self, world: Surroundings, config: Config, number: int, wall_offset_s: int) -> None:
        self.world, self.config, self.number = world, config, number
        self.name = config.local_node
        self.uuid = bytes([number]) * 16
        self.generation = 1000 + number
        self.peers: tuple[PeerRecord, ...] = ()
        self.core: Cluster | None = None
        self.powered = True
        self.frozen = False
        self.running: dict[str, ResourceSpec] = {}
        """The truth: what really runs here, by identity."""
        self.by_hand: set[str] = set()
        """What runs here because somebody started it, as long as hbd does not take it for its own."""
        self.guards = False
        """systemd's generator has put assertions before the units: only hbd starts them (`hbd.starts`)."""
        self._unguarded = False
        self.in_flight: dict[str, int] = {}
        self.held: tuple[HeldGroup, ...] = ()
        self.alive_ms: int | None = None
        self.patience_ms = 0
        self.promise = Promise()
        self.stall = Stall()
        self.freeze_record = FreezeRecord()
        self.troubles = Troubles(set(), {}, {})
        self.absent_since_ms = 0
        """When the daemon was last killed, or the machine stood still."""
        self.starts: dict[str, int] = {}
        self._wall_offset_s = wall_offset_s
        self._life = 0
        self._boot = 0
        self._timer = 0
        self._inbox: list[Event] = []
        self._jobs: set[Ticket] = set()
        self._abandoned: set[Ticket] = set()
        self._watched: set[str] = set()
        self.clients: dict[str, int] = {}
        """Units of clients that run, and how often each was started."""
        self._stops: dict[str, int] = {}
        self._stopped_ms: dict[str, int] = {}
        """When the last stop of each is over."""
        self._starting: dict[str, int] = {}
        self.unreachable: set[str] = set()
        self.dark = False
        """The interfaces of its media have no carrier."""
        """Ping nodes that do not answer this machine."""
        self.carrier = True
        """Of the interface with the service addresses."""
        self._paths: tuple[AddressResource, ...] = ()
        self._requests = 0
        self.answers: dict[int, Answer] = {}
        self.noted: dict[tuple[int, int], Record] = {}
        self.retold: dict[int, Retold] = {}
        self.quit = False
        self.reboot = Reboot.NO
        """What hbd wanted for the machine when it quit."""
        self.fed_ms = 0
        """When the watchdogs were fed last; what was meant for the device then."""
        self.device: Device | None = None

    @property
    def heard_ms(self) -> int | None:
        """When the core last took in a heartbeat of the other machine as new."""
        if self.core is None:
            return None
        membership = self.core._membership
        return None if membership.peer is None else membership.heard_ms(membership.peer.name)

    # ------------------------------------------------------------ life and death

    def start_daemon(self) -> None:
        """systemd starts hbd."""
        if not self.powered or self.core is not None:
            return
        self.generation += 1
        self._life += 1
        self.quit = False
        self._unguarded = self.freeze_record.mark & 1 == 1
        incarnation = self.world.draw(1, 2**31)
        identity = Identity(
            self.name, self.uuid, self.generation, incarnation, self.peers, self.freeze_record
        )
        self.core = Cluster(self.config, identity, self.world.draw(0, 2**31))
        late = self.alive_ms is None or self.world.now_ms - self.alive_ms > self.patience_ms
        late = late and not self.freeze_record.agreed
        silent_ms = 0 if self.alive_ms is None else self.world.now_ms - self.alive_ms
        self.post(Started(self.held, bool(self.held) and late, silent_ms, self.stall, self.promise))

    def kill_daemon(self) -> None:
        """kill -9: resources stay, jobs of systemd go on, everything in memory is gone."""
        if self.core is not None:
            self._forget_core(self.core)
            self._jobs.clear()
            self._watched.clear()
            self._inbox.clear()
            self.absent_since_ms = self.world.now_ms

    def _forget_core(self, core: Cluster) -> None:
        """The process is gone; what `/run` has of it stays."""
        self.patience_ms, self.promise = core.restart_patience_ms, core.promise
        self.core = None
        self._life += 1

    def forget_jobs(self) -> None:
        """Whoever was to tell the end of the jobs that are under way does not work."""
        self._jobs.clear()

    def power_off(self) -> None:
        """The mains fail: nothing runs any more, and /run is gone."""
        self.kill_daemon()
        self.powered = self.frozen = False
        self._boot += 1
        self.clients.clear()
        self.in_flight.clear()
        self._starting.clear()
        self._stopped_ms.clear()
        self.held, self.alive_ms, self._unguarded, self.promise = (), None, False, Promise()
        self.freeze_record = replace(self.freeze_record, agreed=False)
        for resource in list(self.running.values()):
            del self.running[resource.identity]
            self.world.changed(self, resource)

    def power_on(self) -> None:
        """Boot, and start the daemon."""
        self.powered = True
        self.start_daemon()

    def freeze(self) -> None:
        """Everything here stands still; what it had on its interfaces stays there."""
        if not self.frozen:
            self.absent_since_ms = self.world.now_ms
        self.frozen = True

    def thaw(self) -> None:
        """Wake: what is queued comes in its order, unless the queue was lost; the timer may come first."""
        self.frozen = False
        queued, self._inbox = self._inbox, []
        if self.world.chance(0.2):
            queued = [event for event in queued if not isinstance(event, DatagramReceived)]
        if self.world.chance(0.5):
            self.post(Tick())
        for event in queued:
            self.post(event)
        if self.core is not None:
            self._arm()

    # ------------------------------------------------------------ events

    def post(self, event: Event) -> None:
        """Hand the core an event, unless it is dead; a frozen one gets it later."""
        if self.core is None:
            return
        if self.frozen:
            if not isinstance(event, Tick) and len(self._inbox) < INBOX:
                self._inbox.append(event)
            return
        instant = Instant(self.world.now_ms, 1_700_000_000 + self.world.now_ms // 1000 + self._wall_offset_s)
        core = self.core
        effects = core.step(instant, event)
        for effect in effects:
            if self.core is not core:
                return
            self._perform(effect)
        self.world.stepped(self, event, effects)
        if self.core is core:
            self._arm()

    def ask(self, command: Command) -> None:
        """An operator's request."""
        self._requests += 1
        self.post(Asked(RequestId(self._requests), command))

    def receive(self, payload: bytes) -> None:
        self.post(DatagramReceived(self.config.media[0], payload))

    def _arm(self) -> None:
        assert self.core is not None
        deadline_ms = self.core.deadline_ms
        if deadline_ms is None:
            return
        self._timer += 1
        timer, life = self._timer, self._life

        def tick() -> None:
            if timer == self._timer and life == self._life:
                self.post(Tick())

        self.world.at(max(0, deadline_ms - self.world.now_ms), tick)

    # ------------------------------------------------------------ effects

    def _perform(self, effect: Effect) -> None:
        match effect:
            case Transmit(payload):
                self.world.transmit(self, payload)
            case Log() | Permit() | KeepLease() | CloseLink() | Forward():
                pass
            case Note(record):
                self.noted[record.name] = record
            case Recall(node, token, skip):
                noted = [replace(record, boot=self.name) for record in self.noted.values()]
                kept = tuple(noted[: max(len(noted) - skip, 0)][-20:])
                self._later(1, lambda: self.post(Recalled(node, token, kept, self.name)))
            case Retold(request):
                self.retold[request] = effect
            case StartJob(job, action, limit_ms):
                ticket = (self._life, job)
                self._jobs.add(ticket)
                self._begin(ticket, action, limit_ms)
            case FeedWatchdog(device):
                assert self.core is not None
                self.fed_ms, self.device = self.world.now_ms, device
                self.alive_ms = self.core.heard_ms
            case StoreHeld(groups):
                self.held = groups
            case StoreGeneration(generation):
                self.generation = generation
            case StorePeers(peers):
                self.peers = peers
            case OpenLink(medium):
                if self.dark and not isinstance(medium, Ping | Serial):
                    self.world.at(0, lambda: self.post(CarrierSeen(medium, False)))
                self.world.at(0, lambda: self.post(LinkOpened(medium)))
            case Answer(request, _, _):
                self.answers[request] = effect
            case AskPing(medium):
                if medium.name not in self.unreachable:
                    self._later(1, lambda: self.post(PingAnswered(medium)))
            case WatchPaths(addresses):
                self._paths = addresses
                self._later(1, self._tell_paths)
            case AbandonJob(job):
                self._jobs.discard((self._life, job))
                self._abandoned.add((self._life, job))
            case Quit(_, reboot):
                assert self.core is not None
                self.quit, self.reboot = True, reboot
                self._unguarded = reboot is Reboot.NO
                self._forget_core(self.core)
                self.absent_since_ms = self.world.now_ms
            case Watch(resource, known):
                self._watched.add(resource.identity)
                if (resource.identity in self.running) is not (known is Condition.RUNNING):
                    self._later(1, lambda: self._tell(resource))
            case Unwatch(resource):
                self._watched.discard(resource.identity)
            case StartClient(client, anew):
                found = client.unit in self.clients and not anew
                self.clients[client.unit] = self.clients.get(client.unit, 0) + (not found)
                self._later(1, lambda: self.post(ClientStarted(client, 1, found=found)))
            case StopClient(client):
                ran = self.clients.pop(client.unit, 0)
                self._later(1, lambda: self._client_stopped(client, bool(ran)))
            case StoreStall(stall):
                self.stall = stall
            case StoreFreeze(record):
                self.freeze_record = record
                self._unguarded = record.mark & 1 == 1
            case ArmLease() | DisarmLease() | EndLease():
                pass

    def _client_stopped(self, client: Client, ran: bool) -> None:
        if ran:
            self.post(ClientEnded(client, 1, 0, 15, 1))
        self.post(ClientGone(client))

    def darken(self, dark: bool) -> None:
        """The cables of its media are pulled, or put back; what then gets through is the world's business."""
        self.dark = dark
        for medium in self.config.media:
            if not isinstance(medium, Ping | Serial):
                self.post(CarrierSeen(medium, not dark))

    def plug(self, carrier: bool) -> None:
        """The cable of the interface with the service addresses is pulled, or put back."""
        self.carrier = carrier
        self._tell_paths()

    def _tell_paths(self) -> None:
        for address in self._paths:
            self.post(PathSeen(address, self.carrier))

    def _begin(self, ticket: Ticket, action: Action, limit_ms: int) -> None:
        match action:
            case StartResource(resource):
                self._begin_start(ticket, resource, limit_ms)
            case StopResource(resource, _):
                self._begin_stop(ticket, resource)
            case DropAddresses(addresses):
                self._later(self.world.draw(1, 3), lambda: self._dropped(ticket, addresses))
            case ProbeResource(resource):
                self._later(self.world.draw(1, 5), lambda: self._end(ticket, self._probe(resource)))
            case Announce():
                self._later(1, lambda: self._end(ticket, OK))

    def _begin_start(self, ticket: Ticket, resource: ResourceSpec, limit_ms: int) -> None:
        identity = resource.identity
        address = isinstance(resource, AddressResource)
        delay_ms = self.world.draw(1, 3) if address else self.world.draw(20, 400)
        delay_ms += self.troubles.slow.get(identity, 0)
        # systemd lets a unit end before it starts it again.
        ends_ms = max(0, self._stopped_ms.get(identity, 0) - self.world.now_ms)
        delay_ms += ends_ms
        fails = identity in self.troubles.start_fails
        self.starts[identity] = self.starts.get(identity, 0) + 1
        self.in_flight[identity] = self.in_flight.get(identity, 0) + 1
        stops = self._stops.get(identity, 0)

        def cancelled() -> bool:
            # A stop takes the place of systemd's start job; an address is our own and ends with its job.
            return self._stops.get(identity, 0) != stops or (address and ticket not in self._jobs)

        if not fails and not address:
            # A unit runs some time before its job is done.
            early_ms = ends_ms + (delay_ms - ends_ms) // 2
            self._later(early_ms, lambda: None if cancelled() else self._run(resource))

        self._starting[identity] = self._starting.get(identity, 0) + 1

        def done() -> None:
            if self._stops.get(identity, 0) == stops:
                self._starting[identity] -= 1
                self.in_flight[identity] -= 1
            if not fails and not cancelled():
                self._run(resource)
            if delay_ms < limit_ms:
                self._end(ticket, Outcome(Result.FAILED, "it exits with 1") if fails else OK)

        self._later(delay_ms, done)
        if delay_ms >= limit_ms:
            self._later(limit_ms, lambda: self._end(ticket, Outcome(Result.UNKNOWN, "no answer in time")))

    def _begin_stop(self, ticket: Ticket, resource: ResourceSpec) -> None:
        identity = resource.identity
        address = isinstance(resource, AddressResource)
        delay_ms = self.world.draw(1, 3) if address else self.world.draw(20, 400)
        delay_ms += self.troubles.slow.get(identity, 0)
        self.in_flight[identity] = self.in_flight.get(identity, 0) + 1
        self._stops[identity] = self._stops.get(identity, 0) + 1
        if not address:
            self._stopped_ms[identity] = self.world.now_ms + delay_ms
        self.in_flight[identity] -= self._starting.pop(identity, 0)

        def done() -> None:
            self.in_flight[identity] -= 1
            left = self.troubles.stop_fails.get(identity, 0)
            if left:
                self.troubles.stop_fails[identity] = left - 1
                self._end(ticket, Outcome(Result.FAILED, "it does not end"))
                return
            self.take_away(resource)
            self._end(ticket, OK)

        self._later(delay_ms, done)

    def _dropped(self, ticket: Ticket, addresses: tuple[AddressResource, ...]) -> None:
        if ticket in self._abandoned:
            return
        for address in addresses:
            self.take_away(address)
        self._end(ticket, OK)

    def _probe(self, resource: ResourceSpec) -> Outcome:
        if self.in_flight.get(resource.identity):
            return Outcome(Result.OK, condition=Condition.BUSY)
        runs = resource.identity in self.running
        return Outcome(Result.OK, condition=Condition.RUNNING if runs else Condition.STOPPED)

    def _run(self, resource: ResourceSpec) -> None:
        if resource.identity not in self.running:
            self.running[resource.identity] = resource
            self.world.changed(self, resource)

    def take_away(self, resource: ResourceSpec) -> None:
        """It runs no more, whoever ended it."""
        self.by_hand.discard(resource.identity)
        if self.running.pop(resource.identity, None) is not None:
            self.world.changed(self, resource)

    def lose(self, resource: ResourceSpec) -> None:
        """Somebody removes a running resource by hand; the watch sees it."""
        if resource.identity in self.running:
            self.take_away(resource)
            self._tell(resource)

    def appear(self, resource: ResourceSpec) -> None:
        """Somebody starts a resource by hand; the watch sees it."""
        self.by_hand.add(resource.identity)
        self._run(resource)
        self._tell(resource)

    def lets_start(self, resource: ResourceSpec) -> bool:
        """Whether systemd would start it for anybody: an assertion stands before the units of other nodes."""
        if isinstance(resource, AddressResource) or not self.guards or self._unguarded:
            return True
        return self.is_marked(resource)

    def is_marked(self, resource: ResourceSpec) -> bool:
        """Its group is on record as started here, or being started."""
        return any(
            resource in held.resources and held.direction in (Direction.STARTING, Direction.STARTED)
            for held in self.held
        )

    def see(self, resource: ResourceSpec, *, running: bool, aside: bool = False) -> None:
        """The watch tells this, whatever is so."""
        self.post(ResourceSeen(resource, Condition.RUNNING if running else Condition.STOPPED, aside=aside))

    def _tell(self, resource: ResourceSpec) -> None:
        """A watch tells what is so now, as the edge does after each notice of the kernel."""
        if resource.identity in self._watched:
            runs = resource.identity in self.running
            self.post(ResourceSeen(resource, Condition.RUNNING if runs else Condition.STOPPED))

    def _later(self, delay_ms: int, action: Callable[[], None]) -> None:
        """Goes on without the daemon, but not without the machine; a frozen machine does it when it wakes."""
        self.world.at(delay_ms, partial(self._due, self._boot, action))

    def _due(self, boot: int, action: Callable[[], None]) -> None:
        if boot != self._boot:
            return
        if self.frozen:
            self.world.at(10, partial(self._due, boot, action))
            return
        action()

    def _end(self, ticket: Ticket, outcome: Outcome) -> None:
        if ticket in self._jobs:
            self._jobs.discard(ticket)
            self.post(JobDone(ticket[1], outcome))
