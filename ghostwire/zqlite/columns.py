"""Tables with ENCRYPTED or COMPRESSED columns: a table of sealed values, and a view of the plain ones in its name.

The view takes INSERT, UPDATE and DELETE by triggers that seal. A column's id is random and chosen when the table is
made, so that its key follows neither name nor text.
"""

# Every name in the statements that are built here is quoted.
# ruff: noqa: S608

from __future__ import annotations

import re
import secrets
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from ghostwire.errors import ValidationError
from ghostwire.zqlite.sealing import COMPRESSED, ENCRYPTED

SUFFIX: Final = "_sealed"

_NAME: Final = r'(?:"(?:[^"]|"")+"|\w+)'
_HEAD = re.compile(rf"\s*CREATE\s+TABLE\s+(IF\s+NOT\s+EXISTS\s+)?({_NAME})\s*\(", re.IGNORECASE)
_COLUMN = re.compile(rf"\s*({_NAME})((?:\s+(?:ENCRYPTED|COMPRESSED)\b)*)", re.IGNORECASE)
_CONSTRAINT = re.compile(r"\s*(CONSTRAINT|PRIMARY|UNIQUE|CHECK|FOREIGN)\b", re.IGNORECASE)
_PRIMARY = re.compile(r"\bPRIMARY\s+KEY\b", re.IGNORECASE)
_LISTED = re.compile(r"\bPRIMARY\s+KEY\s*\(([^()]*)\)", re.IGNORECASE)
_NOT_HERE = re.compile(r"\b(UNIQUE|PRIMARY|REFERENCES|CHECK|COLLATE|DEFAULT|GENERATED|AS)\b", re.IGNORECASE)
_DEFAULT = re.compile(r"\b(DEFAULT|GENERATED)\b", re.IGNORECASE)
_REQUIRED = re.compile(r"\bNOT\s+NULL\b", re.IGNORECASE)
_DROP = re.compile(rf"\s*DROP\s+TABLE\s+(?:IF\s+EXISTS\s+)?({_NAME})", re.IGNORECASE)
_OPAQUE = re.compile(r"--[^\n]*|/\*.*?\*/|'(?:[^']|'')*'", re.DOTALL)
_KINDS = re.compile(rf"{_NAME}\s+(?:ENCRYPTED|COMPRESSED)\b", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Plan:
    """How such a table is made: the statements with `@0@`, `@1@` ... for the ids, and the names of the columns."""

    text: str
    names: tuple[str, ...]

    def fill(self) -> tuple[str, dict[bytes, str]]:
        """The statements with fresh ids, and the name of each id's column."""
        text, ids = self.text, {}
        for at, name in enumerate(self.names):
            column = secrets.token_bytes(16)
            ids[column] = name
            text = text.replace(f"@{at}@", f"x'{column.hex()}'")
        return text, ids


@dataclass(frozen=True, slots=True)
class _Column:
    name: str
    form: int
    definition: str


@lru_cache(maxsize=256)
def plan(text: str) -> Plan | None:
    """What to do for a CREATE TABLE, or None when no column is of these kinds.

    Raises ValidationError for what does not go together with them.
    """
    text, masked = blank(text, strings=False), blank(text)
    head = _HEAD.match(masked)
    if head is None or not _KINDS.search(masked):
        return None
    table = _bare(text[head.start(2) : head.end(2)])
    pieces, tail = _pieces(text, masked, head.end())
    if tail.strip().strip(";").strip():
        raise ValidationError(f"table {table}: ENCRYPTED and COMPRESSED do not go with {tail.strip()}")
    columns, constraints = _sort(table, pieces)
    key = _primary(columns, constraints)
    names = tuple(f"{table}.{column.name}" for column in columns if column.form)
    return Plan(_statements(table, columns, constraints, key, "IF NOT EXISTS " if head.group(1) else ""), names)


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


def _sort(table: str, pieces: list[tuple[str, str]]) -> tuple[list[_Column], list[str]]:
    columns, constraints = [], []
    for text, masked in pieces:
        if _CONSTRAINT.match(masked):
            constraints.append(text.strip())
            continue
        found = _COLUMN.match(masked)
        if found is None:
            raise ValidationError(f"table {table}: cannot read the column {masked.strip()!r}")
        kinds, rest = found.group(2).upper(), masked[found.end() :].strip()
        kept = text[found.end() :].strip()
        form = ENCRYPTED * ("ENCRYPTED" in kinds) | COMPRESSED * ("COMPRESSED" in kinds)
        name = _bare(found.group(1))
        refused = (_NOT_HERE if form else _DEFAULT).search(rest)
        if refused is not None:
            raise ValidationError(f"column {table}.{name}: {refused.group().upper()} does not go with sealed columns")
        definition = (
            ("BLOB" + (" NOT NULL" if re.search(r"\bNOT\s+NULL\b", rest, re.IGNORECASE) else "")) if form else kept
        )
        columns.append(_Column(name, form, definition))
    return columns, constraints


def _primary(columns: list[_Column], constraints: list[str]) -> list[str]:
    """The declared primary key; empty where there is none."""
    for constraint in constraints:
        listed = _LISTED.search(constraint)
        if listed is not None:
            return [_bare(name.strip().split()[0]) for name in listed.group(1).split(",")]
    return [column.name for column in columns if _PRIMARY.search(column.definition)]


def _statements(table: str, columns: list[_Column], constraints: list[str], key: list[str], unless: str) -> str:
    base, view = _quote(table + SUFFIX), _quote(table)
    definitions = [f"{_quote(column.name)} {column.definition}" for column in columns]
    row = [_quote(name) for name in key] or ["zq_row"]
    if not key:
        definitions.append("zq_row BLOB NOT NULL DEFAULT (randomblob(16))")
    ids = {column.name: f"@{at}@" for at, column in enumerate(c for c in columns if c.form)}
    names = [_quote(column.name) for column in columns]
    sealed = [column for column in columns if column.form]

    def opened(column: _Column) -> str:
        return f"zq_open({ids[column.name]}, {_quote(column.name)}, {', '.join(row)})"

    def put(column: _Column) -> str:
        name = _quote(column.name)
        return f"{name} = zq_seal({ids[column.name]}, {column.form}, NEW.{name}, {', '.join(row)})"

    shown = [f"{opened(c)} AS {_quote(c.name)}" if c.form else _quote(c.name) for c in columns]
    given = [f"iif(NEW.{_quote(c.name)} IS NULL, NULL, x'00')" if c.form else f"NEW.{_quote(c.name)}" for c in columns]
    plain = [f"{_quote(c.name)} = NEW.{_quote(c.name)}" for c in columns if not c.form]
    where = " AND ".join(
        [f"{name} IS OLD.{name}" for name in row]
        if key
        else [f"{opened(c) if c.form else _quote(c.name)} IS OLD.{_quote(c.name)}" for c in columns]
    )
    moved = " AND ".join(f"{_quote(name)} IS NEW.{_quote(name)}" for name in key)
    puts = ", ".join(put(column) for column in sealed)
    fresh = " OR ".join(f"{_quote(column.name)} IS x'00'" for column in sealed)  # never true of a row that was there
    again = f"UPDATE {base} SET {puts} WHERE {moved};" if key else ""
    first = ", ".join(plain) if key else ", ".join([*plain, puts])
    change = f"UPDATE {base} SET {first} WHERE {where};" if first else ""
    return "\n".join(
        [
            f"CREATE TABLE {unless}{base}({', '.join([*definitions, *constraints])});",
            f"CREATE VIEW {unless}{view} AS SELECT {', '.join(shown)} FROM {base};",
            f"CREATE TRIGGER {unless}{_quote(table + SUFFIX + '_insert')} INSTEAD OF INSERT ON {view} BEGIN"
            f" INSERT INTO {base}({', '.join(names)}) VALUES ({', '.join(given)});"
            f" UPDATE {base} SET {puts} WHERE rowid = last_insert_rowid() AND ({fresh}); END;",
            f"CREATE TRIGGER {unless}{_quote(table + SUFFIX + '_update')} INSTEAD OF UPDATE ON {view} BEGIN"
            f" {change} {again} END;",
            f"CREATE TRIGGER {unless}{_quote(table + SUFFIX + '_delete')} INSTEAD OF DELETE ON {view} BEGIN"
            f" DELETE FROM {base} WHERE {where}; END;",
        ]
    )


def dropped(text: str) -> str | None:
    """The table that a DROP TABLE names, or None for another statement."""
    found = _DROP.match(blank(text))
    return _bare(text[found.start(1) : found.end(1)]) if found else None


def drop_text(table: str) -> str:
    """How a table with such columns is dropped."""
    return f"DROP VIEW {_quote(table)}; DROP TABLE {_quote(table + SUFFIX)}"


def blank(text: str, *, strings: bool = True) -> str:
    """The text with comments (and strings) blanked out, every character at its place."""
    return _OPAQUE.sub(lambda at: at.group() if not strings and at.group()[0] == "'" else " " * len(at.group()), text)


def _bare(name: str) -> str:
    return name[1:-1].replace('""', '"') if name.startswith('"') else name


def _quote(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'
