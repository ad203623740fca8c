"""`ghostwire db`."""

from __future__ import annotations

import click

from ghostwire.cli.db import backups, keys, rotation, standby, state


@click.group("db")
def command() -> None:
    """Back up, restore and check the coordinator's store.

    A running server performs what it is asked for over its socket; without one, the verb opens the file itself.
    """


for verb in (
    *(backups.backup, backups.restore, backups.verify, backups.refusals),
    *(keys.keygen, keys.signer, state.stats, state.check, state.retain, state.shell),
    *(standby.replicate, standby.promote, rotation.key),
):
    command.add_command(verb)
