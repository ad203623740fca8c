"""What holds for the tree as a whole: docstrings, versions, what a tracked file may contain."""

import ast
import re
import subprocess
import tomllib
from pathlib import Path

import ghostwire
from ghostwire import _native
from tests.arch.imports import ROOT, modules

# Written in pieces, or this file would find itself.
MACHINE_PATH = re.compile(r"(?<![\w.~-])/(?:wo" + r"rk|ro" + r"ot)/[\w.]")
PUBLIC_SOURCES = re.compile(
    r'"(?:https://pypi\.org/simple|https://files\.pythonhosted\.org/[^"]*'
    r'|registry\+https://github\.com/rust-lang/crates\.io-index)"'
)
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
CODE = {".py", ".pyi", ".pyx", ".pxd", ".rs", ".sql"}
LONGEST = 500
VAGUE = {"utils", "util", "helpers", "helper", "common", "misc"}


def toml(path: str) -> dict:
    return tomllib.loads((ROOT / path).read_text())


def tracked() -> list[Path]:
    """Every tracked file that is there."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    return [ROOT / name for name in listed.split("\0") if name and (ROOT / name).is_file()]


def test_every_package_says_what_lives_in_it() -> None:
    folders = {module.path.parent for module in modules()} | {ROOT / "core_ext", ROOT / "rust_ext/python/rust_ext"}
    for folder in sorted(folders):
        entry = folder / "__init__.py"
        assert entry.is_file(), f"{folder.relative_to(ROOT)} is no package"
        docstring = ast.get_docstring(ast.parse(entry.read_text()))
        assert docstring, f"{entry.relative_to(ROOT)} has no docstring"
        assert len(docstring.splitlines()) <= 12, f"{entry.relative_to(ROOT)}: the docstring is no summary"


def test_every_compiled_module_has_layout_face_and_twin() -> None:
    for source in sorted((ROOT / "core_ext").glob("*.pyx")):
        assert source.with_suffix(".pyi").is_file(), f"{source.name} has no .pyi"
        if source.stem != "build_info":
            assert source.with_suffix(".pxd").is_file(), f"{source.name} has no .pxd"
            assert (ROOT / "tests" / "reference" / f"{source.stem}.py").is_file(), f"{source.name} has no twin"


def test_no_name_says_nothing() -> None:
    vague = [path for path in tracked() if VAGUE & {Path(piece).stem for piece in path.relative_to(ROOT).parts}]
    assert not vague


def test_no_file_has_grown_too_long() -> None:
    lengths = {path: path.read_bytes().count(b"\n") for path in tracked() if path.suffix in CODE}
    assert not [f"{path.relative_to(ROOT)}: {lines}" for path, lines in lengths.items() if lines > LONGEST]


def test_versions_agree() -> None:
    project = toml("pyproject.toml")["project"]
    cargo = toml("rust_ext/Cargo.toml")["workspace"]["package"]["version"]
    assert project["version"] == ghostwire.__version__ == cargo
    assert f"ghostwire-mesh-rust=={project['version']}" in project["dependencies"]
    locked = {package["name"]: package.get("version") for package in toml("rust_ext/Cargo.lock")["package"]}
    assert locked["ghostwire-mesh-rust"] == cargo
    assert cargo == _native.rust_ext.VERSION


def test_every_crate_is_part_of_the_binding() -> None:
    """Its source distribution carries its own dependencies only: a crate beside them would unsettle the lock file."""

    def neighbours(crate: str) -> set[str]:
        manifest = toml("rust_ext/Cargo.toml" if crate == "binding" else f"rust_ext/crates/{crate}/Cargo.toml")
        return {name for name, source in manifest.get("dependencies", {}).items() if "path" in dict_of(source)}

    reached, waiting = set(), {"binding"}
    while waiting:
        crate = waiting.pop()
        reached.add(crate)
        waiting |= neighbours(crate) - reached
    crates = {path.parent.name for path in (ROOT / "rust_ext" / "crates").glob("*/Cargo.toml")}
    assert crates == reached - {"binding"}


def dict_of(source: object) -> dict:
    return source if isinstance(source, dict) else {}


def test_tracked_files_name_no_machine() -> None:
    found = []
    for path in tracked():
        try:
            text = path.read_text()
        except UnicodeDecodeError:
            continue
        found += [f"{path.relative_to(ROOT)}: {match[0]}" for match in MACHINE_PATH.finditer(text)]
    assert not found, "\n".join(found)


def test_links_in_documents_lead_somewhere() -> None:
    dead = []
    for document in (path for path in tracked() if path.suffix == ".md"):
        for target in LINK.findall(document.read_text()):
            if not target.startswith(("https://", "#")) and not (document.parent / target.partition("#")[0]).exists():
                dead.append(f"{document.relative_to(ROOT)}: {target}")
    assert dead == []


def test_the_manual_states_the_durability_contract() -> None:
    manual = (ROOT / "docs" / "manual.md").read_text()
    for row in ("| D | nodes, keys,", "| L | last seen, endpoints,", "| E | live sessions,"):
        assert row in manual


def test_lock_files_name_public_registries_only() -> None:
    for name in ("uv.lock", "rust_ext/Cargo.lock"):
        sources = re.findall(r'(?:registry = |url = |^source = )("[^"]+")', (ROOT / name).read_text(), re.MULTILINE)
        assert sources
        assert not [source for source in sources if not PUBLIC_SOURCES.fullmatch(source)]
