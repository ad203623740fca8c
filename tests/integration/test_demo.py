"""The demo as its user meets it: real processes, real packets, and nothing left afterwards."""

import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from ghostwire.cli.demo import mesh
from ghostwire.errors import ValidationError

pytestmark = pytest.mark.integration

DEMO = [sys.executable, "-m", "ghostwire.cli", "demo"]
PATIENCE_S = 75.0


@pytest.fixture
def room(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder for the demo's temporary one, short enough for the sockets below it."""
    with tempfile.TemporaryDirectory(prefix="gw") as folder:
        monkeypatch.setenv("TMPDIR", folder)
        yield Path(folder)


def descendants(pid: int) -> list[psutil.Process]:
    return psutil.Process(pid).children(recursive=True)


def eventually(what: str, holds: object, patience_s: float = PATIENCE_S) -> None:
    deadline = time.monotonic() + patience_s
    while not holds():  # type: ignore[operator]
        assert time.monotonic() < deadline, what
        time.sleep(0.05)


def check(outcome: dict[str, object]) -> None:
    assert outcome["ok"] is True
    nodes = outcome["nodes"]
    assert isinstance(nodes, list)
    assert [sorted(node) for node in nodes] == [["ipv4", "ipv6", "name"]] * 3
    assert len({node["ipv4"] for node in nodes}) == len({node["ipv6"] for node in nodes}) == 3
    assert all(ping["ok"] and ping["rtt_ms"] > 0 for ping in outcome["pings"])  # type: ignore[attr-defined]
    assert all(fetch["ok"] and fetch["bytes"] > 0 for fetch in outcome["fetches"])  # type: ignore[attr-defined]
    assert all(denied["ok"] and denied["port"] for denied in outcome["denied"])  # type: ignore[attr-defined]
    # Bob's phone reaches the server, so its refused connection is the policy's doing and no fault of the way.
    assert {"phone"} <= {ping["from"] for ping in outcome["pings"]}  # type: ignore[attr-defined]
    wireguard = outcome["wireguard"]
    assert isinstance(wireguard, dict)
    assert wireguard["handshakes"] >= 4
    assert wireguard["rx_bytes"] > 1000
    assert wireguard["tx_bytes"] > 1000
    assert set(outcome) == {"ok", "nodes", "pings", "fetches", "denied", "wireguard", "seconds"}


def test_once_prints_one_line_of_json_and_leaves_nothing(room: Path) -> None:
    done = subprocess.run([*DEMO, "--once", "--json"], capture_output=True, text=True, timeout=PATIENCE_S)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("\n") == 1
    check(json.loads(done.stdout))
    assert list(room.iterdir()) == []


@pytest.mark.skipif(shutil.which("unshare") is None, reason="needs unshare of util-linux")
def test_it_needs_no_rights_and_no_network(room: Path) -> None:
    # A user namespace leaves no capability outside itself; in a network namespace only loopback is there.
    demo = shlex.join([*DEMO, "--once", "--json"])
    inner = f"ip link set lo up && exec unshare --user --map-user=1234 --map-group=1234 {demo}"
    command = ["unshare", "--user", "--map-root-user", "--net", "sh", "-c", inner]
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_S)
    assert done.returncode == 0, done.stderr
    check(json.loads(done.stdout))
    assert list(room.iterdir()) == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL], ids=lambda number: number.name)
def test_it_stays_until_it_is_ended_and_leaves_nothing(room: Path, number: signal.Signals) -> None:
    log = room.parent / f"{room.name}.log"
    with log.open("wb") as output:
        demo = subprocess.Popen(DEMO, stdout=output, stderr=output, start_new_session=True)
    try:
        eventually("no next commands", lambda: demo.poll() is not None or b"In another terminal" in log.read_bytes())
        assert demo.poll() is None, log.read_text()
        assert b"https://127.0.0.1:" in log.read_bytes()
        started = descendants(demo.pid)
        assert len(started) == 5, started
        demo.send_signal(number)
        assert demo.wait(PATIENCE_S) in (0, 128 + signal.SIGTERM, -signal.SIGKILL)
        eventually("processes are left", lambda: not any(process.is_running() for process in started))
        eventually("files are left", lambda: list(room.iterdir()) == [])
    finally:
        demo.kill()
        demo.wait()
        log.unlink()


def test_settings_of_this_machine_do_not_reach_it(room: Path) -> None:
    environment = os.environ | {"GHOSTWIRE_NETWORK_IPV4_RANGE": "not a prefix", "GHOSTWIRE_KEY": "no key"}
    done = subprocess.run([*DEMO, "--once"], capture_output=True, text=True, timeout=PATIENCE_S, env=environment)
    assert done.returncode == 0, done.stderr
    assert "100.64.0.1" in done.stdout
    assert "\x1b" not in done.stdout


def test_a_start_that_fails_says_why_and_leaves_nothing(room: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(room))
    monkeypatch.setattr(mesh, "POLICY", "{ this is no policy")
    before = descendants(os.getpid())
    with pytest.raises(ValidationError), mesh.Mesh(print):
        pytest.fail("it started")
    assert list(room.iterdir()) == []
    assert [process for process in descendants(os.getpid()) if process not in before] == []
