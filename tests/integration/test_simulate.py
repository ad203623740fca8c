"""`ghostwire simulate`: the real verb against a real server."""

import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

NODES = 1000
WORKERS = 2
FIGURES = {
    "join": {"seconds", "rate", "p50_ms", "p99_ms", "cpu_ms", "leader_cpu_ms", "workers_cpu_ms", "failed"},
    "change": {"viewers", "p50_ms", "p99_ms", "max_ms", "leader_ms"},
    "churn": {
        "rate",
        "deliveries_per_s",
        "staleness_p50_ms",
        "staleness_p99_ms",
        "messages_per_node_window_max",
        "window_ms",
        "cpu_us_per_delivery",
        "leader_cpu_us_per_delivery",
        "workers_cpu_us_per_delivery",
    },
    "policy": {"classes_touched", "nodes_told", "nodes_told_wrongly", "ms"},
    "storm": {"seconds", "resumed_unchanged", "resumed_delta", "resumed_full", "lost", "query_p99_ms"},
    "memory": {"worker_bytes_per_session", "leader_bytes_per_node", "total_mib"},
}


def run(*words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "ghostwire.cli", "simulate", *words]
    return subprocess.run(command, capture_output=True, text=True, timeout=280, check=False)


@pytest.mark.integration
def test_a_page_that_cannot_be_written_is_told_before_the_rehearsal(tmp_path: Path) -> None:
    done = run("--nodes", "20", "--report", str(tmp_path / "none" / "page.html"))
    assert done.returncode == 2
    assert "page.html: No such file or directory" in done.stderr


@pytest.mark.integration
def test_a_signal_leaves_nothing_behind(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "ghostwire.cli", "simulate", "--nodes", "20"]
    with subprocess.Popen(command, env={**os.environ, "TMPDIR": str(tmp_path)}, stderr=subprocess.DEVNULL) as child:
        deadline = time.monotonic() + 60
        while not list(tmp_path.glob("ghostwire-simulate-*/server/admin.sock")):
            assert time.monotonic() < deadline
            time.sleep(0.05)
        others = psutil.Process(child.pid).children(recursive=True)
        assert others
        child.terminate()
        assert child.wait(60) == 130
    assert psutil.wait_procs(others, timeout=60)[1] == []
    assert list(tmp_path.iterdir()) == []


@pytest.mark.integration
@pytest.mark.slow
def test_a_thousand_nodes_over_two_workers_are_rehearsed_and_none_is_lost_or_told_wrongly(tmp_path: Path) -> None:
    page = tmp_path / "report.html"
    scenarios = [word for name in ("churn", "policy", "storm") for word in ("--scenario", name)]
    done = run(
        "--nodes",
        str(NODES),
        "--workers",
        str(WORKERS),
        "--visible",
        "100",
        "--report",
        str(page),
        "--json",
        *scenarios,
    )
    assert done.returncode == 0, done.stderr + done.stdout
    found = json.loads(done.stdout)
    assert {name: set(found[name]) for name in FIGURES} == FIGURES
    assert set(found) == {*FIGURES, "nodes", "workers", "tls", "steady", "query", "hostile", "digest_mismatches"}
    assert (found["nodes"], found["workers"], found["steady"], found["query"]) == (NODES, WORKERS, None, None)
    clients = NODES - 100  # those that ask queries are not counted with the others
    assert found["join"]["failed"] == found["digest_mismatches"] == found["storm"]["lost"] == 0
    assert "fault" not in done.stderr
    assert "clients: 2 processes" in done.stderr
    assert found["change"]["viewers"] == clients - 1
    assert found["policy"]["nodes_told"] > 0
    assert found["policy"]["nodes_told_wrongly"] == 0
    assert found["storm"]["resumed_unchanged"] >= 0.99 * clients
    text = page.read_text()
    assert text.count("<polyline") >= 6
    assert re.search(r"(src|href)=|url\(|@import", text) is None
    assert "join: every node joins" in done.stderr


@pytest.mark.integration
def test_nodes_are_rehearsed_with_tls_too() -> None:
    done = run("--nodes", "40", "--visible", "10", "--tls", "--scenario", "join", "--json")
    assert done.returncode == 0, done.stderr + done.stdout
    found = json.loads(done.stdout)
    assert (found["tls"], found["join"]["failed"], found["digest_mismatches"]) == (True, 0, 0)
