"""`ghostwire db stats | check | shell`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click

from ghostwire.cli import screen
from ghostwire.cli.db.place import Place, place_options
from ghostwire.cli.duration import DURATION
from ghostwire.cli.options import json_option


@click.command("stats", epilog="\b\nExamples:\n  ghostwire db stats\n  ghostwire db stats --json")
@place_options
@json_option
def stats(data: Path, config: Path | None, as_json: bool) -> None:
    """Show the size of the store, its log and its tables."""
    from ghostwire.server.store.orders import Stats

    place = Place.of(data, config)
    told = {**place.order(Stats()), "bytes": place.path.stat().st_size}
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
    """Check the store's pages, references, log and tables."""
    from ghostwire.server.store.orders import Check

    told = Place.of(data, config).order(Check())
    where = told["path"]
    screen.show(told, as_json, lambda: f"{screen.good('Sound')}: {where}, {told['seq']} rows of the log checked.")


@click.command("retain", epilog="\b\nExample:\n  ghostwire db retain --keep 90d")
@click.option(
    "--keep", required=True, type=DURATION, metavar="TIME", help="How far back the log is to reach, as in 90d."
)
@place_options
@json_option
def retain(keep: float, data: Path, config: Path | None, as_json: bool) -> None:
    """Take a snapshot, and drop the log from before TIME.

    What goes is the log before the newest snapshot that is old enough. Run it at regular intervals: the log can begin
    where a snapshot was taken only. What was before is gone from the store: `audit verify` and views of the past then
    begin there, and say so. Backups that were made stay whole.
    """
    from ghostwire.server.store.orders import Retain

    told = Place.of(data, config).order(Retain(keep_s=keep))
    reach = f"reaches back to {told['oldest']}" if told["oldest"] else "is whole"
    screen.show(told, as_json, lambda: f"Took a snapshot; {told['dropped']} rows dropped. The log {reach}.")


@click.command(
    "shell",
    epilog="""\b
Examples:
  ghostwire db shell
  ghostwire db shell -c "SELECT name, role FROM users" --json""",
)
@click.option("-c", "--command", "sql", metavar="SQL", help="Run this one statement.")
@place_options
@json_option
def shell(sql: str | None, data: Path, config: Path | None, as_json: bool) -> None:
    """Read the store by SQL: one statement, or those that are typed.

    Each is one line. Nothing can be written. Keys and tokens are in it as MACs only; other secrets of the server are
    not hidden from who may do this.
    """
    place = Place.of(data, config)
    if sql is not None:
        _query(place, sql, as_json)
        return
    for line in _lines():
        _query_on(place, line, as_json)


def _query(place: Place, sql: str, as_json: bool) -> None:
    from ghostwire.server.store.orders import MOST_ROWS, Query

    found = place.order(Query(sql=sql))
    rows: list[list[Any]] = [["" if cell is None else cell for cell in row] for row in found["rows"]]
    screen.show(found, as_json, lambda: screen.columns(found["columns"], rows, "No row."))
    if found["more"]:
        screen.note(f"These are the first {MOST_ROWS} rows; there are more. Add LIMIT and OFFSET.")


def _query_on(place: Place, line: str, as_json: bool) -> None:
    """As `_query`, but a person who mistypes goes on."""
    from ghostwire.errors import ValidationError

    try:
        _query(place, line, as_json)
    except ValidationError as error:
        if not sys.stdin.isatty():
            raise
        screen.note(error.message)


def _lines() -> Any:
    """Statements as they are typed, until the end of the input; a prompt for a person."""
    asking = sys.stdin.isatty()
    while True:
        if asking:
            click.echo("> ", nl=False, err=True)
        line = sys.stdin.readline()
        if not line:
            return
        if line.strip():
            yield line.strip()
