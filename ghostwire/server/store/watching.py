"""What the stores tell of themselves: a distribution and a span for each query, commit, checkpoint and backup."""

from __future__ import annotations

from typing import Final, get_args

from ghostwire.server.metrics import Timings
from ghostwire.server.observer import Observer
from ghostwire.zqlite import Seen
from ghostwire.zqlite.watch import SLOW_SECONDS, What

_SECOND: Final = 1e9


class StoreWatch:
    """Hears every store of one server, on whatever thread did the thing."""

    __slots__ = ("_observe", "_observer")

    def __init__(self, observer: Observer, timings: Timings) -> None:
        self._observer = observer
        self._observe = {what: timings.store.labels(what).observe for what in get_args(What)}

    def __call__(self, seen: Seen) -> None:
        """Something has just ended."""
        seconds = seen.took / _SECOND
        self._observe[seen.what](seconds)
        self._observer.span(
            f"zqlite.{seen.what}", seen.started, seen.started + seen.took, sql=seen.text, count=seen.count
        )
        if seen.what == "query" and seconds > SLOW_SECONDS:
            self._observer.event(
                "warning", "store.slow_query", sql=seen.text, seconds=round(seconds, 3), rows=seen.count
            )
