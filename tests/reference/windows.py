"""The slow twin of schedules and ends: asks the clock on the wall at every quarter of an hour.

Hours in it begin and end at quarters, as do the jumps of every zone of today.
"""

from __future__ import annotations

import datetime
import zoneinfo
from typing import Any

SECOND = 1_000_000_000
QUARTER = 900 * SECOND
DAYS = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"]
EPOCH = datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)


def utc_ns(text: str) -> int:
    """An ISO time with its offset as UTC nanoseconds."""
    return (datetime.datetime.fromisoformat(text) - EPOCH) // datetime.timedelta(microseconds=1) * 1000


def days_of(texts: list[str]) -> set[int]:
    found: set[int] = set()
    for text in texts:
        first, _, last = text.partition("-")
        day = DAYS.index(first)
        found.add(day)
        while day != DAYS.index(last or first):
            day = (day + 1) % 7
            found.add(day)
    return found


def minutes(text: str) -> int:
    hour, minute = text.split(":")
    return int(hour) * 60 + int(minute)


def in_schedule(schedule: dict[str, Any], at: int) -> bool:
    zone = zoneinfo.ZoneInfo(schedule.get("zone", "UTC"))
    local = (EPOCH + datetime.timedelta(microseconds=at // 1000)).astimezone(zone)
    now = local.hour * 60 + local.minute
    days = days_of(schedule.get("days") or DAYS)
    for text in schedule.get("hours") or ["00:00-24:00"]:
        first, last = map(minutes, text.split("-"))
        if first < last and local.weekday() in days and first <= now < last:
            return True
        if first > last and local.weekday() in days and now >= first:
            return True
        if first > last and (local.weekday() - 1) % 7 in days and now < last:
            return True
    return False


def is_open(limits: dict[str, Any], schedules: dict[str, Any], at: int) -> bool:
    """Whether a rule or a membership with `schedule` and `expires` holds."""
    if "expires" in limits and at >= utc_ns(limits["expires"]):
        return False
    return "schedule" not in limits or in_schedule(schedules[limits["schedule"]], at)


def next_turn(limits: dict[str, Any], schedules: dict[str, Any], at: int, days: int = 9) -> int:
    """When a window next opens or closes within some days, 0 if it does not."""
    now = is_open(limits, schedules, at)
    ends = [utc_ns(limits["expires"])] if "expires" in limits else []
    first = at // QUARTER + 1
    ticks = [quarter * QUARTER for quarter in range(first, first + days * 96)] if "schedule" in limits else []
    for tick in sorted({*ticks, *ends}):
        if tick > at and is_open(limits, schedules, tick) != now:
            return tick
    return 0
