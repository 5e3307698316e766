"""haresources: lines into groups, names into addresses and units."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hbd.config.lookup import BootStart, Unit, is_unit_name
from hbd.config.model import AddressResource, ScriptResource, UnitResource
from tests.config.parsing import Table, groups, units


def one(text: str, lookup: Table | None = None) -> tuple[object, list[str]]:
    """The only resource of a group of linuxha1, and the findings."""
    result, findings = groups(f"linuxha1 {text}\n", lookup)
    return (result[0].resources[0] if result else None), findings


def address(name: str, ip: str = "192.168.85.3", **given: object) -> AddressResource:
    return AddressResource(name, ip, **given)  # type: ignore[arg-type]


# ---------------------------------------------------------------- lines


def test_the_guides_line_is_a_group_named_by_its_first_resource() -> None:
    (group,), findings = groups("linuxha1 192.168.85.3 httpd smb\n")
    assert findings == []
    assert (group.name, group.home) == ("192.168.85.3", "linuxha1")
    assert group.resources == (
        address("192.168.85.3", alias_label=True),
        UnitResource("httpd", "httpd.service"),
        UnitResource("smb", "smb.service"),
    )


def test_groups_keep_the_order_of_the_file_and_nodes_are_lower_case() -> None:
    result, findings = groups("# a comment\n\n  LINUXHA2\thttpd\nlinuxha1 smb # and another\n")
    assert [(group.home, group.name) for group in result] == [("linuxha2", "httpd"), ("linuxha1", "smb")]
    assert findings == []


def test_groups_whose_state_does_not_fit_a_heartbeat_are_refused_where_it_is_too_much() -> None:
    lines = [f"linuxha1 10.{number >> 8}.{number & 255}.1\n" for number in range(2000)]
    result, findings = groups("".join(lines))
    assert len(result) == 2000
    assert len(findings) == 1
    where = int(findings[0].split(":")[1])
    assert 1500 < where < 2000
    assert f"too many groups: the state of {where} does not fit a heartbeat" in findings[0]


def test_a_backslash_at_the_very_end_joins_lines_without_a_blank() -> None:
    (group,), findings = groups("linuxha1 ht\\\ntpd \\\n\tsmb\n")
    assert [resource.name for resource in group.resources] == ["httpd", "smb"]
    assert findings == []


def test_places_on_a_continued_line_are_those_of_the_physical_line() -> None:
    _, findings = groups("linuxha1 httpd \\\n  nothere \\\n\\\n nowhere\n")
    assert [finding.split(" ")[0] for finding in findings] == ["haresources:2:3:", "haresources:4:2:"]


def test_a_comment_on_a_continued_line_is_removed_with_a_warning() -> None:
    (group,), findings = groups("linuxha1 httpd \\\n smb # both\n")
    assert [resource.name for resource in group.resources] == ["httpd", "smb"]
    assert findings == [
        "haresources:2:6: warning: 3.0.6 does not see this comment and takes its words for resources"
    ]


def test_a_backslash_before_a_blank_does_not_continue_and_gets_a_warning() -> None:
    for line in ("linuxha1 httpd \\ \nlinuxha2 smb\n", "linuxha1 httpd \\ # more\nlinuxha2 smb\n"):
        result, findings = groups(line)
        assert [[resource.name for resource in group.resources] for group in result] == [["httpd"], ["smb"]]
        assert [finding.split(": the ")[0] for finding in findings] == ["haresources:1:16: warning"]


def test_a_comment_hides_the_backslash_at_its_end() -> None:
    assert len(groups("linuxha1 httpd # \\\nlinuxha2 smb\n")[0]) == 2


def test_a_backslash_at_the_end_of_the_file_ends_the_group() -> None:
    assert len(groups("linuxha1 httpd \\")[0]) == 1
    assert len(groups("linuxha1 httpd \\\n")[0]) == 1


def test_cr_lf_is_read_with_one_warning_since_3_0_6_would_stumble() -> None:
    (first, second), findings = groups("linuxha1 httpd \\\r\n data.mount\r\nlinuxha2 smb\r\n")
    assert [resource.name for resource in first.resources] == ["httpd", "data.mount"]
    assert second.name == "smb"
    assert len(findings) == 1
    assert findings[0].startswith("haresources:1:17: warning: CR LF")


def test_a_node_without_resources_is_ignored_with_a_warning() -> None:
    assert groups("linuxha1\n") == (
        (),
        ["haresources:1:1: warning: linuxha1 has no resource on this line, which is ignored"],
    )


def test_an_unknown_node_is_an_error_with_a_suggestion() -> None:
    assert groups("linuxha1.linux-ha.org httpd\n")[1] == [
        "haresources:1:1: error: Bad nodename in haresources [linuxha1.linux-ha.org]; "
        "did you mean 'linuxha1'?"
    ]
    assert groups("www httpd\n")[1] == [
        "haresources:1:1: error: Bad nodename in haresources [www]; the nodes of ha.cf are linuxha1, linuxha2"
    ]


def test_a_ping_node_is_no_home() -> None:
    assert groups("router httpd\n")[1] == [
        "haresources:1:1: error: Bad nodename in haresources [router]: a ping node holds no resources"
    ]


# ---------------------------------------------------------------- addresses


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("192.168.85.3", {"alias_label": True}),
        ("192.168.85.3/24", {"prefix": 24, "alias_label": True}),
        ("192.168.85.3/255.255.255.0", {"prefix": 24, "alias_label": True}),
        ("192.168.85.3/32", {"prefix": 32, "alias_label": True}),
        ("192.168.85.3/24/eth0", {"prefix": 24, "interface": "eth0", "alias_label": True}),
        (
            "192.168.85.3/24/eth0/192.168.85.255",
            {"prefix": 24, "interface": "eth0", "broadcast": "192.168.85.255", "alias_label": True},
        ),
        (
            "192.168.85.3/24/192.168.85.127",
            {"prefix": 24, "broadcast": "192.168.85.127", "alias_label": True},
        ),
        ("192.168.85.3/24/eth0:7", {"prefix": 24, "interface": "eth0", "alias_label": True}),
        ("IPaddr::192.168.85.3/24/eth0:7", {"prefix": 24, "interface": "eth0", "alias_label": True}),
        ("IPaddr2::192.168.85.3", {}),
        ("IPaddr2::192.168.85.3/24/eth0", {"prefix": 24, "interface": "eth0"}),
        ("IPaddr2::192.168.85.3/24/eth0:web", {"prefix": 24, "interface": "eth0", "label": "eth0:web"}),
        ("IPaddr2::192.168.85.3/24/eth0/+", {"prefix": 24, "interface": "eth0"}),
        (
            "IPaddr2::192.168.85.3/24/eth0/-",
            {"prefix": 24, "interface": "eth0", "broadcast": "192.168.85.0"},
        ),
    ],
)
def test_every_form_of_an_ipv4_address_is_read(text: str, expected: dict[str, Any]) -> None:
    assert one(text) == (address(text, **expected), [])


@pytest.mark.parametrize(
    ("text", "ip", "expected"),
    [
        ("2001:db8::3", "2001:db8::3", {}),
        ("2001:0DB8:0::3/64", "2001:db8::3", {"prefix": 64}),
        ("IPv6addr::2001:db8::3/64/eth0", "2001:db8::3", {"prefix": 64, "interface": "eth0"}),
        ("IPaddr2::2001:db8::3/64", "2001:db8::3", {"prefix": 64}),
        ("fe80::3%eth0/64", "fe80::3", {"prefix": 64, "interface": "eth0"}),
        ("fe80::3/64/eth0", "fe80::3", {"prefix": 64, "interface": "eth0"}),
    ],
)
def test_every_form_of_an_ipv6_address_is_read(text: str, ip: str, expected: dict[str, object]) -> None:
    assert one(text) == (address(text, ip, **expected), [])


@pytest.mark.parametrize(
    ("text", "column", "complaint"),
    [
        ("1a.2.3.4x", 10, "'1a.2.3.4x' is not an IPv4 address"),
        ("192.168.85.300", 10, "'192.168.85.300' is not an IPv4 address"),
        ("192.168.085.3", 10, "'192.168.085.3' is not an IPv4 address"),
        ("192.168.85.3.4", 10, "'192.168.85.3.4' is not an IPv4 address"),
        ("0.0.0.0", 10, "0.0.0.0 cannot be the address of a service"),
        ("225.0.0.1", 10, "225.0.0.1 cannot be the address of a service"),
        ("192.168.85.3/0", 23, "'0' is not a netmask"),
        ("192.168.85.3/33", 23, "'33' is not a netmask"),
        ("192.168.85.3/255.0.255.0", 23, "'255.0.255.0' is not a netmask"),
        ("192.168.85.3/0.0.0.0", 23, "'0.0.0.0' is not a netmask"),
        ("192.168.85.3/eth0", 23, "'eth0' is not a netmask"),
        ("192.168.85.3//eth0", 23, "nothing between the slashes"),
        ("192.168.85.3/24/", 26, "nothing between the slashes"),
        ("192.168.85.3/24/an-interface-name", 26, "'an-interface-name' cannot be the name of a network"),
        ("192.168.85.3/24/eth0/all", 31, "'all' is not a broadcast address"),
        ("192.168.85.3/24/1.2.3", 26, "'1.2.3' is not a broadcast address"),
        ("192.168.85.3/24/eth0/192.168.85.255/x", 46, "an address has at most"),
        ("IPaddr", 10, "IPaddr needs an address"),
        ("IPaddr::", 10, "IPaddr needs an address"),
        ("IPaddr::host", 18, "'host' is not an IPv4 address"),
        ("IPaddr::192.168.85.3::x", 18, "'192.168.85.3::x' is not an IPv4 address"),
        ("IPv6addr::192.168.85.3", 20, "'192.168.85.3' is not an IPv6 address"),
        ("2001:db8::zz", 10, "'2001:db8::zz' is not an IPv6 address"),
        ("2001:db8::3/129", 22, "'129' is not a prefix length"),
        ("2001:db8::3/64/eth0/x", 30, "an IPv6 address is written"),
        ("fe80::3/64", 10, "a link-local address needs its interface"),
        ("fe80::3%eth1/64/eth0", 10, "'%eth1' does not match the interface eth0"),
    ],
)
def test_what_is_wrong_in_an_address_is_shown_where_it_is(text: str, column: int, complaint: str) -> None:
    _, (finding,) = one(text)
    assert finding.startswith(f"haresources:1:{column}: error: {complaint}")


def test_a_label_that_the_kernel_would_refuse_is_left_out_with_a_warning() -> None:
    resource, findings = one("IPaddr2::192.168.85.3/24/eth0:webservice12")
    assert resource == address(
        "IPaddr2::192.168.85.3/24/eth0:webservice12", prefix=24, interface="eth0", label=None
    )
    assert findings == [
        "haresources:1:35: warning: the label 'eth0:webservice12' exceeds the kernel's 15 bytes; left out"
    ]


# ---------------------------------------------------------------- units and scripts


def test_a_name_with_a_unit_suffix_is_that_unit() -> None:
    assert one("data.mount") == (UnitResource("data.mount", "data.mount"), [])
    table = Table({"app@1.service": Unit("app@1.service")})
    assert one("app@1.service", table) == (UnitResource("app@1.service", "app@1.service"), [])
    assert one("app@1", table) == (UnitResource("app@1", "app@1.service"), [])


def test_an_alias_is_the_unit_it_stands_for() -> None:
    table = Table({"smb.service": Unit("smbd.service")})
    assert one("smb", table) == (UnitResource("smb", "smbd.service"), [])


RESOURCE_D = "/etc/ha.d/resource.d"


def test_a_script_in_resource_d_comes_before_the_unit_of_its_name() -> None:
    table = Table({"httpd.service": Unit("httpd.service")}, scripts=("httpd",))
    assert one("httpd", table) == (ScriptResource("httpd", f"{RESOURCE_D}/httpd"), [])
    assert one("httpd.service", table) == (UnitResource("httpd.service", "httpd.service"), [])


def test_arguments_are_split_at_double_colons_and_empty_ones_vanish() -> None:
    table = Table(scripts=("Filesystem", "spy"))
    assert one("Filesystem::/dev/drbd0::/srv::ext4", table) == (
        ScriptResource(
            "Filesystem::/dev/drbd0::/srv::ext4", f"{RESOURCE_D}/Filesystem", ("/dev/drbd0", "/srv", "ext4")
        ),
        [],
    )
    spy = ScriptResource("spy::a::b::::c::", f"{RESOURCE_D}/spy", ("a", "b", "c"))
    assert one("spy::a::b::::c::", table) == (spy, [])
    assert spy.identity == "spy::a::b::c"
    assert one("spy::", table)[0] == ScriptResource("spy::", f"{RESOURCE_D}/spy")


def test_the_group_of_the_guides_log_is_an_address_and_three_scripts() -> None:
    (group,), findings = groups(
        "linuxha1 192.168.85.3 datadisk::drbd0 datadisk::drbd1 mirror\n",
        Table(scripts=("datadisk", "mirror")),
    )
    assert findings == []
    assert [resource.identity for resource in group.resources] == [
        "192.168.85.3", "datadisk::drbd0", "datadisk::drbd1", "mirror",
    ]  # fmt: skip


def test_a_name_with_arguments_may_be_an_init_script_since_no_unit_takes_any() -> None:
    table = Table({"httpd.service": Unit("httpd.service")}, init_scripts=("httpd",))
    assert one("httpd", table)[0] == UnitResource("httpd", "httpd.service")
    assert one("httpd::two", table)[0] == ScriptResource("httpd::two", "/etc/init.d/httpd", ("two",))


def test_the_same_script_with_the_same_arguments_is_the_same_resource_twice() -> None:
    _, (finding,) = groups("linuxha1 disk::a disk::b disk::a::\n", Table(scripts=("disk",)))
    assert finding == "haresources:1:26: error: disk::a (disk::a::) is already a resource at haresources:1:10"


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("drbddisk::r0", "Cannot locate resource script drbddisk: "),
        ("Filesystem::/dev/sdb1::/data::ext4", "or use a .mount unit"),
        ("ocf:heartbeat:IPaddr2::ip=10.0.0.1", "is an OCF agent; OCF agents come in a later version"),
        ("OCF::apache::web", "is an OCF agent; OCF agents come in a later version"),
    ],
)
def test_a_script_that_is_not_there_and_ocf_agents_are_errors(text: str, what: str) -> None:
    _, (finding,) = one(text)
    assert finding.startswith("haresources:1:10: error: ")
    assert what in finding


def test_an_argument_that_is_not_utf_8_is_an_error() -> None:
    _, (finding,) = one("disk::\udcff", Table(scripts=("disk",)))
    assert finding == "haresources:1:10: error: [disk::\\xff] is not UTF-8, and systemd would not run it"


def test_a_script_whose_name_and_argument_look_like_an_ipv6_address_is_a_script() -> None:
    assert one("cafe::1", Table(scripts=("cafe",)))[0] == ScriptResource(
        "cafe::1", f"{RESOURCE_D}/cafe", ("1",)
    )
    assert one("cafe::1")[0] == address("cafe::1", "cafe::1")


@pytest.mark.parametrize(
    ("identity", "unit"),
    [
        ("mirror", "hbd-resource-mirror@start.service"),
        ("datadisk::drbd0", "hbd-resource-datadisk::drbd0@start.service"),
        ("Filesystem::/dev/drbd0::/srv", "hbd-resource-Filesystem::-dev-drbd0::-srv@start.service"),
        ("a-b", r"hbd-resource-a\x2db@start.service"),
        ("a@b", r"hbd-resource-a\x40b@start.service"),
        ("grün", r"hbd-resource-gr\xc3\xbcn@start.service"),
    ],
)
def test_the_units_of_a_script_are_named_after_it_as_systemd_escapes(identity: str, unit: str) -> None:
    name, *args = identity.split("::")
    script = ScriptResource(identity, f"{RESOURCE_D}/{name}", tuple(args))
    assert script.identity == identity
    assert script.unit == unit
    assert is_unit_name(unit)


def test_scripts_with_long_arguments_have_units_of_different_legal_names() -> None:
    names = {
        ScriptResource("x", "/x", (text,)).unit_for("status") for text in ("a" * 300, "a" * 301, "-" * 300)
    }
    assert len(names) == 3
    assert max(len(name) for name in names) <= 255


def test_a_name_that_is_nothing_is_an_error_with_a_suggestion() -> None:
    assert one("htpd")[1] == [
        "haresources:1:10: error: [htpd] is neither an address, nor a unit, nor a script in resource.d; "
        "did you mean 'httpd'?"
    ]
    assert one("htpd.service")[1] == [
        "haresources:1:10: error: there is no unit htpd.service on this machine; "
        "did you mean 'httpd.service'?"
    ]


def test_a_masked_unit_is_an_error() -> None:
    table = Table({"httpd.service": Unit("httpd.service", masked=True)})
    assert one("httpd", table)[1] == [
        "haresources:1:10: error: httpd.service is masked, systemd will not start it; "
        "systemctl unmask httpd.service, with --runtime if it was masked so"
    ]


def test_a_unit_that_systemd_starts_at_boot_gets_a_warning() -> None:
    table = Table(
        {"httpd.service": Unit("httpd.service", boot=BootStart("wanted by x.target", "httpd.service"))}
    )
    resource, findings = one("httpd", table)
    assert resource == UnitResource("httpd", "httpd.service")
    assert findings == [
        "haresources:1:10: warning: httpd.service is started at boot (wanted by x.target), "
        "so both machines would run it; leave that to hbd: systemctl disable httpd.service"
    ]


def test_a_mount_that_systemd_makes_at_boot_gets_a_warning_with_a_remedy_for_mounts() -> None:
    table = Table({"srv.mount": Unit("srv.mount", boot=BootStart("required by x.target", "srv.mount"))})
    (finding,) = one("srv.mount", table)[1]
    assert finding.endswith("'noauto' in its line of /etc/fstab, or systemctl disable srv.mount")


def test_templates_devices_and_scopes_cannot_be_resources() -> None:
    assert "is a template" in one("app@.service")[1][0]
    assert "cannot start" in one("dev-sda.device")[1][0]
    assert "cannot start" in one("session-1.scope")[1][0]


# ---------------------------------------------------------------- the same thing twice


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("linuxha1 httpd smb httpd", "1:20"),
        ("linuxha1 httpd httpd.service", "1:16"),
        ("linuxha1 httpd\nlinuxha2 httpd", "2:10"),
        ("linuxha1 192.168.85.3\nlinuxha1 IPaddr2::192.168.85.3/24/eth0", "2:10"),
        ("linuxha1 2001:db8::3 smb\nlinuxha2 2001:db8:0::3/64", "2:10"),
    ],
)
def test_the_same_thing_twice_is_an_error_however_it_is_spelt(text: str, place: str) -> None:
    _, (finding,) = groups(text)
    assert finding.startswith(f"haresources:{place}: error: ")
    assert "is already a resource at haresources:1:10" in finding


def test_two_aliases_of_one_unit_are_the_same_thing() -> None:
    table = Table({"smb.service": Unit("smbd.service"), "smbd.service": Unit("smbd.service")})
    _, (finding,) = groups("linuxha1 smb\nlinuxha2 smbd\n", table)
    assert finding == (
        "haresources:2:10: error: smbd.service (smbd) is already a resource at haresources:1:10"
    )


_WORD = st.one_of(
    st.text(alphabet="0123456789./:%", max_size=25),
    st.text(alphabet="abf0:/%.@\\#", max_size=25),
    st.sampled_from(
        ["IPaddr::", "IPaddr2::", "IPv6addr::", "OCF::", "ocf:", "httpd", "smb.service", "\\", "\\\n"]
    ),
    st.text(max_size=10),
)


@given(st.lists(st.lists(_WORD, max_size=5).map(" ".join), max_size=5).map("\nlinuxha1 ".join))
@settings(max_examples=400)
def test_no_text_makes_the_parser_raise(text: str) -> None:
    result, findings = groups(text, units("httpd.service", "smb.service"))
    for finding in findings:
        _, line, column, _ = finding.split(":", 3)
        physical = text.split("\n")[int(line) - 1]
        assert 1 <= int(column) <= len(physical) + 1
    identities = [resource.identity for group in result for resource in group.resources]
    assert len(identities) == len(set(identities))
