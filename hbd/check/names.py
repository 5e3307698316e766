"""Host names that a configuration needs, looked up: may take seconds, and is done in threads."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Iterable
from ipaddress import ip_address

LIMIT_S = 5.0
"""What a dead name server may cost."""


async def look_up(names: Iterable[str], limit_s: float = LIMIT_S) -> dict[str, tuple[str, ...]]:
    """The addresses of each, without zones, in the resolver's order; none for a name that has none."""
    wanted = tuple(dict.fromkeys(names))
    found = await asyncio.gather(*(_one(name, limit_s) for name in wanted))
    return dict(zip(wanted, found, strict=True))


def is_address(text: str) -> bool:
    """Whether there is nothing to look up."""
    try:
        ip_address(text.partition("%")[0])
    except ValueError:
        return False
    return True


async def _one(name: str, limit_s: float) -> tuple[str, ...]:
    if is_address(name):
        return (str(ip_address(name.partition("%")[0])),)
    loop = asyncio.get_running_loop()
    found: asyncio.Future[tuple[str, ...]] = loop.create_future()

    def tell(addresses: tuple[str, ...]) -> None:
        if not found.done():
            found.set_result(addresses)

    def ask() -> None:
        addresses = _resolve(name)
        try:
            loop.call_soon_threadsafe(tell, addresses)
        except RuntimeError:
            pass  # The loop has ended: nobody waits for the answer.

    # A thread of its own: asyncio would wait for one of its own at the end, however long that takes.
    threading.Thread(target=ask, name=f"resolve {name}", daemon=True).start()
    try:
        async with asyncio.timeout(limit_s):
            return await found
    except TimeoutError:
        return ()


def _resolve(name: str) -> tuple[str, ...]:
    try:
        rows = socket.getaddrinfo(name, None, type=socket.SOCK_DGRAM)
    except (OSError, UnicodeError):
        return ()
    return tuple(dict.fromkeys(str(row[4][0]).partition("%")[0] for row in rows))
