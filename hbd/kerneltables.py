"""The links and addresses of the kernel as its notices tell of them. Pure.

Looked up by what is asked for, since a thousand addresses may be asked for one by one.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import count

from hbd.rtnetlink import Address, AddressSeen, Link, LinkSeen, Notice

LABEL_BYTES = 15
"""IFNAMSIZ less its final zero: the kernel refuses a longer label."""

Place = tuple[str, int, int]
"""`Address.place`."""


class KernelTables:
    """What is there now: `links` by index, addresses by IP."""

    def __init__(self, links: Iterable[Link] = (), addresses: Iterable[Address] = ()) -> None:
        self._links: dict[int, Link] = {}
        self._addresses: dict[str, dict[Place, Address]] = {}
        self._labels: dict[str, int] = {}
        self._next_label: dict[str, int] = {}
        for link in links:
            self.take(LinkSeen(link, True))
        for address in addresses:
            self.take(AddressSeen(address, True))

    @property
    def links(self) -> Mapping[int, Link]:
        """By index."""
        return self._links

    def link_named(self, name: str) -> Link | None:
        return next((link for link in self._links.values() if link.name == name), None)

    def addresses(self, version: int | None = None) -> list[Address]:
        """All, or those of IP version 4 or 6, the oldest first."""
        return [
            address
            for places in self._addresses.values()
            for address in places.values()
            if version is None or address.version == version
        ]

    def having(self, ip: str) -> list[Address]:
        """Every place of this IP."""
        return list(self._addresses.get(ip, {}).values())

    def free_label(self, interface: str) -> str | None:
        """`eth0:N` with the first free N, or None if it would be too long for the kernel."""
        for number in count(self._next_label.get(interface, 0)):
            label = f"{interface}:{number}"
            if label not in self._labels:
                self._next_label[interface] = number
                return label if len(label.encode()) <= LABEL_BYTES else None
        raise AssertionError("count() does not end")

    # ------------------------------------------------------------ changes

    def take(self, notice: Notice) -> None:
        """Have what it says."""
        match notice:
            case AddressSeen(address, present):
                self._forget(address)
                if present:
                    self._addresses.setdefault(address.ip, {})[address.place] = address
                    if address.label is not None:
                        self._labels[address.label] = self._labels.get(address.label, 0) + 1
            case LinkSeen(link, True):
                self._links[link.index] = link
            case LinkSeen(link, False):
                self._links.pop(link.index, None)

    def differences(self, links: Iterable[Link], addresses: Iterable[Address]) -> list[Notice]:
        """The notices that make these tables into those; what is gone comes first."""
        links_now = {link.index: link for link in links}
        now = {address.place: address for address in addresses}
        before = {address.place: address for address in self.addresses()}
        return [
            *(AddressSeen(address, False) for place, address in before.items() if place not in now),
            *(LinkSeen(link, False) for index, link in self._links.items() if index not in links_now),
            *(LinkSeen(link, True) for index, link in links_now.items() if self._links.get(index) != link),
            *(AddressSeen(address, True) for place, address in now.items() if before.get(place) != address),
        ]

    def _forget(self, address: Address) -> None:
        places = self._addresses.get(address.ip, {})
        known = places.pop(address.place, None)
        if not places:
            self._addresses.pop(address.ip, None)
        if known is not None and known.label is not None:
            self._free(known.label)

    def _free(self, label: str) -> None:
        self._labels[label] -= 1
        if not self._labels[label]:
            del self._labels[label]
            self._next_label.pop(label.partition(":")[0], None)
