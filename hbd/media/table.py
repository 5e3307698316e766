"""Which class carries which medium of the configuration: one row each."""

from __future__ import annotations

from hbd.config.model import Bcast, MediumSpec, Ucast
from hbd.media.base import Medium
from hbd.media.udp import BcastMedium, Receivers, UcastMedium


class Media:
    """Makes the media of one daemon; they share receiving sockets where they must."""

    def __init__(self) -> None:
        self._receivers = Receivers()

    def make(self, spec: MediumSpec) -> Medium | None:
        """The medium for this line of ha.cf, closed; None for a kind that is not in effect yet."""
        match spec:
            case Bcast():
                return BcastMedium(spec, self._receivers)
            case Ucast():
                return UcastMedium(spec, self._receivers)
            case _:
                return None
