"""What a machine's root gets before its first boot: quiet, a name, and two services.

`httpd.service` and `smb.service` are real servers that listen on the cluster
address only, so they fail to start where it is not. Both are installed and
disabled, as on a machine whose services a cluster manager starts.
"""

import shutil
import uuid
from pathlib import Path

CLUSTER_ADDRESS = "192.168.85.3"
CLUSTER_NETBIOS_NAME = "LINUXHA"

# Static units that only cost time in a container.
_MASKED = [
    "console-getty.service",
    "container-getty@.service",
    "dev-hugepages.mount",
    "getty-static.service",
    "getty@.service",
    "kmod-static-nodes.service",
    "ldconfig.service",
    "proc-sys-fs-binfmt_misc.automount",
    "sys-kernel-config.mount",
    "sys-kernel-debug.mount",
    "sys-kernel-tracing.mount",
    "systemd-ask-password-console.path",
    "systemd-ask-password-wall.path",
    "systemd-firstboot.service",
    "systemd-initctl.socket",
    "systemd-modules-load.service",
    "systemd-remount-fs.service",
    "systemd-sysctl.service",
    "systemd-tmpfiles-clean.timer",
    "systemd-udevd.service",
    "systemd-udevd-control.socket",
    "systemd-udevd-kernel.socket",
    "systemd-update-utmp.service",
    "systemd-update-utmp-runlevel.service",
]

_HTTPD_UNIT = """\
[Unit]
Description=Web server on the cluster address
After=network.target

[Service]
# forking: the parent leaves only when the address is bound, so "started" is true.
Type=forking
PIDFile=/run/httpd/httpd.pid
RuntimeDirectory=httpd
ExecStart=/usr/sbin/httpd -f /etc/httpd/httpd.conf -k start
ExecReload=/usr/sbin/httpd -f /etc/httpd/httpd.conf -k graceful
KillMode=mixed

[Install]
WantedBy=multi-user.target
"""

_HTTPD_CONF = f"""\
ServerRoot /usr/lib/apache2
ServerName {CLUSTER_ADDRESS}
Listen {CLUSTER_ADDRESS}:80
PidFile /run/httpd/httpd.pid
DefaultRuntimeDir /run/httpd
ErrorLog syslog:daemon
User www-data
Group www-data
LoadModule mpm_event_module modules/mod_mpm_event.so
LoadModule authz_core_module modules/mod_authz_core.so
LoadModule dir_module modules/mod_dir.so
StartServers 1
ThreadsPerChild 16
MinSpareThreads 4
MaxSpareThreads 32
MaxRequestWorkers 32
DocumentRoot /srv/www
DirectoryIndex index.html
"""

_SMB_UNIT = """\
[Unit]
Description=Samba on the cluster address
After=network.target

[Service]
Type=notify
NotifyAccess=all
ExecStart=/usr/sbin/smbd --foreground --no-process-group
ExecReload=/bin/kill -HUP $MAINPID
LimitNOFILE=16384

[Install]
WantedBy=multi-user.target
"""

_SMB_CONF = f"""\
[global]
    netbios name = {CLUSTER_NETBIOS_NAME}
    server role = standalone server
    interfaces = {CLUSTER_ADDRESS}/24
    bind interfaces only = yes
    disable netbios = yes
    smb ports = 445
    map to guest = bad user
    load printers = no
    printcap name = /dev/null
    disable spoolss = yes
    logging = systemd

[test]
    path = /srv/test
    guest ok = yes
    read only = no
    force user = nobody
"""


def furnish(root: Path, name: str, hosts: str) -> None:
    """Make the root of machine `name` ready; `hosts` is its /etc/hosts."""
    _silence(root / "etc/systemd/system", root / "etc")
    _identify(root / "etc", name, hosts)
    _journal(root)
    _services(root, name)


def _silence(units: Path, etc: Path) -> None:
    for wants in [*units.glob("*.wants"), *units.glob("*.requires"), *etc.glob("rc?.d")]:
        shutil.rmtree(wants)
    # Aliases of enabled package units; smbd's would shadow our smb.service.
    for alias in [link for link in units.iterdir() if link.is_symlink()]:
        alias.unlink()
    for unit in _MASKED:
        _link(units / unit, "/dev/null")
    _link(units / "default.target", "/usr/lib/systemd/system/multi-user.target")
    (etc / "fstab").write_text("")


def _identify(etc: Path, name: str, hosts: str) -> None:
    (etc / "hostname").write_text(f"{name}\n")
    (etc / "hosts").write_text(f"127.0.0.1 localhost\n{hosts}")
    (etc / "machine-id").write_text(f"{uuid.uuid4().hex}\n")


def _journal(root: Path) -> None:
    place = root / "var/log/journal"
    if place.exists():
        shutil.rmtree(place)
    place.mkdir(parents=True)
    drop_in = root / "etc/systemd/journald.conf.d/lab.conf"
    drop_in.parent.mkdir(parents=True)
    drop_in.write_text("[Journal]\nStorage=persistent\nRateLimitIntervalSec=0\nSystemMaxUse=256M\n")


def _services(root: Path, name: str) -> None:
    units = root / "usr/lib/systemd/system"
    for unit, text in {"httpd.service": _HTTPD_UNIT, "smb.service": _SMB_UNIT}.items():
        # The package has smb.service as another name of its smbd.service; ours is a unit of its own.
        (units / unit).unlink(missing_ok=True)
        (units / unit).write_text(text)
    _link(root / "usr/sbin/httpd", "apache2")
    for path, text in {
        "etc/httpd/httpd.conf": _HTTPD_CONF,
        "etc/samba/smb.conf": _SMB_CONF,
        "srv/www/index.html": f"{name}\n",
        "srv/test/node": f"{name}\n",
    }.items():
        file = root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    (root / "srv/test").chmod(0o777)


def _link(link: Path, target: str) -> None:
    link.unlink(missing_ok=True)
    link.symlink_to(target)
