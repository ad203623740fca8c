"""Places on the earth in SQL: WKT text `POINT(lon lat)` and `POLYGON((lon lat, ...))`, in degrees.

`ST_Distance(a, b)` is the distance of two points in metres on a sphere of the earth's mean radius, within 0.6 % of the
ellipsoid (the form that is exact for near and for opposite points: Vincenty, 1975). `ST_Contains(polygon, point)` is 1
or 0, edges counted as inside. `ST_X` and `ST_Y` are a point's longitude and latitude. `ST_MinX`, `ST_MaxX`, `ST_MinY`,
`ST_MaxY` bound either, for an R-tree.
"""

from __future__ import annotations

import math
import re
from functools import lru_cache
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Final

import apsw

from ghostwire.errors import ValidationError

if TYPE_CHECKING:
    from collections.abc import Callable

EARTH_METRES: Final = 6_371_008.8
"""The mean radius R1 of the WGS84 ellipsoid."""

_NUMBER = r"\s*([+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)"
_POINT = re.compile(rf"\s*POINT\s*\({_NUMBER}\s{_NUMBER}\s*\)\s*", re.IGNORECASE)
_PAIR = re.compile(rf"{_NUMBER}\s{_NUMBER}\s*(,|$)")
_POLYGON = re.compile(r"\s*POLYGON\s*\(\s*\(([^()]*)\)\s*\)\s*", re.IGNORECASE)

Point = tuple[float, float]


@lru_cache(maxsize=65536)
def point(text: str) -> Point:
    """Longitude and latitude. Raises ValidationError for text that is no `POINT(lon lat)` on the earth."""
    found = _POINT.fullmatch(text)
    if found is None:
        raise ValidationError(f"{text!r} is no place: write 'POINT(longitude latitude)' in degrees")
    return _on_earth(float(found.group(1)), float(found.group(2)), text)


@lru_cache(maxsize=4096)
def polygon(text: str) -> tuple[Point, ...]:
    """The corners of a closed ring. Raises ValidationError for text that is none."""
    found = _POLYGON.fullmatch(text)
    corners: list[Point] = []
    rest = found.group(1) if found else ""
    at = 0
    while at < len(rest):
        pair = _PAIR.match(rest, at)
        if pair is None:
            corners = []
            break
        corners.append(_on_earth(float(pair.group(1)), float(pair.group(2)), text))
        at = pair.end()
    if len(corners) < 4 or corners[0] != corners[-1]:
        raise ValidationError(f"{text!r} is no area: write 'POLYGON((lon lat, lon lat, lon lat, ...))', closed")
    return tuple(corners)


def st_distance(*values: Any) -> float | None:
    """Metres between two points; NULL when either is NULL."""
    if None in values:
        return None
    (lon_a, lat_a), (lon_b, lat_b) = (point(_text(value)) for value in values)
    lat_a, lat_b, turn = math.radians(lat_a), math.radians(lat_b), math.radians(lon_b - lon_a)
    sin_a, cos_a, sin_b, cos_b = math.sin(lat_a), math.cos(lat_a), math.sin(lat_b), math.cos(lat_b)
    across = math.hypot(cos_b * math.sin(turn), cos_a * sin_b - sin_a * cos_b * math.cos(turn))
    along = sin_a * sin_b + cos_a * cos_b * math.cos(turn)
    return EARTH_METRES * math.atan2(across, along)


def st_contains(*values: Any) -> int | None:
    """Whether a polygon holds a point; NULL when either is NULL."""
    if None in values:
        return None
    ring, (x, y) = polygon(_text(values[0])), point(_text(values[1]))
    inside = False
    for (x1, y1), (x2, y2) in pairwise(ring):
        side = (x2 - x1) * (y - y1) - (y2 - y1) * (x - x1)
        if side == 0 and min(x1, x2) <= x <= max(x1, x2) and min(y1, y2) <= y <= max(y1, y2):
            return 1
        if (y1 > y) != (y2 > y) and x < (x2 - x1) * (y - y1) / (y2 - y1) + x1:
            inside = not inside
    return int(inside)


def register(connection: apsw.Connection) -> None:
    """Give a connection these functions."""
    table: dict[str, tuple[Callable[..., Any], int]] = {
        "ST_Distance": (st_distance, 2),
        "ST_Contains": (st_contains, 2),
        "ST_X": (_of_corners(0, min), 1),
        "ST_Y": (_of_corners(1, min), 1),
        "ST_MinX": (_of_corners(0, min), 1),
        "ST_MaxX": (_of_corners(0, max), 1),
        "ST_MinY": (_of_corners(1, min), 1),
        "ST_MaxY": (_of_corners(1, max), 1),
    }
    for name, (function, count) in table.items():
        connection.create_scalar_function(name, function, count, deterministic=True, flags=apsw.SQLITE_INNOCUOUS)


def _of_corners(axis: int, pick: Callable[..., float]) -> Callable[..., float | None]:
    def function(*values: Any) -> float | None:
        if values[0] is None:
            return None
        text = _text(values[0])
        corners = polygon(text) if text.lstrip()[:7].upper() == "POLYGON" else (point(text),)
        return pick(corner[axis] for corner in corners)

    return function


def _on_earth(longitude: float, latitude: float, text: str) -> Point:
    if not (-180 <= longitude <= 180 and -90 <= latitude <= 90):
        raise ValidationError(f"{text!r} is not on the earth: longitude (-180 to 180) comes first, then latitude")
    return longitude, latitude


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise ValidationError(f"a place is text, not {type(value).__name__}")
    return value
