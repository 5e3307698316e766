"""Addresses, links and routes of this machine's kernel, and what becomes of them.

Two sockets are kept open: one asks, the other listens. On a socket that does both, the kernel's notices of
our own changes would come between its answers.

The kernel works a request off inside the call that sends it, and puts the notice of a change into the
listener's queue before the change has returned to whoever made it. So nothing here waits: the answer is there
when it is read, and tables of links and addresses that have taken in every notice of the queue are as good as
a dump at that moment. They are asked thousands of times at no cost, where each dump would cost the more the
more addresses there are. When the queue overflowed (ENOBUFS) the tables are made anew by a dump. Two things
have no notice in time: an IPv6 address without duplicate address detection is told a little later, and is
asked for; and IPv4 routes go with their interface without a word, so routes are dumped.

Both sockets belong to the network namespace in which `open` was called. Facts: rtnetlink(7); netlink(7);
inet6_addr_add() and fib_sync_down_dev() in Linux 6.x.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
import os
import socket
import time
from collections.abc import Callable, Iterator, Sequence
from itertools import islice

from pyroute2.netlink import NLM_F_ACK, NLM_F_CREATE, NLM_F_DUMP, NLM_F_DUMP_INTR, NLM_F_EXCL
from pyroute2.netlink.rtnl import RTM_DELADDR, RTM_GETADDR, RTM_GETLINK, RTM_GETROUTE, RTM_NEWADDR

from hbd.errors import EdgeError
from hbd.kerneltables import KernelTables
from hbd.rtnetlink import (
    IFA_F_NODAD,
    Address,
    AddressSeen,
    Body,
    LinkSeen,
    Message,
    Notice,
    Route,
    address_body,
    ask_address,
    ask_addresses,
    ask_links,
    ask_routes,
    messages,
    parse_address,
    parse_link,
    parse_route,
    request,
)
from hbd.rtnetlink import notice as notice_of

log = logging.getLogger(__name__)

GROUPS = 0x1 | 0x10 | 0x100
"""RTMGRP_LINK, RTMGRP_IPV4_IFADDR, RTMGRP_IPV6_IFADDR."""
BATCH = 32
"""Deletions in one send: under ten milliseconds of the loop's time, so that heartbeats get in between."""
ROUTES_AGE_S = 0.02
"""For so long a dump of routes serves for all that ask."""
TRIES = 5
"""Of a dump, while the tables change under it."""
LOOK_AGAIN_S = 0.2
"""Pause before that is tried again."""
SOME, ALL = 64, 1 << 14
"""Notices that are read in one turn of the loop, and more than there is room for at once."""
NOTICE_BYTES = 1 << 22
"""Room for some thousand notices while the loop is elsewhere."""
ANSWER_BYTES = 1 << 19
MESSAGE_BYTES = 1 << 17
"""More than the kernel puts into one datagram."""

KERNEL = 0
"""Whose messages are taken; other processes may send some, too (netlink(7))."""
SOL_NETLINK, NETLINK_GET_STRICT_CHK, SO_RCVBUFFORCE = 270, 12, 33

Listener = Callable[[Notice], None]
Request = tuple[int, int, Body]
"""Kind, flags, body."""


class NoAnswer(EdgeError):  # noqa: N818 — nothing is known to be wrong
    """The kernel's answer did not come: whether it did as asked is not known. The socket is a new one now."""


class Netlink:
    """The kernel's rtnetlink in the namespace where `open` is called. Used from one event loop."""

    def __init__(self) -> None:
        self._ask: socket.socket | None = None
        self._hear: socket.socket | None = None
        self._sequence = 0
        self._listeners: list[Listener] = []
        self._tables = KernelTables()
        self._lost = False
        """Notices were lost, and the tables are not made anew yet."""
        self._again: asyncio.TimerHandle | None = None
        self._routes: dict[int, tuple[float, list[Route]]] = {}

    def open(self) -> None:
        """Open both sockets and begin to listen. Raises OSError, EdgeError."""
        self._ask = _socket(0, ANSWER_BYTES)
        self._hear = _socket(GROUPS, NOTICE_BYTES)
        self._lost = True
        self._read()
        asyncio.get_running_loop().add_reader(self._hear, self._on_notices)

    def close(self) -> None:
        """Close both sockets; no listener is called any more."""
        self._listeners.clear()
        if self._again is not None:
            self._again.cancel()
        if self._hear is not None:
            asyncio.get_running_loop().remove_reader(self._hear)
            self._hear.close()
        if self._ask is not None:
            self._ask.close()
        self._hear = self._ask = self._again = None

    # ------------------------------------------------------------ questions

    def tables(self) -> KernelTables:
        """All links and addresses, as they are now. Raises EdgeError (as all questions and changes)."""
        self._read()
        return self._tables

    def routes(self, version: int) -> Sequence[Route]:
        """The unicast routes of the main table, in the kernel's order, at most ROUTES_AGE_S old.

        What went with a link or an address is not among them."""
        self._read()
        now_s = time.monotonic()
        asked_s, routes = self._routes.get(version, (0.0, []))
        if now_s - asked_s > ROUTES_AGE_S:
            found = self._dump(RTM_GETROUTE, ask_routes(version))
            routes = [route for each in found if (route := parse_route(each.body, version)) is not None]
            self._routes[version] = (now_s, routes)
        return routes

    # ------------------------------------------------------------ changes

    def add(self, wish: Address, *, tested: bool = False) -> Address:
        """Put an address on an interface and return it as the kernel shows it afterwards.

        Already on that interface is success. `tested`: an IPv6 address is not used before duplicate address
        detection has found nobody who has it. Raises EdgeError.
        """
        flags = IFA_F_NODAD if wish.version == 6 and not tested else 0
        how = NLM_F_CREATE | NLM_F_EXCL
        [code] = self._change([(RTM_NEWADDR, how, address_body(wish, flags))])
        if code not in (0, errno.EEXIST):
            raise EdgeError(f"The kernel refused {wish.ip}/{wish.prefix}: {os.strerror(code)}")
        if wish.version == 6:
            self._ask_for(wish)
        there = [address for address in self.tables().having(wish.ip) if address.index == wish.index]
        for address in there:
            if address.place == wish.place:
                return address
        if there:  # IPv6 tells addresses of an interface apart by nothing else.
            return there[0]
        raise EdgeError(f"The kernel accepted {wish.ip}/{wish.prefix} but does not show it; see `ip address`")

    async def delete(self, addresses: Sequence[Address]) -> None:
        """Take addresses off, all those of a batch with one system call. Already gone is success.

        Other work gets its turn between batches. Raises EdgeError naming the addresses that were refused,
        after trying all; NoAnswer at once.
        """
        refused: list[str] = []
        for first in range(0, len(addresses), BATCH):
            if first:
                await asyncio.sleep(0)
            batch = addresses[first : first + BATCH]
            codes = self._change([(RTM_DELADDR, 0, address_body(address)) for address in batch])
            refused += [
                f"{address.ip}: {os.strerror(code)}"
                for address, code in zip(batch, codes, strict=True)
                if code not in (0, errno.EADDRNOTAVAIL, errno.ENODEV)
            ]
        if refused:
            raise EdgeError(f"The kernel refused to remove {', '.join(refused)}")

    # ------------------------------------------------------------ notices

    def listen(self, listener: Listener) -> Callable[[], None]:
        """Have every notice; the returned function ends it. A listener acts later, never within the call: it
        may come in the middle of a question."""
        self._listeners.append(listener)

        def end() -> None:
            if listener in self._listeners:
                self._listeners.remove(listener)

        return end

    def _take(self, news: Notice) -> None:
        self._tables.take(news)
        if isinstance(news, LinkSeen) or not news.present:
            self._routes.clear()
        for listener in tuple(self._listeners):
            listener(news)

    def _on_notices(self) -> None:
        """There is something to read. Where the tables cannot be made anew, that is tried again."""
        try:
            self._read(SOME)
        except EdgeError as why:
            log.warning("%s; looking again", why)
            if self._again is None:
                self._again = asyncio.get_running_loop().call_later(LOOK_AGAIN_S, self._look_again)

    def _look_again(self) -> None:
        self._again = None
        self._on_notices()

    def _read(self, most: int = ALL) -> None:
        """Take in the notices that are there. After an overflow, tell what the lost ones would have told.

        Notices that come during the dump are read later, and say again what it has already said."""
        for datagram in islice(self._received(), most):
            for message in messages(datagram):
                if (news := notice_of(message)) is not None:
                    self._take(news)
        if self._lost:
            self._empty_queue()
            links = [parse_link(each.body) for each in self._dump(RTM_GETLINK, ask_links())]
            addresses = [parse_address(each.body) for each in self._dump(RTM_GETADDR, ask_addresses())]
            self._lost = False
            for news in self._tables.differences(filter(None, links), filter(None, addresses)):
                self._take(news)

    def _received(self) -> Iterator[bytes]:
        """What is in the queue, up to its end or to where something was lost."""
        while self._hear is not None and not self._lost:
            try:
                datagram, (port, _) = self._hear.recvfrom(MESSAGE_BYTES)
                if port == KERNEL:
                    yield datagram
            except BlockingIOError:
                return
            except OSError as broken:
                log.warning("Lost notices of the kernel (%s); looking at all addresses again", broken)
                self._lost = True
                _ignore_overflow(broken)

    def _empty_queue(self) -> None:
        """After an overflow the kernel drops what comes, without a word, until all has been read once."""
        assert self._hear is not None, "it is open"
        for _ in range(ALL):
            try:
                self._hear.recv(MESSAGE_BYTES)
            except BlockingIOError:
                return
            except OSError as broken:
                _ignore_overflow(broken)
        raise EdgeError("The kernel's notices of addresses come faster than they can be read")

    def _ask_for(self, address: Address) -> None:
        """Have an IPv6 address in the tables, whose notice comes later."""
        for message in self._converse([(RTM_GETADDR, NLM_F_ACK, ask_address(address))]):
            if message.kind == RTM_NEWADDR and (shown := parse_address(message.body)) is not None:
                self._take(AddressSeen(shown, True))

    # ------------------------------------------------------------ requests

    def _dump(self, kind: int, body: Body) -> list[Message]:
        """All entries of a table."""
        for _ in range(TRIES):
            *found, end = self._converse([(kind, NLM_F_DUMP, body)])
            if end.code:
                raise EdgeError(f"Netlink: {os.strerror(end.code)}")
            if not any(message.flags & NLM_F_DUMP_INTR for message in (*found, end)):
                return found
        raise EdgeError("The kernel's tables of addresses and routes change too fast to be read")

    def _change(self, requests: Sequence[Request]) -> list[int]:
        """Have the kernel do all of it in one call; the error code of each, 0 for done."""
        asked = [(kind, NLM_F_ACK | flags, body) for kind, flags, body in requests]
        return [message.code for message in self._converse(asked)]

    def _converse(self, requests: Sequence[Request]) -> list[Message]:
        """All that the kernel answers. Each request ends with one message that has a code."""
        assert self._ask is not None, "it is open"
        first = self._sequence + 1
        self._sequence += len(requests)
        asked = b"".join(request(*each, first + place) for place, each in enumerate(requests))
        answers: list[Message] = []
        try:
            self._ask.send(asked)
            ended = 0
            while ended < len(requests):
                datagram, (port, _) = self._ask.recvfrom(MESSAGE_BYTES)
                for message in messages(datagram) if port == KERNEL else ():
                    answers.append(message)
                    ended += message.ends
        except OSError as broken:
            self._ask.close()
            self._ask = _socket(0, ANSWER_BYTES)
            raise NoAnswer(f"The kernel did not answer over netlink: {broken.strerror}") from broken
        return answers


def _ignore_overflow(broken: OSError) -> None:
    if broken.errno != errno.ENOBUFS:
        raise EdgeError(f"Netlink: {broken}") from broken


def _socket(groups: int, room: int) -> socket.socket:
    made = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, socket.NETLINK_ROUTE)
    made.setblocking(False)
    try:
        made.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, room)
    except PermissionError:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, room)
    with contextlib.suppress(OSError):  # Before Linux 4.20 dumps are not filtered; `parse_route` is.
        made.setsockopt(SOL_NETLINK, NETLINK_GET_STRICT_CHK, 1)
    made.bind((0, groups))
    return made


def report_bug(task: asyncio.Task[None]) -> None:
    """Done-callback of a task that nobody awaits: the loop's exception handler has its exception at once."""
    if not task.cancelled() and (bug := task.exception()) is not None:
        task.get_loop().call_exception_handler(
            {"message": f"{task.get_name()} ended", "exception": bug, "task": task}
        )
