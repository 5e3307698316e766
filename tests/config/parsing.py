"""Short calls of the parsers for tests."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from hbd.config import authkeys, hacf, haresources, hbdcf
from hbd.config.findings import Findings
from hbd.config.hacf_draft import HaCf
from hbd.config.lookup import Unit
from hbd.config.model import GroupSpec, Keys

NODES = ("linuxha1", "linuxha2")


@dataclass
class Table:
    """A Lookup that is a table: unit name to unit, and the names of scripts."""

    units: dict[str, Unit] = field(default_factory=dict)
    scripts: tuple[str, ...] = ()
    init_scripts: tuple[str, ...] = ()

    def script(self, name: str) -> str | None:
        return f"/etc/ha.d/resource.d/{name}" if name in self.scripts else None

    def init_script(self, name: str) -> str | None:
        return f"/etc/init.d/{name}" if name in self.init_scripts else None

    def unit(self, name: str) -> Unit | None:
        return self.units.get(name)

    def unit_names(self) -> Iterable[str]:
        return self.units


def units(*names: str) -> Table:
    return Table({name: Unit(name) for name in names})


def ha_cf(text: str, node: str = "linuxha1") -> tuple[HaCf, list[str]]:
    """The result and the findings for exactly this text."""
    found = Findings()
    result = hacf.parse(text, "ha.cf", node, found, hbd_cf_names=hbdcf.TABLE)
    return result, [str(finding) for finding in found.sorted()]


def with_line(line: str) -> tuple[HaCf, list[str]]:
    """The same for a valid file with one line added: line 4."""
    return ha_cf(f"node linuxha1 linuxha2\nauto_failback on\nbcast eth1\n{line}\n")


def hbd_cf(text: str) -> tuple[hbdcf.HbdCf, list[str]]:
    """The result and the findings for exactly this text."""
    found = Findings()
    result = hbdcf.parse(text, "hbd.cf", found, hacf.TABLE)
    return result, [str(finding) for finding in found.sorted()]


def groups(text: str, lookup: Table | None = None) -> tuple[tuple[GroupSpec, ...], list[str]]:
    found = Findings()
    asked = lookup or units("httpd.service", "smb.service", "data.mount")
    result = haresources.parse(text, "haresources", NODES, ("router",), asked, found)
    return result, [str(finding) for finding in found.sorted()]


def keys(text: str) -> tuple[Keys | None, list[str]]:
    found = Findings()
    result = authkeys.parse(text, "authkeys", found)
    return result, [str(finding) for finding in found.sorted()]
