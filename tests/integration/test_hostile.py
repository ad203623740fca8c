"""Clients that mean harm beside those that do not: a real server, real connections, a rehearsal of a few seconds."""

import json
import re
import subprocess
import sys

from ghostwire.testing.load.hostile import PARTS


def test_whoever_means_harm_costs_no_node_its_session_or_its_map() -> None:
    words = ["simulate", "--nodes", "150", "--visible", "30", "--scenario", "join", "--hostile", "11", "--json"]
    command = [sys.executable, "-m", "ghostwire.cli", *words]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr + done.stdout
    assert json.loads(done.stdout)["digest_mismatches"] == 0
    (line,) = re.findall(r"^hostile: \d.*", done.stderr, re.MULTILINE)
    assert line.endswith("0 sessions lost")
    played = set(re.findall(r"(\w+) \d+(?=[,)])", line))
    patient = {"drip", "silence", "deafness"}  # these wait longer than the rehearsal lasts
    assert played >= {part.__name__ for part in PARTS} - patient
