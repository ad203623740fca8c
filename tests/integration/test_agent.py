"""The agent as a real process against a real coordinator, real packets, no device."""

import json
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ghostwire.agent.io.asking import ask, is_running
from ghostwire.errors import UnavailableError
from tests.integration.agents import PATIENCE_S, Agent, Flow, Mesh, free_port

pytestmark = pytest.mark.integration

STATUS = {"mode", "self", "coordinator", "peers"}
SELF = {"name", "ipv4", "ipv6", "key"}
COORDINATOR = {"url", "connected", "position", "digest", "from_cache"}
PEER = {
    *("name", "ipv4", "ipv6", "online", "path", "reason", "endpoint"),
    *("last_handshake_s", "rtt_ms", "rx_bytes", "tx_bytes"),
}


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mesh]:
    with Mesh(tmp_path_factory.mktemp("mesh")) as made:
        yield made


@pytest.fixture
def mesh(shared: Mesh) -> Iterator[Mesh]:
    """A coordinator without nodes, which the next test will use, too."""
    yield shared
    shared.clear()


@pytest.fixture
def mortal(tmp_path: Path) -> Iterator[Mesh]:
    """A coordinator of the test's own, which it may kill."""
    with Mesh(tmp_path) as made:
        yield made


def ghostwire(*arguments: str, **options: Any) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "ghostwire.cli", *arguments],
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
        **options,
    )


def pair(mesh: Mesh) -> tuple[Agent, Agent]:
    one = mesh.agent("one").join(mesh.coordinator)
    two = mesh.agent("two").join(mesh.coordinator)
    one.until_sees("two")
    two.until_sees("one")
    return one, two


def test_two_nodes_join_and_reach_each_other(mesh: Mesh) -> None:
    one, two = pair(mesh)
    assert one.ping("two") is not None
    assert two.ping(one.status()["self"]["ipv6"]) is not None
    done = ghostwire("status", "--state", str(one.state), "--json")
    assert done.returncode == 0, done.stderr
    status = json.loads(done.stdout)
    assert set(status) == STATUS
    assert set(status["self"]) == SELF
    assert set(status["coordinator"]) == COORDINATOR
    assert [set(peer) for peer in status["peers"]] == [PEER]
    assert status["mode"] == "userspace"
    assert status["coordinator"]["connected"] is True
    assert status["coordinator"]["from_cache"] is False
    peer = status["peers"][0]
    assert peer["path"] == "direct"
    assert peer["last_handshake_s"] < PATIENCE_S
    assert peer["rx_bytes"] > 0
    assert one.status()["coordinator"]["digest"] == status["coordinator"]["digest"]
    shown = ghostwire("status", "--state", str(one.state))
    assert "two" in shown.stdout
    pings = ghostwire("ping", "two", "--state", str(one.state), "-c", "2", "-i", "0", "--json")
    assert json.loads(pings.stdout)["received"] == 2
    missing = ghostwire("ping", "nobody", "--state", str(one.state))
    assert missing.returncode == 1
    check = json.loads(ghostwire("netcheck", "--state", str(one.state), "--json").stdout)
    assert check["coordinator"]["rtt_ms"] > 0
    assert check["endpoints"]
    assert [(peer["name"], peer["udp"]) for peer in check["peers"]] == [("two", True)]
    logs = ghostwire("logs", "--state", str(one.state))
    assert "connected to" in logs.stdout


def test_another_users_node_is_not_reached(mesh: Mesh) -> None:
    one = mesh.agent("one").join(mesh.coordinator)
    other = mesh.agent("other").join(mesh.coordinator, user="bob")
    assert one.status()["peers"] == []
    assert ghostwire("ping", "other", "--state", str(one.state)).returncode == 1
    assert other.status()["peers"] == []


def test_the_pre_auth_key_leaves_no_trace(mesh: Mesh) -> None:
    key, pin = mesh.coordinator.key(uses=None)
    one = mesh.agent("one")
    one.up(
        *("--server", mesh.coordinator.url, "--pin", pin, "--key", key, "--hostname", "one", "--port", "0"),
        "--userspace",
    )
    assert one.child is not None
    one.child.until(
        "erasing its key", lambda: key not in Path(f"/proc/{one.child.pid}/cmdline").read_text(), PATIENCE_S
    )
    one.until_connected()
    private = one.status()["self"]["key"]
    for number in [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit()]:
        try:
            line = Path(f"/proc/{number}/cmdline").read_bytes()
        except OSError:
            continue
        assert key.encode() not in line
    one.stop()
    assert key not in one.log.read_text()
    assert "error" not in one.log.read_text().lower()
    for file in one.state.iterdir():
        assert key.encode() not in file.read_bytes()
    assert private.startswith("nodekey:")


def test_the_key_may_come_from_the_environment_or_a_file(mesh: Mesh, tmp_path: Path) -> None:
    key, pin = mesh.coordinator.key(uses=2)
    base = ("--server", mesh.coordinator.url, "--pin", pin, "--port", "0", "--userspace")
    mesh.agent("one").up(*base, environment={"GHOSTWIRE_KEY": key}).until_connected()
    file = tmp_path / "key"
    file.write_text(key + "\n")
    mesh.agent("two").up(*base, "--key-file", str(file)).until_connected()


def test_down_keeps_and_up_alone_comes_back(mesh: Mesh) -> None:
    one = mesh.agent("one").join(mesh.coordinator)
    before = one.status()["self"]
    done = ghostwire("down", "--state", str(one.state), "--json")
    assert json.loads(done.stdout) == {"stopped": True}
    assert one.child is not None
    assert one.child.wait(PATIENCE_S) == 0
    assert ghostwire("down", "--state", str(one.state)).returncode == 0
    assert ghostwire("ping", "x", "--state", str(one.state)).returncode == 3
    one.up().until_connected()
    assert one.status()["self"] == before
    assert one.status()["mode"] == "userspace"
    one.stop()
    one.up("--hostname", "renamed", "--userspace", "--port", "0").until_connected()
    one.until("renamed", lambda status: status["self"]["name"] == "renamed")
    assert one.status()["self"]["ipv4"] == before["ipv4"]


def test_status_without_an_agent_shows_the_coordinator(mesh: Mesh) -> None:
    shown = ghostwire("status", "--data", str(mesh.coordinator.data), "--json")
    assert shown.returncode == 0, shown.stderr
    assert json.loads(shown.stdout)["url"] == mesh.coordinator.url
    assert mesh.coordinator.url in ghostwire("status", "--data", str(mesh.coordinator.data)).stdout


def test_one_agent_a_folder(mesh: Mesh) -> None:
    one = mesh.agent("one").join(mesh.coordinator)
    done = ghostwire("up", "--state", str(one.state))
    assert done.returncode == 1
    assert "ghostwire down" in done.stderr
    assert one.status()["coordinator"]["connected"]


def test_refusals_end_with_one_and_say_what_to_do(mesh: Mesh) -> None:
    _, pin = mesh.coordinator.key()
    base = ("up", "--server", mesh.coordinator.url, "--port", "0", "--userspace")
    wrong_key = ghostwire(*base, "--pin", pin, "--key", "gwk_" + "A" * 43, "--state", str(mesh.folder / "x"))
    assert wrong_key.returncode == 1
    assert "ghostwire key create" in wrong_key.stderr
    assert "A" * 43 not in wrong_key.stderr
    key, _ = mesh.coordinator.key()
    wrong_pin = ghostwire(*base, "--pin", "sha256:" + "00" * 32, "--key", key, "--state", str(mesh.folder / "y"))
    assert wrong_pin.returncode == 1
    assert pin in wrong_pin.stderr
    no_pin = ghostwire(*base, "--key", key, "--state", str(mesh.folder / "z"))
    assert no_pin.returncode == 1
    assert "--pin" in no_pin.stderr
    nothing = ghostwire("up", "--state", str(mesh.folder / "w"))
    assert nothing.returncode == 1
    assert "ghostwire key create" in nothing.stderr
    assert ghostwire("up", "--forward", "nonsense", "--state", str(mesh.folder / "w")).returncode == 2


def test_the_coordinator_is_killed_and_nothing_stops(mortal: Mesh) -> None:
    one, two = pair(mortal)
    assert one.ping("two") is not None
    mortal.coordinator.kill()
    one.until("noticing", lambda status: not status["coordinator"]["connected"])
    assert one.ping("two") is not None
    # An agent that starts now comes up from what it kept (a change of the map within a second), and says so.
    time.sleep(2)
    one.child.kill()  # type: ignore[union-attr]
    one.up()
    status = one.until("up from its cache", lambda status: status["coordinator"]["from_cache"])
    assert status["coordinator"]["connected"] is False
    assert [peer["name"] for peer in status["peers"]] == ["two"]
    assert one.ping("two", 30.0) is not None
    assert "the map that was kept" in one.log.read_text()
    mortal.coordinator.restart()
    status = one.until("back", lambda status: status["coordinator"]["connected"])
    assert one.until("confirmed", lambda status: not status["coordinator"]["from_cache"])
    two.until_connected()
    assert one.ping("two") is not None


def test_a_deleted_node_is_cut_at_both_ends_while_data_flows(mesh: Mesh) -> None:
    with socket.create_server(("127.0.0.1", 0)) as sink:
        port = free_port()
        one = mesh.agent("one").join(mesh.coordinator, "--forward", f"127.0.0.1:{port}=two:5201")
        two = mesh.agent("two").join(mesh.coordinator, "--expose", f"5201=127.0.0.1:{sink.getsockname()[1]}")
        one.until_sees("two")
        assert one.ping("two", 30.0) is not None
        with Flow(port, sink) as flow:
            assert flow.moved.wait(PATIENCE_S)
            began = time.monotonic()
            mesh.coordinator.delete("two")
            assert flow.ended.wait(PATIENCE_S)
            # The promise is 2 s; a machine this busy gets five times that.
            assert time.monotonic() - began < 10
            assert two.child is not None
            assert two.child.wait(PATIENCE_S) == 1
            assert "deleted" in two.log.read_text()
            assert "ghostwire logout --force" in two.log.read_text()
            one.until("cut", lambda status: status["peers"] == [])


def test_logout_removes_the_node_and_forgets_its_keys(mesh: Mesh) -> None:
    one, two = pair(mesh)
    done = ghostwire("logout", "--state", str(one.state), "--json")
    assert done.returncode == 0, done.stderr
    assert one.child is not None
    assert one.child.wait(PATIENCE_S) == 0
    assert mesh.coordinator.node_names() == ["two"]
    assert not {file.name for file in one.state.iterdir()} & {"agent.db", "store.key"}
    two.until("the other gone", lambda status: status["peers"] == [])
    assert ghostwire("up", "--state", str(one.state)).returncode == 1
    # And without a running agent.
    two.stop()
    assert ghostwire("logout", "--state", str(two.state)).returncode == 0
    assert mesh.coordinator.node_names() == []
    assert ghostwire("logout", "--state", str(two.state)).returncode == 1


def test_logout_without_the_coordinator_needs_force(mortal: Mesh) -> None:
    one = mortal.agent("one").join(mortal.coordinator)
    mortal.coordinator.kill()
    one.until("noticing", lambda status: not status["coordinator"]["connected"])
    refused = ghostwire("logout", "--state", str(one.state))
    assert refused.returncode == 3
    assert "--force" in refused.stderr
    assert (one.state / "agent.db").exists()
    forced = ghostwire("logout", "--force", "--state", str(one.state))
    assert forced.returncode == 0, forced.stderr
    assert not (one.state / "agent.db").exists()


def test_going_behind_reports_and_down_ends_it(mesh: Mesh) -> None:
    key, pin = mesh.coordinator.key()
    state = mesh.folder / "behind"
    started = ghostwire(
        *("up", "--detach", "--server", mesh.coordinator.url, "--pin", pin, "--key", key, "--hostname", "behind"),
        *("--port", "0", "--userspace", "--state", str(state)),
    )
    try:
        assert started.returncode == 0, started.stderr
        assert "behind is up" in started.stdout
        assert "userspace" in started.stdout
        assert ask(state, "status")["coordinator"]["connected"]
        again = ghostwire("up", "--detach", "--state", str(state))
        assert again.returncode == 1
        assert "ghostwire down" in again.stderr
    finally:
        assert ghostwire("down", "--state", str(state)).returncode == 0
    assert not is_running(state)
    assert "connected to" in (state / "agent.log").read_text()
    assert key not in (state / "agent.log").read_text()


def test_a_key_is_rotated_when_the_coordinator_says_so(mesh: Mesh) -> None:
    one, two = pair(mesh)
    before = one.status()["self"]["key"]
    assert one.ping("two") is not None
    mesh.coordinator.post("/v1/nodes/one/rotate")
    one.until("having a new key", lambda status: status["self"]["key"] != before)
    assert one.ping("two", 30.0) is not None
    assert two.ping("one", 30.0) is not None
    fresh = one.status()["self"]
    one.stop()
    one.up().until_connected()
    assert one.status()["self"] == fresh


@pytest.mark.skipif(os.geteuid() != 0, reason="becomes another user")
def test_the_socket_answers_root_the_own_user_and_the_operator() -> None:
    with tempfile.TemporaryDirectory() as folder, Mesh(Path(folder)) as mesh:
        mesh.folder.chmod(0o711)
        one = mesh.agent("one").join(mesh.coordinator)
        two = mesh.agent("two").join(mesh.coordinator, "--operator", "nobody")
        assert (one.state / "agent.sock").stat().st_mode & 0o777 == 0o600
        assert one.state.stat().st_mode & 0o777 == 0o700
        assert [as_nobody(agent.state) for agent in (one, two)] == [4, 0]


def as_nobody(state: Path) -> int:
    """The exit code of a status that another user asks for: 4 not permitted, 0 answered."""
    child = os.fork()
    if child == 0:
        os.setgid(65534)
        os.setuid(65534)
        code = 1
        try:
            ask(state, "status")
            code = 0
        except UnavailableError:
            code = 3
        except Exception as error:
            code = 4 if getattr(error, "code", "") == "permission" else 1
        os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
