"""`ghostwire audit`."""

from __future__ import annotations

import json
from pathlib import Path

import click

from ghostwire.cli import screen
from ghostwire.cli.db.place import Place, place_options
from ghostwire.cli.options import json_option


@click.group("audit")
def command() -> None:
    """Check that the history was not tampered with."""


@command.command(
    "verify",
    epilog="""\b
Examples:
  ghostwire audit verify
  ghostwire audit verify --head head.json --json""",
)
@click.option(
    "--head",
    "head_file",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    metavar="FILE",
    help="A signed head that was kept elsewhere (`audit head`).",
)
@place_options
@json_option
def verify(head_file: Path | None, data: Path, config: Path | None, as_json: bool) -> None:
    """Check the whole change log, and that the tables are what it says.

    It finds changed, dropped, reordered and inserted events. With --head it also finds a log that was cut off behind
    that head, or rewritten; without one, a log whose newest events are gone looks like a shorter one.
    """
    from ghostwire.server.store.orders import Verify
    from ghostwire.zqlite import SignedHead

    signed = SignedHead.load(head_file) if head_file else None
    found = Place.of(data, config).order(Verify(head=None if signed is None else signed.to_text()))
    told = {**found, "head": signed is not None}
    against = f", the head for event {signed.head.seq} included" if signed else "; no head was given"
    behind = f" from event {found['since'] + 1} ({found['oldest']}) on," if found["since"] else ""
    screen.show(told, as_json, lambda: f"{screen.good('Verified')}{behind} up to event {found['seq']}{against}.")


@command.command(
    "head",
    epilog="""\b
Examples:
  ghostwire audit head --out head.json
  ghostwire audit head --json >head.json""",
)
@click.option("--out", type=click.Path(path_type=Path, dir_okay=False), metavar="FILE", help="Write it there.")
@place_options
@json_option
def head(out: Path | None, data: Path, config: Path | None, as_json: bool) -> None:
    """Sign the newest event of the log. Keep the head where the server's owner cannot change it."""
    from ghostwire.server.store.orders import Sign
    from ghostwire.zqlite import SignedHead

    told = Place.of(data, config).order(Sign())
    signed = SignedHead.from_text(json.dumps(told))
    if out is not None:
        signed.save(out)
    where = f"in {out}" if out else f"\n{signed.to_text()}"
    screen.show(told, as_json, lambda: f"Signed the head for event {signed.head.seq}: {where}")
