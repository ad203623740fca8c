"""Levels of the log, and what each is for.

trace: low-level detail. debug: detailed operation. info: life of services, nodes that come and go. warning: not
critical, as a missed heartbeat. error and critical: failures that need attention.
"""

from __future__ import annotations

from typing import Final, Literal

Level = Literal["trace", "debug", "info", "warning", "error", "critical"]

NUMBERS: Final[dict[str, int]] = {"trace": 5, "debug": 10, "info": 20, "warning": 30, "error": 40, "critical": 50}
"""The numbers of the standard library's logging, and 5 for trace."""

NAMES: Final[dict[str, Level]] = {
    "TRACE": "trace",
    "DEBUG": "debug",
    "INFO": "info",
    "WARN": "warning",
    "WARNING": "warning",
    "ERROR": "error",
    "CRITICAL": "critical",
}
"""Levels by the names that people write in configurations."""


def nearest(number: int) -> Level:
    """The level that a number of the standard library's logging belongs to: the highest one not above it."""
    found: Level = "trace"
    for level in NAMES.values():
        if NUMBERS[level] <= number:
            found = level
    return found
