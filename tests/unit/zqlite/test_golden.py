"""Logs that releases wrote: each still chains, and makes the tables that it made then."""

from __future__ import annotations

import json
from pathlib import Path

import apsw
import pytest

from ghostwire import __version__
from ghostwire.model.change import ChangeRecord
from ghostwire.zqlite import changelog
from ghostwire.zqlite.backup import items
from ghostwire.zqlite.replay import Replay, content
from tests.data.golden import make

FILES = sorted(Path(make.__file__).parent.glob("*.json"))


@pytest.mark.parametrize("file", FILES, ids=[file.stem for file in FILES])
def test_a_release_s_log_makes_the_same_tables(file: Path) -> None:
    told = json.loads(file.read_text())
    records = [ChangeRecord(*row[:5], *(bytes.fromhex(cell) for cell in row[5:])) for row in told["log"]]
    replay = Replay(apsw.Connection(":memory:"))
    replay.extend(changelog.verify(records))
    replay.finish()
    found = {name: digest.hex() for name, digest in items.digests(content(replay.connection)).items()}
    assert found == told["tables"]
    replay.connection.close()


def test_this_release_has_one() -> None:
    assert __version__ in [file.stem for file in FILES]
