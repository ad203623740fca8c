"""Spatial indexes: SQLite's R-tree over a column of WKT places, kept by triggers, and what asks it.

`CREATE SPATIAL INDEX name ON table(column)` makes the R-tree `name(id, x0, x1, y0, y1, place)` and the triggers
`name_insert`, `name_update`, `name_delete`. Its 32-bit floats are rounded outwards, so that a box holds what it should;
`st_near(index, point, metres)` and `st_covering(index, point)` then look at the places themselves.
"""

# Every name in the statements that are built here is quoted.
# ruff: noqa: S608

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING, Any, Final

import apsw

from ghostwire.errors import ValidationError
from ghostwire.zqlite.columns import NAME, bare, blank, quote
from ghostwire.zqlite.functions.places import EARTH_METRES, point, st_contains, st_distance
from ghostwire.zqlite.index.tables import RowsTable

if TYPE_CHECKING:
    from collections.abc import Iterator

Box = tuple[float, float, float, float]
"""West, east, south, north, in degrees."""

_DECLARED = re.compile(
    rf"\s*CREATE\s+SPATIAL\s+INDEX\s+({NAME})\s+ON\s+({NAME})\s*\(\s*({NAME})\s*\)\s*;?\s*", re.IGNORECASE
)
_DROPPED = re.compile(rf"\s*DROP\s+(INDEX|TABLE)\s+(?:IF\s+EXISTS\s+)?({NAME})\s*;?\s*", re.IGNORECASE)
_RTREE: Final = "USING rtree(id, x0, x1, y0, y1, +place)"
_FEW: Final = 25
"""How many rows the planner shall expect."""


def translate(text: str, words: list[str]) -> str | None:
    """A declaration in SQLite's words, or None for another statement. `words` are its words in capitals.

    Raises ValidationError for more than a column.
    """
    if words[:3] != ["CREATE", "SPATIAL", "INDEX"]:
        return None
    found = _DECLARED.fullmatch(blank(text))
    if found is None:
        raise ValidationError("write CREATE SPATIAL INDEX name ON table(column): it covers one column of places")
    name, table, column = (bare(text[found.start(part) : found.end(part)]) for part in (1, 2, 3))
    tree, on, place = quote(name), quote(table), quote(column)

    def entry(row: str) -> str:
        at = f"{row}{place}"
        return f"{row}rowid, ST_MinX({at}), ST_MaxX({at}), ST_MinY({at}), ST_MaxY({at}), {at}"

    def trigger(when: str, body: str) -> str:
        title = quote(f"{name}_{when.split()[0].lower()}")
        return f"CREATE TRIGGER {title} AFTER {when} ON {on} BEGIN {body} END"

    enter = f"INSERT INTO {tree} SELECT {entry('NEW.')} WHERE NEW.{place} IS NOT NULL;"
    leave = f"DELETE FROM {tree} WHERE id = OLD.rowid;"
    return ";\n".join(
        (
            f"CREATE VIRTUAL TABLE {tree} {_RTREE}",
            f"INSERT INTO {tree} SELECT {entry('')} FROM {on} WHERE {place} IS NOT NULL",
            trigger("INSERT", enter),
            trigger("UPDATE", f"{leave} {enter}"),
            trigger("DELETE", leave),
        )
    )


def drop(connection: apsw.Connection, text: str) -> str | None:
    """What to run for a DROP of such an index, or of a table that has some; None for another statement."""
    found = _DROPPED.fullmatch(blank(text))
    if found is None:
        return None
    name = bare(text[found.start(2) : found.end(2)])
    trees: list[Any] = connection.execute(
        f"SELECT r.name, t.tbl_name FROM sqlite_schema r JOIN sqlite_schema t ON t.name = r.name || '_insert'"
        f" WHERE r.type = 'table' AND r.sql LIKE '%{_RTREE}' AND t.type = 'trigger'"
    ).fetchall()
    if found.group(1).upper() == "INDEX":
        gone = [tree for tree, _ in trees if tree.lower() == name.lower()]
        return _drop(gone[0]) if gone else None
    gone = [tree for tree, table in trees if table.lower() == name.lower()]
    return "; ".join([*map(_drop, gone), text]) if gone else None


def register(connection: apsw.Connection) -> None:
    """Give a connection `st_near(index, point, metres)` and `st_covering(index, point)`."""

    def near(index: str, place: str, metres: float) -> Iterator[Any]:
        for number, there in _within(connection, index, *_around(point(place), metres)):
            away = st_distance(there, place)
            if away is not None and away <= metres:
                yield number, away

    def covering(index: str, place: str) -> Iterator[Any]:
        x, y = point(place)
        for number, there in _within(connection, index, (x, x, y, y)):
            if st_contains(there, place):
                yield (number,)

    RowsTable("id, metres", ("index_name", "place", "within"), near, _FEW).register(connection, "st_near")
    RowsTable("id", ("index_name", "place"), covering, _FEW).register(connection, "st_covering")


def _drop(tree: str) -> str:
    triggers = "; ".join(f"DROP TRIGGER {quote(f'{tree}_{act}')}" for act in ("insert", "update", "delete"))
    return f"{triggers}; DROP TABLE {quote(tree)}"


def _within(connection: apsw.Connection, index: str, *boxes: Box) -> Iterator[tuple[int, str]]:
    """What an index has that may touch a box. Raises ValidationError where there is no such index."""
    there: list[Any] = connection.execute(
        f"SELECT 1 FROM sqlite_schema WHERE name = ? AND sql LIKE '%{_RTREE}'", (index,)
    ).fetchall()
    if not there:
        raise ValidationError(f"there is no spatial index {index!r}")
    text = f"SELECT id, place FROM {quote(index)} WHERE x1 >= ? AND x0 <= ? AND y1 >= ? AND y0 <= ?"
    for box in boxes:
        rows: list[Any] = connection.execute(text, box).fetchall()
        yield from rows


def _around(centre: tuple[float, float], metres: float) -> tuple[Box, ...]:
    """Boxes that hold all within so many metres: two where the date line runs through, all longitudes at a pole."""
    x, y = centre
    reach = metres / EARTH_METRES
    south, north = y - math.degrees(reach), y + math.degrees(reach)
    if south <= -90 or north >= 90:
        return ((-180.0, 180.0, south, north),)
    wide = math.degrees(math.asin(min(1.0, math.sin(reach) / math.cos(math.radians(y)))))
    west, east = x - wide, x + wide
    if west < -180:
        return (west + 360, 180.0, south, north), (-180.0, east, south, north)
    if east > 180:
        return (west, 180.0, south, north), (-180.0, east - 360, south, north)
    return ((west, east, south, north),)
