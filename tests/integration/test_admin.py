"""Verbs against a real coordinator: over its socket, and from afar with tokens and pins."""

import json
import os
import stat
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from ghostwire.cli import run
from ghostwire.cli.admin import Admin
from ghostwire.testing.processes import Child

pytestmark = pytest.mark.integration

PATIENCE_S = 60.0
Ask = Callable[..., Any]


@pytest.fixture(scope="module")
def data() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="gw") as folder:
        path = Path(folder, "server")
        log = Path(folder, "log")
        with Child.start(["serve", "--data", str(path), "--listen", "127.0.0.1:0"], log) as server:
            with Admin.local(path) as admin:
                server.until("ready", lambda: admin.get("/v1/status")["ready"], PATIENCE_S)
            yield path
            assert server.running
        assert server.stop() == 0, server.tail()


@pytest.fixture
def ask(data: Path, capsys: pytest.CaptureFixture[str]) -> Ask:
    def ask(*words: str, where: tuple[str, ...] | None = None, fails: int = 0) -> Any:
        code = run([*words, *(where if where is not None else ("--data", str(data))), "--json"])
        output = capsys.readouterr()
        assert code == fails, output
        if code:
            assert output.out == ""
            return json.loads(output.err)
        assert output.out.count("\n") == 1
        return json.loads(output.out)

    return ask


def test_status(ask: Ask) -> None:
    status = ask("server", "status")
    assert status["ready"] is True
    assert status["url"].startswith("https://127.0.0.1:")
    assert status["pin"].startswith("sha256:")


def test_the_folder_is_closed_to_others(data: Path) -> None:
    assert stat.S_IMODE(data.stat().st_mode) == 0o700
    assert stat.S_IMODE((data / "store.key").stat().st_mode) == 0o600
    assert stat.S_IMODE((data / "admin.sock").stat().st_mode) == 0o600


def test_users(ask: Ask) -> None:
    made = ask("user", "create", "carol", "--display-name", "Carol", "--role", "admin")
    assert (made["name"], made["role"]) == ("carol", "admin")
    assert ask("user", "create", "carol", fails=1)["code"] == "conflict"
    assert ask("user", "role", "carol", "member")["role"] == "member"
    assert "carol" in [user["name"] for user in ask("user", "list")]
    assert ask("user", "delete", "carol")["deleted"] is True
    assert ask("user", "delete", "carol", fails=1)["code"] == "not_found"


def test_keys(ask: Ask) -> None:
    made = ask("key", "create", "--user", "dave")
    assert set(made) == {"id", "key", "server", "pin", "command"}
    assert made["command"] == f"ghostwire up --server {made['server']} --pin {made['pin']} --key {made['key']}"
    (listed,) = [key for key in ask("key", "list") if key["id"] == made["id"]]
    assert (listed["user"], listed["uses_left"], listed["usable"]) == ("dave", 1, True)
    assert made["key"] not in json.dumps(ask("key", "list", "--all"))
    ask("key", "revoke", str(made["id"]))
    assert made["id"] not in [key["id"] for key in ask("key", "list")]
    assert made["id"] in [key["id"] for key in ask("key", "list", "--all")]
    many = ask("key", "create", "--user", "dave", "--uses", "3", "--ephemeral", "--expires", "2d")
    (listed,) = [key for key in ask("key", "list") if key["id"] == many["id"]]
    assert (listed["uses_left"], listed["ephemeral"]) == (3, True)
    endless = ask("key", "create", "--user", "dave", "--reusable")
    (listed,) = [key for key in ask("key", "list") if key["id"] == endless["id"]]
    assert listed["uses_left"] is None


def test_policy(ask: Ask, tmp_path: Path) -> None:
    file = tmp_path / "policy.hujson"
    file.write_text('{ "tagOwners": {"tag:x": ["dave@"]}, // who\n "acls": [], }')
    ask("user", "create", "erin")
    assert ask("policy", "check", str(file), where=()) == {"valid": True, "allows_everything": False}
    applied = ask("policy", "apply", str(file), "--note", "first")
    shown = ask("policy", "show")
    assert (shown["number"], shown["text"], shown["note"]) == (applied["number"], file.read_text(), "first")
    file.write_text("{}")
    assert "--allow-all" in ask("policy", "check", str(file), where=(), fails=1)["message"]
    assert ask("policy", "apply", str(file), fails=1)["code"] == "validation"
    file.write_text('{ "acls": [ { "action": "accept" ] }')
    assert ask("policy", "check", str(file), where=(), fails=1)["code"] == "validation"
    assert ask("policy", "apply", str(file), fails=1)["code"] == "validation"
    assert ask("policy", "show")["number"] == applied["number"]


def test_nodes_that_are_not_there(ask: Ask) -> None:
    assert ask("node", "list") == []
    for words in (("show", "x"), ("rename", "x", "y"), ("expire", "x"), ("delete", "x"), ("rotate", "x")):
        assert ask("node", *words, fails=1)["code"] == "not_found"


def test_from_afar_with_token_and_pin(ask: Ask, tmp_path: Path) -> None:
    status = ask("server", "status")
    tokens = {scope: ask("token", "create", "--scope", scope)["token"] for scope in ("read", "write", "admin")}
    assert not any(token in json.dumps(ask("token", "list")) for token in tokens.values())

    def from_afar(token: str, pin: str | None = None) -> tuple[str, ...]:
        file = tmp_path / "token"
        file.write_text(token + "\n")
        return (
            "--server",
            status["url"],
            "--token-file",
            str(file),
            *(() if pin == "" else ("--pin", pin or status["pin"])),
        )

    assert ask("server", "status", where=from_afar(tokens["read"]))["pin"] == status["pin"]
    assert ask("user", "create", "mallory", where=from_afar(tokens["read"]), fails=4)["code"] == "permission"
    assert ask("token", "list", where=from_afar(tokens["write"]), fails=4)["code"] == "permission"
    assert ask("user", "create", "frank", where=from_afar(tokens["admin"]))["name"] == "frank"
    assert ask("node", "list", where=from_afar("wrong"), fails=4)["code"] == "authentication"
    stranger = ask("node", "list", where=from_afar(tokens["read"], "sha256:" + "0" * 64), fails=4)
    assert status["pin"] in stranger["message"]
    distrusted = ask("node", "list", where=from_afar(tokens["read"], ""), fails=4)
    assert "--pin" in distrusted["message"]
    for listed in ask("token", "list"):
        ask("token", "revoke", str(listed["id"]))
    assert ask("token", "list") == []
    assert {listed["usable"] for listed in ask("token", "list", "--all")} == {False}
    assert ask("node", "list", where=from_afar(tokens["admin"]), fails=4)["code"] == "authentication"


def test_nobody_there(ask: Ask, tmp_path: Path) -> None:
    assert ask("node", "list", where=("--data", str(tmp_path)), fails=3)["code"] == "unavailable"
    away = ("--server", "https://127.0.0.1:1", "--token", "x")
    assert ask("node", "list", where=away, fails=3)["code"] == "unavailable"


def test_status_without_an_agent_shows_the_coordinator(ask: Ask) -> None:
    assert ask("status")["pin"] == ask("server", "status")["pin"]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
def test_other_users_are_not_permitted(data: Path) -> None:
    # The interpreter may lie where only root can read it, so what is needed is loaded before the change of user.
    code = (
        "import os, sys; from ghostwire.cli import run; run(['node', 'list', '--data', '/nonexistent']);"
        "os.setgroups([]); os.setgid(65534); os.setuid(65534); sys.exit(run(sys.argv[1:]))"
    )
    command = [sys.executable, "-c", code, "node", "list", "--json", "--data", str(data)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 4, done
    assert json.loads(done.stderr.splitlines()[-1])["code"] == "permission"


def test_the_doctor_sees_it(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code = run(["doctor", "--data", str(data), "--json"])
    found = json.loads(capsys.readouterr().out)
    findings = {finding["name"]: finding for finding in found["findings"]}
    assert code == (0 if found["ok"] else 1)
    # A checkout that somebody works on may be stale; everything else is as it should be.
    assert {name for name, finding in findings.items() if finding["status"] == "fail"} <= {"compiled"}
    assert findings["coordinator"]["status"] == "ok"
    assert findings["store key"]["status"] == "ok"
    assert findings["folder"]["status"] == "ok"


def test_text_for_people(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for words in (["user", "list"], ["node", "list"], ["key", "list"], ["token", "list"], ["server", "status"]):
        assert run([*words, "--data", str(data)]) == 0
        output = capsys.readouterr()
        assert output.out.strip()
        assert "\x1b" not in output.out
