"""What makes tables with sealed columns usable as tables: the view of plain values, and its triggers that seal.

An insert goes in two steps, for only the row in the table has its key in its final form: with a mark in place of each
sealed value first, then with the values, bound to that key. The log holds one image of both.
"""

# Every name in the statements that are built here is quoted.
# ruff: noqa: S608

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

import msgspec

from ghostwire.errors import ValidationError
from ghostwire.zqlite.columns import (
    MAC,
    NAME,
    Definition,
    SealedColumn,
    SealedTable,
    bare,
    blank,
    definition,
    fresh_id,
    quote,
    refuse_checking,
)

if TYPE_CHECKING:
    from ghostwire.zqlite.columns import Plan

_MARK: Final = "x'00'"
"""Shorter than any sealed value."""
_DROP = re.compile(rf"\s*DROP\s+TABLE\s+(?:IF\s+EXISTS\s+)?({NAME})", re.IGNORECASE)
_ALTER = re.compile(rf"\s*ALTER\s+TABLE\s+({NAME})\s+", re.IGNORECASE)
_RENAME_TABLE = re.compile(rf"RENAME\s+TO\s+({NAME})\s*;?\s*$", re.IGNORECASE)
_RENAME_COLUMN = re.compile(rf"RENAME\s+(?:COLUMN\s+)?({NAME})\s+TO\s+({NAME})\s*;?\s*$", re.IGNORECASE)
_DROP_COLUMN = re.compile(rf"DROP\s+(?:COLUMN\s+)?({NAME})\s*;?\s*$", re.IGNORECASE)
_ADD_COLUMN = re.compile(r"ADD\s+(?:COLUMN\s+)?(?!CONSTRAINT\b)(?=\S)", re.IGNORECASE)


def make(plan: Plan, table: SealedTable) -> str:
    """The statements that make a table."""
    indexes = "".join(f"{_index(table, column)};\n" for column in table.columns if column.unique)
    return f"CREATE TABLE {quote(table.base)}({', '.join(plan.definitions)});\n{indexes}{view(table)}"


def drop(table: SealedTable) -> str:
    """The statements that drop it."""
    return f"DROP VIEW {quote(table.name)}; DROP TABLE {quote(table.base)}"


def view(table: SealedTable) -> str:
    """The view and its triggers."""
    base, name = quote(table.base), quote(table.name)
    names = [quote(column.name) for column in table.columns]
    shown = [f"{_opened(table, c)} AS {quote(c.name)}" if c.kind else quote(c.name) for c in table.columns]
    given = [
        f"iif(NEW.{quote(c.name)} IS NULL, NULL, {_MARK})" if c.kind else f"NEW.{quote(c.name)}" for c in table.columns
    ]
    plain = [f"{quote(c.name)} = NEW.{quote(c.name)}" for c in table.columns if not c.kind]
    fresh = " OR ".join(f"{quote(column.name)} IS {_MARK}" for column in table.sealed)  # never of a row that was there
    puts = ", ".join(_put(table, column) for column in table.sealed)
    where = _where(table)
    moved = " AND ".join(f"{quote(key)} IS NEW.{quote(key)}" for key in table.key)
    first = ", ".join(plain) if table.key else ", ".join([*plain, puts])
    change = f"UPDATE {base} SET {first} WHERE {where};" if first else ""
    again = f"UPDATE {base} SET {puts} WHERE {moved};" if table.key else ""

    def trigger(act: str, body: str) -> str:
        title = quote(f"{table.base}_{act.lower()}")
        return f"CREATE TRIGGER {title} INSTEAD OF {act} ON {name} BEGIN {body} END;"

    return "\n".join(
        (
            f"CREATE VIEW {name} AS SELECT {', '.join(shown)} FROM {base};",
            trigger(
                "INSERT",
                f"INSERT INTO {base}({', '.join(names)}) VALUES ({', '.join(given)});"
                f" UPDATE {base} SET {puts} WHERE rowid = last_insert_rowid() AND ({fresh});",
            ),
            trigger("UPDATE", f"{change} {again}"),
            trigger("DELETE", f"DELETE FROM {base} WHERE {where};"),
        )
    )


def target(text: str) -> str | None:
    """The table that a DROP TABLE or ALTER TABLE names, or None for another statement."""
    masked = blank(text)
    found = _DROP.match(masked) or _ALTER.match(masked)
    return bare(text[found.start(1) : found.end(1)]) if found else None


def alter(table: SealedTable, text: str) -> tuple[str, SealedTable]:
    """The statements for an ALTER TABLE, and the table after it.

    Raises ValidationError for what such a table cannot become.
    """
    text, masked = blank(text, strings=False), blank(text)
    head = _ALTER.match(masked)
    assert head is not None  # noqa: S101 (`target` has found the table)
    rest, act = masked[head.end() :], f"ALTER TABLE {quote(table.base)}"
    if found := _RENAME_TABLE.match(rest):
        now = msgspec.structs.replace(table, name=bare(found.group(1)))
        change = f"{act} RENAME TO {quote(now.base)}"
    elif found := _RENAME_COLUMN.match(rest):
        old, new = bare(found.group(1)), bare(found.group(2))
        now = _renamed(table, old, new)
        change = f"{act} RENAME COLUMN {quote(old)} TO {quote(new)}"
        if _unique(table, old) is not None:
            change += f"; {act} RENAME COLUMN {quote(MAC + old)} TO {quote(MAC + new)}"
    elif found := _DROP_COLUMN.match(rest):
        now = _without(table, bare(found.group(1)))
        change = f"{act} DROP COLUMN {found.group(1)}"
        if (column := _unique(table, bare(found.group(1)))) is not None:
            change += f"; DROP INDEX {_index_name(column)}; {act} DROP COLUMN {quote(column.mac)}"
    elif found := _ADD_COLUMN.match(rest):
        added = definition(table.name, text[head.end() + found.end() :].rstrip().rstrip(";"))
        if added.unique:
            raise ValidationError(f"column {table.name}.{added.name}: UNIQUE goes with a new table only")
        refuse_checking(table, added)
        now = _with(table, added)
        change = f"{act} ADD COLUMN {quote(added.name)} {added.text}"
    else:
        raise ValidationError(f"table {table.name} has sealed columns: add, drop or rename columns, or rename it")
    return f"DROP VIEW {quote(table.name)}; {change};\n{view(now)}", now


def _renamed(table: SealedTable, old: str, new: str) -> SealedTable:
    def name(was: str) -> str:
        return new if was.lower() == old.lower() else was

    columns = tuple(msgspec.structs.replace(c, name=name(c.name)) for c in table.columns)
    return msgspec.structs.replace(table, columns=columns, key=tuple(map(name, table.key)))


def _without(table: SealedTable, name: str) -> SealedTable:
    columns = tuple(column for column in table.columns if column.name.lower() != name.lower())
    now = msgspec.structs.replace(table, columns=columns)
    if not now.sealed:
        raise ValidationError(f"{table.name}.{name} is its last sealed column: make a new table and copy the rows")
    return now


def _with(table: SealedTable, added: Definition) -> SealedTable:
    column = SealedColumn(fresh_id() if added.kind else b"", added.name, added.kind)
    return msgspec.structs.replace(table, columns=(*table.columns, column))


def _unique(table: SealedTable, name: str) -> SealedColumn | None:
    return next((column for column in table.columns if column.unique and column.name.lower() == name.lower()), None)


def _index(table: SealedTable, column: SealedColumn) -> str:
    return f"CREATE UNIQUE INDEX {_index_name(column)} ON {quote(table.base)}({quote(column.mac)})"


def _index_name(column: SealedColumn) -> str:
    """One that no rename changes."""
    return quote(f"unique_{column.id.hex()}")


def _literal(table: SealedTable, column: SealedColumn) -> str:
    return f"x'{table.place(column).hex()}', {column.kind}"


def _opened(table: SealedTable, column: SealedColumn) -> str:
    return f"zq_open({_literal(table, column)}, {quote(column.name)}, {table.row})"


def _put(table: SealedTable, column: SealedColumn) -> str:
    name = quote(column.name)
    put = f"{name} = zq_seal({_literal(table, column)}, NEW.{name}, {table.row})"
    return f"{put}, {quote(column.mac)} = zq_mac({_literal(table, column)}, NEW.{name})" if column.unique else put


def _where(table: SealedTable) -> str:
    """Finds the row that OLD stands for: by its key, or where there is none by all it holds."""
    if table.key:
        return " AND ".join(f"{quote(name)} IS OLD.{quote(name)}" for name in table.key)
    return " AND ".join(
        f"{_opened(table, c) if c.kind else quote(c.name)} IS OLD.{quote(c.name)}" for c in table.columns
    )
