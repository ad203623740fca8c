"""`ghostwire netcheck`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from ghostwire.cli import screen
from ghostwire.cli.options import data_option, json_option


@click.command("netcheck", epilog="\b\nExamples:\n  ghostwire netcheck\n  ghostwire netcheck --json")
@data_option("agent")
@json_option
def command(data: Path, as_json: bool) -> None:
    """Check what this network lets through: the way to the coordinator, and packets to each peer that is online."""
    from ghostwire.agent.io.asking import ask

    found = ask(data, "netcheck", 120.0)
    screen.show(found, as_json, lambda: render(found))


def render(found: dict[str, Any]) -> str:
    """The text of a check."""
    coordinator = found["coordinator"]
    rtt = coordinator["rtt_ms"]
    way = screen.bad(coordinator["reason"]) if rtt is None else f"{rtt:.1f} ms"
    session = screen.good("connected") if coordinator["connected"] else screen.bad("no session")
    head = screen.fields(
        (
            ("coordinator", f"{coordinator['url']}  {way}, {session}"),
            ("udp port", found["port"]),
            ("endpoints", ", ".join(found["endpoints"]) or screen.bad("none: no interface is up")),
            ("peers", f"{found['peers_online']} online, {found['peers_checked']} checked"),
        )
    )
    rows = [
        (
            peer["name"],
            screen.good("reached") if peer["udp"] else screen.bad("not reached"),
            peer["endpoint"] or "-",
            "-" if peer["last_handshake_s"] is None else f"{screen.span(peer['last_handshake_s'])} ago",
            "-" if peer["rtt_ms"] is None else f"{peer['rtt_ms']:.1f} ms",
            peer["reason"],
        )
        for peer in found["peers"]
    ]
    titles = ("name", "udp", "endpoint", "handshake", "rtt", "why")
    return f"{head}\n\n{screen.columns(titles, rows, 'No peer is online.')}"
