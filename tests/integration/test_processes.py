"""The harness for real processes: ended by id, and never left behind."""

import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from ghostwire.cli.demo import janitor
from ghostwire.errors import InternalError
from ghostwire.testing.processes import Child

pytestmark = pytest.mark.integration

PATIENCE_S = 30.0


def gone(pid: int) -> bool:
    return not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE


def eventually_gone(pid: int) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not gone(pid):
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_a_child_that_ends_says_what_it_wrote(tmp_path: Path) -> None:
    child = Child.start(["node", "list", "--data", str(tmp_path)], tmp_path / "log")
    with child, pytest.raises(InternalError, match="ended with 3 before answers:\nerror: no coordinator runs"):
        child.until("answers", lambda: None, PATIENCE_S)
    assert child.stop() == 3


def test_variables_are_laid_over_and_taken_away(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GHOSTWIRE_NETWORK_DOMAIN", "taken.away")
    words = ["config", "show", "--data", str(tmp_path)]
    over = {"GHOSTWIRE_NETWORK_DOMAIN": None, "GHOSTWIRE_NETWORK_ID": "laid-over"}
    child = Child.start(words, tmp_path / "log", over)
    assert child.wait(PATIENCE_S) == 0
    assert "laid-over" in child.log.read_text()
    assert "taken.away" not in child.log.read_text()


def test_a_child_ends_with_who_started_it(tmp_path: Path) -> None:
    code = (
        "import sys, time; from pathlib import Path; from ghostwire.testing.processes import Child;"
        "child = Child.start(['serve', '--data', sys.argv[1], '--listen', '127.0.0.1:0'], Path(sys.argv[2]));"
        "print(child.pid, flush=True); time.sleep(60)"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "data"), str(tmp_path / "log")]
    parent = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    pid = int(parent.stdout.readline())
    assert not gone(pid)
    parent.kill()
    parent.wait()
    parent.stdout.close()
    eventually_gone(pid)


@pytest.mark.parametrize("dismissed", [False, True])
def test_the_janitor_cleans_up_unless_it_is_dismissed(tmp_path: Path, dismissed: bool) -> None:
    room = tmp_path / "room"
    room.mkdir()
    (room / "file").touch()
    # One that ignores SIGTERM, too.
    code = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print(1, flush=True); time.sleep(60)"
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE)
    assert process.stdout is not None
    process.stdout.readline()
    process.stdout.close()
    helper = janitor.Janitor(room)
    helper.watch(process.pid)
    if dismissed:
        helper.dismiss()
        assert process.poll() is None
        assert room.exists()
        process.kill()
    else:
        # What the kernel does to a demo that is killed: its end of the pipe closes.
        assert helper._process.stdin is not None
        helper._process.stdin.close()
        helper._process.wait(PATIENCE_S)
        assert not room.exists()
    assert process.wait(PATIENCE_S) == -9
