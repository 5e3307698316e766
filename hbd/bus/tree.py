"""The objects as clients find them: which call is possible where, introspection, properties. Pure."""

from __future__ import annotations

from hbd.bus.contract import INTROSPECTABLE, OBJECT_MANAGER, PEER, PROPERTIES, Contract, Method, describe
from hbd.bus.faults import (
    INVALID_ARGS,
    PROPERTY_READ_ONLY,
    UNKNOWN_INTERFACE,
    UNKNOWN_METHOD,
    UNKNOWN_OBJECT,
    UNKNOWN_PROPERTY,
    CallError,
)
from hbd.bus.names import ROOT
from hbd.bus.projection import Interfaces, Objects, Properties, Property


class Tree:
    """The contract laid over the objects of one projection."""

    def __init__(self, contract: Contract, objects: Objects) -> None:
        self._contract = contract
        self.objects = objects

    def resolve(self, path: str, interface: str | None, member: str, signature: str) -> str:
        """The name of the interface whose method is meant. Raises CallError.

        A call may leave the interface out; then the first that has the method is taken.
        """
        offered = self._interfaces_at(path)
        if interface is not None and interface not in offered:
            raise CallError(UNKNOWN_INTERFACE, f"{path} has no interface {interface}")
        for name in offered if interface is None else (interface,):
            method = self._contract.interfaces[name].methods.get(member)
            if method is not None:
                self._check(name, member, method, signature)
                return name
        raise CallError(UNKNOWN_METHOD, f"{interface or path} has no method {member}")

    def _check(self, interface: str, member: str, method: Method, signature: str) -> None:
        if signature != method.takes:
            raise CallError(
                INVALID_ARGS, f"{interface}.{member} takes '{method.takes}' as arguments, not '{signature}'"
            )

    def changes_something(self, interface: str | None, member: str) -> bool:
        """Whether the method, of any interface if none is given, is not for everyone."""
        known = self._contract.interfaces
        chosen = known.values() if interface is None else (known[interface],) if interface in known else ()
        return any(one.methods[member].privileged for one in chosen if member in one.methods)

    def gives(self, interface: str, member: str) -> str:
        """The signature of a method's answer."""
        return self._contract.interfaces[interface].methods[member].gives

    # ---- introspection

    def introspect(self, path: str) -> str:
        """XML for an object, or for a mere step on the way to one. Raises CallError."""
        interfaces = [self._contract.interfaces[name] for name in self._interfaces_at(path)]
        return describe(interfaces, self._children(path))

    def _interfaces_at(self, path: str) -> tuple[str, ...]:
        own = self.objects.get(path)
        if own is None:
            if path != "/" and not self._children(path):
                raise CallError(UNKNOWN_OBJECT, f"there is no object {path}")
            return (INTROSPECTABLE, PEER)
        manager = (OBJECT_MANAGER,) if path == ROOT else ()
        return (INTROSPECTABLE, PEER, PROPERTIES, *manager, *own)

    def _children(self, path: str) -> tuple[str, ...]:
        above = path.rstrip("/") + "/"
        below = (known.removeprefix(above) for known in self.objects if known.startswith(above))
        return tuple(dict.fromkeys(rest.partition("/")[0] for rest in below))

    # ---- properties

    def get(self, path: str, interface: str, name: str) -> Property:
        """One property; an empty interface means any. Raises CallError."""
        for properties in self._properties(path, interface):
            if name in properties:
                return properties[name]
        raise CallError(UNKNOWN_PROPERTY, f"{interface or path} has no property {name}")

    def get_all(self, path: str, interface: str) -> Properties:
        """All properties of an interface, or of the object. Raises CallError."""
        merged: Properties = {}
        for properties in self._properties(path, interface):
            merged |= properties
        return merged

    def set(self, path: str, interface: str, name: str) -> None:
        """Always raises CallError: state is changed by methods only."""
        self.get(path, interface, name)
        raise CallError(PROPERTY_READ_ONLY, f"{name} can only be read")

    def managed(self) -> Objects:
        """Everything below the root. Fact: D-Bus specification, ObjectManager (sub-objects only)."""
        return {path: interfaces for path, interfaces in self.objects.items() if path != ROOT}

    def _properties(self, path: str, interface: str) -> list[Properties]:
        own: Interfaces = self.objects[path]
        if not interface:
            return list(own.values())
        if interface in own:
            return [own[interface]]
        if interface in self._interfaces_at(path):
            return []  # The standard interfaces have no properties.
        raise CallError(UNKNOWN_INTERFACE, f"{path} has no interface {interface}")
