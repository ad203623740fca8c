"""Clients that mean harm beside those that do not: a real server, real connections, a rehearsal of a few seconds."""

import json
import subprocess
import sys

from ghostwire.testing.load.hostile import PARTS


def test_whoever_means_harm_costs_no_node_its_session_or_its_map() -> None:
    words = ["simulate", "--nodes", "150", "--visible", "30", "--scenario", "join", "--hostile", "11", "--json"]
    command = [sys.executable, "-m", "ghostwire.cli", *words]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr + done.stdout
    found = json.loads(done.stdout)
    assert (found["digest_mismatches"], found["hostile"]["sessions_lost"]) == (0, 0)
    assert found["hostile"]["tries"].keys() == {part.__name__ for part in PARTS}
