"""Finds and runs benchmarks in asv's form without asv; shared by `python -m bench` and the performance gate."""

import importlib
import inspect
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from time import perf_counter_ns, process_time
from typing import Any

FOLDER = Path(__file__).parent / "benchmarks"


@dataclass(frozen=True, slots=True)
class Case:
    """One benchmark: `name` is `noun.Class.method`, with its parameter in parentheses where the family has some."""

    name: str
    family: type[Any]
    method: str
    params: tuple[Any, ...] = ()

    @property
    def gate_calls(self) -> int:
        """How many calls the performance gate counts; 0 where it has nothing to say."""
        return getattr(self.family, "gate_calls", 0) if self.method.startswith("time_") else 0

    @property
    def at_least(self) -> float | None:
        """What the ratio must reach that it tracks; None where nothing is demanded of it."""
        found: float | None = getattr(self.family, "at_least", {}).get(self.method)
        return found

    def prepared(self) -> Callable[[], Any]:
        """The method, bound to an instance that was set up."""
        instance = self.family()
        if hasattr(instance, "setup"):
            instance.setup(*self.params)
        return partial(getattr(instance, self.method), *self.params) if self.params else getattr(instance, self.method)


def nouns() -> list[str]:
    return sorted(path.stem for path in FOLDER.glob("*.py") if path.stem != "__init__")


def cases(pattern: str = "") -> Iterator[Case]:
    """Every case whose name contains the pattern."""
    for noun in nouns():
        if "." in pattern and noun != pattern.partition(".")[0]:
            continue
        module = importlib.import_module(f"bench.benchmarks.{noun}")
        for _, family in inspect.getmembers(module, inspect.isclass):
            if family.__module__ != module.__name__:
                continue
            for method, _ in inspect.getmembers(family, inspect.isfunction):
                name = f"{noun}.{family.__name__}.{method}"
                if method.startswith(("time_", "track_")) and pattern in name:
                    yield from _with_params(Case(name, family, method))


def _with_params(case: Case) -> Iterator[Case]:
    params = getattr(case.family, "params", None)
    if params is None:
        yield case
        return
    for value in params:
        yield Case(f"{case.name}({value})", case.family, case.method, (value,))


def calls_for(operation: Callable[[], Any], seconds: float) -> int:
    """How many calls take about this long."""
    count = 1
    while True:
        taken = timed(operation, count)
        if taken * count >= seconds * 1e9 / 4:
            return max(1, int(seconds * 1e9 / taken))
        count *= 4


def timed(operation: Callable[[], Any], count: int) -> float:
    """Nanoseconds a call over `count` calls."""
    turns = range(count)
    start = perf_counter_ns()
    for _ in turns:
        operation()
    return (perf_counter_ns() - start) / count


def least_cpu(work: Callable[[], object], times: int = 5) -> float:
    """Seconds of CPU that the fastest run takes: what else the machine does counts less."""
    taken = []
    for _ in range(times):
        start = process_time()
        work()
        taken.append(process_time() - start)
    return min(taken)
