"""What the driver needs of the core and of the edges: a protocol for each, and the table that holds them.

Each is fulfilled by a module that knows nothing of the others. None of their methods may block.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from hbd.config.model import MediumSpec, ResourceSpec
from hbd.core.effects import (
    Device,
    Effect,
    LeaseEffect,
    Log,
    Recall,
    StartClient,
    StartJob,
    StopClient,
    StoreFreeze,
    StoreGeneration,
    StoreHeld,
    StorePeers,
    StoreStall,
    Transmit,
    Watch,
    WatchPaths,
)
from hbd.core.events import Event, Instant, JobId, Recalled
from hbd.core.records import Record
from hbd.core.views import ClusterView

Post = Callable[[Event], None]


class Core(Protocol):
    """What is driven: `hbd.core.cluster.Cluster`."""

    def step(self, now: Instant, event: Event) -> list[Effect]:
        """Take in one event."""

    @property
    def deadline_ms(self) -> int | None:
        """CLOCK_BOOTTIME milliseconds at which a Tick is wanted."""

    def view(self) -> ClusterView:
        """The picture after the last step."""


class Medium(Protocol):
    """As in `hbd.media.base`."""

    def open(self, post: Post) -> None:
        """Begin. Raises OSError."""

    def send(self, message: Transmit) -> None:
        """Send or drop."""

    def close(self) -> None:
        """End."""


@runtime_checkable
class Asking(Protocol):
    """A medium that carries questions to a ping node."""

    def ask(self) -> None:
        """Send one echo request to each of its hosts. Never blocks."""


class Paths(Protocol):
    """Whoever knows the interfaces of addresses: `hbd.agents.paths`."""

    def watch(self, effect: WatchPaths, post: Post) -> None:
        """Post PathSeen now and at every change, for these addresses only."""


class Work(Protocol):
    """Whoever runs jobs and watches: `hbd.jobs.Jobs`."""

    def start(self, effect: StartJob, post: Post) -> None:
        """Begin; JobDone is posted once."""

    def abandon(self, job: JobId) -> None:
        """Post no JobDone for it any more."""

    def watch(self, effect: Watch, post: Post) -> None:
        """Post ResourceSeen when it changes, and at once if it is not what is known."""

    def unwatch(self, resource: ResourceSpec) -> None:
        """No longer."""

    def permit(self, until_ms: int) -> None:
        """Announcements may be sent until then."""


class Keeper(Protocol):
    """Whoever runs clients: `hbd.respawn.Keeper`."""

    def start(self, effect: StartClient, post: Post) -> None:
        """Begin; ClientStarted or ClientRefused is posted later."""

    def stop(self, effect: StopClient, post: Post) -> None:
        """End it; ClientGone is posted later."""


class LeaseKeeper(Protocol):
    """Whoever has the kernel keep the lease: `hbd.lease.KernelLease`."""

    def perform(self, effect: LeaseEffect, post: Post) -> None:
        """Renew or end it now; arm or disarm it soon. LeaseArmed and LeaseRefused are posted later."""


@dataclass(frozen=True, slots=True)
class Edges:
    """Where the effects go. None of these may block."""

    now: Callable[[], Instant]
    load: Callable[[], str]
    medium: Callable[[MediumSpec], Medium]
    work: Work
    clients: Keeper
    lease: LeaseKeeper
    paths: Paths
    store: Callable[[StoreHeld | StoreGeneration | StorePeers | StoreStall | StoreFreeze], None]
    log: Callable[[Log], None]
    note: Callable[[Record], None]
    recall: Callable[[Recall], Recalled]
    """Fetches records out of memory."""
    feed: Callable[[int, Device], None]
    """We were healthy at this time (ms)."""
