"""What every test session shares: it says which binaries it runs against."""

from ghostwire import _native


def pytest_report_header() -> list[str]:
    """The build profile, and what to run where a binary is older than its sources (tests/native fails on that)."""
    return [f"ghostwire: {_native.build_profile()} build", *_native.stale()]
