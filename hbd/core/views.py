"""What the core knows, as an immutable picture for everybody who shows it.

The names are those of the D-Bus contract; values are its strings.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum

from hbd.config.model import AutoFailback, ResourceSpec


class ClusterState(Enum):
    """Cluster.State."""

    STARTING = "starting"
    JOINING = "joining"
    STABLE = "stable"
    TRANSITION = "transition"
    STOPPING = "stopping"


class Holding(Enum):
    """Which groups a node holds, in its own terms (3.0.6's rsc_hold)."""

    NONE = "none"
    LOCAL = "local"
    FOREIGN = "foreign"
    ALL = "all"


class NodeStatus(Enum):
    """Node.Status, as 3.0.6's clients know it."""

    INIT = "init"
    UP = "up"
    ACTIVE = "active"
    PING = "ping"
    DEAD = "dead"


class LinkStatus(Enum):
    """Link.Status."""

    UP = "up"
    DEAD = "dead"


class GroupState(Enum):
    """Group.State and Resource.State."""

    STOPPED = "stopped"
    STARTING = "starting"
    STARTED = "started"
    STOPPING = "stopping"
    FAILED = "failed"
    BLOCKED = "blocked"


class Agreement(Enum):
    """What is known of two nodes' configurations."""

    SAME = "same"
    DIFFERENT = "different"
    UNKNOWN = "unknown"

    @staticmethod
    def of(equal: bool) -> Agreement:
        return Agreement.SAME if equal else Agreement.DIFFERENT


@dataclass(frozen=True, slots=True)
class NodeView:
    """One node of ha.cf."""

    name: str
    kind: str
    """`normal` or `ping`."""
    status: NodeStatus
    holding: Holding
    local: bool
    protocol: str = ""
    """`hbd`; `heartbeat` for 3.0.6; empty while it is not known."""
    haresources: Agreement = Agreement.UNKNOWN
    """Whether its haresources means the same resources as ours."""
    ping_nodes: Agreement = Agreement.UNKNOWN
    """Whether it asks the same ping nodes."""
    obstacles: tuple[str, ...] = ()
    """Why it could not take over what another holds; each completes a sentence that begins with its name."""


@dataclass(frozen=True, slots=True)
class LinkView:
    """One way to one peer: (node, interface or tty)."""

    node: str
    name: str
    medium: str
    """Directive of ha.cf: `bcast`, `ucast`, …"""
    status: LinkStatus
    weak: bool = False
    """It has lost many of the last messages, and is not dead."""


@dataclass(frozen=True, slots=True)
class ResourceView:
    """One resource of a group, as this node sees it."""

    spec: ResourceSpec
    kind: str
    """`address` or `unit`."""
    group: str
    position: int
    state: GroupState
    last_error: str


@dataclass(frozen=True, slots=True)
class GroupView:
    """One group. `owner` is empty if nobody is known to hold it; `state` is the owner's."""

    name: str
    preferred_node: str
    owner: str
    state: GroupState
    resources: tuple[ResourceView, ...]
    reason: str = ""
    """Why it is as it is: one sentence."""


@dataclass(frozen=True, slots=True)
class ClusterView:
    """The whole picture after one step."""

    local_node: str
    state: ClusterState
    holding: Holding
    auto_failback: AutoFailback
    generation: int
    transition: int
    """Number of the open transition, 0 = none."""
    last_finished: tuple[int, str]
    """The last transition that ended and its result (`done`, `cancelled`, `failed`); (0, "") at first."""
    nodes: tuple[NodeView, ...]
    links: tuple[LinkView, ...]
    groups: tuple[GroupView, ...]
    frozen: bool = False
    freeze_agreed: bool = True
    """The other node is known to have the same in mind about `frozen`."""
    degraded: tuple[str, ...] = ()
    """What is missing but being retried: sentences."""
    statistics: tuple[tuple[str, int | tuple[tuple[str, int], ...]], ...] = field(default=())
    """Counters for GetStatistics, one number each or one for each node, link or group; not announced."""
