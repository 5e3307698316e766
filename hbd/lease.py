"""The kernel lease at work: rules of nftables, and the frames that renew what they look at (rule 29).

The rules lie in `table netdev hbd`, so that nothing of the administrator's firewall is touched:

    set lease                the one element of it is there while we were heard of lately
    chain renewal, on lo     a frame of ours with ethertype KEEP puts the element in, with its time anew;
                             one with END takes it out. Both are then dropped
    chain leaving            on the interfaces of the addresses: ARP, IPv4 and IPv6 from them are dropped
                             unless the element is there

So `nft` runs only when interfaces or addresses change, and a renewal is one system call of some 50 µs, never
a transaction. Ethertypes 88B5 and 88B6 are for experiments (IEEE 802); on lo they meet nobody, and to send
them takes CAP_NET_RAW, so that no user can renew what hbd lets lapse. They pass no other firewall either.

The egress hook tells a sender that its frame was dropped (ENOBUFS, packet(7)). So each renewal also tells
whether the rules are still there: after `nft flush ruleset` they are put back within a keepalive.

All of it stays when hbd ends in any other way than an orderly one: that is what it is for. The rules are
replaced in one transaction that leaves the set alone, so a restart interrupts nothing.

Where anything fails, what is dropped for sure is the lease, not the service: the table is removed, and said.
Facts: nft(8); seen with nftables 1.0.6 and kernels from 5.16 on, which have the egress hook.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
import re
import shutil
import socket
import subprocess
from collections.abc import Awaitable, Callable, Iterable
from enum import Enum
from ipaddress import ip_address

from hbd.config.model import AddressResource
from hbd.core.effects import ArmLease, DisarmLease, EndLease, KeepLease, LeaseEffect
from hbd.core.events import Event, LeaseArmed, LeaseRefused
from hbd.errors import EdgeError
from hbd.netlink import Netlink
from hbd.rtnetlink import AddressSeen, Link, LinkSeen, Notice
from hbd.stale import LEASE_REMOVAL

log = logging.getLogger(__name__)

KEEP, END = 0x88B5, 0x88B6
"""Ethertypes: local experimental 1 and 2."""

NFT_LIMIT_S = 10.0
SBIN = "/usr/sbin:/sbin:/usr/bin:/bin"
SETTLE_S = 0.1
"""Interfaces come and go in bursts."""
MOST_LOSSES = 3
"""Rules that vanish so often in a row, without one renewal between, are not put back again."""

RETRY_S = 1.0
"""The interfaces are asked for again so long after the kernel gave no answer."""

Post = Callable[[Event], None]
Places = Callable[[Iterable[AddressResource]], Awaitable[list[Link]]]
"""The interfaces where addresses are or would be put, loopback left out. Raises EdgeError."""


class Sent(Enum):
    """What became of a frame."""

    TAKEN = "our rules dropped it, after they had done with it what it says"
    PASSED = "there are no such rules"
    FAILED = "it could not be sent"


class KernelLease:
    """Performs the lease's effects. Rules are put in place by `run`, one after the other."""

    def __init__(self, netlink: Netlink, places: Places, now_ms: Callable[[], int]) -> None:
        self._places, self._now_ms = places, now_ms
        self._wire: socket.socket | None = None
        self._wish: ArmLease | None = None
        self._ips: set[str] = set()
        """Of what is wished for."""
        self._post: Post = _nobody
        self._wanted = asyncio.Event()
        self._idle = asyncio.Event()
        self._idle.set()
        self._links: frozenset[tuple[int, str]] | None = None
        """Index and name of the interfaces that the rules are on; None while they are not in place."""
        self._has_set = False
        """The set of the lease is there since rules of ours were put in place, with what time it has."""
        self._kept_until_ms = 0
        self._losses = 0
        self._trouble = ""
        self._stop_listening = netlink.listen(self._hear)

    def perform(self, effect: LeaseEffect, post: Post) -> None:
        """Renew, or end, at once; arm and disarm soon. Posts LeaseArmed and LeaseRefused."""
        match effect:
            case KeepLease(until_ms):
                self._keep(until_ms)
            case EndLease():
                self._kept_until_ms = 0
                self._send(END)
            case ArmLease():
                self._wish, self._post, self._links = effect, post, None
                self._ips = {address.ip for address in effect.addresses}
                self._losses, self._trouble = 0, ""
                self._want()
            case DisarmLease():
                self._wish, self._links, self._kept_until_ms = None, None, 0
                self._want()

    async def settled(self) -> None:
        """Until everything asked for is done, or has failed."""
        await self._idle.wait()

    def close(self) -> None:
        """What is in the kernel stays there."""
        self._stop_listening()
        if self._wire is not None:
            self._wire.close()

    # ------------------------------------------------------------ renewal

    def _keep(self, until_ms: int) -> None:
        # Looked at here and not only in the core: who was frozen on the way must not renew on waking.
        if self._now_ms() > until_ms:
            return
        sent = self._send(KEEP)
        if self._wish is None:
            return
        self._kept_until_ms = until_ms + self._wish.lease_ms
        if sent is Sent.TAKEN:
            self._losses = 0
        elif sent is Sent.PASSED and self._links is not None:
            self._lost()

    def _lost(self) -> None:
        self._links, self._has_set = None, False
        self._losses += 1
        if self._losses < MOST_LOSSES:
            log.warning("the rules of the kernel lease were taken away (`nft flush ruleset`?): put back")
        elif not self._trouble:
            self._trouble = "the kernel has its rules and does not follow them"
        self._want()

    def _send(self, ethertype: int) -> Sent:
        try:
            if self._wire is None:
                self._wire = socket.socket(
                    socket.AF_PACKET, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC, 0
                )
            self._wire.sendto(b"hbd", ("lo", ethertype))
        except OSError as error:
            if error.errno == errno.ENOBUFS:
                return Sent.TAKEN
            # With the loopback interface down, nothing could be renewed, and we would fall silent.
            trouble = f"no renewal can be sent: {error.strerror}"
            if self._links is not None and trouble != self._trouble:
                self._trouble, self._links = trouble, None
                self._want()
            return Sent.FAILED
        return Sent.PASSED

    # ------------------------------------------------------------ rules

    def _want(self) -> None:
        self._idle.clear()
        self._wanted.set()

    def _hear(self, notice: Notice) -> None:
        """An interface that comes, or an address of ours on one that nobody thought of, needs its rules."""
        if self._wish is None or not notice.present:
            return
        links = self._links or frozenset()
        match notice:
            case LinkSeen(link) if link.loopback:
                if self._trouble and link.up:
                    self._trouble = ""
                    self._want()
            case LinkSeen(link):
                if (link.index, link.name) not in links:
                    self._want()
            case AddressSeen(address):
                if address.ip in self._ips and address.index not in {index for index, _ in links}:
                    self._want()

    async def run(self) -> None:
        """Put in place what is wanted, whenever that changes."""
        while True:
            await self._wanted.wait()
            self._wanted.clear()
            await self._establish()
            if not self._wanted.is_set():
                self._idle.set()
            await asyncio.sleep(SETTLE_S)

    async def _establish(self) -> None:
        wish = self._wish
        if wish is None:
            await self._remove()
            return
        if self._trouble:
            await self._refuse(self._trouble)
            return
        try:
            places = await self._places(wish.addresses)
        except EdgeError as why:
            log.warning("the kernel lease waits: %s", why)
            await asyncio.sleep(RETRY_S)
            self._want()
            return
        links = frozenset((link.index, link.name) for link in places)
        if self._wish is not wish or links == self._links:
            return
        try:
            await nft(rules(wish, sorted(name for _, name in links)))
        except EdgeError as why:
            self._links = None
            await self._refuse(str(why))
            return
        if self._wish is not wish:
            return
        self._links = links
        if not self._has_set and self._now_ms() < self._kept_until_ms:
            # The set may be new: without this we were silent until the next heartbeat. One that was there
            # has its time, to which no heartbeat has added anything since.
            self._send(KEEP)
        self._has_set = True
        self._post(LeaseArmed())

    async def _refuse(self, reason: str) -> None:
        await self._remove()
        if self._wish is not None:
            self._post(LeaseRefused(reason))

    async def _remove(self) -> None:
        self._has_set = False
        sent = self._send(KEEP)
        if sent is Sent.PASSED:
            return
        try:
            await nft(LEASE_REMOVAL)
        except EdgeError as why:
            if sent is Sent.FAILED:
                return  # Without the right to do either, there never were any.
            text = "the rules of the kernel lease cannot be removed: %s; see `nft list table netdev hbd`"
            log.error(text, why)


def _nobody(_: Event) -> None:
    """Before anything is armed there is nothing to tell."""


# ---------------------------------------------------------------- nft


def rules(wish: ArmLease, interfaces: Iterable[str]) -> str:
    """The whole table as one transaction. The set of the lease keeps what it has. Raises EdgeError."""
    on = [_quoted(name) for name in interfaces]
    family: dict[int, list[str]] = {4: [], 6: []}
    for address in dict.fromkeys(address.ip for address in wish.addresses):
        family[ip_address(address).version].append(address)
    lines = [
        'add table netdev hbd { comment "addresses of hbd are silent while hbd is not heard of"; }',
        "add set netdev hbd lease { typeof meta mark; size 16; flags dynamic,timeout; }",
        # What is masked to nothing is a constant, which alone is no key that nft would take.
        *_chain("renewal", ['"lo"'], (
            f"meta protocol {KEEP:#x} update @lease {{ meta mark & 0 timeout {wish.lease_ms}ms }} drop",
            f"meta protocol {END:#x} delete @lease {{ meta mark & 0 }} drop",
            f"meta protocol {END:#x} drop",
        )),
        *_set("addresses4", "ipv4_addr", family[4]),
        *_set("addresses6", "ipv6_addr", family[6]),
        *_chain("leaving", on, (
            "arp saddr ip @addresses4 meta mark & 0 != @lease drop",
            "ip saddr @addresses4 meta mark & 0 != @lease drop",
            "ip6 saddr @addresses6 meta mark & 0 != @lease drop",
        )),
    ]  # fmt: skip
    return "\n".join(lines) + "\n"


def _set(name: str, kind: str, elements: list[str]) -> list[str]:
    lines = [f"add set netdev hbd {name} {{ type {kind}; }}", f"flush set netdev hbd {name}"]
    if elements:
        lines.append(f"add element netdev hbd {name} {{ {', '.join(elements)} }}")
    return lines


def _chain(name: str, interfaces: list[str], chain_rules: Iterable[str]) -> list[str]:
    """Made anew: the interfaces of a chain that exists cannot be changed before Linux 6.5."""
    lines = [f"{verb} chain netdev hbd {name}" for verb in ("add", "flush", "delete")]
    if interfaces:
        hook = f"type filter hook egress devices = {{ {', '.join(interfaces)} }} priority 0; policy accept;"
        lines.append(f"add chain netdev hbd {name} {{ {hook} }}")
        lines += [f"add rule netdev hbd {name} {rule}" for rule in chain_rules]
    return lines


def _quoted(interface: str) -> str:
    if not re.fullmatch(r"[\w.@:-]+", interface, re.ASCII):
        raise EdgeError(f"nft takes no interface of the name {interface!r}")
    return f'"{interface}"'


async def nft(script: str) -> None:
    """Have it perform one transaction, in a process of its own. Raises EdgeError."""
    program = shutil.which("nft", path=SBIN)
    if program is None:
        raise EdgeError("nft is not installed (Debian package nftables)")
    try:
        done = await asyncio.to_thread(
            subprocess.run, [program, "-f", "-"], input=script, capture_output=True, text=True,
            timeout=NFT_LIMIT_S, check=False,
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired) as why:
        raise EdgeError(f"nft cannot be run: {why}") from why
    if done.returncode != 0:
        said = next((line for line in done.stderr.splitlines() if line.strip()), f"status {done.returncode}")
        raise EdgeError(f"nft: {said.strip()}")


async def settle(lease: KernelLease, limit_s: float) -> None:
    """At the end of the daemon: let the rules go, but do not wait for ever."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(limit_s):
            await lease.settled()
