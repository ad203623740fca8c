from pathlib import Path

import msgspec
import pytest

from ghostwire.coordinator.settings import Settings
from ghostwire.errors import ValidationError
from ghostwire.server.config.keys import keys
from ghostwire.server.config.load import load
from ghostwire.server.config.options import serve_options
from ghostwire.server.options import Limits, ServeOptions
from ghostwire.server.store import passphrase

# Of the machinery, not of the network: an operator has no reason to change them.
FIXED = {"restart_grace_s", "flush_s", "coalesce_s", "retries", "window", "reserved_names"}


def built(data: Path, environment: dict[str, str] | None = None) -> ServeOptions:
    environment = environment or {}
    return serve_options(load(None, environment, {}).config, data, environment)


def test_the_defaults_of_the_schema_are_the_defaults_of_the_parts(tmp_path: Path) -> None:
    options = built(tmp_path)
    assert options.settings == Settings()
    assert options.limits == Limits()
    assert options == ServeOptions(data=tmp_path, settings=Settings())


def test_every_setting_and_every_limit_can_be_set(tmp_path: Path) -> None:
    changed = {}
    for key in keys().values():
        if isinstance(key.default, bool) or key.section not in ("network", "auth", "limits"):
            continue
        if key.name == "allocation":
            changed[key.variable] = "random"
        elif isinstance(key.default, int | float):
            changed[key.variable] = "12345"
        else:
            changed[key.variable] = {"ipv4_range": "10.1.0.0/16", "ipv6_range": "fd00::/48"}.get(key.name, "other")
    options = built(tmp_path, changed)
    before, after = msgspec.structs.asdict(Settings()), msgspec.structs.asdict(options.settings)
    assert {name for name in before if before[name] == after[name]} == FIXED
    same = [name for name in Limits.__slots__ if getattr(options.limits, name) == getattr(Limits(), name)]
    assert same == []


@pytest.mark.parametrize(
    "environment",
    [
        {"GHOSTWIRE_SERVER_TLS_CERT": "/a"},
        {"GHOSTWIRE_SERVER_TLS_KEY": "/a"},
        {"GHOSTWIRE_SERVER_TLS": "off", "GHOSTWIRE_SERVER_TLS_CERT": "/a", "GHOSTWIRE_SERVER_TLS_KEY": "/b"},
        {"GHOSTWIRE_DATABASE_KEY_FILE": "/a", "GHOSTWIRE_DATABASE_PASSPHRASE_FILE": "/b"},
        {"GHOSTWIRE_DATABASE_PASSPHRASE_FILE": "/does/not/exist"},
        {"GHOSTWIRE_DATABASE_PARALLEL_WRITES": "false"},
    ],
)
def test_contradictions_are_refused(tmp_path: Path, environment: dict[str, str]) -> None:
    with pytest.raises(ValidationError):
        built(tmp_path, environment)


def test_the_passphrase_is_read_and_never_shown(tmp_path: Path) -> None:
    file = tmp_path / "passphrase"
    file.write_text("correct horse\n")
    file.chmod(0o640)
    with pytest.raises(ValidationError, match="chmod 600"):
        built(tmp_path, {"GHOSTWIRE_DATABASE_PASSPHRASE_FILE": str(file)})
    file.chmod(0o600)
    options = built(tmp_path, {"GHOSTWIRE_DATABASE_PASSPHRASE_FILE": str(file)})
    assert passphrase.read(options.passphrase_file) == "correct horse"
    assert "horse" not in repr(options)
    file.write_text("\n")
    with pytest.raises(ValidationError, match="is empty"):
        passphrase.read(file)


def test_systemd_hands_over_the_key(tmp_path: Path) -> None:
    handed = {"CREDENTIALS_DIRECTORY": str(tmp_path)}
    assert built(tmp_path, handed).store_credential is None
    (tmp_path / "ghostwire.store-key").write_bytes(bytes(32))
    assert built(tmp_path, handed).store_credential == "ghostwire.store-key"
    named = built(tmp_path, handed | {"GHOSTWIRE_DATABASE_KEY_FILE": "/etc/key"})
    assert (named.store_key, named.store_credential) == (Path("/etc/key"), None)
