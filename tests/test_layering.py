"""Who may import whom: ARCHITECTURE.md, read off the imports themselves."""

import ast
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "hbd"
EDGES = (
    "abort", "agents", "bus", "clock", "cores", "history", "jobs", "journal", "lease", "logs",
    "media", "metrics", "notify", "realtime", "respawn", "units_boot", "watchdog",
)  # fmt: skip
SHARED = (
    "hbd.netlink", "hbd.rtnetlink", "hbd.kerneltables", "hbd.systemd1", "hbd.dbusio", "hbd.reconnecting",
)  # fmt: skip
VALUES = (
    "hbd.core.events", "hbd.core.effects", "hbd.core.views", "hbd.core.records", "hbd.core.recordtext",
    "hbd.config.model", "hbd.errors",
)  # fmt: skip
BARE = ("hbd.stale", "hbd.starts", "hbd.orphan")
"""Run where hbd itself cannot: the standard library only."""

ALLOWED: dict[str, tuple[str, ...]] = {
    "core": ("hbd.core", "hbd.config.model", "hbd.config.digest", "hbd.config.compare", "hbd.errors"),
    "config": ("hbd.config", "hbd.errors"),
    "sim": ("hbd.sim", "hbd.core", "hbd.config", "hbd.errors"),
    "ctl": (
        "hbd.ctl", "hbd.check", "hbd.bus", "hbd.dbusio", "hbd.config", "hbd.core.views", "hbd.errors",
    ),
    "check": (
        "hbd.check", "hbd.config", "hbd.agents.findif", "hbd.core.events", "hbd.ctl.client",
        "hbd.ctl.snapshot", "hbd.media.ping", "hbd.units_boot", *SHARED, "hbd.errors",
    ),
    "configuration": ("hbd.config", "hbd.errors"),
    "stale": (),
    "starts": (),
    "orphan": ("hbd.stale", "hbd.starts"),
    "errors": (),
    "places": (),
    "crash": ("hbd.errors",),
    "edges": VALUES,
    "files": (),
    "heldtext": VALUES,
    "rtnetlink": (),
    "kerneltables": ("hbd.rtnetlink",),
    "netlink": ("hbd.rtnetlink", "hbd.kerneltables", *VALUES),
    "systemd1": (*VALUES, "hbd.dbusio", "hbd.reconnecting"),
    "reconnecting": ("hbd.dbusio",),
    "dbusio": ("hbd.dbusio_codec", "hbd.dbusio_match", "hbd.dbusio_stream"),
    "dbusio_stream": ("hbd.dbusio_codec",),
    "dbusio_match": ("hbd.dbusio_codec",),
    "dbusio_codec": ("hbd.errors",),
    **{edge: (f"hbd.{edge}", *VALUES, *SHARED, *BARE) for edge in EDGES},
    "driver": ("hbd.edges", *VALUES),
    "state": ("hbd.files", "hbd.heldtext", *VALUES, *BARE),
}
"""First part of a module's name below hbd → what of ours it may import; `daemon` and `__main__` know all."""

EVERYTHING = ("daemon", "__main__", "__init__")
VERSION = "hbd"
"""`from hbd import __version__`, which everybody may know."""

IMPURE = {
    "asyncio", "datetime", "io", "logging", "os", "pathlib", "queue", "select", "selectors", "signal",
    "socket", "subprocess", "tempfile", "threading", "time",
}  # fmt: skip
"""Clocks, sockets, files, threads and loggers: none of it in the core. (`random` only as a seeded Random.)"""

OUTSIDE = ("open", "print", "input")

ONE_IMPORTER = {
    "dbus_next": "dbusio_codec.py",
    "cryptography": "core/auth.py",
    "serial": "media/tty.py",
    "rich": "ctl/terminal.py",
}

MODULES = sorted(PACKAGE.rglob("*.py"))


def part(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imports(path: Path) -> list[tuple[int, str]]:
    """(line, full name) of everything a module imports, names inside packages spelt out."""
    found = []
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found += [(node.lineno, alias.name) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno}: relative import"
            module = node.module or ""
            found += [(node.lineno, _full(module, alias.name)) for alias in node.names]
    return found


def _full(module: str, name: str) -> str:
    """`from hbd.core import events` names hbd.core.events, `from hbd.state import Store` names hbd.state."""
    as_path = PACKAGE.parent.joinpath(*module.split("."), name)
    is_module = as_path.with_suffix(".py").exists() or as_path.is_dir()
    return f"{module}.{name}" if is_module else module


def within(name: str, roots: tuple[str, ...]) -> bool:
    return any(name == root or name.startswith(f"{root}.") for root in roots)


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_a_module_imports_only_what_lies_below_it(path: Path) -> None:
    where = part(path)
    if where in EVERYTHING:
        return
    assert where in ALLOWED, f"hbd/{where} is not in the table of layers"
    allowed = ALLOWED[where]
    wrong = [
        f"{path.name}:{line}: {name}"
        for line, name in imports(path)
        if name.split(".")[0] == "hbd" and name != VERSION and not within(name, allowed)
    ]
    assert wrong == []


@pytest.mark.parametrize(
    "path", [path for path in MODULES if part(path) == "core"], ids=lambda path: path.name
)
def test_the_core_knows_no_clock_socket_file_thread_or_logger(path: Path) -> None:
    tree = ast.parse(path.read_text())
    wrong = [f"{path.name}:{line}: {name}" for line, name in imports(path) if name.split(".")[0] in IMPURE]
    calls = [
        f"{path.name}:{node.lineno}: {node.func.id}"
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in OUTSIDE
    ]
    assert wrong + calls == []


def test_each_library_has_one_module_that_imports_it() -> None:
    for library, owner in ONE_IMPORTER.items():
        users = {
            str(path.relative_to(PACKAGE))
            for path in MODULES
            for _, name in imports(path)
            if name.split(".")[0] == library
        }
        assert users <= {owner}, library


@pytest.mark.parametrize("module", BARE)
def test_what_must_run_when_hbd_cannot_needs_the_standard_library_only(module: str) -> None:
    path = PACKAGE / f"{module.removeprefix('hbd.')}.py"
    foreign = {
        name for _, name in imports(path) if name.split(".")[0] not in {*sys.stdlib_module_names, "hbd"}
    }
    assert foreign == set()


def test_directories_that_share_a_name_with_a_library_are_no_packages() -> None:
    for name in ("systemd", "dbus"):
        assert not (PACKAGE.parent / name / "__init__.py").exists()
