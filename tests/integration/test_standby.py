"""A standby's whole life, with real processes: it follows, its server is killed, it takes over."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from ghostwire.cli.admin import Admin
from ghostwire.errors import GhostwireError
from ghostwire.testing.processes import Child
from tests.integration.agents import free_port

pytestmark = pytest.mark.integration

PATIENCE_S = 60.0
Verb = Callable[..., Any]


def serve(room: Path, name: str, port: int) -> Child:
    environment = {
        "GHOSTWIRE_REPLICATION_LISTEN_ADDR": f"127.0.0.1:{port}",
        "GHOSTWIRE_REPLICATION_KEY_FILE": str(room / "primary.key"),
        "GHOSTWIRE_REPLICATION_STANDBYS": str(room / "standby.pub"),
        "GHOSTWIRE_REPLICATION_CONFIRMED": "true",
    }
    arguments = ["serve", "--data", str(room / name), "--listen", "127.0.0.1:0", "--json"]
    child = Child.start(arguments, room / f"{name}.log", environment)
    with Admin.local(room / name) as admin:
        child.until("ready", lambda: admin.get("/v1/status"), PATIENCE_S)
    return child


def replicate(room: Path, port: int) -> Child:
    link = ["--identity", str(room / "standby.key"), "--peer", str(room / "primary.pub")]
    arguments = ["db", "replicate", "--from", f"tls://127.0.0.1:{port}", *link, "--data", str(room / "b"), "--json"]
    child = Child.start(arguments, room / "replicate.log")
    child.until("following", lambda: "primary" in (room / "replicate.log").read_text(), PATIENCE_S)
    return child


def test_a_standby_takes_over_and_has_all_that_was_answered(room: Path, verb: Verb) -> None:
    for name in ("primary", "standby"):
        verb("db", "keygen", "link", "--out", room / name)
    port = free_port()
    link = ("--identity", room / "standby.key", "--peer", room / "primary.pub")
    answered = []
    with serve(room, "a", port) as primary, replicate(room, port) as following:
        with Admin.local(room / "a") as admin:
            for number in range(20):
                admin.post("/v1/users", {"name": f"user-{number}"})
                answered.append(f"user-{number}")
            lines = admin.text("/metrics").splitlines()
            assert {"ghostwire_replication_standbys 1.0", "ghostwire_store_fenced 0.0"} <= set(lines)
        primary.kill()
        assert verb("db", "promote", "--alone", "--data", room / "b")[0] == 1, "the standby still has the file"
        assert following.stop() == 0
    code, message = verb("db", "promote", *link, "--data", room / "b")
    assert (code, "cannot be reached" in message) == (3, True)
    assert verb("db", "promote", "--alone", "--data", room / "b")["epoch"] == 2
    code, message = verb("db", "promote", "--alone", "--data", room / "b")
    assert (code, "counts already" in message) == (1, True)
    arguments = ["serve", "--data", str(room / "b"), "--listen", "127.0.0.1:0", "--json"]
    with Child.start(arguments, room / "b.log") as child, Admin.local(room / "b") as admin:
        child.until("ready", lambda: admin.get("/v1/status"), PATIENCE_S)
        assert {user["name"] for user in admin.get("/v1/users")["users"]} >= set(answered)
        admin.post("/v1/users", {"name": "after"})


def test_a_live_server_hands_over_and_refuses_to_write(room: Path, verb: Verb) -> None:
    for name in ("primary", "standby"):
        verb("db", "keygen", "link", "--out", room / name)
    port = free_port()
    link = ("--identity", room / "standby.key", "--peer", room / "primary.pub")
    follow = ("db", "replicate", "--from", f"tls://127.0.0.1:{port}", *link, "--data", room / "b", "--once")
    with serve(room, "a", port), Admin.local(room / "a") as admin:
        assert verb(*follow)["epoch"] == 1
        assert verb("db", "promote", *link, "--data", room / "b")["epoch"] == 2
        with pytest.raises(GhostwireError, match="handed over"):
            admin.post("/v1/users", {"name": "late"})
        assert admin.get("/v1/users")["users"] == []
    assert verb("db", "check", "--data", room / "b")["seq"] > 0


def test_changes_wait_for_a_standby_and_a_stop_does_not(room: Path, verb: Verb) -> None:
    for name in ("primary", "standby"):
        verb("db", "keygen", "link", "--out", room / name)
    port = free_port()

    def create(name: str) -> str:
        with Admin.local(room / "a") as admin:
            answer: str = admin.post("/v1/users", {"name": name})["name"]
            return answer

    with serve(room, "a", port) as primary, ThreadPoolExecutor(2) as threads:
        alone = threads.submit(create, "first")
        with pytest.raises(TimeoutError):
            alone.result(0.5)
        with replicate(room, port) as following:
            assert alone.result(PATIENCE_S) == "first"
            assert following.stop() == 0
        late = threads.submit(create, "late")
        with pytest.raises(TimeoutError):
            late.result(0.5)
        assert primary.stop() == 0
        with pytest.raises(GhostwireError, match=r"no replica has confirmed|does not answer"):
            late.result(PATIENCE_S)
    with serve(room, "a", port), Admin.local(room / "a") as admin:
        assert {user["name"] for user in admin.get("/v1/users")["users"]} >= {"first"}
