"""The verbs on the store: a coordinator's state goes into a backup, and comes back without its old credentials."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ghostwire import zqlite
from ghostwire.cli.admin import Admin
from ghostwire.errors import ValidationError
from ghostwire.server.store.restored import OUTCOME, read_refusals, refusals, void
from ghostwire.server.store.store import migrations
from ghostwire.testing.processes import Child
from ghostwire.zqlite import keyring

pytestmark = pytest.mark.integration

PATIENCE_S = 60.0
Verb = Callable[..., Any]


def serve(room: Path, name: str) -> Child:
    return Child.start(["serve", "--data", str(room / name), "--listen", "127.0.0.1:0", "--json"], room / f"{name}.log")


def ready(child: Child, room: Path, name: str) -> None:
    with Admin.local(room / name) as admin:
        child.until("ready", lambda: admin.get("/v1/status"), PATIENCE_S)


def lived_in(room: Path, verb: Verb) -> tuple[str, str]:
    """A coordinator that has run, and is stopped: a pre-auth key and an API token of its."""
    with serve(room, "a") as child:
        ready(child, room, "a")
        with Admin.local(room / "a") as admin:
            admin.post("/v1/users", {"name": "alice"})
            key = admin.post("/v1/preauth-keys", {"user": "alice"})["key"]
            token = admin.post("/v1/tokens", {"name": "t", "scope": "read"})["token"]
        assert verb("db", "stats", "--data", room / "a")["tables"]["users"] == 1
        assert child.stop() == 0
    return key, token


def test_a_running_server_performs_what_it_is_asked_for(room: Path, verb: Verb) -> None:
    """The same verbs with the server up and down: what they say is the same but for what has happened since."""
    lived_in(room, verb)
    data = ("--data", room / "a")
    verb("db", "keygen", "recipient", "--out", room / "me")
    backup = ("db", "backup", "--recipient", room / "me.pub", "--to")
    head, query = room / "head.json", ("db", "shell", "-c", "SELECT name, x'0f' AS b FROM users")
    with serve(room, "a") as child:
        ready(child, room, "a")
        up = [verb("db", "signer", *data), verb("db", "refusals", *data), verb(*query, *data)]
        made = verb(*backup, room / "up", *data)
        assert Path(made["made"]).parent == room / "up"
        assert verb(*backup, room / "up", "--incremental", *data).keys() >= {"made"}
        verb("audit", "head", "--out", head, *data)
        assert verb("audit", "verify", "--head", head, *data)["seq"] >= verb("db", "check", *data)["seq"] - 1
        for which in ("signer", "columns"):
            assert verb("db", "key", "rotate", which, *data)["rotated"] == which
        assert verb("db", "retain", "--keep", "1d", *data)["dropped"] == 0
        while not (kept := verb("db", "retain", "--keep", "1s", *data))["dropped"]:
            pass
        verified = verb("audit", "verify", *data)
        assert verified["since"] > 0
        assert verified["oldest"] == kept["oldest"]
        code, _ = verb("db", "shell", "-c", "DELETE FROM users", *data)
        assert code != 0
        code, message = verb("db", "shell", "-c", "SELEC", *data)
        assert (code, "syntax" in message) == (1, True)
        assert child.stop() == 0
    assert [verb("db", "signer", *data), verb("db", "refusals", *data), verb(*query, *data)] == up
    assert up[2] == {"columns": ["name", "b"], "rows": [["alice", "x'0f'"]], "more": False}
    assert verb("audit", "verify", "--head", head, *data)["head"] is True
    assert verb("db", "verify", room / "up", "--identity", room / "me.key", *data)["backups"] >= 1


def test_keys_are_changed_and_the_server_runs_on(room: Path, verb: Verb) -> None:
    lived_in(room, verb)
    data = ("--data", room / "a")
    before = (room / "a" / "store.key").read_text()
    head = room / "head.json"
    verb("audit", "head", "--out", head, *data)
    for which in ("root", "signer", "columns"):
        assert verb("db", "key", "rotate", which, *data)["rotated"] == which
    assert (room / "a" / "store.key").read_text() != before
    assert verb("audit", "verify", "--head", head, *data)["head"] is True
    with serve(room, "a") as child:
        ready(child, room, "a")
        with Admin.local(room / "a") as admin:
            assert [user["name"] for user in admin.get("/v1/users")["users"]] == ["alice"]
        code, message = verb("db", "key", "rotate", *data)
        assert (code, "already open" in message) == (1, True)


async def holds(path: Path, **secret: Any) -> bool:
    async with await zqlite.open(path, **secret) as db:
        return await db.query("SELECT v FROM t") == [(1,)]


def test_a_passphrase_and_a_credentials_file_are_changed(
    room: Path, verb: Verb, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fill(path: Path, **secret: Any) -> None:
        async with await zqlite.open(path, **secret) as db:
            await db.execute("CREATE TABLE t(v); INSERT INTO t VALUES (1)")

    data, store = ("--data", room / "a"), room / "a" / "ghostwire.db"
    store.parent.mkdir(mode=0o700)
    key_file = room / "credential"
    asyncio.run(fill(store, key=keyring.load_or_create(key_file)))
    code, message = verb("db", "key", "rotate", *data)
    assert (code, "no key file" in message) == (1, True)
    old = keyring.load(key_file)
    assert verb("db", "key", "rotate", "--key-file", key_file, *data)["rotated"] == "root"
    assert keyring.load(key_file) != old
    assert asyncio.run(holds(store, key=keyring.load(key_file)))

    store.unlink()
    passphrase, following = room / "passphrase", room / "next"
    passphrase.write_text("correct horse\n")
    passphrase.chmod(0o600)
    following.write_text("battery staple\n")
    monkeypatch.setenv("GHOSTWIRE_DATABASE_PASSPHRASE_FILE", str(passphrase))
    asyncio.run(fill(store, passphrase="correct horse"))
    code, message = verb("db", "key", "rotate", *data)
    assert (code, "--passphrase-file" in message) == (1, True)
    assert verb("db", "key", "rotate", "--passphrase-file", following, *data)["rotated"] == "root"
    assert passphrase.read_text() == "battery staple\n"
    assert asyncio.run(holds(store, passphrase="battery staple"))
    assert verb("db", "stats", *data)["tables"] == {"t": 1}


def test_from_backup_to_a_running_server(room: Path, verb: Verb) -> None:
    key, token = lived_in(room, verb)
    data = ("--data", room / "a")
    stats = verb("db", "stats", *data)
    assert stats["tables"]["users"] == 1
    assert verb("db", "check", *data)["seq"] == stats["newest_seq"]
    verb("db", "keygen", "recipient", "--out", room / "me")
    verb("db", "keygen", "recipient", "--out", room / "other")
    code, message = verb("db", "keygen", "recipient", "--out", room / "me")
    assert (code, "never written over" in message) == (1, True)
    (room / "signer.pub").write_text(verb("db", "signer", *data)["key"])

    full = verb("db", "backup", "--to", room / "b", "--recipient", room / "me.pub", *data)
    assert full["full"]
    assert full["seq"] == stats["newest_seq"]
    again = ("db", "backup", "--to", room / "b", "--recipient", room / "me.pub", "--incremental", *data)
    assert verb(*again) == {"made": None}
    blob = Path(full["made"]).read_bytes()
    for secret in (key, token, "alice", (room / "a" / "store.key").read_text().strip()):
        assert secret.encode() not in blob
    assert verb("db", "verify", room / "b", "--identity", room / "me.key", *data)["seq"] == full["seq"]

    refused = room / "refused.json"
    refused.write_text(json.dumps([{"node_key": "ab" * 32, "reason": "deleted", "at": 5}]))
    restored = verb(
        *("db", "restore", room / "b", "--identity", room / "me.key", "--signer", room / "signer.pub"),
        *("--refusals", refused, "--data", room / "c"),
    )
    assert (restored["epoch"], restored["refused"]) == (2, 1)
    assert {file.name for file in (room / "c").iterdir()} == {"ghostwire.db", "store.key"}
    assert verb("db", "refusals", "--data", room / "c") == json.loads(refused.read_text())
    assert verb("audit", "verify", "--data", room / "c")["seq"] > full["seq"]
    with serve(room, "c") as child:
        ready(child, room, "c")
        with Admin.local(room / "c") as admin:
            assert [user["name"] for user in admin.get("/v1/users")["users"]] == ["alice"]
            assert all(each["revoked"] for each in admin.get("/v1/tokens")["tokens"])
            assert all(each["revoked"] for each in admin.get("/v1/preauth-keys")["keys"])
        assert child.stop() == 0


def test_backups_are_refused_for_what_is_wrong_with_them(room: Path, verb: Verb) -> None:
    lived_in(room, verb)
    data = ("--data", room / "a")
    for name in ("me", "other"):
        verb("db", "keygen", "recipient", "--out", room / name)
    verb("db", "keygen", "signer", "--out", room / "foreign")
    made = Path(verb("db", "backup", "--to", room / "b", "--recipient", room / "me.pub", *data)["made"])
    mine = ("--identity", room / "me.key")
    cases = (
        (("--identity", room / "other.key", *data), 4, "is not for the recipient"),
        ((*mine, "--signer", room / "foreign.pub", *data), 4, "does not hold"),
        ((*mine, "--signer", room / "me.pub", *data), 1, "here belongs a signer-public one"),
        ((*mine, "--data", room / "nowhere"), 1, "--signer"),
    )
    for words, exit_code, told in cases:
        code, message = verb("db", "verify", room / "b", *words)
        assert (code, told in message) == (exit_code, True), message
    code, message = verb("db", "restore", room / "b", *mine, *data)
    assert (code, "never writes over" in message) == (1, True)
    blob = bytearray(made.read_bytes())
    blob[1000] ^= 1
    made.write_bytes(blob)
    code, message = verb("db", "restore", room / "b", *mine, *data, "--config", _elsewhere(room))
    assert (code, "not the one that was signed" in message) == (1, True), message
    assert not (room / "new.db").exists()
    assert not [file for file in room.iterdir() if file.name.startswith(".new.db")]
    (room / "me.key").chmod(0o644)
    code, message = verb("db", "verify", room / "b", *mine, *data)
    assert (code, "chmod 600" in message) == (4, True)


def _elsewhere(room: Path) -> Path:
    file = room / "elsewhere.yaml"
    file.write_text(f"database:\n  path: {room / 'new.db'}\n  key_file: {room / 'a' / 'store.key'}\n")
    return file


def test_a_signed_head_shows_a_log_that_was_cut(room: Path, verb: Verb) -> None:
    lived_in(room, verb)
    data = ("--data", room / "a")
    older = (room / "a" / "ghostwire.db").read_bytes()
    with serve(room, "a") as child:
        ready(child, room, "a")
        with Admin.local(room / "a") as admin:
            admin.post("/v1/users", {"name": "bob"})
        child.until("its own head", (room / "a" / "head.sig").exists, PATIENCE_S)
        assert child.stop() == 0
    assert verb("audit", "verify", "--head", room / "a" / "head.sig", *data)["head"]
    head = verb("audit", "head", "--out", room / "head.json", *data)
    assert json.loads((room / "head.json").read_text()) == head
    verified = verb("audit", "verify", "--head", room / "head.json", *data)
    assert (verified["seq"], verified["head"]) == (head["seq"], True)
    (room / "a" / "ghostwire.db").write_bytes(older)
    assert verb("audit", "verify", *data)["seq"] < head["seq"]
    code, message = verb("audit", "verify", "--head", room / "head.json", *data)
    assert (code, "its end was cut off" in message) == (1, True)
    (room / "head.json").write_text(json.dumps({**head, "seq": head["seq"] - 1}))
    code, message = verb("audit", "verify", "--head", room / "head.json", *data)
    assert (code, "does not hold" in message) == (4, True)


NODE = """INSERT INTO nodes VALUES (
    :id, :id, 'n' || :id, :key, zeroblob(32), '10.0.0.' || :id, 'fd00::' || :id, NULL, '[]', 0, 'node',
    '', '', '', '', '[]', '[]', '', x'', 'active', 0, 0, 0, NULL, 1, 0)"""


REQUEST = """INSERT INTO access_requests VALUES (
    :id, 1, NULL, 2, '[]', 60, '', 'r', zeroblob(32), 0, 'user:1', :state, 0, '', NULL, 9, '', 1)"""


async def test_what_must_not_come_back_with_a_restore(tmp_path: Path) -> None:
    async with await zqlite.open(tmp_path / "ghostwire.db", key=bytes(32)) as db:
        with pytest.raises(ValidationError, match="not of a coordinator"):
            await void(db, [], "admin:unix:0")
        await zqlite.migrate.apply(db, migrations("durable"))
        for number in (1, 2):
            await db.execute(NODE, {"id": number, "key": bytes([number]) * 32})
            await db.execute("INSERT INTO session_tokens VALUES (?, ?, 9, 1)", (number, bytes([number]) * 32))
        for number, state in enumerate(("pending", "approved", "ended"), 1):
            await db.execute(REQUEST, {"id": number, "state": state})
        told = json.dumps([{"node_key": "01" * 32, "reason": "stolen", "at": 7}]).encode()
        await void(db, read_refusals(told), "admin:unix:0")
        await void(db, read_refusals(told), "admin:unix:0")
        assert await db.query("SELECT id FROM nodes") == [(2,)]
        assert await db.query("SELECT * FROM session_tokens") == []
        requests = await db.query("SELECT state, ends_at > 9, outcome FROM access_requests ORDER BY id")
        assert requests == [("denied", 0, OUTCOME), ("revoked", 1, OUTCOME), ("ended", 0, "")]
        assert json.loads(await refusals(db)) == json.loads(told)
        assert (await db.query("SELECT DISTINCT kind, actor FROM change WHERE kind LIKE 'restore%'")) == [
            ("restore.void", "admin:unix:0")
        ]
        await db.verify()
    for wrong in (
        b"",
        b"{}",
        b'[{"node_key": "x", "reason": "", "at": 1}]',
        b'[{"node_key": "01", "reason": "", "at": 1}]',
    ):
        with pytest.raises(ValidationError, match="list of refused keys"):
            read_refusals(wrong)
