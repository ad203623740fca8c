"""SQL text cut into statements, each known by what it may do. Texts repeat, so the cut is remembered."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache

import apsw

from ghostwire.errors import ValidationError

_LEADING = re.compile(r"(?:\s+|--[^\n]*(?:\n|\Z)|/\*.*?(?:\*/|\Z))*", re.DOTALL)
_WORD = re.compile(r"[A-Za-z]+")
_DEFINES = frozenset({"CREATE", "DROP", "ALTER"})
_READS = frozenset({"SELECT", "VALUES", "EXPLAIN", "PRAGMA"})
_WRITES_WITHIN = re.compile(r"\b(?:INSERT|UPDATE|DELETE|REPLACE)\b", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Part:
    """One statement: `defines` changes the schema; `reads` can change nothing."""

    text: str
    defines: bool
    reads: bool


@lru_cache(maxsize=4096)
def parts(text: str) -> tuple[Part, ...]:
    """The statements of `text`, in order, without those that are only space and comments."""
    found = []
    rest = text
    while True:
        piece, rest = _first(rest)
        word = _leading_word(piece)
        if word or piece[_LEADING.match(piece).end() :].strip("; \t\r\n"):  # type: ignore[union-attr]
            found.append(Part(piece, word in _DEFINES, _only_reads(word, piece)))
        if not rest:
            return tuple(found)


@lru_cache(maxsize=4096)
def only(text: str) -> Part:
    """The one statement in `text`. Raises ValidationError for none or several."""
    found = parts(text)
    if len(found) != 1:
        raise ValidationError(f"this takes exactly one statement, not {len(found)}")
    return found[0]


def _first(text: str) -> tuple[str, str]:
    """The first complete statement and what follows it."""
    at = text.find(";")
    while at >= 0:
        if apsw.complete(text[: at + 1]):
            return text[: at + 1], text[at + 1 :]
        at = text.find(";", at + 1)
    return text, ""


def _leading_word(text: str) -> str:
    start = _LEADING.match(text)
    word = _WORD.match(text, start.end() if start else 0)
    return word.group().upper() if word else ""


def _only_reads(word: str, text: str) -> bool:
    """A WITH may lead a write; it counts as one where any of its words could be a write."""
    return word in _READS or (word == "WITH" and _WRITES_WITHIN.search(text) is None)
