"""A store in a temporary directory, closed when the test ends."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from ghostwire import zqlite
from ghostwire.zqlite.applier import Applier
from ghostwire.zqlite.operation import Script

KEY = bytes(range(32))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "store.db"


@pytest.fixture
async def db(path: Path) -> AsyncIterator[zqlite.Store]:
    store = await zqlite.open(path, key=KEY)
    yield store
    await store.close()


async def forge(db: zqlite.Store, sql: str, params: tuple[Any, ...] = ()) -> None:
    """Do what no statement of a user may, as one who holds the store's keys could."""

    def run(applier: Applier) -> None:
        with applier.alone("forged"):
            applier.run(Script(sql, params, own=True))

    await db.work(run)
