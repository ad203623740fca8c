"""`ghostwire db backup | restore | verify | refusals`."""

from __future__ import annotations

import asyncio
import os
import secrets
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ghostwire.cli import screen
from ghostwire.cli.db.place import Place, place_options
from ghostwire.cli.options import json_option

if TYPE_CHECKING:
    from ghostwire.zqlite import VerifyingKey
    from ghostwire.zqlite.backup import Restored

FILE = click.Path(path_type=Path, exists=True, dir_okay=False)
BACKUPS = click.argument("backups", nargs=-1, required=True, type=click.Path(path_type=Path, exists=True))
IDENTITY = click.option(
    "--identity", required=True, type=FILE, metavar="F", help="The recipient's private key (`db keygen`)."
)
SIGNER = click.option(
    "--signer",
    type=FILE,
    metavar="F",
    help="The signer's public key [default: that of the store's key].",
)


@click.command(
    "backup",
    epilog="""\b
Examples:
  ghostwire db backup --to /backups --recipient alice.pub
  ghostwire db backup --to /backups --recipient alice.pub --recipient bob.pub --incremental --json""",
)
@click.option("--to", required=True, type=click.Path(path_type=Path, file_okay=False), metavar="DIR", help="Where to.")
@click.option(
    "--recipient", "recipients", required=True, multiple=True, type=FILE, metavar="F", help="Who may open it."
)
@click.option("--signer", type=FILE, metavar="F", help="Sign with this private key [default: that of the store's key].")
@click.option("--incremental", is_flag=True, help="Only what came since the newest backup in DIR.")
@place_options
@json_option
def backup(
    to: Path,
    recipients: tuple[Path, ...],
    signer: Path | None,
    incremental: bool,
    data: Path,
    config: Path | None,
    as_json: bool,
) -> None:
    """Write a backup that only its recipients can open. A running server makes it while it works."""
    from ghostwire.server.store.orders import Backup
    from ghostwire.zqlite import keyfile

    order = Backup(
        to=str(to.absolute()),
        recipients=tuple(keyfile.read(file) for file in recipients),
        signer=keyfile.read(signer, private=True) if signer else None,
        incremental=incremental,
    )
    told = Place.of(data, config).order(order)
    if told["made"] is None:
        screen.show(told, as_json, lambda: f"Nothing has changed since the newest backup in {to}.")
        return
    kind = "a full" if told["full"] else "an incremental"
    screen.show(told, as_json, lambda: f"Made {kind} backup up to row {told['seq']}: {told['made']}")


@click.command(
    "verify",
    epilog="""\b
Examples:
  ghostwire db verify /backups --identity alice.key
  ghostwire db verify /backups --identity alice.key --signer signer.pub --json""",
)
@BACKUPS
@IDENTITY
@SIGNER
@place_options
@json_option
def verify(
    backups: tuple[Path, ...], identity: Path, signer: Path | None, data: Path, config: Path | None, as_json: bool
) -> None:
    """Check BACKUPS by restoring them into memory.

    What comes of them is compared with what was backed up. They are files or folders. No store is touched.
    """
    from ghostwire.zqlite import backup, keyfile

    found = backup.find(backups, _signer(signer, data, config))
    _report(backup.verify(found, keyfile.identity(identity)), "Verified", as_json, {})


@click.command(
    "restore",
    epilog="""\b
Examples:
  ghostwire db restore /backups --identity alice.key --signer signer.pub
  ghostwire db restore /backups --identity alice.key --data /srv/ghostwire --refusals refused.json""",
)
@BACKUPS
@IDENTITY
@SIGNER
@click.option("--refusals", type=FILE, metavar="F", help="The newest list of refused keys (`db refusals`).")
@click.option("--above", type=click.IntRange(min=0), default=0, metavar="N", help="Open an epoch above this one too.")
@place_options
@json_option
def restore(
    backups: tuple[Path, ...],
    identity: Path,
    signer: Path | None,
    refusals: Path | None,
    above: int,
    data: Path,
    config: Path | None,
    as_json: bool,
) -> None:
    """Restore BACKUPS into the data folder.

    They are files or folders. The data folder must hold no store.

    Tokens and pre-auth keys of the backup's time are void afterwards: nodes come back with their own keys, operators
    make new tokens on the server's machine. Keys that were refused since the backup are refused again only with
    --refusals. The store's key is made when it is missing; TLS files, configuration and history are not in a backup.
    """
    from ghostwire.server.store.restored import read_refusals, void
    from ghostwire.zqlite import backup, keyfile

    place = Place.of(data, config)
    found = backup.find(backups, _signer(signer, data, config))
    refused = read_refusals(refusals.read_bytes()) if refusals else []
    if place.path.exists():
        _refuse(place.path)
    # The name comes last: a store that still knows old tokens is never at the server's path.
    draft = place.path.with_name(f".{place.path.name}.{secrets.token_hex(8)}.restoring")

    async def cleanse() -> None:
        async with place.open(draft) as db:
            await void(db, refused, f"admin:unix:{os.geteuid()}")

    try:
        restored = backup.restore(found, keyfile.identity(identity), draft, place.locate, above)
        asyncio.run(cleanse())
        try:
            os.link(draft, place.path)
        except FileExistsError:
            _refuse(place.path)
    finally:
        for suffix in ("", "-wal", "-shm"):
            Path(f"{draft}{suffix}").unlink(missing_ok=True)
    _report(restored, "Restored", as_json, {"store": str(place.path), "refused": len(refused)})


@click.command(
    "refusals",
    epilog="\b\nExample:\n  ghostwire db refusals --json >refused.json",
)
@place_options
@json_option
def refusals(data: Path, config: Path | None, as_json: bool) -> None:
    """Print the list of refused node keys, for a later restore."""
    from ghostwire.server.store.orders import Refusals

    found = Place.of(data, config).order(Refusals())["refusals"]
    rows = [(each["node_key"][:16], each["reason"]) for each in found]
    screen.show(found, as_json, lambda: screen.columns(("node key", "reason"), rows, "No key is refused."))


def _signer(file: Path | None, data: Path, config: Path | None) -> VerifyingKey:
    """The public key of who signs: the file's, else that of the store's key, never one from the backup."""
    from ghostwire.errors import NotFoundError, ValidationError
    from ghostwire.zqlite import SigningKey, keyfile, keyring
    from ghostwire.zqlite.backup.manifest import USE

    if file is not None:
        return keyfile.verifying_key(file)
    try:
        root = Place.of(data, config).key()
    except NotFoundError as error:
        raise NotFoundError(f"{error.message}, or give the signer's public key with --signer") from error
    if root is None:
        raise ValidationError("the store has a passphrase: give the signer's public key with --signer")
    return SigningKey(keyring.signing_seed(keyring.signing_key(root), USE)).public


def _refuse(path: Path) -> None:
    from ghostwire.errors import ConflictError

    raise ConflictError(f"{path} exists: a restore never writes over a store. Move it away first")


def _report(restored: Restored, what: str, as_json: bool, more: dict[str, Any]) -> None:
    told = {
        "network": restored.network.hex(),
        "epoch": restored.epoch,
        "seq": restored.head.seq,
        "hash": restored.head.hash.hex(),
        "backups": restored.segments,
        "compared": restored.tables,
        **more,
    }
    screen.show(
        told,
        as_json,
        lambda: (
            f"{screen.good(what)} {restored.segments} backup{'s' * (restored.segments != 1)} "
            f"up to row {restored.head.seq}, epoch {restored.epoch}; "
            f"{restored.tables} tables and definitions are what they were."
        ),
    )
