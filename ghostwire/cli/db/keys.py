"""`ghostwire db keygen | signer`."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import click

from ghostwire.cli import screen
from ghostwire.cli.db.place import Place, place_options
from ghostwire.cli.options import json_option


@click.command(
    "keygen",
    epilog="""\b
Examples:
  ghostwire db keygen recipient --out alice
  ghostwire db keygen signer --out signer --json
  ghostwire db keygen link --out standby""",
)
@click.argument("kind", type=click.Choice(["recipient", "signer", "link"]))
@click.option(
    "--out", required=True, type=click.Path(path_type=Path), metavar="NAME", help="Writes NAME.key and NAME.pub."
)
@json_option
def keygen(kind: Literal["recipient", "signer", "link"], out: Path, as_json: bool) -> None:
    """Make the keys of a backup's recipient or signer, or of a link.

    A link has two ends: a server's and its standby's. Keep the private key of a recipient away from the server.
    """
    from ghostwire.zqlite import Identity, SigningKey, keyfile
    from ghostwire.zqlite.replica import link

    private, public = Path(f"{out}.key"), Path(f"{out}.pub")
    if kind == "link":
        fingerprint = link.write(out, out.name)
    elif kind == "recipient":
        identity, seed = Identity.generate()
        keyfile.write(private, "recipient-private", seed)
        keyfile.write(public, "recipient-public", identity.public.data)
        fingerprint = identity.public.fingerprint
    else:
        signer, seed = SigningKey.generate()
        keyfile.write(private, "signer-private", seed)
        keyfile.write(public, "signer-public", signer.public.data)
        fingerprint = signer.public.fingerprint
    told = {"private": str(private), "public": str(public), "fingerprint": fingerprint.hex()}
    screen.show(told, as_json, lambda: f"{public} may be given to anyone; {private} is the secret. Keep a copy of it.")


@click.command("signer", epilog="\b\nExample:\n  ghostwire db signer >signer.pub")
@click.option("--use", type=click.Choice(["backups", "heads"]), default="backups", show_default=True, help="Which key.")
@place_options
@json_option
def signer(use: Literal["backups", "heads"], data: Path, config: Path | None, as_json: bool) -> None:
    """Print the public key that the store signs with. A restore on another machine needs it."""
    from ghostwire.server.store.orders import Signer

    told = Place.of(data, config).order(Signer(use=use))
    screen.show(told, as_json, lambda: str(told["key"]))
