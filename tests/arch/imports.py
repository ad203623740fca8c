"""What each module of the package imports and calls, read from its source and never by importing it."""

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "ghostwire"


@dataclass(frozen=True)
class Module:
    """One source file: `name` as it is imported, `part` as the layers call it (`ghostwire.agent.io.x` -> `agent`)."""

    name: str
    path: Path
    tree: ast.Module

    @property
    def part(self) -> str:
        return part(self.name)

    def imports(self) -> Iterator[str]:
        """Every module that is imported, at whatever depth of the code, with what is taken out of it appended."""
        package = self.name if self.path.name == "__init__.py" else self.name.rpartition(".")[0]
        for node in ast.walk(self.tree):
            if isinstance(node, ast.Import):
                yield from (alias.name for alias in node.names)
            elif isinstance(node, ast.ImportFrom):
                above = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
                source = ".".join([*above, *([node.module] if node.module else [])])
                yield from (f"{source}.{alias.name}" for alias in node.names)

    def calls(self) -> Iterator[str]:
        """The dotted name of everything that is called."""
        for node in ast.walk(self.tree):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name | ast.Attribute):
                yield ast.unparse(node.func)


def part(name: str) -> str:
    """The layer's word for a dotted name inside the package; the package itself is `ghostwire`."""
    pieces = name.split(".")
    return pieces[1] if len(pieces) > 1 else pieces[0]


def modules() -> list[Module]:
    """Every module of the package, in order of name."""
    found = []
    for path in sorted(PACKAGE.rglob("*.py")):
        pieces = path.relative_to(ROOT).with_suffix("").parts
        name = ".".join(pieces[:-1] if pieces[-1] == "__init__" else pieces)
        found.append(Module(name, path, ast.parse(path.read_text(), str(path))))
    return found
