"""Read docs/requirements.toml; render the README's status table from it, or check that it is up to date.

python ci/requirements.py           rewrites the table between the markers in README.md
python ci/requirements.py --check   exits 1 when the table is not what the file says
"""

import ast
import sys
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SOURCE = ROOT / "docs" / "requirements.toml"
README = ROOT / "README.md"
BEGIN = "<!-- status:begin -->"
END = "<!-- status:end -->"


class RequirementsError(Exception):
    """The file, or the README beside it, is not of the form it must have."""


@dataclass(frozen=True, slots=True)
class Requirement:
    """One promise and what shows it; see the head of docs/requirements.toml."""

    area: str
    text: str
    status: str
    test: str = ""
    bench: str = ""
    script: str = ""
    figure: str = ""
    needs: str = ""

    def __post_init__(self) -> None:
        faults = [
            (not self.area or not self.text, "area and text say what is promised"),
            (self.status not in {"shown", "open"}, f"status is shown or open, not {self.status!r}"),
            (sum(map(bool, self.shown_by)) > 1, "one test, bench or script an entry: make two"),
            (self.status == "shown" and not any(self.shown_by), "what is shown names its test, bench or script"),
            ("::" not in (self.test or "::") or "::" not in (self.bench or "::"), "an id is path::name"),
            (self.status == "shown" and bool(self.bench) and not self.figure, "a bench has its last figure"),
            (self.needs not in {"", "root"}, f"needs is root or nothing, not {self.needs!r}"),
        ]
        for fault, message in faults:
            if fault:
                raise RequirementsError(f"{self.text or self.area!r}: {message}")

    @property
    def shown_by(self) -> tuple[str, str, str]:
        return self.test, self.bench, self.script


def load(path: Path = SOURCE) -> list[Requirement]:
    """Every entry, in the order of the file. Raises RequirementsError for one that is malformed or there twice."""
    found = []
    for entry in tomllib.loads(path.read_text()).get("requirement", []):
        try:
            found.append(Requirement(**entry))
        except TypeError as error:
            raise RequirementsError(f"{entry.get('text', entry)}: {error}") from error
    texts = [requirement.text for requirement in found]
    if twice := {text for text in texts if texts.count(text) > 1}:
        raise RequirementsError(f"there twice: {sorted(twice)}")
    return found


def missing(requirements: list[Requirement], root: Path = ROOT) -> list[str]:
    """The named tests, benchmarks and scripts that are not in the tree."""
    ids = {wanted for requirement in requirements for wanted in requirement.shown_by if wanted}
    return sorted(wanted for wanted in ids if not defined(wanted, root))


def defined(wanted: str, root: Path) -> bool:
    """Whether a script, `path::name` or `path::Class::name` is there; a state machine's is an assignment."""
    path, *names = wanted.split("::")
    source = root / path
    if not names or not source.is_file():
        return source.is_file()
    return "::".join(names) in set(definitions(ast.parse(source.read_text()).body))


def definitions(body: list[ast.stmt]) -> Iterator[str]:
    for node in body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node.name
        elif isinstance(node, ast.ClassDef):
            yield from (f"{node.name}::{inner}" for inner in definitions(node.body))
        elif isinstance(node, ast.Assign) and isinstance(node.value, ast.Attribute) and node.value.attr == "TestCase":
            yield from (f"{target.id}::runTest" for target in node.targets if isinstance(target, ast.Name))


def table(requirements: list[Requirement]) -> str:
    """The status table, one row an area in the order of the file, open promises named."""
    rows = ["| area | shown | still open |", "|---|---|---|"]
    for area in dict.fromkeys(requirement.area for requirement in requirements):
        mine = [requirement for requirement in requirements if requirement.area == area]
        still = "; ".join(requirement.text for requirement in mine if requirement.status == "open")
        shown = sum(requirement.status == "shown" for requirement in mine)
        rows.append(f"| {area} | {shown} of {len(mine)} | {still or 'nothing'} |")
    return "\n".join(rows)


def rendered(readme: str, requirements: list[Requirement]) -> str:
    """The README with its table renewed. Raises RequirementsError where the markers are not there exactly once."""
    if readme.count(BEGIN) != 1 or readme.count(END) != 1 or readme.index(BEGIN) > readme.index(END):
        raise RequirementsError(f"README.md needs one line {BEGIN!r} and after it one line {END!r}")
    head, _, rest = readme.partition(BEGIN)
    return f"{head}{BEGIN}\n{table(requirements)}\n{END}{rest.partition(END)[2]}"


def main(arguments: list[str]) -> int:
    try:
        requirements = load()
        before = README.read_text()
        after = rendered(before, requirements)
    except RequirementsError as error:
        print(f"requirements: {error}", file=sys.stderr)
        return 1
    if absent := missing(requirements):
        print("requirements: not there:", *absent, sep="\n  ", file=sys.stderr)
        return 1
    if arguments == ["--check"]:
        if after != before:
            print("requirements: README's status table is old: run `python ci/requirements.py`", file=sys.stderr)
        return int(after != before)
    README.write_text(after)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
