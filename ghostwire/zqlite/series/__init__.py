"""Time series in column blocks: samples of many keys, read as windows of columns.

metrics = await series.create(db, Schema(name="load", columns=(Column("cpu", "real"),), key="node"))
await metrics.append([(7, time_ns, 0.4)])
found = await metrics.window(7, since, until)  # found.at, found.columns[0]: arrays
await db.query("SELECT avg(cpu) FROM load WHERE node = 7 AND at >= ?", (since,))

What works with arrays is loaded when it is first named: a store without series does not carry numpy.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any, Final

from ghostwire.zqlite.series.schema import Column, Schema

if TYPE_CHECKING:
    from ghostwire.zqlite.series.buckets import Sums
    from ghostwire.zqlite.series.columns import Window
    from ghostwire.zqlite.series.series import Series, create, open

__all__ = ["Column", "Schema", "Series", "Sums", "Window", "create", "open"]

_HOMES: Final = {"Series": "series", "Sums": "buckets", "Window": "columns", "create": "series", "open": "series"}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
