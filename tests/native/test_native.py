"""The facade over compiled code: presence, version, staleness, laziness."""

import importlib.util
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

import ghostwire
from ghostwire import _native
from ghostwire.errors import InternalError

ROOT = Path(ghostwire.__file__).parent.parent


def fresh() -> ModuleType:
    """A second copy of the module under test, imported from its source."""
    spec = importlib.util.spec_from_file_location("native_again", _native.__file__)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_binaries_are_built_from_the_sources_beside_them() -> None:
    assert _native.stale() == []


def test_the_build_is_an_optimised_one_unless_asked_for() -> None:
    assert _native.build_profile() in {"editable", "release", "debug"}


@pytest.mark.parametrize("name", sorted(_native.CYTHON_MODULES | _native.RUST_MODULES))
def test_every_named_module_is_handed_out(name: str) -> None:
    assert isinstance(getattr(_native, name), ModuleType)


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = _native.nothing


def test_another_version_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rust_ext.VERSION", "0.0.0")
    with pytest.raises(InternalError, match=r"rust_ext is version 0\.0\.0.*run `uv sync`"):
        fresh()


def test_an_unbuilt_rust_half_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "rust_ext", ModuleType("rust_ext"))
    monkeypatch.setattr(sys.modules["rust_ext"], "__file__", None, raising=False)
    with pytest.raises(InternalError, match=r"rust_ext is not built: run `uv sync`"):
        fresh()


def test_an_unbuilt_cython_module_says_what_to_run(monkeypatch: pytest.MonkeyPatch) -> None:
    again = fresh()
    monkeypatch.setattr(again, "CYTHON_MODULES", frozenset({"not_there"}))
    with pytest.raises(InternalError, match=r"core_ext\.not_there is not built: run `uv sync`"):
        _ = again.not_there


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the compiled sources that matches what the binaries then say they were built from."""
    cython = [path for path in (ROOT / "core_ext").iterdir() if path.suffix in {".pyx", ".pxd"}]
    for source in [*cython, *rust_sources(), ROOT / "setup.py"]:
        copy = tmp_path / source.relative_to(ROOT)
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_bytes(source.read_bytes())
    monkeypatch.setattr(_native, "_ROOT", tmp_path)
    monkeypatch.setattr("core_ext.build_info.SOURCES_DIGEST", _native._cython_digest(ROOT / "core_ext"))
    monkeypatch.setattr("rust_ext.SOURCES_DIGEST", _native._rust_digest(ROOT / "rust_ext"))
    return tmp_path


@pytest.mark.parametrize(
    ("edited", "message"),
    [
        (
            "core_ext/ipam.pyx",
            "core_ext was built from other sources than those in the tree: run `uv sync` (or `make cy`)",
        ),
        (
            "core_ext/timers.pxd",
            "core_ext was built from other sources than those in the tree: run `uv sync` (or `make cy`)",
        ),
        (
            "rust_ext/src/lib.rs",
            "rust_ext was built from other sources than those in the tree: run `uv sync` (or `make rs`)",
        ),
        (
            "rust_ext/Cargo.lock",
            "rust_ext was built from other sources than those in the tree: run `uv sync` (or `make rs`)",
        ),
    ],
)
def test_an_edited_source_makes_its_half_stale(edited: str, message: str, checkout: Path) -> None:
    assert _native.stale() == []
    (checkout / edited).write_bytes((checkout / edited).read_bytes() + b"\n")
    assert _native.stale() == [message]


def rust_sources() -> list[Path]:
    rust = ROOT / "rust_ext"
    crates = [path for path in (rust / "crates").rglob("*") if path.suffix == ".rs" or path.name == "Cargo.toml"]
    return [*crates, *(rust / "src").rglob("*.rs"), rust / "build.rs", rust / "Cargo.toml", rust / "Cargo.lock"]


def test_outside_a_checkout_nothing_is_stale(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_native, "_ROOT", tmp_path)
    assert _native.stale() == []


def test_importing_it_loads_neither_numpy_nor_a_cython_module() -> None:
    code = "import sys, ghostwire._native; print([m for m in sys.modules if m.startswith(('numpy', 'core_ext.'))])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
