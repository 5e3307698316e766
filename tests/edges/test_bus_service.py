"""org.linux_ha.Heartbeat1 on a private bus, asked by busctl, gdbus and hbctl.

The bus has the system bus's own policy and the one hbd installs, so who may do what is the real thing.
"""

import asyncio
import gc
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from hbd.bus import contract, names, records
from hbd.bus.service import Service
from hbd.core.effects import Retold
from hbd.core.events import Command, ConfirmDead, Freeze, RequestId, Scope, Standby, Takeover, Thaw
from hbd.core.records import Decision, Evidence, Explanation, Record, Step
from hbd.core.views import ClusterState, ClusterView, GroupState, NodeStatus
from hbd.dbusio import Bus, Message, unwrap
from hbd.errors import HbdError, Refused
from tests.core.test_projection import VIEW

ROOT_FOLDER = Path(__file__).parents[2]
POLICY = ROOT_FOLDER / "dbus" / "org.linux_ha.Heartbeat1.conf"
CONFIG = f"""
<busconfig>
  <type>system</type>
  <auth>EXTERNAL</auth>
  <listen>unix:path={{socket}}</listen>
  <policy context="default">
    <allow user="*"/>
    <deny own="*"/>
    <deny send_type="method_call"/>
    <allow send_type="signal"/>
    <allow send_requested_reply="true" send_type="method_return"/>
    <allow send_requested_reply="true" send_type="error"/>
    <allow receive_type="method_call"/>
    <allow receive_type="method_return"/>
    <allow receive_type="error"/>
    <allow receive_type="signal"/>
    <allow send_destination="org.freedesktop.DBus" send_interface="org.freedesktop.DBus"/>
  </policy>
  <policy user="root">
    <allow send_destination="org.freedesktop.DBus" send_interface="org.freedesktop.DBus.Monitoring"/>
  </policy>
  <include>{POLICY}</include>
</busconfig>
"""  # The policy of /usr/share/dbus-1/system.conf.

NOBODY = 65534
WHOLE = replace(
    VIEW,
    degraded=(),
    groups=(replace(VIEW.groups[0], resources=VIEW.groups[0].resources[:1]),),
)


class PrivateBus:
    """A dbus-daemon of our own, that can be ended and started again at the same address."""

    def __init__(self, folder: Path) -> None:
        self._socket = folder / "bus"
        self._config = folder / "bus.conf"
        self._config.write_text(CONFIG.format(socket=self._socket))
        self.address = f"unix:path={self._socket}"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        self._process = subprocess.Popen(
            ["dbus-daemon", f"--config-file={self._config}", "--nofork", "--print-address=1"],
            stdout=subprocess.PIPE,
        )
        assert self._process.stdout is not None
        assert self._process.stdout.readline(), "dbus-daemon did not start"

    def stop(self) -> None:
        assert self._process is not None
        self._process.kill()
        self._process.wait()
        assert self._process.stdout is not None
        self._process.stdout.close()
        self._socket.unlink(missing_ok=True)


@pytest.fixture
def bus() -> Iterator[PrivateBus]:
    # Not tmp_path: other users must get in.
    folder = Path(tempfile.mkdtemp(prefix="hbd-bus-"))
    folder.chmod(0o755)
    private = PrivateBus(folder)
    private.start()
    yield private
    private.stop()
    shutil.rmtree(folder)


class Asker:
    """The other end of the service: answers commands as told, and remembers them."""

    def __init__(self) -> None:
        self.commands: list[Command] = []
        self.transition = 3
        self.refusal: str | None = None
        self.reload_error: HbdError | None = None
        self.reloads = 0
        self.then: Callable[[], None] | None = None
        self.hold: asyncio.Event | None = None
        self.records: list[Record] = []
        self.explanation: Explanation | None = None
        self.theirs: list[Record] = []
        self.questions = 0
        """How often the other node was asked."""
        self.times_read = 0
        """How often somebody read everything: hbctl asks for the statistics then."""

    def figures(self) -> dict[str, int]:
        self.times_read += 1
        return {}

    async def ask_peer(self, skip: int) -> Retold:
        self.questions += 1
        if self.hold is not None:
            await self.hold.wait()
        if self.refusal is not None:
            raise Refused(self.refusal)
        end = max(len(self.theirs) - skip, 0)
        return Retold(RequestId(1), tuple(self.theirs[max(end - 7, 0) : end]), "theirs", -400_000)

    def recent(self, limit: int) -> list[Record]:
        return self.records[-limit:]

    def explain(self, group: str) -> Explanation | None:
        return self.explanation

    async def ask(self, command: Command) -> int:
        self.commands.append(command)
        if self.hold is not None:
            await self.hold.wait()
        if self.refusal is not None:
            raise Refused(self.refusal)
        if self.then is not None:
            self.then()
        return self.transition

    async def reload(self) -> None:
        self.reloads += 1
        if self.reload_error is not None:
            raise self.reload_error


@asynccontextmanager
async def serving(address: str, asker: Asker, view: ClusterView = VIEW) -> AsyncIterator[Service]:
    service = Service(
        asker.ask, asker.reload, asker, asker.explain, address, asker.figures, ask_peer=asker.ask_peer
    )  # fmt: skip
    service.publish(view)
    running = asyncio.create_task(service.run())
    try:
        await until(lambda: service.connected)
        yield service
        assert not running.done(), "the service ended by itself"
    finally:
        running.cancel()
        with suppress(asyncio.CancelledError):
            await running


async def until(condition: Callable[[], bool], limit_s: float = 30.0) -> None:
    async with asyncio.timeout(limit_s):
        while not condition():  # noqa: ASYNC110 — the conditions are the service's own, not ours to signal
            await asyncio.sleep(0.01)


def on_the_bus(
    bus: PrivateBus, body: Callable[[Service, Asker], Awaitable[None]], view: ClusterView = VIEW
) -> None:
    """Run the body beside a service that shows the view."""

    async def scene() -> None:
        asker = Asker()
        async with asyncio.timeout(60), serving(bus.address, asker, view) as service:
            await body(service, asker)

    asyncio.run(scene())


async def run(*command: str, uid: int | None = None, **environment: str) -> tuple[int, str, str]:
    """Exit status, output, complaints."""
    process = await asyncio.create_subprocess_exec(
        *command,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env={**os.environ, **environment},
        user=uid,
        extra_groups=None if uid is None else [],
        cwd=ROOT_FOLDER,
    )
    talking = asyncio.create_task(process.communicate())
    try:
        out, err = await asyncio.shield(talking)
    except asyncio.CancelledError as end:
        # Nobody leaves a child behind, and who waited for it too long is told what it has said so far.
        process.kill()
        end.add_note(f"{' '.join(command)} had not ended: {await talking}")
        raise
    assert process.returncode is not None
    return process.returncode, out.decode(), err.decode()


async def busctl(bus: PrivateBus, *args: str, uid: int | None = None) -> tuple[int, str, str]:
    return await run("busctl", f"--address={bus.address}", *args, uid=uid)


async def hbctl(bus: PrivateBus, *args: str) -> tuple[int, str, str]:
    return await run(sys.executable, "-m", "hbd.ctl.main", *args, DBUS_SYSTEM_BUS_ADDRESS=bus.address)


async def cluster_call(
    bus: PrivateBus, member: str, *args: str, uid: int | None = None
) -> tuple[int, str, str]:
    return await busctl(bus, "call", names.BUS_NAME, names.ROOT, names.CLUSTER, member, *args, uid=uid)


# ---------------------------------------------------------------- reading


def test_busctl_tree_shows_every_object(bus: PrivateBus) -> None:
    async def body(service: Service, asker: Asker) -> None:
        status, out, err = await busctl(bus, "tree", "--list", names.BUS_NAME)
        assert (status, err) == (0, "")
        paths = set(out.split())
        assert {
            names.ROOT,
            names.node_path("linuxha1"),
            names.link_path("linuxha2.example.org", "eth1"),
            names.group_path("192.168.85.3"),
            names.resource_path("192.168.85.3", 1),
        } <= paths

    on_the_bus(bus, body)


def test_busctl_introspect_shows_values_methods_and_signals(bus: PrivateBus) -> None:
    async def body(service: Service, asker: Asker) -> None:
        status, out, err = await busctl(bus, "introspect", names.BUS_NAME, names.ROOT)
        assert (status, err) == (0, "")
        rows = {row.split()[0]: row.split()[1:] for row in out.splitlines()}
        assert rows[".Standby"][:3] == ["method", "s", "u"]
        assert rows[".TransitionFinished"][:2] == ["signal", "us"]
        assert rows[".LocalNode"][:3] == ["property", "s", '"linuxha1"']
        assert rows[".Degraded"][:2] == ["property", "as"]

    on_the_bus(bus, body)


def test_gdbus_understands_the_introspection_of_the_whole_tree(bus: PrivateBus) -> None:
    async def body(service: Service, asker: Asker) -> None:
        status, out, err = await run(
            "gdbus", "introspect", "--recurse", *gdbus_target(bus, names.BUS_NAME, names.ROOT)
        )
        assert (status, err) == (0, "")
        assert 'readonly s LastError = "exit status 1";' in " ".join(out.split()).replace("'", '"')

    on_the_bus(bus, body)


def gdbus_target(bus: PrivateBus, name: str, path: str) -> tuple[str, ...]:
    return ("--address", bus.address, "--dest", name, "--object-path", path)


def described(xml: str) -> dict[str, str]:
    """Interface by interface, normalised, without documentation."""
    found = {}
    root = ElementTree.fromstring(xml)
    for parent in tuple(root.iter()):
        for note in parent.findall(f"annotation[@name='{contract.DOCUMENTATION}']"):
            parent.remove(note)
    for element in root.iterfind("interface"):
        text = ElementTree.tostring(element, encoding="unicode")
        found[element.attrib["name"]] = ElementTree.canonicalize(text, strip_text=True)
    return found


def test_introspection_and_every_property_are_as_in_the_contract(bus: PrivateBus) -> None:
    async def body(service: Service, asker: Asker) -> None:
        declared = described(contract.find().read_text())
        client = await Bus.connect(bus.address)
        (managed,) = await client.call(
            names.BUS_NAME, names.ROOT, contract.OBJECT_MANAGER, "GetManagedObjects"
        )
        assert names.ROOT not in managed
        seen: dict[str, str] = {}
        for path in [names.ROOT, *managed]:
            (xml,) = await client.call(names.BUS_NAME, path, contract.INTROSPECTABLE, "Introspect")
            ours = {name: text for name, text in described(xml).items() if name.startswith(names.BUS_NAME)}
            assert len(ours) == 1
            seen |= ours
            (interface,) = ours
            every = await client.get_all(names.BUS_NAME, path, interface)
            for name, signature in contract.load().interfaces[interface].properties.items():
                (value,) = await client.call(
                    names.BUS_NAME, path, contract.PROPERTIES, "Get", "ss", [interface, name]
                )
                assert value.signature == signature
                assert unwrap(value) == every[name]
            if path in managed:
                assert unwrap(managed[path][interface]) == every
        assert seen == declared
        client.close()

    on_the_bus(bus, body)


def test_every_reading_method_answers_everybody(bus: PrivateBus) -> None:
    async def body(service: Service, asker: Asker) -> None:
        group = names.group_path("192.168.85.3")
        status, out, err = await cluster_call(bus, "GetStatistics", uid=NOBODY)
        assert (status, err) == (0, "")
        assert '"packets_received" t 12 "bus_outages" t 0 ' in out
        status, out, _ = await busctl(bus, "call", names.BUS_NAME, group, names.GROUP, "Why", uid=NOBODY)
        assert status == 0
        assert '"Reason" s "It is at home."' in out
        assert await busctl(
            bus, "get-property", names.BUS_NAME, group, names.GROUP, "Owner", uid=NOBODY
        ) == (0, 's "linuxha1"\n', "")

    on_the_bus(bus, body)


def test_introspection_explains_everything_that_is_ours(bus: PrivateBus) -> None:
    async def body(service: Service, asker: Asker) -> None:
        client = await Bus.connect(bus.address)
        (managed,) = await client.call(
            names.BUS_NAME, names.ROOT, contract.OBJECT_MANAGER, "GetManagedObjects"
        )
        for path in [names.ROOT, *managed]:
            (xml,) = await client.call(names.BUS_NAME, path, contract.INTROSPECTABLE, "Introspect")
            for interface in ElementTree.fromstring(xml).iterfind("interface"):
                if not interface.attrib["name"].startswith(names.BUS_NAME):
                    continue
                for member in interface:
                    said = member.find(f"annotation[@name='{contract.DOCUMENTATION}']")
                    where = f"{interface.attrib['name']}.{member.get('name')}"
                    assert said is not None, f"{where} has no comment in the contract"
                    assert said.attrib["value"]
        client.close()

    on_the_bus(bus, body)


def test_peer_is_answered_as_any_service_does(bus: PrivateBus) -> None:
    machine_id = Path("/etc/machine-id").read_text().strip()

    async def body(service: Service, asker: Asker) -> None:
        peer = contract.PEER
        assert (await busctl(bus, "call", names.BUS_NAME, "/", peer, "Ping"))[0] == 0
        _, out, _ = await busctl(bus, "call", names.BUS_NAME, "/", peer, "GetMachineId")
        assert out == f's "{machine_id}"\n'

    on_the_bus(bus, body)


# ---------------------------------------------------------------- changing


def test_root_freezes_thaws_and_swears_and_what_is_refused_comes_with_its_sentence(bus: PrivateBus) -> None:
    async def body(service: Service, asker: Asker) -> None:
        for call in (("Freeze",), ("ConfirmDead", "s", "linuxha2.example.org"), ("Thaw",)):
            assert await cluster_call(bus, *call) == (0, "", "")
        assert asker.commands == [Freeze(), ConfirmDead("linuxha2.example.org"), Thaw()]

    on_the_bus(bus, body)


def test_root_begins_a_standby_and_learns_its_transition(bus: PrivateBus) -> None:
    async def body(service: Service, asker: Asker) -> None:
        assert await cluster_call(bus, "Standby", "s", "all") == (0, "u 3\n", "")
        assert await cluster_call(bus, "Takeover", "s", "failback") == (0, "u 3\n", "")
        assert asker.commands == [Standby(Scope.ALL), Takeover(Scope.FAILBACK)]

    on_the_bus(bus, body)


@pytest.mark.parametrize("call", [("Standby", "all"), ("Freeze",), ("ConfirmDead", "linuxha2"), ("Reload",)])
def test_whoever_is_not_root_is_told_so_and_the_core_is_not_asked(
    bus: PrivateBus, call: tuple[str, ...]
) -> None:
    async def body(service: Service, asker: Asker) -> None:
        member, *args = call
        target = gdbus_target(bus, names.BUS_NAME, names.ROOT)
        status, _, err = await run(
            "gdbus", "call", *target, "--method", f"{names.CLUSTER}.{member}", *args, uid=NOBODY
        )
        assert status != 0
        assert f"org.freedesktop.DBus.Error.AccessDenied: {member} is for root only, as polkit" in err
        assert asker.commands == []
        assert asker.reloads == 0

    on_the_bus(bus, body)


def test_only_root_can_have_the_name(bus: PrivateBus) -> None:
    async def body() -> None:
        broker = gdbus_target(bus, "org.freedesktop.DBus", "/org/freedesktop/DBus")
        request = ("--method", "org.freedesktop.DBus.RequestName", names.BUS_NAME, "uint32 0")
        status, _, err = await run("gdbus", "call", *broker, *request, uid=NOBODY)
        assert status != 0
        assert "not allowed to own" in err

    asyncio.run(body())


async def error_of(bus: PrivateBus, path: str, interface: str, member: str, *args: object) -> tuple[str, str]:
    """Error name and text of a call that must fail."""
    client = await Bus.connect(bus.address)
    try:
        signature = "".join("s" if isinstance(arg, str) else "i" for arg in args)
        await client.call(names.BUS_NAME, path, interface, member, signature, args)
    except HbdError as error:
        return str(getattr(error, "name", "")), str(error)
    finally:
        client.close()
    raise AssertionError(f"{member} was carried out")


def test_each_wrong_call_gets_its_own_error(bus: PrivateBus) -> None:
    async def body(service: Service, asker: Asker) -> None:
        freedesktop = "org.freedesktop.DBus.Error."
        root, cluster = names.ROOT, names.CLUSTER

        async def name_of(*call: object) -> str:
            return (await error_of(bus, *call))[0]  # type: ignore[arg-type]

        assert await name_of(root, cluster, "Standby", 1) == freedesktop + "InvalidArgs"
        assert await name_of(root, cluster, "Standby") == freedesktop + "InvalidArgs"
        assert await name_of(root, cluster, "Explode") == freedesktop + "UnknownMethod"
        assert await name_of(root, names.GROUP, "Why") == freedesktop + "UnknownInterface"
        assert await name_of("/org/nowhere", cluster, "Reload") == freedesktop + "UnknownObject"
        properties = contract.PROPERTIES
        assert await name_of(root, properties, "Get", cluster, "Colour") == freedesktop + "UnknownProperty"
        assert await name_of(root, properties, "GetAll", "org.no") == freedesktop + "UnknownInterface"
        assert await error_of(bus, root, cluster, "Standby", "some") == (
            names.ERROR_INVALID_ARGUMENT, "'some' names no groups; write one of all, local, foreign, failback"
        )
        assert await error_of(bus, root, cluster, "ConfirmDead", "linuxha3") == (
            names.ERROR_NO_SUCH_NODE,
            "there is no node linuxha3; there are linuxha1, linuxha2.example.org",
        )
        assert asker.commands == []

    on_the_bus(bus, body)


def test_every_method_that_is_not_for_reading_is_privileged() -> None:
    ours = [one for name, one in contract.load().interfaces.items() if name.startswith(names.BUS_NAME)]
    for interface in ours:
        for name, method in interface.methods.items():
            assert method.privileged != name.startswith(("Get", "Why")), f"{interface.name}.{name}"


def test_properties_cannot_be_set(bus: PrivateBus) -> None:
    async def body(service: Service, asker: Asker) -> None:
        status, _, err = await busctl(
            bus, "set-property", names.BUS_NAME, names.ROOT, names.CLUSTER, "Frozen", "b", "true"
        )
        assert status != 0
        assert "can only be read" in err

    on_the_bus(bus, body)


def test_a_refusal_carries_the_reason(bus: PrivateBus) -> None:
    async def body(service: Service, asker: Asker) -> None:
        asker.refusal = "resources in transition 2"
        assert await error_of(bus, names.ROOT, names.CLUSTER, "Standby", "all") == (
            names.ERROR_REFUSED, "resources in transition 2"
        )
        asker.reload_error = HbdError("/etc/ha.d/ha.cf:1:1: error: no nodes")
        assert await error_of(bus, names.ROOT, names.CLUSTER, "Reload") == (
            names.ERROR_FAILED, "/etc/ha.d/ha.cf:1:1: error: no nodes"
        )

    on_the_bus(bus, body)


def test_a_bug_behind_a_method_ends_the_service_and_is_not_shown_to_the_caller(bus: PrivateBus) -> None:
    async def scene() -> None:
        asker = Asker()

        def break_down() -> None:
            raise ZeroDivisionError("secret")

        asker.then = break_down
        service = Service(asker.ask, asker.reload, asker, asker.explain, bus.address)
        service.publish(VIEW)
        running = asyncio.create_task(service.run())
        await until(lambda: service.connected)
        error, _ = await error_of(bus, names.ROOT, names.CLUSTER, "Standby", "all")
        assert error == "org.freedesktop.DBus.Error.NoReply"
        with pytest.raises(ExceptionGroup) as raised:
            await running
        assert raised.group_contains(ZeroDivisionError)

    asyncio.run(scene())


def test_a_user_who_asks_without_end_does_not_hold_up_the_loop(bus: PrivateBus) -> None:
    # The flood comes from a process of its own, so that what is measured is the service alone.
    flood = f"""if True:
        import asyncio
        from hbd.dbusio import Bus
        question = {(names.BUS_NAME, names.ROOT, contract.OBJECT_MANAGER, "GetManagedObjects")!r}
        async def main():
            bus = await Bus.connect({bus.address!r})
            # dbus-daemon lets one connection wait for 128 replies.
            await asyncio.gather(*(bus.call(*question) for _ in range(100)))
        asyncio.run(main())
    """

    async def share_of_the_longest_turn() -> float:
        """Of the processor's time, since what else runs on the machine is not the service's doing."""
        flooding = asyncio.create_task(run(sys.executable, "-c", flood))
        gc.freeze()  # A full collection of all that pytest holds takes longer than any turn.
        turns_s = []
        while not flooding.done():
            before_s = time.thread_time()
            await asyncio.sleep(0)
            turns_s.append(time.thread_time() - before_s)
        gc.unfreeze()
        assert flooding.result()[0] == 0, flooding.result()
        return max(turns_s) / sum(turns_s)

    async def body(service: Service, asker: Asker) -> None:
        # Ten of the hundred answers in one turn would be too many, each time; one that a busy machine, or
        # the one below a virtual one, makes dear is not.
        shares = [await share_of_the_longest_turn()]
        while shares[-1] >= 1 / 8 and len(shares) < 4:
            shares.append(await share_of_the_longest_turn())
        assert shares[-1] < 1 / 8, shares

    links = tuple(replace(VIEW.links[0], name=f"eth{number}") for number in range(60))
    on_the_bus(bus, body, replace(VIEW, links=links))


# ---------------------------------------------------------------- signals


async def listen(bus: PrivateBus) -> tuple[Bus, list[Message]]:
    client = await Bus.connect(bus.address)
    heard: list[Message] = []
    await client.subscribe(heard.append, sender=names.BUS_NAME, path_namespace=names.ROOT)
    return client, heard


def test_changes_of_one_turn_are_one_signal_for_each_object_and_the_end_of_the_transition_is_last(
    bus: PrivateBus,
) -> None:
    async def body(service: Service, asker: Asker) -> None:
        client, heard = await listen(bus)
        service.publish(replace(VIEW, state=ClusterState.TRANSITION, transition=3))
        service.publish(replace(VIEW, generation=8))
        stopped = replace(VIEW.groups[0], state=GroupState.STOPPED, owner="")
        service.publish(replace(VIEW, generation=8, groups=(stopped,), last_finished=(3, "done")))
        await until(lambda: len(heard) >= 3)
        await client.flush()
        assert [(one.path, one.member) for one in heard] == [
            (names.ROOT, "PropertiesChanged"),
            (names.group_path("192.168.85.3"), "PropertiesChanged"),
            (names.ROOT, "TransitionFinished"),
        ]
        assert unwrap(heard[0].body) == [names.CLUSTER, {"Generation": 8}, []]
        assert unwrap(heard[1].body) == [names.GROUP, {"Owner": "", "State": "stopped"}, []]
        assert heard[2].body == [3, "done"]
        client.close()

    on_the_bus(bus, body)


def test_heartbeats_that_only_move_counters_signal_nothing_but_are_counted(bus: PrivateBus) -> None:
    async def body(service: Service, asker: Asker) -> None:
        client, heard = await listen(bus)
        service.publish(replace(VIEW, statistics=(("packets_received", 13),)))
        (counters,) = await client.call(names.BUS_NAME, names.ROOT, names.CLUSTER, "GetStatistics")
        assert unwrap(counters)["packets_received"] == 13
        service.publish(VIEW)
        await client.flush()
        assert heard == []
        client.close()

    on_the_bus(bus, body)


def test_objects_that_come_and_go_are_announced_by_the_root(bus: PrivateBus) -> None:
    async def body(service: Service, asker: Asker) -> None:
        client, heard = await listen(bus)
        service.publish(replace(VIEW, links=()))
        await until(lambda: len(heard) == 1)
        service.publish(VIEW)
        await until(lambda: len(heard) == 2)
        link = names.link_path("linuxha2.example.org", "eth1")
        assert [(one.path, one.member, one.body[0]) for one in heard] == [
            (names.ROOT, "InterfacesRemoved", link), (names.ROOT, "InterfacesAdded", link)
        ]
        assert heard[0].body[1] == [names.LINK]
        assert unwrap(heard[1].body[1])[names.LINK]["Status"] == "up"
        client.close()

    on_the_bus(bus, body)


def test_a_text_that_dbus_does_not_allow_is_shown_without_its_bad_parts(bus: PrivateBus) -> None:
    async def body(service: Service, asker: Asker) -> None:
        service.publish(replace(VIEW, degraded=("bad \udcff and \0 byte",)))
        _, out, _ = await busctl(
            bus, "get-property", names.BUS_NAME, names.ROOT, names.CLUSTER, "Degraded"
        )
        assert out == 'as 1 "bad ? and ? byte"\n'

    on_the_bus(bus, body)


# ---------------------------------------------------------------- the bus goes away


def test_the_service_returns_with_the_bus_and_shows_what_happened_meanwhile(bus: PrivateBus) -> None:
    async def body(service: Service, asker: Asker) -> None:
        bus.stop()
        await until(lambda: not service.connected)
        service.publish(replace(VIEW, generation=9))
        bus.start()
        await until(lambda: service.connected)
        client = await Bus.connect(bus.address)
        assert await client.get(names.BUS_NAME, names.ROOT, names.CLUSTER, "Generation") == 9
        client.close()

    on_the_bus(bus, body)


def test_a_name_that_is_taken_is_logged_with_who_has_it_and_got_when_it_is_free(
    bus: PrivateBus, caplog: pytest.LogCaptureFixture
) -> None:
    async def scene() -> None:
        other = await Bus.connect(bus.address)
        assert await other.request_name(names.BUS_NAME)
        asker = Asker()
        service = Service(asker.ask, asker.reload, asker, asker.explain, bus.address)
        service.publish(VIEW)
        running = asyncio.create_task(service.run())
        taken = f"{names.BUS_NAME} is taken by process {os.getpid()}; only one hbd can run on a machine"
        await until(lambda: taken in caplog.text)
        assert not service.connected
        other.close()
        await until(lambda: service.connected)
        running.cancel()
        with suppress(asyncio.CancelledError):
            await running

    asyncio.run(scene())


# ---------------------------------------------------------------- hbctl


def test_hbctl_status_is_0_when_all_is_well_and_1_when_a_node_is_dead(bus: PrivateBus) -> None:
    async def body(service: Service, asker: Asker) -> None:
        status, out, err = await hbctl(bus, "status")
        assert (status, err) == (0, "")
        assert out.startswith("linuxha1: stable, holds local; peer linuxha2.example.org active\n")
        service.publish(replace(WHOLE, nodes=(VIEW.nodes[0], replace(VIEW.nodes[1], status=NodeStatus.DEAD))))
        status, out, _ = await hbctl(bus, "status")
        assert status == 1
        assert "! node linuxha2.example.org is dead" in out

    on_the_bus(bus, body, WHOLE)


def test_hbctl_status_as_json_is_everything(bus: PrivateBus) -> None:
    async def body(service: Service, asker: Asker) -> None:
        status, out, _ = await hbctl(bus, "status", "--json")
        shown = json.loads(out)
        assert status == 1  # httpd has failed.
        assert shown["cluster"]["local_node"] == "linuxha1"
        assert shown["groups"][0]["resources"][1]["last_error"] == "exit status 1"

    on_the_bus(bus, body)


@pytest.mark.parametrize("command", [["status"], ["standby"], ["why", "x"], ["events"], ["reload"]])
def test_hbctl_without_a_daemon_is_3_with_the_remedy(bus: PrivateBus, command: list[str]) -> None:
    async def scene() -> None:
        status, out, err = await hbctl(bus, *command)
        assert (status, out) == (3, "")
        assert err == "hbd is not running; see journalctl -u hbd, start it by: systemctl start hbd\n"

    asyncio.run(scene())


def test_hbctl_without_a_bus_is_3_too(bus: PrivateBus) -> None:
    async def scene() -> None:
        status, _, err = await run(
            sys.executable, "-m", "hbd.ctl.main", "status", DBUS_SYSTEM_BUS_ADDRESS="unix:path=/nowhere/bus"
        )
        assert status == 3
        assert "systemctl start hbd" in err

    asyncio.run(scene())


@pytest.mark.parametrize("command", [[], ["dance"], ["standby", "some"], ["standby", "--timeout", "-1"]])
def test_hbctl_says_2_to_a_wrong_command_line(bus: PrivateBus, command: list[str]) -> None:
    assert asyncio.run(hbctl(bus, *command))[0] == 2


def test_hbctl_swears_no_oath_about_a_node_that_is_none(bus: PrivateBus) -> None:
    async def body(service: Service, asker: Asker) -> None:
        there = "there are linuxha1, linuxha2.example.org"
        told = f"hbctl: there is no node linuxha3; {there}\n"
        assert await hbctl(bus, "confirm-dead", "linuxha3") == (2, "", told)
        assert asker.commands == []
        assert (await hbctl(bus, "confirm-dead", "linuxha2.example.org"))[0] == 0

    on_the_bus(bus, body)


@pytest.mark.parametrize("words", ["status", "status --json", "why 192.168.85.3", "history", "--help"])
def test_hbctl_whose_output_nobody_takes_says_so_in_a_line_and_no_traceback(
    bus: PrivateBus, words: str
) -> None:
    async def body(service: Service, asker: Asker) -> None:
        command = f"{sys.executable} -m hbd.ctl.main {words}"

        async def shell(line: str) -> tuple[int, str, str]:
            return await run("bash", "-c", line, DBUS_SYSTEM_BUS_ADDRESS=bus.address)

        assert await shell(f"{command} > /dev/full") == (1, "", "hbctl: No space left on device\n")
        assert (await shell(f"{command} >&-"))[2] == ""
        # The reader has gone before the first line.
        status, out, err = await shell(f"{{ sleep 0.2; {command}; echo $? >&2; }} | true")
        assert (status, out, err) == (0, "", "1\n")

    on_the_bus(bus, body)


def test_hbctl_events_whose_reader_goes_ends_like_any_other_command(bus: PrivateBus) -> None:
    async def body(service: Service, asker: Asker) -> None:
        command = f"{sys.executable} -m hbd.ctl.main events"
        reading = asyncio.create_task(
            run("bash", "-c", f"{{ {command}; echo $? >&2; }} | head -1", DBUS_SYSTEM_BUS_ADDRESS=bus.address)
        )
        generation = 100
        while not reading.done():
            generation += 1
            service.publish(replace(VIEW, generation=generation))
            await asyncio.sleep(0.05)
        status, out, err = await reading
        assert (status, err) == (0, "1\n")
        assert "Generation=" in out

    on_the_bus(bus, body)


def test_hbctl_in_a_poor_locale_prints_what_it_can(bus: PrivateBus) -> None:
    async def body(service: Service, asker: Asker) -> None:
        service.publish(replace(VIEW, degraded=("l'hôte ne répond pas …",)))
        status, out, err = await run(
            sys.executable, "-m", "hbd.ctl.main", "status",
            DBUS_SYSTEM_BUS_ADDRESS=bus.address, PYTHONIOENCODING="ascii:strict",
        )  # fmt: skip
        assert (status, err) == (1, "")
        assert "l'h\\xf4te ne r\\xe9pond pas \\u2026" in out

    on_the_bus(bus, body)


def test_hbctl_standby_waits_for_the_end_even_if_it_comes_before_the_answer(bus: PrivateBus) -> None:
    async def body(service: Service, asker: Asker) -> None:
        asker.then = lambda: service.publish(replace(WHOLE, last_finished=(3, "done")))
        assert await hbctl(bus, "standby", "--wait") == (
            0, "transition 3 has begun\ntransition 3 is done\n", ""
        )

    on_the_bus(bus, body, WHOLE)


def test_hbctl_standby_that_fails_is_1_with_the_problems(bus: PrivateBus) -> None:
    async def body(service: Service, asker: Asker) -> None:
        waiting = asyncio.create_task(hbctl(bus, "takeover", "local", "--wait"))
        await until(lambda: bool(asker.commands))
        assert asker.commands == [Takeover(Scope.LOCAL)]
        await asyncio.sleep(0.3)
        assert not waiting.done()
        service.publish(replace(VIEW, last_finished=(3, "failed")))
        status, out, err = await waiting
        assert (status, out) == (1, "transition 3 has begun\n")
        assert "transition 3 ended: failed\n  resource httpd is failed: exit status 1\n" in err

    on_the_bus(bus, body, WHOLE)


def test_hbctl_standby_gives_up_after_its_timeout(bus: PrivateBus) -> None:
    async def body(service: Service, asker: Asker) -> None:
        status, _, err = await hbctl(bus, "standby", "--wait", "--timeout", "0.2")
        assert (status, err) == (1, "transition 3 still goes on after 0.2 s\n")

    on_the_bus(bus, body)


def test_hbctl_tells_why_it_was_refused_and_when_there_is_nothing_to_do(bus: PrivateBus) -> None:
    async def body(service: Service, asker: Asker) -> None:
        asker.transition = 0
        assert await hbctl(bus, "standby", "--wait") == (0, "nothing to do\n", "")
        asker.refusal = "no other node is active"
        assert await hbctl(bus, "standby") == (1, "", "hbctl: no other node is active\n")

    on_the_bus(bus, body)


def test_hbctl_standby_says_when_the_daemon_is_lost_on_the_way(bus: PrivateBus) -> None:
    async def scene() -> None:
        asker = Asker()
        async with serving(bus.address, asker):
            waiting = asyncio.create_task(hbctl(bus, "standby", "--wait"))
            await until(lambda: bool(asker.commands))
            await asyncio.sleep(0.1)
        status, _, err = await waiting
        assert status == 3
        assert "left the bus during transition 3" in err

    asyncio.run(scene())


def test_hbctl_why_explains_a_group_and_lists_those_there_are(bus: PrivateBus) -> None:
    async def body(service: Service, asker: Asker) -> None:
        asker.explanation = Explanation(("It is at home.",), ("Nothing.",), ())
        asker.records = [replace(TAKE, cause="linuxha2 is dead")]
        for wanted in ("192.168.85.3", "httpd"):
            status, out, _ = await hbctl(bus, "why", wanted)
            assert status == 0
            assert "It is at home." in out
            assert "takes 192.168.85.3, because linuxha2 is dead." in out
        status, _, err = await hbctl(bus, "why", "drbd0")
        assert (status, err) == (2, "hbctl: there is no group drbd0; there is: 192.168.85.3\n")

    on_the_bus(bus, body)


def test_hbctl_history_shows_the_last_stories_as_text_and_as_json(bus: PrivateBus) -> None:
    async def body(service: Service, asker: Asker) -> None:
        asker.records = [replace(TAKE, number=number, under=0) for number in range(1, 50)]
        status, out, _ = await hbctl(bus, "history", "-n", "3")
        assert status == 0
        assert out.count("linuxha1: takes 192.168.85.3\n") == 3
        status, out, _ = await hbctl(bus, "history", "--json", "--lines", "40")
        assert [record["number"] for record in json.loads(out)["records"]] == list(range(10, 50))

    on_the_bus(bus, body)


def test_hbctl_history_both_merges_the_other_nodes_and_names_the_node_in_each(bus: PrivateBus) -> None:
    async def body(service: Service, asker: Asker) -> None:
        ours = replace(TAKE, under=0, boot="ours")
        asker.records = [replace(ours, number=n, at_ms=10_000 * n) for n in range(1, 20)]
        asker.theirs = [
            replace(THEIRS, number=n, at_ms=405_000 + 10_000 * n, wall_s=TAKE.wall_s - 3600)
            for n in range(1, 20)
        ]  # fmt: skip
        status, out, _ = await hbctl(bus, "history", "--both", "-n", "4")
        assert status == 0
        assert [line.split()[2] for line in out.splitlines() if "takes 192.168.85.3" in line] == [
            "linuxha1:", "linuxha2:", "linuxha1:", "linuxha2:",
        ]  # fmt: skip
        status, out, _ = await hbctl(bus, "history", "--both", "--json", "-n", "30")
        shown = [(record["node"], record["number"]) for record in json.loads(out)["records"]]
        assert shown == [(node, n) for n in range(5, 20) for node in ("linuxha1", "linuxha2")]
        asker.refusal = "linuxha2 is dead"
        assert await hbctl(bus, "history", "--both") == (1, "", "hbctl: linuxha2 is dead\n")

    on_the_bus(bus, body)


def test_the_other_nodes_decisions_tell_when_they_were_by_this_nodes_clock(bus: PrivateBus) -> None:
    asker = Asker()
    asker.theirs = [replace(THEIRS, number=1, boot="earlier"), replace(THEIRS, number=2)]

    async def look() -> list[Any]:
        async with serving(bus.address, asker):
            caller = await Bus.connect(bus.address)
            pages = []
            for skip, limit in ((0, 0), (0, 1), (1, 5), (2, 0)):
                body = [skip, limit]
                (page,) = await caller.call(
                    names.BUS_NAME, names.ROOT, names.CLUSTER, "GetPeerHistory", "uu", body
                )
                pages.append(unwrap(page))
            return pages

    both, newest, before, none = asyncio.run(look())
    assert [(r["Number"], r.get("LocalMs")) for r in both] == [(1, None), (2, TAKE.at_ms)]
    assert [r["Number"] for r in newest] == [2]
    assert [r["Number"] for r in before] == [1]
    assert none == []


def test_hbctl_reload_asks_for_it_once(bus: PrivateBus) -> None:
    async def body(service: Service, asker: Asker) -> None:
        assert (await hbctl(bus, "reload"))[0] == 0
        assert asker.reloads == 1
        asker.reload_error = HbdError("ha.cf:1:1: error: no nodes")
        assert await hbctl(bus, "reload") == (1, "", "hbctl: ha.cf:1:1: error: no nodes\n")

    on_the_bus(bus, body)


def can_be_interrupted() -> None:
    """Whoever runs in the background of a shell ignores Ctrl-C, and so would its children."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


@asynccontextmanager
async def following(bus: PrivateBus, *command: str) -> AsyncIterator[asyncio.subprocess.Process]:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "hbd.ctl.main", *command,
        stdout=asyncio.subprocess.PIPE, cwd=ROOT_FOLDER,
        env={**os.environ, "DBUS_SYSTEM_BUS_ADDRESS": bus.address},
        preexec_fn=can_be_interrupted,
    )  # fmt: skip
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


def test_hbctl_watch_shows_each_change_until_it_is_interrupted(bus: PrivateBus) -> None:
    async def body(service: Service, asker: Asker) -> None:
        async with following(bus, "status", "--watch", "--json") as process:
            assert process.stdout is not None
            assert json.loads(await process.stdout.readline())["cluster"]["generation"] == 7
            service.publish(replace(VIEW, generation=8))
            assert json.loads(await process.stdout.readline())["cluster"]["generation"] == 8
            process.send_signal(signal.SIGINT)
            assert await process.wait() == 130

    on_the_bus(bus, body)


def test_hbctl_events_prints_a_line_for_each_signal(bus: PrivateBus) -> None:
    async def body(service: Service, asker: Asker) -> None:
        async with following(bus, "events") as process:
            assert process.stdout is not None
            dead = replace(VIEW.nodes[1], status=NodeStatus.DEAD)
            views = [replace(VIEW, nodes=(VIEW.nodes[0], dead)), VIEW]
            line = b""
            async with asyncio.timeout(60):
                reading = asyncio.ensure_future(process.stdout.readline())
                while not reading.done():  # It has no way to say that it follows now.
                    service.publish(views[0])
                    views.reverse()
                    await asyncio.wait((reading,), timeout=0.1)
                line = reading.result()
            assert line.split(b" ", 1)[1].startswith(b"node linuxha2.example.org: Status=")
            process.send_signal(signal.SIGINT)
            assert await process.wait() == 130

    on_the_bus(bus, body)


def test_hbctl_check_is_78_and_names_the_place_of_an_error(tmp_path: Path) -> None:
    async def scene() -> None:
        (tmp_path / "ha.cf").write_text("keepaliv 2\n")
        status, out, _ = await run(sys.executable, "-m", "hbd.ctl.main", "check", str(tmp_path))
        assert status == os.EX_CONFIG
        assert f"{tmp_path}/ha.cf:1:1: error: " in out

    asyncio.run(scene())


# ---------------------------------------------------------------- decisions


TAKE = Record(
    node="linuxha1", life=7, number=5, generation=12, seq=90, at_ms=50_000, wall_s=1_700_000_000,
    heard=(9, 77), decision=Decision.TAKE, group="192.168.85.3", peer="linuxha2", under=4,
    cause="linuxha2 is \0 dead", action="claims it and starts it", result="started", took_ms=80,
    evidence=(Evidence("link is dead", "linuxha2", "eth1", 2003), Evidence("wants it", "linuxha2")),
    steps=(Step(0, "192.168.85.3 start"),), boot="b",
)  # fmt: skip
THEIRS = replace(TAKE, node="linuxha2", life=8, under=0, boot="theirs", at_ms=TAKE.at_ms + 400_000)


def test_decisions_are_signalled_and_can_be_asked_for(bus: PrivateBus) -> None:
    asker = Asker()
    asker.records = [TAKE]
    heard: list[Message] = []

    async def look() -> list[Any]:
        async with serving(bus.address, asker) as service:
            caller = await Bus.connect(bus.address)
            await caller.subscribe(heard.append, sender=names.BUS_NAME, member="Decided")
            service.decided(TAKE)
            await until(lambda: bool(heard))
            return await caller.call(names.BUS_NAME, names.ROOT, names.CLUSTER, "GetHistory", "uu", [0, 5])

    (answer,) = asyncio.run(look())
    (record,) = unwrap(answer)
    assert record == unwrap(heard[0].body[0])
    assert (record["Decision"], record["Cause"]) == ("take", "linuxha2 is ? dead")
    assert record["Evidence"] == [
        ["linuxha2", "eth1", 2003, "link is dead"], ["linuxha2", "", -1, "wants it"]
    ]  # fmt: skip
    assert record["Steps"] == [[0, "192.168.85.3 start"]]


def test_why_goes_on_with_reasons_with_what_would_move_the_group_and_with_evidence(bus: PrivateBus) -> None:
    asker = Asker()
    asker.explanation = Explanation(("A.",), ("B.",), (Evidence("link is up", "linuxha2", "eth1", 12),))

    async def look() -> list[Any]:
        async with serving(bus.address, asker):
            caller = await Bus.connect(bus.address)
            path = names.group_path(VIEW.groups[0].name)
            return await caller.call(names.BUS_NAME, path, names.GROUP, "Why")

    (answer,) = asyncio.run(look())
    entries = unwrap(answer)
    assert entries[0]["What"] == "group"
    because, move, known = entries[-3:]
    assert because == {"What": "because", "Reason": "A."}
    assert move == {"What": "would-move", "Reason": "B."}
    assert known == {
        "What": "evidence", "Node": "linuxha2", "Link": "eth1", "AgoMs": 12, "Reason": "link is up"
    }  # fmt: skip


def test_pages_of_the_history_go_back_in_time_and_are_short() -> None:
    kept = [replace(TAKE, number=number) for number in range(50)]

    def numbers(skip: int, limit: int) -> list[int]:
        return [record.number for record in records.page(kept, skip, limit)]

    assert numbers(0, 3) == [47, 48, 49]
    assert numbers(3, 2) == [45, 46]
    assert numbers(0, 0) == numbers(0, 99) == list(range(30, 50))
    assert numbers(40, 0) == list(range(10))
    assert numbers(50, 0) == numbers(99, 1) == []
