"""Durations and sizes as people write them: `30s`, `24h`, `256MB`."""

from __future__ import annotations

import math
import re
from typing import NewType

from ghostwire.errors import ValidationError

Duration = NewType("Duration", float)
"""Seconds."""
Size = NewType("Size", int)
"""Bytes."""

_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0, "d": 86400.0, "w": 604800.0}
_BYTES = {"": 1, "b": 1} | {
    f"{letter}{suffix}": 1024 ** (power + 1) for power, letter in enumerate("kmgt") for suffix in ("", "b", "ib")
}
_PART = re.compile(r"(\d+(?:\.\d+)?)\s*([a-z]*)", re.IGNORECASE)


def parse_duration(text: str) -> Duration:
    """Read `30s`, `1h30m`, `7d`; a bare number counts seconds, `0` and `off` are 0.

    Raises ValidationError.
    """
    cleaned = text.strip().lower()
    if cleaned == "off":
        return Duration(0.0)
    total, end = 0.0, 0
    for match in _PART.finditer(cleaned):
        number, unit = match.groups()
        if cleaned[end : match.start()].strip() or (unit or "s") not in _SECONDS:
            break
        total += float(number) * _SECONDS[unit or "s"]
        end = match.end()
    if end == 0 or end != len(cleaned):
        raise ValidationError(f"{text!r} is no duration: write it like 30s, 5m, 24h or 7d")
    return duration(total)


def duration(seconds: float) -> Duration:
    """Check a number of seconds: finite, not negative, at most a hundred years."""
    if not math.isfinite(seconds) or not 0 <= seconds <= 100 * 366 * 86400:
        raise ValidationError(f"{seconds} s is no duration: expected 0 to 100 years")
    return Duration(float(seconds))


def parse_size(text: str) -> Size:
    """Read `256MB`, `1GiB`, `64k` or a number of bytes; units are powers of 1024. Raises ValidationError."""
    match = _PART.fullmatch(text.strip())
    if match is None or match[2].lower() not in _BYTES:
        raise ValidationError(f"{text!r} is no size: write it like 64KB, 256MB or 1GB")
    return size(int(float(match[1]) * _BYTES[match[2].lower()]))


def size(count: int) -> Size:
    """Check a number of bytes: not negative, below 2**63."""
    if not 0 <= count < 2**63:
        raise ValidationError(f"{count} is no size in bytes: expected 0 to 2**63")
    return Size(count)


def spell_duration(seconds: float) -> str:
    """Write seconds with the largest unit that divides them."""
    if seconds == 0:
        return "0s"
    for unit in ("d", "h", "m"):
        if seconds % _SECONDS[unit] == 0:
            return f"{int(seconds / _SECONDS[unit])}{unit}"
    return f"{seconds:.0f}s" if seconds == int(seconds) else f"{seconds!r}s"


def spell_size(count: int) -> str:
    """Write bytes with the largest unit that divides them."""
    for unit in ("tb", "gb", "mb", "kb"):
        if count and count % _BYTES[unit] == 0:
            return f"{count // _BYTES[unit]}{unit.upper()}"
    return str(count)
