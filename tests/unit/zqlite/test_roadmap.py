"""The roadmap's SQL, verbatim; what cannot run as it is says what to write instead."""

from __future__ import annotations

from pathlib import Path

import pytest

from ghostwire import zqlite
from ghostwire.errors import ValidationError

SOURCE = Path(__file__).parents[2] / "data" / "roadmap.sql"
BLOCKS = {
    name.strip(): text for name, text in (block.split("\n", 1) for block in SOURCE.read_text().split("-- block: ")[1:])
}
BEFORE = {
    "indexes": "CREATE TABLE sessions(id, user_id); CREATE TABLE vpn_nodes(node_id); CREATE TABLE wallets(address)",
    "triggers": "CREATE TABLE users(id INTEGER, last_seen); CREATE TABLE sessions(user_id);"
    "CREATE TABLE wallets(address, balance DECIMAL(18,8))",
    "views-and-ctes": "CREATE TABLE vpn_nodes(node_id, last_ping); CREATE TABLE transactions(timestamp, amount)",
}
INSTEAD = {
    "spatial": ("no such column: user_location", {"user_location": ":user_location"}),
}


@pytest.mark.parametrize("name", BLOCKS)
async def test_block(db: zqlite.Store, name: str) -> None:
    if name in BEFORE:
        await db.execute(BEFORE[name])
    text, params = BLOCKS[name], {"user_location": "POINT(0 0)"}
    if name in INSTEAD:
        match, changes = INSTEAD[name]
        with pytest.raises(ValidationError, match=match):
            await db.execute(text)
        for old, new in changes.items():
            text = text.replace(old, new)
    await db.execute(text, params)
    await db.verify()


async def test_json(db: zqlite.Store) -> None:
    await db.execute(BLOCKS["json"])
    assert await db.query("SELECT json_extract(metadata, '$.user_id') FROM sessions") == [(123,)]
    assert await db.query("SELECT metadata ->> '$.permissions[1]' FROM sessions") == [("write",)]


async def test_the_trigger_without_begin_works(db: zqlite.Store) -> None:
    await db.execute(BEFORE["triggers"])
    await db.execute(BLOCKS["triggers"])
    await db.execute("INSERT INTO users VALUES (1, datetime('now')); INSERT INTO sessions VALUES (1), (2)")
    await db.execute("UPDATE users SET last_seen = datetime('now')")
    assert len(await db.query("SELECT * FROM sessions")) == 2
    await db.execute("UPDATE users SET last_seen = '2001-01-01 00:00:00'")
    assert await db.query("SELECT * FROM sessions") == [(2,)]
    with pytest.raises(ValidationError, match="valid_balance"):
        await db.execute("INSERT INTO wallets VALUES ('a', '-0.00000001')")
    assert (await db.verify()).head.seq == db.head.seq


async def test_decimals_are_exact(db: zqlite.Store) -> None:
    await db.execute("CREATE TABLE w(name, balance DECIMAL(18,8) NOT NULL DEFAULT '0', note TEXT) -- DECIMAL(1,1)")
    await db.execute("INSERT INTO w(name, balance) VALUES ('a', '0.1'), ('b', '0.2'), ('c', '9999999999.99999999')")
    await db.execute("INSERT INTO w(name, balance) VALUES ('d', ?), ('e', ?)", (10, "9.5"))
    assert await db.query("SELECT dec_sum(balance) FROM w WHERE name < 'c'") == [("0.3",)]
    assert await db.query("SELECT name FROM w ORDER BY balance") == [("a",), ("b",), ("e",), ("d",), ("c",)]
    assert await db.query("SELECT name FROM w WHERE balance > 9.5 AND balance < 11") == [("d",)]
    for bad in ("0.000000001", "10000000000", "much"):
        with pytest.raises(ValidationError):
            await db.execute("INSERT INTO w(balance) VALUES (?)", (bad,))
    await db.verify()


async def test_full_text_and_places(db: zqlite.Store) -> None:
    await db.execute(BLOCKS["full-text"])
    assert await db.query("SELECT title FROM documents WHERE documents MATCH 'vpn'") == [("Setup Guide",)]
    await db.execute("CREATE TABLE vpn_servers (id INTEGER, location POINT, coverage POLYGON)")
    await db.execute("CREATE VIRTUAL TABLE vpn_area USING rtree(id, x0, x1, y0, y1)")
    for number, place in enumerate(("POINT(13.4 52.5)", "POINT(13.41 52.5)", "POINT(2.35 48.86)")):
        await db.execute("INSERT INTO vpn_servers(id, location) VALUES (?, ?)", (number, place))
        await db.execute("INSERT INTO vpn_area SELECT ?1, ST_X(?2), ST_X(?2), ST_Y(?2), ST_Y(?2)", (number, place))
    near = "SELECT id FROM vpn_servers WHERE ST_Distance(location, :here) < 1000"
    assert await db.query(near, {"here": "POINT(13.4 52.5)"}) == [(0,), (1,)]
    boxed = (
        "SELECT s.id FROM vpn_area a JOIN vpn_servers s USING (id)"
        " WHERE a.x0 > 13 AND a.x1 < 14 AND ST_Distance(s.location, :here) < 1000"
    )
    assert await db.query(boxed, {"here": "POINT(13.4 52.5)"}) == [(0,), (1,)]


async def test_window_functions_and_upsert(db: zqlite.Store) -> None:
    await db.execute("CREATE TABLE n(k PRIMARY KEY, v)")
    for v in (1, 2):
        await db.execute("INSERT INTO n VALUES ('a', ?) ON CONFLICT(k) DO UPDATE SET v = v + excluded.v", (v,))
    await db.execute("INSERT INTO n VALUES ('b', 9)")
    assert await db.query("SELECT k, sum(v) OVER (ORDER BY k) FROM n") == [("a", 3), ("b", 12)]
    await db.verify()
