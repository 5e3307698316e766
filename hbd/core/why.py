"""Why a group is where it is, and what would move it: sentences for an operator.

Made when somebody asks, from what the node knows at that moment; nothing in the core goes by it.
"""

from __future__ import annotations

from hbd.config.model import AutoFailback, Config
from hbd.core import evidence
from hbd.core.claims import Peer, PeerKind
from hbd.core.custody import Custody
from hbd.core.exchange import Stage
from hbd.core.groups import Group
from hbd.core.groupstate import MemberState, Phase
from hbd.core.membership import Membership
from hbd.core.records import Evidence, Explanation
from hbd.core.report import Posture


class Why:
    """Explains the groups of one node.

    `leaving`: it is being stopped; `waits`: what a failback waits for; `isolated`: why nobody can be heard.
    """

    def __init__(
        self, config: Config, membership: Membership, custody: Custody, now_ms: int, *,
        leaving: bool, waits: str = "", isolated: tuple[str, ...] = (),
    ) -> None:  # fmt: skip
        self._config, self._membership, self._custody = config, membership, custody
        self._now_ms, self._leaving, self._waits, self._isolated = now_ms, leaving, waits, isolated
        self._me = config.local_node

    def of(self, name: str) -> Explanation | None:
        """The group with this name; None if there is none."""
        group = next((g for g in self._custody.groups.values() if g.name == name), None)
        if group is None:
            return None
        peer = self._membership.peer
        heard: tuple[Evidence, ...] = ()
        if peer is not None:
            keepalive_ms = self._config.timing.keepalive_ms
            heard = evidence.heard(self._membership, peer.name, self._now_ms, keepalive_ms)
            heard += evidence.of_group(peer, group)
        return Explanation(tuple(self._because(group, peer)), tuple(self._would_move(group, peer)), heard)

    # ------------------------------------------------------------ why it is there

    def _because(self, group: Group, peer: Peer | None) -> list[str]:
        match group.phase:
            case Phase.IDLE:
                return self._because_not_here(group, peer)
            case Phase.CLAIMED:
                said = [f"{self._me} wants it ({self._reason(group, peer)}) and waits {self._for(peer)}."]
            case Phase.STARTING if group.provisional:
                said = [self._waiting(group, peer)]
            case Phase.STARTING if group.served:
                said = [*self._because_here(group, peer), *self._growing(group, peer)]
            case Phase.STARTING:
                said = [f"{self._me} starts it: {self._reason(group, peer)}."]
                if group.job is None and not self._custody.is_free_here(group):
                    said.append("Something of it still runs under another group's name, and is waited for.")
            case Phase.STARTED:
                said = [self._waiting(group, peer)] if group.provisional else self._because_here(group, peer)
            case Phase.STOPPING:
                said = [f"{self._me} stops it: {group.reason}."]
            case Phase.BLOCKED:
                return [f"It does not stop on {self._me}: {group.reason}.",
                        "As long as it may still run here, no other node may start it."]  # fmt: skip
        if self._custody.frozen and group.job is None and group.phase is not Phase.STARTED:
            said.append("The cluster is frozen, so it stays half way.")
        return said

    def _reason(self, group: Group, peer: Peer | None) -> str:
        """Why it was claimed; in the past, where that is over."""
        if peer is not None and not peer.dead and group.reason == f"{peer.name} is dead":
            return f"{peer.name} was dead"
        if peer is not None and not peer.gone and group.reason == f"{peer.name} has left":
            return f"{peer.name} had left"
        return group.reason

    @staticmethod
    def _for(peer: Peer | None) -> str:
        if peer is None or peer.dead or peer.gone:
            return "until nothing of it runs here under another group's name"
        return f"for {peer.name} to agree"

    def _waiting(self, group: Group, peer: Peer | None) -> str:
        other = "the other node" if peer is None else peer.name
        what = "its addresses are off until" if group.muted else "it stays as it is until"
        return f"{self._me} has it ({group.reason}), and {what} {other} has answered."

    def _because_here(self, group: Group, peer: Peer | None) -> list[str]:
        said = [f"{self._me} has it: {self._reason(group, peer)}."]
        lost = ", ".join(member.spec.name for member in group.hurt)
        if lost:
            when = "after the thaw" if self._custody.frozen else "again and again until it runs"
            said.append(f"{lost} does not run; it is started {when}.")
        theirs = None if peer is None or peer.dead or peer.gone else self._custody.entry_of(peer, group)
        if peer is not None and theirs is not None and theirs.claims:
            what = "so it stays until the thaw" if self._custody.frozen else "one of the nodes gives way"
            said.append(f"{peer.name} has it too; {what}.")
        if group.changing and peer is not None:
            files = f"haresources on {peer.name} means the same as here"
            said.append(f"It is configured otherwise by now, and is released when {files}.")
        if group.pinned and group.spec.home != self._me:
            said.append("An operator moved it here, so it does not go home by itself.")
        return said

    def _growing(self, group: Group, peer: Peer | None) -> list[str]:
        """What a reload gave it, and why that does not run yet."""
        given = [m.spec.name for m in group.members if not m.ran and m.state is not MemberState.STARTED]
        if not given or group.next_to_start is None or group.next_to_start.ran:
            return []
        if group.job is not None:
            return ["It was given more by a reload, which is being started."]
        why = self._for(peer)
        if peer is not None and self._differs(peer) and not (peer.dead or peer.gone):
            why = f"until haresources on {peer.name} means the same as here"
        return [f"A reload gave it {', '.join(given)}, not started yet: that waits {why}."]

    def _because_not_here(self, group: Group, peer: Peer | None) -> list[str]:
        said = []
        theirs = None if peer is None or peer.dead or peer.gone else self._custody.entry_of(peer, group)
        if peer is not None and theirs is not None and theirs.posture is not Posture.NONE:
            said.append((_MORE if theirs.served else _THEIRS[theirs.posture]).format(peer.name))
        elif self._leaving:
            said.append(f"hbd is being stopped on {self._me}.")
        elif self._membership.status != "active":
            said += self._not_active(peer)
        elif peer is not None and theirs is not None:
            said.append(self._nobody(group, peer))
        elif peer is not None and not peer.sworn and self._is_strange(group, peer):
            said.append(
                f"{peer.name} had another haresources than {self._me} when it was last heard: "
                "only what it is known to have had is taken over."
            )
        if peer is not None and peer.dead and peer.keeps(group.key):
            said.append(f"{peer.name} was frozen when it fell silent, and may still run it.")
        elif self._custody.frozen and not said:
            said.append("The cluster is frozen, so nothing is started.")
        if group.unable:
            said.append(f"It did not start on {self._me}: {group.reason}.")
        if peer is not None and theirs is not None and group.key in peer.unable and not theirs.claims:
            said.append(f"It did not start on {peer.name}{' either' if group.unable else ''}.")
        return said or [f"{self._me} does not have it: {group.reason or 'nothing asked for it yet'}."]

    def _is_strange(self, group: Group, peer: Peer) -> bool:
        """The dead node's haresources was another, and it is not known to have had the group."""
        return self._differs(peer) and group.key not in peer.last_held

    def _differs(self, peer: Peer) -> bool:
        return peer.report is not None and peer.report.digest not in ("", self._custody.digest)

    def _not_active(self, peer: Peer | None) -> list[str]:
        if self._isolated:
            return [f"{self._me} is {text}." for text in self._isolated]
        if peer is not None and not peer.alive and not peer.dead:
            initdead_ms = self._config.timing.initdead_ms
            return [f"{peer.name} was not heard yet; so nothing is started for initdead ({initdead_ms} ms)."]
        return [f"{self._me} is not active yet."]

    def _nobody(self, group: Group, peer: Peer) -> str:
        report = peer.report
        if peer.kind is PeerKind.UNKNOWN:
            return f"It is not known yet what {peer.name} holds."
        if peer.kind is PeerKind.CLASSIC:
            return f"{peer.name} (heartbeat 3.0.6) has not said yet that {self._me} may have it."
        if report is None or report.groups is None:
            return f"{peer.name} has not said yet what it holds."
        if report.digest != self._custody.digest:
            return f"haresources differs between {self._me} and {peer.name}, so nothing new is started."
        if self._custody.transitions.exchanges[group.key].stage is Stage.CEDED:
            return f"{self._me} has given it to {peer.name}, which is about to start it."
        if group.spec.home == peer.name and group.key not in peer.unable:
            return f"{peer.name} is its home and may start it at any moment."
        return f"{peer.name} has nothing of it."

    # ------------------------------------------------------------ what would move it

    def _would_move(self, group: Group, peer: Peer | None) -> list[str]:
        if self._custody.frozen:
            return ["Nothing, before `hbctl thaw`: the cluster is frozen."]
        if peer is not None and peer.dead and not group.claims and peer.keeps(group.key):
            return [f"A heartbeat of {peer.name}, or, if it is off, `hbctl confirm-dead {peer.name}`."]
        if group.phase is Phase.BLOCKED:
            return ["It is free once it is seen stopped: find out what keeps it, and stop that by hand."]
        if peer is None:
            again = group.unable and not group.claims
            return [f"`hbctl takeover` on {self._me} tries it here once more." if again
                    else "Nothing: there is no other node."]  # fmt: skip
        if peer.dead or peer.gone:
            return self._without_peer(group, peer)
        if self._leaving or group.phase is Phase.STOPPING:
            if not group.claims:
                return []
            return [f"It is free for {peer.name} as soon as all of it is stopped here."]
        if group.claims:
            return self._from_here(group, peer)
        theirs = self._custody.entry_of(peer, group)
        if theirs.posture is Posture.BLOCKED:
            return [f"It is free once it is seen stopped on {peer.name}; `hbctl why` there tells more."]
        if theirs.claims:
            return self._to_here(group, peer)
        if group.unable:
            return [f"`hbctl takeover` on {self._me} tries it here once more."]
        return []

    def _without_peer(self, group: Group, peer: Peer) -> list[str]:
        state = "is dead" if peer.dead else "has left"
        if not group.claims:
            if group.unable:
                return [f"`hbctl takeover` tries it here once more; {peer.name} {state}."]
            if not self._leaving and not peer.sworn and self._is_strange(group, peer):
                return [f"A heartbeat of {peer.name}, or, if it is off, `hbctl confirm-dead {peer.name}`."]
            return []
        said = [f"Nothing can take it while {peer.name} {state}."]
        failback = self._config.auto_failback
        if group.spec.home == peer.name and failback is not AutoFailback.OFF and not group.pinned:
            said.append(f"It goes home when {peer.name} is back (auto_failback {failback.value}).")
        return said

    def _from_here(self, group: Group, peer: Peer) -> list[str]:
        obstacle = self._obstacle(group, peer)
        if obstacle:
            return [obstacle]
        said = [self._by_hand or f"`hbctl standby` on {self._me} gives it to {peer.name}.",
                self._by_the_end_of(self._me, f"{self._config.timing.deadtime_ms} ms")]  # fmt: skip
        if group.spec.home == peer.name:
            said.append(self._homeward(group, peer))
        said += self._by_ipfail(peer.name)
        return said

    def _to_here(self, group: Group, peer: Peer) -> list[str]:
        if self._membership.status != "active":
            return [f"Nothing, before {self._me} is active."]
        end = self._by_the_end_of(peer.name, f"{self._membership.patience_with(peer.name)} ms")
        if peer.kind is PeerKind.HBD and self._differs(peer):
            return [f"No command, while haresources differs between {self._me} and {peer.name}.", end]
        if group.unable:
            return [f"`hbctl takeover` on {self._me} tries it here again; by itself it does not come back "
                    f"before {peer.name} is gone."]  # fmt: skip
        by_hand = f"`hbctl takeover` on {self._me}, or `hbctl standby` on {peer.name}, brings it here."
        said = [self._by_hand or by_hand, end]
        if group.spec.home == self._me:
            said.append(self._home_again(group, peer))
        return said

    @property
    def _by_hand(self) -> str:
        """Why no command moves it; empty if one does."""
        if self._config.auto_failback is AutoFailback.LEGACY:
            return "No command: standby and takeover need auto_failback on or off, and it is legacy."
        return ""

    @staticmethod
    def _by_the_end_of(node: str, patience: str) -> str:
        return (
            f"The end of {node} moves it: at once if hbd is stopped there in order, after {patience} without "
            "a heartbeat on any link otherwise."
        )

    def _obstacle(self, group: Group, peer: Peer) -> str:
        """What keeps the other node from having it at all."""
        if peer.kind is PeerKind.HBD and self._differs(peer):
            return f"Nothing, while haresources differs between {self._me} and {peer.name}."
        if group.key in peer.unable:
            return f"{peer.name} could not start it; `hbctl takeover` there tries it once more."
        if self._membership.node_status[peer.name] != "active":
            return f"Nothing, before {peer.name} is active."
        return ""

    def _homeward(self, group: Group, peer: Peer) -> str:
        if group.pinned:
            return f"It does not go home to {peer.name} by itself, since an operator moved it here."
        match self._config.auto_failback:
            case AutoFailback.OFF:
                return f"It does not go home to {peer.name} by itself: auto_failback is off."
            case other:
                waits = self._waits or "as soon as both nodes are at rest"
                return f"It goes home to {peer.name} {waits}: auto_failback is {other.value}."

    def _home_again(self, group: Group, peer: Peer) -> str:
        if self._custody.entry_of(peer, group).pinned:
            return "It does not come home by itself, since an operator moved it there."
        failback = self._config.auto_failback
        if failback is AutoFailback.OFF:
            return "It does not come home by itself: auto_failback is off."
        return f"It comes home by itself when {peer.name} gives it: auto_failback is {failback.value}."

    def _by_ipfail(self, peer: str) -> list[str]:
        if not self._config.ipfail:
            return []
        return [f"So does a ping node or a carrier that {self._me} misses and {peer} does not (ipfail)."]


_MORE = "{0} has it, but not all of it runs there yet."
_THEIRS = {
    Posture.CLAIMED: "{0} is about to start it.",
    Posture.STARTING: "{0} starts it.",
    Posture.RUNNING: "{0} has it.",
    Posture.STOPPING: "{0} stops it.",
    Posture.BLOCKED: "It does not stop on {0}, and may still run there.",
}
