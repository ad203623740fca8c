import configparser
import json
import shlex
from pathlib import Path

import pytest

from ghostwire.cli import run
from ghostwire.cli.service.unit import Unit, quoted


def parsed(text: str) -> configparser.ConfigParser:
    parser = configparser.ConfigParser(strict=True, interpolation=None)
    parser.optionxform = str  # type: ignore[assignment]
    parser.read_string(text)
    return parser


def test_a_unit_of_the_system_has_what_it_needs_and_no_more() -> None:
    serve = parsed(Unit(verb="serve", program=("/usr/bin/ghostwire",)).text())["Service"]
    assert serve["ExecStart"] == "/usr/bin/ghostwire serve"
    assert serve["ProtectSystem"] == "strict"
    assert serve["CapabilityBoundingSet"] == "CAP_NET_BIND_SERVICE"
    assert serve["StateDirectory"] == "ghostwire/server"
    assert serve["LimitCORE"] == "0"
    up = parsed(Unit(verb="up", program=("/usr/bin/ghostwire",)).text())["Service"]
    assert up["CapabilityBoundingSet"] == "CAP_NET_ADMIN"
    assert up["DeviceAllow"] == "/dev/net/tun rw"
    assert up["NoNewPrivileges"] == "yes"


def test_a_folder_is_handed_over_and_may_be_written() -> None:
    unit = Unit(verb="serve", program=("/p/ghostwire",), arguments=("--tls", "off"), folder=Path("/srv/a b"))
    service = parsed(unit.text())["Service"]
    assert shlex.split(service["ExecStart"]) == ["/p/ghostwire", "serve", "--data", "/srv/a b", "--tls", "off"]
    assert service["ReadWritePaths"] == '"/srv/a b"'


def test_a_program_at_home_can_be_read() -> None:
    assert (
        parsed(Unit(verb="up", program=("/home/a/.local/bin/ghostwire",)).text())["Service"]["ProtectHome"]
        == "read-only"
    )
    assert parsed(Unit(verb="up", program=("/usr/bin/ghostwire",)).text())["Service"]["ProtectHome"] == "yes"


def test_a_unit_of_a_user_asks_for_nothing_only_root_may() -> None:
    text = Unit(verb="up", program=("/usr/bin/ghostwire",), system=False).text()
    assert "Protect" not in text
    assert parsed(text)["Install"]["WantedBy"] == "default.target"


@pytest.mark.parametrize(("word", "text"), [("a", "a"), ("a b", '"a b"'), ("50%", "50%%"), ("$x", "$$x"), ("", '""')])
def test_quoting(word: str, text: str) -> None:
    assert quoted(word) == text


def test_install_refuses_a_key(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["service", "install", "up", "--print", "--", "--key", "secret"]) == 2
    assert "readable by everyone" in capsys.readouterr().err
    assert run(["service", "install", "up", "--print", "--", "--key=secret"]) == 2


def test_install_writes_the_unit_and_says_what_to_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("ghostwire.cli.service.SYSTEM_UNITS", tmp_path / "system")
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    assert run(["service", "install", "serve", "--json"]) == 0
    made = json.loads(capsys.readouterr().out)
    assert Path(made["path"]).is_relative_to(tmp_path)
    assert "ExecStart=" in Path(made["path"]).read_text()
    assert any("enable --now ghostwire-serve.service" in line for line in made["next"])
