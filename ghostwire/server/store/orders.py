"""What an operator may order of the durable store on the machine where it lies.

A verb sends its order to the running server, or opens the file and performs it itself: what happens is the same.
"""

from __future__ import annotations

import itertools
import json
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, Literal

import msgspec

from ghostwire import zqlite
from ghostwire.errors import DatabaseError
from ghostwire.model.time import SECOND
from ghostwire.server.store.restored import refusals
from ghostwire.zqlite import SignedHead, archive, heads, keyfile
from ghostwire.zqlite import backup as backups
from ghostwire.zqlite.backup import manifest

MOST_ROWS: Final = 1000
"""Rows that one query answers with; that there are more is said."""


class _Order(msgspec.Struct, frozen=True, kw_only=True, tag_field="order", forbid_unknown_fields=True):
    pass


class Stats(_Order, frozen=True, tag="stats"):
    """How big the store, its log and its tables are."""


class Check(_Order, frozen=True, tag="check"):
    """Check pages, references and log, and that the tables are what the log says."""


class Verify(_Order, frozen=True, tag="verify"):
    """Check the log; `head` is the text of a signed head that was kept elsewhere."""

    head: str | None = None


class Sign(_Order, frozen=True, tag="head"):
    """Sign the newest row of the log."""


class Refusals(_Order, frozen=True, tag="refusals"):
    """The list of refused node keys."""


class Signer(_Order, frozen=True, tag="signer"):
    """The public key that signs backups or heads."""

    use: Literal["backups", "heads"]


class Rotate(_Order, frozen=True, tag="rotate"):
    """Change the keys that sign, or those of ENCRYPTED columns."""

    which: Literal["signer", "columns"]


class Backup(_Order, frozen=True, tag="backup"):
    """Back up into the folder `to`, sealed to `recipients` (text of public keys).

    Signed with the private key `signer` (text), or the store's own.
    """

    to: str
    recipients: tuple[str, ...]
    signer: str | None = None
    incremental: bool = False

    def __repr__(self) -> str:
        return f"<Backup to {self.to}>"


class Retain(_Order, frozen=True, tag="retain"):
    """Take a snapshot, then drop the log before the newest one that is older than `keep_s` seconds."""

    keep_s: float


class Query(_Order, frozen=True, tag="query"):
    """The rows of one statement that only reads."""

    sql: str


Order = Stats | Check | Verify | Sign | Refusals | Signer | Rotate | Backup | Retain | Query


async def perform(db: zqlite.Store, order: Order) -> dict[str, Any]:
    """Do what is ordered; what there is to tell of it. Raises what the store raises."""
    if isinstance(order, Stats):
        found = await db.run(_count)
        return {"path": str(db.path), "store": db.identity.hex(), "epoch": db.epoch, **found}
    if isinstance(order, Check):
        return await _check(db)
    if isinstance(order, Verify):
        head = None if order.head is None else SignedHead.from_text(order.head)
        verified = await db.verify(head)
        return {
            "since": verified.since,
            "oldest": moment(verified.oldest) if verified.since else None,
            "seq": verified.head.seq,
            "hash": verified.head.hash.hex(),
        }
    if isinstance(order, Sign):
        signed: dict[str, Any] = json.loads((await db.sign_head()).to_text())
        return signed
    if isinstance(order, Refusals):
        return {"refusals": json.loads(await refusals(db))}
    if isinstance(order, Signer):
        use = manifest.USE if order.use == "backups" else heads.USE
        return {"use": order.use, "key": keyfile.text("signer-public", db.signing_key(use).public.data)}
    if isinstance(order, Rotate):
        await (db.rotate_signer() if order.which == "signer" else db.rotate_keys())
        return {"rotated": order.which}
    if isinstance(order, Backup):
        return await _backup(db, order)
    if isinstance(order, Retain):
        return await _retain(db, order.keep_s)
    return await db.run(lambda reader: _query(reader, order.sql))


async def _check(db: zqlite.Store) -> dict[str, Any]:
    for pragma in ("integrity_check", "foreign_key_check"):
        rows = [tuple(row) for row in await db.query(f"PRAGMA {pragma}")]
        if rows not in ([], [("ok",)]):
            raise DatabaseError(f"{db.path} is damaged: {rows[0]}. Restore it from a backup")
    verified = await db.verify()
    return {"path": str(db.path), "since": verified.since, "seq": verified.head.seq}


async def _backup(db: zqlite.Store, order: Backup) -> dict[str, Any]:
    folder = Path(order.to)
    recipients = [keyfile.parse_recipient(text) for text in order.recipients]
    signer = db.signing_key(manifest.USE) if order.signer is None else keyfile.parse_signing_key(order.signer)
    previous = None
    if order.incremental:
        previous = backups.newest(backups.find([folder], signer.public), db.identity)
    made = await db.backup(folder, recipients, signer=signer, previous=previous)
    if made is None:
        return {"made": None}
    return {
        "made": str(made.path),
        "bytes": made.path.stat().st_size,
        "epoch": made.manifest.epoch,
        "since": made.manifest.since,
        "seq": made.manifest.seq,
        "full": not made.manifest.previous,
        "recipients": [sealed.recipient.hex() for sealed in made.manifest.recipients],
    }


async def _retain(db: zqlite.Store, keep_s: float) -> dict[str, Any]:
    """Snapshots stand where the log may begin: what is kept reaches back to the newest that is old enough."""
    until = time.time_ns() - int(keep_s * SECOND)
    taken = await db.snapshot()
    old = await db.query_one("SELECT max(seq) FROM zq_snapshot WHERE ts <= ?", (until,))
    gone = 0 if old is None or old[0] is None else await db.retain(old[0])
    row = await db.query_one(f"SELECT min(ts) FROM zq_snapshot WHERE seq < ({archive.OLDEST})")  # noqa: S608
    oldest = None if row is None or row[0] is None else moment(row[0])
    return {"snapshot": taken.seq, "dropped": gone, "oldest": oldest}


def moment(ts: int) -> str:
    """A time of the log in ISO 8601."""
    return datetime.fromtimestamp(ts / SECOND, UTC).isoformat(timespec="milliseconds")


def _count(reader: zqlite.Reader) -> dict[str, Any]:
    listed = reader.query("SELECT name FROM pragma_table_list WHERE schema = 'main' AND type = 'table' ORDER BY name")
    names = [name for (name,) in listed if name != "change" and not name.startswith(("sqlite_", "zq_"))]
    oldest = reader.value(archive.OLDEST)
    archived = reader.value("SELECT coalesce(sum(last - first + 1), 0) FROM zq_archive")
    return {
        "rows_of_log": reader.value("SELECT count(*) FROM change") + archived,
        "rows_archived": archived,
        "oldest_seq": oldest or 0,
        "newest_seq": reader.value("SELECT max(seq) FROM change") or 0,
        "snapshots": reader.value("SELECT count(DISTINCT seq) FROM zq_snapshot"),
        "free_pages": reader.value("PRAGMA freelist_count"),
        "tables": {name: reader.value(f'SELECT count(*) FROM "{name}"') for name in names},  # noqa: S608
    }


def _query(reader: zqlite.Reader, sql: str) -> dict[str, Any]:
    rows = list(itertools.islice(reader.stream(sql), MOST_ROWS + 1))
    names = rows[0].keys() if rows else ()
    shown = [[_plain(value) for value in row] for row in rows[:MOST_ROWS]]
    return {"columns": list(names), "rows": shown, "more": len(rows) > MOST_ROWS}


def _plain(value: Any) -> Any:
    """A value as JSON has it: bytes as SQL spells them."""
    return f"x'{value.hex()}'" if isinstance(value, bytes) else value
