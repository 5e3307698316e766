"""Which class carries which medium of the configuration: one row each."""

from __future__ import annotations

from typing import assert_never

from hbd.config.model import Bcast, Mcast, MediumSpec, Ping, Serial, Ucast, Ucast6
from hbd.media.base import Medium
from hbd.media.mcast import McastMedium
from hbd.media.ping import PingMedium
from hbd.media.serial import SerialMedium
from hbd.media.tty import Ports
from hbd.media.udp import BcastMedium, Ucast6Medium, UcastMedium
from hbd.media.udp_receiver import Receivers


class Media:
    """Makes the media of one daemon; they share receiving sockets where they must."""

    def __init__(self) -> None:
        self._receivers = Receivers()
        self._ports = Ports()

    def make(self, spec: MediumSpec) -> Medium:
        """The medium for this line of ha.cf, still closed."""
        match spec:
            case Bcast():
                return BcastMedium(spec, self._receivers)
            case Ucast():
                return UcastMedium(spec, self._receivers)
            case Ucast6():
                return Ucast6Medium(spec, self._receivers)
            case Mcast():
                return McastMedium(spec, self._receivers)
            case Serial():
                return SerialMedium(spec, self._ports)
            case Ping():
                return PingMedium(spec)
            case _:
                assert_never(spec)
