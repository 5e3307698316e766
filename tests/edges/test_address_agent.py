"""The agent of addresses against the kernel, and what a neighbour sees of it on the wire."""

import asyncio
import ipaddress
import logging
import socket
import struct
import subprocess
import sys
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest

from hbd.agents.announce import boottime_ms
from hbd.config.model import AddressResource
from hbd.core.events import OK, Condition, Result
from tests.edges.lan import VIP, VIP6, Lan, agent, local_network, sniffing
from tests.edges.namespaces import Namespace, until


@pytest.fixture
def lan() -> Iterator[Lan]:
    with local_network() as made:
        yield made


def mac_of(node: Namespace, interface: str) -> bytes:
    with node.inside():
        # /sys shows the namespace in which it was mounted, so `ip` is asked.
        words = node.ip(f"link show {interface}").split()
    return bytes.fromhex(words[words.index("link/ether") + 1].replace(":", ""))


# ---------------------------------------------------------------- where it goes


def test_the_route_decides_interface_prefix_broadcast_and_the_label_is_the_first_free(lan: Lan) -> None:
    async def body() -> None:
        async with agent() as addresses:
            assert await addresses.start(VIP) == OK
            shown = "inet 192.168.85.3/24 brd 192.168.85.255 scope global secondary eth0:0"
            assert shown in lan.node.ip("-4 address show dev eth0")
            fourth = AddressResource("192.168.85.4", "192.168.85.4", alias_label=True)
            assert await addresses.start(fourth) == OK
            assert shown.replace("5.3", "5.4").replace("h0:0", "h0:1") in lan.node.ip("address")
            assert await addresses.stop(VIP, False) == OK
            fifth = AddressResource("192.168.85.5", "192.168.85.5", alias_label=True)
            assert await addresses.start(fifth) == OK
            assert shown.replace("5.3", "5.5") in lan.node.ip("address")

    asyncio.run(body())


@pytest.mark.parametrize(
    ("routes", "ip", "expected"),
    [
        ("172.16.0.0/12 dev eth0, 172.16.5.0/24 dev eth1", "172.16.5.9", "24 brd 172.16.5.255 eth1"),
        ("172.16.0.0/16 dev eth0 metric 20, 172.16.0.0/16 dev eth1 metric 10", "172.16.5.9",
         "16 brd 172.16.255.255 eth1"),
        ("10.128.0.0/9 dev eth0", "10.200.0.1", "9 brd 10.255.255.255 eth0"),
        ("172.16.0.0/16 via 10.0.0.254", "172.16.5.9", "16 brd 172.16.255.255 eth1"),
        ("192.0.2.8/31 dev eth1", "192.0.2.9", "31 eth1"),
    ],
    ids=["longest prefix", "lowest metric", "never the class", "behind a gateway", "no broadcast in a /31"],
)  # fmt: skip
def test_among_routes_the_longest_prefix_then_the_lowest_metric_decides(
    lan: Lan, routes: str, ip: str, expected: str
) -> None:
    for route in routes.split(", "):
        lan.node.ip(f"route add {route}")

    async def body() -> None:
        async with agent() as addresses:
            assert await addresses.start(AddressResource(ip, ip)) == OK
            [line] = [line for line in lan.node.ip("-4 -o address").splitlines() if ip in line]
            words = line.split()
            prefix, *_, interface = expected.split()
            assert words[3] == f"{ip}/{prefix}"
            assert words[1] == interface
            assert ("brd" in words) == ("brd" in expected)
            assert set(expected.split()[1:]) <= set(words)

    asyncio.run(body())


def test_the_first_of_equal_routes_wins(lan: Lan) -> None:
    lan.node.ip("route add 172.16.0.0/16 dev eth1 metric 5")
    lan.node.ip("route append 172.16.0.0/16 dev eth0 metric 5")

    async def body() -> None:
        async with agent() as addresses:
            assert await addresses.start(AddressResource("172.16.0.9", "172.16.0.9")) == OK
            assert "172.16.0.9/16" in lan.node.ip("address show dev eth1")

    asyncio.run(body())


def test_the_default_route_never_serves_without_a_netmask(lan: Lan) -> None:
    lan.node.ip("route add default via 192.168.85.254")
    lan.node.ip("-6 route add default via fd00:85::fe")

    async def body() -> None:
        async with agent() as addresses:
            for ip, mask in (("203.0.113.9", 24), ("2001:db8::9", 64)):
                refused = await addresses.start(AddressResource(ip, ip))
                assert refused.result is Result.FAILED
                assert f"Cannot use default route w/o netmask [{ip}]" in refused.reason
                assert f"{ip}/NETMASK" in refused.reason
                assert await addresses.start(AddressResource(f"{ip}/{mask}", ip, mask)) == OK
                assert f"{ip}/{mask}" in lan.node.ip("address show dev eth0")

    asyncio.run(body())


def test_without_a_route_the_start_fails_and_says_what_to_write(lan: Lan) -> None:
    async def body() -> None:
        async with agent() as addresses:
            refused = await addresses.start(AddressResource("203.0.113.9", "203.0.113.9", 24))
            assert refused.result is Result.FAILED
            assert "No route to 203.0.113.9" in refused.reason
            named = AddressResource("203.0.113.9/24/eth1", "203.0.113.9", 24, "eth1")
            assert await addresses.start(named) == OK
            assert "203.0.113.9/24 brd 203.0.113.255" in lan.node.ip("address show dev eth1")

    asyncio.run(body())


def test_what_was_taken_away_with_its_subnet_goes_back_where_it_was_but_not_where_it_was_stopped(
    lan: Lan,
) -> None:
    """NetworkManager does this when a connection is activated anew, and puts its own back a moment later."""

    async def body() -> None:
        async with agent() as addresses:
            assert await addresses.start(VIP) == OK
            lan.node.ip("-4 address flush dev eth0")
            assert await addresses.start(VIP) == OK
            assert "inet 192.168.85.3/24 brd 192.168.85.255 scope global eth0:0" in lan.node.ip("address")
            assert await addresses.stop(VIP, False) == OK
            refused = await addresses.start(VIP)
            assert "No route to 192.168.85.3" in refused.reason

    asyncio.run(body())


def test_it_does_not_go_back_to_an_interface_that_went_down_with_its_subnet(lan: Lan) -> None:
    async def body() -> None:
        async with agent() as addresses:
            assert await addresses.start(VIP) == OK
            lan.node.ip("link set eth0 down")
            lan.node.ip("-4 address flush dev eth0")
            refused = await addresses.start(VIP)
            assert "No route to 192.168.85.3" in refused.reason
            lan.node.ip("link delete eth0")
            refused = await addresses.start(VIP)
            assert "No route to 192.168.85.3" in refused.reason

    asyncio.run(body())


def test_an_interface_without_netmask_gets_that_of_its_own_subnet_or_an_error(lan: Lan) -> None:
    async def body() -> None:
        async with agent() as addresses:
            assert await addresses.start(AddressResource("x", "10.0.0.7", None, "eth1")) == OK
            assert "10.0.0.7/24 brd 10.0.0.255" in lan.node.ip("address show dev eth1")
            elsewhere = await addresses.start(AddressResource("x", "192.168.85.7", None, "eth1"))
            assert elsewhere.result is Result.FAILED
            assert "No subnet of eth1 contains 192.168.85.7" in elsewhere.reason
            missing = await addresses.start(AddressResource("x", "192.168.85.7", 24, "eth7"))
            assert "There is no interface eth7" in missing.reason

    asyncio.run(body())


def test_a_label_is_as_written_or_none_and_never_longer_than_the_kernel_takes(lan: Lan) -> None:
    lan.node.ip("link set eth1 down")
    lan.node.ip("link set eth1 name a-long-if-name")
    lan.node.ip("link set a-long-if-name up")
    given = [
        AddressResource("IPaddr2::192.168.85.5", "192.168.85.5"),
        AddressResource("x", "192.168.85.6", 24, "eth0", "eth0:web"),
        AddressResource("x", "10.0.0.7", 24, "a-long-if-name", alias_label=True),
    ]

    async def body() -> None:
        async with agent() as addresses:
            for resource in given:
                assert await addresses.start(resource) == OK
            lines = {line.split()[3]: line for line in lan.node.ip("-4 -o address").splitlines()}
            assert "secondary eth0 " in lines["192.168.85.5/24"].replace("\\", " ")
            assert "eth0:web" in lines["192.168.85.6/24"]
            assert "a-long-if-name:" not in lines["10.0.0.7/24"]

    asyncio.run(body())


def test_a_given_broadcast_is_used(lan: Lan) -> None:
    async def body() -> None:
        async with agent() as addresses:
            given = AddressResource("x", "192.168.85.3", 25, "eth0", None, "192.168.85.255")
            assert await addresses.start(given) == OK
            assert "192.168.85.3/25 brd 192.168.85.255" in lan.node.ip("address")

    asyncio.run(body())


# ---------------------------------------------------------------- already so, and stop


def test_an_address_that_is_already_there_is_success_and_announced(lan: Lan) -> None:
    lan.node.ip("address add 192.168.85.3/32 dev eth0")

    async def body() -> None:
        async with agent() as addresses, sniffing(lan.neighbour) as wire:
            assert await addresses.probe(VIP) is Condition.RUNNING
            assert await addresses.start(VIP) == OK
            assert lan.node.ip("-4 address").count("192.168.85.3") == 1
            await until(lambda: len(wire.frames) >= 2)

    asyncio.run(body())


def test_stop_takes_it_off_wherever_it_is_and_a_second_stop_is_success(lan: Lan) -> None:
    lan.node.ip("address add 192.168.85.3/32 dev eth1")
    lan.node.ip("address add 192.168.85.3/24 dev eth0")

    async def body() -> None:
        async with agent() as addresses:
            before = lan.node.ip("-4 address")
            assert await addresses.stop(VIP, False) == OK
            assert "192.168.85.3" not in lan.node.ip("address")
            assert await addresses.probe(VIP) is Condition.STOPPED
            assert await addresses.stop(VIP, False) == OK
            for kept in ("192.168.85.1/24", "10.0.0.1/24", "127.0.0.1/8"):
                assert kept in before
                assert kept in lan.node.ip("-4 address")

    asyncio.run(body())


def test_removing_the_first_address_of_a_subnet_removes_no_other(lan: Lan) -> None:
    """The kernel alone would drop all three with promote_secondaries=0."""
    lan.node.sysctl("ipv4/conf/all/promote_secondaries", 0)
    lan.node.sysctl("ipv4/conf/eth1/promote_secondaries", 0)
    for last in (3, 4, 5):
        lan.node.ip(f"address add 172.16.0.{last}/24 dev eth1")

    async def body() -> None:
        async with agent() as addresses:
            first = AddressResource("172.16.0.3", "172.16.0.3")
            assert await addresses.stop(first, False) == OK
            left = lan.node.ip("-4 address show dev eth1")
            assert "172.16.0.3" not in left
            assert "172.16.0.4/24" in left
            assert "172.16.0.5/24" in left

    asyncio.run(body())
    assert Path("/proc/sys/net/ipv4/conf/eth1/promote_secondaries").read_text() == "1\n"


STOP_ONE = """
import asyncio, sys
from hbd.agents.address import AddressAgent
from hbd.config.model import AddressResource
from hbd.netlink import Netlink

async def main():
    kernel = Netlink()
    kernel.open()
    print((await AddressAgent(kernel).stop(AddressResource(sys.argv[1], sys.argv[1]), False)).result.value)
    kernel.close()

asyncio.run(main())
"""


def test_where_promotion_is_forbidden_what_went_along_is_put_back(lan: Lan) -> None:
    """/proc/sys is read-only, as under ProtectKernelTunables= and in many containers."""
    lan.node.sysctl("ipv4/conf/all/promote_secondaries", 0)
    lan.node.sysctl("ipv4/conf/eth1/promote_secondaries", 0)
    lan.node.ip("address add 172.16.0.3/24 dev eth1")
    lan.node.ip("address add 172.16.0.4/24 broadcast + dev eth1 label eth1:0")
    lan.node.ip("address add 172.16.0.5/24 dev eth1")
    readonly = 'mount --bind /proc/sys /proc/sys && mount -o remount,bind,ro /proc/sys && exec "$@"'
    done = subprocess.run(
        ["unshare", "--mount", "sh", "-c", readonly, "sh", sys.executable, "-c", STOP_ONE, "172.16.0.3"],
        capture_output=True,
        text=True,
        cwd=Path(__file__).parents[2],
        check=False,
    )
    assert done.stdout == "ok\n", done.stderr
    assert "promote_secondaries cannot be set" in done.stderr
    assert "172.16.0.4 went away with another address of its subnet; put back" in done.stderr
    left = lan.node.ip("-4 address show dev eth1")
    assert "172.16.0.3" not in left
    assert "172.16.0.4/24 brd 172.16.0.255 scope global eth1:0" in left
    assert "172.16.0.5/24" in left


def test_an_address_is_put_on_an_interface_that_is_down_and_the_log_says_so(
    lan: Lan, caplog: pytest.LogCaptureFixture
) -> None:
    lan.node.ip("link set eth0 down")

    async def body() -> None:
        async with agent() as addresses:
            assert await addresses.start(AddressResource("x", "192.168.85.3", 24, "eth0")) == OK
            assert "192.168.85.3/24" in lan.node.ip("address show dev eth0")
            assert "192.168.85.3 is on eth0, which is down" in caplog.text
            async with sniffing(lan.neighbour) as wire:
                lan.node.ip("link set eth0 up")
                await until(lambda: any(late[0] - soon[0] < 0.1 for soon, late in pairwise(wire.frames)))

    asyncio.run(body())


def test_two_starts_at_once_choose_two_labels(lan: Lan) -> None:
    both = [AddressResource(ip, ip, alias_label=True) for ip in ("192.168.85.3", "192.168.85.4")]

    async def body() -> None:
        async with agent() as addresses:
            assert await asyncio.gather(*map(addresses.start, both)) == [OK, OK]
            shown = lan.node.ip("address")
            assert "eth0:0" in shown
            assert "eth0:1" in shown

    asyncio.run(body())


# ---------------------------------------------------------------- forced release


def test_a_drop_takes_all_off_and_silences_them_and_undoes_a_start_under_way(lan: Lan) -> None:
    many = [AddressResource(f"192.168.85.{last}", f"192.168.85.{last}") for last in range(10, 30)]

    async def body() -> None:
        async with agent() as addresses, sniffing(lan.neighbour) as wire:
            for resource in many[:-1]:
                assert await addresses.start(resource) == OK
            starting = asyncio.create_task(addresses.start(many[-1]))
            await asyncio.sleep(0)

            assert await addresses.drop(many) == OK

            await starting
            assert "192.168.85.1/24" in lan.node.ip("-4 address")
            assert lan.node.ip("-4 address show dev eth0").count("inet ") == 1
            await asyncio.sleep(0.1)
            wire.frames.clear()
            await asyncio.sleep(0.6)
            assert wire.frames == []

    asyncio.run(body())


# ---------------------------------------------------------------- announcements


def test_gratuitous_arp_is_a_request_and_a_reply_at_once_and_twenty_frames_in_all(
    lan: Lan, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)

    async def body() -> None:
        async with agent() as addresses, sniffing(lan.neighbour) as wire:
            assert await addresses.start(VIP) == OK
            assert caplog.messages[-1:] == ["Sending Gratuitous Arp for 192.168.85.3 on eth0:0 [eth0]"]
            await until(lambda: len(wire.frames) >= 2)
            assert wire.frames[1][0] - wire.frames[0][0] < 0.2, "at once, and not a quarter of a second later"
            await until(lambda: len(wire.frames) >= 20)
            assert wire.frames[-1][0] - wire.frames[0][0] > 4, "and not all at once"
            await asyncio.sleep(0.6)
            assert len(wire.frames) == 20

            mac, ip = mac_of(lan.node, "eth0"), socket.inet_aton("192.168.85.3")
            ethernet = b"\xff" * 6 + mac + b"\x08\x06" + bytes.fromhex("000108000604")
            request = ethernet + b"\0\1" + mac + ip + bytes(6) + ip
            reply = ethernet + b"\0\2" + mac + ip + mac + ip
            assert [frame for _, frame in wire.frames] == [request, reply] * 10
            assert len(request) == 42
            assert caplog.messages.count("Sending Gratuitous Arp for 192.168.85.3 on eth0:0 [eth0]") == 1

    asyncio.run(body())


@pytest.mark.parametrize("resource", [VIP, VIP6], ids=["ARP", "neighbour discovery"])
def test_a_neighbour_forgets_the_dead_nodes_hardware_address(lan: Lan, resource: AddressResource) -> None:
    """The neighbour's own kernel judges the frame: fields, checksum, override."""
    lan.neighbour.ip(f"neigh add {resource.ip} lladdr 02:00:00:00:00:99 nud stale dev eth0")
    ours = mac_of(lan.node, "eth0").hex(":")

    async def body() -> None:
        async with agent() as addresses:
            assert await addresses.start(resource) == OK
            await until(lambda: f"lladdr {ours}" in lan.neighbour.ip(f"neigh show {resource.ip}"))
            assert await addresses.stop(resource, False) == OK

    asyncio.run(body())


def test_an_ipv6_address_is_usable_at_once(lan: Lan) -> None:
    lan.node.sysctl("ipv6/conf/eth0/accept_dad", 1)

    async def body() -> None:
        async with agent() as addresses:
            assert await addresses.start(VIP6) == OK
            shown = lan.node.ip("-6 address show dev eth0")
            assert "fd00:85::3/64 scope global nodad" in shown
            assert "tentative" not in shown
            with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as bound:
                bound.bind((str(ipaddress.ip_address(VIP6.ip)), 7))

    asyncio.run(body())


def test_where_duplicate_address_detection_has_failed_a_start_has_it_done_again(
    lan: Lan, caplog: pytest.LogCaptureFixture
) -> None:
    """The kernel shows such an address for ever and never uses it. Somebody had it, and may still have it."""
    lan.node.sysctl("ipv6/conf/eth0/accept_dad", 1)
    lan.neighbour.ip(f"address add {VIP6.ip}/64 dev eth0 nodad")
    lan.node.ip(f"address add {VIP6.ip}/64 dev eth0")

    async def body() -> None:
        async with agent() as addresses:
            await until(lambda: "dadfailed" in lan.node.ip("-6 address show dev eth0"))
            assert await addresses.probe(VIP6) is Condition.STOPPED

            refused = await addresses.start(VIP6)
            assert refused.result is Result.FAILED
            assert f"another machine on eth0 has {VIP6.ip}" in refused.reason
            assert VIP6.ip not in lan.node.ip("-6 address show dev eth0")
            assert "Sending unsolicited" not in caplog.text

            lan.node.ip(f"address add {VIP6.ip}/64 dev eth0")
            await until(lambda: "dadfailed" in lan.node.ip("-6 address show dev eth0"), limit_s=4)
            lan.neighbour.ip(f"address del {VIP6.ip}/64 dev eth0")
            assert await addresses.start(VIP6) == OK
            shown = lan.node.ip("-6 address show dev eth0")
            assert f"{VIP6.ip}/64 scope global" in shown
            assert "dadfailed" not in shown
            assert "tentative" not in shown
            assert await addresses.probe(VIP6) is Condition.RUNNING

    asyncio.run(body())


def test_nothing_is_announced_without_a_permit_and_the_next_permit_goes_on(lan: Lan) -> None:
    async def body() -> None:
        async with agent(permit_ms=0) as addresses, sniffing(lan.neighbour) as wire:
            assert await addresses.start(VIP) == OK
            await asyncio.sleep(0.6)
            assert wire.frames == []

            addresses.permit(boottime_ms() + 400)
            await until(lambda: len(wire.frames) == 2)
            await asyncio.sleep(0.8)
            assert len(wire.frames) == 2, "the permit has expired before the third frame"

            addresses.permit(boottime_ms() + 60_000)
            await until(lambda: len(wire.frames) >= 4)
            operations = [struct.unpack_from("!H", frame, 20)[0] for _, frame in wire.frames]
            assert operations[:4] == [1, 2, 1, 2]

            addresses.permit(0)
            wire.frames.clear()
            await asyncio.sleep(0.6)
            assert wire.frames == []

    asyncio.run(body())


def test_a_stop_ends_the_announcements(lan: Lan) -> None:
    async def body() -> None:
        async with agent() as addresses, sniffing(lan.neighbour) as wire:
            assert await addresses.start(VIP) == OK
            assert await addresses.stop(VIP, False) == OK
            await asyncio.sleep(0.05)
            wire.frames.clear()
            await asyncio.sleep(0.7)
            assert wire.frames == []

    asyncio.run(body())


def test_announce_begins_again_and_fails_for_an_address_that_is_not_there(lan: Lan) -> None:
    async def body() -> None:
        async with agent() as addresses, sniffing(lan.neighbour) as wire:
            missing = await addresses.announce(VIP)
            assert missing.result is Result.FAILED
            assert "on no interface" in missing.reason
            lan.node.ip("address add 192.168.85.3/24 dev eth0")
            assert await addresses.announce(VIP) == OK
            await until(lambda: len(wire.frames) >= 2)

    asyncio.run(body())


def test_a_link_that_comes_back_is_told_again(lan: Lan) -> None:
    """It may have been plugged into another switch."""

    async def body() -> None:
        async with agent() as addresses, sniffing(lan.neighbour) as wire:
            assert await addresses.start(VIP) == OK
            lan.neighbour.ip("link set eth0 down")
            await until(lambda: "NO-CARRIER" in lan.node.ip("-o link show dev eth0"))
            wire.frames.clear()
            lan.neighbour.ip("link set eth0 up")
            # The background sends one frame each 250 ms; two at once are a new beginning.
            await until(lambda: any(late[0] - soon[0] < 0.1 for soon, late in pairwise(wire.frames)))

    asyncio.run(body())
