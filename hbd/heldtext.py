"""The groups that this node holds, as JSON: what the next daemon and hbd-orphan.service know of them."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Any

from hbd.config.model import AddressResource, ResourceSpec, ScriptResource, UnitResource
from hbd.core.events import Direction, HeldGroup, Role


def encode_held(groups: tuple[HeldGroup, ...]) -> bytes:
    """Compact JSON; `hbd.stale` finds the addresses in it without a parser."""
    value = {
        "groups": [
            {
                "group": group.group,
                "direction": group.direction.value,
                "epoch": group.epoch,
                "failback": group.failback,
                "role": group.role.value,
                "partner": group.partner,
                "overruled": group.overruled,
                "muted": group.muted,
                "given": group.given,
                "resources": [_encode_resource(resource) for resource in group.resources],
            }
            for group in groups
        ]
    }
    return json.dumps(value, separators=(",", ":")).encode() + b"\n"


def decode_held(text: bytes) -> tuple[HeldGroup, ...]:
    """Raises ValueError if it is not what `encode_held` made."""
    try:
        return tuple(
            HeldGroup(
                group["group"],
                Direction(group["direction"]),
                group["epoch"],
                group["failback"],
                tuple(_decode_resource(resource) for resource in group["resources"]),
                Role(group.get("role", "none")),
                group.get("partner", 0),
                group.get("overruled", False),
                group.get("muted", False),
                tuple(group.get("given", ())),
            )
            for group in json.loads(text)["groups"]
        )
    except (KeyError, TypeError) as error:
        raise ValueError(f"not a record of held groups: {error!r}") from error


def _encode_resource(resource: ResourceSpec) -> dict[str, Any]:
    match resource:
        case AddressResource():
            return {"kind": "address", **asdict(resource)}
        case UnitResource():
            return {"kind": "unit", **asdict(resource)}
        case ScriptResource():
            # For `hbd.orphan`, which knows no way to make these names.
            units = {verb: resource.unit_for(verb) for verb in ("start", "stop")}
            return {"kind": "script", **asdict(resource), "units": units}


def _decode_resource(value: dict[str, Any]) -> ResourceSpec:
    members = {name: member for name, member in value.items() if name != "kind"}
    match value["kind"]:
        case "address":
            return AddressResource(**members)
        case "unit":
            return UnitResource(**members)
        case "script":
            return ScriptResource(members["name"], members["path"], tuple(members["args"]))
        case kind:
            raise ValueError(f"a resource of unknown kind {kind!r}")
