"""The store's own words in definitions, put into SQLite's.

`CREATE HASH INDEX`, `BITMAP` and `CIDR` declare what `index` answers, `CREATE SPATIAL INDEX` what `spatial` does.
A trigger may leave out BEGIN and END around its one statement. A column of type DECIMAL(digits, scale) holds exact
decimals: text that sorts and compares by value and is refused when it does not fit. `ADD CONSTRAINT name UNIQUE (...)`
makes a unique index of that name.
"""

from __future__ import annotations

import re
from typing import Final

from ghostwire.errors import ValidationError
from ghostwire.zqlite import spatial
from ghostwire.zqlite.columns import blank
from ghostwire.zqlite.index import definition

_NAME: Final = r'(?:"(?:[^"]|"")+"|\w+)'
_DECIMAL = re.compile(
    rf"({_NAME})(\s+)(?:DECIMAL|NUMERIC)\s*\(\s*(\d+)\s*,\s*(\d+)\s*\)",
    re.IGNORECASE,
)
_TRIGGER_HEAD = re.compile(rf"\bON\s+{_NAME}", re.IGNORECASE)
_UNIQUE = re.compile(
    rf"\s*ALTER\s+TABLE\s+({_NAME})\s+ADD\s+CONSTRAINT\s+({_NAME})\s+UNIQUE\s*(\(.*\))\s*;?\s*$",
    re.IGNORECASE | re.DOTALL,
)
_KEY = re.compile(rf"\bADD\s+CONSTRAINT\s+{_NAME}\s+(FOREIGN|PRIMARY)\s+KEY\b", re.IGNORECASE)
_TRIGGER_ACT = re.compile(r"\b(INSERT|REPLACE|UPDATE|DELETE|SELECT|WITH)\b", re.IGNORECASE)


def translate(text: str, words: list[str]) -> str:
    """A statement that defines something, in SQLite's words. `words` are its words in capitals.

    Raises ValidationError for a DECIMAL that holds nothing, and an index of more than its kind can have.
    """
    what = words[1:4]
    declared = definition.translate(text, words) or spatial.translate(text, words)
    if declared is not None:
        return declared
    if "TRIGGER" in what[:2] and words[0] == "CREATE" and "BEGIN" not in words:
        return _embrace(text)
    if words[:2] == ["ALTER", "TABLE"] and "CONSTRAINT" in words:
        return _constraint(text)
    if "TABLE" in what[:2] and "VIRTUAL" not in what:
        return _columns(text)
    return text


def _columns(text: str) -> str:
    masked = blank(text)
    pieces, at = [], 0
    for found in _DECIMAL.finditer(masked):
        name = text[found.start(1) : found.end(1)]
        digits, scale = int(found.group(3)), int(found.group(4))
        if not 0 <= scale <= digits <= 100 or digits == 0:
            raise ValidationError(f"DECIMAL({digits},{scale}) holds nothing: 1 to 100 digits, scale of them fraction")
        pieces += [
            text[at : found.end(2)],
            f"DECIMAL_TEXT({digits},{scale}) COLLATE DECIMAL "
            f"CHECK ({name} IS NULL OR decimal({name}, {digits}, {scale}) IS NOT NULL)",
        ]
        at = found.end()
    return "".join([*pieces, text[at:]])


def _constraint(text: str) -> str:
    """A constraint that is added: SQLite knows CHECK and NOT NULL, a unique one is an index."""
    masked = blank(text)
    key = _KEY.search(masked)
    if key is not None:
        raise ValidationError(
            f"a {key.group(1).upper()} KEY cannot be added to a table: make a new one that has it, and copy the rows"
        )
    unique = _UNIQUE.match(masked)
    if unique is None:
        return text
    table, name, listed = (text[unique.start(at) : unique.end(at)] for at in (1, 2, 3))
    return f"CREATE UNIQUE INDEX {name} ON {table}{listed}"


def _embrace(text: str) -> str:
    masked = blank(text)
    head = _TRIGGER_HEAD.search(masked)
    depth, start = 0, -1
    for at in range(head.end() if head else 0, len(masked)):
        depth += (masked[at] == "(") - (masked[at] == ")")
        if depth == 0 and _TRIGGER_ACT.match(masked, at):
            start = at
            break
    if start < 0:
        return text
    body = text[start:].rstrip().rstrip(";")
    return f"{text[:start]}BEGIN {body}; END;"
