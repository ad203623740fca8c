"""`ghostwire db replicate | promote`."""

from __future__ import annotations

import asyncio
import os
import signal
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ghostwire.cli import screen
from ghostwire.cli.db.place import Place, place_options
from ghostwire.cli.options import json_option

if TYPE_CHECKING:
    from ghostwire.errors import GhostwireError
    from ghostwire.zqlite import Link, Replica

FILE = click.Path(path_type=Path, exists=True, dir_okay=False)
IDENTITY = click.option("--identity", type=FILE, metavar="F", help="This end's private key (`db keygen link`).")
PEER = click.option("--peer", type=FILE, metavar="F", help="The other end's certificate.")


@click.command(
    "replicate",
    epilog="""\b
Examples:
  ghostwire db replicate --from tls://gw1:7443 --identity standby.key --peer primary.pub
  ghostwire db replicate --from tls://gw1:7443 --identity standby.key --peer primary.pub --once --json""",
)
@click.option(
    "--from", "primary", required=True, metavar="URL", help="The server's replication address, tls://HOST:PORT."
)
@IDENTITY
@PEER
@click.option("--once", is_flag=True, help="Take over what there is now, and end.")
@place_options
@json_option
def replicate(
    primary: str,
    identity: Path | None,
    peer: Path | None,
    once: bool,
    data: Path,
    config: Path | None,
    as_json: bool,
) -> None:
    """Keep a copy of a server's store up to date on this machine.

    It follows through restarts of both. To take over, stop it, run `ghostwire db promote`, then start the server here.
    """
    place, link = Place.of(data, config), _link(identity, peer)

    async def follow() -> None:
        from ghostwire.zqlite import open_replica

        data.mkdir(mode=0o700, parents=True, exist_ok=True)  # noqa: ASYNC240 (nothing else runs here)
        async with await open_replica(
            place.path, primary=primary, link=link, key=place.key(create=True), passphrase=place.passphrase
        ) as standby:
            seq = await standby.sync()
            told = {"store": str(place.path), "primary": primary, "epoch": standby.epoch, "seq": seq}
            where = f"{place.path} holds all that {primary} has, up to event {seq}"
            screen.show(told, as_json, lambda: where if once else f"{where}, and follows it.")
            if not once:
                await _until_stopped(standby)

    asyncio.run(follow())


@click.command(
    "promote",
    epilog="""\b
Examples:
  ghostwire db promote --identity standby.key --peer primary.pub
  ghostwire db promote --alone --json""",
)
@IDENTITY
@PEER
@click.option("--alone", is_flag=True, help="Without the old server, which is gone for good.")
@place_options
@json_option
def promote(
    identity: Path | None, peer: Path | None, alone: bool, data: Path, config: Path | None, as_json: bool
) -> None:
    """Make this copy of the store the one that counts.

    The old server is asked to stop writing first, and nothing is lost. With --alone what it had not yet sent is lost;
    should it come back, it stops as soon as it hears of this copy. An older copy (--alone) also forgets all tokens and
    pre-auth keys, as after a restore.
    """
    place = Place.of(data, config)
    epoch = asyncio.run(_alone(place) if alone else _with_primary(place, _link(identity, peer)))
    told = {"store": str(place.path), "epoch": epoch}
    screen.show(
        told, as_json, lambda: f"{place.path} is the store that counts, in epoch {epoch}: start the server here."
    )


async def _with_primary(place: Place, link: Link) -> int:
    from ghostwire.errors import ConflictError
    from ghostwire.zqlite import fence, open_replica

    async with place.open() as db:
        primary = await db.run(lambda reader: fence.primary(reader))
    if primary is None:
        raise ConflictError(
            f"{place.path} is no standby's copy: a store that is fenced is gone on from with --alone, any other needs "
            "no promotion"
        )
    async with await open_replica(
        place.path, primary=primary, link=link, key=place.key(), passphrase=place.passphrase
    ) as standby:
        return await standby.promote()


async def _alone(place: Place) -> int:
    from ghostwire.errors import ConflictError
    from ghostwire.server.store.restored import void
    from ghostwire.zqlite import fence

    async with place.open() as db:
        if db.fenced is None:
            raise ConflictError(f"{place.path} is the store that counts already: start the server")
        standby = await db.run(lambda reader: fence.primary(reader)) is not None
        epoch = await db.promote()
        if not standby:
            await void(db, (), f"admin:unix:{os.geteuid()}")
        return epoch


async def _until_stopped(standby: Replica) -> None:
    stopped = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stopped.set)
    standby.failed = _report
    standby.follow()
    await stopped.wait()


def _report(error: GhostwireError) -> None:
    click.echo(f"ghostwire: {error.message}; trying again", err=True)


def _link(identity: Path | None, peer: Path | None) -> Link:
    from ghostwire.zqlite import Link

    if identity is None or peer is None:
        raise click.UsageError(
            "name both ends of the link: --identity (this one's key), --peer (the other's certificate)."
        )
    return Link(identity, (peer,))
