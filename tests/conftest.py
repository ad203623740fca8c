"""What every test session shares: it says which binaries it runs against, and fails when a promise went untested."""

import os

import pytest

from ci import requirements
from ghostwire import _native
from tests.promises import Promises


def pytest_report_header() -> list[str]:
    """The build profile, and what to run where a binary is older than its sources (tests/native fails on that)."""
    return [f"ghostwire: {_native.build_profile()} build", *_native.stale()]


def pytest_configure(config: pytest.Config) -> None:
    config.pluginmanager.register(Promises(requirements.load(), root=os.geteuid() == 0))
