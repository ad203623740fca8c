"""Fails the session when a test that docs/requirements.toml names for a promise was skipped or is not there."""

from collections.abc import Iterable, Sequence

import pytest

from ci.requirements import Requirement


class Promises:
    """A pytest plug-in. Entries that need root bind only where there is root; a part of the tests may be run alone."""

    def __init__(self, entries: Iterable[Requirement], *, root: bool) -> None:
        tested = [entry for entry in entries if entry.test]
        self.named = {entry.test for entry in tested}
        self.bound = {entry.test for entry in tested if entry.status == "shown" and (root or entry.needs != "root")}
        self.deselected: set[str] = set()
        self.broken: list[str] = []

    def pytest_deselected(self, items: Sequence[pytest.Item]) -> None:
        self.deselected |= names(items)

    def pytest_collection_finish(self, session: pytest.Session) -> None:
        if session.config.args_source is not pytest.Config.ArgsSource.ARGS:
            missing = self.named - self.deselected - names(session.items)
            self.broken += [f"{name}: not there" for name in sorted(missing)]

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.skipped and name_of(report.nodeid) in self.bound:
            self.broken.append(f"{report.nodeid}: skipped")

    @pytest.hookimpl(trylast=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        if self.broken and session.exitstatus == pytest.ExitCode.OK:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        for fault in self.broken:
            terminalreporter.write_line(f"FAILED {fault}, yet docs/requirements.toml promises it", red=True)


def names(items: Sequence[pytest.Item]) -> set[str]:
    return {name_of(item.nodeid) for item in items}


def name_of(node_id: str) -> str:
    """Without the case of a parametrised test."""
    return node_id.partition("[")[0]
