"""Network namespaces for tests: made, entered and removed; nothing leaves them. Needs root."""

from __future__ import annotations

import ctypes
import itertools
import os
import subprocess
from collections.abc import Iterator
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


@contextmanager
def pair(interface: str = "eth0") -> Iterator[tuple[Namespace, Namespace]]:
    """Two namespaces with a cable between them: INTERFACE in both, up, without addresses."""
    with namespace() as one, namespace() as two:
        one.ip(f"link add {interface} type veth peer name {interface} netns {two.name}")
        for end in (one, two):
            end.sysctl(f"ipv6/conf/{interface}/accept_dad", 0)
            end.ip(f"link set {interface} up")
        yield one, two
