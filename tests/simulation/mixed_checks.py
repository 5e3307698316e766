"""What must hold beside a heartbeat 3.0.6 node, and what an unfenced pair with one cannot help.

Each excuse for an address on both nodes is one function; its docstring has the fact behind it.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TYPE_CHECKING

from hbd.config.model import AddressResource, AutoFailback, GroupSpec, Key, Keys, ResourceSpec
from hbd.core import message as f
from hbd.core import protocol
from hbd.core.message import Message
from hbd.core.wire import BadDatagram, decode
from hbd.sim.machines import Machine
from tests.simulation.classic_model import FOREIGN, LOCAL, NONE, SETS, Sets, named
from tests.simulation.classic_model import Standby as Part

if TYPE_CHECKING:
    from tests.simulation.mixed_world import MixedWorld

ADDRESS_GRACE_MS = 60
"""Waking or hearing the other until the address is off: probing, one job."""
KEYS = Keys(1, (Key(1, "crc", b""),))
UNNOTICED_MS = 10_000
"""A 3.0.6 node that did not see the partition does not restart: ours has to give way, but it waits for
`info=shutdown` first: 3 s each to ask and to wait, and words may be 2 s late each way."""

_NUMBERS = re.compile(rb"\(0\)(hg|seq)=([0-9a-f]+),")
_CONVERSATION = (b"=resource,", b"=ask_resources,", b"=shutdone,", b"=starting,", b"=ip-request-resp,")


class Wire:
    """Silences between the machines that were longer than deadtime: (number of the sender, from, until)."""

    def __init__(self, deadtime_ms: int, keepalive_ms: int, lag_ms: int) -> None:
        patience_ms = deadtime_ms - ADDRESS_GRACE_MS
        self._known_ms = deadtime_ms - keepalive_ms
        self._hole_ms = {1: patience_ms - lag_ms, 2: patience_ms}
        self._last_ms = {1: 0, 2: 0}
        self._at = {1: (0, 0), 2: (0, 0)}
        self._ended_ms = {1: -UNNOTICED_MS, 2: -UNNOTICED_MS}

    def delivered(self, sender: int, now_ms: int, payload: bytes) -> None:
        """A datagram came through. Only a new status is a sign of life; what was sent again is not."""
        if b"(0)t=status," not in payload:
            return
        numbers = {name: int(value, 16) for name, value in _NUMBERS.findall(payload)}
        at = (numbers.get(b"hg", 0), numbers.get(b"seq", 0))
        if at <= self._at[sender]:
            return
        self._at[sender] = at
        if now_ms - self._last_ms[sender] > self._hole_ms[sender]:
            self._ended_ms[sender] = now_ms
        self._last_ms[sender] = now_ms

    def forgive(self, now_ms: int, absent_ms: int) -> None:
        """Ours stood still or was gone for so long that it knows what may have happened: that is no excuse.

        What is shorter, and a silence of the wire that follows, are one silence for the other node.
        """
        if absent_ms >= self._known_ms:
            for sender, last_ms in self._last_ms.items():
                self._last_ms[sender] = min(last_ms + absent_ms, now_ms)

    def is_silent(self, sender: int, now_ms: int) -> bool:
        """Nothing has come from this one for longer than a node may be silent."""
        return now_ms - self._last_ms[sender] > self._hole_ms[sender]

    def was_silent(self, sender: int, now_ms: int, within_ms: int) -> bool:
        return now_ms - self._ended_ms[sender] <= within_ms


class Claims:
    """What a node has told the other that it holds, as the other has to understand it.

    `none` and every other lesser report that is not stable frees nothing (3.0.6 says it before it has
    released); a stable report, `done` and `shutdone` do. In the node's own terms.
    """

    def __init__(self, node: str) -> None:
        self.node = node
        self.sets: Sets = NONE
        self.giver = ""
        """Who said `me` last."""
        self._at = (0, 0)
        self._seen: set[tuple[int, int]] = set()

    def take(self, payload: bytes) -> Message | None:
        """Take in a datagram; the message, if it is a new one of the conversation."""
        if not any(word in payload for word in _CONVERSATION):
            return None
        try:
            message = decode(payload, KEYS).message
        except BadDatagram:
            return None
        at = (message.hex(f.HG) or 0, message.hex(f.SEQ) or 0)
        if at in self._seen or at[0] < self._at[0]:
            return None
        self._seen.add(at)
        if at[0] > self._at[0]:
            self.sets, self.giver = NONE, ""
        if message.text(f.T) == protocol.RESOURCE and at <= self._at:
            return None  # Overtaken; a step of the handshake is one whenever it comes.
        self._at = max(at, self._at)
        self._apply(message)
        return message

    def _apply(self, message: Message) -> None:
        sets, info = SETS.get(message.text(f.RSC_HOLD) or "none", NONE), message.text(f.INFO)
        match message.text(f.T):
            case protocol.RESOURCE if message.text(f.RTYPE) == "full" and message.text(f.ISSTABLE) == "1":
                self.sets = sets
            case protocol.RESOURCE:
                self.sets |= sets
            case protocol.SHUTDONE:
                self.sets = NONE
            case protocol.ASK_RESOURCES if info == "me":
                self.giver = self.node
            case protocol.ASK_RESOURCES if info == "other":
                self.giver = ""
            case protocol.ASK_RESOURCES if info == "done" and self.giver == self.node:
                self.sets -= sets
            case _:
                pass


# ---------------------------------------------------------------- safety


def addresses_on_both(world: MixedWorld) -> list[str]:
    """Service addresses that both machines have at this moment."""
    both = world.ours.running.keys() & world.theirs.running.keys()
    return [each for each in sorted(both) if isinstance(world.ours.running[each], AddressResource)]


def start_is_allowed(world: MixedWorld, resource: ResourceSpec) -> str | None:
    """Ours starts nothing that the 3.0.6 node, not known to be dead or gone, says it holds."""
    core = world.ours.core
    assert core is not None
    peer = core._membership.peer
    if peer is None or peer.dead or peer.gone:
        return None
    for group in core._config.groups:
        sets = LOCAL if group.home == world.theirs.name else FOREIGN
        if resource in group.resources and sets <= world.said.sets:
            return f"{world.ours.name} starts {resource.identity} of {group.key}, which the 3.0.6 node holds"
    return None


def our_words_are_true(ours: Machine, promised: Claims, payload: bytes) -> str | None:
    """Ours says none, done or shutdone only of what it does not run, and has no job on."""
    message = promised.take(payload)
    if message is None:
        return None
    held = _truth(ours)
    kind, info = message.text(f.T), message.text(f.INFO)
    sets = SETS.get(message.text(f.RSC_HOLD) or "none", NONE)
    if kind == protocol.RESOURCE and not held <= sets:
        return f"{ours.name} says that it holds {named(sets)}, and runs something of {named(held)}"
    if kind == protocol.IP_REQUEST_RESP:
        groups = [group for group in ours.config.groups if group.name == message.text(f.IPADDR)]
        if any(_runs(ours, group) for group in groups):
            return f"{ours.name} says that {message.text(f.IPADDR)} is free and runs something of it"
    if kind == protocol.SHUTDONE and held:
        return f"{ours.name} says shutdone and runs something of {named(held)}"
    if kind == protocol.ASK_RESOURCES and info == "done" and promised.giver == ours.name and held & sets:
        return f"{ours.name} says done and still runs something of {named(held & sets)}"
    return None


def _truth(ours: Machine) -> Sets:
    held = NONE
    for group in ours.config.groups:
        if _runs(ours, group):
            held |= LOCAL if group.home == ours.name else FOREIGN
    return held


def _runs(ours: Machine, group: GroupSpec) -> bool:
    return any(r.identity in ours.running or ours.in_flight.get(r.identity) for r in group.resources)


# ---------------------------------------------------------------- excuses


def _ours_stands_still(world: MixedWorld, address: str) -> bool:
    """A machine that stands still, or whose daemon was killed, keeps its addresses; nothing fences it."""
    awake = world.ours.core is not None and not world.ours.frozen
    return not awake or world.now_ms - world.woke_ms <= ADDRESS_GRACE_MS


def _theirs_stands_still(world: MixedWorld, address: str) -> bool:
    """The same on the other side."""
    return world.theirs.frozen


def _theirs_left_it_behind(world: MixedWorld, address: str) -> bool:
    """A killed master leaves its resources, and nobody cleans up: not its next life either."""
    return any(resource.identity == address for resource in world.theirs.leftovers)


def _theirs_will_release(world: MixedWorld, address: str) -> bool:
    """After a partition 3.0.6 keeps everything for 2 s or more, and then releases it in its scripts' time."""
    daemon = world.theirs.daemon
    return daemon is not None and (daemon.healing or daemon._stopping is not None)


def _the_wire_is_cut(world: MixedWorld, address: str) -> bool:
    """Silence for longer than deadtime, in one direction or both: who hears nothing takes over.

    A 3.0.6 node tells nobody whom it hears, so a node cannot know that it is not heard.
    """
    return any(world.wire.is_silent(sender, world.now_ms) for sender in (1, 2))


def _the_wire_was_cut(world: MixedWorld, address: str) -> bool:
    """After a cut ours waits whether 3.0.6 releases, and gives way only if it does not."""
    return any(world.wire.was_silent(sender, world.now_ms, UNNOTICED_MS) for sender in (1, 2))


def _theirs_found_it_running(world: MixedWorld, address: str) -> bool:
    """A new life of 3.0.6 keeps what a killed one left, asks nobody for it, and says so when it is up."""
    daemon = world.theirs.daemon
    return daemon is not None and address in daemon.found and world.now_ms - daemon.born_ms <= UNNOTICED_MS


EXCUSES: tuple[Callable[[MixedWorld, str], bool], ...] = (
    _ours_stands_still, _theirs_stands_still, _theirs_left_it_behind, _theirs_will_release,
    _theirs_found_it_running, _the_wire_is_cut, _the_wire_was_cut,
)  # fmt: skip


def is_excused(world: MixedWorld, address: str) -> bool:
    """Whether an unfenced pair with a 3.0.6 node cannot help having this address twice now."""
    return any(excuse(world, address) for excuse in EXCUSES)


# ---------------------------------------------------------------- after the healing


def everything_is_in_place(world: MixedWorld, groups: tuple[GroupSpec, ...]) -> str | None:
    """Every group runs once, our view names its owner, and nobody is in motion."""
    return _runs_once(world, groups) or _theirs_is_at_rest(world) or _our_view_is_true(world, groups)


def _runs_once(world: MixedWorld, groups: tuple[GroupSpec, ...]) -> str | None:
    ours, theirs = world.ours, world.theirs
    for group in groups:
        names = [resource.identity for resource in group.resources]
        owners = [m.name for m in (ours, theirs) if any(name in m.running for name in names)]
        whole = [m.name for m in (ours, theirs) if all(name in m.running for name in names)]
        if not owners and (group.key in theirs.failed or _did_not_start_here(world, group)):
            continue
        if len(owners) != 1 or owners != whole:
            return f"{group.key} runs on {owners}, whole on {whole}"
    return None


def _did_not_start_here(world: MixedWorld, group: GroupSpec) -> bool:
    """With auto_failback legacy there is no standby: what does not start on its home node starts nowhere.

    Nor does what the 3.0.6 node could not start, whatever auto_failback says: it goes on claiming it.
    """
    core = world.ours.core
    legacy = world.setting.failback[0] is AutoFailback.LEGACY
    return legacy and core is not None and core._custody.groups[group.key].unable


def _theirs_is_at_rest(world: MixedWorld) -> str | None:
    daemon = world.theirs.daemon
    if daemon is None:
        return "the 3.0.6 node is down"
    if daemon.standby is not Part.NOT and not daemon.works:
        return None  # Its peer left in the middle of a handshake: 3.0.6 waits for an hour, even with a stop.
    if daemon.overtaken and not daemon.works:
        return None  # Datagrams changed places on the wire; 3.0.6 does not look at their order.
    if daemon.busy or daemon._stopping is not None or daemon.healing:
        return (
            f"the 3.0.6 node is in motion: {daemon.state}, {daemon.standby}, "
            f"other stable: {daemon.other_stable}, takeover: {daemon.takeover}"
        )
    return None


def _our_view_is_true(world: MixedWorld, groups: tuple[GroupSpec, ...]) -> str | None:
    core = world.ours.core
    if core is None:
        return "ours is down"
    view = core.view()
    if view.transition:
        return f"transition {view.transition} never ended"
    for group, shown in zip(groups, view.groups, strict=True):
        here = group.key in world.ours.running
        if (shown.owner == world.ours.name) != here:
            return f"{group.key} {'runs' if here else 'does not run'} here, and our view says '{shown.owner}'"
    return None


def moves_are_bounded(world: MixedWorld, groups: tuple[GroupSpec, ...], most: int) -> str | None:
    """A group does not wander."""
    for group in groups:
        last = group.resources[-1].identity
        starts = world.ours.starts.get(last, 0) + world.theirs.starts.get(last, 0)
        if starts > most:
            return f"{group.key} was started {starts} times"
    return None
