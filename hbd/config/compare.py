"""Old and new configuration: what changes in a running daemon, and what needs a restart."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields

from hbd.config.model import Config, GroupSpec, MediumSpec

_RESTART = {
    "local_node": "the name of this node",
    "realtime": "realtime",
    "rtprio": "rtprio",
    "hbgenmethod": "hbgenmethod",
    "uuidfrom": "uuidfrom",
    "coredumps": "coredumps",
    "coreroot": "coreroot",
}
"""Fields of Config that are used once, at the start."""


@dataclass(frozen=True, slots=True)
class Changes:
    """The difference of two configurations, in terms of what the daemon has to do."""

    timing: bool
    keys: bool
    auto_failback: bool
    nodes_added: tuple[str, ...]
    nodes_removed: tuple[str, ...]
    media_added: tuple[MediumSpec, ...]
    media_removed: tuple[MediumSpec, ...]
    groups_added: tuple[GroupSpec, ...]
    groups_removed: tuple[GroupSpec, ...]
    groups_changed: tuple[tuple[GroupSpec, GroupSpec], ...]
    """Old and new form of a group with the same first resource (by identity) or the same name."""
    others: tuple[str, ...]
    """Other fields of Config that changed and take effect at once."""
    restart: tuple[str, ...]
    """What keeps its old value until hbd is restarted, named for the operator."""

    @property
    def any(self) -> bool:
        """Whether there is any difference at all."""
        return any(getattr(self, field.name) for field in fields(self))

    def texts(self) -> Iterator[str]:
        """The changes as short texts for the journal, those that need a restart last."""
        for name in ("timing", "keys", "auto_failback"):
            if getattr(self, name):
                yield f"{name} changed"
        for node in self.nodes_added:
            yield f"node {node} added"
        for node in self.nodes_removed:
            yield f"node {node} removed"
        for medium in self.media_added:
            yield f"link {medium.link} added"
        for medium in self.media_removed:
            yield f"link {medium.link} removed"
        for group in self.groups_added:
            yield f"group {group.name} added"
        for group in self.groups_removed:
            yield f"group {group.name} removed"
        for _, group in self.groups_changed:
            yield f"group {group.name} changed"
        for name in self.others:
            yield f"{name} changed"
        for name in self.restart:
            yield f"{name} changed: takes effect when hbd is restarted"


def compare(old: Config, new: Config) -> Changes:
    """What is different in `new`."""
    added, removed, changed = _groups(old.groups, new.groups)
    return Changes(
        timing=old.timing != new.timing,
        keys=old.keys != new.keys,
        auto_failback=old.auto_failback != new.auto_failback,
        nodes_added=tuple(node for node in new.nodes if node not in old.nodes),
        nodes_removed=tuple(node for node in old.nodes if node not in new.nodes),
        media_added=tuple(medium for medium in new.media if medium not in old.media),
        media_removed=tuple(medium for medium in old.media if medium not in new.media),
        groups_added=added,
        groups_removed=removed,
        groups_changed=changed,
        others=tuple(_others(old, new)),
        restart=tuple(text for name, text in _RESTART.items() if getattr(old, name) != getattr(new, name)),
    )


def _others(old: Config, new: Config) -> Iterator[str]:
    named = {"nodes", "media", "groups", "timing", "keys", "auto_failback", "parameters", *_RESTART}
    for field in fields(Config):
        if field.name not in named and getattr(old, field.name) != getattr(new, field.name):
            yield field.name


def _groups(
    old: tuple[GroupSpec, ...], new: tuple[GroupSpec, ...]
) -> tuple[tuple[GroupSpec, ...], tuple[GroupSpec, ...], tuple[tuple[GroupSpec, GroupSpec], ...]]:
    """Added, removed, and pairs of changed groups."""
    left = list(old)
    added, changed = [], []
    for group in new:
        before = next((there for there in left if _same_group(there, group)), None)
        if before is None:
            added.append(group)
            continue
        left.remove(before)
        if before != group:
            changed.append((before, group))
    return tuple(added), tuple(left), tuple(changed)


def _same_group(one: GroupSpec, other: GroupSpec) -> bool:
    return one.name == other.name or one.resources[0].identity == other.resources[0].identity
