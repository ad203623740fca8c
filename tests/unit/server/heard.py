"""An observer that keeps what it is told, each thing as it was told."""

from __future__ import annotations


class Heard:
    def __init__(self) -> None:
        self.events: list[tuple[str, str, dict[str, object]]] = []
        self.spans: list[tuple[str, int, int, dict[str, object]]] = []

    def event(self, level: str, name: str, /, **fields: object) -> None:
        self.events.append((level, name, fields))

    def span(self, name: str, start_ns: int, end_ns: int, /, **fields: object) -> None:
        self.spans.append((name, start_ns, end_ns, fields))
