"""Networks, times and places in SQL answer as their obvious twins do."""

from __future__ import annotations

import asyncio
import random
from datetime import UTC, datetime, timedelta
from fractions import Fraction
from pathlib import Path

import apsw
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from ghostwire import zqlite
from ghostwire.zqlite import functions
from ghostwire.zqlite.functions.places import EARTH_METRES

SQL = apsw.Connection(":memory:")
functions.register(SQL)

BITS = {4: 32, 6: 128}


def text(version: int, number: int) -> str:
    """An address, written out without any shortening."""
    if version == 4:
        return ".".join(str(number >> shift & 255) for shift in (24, 16, 8, 0))
    return ":".join(f"{number >> shift & 0xFFFF:x}" for shift in range(112, -1, -16))


@st.composite
def networks(draw: st.DrawFn) -> tuple[int, int, int]:
    """Family, address and prefix length; few addresses, so that many lie in each other."""
    version = draw(st.sampled_from((4, 6)))
    bits = BITS[version]
    length = draw(st.integers(0, bits))
    few = st.sampled_from((0, (1 << bits) - 1, 0b1010 << (bits - 4), 10 << (bits - 8)))
    near = few.flatmap(lambda base: st.integers(0, 3).map(lambda flip: base ^ flip << (bits - length)))
    number = draw(st.one_of(near, st.integers(0, (1 << bits) - 1))) & ((1 << bits) - 1)
    return version, number >> (bits - length) << (bits - length), length


def binary(network: tuple[int, int, int]) -> str:
    """The bits of its prefix, as text."""
    version, number, length = network
    return format(number, f"0{BITS[version]}b")[:length]


@given(networks(), networks())
@example((4, 0, 0), (6, 0, 0))
@example((4, 0, 0), (4, (1 << 32) - 1, 32))
@example((6, 0, 0), (6, (1 << 128) - 1, 128))
def test_a_network_holds_what_begins_with_its_bits(outer: tuple[int, int, int], inner: tuple[int, int, int]) -> None:
    expected = outer[0] == inner[0] and binary(inner).startswith(binary(outer))
    asked = [f"{text(version, number)}/{length}" for version, number, length in (outer, inner)]
    assert SQL.execute("SELECT cidr_contains(?, ?)", asked).get == expected


def test_the_longest_prefix_is_never_wrong(tmp_path: Path) -> None:
    """Among many networks of both families, at and beside their ends, where 32-bit floats are not exact."""
    draw = random.Random(5)
    table: dict[tuple[int, str], int] = {}
    asked: list[tuple[int, int]] = []
    rows = []
    for rowid in range(1, 6001):
        version = draw.choice((4, 4, 6))
        bits = BITS[version]
        length = draw.choice((8, 12, 16, 20, 24, 28, bits - 1, bits)) if rowid > 2 else 0
        base = (
            draw.getrandbits(bits)
            if draw.random() < 0.5
            else (0x0A << (bits - 8)) | draw.getrandbits(16) << (bits - 24)
        )
        number = base >> (bits - length) << (bits - length)
        table.setdefault((version, binary((version, number, length))), rowid)
        rows.append((rowid, f"{text(version, number)}/{length}"))
        last = number | ((1 << (bits - length)) - 1)
        asked += [(version, end & ((1 << bits) - 1)) for end in (number, number - 1, last, last + 1)]

    async def look_up() -> list[int | None]:
        async with await zqlite.open(tmp_path / "store.db", key=bytes(32)) as db:
            await db.execute("CREATE TABLE route(id INTEGER PRIMARY KEY, prefix TEXT)")
            await db.executemany("INSERT INTO route VALUES (?, ?)", rows)
            await db.execute("CREATE CIDR INDEX by_prefix ON route(prefix)")
            with db.read() as reader:
                found = reader.query_many(
                    "SELECT cidr_lookup('by_prefix', ?)", [(text(*address),) for address in asked]
                )
            return [row[0] for row in found]

    for (version, number), found in zip(asked, asyncio.run(look_up()), strict=True):
        whole = binary((version, number, BITS[version]))
        lengths = range(BITS[version], -1, -1)
        expected = next((table[version, whole[:n]] for n in lengths if (version, whole[:n]) in table), None)
        assert found == expected, text(version, number)


@given(st.integers(1, 10**7), st.integers(-(10**11), 10**11))
@example(604800, 0)
def test_a_bucket_of_whole_seconds(width: int, ts: int) -> None:
    start = SQL.execute("SELECT time_bucket(?, ?)", (width, ts)).get
    origin = 4 * 86400 if width % 604800 == 0 else 0  # weeks begin on Monday
    assert start <= ts < start + width
    assert (start - origin) % width == 0
    assert isinstance(start, int)


@given(st.sampled_from((0.25, 0.5, 1.5, 90.0, 0.125)), st.integers(-(10**9), 10**9))
def test_a_bucket_of_fractions(width: float, eighths: int) -> None:
    ts = eighths / 8
    expected = Fraction(ts) // Fraction(width) * Fraction(width)
    assert Fraction(SQL.execute("SELECT time_bucket(?, ?)", (width, ts)).get) == expected


@given(
    st.datetimes(datetime(1900, 1, 1), datetime(2200, 1, 1)).map(lambda at: at.replace(microsecond=0)),
    st.sampled_from((("5 minutes", 300), ("1 hour", 3600), ("1 day", 86400), ("2 weeks", 1209600), ("7s", 7))),
    st.integers(-14 * 60, 14 * 60),
)
def test_a_bucket_of_dates(at: datetime, width: tuple[str, int], offset: int) -> None:
    """Text and numbers fall into the same bucket, whatever the zone that the text is written in."""
    moment = at.replace(tzinfo=UTC)
    zone = f"{'-' if offset < 0 else '+'}{abs(offset) // 60:02}:{abs(offset) % 60:02}"
    written = f"{(at + timedelta(minutes=offset)).isoformat(sep=' ')}{zone}"
    seconds = (moment - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(seconds=1)
    as_text = SQL.execute("SELECT time_bucket(?, ?)", (width[0], written)).get
    as_number = SQL.execute("SELECT time_bucket(?, ?)", (width[1], seconds)).get
    assert datetime.fromisoformat(as_text).replace(tzinfo=UTC) == datetime(1970, 1, 1, tzinfo=UTC) + timedelta(
        seconds=as_number
    )


def on_sphere(longitude: float, latitude: float) -> np.ndarray[tuple[int], np.dtype[np.longdouble]]:
    lon, lat = np.radians(np.longdouble(longitude)), np.radians(np.longdouble(latitude))
    return np.array([np.cos(lat) * np.cos(lon), np.cos(lat) * np.sin(lon), np.sin(lat)])


degrees = st.tuples(st.floats(-180, 180).map(lambda x: round(x, 9)), st.floats(-90, 90).map(lambda x: round(x, 9)))


@settings(max_examples=300)
@given(
    degrees, st.one_of(degrees, st.tuples(st.floats(-1e-4, 1e-4), st.floats(-1e-4, 1e-4))), st.booleans(), st.booleans()
)
@example((0.0, 0.0), (180.0, 0.0), False, False)
@example((0.0, 90.0), (17.0, -90.0), False, False)
def test_a_distance_is_that_of_two_vectors(
    a: tuple[float, float], b: tuple[float, float], near: bool, opposite: bool
) -> None:
    """Twice the arc tangent of the vectors' difference over their sum (Kahan), in 64 bits of fraction."""
    if near:
        b = (max(-180.0, min(180.0, a[0] + b[0] / 1e6)), max(-90.0, min(90.0, a[1] + b[1] / 1e6)))
    if opposite:
        b = (b[0] - 180 if b[0] > 0 else b[0] + 180, -b[1])
    points = [f"POINT({lon!r} {lat!r})" for lon, lat in (a, b)]
    u, v = on_sphere(*a), on_sphere(*b)
    angle = 2 * np.arctan2(np.linalg.norm((u - v).astype(float)), np.linalg.norm((u + v).astype(float)))
    assert SQL.execute("SELECT ST_Distance(?, ?)", points).get == pytest.approx(
        EARTH_METRES * float(angle), rel=1e-12, abs=1e-7
    )
