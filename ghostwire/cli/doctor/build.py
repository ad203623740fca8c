"""What is installed: versions, and whether the compiled parts match their sources."""

from __future__ import annotations

import platform
import sys

from ghostwire import __version__
from ghostwire.cli.doctor.finding import Finding, examine


def findings() -> list[Finding]:
    """Look at the program itself."""
    return [
        Finding("version", "ok", f"ghostwire {__version__}, Python {platform.python_version()}, {sys.executable}"),
        examine("compiled", compiled),
        examine("sqlite", sqlite),
    ]


def compiled() -> Finding:
    """Whether both compiled halves are built, optimised and of these sources."""
    from ghostwire import _native

    profile = _native.build_profile()
    stale = _native.stale()
    if stale:
        return Finding("compiled", "fail", "; ".join(message.partition(": ")[0] for message in stale), _advice(stale))
    if profile not in ("release", "editable"):
        return Finding("compiled", "warn", f"a {profile} build: correct, but slow", "run `uv sync --reinstall`")
    return Finding("compiled", "ok", f"built from these sources ({profile})")


def _advice(stale: list[str]) -> str:
    return " and ".join(dict.fromkeys(message.partition(": ")[2] for message in stale))


def sqlite() -> Finding:
    """Whether the store's SQLite is one that can be trusted."""
    import apsw

    from ghostwire.zqlite.engine import require_version

    require_version()
    return Finding("sqlite", "ok", f"SQLite {apsw.sqlite_lib_version()} with page encryption")
