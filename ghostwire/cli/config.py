"""`ghostwire config`."""

from __future__ import annotations

import os
from pathlib import Path

import click

from ghostwire.cli.options import data_option, json_option


@click.group("config")
def command() -> None:
    """Show the configuration and where it comes from."""


@command.command(
    "show",
    epilog="""\b
Examples:
  ghostwire config show
  ghostwire config show --explain
  ghostwire config show --example >/etc/ghostwire/ghostwire.yaml""",
)
@data_option("server")
@click.option("--config", "file", type=click.Path(path_type=Path), metavar="FILE", help="Read this file.")
@click.option("--explain", is_flag=True, help="Say where each value comes from and what it means.")
@click.option("--example", is_flag=True, help="Print a file with every key and its default instead.")
@json_option
def show(data: Path, file: Path | None, explain: bool, example: bool, as_json: bool) -> None:
    """Show the configuration that `serve` would use. Secrets are in files of their own and never shown."""
    from ghostwire.cli import screen
    from ghostwire.server.config import explain as explaining
    from ghostwire.server.config.load import find_file, load

    if example:
        text = explaining.example_file()
        screen.show(text, as_json, text.rstrip)
        return
    loaded = load(find_file(file, data), os.environ, {})
    if explain:
        entries = explaining.explained(loaded)
        rows = [(e["key"], _spell(e["value"]), e["source"], e["meaning"]) for e in entries]
        screen.show(entries, as_json, lambda: screen.columns(("key", "value", "from", "meaning"), rows, ""))
    else:
        screen.show(explaining.values(loaded), as_json, lambda: explaining.as_yaml(loaded))


def _spell(value: object) -> str:
    if isinstance(value, list):
        return ", ".join(map(str, value)) or "-"
    if isinstance(value, bool):
        return "true" if value else "false"
    return "-" if value is None else str(value)
