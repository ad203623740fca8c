"""`ghostwire db`."""

from __future__ import annotations

import click

from ghostwire.cli.db import backups, keys, rotation, standby, state


@click.group("db")
def command() -> None:
    """Back up, restore and check the coordinator's store.

    These verbs open the store's file themselves: stop the server first. Only the verbs on backups and keys do not touch
    a store.
    """


for verb in (
    *(backups.backup, backups.restore, backups.verify, backups.refusals),
    *(keys.keygen, keys.signer, state.stats, state.check),
    *(standby.replicate, standby.promote, rotation.key),
):
    command.add_command(verb)
