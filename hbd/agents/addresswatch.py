"""Watches of addresses: one look for all that was noticed in a short while, from the kernel's tables.

A notice may be older than our own last change, and an address may be gone for the moment between its loss and
its return, so the notices themselves decide nothing. Who takes a hundred addresses away (`ip address flush`)
is waited for, and what is found then is told together.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from hbd.agents.base import Pause, Post
from hbd.config.model import AddressResource
from hbd.core.events import Condition, ResourceSeen, SeenTogether
from hbd.errors import EdgeError

QUIET_S, LATEST_S = 0.005, 0.025
"""A look waits for so long without a notice, but no longer than that after the first."""
LOOK_AGAIN_S = 0.5
"""After a question to the kernel that got no answer."""
TOGETHER = 256
"""More are not told in one event: each is one step of the core, which nothing interrupts."""

Look = Callable[[AddressResource], ResourceSeen | None]
"""What is so now; None where that is not decided yet. Raises EdgeError."""


class Watches:
    """All watches of addresses, by IP."""

    def __init__(self, look: Look) -> None:
        self._look = look
        self._by_ip: dict[str, list[AddressWatch]] = {}
        self._noticed: dict[AddressWatch, None] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._latest_s = 0.0

    def add(self, resource: AddressResource, known: Condition, post: Post) -> AddressWatch:
        """Begin one, with a look."""
        watch = AddressWatch(self, resource, known, post)
        self._by_ip.setdefault(resource.ip, []).append(watch)
        self.plan(watch)
        return watch

    def remove(self, watch: AddressWatch) -> None:
        """End it."""
        self._noticed.pop(watch, None)
        left = [each for each in self._by_ip.get(watch.resource.ip, []) if each is not watch]
        if left:
            self._by_ip[watch.resource.ip] = left
        else:
            self._by_ip.pop(watch.resource.ip, None)

    def notice(self, ip: str) -> None:
        """Something became of it."""
        for watch in self._by_ip.get(ip, ()):
            if not watch.paused:
                self.plan(watch)

    def plan(self, watch: AddressWatch) -> None:
        """Look at it soon."""
        self._noticed[watch] = None
        loop = asyncio.get_running_loop()
        now_s = loop.time()
        if self._timer is None:
            self._latest_s = now_s + LATEST_S
        else:
            self._timer.cancel()
        self._timer = loop.call_at(min(now_s + QUIET_S, self._latest_s), self._look_at_noticed)

    def close(self) -> None:
        """Look no more."""
        self._by_ip.clear()
        self._noticed.clear()
        if self._timer is not None:
            self._timer.cancel()

    def _look_at_noticed(self) -> None:
        self._timer = None
        noticed = tuple(self._noticed)[:TOGETHER]
        told: dict[Post, list[ResourceSeen]] = {}
        wait_s = 0.0
        for watch in noticed:
            try:
                seen = None if watch.paused else self._look(watch.resource)
            except EdgeError:
                wait_s = LOOK_AGAIN_S
                break
            del self._noticed[watch]
            if seen is not None and watch.is_news(seen):
                told.setdefault(watch.post, []).append(seen)
        if self._noticed:
            self._timer = asyncio.get_running_loop().call_later(wait_s, self._look_at_noticed)
        for post, found in told.items():
            post(found[0] if len(found) == 1 else SeenTogether(tuple(found)))


class AddressWatch:
    """One of them."""

    def __init__(self, watches: Watches, resource: AddressResource, known: Condition, post: Post) -> None:
        self.resource, self.post = resource, post
        self._watches = watches
        self._last: ResourceSeen | None = None
        self._known: Condition | None = known
        """What the core has from elsewhere; None once it was told by us."""
        self._pause = Pause(self._look_anew)

    @property
    def paused(self) -> bool:
        return self._pause.on

    def hold(self) -> None:
        """Look no more until `resume`."""
        self._pause.begin()

    def resume(self, left: Condition | None) -> None:
        """Look again soon, and post what is not as it was left."""
        self._pause.end(left)

    def cancel(self) -> None:
        """Post nothing more."""
        self._pause.cancel()
        self._watches.remove(self)

    def is_news(self, now: ResourceSeen) -> bool:
        """Whether the core is to be told."""
        if now.condition is self._known and not now.aside:
            self._last = now
            return False
        if now == self._last:
            return False
        self._last, self._known = now, None
        return True

    def _look_anew(self, left: Condition | None) -> None:
        self._known, self._last = left, None
        self._watches.plan(self)
