"""`serve` as a process: where its settings come from, what it says, how it ends."""

import asyncio
import json
import os
import pty
import select
import ssl
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from ghostwire.cli import run
from ghostwire.cli.admin import Admin
from ghostwire.server.listen import tls
from ghostwire.testing.processes import Child
from tests.api.node import Node
from tests.collector import collecting

pytestmark = pytest.mark.integration

PATIENCE_S = 60.0


def serve(room: Path, *words: str, environment: dict[str, str] | None = None) -> Child:
    where = ("--data", str(room / "server")) if "--data" not in words else ()
    return Child.start(["serve", *where, "--listen", "127.0.0.1:0", *words], room / "log", environment)


def ready(child: Child, room: Path) -> dict[str, object]:
    with Admin.local(room / "server") as admin:
        return child.until("ready", lambda: admin.get("/v1/status"), PATIENCE_S)


def test_configuration_reaches_the_server(room: Path) -> None:
    (room / "server").mkdir(mode=0o700)
    (room / "server" / "ghostwire.yaml").write_text("network:\n  id: from-file\n  domain: one.example\n")
    environment = {
        "GHOSTWIRE_NETWORK_DOMAIN": "two.example",
        "GHOSTWIRE_SERVER_PUBLIC_URLS": "https://env.example",
        "GHOSTWIRE_DATABASE_PATH": str(room / "elsewhere.db"),
        "GHOSTWIRE_DATABASE_CACHE_SIZE": "8MB",
    }
    with serve(room, "--url", "https://flag.example:8443", environment=environment) as child:
        status = ready(child, room)
        assert status["network"] == "from-file"
        assert status["url"] == "https://flag.example:8443"
        assert (room / "elsewhere.db").stat().st_size > 0
        assert not (room / "server" / "ghostwire.db").exists()
    assert child.stop() == 0


def test_without_a_terminal_it_prints_the_command_and_no_key(room: Path) -> None:
    with serve(room) as child:
        ready(child, room)
        child.until("greeting", lambda: "ghostwire key create --user" in child.log.read_text() or None, PATIENCE_S)
        assert "--key " not in child.log.read_text()
        with Admin.local(room / "server") as admin:
            assert admin.get("/v1/preauth-keys")["keys"] == []


@contextmanager
def on_a_terminal(room: Path, until: bytes) -> Iterator[str]:
    """A server whose person looks at the screen: what it says up to `until`."""
    ours, theirs = pty.openpty()
    where = ["--data", str(room / "server"), "--listen", "127.0.0.1:0"]
    command = [sys.executable, "-m", "ghostwire.cli", "serve", *where]
    process = subprocess.Popen(command, stdout=theirs, stderr=subprocess.DEVNULL, stdin=theirs, start_new_session=True)
    os.close(theirs)
    try:
        text = b""
        deadline = time.monotonic() + PATIENCE_S
        while until not in text:
            assert time.monotonic() < deadline, text
            if select.select([ours], [], [], 0.5)[0]:
                text += os.read(ours, 65536)
        yield text.decode()
    finally:
        process.terminate()
        assert process.wait(PATIENCE_S) == 0
        os.close(ours)


def test_on_a_terminal_the_first_start_prints_a_line_that_joins_and_later_ones_do_not(room: Path) -> None:
    with on_a_terminal(room, b"For more machines") as text:
        (line,) = [line.strip() for line in text.splitlines() if "--key " in line]
        words = line.split()
        assert words[:2] == ["ghostwire", "up"]
        url, pin, key = (words[words.index(flag) + 1] for flag in ("--server", "--pin", "--key"))
        with Admin.local(room / "server") as admin:
            (made,) = admin.get("/v1/preauth-keys")["keys"]
            assert (made["uses_left"], made["usable"]) == (1, True)
            life = datetime.fromisoformat(made["expires_at"]) - datetime.fromisoformat(made["created_at"])
            assert life == timedelta(hours=1)
            asyncio.run(joined(url, pin, key))
            assert admin.get("/v1/nodes")["total"] == 1
    with on_a_terminal(room, b"ghostwire key create --user") as text, Admin.local(room / "server") as admin:
        assert "--key " not in text
        assert len(admin.get("/v1/preauth-keys")["keys"]) == 1


async def joined(url: str, pin: str, key: str) -> None:
    """A machine joins with what the screen says."""
    async with Node(url, pin) as node:
        await node.register(key, hostname="first")


def test_json_says_where_it_is(room: Path) -> None:
    child = serve(room, "--json")
    with child:
        ready(child, room)
        lines = [json.loads(line) for line in child.log.read_text().splitlines()]
        (said,) = [line for line in lines if "socket" in line]
        assert said["url"].startswith("https://127.0.0.1:")
        assert said["socket"] == str(room / "server" / "admin.sock")


def test_a_second_server_is_refused(room: Path) -> None:
    with serve(room) as child:
        ready(child, room)
        done = refused(room)
        assert done.returncode == 1
        assert done.stderr.startswith(f"error: the store {room}/server/ghostwire.db is already open")
        assert "`ghostwire serve --takeover`" in done.stderr
        assert done.stderr.count("\n") == 1


def refused(room: Path, *words: str, environment: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "ghostwire.cli", "serve", "--data", str(room / "server"), *words]
    return subprocess.run(
        command, capture_output=True, text=True, timeout=PATIENCE_S, env=os.environ | (environment or {})
    )


@pytest.mark.parametrize(
    ("words", "environment", "told"),
    [
        (["--tls", "off"], {}, "behind"),
        (["--tls-cert", "/x"], {}, "tls_key"),
        (["--config", "/does/not/exist"], {}, "no configuration file"),
        (["--listen", "nonsense"], {}, "nonsense"),
        (["--listen", "192.0.2.1:0"], {}, "no such address: take one that it has with --listen"),
        ([], {"GHOSTWIRE_SERVER_LISTEN": "x"}, "`server.listen_addr`"),
        ([], {"GHOSTWIRE_NETWORK_IPV4_RANGE": "10.0.0.0/99"}, "10.0.0.0/99"),
        (["--store-key", "/does/not/exist"], {}, "/does/not/exist"),
    ],
)
def test_what_cannot_be_served_is_one_clear_error(
    room: Path, words: list[str], environment: dict[str, str], told: str
) -> None:
    done = refused(room, *words, environment=environment)
    assert done.returncode == 1, done
    assert told in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout == ""


def test_no_secret_is_in_the_log(room: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with serve(room, "--log-level", "trace") as child:
        ready(child, room)
        where = ["--data", str(room / "server"), "--json"]
        assert run(["key", "create", "--user", "alice", *where]) == 0
        key = json.loads(capsys.readouterr().out)["key"]
        assert run(["token", "create", "--scope", "admin", *where]) == 0
        token = json.loads(capsys.readouterr().out)["token"]
        status = ready(child, room)
        afar = ["--server", str(status["url"]), "--pin", str(status["pin"]), "--token", token]
        assert run(["key", "list", *afar]) == 0
        assert run(["node", "show", key, *afar]) == 1
    log = child.log.read_text()
    assert "uvicorn.asgi" in log  # the level that tells of each request was really on
    assert key not in log
    assert token not in log


def test_a_certificate_of_ones_own_is_shown_and_needs_no_pin(room: Path) -> None:
    (room / "own").mkdir()
    tls.self_signed(room / "own", ["localhost", "127.0.0.1"], datetime.now(UTC))
    own = room / "own" / "tls.crt"
    with serve(room, "--tls-cert", str(own), "--tls-key", str(room / "own" / "tls.key")) as child:
        url = str(ready(child, room)["url"])
        with urllib.request.urlopen(f"{url}/v1/version", context=ssl.create_default_context(cafile=own)) as answer:
            assert answer.status == 200
        with Admin.local(room / "server") as admin:
            made = admin.post("/v1/preauth-keys", {"user": "alice"})
    assert (made["pin"], made["command"]) == (None, f"ghostwire up --server {url} --key {made['key']}")
    assert not (room / "server" / "tls.key").exists()


@pytest.mark.parametrize("source", ["file", "credential", "passphrase"])
def test_the_stores_key_may_live_elsewhere(room: Path, source: str) -> None:
    """The store opens with the very key that made it, wherever that lies, and with no other."""
    secret = room / "ghostwire.store-key"
    secret.touch(mode=0o600)
    secret.write_text("ab" * 32)
    words, environment = {
        "file": (["--store-key", str(secret)], {}),
        "credential": ([], {"CREDENTIALS_DIRECTORY": str(room)}),
        "passphrase": ([], {"GHOSTWIRE_DATABASE_PASSPHRASE_FILE": str(secret)}),
    }[source]
    if source == "credential":
        secret.chmod(0o440)  # what a service with a user of its own sees: the ACL's mask
    for _ in range(2):
        with serve(room, *words, environment=environment) as child:
            ready(child, room)
        assert child.stop() == 0
    assert not (room / "server" / "store.key").exists()
    secret.chmod(0o600)
    secret.write_text("cd" * 32)
    assert "the key" in refused(room, "--listen", "127.0.0.1:0", *words, environment=environment).stderr


def events(child: Child) -> dict[str, dict[str, object]]:
    lines = (json.loads(line) for line in child.log.read_text().splitlines() if line.startswith("{"))
    return {line["event"]: line for line in lines}


def test_changes_are_logged_and_traced(room: Path) -> None:
    with collecting() as collector:
        environment = {"GHOSTWIRE_TELEMETRY_OTLP_ENDPOINT": f"http://127.0.0.1:{collector.server_port}"}
        with serve(room, "--log-level", "debug", environment=environment) as child:
            ready(child, room)
            with Admin.local(room / "server") as admin:
                made = admin.post("/v1/preauth-keys", {"user": "alice"})
        assert child.stop() == 0
    told = events(child)
    assert {"server.started", "preauth_key.create", "http", "server.stopped"} <= set(told)
    assert told["preauth_key.create"]["level"] == "info"
    assert told["preauth_key.create"]["login"] == "alice"
    assert (told["http"]["level"], told["http"]["resource"]) == ("debug", "/v1/preauth-keys")
    assert made["key"] not in child.log.read_text()
    assert {"commit", "http"} <= {span.name for span in collector.spans()}


def test_config_show_explains(room: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    (room / "ghostwire.toml").write_text("[auth]\nsession_timeout = '2h'\n")
    monkeypatch.setenv("GHOSTWIRE_NETWORK_DOMAIN", "env.example")
    assert run(["config", "show", "--explain", "--json", "--data", str(room)]) == 0
    entries = {entry["key"]: entry for entry in json.loads(capsys.readouterr().out)}
    assert entries["auth.session_timeout"]["value"] == "2h"
    assert entries["auth.session_timeout"]["source"] == f"{room}/ghostwire.toml:2"
    assert entries["network.domain"]["source"] == "GHOSTWIRE_NETWORK_DOMAIN"
    assert entries["network.grace"]["source"] == "default"
    assert run(["config", "show", "--data", str(room)]) == 0
    (room / "again.yaml").write_text(capsys.readouterr().out)
    assert run(["config", "show", "--json", "--config", str(room / "again.yaml")]) == 0
    assert json.loads(capsys.readouterr().out)["auth"]["session_timeout"] == "2h"
