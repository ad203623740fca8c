"""`time_bucket(width, ts)`: the start of the bucket that a time falls into.

`width` is text such as '5 minutes', '1 hour', '90s', '1 day 12 hours', or a number of seconds. A number `ts` is seconds
since 1970 and gives a number; text is a date and time as SQLite writes them (`2026-01-31 14:02:03`, also with `T`, `Z`
or an offset) and gives `YYYY-MM-DD HH:MM:SS` in UTC. Buckets count from 1970-01-01 00:00:00 UTC; weeks start on Monday.
"""

from __future__ import annotations

import math
import re
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Any, Final

import apsw

from ghostwire.errors import ValidationError

_UNITS: Final = {
    "ms": 0.001,
    "millisecond": 0.001,
    "s": 1,
    "sec": 1,
    "second": 1,
    "m": 60,
    "min": 60,
    "minute": 60,
    "h": 3600,
    "hour": 3600,
    "d": 86400,
    "day": 86400,
    "w": 604800,
    "week": 604800,
}
_PIECE = re.compile(r"\s*(\d+(?:\.\d+)?)\s*([a-z]+)", re.IGNORECASE)
_WEEK: Final = 604800
_MONDAY: Final = 4 * 86400
"""1970-01-05 was a Monday."""
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


@lru_cache(maxsize=256)
def seconds(width: str) -> float:
    """The length of a bucket. Raises ValidationError for text that is no duration."""
    total, at = 0.0, 0
    while at < len(width.rstrip()):
        piece = _PIECE.match(width, at)
        unit = piece.group(2).lower() if piece else ""
        factor = _UNITS.get(unit) or _UNITS.get(unit.removesuffix("s"))
        if piece is None or factor is None:
            raise ValidationError(f"{width!r} is no width of time: write '5 minutes', '1 hour' or a number of seconds")
        total += float(piece.group(1)) * factor
        at = piece.end()
    return _positive(total)


def time_bucket(*values: Any) -> float | int | str | None:
    """The start of the bucket of `ts`, in its own form; NULL when either is NULL."""
    width, ts = values
    if width is None or ts is None:
        return None
    length = seconds(width) if isinstance(width, str) else _positive(width)
    if isinstance(ts, str):
        at = _EPOCH + timedelta(seconds=_start(_parse(ts), length))
        return at.strftime("%Y-%m-%d %H:%M:%S") + (f".{at.microsecond // 1000:03}" if at.microsecond else "")
    if not isinstance(ts, int | float):
        raise ValidationError("a time is a number of seconds or text")
    start = _start(ts, length)
    return int(start) if isinstance(ts, int) and float(start).is_integer() else start


def register(connection: apsw.Connection) -> None:
    """Give a connection `time_bucket`."""
    connection.create_scalar_function("time_bucket", time_bucket, 2, deterministic=True, flags=apsw.SQLITE_INNOCUOUS)


def _start(at: float, length: float) -> float:
    origin = _MONDAY if length % _WEEK == 0 else 0
    if float(at).is_integer() and float(length).is_integer():
        return (int(at) - origin) // int(length) * int(length) + origin
    return math.floor((at - origin) / length) * length + origin


def _parse(text: str) -> float:
    try:
        moment = datetime.fromisoformat(text.strip())
    except ValueError:
        raise ValidationError(f"{text!r} is not a date and time such as '2026-01-31 14:02:03'") from None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return (moment - _EPOCH) / timedelta(seconds=1)


def _positive(width: Any) -> float:
    if not isinstance(width, int | float) or not 0 < width < math.inf:
        raise ValidationError(f"a bucket is longer than nothing, not {width!r}")
    return width
