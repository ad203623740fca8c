"""Tables with ENCRYPTED or COMPRESSED columns: a table of sealed values, and a view of the plain ones in its name.

This reads their definitions. The ids of table and column are random and chosen when they are made, so that what is
sealed follows neither name nor text and survives a rename. `zq_sealed(id, layout)` is a logged table that keeps them.
"""

from __future__ import annotations

import re
import secrets
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Final

import msgspec

from ghostwire.errors import ValidationError
from ghostwire.zqlite.kinds import COMPRESSED, ENCRYPTED

if TYPE_CHECKING:
    from collections.abc import Iterator

SUFFIX: Final = "_sealed"
TABLE: Final = "CREATE TABLE IF NOT EXISTS zq_sealed(id BLOB PRIMARY KEY, layout BLOB NOT NULL) WITHOUT ROWID"
HIDDEN_KEY: Final = "zq_row"
"""The random 16 bytes that stand for a row where no primary key is declared."""
MAC: Final = "zq_mac_"
NAME: Final = r'(?:"(?:[^"]|"")+"|\w+)'

_HEAD = re.compile(rf"\s*CREATE\s+TABLE\s+(IF\s+NOT\s+EXISTS\s+)?({NAME})\s*\(", re.IGNORECASE)
_COLUMN = re.compile(rf"\s*({NAME})", re.IGNORECASE)
_KIND = re.compile(r"\b(?:ENCRYPTED|COMPRESSED)\b", re.IGNORECASE)
_CONSTRAINT = re.compile(r"\s*(CONSTRAINT|PRIMARY|UNIQUE|CHECK|FOREIGN)\b", re.IGNORECASE)
_PRIMARY = re.compile(r"\bPRIMARY\s+KEY\b", re.IGNORECASE)
_LISTED = re.compile(r"\bPRIMARY\s+KEY\s*\(([^()]*)\)", re.IGNORECASE)
_NOT_HERE = re.compile(r"\b(PRIMARY|REFERENCES|CHECK|COLLATE|DEFAULT|GENERATED|AS)\b", re.IGNORECASE)
_ONCE = re.compile(r"\bUNIQUE\b", re.IGNORECASE)
_DEFAULT = re.compile(r"\b(DEFAULT\b|GENERATED\b|AS(?=\s*\())", re.IGNORECASE)
_CHECK = re.compile(r"\bCHECK\b", re.IGNORECASE)
_NAME = re.compile(NAME)
_REQUIRED = re.compile(r"\bNOT\s+NULL\b", re.IGNORECASE)
_OPAQUE = re.compile(r"--[^\n]*|/\*.*?\*/|'(?:[^']|'')*'", re.DOTALL)
_BRACKETS = re.compile(r"\([^()]*\)")


class SealedColumn(msgspec.Struct, frozen=True, array_like=True):
    """A column of such a table. `kind` is 0 for a plain one, which has no id.

    No two rows may hold the same value in a `unique` one; a keyed hash of the value stands beside it for that.
    """

    id: bytes
    name: str
    kind: int
    unique: bool = False

    @property
    def mac(self) -> str:
        """The column of the base table that holds the keyed hash."""
        return MAC + self.name


class SealedTable(msgspec.Struct, frozen=True, array_like=True):
    """What is known of such a table. `key`: the columns of its primary key, or none."""

    id: bytes
    name: str
    columns: tuple[SealedColumn, ...]
    key: tuple[str, ...]

    @property
    def base(self) -> str:
        """The table that holds the rows."""
        return self.name + SUFFIX

    @property
    def row(self) -> str:
        """What stands for a row, as SQL."""
        return ", ".join(quote(name) for name in self.key or (HIDDEN_KEY,))

    @property
    def sealed(self) -> tuple[SealedColumn, ...]:
        """The columns that are not plain."""
        return tuple(column for column in self.columns if column.kind)

    def place(self, column: SealedColumn) -> bytes:
        """Table and column, as values are bound to them."""
        return self.id + column.id

    def names(self) -> Iterator[tuple[bytes, str]]:
        """Id and `table.column` of each sealed column."""
        for column in self.sealed:
            yield column.id, f"{self.name}.{column.name}"


@dataclass(frozen=True, slots=True)
class Plan:
    """How such a table is made: what it is, its columns and constraints as SQL, and whether it may be there already."""

    table: SealedTable
    definitions: tuple[str, ...]
    unless: bool

    def fresh(self) -> SealedTable:
        """The table with ids of its own."""
        columns = tuple(msgspec.structs.replace(c, id=fresh_id()) if c.kind else c for c in self.table.columns)
        return msgspec.structs.replace(self.table, id=fresh_id(), columns=columns)


@dataclass(frozen=True, slots=True)
class Definition:
    """One column as it was written: its kind, what is left for SQLite, and whether a sealed one is UNIQUE."""

    name: str
    kind: int
    text: str
    unique: bool = False

    @property
    def column(self) -> SealedColumn:
        """The column, without an id."""
        return SealedColumn(b"", self.name, self.kind, self.unique)


@lru_cache(maxsize=256)
def plan(text: str) -> Plan | None:
    """What to do for a CREATE TABLE, or None when no column is of these kinds.

    Raises ValidationError for what does not go together with them.
    """
    text, masked = blank(text, strings=False), blank(text)
    head = _HEAD.match(masked)
    if head is None or not _KIND.search(masked):
        return None
    name = bare(text[head.start(2) : head.end(2)])
    pieces, tail = _pieces(text, masked, head.end())
    columns, constraints = _sort(name, pieces)
    if not any(column.kind for column in columns):
        return None
    if tail.strip().strip(";").strip():
        raise ValidationError(f"table {name}: ENCRYPTED and COMPRESSED do not go with {tail.strip()}")
    sealed = frozenset(column.name.lower() for column in columns if column.kind)
    for constraint in constraints:
        _refuse_naming(name, sealed, constraint)
    for column in columns:
        _refuse_checking(name, sealed, column)
    key = _primary(columns, constraints)
    definitions = [f"{quote(column.name)} {column.text}" for column in columns]
    definitions += [f"{quote(column.column.mac)} BLOB" for column in columns if column.unique]
    if not key:
        definitions.append(f"{HIDDEN_KEY} BLOB NOT NULL DEFAULT (randomblob(16))")
    table = SealedTable(b"", name, tuple(column.column for column in columns), key)
    return Plan(table, (*definitions, *constraints), head.group(1) is not None)


def definition(table: str, text: str) -> Definition:
    """One column of `table`. Raises ValidationError for what does not go together with sealed columns."""
    masked = blank(text)
    found = _COLUMN.match(masked)
    if found is None:
        raise ValidationError(f"table {table}: cannot read the column {masked.strip()!r}")
    rest = masked[found.end() :].strip()
    kinds = {word.upper() for word in _KIND.findall(_BRACKETS.sub("", rest))}
    kind = ENCRYPTED * ("ENCRYPTED" in kinds) | COMPRESSED * ("COMPRESSED" in kinds)
    name = bare(text[found.start(1) : found.end(1)])
    refused = (_NOT_HERE if kind else _DEFAULT).search(rest)
    if refused is not None:
        raise ValidationError(f"column {table}.{name}: {refused.group().upper()} does not go with sealed columns")
    if kind:
        text = "BLOB NOT NULL" if _REQUIRED.search(rest) else "BLOB"
        return Definition(name, kind, text, _ONCE.search(rest) is not None)
    return Definition(name, 0, text[found.end() :].strip())


def refuse_checking(table: SealedTable, column: Definition) -> None:
    """Raises ValidationError where a column of `table` has a CHECK of sealed values: SQLite sees them sealed."""
    _refuse_checking(table.name, frozenset(each.name.lower() for each in table.sealed), column)


def _refuse_checking(table: str, sealed: frozenset[str], column: Definition) -> None:
    for found in _CHECK.finditer(blank(column.text)):
        _refuse_naming(table, sealed, column.text[found.start() :])


def _refuse_naming(table: str, sealed: frozenset[str], constraint: str) -> None:
    """Refuse a constraint that names a sealed column in its first bracket, which is about columns of this table."""
    masked = blank(constraint)
    start = masked.find("(") + 1
    names = {bare(name).lower() for name in _NAME.findall(masked[start : _closing(masked, start)])}
    for name in sorted(names & sealed):
        raise ValidationError(
            f"column {table}.{name}: {constraint.strip()} does not go with sealed columns, which take NOT NULL and "
            "UNIQUE where they are defined"
        )


def _closing(masked: str, at: int) -> int:
    """Where the bracket that is open before `at` closes."""
    depth = 1
    for here in range(at, len(masked)):
        depth += (masked[here] == "(") - (masked[here] == ")")
        if not depth:
            return here
    return len(masked)


def _pieces(text: str, masked: str, at: int) -> tuple[list[tuple[str, str]], str]:
    """The parts between top-level commas, each with its masked form, and what follows the closing bracket."""
    pieces, depth, start = [], 0, at
    for here in range(at, len(masked)):
        sign = masked[here]
        if sign == "(":
            depth += 1
        elif sign in ",)" and depth == 0:
            pieces.append((text[start:here], masked[start:here]))
            start = here + 1
            if sign == ")":
                return pieces, masked[here + 1 :]
        elif sign == ")":
            depth -= 1
    raise ValidationError("this CREATE TABLE has no end")


def _sort(table: str, pieces: list[tuple[str, str]]) -> tuple[list[Definition], list[str]]:
    columns, constraints = [], []
    for text, masked in pieces:
        if _CONSTRAINT.match(masked):
            constraints.append(text.strip())
        else:
            columns.append(definition(table, text))
    return columns, constraints


def _primary(columns: list[Definition], constraints: list[str]) -> tuple[str, ...]:
    """The declared primary key; empty where there is none."""
    for constraint in constraints:
        listed = _LISTED.search(constraint)
        if listed is not None:
            return tuple(bare(name.strip().split()[0]) for name in listed.group(1).split(","))
    return tuple(column.name for column in columns if not column.kind and _PRIMARY.search(blank(column.text)))


def mentions(text: str) -> bool:
    """Whether a statement may declare a column of these kinds."""
    return _KIND.search(blank(text)) is not None


def encode_table(table: SealedTable) -> bytes:
    """A table as `zq_sealed` keeps it."""
    return msgspec.msgpack.encode(table)


def decode_table(data: bytes) -> SealedTable:
    """The reverse of `encode_table`."""
    return msgspec.msgpack.decode(data, type=SealedTable)


def blank(text: str, *, strings: bool = True) -> str:
    """The text with comments (and strings) blanked out, every character at its place."""
    return _OPAQUE.sub(lambda at: at.group() if not strings and at.group()[0] == "'" else " " * len(at.group()), text)


def bare(name: str) -> str:
    """An SQL identifier as the name it stands for."""
    return name[1:-1].replace('""', '"') if name.startswith('"') else name


def quote(name: str) -> str:
    """`name` as an SQL identifier."""
    return '"' + name.replace('"', '""') + '"'


def fresh_id() -> bytes:
    """Names a table or column for good."""
    return secrets.token_bytes(16)
