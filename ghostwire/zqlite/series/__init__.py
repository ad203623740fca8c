"""Time series in column blocks: samples of many keys, read as windows of columns.

metrics = await series.create(db, Schema(name="load", columns=(Column("cpu", "real"),), key="node"))
await metrics.append([(7, time_ns, 0.4)])
found = await metrics.window(7, since, until)  # found.at, found.columns[0]: arrays
await db.query("SELECT avg(cpu) FROM load WHERE node = 7 AND at >= ?", (since,))
"""

from __future__ import annotations

from ghostwire.zqlite.series.buckets import Sums
from ghostwire.zqlite.series.columns import Window
from ghostwire.zqlite.series.schema import Column, Schema
from ghostwire.zqlite.series.series import Series, create, open

__all__ = ["Column", "Schema", "Series", "Sums", "Window", "create", "open"]
