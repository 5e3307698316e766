"""What the tests of the configuration share: a machine in a directory, and parsed findings."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest

from hbd.config.load import check, load
from hbd.config.model import Config

HA_CF = "node linuxha1 linuxha2\nauto_failback on\nbcast eth1\n"
HARESOURCES = "linuxha1 192.168.85.3 httpd smb\n"
AUTHKEYS = "auth 1\n1 sha1 secret\n"


@dataclass
class Machine:
    """A root directory with systemd units, and a configuration directory in it."""

    root: Path

    @property
    def ha_d(self) -> Path:
        return self.root / "etc/ha.d"

    def write(self, name: str, text: str | bytes, mode: int = 0o600) -> Path:
        path = self.ha_d / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text.encode() if isinstance(text, str) else text)
        path.chmod(mode)
        return path

    def configure(
        self, ha_cf: str | bytes = HA_CF, haresources: str = HARESOURCES, authkeys: str = AUTHKEYS
    ) -> None:
        self.write("ha.cf", ha_cf)
        self.write("haresources", haresources)
        self.write("authkeys", authkeys)

    def unit(self, name: str, text: str = "[Service]\nExecStart=/bin/true\n", where: str = "usr/lib") -> Path:
        path = self.root / where / "systemd/system" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return path

    def link(self, path: str, target: str) -> None:
        link = self.root / path.lstrip("/")
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(target)

    def load(self, node: str = "linuxha1") -> Config:
        return load(self.ha_d, node, unit_root=self.root)[0]

    def check(self, node: str = "linuxha1") -> list[str]:
        """The findings as text, the configuration directory left out of the paths."""
        findings, _ = check(self.ha_d, node, unit_root=self.root)
        return [str(finding).replace(f"{self.ha_d}/", "") for finding in findings]


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    """A machine with a valid configuration, and the units httpd and smb (disabled)."""
    machine = Machine(tmp_path)
    machine.unit("httpd.service")
    machine.unit("smb.service")
    machine.configure()
    return machine
