"""A store in a temporary directory, closed when the test ends."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from ghostwire import zqlite

KEY = bytes(range(32))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "store.db"


@pytest.fixture
async def db(path: Path) -> AsyncIterator[zqlite.Store]:
    store = await zqlite.open(path, key=KEY)
    yield store
    await store.close()
