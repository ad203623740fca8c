"""How long the README's first command takes: `uv run ghostwire demo` in a fresh clone, from empty caches, then again.

`python -m bench.first_demo` clones this repository's HEAD into a temporary folder, gives uv and Cargo empty caches
there, and prints one line of JSON: seconds of both runs, and how long after its start the second one saw its first
ping. It downloads some hundred packages.
"""

from __future__ import annotations

import json
import os
import platform
import shutil
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).resolve().parent.parent
LIMIT_S = 1800.0


def demo(clone: Path, environment: dict[str, str]) -> tuple[float, float]:
    """Seconds until the end, and until a node was reached through the tunnel."""
    began = time.perf_counter()
    command = ["uv", "run", "ghostwire", "demo", "--once", "--json"]
    with subprocess.Popen(
        command, cwd=clone, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        first = 0.0
        for line in process.stderr:
            if not first and "pings" in line:
                first = time.perf_counter() - began
        outcome: dict[str, Any] = json.loads(process.stdout.read())
        if process.wait(LIMIT_S) != 0 or not outcome["ok"]:
            raise SystemExit(f"the demo did not hold: {outcome}")
    return time.perf_counter() - began, first


def measure() -> dict[str, Any]:
    """One clone, two runs."""
    with tempfile.TemporaryDirectory(prefix="gw") as room:
        clone, cargo = Path(room, "clone"), Path(room, "cargo")
        subprocess.run(["git", "clone", "-q", str(REPOSITORY), str(clone)], check=True)
        cargo.mkdir()
        home = Path(os.environ.get("CARGO_HOME", Path.home() / ".cargo"))
        for name in ("config.toml", "config"):  # where crates come from is this machine's business, not a cache
            if (home / name).exists():
                shutil.copy(home / name, cargo / name)
        environment = {
            **{name: value for name, value in os.environ.items() if name != "VIRTUAL_ENV"},
            "UV_CACHE_DIR": str(Path(room, "uv")),
            "CARGO_HOME": str(cargo),
            "RUSTUP_HOME": os.environ.get("RUSTUP_HOME", str(Path.home() / ".rustup")),
        }
        whole, _ = demo(clone, environment)
        again, first_ping = demo(clone, environment)
    return {"first_s": round(whole), "second_s": round(again, 1), "second_first_ping_s": round(first_ping, 1)}


def main() -> None:
    print(json.dumps({"kernel": platform.release(), "cpus": os.cpu_count(), **measure()}))


if __name__ == "__main__":
    main()
