"""What a resource script finds in its environment: what heartbeat 3.0.6 gives it.

Left out is what belongs to the one message by which 3.0.6 was moved to run the
script (HA_src, HA_ipaddr and so on): behind a decision of hbd there is no such
message. Facts: environments written down by a script that the real daemon ran.
"""

from __future__ import annotations

from hbd.config.model import AutoFailback, Config

HA_DIR = "/etc/ha.d"
_CONSTANT = {
    "HA_DIR": HA_DIR,
    "HA_FUNCS": f"{HA_DIR}/shellfuncs",
    "HA_RESOURCEDIR": f"{HA_DIR}/resource.d",
    "HA_DATEFMT": "%Y/%m/%d_%T\t",
    "OCF_ROOT": "/usr/lib/ocf",
    "OCF_AGENTS": "/usr/lib/ocf/resource.d/heartbeat/",
    "HOME": "/root",
    "USER": "root",
    "LOGNAME": "root",
    # What `status` prints is looked at word by word.
    "LC_ALL": "C",
}


def script_environment(config: Config, alone: bool) -> dict[str, str]:
    """Names and values. `alone`: no other node is active, so nobody has to be asked for anything."""
    said = dict(config.parameters)
    # Systemd takes no others in an environment.
    said = {name: value for name, value in said.items() if value.isprintable()}
    found = _CONSTANT | {f"HA_{name}": value for name, value in said.items()}
    found |= {
        "HA_CURHOST": config.local_node,
        "HA_LOGFILE": said.get("logfile", ""),
        "HA_DEBUGLOG": said.get("debugfile", ""),
        "HA_LOGFACILITY": said.get("logfacility", "none"),
        "HA_LOGD": "no",
    }
    if config.auto_failback is not AutoFailback.LEGACY:
        found["HA_NICEFAILBACK"] = "yes"
    if alone:
        found["HA_DONTASK"] = "yes"
    return found | {f"HA_{name}": value for name, value in config.environment}
