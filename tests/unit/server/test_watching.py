"""What the stores tell becomes distributions, spans, and a line in the log for what was slow."""

from __future__ import annotations

from ghostwire.server.metrics import Timings
from ghostwire.server.store.watching import StoreWatch
from ghostwire.zqlite import Seen
from tests.unit.server.heard import Heard


def test_each_thing_is_a_span_and_counted() -> None:
    heard, timings = Heard(), Timings()
    watch = StoreWatch(heard, timings)  # type: ignore[arg-type]
    watch(Seen("commit", 5, 1_000_000, "", 3))
    watch(Seen("query", 7, 2_000_000, "SELECT 1", 1))
    assert heard.spans == [
        ("zqlite.commit", 5, 1_000_005, {"sql": "", "count": 3}),
        ("zqlite.query", 7, 2_000_007, {"sql": "SELECT 1", "count": 1}),
    ]
    assert heard.events == []
    for what in ("commit", "query"):
        assert timings.registry.get_sample_value("ghostwire_zqlite_seconds_count", {"operation": what}) == 1


def test_slow_queries_are_in_the_log() -> None:
    heard = Heard()
    StoreWatch(heard, Timings())(Seen("query", 0, 250_000_000, "SELECT 1", 9))  # type: ignore[arg-type]
    assert heard.events == [("warning", "store.slow_query", {"sql": "SELECT 1", "seconds": 0.25, "rows": 9})]
