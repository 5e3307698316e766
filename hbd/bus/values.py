"""Properties as the bus carries them."""

from __future__ import annotations

from hbd.bus.projection import Interfaces, Properties, Property
from hbd.dbusio import Variant


def variants(properties: Properties) -> dict[str, Variant]:
    """An a{sv}."""
    return {name: variant(held) for name, held in properties.items()}


def variant(held: Property) -> Variant:
    """One value with its signature."""
    signature, value = held
    match value:
        case str():
            return Variant(signature, clean(value))
        case list():
            return Variant(signature, [_cleaned(item) for item in value])
        case dict():
            return Variant(signature, {clean(name): number for name, number in value.items()})
        case _:
            return Variant(signature, value)


def _cleaned(item: object) -> object:
    """An element of an array: a text, a number, or a structure of these."""
    if isinstance(item, list):
        return [_cleaned(part) for part in item]
    return clean(item) if isinstance(item, str) else item


def interfaces(shown: Interfaces) -> dict[str, dict[str, Variant]]:
    """An a{sa{sv}}."""
    return {name: variants(properties) for name, properties in shown.items()}


def clean(text: str) -> str:
    """As D-Bus allows it: other people's error texts may hold anything, and must not end the daemon."""
    return text.encode(errors="replace").decode().replace("\0", "?")
