"""Nothing that a server or an agent holds in memory ends in a core dump."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from ghostwire.cli.admin import Admin
from ghostwire.testing.processes import Child

pytestmark = pytest.mark.integration

PATIENCE_S = 60.0
DIES = """
import ctypes, os, resource, sys
_, hard = resource.getrlimit(resource.RLIMIT_CORE)
resource.setrlimit(resource.RLIMIT_CORE, (hard, hard))
if "forbid" in sys.argv:
    from ghostwire.cli.dumps import forbid_core_dumps
    forbid_core_dumps()
print(ctypes.CDLL(None).prctl(3, 0, 0, 0, 0), *resource.getrlimit(resource.RLIMIT_CORE), flush=True)
os.abort()
"""


def test_a_process_that_dies_leaves_none(room: Path) -> None:
    process = subprocess.Popen([sys.executable, "-c", DIES, "forbid"], cwd=room, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    with process.stdout:
        assert process.stdout.read().split() == ["0", "0", "0"]
    _, status = os.waitpid(process.pid, 0)
    process.returncode = -os.WTERMSIG(status)
    assert os.WTERMSIG(status) == signal.SIGABRT
    assert not os.WCOREDUMP(status)
    assert list(room.iterdir()) == []


def test_others_may_be_dumped_so_the_test_above_can_fail(room: Path) -> None:
    done = subprocess.run([sys.executable, "-c", DIES], cwd=room, capture_output=True, text=True)
    dumpable, soft, hard = done.stdout.split()
    assert (dumpable, soft) == ("1", hard)


@pytest.mark.parametrize("verb", ["serve", "up"])
def test_serve_and_up_forbid_them(room: Path, verb: str) -> None:
    with Child.start(["serve", "--data", str(room / "server"), "--listen", "127.0.0.1:0"], room / "log") as server:
        with Admin.local(room / "server") as admin:
            status = server.until("ready", lambda: admin.get("/v1/status"), PATIENCE_S)
            key = admin.post("/v1/preauth-keys", {"user": "alice"})["key"]
        if verb == "serve":
            assert limit(server) == ["0", "0"]
            return
        (room / "key").write_text(key)
        where = ["--server", status["url"], "--pin", status["pin"], "--key-file", str(room / "key")]
        words = ["up", "--state", str(room / "agent"), "--port", "0", "--userspace", *where]
        with Child.start(words, room / "agent.log") as agent:
            agent.until("up", lambda: (room / "agent" / "agent.sock").exists() or None, PATIENCE_S)
            assert limit(agent) == ["0", "0"]


def limit(child: Child) -> list[str]:
    """The soft and the hard limit of a child's core file."""
    lines = Path(f"/proc/{child.pid}/limits").read_text().splitlines()
    (line,) = [line for line in lines if line.startswith("Max core file size")]
    return line.split()[4:6]
