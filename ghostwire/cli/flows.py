"""`ghostwire flows`."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import click

from ghostwire.cli import screen
from ghostwire.cli.duration import DURATION
from ghostwire.cli.options import admin_options

if TYPE_CHECKING:
    from ghostwire.cli.admin import Admin

TITLES = ("node", "peer", "received", "sent", "packets in", "packets out")


@click.command(
    "flows", epilog="\b\nExamples:\n  ghostwire flows\n  ghostwire flows laptop --since 7d\n  ghostwire flows 7 --json"
)
@click.argument("node", required=False)
@click.option("--since", type=DURATION, default="1h", show_default=True, metavar="TIME", help="How far back.")
@admin_options
def command(admin: Admin, node: str | None, since: float, as_json: bool) -> None:
    """Show what nodes exchanged, and with whom. Each end tells its own side.

    A week is kept as it was told, then 90 days by 5 minutes. NODE is a name or an id.
    """
    start = datetime.now(UTC) - timedelta(seconds=since)
    found = admin.get("/v1/flows", **{"node": node, "from": start.isoformat()})
    rows = [
        (
            each["node"] or each["node_id"],
            each["peer"] or each["peer_id"],
            screen.size(each["rx_bytes"]),
            screen.size(each["tx_bytes"]),
            each["rx_packets"],
            each["tx_packets"],
        )
        for each in found["flows"]
    ]
    empty = f"Nothing was told of the last {screen.span(since)}: nodes tell what they exchanged once a minute."
    screen.show(found, as_json, lambda: screen.columns(TITLES, rows, empty))
