"""A policy text as the person who wrote it sees it: lines, and what stands in a rule."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec

_TOKEN: Final = re.compile(r'"(?:\\.|[^"\\])*"|//[^\n]*|/\*.*?\*/|,(?=(?:\s|//[^\n]*|/\*.*?\*/)*[\]}])', re.DOTALL)
_PIECE: Final = re.compile(
    r'"(?:\\.|[^"\\])*"|(?P<dropped>//[^\n]*|/\*.*?\*/|,(?=(?:\s|//[^\n]*|/\*.*?\*/)*[\]}]))'
    r"|(?P<bracket>[{}\[\]])|[^\"/,{}\[\]]+|.",
    re.DOTALL,
)
_OPENING: Final = frozenset("{[")
_CLOSING: Final = frozenset("}]")


def document(text: str) -> Mapping[str, Any]:
    """The sections of a policy text that has been read already: HuJSON without comments and trailing commas."""
    plain = _TOKEN.sub(lambda found: found[0] if found[0].startswith('"') else " ", text)
    sections: dict[str, Any] = msgspec.json.decode(plain)
    return {name.lower(): value for name, value in sections.items()}


class Excerpts:
    """Values of a text as they were written."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._starts = [0, *(found.end() for found in re.finditer("\n", text))]

    def at(self, line: int, column: int) -> str:
        """The object or array that begins at a line and column (from 1, columns in bytes), on one line.

        Without comments and trailing commas; empty where there is no such line.
        """
        if not 0 < line <= len(self._starts):
            return ""
        start = self._starts[line - 1]
        before = self._text[start : start + column].encode()[: column - 1].decode(errors="ignore")
        return " ".join(_value(self._text, start + len(before)).split())


def _value(text: str, start: int) -> str:
    depth, parts = 0, []
    for found in _PIECE.finditer(text, start):
        depth += (found["bracket"] or "") in _OPENING
        depth -= (found["bracket"] or "") in _CLOSING
        parts.append(" " if found["dropped"] else found[0])
        if depth <= 0:
            break
    return "".join(parts)


def groups_of(sections: Mapping[str, Any], names: Sequence[str]) -> tuple[str, ...]:
    """The groups that list one of these names, sorted."""
    groups: Mapping[str, Sequence[str]] = sections.get("groups") or {}
    return tuple(sorted(group for group, members in groups.items() if not set(names).isdisjoint(members or ())))


def groups_at_times(sections: Mapping[str, Any], names: Sequence[str]) -> tuple[str, ...]:
    """The groups that list one of these names for a time only, sorted."""
    groups: Mapping[str, Sequence[Mapping[str, Any]]] = (sections.get("ghostwire") or {}).get("groups") or {}
    found = {group for group, members in groups.items() for member in members if member.get("member") in names}
    return tuple(sorted(found))


def rule_of(sections: Mapping[str, Any], section: str, index: int) -> Mapping[str, Any]:
    """A rule as it was written, its fields in small letters; empty where the text has none.

    A section within another is named with a dot, as in `ghostwire.deny`.
    """
    found: Any = sections
    for part in section.lower().split("."):
        found = {name.lower(): value for name, value in found.items()}.get(part) or {}
    rules: Sequence[Mapping[str, Any]] = found or ()
    return {name.lower(): value for name, value in rules[index].items()} if index < len(rules) else {}
