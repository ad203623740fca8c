"""What lies in a store's file, with its key and without the store."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import apsw

from ghostwire.zqlite import engine

KEY = bytes(range(32))


def raw(path: Path, sql: str) -> list[Any]:
    """The rows of one statement on the file of a store under `KEY`."""
    connection = apsw.Connection(os.fspath(path))
    connection.pragma("cipher", "aegis")
    connection.pragma("key", f"raw:{engine.locate(path, KEY, None).page_key.hex()}")
    try:
        return connection.execute(sql).fetchall()
    finally:
        connection.close()
