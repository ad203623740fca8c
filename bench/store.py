"""Everything that is promised of the store's speed, measured again: `python -m bench.store [--into DIR]`.

Takes about two minutes, in which nothing else should run or use the disk. Prints a table and writes it to
`DIR/store.json`; the exit code says whether every bound holds. Each family of benchmarks has a process of its own, and
what is compared within it is measured in turns, on the disk that temporary files are on.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import operator
import platform
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Final, Literal

from bench.cases import Case, cases

HOLDS: Final[dict[str, Callable[[float, float], bool]]] = {"<=": operator.le, ">=": operator.ge, "": lambda *_: True}


@dataclass(frozen=True, slots=True)
class Row:
    """One line: what it says, the benchmark that shows it, and its bound. A line without one is for comparison."""

    what: str
    case: str
    bound: Literal["<=", ">=", ""] = ""
    limit: float = 0.0
    unit: str = "x"


def beside(work: str, what: str, slowest: float = 0.0) -> Iterator[Row]:
    """The same work on each of the other stores, over ours; perhaps on the slowest of them."""
    names = {"apsw": "plain apsw", "autocommit": "autocommit, rollback journal", "sqlalchemy": "SQLAlchemy + aiosqlite"}
    for name, spelled in names.items():
        yield Row(f"{what}: {spelled} over ours", f"zqlite_beside.Beside.track_{work}_of_{name}")
    if slowest:
        yield Row(f"{what}: the slowest over ours", f"zqlite_beside.Beside.track_{work}_of_the_slowest", ">=", slowest)


def rows() -> Iterator[Row]:
    """The table, in its order."""
    plain, slow = "zqlite.Registration.track", "zqlite.RegistrationOnASlowDisk.track"
    yield Row("syncs for each registration, 16 at once", f"{plain}_commits_each_at_16", "<=", 1.0, "")
    yield Row("rate of 16 clients over one", f"{plain}_gain_16", ">=", 3.0)
    yield Row("rate of 256 clients over one", f"{plain}_gain_256", ">=", 4.5)
    yield Row("rate of 16 over one, 2 ms added to each sync", f"{slow}_gain_16", ">=", 6.0)
    yield Row("rate of 256 over one, 2 ms added to each sync", f"{slow}_gain_256", ">=", 20.0)
    yield Row("the writer's CPU for a registration, 16 at once", f"{plain}_writer_us_at_16", "<=", 120.0, "us")
    yield Row("the writer's CPU for a registration, 256 at once", f"{plain}_writer_us_at_256", "<=", 120.0, "us")
    yield Row("a lone registration over a bare synced commit", f"{plain}_over_bare")
    yield from beside("registration", "256 registrations", 56.0)
    yield from beside("decision", "a decision under 1,000 rules", 37.0)
    yield from beside("sync", "256 nodes move, all are read", 21.0)
    yield from beside("bulk", "1,000 rows at once")
    yield from beside("points", "1,000 point queries")
    contention = "zqlite_contention.WritingFlatOut.track"
    yield Row("p99 of reads beside 64 writers over idle", f"{contention}_read_p99_over_idle", "<=", 2.0)
    yield Row("p99 of the event loop's lag beside 64 writers", f"{contention}_loop_lag_p99_ms", "<=", 2.0, "ms")
    yield Row("the same, idle", f"{contention}_loop_lag_p99_idle_ms", unit="ms")
    reads = "zqlite_read.Reads.track"
    yield Row("bulk rows with three indexes", "zqlite_read.Bulk.track_rows_each_second", ">=", 100_000.0, "/s")
    yield Row("point queries in db.read()", f"{reads}_point_queries_each_second", ">=", 500_000.0, "/s")
    yield Row("point queries in batches", f"{reads}_batched_point_queries_each_second", ">=", 500_000.0, "/s")
    yield Row("point queries over plain, unencrypted apsw", f"{reads}_point_queries_over_plain_apsw")
    for work, limit in (("bulk_load", 1.3), ("commit", 1.3), ("warm_point_queries", 1.3), ("cold_scan", 0.0)):
        case = f"zqlite_read.Encryption.track_{work}"
        yield Row(f"encrypted over plain: {work.replace('_', ' ')}", case, "<=" if limit else "", limit)
    metadata, series = "zqlite_columns.Metadata.track", "blocks.Series.track"
    yield Row("saved of peer metadata", f"{metadata}_saved_compressed", ">=", 0.8, "")
    yield Row("saved of peer metadata, encrypted as well", f"{metadata}_saved_encrypted_and_compressed", unit="")
    yield Row("saved by blocks beside rows", f"{series}_saved_by_blocks", ">=", 0.9, "")
    yield Row("decoded, authentication included", "blocks.Blocks.track_decode_gigabytes_each_second", ">=", 0.5, "GB/s")
    yield Row("metrics in, as flushes bring them", f"{series}_appended_million_points_each_second", ">=", 1.0, "M/s")
    yield Row("metrics in, as arrays", f"{series}_loaded_million_points_each_second", ">=", 1.0, "M/s")
    yield Row("a node's window from the cache", f"{series}_window_in_the_cache_us", "<=", 10.0, "us")
    yield Row("a miss over a hit", f"{series}_miss_over_hit", ">=", 8.0)
    yield Row("rows of plain SQLite over a hit", f"{series}_sqlite_over_hit")
    yield Row("cold open of 100,000 nodes, all read", "zqlite_open.Open.track_cold_open_ms", "<=", 1000.0, "ms")
    yield Row("an idle store, above Python with its libraries", "zqlite_open.Open.track_idle_mib", "<=", 9.5, "MiB")


@dataclass(frozen=True, slots=True)
class Found:
    """A line with its figure."""

    row: Row
    value: float

    @property
    def holds(self) -> bool:
        return HOLDS[self.row.bound](self.value, self.row.limit)

    def cells(self) -> tuple[str, str, str, str]:
        row = self.row
        bound = f"{row.bound} {row.limit:,.4g} {row.unit}".strip() if row.bound else "-"
        figure = f"{self.value:,.0f}" if self.value >= 1000 else f"{self.value:.3g}"
        verdict = "" if not row.bound else "ok" if self.holds else "MISSED"
        return row.what, bound, f"{figure} {row.unit}".strip(), verdict

    def document(self) -> dict[str, object]:
        row = self.row
        return {
            "what": row.what,
            "case": row.case,
            "bound": f"{row.bound} {row.limit:g}" if row.bound else None,
            "value": self.value,
            "unit": row.unit,
            "holds": self.holds,
        }


def measured(wanted: Sequence[Row]) -> list[Found]:
    """These lines, which are of one family of benchmarks."""
    return [Found(row, float(_case(row.case).prepared()())) for row in wanted]


def _case(name: str) -> Case:
    (found,) = (case for case in cases(name) if case.name == name)
    return found


def table(found: Iterable[Found]) -> str:
    """Aligned columns."""
    lines = [("what", "bound", "measured", ""), *(each.cells() for each in found)]
    widths = [max(len(line[at]) for line in lines) for at in range(4)]
    padded = ([cell.ljust(width) for cell, width in zip(line, widths, strict=True)] for line in lines)
    return "\n".join("  ".join(cells).rstrip() for cells in padded)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--into", type=Path, default=Path(), metavar="DIR")
    into: Path = parser.parse_args().into
    into.mkdir(parents=True, exist_ok=True)
    found: list[Found] = []
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=context, max_tasks_per_child=1) as processes:
        for noun, wanted in groupby(rows(), lambda row: row.case.partition(".")[0]):
            print(f"{noun} ...", file=sys.stderr, flush=True)
            found += processes.submit(measured, list(wanted)).result()
    print(table(found))
    machine = {"python": platform.python_version(), "kernel": platform.release(), "processor": platform.machine()}
    document = {"machine": machine, "rows": [each.document() for each in found]}
    (into / "store.json").write_text(json.dumps(document, indent=1) + "\n")
    missed = [each.row.what for each in found if not each.holds]
    print(f"\n{len(missed)} of {sum(bool(each.row.bound) for each in found)} bounds are missed", *missed, sep="\n  ")
    return int(bool(missed))


if __name__ == "__main__":
    sys.exit(main())
