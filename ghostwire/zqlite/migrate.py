"""Schema changes over time: numbered, checksummed, forward only, each in one transaction."""

from __future__ import annotations

import os
import tempfile
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from ghostwire._native import token
from ghostwire.errors import DatabaseError, ValidationError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ghostwire.zqlite.store import Store

_TABLE: Final = (
    "CREATE TABLE IF NOT EXISTS zq_migration(number INTEGER PRIMARY KEY, name TEXT NOT NULL, checksum BLOB NOT NULL)"
)


@dataclass(frozen=True, slots=True)
class Migration:
    """One step. Numbers start at 1 and leave no gap; `sql` may be several statements, without BEGIN or COMMIT."""

    number: int
    name: str
    sql: str

    @property
    def checksum(self) -> bytes:
        """BLAKE3 of the text: a step that was applied once may never change."""
        return token.blake3(self.sql.encode())


async def pending(db: Store, migrations: Sequence[Migration]) -> list[Migration]:
    """The steps that `apply` would run. Raises what it raises; changes nothing.

    Raises ValidationError for numbers with gaps, DatabaseError when an applied step was edited or the store has steps
    that this release does not know.
    """
    if [step.number for step in migrations] != list(range(1, len(migrations) + 1)):
        raise ValidationError("migrations are numbered 1, 2, 3 ... in order, without a gap")
    exists = await db.query_one("SELECT 1 FROM sqlite_schema WHERE type = 'table' AND name = 'zq_migration'")
    applied = await db.query("SELECT number, name, checksum FROM zq_migration ORDER BY number") if exists else []
    if len(applied) > len(migrations):
        newest = applied[-1]
        raise DatabaseError(
            f"{db.path} has migration {newest['number']} ({newest['name']}), this release knows {len(migrations)}: "
            "upgrade it, or restore a backup from before"
        )
    for row, step in zip(applied, migrations, strict=False):
        if row["number"] != step.number or row["checksum"] != step.checksum:
            raise DatabaseError(
                f"migration {step.number} ({step.name}) is not the one that {db.path} was migrated with "
                f"({row['name']}): put the original text back and add a new step instead"
            )
    return list(migrations[len(applied) :])


async def rehearse(
    db: Store, migrations: Sequence[Migration], directory: str | os.PathLike[str] | None = None
) -> list[tuple[Migration, float]]:
    """Run the pending steps on a copy that is then deleted; the steps and the seconds each took. `db` stays as it is.

    The copy, of the store's size and under its key, is made in `directory`, or where temporary files are. Raises what
    `apply` raises, and DatabaseError where the outcome is not what its log says.
    """
    taken: list[tuple[Migration, float]] = []
    with tempfile.TemporaryDirectory(dir=directory) as folder:
        async with await db.copy(os.path.join(folder, "rehearsal.db")) as copy:  # noqa: PTH118 (no file is asked for)
            for step in await pending(copy, migrations):
                started = time.perf_counter()
                await apply(copy, migrations[: step.number])
                taken.append((step, time.perf_counter() - started))
            await copy.verify()
    return taken


async def apply(db: Store, migrations: Sequence[Migration]) -> list[Migration]:
    """Bring the store up to date; the steps that were run. Raises what `pending` raises, before anything changes.

    A step that fails leaves nothing of itself; those before it stay.
    """
    steps = await pending(db, migrations)
    for step in steps:
        async with db.transaction(kind="migration", actor=f"{step.number}-{step.name}") as tx:
            await tx.own(_TABLE)
            await tx.execute(step.sql)
            await tx.own("INSERT INTO zq_migration VALUES (?, ?, ?)", (step.number, step.name, step.checksum))
    return steps
