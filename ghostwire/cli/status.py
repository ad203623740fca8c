"""`ghostwire status`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from ghostwire.cli import screen
from ghostwire.cli.options import data_option, json_option


@click.command("status", epilog="\b\nExamples:\n  ghostwire status\n  ghostwire status --json")
@data_option("agent")
@json_option
def command(data: Path, as_json: bool) -> None:
    """Show this machine, its peers and how they are reached; where no agent runs, the coordinator of this machine."""
    from ghostwire.agent.io.asking import ask
    from ghostwire.errors import UnavailableError

    try:
        found = ask(data, "status")
    except UnavailableError as error:
        _show_coordinator(data, as_json, error)
        return
    screen.show(found, as_json, lambda: render(found))


def _show_coordinator(data: Path, as_json: bool, agent: Exception) -> None:
    from ghostwire.cli.folders import default_folder

    folder = next((one for one in (data, default_folder("server")) if (one / "admin.sock").exists()), None)
    if folder is None:
        raise agent

    from ghostwire.cli.admin import Admin
    from ghostwire.cli.server import render as render_coordinator

    with Admin.local(folder) as admin:
        found = admin.get("/v1/status")
    screen.show(found, as_json, lambda: render_coordinator(found))


def render(found: dict[str, Any]) -> str:
    """The text of an agent's status."""
    own, coordinator = found["self"], found["coordinator"]
    state = screen.good("connected") if coordinator["connected"] else screen.bad("not connected")
    if coordinator["from_cache"]:
        state += ", map from the cache"
    head = screen.fields(
        (
            ("name", screen.bold(own["name"] or "(waiting for the coordinator)")),
            ("addresses", " ".join(address for address in (own["ipv4"], own["ipv6"]) if address) or "-"),
            ("mode", found["mode"]),
            ("coordinator", f"{coordinator['url']}  {state}"),
        )
    )
    rows = [_row(peer) for peer in found["peers"]]
    titles = ("name", "address", "online", "path", "handshake", "rtt", "received", "sent")
    return f"{head}\n\n{screen.columns(titles, rows, 'No peers: this node may reach nobody yet.')}"


def _row(peer: dict[str, Any]) -> tuple[object, ...]:
    handshake, rtt = peer["last_handshake_s"], peer["rtt_ms"]
    return (
        peer["name"],
        peer["ipv4"] or peer["ipv6"],
        screen.good("online") if peer["online"] else screen.dim("offline"),
        f"direct {peer['endpoint']}" if peer["path"] == "direct" else screen.dim(peer["reason"]),
        "-" if handshake is None else f"{screen.span(handshake)} ago",
        "-" if rtt is None else f"{rtt:.1f} ms",
        screen.size(peer["rx_bytes"]),
        screen.size(peer["tx_bytes"]),
    )
