"""Which interface, prefix and broadcast a service address gets: pure, from the kernel's tables.

What haresources leaves open, the routing table decides, never the class of the address: the longest
prefix, then the lowest metric, then the first. The default route says where an address would go, but
not how large its subnet is, so it never serves without a netmask.
Facts: findif of heartbeat 3.0.6 (`No route to`, `Cannot use default route w/o netmask`), with the
shortest-prefix accident of its hexadecimal comparison left out.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import ip_address, ip_network

from hbd.config.model import AddressResource
from hbd.errors import EdgeError
from hbd.kerneltables import LABEL_BYTES, KernelTables
from hbd.rtnetlink import Address, Link, Route


@dataclass(frozen=True, slots=True)
class Tables:
    """What the kernel has now."""

    kernel: KernelTables
    routes: Sequence[Route]
    """Of the IP version that is asked about."""


def find(resource: AddressResource, tables: Tables) -> tuple[Address, Link]:
    """The address to add, and its interface. Raises EdgeError with what the operator can do."""
    if resource.interface is not None:
        link = _named(resource.interface, resource, tables)
        prefix = resource.prefix or _prefix_on(link, resource, tables)
    elif ip_address(resource.ip).is_loopback:
        link = next(link for link in tables.kernel.links.values() if link.loopback)
        prefix = resource.prefix or (8 if "." in resource.ip else 128)
    else:
        route = best_route(resource, tables)
        link = _indexed(route.index, resource, tables)
        prefix = resource.prefix or _prefix_of(route, resource)
    version = ip_address(resource.ip).version
    wish = Address(
        ip=resource.ip,
        prefix=prefix,
        index=link.index,
        label=_label(resource, link, tables) if version == 4 else None,
        broadcast=resource.broadcast or broadcast(resource.ip, prefix) if version == 4 else None,
    )
    return wish, link


def broadcast(ip: str, prefix: int) -> str | None:
    """The highest address of the subnet; None where there is none (/31 and /32)."""
    return str(ip_network(f"{ip}/{prefix}", strict=False).broadcast_address) if prefix < 31 else None


def _label(resource: AddressResource, link: Link, tables: Tables) -> str | None:
    if resource.label is not None:
        return resource.label if len(resource.label.encode()) <= LABEL_BYTES else None
    return tables.kernel.free_label(link.name) if resource.alias_label else None


def _named(name: str, resource: AddressResource, tables: Tables) -> Link:
    link = tables.kernel.link_named(name)
    if link is None:
        raise EdgeError(f"There is no interface {name} for {resource.ip}; see `ip link`")
    return link


def _indexed(index: int, resource: AddressResource, tables: Tables) -> Link:
    link = tables.kernel.links.get(index)
    if link is None:
        raise EdgeError(f"The interface of the route to {resource.ip} has just vanished; see `ip link`")
    return link


def best_route(resource: AddressResource, tables: Tables) -> Route:
    """The route that decides. Raises EdgeError. (min() keeps the first of equals, which is the rule.)"""
    ip = ip_address(resource.ip)
    matching = [route for route in tables.routes if ip in route.network]
    if not matching:
        raise EdgeError(
            f"No route to {resource.ip}: add one, or write {resource.ip}/NETMASK/INTERFACE in haresources"
        )
    return min(matching, key=lambda route: (-route.network.prefixlen, route.metric))


def _prefix_of(route: Route, resource: AddressResource) -> int:
    if route.network.prefixlen == 0:
        raise EdgeError(
            f"Cannot use default route w/o netmask [{resource.ip}]: "
            f"write {resource.ip}/NETMASK in haresources, or add a route to its subnet"
        )
    return route.network.prefixlen


def _prefix_on(link: Link, resource: AddressResource, tables: Tables) -> int:
    ip = ip_address(resource.ip)
    networks = {route.network for route in tables.routes if route.index == link.index}
    # A secondary has the subnet of the first address there.
    networks |= {
        address.network
        for address in tables.kernel.addresses(ip.version)
        if address.index == link.index and not address.secondary
    }
    fitting = [network.prefixlen for network in networks if network.prefixlen > 0 and ip in network]
    if not fitting:
        raise EdgeError(
            f"No subnet of {link.name} contains {resource.ip}: "
            f"write {resource.ip}/NETMASK/{link.name} in haresources"
        )
    return max(fitting)
