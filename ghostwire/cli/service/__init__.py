"""`ghostwire service`: systemd units."""

from __future__ import annotations

import os
from pathlib import Path

import click

from ghostwire.cli.options import json_option

SYSTEM_UNITS = Path("/etc/systemd/system")


@click.group("service")
def command() -> None:
    """Install systemd units."""


@command.command(
    "install",
    epilog="""\b
Examples:
  ghostwire service install serve
  ghostwire service install up
  ghostwire service install serve --print -- --listen 127.0.0.1:8443 --behind-proxy""",
)
@click.argument("verb", type=click.Choice(["serve", "up"]))
@click.argument("arguments", nargs=-1)
@click.option(
    "--data",
    "--state",
    "data",
    type=click.Path(path_type=Path, file_okay=False),
    metavar="DIR",
    help="Its folder [default: /var/lib/ghostwire/server or agent].",
)
@click.option("--user", metavar="USER", help="The user that runs it [default: root; without root: yourself].")
@click.option("--print", "only_print", is_flag=True, help="Print the unit and install nothing.")
@json_option
def install(
    verb: str, arguments: tuple[str, ...], data: Path | None, user: str | None, only_print: bool, as_json: bool
) -> None:
    """Write a unit that runs `ghostwire VERB ARGUMENTS` from boot on.

    As root it is a unit of the system, else one of the user. Never pass --key here: units are readable by everyone.
    Run `ghostwire up` once with the key; the unit resumes from its state.
    """
    from ghostwire.cli import screen
    from ghostwire.cli.service.unit import Unit, executable

    if any(word == "--key" or word.startswith("--key=") for word in arguments):
        raise click.UsageError(
            "a unit is readable by everyone: run `ghostwire up --key KEY` once, then install without."
        )
    system = os.geteuid() == 0
    if user is not None and not system:
        raise click.UsageError("--user needs root.")
    folder = data.absolute() if data is not None else None
    unit = Unit(verb=verb, program=executable(), arguments=arguments, folder=folder, system=system, user=user)
    text = unit.text()
    if only_print:
        screen.show({"name": unit.name, "unit": text}, as_json, text.rstrip)
        return
    path = (SYSTEM_UNITS if system else _user_units()) / unit.name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    control = "systemctl" if system else "systemctl --user"
    following = [f"{control} daemon-reload", f"{control} enable --now {unit.name}", f"{control} status {unit.name}"]
    screen.show(
        {"name": unit.name, "path": str(path), "next": following},
        as_json,
        lambda: f"wrote {path}\nNow run:\n  " + "\n  ".join(following),
    )


def _user_units() -> Path:
    base = os.environ.get("XDG_CONFIG_HOME") or str(Path.home() / ".config")
    return Path(base, "systemd", "user")
