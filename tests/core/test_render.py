"""hbctl's text and JSON, from hand-written snapshots."""

import json
import re
import time
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import fastjsonschema
import pytest

from hbd.bus import contract, names
from hbd.ctl import render
from hbd.ctl import snapshot as shots
from hbd.ctl.main import main
from hbd.ctl.snapshot import Cluster, Group, Link, Node, Resource, Snapshot, snake_case
from hbd.errors import HbdError

GROUP_PATH = names.group_path("192.168.85.3")
WHOLE = Snapshot(
    Cluster("linuxha1", "0.1.0", "stable", "local", "on", 7, 0, False, []),
    [
        Node("linuxha1", "normal", "active", "local", True),
        Node("linuxha2", "normal", "active", "none", False),
        Node("192.168.85.254", "ping", "ping", "none", False),
    ],
    [Link("linuxha2", "eth1", "bcast", "up"), Link("linuxha2", "eth0", "ucast", "up")],
    [
        Group(
            "192.168.85.3",
            "linuxha1",
            "linuxha1",
            "started",
            [
                Resource("192.168.85.3", "address", "", GROUP_PATH, "started", ""),
                Resource("httpd", "unit", "httpd.service", GROUP_PATH, "started", ""),
            ],
        )
    ],
)
HTTPD = WHOLE.groups[0].resources[1]


def with_group(**changes: Any) -> Snapshot:
    return replace(WHOLE, groups=[replace(WHOLE.groups[0], **changes)])


def test_the_first_line_says_how_the_cluster_is() -> None:
    assert render.as_text(WHOLE).splitlines()[0] == "linuxha1: stable, holds local; peer linuxha2 active"


def test_the_first_line_names_the_transition_under_way() -> None:
    moving = replace(WHOLE, cluster=replace(WHOLE.cluster, state="transition", transition=3, holding="none"))
    assert render.summary(moving) == "linuxha1: transition 3, holds nothing; peer linuxha2 active"


def test_a_whole_cluster_is_shown_aligned_and_without_complaint() -> None:
    assert render.as_text(WHOLE) == """\
linuxha1: stable, holds local; peer linuxha2 active
linuxha1 serves 192.168.85.3. If it fails, linuxha2 takes over.

GROUP           STATE    OWNER          HOME
192.168.85.3    started  linuxha1       linuxha1
  192.168.85.3  started  address
  httpd         started  httpd.service

NODE            STATUS  HOLDS
linuxha1        active  local  this node
linuxha2        active  none
192.168.85.254  ping           ping node

LINK           MEDIUM  STATUS
linuxha2:eth1  bcast   up
linuxha2:eth0  ucast   up"""


@pytest.mark.parametrize(
    ("hurt", "problem"),
    [
        (replace(WHOLE, nodes=[replace(WHOLE.nodes[1], status="dead")]), "node linuxha2 is dead"),
        (replace(WHOLE, nodes=[replace(WHOLE.nodes[2], status="dead")]), "node 192.168.85.254 is dead"),
        (replace(WHOLE, links=[replace(WHOLE.links[0], status="dead")]), "link linuxha2:eth1 is dead"),
        (with_group(state="stopping"), "group 192.168.85.3 is stopping on linuxha1"),
        (
            with_group(state="stopped", owner=""),
            "group 192.168.85.3 is held by nobody; see hbctl why 192.168.85.3",
        ),
        (with_group(state="blocked"), "group 192.168.85.3 is blocked; see hbctl why 192.168.85.3"),
        (
            with_group(resources=[replace(HTTPD, state="failed", last_error="exit 1")]),
            "resource httpd is failed: exit 1",
        ),
        (
            replace(WHOLE, cluster=replace(WHOLE.cluster, degraded=["link eth1: no such device"])),
            "link eth1: no such device",
        ),
    ],
)
def test_what_is_wrong_is_said_right_under_the_first_line(hurt: Snapshot, problem: str) -> None:
    assert render.problems(hurt) == [problem]
    assert render.as_text(hurt).split("\n\n")[1] == f"  ! {problem}"
    assert not render.is_whole(hurt)


def test_a_whole_cluster_has_no_problems() -> None:
    assert render.problems(WHOLE) == []
    assert render.is_whole(WHOLE)


def test_a_node_that_could_not_take_over_is_said_with_the_reason_and_the_cluster_is_not_whole() -> None:
    stuck = replace(WHOLE.nodes[1], obstacles=["could not start 192.168.85.3", "is frozen"])
    hurt = replace(WHOLE, nodes=[WHOLE.nodes[0], stuck])

    assert render.as_text(hurt).splitlines()[1] == (
        "linuxha1 serves 192.168.85.3. If it fails, nobody takes over: "
        "linuxha2 could not start 192.168.85.3 and is frozen."
    )
    assert not render.is_whole(hurt)


def test_of_a_group_that_is_not_served_where_it_is_one_hears_too_who_could_take_it() -> None:
    failed = replace(WHOLE, groups=[replace(WHOLE.groups[0], state="failed"), *WHOLE.groups[1:]])

    assert render.as_text(failed).splitlines()[1] == (
        "linuxha1 has 192.168.85.3, not served now. If it fails, linuxha2 takes over."
    )
    assert not render.is_whole(failed)


def test_what_does_not_run_of_a_group_is_named_beside_it_if_its_address_is_there() -> None:
    added = Resource("smb", "unit", "smb.service", GROUP_PATH, "starting", "")
    more = replace(WHOLE.groups[0], state="starting", resources=[*WHOLE.groups[0].resources, added])
    shown = replace(WHOLE, groups=[more])

    assert render.successors(shown)[0][0] == (
        "linuxha1 serves 192.168.85.3 without smb. If it fails, linuxha2 takes over."
    )
    assert render.problems(shown) == [
        "group 192.168.85.3 runs on linuxha1 without smb; see hbctl why 192.168.85.3"
    ]
    address = replace(more.resources[0], state="starting")
    missing = replace(shown, groups=[replace(more, resources=[address, *more.resources[1:]])])
    assert render.successors(missing)[0][0].startswith("linuxha1 has 192.168.85.3, not served now.")


def test_a_node_with_another_haresources_takes_over_what_that_has() -> None:
    other = replace(WHOLE.nodes[1], haresources="different")
    shown = replace(WHOLE, nodes=[WHOLE.nodes[0], other, *WHOLE.nodes[2:]])

    assert render.successors(shown) == [(
        "linuxha1 serves 192.168.85.3. "
        "If it fails, linuxha2 takes over what the haresources there has of it.", False,
    )]  # fmt: skip
    assert render.problems(shown) == ["haresources on linuxha2 is another: nothing new is started"]


def test_what_stands_in_the_way_of_the_node_that_serves_does_not_matter() -> None:
    held = replace(WHOLE.nodes[0], obstacles=["has no carrier for an address of 1 group"])
    shown = replace(WHOLE, nodes=[held, *WHOLE.nodes[1:]])

    assert "If it fails, linuxha2 takes over." in render.as_text(shown)
    assert render.is_whole(shown)


def test_a_node_alone_in_its_cluster_is_whole() -> None:
    alone = replace(WHOLE, nodes=[WHOLE.nodes[0]], links=[])

    assert render.as_text(alone).splitlines()[1] == "linuxha1 serves 192.168.85.3."
    assert render.is_whole(alone)


def test_of_many_groups_some_are_named_in_the_sentence() -> None:
    many = [replace(WHOLE.groups[0], name=f"10.0.0.{n}") for n in range(1, 8)]

    assert render.successors(replace(WHOLE, groups=many))[0][0].startswith(
        "linuxha1 serves 10.0.0.1, 10.0.0.2, 10.0.0.3 and 4 more."
    )


def test_a_weak_link_is_a_remark_and_no_problem() -> None:
    figures = {"link_lost": {"linuxha2:eth1": 7}, "link_late": {"linuxha2:eth1": 1, "linuxha2:eth0": 2}}
    weak = [replace(WHOLE.links[0], weak=True), WHOLE.links[1]]
    shown = replace(WHOLE, links=weak, statistics=figures)

    text = render.as_text(shown)

    assert "  ~ link linuxha2:eth1 is weak: it lost 7 of the last 20 messages\n" in text
    assert text.endswith("""
LINK           MEDIUM  STATUS
linuxha2:eth1  bcast   weak    lost 7 of the last 20 messages, once silent for more than warntime
linuxha2:eth0  ucast   up      2 times silent for more than warntime""")
    assert render.is_whole(shown)


def test_a_dead_link_says_when_it_was_last_heard() -> None:
    dead = [replace(WHOLE.links[0], status="dead"), WHOLE.links[1]]
    noon = time.mktime((2023, 11, 14, 12, 0, 0, 0, 0, -1))
    figures = {"link_silent_ms": {"linuxha2:eth1": 65_000}}

    text = render.as_text(replace(WHOLE, links=dead, statistics=figures, read_at=noon))

    assert "linuxha2:eth1  bcast   dead    last heard 11:58:55\n" in text


LONG = replace(
    WHOLE,
    nodes=[replace(WHOLE.nodes[0], name="gateway-1.department.example.org"), *WHOLE.nodes[1:]],
    links=[replace(WHOLE.links[0], weak=True), *WHOLE.links[1:]],
    groups=[
        replace(
            WHOLE.groups[0],
            name="IPv6addr::fd00:1234:5678:9abc:def0:1234:5678:9abc/64/eth0",
            owner="gateway-1.department.example.org",
            preferred_node="gateway-1.department.example.org",
            resources=[
                replace(HTTPD, state="failed", last_error="the control process exited with status 203"),
                replace(HTTPD, name="Filesystem::/dev/drbd0::/srv/data::ext4", kind="script"),
            ],
        )
    ],
    statistics={"link_lost": {"linuxha2:eth1": 7}, "link_late": {"linuxha2:eth1": 12}},
)


@pytest.mark.parametrize("shown", [WHOLE, LONG], ids=["usual", "long names"])
@pytest.mark.parametrize("width", [80, 100, 200])
def test_no_line_is_longer_than_the_terminal_is_wide_and_no_name_is_cut(shown: Snapshot, width: int) -> None:
    text = render.as_text(shown, width)

    assert [line for line in text.splitlines() if len(line) > width] == []
    for name in [
        *(node.name for node in shown.nodes),
        *(group.name for group in shown.groups),
        *(one.name for group in shown.groups for one in group.resources),
        *(f"{link.node}:{link.name}" for link in shown.links),
    ]:
        assert name in text


def test_a_terminal_that_is_wide_enough_shows_what_a_pipe_gets() -> None:
    assert render.as_text(WHOLE, 80) == render.as_text(WHOLE)
    assert render.as_text(LONG, 400) == render.as_text(LONG)


def test_resources_stopped_on_the_standby_node_are_no_problem() -> None:
    idle = [replace(one, state="stopped") for one in WHOLE.groups[0].resources]
    assert render.problems(with_group(owner="linuxha2", resources=idle)) == []


def test_a_cluster_without_links_or_groups_is_shown_too() -> None:
    text = render.as_text(replace(WHOLE, links=[], groups=[]))
    assert "LINK" not in text
    assert "No resource groups." in text.splitlines()


def test_json_has_the_properties_in_snake_case_and_resources_inside_their_group() -> None:
    shown = json.loads(render.as_json(WHOLE))
    assert list(shown) == ["cluster", "nodes", "links", "groups"]
    assert shown["cluster"]["auto_failback"] == "on"
    assert shown["groups"][0]["preferred_node"] == "linuxha1"
    assert [one["unit"] for one in shown["groups"][0]["resources"]] == ["", "httpd.service"]


SCHEMA = json.loads((Path(__file__).parents[2] / "docs/status.schema.json").read_text())


@pytest.mark.parametrize("shown", [WHOLE, replace(WHOLE, links=[], groups=[])])
def test_json_is_as_its_schema_says(shown: Snapshot) -> None:
    fastjsonschema.compile(SCHEMA)(json.loads(render.as_json(shown)))


@pytest.mark.parametrize(
    ("wrong", "where"),
    [
        (replace(WHOLE, cluster=replace(WHOLE.cluster, state="happy")), "data.cluster.state"),
        (replace(WHOLE, nodes=[replace(WHOLE.nodes[0], holding="some")]), "holding"),
        (with_group(state="lost"), "state"),
    ],
)
def test_the_schema_tells_what_is_wrong(wrong: Snapshot, where: str) -> None:
    with pytest.raises(fastjsonschema.JsonSchemaValueException, match=where):
        fastjsonschema.compile(SCHEMA)(json.loads(render.as_json(wrong)))


@pytest.mark.parametrize(
    ("part", "kind"),
    [("cluster", Cluster), ("nodes", Node), ("links", Link), ("groups", Group), ("resources", Resource)],
)
def test_the_schema_has_every_key_and_no_other(part: str, kind: type) -> None:
    groups = SCHEMA["properties"]["groups"]["items"]
    described = groups["properties"]["resources"] if part == "resources" else SCHEMA["properties"][part]
    described = described.get("items", described)

    assert set(described["properties"]) == {field.name for field in fields(kind)}


@pytest.mark.parametrize(
    ("kind", "interface"),
    [
        (Cluster, names.CLUSTER),
        (Node, names.NODE),
        (Link, names.LINK),
        (Group, names.GROUP),
        (Resource, names.RESOURCE),
    ],
)
def test_json_shows_every_property_of_the_contract(kind: type, interface: str) -> None:
    declared = [snake_case(name) for name in contract.load().interfaces[interface].properties]
    assert [field.name for field in fields(kind) if field.name != "resources"] == declared


def test_resources_are_in_the_order_of_their_group_beyond_ten() -> None:
    managed = {
        names.resource_path("g", position): {
            names.RESOURCE: {
                "Name": f"r{position}", "Kind": "unit", "Unit": "", "Group": names.group_path("g"),
                "State": "stopped", "LastError": "",
            }
        }
        for position in (10, 2, 0, 11, 1)
    }
    managed[names.group_path("g")] = {
        names.GROUP: {"Name": "g", "PreferredNode": "a", "Owner": "", "State": "stopped"}
    }
    cluster = {
        "LocalNode": "a", "Version": "1", "State": "stable", "Holding": "none", "AutoFailback": "on",
        "Generation": 1, "Transition": 0, "Frozen": False, "Degraded": [],
    }
    read = shots.snapshot(cluster, managed)
    assert [one.name for one in read.groups[0].resources] == ["r0", "r1", "r2", "r10", "r11"]


def test_a_daemon_of_another_version_is_named_as_the_cause() -> None:
    with pytest.raises(HbdError, match="different versions"):
        shots.snapshot({"LocalNode": "a"}, {})


def test_the_manual_page_has_every_command_and_option(capsys: pytest.CaptureFixture[str]) -> None:
    page = (Path(__file__).parents[2] / "docs" / "hbctl.8").read_text().replace("\\-", "-")
    with pytest.raises(SystemExit):
        main(["--help"])
    commands = re.findall(r"^    (\w+) ", capsys.readouterr().out, re.MULTILINE)
    assert "status" in commands
    for command in commands:
        with pytest.raises(SystemExit):
            main([command, "--help"])
        options = set(re.findall(r"--\w+", capsys.readouterr().out)) - {"--help"}
        missing = [word for word in (f"hbctl {command}", *sorted(options)) if word not in page]
        assert missing == []


def test_a_stall_that_came_near_to_a_death_is_told_and_a_negligible_one_is_not() -> None:
    def told(stall_ms: int) -> str:
        figures = {"longest_stall_ms": stall_ms, "longest_stall_at": 1_700_000_000, "patience_ms": 2250}
        return render.as_text(replace(WHOLE, statistics=figures))

    assert told(1100) == render.as_text(WHOLE)
    assert told(0) == render.as_text(WHOLE)
    assert "  ~ this node once did not run for 4321 ms, until 2023-11-1" in told(4321)
    assert "after 2250 ms the other node may take over\n" in told(4321)
