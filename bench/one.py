"""One case in a process of its own, for ci/perf_gate.py: `python -P -s bench/one.py CASE CALLS [ROUNDS]`.

With ROUNDS it prints nanoseconds a call, one round a line; without, it only makes the calls, for a counter outside.
`ghostwire` is whatever the interpreter finds first; the benchmarks are those beside this file.
"""

import gc
import sys
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parent.parent))

from bench.cases import cases, timed

name, calls, *rounds = sys.argv[1:]
(case,) = (case for case in cases(name) if case.name == name)
operation = case.prepared()
gc.collect()
gc.disable()
if rounds:
    timed(operation, int(calls))
    for _ in range(int(rounds[0])):
        print(timed(operation, int(calls)))
else:
    for _ in range(int(calls)):
        operation()
