from pathlib import Path

import pytest
import yaml

from ghostwire.errors import ValidationError
from ghostwire.server.config.explain import example_file, explained, values
from ghostwire.server.config.keys import keys
from ghostwire.server.config.load import find_file, load
from ghostwire.server.config.schema import Config

ROOT = Path(__file__).parents[3]

SEED = """
# Server configuration
server:
  listen_addr: "0.0.0.0:8080"

# Network configuration
network:
  ipv4_range: "10.1.0.0/16"         # IPv4 allocation pool
  ipv6_range: "fd7a:115c:a1e0::/48" # IPv6 allocation pool (optional)
  keepalive_interval: "30s"         # Heartbeat interval

# Authentication
auth:
  session_timeout: "24h"            # Session token lifetime

# Database
database:
  path: "/var/lib/ghostwire/db.sqlite"
  cache_size: "256MB"
  parallel_writes: true
"""


def written(folder: Path, text: str, name: str = "ghostwire.yaml") -> Path:
    file = folder / name
    file.write_text(text)
    return file


def test_every_key_of_the_documented_file_is_valid(tmp_path: Path) -> None:
    config = load(written(tmp_path, SEED), {}, {}).config
    assert config.server.listen_addr == "0.0.0.0:8080"
    assert config.network.ipv4_range == "10.1.0.0/16"
    assert config.network.keepalive_interval == 30
    assert config.auth.session_timeout == 86400
    assert config.database.path == Path("/var/lib/ghostwire/db.sqlite")
    assert config.database.cache_size == 256 * 2**20
    assert config.database.parallel_writes is True


def test_nothing_set_is_the_default() -> None:
    loaded = load(None, {"HOME": "/", "GHOSTWIRE_KEY": "secret", "GHOSTWIRE_DATA": "/x"}, {})
    assert loaded.config == Config()
    assert {str(origin) for origin in loaded.origins.values()} == {"default"}


def test_flags_over_environment_over_file_over_default(tmp_path: Path) -> None:
    file = written(tmp_path, "server:\n  listen_addr: a:1\n  behind_proxy: true\nauth:\n  session_timeout: 1h\n")
    environment = {"GHOSTWIRE_SERVER_LISTEN_ADDR": "b:2", "GHOSTWIRE_AUTH_SESSION_TIMEOUT": "2h"}
    loaded = load(file, environment, {"server.listen_addr": ("--listen", "c:3")})
    assert loaded.config.server.listen_addr == "c:3"
    assert loaded.config.auth.session_timeout == 7200
    assert loaded.config.server.behind_proxy is True
    source = {entry["key"]: entry["source"] for entry in explained(loaded)}
    assert source["server.listen_addr"] == "--listen"
    assert source["auth.session_timeout"] == "GHOSTWIRE_AUTH_SESSION_TIMEOUT"
    assert source["server.behind_proxy"] == f"{file}:3"
    assert source["network.domain"] == "default"


@pytest.mark.parametrize(
    ("name", "text", "line"),
    [
        ("f.yaml", "server:\n  listen_adr: a:1\n", 2),
        ("f.toml", "# x\n[server]\n\nlisten_adr = 'a:1'\n", 4),
        ("f.toml", "server.listen_adr = 'a:1'\n", 1),
    ],
)
def test_an_unknown_key_names_place_and_nearest_key(tmp_path: Path, name: str, text: str, line: int) -> None:
    file = written(tmp_path, text, name)
    with pytest.raises(ValidationError) as caught:
        load(file, {}, {})
    assert caught.value.message == (
        f"{file}:{line}: there is no setting `server.listen_adr`: did you mean `server.listen_addr`?"
    )


def test_a_key_in_the_wrong_section_and_unknown_sections(tmp_path: Path) -> None:
    file = written(tmp_path, "auth:\n  cache_size: 1MB\nsrver:\n  behind_proxy: true\nport: 3\n")
    with pytest.raises(ValidationError) as caught:
        load(file, {"GHOSTWIRE_AUTH_SESSION_TIMEOUTS": "1"}, {})
    faults = caught.value.message.splitlines()
    assert len(faults) == 4
    assert "`database.cache_size`" in faults[0]
    assert "`server.behind_proxy`" in faults[1]
    assert ":5:" in faults[2]
    assert "GHOSTWIRE_AUTH_SESSION_TIMEOUTS: " in faults[3]
    assert "`auth.session_timeout`" in faults[3]


def test_a_variable_that_is_nearly_a_setting_is_an_error_and_others_are_none() -> None:
    with pytest.raises(ValidationError) as caught:
        load(None, {"GHOSTWIRE_SEVER_LISTEN_ADDR": "a:1", "GHOSTWIRE_NETWROK_DOMAIN": "x"}, {})
    faults = caught.value.message.splitlines()
    assert "GHOSTWIRE_NETWROK_DOMAIN: " in faults[0]
    assert "`network.domain`" in faults[0]
    assert "GHOSTWIRE_SEVER_LISTEN_ADDR: " in faults[1]
    assert "`server.listen_addr`" in faults[1]
    verbs = ("SERVER", "TOKEN", "PIN", "KEY", "DATA", "DEBUG", "HOME")
    assert load(None, {f"GHOSTWIRE_{name}": "x" for name in verbs}, {}).config == Config()


@pytest.mark.parametrize(
    "text",
    [
        "network:\n  keepalive_interval: soon\n",
        "network:\n  keepalive_interval: true\n",
        "network:\n  keepalive_interval: [1]\n",
        "network:\n  allocation: alphabetical\n",
        "server:\n  listen_addr: 8443\n",
        "server:\n  behind_proxy: maybe\n",
        "server:\n  behind_proxy:\n",
        "server:\n  admin_uids: [alice]\n",
        "limits:\n  connections: 0\n",
        "database:\n  cache_size: -3\n",
        "server: 3\n",
        "- server\n",
        "server:\n  tls: on\n  tls: off\n",
        "server: {listen_addr: [}\n",
        "server: !!python/object:os.system {}\n",
        "a: &a [*a]\n",
    ],
)
def test_wrong_values_are_named_with_their_place(tmp_path: Path, text: str) -> None:
    file = written(tmp_path, text)
    with pytest.raises(ValidationError, match=rf"{file}:\d+: "):
        load(file, {}, {})


def test_yaml_words_and_toml_mean_the_same(tmp_path: Path) -> None:
    yaml_file = written(
        tmp_path,
        "server:\n  tls: off\n  admin_uids: [1000]\nlogging:\n  level: debug\nnetwork:\n  keepalive_interval: 20\n",
    )
    toml_file = written(
        tmp_path,
        "[server]\ntls = 'off'\nadmin_uids = [1000]\n[logging]\nlevel = 'debug'\n[network]\nkeepalive_interval = 20\n",
        "ghostwire.toml",
    )
    first, second = load(yaml_file, {}, {}).config, load(toml_file, {}, {}).config
    assert first == second
    assert (first.server.tls, first.logging.level, first.network.keepalive_interval) == ("off", "DEBUG", 20)


def test_the_environment_spells_lists_booleans_and_nothing() -> None:
    config = load(
        None,
        {
            "GHOSTWIRE_SERVER_PUBLIC_URLS": "https://a, https://b",
            "GHOSTWIRE_SERVER_BEHIND_PROXY": "true",
            "GHOSTWIRE_SERVER_ADMIN_UIDS": "1000,1001",
            "GHOSTWIRE_SERVER_TLS": "off",
            "GHOSTWIRE_DATABASE_PATH": "",
            "GHOSTWIRE_LIMITS_CONNECTIONS": "77",
        },
        {},
    ).config
    assert config.server.public_urls == ("https://a", "https://b")
    assert config.server.behind_proxy is True
    assert config.server.admin_uids == (1000, 1001)
    assert config.server.tls == "off"
    assert config.database.path is None
    assert config.limits.connections == 77


def test_which_file_is_read(tmp_path: Path) -> None:
    system = tmp_path / "etc.yaml"
    data = tmp_path / "data"
    data.mkdir()
    assert find_file(None, data, system) is None
    system.write_text("")
    assert find_file(None, data, system) == system
    (data / "ghostwire.toml").write_text("")
    assert find_file(None, data, system) == data / "ghostwire.toml"
    (data / "ghostwire.yaml").write_text("")
    assert find_file(None, data, system) == data / "ghostwire.yaml"
    assert find_file(system, data, system) == system
    with pytest.raises(ValidationError, match="no configuration file"):
        find_file(tmp_path / "none", data, system)


def test_the_example_is_current_and_changes_nothing() -> None:
    shipped = ROOT / "docs" / "ghostwire.example.yaml"
    assert shipped.read_text() == example_file()
    assert load(shipped, {}, {}).config == Config()


def test_every_example_value_is_valid(tmp_path: Path) -> None:
    text = "\n".join(
        line.replace("# ", "", 1) if line.startswith("  # ") and f"{line[4:].partition(':')[0]}" in names() else line
        for line in example_file().splitlines()
    )
    loaded = load(written(tmp_path, text), {}, {})
    unset = [key for key in keys().values() if getattr(getattr(loaded.config, key.section), key.name) in (None, ())]
    assert unset == []


def names() -> set[str]:
    return {key.name for key in keys().values()}


def test_values_can_be_written_back(tmp_path: Path) -> None:
    loaded = load(written(tmp_path, SEED), {"GHOSTWIRE_LIMITS_HEAD_TIME": "90s"}, {})
    again = load(written(tmp_path, yaml.safe_dump(values(loaded)), "again.yaml"), {}, {})
    assert again.config == loaded.config
