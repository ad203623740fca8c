"""Rooms and verbs for tests with real processes."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from ghostwire.cli import run


@pytest.fixture
def room() -> Iterator[Path]:
    """A folder with a path short enough for sockets in it."""
    with tempfile.TemporaryDirectory(prefix="gw") as folder:
        yield Path(folder)


@pytest.fixture
def verb(capsys: pytest.CaptureFixture[str]) -> Callable[..., Any]:
    """Run one verb with --json: what it printed, or (exit code, message)."""

    def call(*words: str | Path) -> Any:
        code = run([*map(str, words), "--json"])
        out, err = capsys.readouterr()
        return json.loads(out) if code == 0 else (code, json.loads(err.splitlines()[-1])["message"])

    return call


@pytest.fixture
def quick_directory() -> Iterator[Path]:
    """Memory, where there is some: thousands of states of a store are written and opened there."""
    memory = Path("/dev/shm")
    directory = Path(tempfile.mkdtemp(dir=memory if memory.is_dir() else None))
    yield directory
    shutil.rmtree(directory)
