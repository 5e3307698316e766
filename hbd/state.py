"""What survives: a restart of the machine (generation, uuid, host cache) and of the daemon (what is held).

The state directory is on disk; what changes at run time is written there by a thread of its own, in
order, since a disk may be slow. The run directory is in memory (tmpfs): it is written in place, within
tens of microseconds, so that a takeover waits for no other thread and no fsync.

    /var/lib/hbd/generation   decimal text          /run/hbd/held    JSON, see `hbd.heldtext`
    /var/lib/hbd/uuid         16 bytes              /run/hbd/alive   see `hbd.stale`
    /var/lib/hbd/hostcache    name TAB uuid TAB generation, a line for each peer
    /var/lib/hbd/freeze       mark of the freeze (odd = frozen), nodes that were frozen when last heard
                                                    /run/hbd/stall   longest stall: its ms, Unix seconds
                                                    /run/hbd/frozen  empty; there while a freeze is agreed
    /var/lib/hbd/units        managed units, a      /run/hbd/owned   with its neighbour `guarded` or
                              line each                              `unguarded`: see `hbd.starts`

Heartbeat 3.0.6's own directory is the neighbour `heartbeat` of ours. Where it exists its `hb_generation`
(right-aligned to 15 columns) is read and kept up, and its `hb_uuid` taken over, so that the peers see one
and the same node under either daemon.
"""

from __future__ import annotations

import contextlib
import mmap
import os
import queue
import struct
import threading
import uuid as uuids
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from hbd.config.model import UnitResource
from hbd.core.effects import (
    FREEZE_MAX,
    FreezeRecord,
    Kind,
    Level,
    Log,
    PeerRecord,
    StoreFreeze,
    StoreGeneration,
    StoreHeld,
    StorePeers,
    StoreStall,
)
from hbd.core.events import Direction, HeldGroup, Promise, Stall
from hbd.files import read, replace
from hbd.heldtext import decode_held, encode_held
from hbd.stale import ALIVE, FROZEN
from hbd.starts import Starts

HIGHEST_GENERATION = 2**62
"""More than this in a file is garbage, not a generation."""


@dataclass(frozen=True, slots=True)
class Beginning:
    """Who we are from this start on."""

    generation: int
    uuid: bytes
    peers: tuple[PeerRecord, ...]
    freeze: FreezeRecord
    """Without what the run directory knows of it."""
    notes: tuple[Log, ...]
    """What the journal should say about it; the generation itself is said by the core."""


class StateDir:
    """The directory on disk. Each file is replaced as a whole or not at all."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._legacy = path.parent / "heartbeat"

    def begin(self, node: str, hbgenmethod: str, uuidfrom: str, wall_s: int) -> Beginning:
        """Draw the next generation and store it, before any datagram can carry it. Raises OSError."""
        self._path.mkdir(mode=0o755, parents=True, exist_ok=True)
        notes: list[Log] = []
        generation = self._next_generation(hbgenmethod, wall_s, notes)
        self.store_generation(generation)
        uuid, freeze = self._uuid(node, uuidfrom, notes), self._freeze(notes)
        return Beginning(generation, uuid, self._peers(), freeze, tuple(notes))

    def store_generation(self, generation: int) -> None:
        """Here, and where heartbeat 3.0.6 would look for it. Raises OSError."""
        replace(self._path / "generation", f"{generation}\n".encode())
        if self._legacy.is_dir():
            replace(self._legacy / "hb_generation", f"{generation:>15}\n".encode())

    def store_peers(self, peers: tuple[PeerRecord, ...]) -> None:
        """Raises OSError."""
        lines = [f"{peer.name}\t{peer.uuid.hex()}\t{peer.generation}\n" for peer in peers]
        replace(self._path / "hostcache", "".join(lines).encode())

    def store_freeze(self, record: FreezeRecord) -> None:
        """Raises OSError."""
        replace(self._path / "freeze", f"{' '.join((str(record.mark), *record.sealed))}\n".encode())

    def store_units(self, units: Iterable[str]) -> bool:
        """The units to be guarded at boot, and whether they were others before. Raises OSError."""
        text = "".join(f"{unit}\n" for unit in sorted(set(units))).encode()
        if read(self._path / "units") == text:
            return False
        replace(self._path / "units", text)
        return True

    def _freeze(self, notes: list[Log]) -> FreezeRecord:
        """What is unreadable is no freeze: the peer knows better, and says so."""
        content = read(self._path / "freeze")
        if content is None:
            return FreezeRecord()
        try:
            text, *sealed = content.decode("utf-8").split()
            mark = _generation(text.encode())
            if mark > FREEZE_MAX:
                raise ValueError(text)  # No report could carry it, and the peer would believe none of ours.
            return FreezeRecord(mark, sealed=tuple(sealed))
        except ValueError:
            text = f"{self._path / 'freeze'} is unreadable: whether the cluster was frozen is not known"
            notes.append(Log(Level.ERROR, Kind.FREEZE, text))
            return FreezeRecord()

    def _next_generation(self, hbgenmethod: str, wall_s: int, notes: list[Log]) -> int:
        stored: list[int] = []
        for path in (self._path / "generation", self._legacy / "hb_generation"):
            content = read(path)
            if content is None:
                continue
            try:
                stored.append(_generation(content))
            except ValueError:
                # 3.0.6 counts from 1 again here, and is a replay attacker to its peers from then on.
                stored.append(wall_s)
                text = f"{path} is unreadable: going on from the time of day"
                notes.append(Log(Level.WARN, Kind.GENERIC, text))
        if not stored:
            first = wall_s + 1
            notes.append(Log(Level.WARN, Kind.GENERIC, f"No Previous generation - starting at {first}"))
            return first
        following = max(stored) + 1
        return max(following, wall_s) if hbgenmethod == "time" else following

    def _uuid(self, node: str, uuidfrom: str, notes: list[Log]) -> bytes:
        if uuidfrom == "nodename":
            return uuids.uuid5(uuids.NAMESPACE_DNS, f"{node}.node.linux-ha.org").bytes
        for path in (self._path / "uuid", self._legacy / "hb_uuid"):
            found = read(path)
            if found is not None and len(found) == 16 and any(found):
                break
        else:
            notes.append(
                Log(Level.INFO, Kind.GENERIC, "No uuid found for current node - generating a new uuid.")
            )
            found = uuids.uuid4().bytes
        if read(self._path / "uuid") != found:
            replace(self._path / "uuid", found)
        return found

    def _peers(self) -> tuple[PeerRecord, ...]:
        """The host cache is only a cache: a line that cannot be read is a peer not known yet."""
        peers = []
        for line in (read(self._path / "hostcache") or b"").decode("utf-8", "replace").splitlines():
            with contextlib.suppress(ValueError):
                name, uuid, generation = line.split("\t")
                if len(bytes.fromhex(uuid)) in (0, 16):
                    peers.append(PeerRecord(name, bytes.fromhex(uuid), int(generation)))
        return tuple(peers)


PROMISE = struct.Struct("<QQ")
"""`alive` has behind what `hbd.stale` needs: the deadtime and the keepalive that the peer goes by, in ms."""


class RunDir:
    """The directory in memory: gone after a reboot, as the resources are."""

    def __init__(self, path: Path) -> None:
        """Raises OSError."""
        self.path = path
        path.mkdir(mode=0o755, parents=True, exist_ok=True)
        descriptor = os.open(path / "alive", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            os.ftruncate(descriptor, ALIVE.size + PROMISE.size)
            self._alive = mmap.mmap(descriptor, ALIVE.size + PROMISE.size)
        finally:
            os.close(descriptor)
        self._patience_ms = 0
        self._starts = Starts(str(path))

    def held(self) -> tuple[HeldGroup, ...]:
        """What the last daemon of this boot had started. Raises OSError, and ValueError on garbage."""
        text = read(self.path / "held")
        return decode_held(text) if text else ()

    def silent_ms(self, now_ms: int) -> int:
        """How long since a daemon of this boot was healthy; 0 if that is not known."""
        stamp_ms, _ = ALIVE.unpack_from(self._alive)
        return now_ms - stamp_ms if 0 < stamp_ms <= now_ms else 0

    def is_overdue(self, now_ms: int) -> bool:
        """Whether no daemon of this boot was healthy for longer than the peer waits, or nobody knows."""
        if self.is_frozen:
            return False
        stamp_ms, patience_ms = ALIVE.unpack_from(self._alive)
        return not 0 < stamp_ms <= now_ms or now_ms - stamp_ms > patience_ms

    def be_patient(self, patience_ms: int) -> None:
        """How long the peer waits for us. Stored at once: a peer that has just come waits less than none."""
        if patience_ms != self._patience_ms:
            self._patience_ms = patience_ms
            stamp_ms, _ = ALIVE.unpack_from(self._alive)
            ALIVE.pack_into(self._alive, 0, stamp_ms, patience_ms)

    def stamp(self, now_ms: int) -> None:
        """We were healthy and heard at this moment: a store to memory, no system call."""
        ALIVE.pack_into(self._alive, 0, now_ms, self._patience_ms)

    @property
    def promise(self) -> Promise:
        """What the last daemon of this boot had the peer go by."""
        return Promise(*PROMISE.unpack_from(self._alive, ALIVE.size))

    def keep_promise(self, promise: Promise) -> None:
        """For the next daemon, whose configuration may have other times."""
        PROMISE.pack_into(self._alive, ALIVE.size, promise.deadtime_ms, promise.keepalive_ms)

    @property
    def is_frozen(self) -> bool:
        """Whether the last daemon of this boot had agreed with the peer on a freeze."""
        return (self.path / FROZEN).exists()

    def freeze(self, stored: FreezeRecord) -> FreezeRecord:
        """What is known of a freeze at our start, from the disk and from this boot.

        The disk is written later, and may have been lost. Who was frozen goes on so; if that is over, the
        peer has a higher mark.
        """
        agreed = self.is_frozen
        missing = 1 if agreed and stored.mark & 1 == 0 else 0
        return FreezeRecord(stored.mark + missing, agreed, stored.sealed)

    def store_frozen(self, agreed: bool) -> None:
        """Raises OSError."""
        if agreed:
            replace(self.path / FROZEN, b"", durable=False)
        else:
            (self.path / FROZEN).unlink(missing_ok=True)

    def stall(self) -> Stall:
        """The longest time that hbd did not run in this boot; none if that cannot be read."""
        try:
            ms, wall_s = (read(self.path / "stall") or b"").split()
            return Stall(int(ms), int(wall_s))
        except ValueError:
            return Stall()

    def store_stall(self, stall: Stall) -> None:
        """Raises OSError."""
        replace(self.path / "stall", f"{stall.ms} {stall.wall_s}\n".encode(), durable=False)

    def note_stall(self, stall: Stall) -> None:
        """For the next daemon, if it is the longest. Raises OSError."""
        if stall.ms > self.stall().ms:
            self.store_stall(stall)

    def store_held(self, groups: tuple[HeldGroup, ...]) -> None:
        """Before what is started is started, and after what is stopped may be no more. Raises OSError."""
        try:
            self._starts.own(_to_be_started(groups))
        finally:
            replace(self.path / "held", encode_held(groups), durable=False)

    def guard(self, held: tuple[HeldGroup, ...], frozen: bool) -> None:
        """Only units of groups that are started here may be started now, unless frozen. Raises OSError."""
        self._starts.own(_to_be_started(held))
        self._starts.guard(not frozen)

    def confirm_start(self, unit: str) -> None:
        """We are about to start this unit, and its mark may have been removed. Raises OSError."""
        self._starts.confirm(unit)

    def guard_unless(self, frozen: bool) -> None:
        """In a frozen cluster, operators start what they like. Raises OSError."""
        self._starts.guard(not frozen)

    def lift_guard(self) -> None:
        """hbd ends in order: whoever works here now does it by hand. Raises OSError."""
        self._starts.guard(False)

    def store_clients(self, units: tuple[str, ...]) -> None:
        """The units of ha.cf's clients in file order, for `hbd.orphan`. Raises OSError."""
        replace(self.path / "clients", "".join(f"{unit}\n" for unit in units).encode(), durable=False)


Stored = StoreGeneration | StorePeers | StoreStall | StoreFreeze
"""What a thread writes."""


class Store:
    """Performs the Store effects: the run directory at once, the disk by a thread, in order.

    A write that fails is said and not retried: the next one says it all again, and a node that cannot
    write must still be able to serve.
    """

    def __init__(self, state: StateDir, run: RunDir, log: Callable[[Log], None]) -> None:
        """`log` is called from the event loop and from the writing thread."""
        self._state = state
        self._run = run
        self._log = log
        self._queue: queue.SimpleQueue[Stored | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._write, name="state", daemon=True)
        self._thread.start()

    def store(self, effect: StoreHeld | Stored) -> None:
        """Called by the driver."""
        if isinstance(effect, StoreHeld):
            self._attempt("held", partial(self._run.store_held, effect.groups))
            return
        if isinstance(effect, StoreFreeze):
            # At once: after a thaw the peer may take over, and must not do so while this stands.
            self._attempt("frozen", partial(self._run.store_frozen, effect.record.agreed))
            self._attempt("who may start units", partial(self._run.guard_unless, effect.record.mark & 1 == 1))
        self._queue.put(effect)

    def before_start(self, unit: str) -> None:
        """Whatever others did in the run directory, systemd shall let us start this."""
        self._attempt("who may start units", partial(self._run.confirm_start, unit))

    def close(self, wait_s: float = 5.0) -> None:
        """Write what is left, unless the disk takes longer than this."""
        self._queue.put(None)
        self._thread.join(wait_s)

    def _write(self) -> None:
        while (effect := self._queue.get()) is not None:
            match effect:
                case StoreGeneration(generation):
                    self._attempt("generation", partial(self._state.store_generation, generation))
                case StorePeers(peers):
                    self._attempt("hostcache", partial(self._state.store_peers, peers))
                case StoreFreeze(record):
                    self._attempt("freeze", partial(self._state.store_freeze, record))
                case StoreStall(stall):
                    # Nothing waits for it, and a node that has just woken has more urgent things to do.
                    self._attempt("stall", partial(self._run.store_stall, stall))

    def _attempt(self, what: str, write: Callable[[], None]) -> None:
        try:
            write()
        except OSError as error:
            self._log(Log(Level.ERROR, Kind.GENERIC, f"Cannot store {what}: {error}"))


def _to_be_started(groups: tuple[HeldGroup, ...]) -> set[str]:
    """Units that hbd has started here or is about to."""
    return {
        resource.unit
        for group in groups
        if group.direction in (Direction.STARTING, Direction.STARTED)
        for resource in group.resources
        if isinstance(resource, UnitResource)
    }


def _generation(content: bytes) -> int:
    """Raises ValueError."""
    number = int(content.decode("ascii"))
    if not 0 <= number < HIGHEST_GENERATION:
        raise ValueError(number)
    return number
