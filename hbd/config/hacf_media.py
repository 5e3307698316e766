"""ha.cf's media: bcast, ucast, mcast, ucast6, mcast6, serial, ping, ping6, ping_group.

Only the text is judged. Whether the interface, tty or host exists now is asked
when the link is opened, and asked again until it does.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from ipaddress import AddressValueError, IPv4Address, IPv6Address

from hbd.config.directives import Draft
from hbd.config.findings import Word
from hbd.config.hacf_draft import BAUD_RATES, DEFAULT_BAUD, MAX_MEDIA, MAX_NODES, HaCfDraft
from hbd.config.model import Bcast, Mcast, MediumSpec, Ping, Serial, Ucast, Ucast6
from hbd.config.scalars import is_interface_name, parse_number
from hbd.config.words import words

_TTL = range(5)


def udpport(draft: HaCfDraft, name: str, word: Word) -> None:
    """The port of bcast, ucast and ucast6 media that follow; 3.0.6 fixes it with the first of each."""
    draft.numbers.pop(name, None)
    port = parse_number(word, 1, 65535, draft.found)
    if port is None:
        return
    latched = [kind for kind, latched_port in draft.ports.items() if latched_port != port]
    if latched:
        draft.found.warning(
            word, f"udpport setting must precede media statements: no effect on {', '.join(latched)} above"
        )
    draft.port = port
    draft.numbers[name] = port


def baud(draft: HaCfDraft, name: str, word: Word) -> None:
    """The speed of serial media that follow."""
    draft.numbers.pop(name, None)
    if word.text not in BAUD_RATES:
        draft.found.error(word, f"invalid baudrate [{word.text}] specified; use {', '.join(BAUD_RATES)}")
        return
    if any(isinstance(medium, Serial) for medium, _ in draft.media):
        draft.found.warning(word, "baud must precede serial: no effect on the serial lines above")
    draft.numbers[name] = int(word.text)


def bcast(draft: HaCfDraft, name: str, word: Word) -> None:
    """`bcast eth0 eth1`: the broadcast address of each interface."""
    if _interface(draft, word):
        # The bcast plugin of 3.0.6 reads the port once, for all its media.
        _add(draft, Bcast(word.text, draft.ports.setdefault("bcast", draft.port)), word)


def udp(draft: HaCfDraft, name: str, word: Word) -> None:
    """3.0.6's old name of bcast."""
    draft.found.warning(word, "directive 'udp' replaced by 'bcast'")
    bcast(draft, name, word)


def ucast(draft: HaCfDraft, name: str, line: Word) -> None:
    """`ucast eth0 10.0.0.2`: one address or host name."""
    given = _two(draft, name, line)
    if given and _interface(draft, given[0]):
        draft.ports.setdefault("ucast", draft.port)
        _add(draft, Ucast(given[0].text, given[1].text, draft.port), given[0])


def ucast6(draft: HaCfDraft, name: str, line: Word) -> None:
    """`ucast6 eth0 fe80::2`; a zone after `%` must be the interface."""
    given = _two(draft, name, line)
    if not given or not _interface(draft, given[0]):
        return
    interface, target = given
    address, _, zone = target.text.partition("%")
    if _ipv6(address) is None:
        draft.found.error(target, f"'{target.text}' is not an IPv6 address")
    elif zone and zone != interface.text:
        draft.found.error(target, f"'%{zone}' does not match the interface {interface.text}")
    else:
        draft.ports.setdefault("ucast6", draft.port)
        _add(draft, Ucast6(interface.text, address, draft.port), interface)


def mcast(draft: HaCfDraft, name: str, line: Word) -> None:
    """`mcast eth0 225.0.0.1 694 1 0`; it has a port of its own."""
    _multicast(draft, name, line, 4, lambda text: (ip := _ipv4(text)) is not None and ip.is_multicast)


def mcast6(draft: HaCfDraft, name: str, line: Word) -> None:
    """`mcast6 eth0 ff02::1 694 1 0`."""
    _multicast(draft, name, line, 6, lambda text: (ip := _ipv6(text)) is not None and ip.is_multicast)


def serial(draft: HaCfDraft, name: str, word: Word) -> None:
    """`serial /dev/ttyS0`."""
    if not word.text.startswith("/"):
        draft.found.error(word, f"serial device [{word.text}] is not a full path; write /dev/ttyS0")
        return
    _add(draft, Serial(word.text, draft.numbers.get("baud", DEFAULT_BAUD)), word)


def ping(draft: HaCfDraft, name: str, word: Word) -> None:
    """`ping host …`: a pseudo node for each."""
    if _looks_like_ipv4(word.text) and _ipv4(word.text) is None:
        draft.found.error(word, f"'{word.text}' is not an IPv4 address")
        return
    _add_ping(draft, Ping(word.text, (word.text,), name), word)


def ping6(draft: HaCfDraft, name: str, word: Word) -> None:
    """`ping6 host …`: a pseudo node for each."""
    if ":" in word.text and _ipv6(word.text) is None:
        draft.found.error(word, f"'{word.text}' is not an IPv6 address")
        return
    _add_ping(draft, Ping(word.text, (word.text,), name), word)


def ping_group(draft: HaCfDraft, name: str, line: Word) -> None:
    """`ping_group name host …`: one pseudo node of that name."""
    group, *hosts = words(line)
    if not hosts:
        draft.found.error(group, f"ping_group [{group.text}] names no host; write ping_group NAME HOST ...")
        return
    _add_ping(draft, Ping(group.text, tuple(host.text for host in hosts), name), group)


def add_node(draft: HaCfDraft, name: str, word: Word) -> None:
    """`node`: names are compared in lower case."""
    node = Word(word.text.lower(), word.place)
    if _room_for_node(draft, node):
        first = draft.nodes.setdefault(node.text, node)
        if first is not node:
            draft.found.warning(word, f"node {node.text} is named twice; first at {first.place}")


# ---------------------------------------------------------------- leaves


def _multicast(draft: HaCfDraft, name: str, line: Word, version: int, valid: Callable[[str], bool]) -> None:
    given = words(line)
    if len(given) < 5:
        draft.found.error(line, f"{name} needs five values: interface, group, port, ttl and loop (0 or 1)")
        return
    _warn_rest(draft, given[5:])
    interface, group, port_word, ttl_word, loop_word = given[:5]
    usable = _interface(draft, interface)
    if not valid(group.text):
        draft.found.error(group, f"'{group.text}' is not an IPv{version} multicast group")
        usable = False
    port = parse_number(port_word, 1, 65535, draft.found)
    ttl = parse_number(ttl_word, _TTL[0], _TTL[-1], draft.found)
    loop = parse_number(loop_word, 0, 1, draft.found)
    if usable and port is not None and ttl is not None and loop is not None:
        _add(draft, Mcast(interface.text, group.text, port, ttl, loop == 1, version), interface)


def _two(draft: HaCfDraft, name: str, line: Word) -> tuple[Word, Word] | None:
    given = words(line)
    if len(given) < 2:
        draft.found.error(line, f"{name}: [{given[0].text}] missing target IP address/hostname")
        return None
    _warn_rest(draft, given[2:])
    return given[0], given[1]


def _warn_rest(draft: Draft, rest: list[Word]) -> None:
    if rest:
        draft.found.warning(rest[0], "ignored from here to the end of the line")


def _interface(draft: Draft, word: Word) -> bool:
    if is_interface_name(word.text):
        return True
    draft.found.error(word, f"'{word.text}' cannot be the name of a network interface")
    return False


def _add(draft: HaCfDraft, medium: MediumSpec, word: Word) -> None:
    if any(medium == there for there, _ in draft.media):
        draft.found.warning(word, "the same medium is given above; this one is left out")
    elif len(draft.media) == MAX_MEDIA:
        draft.found.error(word, f"more than {MAX_MEDIA} heartbeat media")
    else:
        draft.media.append((medium, word))


def _add_ping(draft: HaCfDraft, medium: Ping, word: Word) -> None:
    node = Word(medium.name.lower(), word.place)
    first = draft.ping_nodes.get(node.text)
    if first is not None:
        draft.found.error(word, f"ping node {medium.name} is named twice; first at {first.place}")
    elif _room_for_node(draft, node):
        draft.ping_nodes[node.text] = node
        _add(draft, medium, word)


def _room_for_node(draft: HaCfDraft, node: Word) -> bool:
    if len(node.text.encode("utf-8", "surrogateescape")) > 99:
        draft.found.error(node, "a node name has at most 99 bytes")
        return False
    known = node.text in draft.nodes or node.text in draft.ping_nodes
    if not known and len(draft.nodes) + len(draft.ping_nodes) == MAX_NODES:
        draft.found.error(node, f"more than {MAX_NODES} nodes and ping nodes")
        return False
    return True


def _looks_like_ipv4(text: str) -> bool:
    return re.fullmatch(r"[0-9]+(\.[0-9]+){3}", text) is not None


def _ipv4(text: str) -> IPv4Address | None:
    try:
        return IPv4Address(text)
    except AddressValueError:
        return None


def _ipv6(text: str) -> IPv6Address | None:
    try:
        return IPv6Address(text)
    except AddressValueError:
        return None
