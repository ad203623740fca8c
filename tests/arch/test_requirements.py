"""docs/requirements.toml, what it names, and the table that the README shows of it."""

from pathlib import Path
from types import SimpleNamespace
from typing import Literal

import pytest

from ci import requirements
from ci.requirements import Requirement, RequirementsError
from tests.promises import Promises

ROOT = requirements.ROOT
GOOD = {"area": "A", "text": "t", "status": "shown", "test": "x::y"}


def test_every_named_test_and_benchmark_is_there() -> None:
    assert requirements.missing(requirements.load()) == []


def test_the_readme_shows_the_present_table() -> None:
    readme = requirements.README.read_text()
    assert readme == requirements.rendered(readme, requirements.load()), "run `python ci/requirements.py`"


@pytest.mark.parametrize(
    "change",
    [
        {"status": "done"},
        {"test": ""},
        {"bench": "x::z"},
        {"test": "", "bench": "x::z"},
        {"needs": "luck"},
        {"test": "x"},
        {"area": ""},
        {"unknown": "x"},
    ],
)
def test_a_malformed_entry_is_refused(change: dict[str, str], tmp_path: Path) -> None:
    lines = [f'{key} = "{value}"' for key, value in {**GOOD, **change}.items()]
    (tmp_path / "r.toml").write_text("\n".join(["[[requirement]]", *lines]))
    with pytest.raises(RequirementsError):
        requirements.load(tmp_path / "r.toml")


def test_what_is_not_there_is_noticed(tmp_path: Path) -> None:
    (tmp_path / "t.py").write_text("class A:\n    def b(self): ...\nTestM = Machine.TestCase\nasync def c(): ...\n")
    there = ["t.py::A::b", "t.py::TestM::runTest", "t.py::c"]
    absent = ["t.py::A", "t.py::b", "t.py::TestM", "u.py::c"]
    named = [Requirement("A", name, "shown", test=name) for name in there + absent]
    assert requirements.missing(named, tmp_path) == sorted(absent)


def test_the_table_counts_and_names_what_is_open() -> None:
    entries = [Requirement(**GOOD), Requirement("A", "two", "open"), Requirement("B", "three", "shown", script="s")]
    assert requirements.table(entries).splitlines()[2:] == ["| A | 1 of 2 | two |", "| B | 1 of 1 | nothing |"]
    with pytest.raises(RequirementsError):
        requirements.rendered("no markers", entries)


def report(name: str, outcome: Literal["passed", "skipped"]) -> pytest.TestReport:
    return pytest.TestReport(name, ("t.py", 1, name), {}, outcome, None, "setup")


@pytest.mark.parametrize(
    ("name", "outcome", "root", "fails"),
    [
        ("t.py::a", "skipped", False, True),
        ("t.py::a[case]", "skipped", False, True),
        ("t.py::a", "passed", False, False),
        ("t.py::other", "skipped", False, False),
        ("t.py::r", "skipped", False, False),
        ("t.py::r", "skipped", True, True),
        ("t.py::o", "skipped", True, False),
    ],
)
def test_a_skipped_promise_fails_the_session(
    name: str, outcome: Literal["passed", "skipped"], root: bool, fails: bool
) -> None:
    entries = [
        Requirement("A", "plain", "shown", test="t.py::a"),
        Requirement("A", "rooted", "shown", test="t.py::r", needs="root"),
        Requirement("A", "open", "open", test="t.py::o"),
    ]
    promises = Promises(entries, root=root)
    promises.pytest_runtest_logreport(report(name, outcome))
    session = SimpleNamespace(exitstatus=pytest.ExitCode.OK)
    promises.pytest_sessionfinish(session)  # type: ignore[arg-type]
    assert (session.exitstatus == pytest.ExitCode.TESTS_FAILED) is fails


@pytest.mark.parametrize(
    ("collected", "deselected", "source", "fails"),
    [
        (["t.py::a[1]", "t.py::a[2]", "t.py::b"], [], pytest.Config.ArgsSource.TESTPATHS, False),
        (["t.py::a[1]"], [], pytest.Config.ArgsSource.TESTPATHS, True),
        (["t.py::a[1]"], ["t.py::b"], pytest.Config.ArgsSource.TESTPATHS, False),
        (["t.py::a[1]"], [], pytest.Config.ArgsSource.ARGS, False),
    ],
)
def test_a_promised_test_that_is_not_collected_fails_the_session(
    collected: list[str], deselected: list[str], source: pytest.Config.ArgsSource, fails: bool
) -> None:
    promises = Promises([Requirement("A", name, "open", test=f"t.py::{name}") for name in "ab"], root=False)
    session = SimpleNamespace(
        config=SimpleNamespace(args_source=source),
        items=[SimpleNamespace(nodeid=name) for name in collected],
        exitstatus=pytest.ExitCode.OK,
    )
    promises.pytest_deselected([SimpleNamespace(nodeid=name) for name in deselected])  # type: ignore[misc]
    promises.pytest_collection_finish(session)  # type: ignore[arg-type]
    promises.pytest_sessionfinish(session)  # type: ignore[arg-type]
    assert (session.exitstatus == pytest.ExitCode.TESTS_FAILED) is fails
