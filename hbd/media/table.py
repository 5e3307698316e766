"""Which class carries which medium of the configuration: one row each."""

from __future__ import annotations

import errno

from hbd.config.model import Bcast, MediumSpec, Ucast
from hbd.media.base import Medium
from hbd.media.udp import BcastMedium, Receivers, UcastMedium


class Media:
    """Makes the media of one daemon; they share receiving sockets where they must."""

    def __init__(self) -> None:
        self._receivers = Receivers()

    def make(self, spec: MediumSpec) -> Medium:
        """The medium for this line of ha.cf, still closed. Raises OSError for a kind not in effect yet."""
        match spec:
            case Bcast():
                return BcastMedium(spec, self._receivers)
            case Ucast():
                return UcastMedium(spec, self._receivers)
            case _:
                kind = type(spec).__name__.lower()
                raise OSError(errno.EPROTONOSUPPORT, f"{kind} {spec.link} is accepted, not yet in effect")
