"""Fails the session when a test that docs/requirements.toml names as what shows a promise was skipped."""

from collections.abc import Iterable

import pytest

from ci.requirements import Requirement


class Promises:
    """A pytest plug-in. Entries that need root bind only where there is root."""

    def __init__(self, entries: Iterable[Requirement], *, root: bool) -> None:
        shown = (entry for entry in entries if entry.test and entry.status == "shown")
        self.named = {entry.test for entry in shown if root or entry.needs != "root"}
        self.skipped: list[str] = []

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.skipped and report.nodeid.partition("[")[0] in self.named:
            self.skipped.append(report.nodeid)

    @pytest.hookimpl(trylast=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        if self.skipped and session.exitstatus == pytest.ExitCode.OK:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        for name in self.skipped:
            terminalreporter.write_line(f"FAILED {name}: skipped, yet docs/requirements.toml promises it", red=True)
