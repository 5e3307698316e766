"""What carries heartbeats, as this machine has it now. Pure but for a look at device files."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

from hbd.check.addresses import Kernel
from hbd.check.facts import Known, Section
from hbd.check.places import Places
from hbd.config.model import Bcast, Config, Mcast, MediumSpec, Ping, Place, Serial, Ucast, Ucast6


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
                kind = _kind(medium)
                to = getattr(medium, "target", getattr(medium, "group", ""))
                place = places.value(kind, medium.interface)
                _judge_interface(medium.interface, f"{kind} {to}".strip(), kernel, place, known)


def judge_alone(
    config: Config, kernel: Kernel, serving: Collection[str], places: Places, known: Known
) -> None:
    """Whether all that carries heartbeats may be one cable straight to the other machine (rule 25).

    That cable is dark while the other machine is off. A serial port needs no carrier, a ping node that
    answers stands for one, and a second interface may have its own. An interface with service addresses
    (`serving`), or with the default route, leads to a switch, which gives it a carrier.
    """
    media = [medium for medium in config.media if isinstance(medium, Bcast | Ucast | Mcast | Ucast6)]
    interfaces = {medium.interface for medium in media}
    if len(interfaces) != 1 or len(media) != len(config.media):
        return
    (name,) = interfaces
    link = kernel.link(name)
    routes = [route for version in (4, 6) for route in kernel.routes[version] if route.network.prefixlen == 0]
    if name in serving or any(link is not None and route.index == link.index for route in routes):
        return
    text = (
        "the only medium, and no ping line: if it is a cable straight to the other machine, it is dark while "
        "that is off, and hbd, started here then, starts nothing until the cable is back or somebody says "
        "hbctl confirm-dead; have a second medium, or a ping line"
    )
    known.warn(Section.LINKS, name, places.value(_kind(media[0]), name), text)


def _kind(medium: MediumSpec) -> str:
    """Its directive."""
    return type(medium).__name__.lower() + ("6" if isinstance(medium, Mcast) and medium.version == 6 else "")


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
