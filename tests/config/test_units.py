"""Units found in a root directory: aliases, templates, masks, and what starts them at boot."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from hbd.config.lookup import BootStart, Unit, is_unit_name
from hbd.config.rootfs import inside
from hbd.config.unitfiles import instance_of, template_of
from hbd.config.units import UnitFiles
from tests.config.conftest import Machine

WANTED = "etc/systemd/system/multi-user.target.wants"


def lookup(machine: Machine) -> UnitFiles:
    return UnitFiles(machine.root, machine.ha_d / "resource.d")


def unit(machine: Machine, name: str) -> Unit | None:
    return lookup(machine).unit(name)


def boot(machine: Machine, name: str) -> BootStart | None:
    found = unit(machine, name)
    assert found is not None
    return found.boot


# ---------------------------------------------------------------- names


@pytest.mark.parametrize(
    "name", ["httpd.service", "app@1.service", "app@.service", "dev-disk\\x2dby.swap", "a.b.mount"]
)
def test_unit_names_are_known_by_their_suffix(name: str) -> None:
    assert is_unit_name(name)


@pytest.mark.parametrize(
    "name",
    ["httpd", ".service", "a/b.service", "a b.service", "x.conf", "@x.service", "x" * 250 + ".service"],
)
def test_other_names_are_no_unit_names(name: str) -> None:
    assert not is_unit_name(name)


def test_an_instance_knows_its_template() -> None:
    assert template_of("app@1.service") == "app@.service"
    assert template_of("app.service") == ""
    assert instance_of("bar@.service", "foo@a.b.service") == "bar@a.b.service"


# ---------------------------------------------------------------- what a name stands for


def test_a_unit_file_is_found_by_its_name(machine: Machine) -> None:
    assert unit(machine, "httpd.service") == Unit("httpd.service")
    assert unit(machine, "nginx.service") is None


def test_a_unit_is_found_in_any_directory_of_the_load_path(machine: Machine) -> None:
    for where in ("etc", "run", "usr/local/lib", "lib"):
        machine.unit(f"{where.replace('/', '-')}.service", where=where)
        assert unit(machine, f"{where.replace('/', '-')}.service") is not None


def test_lib_as_a_link_to_usr_lib_is_one_directory(machine: Machine) -> None:
    machine.link("/lib", "usr/lib")
    machine.link("/etc/systemd/system/alias.service", "/lib/systemd/system/httpd.service")
    assert unit(machine, "alias.service") == Unit("httpd.service")


@pytest.mark.parametrize(
    "target",
    [
        "/usr/lib/systemd/system/smbd.service",
        "smbd.service",
        "/nowhere/../usr/lib/systemd/system/smbd.service",
    ],
)
def test_a_link_to_another_name_is_an_alias(machine: Machine, target: str) -> None:
    machine.unit("smbd.service")
    where = "/usr/lib" if target == "smbd.service" else "/etc"
    machine.link(f"{where}/systemd/system/samba.service", target)
    assert unit(machine, "samba.service") == Unit("smbd.service")


def test_an_alias_of_an_alias_leads_to_the_unit(machine: Machine) -> None:
    machine.link("/etc/systemd/system/a.service", "b.service")
    machine.link("/etc/systemd/system/b.service", "/usr/lib/systemd/system/httpd.service")
    assert unit(machine, "a.service") == Unit("httpd.service")


def test_aliases_in_a_circle_or_to_nothing_are_no_units(machine: Machine) -> None:
    machine.link("/etc/systemd/system/a.service", "b.service")
    machine.link("/etc/systemd/system/b.service", "a.service")
    machine.link("/etc/systemd/system/c.service", "gone.service")
    machine.link("/etc/systemd/system/d.service", "d.service")
    assert [unit(machine, f"{name}.service") for name in "abcd"] == [None] * 4


def test_the_alias_of_a_disabled_unit_counts_though_systemd_has_no_link(machine: Machine) -> None:
    machine.unit(
        "smbd.service", "[Service]\nExecStart=/bin/true\n[Install]\nAlias=samba.service cifs.service\n"
    )
    assert unit(machine, "cifs.service") == Unit("smbd.service")


def test_a_linked_unit_outside_the_load_path_keeps_its_name(machine: Machine) -> None:
    (machine.root / "opt").mkdir()
    (machine.root / "opt/app-1.2.service").write_text("[Service]\n")
    machine.link("/etc/systemd/system/app.service", "/opt/app-1.2.service")
    assert unit(machine, "app.service") == Unit("app.service")


def test_an_instance_comes_from_its_template(machine: Machine) -> None:
    machine.unit("app@.service")
    machine.link("/etc/systemd/system/web@.service", "/usr/lib/systemd/system/app@.service")
    machine.link("/etc/systemd/system/app@2.service", "/usr/lib/systemd/system/app@.service")
    assert unit(machine, "app@1.service") == Unit("app@1.service")
    assert unit(machine, "app@2.service") == Unit("app@2.service")
    assert unit(machine, "web@1.service") == Unit("app@1.service")


def test_a_unit_is_masked_by_a_link_to_dev_null_or_an_empty_file(machine: Machine) -> None:
    machine.link("/etc/systemd/system/httpd.service", "/dev/null")
    machine.unit("smb.service", "", where="etc")
    assert unit(machine, "httpd.service") == Unit("httpd.service", masked=True)
    assert unit(machine, "smb.service") == Unit("smb.service", masked=True)


def test_an_init_script_counts_as_the_unit_that_systemd_makes_of_it(machine: Machine) -> None:
    script = machine.root / "etc/init.d/legacy"
    script.parent.mkdir()
    script.write_text("#!/bin/sh\n")
    assert unit(machine, "legacy.service") is None
    script.chmod(0o755)
    assert unit(machine, "legacy.service") == Unit("legacy.service")
    machine.link("/etc/rc3.d/S05legacy", "../init.d/legacy")
    assert boot(machine, "legacy.service") == BootStart(
        "through /etc/rc3.d wanted by multi-user.target", "legacy.service"
    )


def test_mounts_made_from_fstab_are_believed_only_where_systemd_has_not_run(machine: Machine) -> None:
    assert unit(machine, "data.mount") == Unit("data.mount")
    (machine.root / "run/systemd/generator").mkdir(parents=True)
    assert unit(machine, "data.mount") is None


def test_a_script_must_be_an_executable_file(machine: Machine) -> None:
    path = machine.write("resource.d/web", "#!/bin/sh\n", mode=0o644)
    (machine.ha_d / "resource.d/dir").mkdir()
    asked = lookup(machine)
    assert asked.script("web") is None
    path.chmod(0o755)
    assert asked.script("web") == str(path)
    assert asked.script("dir") is None
    assert asked.script("../resource.d/web") is None
    assert asked.script("") is None


# ---------------------------------------------------------------- boot


def test_a_disabled_unit_is_not_started_at_boot(machine: Machine) -> None:
    assert boot(machine, "httpd.service") is None


def test_an_enabled_unit_is_started_at_boot(machine: Machine) -> None:
    machine.link(f"/{WANTED}/httpd.service", "/usr/lib/systemd/system/httpd.service")
    assert boot(machine, "httpd.service") == BootStart("wanted by multi-user.target", "httpd.service")


@pytest.mark.parametrize(
    ("kind", "verb"), [("wants", "wanted"), ("requires", "required"), ("upholds", "required")]
)
def test_every_kind_of_link_counts(machine: Machine, kind: str, verb: str) -> None:
    machine.link(f"/etc/systemd/system/graphical.target.{kind}/httpd.service", "/nowhere")
    assert boot(machine, "httpd.service") == BootStart(f"{verb} by graphical.target", "httpd.service")


def test_being_enabled_under_an_alias_counts(machine: Machine) -> None:
    machine.link("/etc/systemd/system/www.service", "/usr/lib/systemd/system/httpd.service")
    machine.link(f"/{WANTED}/www.service", "/usr/lib/systemd/system/httpd.service")
    assert boot(machine, "httpd.service") == BootStart("wanted by multi-user.target", "httpd.service")


def test_being_wanted_by_what_is_enabled_counts(machine: Machine) -> None:
    machine.unit("shop.service", "[Unit]\nRequires = db.service \\\n  httpd.service\n[Service]\n")
    assert boot(machine, "httpd.service") is None
    machine.link(f"/{WANTED}/shop.service", "/usr/lib/systemd/system/shop.service")
    assert boot(machine, "httpd.service") == BootStart(
        "required by shop.service, itself wanted by multi-user.target", "shop.service"
    )


def test_being_wanted_in_a_drop_in_counts(machine: Machine) -> None:
    path = machine.root / "etc/systemd/system/multi-user.target.d/local.conf"
    path.parent.mkdir(parents=True)
    path.write_text("[Unit]\nWants=httpd.service\n")
    assert boot(machine, "httpd.service") == BootStart("wanted by multi-user.target", "httpd.service")


@pytest.mark.parametrize(
    ("trigger", "text"),
    [
        ("httpd.socket", "[Socket]\nListenStream=80\n"),
        ("web.socket", "[Socket]\nService=httpd.service\n"),
        ("web.timer", "[Timer]\nUnit=httpd.service\n"),
        ("httpd.path", "[Path]\nPathExists=/x\n"),
    ],
)
def test_an_enabled_trigger_counts(machine: Machine, trigger: str, text: str) -> None:
    machine.unit(trigger, text)
    assert boot(machine, "httpd.service") is None
    machine.link(f"/{WANTED}/{trigger}", f"/usr/lib/systemd/system/{trigger}")
    assert boot(machine, "httpd.service") == BootStart(
        f"triggered by {trigger}, itself wanted by multi-user.target", trigger
    )


def test_being_wanted_by_a_masked_unit_or_under_a_masked_link_does_not_count(machine: Machine) -> None:
    machine.unit("shop.service", "[Unit]\nWants=httpd.service\n")
    machine.link(f"/{WANTED}/shop.service", "/usr/lib/systemd/system/shop.service")
    machine.link("/etc/systemd/system/shop.service", "/dev/null")
    machine.link("/etc/systemd/system/shop.service.wants/httpd.service", "/nowhere")
    machine.link("/usr/lib/systemd/system/multi-user.target.wants/smb.service", "../smb.service")
    machine.link(f"/{WANTED}/smb.service", "/dev/null")
    assert boot(machine, "httpd.service") is None
    assert boot(machine, "smb.service") is None


def test_a_target_of_ones_own_counts_when_it_is_the_default(machine: Machine) -> None:
    machine.unit("my.target", "[Unit]\nWants=httpd.service\n", where="etc")
    assert boot(machine, "httpd.service") is None
    machine.link("/etc/systemd/system/default.target", "my.target")
    assert boot(machine, "httpd.service") == BootStart("wanted by my.target", "httpd.service")


def test_units_that_want_each_other_end_the_search(machine: Machine) -> None:
    machine.unit("a.service", "[Unit]\nWants=b.service\n")
    machine.unit("b.service", "[Unit]\nWants=a.service\n")
    assert boot(machine, "a.service") is None


# ---------------------------------------------------------------- beside systemctl


def test_what_systemctl_does_in_a_root_directory_is_seen(machine: Machine) -> None:
    def systemctl(verb: str, name: str) -> None:
        subprocess.run(
            ["systemctl", f"--root={machine.root}", verb, name], capture_output=True, text=True, check=True
        )

    machine.unit("smbd.service", "[Service]\n[Install]\nWantedBy=multi-user.target\nAlias=samba.service\n")
    machine.unit("app@.service", "[Service]\n[Install]\nWantedBy=multi-user.target\n")
    assert unit(machine, "samba.service") == Unit("smbd.service")

    systemctl("enable", "smbd.service")
    systemctl("enable", "app@2.service")
    started = BootStart("wanted by multi-user.target", "smbd.service")
    assert unit(machine, "samba.service") == Unit("smbd.service", boot=started)
    assert boot(machine, "app@1.service") is None
    assert boot(machine, "app@2.service") == BootStart("wanted by multi-user.target", "app@2.service")

    systemctl("disable", "smbd.service")
    assert unit(machine, "samba.service") == Unit("smbd.service")
    systemctl("mask", "smbd.service")
    assert unit(machine, "smbd.service") == Unit("smbd.service", masked=True)


def test_every_enabled_service_of_this_machine_is_seen_as_systemctl_sees_it() -> None:
    """systemctl --root reads the same files without a running systemd."""
    listing = subprocess.run(
        [
            "systemctl",
            "--root=/",
            "list-unit-files",
            "--type=service",
            "--no-legend",
            "--no-pager",
            "--plain",
        ],
        capture_output=True,
        text=True,
        check=True,
    )
    states = {line.split()[0]: line.split()[1] for line in listing.stdout.splitlines()}
    assert states
    asked = UnitFiles(Path("/"), Path("/etc/ha.d/resource.d"))
    for name, state in states.items():
        found = asked.unit(name)
        assert found is not None, name
        match state:
            case "masked":
                assert found.masked, name
            case "alias":
                assert found.name != name
            case "enabled" if "@" not in name:
                assert found.boot is not None, name


# ---------------------------------------------------------------- links inside a root


def test_links_stay_inside_the_root(tmp_path: Path) -> None:
    (tmp_path / "a").symlink_to("/b/c")
    (tmp_path / "b").mkdir()
    (tmp_path / "b/c").symlink_to("../../../../d")
    (tmp_path / "loop").symlink_to("loop")
    assert inside(tmp_path, "/a/x") == tmp_path / "d/x"
    assert inside(tmp_path, "/../e") == tmp_path / "e"
    assert inside(tmp_path, "/loop") is None
