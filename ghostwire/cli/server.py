"""`ghostwire server`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from ghostwire.cli import screen
from ghostwire.cli.options import admin_options

if TYPE_CHECKING:
    from ghostwire.cli.admin import Admin


@click.group("server")
def command() -> None:
    """Show how the coordinator does."""


@command.command("status", epilog="\b\nExamples:\n  ghostwire server status\n  ghostwire server status --json")
@admin_options
def status(admin: Admin, as_json: bool) -> None:
    """Show the coordinator with its URL, pin, nodes and position."""
    found = admin.get("/v1/status")
    screen.show(found, as_json, lambda: render(found))


def render(found: dict[str, Any]) -> str:
    """The text of a coordinator's status."""
    until = found["certificate_until"]
    recovery = found["recovery"]
    pairs: list[tuple[str, object]] = [
        ("coordinator", f"{found['version']}, up for {screen.span(found['uptime_s'])}, listens on {found['listen']}"),
        ("url", screen.bold(found["url"]) + (f"  {screen.bad(found['warning'])}" if found["warning"] else "")),
        ("pin", found["pin"] or "none: the certificate is one that machines trust anyway"),
        ("certificate", f"ends {screen.moment(until)}" if until else "-"),
        ("network", found["network"]),
        ("nodes", f"{found['nodes']}, {found['online']} online, {found['sessions']} sessions"),
        ("recovery", _recovery(recovery["expected"], recovery["back"], recovery["seconds"])),
        ("users", found["users"]),
        ("log", f"position {found['position']} of {found['log'][:8]}"),
        ("state", screen.good("ready") if found["ready"] else screen.bad("not ready")),
    ]
    workers = found["workers"]
    for at, worker in enumerate(workers, 1):
        told = f"{worker['sessions']} sessions, process {worker['pid']}, {worker['lag']} batches behind"
        pairs.append((f"worker {at}", told))
    if found["workers_replaced"]:
        pairs.append(("replaced", f"{found['workers_replaced']} workers since the leader started"))
    return screen.fields(pairs)


def _recovery(expected: int, back: int, seconds: float | None) -> str:
    """Spell how far the nodes that were there before the start are back."""
    if not expected:
        return "-"
    last = "" if seconds is None else f", the last of them {seconds:.1f} s after the start"
    return f"{back} of {expected} nodes are back{last}"
