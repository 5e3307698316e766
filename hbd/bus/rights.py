"""Who may change something: root always, others if polkit says so.

polkit is asked over the system bus about the caller's connection; its rules, and if need be the user's
password, decide about the action `org.linux_ha.Heartbeat1.manage` (dbus/*.policy). No polkit, or one that
does not answer, leaves it to root. Only the call that is asked about waits for it.
Facts: D-Bus interface org.freedesktop.PolicyKit1.Authority (polkit's reference manual).
"""

from __future__ import annotations

import contextlib
from itertools import count

from hbd.bus.faults import ACCESS_DENIED, INTERACTION_REQUIRED, CallError
from hbd.dbusio import Bus, BusError, Message, NoAnswer, Variant, may_interact

ACTION = "org.linux_ha.Heartbeat1.manage"

POLKIT = "org.freedesktop.PolicyKit1"
AUTHORITY_PATH = "/org/freedesktop/PolicyKit1/Authority"
AUTHORITY = "org.freedesktop.PolicyKit1.Authority"
_ALLOW_USER_INTERACTION = 1

PATIENCE_S = 8.0
"""For an answer by rules alone, polkit's own start included. Callers wait for 10 s or more."""
TYPING_PATIENCE_S = 120.0
"""For somebody who is asked for a password."""

MOST_CALLERS = 256
"""So many callers' user ids are remembered; a unique name is never given twice by one bus."""


class Rights:
    """Judges callers of one bus connection."""

    def __init__(self) -> None:
        self._uids: dict[str, int] = {}
        self._numbers = count(1)

    def forget(self) -> None:
        """There is a new connection: its names are others."""
        self._uids.clear()

    async def need(self, bus: Bus, call: Message, method: str) -> None:
        """Raises CallError unless the caller may do this, BusError if it, or the bus, has gone."""
        if await self.uid_of(bus, call.sender) != 0:
            await self._ask_polkit(bus, call, method)

    async def uid_of(self, bus: Bus, caller: str) -> int:
        """The user behind a connection. Raises BusError if it, or the bus, has gone."""
        uid = self._uids.get(caller)
        if uid is None:
            uid = await bus.uid_of(caller)
            if len(self._uids) >= MOST_CALLERS:
                self._uids.clear()
            self._uids[caller] = uid
        return uid

    async def _ask_polkit(self, bus: Bus, call: Message, method: str) -> None:
        interactive = may_interact(call)
        patience_s = TYPING_PATIENCE_S if interactive else PATIENCE_S
        question = f"hbd-{next(self._numbers)}"
        subject = ["system-bus-name", {"name": Variant("s", call.sender)}]
        flags = _ALLOW_USER_INTERACTION if interactive else 0
        body = [subject, ACTION, {"method": method}, flags, question]
        try:
            ((authorized, challenge, _),) = await bus.call(
                POLKIT, AUTHORITY_PATH, AUTHORITY, "CheckAuthorization", "(sa{sv})sa{ss}us", body,
                timeout_s=patience_s, autostart=True,
            )  # fmt: skip
        except NoAnswer:
            await self._withdraw(bus, question)
            text = f"{method} is for root; polkit, which may allow it to others, has not answered"
            raise CallError(ACCESS_DENIED, text) from None
        except BusError as error:
            text = f"{method} is for root only, as polkit cannot be asked ({str(error).rstrip('.')})"
            raise CallError(ACCESS_DENIED, text) from error
        if authorized:
            return
        if challenge and not interactive:
            text = f"{method} is for root; polkit would ask for a password, and the call does not allow it to"
            raise CallError(INTERACTION_REQUIRED, text)
        why = "it would ask for a password, and has nobody to ask" if challenge else "it does not"
        text = f"{method} is for root, unless polkit allows {ACTION}, and {why}"
        raise CallError(ACCESS_DENIED, text)

    async def _withdraw(self, bus: Bus, question: str) -> None:
        with contextlib.suppress(BusError):
            await bus.call(
                POLKIT, AUTHORITY_PATH, AUTHORITY, "CancelCheckAuthorization", "s", [question], timeout_s=1.0
            )
