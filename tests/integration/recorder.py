"""An observer that remembers, so that a test can demand that nothing went wrong."""

from __future__ import annotations

from typing import Any


class Recorder:
    """Keeps every event."""

    def __init__(self) -> None:
        self.events: list[tuple[str, str, dict[str, Any]]] = []

    def event(self, level: str, name: str, /, **fields: Any) -> None:
        self.events.append((level, name, fields))

    def span(self, name: str, start_ns: int, end_ns: int, /, **fields: Any) -> None:
        self.events.append(("span", name, fields))

    @property
    def faults(self) -> list[tuple[str, str, dict[str, Any]]]:
        """What was an error or worse."""
        return [event for event in self.events if event[0] in ("error", "critical")]
