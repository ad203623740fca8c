"""How an index of the store's own kinds is declared, and how the schema holds it.

SQLite keeps each as an index of its own, whose text tells the kind. So names, DROP, renames of tables and columns, the
log, backups and replicas need nothing more:

    HASH     a plain index, which SQLite's planner uses as ever, beside the hash table
    BITMAP   a partial index that no row enters
    CIDR     a partial index that only NULL enters, and that refuses what is no network
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Final

from ghostwire.errors import ValidationError
from ghostwire.zqlite.columns import blank
from ghostwire.zqlite.layout import VIRTUAL

if TYPE_CHECKING:
    from ghostwire.zqlite.layout import Layout, Object

_NAME: Final = r'(?:"(?:[^"]|"")+"|\w+)'
_DECLARED = re.compile(
    rf"\s*CREATE\s+(?P<unique>UNIQUE\s+)?(?P<kind>HASH|BITMAP|CIDR)\s+INDEX\s+(?P<unless>IF\s+NOT\s+EXISTS\s+)?"
    rf"(?P<name>{_NAME})\s+ON\s+(?P<table>{_NAME})\s*\(\s*(?P<column>{_NAME})\s*\)\s*;?\s*",
    re.IGNORECASE,
)
_KEPT = re.compile(
    rf"CREATE (?:UNIQUE )?INDEX {_NAME} ON {_NAME}\((?P<column>{_NAME})(?P<hash> /\* HASH \*/)?\)"
    rf"(?: WHERE (?:(?P<bitmap>'BITMAP')|(?P<cidr>cidr_first\({_NAME}\))) IS NULL)?"
)


class Kind(StrEnum):
    """What an index answers."""

    HASH = "HASH"
    BITMAP = "BITMAP"
    CIDR = "CIDR"


@dataclass(frozen=True, slots=True)
class Definition:
    """An index of one column."""

    kind: Kind
    name: str
    table: str
    column: str


def translate(text: str, words: list[str]) -> str | None:
    """A declaration in SQLite's words, or None for another statement. `words` are its words in capitals.

    Raises ValidationError for more than a column, and for a kind that cannot be UNIQUE.
    """
    kind = next((word for word in words[1:3] if word in Kind.__members__), None)
    if words[0] != "CREATE" or kind is None or "INDEX" not in words[2:4]:
        return None
    found = _DECLARED.fullmatch(blank(text))
    if found is None:
        raise ValidationError(f"write CREATE {kind} INDEX name ON table(column): it covers one column")
    name, table, column = (text[found.start(part) : found.end(part)] for part in ("name", "table", "column"))
    unique = "UNIQUE " if found["unique"] else ""
    if unique and kind != Kind.HASH:
        raise ValidationError(f"a {kind} index cannot be UNIQUE")
    mark = " /* HASH */" if kind == Kind.HASH else ""
    where = {Kind.BITMAP: " WHERE 'BITMAP' IS NULL", Kind.CIDR: f" WHERE cidr_first({column}) IS NULL"}.get(
        Kind(kind), ""
    )
    unless = "IF NOT EXISTS " if found["unless"] else ""
    return f"CREATE {unique}INDEX {unless}{name} ON {table}({column}{mark}){where}"


def read(name: str, table: str, text: str) -> Definition | None:
    """What SQLite's schema says of an index; None for a plain one."""
    found = _KEPT.fullmatch(text)
    if found is None:
        return None
    kind = next((kind for kind in Kind if found[kind.lower()]), None)
    column = found["column"]
    if column.startswith('"'):
        column = column[1:-1].replace('""', '"')
    return None if kind is None else Definition(kind, name, table, column)


def check(item: Object, table: Layout) -> None:
    """Refuse an index that could not find rows. Raises ValidationError."""
    found = read(item.name, item.table, item.sql) if item.type == "index" else None
    if found is None:
        return
    if table.key is not None:
        raise ValidationError(f"index {item.name}: {table.name} is WITHOUT ROWID, a {found.kind} index finds row ids")
    if any(column.name.lower() == found.column.lower() and column.hidden == VIRTUAL for column in table.columns):
        raise ValidationError(f"index {item.name}: {found.column} is not stored; declare it STORED")
