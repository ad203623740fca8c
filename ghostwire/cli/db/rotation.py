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
  ghostwire db key rotate --passphrase-file next.txt
  ghostwire db key rotate --key-file /etc/ghostwire/store.key
  ghostwire db key rotate signer --json""",
)
@click.argument("which", type=click.Choice(["root", "signer", "columns"]), default="root")
@click.option(
    "--passphrase-file",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    metavar="FILE",
    help="With the next passphrase, for a store that has one.",
)
@click.option(
    "--key-file",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    metavar="FILE",
    help="What systemd loads the key from, for a store whose key is a credential.",
)
@place_options
@json_option
def rotate(
    which: Which, passphrase_file: Path | None, key_file: Path | None, data: Path, config: Path | None, as_json: bool
) -> None:
    """Change a key of the store.

    root: the key in the key file, or the passphrase; every page is encrypted anew, which needs a stopped server and
    room for a copy. What is cut short is finished at the next start or verb; for a credential, by this one.
    signer: the keys that sign heads and commits; what they have signed still verifies. columns: the key of ENCRYPTED
    columns.

    A fresh root key also changes who signs backups: keep the old `ghostwire db signer` for the old ones.
    """
    from ghostwire.server.store.orders import Rotate

    place = Place.of(data, config)
    if which == "root":
        _root(place, passphrase_file, key_file)
    else:
        place.order(Rotate(which=which))
    told = {"rotated": which, "store": str(place.path)}
    after = " Make a full backup, and keep `ghostwire db signer` with its recipient's key." if which == "root" else ""
    screen.show(told, as_json, lambda: f"Changed the {which} key of {place.path}.{after}")


def _root(place: Place, passphrase_file: Path | None, key_file: Path | None) -> None:
    from ghostwire.errors import ValidationError
    from ghostwire.zqlite import rekey

    stores = [path for path in place.stores if path.exists()]
    if place.passphrase is None or place.passphrase_file is None:
        if passphrase_file is not None:
            raise ValidationError("the store has a key and no passphrase: leave --passphrase-file out")
        rekey.rotate(stores, key_file or place.key_file)
        return
    if passphrase_file is None:
        raise ValidationError(
            f"the key follows from the passphrase in {place.passphrase_file}: name a file with the next one "
            "(--passphrase-file)"
        )
    fresh = passphrase_file.read_text(encoding="utf-8").rstrip("\r\n")
    rekey.rotate_passphrase(stores, place.passphrase_file, place.passphrase, fresh)
