"""What a reload changes, and the digest by which nodes compare their resources."""

from __future__ import annotations

from dataclasses import replace

from hbd.config.compare import compare
from hbd.config.digest import resource_digest
from hbd.config.model import (
    AutoFailback,
    Bcast,
    Config,
    GroupSpec,
    Key,
    Keys,
    Limits,
    MsgFormat,
    Timing,
    Ucast,
)
from tests.config.parsing import groups


def parsed(text: str) -> tuple[GroupSpec, ...]:
    result, findings = groups(text)
    assert not [finding for finding in findings if "error" in finding]
    return result


OLD = Config(
    local_node="linuxha1",
    nodes=("linuxha1", "linuxha2"),
    media=(Bcast("eth0", 694), Bcast("eth1", 694)),
    keys=Keys(1, (Key(1, "sha1", b"a"),)),
    groups=parsed("linuxha1 192.168.85.3 httpd\nlinuxha2 smb\n"),
)


def test_equal_configurations_differ_in_nothing() -> None:
    changes = compare(OLD, replace(OLD))
    assert not changes.any
    assert list(changes.texts()) == []


def test_timing_keys_and_failback_change_live() -> None:
    new = replace(
        OLD,
        timing=Timing(keepalive_ms=500),
        keys=Keys(2, (Key(2, "sha1", b"b"),)),
        auto_failback=AutoFailback.ON,
    )
    changes = compare(OLD, new)
    assert (changes.timing, changes.keys, changes.auto_failback) == (True, True, True)
    assert changes.restart == ()
    assert list(changes.texts()) == ["timing changed", "keys changed", "auto_failback changed"]


def test_links_and_nodes_come_and_go() -> None:
    new = replace(
        OLD, nodes=("linuxha1", "linuxha3"), media=(Bcast("eth1", 694), Ucast("eth2", "10.0.0.2", 694))
    )
    changes = compare(OLD, new)
    assert changes.nodes_added == ("linuxha3",)
    assert changes.nodes_removed == ("linuxha2",)
    assert changes.media_added == (Ucast("eth2", "10.0.0.2", 694),)
    assert changes.media_removed == (Bcast("eth0", 694),)
    assert list(changes.texts()) == [
        "node linuxha3 added",
        "node linuxha2 removed",
        "link eth2 added",
        "link eth0 removed",
    ]


def test_groups_are_added_removed_and_changed() -> None:
    new = replace(OLD, groups=parsed("linuxha1 192.168.85.3 httpd data.mount\nlinuxha1 192.168.85.4\n"))
    changes = compare(OLD, new)
    assert [group.name for group in changes.groups_added] == ["192.168.85.4"]
    assert [group.name for group in changes.groups_removed] == ["smb"]
    assert [(old.name, len(new.resources)) for old, new in changes.groups_changed] == [("192.168.85.3", 3)]
    assert changes.any


def test_a_group_whose_first_resource_is_only_spelt_otherwise_is_the_same_group() -> None:
    new = replace(OLD, groups=parsed("linuxha1 192.168.85.3/24 httpd\nlinuxha2 smb\n"))
    changes = compare(OLD, new)
    assert (changes.groups_added, changes.groups_removed) == ((), ())
    assert [(old.name, new.name) for old, new in changes.groups_changed] == [
        ("192.168.85.3", "192.168.85.3/24")
    ]


def test_the_order_of_groups_and_a_new_home_are_seen() -> None:
    assert not compare(OLD, replace(OLD, groups=OLD.groups[::-1])).any
    moved = replace(OLD, groups=parsed("linuxha2 192.168.85.3 httpd\nlinuxha2 smb\n"))
    assert len(compare(OLD, moved).groups_changed) == 1


def test_what_is_used_once_at_the_start_needs_a_restart() -> None:
    new = replace(
        OLD, local_node="linuxha2", realtime=False, rtprio=5, hbgenmethod="time", uuidfrom="nodename",
        coredumps=True, coreroot="/var/cores",
    )  # fmt: skip
    assert compare(OLD, new).restart == (
        "the name of this node",
        "realtime",
        "rtprio",
        "hbgenmethod",
        "uuidfrom",
        "coredumps",
        "coreroot",
    )


def test_other_fields_take_effect_at_once() -> None:
    new = replace(OLD, msgfmt=MsgFormat.NETSTRING, limits=Limits(start_ms=1), log_badpack=False)
    assert compare(OLD, new).others == ("msgfmt", "log_badpack", "limits")


# ---------------------------------------------------------------- digest


def digest(text: str) -> str:
    return resource_digest(parsed(text))


def test_a_digest_is_sixteen_hex_digits_that_never_change_between_runs() -> None:
    assert digest("linuxha1 192.168.85.3 httpd smb\n") == "a3b7b9f5a2cacb71"
    assert len(resource_digest(())) == 16


def test_spelling_and_the_order_of_groups_do_not_count() -> None:
    assert digest("linuxha1 192.168.85.3 httpd\nlinuxha2 smb\n") == digest(
        "linuxha2 smb.service\nLINUXHA1 IPaddr2::192.168.85.3/24/eth0 httpd.service # web\n"
    )


def test_home_order_in_a_group_and_grouping_count() -> None:
    texts = [
        "linuxha1 httpd smb\n",
        "linuxha2 httpd smb\n",
        "linuxha1 smb httpd\n",
        "linuxha1 httpd\nlinuxha1 smb\n",
        "linuxha1 httpd\n",
        "",
    ]
    assert len({digest(text) for text in texts}) == len(texts)
