"""What the server tells of itself while it runs. Telemetry implements this; the server knows no logger."""

from __future__ import annotations

from typing import Literal, Protocol

Level = Literal["trace", "debug", "info", "warning", "error", "critical"]
Value = str | int | float | bool | None


class Observer(Protocol):
    """Takes events and spans. Both must return at once and must not raise."""

    def event(self, level: Level, name: str, /, **fields: Value) -> None:
        """Something happened. No field ever carries a secret."""

    def span(self, name: str, start_ns: int, end_ns: int, /, **fields: Value) -> None:
        """Something took from `start_ns` to `end_ns` (UTC nanoseconds)."""


class Silent:
    """The observer that hears nothing: what tests and embedders get unless they say otherwise."""

    def event(self, level: Level, name: str, /, **fields: Value) -> None:
        """Ignore it."""

    def span(self, name: str, start_ns: int, end_ns: int, /, **fields: Value) -> None:
        """Ignore it."""
