"""Network namespaces for tests: made, entered and removed; nothing leaves them. Needs root."""

from __future__ import annotations

import asyncio
import ctypes
import itertools
import os
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

CLONE_NEWNET = 0x40000000
_libc = ctypes.CDLL(None, use_errno=True)
_numbers = itertools.count()


def run(*words: str) -> str:
    """A command that must succeed; its standard output."""
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{' '.join(words)}: {done.stderr}"
    return done.stdout


def _enter(path: str) -> None:
    fd = os.open(path, os.O_RDONLY)
    try:
        if _libc.setns(fd, CLONE_NEWNET) != 0:
            raise OSError(ctypes.get_errno(), f"cannot enter {path}")
    finally:
        os.close(fd)


@dataclass(frozen=True)
class Namespace:
    """One network namespace, which `ip netns` knows by this name."""

    name: str

    def ip(self, arguments: str) -> str:
        """`ip ARGUMENTS` inside it."""
        return run("ip", "-n", self.name, *arguments.split())

    @contextmanager
    def inside(self) -> Iterator[None]:
        """This thread, and sockets and threads made by it, are in the namespace."""
        fd = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
        try:
            _enter(f"/run/netns/{self.name}")
            yield
        finally:
            _enter(f"/proc/self/fd/{fd}")
            os.close(fd)

    def sysctl(self, key: str, value: int) -> None:
        """Set net/KEY inside it."""
        with self.inside():
            Path("/proc/sys/net", key).write_text(f"{value}\n")


@contextmanager
def namespace() -> Iterator[Namespace]:
    """A new namespace with its loopback up; gone afterwards, with all interfaces in it."""
    made = Namespace(f"hbdtest-{os.getpid()}-{next(_numbers)}")
    run("ip", "netns", "add", made.name)
    try:
        made.ip("link set lo up")
        yield made
    finally:
        run("ip", "netns", "delete", made.name)


def cable(one: Namespace, two: Namespace, interface: str) -> None:
    """A cable between them: INTERFACE in both, up, with link-local addresses and without IPv4 ones."""
    one.ip(f"link add {interface} type veth peer name {interface} netns {two.name}")
    for end in (one, two):
        end.sysctl(f"ipv6/conf/{interface}/accept_dad", 0)
        end.ip(f"link set {interface} up")
    for end in (one, two):
        _await_link_local(end, interface)


def _await_link_local(end: Namespace, interface: str, limit_s: float = 30.0) -> None:
    """The kernel tells itself of a carrier later, by up to a second, or when it is asked for the link;
    before that IPv6 has no way out.
    """
    end.ip(f"link show {interface}")
    expires = time.monotonic() + limit_s
    with end.inside():
        while not _has_link_local(interface):
            assert time.monotonic() < expires, f"{interface} has no link-local address after {limit_s} s"
            time.sleep(0.002)


def _has_link_local(interface: str) -> bool:
    lines = Path("/proc/thread-self/net/if_inet6").read_text().splitlines()
    return any(line.startswith("fe80") and line.split()[-1] == interface for line in lines)


@contextmanager
def pair(*interfaces: str) -> Iterator[tuple[Namespace, Namespace]]:
    """Two namespaces with a cable for each of these interfaces, or else for eth0."""
    with namespace() as one, namespace() as two:
        for interface in interfaces or ("eth0",):
            cable(one, two, interface)
        yield one, two


async def until(
    holds: Callable[[], bool], meanwhile: Callable[[], object] | None = None, *, limit_s: float = 30.0
) -> None:
    """Wait until it holds; TimeoutError if it does not in time, which is long on a busy machine too.

    `meanwhile` is done now and at every tenth of a second, as a heartbeat is: one datagram may be lost
    while the kernel, in its own time, takes note of a carrier.
    """
    async with asyncio.timeout(limit_s):
        for turn in itertools.count():
            if holds():
                return
            if meanwhile is not None and turn % 50 == 0:
                meanwhile()
            await asyncio.sleep(0.002)
