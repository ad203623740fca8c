import json
import socket
from pathlib import Path

import pytest

from ghostwire import _native
from ghostwire.cli import run
from ghostwire.cli.doctor import build, host, server
from ghostwire.cli.doctor.finding import Finding
from ghostwire.errors import DatabaseError
from ghostwire.server.config.load import load


def configured(**environment: str) -> server.Loaded:
    return load(None, environment, {})


@pytest.fixture
def data(tmp_path: Path) -> Path:
    folder = tmp_path / "server"
    folder.mkdir(mode=0o700)
    return folder


def test_a_sound_installation_exits_0_and_a_fault_exits_1(
    data: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_native, "stale", list)
    words = ["doctor", "--data", str(data), "--state", str(data.parent / "agent"), "--json"]
    assert run(words) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["ok"] is True
    names = {finding["name"] for finding in found["findings"]}
    assert names == {
        "version", "compiled", "sqlite", "tun", "clock", "descriptors", "agent", "config", "folder", "store key",
        "coordinator",
    }  # fmt: skip
    data.chmod(0o755)
    assert run(words) == 1
    assert json.loads(capsys.readouterr().out)["ok"] is False
    assert run(words[:-1]) == 1
    text = capsys.readouterr().out
    assert f"chmod 700 {data}" in text


def test_stale_binaries_say_what_to_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        _native, "stale", lambda: ["core_ext was built from other sources: run `uv sync` (or `make cy`)"]
    )
    finding = build.compiled()
    assert (finding.status, finding.advice) == ("fail", "run `uv sync` (or `make cy`)")
    monkeypatch.setattr(_native, "stale", list)
    monkeypatch.setattr(_native, "build_profile", lambda: "debug")
    assert build.compiled().status == "warn"


def test_a_sqlite_that_loses_data_is_a_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse() -> None:
        raise DatabaseError("SQLite 3.40.0 can corrupt a store")

    monkeypatch.setattr("ghostwire.zqlite.engine.require_version", refuse)
    (finding,) = [finding for finding in build.findings() if finding.name == "sqlite"]
    assert (finding.status, finding.text) == ("fail", "SQLite 3.40.0 can corrupt a store")


@pytest.mark.parametrize(("mode", "status"), [(0o600, "ok"), (0o640, "fail"), (0o604, "fail")])
def test_the_store_key_and_what_it_protects(data: Path, mode: int, status: str) -> None:
    key = data / "store.key"
    key.write_bytes(bytes(32))
    key.chmod(mode)
    own = server.store_key(data, configured())
    assert own.status == status
    if status == "ok":
        assert "copies of the store's file, not the folder" in own.text
    else:
        assert own.advice == f"run `chmod 600 {key}`"
    elsewhere = server.store_key(data, configured(GHOSTWIRE_DATABASE_KEY_FILE=str(key)))
    assert elsewhere.status == status


def test_a_key_that_is_missing(data: Path) -> None:
    assert server.store_key(data, configured()).status == "note"
    named = configured(GHOSTWIRE_DATABASE_PASSPHRASE_FILE="/does/not/exist")
    assert server.store_key(data, named).status == "fail"


def test_a_key_that_systemd_hands_over(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (data / "ghostwire.db").touch()
    outside = server.store_key(data, configured())
    assert (outside.status, "systemd" in outside.text, "will be made" in outside.text) == ("note", True, False)
    handed = data / "ghostwire.store-key"
    handed.write_bytes(bytes(32))
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(data))
    inside = server.store_key(data, configured())
    assert (inside.status, str(handed) in inside.text) == ("ok", True)


def test_a_wrong_configuration_is_named(data: Path) -> None:
    file = data / "ghostwire.yaml"
    file.write_text("server:\n  listen_adr: x\n")
    first = server.findings(data, None)[0]
    assert (first.name, first.status) == ("config", "fail")
    assert f"{file}:2" in first.text


def test_a_port_that_another_program_holds(data: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as held:
        listen = f"127.0.0.1:{held.getsockname()[1]}"
        finding = server.coordinator(data, configured(GHOSTWIRE_SERVER_LISTEN_ADDR=listen))
        assert (finding.status, listen in finding.text) == ("warn", True)
    assert server.coordinator(data, configured(GHOSTWIRE_SERVER_LISTEN_ADDR=listen)).status == "note"
    elsewhere = server.coordinator(data, configured(GHOSTWIRE_SERVER_LISTEN_ADDR="192.0.2.1:1"))
    assert elsewhere.status == "warn"


def test_little_space_is_told(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert server.folder(data).status == "ok"
    monkeypatch.setattr(server, "LITTLE_SPACE", 2**62)
    assert server.folder(data).status == "warn"


@pytest.mark.parametrize(
    ("there", "capable", "status"), [(True, True, "ok"), (True, False, "note"), (False, True, "note")]
)
def test_tunnels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, there: bool, capable: bool, status: str) -> None:
    device = tmp_path / "tun"
    if there:
        device.touch()
    monkeypatch.setattr(host, "TUN", device)
    monkeypatch.setattr(host, "has_capability", lambda number: capable)
    finding = host.tun()
    assert finding.status == status
    if status == "note":
        assert "ghostwire ping" in finding.text


def test_a_clock_before_the_release_is_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    assert host.clock().status in ("ok", "note")
    monkeypatch.setattr("time.time", lambda: 0.0)
    assert host.clock().status == "fail"


def test_the_agents_folder(tmp_path: Path) -> None:
    assert host.agent(tmp_path / "none").status == "note"
    folder = tmp_path / "agent"
    folder.mkdir(mode=0o700)
    assert host.agent(folder).status == "ok"
    folder.chmod(0o755)
    assert host.agent(folder) == Finding(
        "agent", "fail", f"{folder} is open to others (mode 755)", f"run `chmod 700 {folder}`"
    )
