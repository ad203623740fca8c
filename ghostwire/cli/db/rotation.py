"""`ghostwire db key rotate`."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Literal

import click

from ghostwire.cli import screen
from ghostwire.cli.db.place import Place, place_options
from ghostwire.cli.options import json_option

Which = Literal["root", "signer", "columns"]


@click.group("key")
def key() -> None:
    """Change the store's keys."""


@key.command(
    "rotate",
    epilog="""\b
Examples:
  ghostwire db key rotate
  ghostwire db key rotate signer --json""",
)
@click.argument("which", type=click.Choice(["root", "signer", "columns"]), default="root")
@place_options
@json_option
def rotate(which: Which, data: Path, config: Path | None, as_json: bool) -> None:
    """Change a key of the store. The server must be stopped.

    root: the key in the key file; every page is encrypted anew, which needs room for a copy of each store. signer: the
    keys that sign heads and commits; what they have signed still verifies. columns: the key of ENCRYPTED columns.

    A fresh root key also changes who signs backups: keep the old `ghostwire db signer` for the old ones.
    """
    place = Place.of(data, config)
    if which == "root":
        _root(place)
    else:
        asyncio.run(_inner(place, which))
    told = {"rotated": which, "store": str(place.path)}
    after = " Make a full backup, and keep `ghostwire db signer` with its recipient's key." if which == "root" else ""
    screen.show(told, as_json, lambda: f"Changed the {which} key of {place.path}.{after}")


def _root(place: Place) -> None:
    from ghostwire.errors import ValidationError
    from ghostwire.zqlite import rekey

    if place.passphrase is not None:
        raise ValidationError(
            "the key follows from a passphrase: restore a backup into a folder that has another one "
            "(database.passphrase_file)"
        )
    rekey.rotate([path for path in place.stores if path.exists()], place.key_file)


async def _inner(place: Place, which: Which) -> None:
    async with place.open() as db:
        await (db.rotate_signer() if which == "signer" else db.rotate_keys())
