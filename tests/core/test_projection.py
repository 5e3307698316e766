"""What the bus shows of a view, against the contract."""

import ctypes
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from hbd.bus import contract, methods, names
from hbd.bus.faults import CallError
from hbd.bus.projection import Objects, Value, difference, objects
from hbd.bus.tree import Tree
from hbd.config.model import AddressResource, AutoFailback, ScriptResource, UnitResource
from hbd.core.views import (
    ClusterState,
    ClusterView,
    GroupState,
    GroupView,
    Holding,
    LinkStatus,
    LinkView,
    NodeStatus,
    NodeView,
    ResourceView,
)

ADDRESS = ResourceView(
    AddressResource("192.168.85.3", "192.168.85.3"), "address", "192.168.85.3", 0, GroupState.STARTED, ""
)
HTTPD = ResourceView(
    UnitResource("httpd", "httpd.service"), "unit", "192.168.85.3", 1, GroupState.FAILED, "exit status 1"
)
VIEW = ClusterView(
    local_node="linuxha1",
    state=ClusterState.STABLE,
    holding=Holding.LOCAL,
    auto_failback=AutoFailback.ON,
    generation=7,
    transition=0,
    last_finished=(0, ""),
    nodes=(
        NodeView("linuxha1", "normal", NodeStatus.ACTIVE, Holding.LOCAL, True),
        NodeView("linuxha2.example.org", "normal", NodeStatus.ACTIVE, Holding.NONE, False),
    ),
    links=(LinkView("linuxha2.example.org", "eth1", "bcast", LinkStatus.UP),),
    groups=(
        GroupView(
            "192.168.85.3", "linuxha1", "linuxha1", GroupState.STARTED, (ADDRESS, HTTPD), "It is at home."
        ),
    ),
    degraded=("link eth0: no such device",),
    statistics=(("packets_received", 12),),
)
ROOT_FOLDER = Path(__file__).parents[2]
GROUP_PATH = "/org/linux_ha/Heartbeat1/group/_3192_2e168_2e85_2e3"


def shown(view: ClusterView = VIEW) -> Objects:
    return objects(view, "0.1.0")


LIBSYSTEMD = ctypes.CDLL("libsystemd.so.0")


def systemd_path(label: str) -> str:
    """What sd_bus_path_encode(3) makes of it, below `/p`."""
    path = ctypes.c_char_p()
    status = LIBSYSTEMD.sd_bus_path_encode(b"/p", label.encode(), ctypes.byref(path))
    assert status >= 0
    assert path.value is not None
    return path.value.decode()


@given(st.text(alphabet=st.characters(blacklist_characters="\0", blacklist_categories=["Cs"])))
@example("httpd.service")
@example("192.168.85.3")
@example("foo_bar-1")
@example("")
def test_labels_are_escaped_as_systemd_does(label: str) -> None:
    assert systemd_path(label) == f"/p/{names.escape(label)}"


@given(st.text())
def test_every_label_can_be_read_back(label: str) -> None:
    element = names.escape(label)
    assert element
    assert all(char == "_" or (char.isascii() and char.isalnum()) for char in element)
    assert names.unescape(element) == label


@given(st.text(), st.integers(0, 99), st.text(), st.integers(0, 99))
def test_no_two_resources_share_a_path(group: str, position: int, other: str, its_position: int) -> None:
    same = names.resource_path(group, position) == names.resource_path(other, its_position)
    assert same == ((group, position) == (other, its_position))


def test_paths_are_described_in_words() -> None:
    assert names.describe(names.ROOT) == "cluster"
    assert names.describe(names.link_path("linuxha2.example.org", "eth1")) == "link linuxha2.example.org:eth1"
    assert names.describe(names.resource_path("192.168.85.3", 1)) == "resource 1 of group 192.168.85.3"


def test_every_object_of_the_view_is_shown_parents_first() -> None:
    assert list(shown()) == [
        "/org/linux_ha/Heartbeat1",
        "/org/linux_ha/Heartbeat1/node/linuxha1",
        "/org/linux_ha/Heartbeat1/node/linuxha2_2eexample_2eorg",
        "/org/linux_ha/Heartbeat1/link/linuxha2_2eexample_2eorg/eth1",
        GROUP_PATH,
        "/org/linux_ha/Heartbeat1/resource/_3192_2e168_2e85_2e3_0",
        "/org/linux_ha/Heartbeat1/resource/_3192_2e168_2e85_2e3_1",
    ]


def test_every_property_is_declared_in_the_contract_with_its_signature_and_none_is_missing() -> None:
    declared = contract.load().interfaces
    seen: set[str] = set()
    for interfaces in shown().values():
        for interface, properties in interfaces.items():
            seen.add(interface)
            assert {name: held[0] for name, held in properties.items()} == declared[interface].properties
    assert seen == {name for name in declared if name.startswith(names.BUS_NAME)}


def test_the_cluster_shows_what_the_view_says() -> None:
    properties = shown()[names.ROOT][names.CLUSTER]
    assert {name: value for name, (_, value) in properties.items()} == {
        "LocalNode": "linuxha1",
        "Version": "0.1.0",
        "State": "stable",
        "Holding": "local",
        "AutoFailback": "on",
        "Generation": 7,
        "Transition": 0,
        "Frozen": False,
        "Degraded": ["link eth0: no such device"],
        "FreezeAgreed": True,
    }


def test_a_resource_points_to_its_group_and_names_its_unit() -> None:
    by_position = [shown()[names.resource_path("192.168.85.3", n)][names.RESOURCE] for n in (0, 1)]
    assert by_position[0]["Unit"] == ("s", "")
    assert by_position[1] == {
        "Name": ("s", "httpd"),
        "Kind": ("s", "unit"),
        "Unit": ("s", "httpd.service"),
        "Group": ("o", GROUP_PATH),
        "State": ("s", "failed"),
        "LastError": ("s", "exit status 1"),
    }


def test_a_change_of_one_property_is_announced_alone() -> None:
    dead = replace(VIEW.nodes[1], status=NodeStatus.DEAD)
    between = difference(shown(), shown(replace(VIEW, nodes=(VIEW.nodes[0], dead))))
    path = names.node_path("linuxha2.example.org")
    assert between.changed == {path: {names.NODE: {"Status": ("s", "dead")}}}
    assert not between.added
    assert not between.removed


def test_counters_alone_announce_nothing() -> None:
    between = difference(shown(), shown(replace(VIEW, statistics=(("packets_received", 13),))))
    assert (between.changed, between.added, between.removed) == ({}, {}, {})


def test_a_group_that_comes_or_goes_takes_its_resources_with_it() -> None:
    without = shown(replace(VIEW, groups=()))
    assert list(difference(without, shown()).added) == [
        GROUP_PATH, names.resource_path("192.168.85.3", 0), names.resource_path("192.168.85.3", 1)
    ]
    assert list(difference(shown(), without).removed) == [
        names.resource_path("192.168.85.3", 1), names.resource_path("192.168.85.3", 0), GROUP_PATH
    ]


def applied(old: Objects, new: Objects) -> Objects:
    """What a client knows after the signals."""
    between = difference(old, new)
    known = {
        path: {interface: dict(held) for interface, held in interfaces.items()}
        for path, interfaces in (old | between.added).items()
        if path not in between.removed
    }
    for path, interfaces in between.changed.items():
        for interface, properties in interfaces.items():
            known[path][interface].update(properties)
    return known


views = st.builds(
    lambda state, degraded, statuses, groups: replace(
        VIEW,
        state=state,
        degraded=tuple(degraded),
        nodes=tuple(NodeView(f"n{i}", "normal", s, Holding.NONE, i == 0) for i, s in enumerate(statuses)),
        groups=VIEW.groups if groups else (),
    ),
    st.sampled_from(ClusterState),
    st.lists(st.text(), max_size=2),
    st.lists(st.sampled_from(NodeStatus), max_size=3),
    st.booleans(),
)


@given(views, views)
def test_whoever_follows_the_signals_knows_everything(before: ClusterView, after: ClusterView) -> None:
    assert applied(shown(before), shown(after)) == shown(after)


def value(entry: dict[str, tuple[str, Value]], key: str) -> Value:
    return entry[key][1]


def test_why_begins_with_the_reason_for_the_group() -> None:
    first, *rest = methods.why(VIEW.groups[0])
    assert (value(first, "What"), value(first, "Reason")) == ("group", "It is at home.")
    assert [(value(one, "Name"), value(one, "Reason")) for one in rest] == [
        ("192.168.85.3", ""), ("httpd", "exit status 1")
    ]


@pytest.mark.parametrize(
    ("call", "error"),
    [
        (("/org/nowhere", None, "Introspect", ""), "UnknownObject"),
        (("/org/linux_ha/Heartbeat1/node", names.NODE, "Introspect", ""), "UnknownInterface"),
        ((names.ROOT, names.GROUP, "Why", ""), "UnknownInterface"),
        ((names.ROOT, names.CLUSTER, "Explode", ""), "UnknownMethod"),
        ((names.ROOT, None, "Explode", ""), "UnknownMethod"),
        ((names.ROOT, names.CLUSTER, "Standby", "i"), "InvalidArgs"),
        ((names.ROOT, names.CLUSTER, "Standby", ""), "InvalidArgs"),
        ((GROUP_PATH, "org.freedesktop.DBus.ObjectManager", "GetManagedObjects", ""), "UnknownInterface"),
    ],
)
def test_a_call_outside_the_contract_gets_the_standard_error(
    call: tuple[str, str | None, str, str], error: str
) -> None:
    with pytest.raises(CallError) as raised:
        Tree(contract.load(), shown()).resolve(*call)
    assert raised.value.name == f"org.freedesktop.DBus.Error.{error}"


def test_a_call_may_leave_the_interface_out() -> None:
    assert Tree(contract.load(), shown()).resolve(GROUP_PATH, None, "Why", "") == names.GROUP


def test_the_manual_page_names_every_method_signal_and_property() -> None:
    page = (ROOT_FOLDER / "docs" / "org.linux_ha.Heartbeat1.5").read_text()
    for name, interface in contract.load().interfaces.items():
        if name.startswith(names.BUS_NAME):
            words = [f".SS {name.rpartition('.')[2]}", *interface.methods, *interface.signals]
            words += [f'{held} " {signature}' for held, signature in interface.properties.items()]
            assert [word for word in words if word not in page] == [], name


def test_a_script_has_the_transient_unit_of_its_start() -> None:
    spec = ScriptResource("datadisk::drbd0", "/etc/ha.d/resource.d/datadisk", ("drbd0",))
    (group,) = VIEW.groups
    script = ResourceView(spec, "script", group.name, 1, GroupState.STARTED, "")
    found = shown(replace(VIEW, groups=(replace(group, resources=(ADDRESS, script)),)))
    (resource,) = [
        interfaces[names.RESOURCE] for interfaces in found.values()
        if interfaces.get(names.RESOURCE, {}).get("Name") == ("s", "datadisk::drbd0")
    ]  # fmt: skip
    assert resource["Kind"] == ("s", "script")
    assert resource["Unit"] == ("s", "hbd-resource-datadisk::drbd0@start.service")
