"""Cutting SQL text."""

from __future__ import annotations

import pytest

from ghostwire.errors import ValidationError
from ghostwire.zqlite import sql


def test_parts() -> None:
    text = """-- first; comment
    CREATE TABLE t(a DEFAULT ';' /* ; */, "b;c");;
    CREATE TRIGGER x AFTER INSERT ON t BEGIN SELECT 1; SELECT 2; END;
    INSERT INTO t VALUES ('it''s; fine')
    -- last
    """
    found = sql.parts(text)
    assert [part.text.split()[-1] for part in found][1:2] == ["END;"]
    assert [(part.defines, part.reads) for part in found] == [(True, False), (True, False), (False, False)]
    assert sql.parts(" ; -- nothing\n ; /* at all */") == ()


@pytest.mark.parametrize(
    ("text", "reads"),
    [
        ("SELECT 1", True),
        ("values (1)", True),
        ("/* x */ -- y\n select 1", True),
        ("WITH a AS (SELECT 1) SELECT * FROM a", True),
        ("WITH a AS (SELECT 1) DELETE FROM t", False),
        ("REPLACE INTO t VALUES (1)", False),
        ("PRAGMA table_info(t)", True),
        ("EXPLAIN DELETE FROM t", True),
    ],
)
def test_reads(text: str, reads: bool) -> None:
    assert sql.only(text).reads is reads


def test_only_takes_one() -> None:
    with pytest.raises(ValidationError, match="not 2"):
        sql.only("SELECT 1; SELECT 2")
    with pytest.raises(ValidationError, match="not 0"):
        sql.only(" ")
