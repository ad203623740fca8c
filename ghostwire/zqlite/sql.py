"""SQL text cut into statements, each known by what it may do and put into SQLite's words.

Texts repeat, so the cut is remembered.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Final

from ghostwire.errors import ValidationError
from ghostwire.zqlite import columns, dialect

if TYPE_CHECKING:
    from collections.abc import Iterator

TOKEN: Final = re.compile(
    r"""(?P<space>\s+|--[^\n]*|/\*.*?(?:\*/|\Z))
    |(?P<text>'(?:[^']|'')*(?:'|\Z)|"(?:[^"]|"")*(?:"|\Z)|`(?:[^`]|``)*(?:`|\Z)|\[[^\]]*(?:\]|\Z))
    |(?P<word>[^\W\d]\w*)
    |(?P<other>.)""",
    re.DOTALL | re.VERBOSE,
)
_DEFINES = frozenset({"CREATE", "DROP", "ALTER"})
_READS = frozenset({"SELECT", "VALUES", "EXPLAIN", "PRAGMA"})
_WRITES = frozenset({"INSERT", "UPDATE", "DELETE", "REPLACE"})


@dataclass(frozen=True, slots=True)
class Part:
    """One statement in SQLite's words: `defines` changes the schema; `reads` can change nothing.

    `sealed` is how to make a table with ENCRYPTED or COMPRESSED columns, in place of `text`; `drops` takes something
    away for good; `upserts` says what to do on a conflict.
    """

    text: str
    defines: bool
    reads: bool
    sealed: columns.Plan | None = None
    drops: bool = False
    upserts: bool = False


@lru_cache(maxsize=4096)
def parts(text: str) -> tuple[Part, ...]:
    """The statements of `text`, in order, without those that are only space and comments.

    Raises ValidationError for what the store's dialect cannot express.
    """
    return tuple(_part(piece, words) for piece, words in _pieces(text))


@lru_cache(maxsize=4096)
def only(text: str) -> Part:
    """The one statement in `text`. Raises ValidationError for none or several."""
    found = parts(text)
    if len(found) != 1:
        raise ValidationError(f"this takes exactly one statement, not {len(found)}")
    return found[0]


def _part(piece: str, words: list[str]) -> Part:
    first = words[0] if words else ""
    if first in _DEFINES:
        text = dialect.translate(piece, words)
        sealed = columns.plan(text) if words[:2] == ["CREATE", "TABLE"] else None
        return Part(text, defines=True, reads=False, sealed=sealed, drops=first == "DROP")
    reads = first in _READS or (first == "WITH" and _WRITES.isdisjoint(words))
    return Part(piece, defines=False, reads=reads, upserts="CONFLICT" in words)


def _pieces(text: str) -> Iterator[tuple[str, list[str]]]:
    """Each statement with its words in capitals. A trigger's body runs to the END that follows a semicolon."""
    start = 0
    words: list[str] = []
    blank = True
    body = closing = False
    for token in TOKEN.finditer(text):
        if token.lastgroup == "space":
            continue
        if token.group() != ";":
            blank = False
            if token.lastgroup == "word":
                word = token.group().upper()
                words.append(word)
                body = body or (word == "BEGIN" and _is_trigger(words))
                closing = closing and word == "END"
            else:
                closing = False
            if body and closing and words[-1] == "END":
                body = False
            continue
        if body:
            closing = True
            continue
        if not blank:
            yield text[start : token.end()], words
        start, words, blank, closing = token.end(), [], True, False
    if not blank:
        yield text[start:], words


def _is_trigger(words: list[str]) -> bool:
    return words[0] == "CREATE" and "TRIGGER" in words[1:3]
