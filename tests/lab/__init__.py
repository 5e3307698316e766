"""Two real systemd machines, `linuxha1` and `linuxha2`, on one computer.

    from tests.lab import Lab

    with Lab() as lab:
        lab.boot()
        print(lab["linuxha1"].run("systemctl is-system-running").stdout)

Each machine is a systemd-nspawn container with a root file system, journal,
D-Bus and network namespace of its own. README.md tells what is what.
"""

from tests.lab.host import LabError
from tests.lab.journal import Entry
from tests.lab.lab import Lab
from tests.lab.network import Direction
from tests.lab.node import Node
from tests.lab.probes import Answer, ArpProbe, HttpProbe, Round

__all__ = ["Answer", "ArpProbe", "Direction", "Entry", "HttpProbe", "Lab", "LabError", "Node", "Round"]
