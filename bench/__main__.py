"""Run benchmarks on the working tree: `python -m bench [part of a name]`. Prints min and median, never a mean."""

import platform
import statistics
import sys

from bench.cases import calls_for, cases, timed
from ghostwire import _native

ROUNDS = 9
SECONDS = 0.1


def readable(nanoseconds: float) -> str:
    for unit, size in (("s ", 1e9), ("ms", 1e6), ("us", 1e3)):
        if nanoseconds >= size:
            return f"{nanoseconds / size:8.2f} {unit}"
    return f"{nanoseconds:8.1f} ns"


def main(pattern: str) -> int:
    print(f"{_native.build_profile()} build, {platform.python_implementation()} {platform.python_version()}")
    print(*_native.stale(), sep="\n", end="\n" if _native.stale() else "")
    found = 0
    for case in cases(pattern):
        found += 1
        operation = case.prepared()
        method = getattr(case.family, case.method)
        if case.method.startswith("track_"):
            print(f"{case.name:60} {operation():8.3f} {getattr(method, 'unit', '')}")
            continue
        count = calls_for(operation, SECONDS)
        times = [timed(operation, count) for _ in range(ROUNDS)]
        print(f"{case.name:60} min {readable(min(times))}  median {readable(statistics.median(times))}")
    if not found:
        print(f"no benchmark is called like {pattern!r}", file=sys.stderr)
    return int(not found)


sys.exit(main(sys.argv[1] if len(sys.argv) > 1 else ""))
