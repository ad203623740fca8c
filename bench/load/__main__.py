"""Everything that docs/scale.md says, measured again: `python -m bench.load [--nodes N] [--into DIR]`.

At 50,000 nodes it takes about half an hour on two cores, most of it the rehearsal; nothing else should run meanwhile.
Each part is a process of its own, and what it prints is kept in DIR, too. The next one runs also where one fails; the
exit code says whether any did.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path

SIZES = (1_000, 5_000, 10_000, 20_000, 50_000, 100_000, 300_000, 1_000_000)
FANOUT = 10_000


def parts(nodes: int, into: Path) -> dict[str, list[str]]:
    """The command of each part, by what it measures."""
    rehearsal = ["-m", "ghostwire.cli", "simulate", "--nodes", str(nodes)]
    sizes = [str(size) for size in SIZES if size <= nodes * 20]
    return {
        "rehearsal": [*rehearsal, "--json", "--report", str(into / "scale.html")],
        "hostile": [*rehearsal[:-1], str(nodes // 5), "--scenario", "join", "--hostile", "1", "--json"],
        "tls": [*rehearsal[:-1], str(nodes // 10), "--tls", "--scenario", "join", "--json"],
        "fan-out": ["-m", "bench.load.fanout", str(min(nodes, FANOUT))],
        "growth": ["-m", "bench.load.virtual", *sizes, "--plot", str(into / "growth.svg")],
    }


def run(words: list[str], into: Path) -> int:
    """Run one part; its exit code."""
    with into.open("w") as kept, subprocess.Popen([sys.executable, *words], stdout=subprocess.PIPE, text=True) as part:
        assert part.stdout is not None
        for line in part.stdout:
            print(line, end="", flush=True)
            kept.write(line)
    return part.returncode


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--nodes", type=int, default=50_000)
    parser.add_argument("--into", type=Path, default=Path())
    given = parser.parse_args()
    given.into.mkdir(parents=True, exist_ok=True)
    failed = []
    for name, words in parts(given.nodes, given.into).items():
        print(f"== {name}: python {' '.join(words)}", flush=True)
        if run(words, given.into / f"{name}.txt"):
            failed.append(name)
    print(f"failed: {', '.join(failed)}" if failed else "all parts passed")
    return int(bool(failed))


if __name__ == "__main__":
    sys.exit(main())
