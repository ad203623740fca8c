"""Which keys of a series have samples of some time."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from ghostwire.zqlite.series.schema import END, FIRST

if TYPE_CHECKING:
    import apsw

    from ghostwire.zqlite.series.shelf import Known

EVERY: Final = range(FIRST, END + 1)
"""All keys that there may be."""

_WALK: Final = """
WITH RECURSIVE known(key) AS (
    SELECT min(key) FROM {table} WHERE series = :series AND key BETWEEN :first AND :last
    UNION ALL
    SELECT (SELECT min(key) FROM {table} WHERE series = :series AND key > known.key AND key <= :last)
    FROM known WHERE key IS NOT NULL
)
SELECT key FROM known WHERE EXISTS (SELECT 1 FROM {table} WHERE series = :series AND key = known.key AND {within})
LIMIT :most
"""
"""From key to key, so that the rows between are not read."""
_ALL: Final = -1
_BLOCKS: Final = _WALK.format(table="zq_block", within="last >= :since AND first < :until")
_OPEN: Final = _WALK.format(table="zq_tail", within="at >= :since AND at < :until")


def sampled(connection: apsw.Connection, known: Known, keys: range, since: int, until: int, most: int) -> set[int]:
    """Those of `keys`, a range of step 1, that may have samples from `since` until before `until`.

    Where they are more than `most`, some of them, and more than that.
    """
    span = (since, until)
    return {each for text in (_BLOCKS, _OPEN) for each in _find(connection, text, known, keys, span, most + 1)}


def opened(connection: apsw.Connection, known: Known, keys: range, since: int, until: int) -> list[int]:
    """Those that have samples of that time which are in no block yet."""
    return _find(connection, _OPEN, known, keys, (since, until), _ALL)


def _find(
    connection: apsw.Connection, text: str, known: Known, keys: range, span: tuple[int, int], most: int
) -> list[int]:
    since, until = span
    bounds = {"series": known.id, "first": keys.start, "last": keys.stop - 1, "since": since, "until": until}
    found: Any = connection.execute(text, bounds | {"most": most}).fetchall()
    return [key for (key,) in found]
