"""The service addresses as this machine's kernel would have them now. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, ip_address

from hbd.agents.findif import Tables, best_route, find
from hbd.check.facts import Known, Section
from hbd.check.places import Places
from hbd.check.strays import Running
from hbd.config.model import AddressResource, Config
from hbd.errors import EdgeError
from hbd.kerneltables import KernelTables
from hbd.rtnetlink import Link, Route

CLASSES = ((0x80000000, 0, 8), (0xC0000000, 0x80000000, 16), (0xE0000000, 0xC0000000, 24))
"""First bits, what they are, and the prefix of that class: A, B, C (RFC 791)."""


@dataclass(frozen=True, slots=True)
class Kernel:
    """What the kernel has now."""

    tables: KernelTables
    routes: Mapping[int, Sequence[Route]]
    """By IP version."""

    def link(self, name: str) -> Link | None:
        return self.tables.link_named(name)


def judge(config: Config, kernel: Kernel, places: Places, known: Known) -> dict[str, str]:
    """Where each service address would go, and why there; the interface of each that has one."""
    interfaces: dict[str, str] = {}
    for group in config.groups:
        for resource in group.resources:
            if isinstance(resource, AddressResource):
                name = _judge_address(resource, kernel, places, known)
                if name is not None:
                    interfaces[resource.name] = name
    return interfaces


def _judge_address(resource: AddressResource, kernel: Kernel, places: Places, known: Known) -> str | None:
    section, place = Section.ADDRESSES, places.resource(resource.name)
    tables = Tables(kernel.tables, kernel.routes[ip_address(resource.ip).version])
    try:
        wish, link = find(resource, tables)
        why = _why(resource, tables)
    except EdgeError as error:
        known.warn(section, resource.name, place, f"{error}; it could not be started here now")
        return None
    where = f"{link.name}, {wish.ip}/{wish.prefix}, {why}"
    if not link.carrier:
        known.warn(section, resource.name, place, f"{where}: {link.name} has no carrier")
        return link.name
    known.good(section, resource.name, where)
    by_class = class_prefix(resource.ip)
    if resource.prefix is None and by_class not in (None, wish.prefix):
        text = (
            f"the netmask is the route's, /{wish.prefix}, as with heartbeat's IPaddr; by the class of the "
            f"address it would be /{by_class}"
        )
        known.note(section, "", text)
    return link.name


def _why(resource: AddressResource, tables: Tables) -> str:
    if resource.interface is not None:
        return "interface as written" if resource.prefix else "interface as written, netmask of its subnet"
    if ip_address(resource.ip).is_loopback:
        return "a loopback address"
    route = best_route(resource, tables)
    metric = f" metric {route.metric}" if route.metric else ""
    return f"by the route {route.network}{metric}"


def class_prefix(ip: str) -> int | None:
    """The netmask that an IPv4 address had by its class; None for others."""
    try:
        number = int(IPv4Address(ip))
    except ValueError:
        return None
    return next((prefix for mask, bits, prefix in CLASSES if number & mask == bits), None)


def present(config: Config, kernel: Kernel) -> dict[str, Running]:
    """Resource names of the service addresses that are on an interface now.

    One on a loopback interface answers nobody, and may be there for a load balancer's sake.
    """
    names = {index: link.name for index, link in kernel.tables.links.items() if not link.loopback}
    there = {
        address.ip: Running(
            f"on {names[address.index]}",
            f"ip address del {address.ip}/{address.prefix} dev {names[address.index]}",
        )
        for address in kernel.tables.addresses()
        if address.index in names
    }
    return {
        resource.name: there[resource.ip]
        for group in config.groups
        for resource in group.resources
        if isinstance(resource, AddressResource) and resource.ip in there
    }
