"""ConfirmDead: an operator's oath that a node is dead, in place of what no message can prove.

Silence proves little: the node may be cut off, or stand still, or have been frozen when it fell silent. The
oath is for a machine that somebody has seen without power. It is taken as a death at once, also where
initdead has not passed, and it alone lets go what a frozen node held. It is bound to the life that the node
was last heard in, and void as soon as anything is heard from it (rule 26). It is not kept over a restart of
hbd: who starts asks again.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

from hbd.errors import Refused


def check(node: str, local: str, peers: Collection[str], links: Mapping[tuple[str, str], bool]) -> None:
    """Whether the oath can be taken at all. Raises Refused with a sentence.

    `links` is (node, link) -> up, for all that were ever heard.
    """
    if node == local:
        raise Refused(f"{node} is this node, which is not dead")
    if node not in peers:
        raise Refused(f"ha.cf has no other node {node}, only {', '.join(peers) or 'this one'}")
    heard = [link for (name, link), up in links.items() if up and name == node]
    if heard:
        raise Refused(f"{node} is not dead: link {node}:{', '.join(heard)} is up")
