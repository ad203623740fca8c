"""`ghostwire db stats | check`."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ghostwire.cli import screen
from ghostwire.cli.db.place import Place, place_options
from ghostwire.cli.options import json_option

if TYPE_CHECKING:
    from ghostwire.zqlite import Reader


@click.command("stats", epilog="\b\nExamples:\n  ghostwire db stats\n  ghostwire db stats --json")
@place_options
@json_option
def stats(data: Path, config: Path | None, as_json: bool) -> None:
    """Show the size of the store, its log and its tables. The server must be stopped."""
    place = Place.of(data, config)

    async def read() -> dict[str, Any]:
        async with place.open() as db:
            found = await db.run(_count)
            return {"store": db.identity.hex(), "epoch": db.epoch, **found}

    told = {"path": str(place.path), **asyncio.run(read()), "bytes": place.path.stat().st_size}
    tables = told["tables"]
    fields = [(name, value) for name, value in told.items() if name != "tables"]
    screen.show(
        told,
        as_json,
        lambda: f"{screen.fields(fields)}\n\n{screen.columns(('table', 'rows'), tables.items(), 'No table yet.')}",
    )


@click.command("check", epilog="\b\nExamples:\n  ghostwire db check\n  ghostwire db check --json")
@place_options
@json_option
def check(data: Path, config: Path | None, as_json: bool) -> None:
    """Check the store's pages, references and log, and that its tables are what the log says. Stop the server first."""
    from ghostwire.errors import DatabaseError

    place = Place.of(data, config)

    async def read() -> dict[str, Any]:
        async with place.open() as db:
            for pragma in ("integrity_check", "foreign_key_check"):
                rows = [tuple(row) for row in await db.query(f"PRAGMA {pragma}")]
                if rows not in ([], [("ok",)]):
                    raise DatabaseError(f"{place.path} is damaged: {rows[0]}. Restore it from a backup")
            verified = await db.verify()
            return {"path": str(place.path), "since": verified.since, "seq": verified.head.seq}

    told = asyncio.run(read())
    screen.show(told, as_json, lambda: f"{screen.good('Sound')}: {place.path}, {told['seq']} rows of the log checked.")


def _count(reader: Reader) -> dict[str, Any]:
    listed = reader.query("SELECT name FROM pragma_table_list WHERE schema = 'main' AND type = 'table' ORDER BY name")
    names = [name for (name,) in listed if name != "change" and not name.startswith(("sqlite_", "zq_"))]
    oldest = reader.value("SELECT min(seq) FROM change")
    return {
        "rows_of_log": reader.value("SELECT count(*) FROM change"),
        "oldest_seq": oldest or 0,
        "newest_seq": reader.value("SELECT max(seq) FROM change") or 0,
        "snapshots": reader.value("SELECT count(DISTINCT seq) FROM zq_snapshot"),
        "free_pages": reader.value("PRAGMA freelist_count"),
        "tables": {name: reader.value(f'SELECT count(*) FROM "{name}"') for name in names},  # noqa: S608
    }
