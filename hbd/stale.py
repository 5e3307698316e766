"""The very first thing a starting daemon does: ends a double answer.

If the last daemon of this boot has been silent for longer than the peer waits, the peer has probably
taken over, while this kernel still answers for the addresses of its groups. Importing the daemon takes
far longer than the tenth of a second that this may last, so this module needs nothing but what costs
nothing to import, and speaks netlink itself: `_socket` because `socket` takes 12 ms to build its
enumerations, no `json` (10 ms), no `typing`. The units are left to the core, which asks first.

Reads what `hbd.state` writes: `held`, `alive` and `lock` in the run directory.
Facts: rtnetlink(7), struct ifaddrmsg and nlmsghdr; flock(2).
"""

from __future__ import annotations

import _socket as socket
import fcntl
import os
import struct
import time

RUN_DIR = "/run/hbd"
ALIVE = struct.Struct("<QQ")
"""`alive`: CLOCK_BOOTTIME ms of the last healthy moment, and the peer's patience in ms (0 = not known)."""

FROZEN = "frozen"
"""A file, there while a freeze is agreed with the peer: it takes nothing over, however long we are silent."""

ENDLESS_MS = 1 << 62

LEASE_REMOVAL = "add table netdev hbd\ndelete table netdev hbd\n"
"""For `nft -f -`: takes the rules of the kernel lease away (`hbd.lease`), if they are there."""

_HEADER = struct.Struct("=IHHII")
_IFADDR = struct.Struct("=BBBBI")
_NEWADDR, _DELADDR, _GETADDR, _ERROR, _DONE = 20, 21, 22, 2, 3
_REQUEST, _ACK, _DUMP, _CREATE = 0x1, 0x4, 0x300, 0x400
_ADDRESS, _LOCAL = 1, 2


def run_dir(arguments: list[str]) -> str:
    """`--run-dir` of the command line, else $HBD_RUN_DIR, else /run/hbd."""
    for position, argument in enumerate(arguments):
        if argument == "--run-dir" and position + 1 < len(arguments):
            return arguments[position + 1]
        if argument.startswith("--run-dir="):
            return argument.partition("=")[2]
    return os.environ.get("HBD_RUN_DIR") or RUN_DIR


def release_if_overdue(arguments: list[str]) -> list[str]:
    """Take the held addresses off if the peer has lost patience with us; returns those that were there.

    Nothing is done where there is no record, where a daemon is running, where the silence was short, or while
    the cluster is frozen.
    Raises nothing: the daemon goes on with whatever is so.
    """
    directory = run_dir(arguments)
    try:
        silent_ms, patience_ms = silence(directory)
        if silent_ms <= patience_ms or is_running(directory):
            return []
        return take_off(held_addresses(directory))
    except (OSError, ValueError, struct.error):
        return []


def silence(directory: str) -> tuple[int, int]:
    """How long ago the last healthy moment was, and the peer's patience, in ms: endless in an agreed freeze.

    Raises OSError, struct.error.
    """
    with open(f"{directory}/alive", "rb") as file:
        stamp_ms, patience_ms = ALIVE.unpack(file.read(ALIVE.size))
    if os.path.exists(f"{directory}/{FROZEN}"):
        patience_ms = ENDLESS_MS
    return time.clock_gettime_ns(time.CLOCK_BOOTTIME) // 1_000_000 - stamp_ms, patience_ms


def is_running(directory: str) -> bool:
    """Whether a daemon holds the lock of this run directory."""
    descriptor = os.open(f"{directory}/lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False


def held_addresses(directory: str) -> list[str]:
    """The addresses recorded in `held`. Raises OSError."""
    with open(f"{directory}/held", "rb") as file:
        text = file.read()
    # Compact JSON of our own making, in which a quotation mark inside a string is escaped:
    # these bytes can only be the member itself.
    return [part.partition(b'"')[0].decode() for part in text.split(b'"ip":"')[1:]]


# ---------------------------------------------------------------- rtnetlink


def take_off(addresses: list[str]) -> list[str]:
    """Delete these addresses wherever they are; returns those that were there. Raises OSError.

    Where the kernel does not promote secondaries, deleting the first address of a subnet deletes its
    neighbours as well: those that were not meant are put back.
    """
    wanted = {_packed(address) for address in addresses}
    if not wanted:
        return []
    netlink = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, socket.NETLINK_ROUTE)
    try:
        before = _dump(netlink)
        doomed = [entry for entry in before if _local(entry) in wanted]
        for entry in doomed:
            _change(netlink, _DELADDR, 0, entry)
        if doomed:
            left = {_key(entry) for entry in _dump(netlink)}
            for entry in before:
                if _key(entry) not in left and _local(entry) not in wanted:
                    _change(netlink, _NEWADDR, _CREATE, entry)
    finally:
        netlink.close()
    return sorted(_text(entry) for entry in doomed)


def _dump(netlink: socket.socket) -> list[bytes]:
    """The body of every RTM_NEWADDR message."""
    body = _IFADDR.pack(socket.AF_UNSPEC, 0, 0, 0, 0)
    netlink.send(_HEADER.pack(_HEADER.size + len(body), _GETADDR, _REQUEST | _DUMP, 1, 0) + body)
    entries: list[bytes] = []
    while True:
        batch = netlink.recv(1 << 16)
        while len(batch) >= _HEADER.size:
            length, kind, _flags, _sequence, _port = _HEADER.unpack_from(batch)
            if kind in (_DONE, _ERROR):
                return entries
            if kind == _NEWADDR:
                entries.append(batch[_HEADER.size : length])
            batch = batch[(length + 3) & ~3 :]


def _change(netlink: socket.socket, kind: int, flags: int, body: bytes) -> int:
    """One request and its acknowledgement; returns the errno (0 = done)."""
    netlink.send(_HEADER.pack(_HEADER.size + len(body), kind, _REQUEST | _ACK | flags, 2, 0) + body)
    reply = netlink.recv(1 << 16)
    return -int(struct.unpack_from("=i", reply, _HEADER.size)[0])


def _attributes(entry: bytes) -> dict[int, bytes]:
    found = {}
    rest = entry[_IFADDR.size :]
    while len(rest) >= 4:
        length, kind = struct.unpack_from("=HH", rest)
        found[kind] = rest[4:length]
        rest = rest[(length + 3) & ~3 :]
    return found


def _local(entry: bytes) -> bytes:
    """The node's own address: IFA_LOCAL, which IPv6 leaves out where IFA_ADDRESS says it."""
    attributes = _attributes(entry)
    return attributes.get(_LOCAL) or attributes.get(_ADDRESS, b"")


def _key(entry: bytes) -> tuple[int, int, bytes]:
    _family, prefix, _flags, _scope, index = _IFADDR.unpack_from(entry)
    return index, prefix, _local(entry)


def _packed(address: str) -> bytes:
    return socket.inet_pton(socket.AF_INET6 if ":" in address else socket.AF_INET, address)


def _text(entry: bytes) -> str:
    local = _local(entry)
    return socket.inet_ntop(socket.AF_INET6 if len(local) == 16 else socket.AF_INET, local)
