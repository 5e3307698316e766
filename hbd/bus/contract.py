"""The D-Bus contract: which methods, signals and properties each interface has, and who may call them.

Read from `dbus/org.linux_ha.Heartbeat1.xml`, so that dispatch, introspection and
documentation cannot say different things. A comment there stands before what it explains; introspection
shows it as the annotation that gdbus-codegen(1) makes documentation of. A method that changes something is
marked by systemd's annotation for that.
Fact: D-Bus specification, "Introspection Data Format".
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree
from xml.sax.saxutils import quoteattr

from hbd.bus.names import BUS_NAME
from hbd.errors import EdgeError

INTROSPECTABLE = "org.freedesktop.DBus.Introspectable"
PEER = "org.freedesktop.DBus.Peer"
PROPERTIES = "org.freedesktop.DBus.Properties"
OBJECT_MANAGER = "org.freedesktop.DBus.ObjectManager"

DOCUMENTATION = "org.gtk.GDBus.DocString"
PRIVILEGED = "org.freedesktop.systemd1.Privileged"
"""Annotations."""

_STANDARD = f"""
<node>
  <interface name="{INTROSPECTABLE}">
    <method name="Introspect"><arg name="xml" type="s" direction="out"/></method>
  </interface>
  <interface name="{PEER}">
    <method name="Ping"/>
    <method name="GetMachineId"><arg name="id" type="s" direction="out"/></method>
  </interface>
  <interface name="{PROPERTIES}">
    <method name="Get">
      <arg name="interface" type="s" direction="in"/>
      <arg name="name" type="s" direction="in"/>
      <arg name="value" type="v" direction="out"/>
    </method>
    <method name="GetAll">
      <arg name="interface" type="s" direction="in"/>
      <arg name="properties" type="a{{sv}}" direction="out"/>
    </method>
    <method name="Set">
      <arg name="interface" type="s" direction="in"/>
      <arg name="name" type="s" direction="in"/>
      <arg name="value" type="v" direction="in"/>
    </method>
    <signal name="PropertiesChanged">
      <arg name="interface" type="s"/>
      <arg name="changed" type="a{{sv}}"/>
      <arg name="invalidated" type="as"/>
    </signal>
  </interface>
  <interface name="{OBJECT_MANAGER}">
    <method name="GetManagedObjects">
      <arg name="objects" type="a{{oa{{sa{{sv}}}}}}" direction="out"/>
    </method>
    <signal name="InterfacesAdded">
      <arg name="object" type="o"/>
      <arg name="interfaces" type="a{{sa{{sv}}}}"/>
    </signal>
    <signal name="InterfacesRemoved">
      <arg name="object" type="o"/>
      <arg name="interfaces" type="as"/>
    </signal>
  </interface>
</node>
"""


@dataclass(frozen=True, slots=True)
class Method:
    """Signatures of the arguments and of the answer."""

    takes: str
    gives: str
    privileged: bool = False
    """It changes something, so not everyone may call it."""


@dataclass(frozen=True, slots=True)
class Interface:
    """One interface. Signals and properties have a signature each."""

    name: str
    methods: dict[str, Method]
    signals: dict[str, str]
    properties: dict[str, str]
    description: str
    """As introspection shows it: an `interface` element."""


@dataclass(frozen=True, slots=True)
class Contract:
    """All interfaces by name, the standard ones included."""

    interfaces: dict[str, Interface]


def load() -> Contract:
    """The contract of this version of hbd. Raises EdgeError if its file is missing or broken."""
    return parse(find().read_text(encoding="utf-8"))


def find() -> Path:
    """In a checkout in `dbus/`, else where D-Bus keeps interfaces below our prefix. Raises EdgeError."""
    for above in Path(__file__).resolve().parents:
        for folder in ("dbus", "share/dbus-1/interfaces"):
            place = above / folder / f"{BUS_NAME}.xml"
            if place.is_file():
                return place
    raise EdgeError(f"{BUS_NAME}.xml is missing: hbd is not completely installed")


def parse(text: str) -> Contract:
    """Raises EdgeError if the text is no introspection XML."""
    try:
        roots = [_read(xml) for xml in (_STANDARD, text)]
        found = [_interface(element) for root in roots for element in root.iterfind("interface")]
    except (ElementTree.ParseError, KeyError) as error:
        raise EdgeError(f"the D-Bus contract cannot be read: {error}") from error
    return Contract({interface.name: interface for interface in found})


def _read(xml: str) -> ElementTree.Element:
    builder = ElementTree.TreeBuilder(insert_comments=True)
    root = ElementTree.fromstring(xml, ElementTree.XMLParser(target=builder))
    _annotate(root)
    return root


def _annotate(parent: ElementTree.Element) -> None:
    """Turn the comments in an element into annotations of what follows them."""
    said = ""
    for child in tuple(parent):
        if child.tag is ElementTree.Comment:  # type: ignore[comparison-overlap]
            said = " ".join((child.text or "").split())
            parent.remove(child)
            continue
        _annotate(child)
        if said:
            child.insert(0, ElementTree.Element("annotation", name=DOCUMENTATION, value=said))
            said = ""


def _describe(element: ElementTree.Element) -> str:
    element.tail = None
    ElementTree.indent(element, level=1)
    return "  " + ElementTree.tostring(element, encoding="unicode")


def _interface(element: ElementTree.Element) -> Interface:
    return Interface(
        element.attrib["name"],
        {method.attrib["name"]: _method(method) for method in element.iterfind("method")},
        {signal.attrib["name"]: _signature(signal.iterfind("arg")) for signal in element.iterfind("signal")},
        {held.attrib["name"]: held.attrib["type"] for held in element.iterfind("property")},
        _describe(element),
    )


def _method(element: ElementTree.Element) -> Method:
    args = element.findall("arg")
    takes = [arg for arg in args if arg.get("direction", "in") == "in"]
    gives = [arg for arg in args if arg.get("direction", "in") == "out"]
    marks = {mark.attrib["name"]: mark.attrib["value"] for mark in element.iterfind("annotation")}
    return Method(_signature(takes), _signature(gives), marks.get(PRIVILEGED) == "true")


def _signature(args: Iterable[ElementTree.Element]) -> str:
    return "".join(arg.attrib["type"] for arg in args)


DOCTYPE = (
    '<!DOCTYPE node PUBLIC "-//freedesktop//DTD D-BUS Object Introspection 1.0//EN"\n'
    ' "http://www.freedesktop.org/standards/dbus/1.0/introspect.dtd">\n'
)


def describe(interfaces: Iterable[Interface], children: Iterable[str]) -> str:
    """Introspection XML of an object with these interfaces and child elements."""
    parts = [interface.description for interface in interfaces]
    parts += [f"  <node name={quoteattr(child)}/>" for child in children]
    return "\n".join([DOCTYPE + "<node>", *parts, "</node>"]) + "\n"
