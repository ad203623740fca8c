"""A stretch of time as a request names it."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Final, NamedTuple

from litestar.params import QueryParameter

from ghostwire.errors import ValidationError
from ghostwire.model.time import SECOND

HOUR_NS: Final = 3_600_000_000_000

From = Annotated[datetime | None, QueryParameter(name="from", description="The start; an hour before the end.")]
To = Annotated[datetime | None, QueryParameter(name="to", description="The end, not included; now.")]


class Stretch(NamedTuple):
    """From `since` until before `until`, UTC nanoseconds."""

    since: int
    until: int


def stretch(since: datetime | None, until: datetime | None, now: int) -> Stretch:
    """What was asked for at `now`. Raises `ValidationError` where that is no time, or none that can be told."""
    end = now if until is None else _utc(until)
    start = end - HOUR_NS if since is None else _utc(since)
    if start >= end:
        raise ValidationError("the stretch ends before it starts: `from` must be before `to`")
    return Stretch(start, end)


def _utc(time: datetime) -> int:
    """UTC nanoseconds; a time without a zone is UTC."""
    aware = time if time.tzinfo is not None else time.replace(tzinfo=UTC)
    passed = aware - datetime(1970, 1, 1, tzinfo=UTC)
    utc = (passed.days * 86400 + passed.seconds) * SECOND + passed.microseconds * 1000
    if not 0 <= utc < 1 << 63:
        raise ValidationError("a stretch is of times after 1970 and before 2262")
    return utc
