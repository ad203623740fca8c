"""The only importer of compiled code: Cython's `core_ext` and Rust's `rust_ext`.

Importing it checks that both are built and of this version, nothing more; each compiled module is loaded when it is
first named (`from ghostwire._native import ipam`). `stale()` compares the sources of a checkout with the digests built
into the binaries. It adds no behaviour of its own to what it hands out.
"""

from __future__ import annotations

import hashlib
import importlib
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

import rust_ext
from ghostwire import __version__
from ghostwire.errors import InternalError

if TYPE_CHECKING:
    from core_ext import addresses as addresses
    from core_ext import cidr as cidr
    from core_ext import columns as columns
    from core_ext import fanout as fanout
    from core_ext import frames as frames
    from core_ext import histogram as histogram
    from core_ext import inbox as inbox
    from core_ext import ipam as ipam
    from core_ext import marks as marks
    from core_ext import netmap as netmap
    from core_ext import pace as pace
    from core_ext import policy as _cells
    from core_ext import prefixes as prefixes
    from core_ext import pulse as pulse
    from core_ext import timers as timers
    from rust_ext import blocks as blocks
    from rust_ext import policy as policy
    from rust_ext import sqlite as sqlite
    from rust_ext import token as token
    from rust_ext import tunnel as tunnel

    policy_cells = _cells

CYTHON_MODULES = frozenset(
    {
        "addresses",
        "cidr",
        "columns",
        "fanout",
        "frames",
        "histogram",
        "inbox",
        "ipam",
        "marks",
        "netmap",
        "pace",
        "policy_cells",
        "prefixes",
        "pulse",
        "timers",
    }
)
_FILES = {"policy_cells": "policy"}
"""Where a module of core_ext is not called as it is here, because rust_ext has one of the name."""
RUST_MODULES = frozenset({"blocks", "policy", "sqlite", "token", "tunnel"})

_ROOT = Path(__file__).resolve().parent.parent
_REBUILD_CYTHON = "run `uv sync` (or `make cy`)"
_REBUILD_RUST = "run `uv sync` (or `make rs`)"


def _check() -> None:
    """Refuse an unbuilt or mismatched Rust half. An unbuilt folder imports as an empty namespace package."""
    if rust_ext.__file__ is None:
        raise InternalError(f"rust_ext is not built: {_REBUILD_RUST}")
    if __version__ != rust_ext.VERSION:
        raise InternalError(f"rust_ext is version {rust_ext.VERSION}, ghostwire is {__version__}: {_REBUILD_RUST}")


def __getattr__(name: str) -> ModuleType:
    if name in CYTHON_MODULES:
        file = f"core_ext.{_FILES.get(name, name)}"
        try:
            module = importlib.import_module(file)
        except ModuleNotFoundError as error:
            if error.name != file:
                raise
            raise InternalError(f"{file} is not built: {_REBUILD_CYTHON}") from error
    elif name in RUST_MODULES:
        found = getattr(rust_ext, name, None)
        if not isinstance(found, ModuleType):
            raise InternalError(f"rust_ext.{name} is not built: {_REBUILD_RUST}")
        module = found
    else:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    globals()[name] = module
    return module


def rust_library() -> str:
    """The path of rust_ext's compiled file, for those who load it as something else than a module, too."""
    file: str = rust_ext._rust.__file__
    return file


def build_profile() -> str:
    """`release` or `editable` where both halves are optimised; else what is not, as in `debug`.

    Raises InternalError where core_ext is not built.
    """
    try:
        from core_ext import build_info
    except ModuleNotFoundError as error:
        raise InternalError(f"core_ext is not built: {_REBUILD_CYTHON}") from error
    return "debug" if build_info.DEBUG else rust_ext.BUILD_PROFILE


def stale() -> list[str]:
    """What to rebuild: one message for each half whose binary does not match the sources beside it.

    Empty when both match, and always outside a source checkout. Reads and hashes every compiled source.
    """
    messages = []
    if (_ROOT / "setup.py").is_file() and (_ROOT / "core_ext" / "build_info.pyx").is_file():
        try:
            from core_ext import build_info

            built_from = build_info.SOURCES_DIGEST
        except ModuleNotFoundError:
            built_from = "nothing"
        if built_from != _cython_digest(_ROOT / "core_ext"):
            messages.append(f"core_ext was built from other sources than those in the tree: {_REBUILD_CYTHON}")
    if (_ROOT / "rust_ext" / "build.rs").is_file() and _rust_digest(_ROOT / "rust_ext") != rust_ext.SOURCES_DIGEST:
        messages.append(f"rust_ext was built from other sources than those in the tree: {_REBUILD_RUST}")
    return messages


def _cython_digest(folder: Path) -> str:
    """The same as `sources_digest` in setup.py."""
    return _digest(folder, sorted(path for path in folder.iterdir() if path.suffix in (".pyx", ".pxd")))


def _rust_digest(folder: Path) -> str:
    """The same as `main` in rust_ext/build.rs."""
    sources = [folder / "Cargo.toml", folder / "Cargo.lock", *_rust_sources(folder / "src")]
    for crate in (folder / "crates").iterdir():
        sources += [*_rust_sources(crate / "src"), crate / "Cargo.toml"]
    return _digest(folder, sorted(sources, key=lambda path: path.relative_to(folder).as_posix()))


def _rust_sources(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.suffix == ".rs" or path.name == "Cargo.toml"]


def _digest(folder: Path, sources: list[Path]) -> str:
    """SHA-256 over name, length and text of each source; one that cannot be read counts as empty, as in the builds."""
    digest = hashlib.sha256()
    for path in sources:
        text = path.read_bytes() if path.is_file() else b""
        digest.update(f"{path.relative_to(folder).as_posix()}\0{len(text)}\0".encode() + text)
    return digest.hexdigest()


_check()
