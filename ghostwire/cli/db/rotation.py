"""`ghostwire db key rotate`."""

from __future__ import annotations

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
    """Change a key of the store.

    root: the key in the key file; every page is encrypted anew, which needs a stopped server and room for a copy.
    signer: the keys that sign heads and commits; what they have signed still verifies. columns: the key of ENCRYPTED
    columns.

    A fresh root key also changes who signs backups: keep the old `ghostwire db signer` for the old ones.
    """
    from ghostwire.server.store.orders import Rotate

    place = Place.of(data, config)
    if which == "root":
        _root(place)
    else:
        place.order(Rotate(which=which))
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
