"""`ghostwire policy explain`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from ghostwire.cli import screen
from ghostwire.cli.options import admin_options

if TYPE_CHECKING:
    from ghostwire.cli.admin import Admin


@click.command(
    "explain",
    epilog="""\b
Examples:
  ghostwire policy explain laptop web --port 443
  ghostwire policy explain laptop 10.0.0.7 --port 53 --protocol udp --json""",
)
@click.argument("source")
@click.argument("target")
@click.option("--port", type=click.IntRange(0, 65535), metavar="N", help="The port; by default any that is allowed.")
@click.option(
    "--protocol", type=click.Choice(["tcp", "udp", "icmp", "sctp"]), default="tcp", show_default=True,
    help="The protocol.",
)  # fmt: skip
@admin_options
def explain(admin: Admin, source: str, target: str, port: int | None, protocol: str, as_json: bool) -> None:
    """Say why SOURCE may reach TARGET or not, and the other way round: nodes by name, id or address.

    TARGET may be an address in a network that a node serves.
    """
    found = admin.get("/v1/policy/explain", source=source, target=target, port=port, protocol=protocol)
    screen.show(found, as_json, lambda: _text(found))


def _text(found: Any) -> str:
    number = found["policy"]
    lines = [_end(found["source"]), _end(found["target"])]
    if found["via"] is not None:
        lines.append(f"{found['address']} lies in {found['via']}, behind {found['target']['name']}")
    lines.append(screen.dim("the default policy" if number == 0 else f"policy version {number}"))
    for direction in (found["there"], found["back"]):
        lines += ["", *_direction(direction, found["via"] is not None)]
    return "\n".join(lines)


def _end(end: Any) -> str:
    known = [f"user {end['user']} ({end['role']})"] if end["user"] is not None else list(end["tags"])
    known += end["groups"]
    if end["routes"]:
        known.append(f"serves {', '.join(end['routes'])}")
    if end["reported"]:
        facts = ", ".join(f"{name} {value}" for name, value in end["reported"].items())
        known.append(f"says of itself: {facts}")
    return f"{screen.bold(end['name'])} {end['addresses'][0]}: {'; '.join(known) or 'nobody in particular'}"


def _direction(direction: Any, routed: bool) -> list[str]:
    port = "" if direction["port"] is None else f" {direction['port']}"
    verdict = screen.good("allowed") if direction["allowed"] else screen.bad("denied")
    lines = [f"{direction['source']} -> {direction['target']} {direction['protocol']}{port}: {verdict}"]
    for rule in direction["rules"]:
        place = f"{rule['section']}[{rule['index']}]" + (f", line {rule['line']}" if rule["line"] else "")
        lines.append(f"  {'by' if direction['allowed'] else 'nearest:'} {place}: {rule['text']}".rstrip(": "))
        if rule["postures"]:
            lines.append(f"    for sources that meet one of {', '.join(rule['postures'])}")
        lines += [f"    missing: {missing}" for missing in rule["missing"]]
    if not direction["rules"] and not direction["allowed"] and not routed:
        lines.append("  no rule comes near, and what no rule accepts is denied")
    if direction["access"]:
        allowed = "everything" if direction["access"] == ["*"] else "; ".join(direction["access"])
        lines.append(f"  allowed in all: {allowed}")
    return lines
