"""What UDP media ask of a network interface: its flags, number and broadcast address; sockets bound to it.

Facts: netdevice(7), socket(7).
"""

from __future__ import annotations

import errno
import fcntl
import socket
import struct
from ipaddress import IPv4Address

SIOCGIFFLAGS, SIOCGIFBRDADDR, SIOCGIFNETMASK, SIOCGIFADDR = 0x8913, 0x8919, 0x891B, 0x8915
IFF_UP, IFF_RUNNING = 0x1, 0x40


def bound_socket(interface: str, family: socket.AddressFamily) -> socket.socket:
    """A non-blocking UDP socket bound to the device. Raises OSError that names it."""
    made = socket.socket(family, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
    try:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, interface.encode() + b"\0")
    except OSError as why:
        made.close()
        raise OSError(why.errno, f"cannot use interface {interface}: {why.strerror}") from why
    return made


def index_of(interface: str) -> int:
    """The kernel's number of the interface; 0 if there is none of that name."""
    try:
        return socket.if_nametoindex(interface)
    except OSError:
        return 0


def check_up(interface: str) -> None:
    """Raises OSError unless the interface exists and is up."""
    if not flags(interface) & IFF_UP:
        raise OSError(errno.ENETDOWN, f"interface {interface} is down")


def flags(interface: str) -> int:
    """netdevice(7)'s flags. Raises OSError if there is no such interface."""
    found: int = struct.unpack_from("=H", _ask(interface, SIOCGIFFLAGS))[0]
    return found


def broadcast_address(interface: str) -> str:
    """The broadcast address of an interface. Raises OSError if it has no IPv4 address.

    Where none was set (`ip address add` without `broadcast +`) it is the highest address of the subnet;
    3.0.6 would send to 0.0.0.0, which is this machine itself.
    """
    shown = _ipv4(interface, SIOCGIFBRDADDR)
    if shown != IPv4Address(0):
        return str(shown)
    address, mask = _ipv4(interface, SIOCGIFADDR), _ipv4(interface, SIOCGIFNETMASK)
    return str(IPv4Address(int(address) | ~int(mask) & 0xFFFFFFFF))


def _ipv4(interface: str, question: int) -> IPv4Address:
    """From a struct sockaddr_in: family and port, then the address."""
    return IPv4Address(_ask(interface, question)[4:8])


def _ask(interface: str, question: int) -> bytes:
    """One ioctl about an interface: what follows its name in struct ifreq."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asking:
        request = struct.pack("16s24x", interface.encode())
        try:
            return fcntl.ioctl(asking, question, request)[16:]
        except OSError as why:
            match why.errno:
                case errno.ENODEV:
                    text = f"there is no interface {interface}"
                case errno.EADDRNOTAVAIL:
                    text = f"interface {interface} has no IPv4 address"
                case _:
                    text = f"interface {interface}: {why.strerror}"
            raise OSError(why.errno, text) from why
