"""`ghostwire doctor`: what is wrong with this installation, and what to do about it."""

from __future__ import annotations

from pathlib import Path

import click

from ghostwire.cli.folders import default_folder
from ghostwire.cli.options import json_option


@click.command(
    "doctor",
    epilog="""\b
Examples:
  ghostwire doctor
  ghostwire doctor --data /srv/ghostwire
  ghostwire doctor --json""",
)
@click.option("--data", type=click.Path(path_type=Path), metavar="DIR", help="The server's folder.")
@click.option("--state", type=click.Path(path_type=Path), metavar="DIR", help="The agent's folder.")
@click.option("--config", "file", type=click.Path(path_type=Path), metavar="FILE", help="The server's configuration.")
@json_option
def command(data: Path | None, state: Path | None, file: Path | None, as_json: bool) -> int:
    """Check this installation and say what to do. Exits 1 if something must be done."""
    from ghostwire.cli import screen
    from ghostwire.cli.doctor import build, host, server
    from ghostwire.cli.doctor.finding import render

    data = (data or default_folder("server")).absolute()
    state = (state or default_folder("agent")).absolute()
    findings = [*build.findings(), *host.findings(state), *server.findings(data, file)]
    healthy = all(finding.status != "fail" for finding in findings)
    value = {"ok": healthy, "findings": [finding.as_dict() for finding in findings]}
    screen.show(value, as_json, lambda: render(findings))
    return 0 if healthy else 1
