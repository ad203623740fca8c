import io
import json
import logging
import subprocess
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest

from ghostwire.server.observer import Observer
from ghostwire.telemetry import Telemetry, open_telemetry
from ghostwire.telemetry.levels import NAMES, NUMBERS, nearest
from ghostwire.telemetry.log import Log

TOKEN = "Zm9vYmFyYmF6cXV4Zm9vYmFyYmF6cXV4Zm9vYmFyYmE"


@pytest.fixture(autouse=True)
def _own_logging() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    yield
    logging.captureWarnings(False)
    root.handlers[:] = handlers
    root.setLevel(level)


def lines(stream: io.StringIO) -> list[dict[str, object]]:
    return [json.loads(line) for line in stream.getvalue().split("\n") if line]


def test_values_are_fields() -> None:
    stream = io.StringIO()
    Log("info", "json", stream).event("info", "node registered", node=7, name="laptop", share=0.5, ok=True, why=None)
    (line,) = lines(stream)
    assert list(line)[:3] == ["time", "level", "event"]
    del line["time"]
    assert line == {
        "level": "info", "event": "node registered", "node": 7, "name": "laptop", "share": 0.5, "ok": True, "why": None,
    }  # fmt: skip


@pytest.mark.parametrize("threshold", list(NUMBERS))
def test_each_level_lets_through_itself_and_above(threshold: str) -> None:
    stream = io.StringIO()
    log = Log(threshold, "json", stream)  # type: ignore[arg-type]
    for level in NUMBERS:
        log.event(level, "x")  # type: ignore[arg-type]
    assert [line["level"] for line in lines(stream)] == [
        level for level in NUMBERS if NUMBERS[level] >= NUMBERS[threshold]
    ]


def test_numbers_of_the_standard_library_find_their_level() -> None:
    assert [nearest(n) for n in (1, 5, 10, 19, 20, 30, 45, 60)] == [
        "trace", "trace", "debug", "debug", "info", "warning", "error", "critical",
    ]  # fmt: skip


def test_fields_cannot_forge_the_frame() -> None:
    stream = io.StringIO()
    Log("info", "json", stream).event("info", "real", event="forged", level="critical", time="never")  # type: ignore[arg-type]
    (line,) = lines(stream)
    assert (line["event"], line["level"]) == ("real", "info")
    assert (line["event_"], line["level_"], line["time_"]) == ("forged", "critical", "never")


def test_strange_text_stays_on_one_line() -> None:
    stream = io.StringIO()
    log = Log("info", "json", stream)
    log.event("info", "x", name="a\nb\x1b[31m\u2028\udcff", big=2**80, raw=b"\0" * 40, odd=object())
    assert len(lines(stream)) == 1
    console = io.StringIO()
    Log("info", "console", console).event("info", "text\x1b[2J", name="a\nforged line\x1b]0;title\x07")
    assert console.getvalue().count("\n") == 1
    assert "\x1b" not in console.getvalue()


def test_a_log_that_cannot_be_written_stops_nothing() -> None:
    full = Path("/dev/full").open("w")  # noqa: SIM115 - its close fails, which is the point
    log = Log("info", "json", full)
    log.event("info", "x")
    assert log.lost == 1
    with pytest.raises(OSError, match="No space"):
        full.close()


@pytest.mark.parametrize("style", ["json", "console"])
@pytest.mark.parametrize("level", list(NUMBERS))
def test_secrets_reach_no_level_and_no_style(style: str, level: str) -> None:
    stream = io.StringIO()
    log = Log("trace", style, stream)  # type: ignore[arg-type]
    log.event(
        level,  # type: ignore[arg-type]
        f"text with {TOKEN}",
        key="short-secret",
        preauth_key="short-secret",
        session_token="short-secret",
        authorization="Bearer short-secret",
        note=f"Bearer {TOKEN}",
        passphrase="short-secret",
        api_token_id=12,
        fingerprint="ab" * 32,
    )
    text = stream.getvalue()
    assert "short-secret" not in text
    assert TOKEN not in text
    assert "12" in text
    assert "ab" * 32 in text


def test_long_names_that_are_no_secret_stay() -> None:
    stream = io.StringIO()
    Log("info", "json", stream).event("info", "a node with a name", host="a-name.with-dots.example.com", n="x" * 39)
    assert lines(stream)[0]["host"] == "a-name.with-dots.example.com"


@pytest.mark.parametrize("address", ["192.0.2.7", "192.0.2.7:51820", "2001:db8::7", "[2001:db8::7]:51820", "::1"])
@pytest.mark.parametrize("level", list(NUMBERS))
def test_addresses_never_above_debug(address: str, level: str) -> None:
    stream = io.StringIO()
    Log("trace", "json", stream).event(level, f"from {address} it came", endpoint=address, listen="192.0.2.1:8443")  # type: ignore[arg-type]
    (line,) = lines(stream)
    shown = NUMBERS[level] <= NUMBERS["debug"]
    assert (line["endpoint"] == address) == shown
    assert (address in str(line["event"])) == shown
    assert line["listen"] == "192.0.2.1:8443"


def test_times_and_versions_are_no_addresses() -> None:
    stream = io.StringIO()
    Log("info", "json", stream).event("info", "x", at="12:30:15", version="1.2.3", key_name="a::b::c")
    (line,) = lines(stream)
    assert (line["at"], line["version"], line["key_name"]) == ("12:30:15", "1.2.3", "a::b::c")


def test_libraries_and_warnings_take_the_same_way() -> None:
    stream = io.StringIO()
    telemetry = open_telemetry("test", "debug", "json", stream=stream)
    logging.getLogger("some.library").warning("peer %s failed with %s", "192.0.2.9", TOKEN)
    try:
        raise ValueError("broken")
    except ValueError:
        logging.getLogger("some.library").exception("it broke")
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        warnings.warn("old", UserWarning, stacklevel=1)
    telemetry.close()
    first, second, third = lines(stream)
    assert first["event"] == "peer [address] failed with [redacted]"
    assert first["logger"] == "some.library"
    assert "ValueError: broken" in str(second["exception"])
    assert third["logger"] == "py.warnings"


def test_it_is_what_servers_take() -> None:
    observer: Observer = Telemetry(Log("info", "json", io.StringIO()))
    observer.event("info", "x", a=1)
    observer.span("y", 1, 2)


def test_every_configured_level_has_a_name() -> None:
    assert set(NAMES.values()) == set(NUMBERS)


def test_without_an_endpoint_opentelemetry_is_not_loaded() -> None:
    code = (
        "import sys; from ghostwire.telemetry import open_telemetry; open_telemetry('t').event('info', 'x');"
        "sys.exit(any(name.startswith('opentelemetry') for name in sys.modules))"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True).returncode == 0
