"""A policy text as the person who wrote it sees it: lines, and what stands in a rule."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec

_TOKEN: Final = re.compile(r'"(?:\\.|[^"\\])*"|//[^\n]*|/\*.*?\*/|,(?=(?:\s|//[^\n]*|/\*.*?\*/)*[\]}])', re.DOTALL)


def document(text: str) -> Mapping[str, Any]:
    """The sections of a policy text that has been read already: HuJSON without comments and trailing commas."""
    plain = _TOKEN.sub(lambda found: found[0] if found[0].startswith('"') else " ", text)
    sections: dict[str, Any] = msgspec.json.decode(plain)
    return {name.lower(): value for name, value in sections.items()}


def line_of(text: str, number: int) -> str:
    """One line of the text, from 1, without the space around it; empty where there is none."""
    lines = text.split("\n")
    return lines[number - 1].strip() if 0 < number <= len(lines) else ""


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
