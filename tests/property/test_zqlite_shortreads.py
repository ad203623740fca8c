"""What rust_ext answers for a SELECT is what apsw answers, whatever the values: types, order, errors and all."""

from __future__ import annotations

from typing import Any

import apsw
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ghostwire.errors import GhostwireError
from ghostwire.zqlite import shortreads
from ghostwire.zqlite.reader import Reader

VALUES = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63) - 2, 2**63 + 1)
    | st.floats()
    | st.text()
    | st.text(st.characters())
    | st.binary()
    | st.decimals()
)
TEXTS = (
    "SELECT ?, ?",
    "SELECT typeof(?1), ?1, quote(?2), length(?2)",
    "SELECT a, b, a || b AS both FROM t WHERE a IS :one OR b > :two ORDER BY rowid",
    "SELECT b FROM t WHERE a = ? LIMIT ?",
    "SELECT CAST(b AS TEXT) FROM t WHERE a IS NOT ?",
    "SELECT abs(a), ? FROM t",
    "VALUES (?, 1), (2, ?)",
)


@given(
    text=st.sampled_from(TEXTS),
    rows=st.lists(st.tuples(VALUES, VALUES), max_size=6),
    asked=st.lists(st.lists(VALUES, max_size=3) | st.tuples(VALUES, VALUES), min_size=1, max_size=4),
)
def test_the_same_answers(text: str, rows: list[tuple[Any, Any]], asked: list[Any]) -> None:
    connection = apsw.Connection(":memory:")
    connection.execute("CREATE TABLE t(a, b)")
    for row in rows:
        try:
            connection.execute("INSERT INTO t VALUES (?, ?)", row)
        except (TypeError, OverflowError, UnicodeEncodeError):
            connection.execute("INSERT INTO t VALUES (1, 'x')")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(shortreads, "SHORT_NS", 10**15)
        reader = Reader(connection)
        try:
            reader.begin()
            reader._short.learn(text, 0)
            statements = reader._short.statements
            assert text in statements
            for params in asked:
                for ask in (reader.query, reader.query_one, reader.value):
                    reader._shorts = {}
                    expected = outcome(ask, text, params)
                    reader._shorts = statements
                    assert outcome(ask, text, params) == expected
                    assert text in statements
        finally:
            reader.close()


def outcome(ask: Any, text: str, params: Any) -> Any:
    """What came back with the types of it, or the error."""
    try:
        found = ask(text, params)
    except GhostwireError as error:
        return type(error), str(error)
    return repr(found), kinds(found)


def kinds(found: Any) -> Any:
    """Types all the way down; rows by their columns' names."""
    if isinstance(found, list):
        return [kinds(each) for each in found]
    if isinstance(found, tuple):
        return [*found.keys(), *map(type, found)] if hasattr(found, "keys") else list(map(type, found))
    return type(found)
