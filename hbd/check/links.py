"""What carries heartbeats, as this machine has it now. Pure but for a look at device files."""

from __future__ import annotations

from pathlib import Path

from hbd.check.addresses import Kernel
from hbd.check.facts import Known, Section
from hbd.check.places import Places
from hbd.config.model import Bcast, Config, Mcast, Ping, Place, Serial, Ucast, Ucast6


def judge(config: Config, kernel: Kernel, places: Places, known: Known) -> None:
    """Whether what carries heartbeats is there."""
    for medium in config.media:
        match medium:
            case Ping():
                continue
            case Serial(device, baud):
                place = places.value("serial", device)
                if Path(device).is_char_device():
                    known.good(Section.LINKS, device, f"serial, {baud} baud")
                else:
                    known.warn(Section.LINKS, device, place, "there is no such serial device now")
            case Bcast() | Ucast() | Mcast() | Ucast6():
                kind = type(medium).__name__.lower()
                kind += "6" if isinstance(medium, Mcast) and medium.version == 6 else ""
                to = getattr(medium, "target", getattr(medium, "group", ""))
                place = places.value(kind, medium.interface)
                _judge_interface(medium.interface, f"{kind} {to}".strip(), kernel, place, known)


def _judge_interface(name: str, kind: str, kernel: Kernel, place: Place, known: Known) -> None:
    link = kernel.link(name)
    if link is None:
        known.warn(Section.LINKS, name, place, f"{kind}: there is no such interface now; see `ip link`")
    elif not link.up:
        known.warn(Section.LINKS, name, place, f"{kind}: the interface is down; ip link set {name} up")
    elif not link.carrier:
        known.warn(Section.LINKS, name, place, f"{kind}: no carrier; is the cable plugged in?")
    else:
        known.good(Section.LINKS, name, f"{kind}, with carrier")
