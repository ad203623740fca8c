"""INSERT ... ON CONFLICT for tables with sealed columns, which SQLite refuses for what is a view.

It is done in two statements: an UPDATE of the rows that are there from the rows that are given, and an INSERT of the
others. What is given may therefore hold each key once only, and is evaluated twice.
"""

# Every name in the statements that are built here is quoted.
# ruff: noqa: S608

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Final

from ghostwire.errors import ValidationError
from ghostwire.zqlite.columns import NAME, bare, blank, quote

if TYPE_CHECKING:
    from ghostwire.zqlite.columns import SealedTable

REFUSAL: Final = "cannot UPSERT a view"
"""What SQLite says."""

_HEAD = re.compile(rf"\bINSERT\s+INTO\s+({NAME})\s*(?:\(([^()]*)\))?", re.IGNORECASE)
_CONFLICT = re.compile(r"\bON\s+CONFLICT\b", re.IGNORECASE)
_ACT = re.compile(r"\s*(?:\(([^()]*)\)\s*)?DO\s+(?:(NOTHING)|UPDATE\s+SET)\b", re.IGNORECASE)
_WHERE = re.compile(r"\bWHERE\b", re.IGNORECASE)
_RETURNING = re.compile(r"\bRETURNING\b", re.IGNORECASE)
_PARAMETER = re.compile(r"\?(\d*)")
_EXCLUDED = re.compile(rf"\bexcluded\s*\.\s*({NAME})", re.IGNORECASE)
_GIVEN: Final = "zq_given"


@dataclass(frozen=True, slots=True)
class Upsert:
    """The parts of such a statement.

    `columns` and `target` are empty where they are left out; so is `sets` for DO NOTHING. `parameters` is the highest
    number of one.
    """

    prefix: str
    table: str
    columns: tuple[str, ...]
    source: str
    target: tuple[str, ...]
    sets: str
    where: str
    parameters: int


@lru_cache(maxsize=256)
def read(text: str) -> Upsert | None:
    """The parts of a statement; None for one that is put in another way."""
    text, parameters = _numbered(text.rstrip().rstrip(";"))
    masked = blank(text)
    head = _HEAD.search(masked)
    conflicts = [] if head is None else _outer(_CONFLICT, masked, head.end())
    if head is None or len(conflicts) != 1:
        return None
    act = _ACT.match(masked, conflicts[0].end())
    if act is None or _outer(_RETURNING, masked, act.end()):
        return None
    condition = next(iter(_outer(_WHERE, masked, act.end())), None)
    end = len(text) if condition is None else condition.start()
    return Upsert(
        text[: head.start()],
        bare(text[head.start(1) : head.end(1)]),
        _names(head.group(2)),
        text[head.end() : conflicts[0].start()],
        _names(act.group(1)),
        "" if act.group(2) else text[act.end() : end],
        "" if condition is None else text[condition.end() :],
        parameters,
    )


def statements(upsert: Upsert, table: SealedTable) -> tuple[str, ...]:
    """What to run in its stead, each with the same parameters.

    Raises ValidationError for a conflict over other columns than plain ones that are given.
    """
    columns = upsert.columns or tuple(column.name for column in table.columns)
    target = upsert.target or table.key
    plain = {column.name.lower() for column in table.columns if not column.kind}
    folded = {name.lower() for name in columns}
    if not target or not {name.lower() for name in target} <= plain & folded:
        raise ValidationError(
            f"{table.name} has sealed columns: ON CONFLICT takes its primary key, or other plain columns that are "
            "UNIQUE, and they must be among those inserted"
        )
    name = quote(table.name)
    listed = ", ".join(_excluded(column) for column in columns)
    given = f"(WITH {_GIVEN}({listed}) AS ({upsert.source}\n) SELECT * FROM {_GIVEN}) AS {_GIVEN}"
    same = " AND ".join(f"{name}.{quote(column)} = {_GIVEN}.{_excluded(column)}" for column in target)
    bound = f" AND ?{upsert.parameters} IS ?{upsert.parameters}" if upsert.parameters else ""  # SQLite wants all used
    insert = (
        f"{upsert.prefix}INSERT INTO {name}({', '.join(map(quote, columns))}) SELECT * FROM {given} "
        f"WHERE NOT EXISTS (SELECT 1 FROM {name} WHERE {same}){bound}"
    )
    if not upsert.sets:
        return (insert,)
    where = f" AND ({_replaced(upsert.where, folded)}\n)" if upsert.where else ""
    update = f"{upsert.prefix}UPDATE {name} SET {_replaced(upsert.sets, folded)}\nFROM {given} WHERE {same}{where}"
    return update, insert


def _excluded(column: str) -> str:
    """The name of a given value: one that no column has, so that columns of the table can be named alone."""
    return quote(f"excluded {column.lower()}")


def _replaced(text: str, given: set[str]) -> str:
    """The text with `excluded.x` put in the names of the given values; of a column that is not given, NULL."""
    pieces, at = [], 0
    for found in _EXCLUDED.finditer(blank(text)):
        name = bare(text[found.start(1) : found.end(1)])
        pieces += [text[at : found.start()], f"{_GIVEN}.{_excluded(name)}" if name.lower() in given else "NULL"]
        at = found.end()
    return "".join([*pieces, text[at:]])


def _numbered(text: str) -> tuple[str, int]:
    """The text with a number for each parameter that has neither that nor a name, and the highest number."""
    pieces: list[str] = []
    at = count = last = 0
    for found in _PARAMETER.finditer(blank(text)):
        last = int(found.group(1) or last + 1)
        count = max(count, last)
        pieces += [text[at : found.start()], f"?{last}"]
        at = found.end()
    return "".join([*pieces, text[at:]]), count


def _outer(pattern: re.Pattern[str], masked: str, start: int) -> list[re.Match[str]]:
    """Where a pattern is found outside of all parentheses."""
    return [
        found
        for found in pattern.finditer(masked, start)
        if masked.count("(", start, found.start()) == masked.count(")", start, found.start())
    ]


def _names(listed: str | None) -> tuple[str, ...]:
    return tuple(bare(name.strip()) for name in listed.split(",")) if listed else ()
