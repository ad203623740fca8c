"""ZQLite: an embedded, always encrypted asyncio database whose every write is one row of a chained change log.

db = await zqlite.open("app.db", key=zqlite.keyring.load_or_create("app.key"))
await db.execute("CREATE TABLE note(id INTEGER PRIMARY KEY, text TEXT)")
await db.execute("INSERT INTO note(text) VALUES (?)", ("hello",))
with db.read() as r:
    rows = r.query("SELECT * FROM note")
async for change in db.changes(0): ...
await db.close()
"""

from __future__ import annotations

from ghostwire.model.change import ChangeRecord
from ghostwire.zqlite import backup, changelog, fence, heads, keyring, migrate, replica, series
from ghostwire.zqlite.changelog import Event, Head, RowImage
from ghostwire.zqlite.composite import SigningKey, VerifyingKey
from ghostwire.zqlite.heads import SignedHead
from ghostwire.zqlite.history import Past, Verified
from ghostwire.zqlite.migrate import Migration
from ghostwire.zqlite.opening import open
from ghostwire.zqlite.operation import Committed, Operation, Result, Statement
from ghostwire.zqlite.reader import Reader
from ghostwire.zqlite.rebuild import Rebuild
from ghostwire.zqlite.replica import Link, Replica, open_replica
from ghostwire.zqlite.rows import Row, into
from ghostwire.zqlite.seal import Identity, Recipient
from ghostwire.zqlite.store import Store
from ghostwire.zqlite.transaction import Transaction
from ghostwire.zqlite.watch import Seen

__all__ = [
    "ChangeRecord",
    "Committed",
    "Event",
    "Head",
    "Identity",
    "Link",
    "Migration",
    "Operation",
    "Past",
    "Reader",
    "Rebuild",
    "Recipient",
    "Replica",
    "Result",
    "Row",
    "RowImage",
    "Seen",
    "SignedHead",
    "SigningKey",
    "Statement",
    "Store",
    "Transaction",
    "Verified",
    "VerifyingKey",
    "backup",
    "changelog",
    "fence",
    "heads",
    "into",
    "keyring",
    "migrate",
    "open",
    "open_replica",
    "rebuild",
    "replica",
    "series",
]
