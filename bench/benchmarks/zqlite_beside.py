"""The same work on other stores, as many times ours takes: registrations, decisions, nodes that move, many rows.

All are on one disk and take turns. Ours is encrypted and keeps a change log; the others are neither, and write an event
instead. `bench.stores` says what the work is and how each does it.
"""

import asyncio
import multiprocessing
import shutil
import tempfile
from concurrent.futures import ProcessPoolExecutor
from functools import cache
from itertools import count, pairwise
from pathlib import Path
from time import perf_counter

import uvloop

from bench import stores
from bench.stores import Store
from bench.stores.ours import Ours
from bench.stores.plain import Apsw, Autocommit

ROUNDS = 3
WORKS = ("registration", "decision", "sync", "bulk", "points")
OTHERS = ("apsw", "autocommit", "alchemy")


class Beside:
    """Medians of three rounds; a sync is 256 nodes that tell their endpoints, and a read of all; bulk is 1,000 rows."""

    timeout = 600

    def setup(self) -> None:
        self.found = measured()

    def over(self, work: str, other: str) -> float:
        return self.found[other][work] / self.found["ours"][work]

    def slowest(self, work: str) -> float:
        return max(self.over(work, other) for other in OTHERS)

    def track_registration_of_apsw(self) -> float:
        return self.over("registration", "apsw")

    def track_registration_of_autocommit(self) -> float:
        return self.over("registration", "autocommit")

    def track_registration_of_sqlalchemy(self) -> float:
        return self.over("registration", "alchemy")

    def track_registration_of_the_slowest(self) -> float:
        return self.slowest("registration")

    def track_decision_of_apsw(self) -> float:
        return self.over("decision", "apsw")

    def track_decision_of_autocommit(self) -> float:
        return self.over("decision", "autocommit")

    def track_decision_of_sqlalchemy(self) -> float:
        return self.over("decision", "alchemy")

    def track_decision_of_the_slowest(self) -> float:
        return self.slowest("decision")

    def track_sync_of_apsw(self) -> float:
        return self.over("sync", "apsw")

    def track_sync_of_autocommit(self) -> float:
        return self.over("sync", "autocommit")

    def track_sync_of_sqlalchemy(self) -> float:
        return self.over("sync", "alchemy")

    def track_sync_of_the_slowest(self) -> float:
        return self.slowest("sync")

    def track_bulk_of_apsw(self) -> float:
        return self.over("bulk", "apsw")

    def track_bulk_of_autocommit(self) -> float:
        return self.over("bulk", "autocommit")

    def track_bulk_of_sqlalchemy(self) -> float:
        return self.over("bulk", "alchemy")

    def track_points_of_apsw(self) -> float:
        return self.over("points", "apsw")

    def track_points_of_autocommit(self) -> float:
        return self.over("points", "autocommit")

    def track_points_of_sqlalchemy(self) -> float:
        return self.over("points", "alchemy")


@cache
def measured() -> dict[str, dict[str, float]]:
    """Seconds of each work on each store."""
    folder = Path(tempfile.mkdtemp())
    spawn = multiprocessing.get_context("spawn")  # another SQLite than ours must not be in this process
    try:
        with ProcessPoolExecutor(1, mp_context=spawn) as elsewhere:
            found = uvloop.run(here(folder))
            found["alchemy"] = elsewhere.submit(there, folder).result()
    finally:
        shutil.rmtree(folder)
    answers = {name: each.pop("answers") for name, each in found.items()}
    assert len(set(answers.values())) == 1, f"they decide differently: {answers}"
    return found


async def here(folder: Path) -> dict[str, dict[str, float]]:
    opened: dict[str, Store] = {
        "ours": await Ours.open(folder),
        "apsw": Apsw(folder),
        "autocommit": Autocommit(folder),
    }
    return {name: await work(store) for name, store in opened.items()}


def there(folder: Path) -> dict[str, float]:
    from bench.stores.alchemy import Alchemy

    async def run() -> dict[str, float]:
        return await work(await Alchemy.open(folder))

    return asyncio.run(run())


async def work(store: Store) -> dict[str, float]:
    """The median seconds of each work, and which questions were answered with yes."""
    numbers, times = count(), {name: list[float]() for name in WORKS}
    for turn in range(ROUNDS):
        nodes = [stores.node(next(numbers)) for _ in range(stores.TOGETHER)]
        more = [stores.node(next(numbers)) for _ in range(stores.IMPORTED)]
        endpoints = [(f"192.0.2.1:{turn}{number}", number) for number in range(stores.TOGETHER)]
        started = perf_counter()
        await store.register(nodes)
        registered = perf_counter()
        answers = await store.decide(stores.questions())
        decided = perf_counter()
        await store.tell(endpoints)
        told = perf_counter()
        await store.bring(more)
        brought = perf_counter()
        assert await store.look([node[0] for node in more]) == stores.IMPORTED
        marks = (started, registered, decided, told, brought, perf_counter())
        for name, (since, until) in zip(WORKS, pairwise(marks), strict=True):
            times[name].append(until - since)
    await store.close()
    found = {name: sorted(each)[ROUNDS // 2] for name, each in times.items()}
    return {**found, "answers": float(sum(1 << at for at, answer in enumerate(answers) if answer))}
