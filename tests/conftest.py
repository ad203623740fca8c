"""What every test session shares: it says which binaries it runs against, and fails when a promise went untested."""

import os

import pytest

from ci import requirements
from ghostwire import _native

SKIPPED = pytest.StashKey[list[str]]()


def pytest_report_header() -> list[str]:
    """The build profile, and what to run where a binary is older than its sources (tests/native fails on that)."""
    return [f"ghostwire: {_native.build_profile()} build", *_native.stale()]


def pytest_configure(config: pytest.Config) -> None:
    config.stash[SKIPPED] = []
    config.pluginmanager.register(Promises(config.stash[SKIPPED]))


class Promises:
    """Collects skipped tests that docs/requirements.toml names as what shows a promise."""

    def __init__(self, skipped: list[str]) -> None:
        self.skipped = skipped
        self.named = {
            entry.test
            for entry in requirements.load()
            if entry.test and entry.status == "shown" and (entry.needs != "root" or os.geteuid() == 0)
        }

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
