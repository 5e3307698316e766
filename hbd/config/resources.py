"""One resource of haresources: an address, a systemd unit, a script, or something this version refuses.

The order of the guesses is the contract's: written-out agents, IPv6, scripts
with arguments, unit names, what 3.0.6 takes for an IPv4 address, then a bare
name, which is a script in resource.d before it is a service unit. A name with
arguments is no unit, so for it /etc/init.d counts too, as in 3.0.6.
"""

from __future__ import annotations

from hbd.config.addresses import is_ipv6, parse_address, resembles_ipv4
from hbd.config.findings import Findings, Word, suggestion
from hbd.config.lookup import Lookup, is_unit_name
from hbd.config.model import ResourceSpec, ScriptResource, UnitResource

_ADDRESS_AGENTS = ("IPaddr", "IPaddr2", "IPv6addr")
_LATER = "OCF agents come in a later version of hbd"


def parse_resource(word: Word, lookup: Lookup, found: Findings) -> ResourceSpec | None:
    """The resource, or None after its error has been reported."""
    text = word.text
    agent, separator, argument = text.partition("::")
    if agent in _ADDRESS_AGENTS:
        if not argument:
            found.error(word, f"{agent} needs an address; write {agent}::192.168.85.3")
            return None
        return parse_address(text, word.part(len(agent) + len(separator)), agent, found)
    if agent.lower() == "ocf" or text.startswith("ocf:"):
        found.error(word, f"[{text}] is an OCF agent; {_LATER}, use a systemd unit")
        return None
    if is_ipv6(text) and not (separator and lookup.script(agent)):
        return parse_address(text, word, None, found)
    if separator:
        return _with_arguments(word, agent, argument, lookup, found)
    if is_unit_name(text):
        return _unit(word, text, lookup, found)
    if resembles_ipv4(text):
        return parse_address(text, word, None, found)
    return _bare_name(word, lookup, found)


def _with_arguments(
    word: Word, agent: str, argument: str, lookup: Lookup, found: Findings
) -> ScriptResource | None:
    path = lookup.script(agent) or lookup.init_script(agent)
    if path is not None:
        return _script(word, path, tuple(part for part in argument.split("::") if part), found)
    if ":" in agent:
        found.error(word, f"'{word.text}' is not an IPv6 address")
        return None
    instead = ", or use a .mount unit" if agent == "Filesystem" else ""
    found.error(
        word,
        f"Cannot locate resource script {agent}: there is none in resource.d, nor in /etc/init.d; "
        f"it must be an executable file{instead}",
    )
    return None


def _script(word: Word, path: str, args: tuple[str, ...], found: Findings) -> ScriptResource | None:
    try:
        "".join((path, *args)).encode()
    except UnicodeEncodeError:
        found.error(word, f"[{word.text}] is not UTF-8, and systemd would not run it")
        return None
    return ScriptResource(word.text, path, args)


def _bare_name(word: Word, lookup: Lookup, found: Findings) -> ScriptResource | UnitResource | None:
    script = lookup.script(word.text)
    service = f"{word.text}.service"
    if script is not None:
        return _script(word, script, (), found)
    if is_unit_name(service) and lookup.unit(service):
        return _unit(word, service, lookup, found)
    close = suggestion(word.text, (_bare(name) for name in lookup.unit_names()))
    found.error(word, f"[{word.text}] is neither an address, nor a unit, nor a script in resource.d{close}")
    return None


def _bare(unit: str) -> str:
    return unit.removesuffix(".service")


def _unit(word: Word, name: str, lookup: Lookup, found: Findings) -> UnitResource | None:
    if name.endswith((".device", ".scope")):
        found.error(word, f"systemd cannot start {name}: a device or scope comes from elsewhere")
        return None
    if "@." in name:
        found.error(word, f"{name} is a template; name an instance of it, as in {name.replace('@.', '@1.')}")
        return None
    unit = lookup.unit(name)
    if unit is None:
        found.error(word, f"there is no unit {name} on this machine{suggestion(name, lookup.unit_names())}")
        return None
    if unit.masked:
        remedy = f"systemctl unmask {unit.name}, with --runtime if it was masked so"
        found.error(word, f"{unit.name} is masked, systemd will not start it; {remedy}")
        return None
    if unit.boot is not None:
        remedy = f"systemctl disable {unit.boot.enabled}"
        if unit.name.endswith(".mount"):
            remedy = f"write 'noauto' in its line of /etc/fstab, or {remedy}"
        found.warning(
            word,
            f"{unit.name} is started at boot ({unit.boot.reason}), so both machines would run it; "
            f"leave that to hbd: {remedy}",
        )
    return UnitResource(word.text, unit.name)
