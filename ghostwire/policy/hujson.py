"""JSON with comments and trailing commas, read with positions."""

from __future__ import annotations

import json
import re
from typing import Any

from ghostwire.errors import ValidationError

_SKIP = re.compile(r"(?:[ \t\r\n]+|//[^\n]*|/\*.*?\*/)*", re.DOTALL)
_SCALAR = re.compile(r'"(?:[^"\\\x00-\x1f]|\\.)*"|-?[0-9][-+0-9.eE]*|true|false|null')
_DEEPEST = 64


class _Reader:
    def __init__(self, text: str) -> None:
        self.text = text
        self.at = 0

    def fail(self, what: str) -> ValidationError:
        line = self.text.count("\n", 0, self.at) + 1
        column = self.at - self.text.rfind("\n", 0, self.at)
        return ValidationError(f"{line}:{column}: {what}")

    def peek(self) -> str:
        match = _SKIP.match(self.text, self.at)
        self.at = match.end() if match else self.at
        return self.text[self.at : self.at + 1]

    def expect(self, character: str) -> None:
        if self.peek() != character:
            raise self.fail(f"expected {character!r}")
        self.at += 1

    def value(self, depth: int) -> Any:
        if depth > _DEEPEST:
            raise self.fail(f"nested deeper than {_DEEPEST}")
        start = self.peek()
        if start == "{":
            return self.mapping(depth)
        if start == "[":
            self.at += 1
            items = []
            while self.peek() != "]":
                items.append(self.value(depth + 1))
                if self.peek() != "]":
                    self.expect(",")
            self.at += 1
            return items
        match = _SCALAR.match(self.text, self.at)
        if match is None:
            raise self.fail("expected a value")
        try:
            found = json.loads(match.group())
        except ValueError as error:
            raise self.fail("expected a value") from error
        self.at = match.end()
        return found

    def mapping(self, depth: int) -> dict[str, Any]:
        self.at += 1
        found: dict[str, Any] = {}
        while self.peek() != "}":
            if self.text[self.at : self.at + 1] != '"':
                raise self.fail("expected a key in double quotes")
            key = self.value(depth + 1)
            if key in found:
                raise self.fail(f"key {key!r} occurs twice")
            self.expect(":")
            found[key] = self.value(depth + 1)
            if self.peek() != "}":
                self.expect(",")
        self.at += 1
        return found


def loads(text: str) -> Any:
    """Read one document; ValidationError names line, column and what was expected."""
    reader = _Reader(text)
    found = reader.value(0)
    if reader.peek():
        raise reader.fail("expected the end of the text")
    return found
