import json
from datetime import UTC, datetime, timedelta

import click
import pytest

from ghostwire.cli import screen

NOW = datetime(2026, 5, 1, 12, 0, tzinfo=UTC)


def test_columns_align_whatever_their_colour() -> None:
    text = screen.columns(("id", "state"), [(1, screen.good("online")), (100, "off")], "nothing")
    assert click.unstyle(text) == "ID   STATE\n1    online\n100  off"


def test_no_rows_is_a_sentence() -> None:
    assert screen.columns(("id",), [], "nothing yet") == "nothing yet"


def test_json_is_one_line_and_the_only_thing(capsys: pytest.CaptureFixture[str]) -> None:
    screen.show({"name": "é\n"}, True, lambda: pytest.fail("text was made"))
    out = capsys.readouterr().out
    assert out.count("\n") == 1
    assert json.loads(out) == {"name": "é\n"}


@pytest.mark.parametrize(
    ("ahead", "spelt"),
    [(timedelta(hours=1), "in 1 h"), (timedelta(seconds=-5), "5 s ago"), (timedelta(days=-3), "3 d ago")],
)
def test_moments(ahead: timedelta, spelt: str) -> None:
    assert screen.moment((NOW + ahead).isoformat(), NOW) == spelt
    assert screen.moment((NOW + ahead).isoformat().replace("+00:00", "Z"), NOW) == spelt


def test_never() -> None:
    assert screen.moment(None) == "never"


def test_scripts_are_not_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
    screen.confirm("sure?", yes=True, as_json=False)
    screen.confirm("sure?", yes=False, as_json=True)
