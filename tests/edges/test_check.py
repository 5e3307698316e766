"""hbctl check against a real kernel, in a network namespace, and against managers of the network on a bus."""

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from hbd.check import managers, run, show
from hbd.check.run import Result, Where
from hbd.dbusio import Bus, Message
from tests.config.conftest import AUTHKEYS, Machine
from tests.edges.namespaces import Namespace, pair
from tests.edges.test_bus_service import PrivateBus

EVERYTHING = '<policy user="root"><allow own="*"/><allow send_destination="*"/></policy>'
HA_CF = "keepalive 500ms\ndeadtime 3\ninitdead 10\nauto_failback on\nbcast eth0\nnode linuxha1 linuxha2\n"
ALONE = "2:7: eth1: the only medium, and no ping line"


@pytest.fixture
def node() -> Iterator[Namespace]:
    """A namespace with eth0 (10.1.2.1/24), at whose other end is 10.1.2.2; this thread is inside."""
    with pair("eth0", "eth1") as (one, two):
        one.ip("address add 10.1.2.1/24 dev eth0")
        two.ip("address add 10.1.2.2/24 dev eth0")
        with one.inside():
            yield one


@pytest.fixture
def bus(tmp_path: Path) -> Iterator[PrivateBus]:
    """A bus where everybody may have every name."""
    made = PrivateBus(tmp_path)
    config = tmp_path / "bus.conf"
    config.write_text(config.read_text().replace("</busconfig>", f"{EVERYTHING}</busconfig>"))
    made.start()
    yield made
    made.stop()


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    made = Machine(tmp_path)
    made.write("nodeinfo", "linuxha1\n")
    return made


def check(machine: Machine, ha_cf: str = HA_CF, haresources: str = "linuxha1 10.1.2.3\n") -> Result:
    machine.configure(ha_cf, haresources, AUTHKEYS)
    return run.check(Where(machine.ha_d, Path("/nowhere"), machine.root))


def findings(result: Result) -> list[str]:
    return [f"{one.place.line}:{one.place.column}: {one.text}" for one in result.findings]


def facts(result: Result, section: str) -> list[str]:
    return [f"{one.name} {one.text}".strip() for one in result.facts if one.section.value == section]


def test_the_route_that_decides_is_told_and_the_netmask_of_the_class_beside_it(
    machine: Machine, node: Namespace
) -> None:
    result = check(machine)
    assert (result.status, findings(result)) == (0, [])
    assert facts(result, "Links") == ["eth0 bcast, with carrier"]
    assert facts(result, "Addresses") == [
        "10.1.2.3 eth0, 10.1.2.3/24, by the route 10.1.2.0/24",
        "the netmask is the route's, /24, as with heartbeat's IPaddr; by the class of the address it would "
        "be /8",
    ]
    assert "Addresses\n  10.1.2.3" in show.as_text(result)
    assert json.loads(show.as_json(result))["findings"] == []


def test_an_address_without_a_route_and_a_link_without_interface_are_found_at_their_words(
    machine: Machine, node: Namespace
) -> None:
    result = check(machine, HA_CF + "bcast eth7\n", "linuxha1 172.16.0.1 10.1.2.3\n")
    assert result.status == 1
    assert sorted(findings(result)) == [
        "1:10: 172.16.0.1: No route to 172.16.0.1: add one, or write 172.16.0.1/NETMASK/INTERFACE in "
        "haresources; it could not be started here now",
        "7:7: eth7: bcast: there is no such interface now; see `ip link`",
    ]
    node.ip("link set eth0 down")
    found = findings(check(machine))
    assert "5:7: eth0: bcast: the interface is down; ip link set eth0 up" in found


@pytest.mark.parametrize(
    ("more", "haresources", "route", "warns"),
    [
        ("", "linuxha1 10.1.2.3", "", True),
        ("mcast eth1 239.0.0.1 694 1 0", "linuxha1 10.1.2.3", "", True),
        ("bcast eth0", "linuxha1 10.1.2.3", "", False),
        ("ping 10.1.2.2", "linuxha1 10.1.2.3", "", False),
        ("serial /dev/null", "linuxha1 10.1.2.3", "", False),
        ("", "linuxha1 10.1.2.3/24/eth1", "", False),
        ("", "linuxha1 10.1.2.3", "route add default dev eth1", False),
    ],
    ids=["alone", "alone-twice", "two", "pinged", "serial", "service-network", "default-route"],
)
def test_a_medium_that_may_be_a_cable_between_the_two_machines_is_not_to_be_the_only_one(
    machine: Machine, node: Namespace, more: str, haresources: str, route: str, warns: bool
) -> None:
    """A pair with nothing else would wait for an operator after a restart of the survivor (rule 25)."""
    if route:
        node.ip(route)
    alone = HA_CF.replace("bcast eth0", "").replace("keepalive 500ms\n", "keepalive 500ms\nbcast eth1\n")
    found = findings(check(machine, f"{alone}{more}\n", f"{haresources}\n"))
    assert any(text.startswith(ALONE) for text in found) is warns


def test_ping_nodes_are_asked_and_known_when_they_are_no_witnesses(machine: Machine, node: Namespace) -> None:
    pings = "ping 10.1.2.2 10.1.2.1 10.1.2.3\nping_group far 10.1.2.98 10.1.2.99\n"
    result = check(machine, HA_CF + "ucast eth0 10.1.2.2\n" + pings)
    assert [text.partition(": no evidence")[0] for text in findings(result)] == [
        "8:6: 10.1.2.2: 10.1.2.2 is the other end of eth0's ucast, a cluster node",
        "8:15: 10.1.2.1: 10.1.2.1 is an address of this node",
        "8:24: 10.1.2.3: 10.1.2.3 is a service address of haresources",
        "8:24: 10.1.2.3: does not answer this node",
        "9:16: far: does not answer this node",
    ]
    assert facts(check(machine, HA_CF + "ping 10.1.2.2\n"), "Ping nodes") == ["10.1.2.2 answers this node"]


def test_a_watchdog_that_is_not_there_resets_nothing(machine: Machine, node: Namespace) -> None:
    there = machine.root / "watchdog"
    found = f"7:10: {there}: there is no such device now, so nobody resets this machine"
    assert [text[: len(found)] for text in findings(check(machine, f"{HA_CF}watchdog {there}\n"))] == [found]
    there.touch()
    assert findings(check(machine, f"{HA_CF}watchdog {there}\n")) == []


def test_a_name_that_nobody_knows_is_found_at_its_word(machine: Machine, node: Namespace) -> None:
    result = check(machine, HA_CF + "ucast eth0 nobody.invalid\n")
    assert findings(result) == [
        "7:12: eth0: ucast nobody.invalid cannot be looked up; write its address, or use /etc/hosts"
    ]


def test_with_errors_in_the_files_nothing_else_is_told(machine: Machine, node: Namespace) -> None:
    result = check(machine, HA_CF + "keepaliv 2\n")
    assert (result.status, len(result.findings), result.facts) == (78, 1, ())
    assert show.summary(result) == "1 error, no warnings: hbd would not start with this"


# ---------------------------------------------------------------- who else configures interfaces


async def stand_in(address: str, name: str, answers: dict[str, tuple[str, list[object]]]) -> Bus:
    """A program that has that name on the bus and gives these answers."""
    served = await Bus.connect(address)

    def answer(call: Message) -> None:
        served.reply(call, *answers[call.member])

    served.on_method_call(answer)
    assert await served.request_name(name)
    return served


def test_networkd_is_trusted_with_an_interface_only_where_its_file_keeps_foreign_addresses(
    bus: PrivateBus, tmp_path: Path
) -> None:
    file = "/etc/systemd/network/10-eth0.network"
    network = tmp_path / file[1:]
    network.parent.mkdir(parents=True)
    network.write_text("[Match]\nName=eth0\n[Network]\nDHCP=no\n")

    async def judged(told: dict[str, str]) -> managers.Managed | None:
        served = await stand_in(bus.address, managers.NETWORKD, {"DescribeLink": ("s", [json.dumps(told)])})
        try:
            return await managers.networkd(await Bus.connect(bus.address), tmp_path, 2, "eth0")
        finally:
            served.close()

    configured = {"AdministrativeState": "configured", "NetworkFile": file}
    found = asyncio.run(judged(configured))
    assert found is not None
    assert found.removes
    assert f"{file}.d/hbd.conf" in found.text
    assert asyncio.run(judged({"AdministrativeState": "unmanaged"})) is None
    drop_in = tmp_path / "run/systemd/network/10-eth0.network.d/hbd.conf"
    drop_in.parent.mkdir(parents=True)
    drop_in.write_text("[Network]\nKeepConfiguration = static\n")
    kept = asyncio.run(judged(configured))
    assert kept is not None
    assert not kept.removes


def test_of_managers_that_do_not_run_nothing_is_said_and_none_is_started(
    bus: PrivateBus, tmp_path: Path
) -> None:
    async def scene() -> None:
        asker = await Bus.connect(bus.address)
        assert await managers.networkd(asker, tmp_path, 2, "eth0") is None
        assert await managers.network_manager(asker, "eth0") is None

    asyncio.run(scene())
