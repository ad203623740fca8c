"""SQL functions, against independent answers."""

from __future__ import annotations

import ipaddress
from decimal import Decimal

import apsw
import pytest
from blake3 import blake3

from ghostwire import zqlite
from ghostwire.errors import ValidationError
from ghostwire.zqlite import functions


@pytest.fixture
def sql() -> apsw.Connection:
    connection = apsw.Connection(":memory:")
    functions.register(connection)
    return connection


@pytest.mark.parametrize(
    ("network", "address", "expected"),
    [
        ("10.0.0.0/8", "10.255.255.255", 1),
        ("10.0.0.0/8", "11.0.0.0", 0),
        ("10.0.0.0/8", "10.1.0.0/16", 1),
        ("10.1.0.0/16", "10.0.0.0/8", 0),
        ("0.0.0.0/0", "255.255.255.255", 1),
        ("0.0.0.0/0", "::1", 0),
        ("fd7a:115c:a1e0::/48", "fd7a:115c:a1e0:ffff:ffff:ffff:ffff:ffff", 1),
        ("fd7a:115c:a1e0::/48", "fd7a:115c:a1e1::", 0),
        ("192.0.2.1", "192.0.2.1", 1),
        (None, "10.0.0.1", None),
        ("10.0.0.0/8", None, None),
    ],
)
def test_cidr_contains(sql: apsw.Connection, network: str, address: str, expected: int) -> None:
    assert sql.execute("SELECT cidr_contains(?, ?)", (network, address)).get == expected


def test_cidr_keys_sort_as_addresses(sql: apsw.Connection) -> None:
    networks = ["10.0.0.0/8", "9.255.255.255", "fd00::/8", "0.0.0.0/0", "::/0", "255.0.0.0/8"]
    by_key = sorted(networks, key=lambda n: sql.execute("SELECT cidr_first(?)", (n,)).get)
    parsed = {n: ipaddress.ip_network(n) for n in networks}
    assert by_key == sorted(networks, key=lambda n: (parsed[n].version, int(parsed[n].network_address)))
    assert sql.execute("SELECT cidr_last('10.0.0.0/8')").get == b"\x04\x0a\xff\xff\xff"


@pytest.mark.parametrize(
    ("width", "ts", "expected"),
    [
        ("5 minutes", "2026-01-31 14:02:03", "2026-01-31 14:00:00"),
        ("5 minutes", "2026-01-31T14:59:59.999Z", "2026-01-31 14:55:00"),
        ("1 hour", "2026-01-31 14:02:03+02:00", "2026-01-31 12:00:00"),
        ("1 day", "1969-12-31 23:59:59", "1969-12-31 00:00:00"),
        ("1 week", "2026-11-23 00:00:00", "2026-11-23 00:00:00"),
        ("1 week", "2026-11-22 23:59:59", "2026-11-16 00:00:00"),
        ("1 day 12 hours", 129600, 129600),
        ("90s", 100, 90),
        (300, 1001, 900),
        (300, -1, -300),
        (0.5, 1.7, 1.5),
        ("250 ms", "1970-01-01 00:00:00.800", "1970-01-01 00:00:00.750"),
        (None, 1, None),
    ],
)
def test_time_bucket(sql: apsw.Connection, width: object, ts: object, expected: object) -> None:
    assert sql.execute("SELECT time_bucket(?, ?)", (width, ts)).get == expected


def test_distance(sql: apsw.Connection) -> None:
    new_york, paris, pole = "POINT(-74.0060 40.7128)", "POINT(2.3522 48.8566)", "POINT(0 90)"
    distance = "SELECT ST_Distance(?, ?)"
    assert sql.execute(distance, (new_york, paris)).get == pytest.approx(5_837_000, rel=0.006)
    assert sql.execute(distance, (paris, paris)).get == 0
    assert sql.execute(distance, ("POINT(0 0)", pole)).get == pytest.approx(10_007_557, rel=0.006)
    assert sql.execute(distance, ("POINT(-180 0)", "POINT(180 0)")).get == pytest.approx(0, abs=1e-6)
    assert sql.execute(distance, (None, paris)).get is None


def test_areas(sql: apsw.Connection) -> None:
    ring = "POLYGON((0 0, 10 0, 10 10, 5 5, 0 10, 0 0))"
    for place, inside in (("POINT(1 1)", 1), ("POINT(5 7)", 0), ("POINT(0 5)", 1), ("POINT(11 5)", 0)):
        assert sql.execute("SELECT ST_Contains(?, ?)", (ring, place)).get == inside
    bounds = sql.execute("SELECT ST_MinX(?1), ST_MaxX(?1), ST_MinY(?1), ST_MaxY(?1)", (ring,)).get
    assert bounds == (0, 10, 0, 10)


def test_hash_and_packing(sql: apsw.Connection) -> None:
    assert sql.execute("SELECT blake3('é')").get == blake3("é".encode()).digest()
    assert sql.execute("SELECT blake3(x'00')").get == blake3(b"\0").digest()
    text = "the same words again and again " * 100
    packed = sql.execute("SELECT zstd(?)", (text,)).get
    assert len(packed) < 100
    assert sql.execute("SELECT unzstd_text(?), unzstd(?)", (packed, packed)).get == (text, text.encode())
    assert sql.execute("SELECT unzstd(zstd(x'', 19))").get == b""


def test_decimals(sql: apsw.Connection) -> None:
    assert sql.execute("SELECT dec_add('0.1', '0.2')").get == "0.3"
    assert sql.execute("SELECT dec_sub('0.3', '0.1'), dec_mul('1.1', '1.1')").get == ("0.2", "1.21")
    assert sql.execute("SELECT dec_div('1', '3', 8)").get == "0.33333333"
    assert sql.execute("SELECT decimal('-0.000', 18, 8)").get == "0.00000000"
    assert sql.execute("SELECT decimal(1e-8, 18, 8), decimal('9999999999.99999999', 18, 8)").get == (
        "0.00000001",
        "9999999999.99999999",
    )
    values = ["10.5", "9.75", "-1", "100", "0.00000001"]
    sql.execute("CREATE TABLE d(v TEXT COLLATE DECIMAL)").fetchall()
    sql.executemany("INSERT INTO d VALUES (?)", [(value,) for value in values]).fetchall()
    assert [v for (v,) in sql.execute("SELECT v FROM d ORDER BY v")] == sorted(values, key=Decimal)
    assert sql.execute("SELECT dec_sum(v) FROM d").get == str(sum(map(Decimal, values)))
    assert sql.execute("SELECT count(*) FROM d WHERE v > '9.9'").get == 2


@pytest.mark.parametrize(
    "call",
    [
        "cidr_contains('10.0.0.1/8', '10.0.0.1')",
        "cidr_contains('ten', '10.0.0.1')",
        "cidr_contains(10, '10.0.0.1')",
        "time_bucket('5 lightyears', 1)",
        "time_bucket('', 1)",
        "time_bucket(0, 1)",
        "time_bucket(-5, 1)",
        "time_bucket(5, 'yesterday')",
        "ST_Distance('POINT(200 0)', 'POINT(0 0)')",
        "ST_Distance('POINT(1)', 'POINT(0 0)')",
        "ST_Contains('POLYGON((0 0, 1 1))', 'POINT(0 0)')",
        "blake3(5)",
        "zstd('x', 99)",
        "unzstd(x'00')",
        "unzstd('text')",
        "unzstd_text(zstd(x'ff'))",
        "decimal('1.5', 18, 0)",
        "decimal('12345', 4, 0)",
        "decimal('1e999999', 18, 8)",
        "decimal('nan', 18, 8)",
        "dec_div('1', '0', 2)",
    ],
)
def test_bad_input(sql: apsw.Connection, call: str) -> None:
    with pytest.raises(ValidationError):
        sql.execute(f"SELECT {call}").fetchall()


def test_a_frame_cannot_claim_the_memory(sql: apsw.Connection) -> None:
    bomb = bytes.fromhex("28b52ffde0") + (1 << 40).to_bytes(8, "little") + b"\0" * 16
    with pytest.raises(ValidationError):
        sql.execute("SELECT unzstd(?)", (bomb,)).fetchall()


async def test_functions_in_schema_and_queries(db: zqlite.Store) -> None:
    await db.execute(
        "CREATE TABLE rule(net TEXT CHECK (cidr_contains('10.0.0.0/8', net)), lo AS (cidr_first(net)) STORED);"
        "CREATE INDEX by_lo ON rule(lo)"
    )
    await db.execute("INSERT INTO rule(net) VALUES ('10.1.0.0/16')")
    with pytest.raises(ValidationError, match="CHECK"):
        await db.execute("INSERT INTO rule(net) VALUES ('192.168.0.0/16')")
    assert await db.query("SELECT net FROM rule WHERE cidr_contains(net, '10.1.2.3')") == [("10.1.0.0/16",)]
    assert (await db.verify()).head.seq == 2
