"""Compare the speed of two commits in one job; exit 1 when a guarded benchmark got slower.

    python ci/perf_gate.py --base COMMIT [--head COMMIT] [--case PART]    builds both, then compares
    python ci/perf_gate.py --ratios [--case PART]                         holds this tree to what else there is
    python ci/perf_gate.py --self-test                                    plants slowdowns; passes when they are caught

First instructions, where valgrind is there: each case runs under callgrind with N and with 2N calls, and the difference
is what N calls cost; start-up and set-up cancel out. It repeats to the instruction, so 3 % more fails.
Then the clock: rounds of both sides in turn, minima and medians compared; both 20 % up fails. Means decide nothing.
The benchmarks are this tree's on both sides; what the base does not have yet is named and left out.

Ratios need no second build: a benchmark's `at_least` says how many times the slow twin, or the library that one would
use instead, must take in the same minute. Both sides meet the same noise, but not to the same degree: one that falls
short is measured again, and fails when it does so each time.
"""

import argparse
import dataclasses
import itertools
import os
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from bench.cases import Case, calls_for, cases  # noqa: E402 (the tree is no installed package)

MORE_INSTRUCTIONS = 1.03
MORE_TIME = 1.20
TURNS = 3
ROUNDS = 5
SECONDS = 0.05
ATTEMPTS = 3


@dataclass(frozen=True, slots=True)
class Side:
    """One build to measure: an interpreter, and folders that come before what is installed in it."""

    name: str
    python: Path
    folders: tuple[Path, ...] = ()

    def run(self, *arguments: str, under: tuple[str, ...] = ()) -> subprocess.CompletedProcess[str]:
        environment = {
            "PATH": os.environ["PATH"],
            "HOME": os.environ.get("HOME", "/"),
            "PYTHONHASHSEED": "0",
            "PYTHONPATH": os.pathsep.join(map(str, self.folders)),
        }
        command = [*under, str(self.python), "-P", "-s", str(ROOT / "bench" / "one.py"), *arguments]
        return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)

    def instructions(self, case: Case) -> float:
        """Instructions a call. The first, throw-away run leaves the bytecode behind."""
        counts = []
        self.run(case.name, "1")
        for calls in (case.gate_calls, 2 * case.gate_calls):
            done = self.run(case.name, str(calls), under=CALLGRIND)
            counted = re.search(r"Collected : (\d+)", done.stderr)
            if done.returncode or not counted:
                raise SystemExit(f"perf-gate: {case.name} under callgrind on {self.name}:\n{done.stderr[-2000:]}")
            counts.append(int(counted[1]))
        return (counts[1] - counts[0]) / case.gate_calls

    def times(self, case: Case, calls: int) -> list[float]:
        """Nanoseconds a call, one figure a round."""
        done = self.run(case.name, str(calls), str(ROUNDS))
        if done.returncode:
            raise SystemExit(f"perf-gate: {case.name} on {self.name}:\n{done.stderr[-2000:]}")
        return [float(line) for line in done.stdout.split()]


STILL = ("setarch", "-R") if shutil.which("setarch") else ()
CALLGRIND = (*STILL, "valgrind", "--tool=callgrind", "--callgrind-out-file=/dev/null")


def slower_by_instructions(base: Side, head: Side, case: Case) -> bool:
    before, after = base.instructions(case), head.instructions(case)
    ratio = after / max(before, 1)
    print(f"  {case.name:56} instructions {before:12,.0f} -> {after:12,.0f}  x{ratio:.3f}", flush=True)
    return ratio > MORE_INSTRUCTIONS


def slower_by_the_clock(base: Side, head: Side, case: Case) -> bool:
    calls = calls_for(case.prepared(), SECONDS)
    before: list[float] = []
    after: list[float] = []
    for _ in range(TURNS):
        before += base.times(case, calls)
        after += head.times(case, calls)
    least = min(after) / min(before)
    middle = statistics.median(after) / statistics.median(before)
    print(f"  {case.name:56} time         min x{least:.3f}  median x{middle:.3f}", flush=True)
    return least > MORE_TIME and middle > MORE_TIME


def gate(base: Side, head: Side, pattern: str) -> list[str]:
    """The names of the guarded cases that got slower, by either measure."""
    slower = []
    counting = shutil.which("valgrind") is not None
    if not counting:
        print("perf-gate: valgrind is not there, so no instructions are counted: only slowdowns of 20 % show")
    for case in cases(pattern):
        if not case.gate_calls:
            continue
        if head.run(case.name, "1").returncode == 0 and base.run(case.name, "1").returncode:
            print(f"  {case.name:56} new: {base.name} does not have it")
            continue
        if (counting and slower_by_instructions(base, head, case)) | slower_by_the_clock(base, head, case):
            slower.append(case.name)
    return slower


def short_of(found: Iterable[Case]) -> list[str]:
    """The names of the ratios that fall short of what they must reach. What cases share is set up once."""
    demanded = (case for case in found if case.at_least is not None)
    short = []
    for family, shared in itertools.groupby(demanded, key=lambda case: (case.family, case.params)):
        instance = family[0]()
        instance.setup(*family[1])
        for case in shared:
            if not reaches(case, getattr(instance, case.method)):
                short.append(case.name)
    return short


def reaches(case: Case, measure: Callable[..., float]) -> bool:
    bound = case.at_least or 0.0
    for _ in range(ATTEMPTS):
        ratio = measure(*case.params)
        print(f"  {case.name:56} ratio {ratio:12,.1f} of at least {bound:12,.1f}", flush=True)
        if ratio >= bound:
            return True
    return False


def built(commit: str, folder: Path) -> Side:
    """A commit checked out and installed as its users get it: release builds, not editable."""
    tree = folder / commit.replace("/", "-")
    run = subprocess.run
    run(["git", "worktree", "add", "--detach", "--quiet", str(tree), commit], cwd=ROOT, check=True)
    shared = {**os.environ, "CARGO_TARGET_DIR": str(ROOT / "build" / "perf-gate")}
    shared.pop("VIRTUAL_ENV", None)
    run(["uv", "sync", "--quiet", "--locked", "--no-editable", "--no-dev"], cwd=tree, env=shared, check=True)
    return Side(commit, tree / ".venv" / "bin" / "python")


def compare(base: str, head: str, pattern: str) -> int:
    with tempfile.TemporaryDirectory() as folder:
        try:
            slower = gate(built(base, Path(folder) / "base"), built(head, Path(folder) / "head"), pattern)
        finally:
            for side in ("base", "head"):
                for tree in (Path(folder) / side).glob("*"):
                    command = ["git", "worktree", "remove", "--force", str(tree)]
                    subprocess.run(command, cwd=ROOT, check=True)
    return accuse("slower", slower)


def accuse(of: str, names: list[str]) -> int:
    """Say what is wrong with these, if there are any; the exit code."""
    if names:
        print(f"perf-gate: {of}:", *names, sep="\n  ", file=sys.stderr)
    return int(bool(names))


PLANT_AT = "        cdef int64_t index\n        self._check(start)\n"
PLANTED = PLANT_AT + "        _ = [None] * 256\n"


class Slowed:
    """Whatever it is, but it does everything several times."""

    def __init__(self, inner: object, times: int = 4) -> None:
        self._inner, self._times = inner, times

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._inner, name)

        def several(*given: Any) -> Any:
            for _ in range(1, self._times):
                found(*given)
            return found(*given)

        return several if callable(found) else found


def self_test() -> int:
    """This tree is not accused of what it does not do, and planted slowdowns are caught, by each measure."""
    return ratios_test() or comparison_test()


def ratios_test() -> int:
    """A tree of address rules that does everything four times falls short of what it must reach."""
    (case,) = cases("cidr.Rules.track_match_against_list")

    class Planted(case.family):  # type: ignore[misc,name-defined]
        def setup(self) -> None:
            super().setup()
            self.tree = Slowed(self.tree)

    print("perf-gate: address rules that are matched four times over", flush=True)
    if not short_of([dataclasses.replace(case, family=Planted)]):
        print("perf-gate: self-test failed: the slowed rules reach their ratio", file=sys.stderr)
        return 1
    return 0


def comparison_test() -> int:
    """The tree against itself passes; against itself with a wasteful claim it fails, on that case only."""
    guarded = "ipam.Empty"
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder)
        for name in ("core_ext", "ghostwire", "build"):
            shutil.copytree(ROOT / name, copy / name, ignore=shutil.ignore_patterns("__pycache__", "perf-gate"))
        for name in ("setup.py", "pyproject.toml", "README.md", "LICENSE"):
            shutil.copy2(ROOT / name, copy / name)
        source = copy / "core_ext" / "ipam.pyx"
        text = source.read_text()
        if text.count(PLANT_AT) != 1:
            raise SystemExit("perf-gate: core_ext/ipam.pyx has changed: choose another place for the plant")
        source.write_text(text.replace(PLANT_AT, PLANTED))
        command = [sys.executable, "setup.py", "--quiet", "build_ext", "--inplace"]
        subprocess.run(command, cwd=copy, check=True, stdout=subprocess.DEVNULL)
        this = Side("this tree", Path(sys.executable))
        print("perf-gate: this tree against itself", flush=True)
        falsely = gate(this, this, guarded)
        print("perf-gate: this tree against itself with a wasteful claim", flush=True)
        rightly = gate(this, Side("planted", Path(sys.executable), (copy,)), guarded)
    if falsely or not rightly:
        print(f"perf-gate: self-test failed: false alarms {falsely}, caught {rightly}", file=sys.stderr)
        return 1
    print("perf-gate: self-test passed: the planted slowdown was caught, the unchanged tree was not accused")
    return 0


def main() -> int:
    parser = argparse.ArgumentParser(description="Compare the speed of two commits in one job.")
    parser.add_argument("--base", help="the commit to compare with")
    parser.add_argument("--head", default="HEAD", help="the commit that may be slower (default: HEAD)")
    parser.add_argument("--case", default="", help="part of the names of the cases to compare")
    parser.add_argument("--ratios", action="store_true", help="hold this tree to what else there is")
    parser.add_argument("--self-test", action="store_true", help="plant slowdowns and see them caught")
    arguments = parser.parse_args()
    if arguments.self_test:
        return self_test()
    found = list(cases(arguments.case))
    if arguments.ratios:
        if all(case.at_least is None for case in found):
            parser.error("no case has a ratio to reach")
        return accuse("these ratios fall short", short_of(found))
    if not arguments.base:
        parser.error("--base COMMIT says what to compare with")
    if not any(case.gate_calls for case in found):
        parser.error("no case is guarded")
    return compare(arguments.base, arguments.head, arguments.case)


if __name__ == "__main__":
    sys.exit(main())
