"""The gate between a death and a takeover: whether the dead node has to be fenced first.

hbd drives no devices, so the gate is always open, and what goes through it unfenced is said each time. A
configuration with a device gets here only where hbd.cf says `fencing none`. Facts: heartbeat 3.0.6.
"""

from __future__ import annotations

from hbd.config.model import Config


def unfenced(config: Config, node: str, sworn: bool = False) -> tuple[str, ...]:
    """What the log has to say when this node takes what the dead one may still hold. Nothing, if an operator
    has `sworn` that it is dead: that is as good as a fence."""
    if sworn:
        return ()
    if config.stonith is None:
        first = "No STONITH device configured."
    else:
        first = (
            f"node {node} is not fenced: hbd.cf says fencing none, and the STONITH device of ha.cf "
            f"({config.stonith.device}) is not used"
        )
    return first, "Shared disks are not protected."
