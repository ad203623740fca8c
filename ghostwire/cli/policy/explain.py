"""`ghostwire policy explain`."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any

import click

from ghostwire.cli import screen
from ghostwire.cli.options import admin_options

if TYPE_CHECKING:
    from ghostwire.cli.admin import Admin

TIMES = ("%Y-%m-%dT%H:%M", "%Y-%m-%dT%H:%M:%S", "%Y-%m-%dT%H:%M%z", "%Y-%m-%dT%H:%M:%S%z", "%Y-%m-%d")


@click.command(
    "explain",
    epilog="""\b
Examples:
  ghostwire policy explain laptop web --port 443
  ghostwire policy explain laptop web --at 2026-12-24T18:00Z
  ghostwire policy explain laptop 10.0.0.7 --port 53 --protocol udp --json""",
)
@click.argument("source")
@click.argument("target")
@click.option("--port", type=click.IntRange(0, 65535), metavar="N", help="The port; by default any that is allowed.")
@click.option(
    "--protocol", type=click.Choice(["tcp", "udp", "icmp", "sctp"]), default="tcp", show_default=True,
    help="The protocol.",
)  # fmt: skip
@click.option(
    "--at",
    type=click.DateTime(TIMES),
    metavar="TIME",
    help="At another time: 2026-12-24T18:00, in UTC or with its zone.",
)
@admin_options
def explain(
    admin: Admin, source: str, target: str, port: int | None, protocol: str, at: datetime | None, as_json: bool
) -> None:
    """Say why SOURCE may reach TARGET or not, and the other way round. Nodes are named by name, id or address.

    TARGET may be an address in a network that a node serves.
    """
    when = None if at is None else at.isoformat()
    found = admin.get("/v1/policy/explain", source=source, target=target, port=port, protocol=protocol, at=when)
    screen.show(found, as_json, lambda: _text(found))


def _text(found: Any) -> str:
    number = found["policy"]
    lines = [_end(found["source"]), _end(found["target"])]
    if found["via"] is not None:
        lines.append(f"{found['address']} lies in {found['via']}, behind {found['target']['name']}")
    which = "the default policy" if number == 0 else f"policy version {number}"
    lines.append(screen.dim(f"{which}, {found['at'].replace('T', ' ')}"))
    for direction in (found["there"], found["back"]):
        lines += ["", *_direction(direction)]
    return "\n".join(lines)


def _end(end: Any) -> str:
    known = [f"user {end['user']} ({end['role']})"] if end["user"] is not None else list(end["tags"])
    known += end["groups"] + [f"{group} at times" for group in end["at_times"]]
    if end["routes"]:
        known.append(f"serves {', '.join(end['routes'])}")
    if end["reported"]:
        facts = ", ".join(f"{name} {value}" for name, value in end["reported"].items())
        known.append(f"says of itself: {facts}")
    return f"{screen.bold(end['name'])} {end['addresses'][0]}: {'; '.join(known) or 'nobody in particular'}"


def _direction(direction: Any) -> list[str]:
    port = "" if direction["port"] is None else f" {direction['port']}"
    verdict = screen.good("allowed") if direction["allowed"] else screen.bad("denied")
    lines = [f"{direction['source']} -> {direction['target']} {direction['protocol']}{port}: {verdict}"]
    for rule in direction["rules"]:
        place = f"{rule['section']}[{rule['index']}]" + (f", line {rule['line']}" if rule["line"] else "")
        said = "by" if direction["allowed"] else "denied by" if rule["denies"] else "nearest:"
        lines.append(f"  {said} {place}: {rule['text']}".rstrip(": "))
        if rule["postures"]:
            lines.append(f"    for sources that meet one of {', '.join(rule['postures'])}")
        lines += [f"    {_window(window)}" for window in rule["windows"]]
        lines += [f"    {name}: {'holds' if holds else 'does not hold'}" for name, holds in rule["conditions"].items()]
        if rule["reported"]:
            lines.append(f"    by what {direction['source']} says of itself: {', '.join(rule['reported'])}")
        lines += [f"    missing: {missing}" for missing in rule["missing"]]
    if not direction["rules"] and not direction["allowed"]:
        lines.append("  no rule comes near, and what no rule accepts is denied")
    if direction["access"]:
        allowed = "everything" if direction["access"] == ["*"] else "; ".join(direction["access"])
        lines.append(f"  allowed in all: {allowed}")
    return lines


def _window(window: Any) -> str:
    what = f"member of {window['of']}" if window["of"] else "window"
    schedule = f" {window['schedule']}" if window["schedule"] else ""
    turns = "" if window["turns"] is None else f", {'closes' if window['open'] else 'opens'} {window['turns']}"
    return f"{what}{schedule}: {'open' if window['open'] else 'closed'}{turns}"
