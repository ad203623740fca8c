"""The architecture's import order, and which parts may touch the world."""

import ast
from pathlib import Path

import pytest

from tests.arch.imports import Module, modules, part

LAYERS = (
    ("errors",),
    ("model",),
    ("_native",),
    ("wire", "policy", "zqlite"),
    ("coordinator", "routing"),
    ("agent", "server", "relay", "dns", "telemetry"),
    ("console", "testing"),
    ("cli",),
)
RANK = {name: rank for rank, names in enumerate(LAYERS) for name in names}
# Lower in the order and still not to be imported.
APART = {("coordinator", "zqlite"), ("routing", "zqlite"), ("agent", "coordinator")}
# Sockets, clocks, files, threads, randomness and event loops live here and nowhere else.
WORLDLY = ("server", "agent.io", "relay", "dns", "telemetry", "zqlite", "testing", "cli")
WORLD = {
    *("socket", "socketserver", "ssl", "select", "selectors", "http", "urllib.request", "ftplib", "smtplib"),
    *("httpx", "requests", "urllib3", "websockets", "picows", "uvicorn", "litestar", "aiohttp", "anyio"),
    *("asyncio", "uvloop", "threading", "_thread", "multiprocessing", "concurrent", "queue", "signal", "subprocess"),
    *("time", "random", "secrets", "uuid", "os", "pathlib", "shutil", "tempfile", "glob", "fcntl", "mmap", "psutil"),
    *("apsw", "logging", "structlog", "builtins.open"),
}
WORLD_CALLS = {"open", "datetime.now", "datetime.utcnow", "datetime.today", "date.today", "datetime.datetime.now"}
# The facade reads sources to tell whether a binary is stale.
ALLOWED = {("_native", "pathlib")}

MODULES = modules()


def within(module: Module, places: tuple[str, ...]) -> bool:
    return any(f"{module.name}.".startswith(f"ghostwire.{place}.") for place in places)


def ghostwire_imports(module: Module) -> set[str]:
    """The parts of the package that a module imports, itself and the bare package (its version) left out."""
    names = (name for name in module.imports() if name.split(".")[0] == "ghostwire")
    return {part(name) for name in names} - {module.part, "ghostwire", "__version__"}


def named(names: list[str]) -> str:
    return "\n".join(sorted(names))


def test_every_part_has_a_layer() -> None:
    unknown = {module.part for module in MODULES} - set(RANK) - {"ghostwire"}
    assert not unknown, f"give {sorted(unknown)} a place in ARCHITECTURE.md and in LAYERS"


def test_imports_only_go_down() -> None:
    wrong = [
        f"{module.name} imports {other}"
        for module in MODULES
        for other in ghostwire_imports(module)
        if module.part == "ghostwire"
        or RANK.get(other, 99) >= RANK.get(module.part, -1)
        or (module.part, other) in APART
    ]
    assert not wrong, named(wrong)


def test_the_pure_agent_does_not_import_its_io() -> None:
    wrong = [
        f"{module.name} imports {name}"
        for module in MODULES
        if module.part == "agent" and not within(module, ("agent.io",))
        for name in module.imports()
        if name.startswith("ghostwire.agent.io")
    ]
    assert not wrong, named(wrong)


def test_only_the_facade_imports_compiled_code() -> None:
    wrong = [
        f"{module.name} imports {name}"
        for module in MODULES
        if module.part != "_native"
        for name in module.imports()
        if name.split(".")[0] in {"core_ext", "rust_ext"}
    ]
    assert not wrong, named(wrong)


def test_the_encrypted_engine_is_the_only_one() -> None:
    """A file opened by the standard library's SQLite would be one that nobody encrypts."""
    wrong = [module.name for module in MODULES if any(name.split(".")[0] == "sqlite3" for name in module.imports())]
    assert not wrong, named(wrong)


def test_the_world_is_touched_only_where_the_design_says() -> None:
    wrong = []
    for module in MODULES:
        if within(module, WORLDLY):
            continue
        for name in module.imports():
            for world in WORLD:
                if f"{name}.".startswith(f"{world}.") and (module.part, world) not in ALLOWED:
                    wrong.append(f"{module.name} imports {name}")
        wrong += [f"{module.name} calls {call}" for call in module.calls() if worldly_call(call)]
    assert not wrong, named(wrong)


def worldly_call(call: str) -> bool:
    draws_a_key = call.endswith("PrivateKey.generate")
    return call in WORLD_CALLS or draws_a_key or call.split(".")[:2] in (["np", "random"], ["numpy", "random"])


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("import a.b as c", ["a.b"]),
        ("from a import b, c", ["a.b", "a.c"]),
        ("from . import x", ["ghostwire.wire.x"]),
        ("from ..model.keys import K", ["ghostwire.model.keys.K"]),
        ("def f():\n    import time", ["time"]),
        ("if TYPE_CHECKING:\n    from ghostwire.cli import x", ["ghostwire.cli.x"]),
    ],
)
def test_no_way_to_import_is_overlooked(source: str, expected: list[str]) -> None:
    module = Module("ghostwire.wire.netmap", Path("netmap.py"), ast.parse(source))
    assert list(module.imports()) == expected
