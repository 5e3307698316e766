"""Addresses as haresources writes them: `ip/mask/interface:label/broadcast` and its shorter forms.

IPaddr and IPaddr2 share the forms and differ in the label: IPaddr (and a bare
address) gets one of the form `eth0:0` chosen at start, IPaddr2 only the one it
is given. The text is judged strictly: what merely resembles an address is an
error and not handed to a script.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from ipaddress import AddressValueError, IPv4Address, IPv6Address

from hbd.config.findings import Findings, Word
from hbd.config.model import AddressResource
from hbd.config.scalars import is_interface_name

# 3.0.6 takes what matches the shell pattern [0-9]*.[0-9]*.[0-9]*.[0-9]* for an address.
_RESEMBLES_IPV4 = re.compile(r"[0-9].*\.[0-9].*\.[0-9].*\.[0-9].*", re.DOTALL)

LABEL_BYTES = 15
"""The kernel refuses a longer label (IFNAMSIZ)."""


@dataclass(frozen=True, slots=True)
class _Parts:
    ip: Word
    mask: Word | None
    interface: Word | None
    broadcast: Word | None


def resembles_ipv4(text: str) -> bool:
    """Whether 3.0.6 would take the name for an IPv4 address."""
    return _RESEMBLES_IPV4.fullmatch(text) is not None


def is_ipv6(text: str) -> bool:
    """Whether the part before the first `/` is an IPv6 address, with or without zone."""
    try:
        IPv6Address(text.partition("/")[0])
    except AddressValueError:
        return False
    return True


def parse_address(name: str, word: Word, agent: str | None, found: Findings) -> AddressResource | None:
    """The address in `word`, or None after the error has been reported.

    `name` is the whole resource as written, `agent` is IPaddr, IPaddr2, IPv6addr or None.
    """
    if is_ipv6(word.text):
        return _ipv6(name, word, found)
    if agent == "IPv6addr":
        found.error(word, f"'{word.text}' is not an IPv6 address; write IPv6addr::ADDRESS/PREFIX/INTERFACE")
        return None
    return _ipv4(name, word, agent, found)


def _ipv4(name: str, word: Word, agent: str | None, found: Findings) -> AddressResource | None:
    parts = _split(word, found)
    if parts is None:
        return None
    try:
        ip = IPv4Address(parts.ip.text)
    except AddressValueError:
        found.error(parts.ip, f"'{parts.ip.text}' is not an IPv4 address")
        return None
    if not _can_be_service_address(ip, parts.ip, found):
        return None
    prefix, prefix_ok = _ipv4_prefix(parts.mask, found)
    broadcast, broadcast_ok = _broadcast(parts.broadcast, ip, prefix, found)
    interface, label, interface_ok = _interface(parts.interface, found)
    if not (prefix_ok and broadcast_ok and interface_ok):
        return None
    with_label = agent == "IPaddr2"
    if interface and prefix is None:
        found.warning(word, "an interface without netmask: 3.0.6 would use 32 here")
    return AddressResource(
        name, str(ip), prefix, interface, label if with_label else None, broadcast, alias_label=not with_label
    )


def _ipv6(name: str, word: Word, found: Findings) -> AddressResource | None:
    pieces = _pieces(word)
    address, _, zone = pieces[0].text.partition("%")
    ip = IPv6Address(address)
    if len(pieces) > 3:
        found.error(pieces[3], "an IPv6 address is written ADDRESS/PREFIX/INTERFACE")
        return None
    if not _can_be_service_address(ip, pieces[0], found):
        return None
    prefix = None
    if len(pieces) > 1:
        prefix = _bits(pieces[1].text, 128)
        if prefix is None:
            found.error(pieces[1], f"'{pieces[1].text}' is not a prefix length; write 1 to 128")
            return None
    interface, _, ok = _interface(pieces[2] if len(pieces) > 2 else None, found)
    if not ok:
        return None
    if zone and interface and zone != interface:
        found.error(pieces[0], f"'%{zone}' does not match the interface {interface}")
        return None
    if ip.is_link_local and not (zone or interface):
        found.error(pieces[0], f"a link-local address needs its interface; write {address}/64/INTERFACE")
        return None
    return AddressResource(name, str(ip), prefix, interface or zone or None)


def _split(word: Word, found: Findings) -> _Parts | None:
    """ip, ip/mask, ip/mask/iface, ip/mask/iface/broadcast or ip/mask/broadcast."""
    pieces = _pieces(word)
    for piece in pieces[1:]:
        if not piece.text:
            found.error(piece, "nothing between the slashes; write ADDRESS/MASK/INTERFACE/BROADCAST")
            return None
    match pieces:
        case [ip]:
            return _Parts(ip, None, None, None)
        case [ip, mask]:
            return _Parts(ip, mask, None, None)
        case [ip, mask, third] if third.text[0].isdigit():
            return _Parts(ip, mask, None, third)
        case [ip, mask, interface]:
            return _Parts(ip, mask, interface, None)
        case [ip, mask, interface, broadcast]:
            return _Parts(ip, mask, interface, broadcast)
        case _:
            found.error(pieces[4], "an address has at most ADDRESS/MASK/INTERFACE/BROADCAST")
            return None


def _pieces(word: Word) -> list[Word]:
    pieces, start = [], 0
    for text in word.text.split("/"):
        pieces.append(word.part(start, start + len(text)))
        start += len(text) + 1
    return pieces


def _can_be_service_address(ip: IPv4Address | IPv6Address, word: Word, found: Findings) -> bool:
    if ip.is_unspecified or ip.is_multicast or ip == IPv4Address("255.255.255.255"):
        found.error(word, f"{ip} cannot be the address of a service")
        return False
    return True


def _ipv4_prefix(mask: Word | None, found: Findings) -> tuple[int | None, bool]:
    """The prefix length, and whether the text was valid; a dotted quad is turned into its length."""
    if mask is None:
        return None, True
    prefix = _bits(mask.text, 32)
    if prefix is None and "." in mask.text:
        prefix = _dotted_mask(mask.text)
    if prefix is None:
        found.error(mask, f"'{mask.text}' is not a netmask; write 1 to 32, or one like 255.255.255.0")
    return prefix, prefix is not None


def _dotted_mask(text: str) -> int | None:
    try:
        bits = int(IPv4Address(text))
    except AddressValueError:
        return None
    length = bits.bit_count()
    contiguous = bits == (0xFFFFFFFF << (32 - length)) & 0xFFFFFFFF
    return length if contiguous and length else None


def _bits(text: str, most: int) -> int | None:
    if re.fullmatch(r"[0-9]{1,3}", text) is None:
        return None
    return int(text) if 1 <= int(text) <= most else None


def _broadcast(
    word: Word | None, ip: IPv4Address, prefix: int | None, found: Findings
) -> tuple[str | None, bool]:
    """The broadcast address; IPaddr2's `+` is the usual one (None here), `-` the lowest of the subnet."""
    if word is None or word.text == "+":
        return None, True
    if word.text == "-" and prefix is not None:
        return str(IPv4Address(int(ip) >> (32 - prefix) << (32 - prefix))), True
    try:
        return str(IPv4Address(word.text)), True
    except AddressValueError:
        found.error(word, f"'{word.text}' is not a broadcast address")
        return None, False


def _interface(word: Word | None, found: Findings) -> tuple[str | None, str | None, bool]:
    """Interface, full label (`eth0:web`) and whether the text was valid."""
    if word is None:
        return None, None, True
    name, colon, _ = word.text.partition(":")
    if not is_interface_name(name):
        found.error(word, f"'{name}' cannot be the name of a network interface")
        return None, None, False
    if not colon:
        return name, None, True
    if len(word.text.encode("utf-8", "surrogateescape")) > LABEL_BYTES:
        found.warning(word, f"the label '{word.text}' exceeds the kernel's {LABEL_BYTES} bytes; left out")
        return name, None, True
    return name, word.text, True
