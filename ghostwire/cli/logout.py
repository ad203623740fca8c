"""`ghostwire logout`."""

from __future__ import annotations

from pathlib import Path

import click

from ghostwire.cli import screen
from ghostwire.cli.options import data_option, json_option


@click.command("logout", epilog="\b\nExamples:\n  ghostwire logout\n  ghostwire logout --force")
@data_option("agent")
@click.option("--force", is_flag=True, help="Forget the keys here even where the coordinator can't be told.")
@json_option
def command(data: Path, force: bool, as_json: bool) -> None:
    """Remove this machine from the mesh: the coordinator deletes the node, and every key here is forgotten.

    The node's key is refused for ever; to come back, join with a new pre-auth key. With --force and without a
    coordinator the node stays there until somebody deletes it.
    """
    from ghostwire.agent.io.asking import ask, is_running
    from ghostwire.agent.io.leave import forget, leave
    from ghostwire.cli.down import wait_until_gone
    from ghostwire.errors import GhostwireError

    running = is_running(data)
    told = True
    try:
        if running:
            ask(data, "logout")
        else:
            leave(data)
    except GhostwireError as error:
        if not force:
            raise
        told = False
        screen.note(f"the coordinator was not told: {error.message}")
        if running and is_running(data):
            ask(data, "down")
    if running:
        wait_until_gone(data)
    if not told:
        forget(data)
    text = "This machine has left the mesh; its keys are forgotten."
    screen.show({"removed": told, "forgotten": True}, as_json, lambda: text)
