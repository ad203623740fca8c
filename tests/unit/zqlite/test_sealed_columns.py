"""ENCRYPTED and COMPRESSED columns: plain in queries, sealed everywhere else."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from ghostwire import zqlite
from ghostwire.errors import ConflictError, DatabaseError, PermissionDeniedError, ValidationError
from tests.unit.zqlite.conftest import forge
from tests.unit.zqlite.raw import KEY, raw

USERS = "CREATE TABLE users (id INTEGER, email TEXT, private_key ENCRYPTED TEXT)"
WALLETS = """
CREATE TABLE wallets (
    address TEXT PRIMARY KEY CHECK (address <> 'no'),
    private_key ENCRYPTED BLOB NOT NULL,  -- Encrypted, storage
    balance DECIMAL(18,8),
    notes COMPRESSED TEXT, both ENCRYPTED COMPRESSED JSON
);
"""


async def test_plain_in_queries_sealed_in_table_and_log(db: zqlite.Store, path: Path) -> None:
    await db.execute(USERS)
    await db.execute("INSERT INTO users VALUES (1, 'a@example.com', 'hunter2'), (2, 'b@example.com', NULL)")
    await db.execute("INSERT INTO users(id, private_key) VALUES (?, ?)", (3, "correct horse"))
    assert await db.query("SELECT * FROM users ORDER BY id") == [
        (1, "a@example.com", "hunter2"),
        (2, "b@example.com", None),
        (3, None, "correct horse"),
    ]
    await db.execute("UPDATE users SET private_key = 'swordfish' WHERE email LIKE 'b%'")
    await db.execute("UPDATE users SET email = 'c@example.com' WHERE private_key = 'correct horse'")
    await db.execute("DELETE FROM users WHERE id = 1")
    assert await db.query("SELECT id, email, private_key FROM users ORDER BY id") == [
        (2, "b@example.com", "swordfish"),
        (3, "c@example.com", "correct horse"),
    ]
    bodies = b"".join(body for (body,) in await db.query("SELECT body FROM change"))
    await db.verify()
    await db.close()
    inside = repr(raw(path, "SELECT * FROM users_sealed")).encode() + bodies
    for secret in (b"hunter2", b"swordfish", b"correct horse"):
        assert secret not in inside
    async with await zqlite.open(path, key=KEY) as again:
        assert await again.query("SELECT private_key FROM users WHERE id = 2") == [("swordfish",)]


async def test_kinds_types_and_keys(db: zqlite.Store) -> None:
    await db.execute(WALLETS)
    long = "the same words again " * 500
    await db.execute("INSERT INTO wallets VALUES ('a', ?, '1.5', ?, ?)", (b"\0\xff", long, long))
    assert await db.query("SELECT * FROM wallets") == [("a", b"\0\xff", "1.5", long, long)]
    sizes = await db.query_one("SELECT length(notes), length(both) FROM wallets_sealed")
    assert sizes is not None
    assert max(sizes) < 200
    await db.execute("UPDATE wallets SET address = 'b', private_key = 12345678901")
    assert await db.query("SELECT address, private_key, notes = both FROM wallets") == [("b", 12345678901, 1)]
    with pytest.raises(ValidationError, match="NOT NULL"):
        await db.execute("INSERT INTO wallets(address) VALUES ('x')")
    with pytest.raises(ValidationError, match="CHECK"):
        await db.execute("INSERT INTO wallets(address, private_key) VALUES ('no', 1)")
    with pytest.raises(ConflictError, match="address"):
        await db.execute("INSERT INTO wallets(address, private_key) VALUES ('b', 1)")
    await db.execute("INSERT OR IGNORE INTO wallets(address, private_key) VALUES ('b', 'ignored')")
    assert await db.query("SELECT private_key FROM wallets") == [(12345678901,)]
    await db.execute("INSERT OR REPLACE INTO wallets(address, private_key) VALUES ('b', 'replaced')")
    assert await db.query("SELECT private_key, balance FROM wallets") == [("replaced", None)]
    await db.verify()


async def test_an_automatic_key_and_equal_rows(db: zqlite.Store) -> None:
    await db.execute("CREATE TABLE IF NOT EXISTS t(id INTEGER PRIMARY KEY, s ENCRYPTED TEXT)")
    await db.execute("CREATE TABLE IF NOT EXISTS t(id INTEGER PRIMARY KEY, s ENCRYPTED TEXT)")
    await db.executemany("INSERT INTO t(s) VALUES (?)", [("a",), ("b",), ("a",)])
    await db.execute("UPDATE t SET id = id + 10")
    assert await db.query("SELECT * FROM t") == [(11, "a"), (12, "b"), (13, "a")]
    sealed = [value for (value,) in await db.query("SELECT s FROM t_sealed")]
    assert len(set(sealed)) == 3
    await db.execute("CREATE TABLE u(a, s ENCRYPTED)")
    await db.execute("INSERT INTO u VALUES (1, 'x'), (1, 'x'), (2, 'x')")
    await db.execute("UPDATE u SET s = 'y' WHERE a = 1")
    assert await db.query("SELECT * FROM u") == [(1, "y"), (1, "y"), (2, "x")]
    await db.execute("DELETE FROM u WHERE s = 'y'")
    assert await db.query("SELECT * FROM u") == [(2, "x")]
    await db.verify()


async def test_a_moved_or_changed_value_does_not_open(db: zqlite.Store) -> None:
    await db.execute(WALLETS)
    await db.execute("INSERT INTO wallets(address, private_key, both) VALUES ('a', 'one', 'x'), ('b', 'two', 'y')")
    await forge(
        db, "UPDATE wallets_sealed SET private_key = (SELECT private_key FROM wallets_sealed WHERE address = 'a')"
    )
    assert await db.query("SELECT private_key FROM wallets WHERE address = 'a'") == [("one",)]
    with pytest.raises(DatabaseError, match="does not open"):
        await db.query("SELECT private_key FROM wallets WHERE address = 'b'")
    await forge(db, "UPDATE wallets_sealed SET private_key = both WHERE address = 'a'")
    with pytest.raises(DatabaseError, match="does not open"):
        await db.query("SELECT private_key FROM wallets WHERE address = 'a'")


async def test_a_value_opens_in_its_own_place_alone(tmp_path: Path) -> None:
    """Moved to another table, another database with the same key, or put there in the clear."""
    stores = [await zqlite.open(tmp_path / name, key=KEY) for name in ("one.db", "two.db")]
    table = "CREATE TABLE {}(id INTEGER PRIMARY KEY, s ENCRYPTED TEXT, c COMPRESSED TEXT)"
    for db in stores:
        for name in ("a", "b"):
            await db.execute(table.format(name))
            await db.execute(f"INSERT INTO {name} VALUES (1, 'mine', 'long enough ' || hex(zeroblob(100)))")
    one, two = stores
    sealed = await one.query_one("SELECT s FROM a_sealed")
    packed = await one.query_one("SELECT c FROM a_sealed")
    assert sealed is not None
    assert packed is not None
    flipped = [sealed[0][:at] + bytes((sealed[0][at] ^ 1,)) + sealed[0][at + 1 :] for at in range(len(sealed[0]))]
    plain = b"\0" + msgspec.msgpack.encode("forged")
    for db, name, wrong in (
        *((two, name, sealed[0]) for name in ("a", "b")),
        *((one, "a", value) for value in flipped),
        *((one, "a", value) for value in (plain, packed[0], b"", b"\1", sealed[0][:-1], "text", 5)),
        (one, "b", sealed[0]),
    ):
        await forge(db, f"UPDATE {name}_sealed SET s = ?", (wrong,))
        with pytest.raises(DatabaseError, match="does not open"):
            await db.query(f"SELECT s FROM {name}")
    await forge(one, "UPDATE a_sealed SET s = ?", (sealed[0],))
    assert await one.query("SELECT s FROM a") == [("mine",)]
    for db in stores:
        await db.close()


async def test_ids_survive_every_rename(db: zqlite.Store) -> None:
    await db.execute(USERS)
    await db.execute("INSERT INTO users VALUES (1, 'a', 'hunter2')")
    before = db.head.ts
    await db.execute("ALTER TABLE users RENAME TO people")
    await db.execute("ALTER TABLE people RENAME COLUMN private_key TO secret;")
    await db.execute("ALTER TABLE people RENAME email TO mail")
    await db.execute("ALTER TABLE people ADD COLUMN pin ENCRYPTED INTEGER")
    await db.execute("ALTER TABLE people ADD note TEXT -- plain")
    assert await db.query("SELECT id, mail, secret, pin, note FROM people") == [(1, "a", "hunter2", None, None)]
    await db.execute("UPDATE people SET pin = 1234, note = 'n'")
    await db.execute("ALTER TABLE people DROP COLUMN mail")
    await db.execute("INSERT INTO people VALUES (2, 'swordfish', 4321, 'm')")
    assert await db.query("SELECT * FROM people") == [(1, "hunter2", 1234, "n"), (2, "swordfish", 4321, "m")]
    with pytest.raises(ValidationError, match="add, drop or rename"):
        await db.execute("ALTER TABLE people ADD CONSTRAINT c CHECK (id > 0)")
    with pytest.raises(ValidationError, match="last sealed column"):
        await db.execute("ALTER TABLE people DROP COLUMN pin; ALTER TABLE people DROP COLUMN secret")
    with await db.as_of(before) as past:
        assert past.query("SELECT private_key FROM users") == [("hunter2",)]
    with await db.as_of(db.head.ts) as past:
        assert past.query("SELECT secret, pin FROM people ORDER BY id") == [("hunter2", 1234), ("swordfish", 4321)]
    await db.verify()


async def test_an_insert_is_one_image_in_the_log(db: zqlite.Store) -> None:
    await db.execute(USERS)
    result = await db.execute("INSERT INTO users VALUES (1, 'a', 'hunter2')")
    (row,) = await db.query("SELECT body FROM change WHERE seq = ?", (result.seq,))
    (image,) = db.rows(row[0])
    assert image.op == "insert"
    assert len(image.values["private_key"]) > 16
    async with db.transaction() as tx:
        await tx.execute("CREATE TABLE p(k INTEGER PRIMARY KEY, v CHECK (v < 5))")
        await tx.execute("INSERT INTO p VALUES (1, 1)")
        with pytest.raises(ValidationError):
            await tx.execute("UPDATE p SET v = 2; UPDATE p SET v = 9")
    await db.verify()


async def test_the_other_cipher_seals_with_the_other_aead(path: Path) -> None:
    async with await zqlite.open(path, key=KEY, cipher="chacha20") as db:
        await db.execute(USERS)
        await db.execute("INSERT INTO users VALUES (1, 'a', 'hunter2')")
        assert await db.query("SELECT private_key FROM users") == [("hunter2",)]
        assert await db.query("SELECT hex(substr(private_key, 1, 1)) FROM users_sealed") == [("05",)]


async def test_only_the_columns_asked_for(path: Path) -> None:
    async with await zqlite.open(path, key=KEY) as db:
        await db.execute(USERS + ";" + WALLETS)
        await db.execute("INSERT INTO users VALUES (1, 'a', 'hunter2')")
        await db.execute("INSERT INTO wallets(address, private_key) VALUES ('a', 'one')")
    async with await zqlite.open(path, key=KEY, columns=["users.private_key"]) as db:
        assert await db.query("SELECT private_key FROM users") == [("hunter2",)]
        assert await db.query("SELECT address FROM wallets") == [("a",)]
        with pytest.raises(PermissionDeniedError, match=r"wallets\.private_key"):
            await db.query("SELECT * FROM wallets")
        with pytest.raises(PermissionDeniedError, match=r"wallets\.private_key"):
            await db.execute("UPDATE wallets SET private_key = 'two'")


async def test_past_and_drop(db: zqlite.Store) -> None:
    await db.execute(USERS)
    await db.execute("INSERT INTO users VALUES (1, 'a', 'hunter2')")
    moment = db.head.ts
    await db.execute("DROP TABLE users")
    assert await db.query("SELECT name FROM sqlite_schema WHERE name LIKE 'users%'") == []
    with await db.as_of(moment) as past:
        assert past.query("SELECT private_key FROM users") == [("hunter2",)]
    await db.execute("CREATE TABLE users(a); DROP TABLE users; DROP TABLE IF EXISTS users")
    await db.verify()


async def test_the_kind_may_stand_behind_the_type(db: zqlite.Store) -> None:
    await db.execute(
        "CREATE TABLE t(id INTEGER PRIMARY KEY, s VARCHAR(9) ENCRYPTED NOT NULL, c TEXT COMPRESSED, d TEXT)"
    )
    await db.execute("INSERT INTO t VALUES (1, 'secret', 'long', 'plain')")
    row = await db.query_one("SELECT s, c, d FROM t_sealed")
    assert row is not None
    assert (type(row[0]), type(row[1]), row[2]) == (bytes, bytes, "plain")
    assert await db.query("SELECT s, c FROM t") == [("secret", "long")]


@pytest.mark.parametrize(
    "sql",
    [
        "INSERT INTO t_sealed VALUES (2, 'plain')",
        "UPDATE t_SEALED SET s = 'plain'",
        "INSERT OR REPLACE INTO main.t_sealed(id, s) VALUES (1, 'plain')",
        "INSERT INTO other VALUES ('plain')",
        "INSERT INTO t_sealed SELECT 3, 'plain'",
    ],
)
async def test_nobody_but_the_view_puts_values_into_the_table_of_sealed_ones(path: Path, sql: str) -> None:
    async with await zqlite.open(path, key=KEY) as db:
        await db.execute("CREATE TABLE was(id INTEGER PRIMARY KEY, s ENCRYPTED TEXT); ALTER TABLE was RENAME TO t")
        await db.execute("CREATE TABLE other(v)")
        await db.execute(
            "CREATE TRIGGER other_in AFTER INSERT ON other BEGIN INSERT INTO t_sealed(s) VALUES (NEW.v); END"
        )
        await db.execute("INSERT INTO t VALUES (1, 'secret')")
        with pytest.raises(PermissionDeniedError, match="only its view"):
            await db.execute(sql)
        with pytest.raises(ValidationError):
            await db.execute("CREATE TABLE u(s ENCRYPTED TEXT); SELEC")
    async with await zqlite.open(path, key=KEY) as db:
        with pytest.raises(PermissionDeniedError, match="only its view"):
            await db.execute(sql)
        await db.execute("CREATE TABLE u_sealed(v); INSERT INTO u_sealed VALUES ('no table of sealed values')")
        await db.execute("UPDATE t SET s = 'other' WHERE id = 1")
        assert await db.query("SELECT * FROM t") == [(1, "other")]


async def test_a_sealed_column_may_be_unique(db: zqlite.Store) -> None:
    await db.execute(
        "CREATE TABLE t(id INTEGER PRIMARY KEY, s TEXT ENCRYPTED UNIQUE, c COMPRESSED TEXT UNIQUE NOT NULL)"
    )
    await db.execute("INSERT INTO t VALUES (1, 'a', 'x'), (2, NULL, 'y'), (3, NULL, 'z')")
    taken = [
        "INSERT INTO t VALUES (4, 'a', 'w')",
        "INSERT INTO t VALUES (4, 'b', 'x')",
        "UPDATE t SET s = 'a' WHERE id = 2",
        "UPDATE t SET s = 'same'",
    ]

    async def refused() -> None:
        before = await db.query("SELECT * FROM t")
        for sql in taken:
            with pytest.raises(ConflictError):
                await db.execute(sql)
        assert await db.query("SELECT * FROM t") == before

    await refused()
    await db.rotate_keys()
    await refused()
    await db.execute("UPDATE t SET s = 'a', c = 'x' WHERE id = 1")
    await db.execute("UPDATE t SET s = 'b' WHERE id = 1; UPDATE t SET s = 'a' WHERE id = 2")
    await db.execute("ALTER TABLE t RENAME COLUMN s TO name; ALTER TABLE t RENAME TO u")
    with pytest.raises(ConflictError):
        await db.execute("INSERT INTO u VALUES (4, 'b', 'w')")
    await db.execute("INSERT OR REPLACE INTO u VALUES (1, 'c', 'x')")
    macs = await db.query("SELECT zq_mac_name, zq_mac_c FROM u_sealed WHERE zq_mac_name IS NOT NULL")
    assert len({mac for row in macs for mac in row}) == 4
    await db.verify()
    await db.execute("ALTER TABLE u DROP COLUMN name")
    assert await db.query("SELECT * FROM u") == [(1, "x"), (2, "y"), (3, "z")]
    with pytest.raises(ValidationError, match="new table"):
        await db.execute("ALTER TABLE u ADD COLUMN e ENCRYPTED TEXT UNIQUE")
    await db.verify()


@pytest.mark.parametrize(
    "sql",
    [
        "CREATE TABLE main.t(s ENCRYPTED TEXT)",
        "CREATE TABLE [t](s ENCRYPTED TEXT)",
        "CREATE TABLE `t`(s TEXT COMPRESSED)",
        "ALTER TABLE plain ADD COLUMN s ENCRYPTED TEXT",
        "ALTER TABLE plain ADD s TEXT /* */ encrypted",
        "CREATE VIRTUAL TABLE t USING fts5(s ENCRYPTED)",
    ],
)
async def test_no_column_is_plain_that_was_to_be_sealed(db: zqlite.Store, sql: str) -> None:
    await db.execute("CREATE TABLE plain(v CHECK (v <> 'encrypted'))")
    with pytest.raises(ValidationError):
        await db.execute(sql)
    assert await db.query("SELECT name FROM sqlite_schema WHERE name = 't'") == []
    assert await db.query("SELECT name FROM pragma_table_info('plain')") == [("v",)]


@pytest.mark.parametrize(
    "column",
    [
        "s ENCRYPTED TEXT PRIMARY KEY",
        "s ENCRYPTED TEXT DEFAULT 'x'",
        "s ENCRYPTED TEXT REFERENCES other(id)",
        "s ENCRYPTED TEXT, d DEFAULT 5",
        "s ENCRYPTED TEXT, g AS (s || 'x')",
        "s ENCRYPTED TEXT, d CHECK (d > 1 AND length(s) < 3)",
        "s ENCRYPTED TEXT, PRIMARY KEY (s)",
        "s ENCRYPTED TEXT, UNIQUE (id, s)",
        's ENCRYPTED TEXT, CONSTRAINT c CHECK (length("s") < 3)',
        "s ENCRYPTED TEXT, FOREIGN KEY (S) REFERENCES other(id)",
    ],
)
async def test_what_does_not_go_together(db: zqlite.Store, column: str) -> None:
    with pytest.raises(ValidationError, match="does not go with"):
        await db.execute(f"CREATE TABLE t(id INTEGER, {column})")
    with pytest.raises(ValidationError, match="do not go with WITHOUT ROWID"):
        await db.execute("CREATE TABLE t(id INTEGER PRIMARY KEY, s ENCRYPTED TEXT) WITHOUT ROWID")
    key = 'key ENCRYPTED TEXT, n CHECK (n <> "id"), o REFERENCES o(key)'
    await db.execute(f"CREATE TABLE t(id INTEGER, {key}, PRIMARY KEY (id), CHECK (n <> 'key'))")
    with pytest.raises(ValidationError, match="does not go with"):
        await db.execute("ALTER TABLE t ADD COLUMN m CHECK (m <> key)")


@pytest.mark.parametrize(
    "sql",
    [
        "DROP TABLE t_sealed",
        "DROP TABLE main.t_sealed",
        "DROP VIEW t",
        'DROP VIEW IF EXISTS main."T"',
        "ALTER TABLE t_sealed RENAME TO u",
        "ALTER TABLE t_sealed ADD COLUMN c",
    ],
)
async def test_table_and_view_go_together(db: zqlite.Store, sql: str) -> None:
    await db.execute("CREATE TABLE t(s ENCRYPTED TEXT)")
    await db.execute("INSERT INTO t VALUES ('x')")
    with pytest.raises(PermissionDeniedError, match="one half of t"):
        await db.execute(sql)
    assert await db.query("SELECT s FROM t") == [("x",)]
    await db.execute("DROP TABLE t")
    assert await db.query("SELECT name FROM sqlite_schema WHERE name LIKE 't%'") == []
