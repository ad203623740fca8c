"""`ghostwire logs`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from ghostwire.cli.options import data_option, json_option


@click.command("logs", epilog="\b\nExamples:\n  ghostwire logs\n  ghostwire logs -n 20\n  ghostwire logs --follow")
@data_option("agent")
@click.option("-n", "--last", type=click.IntRange(0), help="Only the last lines.")
@click.option("-f", "--follow", is_flag=True, help="Go on with each new line until interrupted.")
@json_option
def command(data: Path, last: int | None, follow: bool, as_json: bool) -> None:
    """Show the agent's log: the last thousand lines since it was started."""
    from ghostwire.agent.io.asking import ask, stream

    if follow:
        for line in stream(data, "logs", follow=True):
            click.echo(json.dumps(line) if as_json else spell(line))
        return
    lines = ask(data, "logs", last=last)
    if as_json:
        click.echo(json.dumps(lines))
        return
    for line in lines:
        click.echo(spell(line))


def spell(line: dict[str, Any]) -> str:
    """One line of the log."""
    return f"{line['time']} {line['level']} {line['message']}"
