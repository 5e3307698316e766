"""What the parser of haresources asks about the machine: scripts and units, by name.

The answers come from `units.UnitFiles`, or in a test from a table.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol

UNIT_SUFFIXES = (
    *(".service", ".socket", ".target", ".timer", ".path", ".mount", ".automount", ".swap", ".slice"),
    *(".device", ".scope"),
)
_UNIT_NAME = re.compile(r"[A-Za-z0-9:_.\\-]+(@[A-Za-z0-9:_.\\@-]*)?\.[a-z]+")
_UNIT_NAME_BYTES = 255


@dataclass(frozen=True, slots=True)
class BootStart:
    """That systemd starts a unit at boot."""

    reason: str
    """Half a sentence: `wanted by multi-user.target`."""
    enabled: str
    """The unit to disable if that is not to be: the last of the chain before the target."""


@dataclass(frozen=True, slots=True)
class Unit:
    """A unit that this machine has."""

    name: str
    """Its own name, aliases resolved."""
    masked: bool = False
    boot: BootStart | None = None
    """How systemd starts it at boot; None if it does not."""


class Lookup(Protocol):
    """Questions about one machine, or an image of one."""

    def script(self, name: str) -> str | None:
        """The path of the executable resource script of that name, in resource.d."""

    def init_script(self, name: str) -> str | None:
        """The path of the executable script of that name in /etc/init.d."""

    def unit(self, name: str) -> Unit | None:
        """The unit that a full unit name stands for, aliases and templates resolved."""

    def unit_names(self) -> Iterable[str]:
        """All unit names, for a suggestion."""


def is_unit_name(text: str) -> bool:
    """Whether the text is a full unit name: systemd's characters and one of its suffixes."""
    return (
        text.endswith(UNIT_SUFFIXES)
        and len(text) <= _UNIT_NAME_BYTES
        and _UNIT_NAME.fullmatch(text) is not None
        and not text.startswith((".", "@"))
    )
