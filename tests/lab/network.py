"""The lab's wires: a LAN, a private link, and what can go wrong with them.

The bridges live in a namespace of their own (`sw`), as does each machine, so
nothing touches the computer's network. A machine's namespace is made anew at
each boot: it outlives the processes, and the kernel of a dead machine would
go on answering ARP for the cluster address.

    lan      192.168.85.0/24   linuxha1 .1  linuxha2 .2  client .100  observer .101  router .254
    private  10.0.0.0/24       linuxha1 .1  linuxha2 .2
"""

import json
from dataclasses import asdict, dataclass
from enum import Enum
from pathlib import Path

from tests.lab.host import LabError, call

LAN = "eth0"
PRIVATE_LINK = "eth1"
_BRIDGES = {LAN: "lan", PRIVATE_LINK: "private"}
_ROUTER = "192.168.85.254"
_HELPERS = {"router": 254, "client": 100, "observer": 101}


class Direction(Enum):
    """Seen from the machine: what it sends, what it receives, or both."""

    BOTH = "both"
    OUT = "out"
    IN = "in"


@dataclass
class Fault:
    """What is wrong with one switch port; outlives a reboot of the machine, as a pulled cable does."""

    unplugged: bool = False
    drops_out: bool = False
    drops_in: bool = False
    loss_percent: float = 0.0

    def rules(self, port: str) -> list[str]:
        """The port's rules in the switch; what the machine sends comes in there."""
        out, into = f'iifname "{port}"', f'oifname "{port}"'
        rules = [f"{out} drop"] * self.drops_out + [f"{into} drop"] * self.drops_in
        if self.loss_percent:
            lost = f"numgen random mod 10000 < {round(self.loss_percent * 100)} drop"
            rules += [f"{out} {lost}", f"{into} {lost}"]
        return rules


@dataclass(frozen=True, slots=True)
class Seat:
    """A machine's place in both networks."""

    number: int

    @property
    def lan_address(self) -> str:
        return f"192.168.85.{self.number}"

    @property
    def link_address(self) -> str:
        return f"10.0.0.{self.number}"

    def address(self, interface: str) -> str:
        return self.lan_address if interface == LAN else self.link_address

    def mac(self, interface: str) -> str:
        third = "85" if interface == LAN else "10"
        return f"02:00:00:00:{third}:{self.number:02x}"


class Network:
    """Switches, helper hosts' namespaces, and the machines' while they run."""

    def __init__(self, prefix: str, seats: dict[str, Seat], faults_file: Path) -> None:
        self._prefix = prefix
        self.seats = seats
        self._faults_file = faults_file
        self._faults: dict[str, Fault] = {}
        if faults_file.exists():
            stored = json.loads(faults_file.read_text())
            self._faults = {port: Fault(**fault) for port, fault in stored.items()}

    def namespace(self, host: str) -> str:
        return f"{self._prefix}-{host}"

    def namespace_path(self, host: str) -> Path:
        return Path("/run/netns", self.namespace(host))

    def namespaces(self) -> list[str]:
        """Those that exist, of this lab."""
        place = Path("/run/netns")
        return sorted(path.name for path in place.glob(f"{self._prefix}-*")) if place.exists() else []

    def up(self) -> None:
        """Make the switch and the helper hosts."""
        call("ip", "netns", "add", self.namespace("sw"))
        options = "type bridge stp_state 0 forward_delay 0 mcast_snooping 0"
        lines = [f"link add {bridge} {options}\nlink set {bridge} up" for bridge in _BRIDGES.values()]
        self._ip("sw", *lines)
        for host, number in _HELPERS.items():
            call("ip", "netns", "add", self.namespace(host))
            seat = Seat(number)
            self._wire(host, LAN, seat)
            self._raise(host, LAN, seat)
        call("ip", "netns", "exec", self.namespace("router"), "sysctl", "-qw", "net.ipv4.ip_forward=1")

    def join_router(self) -> None:
        """Wire the router to the private link too, where it has .254 and .253."""
        seat = Seat(_HELPERS["router"])
        self._wire("router", PRIVATE_LINK, seat)
        self._raise("router", PRIVATE_LINK, seat)
        self._ip("router", f"addr add 10.0.0.253/24 dev {PRIVATE_LINK}")

    def down(self) -> None:
        """Remove every namespace of this lab, and all wires with them."""
        for namespace in self.namespaces():
            call("ip", "netns", "del", namespace)

    def attach(self, node: str, held: tuple[str, ...] = ()) -> None:
        """Make a machine's namespace; the interfaces in `held` stay down, without address."""
        call("ip", "netns", "add", self.namespace(node))
        for interface in _BRIDGES:
            self._wire(node, interface, self.seats[node])
            if interface not in held:
                self._raise(node, interface, self.seats[node])

    def unplug_all(self, node: str) -> None:
        """Take the machine off both networks at once; it is expected to stand still or be dead."""
        self._ip("sw", *(f"link del {self._port(node, interface)}" for interface in _BRIDGES))

    def detach(self, node: str) -> None:
        """Remove what `attach` made."""
        ports = call("ip", "-n", self.namespace("sw"), "-o", "link")
        if f"{self._port(node, LAN)}@" in ports:
            self.unplug_all(node)
        if self.namespace_path(node).exists():
            call("ip", "netns", "del", self.namespace(node))

    def release(self, node: str, interface: str) -> None:
        """Bring up an interface that was `held` at boot."""
        self._raise(node, interface, self.seats[node])

    def cut(
        self, node: str, *interfaces: str, silent: bool = False, direction: Direction = Direction.BOTH
    ) -> None:
        """Cut the cables of `interfaces`, all of them by default.

        The machine sees the carrier go, unless `silent`: then packets get lost in
        the switch, all at the same instant. One direction can only be cut silently.
        """
        if direction is not Direction.BOTH and not silent:
            raise LabError("a cable with its carrier lost is cut in both directions; say silent=True")
        for interface in interfaces or tuple(_BRIDGES):
            fault = self._fault(node, interface)
            if silent:
                fault.drops_out |= direction in (Direction.BOTH, Direction.OUT)
                fault.drops_in |= direction in (Direction.BOTH, Direction.IN)
            else:
                fault.unplugged = True
        self._apply()

    def restore(self, node: str, *interfaces: str) -> None:
        """Mend everything about the cables of `interfaces`, all of them by default."""
        for interface in interfaces or tuple(_BRIDGES):
            self._faults[self._port(node, interface)] = Fault()
        self._apply()

    def loss(self, node: str, interface: str, percent: float) -> None:
        """Lose this share of the packets, each way; 0 ends it."""
        self._fault(node, interface).loss_percent = percent
        self._apply()

    def faults(self) -> dict[str, str]:
        """What is wrong, in words, by switch port."""
        words = {
            port: ", ".join(
                [name for name in ("unplugged", "drops_out", "drops_in") if getattr(fault, name)]
                + [f"loses {fault.loss_percent:g} %"] * bool(fault.loss_percent)
            )
            for port, fault in self._faults.items()
        }
        return {port: text for port, text in words.items() if text}

    def _fault(self, node: str, interface: str) -> Fault:
        return self._faults.setdefault(self._port(node, interface), Fault())

    def _apply(self) -> None:
        rules = [
            f"add rule bridge lab forward {rule}"
            for port, fault in self._faults.items()
            for rule in fault.rules(port)
        ]
        chain = "add chain bridge lab forward { type filter hook forward priority 0; }"
        script = "\n".join(["add table bridge lab", chain, "flush chain bridge lab forward", *rules])
        call("ip", "netns", "exec", self.namespace("sw"), "nft", "-f", "-", stdin=f"{script}\n")
        there = call("ip", "-n", self.namespace("sw"), "-o", "link")
        lines = [
            f"link set {port} {'down' if fault.unplugged else 'up'}"
            for port, fault in self._faults.items()
            if f" {port}@" in there
        ]
        self._ip("sw", *lines)
        stored = {port: asdict(fault) for port, fault in self._faults.items()}
        self._faults_file.write_text(json.dumps(stored))

    def _port(self, host: str, interface: str) -> str:
        return f"{host}-{interface}"

    def _wire(self, host: str, interface: str, seat: Seat) -> None:
        port = self._port(host, interface)
        here, switch = self.namespace(host), self.namespace("sw")
        peer = f"peer name {interface} address {seat.mac(interface)} netns {here}"
        call("ip", *f"link add {port} netns {switch} type veth {peer}".split())
        unplugged = port in self._faults and self._faults[port].unplugged
        self._ip("sw", f"link set {port} master {_BRIDGES[interface]} {'down' if unplugged else 'up'}")

    def _raise(self, host: str, interface: str, seat: Seat) -> None:
        # Without `brd +` there is no broadcast address, and bcast heartbeats reach nobody.
        lines = [f"addr add {seat.address(interface)}/24 brd + dev {interface}", f"link set {interface} up"]
        if interface == LAN:
            lines.append("link set lo up")
            if host != "router":
                lines.append(f"route add default via {_ROUTER}")
        self._ip(host, *lines)

    def _ip(self, host: str, *lines: str) -> None:
        call("ip", "-n", self.namespace(host), "-batch", "-", stdin="".join(f"{line}\n" for line in lines))
